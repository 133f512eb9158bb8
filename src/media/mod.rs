//! What travels, and its time: the types that every folder shares. Imports no other folder.

pub mod clock;
pub mod frame;
pub mod frame_rate;
pub mod id;
pub mod packet;
pub mod resample;
#[cfg(feature = "webrtc")]
pub mod rtp_time;
