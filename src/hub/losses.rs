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
    /// Losses of an unknown number of packets, not counted in the sequence.
    pub outages: u32,
    /// The duration of all outages together.
    pub outage_time: Duration,
}

impl LossCounters {
    pub(super) fn add_packets(&mut self, cause: Cause, count: u64) {
        self.of(cause).packets += count;
    }

    pub(super) fn add_outages(&mut self, cause: Cause, count: u32, duration: Duration) {
        let totals = self.of(cause);
        totals.outages = totals.outages.saturating_add(count);
        totals.outage_time = totals.outage_time.saturating_add(duration);
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
            let packets = now.packets.saturating_sub(then.packets);
            if packets > 0 {
                gaps.push(Gap {
                    cause,
                    count: Some(packets),
                    seconds: None,
                });
            }
            if now.outages > then.outages {
                let duration = now.outage_time.saturating_sub(then.outage_time);
                gaps.push(Gap {
                    cause,
                    count: None,
                    seconds: Some(duration.as_secs_f64()),
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
            self.total
                .add_packets(cause, now.packets.saturating_sub(then.packets));
            self.total.add_outages(
                cause,
                now.outages.saturating_sub(then.outages),
                now.outage_time.saturating_sub(then.outage_time),
            );
        }
    }

    pub(super) fn total(&self) -> &LossCounters {
        &self.total
    }
}
