//! The server's clock compared with this machine's, by pings.

use crate::doctor::quantiles::LinearFit;
use crate::wire::UnixNs;
use std::collections::VecDeque;

/// Clocks that drift by 50 ppm diverge by 1.5 ms in this time.
const OFFSET_WINDOW_NS: i64 = 30_000_000_000;
/// A drift with a larger standard error is not reported, parts per million.
const MAX_DRIFT_ERROR_PPM: f64 = 10.0;

/// `a` minus `b`.
pub(in crate::doctor) fn delta_ns(a: UnixNs, b: UnixNs) -> i64 {
    a.0.wrapping_sub(b.0) as i64
}

/// An answered ping: the four times of an NTP exchange (RFC 5905, section 8), UNIX ns. `asked` and
/// `answered` are by this machine's clock, the others by the server's.
#[derive(Clone, Copy, Debug)]
pub struct PingSample {
    pub asked: UnixNs,
    pub received: UnixNs,
    pub sent: UnixNs,
    pub answered: UnixNs,
}

impl PingSample {
    fn round_trip_ns(self) -> i64 {
        delta_ns(self.answered, self.asked).saturating_sub(delta_ns(self.sent, self.received))
    }

    /// The server's clock minus this machine's; the error is at most half the round trip.
    fn offset_ns(self) -> i64 {
        let there = delta_ns(self.received, self.asked);
        let back = delta_ns(self.sent, self.answered);
        there.midpoint(back)
    }
}

/// All pings of the measurement, four a second.
#[derive(Debug, Default)]
pub struct ServerClock {
    /// Seconds since the start, and the sample.
    all: Vec<(f64, PingSample)>,
    /// Those of the last 30 s.
    recent: VecDeque<PingSample>,
}

impl ServerClock {
    /// `start`: of the measurement.
    pub fn add(&mut self, ping: PingSample, start: UnixNs) {
        let seconds = delta_ns(ping.answered, start) as f64 / 1e9;
        self.all.push((seconds, ping));
        self.recent.push_back(ping);
        let is_old = |p: &PingSample| delta_ns(ping.answered, p.answered) > OFFSET_WINDOW_NS;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
    }

    /// Of the recent pings that with the shortest round trip, hence the smallest error.
    fn best(&self) -> Option<PingSample> {
        self.recent
            .iter()
            .copied()
            .min_by_key(|p| p.round_trip_ns())
    }

    /// The server's clock minus this machine's; `None` before the first pong.
    pub fn offset_ns(&self) -> Option<i64> {
        self.best().map(PingSample::offset_ns)
    }

    /// The offset, and half the round trip of the ping that it is from, ms.
    pub fn offset_ms(&self) -> Option<(f64, f64)> {
        let best = self.best()?;
        Some((
            best.offset_ns() as f64 / 1e6,
            best.round_trip_ns() as f64 / 2e6,
        ))
    }

    /// How fast the server's clock drifts from this machine's, and the standard error, parts per
    /// million; `None` while the error is too large.
    pub fn drift_ppm(&self) -> Option<(f64, f64)> {
        // A slow ping has a large error of its offset, and most of these errors have one sign.
        let quickest = self.all.iter().map(|(_, p)| p.round_trip_ns()).min()?;
        let limit = quickest.saturating_add(quickest / 2);
        let quick = self.all.iter().filter(|(_, p)| p.round_trip_ns() <= limit);
        let fit = LinearFit::new(quick.map(|(at, p)| (*at, p.offset_ns() as f64 / 1e3)))?;
        (fit.standard_error < MAX_DRIFT_ERROR_PPM).then_some((fit.slope, fit.standard_error))
    }
}
