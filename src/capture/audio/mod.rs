//! Microphones: each kind implements [`SoundSource`](super::SoundSource). Knows no encoder and no network.

pub mod beep;
mod convert;
pub mod find;
mod fit;
pub mod mic;
mod setup;
