//! A text of variable length under a seqlock, over any memory: one writer that may be killed at any
//! instruction, readers that trust nothing. (For a fixed number of words: `ipc::seqlock`.)

use crate::ipc::memory::{Memory, Word, read_bytes, words_for, write_bytes};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// How often a reader tries again while the text is being written.
const ATTEMPTS: usize = 8;

/// Where the text is in the memory: a sequence word, a length word, then `capacity` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    pub at: usize,
    pub capacity: usize,
}

impl Text {
    /// Replaces the text. It is cut to the capacity.
    pub fn write<M: Memory>(self, memory: &M, bytes: &[u8]) {
        let words = &memory.words()[self.at..];
        let bytes = &bytes[..bytes.len().min(self.capacity)];
        // A writer that was killed half way left an odd number: the next odd one follows all the
        // same.
        let odd = (words[0].load(Relaxed).wrapping_add(1)) | 1;
        words[0].store(odd, Relaxed);
        // Release: pairs with the Acquire fence in `read`. A reader that sees any word below sees
        // the odd number.
        M::fence(Release);
        words[1].store(bytes.len() as u64, Relaxed);
        write_bytes(&words[2..], bytes);
        // Release: pairs with the Acquire load in `read`.
        words[0].store(odd.wrapping_add(1), Release);
    }

    /// The whole text. `None` when there is none yet, its length is not plausible, or each attempt
    /// met the writer at work.
    pub fn read<M: Memory>(self, memory: &M) -> Option<Vec<u8>> {
        let words = &memory.words()[self.at..];
        for _ in 0..ATTEMPTS {
            // Acquire: pairs with the Release store at the end of `write`.
            let before = words[0].load(Acquire);
            if before == 0 {
                return None;
            }
            let length = words[1].load(Relaxed);
            if before % 2 == 1 || length > self.capacity as u64 {
                std::hint::spin_loop();
                continue;
            }
            let mut bytes = vec![0; length as usize];
            read_bytes(&words[2..2 + words_for(bytes.len())], &mut bytes);
            // Acquire: pairs with the Release fence in `write`.
            M::fence(Acquire);
            if words[0].load(Relaxed) == before {
                return Some(bytes);
            }
        }
        None
    }
}
