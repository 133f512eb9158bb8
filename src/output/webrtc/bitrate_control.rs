//! The video bit rate of a camera, lowered while WebRTC viewers report loss. All viewers share one
//! encoder, so the connection with the highest loss sets the rate; not below a quarter, so that one
//! bad connection does not ruin the video for the others.

use crate::hub::Hub;
use crate::media::Encoding;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Percent of the full rate. Each change begins with a keyframe, so there are few steps.
const STEPS_PERCENT: [u32; 5] = [100, 70, 50, 35, 25];
/// A loss of up to this share is repaired by retransmission; above it the rate is lowered.
const HIGH_LOSS: f32 = 0.1;
/// Below this share the rate may be raised.
const LOW_LOSS: f32 = 0.02;
/// Reports show the effect of a step down after this time.
const LOWER_INTERVAL: Duration = Duration::from_secs(3);
/// From the last change, and from the last loss that was not low, to a step up.
const RAISE_INTERVAL: Duration = Duration::from_secs(15);

/// The bit rate of one camera's H.264.
pub struct BitrateControl {
    hub: Arc<Hub>,
    full_bps: u32,
    viewers: Mutex<Viewers>,
}

#[derive(Default)]
struct Viewers {
    last_key: u64,
    /// The step of each viewer that needs less than the full rate.
    lowered: HashMap<u64, usize>,
}

impl BitrateControl {
    /// `full_bps`: bits per second without loss.
    pub fn new(hub: Arc<Hub>, full_bps: u32) -> Arc<Self> {
        hub.set_bitrate(Encoding::H264, full_bps);
        Arc::new(Self {
            hub,
            full_bps,
            viewers: Mutex::default(),
        })
    }

    pub fn viewer(self: &Arc<Self>) -> ViewerBitrate {
        let mut viewers = self.lock();
        viewers.last_key += 1;
        ViewerBitrate {
            control: self.clone(),
            key: viewers.last_key,
            steps: StepControl::default(),
        }
    }

    fn set_step(&self, key: u64, step: usize) {
        let mut viewers = self.lock();
        if step == 0 {
            viewers.lowered.remove(&key)
        } else {
            viewers.lowered.insert(key, step)
        };
        let lowest = viewers.lowered.values().max().copied().unwrap_or(0);
        let bps = u64::from(self.full_bps) * u64::from(STEPS_PERCENT[lowest]) / 100;
        self.hub.set_bitrate(Encoding::H264, bps as u32);
    }

    fn lock(&self) -> MutexGuard<'_, Viewers> {
        self.viewers.lock().expect("no panic while locked")
    }
}

/// One viewer's part in the decision; dropping it ends its effect.
pub struct ViewerBitrate {
    control: Arc<BitrateControl>,
    key: u64,
    steps: StepControl,
}

impl ViewerBitrate {
    /// `loss`: the share of video packets, 0 to 1, that the viewer reported as lost.
    pub fn report_loss(&mut self, loss: f32, now: Instant) {
        if let Some(step) = self.steps.report_loss(loss, now) {
            self.control.set_step(self.key, step);
        }
    }
}

impl Drop for ViewerBitrate {
    fn drop(&mut self) {
        if self.steps.step > 0 {
            self.control.set_step(self.key, 0);
        }
    }
}

/// Chooses a step for one connection. Pure.
#[derive(Default)]
struct StepControl {
    step: usize,
    last_change: Option<Instant>,
    /// When the loss was last not low.
    last_loss: Option<Instant>,
}

impl StepControl {
    /// The new step, if it changes.
    fn report_loss(&mut self, loss: f32, now: Instant) -> Option<usize> {
        if loss >= LOW_LOSS {
            self.last_loss = Some(now);
        }
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.duration_since(at));
        let (unchanged, without_loss) = (since(self.last_change), since(self.last_loss));
        let step = match self.step {
            step if loss > HIGH_LOSS && unchanged >= LOWER_INTERVAL => {
                (step + 1).min(STEPS_PERCENT.len() - 1)
            }
            step if unchanged.min(without_loss) >= RAISE_INTERVAL => step.saturating_sub(1),
            step => step,
        };
        if step == self.step {
            return None;
        }
        (self.step, self.last_change) = (step, Some(now));
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_control_lowers_soon_and_raises_slowly_within_its_steps() {
        let mut steps = StepControl::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(
            steps.report_loss(0.05, at(0)),
            None,
            "repaired by retransmission"
        );
        assert_eq!(steps.report_loss(0.3, at(1)), Some(1));
        assert_eq!(
            steps.report_loss(0.3, at(2)),
            None,
            "not before reports show the step"
        );
        let lowered = (4..40).filter_map(|s| steps.report_loss(0.9, at(s)));
        assert_eq!(lowered.last(), Some(4));
        assert_eq!(steps.report_loss(0.0, at(41)), None);
        assert_eq!(steps.report_loss(0.0, at(60)), Some(3));
        assert_eq!(steps.report_loss(0.0, at(70)), None);
        let raised = (71..200).filter_map(|s| steps.report_loss(0.0, at(s)));
        assert_eq!(raised.last(), Some(0));
    }

    #[test]
    fn bitrate_control_highest_loss_sets_the_rate_until_its_viewer_leaves() {
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
        let demand = hub.demand(Encoding::H264).expect("the plan has H.264");
        let control = BitrateControl::new(hub.clone(), 1_000_000);
        let (mut good, mut bad) = (control.viewer(), control.viewer());
        let now = Instant::now();
        good.report_loss(0.0, now);
        assert_eq!(demand.borrow().bitrate_bps, 1_000_000);
        bad.report_loss(0.5, now);
        assert_eq!(demand.borrow().bitrate_bps, 700_000);
        good.report_loss(0.0, now + Duration::from_secs(20));
        assert_eq!(demand.borrow().bitrate_bps, 700_000);
        drop(bad);
        assert_eq!(demand.borrow().bitrate_bps, 1_000_000);
    }
}
