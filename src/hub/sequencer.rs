//! Validates and renumbers the records of one ring, and says what was lost before each, by cause.
//! The input is untrusted: no metadata may cause a panic, an endless jump, or numbers and times
//! that run backwards. Pure: `now` is an argument.

use super::losses::{LossCounters, NewLosses};
use crate::ipc::ring::MAX_SEQUENCE;
use crate::media::{Cause, Losses, MonoNs, PacketMeta};
use std::sync::Arc;
use std::time::Duration;

/// No source makes more packets per second; a jump of the sequence beyond this rate is implausible.
const MAX_RATE_HZ: u64 = 10_000;
/// The largest distance of a capture time into the future (rounding in a driver).
const MAX_AHEAD: Duration = Duration::from_millis(100);
/// The largest number of packets that a worker pushes before it stores their numbers: an encoder's
/// thread pushes between two iterations of the loop.
const MAX_REPEATED: u64 = 16;

/// The metadata of a record after validation.
#[derive(Debug)]
pub(super) struct SequencedMeta {
    /// Counts what the source meant to send; strictly increasing.
    pub sequence: u64,
    /// Strictly increasing, never in the future.
    pub capture_time: MonoNs,
    /// Totals of everything lost before this packet; the same `Arc` until something more is lost.
    pub losses: Arc<LossCounters>,
    /// What was lost between the previous packet and this one.
    pub new_losses: Option<NewLosses>,
    /// False: the metadata could not be true and was replaced.
    pub plausible: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sequencer {
    last: Option<LastRecord>,
    /// There was no reader: nothing is missing before the next record.
    paused: bool,
    /// The newest capture time ever, kept through a pause.
    latest: MonoNs,
    next_sequence: u64,
    /// Our numbers minus the worker's, modulo 2^64: 0 until a worker's number was implausible.
    renumbered: u64,
    losses: Arc<LossCounters>,
}

#[derive(Debug)]
struct LastRecord {
    generation: u32,
    sequence: u64,
    capture_time: MonoNs,
    losses: Losses,
    /// Time until the next packet is due.
    duration: Duration,
}

/// What one record says was lost before it.
struct LossDelta {
    driver: u64,
    corrupt: u64,
    encoder: u64,
    unexplained: u64,
    xruns: u32,
    source_outages: u32,
    restarted: bool,
}

impl LossDelta {
    /// The usual case.
    fn is_none(&self) -> bool {
        let Self {
            driver,
            corrupt,
            encoder,
            unexplained,
            xruns,
            source_outages,
            restarted,
        } = *self;
        driver + corrupt + encoder + unexplained == 0
            && xruns == 0
            && source_outages == 0
            && !restarted
    }
}

impl Sequencer {
    /// Takes the next record. `duration`: of this packet, which is when the next one is due.
    pub(super) fn accept(
        &mut self,
        meta: &PacketMeta,
        duration: Duration,
        now: MonoNs,
    ) -> SequencedMeta {
        let capture_time = meta
            .capture_time
            .min(now + MAX_AHEAD)
            .max(MonoNs(self.latest.0.saturating_add(1)));
        let mut plausible = true;
        let mut new_losses = None;
        let resumed = std::mem::take(&mut self.paused);
        self.renumbered = self
            .renumbered
            .wrapping_add(self.last.as_ref().map_or(0, |last| repeated(last, meta)));
        let mut sequence = meta.sequence.wrapping_add(self.renumbered);
        match &self.last {
            Some(last) if !resumed => match loss_delta(last, meta, capture_time) {
                Some(delta) if delta.is_none() => {}
                Some(delta) => new_losses = self.count(&delta, capture_time),
                None => plausible = false,
            },
            // The upper bound also catches a number so small that the sum wrapped around.
            _ => plausible = (self.next_sequence..=MAX_SEQUENCE).contains(&sequence),
        }
        if !plausible {
            sequence = self.next_sequence;
            self.renumbered = sequence.wrapping_sub(meta.sequence);
            if let Some(last) = self.last.as_ref().filter(|_| !resumed) {
                let outage = capture_time.since(last.capture_time + last.duration);
                new_losses = Some(self.add_losses(capture_time, |losses, span| {
                    losses.add_outages(Cause::Corrupt, 1, outage, span)
                }));
            }
        }
        self.latest = capture_time;
        self.next_sequence = sequence.saturating_add(1);
        self.last = Some(LastRecord {
            generation: meta.generation,
            sequence: meta.sequence,
            capture_time,
            losses: meta.losses,
            duration,
        });
        SequencedMeta {
            sequence,
            capture_time,
            losses: self.losses.clone(),
            new_losses,
            plausible,
        }
    }

