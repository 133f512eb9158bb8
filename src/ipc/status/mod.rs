//! The status page: what a worker says about itself, readable when no packet flows. Single words
//! for what changes all the time, a description (JSON) under a seqlock, and the answers to the
//! requests of its control page. Written by the worker; read by the supervisor (is it alive?) and
//! the server (`/info`), which trust none of it.

pub mod seqlock_text;

use super::control::SLOTS;
use super::mapping::Mapping;
use super::memory::Memory;
use super::ring::MAX_SEQUENCE;
use super::seqlock::Seqlock;
use crate::media::{Encoding, MonoNs, StreamInfo, WorkerState};
use seqlock_text::Text;
use serde::{Deserialize, Serialize};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

const MAGIC: u64 = u64::from_le_bytes(*b"stmpstat");
const VERSION: u64 = 2;
/// Bytes of JSON.
const DESCRIPTION_BYTES: usize = 8192;
/// Bytes of a worker's note to its next generation.
const NOTE_BYTES: usize = 2048;
/// A longer message is cut; the rest of a description is short.
const MESSAGE_BYTES: usize = 1024;
/// The slowest source delivers one frame an hour.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// The most encodings that a stream can have.
pub(super) const MAX_ENCODINGS: usize = 8;
/// Sequence, request number, value, result.
const ANSWER_WORDS: usize = Seqlock::<3>::WORDS;

#[repr(C)]
struct Page {
    magic: u64,
    version: u64,
    heartbeat: u64,
    last_capture: u64,
    /// When it began (ns), times 4, plus the state: one word, so that the two belong together.
    state: u64,
    interval_ns: u64,
    /// Written by the supervisor.
    generation: u64,
    reserved: u64,
    /// By the encoding's place in the list that the page was made with.
    next_sequence: [u64; MAX_ENCODINGS],
    /// Sequence, length, bytes: see `seqlock_text`.
    description: [u64; 2 + DESCRIPTION_BYTES / 8],
    /// The same, for the worker's next generation.
    note: [u64; 2 + NOTE_BYTES / 8],
    /// By the slot of the control page.
    answers: [u64; SLOTS * ANSWER_WORDS],
}

const _: () = assert!(
    size_of::<Page>() == 128 + 16 + DESCRIPTION_BYTES + 16 + NOTE_BYTES + 8 * SLOTS * ANSWER_WORDS
);
const WORDS: usize = size_of::<Page>() / 8;
pub(super) const DESCRIPTION: Text = Text {
    at: offset_of!(Page, description) / 8,
    capacity: DESCRIPTION_BYTES,
};
pub(super) const NOTE: Text = Text {
    at: offset_of!(Page, note) / 8,
    capacity: NOTE_BYTES,
};

macro_rules! word_of {
    ($field:ident) => {
        offset_of!(Page, $field) / 8
    };
}

/// The memory of one status page and its eventfd, made before the fork that shares them.
pub struct SharedStatus {
    pub(super) mapping: Mapping,
    encodings: Arc<[Encoding]>,
}

impl SharedStatus {
    /// Words of its memory.
    pub(super) const WORDS: usize = WORDS;

    /// For a worker that makes `encodings`, at most 8; the server has none. `name` shows in
    /// `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// `InvalidInput` for too many encodings; those of [`Mapping::create`].
    pub fn create(name: &str, encodings: &[Encoding]) -> io::Result<Self> {
        if encodings.len() > MAX_ENCODINGS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mapping = Mapping::create(name, WORDS)?;
        mapping.words()[word_of!(magic)].store(MAGIC, Relaxed);
        mapping.words()[word_of!(version)].store(VERSION, Relaxed);
        Ok(Self {
            mapping,
            encodings: encodings.into(),
        })
    }

    /// Over memory of another process. `None` when its header is not ours, or there are too many
    /// encodings.
    pub(super) fn adopt(mapping: Mapping, encodings: &[Encoding]) -> Option<Self> {
        let words = mapping.words();
        let is_ours = words[word_of!(magic)].load(Relaxed) == MAGIC
            && words[word_of!(version)].load(Relaxed) == VERSION
            && encodings.len() <= MAX_ENCODINGS;
        is_ours.then(|| Self {
            mapping,
            encodings: encodings.into(),
        })
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The memfd and the eventfd, so that a child can close what it must not have.
    pub fn fds(&self) -> [RawFd; 2] {
        self.mapping.fds()
    }

    /// For the worker after its fork. Continues with what is there.
    pub fn writer(&self) -> StatusWriter {
        StatusWriter {
            mapping: self.mapping.clone(),
            encodings: self.encodings.clone(),
        }
    }

    /// For the supervisor and for the server. They share one eventfd: only one of them (the server)
    /// waits for it and drains it.
    pub fn reader(&self) -> StatusReader {
        StatusReader {
            mapping: self.mapping.clone(),
            encodings: self.encodings.clone(),
        }
    }
}

/// The worker's half. One at a time.
pub struct StatusWriter {
    mapping: Mapping,
    encodings: Arc<[Encoding]>,
}

/// The outcome of a request of the control page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestResult {
    Done,
    /// The id is not known to the worker.
    Unknown,
    /// The value is out of range.
    InvalidValue,
    /// The device refused it.
    Refused,
    /// The device is away; the worker keeps the request and carries it out when the device is back.
    Postponed,
}

