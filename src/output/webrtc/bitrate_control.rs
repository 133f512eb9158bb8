//! The picture's bit rate, lowered while viewers lose what is sent. There is one encoder for all, so the worst line sets the rate, but
//! not below a quarter: one bad line must not spoil the picture for the others without end. Knows no session.

use crate::hub::Hub;
use crate::media::Encoding;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Percent of the full rate. Each change begins with a keyframe, so there are few steps.
const STEPS: [u32; 5] = [100, 70, 50, 35, 25];
/// Losses of up to this share are made good by repetition.
const TOO_MUCH: f32 = 0.1;
/// Below it the line has room.
const LITTLE: f32 = 0.02;
/// A step down shows its effect in the reports after this time …
const DOWN: Duration = Duration::from_secs(3);
/// … and a step up is not tried before.
const UP: Duration = Duration::from_secs(15);

/// What is sent at all, and by how much each viewer needs it lowered.
pub struct Rates {
    hub: Arc<Hub>,
    full_bps: u32,
    /// Only of those who need less than the full rate.
    lowered: Mutex<(u64, HashMap<u64, usize>)>,
}

impl Rates {
    /// `full_bps`: bits per second when nobody loses anything.
    pub fn new(hub: Arc<Hub>, full_bps: u32) -> Arc<Self> {
        hub.set_bitrate(Encoding::H264, full_bps);
        Arc::new(Self {
            hub,
            full_bps,
            lowered: Mutex::default(),
        })
    }

    /// One viewer's share in the decision.
    pub fn share(self: &Arc<Self>) -> Share {
        let mut lowered = self
            .lowered
            .lock()
            .expect("nothing panics while it holds the rates");
        lowered.0 += 1;
        Share {
            rates: self.clone(),
            key: lowered.0,
            line: Line::default(),
        }
    }

    fn set(&self, key: u64, step: usize) {
        let mut lowered = self
            .lowered
            .lock()
            .expect("nothing panics while it holds the rates");
        if step == 0 {
            lowered.1.remove(&key)
        } else {
            lowered.1.insert(key, step)
        };
        let worst = lowered.1.values().max().copied().unwrap_or(0);
        self.hub.set_bitrate(
            Encoding::H264,
            (u64::from(self.full_bps) * u64::from(STEPS[worst]) / 100) as u32,
        );
    }
}

/// One viewer's; what it asked for ends with it.
pub struct Share {
    rates: Arc<Rates>,
    key: u64,
    line: Line,
}

impl Share {
    /// The share of the picture's datagrams, 0 to 1, that the viewer says it lost lately.
    pub fn lost(&mut self, share: f32, now: Instant) {
        if let Some(step) = self.line.lost(share, now) {
            self.rates.set(self.key, step);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.line.step > 0 {
            self.rates.set(self.key, 0);
        }
    }
}

/// Where one line stands. Pure.
#[derive(Default)]
struct Line {
    step: usize,
    changed: Option<Instant>,
    /// When it last lost more than a little.
    bad: Option<Instant>,
}

impl Line {
    /// The new step, when it is another one.
    fn lost(&mut self, share: f32, now: Instant) -> Option<usize> {
        if share >= LITTLE {
            self.bad = Some(now);
        }
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.duration_since(at));
        let (age, calm) = (since(self.changed), since(self.bad));
        let step = match self.step {
            step if share > TOO_MUCH && age >= DOWN => (step + 1).min(STEPS.len() - 1),
            step if age.min(calm) >= UP => step.saturating_sub(1),
            step => step,
        };
        if step == self.step {
            return None;
        }
        (self.step, self.changed) = (step, Some(now));
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_down_soon_and_up_slowly_and_never_to_nothing() {
        let mut line = Line::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(line.lost(0.05, at(0)), None, "made good by repetition");
        assert_eq!(line.lost(0.3, at(1)), Some(1));
        assert_eq!(line.lost(0.3, at(2)), None, "not before the step shows");
        assert_eq!(
            (4..40).filter_map(|s| line.lost(0.9, at(s))).last(),
            Some(4)
        );
        assert_eq!(line.lost(0.0, at(41)), None);
        assert_eq!(line.lost(0.0, at(60)), Some(3));
        assert_eq!(line.lost(0.0, at(70)), None);
        assert_eq!(
            (71..200).filter_map(|s| line.lost(0.0, at(s))).last(),
            Some(0)
        );
    }

    #[test]
    fn the_worst_line_sets_the_rate_until_its_viewer_goes() {
        let plan = crate::hub::Plan {
            video: Some(crate::hub::StreamPlan {
                encodings: vec![Encoding::H264],
                fps: None,
                backlog: crate::hub::Backlog {
                    packets: 1,
                    bytes: 1,
                },
            }),
            audio: None,
        };
        let hub = Arc::new(Hub::new(
            crate::media::CameraId::main(),
            plan,
            Arc::new(crate::media::clock::Clock::start()),
        ));
        let demand = hub.demand(Encoding::H264).expect("there is a picture");
        let rates = Rates::new(hub.clone(), 1_000_000);
        let (mut good, mut bad) = (rates.share(), rates.share());
        let now = Instant::now();
        good.lost(0.0, now);
        assert_eq!(demand.borrow().bitrate_bps, 1_000_000);
        bad.lost(0.5, now);
        assert_eq!(demand.borrow().bitrate_bps, 700_000);
        good.lost(0.0, now + Duration::from_secs(20));
        assert_eq!(demand.borrow().bitrate_bps, 700_000);
        drop(bad);
        assert_eq!(demand.borrow().bitrate_bps, 1_000_000);
    }
}
