//! ALSA microphones.

pub mod convert;
pub mod find;
pub mod microphone;
pub mod sample_clock;
pub mod setup;
