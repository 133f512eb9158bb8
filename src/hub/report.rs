//! The hub's state as `GET /info` shows it.

use super::source::Source;
use super::{Hub, State};
use crate::media::{Cause, Encoding, MediaKind, MonoNs, Shape};
use crate::wire::info::{Clock, Drops, Fps, Info, Shape as ShapeInfo, Stamp, Stream};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

impl Hub {
    pub fn info(&self, now: MonoNs) -> Info {
        let state = self.lock();
        let stream = |kind| {
            let source = state.source(kind)?;
            Some(state.stream(source, self.outputs(kind).missed.load(Relaxed), now))
        };
        Info {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            clock: Clock {
                now: state.clock.to_unix(now).0 as f64 / 1e9,
                offset_ns: state.clock.offset_ns(),
                uncertainty_ns: state.clock.uncertainty_ns(),
                steps: state.clock.steps(),
                last_step_seconds: state.last_step_seconds,
            },
            viewers: state.inboxes.len(),
            video: stream(MediaKind::Video),
            audio: stream(MediaKind::Audio),
        }
    }
}

impl State {
    fn stream(&self, source: &Source, missed: u64, now: MonoNs) -> Stream {
        let encoding = match source.kind {
            MediaKind::Video => Encoding::Jpeg,
            MediaKind::Audio => Encoding::Pcm,
        };
        // While only WebRTC is watched, only its encodings are made.
        let tracks = || {
            self.tracks
                .iter()
                .filter(|t| t.encoding.kind() == source.kind)
        };
        let newest = tracks().max_by_key(|t| {
            (
                t.latest.as_ref().map(|p| p.capture_time),
                t.last_sequence.is_some(),
                t.encoding == encoding,
            )
        });
        let info = source.info.as_ref();
        let mut drops: BTreeMap<crate::wire::Cause, Drops> = BTreeMap::new();
        for (cause, loss) in source.lost.total().iter() {
            drops.insert(
                cause.into(),
                Drops {
                    packets: loss.packets,
                    absences: loss.absences.into(),
                    seconds: loss.absent.as_secs_f64(),
                },
            );
        }
        drops.insert(
            Cause::ViewerQueue.into(),
            Drops {
                packets: missed,
                absences: 0,
                seconds: 0.0,
            },
        );
        Stream {
            state: source.state,
            message: (!source.message.is_empty()).then(|| source.message.clone()),
            device: info.map(|i| i.device.clone()),
            device_format: info.map(|i| i.device_format.clone()),
            format: match encoding {
                Encoding::Jpeg => "jpeg",
                Encoding::H264 => "h264",
                Encoding::Pcm => "s16le",
                Encoding::Opus => "opus",
            }
            .into(),
            shape: match source.kind {
                MediaKind::Video => {
                    let size = info.and_then(|i| match i.shape {
                        Shape::Video { width, height } => Some((width, height)),
                        Shape::Audio { .. } => None,
                    });
                    ShapeInfo::Video {
                        width: size.map(|s| s.0),
                        height: size.map(|s| s.1),
                        fps: Fps {
                            asked: source.plan.fps,
                            measured: newest.and_then(|t| t.rate(now, source.interval)),
                        },
                    }
                }
                MediaKind::Audio => {
                    let sound = info.and_then(|i| match i.shape {
                        Shape::Audio { rate_hz, channels } => Some((rate_hz, channels)),
                        Shape::Video { .. } => None,
                    });
                    ShapeInfo::Audio {
                        rate: sound.map(|s| s.0),
                        channels: sound.map(|s| s.1),
                        drift_ppm: info.and_then(|i| i.drift_ppm),
                    }
                }
            },
            sequence: newest.and_then(|t| t.last_sequence),
            stamp: info.map(|i| Stamp {
                marks: i.stamp_marks,
                source: i.stamp_source,
                clock: i.stamp_clock.clone(),
                uncertainty_ns: i.uncertainty_ns,
            }),
            drops,
        }
    }
}
