//! The page on which a worker says how it is, readable when no packet flows: hot values as single words, and a description
//! (JSON) under a seqlock. Written by the worker, read by the supervisor (is it alive?) and by the server (`/info`).

pub mod seqlock_text;

use super::mapping::Mapping;
use super::memory::Memory;
use super::ring::record_header::MAX_SEQUENCE;
use super::status::seqlock_text::Text;
use crate::media::{Encoding, MonoNs, StreamInfo, WorkerState};
use serde::{Deserialize, Serialize};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

const MAGIC: u64 = u64::from_le_bytes(*b"stmpstat");
const VERSION: u64 = 1;
/// Bytes of JSON.
const DESCRIPTION_BYTES: usize = 8192;
/// Bytes of a worker's note to its next life.
const NOTE_BYTES: usize = 2048;
/// A message longer than this is cut; what else a description holds is short.
const MESSAGE_BYTES: usize = 1024;
/// No source is slower than a frame an hour.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);

#[repr(C)]
struct Page {
    magic: u64,
    version: u64,
    heartbeat: u64,
    last_capture: u64,
    /// When it began (ns), times 4, plus the state: one word, so that the two belong together.
    state: u64,
    interval_ns: u64,
    next_sequence: [u64; 4],
    /// Written by the supervisor.
    generation: u64,
    reserved: [u64; 5],
    /// Sequence, length, bytes: see `page`.
    description: [u64; 2 + DESCRIPTION_BYTES / 8],
    /// The same, for the worker's next life.
    note: [u64; 2 + NOTE_BYTES / 8],
}

const _: () = assert!(size_of::<Page>() == 128 + 16 + DESCRIPTION_BYTES + 16 + NOTE_BYTES);
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

/// The memory of one worker's page and its eventfd, made before the fork that shares them.
pub struct SharedStatus {
    pub(super) mapping: Mapping,
}

impl SharedStatus {
    /// `name` shows in `/proc/<pid>/maps`.
    pub fn create(name: &str) -> io::Result<Self> {
        let mapping = Mapping::create(name, WORDS)?;
        mapping.words()[word_of!(magic)].store(MAGIC, Relaxed);
        mapping.words()[word_of!(version)].store(VERSION, Relaxed);
        Ok(Self { mapping })
    }

    /// The memfd and the eventfd, so that a child can close what is not its own.
    pub fn fds(&self) -> [RawFd; 2] {
        self.mapping.fds()
    }

    /// Address and length in bytes, so that a child can unmap what is not its own.
    pub fn mapping(&self) -> (usize, usize) {
        self.mapping.range()
    }

    /// For the worker after its fork. Goes on from what is there.
    pub fn writer(&self) -> StatusWriter {
        StatusWriter {
            mapping: self.mapping.clone(),
        }
    }

    /// For the supervisor and for the server. They share one eventfd: one of them (the server) waits on it and clears it.
    pub fn reader(&self) -> StatusReader {
        StatusReader {
            mapping: self.mapping.clone(),
        }
    }
}

/// The worker's half. One at a time.
pub struct StatusWriter {
    mapping: Mapping,
}

impl StatusWriter {
    /// The worker's loop lives.
    pub fn beat(&self, now: MonoNs) {
        self.set(word_of!(heartbeat), now.0);
    }

    /// The last frame that the device gave, by our clock.
    pub fn note_capture(&self, at: MonoNs) {
        self.set(word_of!(last_capture), at.0);
    }

    /// Rings when the state is another one than before.
    pub fn set_state(&mut self, state: WorkerState) {
        let before = self.mapping.words()[word_of!(state)].load(Relaxed);
        if before >> 2 == 0 || before & 3 != code(state) {
            self.set(word_of!(state), MonoNs::now().0 << 2 | code(state));
            self.mapping.ring();
        }
    }

    /// The time expected between two frames, or two packets of sound.
    pub fn set_interval(&self, interval: Duration) {
        self.set(
            word_of!(interval_ns),
            interval.min(MAX_INTERVAL).as_nanos() as u64,
        );
    }

    /// The number that the next packet of this encoding will get.
    pub fn set_next_sequence(&self, encoding: Encoding, next: u64) {
        self.set(word_of!(next_sequence) + lane(encoding), next);
    }

