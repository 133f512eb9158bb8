//! Statistics of the packets of one stream: rate, intervals, latency, skipped numbers.

use super::clock::delta_ns;
use crate::doctor::quantiles::Quantiles;
use crate::wire::{Label, UnixNs};

/// Statistics of the video or the audio.
#[derive(Debug, Default)]
pub struct PacketStats {
    pub count: u64,
    pub bytes: u64,
    pub(super) last_stamp: Option<UnixNs>,
    /// Sum of the intervals between stamps.
    stamped_ns: i64,
    /// Intervals between stamps, ms.
    pub intervals_ms: Quantiles,
    /// Capture to arrival, ms, both by the server's clock; for audio from the end of the packet.
    pub latency_ms: Quantiles,
    first_arrival: Option<UnixNs>,
    last_arrival: Option<UnixNs>,
    /// The longest time between two arrivals.
    longest_silence_ns: i64,
    /// Stamps that are not later than the previous one, without a clock step.
    pub non_monotonic: u64,
    pub clock_steps: u64,
    /// Packets missing by their sequence numbers, without a gap event.
    pub unreported: u64,
    last_sequence: Option<u32>,
    /// Packets in gap events since the last packet.
    pub(super) reported: u64,
}

impl PacketStats {
    pub(super) fn add(
        &mut self,
        stamp: UnixNs,
        label: Option<Label>,
        bytes: usize,
        arrival: UnixNs,
    ) {
        self.count += 1;
        let reported = std::mem::take(&mut self.reported);
        if let Some(label) = label
            && let Some(last) = self.last_sequence.replace(label.sequence)
        {
            let skipped = u64::from(label.sequence.wrapping_sub(last).wrapping_sub(1));
            self.unreported += skipped.saturating_sub(reported);
        }
        self.bytes += bytes as u64;
        if let Some(last) = self.last_stamp.replace(stamp) {
            let interval = delta_ns(stamp, last);
            self.intervals_ms.add(interval as f64 / 1e6);
            self.stamped_ns = self.stamped_ns.saturating_add(interval);
            self.non_monotonic += u64::from(interval <= 0);
        }
        if let Some(last) = self.last_arrival.replace(arrival) {
            self.longest_silence_ns = self.longest_silence_ns.max(delta_ns(arrival, last));
        }
        self.first_arrival.get_or_insert(arrival);
    }

    /// Packets per second, by their stamps.
    pub fn rate(&self) -> Option<f64> {
        let seconds = self.stamped_ns as f64 / 1e9;
        (self.count > 1 && seconds > 0.0).then(|| (self.count - 1) as f64 / seconds)
    }

    /// Packets per second of the whole measurement (from, to), including the time before the first
    /// and after the last packet, of which two intervals each are not counted.
    pub fn rate_over(&self, measured: (UnixNs, UnixNs)) -> Option<f64> {
        let intervals = self.count.checked_sub(1).filter(|n| *n > 0)?;
        let stamped_ns = self.stamped_ns as f64;
        let allowed_ns = 2.0 * stamped_ns / intervals as f64;
        let before_ns = delta_ns(self.first_arrival?, measured.0) as f64 - allowed_ns;
        let after_ns = delta_ns(measured.1, self.last_arrival?) as f64 - allowed_ns;
        let seconds = (stamped_ns + before_ns.max(0.0) + after_ns.max(0.0)) / 1e9;
        (seconds > 0.0).then(|| intervals as f64 / seconds)
    }

    /// The longest time without a packet, ms, including that from the last one to `now`.
    pub fn longest_silence_ms(&self, now: UnixNs) -> Option<f64> {
        let since_last = delta_ns(now, self.last_arrival?);
        Some(self.longest_silence_ns.max(since_last) as f64 / 1e6)
    }
}
