//! The control page: what the server asks of a worker, one request per slot. The server writes it;
//! the worker reads it as hostile data, and answers in its status page.
//!
//! Each slot is a [`Seqlock`]: its two words (id and value) belong together, and its count is the
//! request's number. A `changes` word in front lets the worker skip 64 slots when nothing is new.
//! Both halves may be killed at any instruction and started again: the page keeps the latest
//! request of each slot, which a new worker reads again.

use super::mapping::Mapping;
use super::memory::{Memory, Word};
use super::seqlock::Seqlock;
use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Slots of a page.
pub const SLOTS: usize = 64;

const MAGIC: u64 = u64::from_le_bytes(*b"stmpctrl");
const VERSION: u64 = 1;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 1;
/// Written by the server: another value after each request.
const CHANGES_AT: usize = 8;
const SLOTS_AT: usize = 16;
const WORDS: usize = SLOTS_AT + SLOTS * SLOT_WORDS;
/// Sequence, id, value; and one word so that a slot does not straddle cache lines.
const SLOT_WORDS: usize = 4;
const _: () = assert!(Seqlock::<2>::WORDS <= SLOT_WORDS && 64 % (SLOT_WORDS * 8) == 0);

/// UNIX time minus CLOCK_MONOTONIC as the server maps it, ns (i64). For the test pattern, which
/// draws its own UNIX time.
pub const UNIX_OFFSET: u64 = 1 << 32;
/// The slot of [`UNIX_OFFSET`].
pub const UNIX_OFFSET_SLOT: usize = 0;

/// A request in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// 0 to 63.
    pub slot: usize,
    /// What the value is about: below 2^32 a V4L2 control's id, from there on one of this module's
    /// constants. Any value: the worker decides what it knows.
    pub id: u64,
    /// Any value: the worker checks it.
    pub value: u64,
    /// Counts the requests of this slot, from 1.
    pub number: u64,
}

/// The memory of one control page, made before the fork that shares it.
pub struct SharedControl {
    mapping: Mapping,
}

impl SharedControl {
    /// Words of its memory.
    pub(super) const WORDS: usize = WORDS;

    /// `name` shows in `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// Those of [`Mapping::create`].
    pub fn create(name: &str) -> io::Result<Self> {
        let mapping = Mapping::create(name, WORDS)?;
        mapping.words()[MAGIC_AT].store(MAGIC, Relaxed);
        mapping.words()[VERSION_AT].store(VERSION, Relaxed);
        Ok(Self { mapping })
    }

    /// Over memory of another process. It says itself where its words are: header words that are
    /// not ours mean another version of the program.
    pub(super) fn adopt(mapping: Mapping) -> Option<Self> {
        let words = mapping.words();
        let is_ours =
            words[MAGIC_AT].load(Relaxed) == MAGIC && words[VERSION_AT].load(Relaxed) == VERSION;
        is_ours.then_some(Self { mapping })
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The server's half.
    pub fn writer(&self) -> ControlWriter {
        ControlWriter(self.mapping.clone())
    }

    /// The worker's half. It reports the requests that are there already.
    pub fn reader(&self) -> ControlReader {
        ControlReader(Reader::new(self.mapping.clone()))
    }
}

/// The server's half. One at a time.
pub struct ControlWriter(Mapping);

impl ControlWriter {
    /// Makes a request, also where it is the same as the one before. Returns its number, by which
    /// the worker's answer is recognised.
    ///
    /// # Panics
    /// When `slot` is not below [`SLOTS`].
    pub fn request(&self, slot: usize, id: u64, value: u64) -> u64 {
        request(&self.0, slot, id, value)
    }

    /// Makes a request unless the slot holds exactly this one. To be repeated: a worker can write
    /// to the page too, and may have damaged it.
    ///
    /// # Panics
    /// When `slot` is not below [`SLOTS`].
    pub fn keep(&self, slot: usize, id: u64, value: u64) {
        if lock(slot).read(&self.0).map(|(_, request)| request) != Some([id, value]) {
            self.request(slot, id, value);
        }
    }
}

/// The worker's half. One at a time.
pub struct ControlReader(Reader<Mapping>);

impl ControlReader {
    /// Calls `handle` with the latest request of each slot that has a new one: at most 64 calls.
    /// A request that another one replaced before it was read is skipped. Costs one load when
    /// nothing is new. Never blocks.
    pub fn poll(&mut self, handle: impl FnMut(Request)) {
        self.0.poll(handle);
    }
}

fn lock(slot: usize) -> Seqlock<2> {
    assert!(slot < SLOTS, "a control page has {SLOTS} slots");
    Seqlock {
        at: SLOTS_AT + slot * SLOT_WORDS,
    }
}

fn request<M: Memory>(memory: &M, slot: usize, id: u64, value: u64) -> u64 {
    let number = lock(slot).write(memory, [id, value]);
    let changes = &memory.words()[CHANGES_AT];
    // Release: pairs with the Acquire of `changes` in `Reader::poll`, which then finds the request.
    changes.store(changes.load(Relaxed).wrapping_add(1), Release);
    number
}

/// The worker's half over any memory.
struct Reader<M> {
    memory: M,
    /// The value of `changes` at the last poll; `None` before the first, or while a slot could not
    /// be read.
    changes: Option<u64>,
    /// The last number read of each slot.
    numbers: [u64; SLOTS],
}

impl<M: Memory> Reader<M> {
    fn new(memory: M) -> Self {
        Self {
            memory,
            changes: None,
            numbers: [0; SLOTS],
        }
    }

