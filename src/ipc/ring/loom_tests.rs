//! The ring, the text and the control page under loom: every interleaving of one writer and one
//! reader (up to the given number of preemptions), and every value that the memory model lets a
//! relaxed load see.

use super::layout::Geometry;
use super::reader::Reader;
use super::writer::Writer;
use crate::ipc::memory::{Memory, Word};
use crate::ipc::seqlock::Seqlock;
use crate::ipc::status::seqlock_text::Text;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, fence};
use std::sync::atomic::Ordering;

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }
}

#[derive(Clone)]
struct Modelled(Arc<Vec<AtomicU64>>);

impl Modelled {
    fn new(words: usize) -> Self {
        Self(Arc::new((0..words).map(|_| AtomicU64::new(0)).collect()))
    }
}

impl Memory for Modelled {
    type Word = AtomicU64;

    fn words(&self) -> &[AtomicU64] {
        &self.0
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// `pushes` records over a ring of `packets` slots and `lines` lines, read at the same time and
/// afterwards.
fn whole_and_in_order(packets: u32, lines: usize, pushes: u64) {
    let geometry = Geometry::tiny(packets, lines, 1);
    let memory = Modelled::new(geometry.total_words());
    Writer::<_, 1>::format(&memory, &geometry);
    let mut writer = Writer::<_, 1>::recover(memory.clone(), geometry);
    let mut reader = Follower {
        reader: Reader::new(memory, geometry),
        last: 0,
        seen: 0,
    };
    let reading = loom::thread::spawn(move || {
        reader.read_one();
        reader.read_one();
        reader
    });
    for n in 1..=pushes {
        writer.push([n], &(n * 0x0101).to_ne_bytes()).unwrap();
    }
    let mut reader = reading.join().unwrap();
    while reader.read_one() {}
    assert_eq!(reader.last, pushes);
    assert_eq!(reader.seen + reader.reader.dropped(), pushes);
}

/// Reads and checks: whole records, numbers that only grow.
struct Follower {
    reader: Reader<Modelled, 1>,
    last: u64,
    seen: u64,
}

impl Follower {
    fn read_one(&mut self) -> bool {
        let mut payload = Vec::new();
        let Some(record) = self.reader.pop(&mut payload).unwrap() else {
            return false;
        };
        let number = record.header[0];
        assert!(number > self.last && record.number + 1 == number);
        assert_eq!(payload, (number * 0x0101).to_ne_bytes());
        self.last = number;
        self.seen += 1;
        true
    }
}

#[test]
fn ring_short_of_slots_gives_whole_records_in_order() {
    explore(2, || whole_and_in_order(2, 4, 3));
}

#[test]
fn ring_short_of_bytes_gives_whole_records_in_order() {
    explore(3, || whole_and_in_order(4, 1, 2));
}

#[test]
fn ring_of_one_slot_gives_whole_records_in_order() {
    explore(3, || whole_and_in_order(1, 1, 2));
}

#[test]
fn text_is_read_whole_or_not_at_all() {
    // The writer is the main thread: loom remembers one access per word, so a spawned writer's own
    // load would hide the reader's, and loom would see no reason to interleave them.
    explore(2, || {
        let memory = Modelled::new(3);
        let text = Text { at: 0, capacity: 8 };
        text.write(&memory, b"one");
        let theirs = memory.clone();
        let reading = loom::thread::spawn(move || text.read(&theirs));
        text.write(&memory, b"another");
        let read = reading.join().unwrap();
        assert!(
            matches!(read.as_deref(), None | Some(b"one" | b"another")),
            "{read:?}"
        );
        assert_eq!(text.read(&memory).as_deref(), Some(&b"another"[..]));
    });
}

#[test]
fn seqlock_is_read_whole_or_not_at_all() {
    explore(2, || {
        let memory = Modelled::new(Seqlock::<2>::WORDS);
        let lock = Seqlock::<2> { at: 0 };
        lock.write(&memory, [1, 10]);
        let theirs = memory.clone();
        let reading = loom::thread::spawn(move || lock.read(&theirs));
        lock.write(&memory, [2, 20]);
        let read = reading.join().unwrap();
        assert!(
            matches!(read, None | Some((1, [1, 10]) | (2, [2, 20]))),
            "{read:?}"
        );
        assert_eq!(lock.read(&memory), Some((2, [2, 20])));
    });
}
