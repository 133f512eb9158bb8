//! The fuzz targets, and the type that they read their input with. Each target is a function of the
//! folder whose parser it tests; it panics when a property does not hold. libFuzzer runs them (fuzz/,
//! tests/fuzz.sh); a plain `cargo test` runs the corpora. Compiled for these two only.

#[cfg(test)]
pub mod tests;

/// The targets, for the programs in fuzz/: the folders of some of them are private.
#[cfg(fuzzing)]
pub mod targets {
    pub use crate::encode::jpeg::fuzz::markers as jpeg_markers;
    pub use crate::http::fuzz::access;
    pub use crate::hub::fuzz::labels as hub_labels;
    pub use crate::ipc::ring::fuzz::memory as ring_memory;
    #[cfg(feature = "webrtc")]
    pub use crate::output::webrtc::fuzz::{
        datagrams as webrtc_datagrams, links as webrtc_links, session as webrtc_session,
    };
    pub use crate::output::websocket::fuzz::incoming;
    pub use crate::source::rpicam::fuzz::pipes as rpicam_pipes;
    pub use crate::wire::fuzz::decode as wire_decode;
}

/// Takes values from the front of the input; zeros when it is used up.
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
