//! `GET /info`: snapshots of the hubs and of the clock, as [`wire::info`] has them.

use crate::hub::{Hub, Hubs, StreamSnapshot};
use crate::media::clock::ClockSnapshot;
use crate::media::{Cause, MediaKind, MonoNs, Shape};
use crate::wire;
use crate::wire::info::{self, Info};
use std::collections::BTreeMap;

/// The answer of `/info`. `hub`: the camera whose viewers and streams are at the top level.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Delivery, Plan, Request};
    use crate::media::CameraId;
    use crate::media::clock::Clock;
    use std::sync::Arc;

    #[test]
    fn info_viewers_are_those_of_the_camera_at_the_top_level() {
        let clock = Arc::new(Clock::start());
        let hub = |name| {
            let camera = CameraId::new(name).expect("a name");
            Arc::new(Hub::new(camera, Plan::default(), clock.clone()))
        };
        let hubs = Hubs::new(hub("left"), [hub("right")]);
        let right = hubs.get("right").expect("the second camera");
        let request = Request {
            video: None,
            audio: None,
            delivery: Delivery::Live,
            max_fps: None,
            events: true,
        };
        let _viewer = right.subscribe(&request).expect("a subscription");
        let viewers = |info: Info| {
            let each = info.cameras.into_iter().map(|(name, c)| (name, c.viewers));
            (info.viewers, each.collect::<Vec<_>>())
        };
        let each = vec![("left".to_owned(), 0), ("right".to_owned(), 1)];
        let now = MonoNs::now();
        let first = viewers(info(hubs.default_hub(), &hubs, now));
        assert_eq!(first, (0, each.clone()));
        assert_eq!(viewers(info(right, &hubs, now)), (1, each));
    }
}
