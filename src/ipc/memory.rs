//! Memory as a slice of atomic words: the only access that the cores have, so that the same code
//! runs on a mapping shared by two processes, on the heap (tests, Miri) and on loom's words.

use std::sync::atomic::{AtomicU64, Ordering};

/// One 64-bit word that another process may change at any moment.
pub trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
}

/// A slice of words of fixed length.
pub trait Memory {
    type Word: Word;
    fn words(&self) -> &[Self::Word];
    /// [`std::sync::atomic::fence`], or the model checker's own.
    fn fence(order: Ordering);
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        AtomicU64::load(self, order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        AtomicU64::store(self, value, order);
    }
}

impl Memory for std::sync::Arc<[AtomicU64]> {
    type Word = AtomicU64;

    fn words(&self) -> &[AtomicU64] {
        self
    }

    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

/// The number of words that hold `bytes` bytes.
pub const fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// Copies `bytes` into `words`, which must be at least as long; the last word is padded with zeros.
pub fn write_bytes<W: Word>(words: &[W], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
    if let (Some(word), false) = (words.get(whole.len()), rest.is_empty()) {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}

/// Fills `bytes` from `words`, which must be at least as long.
pub fn read_bytes<W: Word>(words: &[W], bytes: &mut [u8]) {
    let (whole, rest) = bytes.as_chunks_mut::<8>();
    let taken = whole.len();
    for (chunk, word) in whole.iter_mut().zip(words) {
        *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    if let Some(word) = words.get(taken) {
        let last = word.load(Ordering::Relaxed).to_ne_bytes();
        let length = rest.len();
        rest.copy_from_slice(&last[..length]);
    }
}
