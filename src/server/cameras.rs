//! The cameras' hubs, and the tasks that feed them.

use crate::config::{AudioConfig, CameraConfig, Config};
use crate::hub::{AudioFormat, Backlog, Hub, Hubs, Plan, StreamPlan, ring_reader_task};
use crate::ipc::ServerEnds;
use crate::ipc::control::ControlWriter;
use crate::media::clock::Clock;
use crate::media::{Encoding, MediaKind, StreamId};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The largest backlog of a viewer with `delivery=all`, payload bytes: that of the rings.
const VIDEO_BACKLOG_BYTES: usize = 64 << 20;
const AUDIO_BACKLOG_BYTES: usize = 8 << 20;

/// A hub for each camera, all on the same clock. `None`: there is no camera.
pub(super) fn hubs(
    config: &Config,
    streams: &BTreeMap<StreamId, ServerEnds>,
    clock: &Arc<Clock>,
) -> Option<Hubs> {
    let mut hubs = config.cameras.iter().map(|camera| {
        let plan = plan(camera, streams);
        let hub = Hub::new(camera.id.clone(), plan, clock.clone());
        Arc::new(hub.with_default_audio(default_audio(camera)))
    });
    Some(Hubs::new(hubs.next()?, hubs))
}

/// The format of `/stream`'s and `/audio.wav`'s audio for requests that name none.
fn default_audio(camera: &CameraConfig) -> AudioFormat {
    let format = |audio: &AudioConfig| AudioFormat {
        rate_hz: audio.rate_hz,
        channels: Some(audio.channels),
    };
    camera.audio.as_ref().map(format).unwrap_or_default()
}

/// The plan of a camera's hub: the streams that there is memory for.
fn plan(camera: &CameraConfig, streams: &BTreeMap<StreamId, ServerEnds>) -> Plan {
    let encodings = |kind| -> Option<Vec<Encoding>> {
        let camera = camera.id.clone();
        let ends = streams.get(&StreamId { camera, kind })?;
        Some(ends.rings.iter().map(|(encoding, _)| *encoding).collect())
    };
    let backlog = |packets, bytes| Backlog {
        packets: packets as usize,
        bytes,
    };
    Plan {
        video: encodings(MediaKind::Video)
            .zip(camera.video.as_ref())
            .map(|(encodings, video)| StreamPlan {
                encodings,
                fps: Some(video.fps),
                backlog: backlog(video.queue_packets, VIDEO_BACKLOG_BYTES),
            }),
        audio: encodings(MediaKind::Audio)
            .zip(camera.audio.as_ref())
            .map(|(encodings, audio)| StreamPlan {
                encodings,
                fps: None,
                backlog: backlog(audio.queue_packets, AUDIO_BACKLOG_BYTES),
            }),
    }
}

/// Starts the tasks that feed the hubs: one for each ring, one for each status page. None of them
/// ends without an error. Returns the control pages of the video workers.
pub(super) fn spawn_readers(
    streams: BTreeMap<StreamId, ServerEnds>,
    hubs: &Hubs,
    tasks: &mut JoinSet<io::Result<()>>,
) -> Vec<ControlWriter> {
    let mut controls = Vec::new();
    for (StreamId { camera, kind }, ends) in streams {
        let Some(hub) = hubs.get(camera.as_str()) else {
            continue;
        };
        let status = Arc::new(ends.status);
        for (encoding, ring) in ends.rings {
            let (hub, status) = (hub.clone(), status.clone());
            tasks.spawn(
                async move { ring_reader_task::read_ring(&hub, encoding, ring, &status).await },
            );
        }
        let hub = hub.clone();
        tasks.spawn(async move { ring_reader_task::read_status(&hub, kind, &status).await });
        if kind == MediaKind::Video {
            controls.push(ends.control);
        }
    }
    controls
}
