//! The reading half over any memory. Trusts nothing that it reads: copies, validates, tries again a
//! bounded number of times. The protocol is described in `writer`. Record headers and payloads have
//! no meaning here.

use super::layout;
use super::layout::{Geometry, unpack_place};
use crate::ipc::memory::{Memory, Word, read_bytes};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// How often one call starts again because the writer overtook it.
const ATTEMPTS: usize = 16;
/// The head may be this far ahead of the reader. At a thousand packets a second: 49 days without a
/// read.
const MAX_LEAD: u64 = 1 << 32;

/// What only a broken or hostile writer leaves in the memory. Except for `Header`, the reader has
/// then dropped all that was queued and stands at the head: the next call starts fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    #[error("the head jumped to record {head} while record {next} was next")]
    Head { head: u64, next: u64 },
    #[error("records {tail} to {head} are more than the ring's {packets} slots")]
    Tail { tail: u64, head: u64, packets: u32 },
    #[error("the slot of record {record} holds record {found}")]
    Slot { record: u64, found: u64 },
    #[error("record {record} is outside the data area (offset and length: {place:#018x})")]
    Place { record: u64, place: u64 },
    /// Only this record was skipped.
    #[error("the header of record {record} is invalid: {what}")]
    Header { record: u64, what: &'static str },
    #[error("the writer overtook the reader {ATTEMPTS} times in a row")]
    Overtaken,
}

/// The only reader of a ring.
pub struct Reader<M, const L: usize> {
    memory: M,
    geometry: Geometry,
    /// The record to read next. Kept here: its copy in the memory is for the writer only.
    next: u64,
    dropped: u64,
}

impl<M: Memory, const L: usize> Reader<M, L> {
    /// Starts at the head: what was queued before is consumed unread, and not counted as dropped.
    ///
    /// `memory` must be at least `geometry.total_words()` long.
    pub fn new(memory: M, geometry: Geometry) -> Self {
        assert!(
            memory.words().len() >= geometry.total_words(),
            "the mapping is as long as its geometry"
        );
        let mut reader = Self {
            memory,
            geometry,
            next: 0,
            dropped: 0,
        };
        reader.resync();
        reader.dropped = 0;
        reader
    }

    /// The oldest unread record: its header, and its payload in `payload`, whose contents are
    /// replaced. `None` when there is none. Never blocks.
    ///
    /// # Errors
    /// What only a broken or hostile writer leaves in the memory: see [`RingFault`].
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<Option<Record<L>>, RingFault> {
        let popped = self.try_pop(payload);
        match popped {
            Ok(Some(_)) => {}
            Ok(None) => payload.clear(),
            Err(_) => {
                payload.clear();
                self.resync();
            }
        }
        popped
    }

    /// Records that this reader skipped since it was made, because the ring was full or after a
    /// fault. Exact for an honest writer.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn memory(&self) -> &M {
        &self.memory
    }

    fn try_pop(&mut self, payload: &mut Vec<u8>) -> Result<Option<Record<L>>, RingFault> {
        let packets = self.geometry.packets;
        for _ in 0..ATTEMPTS {
            let words = self.memory.words();
            // Acquire: pairs with the Release of `head` in `Writer::push`; all records before it
            // are complete.
            let head = words[layout::HEAD].load(Acquire);
            let lead = head.wrapping_sub(self.next);
            if lead == 0 {
                return Ok(None);
            }
            if lead > MAX_LEAD {
                return Err(RingFault::Head {
                    head,
                    next: self.next,
                });
            }
            let tail = words[layout::TAIL].load(Relaxed);
            let queued = head.wrapping_sub(tail);
            if queued > u64::MAX / 2 {
                // The tail is beyond the head that we saw: the writer was faster.
                continue;
            }
            if queued > u64::from(packets) {
                return Err(RingFault::Tail {
                    tail,
                    head,
                    packets,
                });
            }
            if queued < lead {
                self.skip(lead - queued);
            }
            if queued == 0 {
                return Ok(None);
            }
            if let Some(header) = self.copy(self.next, payload)? {
                let record = Record {
                    number: self.next,
                    header,
                };
                self.advance(1);
                return Ok(Some(record));
            }
        }
        Err(RingFault::Overtaken)
    }

    /// Copies record `n`. `None` when the writer dropped it meanwhile: the copy is then invalid.
    fn copy(&self, n: u64, payload: &mut Vec<u8>) -> Result<Option<[u64; L]>, RingFault> {
        let words = self.memory.words();
        let slot = self.geometry.slot(n);
        let found = words[slot + layout::SLOT_INDEX].load(Relaxed);
        let place = words[slot + layout::SLOT_PLACE].load(Relaxed);
        let mut header = [0; L];
        for (value, word) in header.iter_mut().zip(&words[slot + layout::SLOT_HEADER..]) {
            *value = word.load(Relaxed);
        }
        // Checked only once it is known not to be torn.
        if !self.still_there(n) {
            return Ok(None);
        }
        if found != n {
            return Err(RingFault::Slot { record: n, found });
        }
        let Some((at, length_words, length)) = unpack_place(&self.geometry, place) else {
            return Err(RingFault::Place { record: n, place });
        };
        // No clear: a vector that is used again is not zeroed first.
        payload.resize(length, 0);
        let first = self.geometry.data() + at;
        read_bytes(&words[first..first + length_words], payload);
        Ok(self.still_there(n).then_some(header))
    }

    /// Whether no part of record `n` had been overwritten when the loads before this call were
    /// made.
    fn still_there(&self, n: u64) -> bool {
        // Acquire: pairs with the Release fence in `Writer::push`. If a load before it saw a word
        // of a newer record, the load after it sees the tail that was moved before.
        M::fence(Acquire);
        let tail = self.memory.words()[layout::TAIL].load(Relaxed);
        n.wrapping_sub(tail) <= u64::MAX / 2
    }

    /// Skips `count` records that the writer dropped.
    fn skip(&mut self, count: u64) {
        self.dropped = self.dropped.saturating_add(count);
        self.advance(count);
    }

    fn advance(&mut self, count: u64) {
        self.next = self.next.wrapping_add(count);
        // Release: pairs with the Acquire of `cursor` in `Writer::take_back_consumed`.
        self.memory.words()[layout::CURSOR].store(self.next, Release);
    }

    /// Drops all that is queued and moves to the head.
    fn resync(&mut self) {
        // Acquire: pairs with the Release of `head` in `Writer::push`.
        let head = self.memory.words()[layout::HEAD].load(Acquire);
        let lead = head.wrapping_sub(self.next);
        if lead <= MAX_LEAD {
            self.skip(lead);
        } else {
            self.next = head;
            self.advance(0);
        }
    }
}

/// A copy of one record: its number in the ring and its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<const L: usize> {
    pub number: u64,
    pub header: [u64; L],
}
