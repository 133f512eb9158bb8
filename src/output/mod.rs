//! The ways out: each turns the hub's packets into what its clients read.

pub mod mjpeg;
pub mod packets;
pub mod wav;
#[cfg(feature = "webrtc")]
pub mod webrtc;
pub mod websocket;
#[cfg(feature = "webrtc")]
pub mod whip;
