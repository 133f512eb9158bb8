//! The doctor's findings as a table for people, as JSON for programs, and against the limits of the command line.

use super::study::{Packets, Study};
use crate::wire::AudioFormat;
use serde_json::{Value, json};
use std::fmt::Write;

/// What the caller will not put up with; `None` asks nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub min_fps: Option<f64>,
    /// Capture to arrival, p99, ms; that of the later of picture and sound.
    pub max_latency_ms: Option<f64>,
    /// Between picture and sound, either way, ms.
    pub max_av_offset_ms: Option<f64>,
    /// Stamp against the drawn time code (test picture only), either way, ms.
    pub max_stamp_error_ms: Option<f64>,
    /// Missing packets and absences, told or not, and messages that cannot be read.
    pub max_gaps: Option<u64>,
}

impl Limits {
    /// What is beyond its limit, a line each. What was asked for and could not be measured is beyond it too.
    pub fn exceeded(&self, study: &Study) -> Vec<String> {
        let mut lines = Vec::new();
        let mut check = |name: &str,
                         limit: Option<f64>,
                         found: Option<f64>,
                         good: fn(f64, f64) -> bool,
                         unit: &str| {
            let Some(limit) = limit else { return };
            match found {
                Some(found) if good(found, limit) => {}
                Some(found) => lines.push(format!(
                    "{name} is {found:.3} {unit}, the limit is {limit} {unit}"
                )),
                None => lines.push(format!(
                    "{name} could not be measured, the limit is {limit} {unit}"
                )),
            }
        };
        let at_most = |found: f64, limit: f64| found <= limit;
        check(
            "video",
            self.min_fps,
            study.delivered_fps(),
            |found, limit| found >= limit,
            "fps",
        );
        let latency = [&study.video, &study.audio]
            .into_iter()
            .filter_map(|p| p.latency_ms.quantile(0.99))
            .reduce(f64::max);
        check("latency p99", self.max_latency_ms, latency, at_most, "ms");
        check(
            "picture against sound",
            self.max_av_offset_ms,
            av_offset(study).map(f64::abs),
            at_most,
            "ms",
        );
        let error = worst(
            study.stamp_error_us().quantile(0.0),
            study.stamp_error_us().quantile(1.0),
        )
        .map(|us| us / 1e3);
        check(
            "the stamps' error",
            self.max_stamp_error_ms,
            error,
            at_most,
            "ms",
        );
        if let Some(limit) = self
            .max_gaps
            .filter(|limit| study.missing_things() > *limit)
        {
            lines.push(format!(
                "missing are {}; the limit is {limit}",
                missing_in_words(study)
            ));
        }
        if self.max_stamp_error_ms.is_some() && study.backwards() > 0 {
            lines.push(format!("{} stamps run backwards", study.backwards()));
        }
        lines
    }
}

/// Measured in the media where that is possible, else from the arrival times.
fn av_offset(study: &Study) -> Option<f64> {
    study
        .flash_to_beep_ms()
        .quantile(0.5)
        .or_else(|| study.av_offset_ms())
}

/// Only what there is: "3 packets, 1 absence(s)".
fn missing_in_words(study: &Study) -> String {
    let told = study.missing.values();
    let absences: u64 = told.clone().map(|m| m.absences).sum();
    let packets = told.map(|m| m.packets).sum::<u64>() + study.untold();
    let parts = [
        (packets, "packet(s)"),
        (absences, "absence(s)"),
        (study.undecodable, "unreadable message(s)"),
    ];
    parts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn worst(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a?.abs().max(b?.abs()))
}

/// One line while it runs.
pub fn progress(study: &Study, seconds: u64) -> String {
    let mut parts = Vec::new();
    for (packets, name, unit) in [
        (&study.video, "video", "fps"),
        (&study.audio, "sound", "packets/s"),
    ] {
        let Some(rate) = packets.rate() else {
            parts.push(if packets.count == 0 {
                format!("no {name}")
            } else {
                format!("{name}: too few for a rate")
            });
            continue;
        };
        let jitter = packets.steps_ms.deviation().unwrap_or(0.0);
        let at = |share| packets.latency_ms.quantile(share);
        let latency = match (at(0.5), at(0.95), at(0.99)) {
            (Some(p50), Some(p95), Some(p99)) => format!(", latency {p50:.1}/{p95:.1}/{p99:.1} ms"),
            _ => String::new(),
        };
        parts.push(format!(
            "{name} {rate:.2} {unit}, jitter {jitter:.2} ms{latency}"
        ));
    }
    parts.extend(av_offset(study).map(|ms| format!("picture after sound {ms:+.1} ms")));
    let drift = study
        .clock_drift_ppm()
        .map_or(String::new(), |(ppm, error)| {
            format!(", drifting {ppm:+.1} ±{error:.1} ppm")
        });
    parts.extend(
        study
            .clock_offset_ms()
            .map(|(offset, half)| format!("clock {offset:+.2} ms ±{half:.2}{drift}")),
    );
    let causes: Vec<String> = causes(study)
        .into_iter()
        .map(|(cause, count)| format!("{count} {cause}"))
        .collect();
    parts.push(if causes.is_empty() {
        "nothing missing".into()
    } else {
        format!("missing: {}", causes.join(", "))
    });
    format!("{seconds:4} s: {}", parts.join("; "))
}

