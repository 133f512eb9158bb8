//! Limits and texts of made-up measurements.

use super::*;
use crate::doctor::Limits;
use crate::doctor::stats::PingSample;
use crate::doctor::stats::Stats;
use crate::doctor::test_pattern::test_frame;
use crate::media::{Cause, MediaKind, UnixNs};
use crate::wire::AudioFormat;
use crate::wire::{Event, Gap, Message};

fn unix(seconds: f64) -> UnixNs {
    UnixNs((1_700_000_000_000_000_000 + (seconds * 1e9).round() as i64) as u64)
}

/// One second, equal clocks: 10 frames of the test pattern with a latency of 30 ms, audio with one
/// of 80 ms. The stamps are 5 ms later than the time code.
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
            span_seconds: None,
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
