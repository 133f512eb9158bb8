//! Failures of one device: each cause is logged once until it is over, and the pauses before a
//! device that keeps failing is opened again grow. Pure: no clock and no log.

use super::RETRY;
use crate::log::LogOnce;
use crate::media::MonoNs;
use std::time::Duration;

/// A failure is over once items have arrived for this long.
const RECOVERED_AFTER: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The failures of one device, until it has worked for a while.
#[derive(Debug, Default)]
pub(crate) struct FailureTracker {
    causes: LogOnce,
    has_failed: bool,
    /// Times that the device opened and then failed.
    failures: u32,
    working_since: Option<MonoNs>,
}

impl FailureTracker {
    /// The device failed. True when this cause has not been logged yet.
    pub(crate) fn on_failure(&mut self, message: &str) -> bool {
        self.has_failed = true;
        self.working_since = None;
        self.causes.first_time_by_cause(message)
    }

    /// The pause before a device that opened and then failed is opened again: 0.25 s, doubled each
    /// time, at most 5 s.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = RETRY * 2u32.pow(self.failures.min(8));
        self.failures += 1;
        pause.min(LONGEST_PAUSE)
    }

    /// The device is missing. When it comes back it was plugged in, and is opened at once.
    pub(crate) fn on_missing(&mut self) {
        self.failures = 0;
    }

    /// The device delivered an item. True when this ends its failures.
    pub(crate) fn on_item(&mut self, now: MonoNs) -> bool {
        let since = *self.working_since.get_or_insert(now);
        if !self.has_failed || now.since(since) < RECOVERED_AFTER {
            return false;
        }
        *self = Self {
            working_since: self.working_since,
            ..Self::default()
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonoNs {
        MonoNs(ms * 1_000_000)
    }

    #[test]
    fn failure_tracker_cause_is_logged_once_until_good_frames_came_for_a_while() {
        let mut tracker = FailureTracker::default();
        assert!(
            !tracker.on_item(at(0)) && !tracker.on_item(at(60_000)),
            "nothing was wrong"
        );
        assert!(tracker.on_failure("camera failed after 1.8 s"));
        assert!(!tracker.on_item(at(61_000)), "one frame is no recovery");
        assert!(
            !tracker.on_failure("camera failed after 1.9 s"),
            "the same cause"
        );
        assert!(tracker.on_failure("camera is not there"), "another one");
        assert!(
            !tracker.on_failure("camera failed after 2.0 s"),
            "the two may alternate"
        );
        assert!(!tracker.on_item(at(70_000)) && !tracker.on_item(at(72_999)));
        assert!(tracker.on_item(at(73_000)), "it is over");
        assert!(!tracker.on_item(at(73_066)), "the end is reported once");
        assert!(
            tracker.on_failure("camera failed after 1.8 s"),
            "a new tracker"
        );
    }

    #[test]
    fn failure_tracker_pauses_grow_while_the_device_fails_and_restart_after_good_frames() {
        let mut tracker = FailureTracker::default();
        let pauses = |tracker: &mut FailureTracker| -> Vec<u128> {
            (0..7)
                .map(|_| {
                    tracker.on_failure("it failed");
                    tracker.on_item(at(1));
                    tracker.next_pause().as_millis()
                })
                .collect()
        };
        assert_eq!(
            pauses(&mut tracker),
            [250, 500, 1000, 2000, 4000, 5000, 5000]
        );
        tracker.on_item(at(1_000));
        assert!(tracker.on_item(at(4_000)));
        assert_eq!(pauses(&mut tracker)[..2], [250, 500]);
        tracker.on_missing();
        assert_eq!(
            pauses(&mut tracker)[..2],
            [250, 500],
            "a device that was missing is opened at once"
        );
    }
}
