//! Cameras and microphones. Each kind is a folder that implements [`VideoSource`] or
//! [`AudioSource`]; [`open_video`] and [`open_audio`] open the one that the settings name.

pub mod alsa;
pub mod jitter;
pub mod rpicam;
pub mod test_pattern;
pub mod v4l2;

use crate::config::{AudioConfig, AudioSourceConfig, VideoConfig, VideoSourceConfig};
use crate::media::frame::{AudioChunk, RawFrame};
use crate::media::{MonoNs, StreamInfo};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The rate of the test tone, Hz, where no higher one is asked for.
const TONE_RATE_HZ: u32 = 48_000;
const TONE_CHANNELS: u16 = 1;

/// An open device. Dropping it releases the device.
pub trait Source {
    /// What the device is and how it stamps. Read about once a second.
    fn info(&self) -> StreamInfo;

    /// What is new since the last call of what the log should say of the device.
    fn take_notes(&mut self) -> Vec<Note> {
        Vec::new()
    }

    /// How the same device is found again after it was unplugged or renumbered; `None` where any
    /// device of the kind will do.
    fn identity(&self) -> Option<SourceIdentity> {
        None
    }
}

/// A line for the log about a device that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A choice that is normal for this device.
    Info(String),
    /// The device does less than was asked.
    Warning(String),
}

impl Note {
    pub fn text(&self) -> &str {
        match self {
            Self::Info(text) | Self::Warning(text) => text,
        }
    }
}

/// An open, streaming camera.
pub trait VideoSource: Source {
    /// Waits for the next frame, at most `timeout`.
    ///
    /// # Errors
    /// The device failed or was unplugged. It must be opened again.
    fn next_frame(&mut self, timeout: Duration) -> Result<Capture<'_>, SourceError>;

    /// What remains of the `asked` processing (rotation, mirroring, quality) for the frames that
    /// this source delivers. Most sources do none of it.
    fn remaining(&self, asked: &VideoConfig) -> VideoConfig {
        asked.clone()
    }
}

/// An open, running microphone. Delivers the device's own rate, and its own one or two channels.
pub trait AudioSource: Source {
    /// Waits for the next 20 ms of audio (a little more where the rate does not divide), at most
    /// `timeout`; `None` when nothing came.
    ///
    /// # Errors
    /// The device failed or was unplugged. It must be opened again.
    fn next_chunk(&mut self, timeout: Duration) -> Result<Option<AudioChunk<'_>>, SourceError>;
}

/// What a wait for a frame ended with.
#[derive(Debug)]
pub enum Capture<'a> {
    Frame(RawFrame<'a>),
    /// The device delivered bytes that are not an image. Counts as one frame.
    Corrupt {
        capture_time: MonoNs,
        /// Frames that the device skipped before this one.
        missed: u32,
        why: String,
    },
    /// Nothing came within the timeout. Not an error: the caller shows that it is alive and waits
    /// again.
    TimedOut,
}

/// Identifies one device across replugging, renumbering and worker restarts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceIdentity {
    V4l2(v4l2::Identity),
    Alsa(alsa::find::Identity),
}

/// Reads the server's UNIX time minus CLOCK_MONOTONIC, ns; 0 until it is known.
pub type ClockOffset = Box<dyn Fn() -> i64 + Send>;

/// Opens the camera that the settings name. `known`: the device that was open before, which is then
/// opened again, under whatever number or port. `clock_offset` is for the time that the test
/// pattern draws.
///
/// # Errors
/// The device is missing, busy, or cannot do what was asked.
pub fn open_video(
    video: &VideoConfig,
    known: Option<&SourceIdentity>,
    clock_offset: ClockOffset,
) -> Result<Box<dyn VideoSource>, SourceError> {
    Ok(match &video.source {
        VideoSourceConfig::Usb(which) => {
            let known = match known {
                Some(SourceIdentity::V4l2(camera)) if camera.fits(which) => Some(camera),
                _ => None,
            };
            Box::new(v4l2::UsbSource::open(which, video, known)?)
        }
        VideoSourceConfig::Rpi => Box::new(rpicam::RpiSource::open(video)?),
        VideoSourceConfig::Test => Box::new(
            test_pattern::TestSource::open(video.width, video.height, video.fps)?
                .with_clock_offset(clock_offset),
        ),
    })
}

/// Opens the microphone that the settings name. `known`: the device that was open before, which is
/// then opened again, under whatever card number.
///
/// # Errors
/// The device is missing, busy, or cannot do what was asked.
pub fn open_audio(
    audio: &AudioConfig,
    known: Option<&SourceIdentity>,
) -> Result<Box<dyn AudioSource>, SourceError> {
    Ok(match &audio.source {
        AudioSourceConfig::Microphone(which) => {
            let known = match known {
                Some(SourceIdentity::Alsa(microphone)) => Some(microphone),
                _ => None,
            };
            Box::new(alsa::microphone::MicrophoneSource::open(
                which, audio, known,
            )?)
        }
        AudioSourceConfig::Test => Box::new(test_pattern::tone::ToneSource::open(
            TONE_RATE_HZ.max(audio.rate_hz.unwrap_or(0)),
            TONE_CHANNELS,
        )?),
    })
}

/// Why a device cannot be read. The text names the device, and says what to do where the user can
/// do something.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such device, or it was unplugged. `available`: one line per device that there is.
    #[error("{device} not found{}", list(.available))]
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
        " (no devices on this machine; see stampcast --list-devices)".into()
    } else {
        format!("; available: {}", available.join(", "))
    }
}
