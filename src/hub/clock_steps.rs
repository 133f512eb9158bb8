//! The clock steps that were not yet reported to the readers of one track: each belongs before the
//! first packet with the new time. Pure.

use crate::media::MonoNs;
use crate::media::clock::ClockStep;
use std::collections::VecDeque;

/// Beyond this the two oldest steps are merged: the clock is set again and again while no packet
/// arrives.
const MAX_STEPS: usize = 8;

/// Oldest first.
#[derive(Debug, Default)]
pub(super) struct ClockSteps(VecDeque<ClockStep>);

impl ClockSteps {
    pub(super) fn push(&mut self, step: ClockStep) {
        self.0.push_back(step);
        if self.0.len() > MAX_STEPS
            && let Some(oldest) = self.0.pop_front()
            && let Some(next) = self.0.front_mut()
        {
            next.seconds += oldest.seconds;
        }
    }

    /// Takes out the next step at or before the capture of a packet. The caller reports it before
    /// that packet.
    pub(super) fn pop_due(&mut self, capture_time: MonoNs) -> Option<ClockStep> {
        if self.0.front()?.at <= capture_time {
            self.0.pop_front()
        } else {
            None
        }
    }

    /// Called when the last reader leaves: no reader had packets with the old time.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_steps_overflow_merges_the_oldest() {
        let mut steps = ClockSteps::default();
        (1..=20u32).for_each(|k| {
            steps.push(ClockStep {
                seconds: f64::from(k),
                at: MonoNs(100 * u64::from(k)),
            })
        });
        assert_eq!(steps.pop_due(MonoNs(1_299)), None);
        assert_eq!(
            steps.pop_due(MonoNs(1_300)),
            Some(ClockStep {
                seconds: 91.0,
                at: MonoNs(1_300)
            }),
            "the first thirteen"
        );
        assert_eq!(
            std::iter::from_fn(|| steps.pop_due(MonoNs(2_000))).count(),
            MAX_STEPS - 1
        );
    }
}