    /// What the source is (`None`: there is none now), and its last fault in one line, or an empty text; a line beyond 1 KiB
    /// is cut. Rings.
    pub fn describe(&mut self, info: Option<&StreamInfo>, message: &str) {
        let end = (0..=message.len().min(MESSAGE_BYTES))
            .rev()
            .find(|&at| message.is_char_boundary(at));
        let message = &message[..end.unwrap_or(0)];
        #[derive(Serialize)]
        struct Said<'a> {
            info: Option<&'a StreamInfo>,
            message: &'a str,
        }
        let json =
            |info| serde_json::to_vec(&Said { info, message }).expect("plain data becomes JSON");
        let mut bytes = json(info);
        if bytes.len() > DESCRIPTION_BYTES {
            // Only a device whose name fills kilobytes gets here.
            bytes = json(None);
        }
        DESCRIPTION.write(&self.mapping, &bytes);
        self.mapping.ring();
    }

    /// Leaves a note for the worker's next life. One beyond 2 KiB is not left, since half a note is none; nor is the one
    /// before kept.
    pub fn leave_note(&mut self, note: &[u8]) {
        NOTE.write(
            &self.mapping,
            if note.len() > NOTE_BYTES { &[] } else { note },
        );
    }

    /// What the life before left, at most 2 KiB. Whoever took that life over may have written it. `None` where there is none,
    /// or its writer was killed over it.
    pub fn note_left(&self) -> Option<Vec<u8>> {
        NOTE.read(&self.mapping).filter(|note| !note.is_empty())
    }

    /// Which life this is, from 1, as the supervisor counts; 0 where there is none.
    pub fn generation(&self) -> u32 {
        generation(&self.mapping)
    }

    fn set(&self, at: usize, value: u64) {
        self.mapping.words()[at].store(value, Release);
    }
}

/// The values that change all the time, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hot {
    /// When the worker's loop last went round; `None` before the first time. Never later than now.
    pub heartbeat: Option<MonoNs>,
    /// The last frame that the device gave; `None` before the first. Never later than now.
    pub last_capture: Option<MonoNs>,
    pub state: WorkerState,
    /// When the state began; `None` while the worker has said nothing. Never later than now.
    pub state_since: Option<MonoNs>,
    /// Time expected between frames; `None` while unknown; at most an hour.
    pub interval: Option<Duration>,
    /// Which life of the worker this is, from 1, as the supervisor counts; 0 before the first.
    pub generation: u32,
    next_sequence: [u64; 4],
}

impl Hot {
    /// The number that the next packet of `encoding` will get; at most [`MAX_SEQUENCE`].
    pub fn next_sequence(&self, encoding: Encoding) -> u64 {
        self.next_sequence[lane(encoding)]
    }
}

/// What the source is, and the last thing that went wrong.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Description {
    /// `None` while there is no source.
    pub info: Option<StreamInfo>,
    /// The last fault in one line; empty when there is none.
    pub message: String,
}

/// The readers' half.
pub struct StatusReader {
    mapping: Mapping,
}

impl StatusReader {
    /// The page may hold anything: every value is bent to what is plausible.
    pub fn hot(&self) -> Hot {
        let now = MonoNs::now();
        let instant = |ns: u64| (ns != 0).then_some(MonoNs(ns).min(now));
        // One that lies ahead would be another at each look.
        let past = |ns: u64| (ns != 0 && ns <= now.0).then_some(MonoNs(ns));
        let state = self.get(word_of!(state));
        let interval = Duration::from_nanos(self.get(word_of!(interval_ns))).min(MAX_INTERVAL);
        let next = |i| self.get(word_of!(next_sequence) + i).min(MAX_SEQUENCE);
        Hot {
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
        }
    }

    /// What the worker last said of its source. `None` before the first time, while it is being written, and when it is not
    /// valid JSON.
    pub fn description(&self) -> Option<Description> {
        serde_json::from_slice(&DESCRIPTION.read(&self.mapping)?).ok()
    }

    /// Readable after each change of state or description until [`clear_event`](Self::clear_event).
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.mapping.event_fd()
    }

    /// To be called before the page is read.
    pub fn clear_event(&self) {
        self.mapping.clear();
    }

    /// For the supervisor, before a worker's life with this number: heartbeat, last frame, interval and state begin anew.
    /// Numbers, description and note stay. Does not ring, since a hostile worker may have left an eventfd that would hold
    /// whoever rings it; the next life rings with its first word.
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

fn code(state: WorkerState) -> u64 {
    match state {
        WorkerState::Starting => 0,
        WorkerState::WaitingForDevice => 1,
        WorkerState::Streaming => 2,
    }
}

fn lane(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Jpeg => 0,
        Encoding::H264 => 1,
        Encoding::Pcm => 2,
        Encoding::Opus => 3,
    }
}
