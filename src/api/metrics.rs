//! `GET /metrics`: counters for Prometheus, in the OpenMetrics text format where the client asks
//! for it, else in the text format 0.0.4. Rendered at most every 100 ms.

use super::{Answer, Api};
use crate::http::error::error_response;
use crate::hub::{DeliverySnapshot, LossTotals, Snapshot, StreamSnapshot, TrackSnapshot};
use crate::media::clock::ClockSnapshot;
use crate::media::{Cause, MediaKind, MonoNs, WorkerState};
use crate::output::Output;
use crate::output::metric::{Labels, counters, gauges, histograms, plain};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Response {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let openmetrics = accepted.is_some_and(|types| types.contains("application/openmetrics-text"));
    let key = Answer::Metrics { openmetrics };
    let body = api
        .answers
        .get(key, Instant::now(), || encode(&api, openmetrics));
    let content_type = if openmetrics { OPENMETRICS } else { TEXT };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match body {
        Ok(body) => (headers, body).into_response(),
        Err(e) => error_response(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

/// # Errors
/// Those of the encoder, whose buffer is memory: none.
fn encode(api: &Api, openmetrics: bool) -> Result<Bytes, fmt::Error> {
    let now = MonoNs::now();
    let hubs = &api.cx.hubs;
    let mut registry = Registry::with_prefix("stampcast");
    registry.register_collector(Box::new(Metrics {
        clock: hubs.default_hub().clock().snapshot(),
        cameras: hubs.iter().map(|hub| hub.snapshot(now)).collect(),
        server_restarts: api.server_restarts,
        outputs: api.outputs.clone(),
    }));
    let mut body = String::new();
    if openmetrics {
        text::encode(&mut body, &registry)?;
    } else {
        prometheus_text::encode(&mut body, &registry)?;
    }
    Ok(body.into())
}

/// All values at one moment.
struct Metrics {
    clock: ClockSnapshot,
    /// In the order of the configuration.
    cameras: Vec<Snapshot>,
    server_restarts: u32,
    outputs: Arc<[Arc<dyn Output>]>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The labels of one row of a camera.
fn labels<const N: usize>(camera: &Snapshot, labels: [(&'static str, &str); N]) -> Labels<'static> {
    let camera = ("camera", camera.camera.to_string());
    let labels = labels.map(|(name, value)| (name, value.to_owned()));
    std::iter::once(camera).chain(labels).collect()
}

impl Metrics {
    fn streams(&self) -> impl Iterator<Item = (&Snapshot, &StreamSnapshot)> {
        self.cameras
            .iter()
            .flat_map(|camera| camera.streams().map(move |stream| (camera, stream)))
    }

    fn tracks(&self) -> impl Iterator<Item = (Labels<'static>, &TrackSnapshot)> {
        self.cameras.iter().flat_map(|camera| {
            camera
                .tracks
                .iter()
                .map(move |track| (labels(camera, [("encoding", track.encoding.name())]), track))
        })
    }

    fn deliveries(&self) -> impl Iterator<Item = (Labels<'static>, &DeliverySnapshot)> {
        self.cameras.iter().flat_map(|camera| {
            camera
                .deliveries
                .iter()
                .map(move |delivery| (labels(camera, [("stream", delivery.kind.name())]), delivery))
        })
    }

    fn by_stream(
        &self,
        value: fn(&StreamSnapshot) -> Option<f64>,
    ) -> impl Iterator<Item = (Labels<'static>, f64)> {
        self.streams().filter_map(move |(camera, stream)| {
            let labels = labels(camera, [("stream", stream.kind.name())]);
            Some((labels, value(stream)?))
        })
    }

    fn by_cause(&self, value: fn(LossTotals) -> f64) -> Vec<(Labels<'static>, f64)> {
        let mut rows = Vec::new();
        for (camera, stream) in self.streams() {
            let dropped = LossTotals {
                packets: stream.dropped,
                ..LossTotals::default()
            };
            let mut totals: Vec<_> = stream.losses.iter().collect();
            totals.push((Cause::ViewerQueue, dropped));
            totals.sort_by_key(|(cause, _)| *cause);
            for (cause, totals) in totals {
                let names = [("stream", stream.kind.name()), ("cause", cause.name())];
                rows.push((labels(camera, names), value(totals)));
            }
        }
        rows
    }

    fn by_track(
        &self,
        value: fn(&TrackSnapshot) -> u64,
    ) -> impl Iterator<Item = (Labels<'static>, f64)> {
        self.tracks()
            .map(move |(labels, track)| (labels, value(track) as f64))
    }

    fn encode_server(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        gauges(
            out,
            "build_info",
            "Always 1; the version is in the label",
            [(vec![("version", version)], 1.0)],
        )?;
        plain(
            out,
            "clock_uncertainty_seconds",
            "Half width of the interval that contains the true offset of this machine's two clocks",
            self.clock.uncertainty_ns as f64 / 1e9,
        )?;
        counters(
            out,
            "clock_steps",
            "How often the UNIX clock was set",
            [(vec![], self.clock.steps as f64)],
        )
    }

    fn encode_streams(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        gauges(
            out,
            "viewers",
            "Connected viewers of any output",
            self.cameras
                .iter()
                .map(|camera| (labels(camera, []), camera.subscribers as f64)),
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
            self.by_stream(|s| Some(s.info.as_ref()?.uncertainty_ns? as f64 / 1e9)),
        )?;
        gauges(
            out,
            "frames_per_second",
            "Measured over the last frames; absent while there is no viewer",
            self.by_stream(|s| s.measured_fps.filter(|_| s.kind == MediaKind::Video)),
        )?;
        counters(
            out,
            "packets_dropped",
            "Packets that are missing, by cause",
            self.by_cause(|totals| totals.packets as f64),
        )?;
        counters(
            out,
            "absences",
            "Outages in which missing packets cannot be counted, by cause",
            self.by_cause(|totals| totals.outages.into()),
        )?;
        counters(
            out,
            "absent_seconds",
            "Total duration of these outages, by cause",
            self.by_cause(|totals| totals.outage_time.as_secs_f64()),
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
        let workers = self.streams().map(|(camera, stream)| {
            let labels = labels(camera, [("worker", stream.kind.name())]);
            (labels, f64::from(stream.restarts))
        });
        let server = (
            vec![("worker", "serve".to_owned())],
            f64::from(self.server_restarts),
        );
        counters(
            out,
            "worker_restarts",
            "Restarts of a capture process, or of the server, since the program started",
            workers.chain([server]),
        )?;
        counters(
            out,
            "sent_bytes",
            "Payload accepted by the connections of all viewers; as text, a third more is sent",
            self.deliveries()
                .map(|(labels, delivery)| (labels, delivery.bytes as f64)),
        )?;
        histograms(
            out,
            "capture_latency",
            "Time from capture to the server's hub",
            self.tracks()
                .map(|(labels, track)| (labels, &track.latency)),
        )?;
        histograms(
            out,
            "packet_age",
            "Time from capture until a viewer's connection accepted the packet",
            self.deliveries()
                .map(|(labels, delivery)| (labels, &delivery.age)),
        )
    }
}

impl Collector for Metrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_server(&mut out)?;
        self.encode_streams(&mut out)?;
        self.encode_packets(&mut out)?;
        self.outputs
            .iter()
            .try_for_each(|output| output.metrics(&mut out))
    }
}
