//! A microphone through ALSA: opens the PCM, reads it without ever waiting longer than asked, and stamps packets of 20 ms
//! by the fit of `fit.rs`. Owns the PCM; knows no encoder, no network and no policy of retries.

use super::convert::Converter;
use super::find;
pub use super::find::Identity;
use super::find::{CapturePcm, Choice, SystemDefault, choose, errno, list_microphones, open};
use super::sample_clock::{Continuity, Fit};
use super::setup::{channels, configure, io_error, lines, missing, open_error, unsupported};
use crate::config;
use crate::config::Microphone;
use crate::media::frame::AudioChunk;
use crate::media::resample::Resampler;
use crate::media::{MonoNs, Shape, StampMark, StampSource, StreamInfo};
use crate::source::{AudioSource, Source, SourceError, SourceIdentity};
use alsa::pcm::{PCM, State};
use alsa::poll::{Descriptors, Flags, pollfd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Packets per second where the rate can be divided so; else they are longer by a part of a frame.
const PACKETS: u32 = 50;
/// More sound than this without a stamp for it is no backlog: frames and time do not fit at all. Twice the ring.
const WAITING_S: u32 = 2;
/// A wake-up that brought nothing is not repeated sooner.
const PAUSE: Duration = Duration::from_millis(2);
/// A PCM has one or two descriptors; a count beyond this is no count.
const DESCRIPTORS: usize = 16;
/// A driver's stamp that is further from the clock than this is in another clock.
const CLOCK_TOLERANCE_NS: u64 = 2_000_000_000;

/// An open, running microphone.
///
/// The device's ring holds one second: a reader that is later than that loses what was in it, and the next chunk says so
/// ([`AudioChunk::after_xrun`]). Here at most two seconds wait to be handed out; when a device is faster than that with
/// sound that cannot be stamped, the stream is restarted.
pub struct MicrophoneSource {
    pcm: PCM,
    fds: Vec<pollfd>,
    title: String,
    identity: Option<Identity>,
    notes: Vec<String>,
    converter: Converter,
    device_rate_hz: u32,
    rate_hz: u32,
    stamp_source: StampSource,
    fit: Fit,
    /// Device frames read since the (re)start.
    read: u64,
    raw: Vec<u8>,
    converted: Vec<i16>,
    resampler: Option<Resampler>,
    /// What is to be sent and is no packet yet, interleaved; its first frame's number since the (re)start.
    waiting: Vec<i16>,
    waiting_from: u64,
    /// After a gap: device frames before this one have no known instant and are left out.
    resume: f64,
    packet_frames: usize,
    packet: Vec<i16>,
    /// The stream broke; it is restarted when the whole packets from before are handed out.
    broken: bool,
    lost: bool,
}

/// What a look at the device brought.
enum Look {
    Sound,
    Nothing,
    Broken,
}

impl MicrophoneSource {
    /// Opens the microphone that `which` names, or, after it was open before, the one with the identity `known`: then
    /// under whatever card number it has now, and no other device.
    pub fn open(
        which: &Microphone,
        sound: &config::AudioConfig,
        known: Option<&Identity>,
    ) -> Result<Self, SourceError> {
        let list = list_microphones();
        let missing = || missing(which, known, &list);
        match choose(&list, which, known, SystemDefault::read).ok_or_else(missing)? {
            Choice::Listed(n) => Self::open_listed(sound, list.get(n).ok_or_else(missing)?, &list),
            Choice::Named(name) => match Self::open_named(sound, &name, &list) {
                // The sound server that is the default does not run, or not for this user.
                Err(e)
                    if *which == Microphone::Default && !matches!(e, SourceError::Busy { .. }) =>
                {
                    let first = list.first().ok_or_else(missing)?;
                    let mut source = Self::open_listed(sound, first, &list)?;
                    source.notes.push(format!(
                        "the system's default microphone does not answer; {} is used",
                        source.title
                    ));
                    Ok(source)
                }
                opened => opened,
            },
        }
    }

    fn open_listed(
        sound: &config::AudioConfig,
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
        Self::start(sound, pcm, title, Some(chosen.identity.clone()))
    }

    fn open_named(
        sound: &config::AudioConfig,
        name: &str,
        list: &[CapturePcm],
    ) -> Result<Self, SourceError> {
        let pcm = open(name).map_err(|e| open_error(name, &e, list))?;
        Self::start(sound, pcm, name.to_string(), None)
    }

    fn start(
        sound: &config::AudioConfig,
        pcm: PCM,
        title: String,
        identity: Option<Identity>,
    ) -> Result<Self, SourceError> {
        let set = configure(&pcm, sound, &title)?;
        let rate_hz = sound.rate_hz.unwrap_or(set.rate_hz);
        let mut notes = Vec::new();
        if set.channels != u32::from(sound.channels) {
            notes.push(format!(
                "{title} records in {}, which becomes {}",
                channels(set.channels),
                channels(sound.channels.into())
            ));
        }
        let resampler = if rate_hz == set.rate_hz {
            None
        } else {
            notes.push(format!(
                "{title} does not offer {rate_hz} Hz; its {} Hz are resampled",
                set.rate_hz
            ));
            let refuse =
                |e: crate::media::resample::ResampleError| unsupported(&title, e.to_string());
            Some(Resampler::new(set.rate_hz, rate_hz, sound.channels).map_err(refuse)?)
        };
        if !(1..=DESCRIPTORS).contains(&pcm.count()) {
            return Err(SourceError::Failed {
                device: title,
                why: "it cannot be waited for".into(),
            });
        }
        let fds = pcm
            .get()
            .map_err(|e| io_error(&title, "preparing to wait for sound", &e))?;
        pcm.start().map_err(|e| io_error(&title, "starting", &e))?;
        Ok(Self {
            fds,
            identity,
            notes,
            converter: Converter {
                format: set.format,
                channels_in: set.channels as usize,
                channels_out: usize::from(sound.channels),
            },
            device_rate_hz: set.rate_hz,
            rate_hz,
            stamp_source: set.stamp_source,
            fit: Fit::new(set.rate_hz),
            read: 0,
            raw: Vec::new(),
            converted: Vec::new(),
            resampler,
            waiting: Vec::new(),
            waiting_from: 0,
            resume: 0.0,
            packet_frames: rate_hz.div_ceil(PACKETS) as usize,
            packet: Vec::new(),
            broken: false,
            lost: false,
            pcm,
            title,
        })
    }

    /// Looks at the device once: takes its time, reads all that is there.
    fn look(&mut self) -> Result<Look, SourceError> {
        match self.pcm.state_raw() {
            s if s == State::Disconnected as i32 || s == -libc::ENODEV => return Err(self.gone()),
            s if s == State::Running as i32 => {}
            _ => return Ok(Look::Broken),
        }
        if self.waiting.len() > (self.rate_hz * WAITING_S) as usize * self.converter.channels_out {
            return Ok(Look::Broken);
        }
        let status = match self.pcm.status() {
            Ok(status) => status,
            Err(e) => return self.judge(&e, "asking for its time"),
        };
        let now = MonoNs::now();
        let available = u64::try_from(status.get_avail())
            .unwrap_or(0)
            .min(u64::from(self.device_rate_hz) * 4);
        if available == 0 {
            return Ok(Look::Nothing);
        }
        let at = self.observed_at(&status, now);
        if let Continuity::Gap { resume } = self.fit.observe(self.read + available, at) {
            (self.resume, self.lost) = (resume as f64, true);
        }
        self.read_frames(available as usize)
    }

    fn observed_at(&mut self, status: &alsa::pcm::Status, now: MonoNs) -> MonoNs {
        if self.stamp_source == StampSource::Driver {
            let t = status.get_htstamp();
            let at = MonoNs(
                u64::try_from(i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec))
                    .unwrap_or(0),
            );
            if at.0.abs_diff(now.0) < CLOCK_TOLERANCE_NS {
                return at;
            }
            self.stamp_source = StampSource::Dequeue;
        }
        now
    }

    fn read_frames(&mut self, frames: usize) -> Result<Look, SourceError> {
        self.raw.resize(frames * self.converter.frame_bytes(), 0);
        let read = match self.pcm.io_bytes().readi(&mut self.raw) {
            Ok(0) => return Ok(Look::Nothing),
            Ok(read) => read.min(frames),
            Err(e) => return self.judge(&e, "reading sound"),
        };
        self.read += read as u64;
        let raw = &self.raw[..read * self.converter.frame_bytes()];
        match &mut self.resampler {
            None => self.converter.convert(raw, &mut self.waiting),
            Some(resampler) => {
                self.converted.clear();
                self.converter.convert(raw, &mut self.converted);
                resampler.process(&self.converted, &mut self.waiting);
            }
        }
        Ok(Look::Sound)
    }

    /// What an error of the running stream means.
    fn judge(&self, e: &alsa::Error, doing: &'static str) -> Result<Look, SourceError> {
        match errno(e) {
            libc::EAGAIN | libc::EINTR => Ok(Look::Nothing),
            // An overrun; a suspended machine; a state that the next look explains.
            libc::EPIPE | libc::ESTRPIPE | libc::EBADFD => Ok(Look::Broken),
            libc::ENODEV | libc::ENXIO => Err(self.gone()),
            _ => Err(io_error(&self.title, doing, e)),
        }
    }

    fn gone(&self) -> SourceError {
        SourceError::Missing {
            device: self.title.clone(),
            available: lines(&list_microphones()),
        }
    }

    /// After an overrun or a suspend: all counts begin anew, the rate that was learned stays.
    fn restart(&mut self) -> Result<(), SourceError> {
        let again = self
            .pcm
            .drop()
            .and_then(|()| self.pcm.prepare())
            .and_then(|()| self.pcm.start());
        again.map_err(|e| match errno(&e) {
            libc::ENODEV | libc::ENXIO | libc::EBADFD => self.gone(),
            _ => io_error(&self.title, "starting again", &e),
        })?;
        self.fit.restart();
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
        (self.read, self.waiting_from, self.resume) = (0, 0, 0.0);
        self.waiting.clear();
        self.lost = true;
        Ok(())
    }

    /// Moves the next packet out of what waits, if it is whole and can be stamped.
    fn next_packet(&mut self) -> Option<MonoNs> {
        self.leave_out_unknown();
        while self.fit.may_stamp()
            && self.waiting.len() >= self.packet_frames * self.converter.channels_out
        {
            let stamp = self.fit.stamp(self.device_frame(self.waiting_from));
            self.take(self.packet_frames);
            // Else that time has been told already, with other sound.
            if let Some(stamp) = stamp {
                self.lost |= stamp.jumped;
                return Some(stamp.at);
            }
            self.lost = true;
        }
        None
    }

    fn leave_out_unknown(&mut self) {
        let waiting = (self.waiting.len() / self.converter.channels_out) as u64;
        let known = (0..waiting)
            .find(|n| self.device_frame(self.waiting_from + n) >= self.resume)
            .unwrap_or(waiting);
        if known > 0 {
            self.take(known as usize);
        }
    }

    /// Which of the device's frames (fractional) the frame `n` of what is sent was captured with.
    fn device_frame(&self, n: u64) -> f64 {
        self.resampler
            .as_ref()
            .map_or(n as f64, |resampler| resampler.source_frame(n))
    }

    /// Moves the first `frames` of what waits to `packet`.
    fn take(&mut self, frames: usize) {
        self.packet.clear();
        self.packet
            .extend(self.waiting.drain(..frames * self.converter.channels_out));
        self.waiting_from += frames as u64;
    }

    /// Waits for the device; true when it has something to say.
    fn wait(&mut self, at_most: Duration) -> Result<bool, SourceError> {
        // Rounded up: a wait of no milliseconds would spin.
        let ms = at_most.as_micros().div_ceil(1000).min(60_000) as i32;
        let failed = |e| io_error(&self.title, "waiting for sound", &e);
        match alsa::poll::poll(&mut self.fds, ms) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(e) if errno(&e) == libc::EINTR => return Ok(false),
            Err(e) => return Err(failed(e)),
        }
        let said = self.pcm.revents(&self.fds).map_err(failed)?;
        let disconnected = self.pcm.state_raw() == State::Disconnected as i32;
        if disconnected || said.contains(Flags::NVAL) {
            return Err(self.gone());
        }
        Ok(!said.is_empty())
    }
}

