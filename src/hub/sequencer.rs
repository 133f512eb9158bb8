//! The hub's door: numbers the records of one ring and says what is missing before each, by cause. Pure: `now` is an
//! argument. A worker that was broken into can lie in every label, so nothing here may panic, run backwards or jump for ever.

use super::losses::Tally;
use crate::ipc::ring::MAX_SEQUENCE;
use crate::media::{Cause, Losses, MonoNs, PacketMeta};
use std::sync::Arc;
use std::time::Duration;

/// No source makes more packets per second; a jump beyond this rate is not believed.
const MAX_RATE_HZ: u64 = 10_000;
/// A stamp may be this far ahead of the clock (a driver's rounding), no further.
const MAX_AHEAD: Duration = Duration::from_millis(100);
/// Packets that one look of a worker at its device may give.
const MAX_REPEATED: u64 = 16;

/// A record's label after the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Counts what the source meant to send; strictly increasing.
    pub sequence: u64,
    /// Strictly increasing, never in the future.
    pub capture_time: MonoNs,
    /// Totals of what is missing before this packet; the same `Arc` for as long as nothing more is.
    pub missing: Arc<Tally>,
    /// False: the label could not be true and was replaced.
    pub plausible: bool,
}

#[derive(Debug, Default)]
pub struct Intake {
    last: Option<Last>,
    /// What comes next has no packet before it that anyone could miss.
    paused: bool,
    /// The newest capture time ever, kept through a pause.
    latest: MonoNs,
    next_sequence: u64,
    /// Ours less the worker's numbers: 0 until a worker's numbers could not be true.
    renumbered: u64,
    missing: Arc<Tally>,
}

#[derive(Debug)]
struct Last {
    generation: u32,
    sequence: u64,
    capture_time: MonoNs,
    losses: Losses,
    /// Until the next packet is due.
    length: Duration,
}

/// What one record says is missing before it.
struct Jump {
    driver: u64,
    corrupt: u64,
    encoder: u64,
    unexplained: u64,
    xruns: u32,
    aways: u32,
    restarted: bool,
}

impl Jump {
    /// Nearly always.
    fn is_none(&self) -> bool {
        let Self {
            driver,
            corrupt,
            encoder,
            unexplained,
            xruns,
            aways,
            restarted,
        } = *self;
        driver + corrupt + encoder + unexplained == 0 && xruns == 0 && aways == 0 && !restarted
    }
}

impl Intake {
    /// `length`: the time that this packet covers, which is when the next is due.
    pub fn accept(&mut self, meta: &PacketMeta, length: Duration, now: MonoNs) -> Accepted {
        let capture_time = meta
            .capture_time
            .min(now + MAX_AHEAD)
            .max(MonoNs(self.latest.0.saturating_add(1)));
        let mut plausible = true;
        let resumed = std::mem::take(&mut self.paused);
        self.renumbered = self
            .renumbered
            .wrapping_add(self.last.as_ref().map_or(0, |last| repeated(last, meta)));
        let mut sequence = meta.sequence.wrapping_add(self.renumbered);
        match &self.last {
            Some(last) if !resumed => match jump(last, meta, capture_time) {
                Some(jump) => self.count(&jump, capture_time),
                None => plausible = false,
            },
            // Above them all: a number that was too small for what is added to it, and has wrapped around.
            _ => plausible = (self.next_sequence..=MAX_SEQUENCE).contains(&sequence),
        }
        if !plausible {
            sequence = self.next_sequence;
            self.renumbered = sequence.wrapping_sub(meta.sequence);
            if let Some(last) = self.last.as_ref().filter(|_| !resumed) {
                let absent = capture_time.since(last.capture_time + last.length);
                Arc::make_mut(&mut self.missing).add_absences(Cause::Corrupt, 1, absent);
            }
        }
        self.latest = capture_time;
        self.next_sequence = sequence.saturating_add(1);
        self.last = Some(Last {
            generation: meta.generation,
            sequence: meta.sequence,
            capture_time,
            losses: meta.losses,
            length,
        });
        Accepted {
            sequence,
            capture_time,
            missing: self.missing.clone(),
            plausible,
        }
    }

    /// Nobody reads. The last packet's number is kept: a worker that is killed meanwhile may use it again.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    pub fn missing(&self) -> &Arc<Tally> {
        &self.missing
    }

    /// The newest capture time; zero before the first packet.
    pub fn latest(&self) -> MonoNs {
        self.latest
    }

    fn count(&mut self, jump: &Jump, capture_time: MonoNs) {
        let Some(last) = &self.last else { return };
        if jump.is_none() {
            return;
        }
        let missing = Arc::make_mut(&mut self.missing);
        missing.add_packets(Cause::Driver, jump.driver);
        missing.add_packets(Cause::Corrupt, jump.corrupt);
        missing.add_packets(Cause::Encoder, jump.encoder);
        missing.add_packets(
            if jump.restarted {
                Cause::WorkerRestarted
            } else {
                Cause::Ring
            },
            jump.unexplained,
        );
        // One hole may have several causes, and nobody knows which took how long: the first named gets the time.
        let counted = jump.driver + jump.corrupt + jump.encoder + jump.unexplained;
        let expected = last
            .length
            .saturating_mul(u32::try_from(counted + 1).unwrap_or(u32::MAX));
        let mut absent = capture_time.since(last.capture_time + expected);
        // A restart in time takes nothing away: the test beep goes on at the very sample where its last life ended.
        let restarts = u32::from(jump.restarted && jump.aways == 0 && !absent.is_zero());
        for (cause, times) in [
            (Cause::SourceAway, jump.aways),
            (Cause::WorkerRestarted, restarts),
            (Cause::Xrun, jump.xruns),
        ] {
            if times > 0 {
                missing.add_absences(cause, times, std::mem::take(&mut absent));
            }
        }
    }
}

/// How many numbers a new life uses again: a worker that is killed between handing packets over and noting their numbers
/// leaves these to the next. Its packets are then numbered on from where we are.
fn repeated(last: &Last, meta: &PacketMeta) -> u64 {
    let repeated = last.sequence.wrapping_add(1).wrapping_sub(meta.sequence);
    if meta.generation > last.generation && repeated <= MAX_REPEATED {
        repeated
    } else {
        0
    }
}

/// What lies between two records; `None` when no honest worker can have written the second after the first.
fn jump(last: &Last, meta: &PacketMeta, capture_time: MonoNs) -> Option<Jump> {
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
    // A new life counts its losses from 0.
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
    // A worker may have restarted between counting a loss and numbering it; then the numbers decide.
    let driver = driver.min(skipped);
    let corrupt = corrupt.min(skipped - driver);
    let encoder = encoder.min(skipped - driver - corrupt);
    Some(Jump {
        driver,
        corrupt,
        encoder,
        unexplained: skipped.saturating_sub(explained),
        xruns: xrun.checked_sub(before.xrun)?,
        aways: source_away.checked_sub(before.source_away)?,
        restarted,
    })
}
