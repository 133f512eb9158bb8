//! The workers' rooms: a device is opened, read, stamped and encoded here, and handed to a ring. Knows no network.

pub mod audio;
#[cfg(feature = "webrtc")]
pub mod codec;
pub mod jpeg;
pub mod picture;
pub mod planes;
pub mod video;
pub mod worker;

use crate::packet::{MonoNs, StreamInfo};
use std::time::Duration;

/// How a source's pixels lie in memory. Planar and semi-planar formats are contiguous, chroma after luma.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 4:2:2 packed: Y0 U Y1 V.
    Yuyv,
    /// 4:2:0: a Y plane, then interleaved UV of the same stride.
    Nv12,
    /// 4:2:0: Y, U and V planes (V4L2's YU12); chroma strides are half of luma's.
    I420,
    /// 8-bit luma only.
    Grey,
    /// One JPEG image, perhaps without Huffman tables, perhaps padded.
    Mjpeg,
}

/// One frame as the device gave it, borrowed from the source until the next `grab`.
#[derive(Clone, Copy, Debug)]
pub struct RawFrame<'a> {
    pub format: PixelFormat,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    /// Bytes from one line of the first plane to the next; 0 for MJPEG.
    pub stride: usize,
    pub data: &'a [u8],
    /// True when luma spans 0 to 255 (what JPEG expects), false for 16 to 235.
    pub full_range: bool,
    /// The device's own capture instant.
    pub captured: MonoNs,
    /// Frames that the device made between the last one delivered and this one, and did not deliver.
    pub missed: u32,
}

/// What a wait for a frame ended with.
#[derive(Debug)]
pub enum Grab<'a> {
    Frame(RawFrame<'a>),
    /// The device delivered something that is no picture (counted, one frame).
    Corrupt {
        captured: MonoNs,
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
    fn left_to_do(&self, asked: &crate::config::Video) -> crate::config::Video {
        asked.clone()
    }
}

/// Sound as the device gave it, borrowed until the next `grab`.
#[derive(Clone, Copy, Debug)]
pub struct SoundChunk<'a> {
    /// Interleaved, `samples.len() / channels` sample frames.
    pub samples: &'a [i16],
    pub channels: u16,
    pub rate_hz: u32,
    /// Capture instant of the first sample, from the fit of sample count against device time.
    pub first_sample: MonoNs,
    /// Sound was lost just before this chunk (an overrun).
    pub after_xrun: bool,
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
