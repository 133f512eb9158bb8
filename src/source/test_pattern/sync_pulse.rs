//! The beat that the test picture's flash and the test beep share. Knows neither pixels nor samples.

use crate::media::MonoNs;
use std::time::Duration;

/// Nanoseconds of CLOCK_MONOTONIC from one beat to the next; the beats stand at its multiples.
pub const PERIOD_NS: u64 = 1_000_000_000;

/// How long the flash shows and the tone sounds from each beat on.
pub const ON_NS: u64 = 100_000_000;

/// True while the flash shows and the tone sounds.
pub fn is_on(at: MonoNs) -> bool {
    at.0 % PERIOD_NS < ON_NS
}

/// Sleeps until `due`, but not past `deadline`; true when `due` has come.
pub fn wait(due: MonoNs, deadline: MonoNs) -> bool {
    let until = due.min(deadline);
    loop {
        let now = MonoNs::now();
        if now >= until {
            return now >= due;
        }
        std::thread::sleep(until.since(now).min(Duration::from_secs(1)));
    }
}
