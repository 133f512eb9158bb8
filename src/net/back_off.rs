//! Exponential back-off with jitter for reconnecting to a server. Pure, except for a random number.

use std::time::Duration;

/// The first wait, before jitter.
pub(crate) const FIRST: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(30);
/// After a connection of this length the back-off starts again.
const RESET_AFTER: Duration = Duration::from_secs(20);

/// Waits of 1 s, doubled up to 30 s, each shortened by up to a half, so that clients disconnected
/// together do not return together.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// The wait before the next attempt. `connected_for`: the length of the connection that ended.
    /// `jitter`: from 0 to 1, the share of the second half of the wait.
    pub(crate) fn next(&mut self, connected_for: Duration, jitter: f64) -> Duration {
        if connected_for >= RESET_AFTER {
            self.failures = 0;
        }
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(MAX);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(0.5 + jitter / 2.0)
    }
}

/// A random number from 0 to 1; 0.5 where there are none.
pub(crate) fn random_jitter() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_to_a_maximum_and_resets_after_a_long_connection() {
        let mut back_off = BackOff::default();
        let waits: Vec<u64> = (0..8)
            .map(|_| back_off.next(Duration::ZERO, 1.0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(back_off.next(Duration::ZERO, 0.0), Duration::from_secs(15));
        assert_eq!(back_off.next(RESET_AFTER, 0.0), Duration::from_millis(500));
        let mut many = BackOff { failures: u32::MAX };
        assert_eq!(many.next(Duration::ZERO, 1.0), MAX);
    }
}
