//! Pixels and samples to packets: the pixel pipeline, JPEG, H.264, Opus. Knows frames; no device, no ring, no network.

#[cfg(feature = "webrtc")]
pub mod h264;
pub mod jpeg;
#[cfg(feature = "webrtc")]
pub mod opus;
pub mod pipeline;
pub mod planes;
