//! The server's one mapping from CLOCK_MONOTONIC to UNIX time. [`ClockMap`] is a pure core that is given clock readings;
//! [`Sample::take`] is the edge that reads the clocks. Why it is so: `docs/time.md`. Knows no packets.

use super::{MonoNs, UnixNs};
use std::collections::VecDeque;

/// One look at both clocks. It proves that at some instant from `before` to `after`, UNIX time was `unix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub before: MonoNs,
    pub unix: UnixNs,
    pub after: MonoNs,
}

impl Sample {
    /// Reads the clocks several times in a row and keeps the narrowest bracket: one that no interruption widened.
    pub fn take() -> Self {
        const LOOKS: usize = 5;
        let looks = std::array::from_fn::<_, LOOKS, _>(|_| Self {
            before: MonoNs::now(),
            unix: unix_now(),
            after: MonoNs::now(),
        });
        looks
            .into_iter()
            .min_by_key(|look| look.width())
            .expect("there is more than one look")
    }

    fn width(&self) -> i64 {
        self.after.0.saturating_sub(self.before.0) as i64
    }

    /// The instant that this sample is about, within half its width.
    fn middle(&self) -> i64 {
        self.before.0 as i64 + self.width() / 2
    }

    /// The smallest and the largest offset (UNIX less monotonic) that this sample allows.
    fn bounds(&self) -> (i64, i64) {
        let unix = self.unix.0 as i64;
        (unix - self.after.0 as i64, unix - self.before.0 as i64)
    }

    /// Whether the readings can be worked with: in order, and before the year 2262 or so.
    fn is_sane(&self) -> bool {
        const LIMIT: u64 = i64::MAX as u64 - (1 << 40);
        self.before <= self.after && self.after.0 < LIMIT && self.unix.0 < LIMIT
    }
}

