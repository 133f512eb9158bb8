//! What a packet's payload is: its encoding, and the shape of what it shows or plays.

use super::id::MediaKind;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a packet's bytes are. Each encoding has a ring of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// One whole JPEG image.
    Jpeg,
    /// One H.264 access unit, Annex B.
    H264,
    /// Signed 16-bit little-endian samples, interleaved.
    Pcm,
    /// One Opus packet of [`OPUS_PACKET`].
    Opus,
}

/// The duration of one Opus packet.
pub const OPUS_PACKET: Duration = Duration::from_millis(20);

impl Encoding {
    pub const ALL: [Self; 4] = [Self::Jpeg, Self::H264, Self::Pcm, Self::Opus];

    /// The word in names of shared memory, metrics and log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::H264 => "h264",
            Self::Pcm => "pcm",
            Self::Opus => "opus",
        }
    }

    /// The kind of stream that this is an encoding of.
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Jpeg | Self::H264 => MediaKind::Video,
            Self::Pcm | Self::Opus => MediaKind::Audio,
        }
    }
}

/// Frame size, or sample rate and channel count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Pixels, as displayed (an H.264 frame may be coded larger and cropped).
    Video { width: u16, height: u16 },
    /// Samples per second and channel.
    Audio { rate_hz: u32, channels: u16 },
}

/// The H.264 bit rate for a frame size in pixels where none is asked for, bits per second.
/// Keyframes are large: a fifth more where they come more often than every 5 s.
pub fn default_h264_bps((width, height): (usize, usize), keyframe_interval: Duration) -> u32 {
    const SPARSE_KEYFRAMES: Duration = Duration::from_secs(5);
    const FREQUENT_KEYFRAMES_FACTOR: f64 = 1.2;
    const VGA_BPS: f64 = 1_200_000.0;
    const VGA_PIXELS: f64 = 640.0 * 480.0;
    /// How the rate grows with the number of pixels: 2.4 Mbit/s at 720p, 4.2 at 1080p.
    const GROWTH: f64 = 0.65;
    let factor = if keyframe_interval < SPARSE_KEYFRAMES {
        FREQUENT_KEYFRAMES_FACTOR
    } else {
        1.0
    };
    let pixels = (width * height) as f64;
    (factor * VGA_BPS * (pixels / VGA_PIXELS).powf(GROWTH)).round() as u32
}
