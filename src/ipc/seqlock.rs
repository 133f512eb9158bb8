//! A seqlock over any memory: a few words that belong together, written by one process that may be
//! killed at any instruction and read by others that trust nothing. The words may have any value.

use super::memory::{Memory, Word};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// How often a reader tries again while the words are being written.
const ATTEMPTS: usize = 8;

/// Where the words lie: a sequence word, then `N` words. The sequence is odd while they are being
/// written; half of it is the number of times that they were written.
#[derive(Clone, Copy, Debug)]
pub struct Seqlock<const N: usize> {
    pub at: usize,
}

impl<const N: usize> Seqlock<N> {
    /// Words of memory that it takes.
    pub const WORDS: usize = N + 1;

    /// Replaces the words; returns the number of times that they were written, never 0. For one
    /// writer at a time. A sequence that a killed writer left odd is passed over.
    pub fn write<M: Memory>(self, memory: &M, values: [u64; N]) -> u64 {
        let words = &memory.words()[self.at..][..Self::WORDS];
        let mut odd = words[0].load(Relaxed).wrapping_add(1) | 1;
        if odd == u64::MAX {
            // The next even number would be 0: never written.
            odd = 1;
        }
        words[0].store(odd, Relaxed);
        // Release: pairs with the Acquire fence in `read`. A reader that sees any value below sees
        // the odd sequence.
        M::fence(Release);
        for (word, value) in words[1..].iter().zip(values) {
            word.store(value, Relaxed);
        }
        // Release: pairs with the Acquire load in `read`.
        words[0].store(odd + 1, Release);
        odd.div_ceil(2)
    }

    /// The words and the number of times that they were written. `None` before the first time, and
    /// when each attempt met the writer at work (or one that was killed at it).
    pub fn read<M: Memory>(self, memory: &M) -> Option<(u64, [u64; N])> {
        let words = &memory.words()[self.at..][..Self::WORDS];
        for _ in 0..ATTEMPTS {
            // Acquire: pairs with the Release store at the end of `write`.
            let before = words[0].load(Acquire);
            if before == 0 {
                return None;
            }
            if before % 2 == 1 {
                std::hint::spin_loop();
                continue;
            }
            let mut values = [0; N];
            for (value, word) in values.iter_mut().zip(&words[1..]) {
                *value = word.load(Relaxed);
            }
            // Acquire: pairs with the Release fence in `write`.
            M::fence(Acquire);
            if words[0].load(Relaxed) == before {
                return Some((before / 2, values));
            }
        }
        None
    }

    /// The number of times that the words were written, by the sequence, which may be wrong: a
    /// cheap check for changes. 0 before the first time.
    pub fn count<M: Memory>(self, memory: &M) -> u64 {
        // Relaxed: `read` decides.
        memory.words()[self.at].load(Relaxed) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    type Heap = Arc<[AtomicU64]>;
    const LOCK: Seqlock<3> = Seqlock { at: 1 };

    fn zeroed() -> Heap {
        (0..5).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn seqlock_write_is_read_with_its_number() {
        let memory = zeroed();
        assert_eq!((LOCK.read(&memory), LOCK.count(&memory)), (None, 0));
        for n in 1..=3 {
            assert_eq!(LOCK.write(&memory, [n, n * 2, n * 3]), n);
            assert_eq!(LOCK.read(&memory), Some((n, [n, n * 2, n * 3])));
            assert_eq!(LOCK.count(&memory), n);
        }
        assert_eq!(memory[0].load(Relaxed), 0, "the word before is untouched");
    }

    #[test]
    fn seqlock_writer_killed_half_way_is_not_read_and_the_next_write_is() {
        let memory = zeroed();
        LOCK.write(&memory, [1, 2, 3]);
        memory[1].store(3, Relaxed);
        memory[2].store(9, Relaxed);
        assert_eq!(LOCK.read(&memory), None);
        assert_eq!(LOCK.write(&memory, [4, 5, 6]), 3);
        assert_eq!(LOCK.read(&memory), Some((3, [4, 5, 6])));
    }

    /// Miri sees data races and, over several seeds, weak memory.
    #[test]
    fn seqlock_two_threads_read_only_whole_values() {
        let memory = zeroed();
        let theirs = memory.clone();
        let writes = if cfg!(miri) { 30 } else { 100_000 };
        let writer = std::thread::spawn(move || {
            for n in 1..=writes {
                LOCK.write(&theirs, [n, n.wrapping_mul(31), !n]);
            }
        });
        let mut last = 0;
        while last < writes && !(cfg!(miri) && writer.is_finished()) {
            if let Some((number, [a, b, c])) = LOCK.read(&memory) {
                assert_eq!((b, c), (a.wrapping_mul(31), !a));
                assert!(number == a && number >= last);
                last = number;
            }
        }
        writer.join().expect("it wrote");
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 256 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn seqlock_hostile_memory_never_panics_and_is_mended_by_a_write(
            words: [u64; 5], edge in 0u64..4, values: [u64; 3],
        ) {
            let memory = zeroed();
            for (word, value) in memory.iter().zip(words) {
                word.store(value, Relaxed);
            }
            for sequence in [words[1], u64::MAX - edge, edge] {
                memory[1].store(sequence, Relaxed);
                let read = LOCK.read(&memory);
                prop_assert_eq!(read.is_some(), sequence != 0 && sequence % 2 == 0);
                let number = LOCK.write(&memory, values);
                prop_assert!(number > 0);
                prop_assert_eq!(LOCK.read(&memory), Some((number, values)));
            }
        }
    }
}