/// A worker's answer to a request of its control page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the request (see [`control::Request`](super::control::Request)).
    pub number: u64,
    /// The value read back from the device.
    pub value: u64,
    pub result: RequestResult,
}

impl StatusWriter {
    /// The worker's loop runs.
    pub fn set_heartbeat(&self, now: MonoNs) {
        self.set(word_of!(heartbeat), now.0);
    }

    /// When the device delivered its last frame or audio, by this process's clock.
    pub fn set_last_capture(&self, at: MonoNs) {
        self.set(word_of!(last_capture), at.0);
    }

    /// Notifies when the state changes.
    pub fn set_state(&mut self, state: WorkerState) {
        let before = self.mapping.words()[word_of!(state)].load(Relaxed);
        if before >> 2 == 0 || before & 3 != code(state) {
            self.set(word_of!(state), MonoNs::now().0 << 2 | code(state));
            self.mapping.notify();
        }
    }

    /// The time expected between two frames, or two packets of audio.
    pub fn set_interval(&self, interval: Duration) {
        self.set(
            word_of!(interval_ns),
            interval.min(MAX_INTERVAL).as_nanos() as u64,
        );
    }

    /// The sequence number of the next packet of this encoding. Ignored for an encoding that the
    /// page was not made with.
    pub fn set_next_sequence(&self, encoding: Encoding, next: u64) {
        if let Some(place) = place(&self.encodings, encoding) {
            self.set(word_of!(next_sequence) + place, next);
        }
    }

    /// What the source is (`None`: there is none now), and its last error in one line, or an empty
    /// text; beyond 1 KiB the line is cut. Notifies.
    pub fn describe(&mut self, info: Option<&StreamInfo>, message: &str) {
        let end = (0..=message.len().min(MESSAGE_BYTES))
            .rev()
            .find(|&at| message.is_char_boundary(at));
        let message = &message[..end.unwrap_or(0)];
        #[derive(Serialize)]
        struct DescriptionJson<'a> {
            info: Option<&'a StreamInfo>,
            message: &'a str,
        }
        let json = |info| {
            serde_json::to_vec(&DescriptionJson { info, message }).expect("plain data becomes JSON")
        };
        let mut bytes = json(info);
        if bytes.len() > DESCRIPTION_BYTES {
            // Only a device whose name fills kilobytes gets here.
            bytes = json(None);
        }
        DESCRIPTION.write(&self.mapping, &bytes);
        self.mapping.notify();
    }

    /// Answers a request of the control page; `slot` is below 64. Notifies.
    pub fn answer(&self, slot: usize, answer: Answer) {
        let result = match answer.result {
            RequestResult::Done => 0,
            RequestResult::Unknown => 1,
            RequestResult::InvalidValue => 2,
            RequestResult::Refused => 3,
            RequestResult::Postponed => 4,
        };
        answer_at(slot).write(&self.mapping, [answer.number, answer.value, result]);
        self.mapping.notify();
    }

    /// Saves a note for the worker's next generation. A note over 2 KiB is discarded and clears the
    /// previous one.
    pub fn save_note(&mut self, note: &[u8]) {
        NOTE.write(
            &self.mapping,
            if note.len() > NOTE_BYTES { &[] } else { note },
        );
    }

    /// The note of the generation before, at most 2 KiB. Untrusted: that generation may have been
    /// taken over. `None` where there is none, or its writer was killed while writing.
    pub fn saved_note(&self) -> Option<Vec<u8>> {
        NOTE.read(&self.mapping).filter(|note| !note.is_empty())
    }

    /// This worker's generation, from 1, as the supervisor counts; 0 where there is no supervisor.
    pub fn generation(&self) -> u32 {
        generation(&self.mapping)
    }

    fn set(&self, at: usize, value: u64) {
        self.mapping.words()[at].store(value, Release);
    }
}

/// The values that change all the time, each by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSnapshot {
    /// When the worker's loop last ran; `None` before the first time. Never later than now.
    pub heartbeat: Option<MonoNs>,
    /// When the device gave its last frame; `None` before the first. Never later than now.
    pub last_capture: Option<MonoNs>,
    pub state: WorkerState,
    /// When the state began; `None` before the worker set one. Never later than now.
    pub state_since: Option<MonoNs>,
    /// Time expected between frames; `None` while unknown; at most an hour.
    pub interval: Option<Duration>,
    /// The worker's generation, from 1, as the supervisor counts; 0 before the first.
    pub generation: u32,
    next_sequence: [u64; MAX_ENCODINGS],
    encodings: Arc<[Encoding]>,
}

