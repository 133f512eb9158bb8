//! The findings for programs.

use crate::doctor::quantiles::Quantiles;
use crate::doctor::stats::{PacketStats, Stats};
use serde_json::{Value, json};

/// One object: times in ms, except the stamp error (µs); null where nothing was measured.
pub fn json(stats: &Stats, seconds: f64, failures: &[String]) -> Value {
    let stream = |p: &PacketStats, rate: &str| {
        json!({
            "packets": p.count,
            "bytes": p.bytes,
            rate: p.rate(),
            "jitter_ms": p.intervals_ms.standard_deviation(),
            "latency_ms": {
                "p50": p.latency_ms.quantile(0.5),
                "p95": p.latency_ms.quantile(0.95),
                "p99": p.latency_ms.quantile(0.99),
            },
            "longest_silence_ms": stats.longest_silence_ms(p),
            "unreported": p.unreported,
            "stamps_backwards": p.non_monotonic,
        })
    };
    let range = |values: &Quantiles| {
        json!({
            "count": values.count(),
            "min": values.quantile(0.0),
            "p50": values.quantile(0.5),
            "max": values.quantile(1.0),
        })
    };
    let missing: Vec<Value> = stats
        .losses
        .iter()
        .map(|(stream, cause, loss)| {
            json!({
                "stream": stream,
                "cause": cause,
                "packets": loss.packets,
                "absences": loss.outages,
                "seconds": loss.seconds,
            })
        })
        .collect();
    let (offset, drift) = (stats.clock.offset_ms(), stats.clock.drift_ppm());
    let test_picture = stats.is_test_pattern().then(|| {
        json!({
            "stamp_error_us": range(stats.stamp_error_us()),
            "flash_less_beep_ms": range(stats.flash_to_tone_ms()),
        })
    });
    json!({
        "seconds": seconds,
        "video": stream(&stats.video, "fps"),
        "delivered_fps": stats.delivered_fps(),
        "audio": stream(&stats.audio, "packets_per_second"),
        "size": stats.size,
        "sound": stats.audio_format.map(|format| (format.rate_hz, format.channels)),
        "av_offset_ms": stats.arrival_offset_ms(),
        "clock": {
            "offset_ms": offset.map(|c| c.0),
            "uncertainty_ms": offset.map(|c| c.1),
            "drift_ppm": drift.map(|d| d.0),
            "drift_error_ppm": drift.map(|d| d.1),
        },
        "test_picture": test_picture,
        "missing": missing,
        "clock_steps": stats.clock_steps(),
        "sources_lost": stats.source_losses,
        "unreadable": stats.undecodable,
        "exceeded": failures,
    })
}
