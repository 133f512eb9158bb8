//! What was lost, and why.

use serde::{Deserialize, Serialize};

/// Why packets are missing. The names are those of gap events and of `/info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The device skipped frames (a jump of the driver's sequence number).
    Driver,
    /// The device delivered bytes that are not an image, or marked them as faulty.
    Corrupt,
    /// An encoder was still busy with an earlier frame.
    Encoder,
    /// The server read the ring too late and the oldest packets were overwritten.
    Ring,
    /// This viewer was too slow.
    ViewerQueue,
    /// The audio device's buffer overran.
    Xrun,
    /// The device was unavailable: missing, unplugged, failing.
    SourceAway,
    /// The capture process died or was killed.
    WorkerRestarted,
}

impl Cause {
    /// The word on the wire, in `/info` and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Corrupt => "corrupt",
            Self::Encoder => "encoder",
            Self::Ring => "ring",
            Self::ViewerQueue => "viewer_queue",
            Self::Xrun => "xrun",
            Self::SourceAway => "source_away",
            Self::WorkerRestarted => "worker_restarted",
        }
    }
}

/// What a source lost within one generation of its worker, cumulative. Every record carries it, so
/// that a loss is known even when the record that would have reported it is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Packets, counted in the sequence.
    pub driver: u32,
    /// Packets, counted in the sequence.
    pub corrupt: u32,
    /// Packets, counted in the sequence.
    pub encoder: u32,
    /// Outages of unknown duration, not counted in the sequence.
    pub xrun: u32,
    /// Outages of unknown duration, not counted in the sequence.
    pub source_away: u32,
}

/// Packets that are missing before a packet, for one cause. `C` is [`Cause`] in the program and
/// [`crate::wire::Cause`], which accepts words of later versions, on the wire.
/// The source's are found in `hub/sequencer.rs` and totalled in `hub/losses.rs`, those of a view in
/// `hub/audio_transcode.rs`, those of a viewer's queue in `hub/queue.rs`; the wire sends every
/// field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap<C = Cause> {
    /// Packets; null where the number cannot be known, and then `seconds` is given.
    pub count: Option<u64>,
    /// How long the source was away, seconds; absent where `count` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// From the capture of the last packet before the gap to that of the first one after it,
    /// seconds; absent where there was no packet before. Of what a viewer's queue left out: from the
    /// last packet that this viewer got to the first one after. Several causes of one hole each have
    /// the whole span; several holes of one cause that are reported as one gap have their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_seconds: Option<f64>,
    /// Why they are missing.
    pub cause: C,
}

impl<C> Gap<C> {
    /// The same gap with another type of cause.
    pub fn map_cause<D>(self, map: impl FnOnce(C) -> D) -> Gap<D> {
        Gap {
            count: self.count,
            seconds: self.seconds,
            span_seconds: self.span_seconds,
            cause: map(self.cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_name_is_the_serialized_word() {
        for cause in [
            Cause::Driver,
            Cause::Corrupt,
            Cause::Encoder,
            Cause::Ring,
            Cause::ViewerQueue,
            Cause::Xrun,
            Cause::SourceAway,
            Cause::WorkerRestarted,
        ] {
            assert_eq!(serde_json::to_value(cause).expect("a word"), cause.name());
        }
    }
}
