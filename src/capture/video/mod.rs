//! Cameras: each kind is a folder that implements [`VideoSource`](super::VideoSource). Knows no encoder and no network.

pub mod rpi;
mod scatter;
pub mod test;
pub mod usb;
