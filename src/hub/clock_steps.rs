//! Steps of the UNIX clock that the readers of one track have yet to be told of: each belongs before the first packet that
//! has the new time. Pure.

use crate::media::MonoNs;
use crate::media::clock::ClockStep;
use std::collections::VecDeque;

/// Beyond it the two oldest become one: a clock that is set again and again while no packet comes.
const MOST: usize = 8;

/// Oldest first.
#[derive(Debug, Default)]
pub struct Steps(VecDeque<ClockStep>);

impl Steps {
    pub fn add(&mut self, step: ClockStep) {
        self.0.push_back(step);
        if self.0.len() > MOST
            && let Some(oldest) = self.0.pop_front()
            && let Some(next) = self.0.front_mut()
        {
            next.seconds += oldest.seconds;
        }
    }

    /// The next step that lies before, or at, the capture of a packet. Whoever asks has to tell of it.
    pub fn due(&mut self, capture_time: MonoNs) -> Option<ClockStep> {
        if self.0.front()?.at <= capture_time {
            self.0.pop_front()
        } else {
            None
        }
    }

    /// Nobody reads who had packets with the old time.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_nobody_can_be_told_of_add_up() {
        let mut steps = Steps::default();
        (1..=20u32).for_each(|k| {
            steps.add(ClockStep {
                seconds: f64::from(k),
                at: MonoNs(100 * u64::from(k)),
            })
        });
        assert_eq!(steps.due(MonoNs(1_299)), None);
        assert_eq!(
            steps.due(MonoNs(1_300)),
            Some(ClockStep {
                seconds: 91.0,
                at: MonoNs(1_300)
            }),
            "the first thirteen"
        );
        assert_eq!(
            std::iter::from_fn(|| steps.due(MonoNs(2_000))).count(),
            MOST - 1
        );
    }
}