/// What is missing, both streams together.
fn causes(study: &Study) -> Vec<(String, u64)> {
    let mut causes: Vec<(String, u64)> = Vec::new();
    for ((_, cause), missing) in &study.missing {
        let (name, count) = (cause.name().to_owned(), missing.packets + missing.absences);
        match causes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => causes.push((name, count)),
        }
    }
    causes.extend((study.untold() > 0).then(|| ("not told".into(), study.untold())));
    causes
}

pub fn table(study: &Study, seconds: f64) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "{name:<22}{text}");
    };
    let size = study
        .size
        .map_or(String::new(), |(w, h)| format!(", {w}x{h}"));
    let silence = |p: &Packets| {
        study
            .longest_silence_ms(p)
            .map_or(String::new(), |ms| format!(", longest silence {ms:.0} ms"))
    };
    line(
        "video",
        packets(&study.video, "frames", "fps", seconds) + &silence(&study.video) + &size,
    );
    let sound = study
        .sound
        .map_or(String::new(), |AudioFormat { rate_hz, channels }| {
            format!(", {rate_hz} Hz, {channels} channel(s)")
        });
    line(
        "sound",
        packets(&study.audio, "packets", "packets/s", seconds) + &silence(&study.audio) + &sound,
    );
    for (name, stream) in [
        ("video latency", &study.video),
        ("sound latency", &study.audio),
    ] {
        let at = |share| stream.latency_ms.quantile(share);
        if let (Some(p50), Some(p95), Some(p99)) = (at(0.5), at(0.95), at(0.99)) {
            line(
                name,
                format!(
                    "p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms (capture to arrival here)"
                ),
            );
        }
    }
    if let Some(ms) = study.av_offset_ms() {
        line(
            "picture after sound",
            format!("{ms:+.2} ms (arrival, medians)"),
        );
    }
    if let Some((offset, half)) = study.clock_offset_ms() {
        let drift = study
            .clock_drift_ppm()
            .map_or(String::new(), |(ppm, error)| {
                format!(", drifting {ppm:+.2} ±{error:.2} ppm")
            });
        line(
            "server's clock",
            format!("{offset:+.3} ms against ours, ±{half:.3} ms{drift}"),
        );
    }
    let spread = |spread: &super::numbers::Spread, unit: &str| {
        let at = |share| spread.quantile(share).unwrap_or(f64::NAN);
        format!(
            "p50 {:+.3} {unit}, from {:+.3} to {:+.3} {unit}",
            at(0.5),
            at(0.0),
            at(1.0)
        )
    };
    if study.is_test_picture() {
        line("stamp less time code", spread(study.stamp_error_us(), "µs"));
    }
    if study.flash_to_beep_ms().count() > 0 {
        let beats = study.beats();
        line(
            "flash less beep",
            spread(study.flash_to_beep_ms(), "ms")
                + &format!(" ({} flashes, {} beeps)", beats.flashes, beats.beeps),
        );
    }
    if study.missing_things() == 0 {
        line("missing", "nothing".into());
    }
    for ((stream, cause), missing) in &study.missing {
        let packets = (missing.packets > 0).then(|| format!("{} packet(s)", missing.packets));
        let absences = (missing.absences > 0).then(|| {
            format!(
                "{} absence(s) of {:.2} s in all",
                missing.absences, missing.seconds
            )
        });
        let what = packets
            .into_iter()
            .chain(absences)
            .collect::<Vec<_>>()
            .join(", ");
        line(
            "missing",
            format!("{}: {what} ({})", stream.name(), cause.name()),
        );
    }
    for (what, count) in faults(study) {
        if count > 0 {
            line(what, count.to_string());
        }
    }
    out
}

