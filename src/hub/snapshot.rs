//! The hub's state at one moment, as plain data, for `/info`, `/state`, metrics and the status
//! line.

use super::losses::LossCounters;
use super::metrics::HistogramSnapshot;
use super::source::Source;
use super::{Hub, State};
use crate::media::{CameraId, Encoding, MediaKind, MonoNs, Shape, StreamInfo, WorkerState};
use std::sync::atomic::Ordering::Relaxed;

/// One camera.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub camera: CameraId,
    pub subscribers: usize,
    /// `None`: the camera has no such stream.
    pub video: Option<StreamSnapshot>,
    pub audio: Option<StreamSnapshot>,
    /// Of every kind of stream, whether the camera has it or not.
    pub deliveries: [DeliverySnapshot; 2],
    /// In the order of the plan.
    pub tracks: Vec<TrackSnapshot>,
}

impl Snapshot {
    /// Those that are there.
    pub fn streams(&self) -> impl Iterator<Item = &StreamSnapshot> {
        self.video.iter().chain(&self.audio)
    }
}

/// One stream: its source and what was lost of it.
#[derive(Clone, Debug)]
pub struct StreamSnapshot {
    pub kind: MediaKind,
    pub state: WorkerState,
    /// The last fault in one line; empty when there is none.
    pub message: String,
    /// `None` while the device is unavailable. Audio's shape is that of requests that name none.
    pub info: Option<StreamInfo>,
    /// Frames per second asked of the camera; `None` for audio.
    pub fps: Option<f64>,
    /// Packets per second of the track that was encoded last; `None` without readers.
    pub measured_fps: Option<f64>,
    /// The newest packet's number, of the track that was encoded last.
    pub last_sequence: Option<u64>,
    /// What the source lost while it had readers, each loss counted once.
    pub losses: LossCounters,
    /// Packets dropped from the queues of slow subscribers.
    pub dropped: u64,
    /// How often its worker was restarted since the program started.
    pub restarts: u32,
}

/// What all subscribers together took of one kind of stream.
#[derive(Clone, Debug)]
pub struct DeliverySnapshot {
    pub kind: MediaKind,
    /// Capture to the moment at which a subscriber took the packet.
    pub age: HistogramSnapshot,
    /// Payload.
    pub bytes: u64,
}

/// One encoding's packets since the server started.
#[derive(Clone, Debug)]
pub struct TrackSnapshot {
    pub encoding: Encoding,
    pub packets: u64,
    /// Payload.
    pub bytes: u64,
    /// Capture to hub.
    pub latency: HistogramSnapshot,
}

impl Hub {
    pub fn snapshot(&self, now: MonoNs) -> Snapshot {
        let state = self.lock();
        let stream = |kind| {
            let dropped = self.deliveries(kind).dropped.load(Relaxed);
            Some(state.stream_snapshot(state.source(kind)?, dropped, now))
        };
        let deliveries = MediaKind::ALL.map(|kind| {
            let deliveries = self.deliveries(kind);
            DeliverySnapshot {
                kind,
                age: deliveries.age.snapshot(),
                bytes: deliveries.bytes.load(Relaxed),
            }
        });
        Snapshot {
            camera: self.camera.clone(),
            subscribers: state.subscribers.len(),
            video: stream(MediaKind::Video),
            audio: stream(MediaKind::Audio).map(|audio| StreamSnapshot {
                info: audio.info.map(|info| self.with_default_format(info)),
                ..audio
            }),
            deliveries,
            tracks: state.tracks.iter().map(|track| track.snapshot()).collect(),
        }
    }

    /// With the format of requests that name none.
    fn with_default_format(&self, info: StreamInfo) -> StreamInfo {
        let shape = match info.shape {
            Shape::Audio { rate_hz, channels } => Shape::Audio {
                rate_hz: self.default_audio.rate_hz.unwrap_or(rate_hz),
                channels: self.default_audio.channels.unwrap_or(channels),
            },
            video => video,
        };
        StreamInfo { shape, ..info }
    }
}

impl State {
    fn stream_snapshot(&self, source: &Source, dropped: u64, now: MonoNs) -> StreamSnapshot {
        // While only WebRTC is watched, only its encodings are made.
        let newest = self
            .tracks
            .iter()
            .filter(|track| track.encoding.kind() == source.kind)
            .max_by_key(|track| {
                (
                    track.latest.as_ref().map(|packet| packet.capture_time),
                    track.last_sequence.is_some(),
                    matches!(track.encoding, Encoding::Jpeg | Encoding::Pcm),
                )
            });
        StreamSnapshot {
            kind: source.kind,
            state: source.state,
            message: source.message.clone(),
            info: source.info.clone(),
            fps: source.plan.fps,
            measured_fps: newest.and_then(|track| track.rate(now, source.interval)),
            last_sequence: newest.and_then(|track| track.last_sequence),
            losses: source.losses.total().clone(),
            dropped,
            restarts: source.restarts,
        }
    }
}