    /// Called while there are no readers. The last packet's number is kept: a worker that is killed
    /// meanwhile may use it again.
    pub(super) fn pause(&mut self) {
        self.paused = true;
    }

    fn count(&mut self, delta: &LossDelta, capture_time: MonoNs) -> Option<NewLosses> {
        let last = self.last.as_ref()?;
        // One hole may have several causes, and the share of each is unknown: the first in the list
        // below gets the time.
        let counted = delta.driver + delta.corrupt + delta.encoder + delta.unexplained;
        let expected = last
            .duration
            .saturating_mul(u32::try_from(counted + 1).unwrap_or(u32::MAX));
        let mut outage = capture_time.since(last.capture_time + expected);
        // A restart that was fast enough loses nothing: the test tone continues at the sample where
        // the previous generation ended.
        let restarts = u32::from(delta.restarted && delta.source_outages == 0 && !outage.is_zero());
        Some(self.add_losses(capture_time, |losses, span| {
            losses.add_packets(Cause::Driver, delta.driver, span);
            losses.add_packets(Cause::Corrupt, delta.corrupt, span);
            losses.add_packets(Cause::Encoder, delta.encoder, span);
            let unexplained = if delta.restarted {
                Cause::WorkerRestarted
            } else {
                Cause::Ring
            };
            losses.add_packets(unexplained, delta.unexplained, span);
            for (cause, count) in [
                (Cause::SourceAway, delta.source_outages),
                (Cause::WorkerRestarted, restarts),
                (Cause::Xrun, delta.xruns),
            ] {
                if count > 0 {
                    losses.add_outages(cause, count, std::mem::take(&mut outage), span);
                }
            }
        }))
    }

    /// `add` is given the totals and the span of the hole.
    fn add_losses(
        &mut self,
        capture_time: MonoNs,
        add: impl FnOnce(&mut LossCounters, Duration),
    ) -> NewLosses {
        let hole = self.latest..capture_time;
        let before = self.losses.clone();
        add(Arc::make_mut(&mut self.losses), hole.end.since(hole.start));
        NewLosses {
            hole,
            before,
            after: self.losses.clone(),
        }
    }
}

/// How many numbers a new generation uses again: a worker that is killed between pushing packets
/// and storing their numbers leaves these to the next generation. Its packets are renumbered to
/// continue the sequence.
fn repeated(last: &LastRecord, meta: &PacketMeta) -> u64 {
    let repeated = last.sequence.wrapping_add(1).wrapping_sub(meta.sequence);
    if meta.generation > last.generation && repeated <= MAX_REPEATED {
        repeated
    } else {
        0
    }
}

/// What was lost between two records; `None` when no correct worker can have written the second
/// after the first.
fn loss_delta(last: &LastRecord, meta: &PacketMeta, capture_time: MonoNs) -> Option<LossDelta> {
    let skipped = meta
        .sequence
        .checked_add(repeated(last, meta))?
        .checked_sub(last.sequence)?
        .checked_sub(1)?;
    let seconds = capture_time.since(last.capture_time).as_secs();
    if skipped > MAX_RATE_HZ.saturating_mul(seconds + 1) {
        return None;
    }
    let restarted = meta.generation != last.generation;
    if restarted && meta.generation < last.generation {
        return None;
    }
    // A new generation counts its losses from 0.
    let before = if restarted {
        Losses::default()
    } else {
        last.losses
    };
    let Losses {
        driver,
        corrupt,
        encoder,
        xrun,
        source_away,
    } = meta.losses;
    let driver = u64::from(driver.checked_sub(before.driver)?);
    let corrupt = u64::from(corrupt.checked_sub(before.corrupt)?);
    let encoder = u64::from(encoder.checked_sub(before.encoder)?);
    let explained = driver + corrupt + encoder;
    // A worker may have restarted between counting a loss and numbering it; the numbers decide.
    let driver = driver.min(skipped);
    let corrupt = corrupt.min(skipped - driver);
    let encoder = encoder.min(skipped - driver - corrupt);
    Some(LossDelta {
        driver,
        corrupt,
        encoder,
        unexplained: skipped.saturating_sub(explained),
        xruns: xrun.checked_sub(before.xrun)?,
        source_outages: source_away.checked_sub(before.source_away)?,
        restarted,
    })
}

#[cfg(test)]
mod tests;
