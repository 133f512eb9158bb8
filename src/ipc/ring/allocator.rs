//! Which parts of the data area are in use: the writer's own bookkeeping, rebuilt from the slots by
//! a new writer. Touches no memory.

use super::layout::LINE;
use std::collections::{BTreeMap, VecDeque};

/// A run of words. `words` is a whole number of lines, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub at: usize,
    pub words: usize,
}

/// The data area as gaps and live extents. A new extent takes the lowest gap that it fits into, so
/// that the memory ever touched is the largest backlog, not the capacity.
#[derive(Debug)]
pub struct Allocator {
    total: usize,
    /// Start to length; no two gaps touch.
    gaps: BTreeMap<usize, usize>,
    /// The live extents, oldest first.
    live: VecDeque<Extent>,
}

impl Allocator {
    pub fn new(total: usize) -> Self {
        Self {
            total,
            gaps: BTreeMap::from([(0, total)]),
            live: VecDeque::new(),
        }
    }

    /// The words that a payload of `words` takes: whole lines, and a line even when it is empty, so
    /// that every record has a place.
    pub fn rounded(words: usize) -> usize {
        words.next_multiple_of(LINE).max(LINE)
    }

    /// Takes the lowest gap that holds `words` (already rounded) as the newest extent. `None` when
    /// there is none.
    pub fn place(&mut self, words: usize) -> Option<usize> {
        let (&at, &gap) = self.gaps.iter().find(|&(_, &gap)| gap >= words)?;
        self.take(at, gap, Extent { at, words });
        Some(at)
    }

    /// Marks an extent as the newest live one. False when it is not free as a whole.
    pub fn claim(&mut self, extent: Extent) -> bool {
        let Some((&at, &gap)) = self.gaps.range(..=extent.at).next_back() else {
            return false;
        };
        let fits = extent
            .at
            .checked_add(extent.words)
            .is_some_and(|end| end <= at + gap);
        if fits {
            self.take(at, gap, extent);
        }
        fits
    }

    /// Frees the oldest extent and returns the gap that it is now part of. `None` when nothing is
    /// live.
    pub fn release_oldest(&mut self) -> Option<Extent> {
        let mut freed = self.live.pop_front()?;
        if let Some((&at, &gap)) = self.gaps.range(..freed.at).next_back()
            && at + gap == freed.at
        {
            self.gaps.remove(&at);
            freed = Extent {
                at,
                words: gap + freed.words,
            };
        }
        if let Some(gap) = self.gaps.remove(&(freed.at + freed.words)) {
            freed.words += gap;
        }
        self.gaps.insert(freed.at, freed.words);
        Some(freed)
    }

    /// Cuts `extent` out of the gap that holds it.
    fn take(&mut self, at: usize, gap: usize, extent: Extent) {
        self.gaps.remove(&at);
        if extent.at > at {
            self.gaps.insert(at, extent.at - at);
        }
        let (end, gap_end) = (extent.at + extent.words, at + gap);
        if gap_end > end {
            self.gaps.insert(end, gap_end - end);
        }
        self.live.push_back(extent);
        debug_assert!(gap_end <= self.total);
    }
}
