//! The findings compared with limits.

use super::plural;
use crate::doctor::quantiles::Quantiles;
use crate::doctor::stats::Stats;

/// Limits of the command line; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Of the whole measurement.
    pub min_fps: Option<f64>,
    /// Capture to arrival, p99, ms; video's or audio's, whichever is higher.
    pub max_latency_ms: Option<f64>,
    /// Between video and audio, in either direction, ms.
    pub max_av_offset_ms: Option<f64>,
    /// Stamp minus time code of the test pattern, in either direction, ms.
    pub max_stamp_error_ms: Option<f64>,
    /// Missing packets and outages, reported or not, and messages that cannot be decoded.
    pub max_gaps: Option<u64>,
}

impl Limits {
    /// One line for each value that is beyond its limit, or has a limit and was not measured.
    pub fn failures(&self, stats: &Stats) -> Vec<String> {
        let mut lines = Vec::new();
        let mut check = |name: &str,
                         limit: Option<f64>,
                         value: Option<f64>,
                         is_within: fn(f64, f64) -> bool,
                         unit: &str| {
            let Some(limit) = limit else { return };
            match value {
                Some(value) if is_within(value, limit) => {}
                Some(value) => {
                    lines.push(format!("{name} {value:.3} {unit} (limit {limit} {unit})"));
                }
                None => lines.push(format!("{name} not measured (limit {limit} {unit})")),
            }
        };
        let at_most = |value: f64, limit: f64| value <= limit;
        check(
            "video",
            self.min_fps,
            stats.delivered_fps(),
            |value, limit| value >= limit,
            "fps",
        );
        let latency = [&stats.video, &stats.audio]
            .into_iter()
            .filter_map(|p| p.latency_ms.quantile(0.99))
            .reduce(f64::max);
        check("latency p99", self.max_latency_ms, latency, at_most, "ms");
        check(
            "video-audio offset",
            self.max_av_offset_ms,
            stats.av_offset_ms().map(f64::abs),
            at_most,
            "ms",
        );
        check(
            "stamp error",
            self.max_stamp_error_ms,
            largest(stats.stamp_error_us()).map(|us| us / 1e3),
            at_most,
            "ms",
        );
        if let Some(limit) = self.max_gaps.filter(|limit| stats.total_losses() > *limit) {
            lines.push(format!("{} (limit {limit})", losses_in_words(stats)));
        }
        if self.max_stamp_error_ms.is_some() && stats.non_monotonic() > 0 {
            lines.push(format!(
                "{} not later than the one before",
                plural(stats.non_monotonic(), "stamp")
            ));
        }
        lines
    }
}

/// The largest distance from zero.
fn largest(values: &Quantiles) -> Option<f64> {
    Some(values.quantile(0.0)?.abs().max(values.quantile(1.0)?.abs()))
}

/// Without zeros: "3 packets missing, 1 outage".
fn losses_in_words(stats: &Stats) -> String {
    let outages = stats.losses.outages();
    let packets = stats
        .losses
        .packets()
        .saturating_add(stats.unreported_losses());
    let mut parts = Vec::new();
    if packets > 0 {
        parts.push(format!("{} missing", plural(packets, "packet")));
    }
    if outages > 0 {
        parts.push(plural(outages, "outage"));
    }
    if stats.undecodable > 0 {
        parts.push(plural(stats.undecodable, "undecodable message"));
    }
    parts.join(", ")
}