fn unix_now() -> UnixNs {
    // A clock set before 1970 reads as 1970.
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UnixNs(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The UNIX clock was set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockStep {
    /// How far it jumped: positive when it was set forward.
    pub seconds: f64,
    /// What was captured before this instant has the old time; what is captured from it on has the new one.
    pub at: MonoNs,
}

/// A correction larger than this is a step, at the least; a smaller one is caught up with smoothly.
const STEP_NS: i64 = 2_000_000;
/// NTP slews by at most 500 ppm: twice that may have gathered since the sample before. In parts per million.
const SLEW_MARGIN_PPM: i64 = 1_000;
/// Never caught up with smoothly, however long ago the sample before was.
const MAX_CATCH_UP_NS: i64 = 50_000_000;
/// The rate that a slewing clock can have, at most.
const MAX_RATE: f64 = 1e-3;
/// A correction is spread over as long as the samples are apart, within these bounds …
const CATCH_UP_NS: (i64, i64) = (100_000_000, 1_000_000_000);
/// … and so that it bends the time by a twentieth at most: time always goes forward.
const GENTLENESS: i64 = 20;
/// A bracket this much wider than the best of late says nothing of the clock's rate.
const WIDE: i64 = 4;
/// Samples that "of late" means.
const LATE: usize = 16;
/// Bends that are remembered. A sample makes two at most, so at ten samples a second: more than 12 s, during which a packet
/// is mapped the same whenever it is asked for.
const BENDS: usize = 256;

/// CLOCK_MONOTONIC to UNIX time, for one machine, from samples 100 to 250 ms apart.
///
/// A piecewise linear function of the *capture* instant. It bends where a sample proves it wrong, and jumps where the clock
/// was set. Between two steps it is continuous and its slope is above 0.9, so stamps that are a microsecond apart never
/// change places; and what lies before the last sample does not change any more.
#[derive(Clone, Debug)]
pub struct ClockMap {
    /// Oldest first, never empty.
    bends: VecDeque<Bend>,
    /// How much faster than the monotonic clock UNIX time goes.
    rate: f64,
    last: Sample,
    /// The last sample that was narrow enough to say something of the rate, since the last step.
    trusted: Option<Sample>,
    /// Widths of the last samples.
    widths: VecDeque<i64>,
    /// For each sample since the last correction, how far the truth may have been from the line.
    doubts: VecDeque<i64>,
    steps: u64,
}

/// From `from` on, UNIX time is `unix` plus the time since then, times 1 + `rate`.
#[derive(Clone, Copy, Debug)]
struct Bend {
    from: i64,
    unix: i64,
    rate: f64,
}

impl Bend {
    fn at(&self, mono: i64) -> i64 {
        let since = mono - self.from;
        self.unix
            .saturating_add(since)
            .saturating_add((since as f64 * self.rate) as i64)
    }
}

impl ClockMap {
    /// Readings that make no sense (see [`Sample`]) map as if both clocks were at zero, until better ones come.
    pub fn new(first: Sample) -> Self {
        let zero = Sample {
            before: MonoNs(0),
            unix: UnixNs(0),
            after: MonoNs(0),
        };
        let first = if first.is_sane() { first } else { zero };
        let mut map = Self {
            bends: VecDeque::with_capacity(BENDS),
            rate: 0.0,
            last: first,
            trusted: None,
            widths: VecDeque::with_capacity(LATE),
            doubts: VecDeque::with_capacity(LATE),
            steps: 0,
        };
        map.begin_at(&first);
        map
    }

    /// Takes a new sample into account; one that is older than the last is ignored. `Some` when it proves that the clock
    /// was set since the last one.
    pub fn observe(&mut self, sample: Sample) -> Option<ClockStep> {
        if !sample.is_sane() || sample.before < self.last.after {
            return None;
        }
        let elapsed = sample.middle() - self.last.middle();
        let now = sample.middle();
        let guess = self.line(now) - now;
        let (low, high) = sample.bounds();
        // Zero unless the line contradicts what the sample proves: a wide bracket proves little and so changes little.
        let error = guess.clamp(low, high) - guess;
        // What is being caught up with already is no news.
        let pending = (self.bends.back().map_or(0, |bend| bend.at(now)) - now - guess).abs();
        let tolerance =
            (STEP_NS + elapsed / 1_000_000 * SLEW_MARGIN_PPM).min(MAX_CATCH_UP_NS) + pending;
        self.last = sample;
        if error.abs() > tolerance {
            let jump = (low + sample.width() / 2) - guess;
            self.steps += 1;
            self.trusted = None;
            self.widths.clear();
            self.begin_at(&sample);
            return Some(ClockStep {
                seconds: jump as f64 / 1e9,
                at: sample.after,
            });
        }
        remember(&mut self.widths, sample.width(), LATE);
        let rate_before = self.rate;
        self.learn_rate(&sample);
        if error != 0 || self.rate != rate_before {
            self.correct(&sample, error, elapsed);
            self.doubts.clear();
        }
        remember(
            &mut self.doubts,
            (guess - low).abs().max((high - guess).abs()),
            LATE,
        );
        None
    }

    /// The UNIX time at an instant, past or present.
    pub fn to_unix(&self, at: MonoNs) -> UnixNs {
        let at = i64::try_from(at.0).unwrap_or(i64::MAX);
        let bend = self
            .bends
            .iter()
            .rev()
            .find(|bend| bend.from <= at)
            .or(self.bends.front());
        UnixNs(bend.map_or(0, |bend| bend.at(at)).max(0) as u64)
    }

    /// UNIX time less CLOCK_MONOTONIC at the last sample.
    pub fn offset_ns(&self) -> i64 {
        let now = self.last.middle();
        self.line(now) - now
    }

    /// How far the mapping may have been from the UNIX clock, at the best of the last samples. It does not say how right
    /// the UNIX clock itself is.
    pub fn uncertainty_ns(&self) -> u64 {
        self.doubts
            .iter()
            .min()
            .map_or(0, |doubt| doubt.unsigned_abs())
    }

    /// How often the clock was set, so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn line(&self, mono: i64) -> i64 {
        let bend = self
            .bends
            .iter()
            .rev()
            .find(|bend| bend.from <= mono)
            .or(self.bends.front());
        bend.map_or(mono, |bend| bend.at(mono))
    }

    /// A new line through the middle of a sample.
    fn begin_at(&mut self, sample: &Sample) {
        let from = sample.after.0 as i64;
        let unix = sample.unix.0 as i64 + sample.width() / 2;
        self.forget_from(from);
        remember(
            &mut self.bends,
            Bend {
                from,
                unix,
                rate: self.rate,
            },
            BENDS,
        );
        self.doubts.clear();
        self.doubts.push_back(sample.width() / 2 + 1);
        remember(&mut self.widths, sample.width(), LATE);
        self.trusted = Some(*sample);
    }

    /// Keeps the rate unless this sample and the trusted one before prove that it was another one.
    fn learn_rate(&mut self, sample: &Sample) {
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

    /// Bends the line from this sample on, so that it makes good for `error` in about the time to the next sample, and
    /// then goes on at the learned rate.
    fn correct(&mut self, sample: &Sample, error: i64, elapsed: i64) {
        let from = sample.after.0 as i64;
        let unix = self.line(from);
        let length = elapsed
            .clamp(CATCH_UP_NS.0, CATCH_UP_NS.1)
            .max(error.abs() * GENTLENESS);
        let catch_up = Bend {
            from,
            unix,
            rate: self.rate + error as f64 / length as f64,
        };
        let caught_up = Bend {
            from: from + length,
            unix: catch_up.at(from + length),
            rate: self.rate,
        };
        self.forget_from(from);
        remember(&mut self.bends, catch_up, BENDS);
        if error != 0 {
            remember(&mut self.bends, caught_up, BENDS);
        }
    }

    /// Drops the bends that lie ahead.
    fn forget_from(&mut self, from: i64) {
        while self.bends.back().is_some_and(|bend| bend.from >= from) {
            self.bends.pop_back();
        }
    }
}

/// Appends to a list that keeps only its newest `most`.
fn remember<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}

#[cfg(test)]
pub mod tests;
