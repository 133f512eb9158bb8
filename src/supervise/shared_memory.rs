//! The shared memory of all children, made before they are forked: the server's status page, and
//! for each stream its rings, status page and control page.

use super::child_id::ChildId;
use super::restart_policy::Health;
use crate::config::Config;
use crate::ipc::StreamMemory;
use crate::ipc::ring::{RingLimits, SharedStatus, StatusReader};
use crate::media::{CameraId, MediaKind, StreamId, WorkerState};
use std::collections::BTreeMap;
use std::io;

/// A ring's capacity, bytes. Large frames reach it before the capacity in packets.
const VIDEO_BYTES: usize = 64 << 20;
const AUDIO_BYTES: usize = 8 << 20;

/// In a child, what it must not have is taken out and dropped, which unmaps and closes it.
pub struct SharedMemory {
    /// `None` in workers.
    pub(super) server: Option<SharedStatus>,
    pub(super) streams: BTreeMap<StreamId, StreamMemory>,
}

impl SharedMemory {
    /// # Errors
    /// Those of memfd_create(2), mmap(2) and eventfd(2).
    pub fn create(config: &Config) -> io::Result<Self> {
        let mut streams = BTreeMap::new();
        for camera in &config.cameras {
            let encodings = crate::server::encodings(config, camera);
            let video = camera
                .video
                .iter()
                .map(|video| (MediaKind::Video, video.queue_packets, VIDEO_BYTES));
            let audio = camera
                .audio
                .iter()
                .map(|audio| (MediaKind::Audio, audio.queue_packets, AUDIO_BYTES));
            for (kind, packets, bytes) in video.chain(audio) {
                let id = StreamId {
                    camera: camera.id.clone(),
                    kind,
                };
                let of_kind: Vec<_> = encodings
                    .iter()
                    .copied()
                    .filter(|encoding| encoding.kind() == kind)
                    .collect();
                let limits = RingLimits { packets, bytes };
                let memory = StreamMemory::create(&memory_name(&id), &of_kind, limits)?;
                streams.insert(id, memory);
            }
        }
        Ok(Self {
            server: Some(SharedStatus::create("server", &[])?),
            streams,
        })
    }

    /// All children that the memory was made for.
    pub fn children(&self) -> impl Iterator<Item = ChildId> {
        std::iter::once(ChildId::Server).chain(self.streams.keys().cloned().map(ChildId::Worker))
    }

    /// What the status page of a child says; all empty for one that has none.
    pub fn health(&self, child: &ChildId) -> Health {
        let Some(status) = self.status(child).map(|status| status.snapshot()) else {
            return Health::default();
        };
        Health {
            heartbeat: status.heartbeat,
            streaming_since: status
                .state_since
                .filter(|_| status.state == WorkerState::Streaming),
            last_capture: status.last_capture,
            interval: status.interval.unwrap_or_default(),
        }
    }

    /// Clears what the last generation of a child wrote about itself, except its sequence numbers.
    pub fn reset(&self, child: &ChildId, generation: u32) {
        if let Some(status) = self.status(child) {
            status.reset(generation);
        }
    }

    fn status(&self, child: &ChildId) -> Option<StatusReader> {
        match child {
            ChildId::Server => self.server.as_ref().map(SharedStatus::reader),
            ChildId::Worker(stream) => self.streams.get(stream).map(StreamMemory::status),
        }
    }
}

/// The names of memory in `/proc/<pid>/maps` begin with it: `video` for the camera `main`,
/// `left-video` for others.
fn memory_name(stream: &StreamId) -> String {
    if stream.camera == CameraId::main() {
        stream.kind.name().into()
    } else {
        format!("{}-{}", stream.camera, stream.kind.name())
    }
}
