//! Cameras and microphones: each kind is a folder that implements [`VideoSource`] or [`SoundSource`]. Knows no encoder and no network.

pub mod alsa;
pub mod jitter;
pub mod rpicam;
pub mod test_pattern;
pub mod v4l2;

use crate::media::frame::{RawFrame, SoundChunk};
use crate::media::{MonoNs, StreamInfo};
use std::time::Duration;

/// What a wait for a frame ended with.
#[derive(Debug)]
pub enum Grab<'a> {
    Frame(RawFrame<'a>),
    /// The device delivered something that is no picture (counted, one frame).
    Corrupt {
        capture_time: MonoNs,
        missed: u32,
        why: String,
    },
    /// Nothing came within the timeout. Not an error: the caller's loop shows that it lives and waits again.
    TimedOut,
}

/// A camera that is open and streaming. Dropping it releases the device.
pub trait VideoSource {
    fn info(&self) -> StreamInfo;
    /// What the device does otherwise than it was asked, noticed since the last call.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }
    /// Waits for the next frame, never longer than `timeout`.
    fn grab(&mut self, timeout: Duration) -> Result<Grab<'_>, SourceError>;
    /// UNIX time minus CLOCK_MONOTONIC as the server has it, told before each grab. Only a test picture draws it.
    fn clock_offset(&mut self, _offset_ns: i64) {}
    /// What remains of `asked` (turns, mirrors) for the frames that this source delivers. Most sources do nothing of it.
    fn left_to_do(&self, asked: &crate::config::VideoConfig) -> crate::config::VideoConfig {
        asked.clone()
    }
}

/// A microphone that is open and running.
pub trait SoundSource {
    fn info(&self) -> StreamInfo;
    /// Waits for the next packet's worth of sound, never longer than `timeout`; `None` when nothing came.
    fn grab(&mut self, timeout: Duration) -> Result<Option<SoundChunk<'_>>, SourceError>;
    /// What is done to the sound that was not asked for (mixing, resampling), noticed since the last call.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Why a device cannot be read. Its text names the device and says what to do where the user can do something.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such device, or it was unplugged. `available` is what there is, a line each.
    #[error("{device} is not there{}", list(.available))]
    Missing {
        device: String,
        available: Vec<String>,
    },
    #[error(
        "{device} is in use by another program; close that program, or choose another device with --list-devices"
    )]
    Busy { device: String },
    #[error("{device} cannot do what was asked: {why}")]
    Unsupported { device: String, why: String },
    #[error("{device} failed while {doing}")]
    Io {
        device: String,
        doing: &'static str,
        source: std::io::Error,
    },
    #[error("{device} failed: {why}")]
    Failed { device: String, why: String },
}

fn list(available: &[String]) -> String {
    if available.is_empty() {
        "; none was found at all: plug one in (stampcast --list-devices shows what there is)".into()
    } else {
        format!("; there is: {}", available.join(", "))
    }
}
