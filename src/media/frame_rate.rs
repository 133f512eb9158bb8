//! Frames at most so many times per second, evenly by capture time and never by sleeping: a faster camera is thinned with it to
//! `--fps`, and a viewer's picture to `max_fps`. Pure.

use super::MonoNs;
use std::time::Duration;

/// Thins evenly to `max_fps`: frames are due on a grid, and the first frame at or shortly before its time is kept.
#[derive(Debug)]
pub struct Pace {
    period: Duration,
    /// When the next frame is due; `None` before the first.
    due: Option<MonoNs>,
    /// The frame before, kept or not.
    before: Option<MonoNs>,
}

impl Pace {
    /// `max_fps` > 0.
    pub fn new(max_fps: f64) -> Self {
        // An hour bounds what a hostile 1e-300 would make of it.
        let seconds = (1.0 / max_fps).min(3600.0);
        Self {
            period: Duration::from_secs_f64(seconds),
            due: None,
            before: None,
        }
    }

    /// Whether the frame captured then is one of the kept. To be asked once per frame, in order.
    pub fn keeps(&mut self, capture_time: MonoNs) -> bool {
        let due = self.due.unwrap_or(capture_time);
        // The nearest frame is the one, so a frame may come early by half the source's interval. But by no more than a
        // quarter of a period, which still covers a camera's jitter: that must not turn 15 of 15 frames into 8.
        let interval = self
            .before
            .replace(capture_time)
            .map_or(Duration::ZERO, |before| capture_time.since(before));
        let grace = (interval / 2).min(self.period / 4);
        if capture_time + grace < due {
            return false;
        }
        let next = due + self.period;
        // After a pause, or when the source is slower than the grid, the grid starts anew from here.
        self.due = Some(if next <= capture_time {
            capture_time + self.period
        } else {
            next
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `frames` frames, one each `interval_ms` with some jitter, a pace keeps, and the longest wait between two.
    fn kept(max_fps: f64, interval_ms: f64, frames: u32) -> (usize, f64) {
        let mut pace = Pace::new(max_fps);
        let times: Vec<f64> = (0..frames)
            .map(|k| {
                1000.0 + f64::from(k) * interval_ms + [0.0, 3.0, -2.0, 1.5, -3.0][k as usize % 5]
            })
            .filter(|ms| pace.keeps(MonoNs((ms * 1e6) as u64)))
            .collect();
        let longest = times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
        (times.len(), longest)
    }

    #[test]
    fn frames_are_thinned_evenly_by_stamp() {
        // 10 s of 30 fps, and of 15.
        for (max_fps, interval_ms, frames, wanted) in [
            (15.0, 1000.0 / 30.0, 300, 150),
            (10.0, 1000.0 / 30.0, 300, 100),
            (20.0, 1000.0 / 30.0, 300, 200),
            (7.0, 1000.0 / 15.0, 150, 70),
            (1.0, 1000.0 / 15.0, 150, 10),
            (0.5, 1000.0 / 15.0, 150, 5),
        ] {
            let (count, longest) = kept(max_fps, interval_ms, frames);
            assert!(
                count.abs_diff(wanted) <= 1,
                "{max_fps} fps: {count} frames kept of {frames}, {wanted} wanted"
            );
            let period = 1000.0 / max_fps;
            assert!(
                longest <= period + interval_ms + 6.0,
                "{max_fps} fps: {longest} ms without a frame"
            );
        }
        // Not fewer than there are, where they are no more than what is allowed.
        assert_eq!(kept(15.0, 1000.0 / 15.0, 150).0, 150);
        assert_eq!(kept(30.0, 1000.0 / 15.0, 150).0, 150);
        assert_eq!(kept(f64::MAX, 1000.0 / 15.0, 150).0, 150);
        assert_eq!(kept(f64::MIN_POSITIVE, 1000.0 / 15.0, 150).0, 1);
    }

    #[test]
    fn thirty_frames_become_twelve_by_leaving_out_one_and_two_in_turn() {
        let mut pace = Pace::new(12.0);
        let kept: Vec<u64> = (0..300)
            .filter(|frame| pace.keeps(MonoNs(1_000_000_000 + frame * 33_333_333)))
            .collect();
        let steps: Vec<u64> = kept.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            steps.len() > 115 && steps.iter().all(|step| (2..=3).contains(step)),
            "{steps:?}"
        );
        assert!(steps.windows(2).all(|pair| pair[0] != pair[1]), "{steps:?}");
    }
}
