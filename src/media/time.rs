//! Instants as newtypes, one per clock: CLOCK_MONOTONIC orders, UNIX time labels.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An instant of CLOCK_MONOTONIC, nanoseconds. Orders packets; unrelated to the time of day.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// Reads the clock.
    pub fn now() -> Self {
        let t = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .expect("CLOCK_MONOTONIC is always there on Linux");
        Self(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for MonoNs {
    type Output = Self;

    /// Saturates.
    fn add(self, d: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// An instant of UNIX time (UTC, since 1970), nanoseconds. Labels packets; never orders them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixNs(pub u64);
