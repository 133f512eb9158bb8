//! V4L2 cameras, USB or not: finds one, sets it up as the options ask, and captures its frames.
//!
//! `find` selects the device, `formats` the format, `negotiation` checks what the driver set,
//! `controls` sets controls, `device` and `stream` call the kernel by way of `abi`, `timestamp`
//! checks its timestamps and `frame_check` its frames, `usb_source` puts them together. `list` is
//! for `--list-devices`.

pub(crate) mod abi;
mod controls;
mod device;
mod find;
mod formats;
mod frame_check;
mod identity;
mod list;
mod negotiation;
mod nodes;
mod stream;
mod timestamp;
mod usb_source;

pub use identity::Identity;
pub(crate) use list::list_cameras;
pub(crate) use usb_source::UsbSource;
