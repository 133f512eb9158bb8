//! The findings for people: a line during the measurement, a table at its end.

use super::plural;
use crate::doctor::quantiles::Quantiles;
use crate::doctor::stats::{PacketStats, Stats};
use crate::wire::AudioFormat;
use std::fmt::Write;

/// One line during the measurement.
pub fn progress(stats: &Stats, seconds: u64) -> String {
    let mut parts = Vec::new();
    for (packets, name, unit) in [
        (&stats.video, "video", "fps"),
        (&stats.audio, "audio", "packets/s"),
    ] {
        let Some(rate) = packets.rate() else {
            parts.push(if packets.count == 0 {
                format!("no {name}")
            } else {
                format!("{name}: too few packets for a rate")
            });
            continue;
        };
        let jitter = packets.intervals_ms.standard_deviation().unwrap_or(0.0);
        let latency = percentiles(&packets.latency_ms)
            .map(|[p50, p95, p99]| format!(", latency {p50:.1}/{p95:.1}/{p99:.1} ms"))
            .unwrap_or_default();
        parts.push(format!(
            "{name} {rate:.2} {unit}, jitter {jitter:.2} ms{latency}"
        ));
    }
    parts.extend(
        stats
            .av_offset_ms()
            .map(|ms| format!("video-audio offset {ms:+.1} ms")),
    );
    if let Some((offset, error)) = stats.clock.offset_ms() {
        let drift = stats
            .clock
            .drift_ppm()
            .map(|(ppm, error)| format!(", drift {ppm:+.1} ±{error:.1} ppm"))
            .unwrap_or_default();
        parts.push(format!("server clock {offset:+.2} ms ±{error:.2}{drift}"));
    }
    let mut losses = stats.losses.by_cause();
    let unreported = stats.unreported_losses();
    losses.extend((unreported > 0).then_some(("unreported", unreported)));
    let losses: Vec<String> = losses
        .into_iter()
        .map(|(cause, count)| format!("{count} {cause}"))
        .collect();
    parts.push(if losses.is_empty() {
        "nothing missing".into()
    } else {
        format!("missing: {}", losses.join(", "))
    });
    format!("{seconds:4} s: {}", parts.join("; "))
}

fn percentiles(values: &Quantiles) -> Option<[f64; 3]> {
    let at = |share| values.quantile(share);
    Some([at(0.5)?, at(0.95)?, at(0.99)?])
}

/// All findings, a line each.
pub fn table(stats: &Stats, seconds: f64) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "{name:<22}{text}");
    };
    let silence = |packets: &PacketStats| {
        stats
            .longest_silence_ms(packets)
            .map(|ms| format!(", longest silence {ms:.0} ms"))
            .unwrap_or_default()
    };
    let size = stats
        .size
        .map(|(width, height)| format!(", {width}x{height}"))
        .unwrap_or_default();
    line(
        "video",
        packets(&stats.video, "frame", "fps", seconds) + &silence(&stats.video) + &size,
    );
    let format = stats
        .audio_format
        .map(|AudioFormat { rate_hz, channels }| {
            format!(", {rate_hz} Hz, {}", plural(channels.into(), "channel"))
        })
        .unwrap_or_default();
    line(
        "audio",
        packets(&stats.audio, "packet", "packets/s", seconds) + &silence(&stats.audio) + &format,
    );
    for (name, stream) in [
        ("video latency", &stats.video),
        ("audio latency", &stats.audio),
    ] {
        if let Some([p50, p95, p99]) = percentiles(&stream.latency_ms) {
            line(
                name,
                format!("p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms (capture to arrival)"),
            );
        }
    }
    if let Some(ms) = stats.arrival_offset_ms() {
        line(
            "video-audio offset",
            format!("{ms:+.2} ms (median arrival, video minus audio)"),
        );
    }
    if let Some((offset, error)) = stats.clock.offset_ms() {
        let drift = stats
            .clock
            .drift_ppm()
            .map(|(ppm, error)| format!(", drift {ppm:+.2} ±{error:.2} ppm"))
            .unwrap_or_default();
        line(
            "server clock",
            format!("{offset:+.3} ±{error:.3} ms from this machine's{drift}"),
        );
    }
    let range = |values: &Quantiles, unit: &str| {
        let at = |share| values.quantile(share).unwrap_or(f64::NAN);
        format!(
            "p50 {:+.3} {unit}, from {:+.3} to {:+.3} {unit}",
            at(0.5),
            at(0.0),
            at(1.0)
        )
    };
    if stats.is_test_pattern() {
        line(
            "stamp error",
            range(stats.stamp_error_us(), "µs") + " (stamp minus time code)",
        );
    }
    if stats.flash_to_tone_ms().count() > 0 {
        let pulses = stats.pulses();
        line(
            "flash minus tone",
            range(stats.flash_to_tone_ms(), "ms")
                + &format!(" ({} flashes, {} tones)", pulses.flashes, pulses.tones),
        );
    }
    if stats.total_losses() == 0 {
        line("missing", "nothing".into());
    }
    for (stream, cause, loss) in stats.losses.iter() {
        let mut parts = Vec::new();
        if loss.packets > 0 {
            parts.push(plural(loss.packets, "packet"));
        }
        if loss.outages > 0 {
            let outages = plural(loss.outages, "outage");
            parts.push(format!("{outages} of {:.2} s in total", loss.seconds));
        }
        line(
            "missing",
            format!("{}: {} ({cause})", stream.name(), parts.join(", ")),
        );
    }
    for (name, count) in [
        ("unreported losses", stats.unreported_losses()),
        ("stamps not increasing", stats.non_monotonic()),
        ("clock steps", stats.clock_steps()),
        ("source lost", stats.source_losses),
        ("undecodable messages", stats.undecodable),
    ] {
        if count > 0 {
            line(name, count.to_string());
        }
    }
    out
}

fn packets(packets: &PacketStats, noun: &str, unit: &str, seconds: f64) -> String {
    let count = plural(packets.count, noun);
    let Some(rate) = packets.rate() else {
        return if packets.count == 0 {
            "none".into()
        } else {
            format!("{count}, too few for a rate; measure longer with --seconds")
        };
    };
    let jitter = packets.intervals_ms.standard_deviation().unwrap_or(0.0);
    let kbits = packets.bytes as f64 * 8.0 / 1e3 / seconds.max(1e-9);
    format!("{count}, {rate:.3} {unit}, jitter {jitter:.3} ms, {kbits:.0} kbit/s")
}
