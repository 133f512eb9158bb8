//! A microphone through ALSA: reads the PCM without waiting longer than asked, and stamps chunks of
//! 20 ms by the sample clock. `opening` selects and opens the PCM.

mod opening;
#[cfg(test)]
mod tests;

use super::convert::Converter;
pub use super::find::Identity;
use super::find::{errno, list_microphones};
use super::sample_clock::{Continuity, SampleClock};
use super::setup::{channels, io_error, lines};
use crate::media::frame::AudioChunk;
use crate::media::{MonoNs, Shape, StampMark, StampSource, StreamInfo};
use crate::source::{AudioSource, Note, Source, SourceError, SourceIdentity};
use alsa::pcm::{PCM, State};
use alsa::poll::{Descriptors, Flags, pollfd};
use std::time::{Duration, Instant};

/// With more audio than this without a stamp, frames and time do not agree at all. Twice the ring.
const WAITING_S: u32 = 2;
/// The pause after a wake-up without samples.
const PAUSE: Duration = Duration::from_millis(2);
/// A driver's stamp that is further from CLOCK_MONOTONIC than this is of another clock.
const CLOCK_TOLERANCE_NS: u64 = 2_000_000_000;

/// An open, running microphone.
///
/// The device's ring holds one second: a reader that is later than that loses what was in it, and
/// the next chunk has [`AudioChunk::after_xrun`]. At most two seconds of audio wait here; when a
/// device delivers more that cannot be stamped, the stream is restarted.
pub struct MicrophoneSource {
    pcm: PCM,
    fds: Vec<pollfd>,
    title: String,
    identity: Option<Identity>,
    notes: Vec<Note>,
    converter: Converter,
    rate_hz: u32,
    stamp_source: StampSource,
    sample_clock: SampleClock,
    /// Device frames read since the (re)start.
    read: u64,
    raw: Vec<u8>,
    /// Samples that are not in a chunk yet, interleaved; the number of their first frame since the
    /// (re)start.
    waiting: Vec<i16>,
    waiting_from: u64,
    /// After a gap: frames before this one have no known capture time and are discarded.
    resume: u64,
    chunk_frames: usize,
    chunk: Vec<i16>,
    /// The stream broke; it is restarted when the complete chunks from before are delivered.
    broken: bool,
    lost: bool,
}

/// The result of reading the device without waiting.
enum PollResult {
    Samples,
    Nothing,
    Broken,
}

