//! Events and stamps.

use super::*;
use std::collections::BTreeMap;

#[test]
fn events_are_delivered_between_the_packets_where_they_happened() {
    let hub = hub();
    let all = hub.subscribe(&ask(Delivery::All)).unwrap();
    let quiet = hub
        .subscribe(&Request {
            events: false,
            ..ask(Delivery::All)
        })
        .unwrap();
    let at = MonoNs(1);
    hub.set_source_state(MediaKind::Video, WorkerState::Streaming, Some(at), None);
    video(&hub, 0);
    hub.set_source_state(
        MediaKind::Video,
        WorkerState::WaitingForDevice,
        Some(at),
        None,
    );
    hub.set_source_state(
        MediaKind::Video,
        WorkerState::WaitingForDevice,
        Some(at),
        None,
    );
    hub.set_source_state(MediaKind::Video, WorkerState::Starting, Some(at), None);
    hub.set_source_state(MediaKind::Video, WorkerState::Streaming, Some(at), None);
    video(&hub, 1);
    observe(&hub, clocks(50, 1_500));
    let mut wider = meta(
        2,
        Shape::Video {
            width: 128,
            height: 96,
        },
    );
    wider.losses.source_away = 1;
    hub.publish(Encoding::Jpeg, &wider, Bytes::new(), MonoNs::now());
    let mut seen = Vec::new();
    while let Some(item) = all.take(true) {
        seen.push(match item {
            Item::Packet {
                packet,
                gaps,
                format_changed,
            } => format!("packet {} {} {format_changed}", packet.sequence, gaps.len()),
            Item::Event(StampedEvent { event, .. }) => format!("{event:?}"),
        });
    }
    let expected = [
        "packet 0 0 false",
        "SourceLost { stream: Video }",
        "SourceBack { stream: Video }",
        "packet 1 0 false",
        "ClockStep { stream: Video, seconds: 1.5 }",
        "packet 2 1 true",
    ];
    assert_eq!(seen, expected);
    assert_eq!(drain(&quiet).len(), 3);
}

/// A worker that was killed streams again within milliseconds: nobody may have seen it start.
#[test]
fn source_restart_between_two_looks_is_lost_and_back() {
    let hub = hub();
    let viewer = hub.subscribe(&ask(Delivery::Live)).unwrap();
    let streams_since = |ms: u64| {
        hub.set_source_state(
            MediaKind::Video,
            WorkerState::Streaming,
            Some(MonoNs(ms * MS)),
            None,
        )
    };
    streams_since(1_000);
    streams_since(1_000);
    assert!(viewer.take(true).is_none(), "a source that was never away");
    streams_since(5_000);
    streams_since(5_000);
    let events: Vec<_> = std::iter::from_fn(|| viewer.take(true)).collect();
    let [Item::Event(lost), Item::Event(back)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        lost.event,
        Event::SourceLost {
            stream: MediaKind::Video
        }
    );
    assert_eq!(
        back.event,
        Event::SourceBack {
            stream: MediaKind::Video
        }
    );
    assert_eq!(back.stamp.0, 5_000 * MS);
}

#[test]
fn subscription_to_a_lost_source_is_told_so() {
    let hub = hub();
    hub.set_source_state(
        MediaKind::Audio,
        WorkerState::WaitingForDevice,
        Some(MonoNs(1)),
        None,
    );
    let late = hub.subscribe(&ask(Delivery::Live)).unwrap();
    let Some(Item::Event(event)) = late.take(true) else {
        panic!("no event")
    };
    assert_eq!(
        event.event,
        Event::SourceLost {
            stream: MediaKind::Audio
        }
    );
    assert!(late.take(true).is_none());
}