impl StatusSnapshot {
    /// The sequence number of the next packet of `encoding`; at most [`MAX_SEQUENCE`]. 0 for an
    /// encoding that the page was not made with.
    pub fn next_sequence(&self, encoding: Encoding) -> u64 {
        place(&self.encodings, encoding).map_or(0, |place| self.next_sequence[place])
    }
}

/// What the source is, and its last error.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Description {
    /// `None` while there is no source.
    pub info: Option<StreamInfo>,
    /// The last error in one line; empty when there is none.
    pub message: String,
}

/// The readers' half.
pub struct StatusReader {
    mapping: Mapping,
    encodings: Arc<[Encoding]>,
}

impl StatusReader {
    /// The page may hold anything: every value is limited to what is plausible.
    pub fn snapshot(&self) -> StatusSnapshot {
        let now = MonoNs::now();
        let instant = |ns: u64| (ns != 0).then_some(MonoNs(ns).min(now));
        // A later instant would be another one at each call.
        let past = |ns: u64| (ns != 0 && ns <= now.0).then_some(MonoNs(ns));
        let state = self.get(word_of!(state));
        let interval = Duration::from_nanos(self.get(word_of!(interval_ns))).min(MAX_INTERVAL);
        let next = |i| self.get(word_of!(next_sequence) + i).min(MAX_SEQUENCE);
        StatusSnapshot {
            heartbeat: instant(self.get(word_of!(heartbeat))),
            last_capture: instant(self.get(word_of!(last_capture))),
            state: match state & 3 {
                1 => WorkerState::WaitingForDevice,
                2 => WorkerState::Streaming,
                _ => WorkerState::Starting,
            },
            state_since: past(state >> 2),
            interval: (!interval.is_zero()).then_some(interval),
            generation: generation(&self.mapping),
            next_sequence: std::array::from_fn(next),
            encodings: self.encodings.clone(),
        }
    }

    /// What the worker last said about its source. `None` before the first time, while it is being
    /// written, and when it is not valid JSON.
    pub fn description(&self) -> Option<Description> {
        serde_json::from_slice(&DESCRIPTION.read(&self.mapping)?).ok()
    }

    /// The worker's last answer in this slot (below 64) of its control page. `None` before the
    /// first, while it is being written, and when the result is not a known one. (The server makes
    /// no request yet that is answered.)
    #[cfg(test)]
    pub fn answer(&self, slot: usize) -> Option<Answer> {
        let (_, [number, value, result]) = answer_at(slot).read(&self.mapping)?;
        let result = match result {
            0 => RequestResult::Done,
            1 => RequestResult::Unknown,
            2 => RequestResult::InvalidValue,
            3 => RequestResult::Refused,
            4 => RequestResult::Postponed,
            _ => return None,
        };
        Some(Answer {
            number,
            value,
            result,
        })
    }

    /// Readable after each change of state, description or answer until
    /// [`drain_event`](Self::drain_event).
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.mapping.event_fd()
    }

    /// To be called before the page is read.
    pub fn drain_event(&self) {
        self.mapping.drain();
    }

    /// For the supervisor, before it forks this generation of the worker: clears heartbeat, last
    /// frame, interval and state. Sequence numbers, description and note stay. Does not notify: a
    /// hostile worker may have left an eventfd that blocks. The next generation notifies at its
    /// first state.
    pub fn reset(&self, generation: u32) {
        self.mapping.words()[word_of!(generation)].store(generation.into(), Relaxed);
        for at in [
            word_of!(heartbeat),
            word_of!(last_capture),
            word_of!(state),
            word_of!(interval_ns),
        ] {
            self.mapping.words()[at].store(0, Relaxed);
        }
    }

    fn get(&self, at: usize) -> u64 {
        self.mapping.words()[at].load(Relaxed)
    }
}

fn generation(mapping: &Mapping) -> u32 {
    u32::try_from(mapping.words()[word_of!(generation)].load(Relaxed)).unwrap_or(u32::MAX)
}

fn answer_at(slot: usize) -> Seqlock<3> {
    assert!(slot < SLOTS, "a control page has {SLOTS} slots");
    Seqlock {
        at: word_of!(answers) + slot * ANSWER_WORDS,
    }
}

fn code(state: WorkerState) -> u64 {
    match state {
        WorkerState::Starting => 0,
        WorkerState::WaitingForDevice => 1,
        WorkerState::Streaming => 2,
    }
}

fn place(encodings: &[Encoding], encoding: Encoding) -> Option<usize> {
    encodings.iter().position(|e| *e == encoding)
}

#[cfg(test)]
mod tests;
