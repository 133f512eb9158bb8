//! Whether a driver's timestamps and sequence numbers are plausible, and what to use where they are
//! not. Pure: the current time is an argument.

use crate::media::{MonoNs, StampSource};
use std::collections::VecDeque;
use std::time::Duration;

/// Timestamps without the monotonic flag are taken for CLOCK_MONOTONIC when they are at most this
/// old (v4l2loopback).
const MAX_UNFLAGGED_AGE: Duration = Duration::from_secs(5);

/// After this many implausible timestamps in a row the driver's are no longer used.
const MAX_BAD_IN_A_ROW: u8 = 3;

/// Accepts or replaces a driver's timestamps, one by one.
///
/// A timestamp is plausible when it lies after the previous frame's and not after the moment at
/// which the frame was dequeued; the first one, when it lies at most a second before streaming was
/// started. Others are replaced by the time of dequeueing (vivid's default timestamps lie most of a
/// frame in the future; those of some USB cameras jump). That is late, but never by more than the
/// frame took to arrive. So capture times always grow and never lie in the future.
///
/// Where the first timestamp is implausible, or three in a row are, the driver's are not used again
/// until the device is reopened: a mixture of two clocks would jitter.
#[derive(Debug)]
pub(crate) struct TimestampFilter {
    start_time: MonoNs,
    last: Option<MonoNs>,
    bad_in_a_row: u8,
    source: StampSource,
}

impl TimestampFilter {
    /// `start_time`: when streaming was started.
    pub fn new(start_time: MonoNs) -> Self {
        Self {
            start_time,
            last: None,
            bad_in_a_row: 0,
            source: StampSource::Driver,
        }
    }

    /// Where the capture times come from: the driver, until it is given up.
    pub fn source(&self) -> StampSource {
        self.source
    }

    /// The capture time of a frame that the driver gave `timestamp` and that was dequeued at `now`.
    /// `is_monotonic`: the driver flags it as CLOCK_MONOTONIC.
    pub fn accept(&mut self, timestamp: MonoNs, is_monotonic: bool, now: MonoNs) -> MonoNs {
        let after = match self.last {
            Some(last) => timestamp > last,
            None => timestamp + Duration::from_secs(1) >= self.start_time,
        };
        let plausible = after
            && timestamp <= now
            && (is_monotonic || now.since(timestamp) <= MAX_UNFLAGGED_AGE);
        if self.source == StampSource::Driver {
            if plausible {
                self.bad_in_a_row = 0;
            } else {
                self.bad_in_a_row += 1;
                if self.bad_in_a_row >= MAX_BAD_IN_A_ROW || self.last.is_none() {
                    self.source = StampSource::Dequeue;
                }
            }
        }
        let capture_time = if plausible && self.source == StampSource::Driver {
            timestamp
        } else {
            now
        };
        self.last = Some(capture_time);
        capture_time
    }
}

/// Counts frames that the driver numbered and did not deliver.
#[derive(Debug)]
pub(crate) struct SequenceGaps {
    last: Option<u32>,
    buffers: usize,
    /// When the last frames were dequeued, oldest first: one more than there are buffers.
    dequeue_times: VecDeque<MonoNs>,
}

impl SequenceGaps {
    /// `buffers`: the number of frames that the driver can hold.
    pub fn new(buffers: usize) -> Self {
        Self {
            last: None,
            buffers,
            dequeue_times: VecDeque::with_capacity(buffers + 1),
        }
    }

