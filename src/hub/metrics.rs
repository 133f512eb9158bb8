//! What the hub counts for those who watch over it (`/metrics`). Knows no output format.

use crate::media::{Encoding, MediaKind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the histograms' buckets, seconds.
pub const BOUNDS_S: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

/// How often durations were met, by size.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is beyond the last.
    counts: [AtomicU64; BOUNDS_S.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    pub fn note(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = BOUNDS_S
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BOUNDS_S.len());
        self.counts[at].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(
            u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
            Relaxed,
        );
    }

    pub fn read(&self) -> Counted {
        Counted {
            counts: std::array::from_fn(|i| self.counts[i].load(Relaxed)),
            sum_s: self.sum_ns.load(Relaxed) as f64 / 1e9,
        }
    }
}

/// A histogram as it was at one moment: counts of each bucket by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    pub counts: [u64; BOUNDS_S.len() + 1],
    pub sum_s: f64,
}

/// One encoding's packets since the server started.
#[derive(Clone, Debug)]
pub struct TrackFigures {
    pub encoding: Encoding,
    pub packets: u64,
    pub bytes: u64,
    /// Capture to hub.
    pub latency: Counted,
}

#[derive(Clone, Debug)]
pub struct Figures {
    pub tracks: Vec<TrackFigures>,
    /// Capture to the moment at which an output took the packet, of all outputs.
    pub age: [(MediaKind, Counted); 2],
    /// Payload of the packets that outputs took, all of them together.
    pub sent_bytes: [(MediaKind, u64); 2],
    /// How often each source's worker was started again since the program started.
    pub restarts: Vec<(MediaKind, u32)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_falls_into_one_bucket() {
        let histogram = Histogram::default();
        for ms in [0.5, 1.0, 1.5, 60.0, 9_000.0] {
            histogram.note(Duration::from_secs_f64(ms / 1e3));
        }
        let Counted { counts, sum_s } = histogram.read();
        assert_eq!(
            (
                counts[0],
                counts[1],
                counts[6],
                counts[12],
                counts.iter().sum::<u64>()
            ),
            (2, 1, 1, 1, 5)
        );
        assert!((sum_s - 9.063).abs() < 1e-9);
    }
}
