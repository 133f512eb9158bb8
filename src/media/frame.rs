//! Frames and audio as devices give them, borrowed from the source.

use super::MonoNs;

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
    pub capture_time: MonoNs,
    /// Frames that the device made between the last one delivered and this one, and did not deliver.
    pub missed: u32,
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
