//! Delivers H.264 to a reader only where it can be decoded: from a keyframe on, until something it
//! depends on is missing. Part of every subscription to an H.264 track. Pure: `now` is an argument.

use crate::media::{Cause, Gap, MonoNs};
use std::time::Duration;

/// While a keyframe is missing it is requested this often: the request or the frame may be lost.
const REQUEST_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct KeyframeGate {
    /// `None`: what comes next can be decoded.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// What broke decoding: the packets skipped until the keyframe are lost for this reason too.
    /// Before the first keyframe it is not used.
    cause: Cause,
    requested_at: MonoNs,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Deliver,
    Skip {
        /// Why the reader loses it.
        cause: Cause,
        /// A keyframe is to be requested now.
        request_keyframe: bool,
    },
}

impl KeyframeGate {
    /// For a new reader, which needs a keyframe first. The caller requests it.
    pub(super) fn new(now: MonoNs) -> Self {
        let waiting = Waiting {
            cause: Cause::ViewerQueue,
            requested_at: now,
        };
        Self {
            waiting: Some(waiting),
        }
    }

    /// Examines the next packet in order. `gaps`: what is missing before it. Asking again about a
    /// packet that was not delivered has no effect.
    pub(super) fn examine(&mut self, keyframe: bool, gaps: &[Gap], now: MonoNs) -> Verdict {
        if keyframe {
            return Verdict::Deliver;
        }
        match &mut self.waiting {
            None => {
                let Some(gap) = gaps.iter().find(|gap| breaks_decoding(gap.cause)) else {
                    return Verdict::Deliver;
                };
                self.waiting = Some(Waiting {
                    cause: gap.cause,
                    requested_at: now,
                });
                Verdict::Skip {
                    cause: gap.cause,
                    request_keyframe: true,
                }
            }
            Some(waiting) => {
                let is_due = now.since(waiting.requested_at) > REQUEST_INTERVAL;
                if is_due {
                    waiting.requested_at = now;
                }
                Verdict::Skip {
                    cause: waiting.cause,
                    request_keyframe: is_due,
                }
            }
        }
    }

    /// The reader got a packet that [`examine`](Self::examine) let pass.
    pub(super) fn delivered(&mut self) {
        self.waiting = None;
    }
}

/// What the camera did not deliver, and what the encoder did not take, was never encoded, so
/// nothing refers to it. Everything else may have been encoded.
fn breaks_decoding(cause: Cause) -> bool {
    match cause {
        Cause::Driver | Cause::Encoder => false,
        Cause::Corrupt
        | Cause::Ring
        | Cause::ViewerQueue
        | Cause::Xrun
        | Cause::SourceAway
        | Cause::WorkerRestarted => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn gap(cause: Cause) -> [Gap; 1] {
        [Gap {
            cause,
            count: Some(1),
            seconds: None,
            span_seconds: None,
        }]
    }

    fn skip(cause: Cause, request_keyframe: bool) -> Verdict {
        Verdict::Skip {
            cause,
            request_keyframe,
        }
    }

    #[test]
    fn keyframe_gate_start_waits_for_a_keyframe_and_asks_again_every_500_ms() {
        let mut gate = KeyframeGate::new(MonoNs(0));
        let requests = (1..=2_000_u64)
            .filter(|ms| match gate.examine(false, &[], MonoNs(ms * MS)) {
                Verdict::Skip {
                    request_keyframe, ..
                } => request_keyframe,
                Verdict::Deliver => panic!("delivered at {ms} ms"),
            })
            .collect::<Vec<_>>();
        assert_eq!(requests, [501, 1_002, 1_503]);
        assert_eq!(gate.examine(true, &[], MonoNs(0)), Verdict::Deliver);
        // Not delivered: it is still waiting.
        assert!(matches!(
            gate.examine(false, &[], MonoNs(2_000 * MS)),
            Verdict::Skip { .. }
        ));
        gate.delivered();
        assert_eq!(gate.examine(false, &[], MonoNs(0)), Verdict::Deliver);
    }

    #[test]
    fn keyframe_gate_gap_closes_it_unless_the_camera_skipped_or_a_keyframe_follows() {
        let mut gate = KeyframeGate::new(MonoNs(0));
        gate.delivered();
        let now = MonoNs(MS);
        assert_eq!(
            gate.examine(false, &gap(Cause::Driver), now),
            Verdict::Deliver
        );
        assert_eq!(gate.examine(true, &gap(Cause::Ring), now), Verdict::Deliver);
        assert_eq!(
            gate.examine(false, &gap(Cause::Ring), now),
            skip(Cause::Ring, true)
        );
        assert_eq!(
            gate.examine(false, &gap(Cause::ViewerQueue), now),
            skip(Cause::Ring, false),
            "the first cause counts"
        );
    }
}
