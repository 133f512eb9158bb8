//! The writing half over any memory. Record headers and payloads have no meaning here.
//!
//! The protocol (a seqlock whose sequence is the tail):
//! - the writer moves `tail` past a record *before* it overwrites any part of it, and moves `head`
//!   past a new record *after* all of it is written;
//! - so a writer that is killed at any instruction leaves [tail, head) intact, and the record that
//!   it was writing is not there.

use super::allocator::{Allocator, Extent};
use super::layout;
use super::layout::{Geometry, pack_place, unpack_place};
use crate::ipc::memory::{Memory, Word, words_for, write_bytes};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A payload larger than the whole ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {length} bytes does not fit into a ring of {capacity} bytes")]
pub struct TooLarge {
    pub length: usize,
    pub capacity: usize,
}

/// The only writer of a ring. Record headers are `L` words, whose meaning is the caller's.
pub struct Writer<M, const L: usize> {
    memory: M,
    geometry: Geometry,
    head: u64,
    tail: u64,
    dropped: u64,
    space: Allocator,
}

impl<M: Memory, const L: usize> Writer<M, L> {
    /// Writes the header of memory that is all zeros. Called once, by the process that made it.
    pub fn format(memory: &M, geometry: &Geometry) {
        for (at, value) in header(geometry) {
            memory.words()[at].store(value, Relaxed);
        }
    }

    /// Continues where the writer before it stopped or was killed: unread records stay. The queue
    /// is emptied when header or slots are not those of a writer of ours.
    ///
    /// `memory` must be at least `geometry.total_words()` long, and the writer before it must have
    /// exited.
    pub fn recover(memory: M, geometry: Geometry) -> Self {
        assert!(
            memory.words().len() >= geometry.total_words(),
            "the mapping is as long as its geometry"
        );
        let words = memory.words();
        // Acquire: pairs with the Release of `head` in `push`, by the writer before.
        let head = words[layout::HEAD].load(Acquire);
        let tail = words[layout::TAIL].load(Relaxed);
        let dropped = words[layout::DROPPED].load(Relaxed);
        if let Some(space) = rebuild::<M, L>(&memory, &geometry, tail, head) {
            return Self {
                memory,
                geometry,
                head,
                tail,
                dropped,
                space,
            };
        }
        Self::format(&memory, &geometry);
        // The reader never goes back: the new queue starts after all that it may have seen.
        let cursor = words[layout::CURSOR].load(Relaxed);
        let ahead = head.wrapping_sub(cursor);
        let base = if ahead <= u64::from(geometry.packets) {
            head
        } else {
            cursor
        };
        words[layout::TAIL].store(base, Relaxed);
        words[layout::DROPPED].store(0, Relaxed);
        // Release: pairs with the Acquire of `head` in `Reader::pop`.
        words[layout::HEAD].store(base, Release);
        let space = Allocator::new(geometry.data_words);
        Self {
            memory,
            geometry,
            head: base,
            tail: base,
            dropped: 0,
            space,
        }
    }

    /// Adds a record. When the ring is full, in records or in bytes, the oldest unread ones are
    /// dropped and counted.
    ///
    /// # Errors
    /// The payload is larger than the whole ring.
    pub fn push(&mut self, header: [u64; L], payload: &[u8]) -> Result<(), TooLarge> {
        let capacity = self.geometry.data_words * 8;
        if payload.len() > capacity {
            return Err(TooLarge {
                length: payload.len(),
                capacity,
            });
        }
        let needed = words_for(payload.len());
        let before = self.tail;
        self.take_back_consumed();
        let at = self.make_room(Allocator::rounded(needed));

        let words = self.memory.words();
        if self.tail != before {
            words[layout::TAIL].store(self.tail, Relaxed);
            words[layout::DROPPED].store(self.dropped, Relaxed);
        }
        // Release: pairs with the Acquire fences in `Reader::pop`. A reader that sees any of the
        // words below sees the new tail.
        M::fence(Release);

        let slot = self.geometry.slot(self.head);
        words[slot + layout::SLOT_INDEX].store(self.head, Relaxed);
        words[slot + layout::SLOT_PLACE].store(pack_place(at, payload.len()), Relaxed);
        for (word, value) in words[slot + layout::SLOT_HEADER..].iter().zip(header) {
            word.store(value, Relaxed);
        }
        let first = self.geometry.data() + at;
        write_bytes(&words[first..first + needed], payload);

        self.head = self.head.wrapping_add(1);
        // Release: pairs with the Acquire of `head` in `Reader::pop` and in `recover`.
        words[layout::HEAD].store(self.head, Release);
        Ok(())
    }

    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Records dropped unread since the ring was made. One that the reader was just copying counts
    /// although it may have arrived.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Frees what the reader has read by its cursor. A cursor outside [tail, head] is ignored: the
    /// ring then works as if nothing had been read.
    fn take_back_consumed(&mut self) {
        // Acquire: pairs with the Release of `cursor` in `Reader`: its loads are over before we
        // overwrite.
        let cursor = self.memory.words()[layout::CURSOR].load(Acquire);
        let consumed = cursor.wrapping_sub(self.tail);
        if consumed > self.head.wrapping_sub(self.tail) {
            return;
        }
        for _ in 0..consumed {
            self.space.release_oldest();
        }
        self.tail = cursor;
    }

    /// Finds room for one more record of `words` (rounded); drops the oldest ones as needed.
    fn make_room(&mut self, words: usize) -> usize {
        if self.head.wrapping_sub(self.tail) >= u64::from(self.geometry.packets) {
            self.drop_oldest();
        }
        if let Some(at) = self.space.place(words) {
            return at;
        }
        loop {
            // Only the gap that has just grown can fit now.
            let gap = self
                .drop_oldest()
                .expect("an empty data area holds every payload that `push` lets in");
            if gap.words >= words {
                return self.space.place(words).expect("the gap is there");
            }
        }
    }

    fn drop_oldest(&mut self) -> Option<Extent> {
        let gap = self.space.release_oldest()?;
        self.tail = self.tail.wrapping_add(1);
        self.dropped = self.dropped.wrapping_add(1);
        Some(gap)
    }
}

/// The header's constant words.
fn header(geometry: &Geometry) -> [(usize, u64); 5] {
    [
        (layout::MAGIC_AT, layout::MAGIC),
        (layout::VERSION_AT, layout::VERSION),
        (layout::TOTAL_BYTES, geometry.total_words() as u64 * 8),
        (layout::PACKETS, u64::from(geometry.packets)),
        (layout::DATA_BYTES, geometry.data_words as u64 * 8),
    ]
}

/// The bookkeeping of the records [tail, head); `None` unless all of them are plausible.
fn rebuild<M: Memory, const L: usize>(
    memory: &M,
    geometry: &Geometry,
    tail: u64,
    head: u64,
) -> Option<Allocator> {
    let words = memory.words();
    if header(geometry)
        .iter()
        .any(|&(at, value)| words[at].load(Relaxed) != value)
    {
        return None;
    }
    let count = head.wrapping_sub(tail);
    if count > u64::from(geometry.packets) {
        return None;
    }
    let mut space = Allocator::new(geometry.data_words);
    for i in 0..count {
        let n = tail.wrapping_add(i);
        let slot = geometry.slot(n);
        if words[slot + layout::SLOT_INDEX].load(Relaxed) != n {
            return None;
        }
        let place = words[slot + layout::SLOT_PLACE].load(Relaxed);
        let (at, length, _) = unpack_place(geometry, place)?;
        if !space.claim(Extent {
            at,
            words: Allocator::rounded(length),
        }) {
            return None;
        }
    }
    Some(space)
}
