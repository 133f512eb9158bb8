//! The mapping from CLOCK_MONOTONIC to UNIX time, a pure core that is given clock readings. Why it
//! is built this way: `docs/time.md`.

use super::{ClockSample, ClockStep};
use crate::media::{MonoNs, UnixNs};
use std::collections::VecDeque;

/// A larger correction is a step; a smaller one is slewed.
const STEP_NS: i64 = 2_000_000;
/// NTP slews by at most 500 ppm: twice that may have accumulated since the previous sample, ppm.
const SLEW_MARGIN_PPM: i64 = 1_000;
/// A larger correction is never slewed, however long ago the previous sample was.
const MAX_CATCH_UP_NS: i64 = 50_000_000;
/// The largest rate difference of a slewing clock.
const MAX_RATE: f64 = 1e-3;
/// A correction is spread over the time between two samples, within these bounds.
const CATCH_UP_NS: (i64, i64) = (100_000_000, 1_000_000_000);
/// A correction changes the slope by at most one part in this: mapped time always goes forward.
const SLEW_DIVISOR: i64 = 20;
/// A bracket this many times wider than the best recent one says nothing about the clock's rate.
const WIDE: i64 = 4;
/// Number of recent samples kept.
const RECENT: usize = 16;
/// Segments kept. A sample makes two at most, so at ten samples a second they cover more than 12 s,
/// within which an instant maps to the same UNIX time whenever it is asked for.
const SEGMENTS: usize = 256;

/// CLOCK_MONOTONIC to UNIX time, for one machine, from samples 100 to 250 ms apart.
///
/// A piecewise linear function of the *capture* instant. It bends where a sample contradicts it,
/// and jumps where the clock was set. Between two steps it is continuous and its slope is above
/// 0.9, so the order of stamps a microsecond apart is kept; and what lies before the last sample
/// never changes.
#[derive(Clone, Debug)]
pub struct ClockMap {
    /// Oldest first, never empty.
    segments: VecDeque<Segment>,
    /// How much faster UNIX time runs than the monotonic clock.
    rate: f64,
    last: ClockSample,
    /// The last sample since the last step that was narrow enough to measure the rate.
    trusted: Option<ClockSample>,
    /// Widths of the last samples.
    widths: VecDeque<i64>,
    /// For each sample since the last correction, the largest possible error of the line.
    residuals: VecDeque<i64>,
    steps: u64,
}

/// From `from` on, UNIX time is `unix` plus the time since then, times 1 + `rate`.
#[derive(Clone, Copy, Debug)]
struct Segment {
    from: i64,
    unix: i64,
    rate: f64,
}

impl Segment {
    fn at(&self, mono: i64) -> i64 {
        let since = mono - self.from;
        self.unix
            .saturating_add(since)
            .saturating_add((since as f64 * self.rate) as i64)
    }
}

impl ClockMap {
    /// Implausible readings (see [`ClockSample`]) map as if both clocks were at zero, until
    /// plausible ones follow.
    pub fn new(first: ClockSample) -> Self {
        let zero = ClockSample {
            before: MonoNs(0),
            unix: UnixNs(0),
            after: MonoNs(0),
        };
        let first = if first.is_sane() { first } else { zero };
        let mut map = Self {
            segments: VecDeque::with_capacity(SEGMENTS),
            rate: 0.0,
            last: first,
            trusted: None,
            widths: VecDeque::with_capacity(RECENT),
            residuals: VecDeque::with_capacity(RECENT),
            steps: 0,
        };
        map.restart_at(&first);
        map
    }

    /// Takes a new sample into account; one older than the last is ignored. `Some` when it proves
    /// that the clock was set since the last one.
    pub fn observe(&mut self, sample: ClockSample) -> Option<ClockStep> {
        if !sample.is_sane() || sample.before < self.last.after {
            return None;
        }
        let elapsed = sample.middle() - self.last.middle();
        let now = sample.middle();
        let guess = self.line(now) - now;
        let (low, high) = sample.bounds();
        // Zero unless the line contradicts what the sample proves: a wide bracket proves little.
        let error = guess.clamp(low, high) - guess;
        // What is being slewed already is not a new error.
        let pending =
            (self.segments.back().map_or(0, |segment| segment.at(now)) - now - guess).abs();
        let tolerance =
            (STEP_NS + elapsed / 1_000_000 * SLEW_MARGIN_PPM).min(MAX_CATCH_UP_NS) + pending;
        self.last = sample;
        if error.abs() > tolerance {
            let jump = (low + sample.width() / 2) - guess;
            self.steps += 1;
            self.trusted = None;
            self.widths.clear();
            self.restart_at(&sample);
            return Some(ClockStep {
                seconds: jump as f64 / 1e9,
                at: sample.after,
            });
        }
        push_bounded(&mut self.widths, sample.width(), RECENT);
        let rate_before = self.rate;
        self.learn_rate(&sample);
        if error != 0 || self.rate != rate_before {
            self.correct(&sample, error, elapsed);
            self.residuals.clear();
        }
        push_bounded(
            &mut self.residuals,
            (guess - low).abs().max((high - guess).abs()),
            RECENT,
        );
        None
    }

