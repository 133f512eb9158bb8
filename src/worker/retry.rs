//! What goes wrong again and again: told once per cause until it is over, and the device left alone longer and longer. Pure:
//! writes no log, reads no clock and knows no device.

use super::RETRY;
use crate::log::Told;
use crate::media::MonoNs;
use std::time::Duration;

/// Once good frames have come for so long, the trouble is over.
const OVER_AFTER: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The trouble with one device, from its first fault until it has worked for a while.
#[derive(Debug, Default)]
pub struct Trouble {
    told: Told,
    began: bool,
    /// Times that the device opened and failed.
    failures: u32,
    good_since: Option<MonoNs>,
}

impl Trouble {
    /// A fault came; whether the user is to be told of it.
    pub fn fault(&mut self, line: &str) -> bool {
        self.began = true;
        self.good_since = None;
        self.told.is_new_cause(line)
    }

    /// How long to leave a device alone that opened and then failed: 0.25 s, doubled up to 5 s.
    pub fn pause(&mut self) -> Duration {
        let pause = RETRY * 2u32.pow(self.failures.min(8));
        self.failures += 1;
        pause.min(LONGEST_PAUSE)
    }

    /// The device is away. What comes back was plugged in, and is used at once.
    pub fn gone(&mut self) {
        self.failures = 0;
    }

    /// A good frame came; whether with it the trouble is over.
    pub fn good(&mut self, now: MonoNs) -> bool {
        let since = *self.good_since.get_or_insert(now);
        if !self.began || now.since(since) < OVER_AFTER {
            return false;
        }
        *self = Self {
            good_since: self.good_since,
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
    fn a_cause_is_told_once_until_good_frames_came_for_a_while() {
        let mut trouble = Trouble::default();
        assert!(
            !trouble.good(at(0)) && !trouble.good(at(60_000)),
            "nothing was wrong"
        );
        assert!(trouble.fault("camera failed after 1.8 s"));
        assert!(!trouble.good(at(61_000)), "one frame is no recovery");
        assert!(
            !trouble.fault("camera failed after 1.9 s"),
            "the same cause"
        );
        assert!(trouble.fault("camera is not there"), "another one");
        assert!(
            !trouble.fault("camera failed after 2.0 s"),
            "the two may alternate"
        );
        assert!(!trouble.good(at(70_000)) && !trouble.good(at(72_999)));
        assert!(trouble.good(at(73_000)), "it is over");
        assert!(!trouble.good(at(73_066)), "that is said once");
        assert!(trouble.fault("camera failed after 1.8 s"), "a new trouble");
    }

    #[test]
    fn pauses_grow_while_the_device_fails_and_begin_anew_after_good_frames() {
        let mut trouble = Trouble::default();
        let pauses = |trouble: &mut Trouble| -> Vec<u128> {
            (0..7)
                .map(|_| {
                    trouble.fault("it failed");
                    trouble.good(at(1));
                    trouble.pause().as_millis()
                })
                .collect()
        };
        assert_eq!(
            pauses(&mut trouble),
            [250, 500, 1000, 2000, 4000, 5000, 5000]
        );
        trouble.good(at(1_000));
        assert!(trouble.good(at(4_000)));
        assert_eq!(pauses(&mut trouble)[..2], [250, 500]);
        trouble.gone();
        assert_eq!(
            pauses(&mut trouble)[..2],
            [250, 500],
            "who was away is used at once"
        );
    }
}
