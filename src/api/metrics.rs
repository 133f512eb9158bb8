//! `GET /metrics`: counters for Prometheus, in the OpenMetrics text format where the client asks for
//! it, else in the text format 0.0.4.

use super::Api;
use crate::http::error::error_response;
use crate::hub::metrics::{Figures, TrackFigures};
use crate::media::CameraId;
use crate::media::{MonoNs, WorkerState};
use crate::output::Output;
use crate::output::metric::{Labels, counters, gauges, histograms, plain};
use crate::wire::Info;
use crate::wire::info::{Drops, Shape, Stream};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Response {
    let now = MonoNs::now();
    let cameras = api.cx.hubs.iter().map(|(id, hub)| Camera {
        id: id.clone(),
        info: hub.info(now),
        figures: hub.figures(),
    });
    let mut registry = Registry::with_prefix("stampcast");
    registry.register_collector(Box::new(Snapshot {
        cameras: cameras.collect(),
        server_restarts: api.server_restarts,
        outputs: api.outputs,
    }));
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let mut body = String::new();
    let (content_type, encoded) =
        if accepted.is_some_and(|types| types.contains("application/openmetrics-text")) {
            (OPENMETRICS, text::encode(&mut body, &registry))
        } else {
            (TEXT, prometheus_text::encode(&mut body, &registry))
        };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match encoded {
        Ok(()) => (headers, body).into_response(),
        Err(e) => error_response(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

/// All values at one moment.
struct Snapshot {
    cameras: Vec<Camera>,
    server_restarts: u32,
    outputs: Arc<[Arc<dyn Output>]>,
}

struct Camera {
    id: CameraId,
    info: Info,
    figures: Figures,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

impl Camera {
    fn label(&self) -> (&'static str, String) {
        ("camera", self.id.to_string())
    }

    fn streams(&self) -> impl Iterator<Item = (&'static str, &Stream)> {
        [("video", &self.info.video), ("audio", &self.info.audio)]
            .into_iter()
            .filter_map(|(kind, stream)| Some((kind, stream.as_ref()?)))
    }
}

impl Snapshot {
    fn by_stream(&self, value: fn(&Stream) -> Option<f64>) -> Vec<(Labels<'_>, f64)> {
        let mut rows = Vec::new();
        for camera in &self.cameras {
            for (kind, stream) in camera.streams() {
                if let Some(value) = value(stream) {
                    rows.push((vec![camera.label(), ("stream", kind.to_owned())], value));
                }
            }
        }
        rows
    }

    fn by_cause(&self, value: fn(&Drops) -> f64) -> Vec<(Labels<'_>, f64)> {
        let mut rows = Vec::new();
        for camera in &self.cameras {
            for (kind, stream) in camera.streams() {
                for (cause, drops) in &stream.drops {
                    let labels = vec![
                        camera.label(),
                        ("stream", kind.to_owned()),
                        ("cause", cause.name().to_owned()),
                    ];
                    rows.push((labels, value(drops)));
                }
            }
        }
        rows
    }

    fn tracks(&self) -> impl Iterator<Item = (Labels<'_>, &TrackFigures)> {
        self.cameras.iter().flat_map(|camera| {
            camera.figures.tracks.iter().map(|track| {
                let encoding = ("encoding", track.encoding.name().to_owned());
                (vec![camera.label(), encoding], track)
            })
        })
    }

    fn by_track(&self, value: fn(&TrackFigures) -> u64) -> Vec<(Labels<'_>, f64)> {
        self.tracks()
            .map(|(labels, track)| (labels, value(track) as f64))
            .collect()
    }

    fn encode_server(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(Camera { info, .. }) = self.cameras.first() else {
            return Ok(());
        };
        gauges(
            out,
            "build_info",
            "Always 1; the version is in the label",
            [(vec![("version", info.version.clone())], 1.0)],
        )?;
        plain(
            out,
            "clock_uncertainty_seconds",
            "How far stamps may be from this machine's UNIX clock",
            info.clock.uncertainty_ns as f64 / 1e9,
        )?;
        counters(
            out,
            "clock_steps",
            "How often the UNIX clock was set",
            [(vec![], info.clock.steps as f64)],
        )
    }

    fn encode_streams(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauges(
            out,
            "viewers",
            "Connected viewers of any output",
            self.cameras
                .iter()
                .map(|camera| (vec![camera.label()], camera.info.viewers as f64)),
        )?;
        gauges(
            out,
            "source_up",
            "1 while the device delivers",
            self.by_stream(|s| Some(f64::from(u8::from(s.state == WorkerState::Streaming)))),
        )?;
        gauges(
            out,
            "stamp_uncertainty_seconds",
            "Half width of the interval that holds the true capture instant",
            self.by_stream(|s| Some(s.stamp.as_ref()?.uncertainty_ns? as f64 / 1e9)),
        )?;
        gauges(
            out,
            "frames_per_second",
            "Measured over the last frames; absent while nobody watches",
            self.by_stream(|s| match s.shape {
                Shape::Video { fps, .. } => fps.measured,
                Shape::Audio { .. } => None,
            }),
        )?;
        counters(
            out,
            "packets_dropped",
            "Packets that are missing, by cause",
            self.by_cause(|drops| drops.packets as f64),
        )?;
        counters(
            out,
            "absences",
            "Losses in which packets cannot be counted, by cause",
            self.by_cause(|drops| drops.absences as f64),
        )?;
        counters(
            out,
            "absent_seconds",
            "Total duration of those absences",
            self.by_cause(|drops| drops.seconds),
        )
    }

    fn encode_packets(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        counters(
            out,
            "packets",
            "Packets captured and encoded",
            self.by_track(|track| track.packets),
        )?;
        counters(
            out,
            "bytes",
            "Bytes captured and encoded",
            self.by_track(|track| track.bytes),
        )?;
        let workers = self.cameras.iter().flat_map(|camera| {
            camera.figures.restarts.iter().map(|(kind, restarts)| {
                let worker = ("worker", kind.name().to_owned());
                (vec![camera.label(), worker], f64::from(*restarts))
            })
        });
        let server = (
            vec![("worker", "serve".to_owned())],
            f64::from(self.server_restarts),
        );
        counters(
            out,
            "worker_restarts",
            "How often a process was started again since the program started: its capture \
             processes and its server",
            workers.chain([server]),
        )?;
        let sent = self.cameras.iter().flat_map(|camera| {
            camera.figures.sent_bytes.iter().map(|(kind, bytes)| {
                let stream = ("stream", kind.name().to_owned());
                (vec![camera.label(), stream], *bytes as f64)
            })
        });
        counters(
            out,
            "sent_bytes",
            "Payload that viewers' connections took, of all viewers; as text it is a third longer",
            sent,
        )?;
        histograms(
            out,
            "capture_latency",
            "Capture to the server's hub",
            self.tracks()
                .map(|(labels, track)| (labels, &track.latency)),
        )?;
        let ages = self.cameras.iter().flat_map(|camera| {
            camera.figures.age.iter().map(|(kind, age)| {
                let stream = ("stream", kind.name().to_owned());
                (vec![camera.label(), stream], age)
            })
        });
        histograms(
            out,
            "packet_age",
            "Capture to the moment a viewer's connection took the packet",
            ages,
        )
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_server(&mut out)?;
        self.encode_streams(&mut out)?;
        self.encode_packets(&mut out)?;
        self.outputs
            .iter()
            .try_for_each(|output| output.metrics(&mut out))
    }
}
