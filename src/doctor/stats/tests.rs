//! Statistics of made-up streams.

use super::*;
use crate::media::Cause;
use crate::wire::{Gap, Label};

const SECOND: u64 = 1_000_000_000;

fn frame(at: f64) -> Message<'static> {
    Message::Video {
        stamp: unix(at),
        label: None,
        width: 640,
        height: 480,
        jpeg: b"not a JPEG".as_slice().into(),
    }
}
fn unix(seconds: f64) -> UnixNs {
    UnixNs(1_700_000_000 * SECOND + (seconds * 1e9) as u64)
}

#[test]
fn latency_is_measured_by_the_servers_clock() {
    let mut stats = Stats::default();
    // The server's clock is 2 s ahead of ours, 5 ms each way, frames take 30 ms.
    for i in 0..100 {
        let t = f64::from(i) / 10.0;
        stats.add_ping(PingSample {
            asked: unix(t),
            received: unix(t + 2.005),
            sent: unix(t + 2.006),
            answered: unix(t + 0.011),
        });
        stats.add_message(&frame(t + 2.0), unix(t + 0.030));
    }
    let (offset, uncertainty) = stats.clock.offset_ms().expect("there were pings");
    assert!(
        (offset - 2000.0).abs() < 0.01 && (uncertainty - 5.0).abs() < 0.01,
        "{offset} {uncertainty}"
    );
    assert!(
        (stats
            .video
            .latency_ms
            .quantile(0.5)
            .expect("there were frames")
            - 30.0)
            .abs()
            < 0.01
    );
    assert!((stats.video.rate().expect("there were frames") - 10.0).abs() < 1e-6);
}

#[test]
fn latency_with_drifting_clocks_stays_correct() {
    let mut stats = Stats::default();
    for i in 0..36_000 {
        let t = f64::from(i) / 10.0;
        let ahead = t * 100e-6;
        stats.add_ping(PingSample {
            asked: unix(t),
            received: unix(t + ahead + 0.001),
            sent: unix(t + ahead + 0.001),
            answered: unix(t + 0.002),
        });
        stats.add_message(&frame(t + ahead), unix(t + 0.030));
    }
    let worst = stats
        .video
        .latency_ms
        .quantile(1.0)
        .expect("there were frames");
    assert!(
        (worst - 30.0).abs() < 3.1,
        "100 ppm are 360 ms in an hour, 3 ms in the last half minute: {worst}"
    );
}

#[test]
fn delivered_fps_counts_silence() {
    let mut stats = Stats::default();
    stats.advance_to(unix(0.0));
    for i in 0..=30 {
        stats.add_message(&frame(f64::from(i) / 15.0), unix(f64::from(i) / 15.0));
    }
    assert!((stats.delivered_fps().expect("there were frames") - 15.0).abs() < 0.01);
    stats.advance_to(unix(8.0));
    let rate = stats.delivered_fps().expect("there were frames");
    assert!((rate - 30.0 / 7.87).abs() < 0.01, "{rate}");
    assert!(
        (stats
            .longest_silence_ms(&stats.video)
            .expect("there were frames")
            - 6000.0)
            .abs()
            < 1.0
    );
}

#[test]
fn clock_drift_is_the_slope_of_the_offsets() {
    let mut stats = Stats::default();
    for i in 0..300 {
        let t = f64::from(i) / 10.0;
        let ahead = 1.0 + t * 50e-6;
        stats.add_ping(PingSample {
            asked: unix(t),
            received: unix(t + ahead),
            sent: unix(t + ahead),
            answered: unix(t),
        });
    }
    let (drift, error) = stats.clock.drift_ppm().expect("there are enough pings");
    assert!((drift - 50.0).abs() < 0.5 && error < 0.5, "{drift} {error}");
}

#[test]
fn gaps_are_counted_by_stream_and_cause() {
    let mut stats = Stats::default();
    let gap = |count: Option<u64>, cause: Cause| Event::Gap {
        stream: MediaKind::Video,
        gap: Gap {
            count,
            seconds: count.is_none().then_some(1.5),
            span_seconds: None,
            cause: cause.into(),
        },
    };
    for event in [
        gap(Some(3), Cause::Driver),
        gap(Some(4), Cause::Driver),
        gap(None, Cause::SourceAway),
    ] {
        stats.add_message(
            &Message::Event {
                stamp: unix(0.0),
                event,
            },
            unix(0.0),
        );
    }
    assert_eq!(stats.total_losses(), 8);
    let away = stats
        .losses
        .iter()
        .find(|(_, cause, _)| **cause == Cause::SourceAway.into())
        .expect("an entry");
    assert_eq!((away.2.outages, away.2.seconds), (1, 1.5));
}

