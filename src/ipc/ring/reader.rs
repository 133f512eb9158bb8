//! The reading half over any memory. Trusts nothing that it reads: copies, validates, tries again a bounded number of
//! times. Knows the layout and the protocol (told in `writer`); not what labels and payloads mean.

use super::layout;
use super::layout::{Geometry, unpack_place};
use crate::ipc::memory::{Memory, Word, read_bytes};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// How often one call starts anew because the writer overtook it.
const ATTEMPTS: usize = 16;
/// The head may be this far ahead of us. At a thousand packets a second: 49 days without one look.
const MAX_LEAD: u64 = 1 << 32;

/// What only a broken or hostile writer leaves in the memory. But for `Label`, the reader has then dropped all that was
/// queued and stands at the head, so the next call begins afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    #[error("the ring's head jumped to record {head} while record {next} was next")]
    Head { head: u64, next: u64 },
    #[error(
        "the ring claims to hold the records {tail} to {head}, which is more than its {packets} slots"
    )]
    Tail { tail: u64, head: u64, packets: u32 },
    #[error("the slot of record {record} says that it is record {found}")]
    Slot { record: u64, found: u64 },
    #[error(
        "record {record} claims to lie outside the ring's data (offset and length: {place:#018x})"
    )]
    Place { record: u64, place: u64 },
    /// This record alone was skipped.
    #[error("the label of record {record} is not valid: {what}")]
    Label { record: u64, what: &'static str },
    #[error("the ring's writer overtook its reader {ATTEMPTS} times in a row")]
    Overtaken,
}

/// The only reader of a ring.
pub struct Reader<M, const L: usize> {
    memory: M,
    geometry: Geometry,
    /// The record wanted next. Private: what the memory says of it is for the writer only.
    next: u64,
    dropped: u64,
}

impl<M: Memory, const L: usize> Reader<M, L> {
    /// Begins at the head: what was queued before is consumed unread, and not counted as dropped.
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

    /// The oldest unread record: its label, and its payload in place of what `payload` held. `None` when there is
    /// none. Never blocks.
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

    /// Records that this reader passed over, because the ring was full or after a fault. Exact for an honest writer, from
    /// this reader's beginning on.
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
            // Acquire: pairs with the Release of `head` in `Writer::push`; all records before it are complete.
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
                // The tail is beyond the head that we saw: the writer went on in between.
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
            if let Some(label) = self.copy(self.next, payload)? {
                let record = Record {
                    number: self.next,
                    label,
                };
                self.advance(1);
                return Ok(Some(record));
            }
        }
        Err(RingFault::Overtaken)
    }

    /// Copies record `n`. `None` when the writer took it back meanwhile: what was copied is then worth nothing.
    fn copy(&self, n: u64, payload: &mut Vec<u8>) -> Result<Option<[u64; L]>, RingFault> {
        let words = self.memory.words();
        let slot = self.geometry.slot(n);
        let found = words[slot + layout::SLOT_INDEX].load(Relaxed);
        let place = words[slot + layout::SLOT_PLACE].load(Relaxed);
        let mut label = [0; L];
        for (value, word) in label.iter_mut().zip(&words[slot + layout::SLOT_LABEL..]) {
            *value = word.load(Relaxed);
        }
        // Judged only once it is known not to be torn.
        if !self.still_there(n) {
            return Ok(None);
        }
        if found != n {
            return Err(RingFault::Slot { record: n, found });
        }
        let Some((at, length_words, length)) = unpack_place(&self.geometry, place) else {
            return Err(RingFault::Place { record: n, place });
        };
        // No clear: a vector that is used again is not filled with zeros first.
        payload.resize(length, 0);
        let first = self.geometry.data() + at;
        read_bytes(&words[first..first + length_words], payload);
        Ok(self.still_there(n).then_some(label))
    }

    /// Whether nothing of record `n` had been overwritten when the loads before this call were made.
    fn still_there(&self, n: u64) -> bool {
        // Acquire: pairs with the Release fence in `Writer::push`. Had a load before it seen a newer record's word, the
        // load after it would see the tail that was moved before.
        M::fence(Acquire);
        let tail = self.memory.words()[layout::TAIL].load(Relaxed);
        n.wrapping_sub(tail) <= u64::MAX / 2
    }

    /// Passes over `count` records that the writer dropped.
    fn skip(&mut self, count: u64) {
        self.dropped = self.dropped.saturating_add(count);
        self.advance(count);
    }

    fn advance(&mut self, count: u64) {
        self.next = self.next.wrapping_add(count);
        // Release: pairs with the Acquire of `cursor` in `Writer::take_back_consumed`.
        self.memory.words()[layout::CURSOR].store(self.next, Release);
    }

    /// Gives up all that is queued and stands at the head.
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

/// One record as it was copied out: where it stood in the ring, and its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<const L: usize> {
    pub number: u64,
    pub label: [u64; L],
}