impl Source for MicrophoneSource {
    fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn info(&self) -> StreamInfo {
        StreamInfo {
            device: self.title.clone(),
            device_format: format!(
                "{}, {} Hz, {}",
                self.converter.format.name(),
                self.device_rate_hz,
                channels(self.converter.channels_in as u32),
            ),
            shape: Shape::Audio {
                rate_hz: self.rate_hz,
                channels: self.converter.channels_out as u16,
            },
            fps: None,
            stamp_marks: StampMark::FirstSample,
            stamp_source: self.stamp_source,
            stamp_clock: "CLOCK_MONOTONIC".into(),
            uncertainty_ns: self.fit.uncertainty_ns(),
            drift_ppm: self.fit.drift_ppm(),
        }
    }

    fn identity(&self) -> Option<SourceIdentity> {
        self.identity.clone().map(SourceIdentity::Alsa)
    }
}

impl AudioSource for MicrophoneSource {
    /// `None` after `timeout` (to the millisecond) without a packet: the device may be silent for good, or its first
    /// packets wait for their stamp (0.1 s from the start, and while frames and time disagree).
    fn next_chunk(&mut self, timeout: Duration) -> Result<Option<AudioChunk<'_>>, SourceError> {
        let deadline = Instant::now() + timeout;
        let mut woken = false;
        let first_sample = loop {
            if let Some(stamp) = self.next_packet() {
                break stamp;
            }
            if std::mem::take(&mut self.broken) {
                self.restart()?;
            }
            let found = self.look()?;
            if let Look::Sound = found
                && let Some(stamp) = self.next_packet()
            {
                break stamp;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.broken = matches!(found, Look::Broken);
            if left.is_zero() {
                return Ok(None);
            }
            // A device that breaks at once again, or wakes us for nothing, must not keep a core busy.
            if self.broken || (woken && matches!(found, Look::Nothing)) {
                std::thread::sleep(PAUSE.min(left));
            }
            woken = !self.broken && self.wait(left)?;
        };
        let after_xrun = std::mem::take(&mut self.lost);
        Ok(Some(AudioChunk {
            samples: &self.packet,
            channels: self.converter.channels_out as u16,
            rate_hz: self.rate_hz,
            first_sample,
            after_xrun,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Microphone {
        Microphone::Named(name.into())
    }

    fn sound() -> config::AudioConfig {
        config::AudioConfig {
            source: config::AudioSourceConfig::Test,
            channels: 1,
            rate_hz: None,
            queue_packets: 500,
        }
    }

    #[test]
    fn a_name_that_nobody_knows_is_missing() {
        for name in [
            "hw:CARD=NoSuchCard,DEV=0",
            "no such microphone",
            "with\0nul",
            "plughw:CARD=NoSuchCard",
        ] {
            match MicrophoneSource::open(&named(name), &sound(), None) {
                Err(SourceError::Missing { device, available }) => {
                    assert!(
                        device.contains("NoSuch")
                            || device.contains("no such")
                            || device.contains("nul"),
                        "{device}"
                    );
                    assert_eq!(available.len(), list_microphones().len());
                }
                other => panic!("{name}: {:?}", other.err()),
            }
        }
    }

    #[test]
    fn a_device_that_is_known_is_not_replaced_by_another() {
        let known = Identity {
            model: "ffff:ffff".into(),
            device: 0,
            serial: Some("none has this".into()),
            serial_is_unique: true,
            port: "nowhere".into(),
        };
        let opened = MicrophoneSource::open(&named("null"), &sound(), Some(&known));
        assert!(
            matches!(opened, Err(SourceError::Missing { device, .. }) if device.contains("none has this"))
        );
    }

    /// alsa-lib's `null` device delivers a full ring of silence at once and at every look: no clock fits that.
    #[test]
    fn a_device_faster_than_time_neither_blocks_nor_fills_the_memory() {
        for rate_hz in [None, Some(16_000)] {
            let mut source = MicrophoneSource::open(
                &named("null"),
                &config::AudioConfig { rate_hz, ..sound() },
                None,
            )
            .unwrap();
            let began = Instant::now();
            for _ in 0..20 {
                if let Some(chunk) = source.next_chunk(Duration::from_millis(20)).unwrap() {
                    assert_eq!(chunk.samples.len() as u32, chunk.rate_hz / 50);
                }
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it does not block"
            );
            // At most one ring more than the bound.
            assert!(
                source.waiting.len() <= 48_000 * 2 + 192_000,
                "{}",
                source.waiting.len()
            );
        }
    }
}
