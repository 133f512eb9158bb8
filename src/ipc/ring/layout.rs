//! The layout of a ring's memory: header, slots, data. Offsets only; nothing here reads or writes.
//!
//! ```text
//! header (a page) │ slots: `packets` lines of 64 bytes │ data: payloads, placed by the writer
//! ```
//!
//! Slot n mod `packets` describes record n. Its payload is anywhere in the data area, at a multiple
//! of 64 bytes.

use std::mem::{offset_of, size_of};

pub const MAGIC: u64 = u64::from_le_bytes(*b"stmpring");
pub const VERSION: u64 = 2;

/// Words of a page.
const PAGE: usize = 512;
/// Payloads are placed at multiples of this many words: a cache line.
pub const LINE: usize = 8;

/// The first page. Every field is one word; each line of 64 bytes is written by one process.
#[repr(C)]
pub struct Header {
    // Written once by the supervisor. For core dumps, and compared by a new writer.
    pub magic: u64,
    pub version: u64,
    pub total_bytes: u64,
    pub packets: u64,
    pub data_bytes: u64,
    reserved_0: [u64; 3],
    // Written by the writer.
    /// The record that the next push will make.
    pub head: u64,
    /// The oldest record that is still there.
    pub tail: u64,
    /// Records dropped unread because the ring was full.
    pub dropped: u64,
    reserved_1: [u64; 5],
    // Written by the reader.
    /// The record that the reader wants next: all before it are consumed.
    pub cursor: u64,
    pub wanted: u64,
    pub keyframes: u64,
    pub bitrate_bps: u64,
    reserved_2: [u64; 4],
}

/// The first words of a slot; the caller's record header follows.
#[repr(C)]
pub struct SlotHead {
    /// The record that this slot describes; another number means that it was overwritten, or
    /// damaged.
    pub index: u64,
    /// The payload: its offset in the data area (bytes) in the upper half, its length in the lower.
    pub place: u64,
}

const _: () = assert!(size_of::<Header>() == 3 * 64);
const _: () = assert!(offset_of!(Header, head) == 64 && offset_of!(Header, cursor) == 128);
const _: () = assert!(size_of::<SlotHead>() == 16);

/// The word of a field of [`Header`].
macro_rules! word_of {
    ($field:ident) => {
        offset_of!(Header, $field) / 8
    };
}

pub const MAGIC_AT: usize = word_of!(magic);
pub const VERSION_AT: usize = word_of!(version);
pub const TOTAL_BYTES: usize = word_of!(total_bytes);
pub const PACKETS: usize = word_of!(packets);
pub const DATA_BYTES: usize = word_of!(data_bytes);
pub const HEAD: usize = word_of!(head);
pub const TAIL: usize = word_of!(tail);
pub const DROPPED: usize = word_of!(dropped);
pub const CURSOR: usize = word_of!(cursor);
pub const WANTED: usize = word_of!(wanted);
pub const KEYFRAMES: usize = word_of!(keyframes);
pub const BITRATE_BPS: usize = word_of!(bitrate_bps);

pub const SLOT_INDEX: usize = offset_of!(SlotHead, index) / 8;
pub const SLOT_PLACE: usize = offset_of!(SlotHead, place) / 8;
/// The first word of the caller's record header in a slot.
pub const SLOT_HEADER: usize = size_of::<SlotHead>() / 8;

/// The areas of one ring, in words. Each process has its own copy, made before the fork or checked
/// when adopted: the sizes in the shared header are never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub packets: u32,
    pub data_words: usize,
    slots_at: usize,
    slot_words: usize,
    data_at: usize,
}

impl Geometry {
    /// For slots with record headers of `header_words`, and at least `data_bytes` of payload.
    /// `None` when either is empty or the offsets would not fit into 32 bits.
    pub fn new(packets: u32, data_bytes: usize, header_words: usize) -> Option<Self> {
        let data_words = data_bytes.div_ceil(8 * LINE).checked_mul(LINE)?;
        if packets == 0 || data_words == 0 || data_words > u32::MAX as usize / 8 {
            return None;
        }
        let slot_words = SLOT_HEADER + header_words;
        let slots = (packets as usize).checked_mul(slot_words)?;
        Some(Self {
            packets,
            data_words,
            slots_at: PAGE,
            slot_words,
            data_at: PAGE + slots.next_multiple_of(PAGE),
        })
    }

    /// As small as possible, for a model checker, which follows each word: 64-byte lines, no pages.
    #[cfg(test)]
    pub fn tiny(packets: u32, data_lines: usize, header_words: usize) -> Self {
        let slot_words = SLOT_HEADER + header_words;
        let slots_at = size_of::<Header>() / 8;
        let data_at = slots_at + packets as usize * slot_words;
        Self {
            packets,
            data_words: data_lines * LINE,
            slots_at,
            slot_words,
            data_at,
        }
    }

    pub fn total_words(&self) -> usize {
        self.data_at + self.data_words
    }

    /// The first word of the slot of record `n`.
    pub fn slot(&self, n: u64) -> usize {
        self.slots_at + (n % u64::from(self.packets)) as usize * self.slot_words
    }

    /// The first word of the data area.
    pub fn data(&self) -> usize {
        self.data_at
    }
}

/// A payload's place as one word of a slot: `at` in words, `length` in bytes.
pub fn pack_place(at: usize, length: usize) -> u64 {
    ((at as u64 * 8) << 32) | length as u64
}

/// The place in a slot's word, as (first word, words, bytes). `None` unless it starts at a line and
/// is within the data area.
pub fn unpack_place(geometry: &Geometry, place: u64) -> Option<(usize, usize, usize)> {
    let (offset, length) = ((place >> 32) as usize, place as u32 as usize);
    let (at, words) = (offset / 8, crate::ipc::memory::words_for(length));
    let fits = offset % (8 * LINE) == 0 && at.checked_add(words)? <= geometry.data_words;
    fits.then_some((at, words, length))
}
