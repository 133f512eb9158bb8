//! The fuzz targets, one for each place where bytes from outside are taken apart: the rooms' own functions, which panic where
//! a promise is broken. libFuzzer runs them (fuzz/, tests/fuzz.sh); a plain `cargo test` runs the corpora that it found.
//! Compiled for these two alone.

/// Target and function. A target's corpus is the directory of its name in fuzz/corpus.
/// A name, and what is done with the bytes.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 7] = [
    ("access", crate::http::fuzz::access),
    ("hub_labels", crate::hub::fuzz::labels),
    ("incoming", crate::http::fuzz::incoming),
    ("jpeg_markers", crate::capture::jpeg::fuzz::markers),
    ("ring_memory", crate::ring::fuzz::memory),
    ("rpicam_pipes", crate::capture::video::rpi::fuzz::pipes),
    ("wire_decode", crate::wire::fuzz::decode),
];

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_corpus_passes_and_is_run_by_a_target() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let mut found: Vec<_> = std::fs::read_dir(&corpora).expect("corpora").map(|d| d.expect("a directory").file_name()).collect();
        found.sort();
        assert_eq!(found, TARGETS.map(|(name, _)| name));
        for (name, target) in TARGETS {
            let mut files = 0;
            for file in std::fs::read_dir(corpora.join(name)).expect("a directory") {
                let path = file.expect("a file").path();
                eprintln!("{}", path.display());
                target(&std::fs::read(path).expect("it is readable"));
                files += 1;
            }
            assert!(files > 0, "{name}");
        }
    }
}