    fn poll(&mut self, mut handle: impl FnMut(Request)) {
        // Acquire: pairs with the Release of `changes` in `request`.
        let changes = self.memory.words()[CHANGES_AT].load(Acquire);
        if self.changes == Some(changes) {
            return;
        }
        self.changes = Some(changes);
        for (slot, last) in self.numbers.iter_mut().enumerate() {
            let lock = lock(slot);
            // A hostile count can hide a request from its own worker only.
            if lock.count(&self.memory) == *last {
                continue;
            }
            match lock.read(&self.memory) {
                Some((number, [id, value])) => {
                    *last = number;
                    handle(Request {
                        slot,
                        id,
                        value,
                        number,
                    });
                }
                // Being written: the next poll looks again.
                None => self.changes = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    type Heap = Arc<[AtomicU64]>;

    fn zeroed() -> Heap {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn requests<M: Memory>(reader: &mut Reader<M>) -> Vec<Request> {
        let mut found = Vec::new();
        reader.poll(|request| found.push(request));
        found
    }

    #[test]
    fn control_request_is_read_once_and_the_latest_wins() {
        let memory = zeroed();
        let mut reader = Reader::new(memory.clone());
        assert_eq!(requests(&mut reader), []);
        request(&memory, 3, 9, 100);
        request(&memory, 3, 9, 101);
        request(&memory, 63, 7, 1);
        let asked = |slot, id, value, number| Request {
            slot,
            id,
            value,
            number,
        };
        let all = [asked(3, 9, 101, 2), asked(63, 7, 1, 1)];
        assert_eq!(requests(&mut reader), all);
        assert_eq!(requests(&mut reader), []);
        assert_eq!(request(&memory, 3, 9, 101), 3);
        assert_eq!(requests(&mut reader), [asked(3, 9, 101, 3)], "asked again");
        let all = [asked(3, 9, 101, 3), asked(63, 7, 1, 1)];
        assert_eq!(requests(&mut Reader::new(memory)), all, "a new worker");
    }

    #[test]
    #[cfg_attr(miri, ignore = "makes a memfd")]
    fn control_keep_writes_only_changes_and_mends_damage() {
        let page = SharedControl::create("test").expect("memory");
        let (writer, mut reader) = (page.writer(), page.reader());
        let values = |reader: &mut ControlReader| {
            let mut values = Vec::new();
            reader.poll(|request| values.push(request.value));
            values
        };
        writer.keep(0, UNIX_OFFSET, 5);
        writer.keep(0, UNIX_OFFSET, 5);
        assert_eq!(values(&mut reader), [5]);
        writer.keep(0, UNIX_OFFSET, 5);
        assert!(values(&mut reader).is_empty());
        writer.keep(0, UNIX_OFFSET, 6);
        assert_eq!(values(&mut reader), [6]);
        page.mapping.words()[SLOTS_AT + 2].store(99, Relaxed);
        writer.keep(0, UNIX_OFFSET, 6);
        assert_eq!(values(&mut reader), [6]);
    }

    #[test]
    fn control_request_interrupted_by_the_writers_death_is_read_after_the_next_one() {
        let memory = zeroed();
        let mut reader = Reader::new(memory.clone());
        request(&memory, 0, 1, 1);
        requests(&mut reader);
        // The server was killed between the odd sequence and the even one.
        memory[SLOTS_AT].store(3, Relaxed);
        memory[CHANGES_AT].store(9, Relaxed);
        assert_eq!(requests(&mut reader), []);
        request(&memory, 1, 5, 5);
        assert_eq!(requests(&mut reader).len(), 1, "other slots still work");
        request(&memory, 0, 1, 2);
        assert_eq!(requests(&mut reader)[0].value, 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn control_hostile_page_gives_at_most_a_request_a_slot(
            words in proptest::collection::vec(any::<u64>(), WORDS), value: u64,
        ) {
            let memory: Heap = words.into_iter().map(AtomicU64::new).collect();
            let mut reader = Reader::new(memory.clone());
            for _ in 0..3 {
                let found = requests(&mut reader);
                prop_assert!(found.len() <= SLOTS);
                prop_assert!(found.iter().all(|request| request.slot < SLOTS));
            }
            for slot in 0..SLOTS {
                request(&memory, slot, 1, value);
            }
            // A count that equals the last one read hides a request once.
            for slot in 0..SLOTS {
                request(&memory, slot, 2, value);
            }
            let found = requests(&mut reader);
            prop_assert_eq!(found.len(), SLOTS);
            prop_assert!(found.iter().all(|request| (request.id, request.value) == (2, value)));
        }
    }
}
