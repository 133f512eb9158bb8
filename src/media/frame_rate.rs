//! Frame-rate reduction by capture time, never by sleeping: a camera's frames to `--fps`, a
//! viewer's to `max_fps`. Pure.

use super::MonoNs;
use std::time::Duration;

/// Keeps at most `max_fps` frames per second, evenly: frames are due on a grid, and the first frame
/// at or shortly before its due time is kept.
#[derive(Debug)]
pub struct FrameRateLimiter {
    period: Duration,
    /// When the next frame is due; `None` before the first.
    due: Option<MonoNs>,
    /// The previous frame, kept or not.
    before: Option<MonoNs>,
}

impl FrameRateLimiter {
    /// `max_fps` > 0.
    pub fn new(max_fps: f64) -> Self {
        // Bounded to an hour: a client may send 1e-300.
        let seconds = (1.0 / max_fps).min(3600.0);
        Self {
            period: Duration::from_secs_f64(seconds),
            due: None,
            before: None,
        }
    }

    /// Whether the frame captured then is kept. Call once per frame, in order.
    pub fn keep(&mut self, capture_time: MonoNs) -> bool {
        let due = self.due.unwrap_or(capture_time);
        // The frame nearest to its due time is kept, so one may be early by half the source's
        // interval, but by no more than a quarter of a period. That covers a camera's jitter, which
        // must not turn 15 of 15 frames into 8.
        let interval = self
            .before
            .replace(capture_time)
            .map_or(Duration::ZERO, |before| capture_time.since(before));
        let grace = (interval / 2).min(self.period / 4);
        if capture_time + grace < due {
            return false;
        }
        let next = due + self.period;
        // After a pause, or when the source is slower than the grid, the grid restarts here.
        self.due = Some(if next <= capture_time {
            capture_time + self.period
        } else {
            next
        });
        true
    }
}

/// Reduces a camera's frame rate to the configured one, and counts how many of the frames that the
/// camera did not deliver would have been kept.
///
/// A camera that runs at the configured rate, give or take its clock, keeps every frame: dropping
/// one a minute because two clocks differ would be an unnecessary loss.
#[derive(Debug)]
pub struct FrameDecimator {
    fps: f64,
    limiter: FrameRateLimiter,
    /// The camera's own interval, measured over the last frames, ns.
    own_ns: Option<f64>,
    last: Option<MonoNs>,
}

/// A camera runs at the configured rate when its interval is at least this share of the configured
/// one.
const SAME_RATE: f64 = 0.9;
/// Weight of the newest interval in the measured one.
const NEWEST: f64 = 0.1;

impl FrameDecimator {
    /// `fps` > 0.
    pub fn new(fps: f64) -> Self {
        Self {
            fps,
            limiter: FrameRateLimiter::new(fps),
            own_ns: None,
            last: None,
        }
    }

