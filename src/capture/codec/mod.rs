//! Encoders with a memory of what came before, for WebRTC: [`h264`] and [`opus`]. One of each serves all viewers. Know no ring
//! and no network.

pub mod h264;
pub mod opus;
