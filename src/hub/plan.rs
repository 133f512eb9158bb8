//! What a hub is made for, and what its readers want from the workers.

use crate::media::{Encoding, MediaKind};

/// The streams of one camera; either may be missing.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub video: Option<StreamPlan>,
    pub audio: Option<StreamPlan>,
}

impl Plan {
    pub(super) fn streams(self) -> impl Iterator<Item = (MediaKind, StreamPlan)> {
        let video = self.video.map(|plan| (MediaKind::Video, plan));
        let audio = self.audio.map(|plan| (MediaKind::Audio, plan));
        video.into_iter().chain(audio)
    }
}

/// One stream of a camera.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// Each has a ring and becomes a track.
    pub encodings: Vec<Encoding>,
    /// Frames per second asked of the camera; `None` for audio.
    pub fps: Option<f64>,
    /// The largest backlog of a subscriber with [`Delivery::All`](super::Delivery::All).
    pub backlog: Backlog,
}

/// When either limit is exceeded, the oldest packet is dropped.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    pub packets: usize,
    /// Payload bytes.
    pub bytes: usize,
}

/// What the readers of one track together want from its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The track has a reader.
    pub wanted: bool,
    /// Counts the requests for a keyframe; a change is a new request.
    pub keyframes: u32,
    /// Bits per second; 0: the worker's default.
    pub bitrate_bps: u32,
}
