//! The server's clock: one mapping from CLOCK_MONOTONIC to UNIX time, shared by all hubs.
//! [`ClockMap`] is the pure core, [`ClockSample::read`] the edge that reads the clocks, [`Clock`]
//! the shared value.

mod map;
#[cfg(test)]
mod tests;

pub use map::ClockMap;

use super::{MonoNs, UnixNs};
use std::sync::{Mutex, MutexGuard};

/// One reading of both clocks: at some instant from `before` to `after`, UNIX time was `unix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockSample {
    pub before: MonoNs,
    pub unix: UnixNs,
    pub after: MonoNs,
}

impl ClockSample {
    /// Reads the clocks several times in a row and keeps the narrowest bracket: one that no
    /// interruption widened.
    pub fn read() -> Self {
        const READINGS: usize = 5;
        let readings = std::array::from_fn::<_, READINGS, _>(|_| Self {
            before: MonoNs::now(),
            unix: system_time(),
            after: MonoNs::now(),
        });
        readings
            .into_iter()
            .min_by_key(|reading| reading.width())
            .expect("there is more than one reading")
    }

    fn width(&self) -> i64 {
        self.after.0.saturating_sub(self.before.0) as i64
    }

    /// The monotonic instant of this sample, exact to half its width.
    fn middle(&self) -> i64 {
        self.before.0 as i64 + self.width() / 2
    }

    /// The smallest and the largest offset (UNIX minus monotonic) that this sample allows.
    fn bounds(&self) -> (i64, i64) {
        let unix = self.unix.0 as i64;
        (unix - self.after.0 as i64, unix - self.before.0 as i64)
    }

    /// Whether the readings are usable: in order, and before the year 2262 or so.
    fn is_sane(&self) -> bool {
        const LIMIT: u64 = i64::MAX as u64 - (1 << 40);
        self.before <= self.after && self.after.0 < LIMIT && self.unix.0 < LIMIT
    }
}

fn system_time() -> UnixNs {
    // A clock set before 1970 reads as 1970.
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UnixNs(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The UNIX clock was set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockStep {
    /// New time minus old time: positive when it was set forward.
    pub seconds: f64,
    /// Earlier captures have the old time, captures from this instant on the new one.
    pub at: MonoNs,
}

/// The clock of the server: every stamp of every camera comes from this one mapping, so cameras
/// agree about time by construction.
///
/// One task [observes](Self::observe) and passes the steps on; everybody else reads. Reading takes
/// a mutex that is held for tens of nanoseconds.
#[derive(Debug)]
pub struct Clock(Mutex<State>);

#[derive(Debug)]
struct State {
    map: ClockMap,
    last_step: Option<ClockStep>,
}

/// The clock at one moment, for `/info` and metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockSnapshot {
    /// UNIX time minus CLOCK_MONOTONIC at the last sample.
    pub offset_ns: i64,
    /// See [`ClockMap::uncertainty_ns`].
    pub uncertainty_ns: u64,
    /// How often the UNIX clock was set so far.
    pub steps: u64,
    pub last_step: Option<ClockStep>,
}

impl Clock {
    /// `first`: for instants that are mapped before the first [`observe`](Self::observe).
    pub fn new(first: ClockSample) -> Self {
        Self(Mutex::new(State {
            map: ClockMap::new(first),
            last_step: None,
        }))
    }

    /// A clock that starts with a reading of the system's clocks.
    pub fn start() -> Self {
        Self::new(ClockSample::read())
    }

    /// Takes a new sample into account. `Some` when it proves that the UNIX clock was set: the
    /// caller passes the step to every hub.
    pub fn observe(&self, sample: ClockSample) -> Option<ClockStep> {
        let mut state = self.lock();
        let step = state.map.observe(sample);
        state.last_step = step.or(state.last_step);
        step
    }

    /// The UNIX time of an instant, past or present: the stamp of what was captured then.
    pub fn unix(&self, at: MonoNs) -> UnixNs {
        self.lock().map.to_unix(at)
    }

    /// The UNIX time now, by the mapping that stamps packets.
    pub fn unix_now(&self) -> UnixNs {
        self.unix(MonoNs::now())
    }

    /// UNIX time minus CLOCK_MONOTONIC at the last sample.
    pub fn offset_ns(&self) -> i64 {
        self.lock().map.offset_ns()
    }

    pub fn snapshot(&self) -> ClockSnapshot {
        let state = self.lock();
        ClockSnapshot {
            offset_ns: state.map.offset_ns(),
            uncertainty_ns: state.map.uncertainty_ns(),
            steps: state.map.steps(),
            last_step: state.last_step,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the clock is locked")
    }
}
