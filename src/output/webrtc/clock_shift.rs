//! str0m converts instants to UNIX time by a pair of clock readings that it takes once in a
//! process. A session shifts the instants that it gives to str0m, so that the result is the UNIX time of the
//! hub, also after the clock was set. Pure.

use crate::media::UnixNs;
use std::time::{Duration, Instant};

/// A smaller difference comes from reading two clocks one after the other.
const NOISE_NS: i64 = 1_000_000;
/// str0m's time begins an hour before its first use, or when the machine was started; it must not
/// be given earlier instants.
const MAX_BACK_NS: i64 = 1_800_000_000_000;

/// str0m's pair of clock readings, read at nearly the same time.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    instant: Instant,
    unix: UnixNs,
}

/// From real instants to those of one session's str0m, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift(i64);

impl Epoch {
    /// To be made just after str0m's first use, with both clocks' readings.
    pub fn new(instant: Instant, unix: UnixNs) -> Self {
        Self { instant, unix }
    }

    /// The shift for a session that begins now; zero if the clock was set back by more than half an
    /// hour.
    pub fn shift(&self, now: Instant, unix: UnixNs) -> Shift {
        let by_str0m = i128::from(self.unix.0)
            + now.saturating_duration_since(self.instant).as_nanos() as i128;
        let ahead = i64::try_from(i128::from(unix.0) - by_str0m).unwrap_or(0);
        if ahead.abs() < NOISE_NS || ahead < -MAX_BACK_NS {
            Shift(0)
        } else {
            Shift(ahead)
        }
    }
}

impl Shift {
    pub fn apply(self, at: Instant) -> Instant {
        shifted(at, self.0)
    }

    pub fn undo(self, at: Instant) -> Instant {
        shifted(at, -self.0)
    }
}

fn shifted(at: Instant, by_ns: i64) -> Instant {
    let by = Duration::from_nanos(by_ns.unsigned_abs());
    let shifted = if by_ns < 0 {
        at.checked_sub(by)
    } else {
        at.checked_add(by)
    };
    shifted.unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_after_a_clock_step_shifts_to_the_new_time() {
        let start = Instant::now();
        let epoch = Epoch::new(start, UnixNs(1_000_000_000_000_000_000));
        let later = start + Duration::from_secs(100);
        let error_ns = |step_ns: i64| {
            let unix = UnixNs((1_000_000_100_000_000_000 + step_ns) as u64);
            let shift = epoch.shift(later, unix);
            let by_str0m = 1_000_000_000_000_000_000
                + shift.apply(later).duration_since(start).as_nanos() as i64;
            assert_eq!(shift.undo(shift.apply(later)), later);
            by_str0m - unix.0 as i64
        };
        assert_eq!(error_ns(3_600_000_000_000), 0, "an hour forward");
        assert_eq!(error_ns(-5_000_000_000), 0, "five seconds back");
        assert_eq!(error_ns(20_000), -20_000, "below the noise");
        assert_eq!(
            epoch.shift(later, UnixNs(0)),
            Shift(0),
            "before str0m's time"
        );
    }
}