    /// Takes the frame captured at `capture_time` and the `missed` frames that the camera made
    /// since the last one and did not deliver, assumed evenly spaced between the two. Returns
    /// whether the frame is kept, and how many of the missed ones would have been.
    pub fn take(&mut self, capture_time: MonoNs, missed: u32) -> (bool, u32) {
        let Some(last) = self.last.replace(capture_time) else {
            return (self.limiter.keep(capture_time), 0);
        };
        let step_ns = capture_time.since(last).as_nanos() as f64 / (f64::from(missed) + 1.0);
        let own_ns = self
            .own_ns
            .map_or(step_ns, |own| own + (step_ns - own) * NEWEST);
        self.own_ns = Some(own_ns);
        if own_ns >= 1e9 / self.fps * SAME_RATE {
            // Should the camera run faster later, the grid begins with this frame.
            self.limiter = FrameRateLimiter::new(self.fps);
            self.limiter.keep(capture_time);
            return (true, missed);
        }
        let at = |n: u32| last + Duration::from_nanos((step_ns * f64::from(n)) as u64);
        let kept = (1..=missed).filter(|&n| self.limiter.keep(at(n))).count() as u32;
        (self.limiter.keep(capture_time), kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `frames` frames, one each `interval_ms` with some jitter, a limiter keeps, and
    /// the longest wait between two.
    fn kept(max_fps: f64, interval_ms: f64, frames: u32) -> (usize, f64) {
        let mut limiter = FrameRateLimiter::new(max_fps);
        let times: Vec<f64> = (0..frames)
            .map(|k| {
                1000.0 + f64::from(k) * interval_ms + [0.0, 3.0, -2.0, 1.5, -3.0][k as usize % 5]
            })
            .filter(|ms| limiter.keep(MonoNs((ms * 1e6) as u64)))
            .collect();
        let longest = times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
        (times.len(), longest)
    }

    #[test]
    fn frame_rate_limiter_faster_source_is_thinned_evenly() {
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
    fn frame_rate_limiter_30_to_12_fps_skips_one_and_two_in_turn() {
        let mut limiter = FrameRateLimiter::new(12.0);
        let kept: Vec<u64> = (0..300)
            .filter(|frame| limiter.keep(MonoNs(1_000_000_000 + frame * 33_333_333)))
            .collect();
        let steps: Vec<u64> = kept.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            steps.len() > 115 && steps.iter().all(|step| (2..=3).contains(step)),
            "{steps:?}"
        );
        assert!(steps.windows(2).all(|pair| pair[0] != pair[1]), "{steps:?}");
    }

    /// Stamps kept of `seconds` of a camera at `camera` fps with the given jitter, when `asked` fps
    /// are wanted.
    fn kept_stamps(camera: f64, asked: f64, jitter_ms: f64, seconds: f64) -> Vec<f64> {
        let mut decimator = FrameDecimator::new(asked);
        let mut noise = 1u32;
        (0..(camera * seconds) as u64)
            .filter_map(|k| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let t = 1e9
                    + k as f64 * 1e9 / camera
                    + (f64::from(noise) / f64::from(u32::MAX) - 0.5) * jitter_ms * 1e6;
                decimator.take(MonoNs(t as u64), 0).0.then_some(t / 1e9)
            })
            .collect()
    }

    #[test]
    fn frame_decimator_faster_camera_is_thinned_evenly() {
        for (camera, asked) in [
            (30.0, 15.0),
            (25.0, 15.0),
            (60.0, 15.0),
            (30.0, 29.97 / 2.0),
            (30.0, 7.0),
            (30.0, 0.5),
            (50.0, 30.0),
        ] {
            let stamps = kept_stamps(camera, asked, 2.0, 60.0);
            let expected = asked * 60.0;
            assert!(
                (stamps.len() as f64 - expected).abs() <= 2.0,
                "{camera} to {asked}: {}",
                stamps.len()
            );
            let longest = stamps.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
            assert!(
                longest <= 1.0 / asked + 1.0 / camera + 0.003,
                "{camera} to {asked}: a gap of {longest} s"
            );
        }
    }

    #[test]
    fn frame_decimator_camera_at_the_configured_rate_keeps_every_frame() {
        for camera in [15.0, 15.3, 14.7, 10.0] {
            assert_eq!(
                kept_stamps(camera, 15.0, 20.0, 60.0).len(),
                (camera * 60.0) as usize,
                "{camera} fps"
            );
        }
    }

    #[test]
    fn frame_decimator_missed_frames_count_only_where_they_would_have_been_kept() {
        let mut decimator = FrameDecimator::new(15.0);
        let at = |frame: u64| MonoNs(1_000_000_000 + frame * 33_333_333);
        let mut total = 0;
        for frame in (0..30).chain([41]).chain(42..60) {
            let missed = if frame == 41 { 11 } else { 0 };
            let (kept, lost) = decimator.take(at(frame), missed);
            assert!(
                lost == 0 || (5..=6).contains(&lost),
                "{lost} of 11 missed ones"
            );
            total += u32::from(kept) + lost;
        }
        assert!(
            (29..=31).contains(&total),
            "{total} of 60 frames at half the rate"
        );
    }

    #[test]
    fn frame_decimator_pause_restarts_the_grid() {
        let mut decimator = FrameDecimator::new(15.0);
        let at = |ms: u64| MonoNs(1_000_000_000 + ms * 1_000_000);
        let before: Vec<_> = (0..30).map(|i| decimator.take(at(i * 33), 0).0).collect();
        assert!(before.contains(&false));
        let after = (0..30)
            .filter(|i| decimator.take(at(60_000 + i * 33), 0).0)
            .count();
        assert!((14..=30).contains(&after), "{after}");
    }
}