fn packets(p: &Packets, what: &str, unit: &str, seconds: f64) -> String {
    let Some(rate) = p.rate() else {
        return if p.count == 0 {
            "none".into()
        } else {
            format!(
                "{} {what}, too few for a rate; --seconds watches for longer",
                p.count
            )
        };
    };
    let jitter = p.steps_ms.deviation().unwrap_or(0.0);
    let kbits = p.bytes as f64 * 8.0 / 1e3 / seconds.max(1e-9);
    format!(
        "{} {what}, {rate:.3} {unit}, jitter {jitter:.3} ms, {kbits:.0} kbit/s",
        p.count
    )
}

fn faults(study: &Study) -> [(&'static str, u64); 5] {
    [
        ("missing, not told", study.untold()),
        ("stamps backwards", study.backwards()),
        ("clock steps", study.clock_steps()),
        ("source lost", study.sources_lost),
        ("unreadable messages", study.undecodable),
    ]
}

/// The same for programs. Times in ms but for the stamps' error (µs); null where there was nothing to measure.
pub fn as_json(study: &Study, seconds: f64, exceeded: &[String]) -> Value {
    let stream = |p: &Packets, name: &str| {
        json!({
            "packets": p.count, "bytes": p.bytes, name: p.rate(), "jitter_ms": p.steps_ms.deviation(),
            "latency_ms": { "p50": p.latency_ms.quantile(0.5), "p95": p.latency_ms.quantile(0.95), "p99": p.latency_ms.quantile(0.99) },
            "longest_silence_ms": study.longest_silence_ms(p),
            "unreported": p.unreported, "stamps_backwards": p.backwards,
        })
    };
    let spread = |s: &super::numbers::Spread| json!({ "count": s.count(), "min": s.quantile(0.0), "p50": s.quantile(0.5), "max": s.quantile(1.0) });
    let missing: Vec<Value> = study.missing.iter().map(|((stream, cause), m)| {
        json!({ "stream": stream.name(), "cause": cause, "packets": m.packets, "absences": m.absences, "seconds": m.seconds })
    }).collect();
    json!({
        "seconds": seconds,
        "video": stream(&study.video, "fps"),
        "delivered_fps": study.delivered_fps(),
        "audio": stream(&study.audio, "packets_per_second"),
        "size": study.size, "sound": study.sound.map(|format| (format.rate_hz, format.channels)),
        "av_offset_ms": study.av_offset_ms(),
        "clock": { "offset_ms": study.clock_offset_ms().map(|c| c.0), "uncertainty_ms": study.clock_offset_ms().map(|c| c.1), "drift_ppm": study.clock_drift_ppm().map(|d| d.0), "drift_error_ppm": study.clock_drift_ppm().map(|d| d.1) },
        "test_picture": study.is_test_picture().then(|| json!({ "stamp_error_us": spread(study.stamp_error_us()), "flash_less_beep_ms": spread(study.flash_to_beep_ms()) })),
        "missing": missing,
        "clock_steps": study.clock_steps(), "sources_lost": study.sources_lost, "unreadable": study.undecodable,
        "exceeded": exceeded,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::study::Exchange;
    use crate::doctor::test_picture::drawn;
    use crate::media::{Cause, MediaKind, UnixNs};
    use crate::wire::{Event, Gap, Message};

    fn unix(seconds: f64) -> UnixNs {
        UnixNs((1_700_000_000_000_000_000 + (seconds * 1e9).round() as i64) as u64)
    }

    /// One second, the clocks alike: 10 frames of a test picture, 30 ms old at their arrival, and sound that is 80 ms old.
    /// The stamps are 5 ms later than the time code.
    fn second() -> Study {
        let mut study = Study::default();
        study.watching(unix(0.0));
        study.exchange(Exchange {
            asked: unix(0.0),
            received: unix(0.0),
            sent: unix(0.0),
            answered: unix(0.0),
        });
        for k in 0..=10 {
            let at = f64::from(k) / 10.0;
            let jpeg = drawn(unix(at - 0.005), false);
            study.message(
                &Message::Video {
                    stamp: unix(at),
                    label: None,
                    width: 320,
                    height: 240,
                    jpeg: jpeg.as_slice().into(),
                },
                unix(at + 0.03),
            );
            let sound = Message::Audio {
                stamp: unix(at),
                label: None,
                format: Some(AudioFormat {
                    rate_hz: 8_000,
                    channels: 1,
                }),
                pcm: [0; 2 * 160].as_slice().into(),
            };
            study.message(&sound, unix(at + 0.1));
        }
        study
    }

    fn gap(study: &mut Study, count: Option<u64>, cause: Cause) {
        let event = Event::Gap {
            stream: MediaKind::Video,
            gap: Gap {
                count,
                seconds: count.is_none().then_some(1.5),
                cause: cause.into(),
            },
        };
        study.message(
            &Message::Event {
                stamp: unix(1.0),
                event,
            },
            unix(1.0),
        );
    }

    #[test]
    fn each_limit_is_exceeded_by_what_lies_beyond_it_only() {
        let study = second();
        let with_gaps = {
            let mut study = second();
            gap(&mut study, Some(2), Cause::Driver);
            gap(&mut study, None, Cause::SourceAway);
            study
        };
        let none = Limits::default();
        for (limits, study, expected) in [
            (none, &with_gaps, None),
            (
                Limits {
                    min_fps: Some(9.9),
                    ..none
                },
                &study,
                None,
            ),
            (
                Limits {
                    min_fps: Some(10.1),
                    ..none
                },
                &study,
                Some("video is 10.000 fps, the limit is 10.1 fps"),
            ),
            (
                Limits {
                    max_latency_ms: Some(80.1),
                    ..none
                },
                &study,
                None,
            ),
            (
                Limits {
                    max_latency_ms: Some(79.9),
                    ..none
                },
                &study,
                Some("latency p99 is 80.000 ms, the limit is 79.9 ms"),
            ),
            (
                Limits {
                    max_av_offset_ms: Some(50.1),
                    ..none
                },
                &study,
                None,
            ),
            (
                Limits {
                    max_av_offset_ms: Some(49.9),
                    ..none
                },
                &study,
                Some("picture against sound is 50.000 ms, the limit is 49.9 ms"),
            ),
            (
                Limits {
                    max_stamp_error_ms: Some(5.1),
                    ..none
                },
                &study,
                None,
            ),
            (
                Limits {
                    max_stamp_error_ms: Some(4.9),
                    ..none
                },
                &study,
                Some("the stamps' error is 5.000 ms, the limit is 4.9 ms"),
            ),
            (
                Limits {
                    max_gaps: Some(0),
                    ..none
                },
                &study,
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
                Some("missing are 2 packet(s), 1 absence(s); the limit is 2"),
            ),
        ] {
            assert_eq!(
                limits.exceeded(study),
                expected.map(str::to_owned).into_iter().collect::<Vec<_>>(),
                "{limits:?}"
            );
        }
    }

    #[test]
    fn what_was_asked_for_and_could_not_be_measured_is_beyond_its_limit() {
        let asked = Limits {
            min_fps: Some(1.0),
            max_latency_ms: Some(1e9),
            max_av_offset_ms: Some(1e9),
            max_stamp_error_ms: Some(1e9),
            max_gaps: Some(0),
        };
        let lines = asked.exceeded(&Study::default());
        assert!(
            lines.len() == 4
                && lines
                    .iter()
                    .all(|line| line.contains("could not be measured")),
            "{lines:?}"
        );
    }

    #[test]
    fn a_picture_that_is_quicker_than_the_limit_does_not_hide_the_sound_nor_the_sound_the_picture()
    {
        let mut study = Study::default();
        let now = unix(0.0);
        study.exchange(Exchange {
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
        study.message(&video, unix(0.2));
        let sound = Message::Audio {
            stamp: unix(0.0),
            label: None,
            format: Some(AudioFormat {
                rate_hz: 8_000,
                channels: 1,
            }),
            pcm: [0; 2].as_slice().into(),
        };
        study.message(&sound, unix(0.1));
        let limits = Limits {
            max_latency_ms: Some(150.0),
            ..Limits::default()
        };
        assert_eq!(
            limits.exceeded(&study),
            ["latency p99 is 200.000 ms, the limit is 150 ms"]
        );
    }

    #[test]
    fn stamps_that_run_backwards_are_an_error_of_the_stamps() {
        let mut study = second();
        let late = Message::Video {
            stamp: unix(0.5),
            label: None,
            width: 1,
            height: 1,
            jpeg: b"".as_slice().into(),
        };
        study.message(&late, unix(1.1));
        let limits = Limits {
            max_stamp_error_ms: Some(10.0),
            ..Limits::default()
        };
        assert_eq!(limits.exceeded(&study), ["1 stamps run backwards"]);
    }

    #[test]
    fn an_absence_is_not_shown_as_packets() {
        let mut study = second();
        gap(&mut study, None, Cause::WorkerRestarted);
        let table = table(&study, 1.0);
        assert!(
            table.contains("video: 1 absence(s) of 1.50 s in all (worker_restarted)"),
            "{table}"
        );
    }
}
