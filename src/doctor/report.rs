//! The findings as a table for people, as JSON for programs, and compared with limits.

use super::quantiles::Quantiles;
use super::stats::{PacketStats, Stats};
use crate::wire::AudioFormat;
use serde_json::{Value, json};
use std::fmt::Write;

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
            av_offset_ms(stats).map(f64::abs),
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

/// Measured in the test pattern if there is one, else from arrival times.
fn av_offset_ms(stats: &Stats) -> Option<f64> {
    stats
        .flash_to_tone_ms()
        .quantile(0.5)
        .or_else(|| stats.av_offset_ms())
}

/// The largest distance from zero.
fn largest(values: &Quantiles) -> Option<f64> {
    Some(values.quantile(0.0)?.abs().max(values.quantile(1.0)?.abs()))
}

/// "1 packet", "3 packets".
fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Without zeros: "3 packets missing, 1 outage".
fn losses_in_words(stats: &Stats) -> String {
    let outages: u64 = stats.losses.values().map(|loss| loss.outages).sum();
    let reported: u64 = stats.losses.values().map(|loss| loss.packets).sum();
    let packets = reported + stats.unreported_losses();
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
    parts.extend(av_offset_ms(stats).map(|ms| format!("video-audio offset {ms:+.1} ms")));
    if let Some((offset, error)) = stats.clock_offset_ms() {
        let drift = stats
            .clock_drift_ppm()
            .map(|(ppm, error)| format!(", drift {ppm:+.1} ±{error:.1} ppm"))
            .unwrap_or_default();
        parts.push(format!("server clock {offset:+.2} ms ±{error:.2}{drift}"));
    }
    let losses: Vec<String> = losses_by_cause(stats)
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

/// Packets and outages of both streams.
fn losses_by_cause(stats: &Stats) -> Vec<(&str, u64)> {
    let mut causes: Vec<(&str, u64)> = Vec::new();
    for ((_, cause), loss) in &stats.losses {
        let count = loss.packets + loss.outages;
        match causes.iter_mut().find(|(name, _)| *name == cause.name()) {
            Some((_, sum)) => *sum += count,
            None => causes.push((cause.name(), count)),
        }
    }
    let unreported = stats.unreported_losses();
    causes.extend((unreported > 0).then_some(("unreported", unreported)));
    causes
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
    if let Some(ms) = stats.av_offset_ms() {
        line(
            "video-audio offset",
            format!("{ms:+.2} ms (median arrival, video minus audio)"),
        );
    }
    if let Some((offset, error)) = stats.clock_offset_ms() {
        let drift = stats
            .clock_drift_ppm()
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
    for ((stream, cause), loss) in &stats.losses {
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

/// The findings for programs: times in ms, except the stamp error (µs); null where nothing was measured.
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
        .map(|((stream, cause), loss)| {
            json!({
                "stream": stream,
                "cause": cause,
                "packets": loss.packets,
                "absences": loss.outages,
                "seconds": loss.seconds,
            })
        })
        .collect();
    let (offset, drift) = (stats.clock_offset_ms(), stats.clock_drift_ppm());
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
        "av_offset_ms": stats.av_offset_ms(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::stats::PingSample;
    use crate::doctor::test_pattern::test_frame;
    use crate::media::{Cause, MediaKind, UnixNs};
    use crate::wire::{Event, Gap, Message};

    fn unix(seconds: f64) -> UnixNs {
        UnixNs((1_700_000_000_000_000_000 + (seconds * 1e9).round() as i64) as u64)
    }

    /// One second, equal clocks: 10 frames of the test pattern with a latency of 30 ms, audio with one of
    /// 80 ms. The stamps are 5 ms later than the time code.
    fn second() -> Stats {
        let mut stats = Stats::default();
        stats.advance_to(unix(0.0));
        stats.add_ping(PingSample {
            asked: unix(0.0),
            received: unix(0.0),
            sent: unix(0.0),
            answered: unix(0.0),
        });
        for k in 0..=10 {
            let at = f64::from(k) / 10.0;
            let jpeg = test_frame(unix(at - 0.005), false);
            stats.add_message(
                &Message::Video {
                    stamp: unix(at),
                    label: None,
                    width: 320,
                    height: 240,
                    jpeg: jpeg.as_slice().into(),
                },
                unix(at + 0.03),
            );
            let audio = Message::Audio {
                stamp: unix(at),
                label: None,
                format: Some(AudioFormat {
                    rate_hz: 8_000,
                    channels: 1,
                }),
                pcm: [0; 2 * 160].as_slice().into(),
            };
            stats.add_message(&audio, unix(at + 0.1));
        }
        stats
    }

    fn gap(stats: &mut Stats, count: Option<u64>, cause: Cause) {
        let event = Event::Gap {
            stream: MediaKind::Video,
            gap: Gap {
                count,
                seconds: count.is_none().then_some(1.5),
                cause: cause.into(),
            },
        };
        stats.add_message(
            &Message::Event {
                stamp: unix(1.0),
                event,
            },
            unix(1.0),
        );
    }

    #[test]
    fn limits_fail_only_beyond_their_value() {
        let stats = second();
        let with_gaps = {
            let mut stats = second();
            gap(&mut stats, Some(2), Cause::Driver);
            gap(&mut stats, None, Cause::SourceAway);
            stats
        };
        let none = Limits::default();
        for (limits, stats, expected) in [
            (none, &with_gaps, None),
            (
                Limits {
                    min_fps: Some(9.9),
                    ..none
                },
                &stats,
                None,
            ),
            (
                Limits {
                    min_fps: Some(10.1),
                    ..none
                },
                &stats,
                Some("video 10.000 fps (limit 10.1 fps)"),
            ),
            (
                Limits {
                    max_latency_ms: Some(80.1),
                    ..none
                },
                &stats,
                None,
            ),
            (
                Limits {
                    max_latency_ms: Some(79.9),
                    ..none
                },
                &stats,
                Some("latency p99 80.000 ms (limit 79.9 ms)"),
            ),
            (
                Limits {
                    max_av_offset_ms: Some(50.1),
                    ..none
                },
                &stats,
                None,
            ),
            (
                Limits {
                    max_av_offset_ms: Some(49.9),
                    ..none
                },
                &stats,
                Some("video-audio offset 50.000 ms (limit 49.9 ms)"),
            ),
            (
                Limits {
                    max_stamp_error_ms: Some(5.1),
                    ..none
                },
                &stats,
                None,
            ),
            (
                Limits {
                    max_stamp_error_ms: Some(4.9),
                    ..none
                },
                &stats,
                Some("stamp error 5.000 ms (limit 4.9 ms)"),
            ),
            (
                Limits {
                    max_gaps: Some(0),
                    ..none
                },
                &stats,
                None,
            ),
            (
                Limits {
                    max_gaps: Some(3),
                    ..none
                },
                &with_gaps,
                None,
            ),
            (
                Limits {
                    max_gaps: Some(2),
                    ..none
                },
                &with_gaps,
                Some("2 packets missing, 1 outage (limit 2)"),
            ),
        ] {
            assert_eq!(
                limits.failures(stats),
                expected.map(str::to_owned).into_iter().collect::<Vec<_>>(),
                "{limits:?}"
            );
        }
    }

    #[test]
    fn limits_fail_where_nothing_was_measured() {
        let asked = Limits {
            min_fps: Some(1.0),
            max_latency_ms: Some(1e9),
            max_av_offset_ms: Some(1e9),
            max_stamp_error_ms: Some(1e9),
            max_gaps: Some(0),
        };
        let lines = asked.failures(&Stats::default());
        assert!(
            lines.len() == 4 && lines.iter().all(|line| line.contains("not measured")),
            "{lines:?}"
        );
    }

    #[test]
    fn max_latency_is_that_of_the_slower_stream() {
        let mut stats = Stats::default();
        let now = unix(0.0);
        stats.add_ping(PingSample {
            asked: now,
            received: now,
            sent: now,
            answered: now,
        });
        let video = Message::Video {
            stamp: unix(0.0),
            label: None,
            width: 1,
            height: 1,
            jpeg: b"".as_slice().into(),
        };
        stats.add_message(&video, unix(0.2));
        let audio = Message::Audio {
            stamp: unix(0.0),
            label: None,
            format: Some(AudioFormat {
                rate_hz: 8_000,
                channels: 1,
            }),
            pcm: [0; 2].as_slice().into(),
        };
        stats.add_message(&audio, unix(0.1));
        let limits = Limits {
            max_latency_ms: Some(150.0),
            ..Limits::default()
        };
        assert_eq!(
            limits.failures(&stats),
            ["latency p99 200.000 ms (limit 150 ms)"]
        );
    }

    #[test]
    fn max_stamp_error_fails_on_non_monotonic_stamps() {
        let mut stats = second();
        let late = Message::Video {
            stamp: unix(0.5),
            label: None,
            width: 1,
            height: 1,
            jpeg: b"".as_slice().into(),
        };
        stats.add_message(&late, unix(1.1));
        let limits = Limits {
            max_stamp_error_ms: Some(10.0),
            ..Limits::default()
        };
        assert_eq!(
            limits.failures(&stats),
            ["1 stamp not later than the one before"]
        );
    }

    #[test]
    fn table_shows_outages_with_their_duration() {
        let mut stats = second();
        gap(&mut stats, None, Cause::WorkerRestarted);
        let table = table(&stats, 1.0);
        assert!(
            table.contains("video: 1 outage of 1.50 s in total (worker_restarted)"),
            "{table}"
        );
    }
}
