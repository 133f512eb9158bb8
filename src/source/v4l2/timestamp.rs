//! Whether a driver's stamps and sequence numbers can be believed, and what to use where not. Pure: `now` is an argument.

use crate::media::{MonoNs, StampSource};
use std::collections::VecDeque;
use std::time::Duration;

/// Stamps without the monotonic flag are taken for CLOCK_MONOTONIC when they are at most this old (v4l2loopback).
const UNFLAGGED_AGE: Duration = Duration::from_secs(5);
/// So many unbelievable stamps in a row and the driver's are not used again until the device is opened anew.
const STRIKES: u8 = 3;

/// Judges a driver's stamps, one by one.
///
/// A stamp is believed when it lies after the previous frame's and not after the moment at which the frame was dequeued;
/// the first, when it lies at most a second before the stream was started. Anything else (vivid's default stamps lie most of a
/// frame in the future; some USB cameras' jump) is replaced by the clock, read at the dequeue: late, but never by more than the
/// frame took to arrive. So stamps always grow and never lie in the future. From the first stamp on, or after three in a
/// row, a driver that cannot be believed is not asked again: a mixture of two clocks would jitter.
#[derive(Debug)]
pub struct Stamps {
    started: MonoNs,
    last: Option<MonoNs>,
    strikes: u8,
    source: StampSource,
}

impl Stamps {
    /// `started` is when the stream was started.
    pub fn new(started: MonoNs) -> Self {
        Self {
            started,
            last: None,
            strikes: 0,
            source: StampSource::Driver,
        }
    }

    /// Where the stamps come from, as far as is known by now.
    pub fn source(&self) -> StampSource {
        self.source
    }

    /// The instant to use for a frame that the driver stamped with `stamp` and that was dequeued at `now`. `flagged`:
    /// the driver says that the stamp is CLOCK_MONOTONIC.
    pub fn judge(&mut self, stamp: MonoNs, flagged: bool, now: MonoNs) -> MonoNs {
        let after = match self.last {
            Some(last) => stamp > last,
            None => stamp + Duration::from_secs(1) >= self.started,
        };
        let believed = after && stamp <= now && (flagged || now.since(stamp) <= UNFLAGGED_AGE);
        if self.source == StampSource::Driver {
            if believed {
                self.strikes = 0;
            } else {
                self.strikes += 1;
                if self.strikes >= STRIKES || self.last.is_none() {
                    self.source = StampSource::Dequeue;
                }
            }
        }
        let capture_time = if believed && self.source == StampSource::Driver {
            stamp
        } else {
            now
        };
        self.last = Some(capture_time);
        capture_time
    }
}

/// Counts the frames that a driver numbered and did not deliver.
#[derive(Debug)]
pub struct Gaps {
    last: Option<u32>,
    buffers: usize,
    /// When the last frames were dequeued, oldest first: one more than there are buffers.
    dequeued: VecDeque<MonoNs>,
}

impl Gaps {
    /// `buffers`: frames that the driver can hold.
    pub fn new(buffers: usize) -> Self {
        Self {
            last: None,
            buffers,
            dequeued: VecDeque::with_capacity(buffers + 1),
        }
    }

