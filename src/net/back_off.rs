//! How long publishing waits between its tries. Pure but for a random number; knows no server.

use std::time::Duration;

pub const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// A session of this length was a good one: the next failure is not the last one's sequel.
const GOOD: Duration = Duration::from_secs(20);

/// Doubles from 1 to 30 s, each shortened by up to a half, so that cameras cut off together do not come back together.
#[derive(Default)]
pub struct BackOff(u32);

impl BackOff {
    /// `lasted`: how long the session that ended was connected.
    pub fn next(&mut self, lasted: Duration, share: f64) -> Duration {
        if lasted >= GOOD {
            self.0 = 0;
        }
        let whole = FIRST.saturating_mul(1 << self.0.min(16)).min(LONGEST);
        self.0 = self.0.saturating_add(1);
        whole.mul_f64(0.5 + share / 2.0)
    }
}

/// From 0 to 1; the middle where there are no random numbers.
pub fn random_share() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_cap_and_starts_over_after_a_good_session() {
        let mut back_off = BackOff::default();
        let waits: Vec<u64> = (0..8)
            .map(|_| back_off.next(Duration::ZERO, 1.0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(back_off.next(Duration::ZERO, 0.0), Duration::from_secs(15));
        assert_eq!(back_off.next(GOOD, 0.0), Duration::from_millis(500));
        let mut long = BackOff(u32::MAX);
        assert_eq!(long.next(Duration::ZERO, 1.0), LONGEST);
    }
}
