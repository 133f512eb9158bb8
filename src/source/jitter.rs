//! How unevenly a camera's stamps follow one another: what can be measured of their error on this side of the cable. Pure:
//! knows no device and no clock.

use crate::media::MonoNs;
use std::collections::VecDeque;

/// Steps from frame to frame that are looked at: the last ones.
const WINDOW: usize = 64;
/// With fewer nothing is said.
const ENOUGH: usize = 16;

/// A camera's frames are evenly spaced, so what a step between two stamps differs from the usual step is the error of the
/// one stamp less that of the other. What all stamps have in common (the way from the sensor to the clock's reader) does
/// not show, nor does what changes more slowly than from frame to frame.
#[derive(Debug, Default)]
pub struct Scatter {
    last: Option<MonoNs>,
    steps_ns: VecDeque<u64>,
}

impl Scatter {
    /// The next frame's stamp. `missed`: frames between the last one and this one.
    pub fn note(&mut self, capture_time: MonoNs, missed: u32) {
        let Some(last) = self.last.replace(capture_time).filter(|_| missed == 0) else {
            return;
        };
        if self.steps_ns.len() == WINDOW {
            self.steps_ns.pop_front();
        }
        self.steps_ns
            .push_back(capture_time.0.saturating_sub(last.0));
    }

    /// What nine of ten steps differ from the usual one at most, nanoseconds. `None` while there are too few, and where the
    /// camera keeps no steady rate (as in the dark, when it exposes for longer): then more than one of ten is wrong by half
    /// a step, and the exposure cannot be told from the error.
    pub fn uncertainty_ns(&self) -> Option<u64> {
        if self.steps_ns.len() < ENOUGH {
            return None;
        }
        let usual = quantile(self.steps_ns.iter().copied(), 5);
        let most = quantile(self.steps_ns.iter().map(|step| step.abs_diff(usual)), 9);
        (most < usual / 2).then_some(most)
    }
}

/// The value that so many tenths of them do not exceed. There is at least one.
fn quantile(values: impl Iterator<Item = u64>, tenths: usize) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values[(values.len() * tenths).div_ceil(10) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;
    const STEP: u64 = 33_333 * US;

    /// After frames 0 to `count`, each late by what `late` says.
    fn after(count: u64, late: impl Fn(u64) -> u64) -> Option<u64> {
        let mut scatter = Scatter::default();
        (0..count).for_each(|k| scatter.note(MonoNs(1_000_000 * US + k * STEP + late(k)), 0));
        scatter.uncertainty_ns()
    }

    #[test]
    fn the_scatter_is_that_of_nine_in_ten_steps() {
        type Late = fn(u64) -> u64;
        let cases: [(&str, Late, Option<u64>); 7] = [
            ("even stamps", |_| 0, Some(0)),
            ("late by the same always", |_| 5_000 * US, Some(0)),
            ("every other one late", |k| k % 2 * 300 * US, Some(600 * US)),
            (
                "a driver that is late by much",
                |k| k % 2 * 6_000 * US,
                Some(12_000 * US),
            ),
            (
                "one wild stamp",
                |k| u64::from(k == 50) * 20_000 * US,
                Some(0),
            ),
            ("a crystal that is 100 ppm off", |k| k * 3_333, Some(0)),
            (
                "every other frame exposed for twice as long",
                |k| k / 2 * STEP,
                None,
            ),
        ];
        for (what, late, expected) in cases {
            assert_eq!(after(100, late), expected, "{what}");
        }
    }

    #[test]
    fn nothing_is_said_before_there_are_enough_steps() {
        assert_eq!(after(ENOUGH as u64, |_| 0), None);
        assert_eq!(after(ENOUGH as u64 + 1, |_| 0), Some(0));
    }

    #[test]
    fn missing_frames_are_no_scatter_and_old_steps_are_forgotten() {
        let mut scatter = Scatter::default();
        let mut at = 0;
        for k in 0..200 {
            let missed = if k % 3 == 0 { 2 } else { 0 };
            at += STEP * u64::from(missed + 1) + if k < 50 { k % 2 * 7_000 * US } else { 0 };
            scatter.note(MonoNs(at), missed);
        }
        assert_eq!(scatter.uncertainty_ns(), Some(0));
        scatter.note(MonoNs(0), 0);
        assert_eq!(
            scatter.uncertainty_ns(),
            Some(0),
            "one that runs backwards harms nothing"
        );
    }
}