    /// Frames missing between the last one and the one numbered `sequence`, dequeued at `now`, when one comes every
    /// `interval`. A jump that the time cannot hold, or one backwards, is a counter that was reset, or a driver that does not
    /// count: 0. The time is that since the last frame which cannot have waited with this one: who was held up finds all
    /// buffers full, and what the driver had no buffer for is missing behind the last of these.
    pub fn missed(&mut self, sequence: u32, now: MonoNs, interval: Duration) -> u32 {
        let then = self.dequeued.front().copied();
        if self.dequeued.len() > self.buffers {
            self.dequeued.pop_front();
        }
        self.dequeued.push_back(now);
        let (Some(last), Some(then)) = (self.last.replace(sequence), then) else {
            return 0;
        };
        let missed = sequence.wrapping_sub(last).wrapping_sub(1);
        let came = 2 * (self.dequeued.len() as u128).saturating_sub(2);
        let possible =
            (2 * now.since(then).as_nanos() / interval.as_nanos().max(1)).saturating_sub(came) + 8;
        if u128::from(missed) <= possible {
            missed
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(t: u64) -> MonoNs {
        MonoNs(t * MS)
    }

    #[test]
    fn believable_stamps_are_used() {
        let mut stamps = Stamps::new(ms(10_000));
        for k in 1..5 {
            assert_eq!(
                stamps.judge(ms(10_000 + 66 * k), true, ms(10_005 + 66 * k)),
                ms(10_000 + 66 * k)
            );
        }
        assert_eq!(stamps.source(), StampSource::Driver);
    }

    #[test]
    fn what_the_first_stamp_must_be() {
        for (what, stamp, flagged, believed) in [
            ("just captured", 10_100, true, true),
            ("begun just before the start", 9_500, true, true),
            ("unflagged but sane", 10_100, false, true),
            ("zero", 0, true, false),
            ("long before the start", 8_000, true, false),
            ("in the future", 10_161, true, false),
            ("UNIX time", 1_700_000_000_000, false, false),
        ] {
            let mut stamps = Stamps::new(ms(10_000));
            let used = stamps.judge(ms(stamp), flagged, ms(10_110));
            assert_eq!(used, ms(if believed { stamp } else { 10_110 }), "{what}");
            let source = if believed {
                StampSource::Driver
            } else {
                StampSource::Dequeue
            };
            assert_eq!(stamps.source(), source, "{what}");
        }
    }

    #[test]
    fn one_bad_stamp_is_replaced_and_three_in_a_row_end_the_trust() {
        let mut stamps = Stamps::new(ms(10_000));
        stamps.judge(ms(10_066), true, ms(10_070));
        assert_eq!(
            stamps.judge(ms(10_060), true, ms(10_136)),
            ms(10_136),
            "backwards"
        );
        assert_eq!(stamps.judge(ms(10_198), true, ms(10_202)), ms(10_198));
        assert_eq!(stamps.source(), StampSource::Driver);
        for k in 0..3 {
            assert_eq!(
                stamps.judge(ms(10_198), true, ms(10_300 + 66 * k)),
                ms(10_300 + 66 * k),
                "standing still"
            );
        }
        assert_eq!(stamps.source(), StampSource::Dequeue);
        assert_eq!(
            stamps.judge(ms(10_500), true, ms(10_505)),
            ms(10_505),
            "not believed again"
        );
    }

    #[test]
    fn an_old_stamp_is_true_when_it_is_flagged() {
        // The process was stopped for a minute: what was captured before is handed out now.
        for (flagged, expected) in [(true, 10_133), (false, 70_000)] {
            let mut stamps = Stamps::new(ms(10_000));
            stamps.judge(ms(10_066), flagged, ms(10_070));
            assert_eq!(
                stamps.judge(ms(10_133), flagged, ms(70_000)),
                ms(expected),
                "{flagged}"
            );
        }
    }

    #[test]
    fn gaps_are_counted_and_resets_are_not() {
        let interval = Duration::from_millis(66);
        for (what, sequences, expected) in [
            ("none", [(0, 0), (1, 66)], 0),
            ("two", [(0, 0), (3, 198)], 2),
            ("the counter wraps", [(u32::MAX, 0), (2, 198)], 2),
            (
                "the device was away for an hour",
                [(10, 0), (54_010, 3_600_000)],
                53_999,
            ),
            ("more than time allows", [(10, 0), (54_010, 66)], 0),
            ("reset to zero", [(500, 0), (0, 66)], 0),
            ("a driver that does not count", [(0, 0), (0, 66)], 0),
        ] {
            let mut gaps = Gaps::new(4);
            let [(first, at), (second, later)] = sequences;
            assert_eq!(gaps.missed(first, ms(at), interval), 0);
            assert_eq!(gaps.missed(second, ms(later), interval), expected, "{what}");
        }
    }

    #[test]
    fn what_was_lost_while_the_process_was_held_up_is_counted() {
        let mut gaps = Gaps::new(4);
        let mut missed = |sequence, at| gaps.missed(sequence, ms(at), Duration::from_millis(33));
        let until = (0..20).map(|k| missed(k, 33 * u64::from(k))).sum::<u32>();
        // A second later all four buffers are full, and the next frame is the first for which one was free again.
        let waited = (20..24).map(|k| missed(k, 1_700)).sum::<u32>();
        assert_eq!(
            (until, waited, missed(51, 1_710), missed(52, 1_733)),
            (0, 0, 27, 0)
        );
        assert_eq!(missed(10_000, 1_766), 0, "more than time allows");
    }
}
