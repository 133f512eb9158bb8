//! How much the intervals between a camera's timestamps vary: the part of their error that can be
//! measured from here. Pure: opens no device, reads no clock.

use crate::media::MonoNs;
use std::collections::VecDeque;

/// The number of recent intervals that are used.
const WINDOW: usize = 64;
/// With fewer there is no estimate.
const MIN_INTERVALS: usize = 16;

/// Estimates the jitter of a camera's timestamps.
///
/// A camera's frames are evenly spaced, so the difference of an interval from the usual one is the
/// error of one timestamp minus that of the other. A delay that all timestamps share (from the
/// sensor to where the clock is read) does not show, nor does one that changes slowly.
#[derive(Debug, Default)]
pub(crate) struct JitterEstimator {
    last: Option<MonoNs>,
    intervals_ns: VecDeque<u64>,
}

impl JitterEstimator {
    /// Adds the next frame's capture time. `missed`: frames missing between the last one and this
    /// one.
    pub fn record(&mut self, capture_time: MonoNs, missed: u32) {
        let Some(last) = self.last.replace(capture_time).filter(|_| missed == 0) else {
            return;
        };
        if self.intervals_ns.len() == WINDOW {
            self.intervals_ns.pop_front();
        }
        self.intervals_ns
            .push_back(capture_time.0.saturating_sub(last.0));
    }

    /// The difference from the usual interval of nine in ten intervals, nanoseconds. `None` while
    /// there are too few, and where the camera's rate is not steady (as in the dark, when it
    /// exposes for longer): then more than one in ten differs by half an interval, and exposure
    /// cannot be distinguished from error.
    pub fn uncertainty_ns(&self) -> Option<u64> {
        if self.intervals_ns.len() < MIN_INTERVALS {
            return None;
        }
        let usual = quantile(self.intervals_ns.iter().copied(), 5);
        let most = quantile(
            self.intervals_ns
                .iter()
                .map(|interval| interval.abs_diff(usual)),
            9,
        );
        (most < usual / 2).then_some(most)
    }
}

/// The value that `tenths` tenths of `values` do not exceed. `values` is not empty.
fn quantile(values: impl Iterator<Item = u64>, tenths: usize) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values[(values.len() * tenths).div_ceil(10) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;
    const STEP: u64 = 33_333 * US;

    /// The estimate after frames 0 to `count`, each late by `late`.
    fn after(count: u64, late: impl Fn(u64) -> u64) -> Option<u64> {
        let mut jitter = JitterEstimator::default();
        (0..count).for_each(|k| jitter.record(MonoNs(1_000_000 * US + k * STEP + late(k)), 0));
        jitter.uncertainty_ns()
    }

    #[test]
    fn jitter_estimator_is_that_of_nine_in_ten_intervals() {
        type Late = fn(u64) -> u64;
        let cases: [(&str, Late, Option<u64>); 7] = [
            ("even timestamps", |_| 0, Some(0)),
            ("late by the same always", |_| 5_000 * US, Some(0)),
            ("every other one late", |k| k % 2 * 300 * US, Some(600 * US)),
            (
                "a driver that is late by much",
                |k| k % 2 * 6_000 * US,
                Some(12_000 * US),
            ),
            ("one outlier", |k| u64::from(k == 50) * 20_000 * US, Some(0)),
            ("a crystal that is 100 ppm off", |k| k * 3_333, Some(0)),
            (
                "every other frame exposed for twice as long",
                |k| k / 2 * STEP,
                None,
            ),
        ];
        for (what, late, expected) in cases {
            assert_eq!(after(100, late), expected, "{what}");
        }
    }

    #[test]
    fn jitter_estimator_too_few_intervals_is_none() {
        assert_eq!(after(MIN_INTERVALS as u64, |_| 0), None);
        assert_eq!(after(MIN_INTERVALS as u64 + 1, |_| 0), Some(0));
    }

    #[test]
    fn jitter_estimator_gaps_and_old_intervals_do_not_count() {
        let mut jitter = JitterEstimator::default();
        let mut at = 0;
        for k in 0..200 {
            let missed = if k % 3 == 0 { 2 } else { 0 };
            at += STEP * u64::from(missed + 1) + if k < 50 { k % 2 * 7_000 * US } else { 0 };
            jitter.record(MonoNs(at), missed);
        }
        assert_eq!(jitter.uncertainty_ns(), Some(0));
        jitter.record(MonoNs(0), 0);
        assert_eq!(
            jitter.uncertainty_ns(),
            Some(0),
            "a timestamp that runs backwards is harmless"
        );
    }
}
