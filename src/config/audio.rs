//! The audio of one camera: which microphone, and the shape of `/stream`'s audio.

use super::option_table::{Effective, OptionFacts};
use super::video::CameraType;
use clap::ArgAction;

pub(super) const OPTIONS: &[OptionFacts] = &[
    OptionFacts::new("enable_audio", Effective::Always),
    OptionFacts::new("audio_device", Effective::Audio).excludes("audio_name"),
    OptionFacts::new("audio_name", Effective::Audio),
    OptionFacts::new("audio_channels", Effective::Audio),
    OptionFacts::new("audio_samplerate", Effective::Audio),
    OptionFacts::new("audio_queue_size", Effective::Audio),
];

#[derive(Clone, Debug)]
pub struct AudioConfig {
    pub source: AudioSourceConfig,
    /// Channels of `/stream` and `/audio.wav`: 1 or 2.
    pub channels: u16,
    /// Sample rate of `/stream` and `/audio.wav`, Hz. `None`: the device's own.
    pub rate_hz: Option<u32>,
    /// Capacity of a ring, packets.
    pub queue_packets: u32,
}

/// Where audio comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioSourceConfig {
    Microphone(Microphone),
    /// A tone at each flash of the test pattern.
    Test,
}

/// How to find the microphone (ALSA).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Microphone {
    /// The system's default capture device, else the first.
    Default,
    /// The number that `--list-devices` shows.
    Index(u32),
    /// An ALSA PCM name (`hw:…`), a card id or name, or a USB serial number.
    Named(String),
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Audio")]
pub(crate) struct AudioArgs {
    /// Stream audio, too
    #[arg(long, env = "STAMPCAST_ENABLE_AUDIO", action = ArgAction::SetTrue)]
    pub(crate) enable_audio: bool,

    /// Microphone number from --list-devices [default: the system's, else the first]
    #[arg(long, env = "STAMPCAST_AUDIO_DEVICE", value_name = "N")]
    audio_device: Option<u32>,

    /// Microphone by ALSA name (hw:CARD=Mic,DEV=0), card name or serial number; stable across
    /// reboots
    #[arg(long, env = "STAMPCAST_AUDIO_NAME")]
    audio_name: Option<String>,

    /// Channels of /stream and /audio.wav (1 or 2)
    #[arg(long, env = "STAMPCAST_AUDIO_CHANNELS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2))]
    audio_channels: u16,

    /// Sample rate of /stream and /audio.wav, Hz (8000 to 192000) [default: the device's own]
    #[arg(long, env = "STAMPCAST_AUDIO_SAMPLERATE", value_name = "HZ", value_parser = clap::value_parser!(u32).range(8_000..=192_000))]
    audio_samplerate: Option<u32>,

    /// Audio packets queued between microphone and network, and per viewer with delivery=all; when
    /// full, the oldest is dropped (1 to 10000)
    #[arg(long, env = "STAMPCAST_AUDIO_QUEUE_SIZE", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    audio_queue_size: u32,
}

impl AudioArgs {
    /// `None`: no audio. The test camera has its own tone, unless a microphone is chosen.
    pub(crate) fn audio(self, camera_type: CameraType) -> Option<AudioConfig> {
        let source = match (self.audio_device, self.audio_name) {
            (Some(n), _) => AudioSourceConfig::Microphone(Microphone::Index(n)),
            (None, Some(name)) => AudioSourceConfig::Microphone(Microphone::Named(name)),
            (None, None) if camera_type == CameraType::Test => AudioSourceConfig::Test,
            (None, None) => AudioSourceConfig::Microphone(Microphone::Default),
        };
        self.enable_audio.then_some(AudioConfig {
            source,
            channels: self.audio_channels,
            rate_hz: self.audio_samplerate,
            queue_packets: self.audio_queue_size,
        })
    }
}
