//! Microphones: each kind implements [`AudioSource`](super::AudioSource). Knows no encoder and no network.

pub mod convert;
pub mod find;
pub mod microphone;
pub mod sample_clock;
pub mod setup;