/// The page does so while it plays by WebRTC. No packet arrives that the step could precede.
#[test]
fn subscription_events_only_gets_a_clock_step_at_once_for_both_streams() {
    let hub = hub();
    observe(&hub, clocks(0, 1_000));
    let bare = hub
        .subscribe(&Request {
            video: None,
            audio: None,
            ..ask(Delivery::Live)
        })
        .unwrap();
    observe(&hub, clocks(100, 3_500));
    video(&hub, 0);
    let events: Vec<_> = std::iter::from_fn(|| bare.take(true)).collect();
    let [Item::Event(video), Item::Event(audio)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        video.event,
        Event::ClockStep {
            stream: MediaKind::Video,
            seconds: 2.5
        }
    );
    assert_eq!(
        audio.event,
        Event::ClockStep {
            stream: MediaKind::Audio,
            seconds: 2.5
        }
    );
    assert_eq!(video.stamp.0, 3_600 * MS, "in the new time");
}

#[test]
fn events_flood_is_bounded() {
    let hub = hub();
    let idle = hub.subscribe(&ask(Delivery::Live)).unwrap();
    for k in 0..1000 {
        observe(&hub, clocks(20 * k, 1_000 * (k % 2 + 1)));
        video(&hub, k);
    }
    assert_eq!(std::iter::from_fn(|| idle.take(true)).count(), 32 + 1);
}

#[test]
fn stamps_grow_between_steps_and_follow_a_step() {
    let hub = hub();
    let all = hub.subscribe(&ask(Delivery::All)).unwrap();
    let stamps = || -> Vec<u64> {
        std::iter::from_fn(|| all.take(true))
            .filter_map(|item| {
                if let Item::Packet { packet, .. } = item {
                    Some(packet.stamp.0)
                } else {
                    None
                }
            })
            .collect()
    };
    observe(&hub, clocks(10, 1_000_000));
    video(&hub, 0);
    video(&hub, 1);
    assert_eq!(stamps(), [1_000_020 * MS, 1_000_040 * MS]);
    observe(&hub, clocks(50, 500_000));
    video(&hub, 2);
    assert_eq!(
        stamps(),
        [500_060 * MS],
        "a clock that is set back sets the stamps back"
    );
    assert_eq!(
        hub.clock().unix(MonoNs(60 * MS)).0,
        500_060 * MS,
        "every output maps as the packets were"
    );
}

