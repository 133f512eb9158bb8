//! Rates by capture time: thinning to at most so many frames per second, and measuring how many there are. Pure.

use crate::packet::MonoNs;
use std::collections::VecDeque;
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
        Self { period: Duration::from_secs_f64(seconds), due: None, before: None }
    }

    /// Whether the frame captured then is one of the kept. To be asked once per frame, in order.
    pub fn keeps(&mut self, captured: MonoNs) -> bool {
        let due = self.due.unwrap_or(captured);
        // The nearest frame is the one, so a frame may come early by half the source's interval. But by no more than a
        // quarter of a period, which still covers a camera's jitter: that must not turn 15 of 15 frames into 8.
        let interval = self.before.replace(captured).map_or(Duration::ZERO, |before| captured.since(before));
        let grace = (interval / 2).min(self.period / 4);
        if captured + grace < due {
            return false;
        }
        let next = due + self.period;
        // After a pause, or when the source is slower than the grid, the grid starts anew from here.
        self.due = Some(if next <= captured { captured + self.period } else { next });
        true
    }
}

/// Measures the rate over the last frames.
#[derive(Debug, Default)]
pub struct Meter(VecDeque<MonoNs>);

impl Meter {
    const FRAMES: usize = 32;
    /// Older frames say nothing of the rate now.
    const SPAN: Duration = Duration::from_secs(4);

    pub fn note(&mut self, captured: MonoNs) {
        if self.0.len() == Self::FRAMES {
            self.0.pop_front();
        }
        self.0.push_back(captured);
    }

    /// Frames per second; `None` until two recent frames are there.
    pub fn rate(&self, now: MonoNs) -> Option<f64> {
        let recent = |at: &&MonoNs| now.since(**at) < Self::SPAN;
        let count = self.0.iter().filter(recent).count();
        let first = self.0.iter().find(recent)?;
        let seconds = self.0.back()?.since(*first).as_secs_f64();
        (count > 1 && seconds > 0.0).then(|| (count - 1) as f64 / seconds)
    }
}
