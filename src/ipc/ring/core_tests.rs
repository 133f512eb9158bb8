//! The ring's core on the heap: compared with a plain queue, killed at every store, with damaged
//! memory, under two threads. Also for Miri: `cargo +nightly miri test --lib ipc::`.

use super::allocator::{Allocator, Extent};
use super::layout::Geometry;
use super::reader::{Reader, Record, RingFault};
use super::writer::Writer;
use crate::ipc::memory::{Memory, Word};
use crate::ipc::status::seqlock_text::Text;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Heap = Arc<[AtomicU64]>;

fn zeroed(words: usize) -> Heap {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

fn geometry(packets: u32, lines: usize) -> Geometry {
    Geometry::tiny(packets, lines, 1)
}

fn pair(geometry: Geometry) -> (Heap, Writer<Heap, 1>, Reader<Heap, 1>) {
    let memory = zeroed(geometry.total_words());
    Writer::<_, 1>::format(&memory, &geometry);
    (
        memory.clone(),
        Writer::recover(memory.clone(), geometry),
        Reader::new(memory, geometry),
    )
}

/// A payload that tells which record it belongs to, in every byte.
fn payload(label: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|i| (label.wrapping_mul(31) ^ i.wrapping_mul(7)) as u8)
        .collect()
}

/// Under Miri, which is a hundred times slower, fewer.
fn cases(count: u32) -> ProptestConfig {
    let cases = if cfg!(miri) { 4 } else { count };
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn pop_checked(reader: &mut Reader<Heap, 1>) -> Option<Record<1>> {
    let mut bytes = Vec::new();
    let record = reader.pop(&mut bytes).unwrap()?;
    assert_eq!(bytes, payload(record.header[0], bytes.len()));
    Some(record)
}

proptest! {
    #![proptest_config(cases(256))]

    /// With bytes to spare, the ring is a queue of `packets` records that loses its oldest.
    #[test]
    fn ring_with_bytes_to_spare_is_a_queue_that_drops_its_oldest(
        packets in 1u32..6,
        steps in proptest::collection::vec(proptest::option::weighted(0.6, 0usize..200), 1..80),
    ) {
        let (_, mut writer, mut reader) = pair(geometry(packets, 4 * 6 * 6));
        let mut model = VecDeque::new();
        let (mut next, mut dropped) = (0, 0);
        for step in steps {
            if let Some(length) = step {
                writer.push([next], &payload(next, length)).unwrap();
                model.push_back((next, length));
                next += 1;
                if model.len() > packets as usize {
                    model.pop_front();
                    dropped += 1;
                }
            } else {
                let mut bytes = Vec::new();
                let popped = reader.pop(&mut bytes).unwrap().map(|r| (r.header[0], bytes.len()));
                prop_assert_eq!(popped, model.pop_front());
            }
        }
        prop_assert_eq!(writer.dropped(), dropped);
        while pop_checked(&mut reader).is_some() {}
        prop_assert_eq!(reader.dropped(), dropped);
    }

    /// Short of bytes: nothing is torn, nothing is out of order, nothing vanishes uncounted,
    /// through restarts of both halves.
    #[test]
    fn ring_short_of_bytes_every_record_is_read_or_counted(
        packets in 1u32..6,
        lines in 1usize..12,
        steps in proptest::collection::vec((0u8..10, 0usize..400), 1..120),
    ) {
        let geometry = geometry(packets, lines);
        let (memory, mut writer, mut reader) = pair(geometry);
        let (mut next, mut read, mut given_up, mut before) = (0u64, 0u64, 0u64, None);
        for (what, length) in steps {
            match what {
                0..=5 if length <= lines * 64 => {
                    writer.push([next], &payload(next, length)).unwrap();
                    next += 1;
                }
                0..=5 => prop_assert!(writer.push([next], &payload(next, length)).is_err()),
                6..=7 => {
                    if let Some(record) = pop_checked(&mut reader) {
                        prop_assert!(Some(record.header[0]) > before);
                        before = Some(record.header[0]);
                        read += 1;
                    }
                }
                8 => writer = Writer::recover(memory.clone(), geometry),
                _ => {
                    given_up += next - read - given_up - reader.dropped();
                    given_up += reader.dropped();
                    reader = Reader::new(memory.clone(), geometry);
                }
            }
        }
        while pop_checked(&mut reader).is_some() {
            read += 1;
        }
        prop_assert_eq!(read + reader.dropped() + given_up, next);
    }

    /// Words scribbled anywhere, at any time: faults perhaps, but no panic, no payload beyond the
    /// ring, and both halves are at work again after a restart of the writer.
    #[test]
    fn ring_hostile_memory_never_panics_and_is_mended(
        steps in proptest::collection::vec((0u8..6, any::<prop::sample::Index>(), scribble()), 1..60),
    ) {
        let geometry = geometry(3, 6);
        let (memory, mut writer, mut reader) = pair(geometry);
        let mut bytes = Vec::new();
        for (what, at, value) in steps {
            match what {
                0..=2 => memory[at.index(memory.len())].store(value, Ordering::Relaxed),
                3 => writer.push([7], &payload(7, at.index(384))).unwrap(),
                4 => writer = Writer::recover(memory.clone(), geometry),
                _ => {
                    let _ = reader.pop(&mut bytes);
                    prop_assert!(bytes.len() <= 6 * 64);
                }
            }
        }
        for word in 0..memory.len() {
            memory[word].store(u64::MAX / 3, Ordering::Relaxed);
        }
        let mut writer = Writer::recover(memory.clone(), geometry);
        let _ = reader.pop(&mut bytes);
        while reader.pop(&mut bytes).unwrap().is_some() {}
        for n in 0..10 {
            writer.push([n], &payload(n, 100)).unwrap();
            let record = pop_checked(&mut reader);
            prop_assert_eq!(record.map(|r| r.header[0]), Some(n));
        }
    }

    /// No two live extents overlap, and what is placed takes the lowest gap that fits.
    #[test]
    fn allocator_extents_never_overlap_and_are_as_low_as_possible(
        steps in proptest::collection::vec((any::<bool>(), 1usize..40), 1..100),
    ) {
        let mut space = Allocator::new(256);
        let mut live: VecDeque<Extent> = VecDeque::new();
        let free = |live: &VecDeque<Extent>, at: usize, words: usize| {
            at + words <= 256 && live.iter().all(|e| at + words <= e.at || e.at + e.words <= at)
        };
        for (place, words) in steps {
            if place {
                let words = Allocator::rounded(words);
                let lowest = (0..256).step_by(8).find(|&at| free(&live, at, words));
                prop_assert_eq!(space.place(words), lowest);
                live.extend(lowest.map(|at| Extent { at, words }));
            } else {
                prop_assert_eq!(space.release_oldest().is_some(), live.pop_front().is_some());
            }
        }
    }
}

/// Values that are near the ones that mean something, and others.
fn scribble() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..16,
        (0u64..16).prop_map(|n| n.wrapping_neg()),
        (0u64..800, 0u64..800).prop_map(|(a, b)| a << 32 | b)
    ]
}

