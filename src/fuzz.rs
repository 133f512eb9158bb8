//! What fuzz targets read their bytes with. The targets are the rooms' own functions, one for each place where bytes from
//! outside are taken apart, which panic where a promise is broken. libFuzzer runs them (fuzz/, tests/fuzz.sh); a plain
//! `cargo test` runs the corpora that it found. Compiled for these two alone; knows no room.

#[cfg(test)]
pub mod tests;

/// Bytes taken from the front; zeros where there are none left.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most so many.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        std::array::from_fn(|i| taken.get(i).copied().unwrap_or(0))
    }

    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.number())
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.number())
    }

    /// A number of any size, small ones in few bytes: what is near 0, or near the largest, is what decides.
    pub fn word(&mut self) -> u64 {
        match self.u8() {
            small @ 0..64 => small.into(),
            negative @ 64..128 => u64::from(negative - 64).wrapping_neg(),
            128..192 => u64::from(self.u16()),
            192..224 => u64::from(self.u16()) << 32 | u64::from(self.u16()),
            _ => u64::from_le_bytes(self.number()),
        }
    }
}