#[test]
fn unreported_losses_are_skipped_numbers_without_a_gap_event() {
    let mut stats = Stats::default();
    let numbered = |sequence| Message::Audio {
        stamp: unix(f64::from(sequence)),
        label: Some(Label {
            sequence,
            gap: false,
        }),
        format: Some(AudioFormat {
            rate_hz: 48_000,
            channels: 1,
        }),
        pcm: [0; 2].as_slice().into(),
    };
    stats.add_message(&numbered(10), unix(10.0));
    stats.add_message(
        &Message::Event {
            stamp: unix(13.0),
            event: Event::Gap {
                stream: MediaKind::Audio,
                gap: Gap {
                    count: Some(2),
                    seconds: None,
                    span_seconds: None,
                    cause: Cause::Ring.into(),
                },
            },
        },
        unix(13.0),
    );
    stats.add_message(&numbered(13), unix(13.0));
    assert_eq!(stats.audio.unreported, 0);
    stats.add_message(&numbered(17), unix(17.0));
    assert_eq!(
        (stats.audio.unreported, stats.total_losses()),
        (3, 5),
        "reported and unreported losses both count"
    );
}

#[test]
fn unreported_losses_exclude_decimated_frames() {
    let mut stats = Stats {
        is_decimated: true,
        ..Stats::default()
    };
    for sequence in [1, 4, 7] {
        let stamp = unix(f64::from(sequence));
        let label = Some(Label {
            sequence,
            gap: false,
        });
        stats.add_message(
            &Message::Video {
                stamp,
                label,
                width: 1,
                height: 1,
                jpeg: b"".as_slice().into(),
            },
            stamp,
        );
    }
    assert_eq!(stats.total_losses(), 0);
}

#[test]
fn non_monotonic_excludes_clock_steps() {
    let mut stats = Stats::default();
    stats.add_message(&frame(10.0), unix(10.0));
    stats.add_message(
        &Message::Event {
            stamp: unix(0.0),
            event: Event::ClockStep {
                stream: MediaKind::Video,
                seconds: -10.0,
            },
        },
        unix(10.0),
    );
    stats.add_message(&frame(0.1), unix(10.1));
    assert_eq!((stats.video.non_monotonic, stats.clock_steps()), (0, 1));
    stats.add_message(&frame(0.0), unix(10.2));
    assert_eq!(stats.video.non_monotonic, 1);
}

/// Debug builds check for overflow.
#[test]
fn extreme_numbers_of_a_server_do_not_overflow() {
    let mut stats = Stats::default();
    let extremes = [0, 1, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX];
    let now = unix(0.0);
    for stamp in extremes.map(UnixNs) {
        for other in extremes.map(UnixNs) {
            stats.add_ping(PingSample {
                asked: now,
                received: stamp,
                sent: other,
                answered: now,
            });
            for stamp in [stamp, other] {
                let label = Some(Label {
                    sequence: stamp.0 as u32,
                    gap: true,
                });
                let frame = super::super::test_pattern::test_frame(stamp, true);
                let video = Message::Video {
                    stamp,
                    label,
                    width: u16::MAX,
                    height: 0,
                    jpeg: frame.as_slice().into(),
                };
                stats.add_message(&video, now);
                for (rate_hz, channels) in [(0, 0), (1, u16::MAX), (u32::MAX, 1)] {
                    let audio = Message::Audio {
                        stamp,
                        label,
                        format: Some(AudioFormat { rate_hz, channels }),
                        pcm: [0x7f; 64].as_slice().into(),
                    };
                    stats.add_message(&audio, now);
                }
                let gap = Gap {
                    count: Some(stamp.0),
                    seconds: Some(f64::MAX),
                    span_seconds: None,
                    cause: Cause::Ring.into(),
                };
                for stream in [MediaKind::Video, MediaKind::Audio] {
                    let gap = gap.clone();
                    let event = Event::Gap { stream, gap };
                    stats.add_message(&Message::Event { stamp, event }, now);
                }
            }
        }
    }
    assert_eq!(stats.total_losses(), u64::MAX);
    crate::doctor::report::table(&stats, 0.0);
    crate::doctor::report::progress(&stats, 0);
    crate::doctor::report::json(&stats, 0.0, &[]);
}