/// Memory whose process dies after a number of stores: the later ones never happen.
#[derive(Clone)]
struct Mortal {
    words: Arc<[MortalWord]>,
}

struct MortalWord {
    value: AtomicU64,
    stores_left: Arc<AtomicU64>,
}

impl Word for MortalWord {
    fn load(&self, order: Ordering) -> u64 {
        self.value.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        let left = self.stores_left.load(Ordering::Relaxed);
        self.stores_left
            .store(left.saturating_sub(1), Ordering::Relaxed);
        if left > 0 {
            self.value.store(value, order);
        }
    }
}

impl Memory for Mortal {
    type Word = MortalWord;

    fn words(&self) -> &[MortalWord] {
        &self.words
    }

    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

#[test]
fn writer_killed_at_any_store_leaves_whole_records() {
    let immortal = u64::MAX;
    let lengths = [30, 64, 0, 120, 200, 7, 90];
    // Under Miri, which is slow, every eleventh store.
    for stores in (0..).step_by(if cfg!(miri) { 11 } else { 1 }) {
        let geometry = geometry(3, 5);
        let left = Arc::new(AtomicU64::new(immortal));
        let word = || MortalWord {
            value: AtomicU64::new(0),
            stores_left: left.clone(),
        };
        let memory = Mortal {
            words: (0..geometry.total_words()).map(|_| word()).collect(),
        };
        Writer::<_, 1>::format(&memory, &geometry);
        let mut reader = Reader::<_, 1>::new(memory.clone(), geometry);
        let mut writer = Writer::<_, 1>::recover(memory.clone(), geometry);

        left.store(stores, Ordering::Relaxed);
        for (n, &length) in lengths.iter().enumerate() {
            writer.push([n as u64], &payload(n as u64, length)).unwrap();
        }
        let survived = left.swap(immortal, Ordering::Relaxed) > 0;

        let mut bytes = Vec::new();
        let mut seen = Vec::new();
        let mut read_all = |reader: &mut Reader<Mortal, 1>| {
            while let Some(record) = reader.pop(&mut bytes).unwrap() {
                assert_eq!(bytes, payload(record.header[0], bytes.len()));
                seen.push(record.header[0]);
            }
        };
        // Alternately, the reader reads before the new writer comes, and after it has pushed.
        if stores % 2 == 0 {
            read_all(&mut reader);
        }
        let mut writer = Writer::<_, 1>::recover(memory.clone(), geometry);
        writer.push([100], &payload(100, 64)).unwrap();
        read_all(&mut reader);
        assert!(
            seen.is_sorted_by(|a, b| a < b),
            "killed after {stores} stores: {seen:?}"
        );
        assert_eq!(seen.last(), Some(&100));
        if survived {
            assert!(
                stores > 50,
                "the loop saw every store of {} pushes",
                lengths.len()
            );
            break;
        }
    }
}

#[test]
fn writer_recovered_keeps_unread_records() {
    let geometry = geometry(4, 8);
    let (memory, mut writer, mut reader) = pair(geometry);
    for n in 0..3 {
        writer.push([n], &payload(n, 60)).unwrap();
    }
    pop_checked(&mut reader);
    let mut writer = Writer::recover(memory, geometry);
    writer.push([3], &payload(3, 60)).unwrap();
    let rest: Vec<u64> = std::iter::from_fn(|| pop_checked(&mut reader))
        .map(|r| r.header[0])
        .collect();
    assert_eq!(rest, [1, 2, 3]);
}

#[test]
fn reader_new_starts_at_the_head() {
    let geometry = geometry(4, 8);
    let (memory, mut writer, _) = pair(geometry);
    writer.push([0], b"old").unwrap();
    let mut reader = Reader::new(memory, geometry);
    assert_eq!(pop_checked(&mut reader), None);
    writer.push([1], &payload(1, 3)).unwrap();
    assert_eq!(pop_checked(&mut reader).map(|r| r.header[0]), Some(1));
    assert_eq!(reader.dropped(), 0);
}

#[test]
fn reader_each_kind_of_damage_is_named_and_the_next_call_continues() {
    use super::layout::{HEAD, SLOT_INDEX, SLOT_PLACE, TAIL};
    let geometry = geometry(4, 8);
    let slot = geometry.slot(0);
    type Expected = fn(&RingFault) -> bool;
    let scribbles: [(usize, u64, Expected); 6] = [
        (HEAD, u64::MAX, |f| matches!(f, RingFault::Head { .. })),
        (HEAD, 1 << 40, |f| matches!(f, RingFault::Head { .. })),
        (HEAD, 9, |f| {
            matches!(
                f,
                RingFault::Tail {
                    tail: 0,
                    head: 9,
                    packets: 4
                }
            )
        }),
        (TAIL, 1 << 50, |f| matches!(f, RingFault::Overtaken)),
        (slot + SLOT_INDEX, 4, |f| {
            matches!(
                f,
                RingFault::Slot {
                    record: 0,
                    found: 4
                }
            )
        }),
        (slot + SLOT_PLACE, 64 << 32 | 449, |f| {
            matches!(f, RingFault::Place { record: 0, .. })
        }),
    ];
    for (at, value, expected) in scribbles {
        let (memory, mut writer, mut reader) = pair(geometry);
        writer.push([0], b"x").unwrap();
        memory[at].store(value, Ordering::Relaxed);
        let mut bytes = vec![1, 2, 3];
        let fault = reader.pop(&mut bytes).unwrap_err();
        assert!(expected(&fault), "{fault}");
        assert!(bytes.is_empty());
        assert_eq!(reader.pop(&mut bytes), Ok(None), "after: {fault}");
    }
}

#[test]
fn allocator_memory_touched_is_the_backlog_not_the_capacity() {
    let geometry = geometry(16, 1000);
    let (memory, mut writer, mut reader) = pair(geometry);
    for n in 1..if cfg!(miri) { 60 } else { 500 } {
        writer
            .push([n], &payload(n, 64 * (1 + n as usize % 3)))
            .unwrap();
        if n % 2 == 0 {
            while pop_checked(&mut reader).is_some() {}
        }
    }
    let data = &memory[geometry.data()..];
    let touched = data
        .iter()
        .rposition(|word| word.load(Ordering::Relaxed) != 0)
        .unwrap();
    // Three records at most are unread at a time, of three lines at most.
    assert!(touched < 9 * 8, "{touched} words");
}

#[test]
fn reader_beside_a_fast_writer_gets_whole_records_in_order() {
    let pushes = if cfg!(miri) { 60 } else { 200_000 };
    let (_, mut writer, mut reader) = pair(geometry(3, 7));
    let pushing = std::thread::spawn(move || {
        for n in 1..=pushes {
            writer.push([n], &payload(n, n as usize % 200)).unwrap();
        }
    });
    let (mut last, mut seen) = (0, 0);
    let mut bytes = Vec::new();
    loop {
        match reader.pop(&mut bytes) {
            Ok(Some(record)) => {
                assert_eq!(
                    bytes,
                    payload(record.header[0], record.header[0] as usize % 200)
                );
                assert!(record.header[0] > last);
                last = record.header[0];
                seen += 1;
            }
            Ok(None) => std::thread::yield_now(),
            // So fast a writer may overtake again and again; the reader then stands at the head.
            Err(fault) => assert_eq!(fault, RingFault::Overtaken),
        }
        if seen + reader.dropped() == pushes {
            break;
        }
    }
    pushing.join().unwrap();
    assert_eq!(seen + reader.dropped(), pushes);
}

#[test]
fn text_writer_killed_half_way_is_not_read_until_the_next_write() {
    let text = Text {
        at: 0,
        capacity: 24,
    };
    for stores in 0..6 {
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let word = || MortalWord {
            value: AtomicU64::new(0),
            stores_left: left.clone(),
        };
        let memory = Mortal {
            words: (0..5).map(|_| word()).collect(),
        };
        text.write(&memory, b"the first text");
        left.store(stores, Ordering::Relaxed);
        text.write(&memory, b"the second one, longer");
        left.store(u64::MAX, Ordering::Relaxed);
        let expected: Option<&[u8]> = match stores {
            0 => Some(b"the first text"),
            6.. => Some(b"the second one, longer"),
            _ => None,
        };
        assert_eq!(
            text.read(&memory).as_deref(),
            expected,
            "killed after {stores} stores"
        );
        text.write(&memory, b"the third");
        assert_eq!(text.read(&memory).as_deref(), Some(&b"the third"[..]));
    }
}

#[test]
fn text_with_a_damaged_length_is_not_read() {
    let text = Text {
        at: 0,
        capacity: 24,
    };
    let memory = zeroed(5);
    assert_eq!(text.read(&memory), None);
    text.write(&memory, b"short");
    memory[1].store(25, Ordering::Relaxed);
    assert_eq!(text.read(&memory), None);
}