    /// The UNIX time at an instant, past or present.
    pub fn to_unix(&self, at: MonoNs) -> UnixNs {
        let at = i64::try_from(at.0).unwrap_or(i64::MAX);
        let segment = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.from <= at)
            .or(self.segments.front());
        UnixNs(segment.map_or(0, |segment| segment.at(at)).max(0) as u64)
    }

    /// UNIX time minus CLOCK_MONOTONIC at the last sample.
    pub fn offset_ns(&self) -> i64 {
        let now = self.last.middle();
        self.line(now) - now
    }

    /// How far the mapping may have been from the UNIX clock, at the best of the last samples, ns.
    /// Says nothing about the accuracy of the UNIX clock itself.
    pub fn uncertainty_ns(&self) -> u64 {
        self.residuals
            .iter()
            .min()
            .map_or(0, |residual| residual.unsigned_abs())
    }

    /// How often the clock was set so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn line(&self, mono: i64) -> i64 {
        let segment = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.from <= mono)
            .or(self.segments.front());
        segment.map_or(mono, |segment| segment.at(mono))
    }

    /// A new line through the middle of a sample.
    fn restart_at(&mut self, sample: &ClockSample) {
        let from = sample.after.0 as i64;
        let unix = sample.unix.0 as i64 + sample.width() / 2;
        self.truncate_from(from);
        push_bounded(
            &mut self.segments,
            Segment {
                from,
                unix,
                rate: self.rate,
            },
            SEGMENTS,
        );
        self.residuals.clear();
        self.residuals.push_back(sample.width() / 2 + 1);
        push_bounded(&mut self.widths, sample.width(), RECENT);
        self.trusted = Some(*sample);
    }

    /// Keeps the rate unless this sample and the last trusted one prove that it was a different
    /// one.
    fn learn_rate(&mut self, sample: &ClockSample) {
        let best = self.widths.iter().min().copied().unwrap_or(0);
        if sample.width() > best.max(1) * WIDE {
            return;
        }
        if let Some(before) = self.trusted.replace(*sample) {
            let ((low_0, high_0), (low_1, high_1)) = (before.bounds(), sample.bounds());
            let between = (sample.middle() - before.middle()).max(1) as f64;
            let (slowest, fastest) = (
                (low_1 - high_0) as f64 / between,
                (high_1 - low_0) as f64 / between,
            );
            self.rate = self
                .rate
                .max(slowest)
                .min(fastest)
                .clamp(-MAX_RATE, MAX_RATE);
        }
    }

    /// Bends the line from this sample on, so that it corrects `error` in about the time until the
    /// next sample, then continues at the learned rate.
    fn correct(&mut self, sample: &ClockSample, error: i64, elapsed: i64) {
        let from = sample.after.0 as i64;
        let unix = self.line(from);
        let length = elapsed
            .clamp(CATCH_UP_NS.0, CATCH_UP_NS.1)
            .max(error.abs() * SLEW_DIVISOR);
        let catch_up = Segment {
            from,
            unix,
            rate: self.rate + error as f64 / length as f64,
        };
        let caught_up = Segment {
            from: from + length,
            unix: catch_up.at(from + length),
            rate: self.rate,
        };
        self.truncate_from(from);
        push_bounded(&mut self.segments, catch_up, SEGMENTS);
        if error != 0 {
            push_bounded(&mut self.segments, caught_up, SEGMENTS);
        }
    }

    /// Drops the segments that begin at `from` or later.
    fn truncate_from(&mut self, from: i64) {
        while self
            .segments
            .back()
            .is_some_and(|segment| segment.from >= from)
        {
            self.segments.pop_back();
        }
    }
}

/// Appends to a list that keeps its newest `most` items.
fn push_bounded<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}
