//! What a source lost, as cumulative counters by cause. Each packet carries the counters before it,
//! so what is missing between any two packets is a difference: exact, whichever packets in between
//! a reader skipped.

use crate::media::{Cause, Gap, MonoNs};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Every cause that a source can have; [`Cause::ViewerQueue`] belongs to each subscriber.
const CAUSES: [Cause; 7] = [
    Cause::Driver,
    Cause::Corrupt,
    Cause::Encoder,
    Cause::Ring,
    Cause::Xrun,
    Cause::SourceAway,
    Cause::WorkerRestarted,
];

/// The totals of each cause since the server started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossCounters([LossTotals; CAUSES.len()]);

/// The totals of one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossTotals {
    /// Counted in the sequence.
    pub packets: u64,
    /// The holes that they left, together: each from the capture of the previous packet to that of
    /// the next.
    pub packets_span: Duration,
    /// Losses of an unknown number of packets, not counted in the sequence.
    pub outages: u32,
    /// The duration of all outages together.
    pub outage_time: Duration,
    /// The holes that they left, together.
    pub outages_span: Duration,
}

impl LossTotals {
    fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            packets_span: self.packets_span.saturating_sub(earlier.packets_span),
            outages: self.outages.saturating_sub(earlier.outages),
            outage_time: self.outage_time.saturating_sub(earlier.outage_time),
            outages_span: self.outages_span.saturating_sub(earlier.outages_span),
        }
    }
}

impl LossCounters {
    /// `span`: of the hole that they left; not added where the count is 0.
    pub(super) fn add_packets(&mut self, cause: Cause, count: u64, span: Duration) {
        if count == 0 {
            return;
        }
        let totals = self.of(cause);
        totals.packets += count;
        totals.packets_span = totals.packets_span.saturating_add(span);
    }

    /// `span`: of the hole that they left, which is longer than `duration`.
    pub(super) fn add_outages(
        &mut self,
        cause: Cause,
        count: u32,
        duration: Duration,
        span: Duration,
    ) {
        let totals = self.of(cause);
        totals.outages = totals.outages.saturating_add(count);
        totals.outage_time = totals.outage_time.saturating_add(duration);
        totals.outages_span = totals.outages_span.saturating_add(span);
    }

    pub(super) fn packets(&self, cause: Cause) -> u64 {
        self.iter()
            .find(|(of, _)| *of == cause)
            .map_or(0, |(_, totals)| totals.packets)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Cause, LossTotals)> {
        CAUSES.into_iter().zip(self.0)
    }

    /// What was lost since the totals were `earlier`: at most one gap with a count and one with a
    /// duration for each cause.
    pub(super) fn since(self: &Arc<Self>, earlier: &Arc<Self>) -> Vec<Gap> {
        let mut gaps = Vec::new();
        // The usual case: nothing was lost. Costs neither a comparison of counters nor memory.
        if Arc::ptr_eq(self, earlier) {
            return gaps;
        }
        for ((cause, now), (_, then)) in self.iter().zip(earlier.iter()) {
            let new = now.since(then);
            if new.packets > 0 {
                gaps.push(Gap {
                    cause,
                    count: Some(new.packets),
                    seconds: None,
                    span_seconds: Some(new.packets_span.as_secs_f64()),
                });
            }
            if new.outages > 0 {
                gaps.push(Gap {
                    cause,
                    count: None,
                    seconds: Some(new.outage_time.as_secs_f64()),
                    span_seconds: Some(new.outages_span.as_secs_f64()),
                });
            }
        }
        gaps
    }

    fn of(&mut self, cause: Cause) -> &mut LossTotals {
        let at = CAUSES
            .iter()
            .position(|&c| c == cause)
            .expect("a source never loses a packet to a subscriber's queue");
        &mut self.0[at]
    }
}

/// What one track lost before a packet.
#[derive(Debug)]
pub(super) struct NewLosses {
    /// From the capture of the previous packet to that of this one.
    pub hole: Range<MonoNs>,
    /// The track's totals at the previous packet.
    pub before: Arc<LossCounters>,
    /// The track's totals at this packet.
    pub after: Arc<LossCounters>,
}

/// What a source lost while it had readers. All encodings of a source report the same loss; here it
/// is counted once.
#[derive(Debug, Default)]
pub(super) struct DedupedLosses {
    total: LossCounters,
    /// The end of the last hole that was counted.
    counted_until: MonoNs,
}

impl DedupedLosses {
    /// A hole that overlaps a counted one is the same loss, reported by another encoding, except
    /// for what that encoding's own encoder and ring lost. (A frame that one encoder alone refused,
    /// within a hole of the device, is attributed to that hole.)
    pub(super) fn count(&mut self, losses: &NewLosses) {
        let is_counted = losses.hole.start < self.counted_until;
        for ((cause, then), (_, now)) in losses
            .before
            .iter()
            .zip(losses.after.iter())
            .filter(|(then, now)| then != now)
        {
            if !matches!(cause, Cause::Encoder | Cause::Ring) {
                if is_counted {
                    continue;
                }
                self.counted_until = losses.hole.end;
            }
            let new = now.since(then);
            self.total.add_packets(cause, new.packets, new.packets_span);
            self.total
                .add_outages(cause, new.outages, new.outage_time, new.outages_span);
        }
    }

    pub(super) fn total(&self) -> &LossCounters {
        &self.total
    }
}