    /// Records the frame numbered `sequence`, dequeued at `now`, and returns how many are missing
    /// between the last one and this one.
    ///
    /// A jump backwards, or by more frames than the time allows at one per `interval`, is a counter
    /// that was reset, or a driver that does not count: 0. The time is counted from the last frame
    /// that cannot have waited together with this one: after a delay in this process all buffers
    /// are full, and the frames that the driver had no buffer for are missing behind the last of
    /// them.
    pub fn advance(&mut self, sequence: u32, now: MonoNs, interval: Duration) -> u32 {
        let then = self.dequeue_times.front().copied();
        if self.dequeue_times.len() > self.buffers {
            self.dequeue_times.pop_front();
        }
        self.dequeue_times.push_back(now);
        let (Some(last), Some(then)) = (self.last.replace(sequence), then) else {
            return 0;
        };
        let missed = sequence.wrapping_sub(last).wrapping_sub(1);
        let arrived = 2 * (self.dequeue_times.len() as u128).saturating_sub(2);
        let possible = (2 * now.since(then).as_nanos() / interval.as_nanos().max(1))
            .saturating_sub(arrived)
            + 8;
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
    fn timestamp_filter_plausible_timestamps_are_used() {
        let mut filter = TimestampFilter::new(ms(10_000));
        for k in 1..5 {
            assert_eq!(
                filter.accept(ms(10_000 + 66 * k), true, ms(10_005 + 66 * k)),
                ms(10_000 + 66 * k)
            );
        }
        assert_eq!(filter.source(), StampSource::Driver);
    }

    #[test]
    fn timestamp_filter_first_timestamp_decides_the_source() {
        for (what, stamp, flagged, plausible) in [
            ("just captured", 10_100, true, true),
            ("captured just before the start", 9_500, true, true),
            ("unflagged but plausible", 10_100, false, true),
            ("zero", 0, true, false),
            ("long before the start", 8_000, true, false),
            ("in the future", 10_161, true, false),
            ("UNIX time", 1_700_000_000_000, false, false),
        ] {
            let mut filter = TimestampFilter::new(ms(10_000));
            let used = filter.accept(ms(stamp), flagged, ms(10_110));
            assert_eq!(used, ms(if plausible { stamp } else { 10_110 }), "{what}");
            let source = if plausible {
                StampSource::Driver
            } else {
                StampSource::Dequeue
            };
            assert_eq!(filter.source(), source, "{what}");
        }
    }

    #[test]
    fn timestamp_filter_three_bad_in_a_row_end_the_use_of_the_drivers() {
        let mut filter = TimestampFilter::new(ms(10_000));
        filter.accept(ms(10_066), true, ms(10_070));
        assert_eq!(
            filter.accept(ms(10_060), true, ms(10_136)),
            ms(10_136),
            "backwards"
        );
        assert_eq!(filter.accept(ms(10_198), true, ms(10_202)), ms(10_198));
        assert_eq!(filter.source(), StampSource::Driver);
        for k in 0..3 {
            assert_eq!(
                filter.accept(ms(10_198), true, ms(10_300 + 66 * k)),
                ms(10_300 + 66 * k),
                "standing still"
            );
        }
        assert_eq!(filter.source(), StampSource::Dequeue);
        assert_eq!(
            filter.accept(ms(10_500), true, ms(10_505)),
            ms(10_505),
            "not used again"
        );
    }

    #[test]
    fn timestamp_filter_old_timestamp_is_used_when_flagged() {
        // The process was stopped for a minute: frames captured before are dequeued now.
        for (flagged, expected) in [(true, 10_133), (false, 70_000)] {
            let mut filter = TimestampFilter::new(ms(10_000));
            filter.accept(ms(10_066), flagged, ms(10_070));
            assert_eq!(
                filter.accept(ms(10_133), flagged, ms(70_000)),
                ms(expected),
                "{flagged}"
            );
        }
    }

    #[test]
    fn sequence_gaps_counts_jumps_but_no_resets() {
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
            let mut gaps = SequenceGaps::new(4);
            let [(first, at), (second, later)] = sequences;
            assert_eq!(gaps.advance(first, ms(at), interval), 0);
            assert_eq!(
                gaps.advance(second, ms(later), interval),
                expected,
                "{what}"
            );
        }
    }

    #[test]
    fn sequence_gaps_after_a_stall_counts_frames_without_a_buffer() {
        let mut gaps = SequenceGaps::new(4);
        let mut missed = |sequence, at| gaps.advance(sequence, ms(at), Duration::from_millis(33));
        let until = (0..20).map(|k| missed(k, 33 * u64::from(k))).sum::<u32>();
        // A second later all four buffers are full; the next frame is the first that found one
        // free.
        let waited = (20..24).map(|k| missed(k, 1_700)).sum::<u32>();
        assert_eq!(
            (until, waited, missed(51, 1_710), missed(52, 1_733)),
            (0, 0, 27, 0)
        );
        assert_eq!(missed(10_000, 1_766), 0, "more than time allows");
    }
}
