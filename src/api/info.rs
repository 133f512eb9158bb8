//! `GET /info`: the hub's snapshot and the clock in the words of the wire.

use crate::hub::{Hub, Hubs, StreamSnapshot};
use crate::media::clock::ClockSnapshot;
use crate::media::{Cause, MediaKind, MonoNs, Shape};
use crate::wire;
use crate::wire::info::{self, Info};
use std::collections::BTreeMap;

/// What `/info` says, with `hub` as the camera whose streams stand at the top.
pub(super) fn info(hub: &Hub, hubs: &Hubs, now: MonoNs) -> Info {
    let ClockSnapshot {
        offset_ns,
        uncertainty_ns,
        steps,
        last_step,
    } = hub.clock().snapshot();
    let info::CameraInfo {
        viewers,
        video,
        audio,
    } = camera(hub, now);
    Info {
        name: env!("CARGO_PKG_NAME").into(),
        version: env!("CARGO_PKG_VERSION").into(),
        clock: info::Clock {
            now: hub.clock().unix(now).0 as f64 / 1e9,
            offset_ns,
            uncertainty_ns,
            steps,
            last_step_seconds: last_step.map(|step| step.seconds),
        },
        viewers,
        video,
        audio,
        cameras: hubs
            .iter()
            .map(|hub| (hub.camera().to_string(), camera(hub, now)))
            .collect(),
    }
}

fn camera(hub: &Hub, now: MonoNs) -> info::CameraInfo {
    let snapshot = hub.snapshot(now);
    info::CameraInfo {
        viewers: snapshot.subscribers,
        video: snapshot.video.as_ref().map(stream),
        audio: snapshot.audio.as_ref().map(stream),
    }
}

fn stream(snapshot: &StreamSnapshot) -> info::Stream {
    let source = snapshot.info.as_ref();
    let message = &snapshot.message;
    info::Stream {
        state: snapshot.state,
        message: (!message.is_empty()).then(|| message.clone()),
        device: source.map(|source| source.device.clone()),
        device_format: source.map(|source| source.device_format.clone()),
        format: match snapshot.kind {
            MediaKind::Video => "jpeg",
            MediaKind::Audio => "s16le",
        }
        .into(),
        shape: shape(snapshot),
        sequence: snapshot.last_sequence,
        stamp: source.map(|source| info::Stamp {
            marks: source.stamp_marks,
            source: source.stamp_source,
            clock: source.stamp_clock.clone(),
            uncertainty_ns: source.uncertainty_ns,
        }),
        drops: drops(snapshot),
    }
}

fn shape(snapshot: &StreamSnapshot) -> info::Shape {
    let source = snapshot.info.as_ref();
    match snapshot.kind {
        MediaKind::Video => {
            let size = source.and_then(|source| match source.shape {
                Shape::Video { width, height } => Some((width, height)),
                Shape::Audio { .. } => None,
            });
            info::Shape::Video {
                width: size.map(|(width, _)| width),
                height: size.map(|(_, height)| height),
                fps: info::Fps {
                    asked: snapshot.fps,
                    measured: snapshot.measured_fps,
                },
            }
        }
        MediaKind::Audio => {
            let format = source.and_then(|source| match source.shape {
                Shape::Audio { rate_hz, channels } => Some((rate_hz, channels)),
                Shape::Video { .. } => None,
            });
            info::Shape::Audio {
                rate: format.map(|(rate_hz, _)| rate_hz),
                channels: format.map(|(_, channels)| channels),
                drift_ppm: source.and_then(|source| source.drift_ppm),
            }
        }
    }
}

fn drops(snapshot: &StreamSnapshot) -> BTreeMap<wire::Cause, info::Drops> {
    let source = snapshot.losses.iter().map(|(cause, totals)| {
        let drops = info::Drops {
            packets: totals.packets,
            absences: totals.outages.into(),
            seconds: totals.outage_time.as_secs_f64(),
        };
        (cause.into(), drops)
    });
    let viewers = info::Drops {
        packets: snapshot.dropped,
        ..info::Drops::default()
    };
    source
        .chain([(Cause::ViewerQueue.into(), viewers)])
        .collect()
}
