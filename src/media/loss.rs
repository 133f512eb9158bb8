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
    /// Outages of unknown duration, not counted in the sequence.
    pub xrun: u32,
    /// Outages of unknown duration, not counted in the sequence.
    pub source_away: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_name_is_the_serialized_word() {
        for cause in [
            Cause::Driver,
            Cause::Corrupt,
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
