//! Waiting for an instant; and the sync pulse of flash and tone, which is `media`'s.

use crate::media::MonoNs;
pub(super) use crate::media::test_pattern::{
    PULSE_NS as ON_NS, PULSE_PERIOD_NS as PERIOD_NS, is_pulse as is_on,
};
use std::time::Duration;

/// Sleeps until `due`, but not past `deadline`. True when `due` has come.
pub(super) fn wait(due: MonoNs, deadline: MonoNs) -> bool {
    let until = due.min(deadline);
    loop {
        let now = MonoNs::now();
        if now >= until {
            return now >= due;
        }
        std::thread::sleep(until.since(now).min(Duration::from_secs(1)));
    }
}