impl MicrophoneSource {
    /// Reads the device's clock and all samples that are there. Never waits.
    fn poll_device(&mut self) -> Result<PollResult, SourceError> {
        match self.pcm.state_raw() {
            s if s == State::Disconnected as i32 || s == -libc::ENODEV => {
                return Err(self.disconnected());
            }
            s if s == State::Running as i32 => {}
            _ => return Ok(PollResult::Broken),
        }
        if self.waiting.len() > (self.rate_hz * WAITING_S) as usize * self.converter.channels_out {
            return Ok(PollResult::Broken);
        }
        let status = match self.pcm.status() {
            Ok(status) => status,
            Err(e) => return self.classify_error(&e, "asking for its time"),
        };
        let now = MonoNs::now();
        let available = u64::try_from(status.get_avail())
            .unwrap_or(0)
            .min(u64::from(self.rate_hz) * 4);
        if available == 0 {
            return Ok(PollResult::Nothing);
        }
        let at = self.observed_at(&status, now);
        if let Continuity::Gap { resume } = self.sample_clock.observe(self.read + available, at) {
            (self.resume, self.lost) = (resume, true);
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

    fn read_frames(&mut self, frames: usize) -> Result<PollResult, SourceError> {
        self.raw.resize(frames * self.converter.frame_bytes(), 0);
        let read = match self.pcm.io_bytes().readi(&mut self.raw) {
            Ok(0) => return Ok(PollResult::Nothing),
            Ok(read) => read.min(frames),
            Err(e) => return self.classify_error(&e, "reading samples"),
        };
        self.read += read as u64;
        let raw = &self.raw[..read * self.converter.frame_bytes()];
        self.converter.convert(raw, &mut self.waiting);
        Ok(PollResult::Samples)
    }

    /// What an error of the running stream means.
    fn classify_error(
        &self,
        e: &alsa::Error,
        doing: &'static str,
    ) -> Result<PollResult, SourceError> {
        match errno(e) {
            libc::EAGAIN | libc::EINTR => Ok(PollResult::Nothing),
            // An overrun; a suspended machine; a state that the next call explains.
            libc::EPIPE | libc::ESTRPIPE | libc::EBADFD => Ok(PollResult::Broken),
            libc::ENODEV | libc::ENXIO => Err(self.disconnected()),
            _ => Err(io_error(&self.title, doing, e)),
        }
    }

    fn disconnected(&self) -> SourceError {
        SourceError::Missing {
            device: self.title.clone(),
            available: lines(&list_microphones()),
        }
    }

    /// After an overrun or a suspend: counts restart from 0, the learned rate stays.
    fn restart(&mut self) -> Result<(), SourceError> {
        let again = self
            .pcm
            .drop()
            .and_then(|()| self.pcm.prepare())
            .and_then(|()| self.pcm.start());
        again.map_err(|e| match errno(&e) {
            libc::ENODEV | libc::ENXIO | libc::EBADFD => self.disconnected(),
            _ => io_error(&self.title, "starting again", &e),
        })?;
        self.sample_clock.restart();
        (self.read, self.waiting_from, self.resume) = (0, 0, 0);
        self.waiting.clear();
        self.lost = true;
        Ok(())
    }

    /// Moves the next chunk out of the waiting samples, if it is complete and can be stamped.
    fn take_chunk(&mut self) -> Option<MonoNs> {
        self.discard_unknown();
        while self.sample_clock.may_stamp()
            && self.waiting.len() >= self.chunk_frames * self.converter.channels_out
        {
            let stamp = self.sample_clock.stamp(self.waiting_from as f64);
            self.take(self.chunk_frames);
            // Otherwise that time was covered already, by other samples.
            if let Some(stamp) = stamp {
                self.lost |= stamp.jumped;
                return Some(stamp.at);
            }
            self.lost = true;
        }
        None
    }

    fn discard_unknown(&mut self) {
        let waiting = (self.waiting.len() / self.converter.channels_out) as u64;
        let unknown = self.resume.saturating_sub(self.waiting_from).min(waiting);
        if unknown > 0 {
            self.take(unknown as usize);
        }
    }

    /// Moves the first `frames` of the waiting samples to `chunk`.
    fn take(&mut self, frames: usize) {
        self.chunk.clear();
        self.chunk
            .extend(self.waiting.drain(..frames * self.converter.channels_out));
        self.waiting_from += frames as u64;
    }

    /// Waits for the device; true when it has an event.
    fn wait(&mut self, at_most: Duration) -> Result<bool, SourceError> {
        // Rounded up: a wait of no milliseconds would spin.
        let ms = at_most.as_micros().div_ceil(1000).min(60_000) as i32;
        let failed = |e| io_error(&self.title, "waiting for samples", &e);
        match alsa::poll::poll(&mut self.fds, ms) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(e) if errno(&e) == libc::EINTR => return Ok(false),
            Err(e) => return Err(failed(e)),
        }
        let events = self.pcm.revents(&self.fds).map_err(failed)?;
        let disconnected = self.pcm.state_raw() == State::Disconnected as i32;
        if disconnected || events.contains(Flags::NVAL) {
            return Err(self.disconnected());
        }
        Ok(!events.is_empty())
    }
}

impl Source for MicrophoneSource {
    fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn info(&self) -> StreamInfo {
        StreamInfo {
            device: self.title.clone(),
            device_format: format!(
                "{}, {} Hz, {}",
                self.converter.format.name(),
                self.rate_hz,
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
            uncertainty_ns: self.sample_clock.uncertainty_ns(),
            drift_ppm: self.sample_clock.drift_ppm(),
        }
    }

    fn identity(&self) -> Option<SourceIdentity> {
        self.identity.clone().map(SourceIdentity::Alsa)
    }
}

impl AudioSource for MicrophoneSource {
    /// `None` after `timeout` (to the millisecond) without a chunk: the device may have stalled, or
    /// its first chunks wait for their stamp (0.1 s from the start, and while frames and time
    /// disagree).
    fn next_chunk(&mut self, timeout: Duration) -> Result<Option<AudioChunk<'_>>, SourceError> {
        let deadline = Instant::now() + timeout;
        let mut woken = false;
        let first_sample = loop {
            if let Some(stamp) = self.take_chunk() {
                break stamp;
            }
            if std::mem::take(&mut self.broken) {
                self.restart()?;
            }
            let found = self.poll_device()?;
            if let PollResult::Samples = found
                && let Some(stamp) = self.take_chunk()
            {
                break stamp;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.broken = matches!(found, PollResult::Broken);
            if left.is_zero() {
                return Ok(None);
            }
            // A device that breaks again at once, or wakes us for nothing, must not keep a core
            // busy.
            if self.broken || (woken && matches!(found, PollResult::Nothing)) {
                std::thread::sleep(PAUSE.min(left));
            }
            woken = !self.broken && self.wait(left)?;
        };
        let after_xrun = std::mem::take(&mut self.lost);
        Ok(Some(AudioChunk {
            samples: &self.chunk,
            channels: self.converter.channels_out as u16,
            rate_hz: self.rate_hz,
            first_sample,
            after_xrun,
        }))
    }
}
