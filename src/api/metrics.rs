//! `GET /metrics`: the server's counters for Prometheus: in the OpenMetrics text format where the client asks for it, else in the
//! older text format 0.0.4. Knows the hub's figures.

use super::prometheus::{Labels, counters, gauges, histograms, plain};
use crate::http::App;
use crate::http::error::refusal;
use crate::hub::metrics::Figures;
use crate::media::{MonoNs, WorkerState};
use crate::wire::Info;
use crate::wire::info::{Shape, Stream};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use std::fmt;

pub async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let mut registry = Registry::with_prefix("stampcast");
    registry.register_collector(Box::new(Snapshot {
        info: app.hub.info(MonoNs::now()),
        figures: app.hub.figures(),
        restarts: app.restarts,
    }));
    #[cfg(feature = "webrtc")]
    if let Some(server) = &app.webrtc {
        registry.register_collector(Box::new(crate::output::webrtc::http::Snapshot(
            server.report(),
        )));
    }
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => {
            let asked = headers
                .get(header::ACCEPT)
                .and_then(|a| a.to_str().ok())
                .is_some_and(|a| a.contains("application/openmetrics-text"));
            let (kind, text) = if asked {
                (
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    text,
                )
            } else {
                (
                    "text/plain; version=0.0.4; charset=utf-8",
                    older_format(&text),
                )
            };
            (
                [
                    (header::CONTENT_TYPE, kind),
                    (header::CACHE_CONTROL, "no-store"),
                ],
                text,
            )
                .into_response()
        }
        Err(e) => refusal(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

/// What the older format does otherwise: a counter is described under the name of its samples, and there are no units and
/// no end mark.
fn older_format(text: &str) -> String {
    let counters: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let line = |line: &str| -> Option<String> {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT" | "EOF"), ..) => None,
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => {
                Some(format!("# {what} {name}_total {rest}\n"))
            }
            _ => Some(format!("{line}\n")),
        }
    };
    text.lines().filter_map(line).collect()
}

/// Everything at one moment.
#[derive(Debug)]
struct Snapshot {
    info: Info,
    figures: Figures,
    /// Of the server itself.
    restarts: u32,
}

impl Snapshot {
    fn streams(&self) -> impl Iterator<Item = (&'static str, &Stream)> {
        [("video", &self.info.video), ("audio", &self.info.audio)]
            .into_iter()
            .filter_map(|(name, s)| Some((name, s.as_ref()?)))
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let build = vec![("version", self.info.version.clone())];
        gauges(
            &mut out,
            "build_info",
            "Always 1; the version is in the label",
            [(build, 1.0)],
        )?;
        plain(
            &mut out,
            "viewers",
            "Connected viewers of any output",
            self.info.viewers as f64,
        )?;
        plain(
            &mut out,
            "clock_uncertainty_seconds",
            "How far stamps may be from this machine's UNIX clock",
            self.info.clock.uncertainty_ns as f64 / 1e9,
        )?;
        counters(
            &mut out,
            "clock_steps",
            "How often the UNIX clock was set",
            [(vec![], self.info.clock.steps as f64)],
        )?;

        let by_stream = |value: fn(&Stream) -> Option<f64>| -> Vec<(Labels<'_>, f64)> {
            self.streams()
                .filter_map(|(name, s)| Some((vec![("stream", name.to_owned())], value(s)?)))
                .collect()
        };
        gauges(
            &mut out,
            "source_up",
            "1 while the device delivers",
            by_stream(|s| Some(f64::from(u8::from(s.state == WorkerState::Streaming)))),
        )?;
        gauges(
            &mut out,
            "stamp_uncertainty_seconds",
            "Half width of the interval that holds the true capture instant",
            by_stream(|s| Some(s.stamp.as_ref()?.uncertainty_ns? as f64 / 1e9)),
        )?;
        gauges(
            &mut out,
            "frames_per_second",
            "Measured over the last frames; absent while nobody watches",
            by_stream(|s| match s.shape {
                Shape::Video { fps, .. } => fps.measured,
                Shape::Audio { .. } => None,
            }),
        )?;
        let dropped = |value: fn(&crate::wire::info::Drops) -> f64| -> Vec<(Labels<'_>, f64)> {
            let each = self.streams().flat_map(|(name, s)| {
                s.drops
                    .iter()
                    .map(move |(cause, drops)| (name, cause, drops))
            });
            each.map(|(name, cause, drops)| {
                (
                    vec![
                        ("stream", name.to_owned()),
                        ("cause", cause.name().to_owned()),
                    ],
                    value(drops),
                )
            })
            .collect()
        };
        counters(
            &mut out,
            "packets_dropped",
            "Packets that are missing, by cause",
            dropped(|d| d.packets as f64),
        )?;
        counters(
            &mut out,
            "absences",
            "Losses in which packets cannot be counted, by cause",
            dropped(|d| d.absences as f64),
        )?;
        counters(
            &mut out,
            "absent_seconds",
            "How long those absences were together",
            dropped(|d| d.seconds),
        )?;

        let tracks = &self.figures.tracks;
        let by_track =
            |value: fn(&crate::hub::metrics::TrackFigures) -> f64| -> Vec<(Labels<'_>, f64)> {
                tracks
                    .iter()
                    .map(|t| {
                        (
                            vec![("encoding", format!("{:?}", t.encoding).to_lowercase())],
                            value(t),
                        )
                    })
                    .collect()
            };
        counters(
            &mut out,
            "packets",
            "Packets captured and encoded",
            by_track(|t| t.packets as f64),
        )?;
        counters(
            &mut out,
            "bytes",
            "Bytes captured and encoded",
            by_track(|t| t.bytes as f64),
        )?;
        let of_workers = self
            .figures
            .restarts
            .iter()
            .map(|(kind, n)| (format!("{kind:?}").to_lowercase(), *n));
        let restarts = of_workers.chain([("serve".to_owned(), self.restarts)]);
        counters(
            &mut out,
            "worker_restarts",
            "How often a process was started again since the program started: its capture processes and its server",
            restarts.map(|(worker, n)| (vec![("worker", worker)], f64::from(n))),
        )?;
        let sent = self.figures.sent_bytes.iter().map(|(kind, bytes)| {
            (
                vec![("stream", format!("{kind:?}").to_lowercase())],
                *bytes as f64,
            )
        });
        counters(
            &mut out,
            "sent_bytes",
            "Payload that viewers' connections took, of all viewers; as text it is a third longer",
            sent,
        )?;
        let latencies = tracks.iter().map(|t| {
            (
                ("encoding", format!("{:?}", t.encoding).to_lowercase()),
                &t.latency,
            )
        });
        histograms(
            &mut out,
            "capture_latency",
            "Capture to the server's hub",
            latencies,
        )?;
        let ages = self
            .figures
            .age
            .iter()
            .map(|(kind, age)| (("stream", format!("{kind:?}").to_lowercase()), age));
        histograms(
            &mut out,
            "packet_age",
            "Capture to the moment a viewer's connection took the packet",
            ages,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_describes_counters_by_their_samples_names() {
        let modern = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total 1\n# HELP c Level.\n# TYPE c gauge\n# UNIT c seconds\nc 2\n# EOF\n";
        let older = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total 1\n# HELP c Level.\n# TYPE c gauge\nc 2\n";
        assert_eq!(older_format(modern), older);
    }
}
