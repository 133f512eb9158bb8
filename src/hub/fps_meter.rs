//! How many frames per second there are, by capture time. Pure.

use crate::media::MonoNs;
use std::collections::VecDeque;
use std::time::Duration;

/// Measures the rate over the last frames.
#[derive(Debug, Default)]
pub struct Meter(VecDeque<MonoNs>);

impl Meter {
    const FRAMES: usize = 32;
    /// Older frames say nothing of the rate now …
    const SPAN: Duration = Duration::from_secs(4);
    /// … unless so few intervals take longer.
    const INTERVALS: u32 = 5;

    pub fn note(&mut self, capture_time: MonoNs) {
        if self.0.len() == Self::FRAMES {
            self.0.pop_front();
        }
        self.0.push_back(capture_time);
    }

    /// Frames per second; `None` until two recent frames are there. `interval`: the time expected between two.
    pub fn rate(&self, now: MonoNs, interval: Duration) -> Option<f64> {
        let span = Self::SPAN.max(interval.saturating_mul(Self::INTERVALS));
        let recent = |at: &&MonoNs| now.since(**at) < span;
        let count = self.0.iter().filter(recent).count();
        let first = self.0.iter().find(recent)?;
        let seconds = self.0.back()?.since(*first).as_secs_f64();
        (count > 1 && seconds > 0.0).then(|| (count - 1) as f64 / seconds)
    }
}
