//! What a source lost, as running totals by cause. Each packet bears the totals before it, so what is missing between any
//! two packets is a difference: exact, whoever skipped whatever lies between.

use crate::media::{Cause, Gap, MonoNs};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Every cause that a source can have; [`Cause::ViewerQueue`] is each subscriber's own.
const CAUSES: [Cause; 7] = [
    Cause::Driver,
    Cause::Corrupt,
    Cause::Encoder,
    Cause::Ring,
    Cause::Xrun,
    Cause::SourceAway,
    Cause::WorkerRestarted,
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally([Loss; CAUSES.len()]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Counted in the sequence.
    pub packets: u64,
    /// Of unknown length, not counted in the sequence.
    pub absences: u32,
    /// How long the absences were together.
    pub absent: Duration,
}

/// What a source lost while somebody watched. Each of its encodings tells of it, and here it is counted once.
#[derive(Debug, Default)]
pub struct Once {
    total: Tally,
    /// The end of the last hole that was counted.
    until: MonoNs,
}

impl Once {
    /// `hole`: from the packet before it to the packet behind it, of one encoding; `before` and `after`: that encoding's totals.
    /// A hole that overlaps one that was counted tells of the same loss, except what that encoding's own encoder and ring lost. (A picture
    /// that one encoder alone refused, within a hole of the device, is taken for that hole's.)
    pub fn count(&mut self, hole: Range<MonoNs>, before: &Tally, after: &Tally) {
        let is_known = hole.start < self.until;
        for ((cause, then), (_, now)) in before
            .iter()
            .zip(after.iter())
            .filter(|(then, now)| then != now)
        {
            if !matches!(cause, Cause::Encoder | Cause::Ring) {
                if is_known {
                    continue;
                }
                self.until = hole.end;
            }
            self.total
                .add_packets(cause, now.packets.saturating_sub(then.packets));
            self.total.add_absences(
                cause,
                now.absences.saturating_sub(then.absences),
                now.absent.saturating_sub(then.absent),
            );
        }
    }

    pub fn total(&self) -> &Tally {
        &self.total
    }
}

impl Tally {
    pub fn add_packets(&mut self, cause: Cause, count: u64) {
        self.of(cause).packets += count;
    }

    pub fn add_absences(&mut self, cause: Cause, count: u32, absent: Duration) {
        let loss = self.of(cause);
        loss.absences = loss.absences.saturating_add(count);
        loss.absent = loss.absent.saturating_add(absent);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Cause, Loss)> {
        CAUSES.into_iter().zip(self.0)
    }

    /// What was lost since the totals were `earlier`, one gap for each cause and sort.
    pub fn since(self: &Arc<Self>, earlier: &Arc<Self>) -> Vec<Gap> {
        let mut gaps = Vec::new();
        // Nearly always: nothing. Then nothing is looked at, nor allocated.
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
            if now.absences > then.absences {
                let seconds = now.absent.saturating_sub(then.absent).as_secs_f64();
                gaps.push(Gap {
                    cause,
                    count: None,
                    seconds: Some(seconds),
                });
            }
        }
        gaps
    }

    fn of(&mut self, cause: Cause) -> &mut Loss {
        let at = CAUSES
            .iter()
            .position(|&c| c == cause)
            .expect("a source never loses a packet to a viewer's queue");
        &mut self.0[at]
    }
}
