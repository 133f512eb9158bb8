//! Selects the microphone, opens its PCM and starts it.

use super::{Identity, MicrophoneSource};
use crate::config;
use crate::config::Microphone;
use crate::source::alsa::convert::Converter;
use crate::source::alsa::find;
use crate::source::alsa::find::{
    CapturePcm, Choice, SystemDefault, choose, list_microphones, open,
};
use crate::source::alsa::sample_clock::SampleClock;
use crate::source::alsa::setup::{
    MAX_CHANNELS, channels, configure, io_error, lines, missing, open_error,
};
use crate::source::{Note, SourceError};
use alsa::pcm::PCM;
use alsa::poll::Descriptors;
use std::path::Path;

/// Chunks per second where the rate divides evenly; otherwise they are longer by part of a frame.
const CHUNKS: u32 = 50;
/// A PCM has one or two descriptors; a count beyond this is not plausible.
const DESCRIPTORS: usize = 16;

impl MicrophoneSource {
    /// Opens the microphone that `which` names or, where it was open before, the one with the
    /// identity `known`: that device alone, under any card number.
    ///
    /// # Errors
    /// The device is missing, in use, or cannot be set up.
    pub fn open(
        which: &Microphone,
        audio: &config::AudioConfig,
        known: Option<&Identity>,
    ) -> Result<Self, SourceError> {
        let list = list_microphones();
        let missing = || missing(which, known, &list);
        match choose(&list, which, known, SystemDefault::read).ok_or_else(missing)? {
            Choice::Listed(n) => Self::open_listed(audio, list.get(n).ok_or_else(missing)?, &list),
            Choice::Named(name) => match Self::open_named(audio, &name, &list) {
                // The sound server that is the default is not running, or not for this user.
                Err(e)
                    if *which == Microphone::Default && !matches!(e, SourceError::Busy { .. }) =>
                {
                    let first = list.first().ok_or_else(missing)?;
                    let mut source = Self::open_listed(audio, first, &list)?;
                    source.notes.push(Note::Info(format!(
                        "the system's default microphone cannot be opened; {} is used",
                        source.title
                    )));
                    Ok(source)
                }
                opened => opened,
            },
        }
    }

    fn open_listed(
        audio: &config::AudioConfig,
        chosen: &CapturePcm,
        list: &[CapturePcm],
    ) -> Result<Self, SourceError> {
        let title = chosen.title();
        let pcm = open(&format!("hw:{},{}", chosen.card, chosen.device))
            .map_err(|e| open_error(&title, &e, list))?;
        // Between listing and opening, the number may have passed to another card.
        let now = find::identity(
            Path::new(find::SYSFS),
            chosen.card,
            chosen.device,
            &chosen.card_name,
        );
        if (&now.model, &now.serial, &now.port)
            != (
                &chosen.identity.model,
                &chosen.identity.serial,
                &chosen.identity.port,
            )
        {
            return Err(SourceError::Missing {
                device: title,
                available: lines(list),
            });
        }
        Self::start(audio, pcm, title, Some(chosen.identity.clone()))
    }

    fn open_named(
        audio: &config::AudioConfig,
        name: &str,
        list: &[CapturePcm],
    ) -> Result<Self, SourceError> {
        let pcm = open(name).map_err(|e| open_error(name, &e, list))?;
        Self::start(audio, pcm, name.to_string(), None)
    }

    fn start(
        audio: &config::AudioConfig,
        pcm: PCM,
        title: String,
        identity: Option<Identity>,
    ) -> Result<Self, SourceError> {
        let set = configure(&pcm, audio, &title)?;
        let mut notes = Vec::new();
        if set.channels > MAX_CHANNELS {
            notes.push(Note::Info(format!(
                "{title} records {}; the first two are used",
                channels(set.channels)
            )));
        }
        if !(1..=DESCRIPTORS).contains(&pcm.count()) {
            return Err(SourceError::Failed {
                device: title,
                why: "it cannot be waited for".into(),
            });
        }
        let fds = pcm
            .get()
            .map_err(|e| io_error(&title, "preparing to wait for samples", &e))?;
        pcm.start().map_err(|e| io_error(&title, "starting", &e))?;
        Ok(Self {
            fds,
            identity,
            notes,
            converter: Converter {
                format: set.format,
                channels_in: set.channels as usize,
                channels_out: set.channels.min(MAX_CHANNELS) as usize,
            },
            rate_hz: set.rate_hz,
            stamp_source: set.stamp_source,
            sample_clock: SampleClock::new(set.rate_hz),
            read: 0,
            raw: Vec::new(),
            waiting: Vec::new(),
            waiting_from: 0,
            resume: 0,
            chunk_frames: set.rate_hz.div_ceil(CHUNKS) as usize,
            chunk: Vec::new(),
            broken: false,
            lost: false,
            pcm,
            title,
        })
    }
}
