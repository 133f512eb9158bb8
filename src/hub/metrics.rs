//! Histograms of durations.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, seconds.
pub const BOUNDS_S: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

/// Counts durations by size.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// One for each bound, and one for everything beyond the last.
    counts: [AtomicU64; BOUNDS_S.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    pub(super) fn record(&self, duration: Duration) {
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

    pub(super) fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: std::array::from_fn(|i| self.counts[i].load(Relaxed)),
            sum_s: self.sum_ns.load(Relaxed) as f64 / 1e9,
        }
    }
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Of each bucket by itself, not cumulative.
    pub counts: [u64; BOUNDS_S.len() + 1],
    /// Sum of all durations, seconds.
    pub sum_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_each_duration_is_counted_in_one_bucket() {
        let histogram = Histogram::default();
        for ms in [0.5, 1.0, 1.5, 60.0, 9_000.0] {
            histogram.record(Duration::from_secs_f64(ms / 1e3));
        }
        let HistogramSnapshot { counts, sum_s } = histogram.snapshot();
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