/// Video arrives 130 ms after its capture, audio 30 ms after; the clock is sampled every 100 ms and
/// set now and then.
#[test]
fn clock_step_is_delivered_between_the_last_old_and_the_first_new_stamp() {
    let offset_ms = |at_ms: u64| match at_ms {
        0..2_050 => 1_000_000_u64,
        2_050..3_010 => 4_600_000, // an hour forward
        3_010..4_000 => 1_000_000, // and back
        4_000..4_120 => 1_000_003,
        _ => 999_990, // twice while frames are in the encoder
    };
    let hub = hub();
    observe(&hub, clocks(0, offset_ms(0)));
    let both = hub.subscribe(&ask(Delivery::All)).unwrap();
    let alone = hub
        .subscribe(&Request {
            audio: None,
            max_fps: Some(10.0),
            ..ask(Delivery::Live)
        })
        .unwrap();
    let resampled = AudioFormat {
        rate_hz: Some(16_000),
        channels: None,
    };
    let resampled = hub
        .subscribe(&Request {
            video: None,
            audio: Some(TrackSelector::Transcoded(resampled)),
            ..ask(Delivery::All)
        })
        .expect("there is room");
    let quiet = hub
        .subscribe(&Request {
            events: false,
            ..ask(Delivery::All)
        })
        .unwrap();
    // Per viewer and stream: stamp minus capture time, ms, of each packet, and the reported steps.
    type Seen = BTreeMap<&'static str, (Vec<i64>, Vec<i64>)>;
    let mut seen: [Seen; 4] = Default::default();
    for at_ms in 0..6_000 {
        if at_ms % 100 == 0 {
            observe(&hub, clocks(at_ms, offset_ms(at_ms)));
        }
        let capture_time = |behind: u64| {
            at_ms
                .checked_sub(behind)
                .filter(|t| t % 20 == 0)
                .map(|t| (t / 20, MonoNs(at_ms * MS)))
        };
        if let Some((k, now)) = capture_time(130) {
            hub.publish(
                Encoding::Jpeg,
                &PacketMeta {
                    capture_time: MonoNs(k * 20 * MS),
                    ..meta(k, FRAME)
                },
                Bytes::from_static(b"jpeg"),
                now,
            );
        }
        if let Some((k, now)) = capture_time(30) {
            let sound = PacketMeta {
                capture_time: MonoNs(k * 20 * MS),
                ..meta(k, AUDIO)
            };
            hub.publish(Encoding::Pcm, &sound, vec![0; AUDIO_BYTES].into(), now);
        }
        for (viewer, seen) in [&both, &alone, &resampled, &quiet]
            .into_iter()
            .zip(&mut seen)
        {
            while let Some(item) = viewer.take(true) {
                match item {
                    Item::Packet { packet, .. } => {
                        let stream = if packet.encoding == Encoding::Jpeg {
                            "video"
                        } else {
                            "audio"
                        };
                        let (offsets, steps) = seen.entry(stream).or_default();
                        offsets.push(
                            ((packet.stamp.0 - packet.capture_time.0) / MS) as i64
                                - steps.iter().sum::<i64>(),
                        );
                    }
                    Item::Event(StampedEvent {
                        event: Event::ClockStep { stream, seconds },
                        ..
                    }) => {
                        let stream = if stream == MediaKind::Video {
                            "video"
                        } else {
                            "audio"
                        };
                        seen.entry(stream)
                            .or_default()
                            .1
                            .push((seconds * 1e3).round() as i64);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    let expected = vec![3_600_000, -3_600_000, 3, -13];
    let [both, alone, resampled, quiet] = seen;
    for (stream, (offsets, steps)) in both.iter().chain(&alone).chain(&resampled) {
        assert_eq!(*steps, expected, "{stream}");
        assert!(offsets.len() > 40, "{stream}: {} packets", offsets.len());
        // Minus all steps reported so far, every difference is the same: no packet is on the wrong
        // side of a step.
        let wrong: Vec<_> = offsets.iter().filter(|left| **left != 1_000_000).collect();
        assert!(wrong.is_empty(), "{stream}: {wrong:?}");
    }
    assert_eq!((both.len(), alone.len(), resampled.len()), (2, 1, 1));
    assert!(
        quiet
            .values()
            .all(|(offsets, steps)| steps.is_empty() && offsets.len() > 250),
        "who asks for no events gets none"
    );
}

#[test]
fn two_hubs_agree_about_every_stamp_and_both_report_each_step() {
    let clock = Arc::new(Clock::new(clocks(0, 1_000_000)));
    let camera = |name| {
        let plan = hub_plan();
        Arc::new(Hub::new(CameraId::new(name).unwrap(), plan, clock.clone()))
    };
    let hubs = Hubs::new(camera("left"), [camera("right")]);
    assert_eq!(hubs.names().collect::<Vec<_>>(), ["left", "right"]);
    assert_eq!(hubs.default_hub().camera().as_str(), "left");
    assert!(hubs.get("right").is_some() && hubs.get("middle").is_none());
    let viewers: Vec<_> = hubs
        .iter()
        .map(|hub| hub.subscribe(&ask(Delivery::All)).unwrap())
        .collect();
    let mut seen = [vec![], vec![]];
    for k in 0..200 {
        let at_ms = (k + 1) * 20;
        // A clock that slews, and is set every second.
        let offset_ms = 1_000_000 + at_ms / 100 + at_ms / 1_000 * 60_000;
        if at_ms % 100 == 0
            && let Some(step) = clock.observe(clocks(at_ms, offset_ms))
        {
            hubs.clock_stepped(step);
        }
        hubs.iter().for_each(|hub| video(hub, k));
        for (viewer, seen) in viewers.iter().zip(&mut seen) {
            seen.extend(
                std::iter::from_fn(|| viewer.take(true)).map(|item| match item {
                    Item::Packet { packet, .. } => (packet.stamp, None),
                    Item::Event(StampedEvent { stamp, event }) => (stamp, Some(event)),
                }),
            );
        }
    }
    assert_eq!(seen[0], seen[1]);
    let steps = seen[0].iter().filter(|(_, event)| event.is_some()).count();
    assert_eq!((seen[0].len(), steps), (200 + 4, 4));
}
