//! Which frames of a faster camera are kept, and how many of those that it did not deliver would have been. Pure.

use crate::media::MonoNs;
use crate::media::frame_rate::Pace;
use std::time::Duration;

/// Thins a camera's frames to the asked rate.
///
/// A camera that runs at the asked rate, give or take its clock, keeps every frame: dropping one a minute because two
/// clocks differ would be a loss that nobody asked for.
#[derive(Debug)]
pub struct Thinner {
    fps: f64,
    pace: Pace,
    /// The camera's own interval, measured over the last frames, ns.
    own_ns: Option<f64>,
    last: Option<MonoNs>,
}

/// The camera counts as running at the asked rate when its interval is at least this share of the asked one.
const SAME_RATE: f64 = 0.9;
/// Weight of the newest interval in the measured one.
const NEWEST: f64 = 0.1;

impl Thinner {
    /// `fps` > 0.
    pub fn new(fps: f64) -> Self {
        Self {
            fps,
            pace: Pace::new(fps),
            own_ns: None,
            last: None,
        }
    }

    /// Takes the frame captured at `capture_time` and the `missed` ones that the camera made since the last and did not
    /// deliver, spread evenly between the two. Returns whether the frame is kept, and how many of the missed ones would
    /// have been.
    pub fn take(&mut self, capture_time: MonoNs, missed: u32) -> (bool, u32) {
        let Some(last) = self.last.replace(capture_time) else {
            return (self.pace.keeps(capture_time), 0);
        };
        let step_ns = capture_time.since(last).as_nanos() as f64 / (f64::from(missed) + 1.0);
        let own_ns = self
            .own_ns
            .map_or(step_ns, |own| own + (step_ns - own) * NEWEST);
        self.own_ns = Some(own_ns);
        if own_ns >= 1e9 / self.fps * SAME_RATE {
            // Should it run faster later, the grid begins with this frame.
            self.pace = Pace::new(self.fps);
            self.pace.keeps(capture_time);
            return (true, missed);
        }
        let at = |n: u32| last + Duration::from_nanos((step_ns * f64::from(n)) as u64);
        let kept = (1..=missed).filter(|&n| self.pace.keeps(at(n))).count() as u32;
        (self.pace.keeps(capture_time), kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stamps kept of `seconds` of a camera at `camera` fps with the given jitter, when `asked` fps are wanted.
    fn kept(camera: f64, asked: f64, jitter_ms: f64, seconds: f64) -> Vec<f64> {
        let mut thinner = Thinner::new(asked);
        let mut noise = 1u32;
        (0..(camera * seconds) as u64)
            .filter_map(|k| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let t = 1e9
                    + k as f64 * 1e9 / camera
                    + (f64::from(noise) / f64::from(u32::MAX) - 0.5) * jitter_ms * 1e6;
                thinner.take(MonoNs(t as u64), 0).0.then_some(t / 1e9)
            })
            .collect()
    }

    #[test]
    fn a_faster_camera_is_thinned_evenly_to_the_asked_rate() {
        for (camera, asked) in [
            (30.0, 15.0),
            (25.0, 15.0),
            (60.0, 15.0),
            (30.0, 29.97 / 2.0),
            (30.0, 7.0),
            (30.0, 0.5),
            (50.0, 30.0),
        ] {
            let stamps = kept(camera, asked, 2.0, 60.0);
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
    fn a_camera_at_the_asked_rate_keeps_every_frame() {
        for camera in [15.0, 15.3, 14.7, 10.0] {
            assert_eq!(
                kept(camera, 15.0, 20.0, 60.0).len(),
                (camera * 60.0) as usize,
                "{camera} fps"
            );
        }
    }

    #[test]
    fn missed_frames_count_only_where_they_would_have_been_kept() {
        let mut thinner = Thinner::new(15.0);
        let at = |frame: u64| MonoNs(1_000_000_000 + frame * 33_333_333);
        let mut total = 0;
        for frame in (0..30).chain([41]).chain(42..60) {
            let missed = if frame == 41 { 11 } else { 0 };
            let (kept, lost) = thinner.take(at(frame), missed);
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
    fn after_a_pause_the_grid_starts_anew() {
        let mut thinner = Thinner::new(15.0);
        let at = |ms: u64| MonoNs(1_000_000_000 + ms * 1_000_000);
        let before: Vec<_> = (0..30).map(|i| thinner.take(at(i * 33), 0).0).collect();
        assert!(before.contains(&false));
        let after = (0..30)
            .filter(|i| thinner.take(at(60_000 + i * 33), 0).0)
            .count();
        assert!((14..=30).contains(&after), "{after}");
    }
}
