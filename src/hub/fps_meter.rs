//! Measures frames per second by capture time. Pure.

use crate::media::MonoNs;
use std::collections::VecDeque;
use std::time::Duration;

/// The rate over the last frames.
#[derive(Debug, Default)]
pub(super) struct FpsMeter(VecDeque<MonoNs>);

impl FpsMeter {
    const FRAMES: usize = 32;
    /// Older frames do not count, unless [`INTERVALS`](Self::INTERVALS) take longer.
    const WINDOW: Duration = Duration::from_secs(4);
    const INTERVALS: u32 = 5;

    pub(super) fn record(&mut self, capture_time: MonoNs) {
        if self.0.len() == Self::FRAMES {
            self.0.pop_front();
        }
        self.0.push_back(capture_time);
    }

    /// Frames per second; `None` without two recent frames. `interval`: expected between two.
    pub(super) fn rate(&self, now: MonoNs, interval: Duration) -> Option<f64> {
        let window = Self::WINDOW.max(interval.saturating_mul(Self::INTERVALS));
        let is_recent = |at: &&MonoNs| now.since(**at) < window;
        let count = self.0.iter().filter(is_recent).count();
        let first = self.0.iter().find(is_recent)?;
        let seconds = self.0.back()?.since(*first).as_secs_f64();
        (count > 1 && seconds > 0.0).then(|| (count - 1) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn fps_meter_steady_frames_give_their_rate_until_they_are_old() {
        let mut meter = FpsMeter::default();
        let at = |k: u64| MonoNs(1_000 * MS + k * 50 * MS);
        let rate = |meter: &FpsMeter, now| meter.rate(now, Duration::from_millis(50));
        assert_eq!(rate(&meter, at(0)), None);
        (0..100).for_each(|k| meter.record(at(k)));
        assert!((rate(&meter, at(100)).unwrap() - 20.0).abs() < 1e-9);
        assert_eq!(rate(&meter, at(1000)), None, "the frames are too old");
    }

    #[test]
    fn fps_meter_slow_camera_has_a_rate_until_it_stalls() {
        let mut meter = FpsMeter::default();
        let interval = Duration::from_secs(10);
        let at = |seconds: u64| MonoNs(seconds * 1_000 * MS);
        meter.record(at(10));
        assert_eq!(meter.rate(at(19), interval), None, "one frame has no rate");
        (2..6).for_each(|k| meter.record(at(10 * k)));
        for late in [50, 59, 65, 75] {
            assert_eq!(meter.rate(at(late), interval), Some(0.1), "after {late} s");
        }
        assert_eq!(
            meter.rate(at(100), interval),
            None,
            "the camera has stalled"
        );
    }
}
