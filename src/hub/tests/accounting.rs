//! Losses and snapshots.

use super::*;
use crate::hub::losses::LossCounters;

/// A record is in the ring when the last reader leaves.
#[test]
fn hub_record_after_the_last_reader_left_does_not_end_the_pause() {
    let hub = hub();
    let publish = |sequence, source_away| {
        let losses = Losses {
            source_away,
            ..Losses::default()
        };
        hub.publish(
            Encoding::Jpeg,
            &PacketMeta {
                losses,
                ..meta(sequence, FRAME)
            },
            Bytes::new(),
            MonoNs::now(),
        );
    };
    let reader = hub.subscribe(&ask(Delivery::Live)).unwrap();
    publish(0, 0);
    drop(reader);
    publish(1, 0);
    let _reader = hub.subscribe(&ask(Delivery::Live)).unwrap();
    publish(50, 1);
    let video = hub
        .snapshot(MonoNs::now())
        .video
        .expect("there is a camera");
    assert_eq!((video.losses, video.dropped), (LossCounters::default(), 0));
}

#[test]
fn hub_loss_reported_by_two_encodings_is_counted_once() {
    let backlog = Backlog {
        packets: 5,
        bytes: 1 << 20,
    };
    let plan = StreamPlan {
        encodings: vec![Encoding::Jpeg, Encoding::H264],
        fps: Some(50.0),
        backlog,
    };
    let hub = hub_of(Plan {
        video: Some(plan),
        audio: None,
    });
    hub.set_source_state(
        MediaKind::Video,
        WorkerState::Streaming,
        Some(MonoNs(1)),
        Some(INTERVAL),
    );
    let watch = |encoding| {
        let feed = Some(TrackSelector::Encoded(encoding));
        hub.subscribe(&Request {
            video: feed,
            audio: None,
            delivery: Delivery::Live,
            max_fps: None,
            events: false,
        })
        .unwrap()
    };
    let lost = |driver, source_away| Losses {
        driver,
        source_away,
        ..Losses::default()
    };
    // Each encoding has its own numbers.
    let frame = |encoding, at: u64, sequence: u64, losses| {
        let number = if encoding == Encoding::Jpeg {
            sequence
        } else {
            sequence + 700
        };
        let meta = PacketMeta {
            capture_time: MonoNs(at * MS),
            losses,
            ..meta(number, FRAME)
        };
        hub.publish(
            encoding,
            &meta,
            Bytes::from_static(b"jpeg"),
            MonoNs(at * MS),
        );
    };
    let video = || hub.snapshot(MonoNs(5_000 * MS)).video.unwrap();
    let (jpeg, h264) = (watch(Encoding::Jpeg), watch(Encoding::H264));
    for encoding in [Encoding::Jpeg, Encoding::H264] {
        frame(encoding, 1_000, 0, lost(0, 0));
        frame(encoding, 1_080, 4, lost(3, 0));
    }
    for encoding in [Encoding::H264, Encoding::Jpeg] {
        frame(encoding, 3_100, 5, lost(3, 1));
    }
    let seen = video();
    assert_eq!(totals(&seen, Cause::Driver).packets, 3, "{seen:?}");
    let away = totals(&seen, Cause::SourceAway);
    assert_eq!(
        (away.outages, away.outage_time),
        (1, Duration::from_secs(2)),
        "{seen:?}"
    );
    // What each ring lost is counted for each; what the device lost at the same time, once.
    frame(Encoding::Jpeg, 3_200, 8, lost(3, 1));
    frame(Encoding::H264, 3_220, 10, lost(4, 1));
    frame(Encoding::Jpeg, 3_220, 10, lost(4, 1));
    let seen = video();
    assert_eq!(totals(&seen, Cause::Ring).packets, 2 + 3, "{seen:?}");
    assert_eq!(totals(&seen, Cause::Driver).packets, 4, "{seen:?}");
    // One reader alone is enough to count it.
    drop(h264);
    frame(Encoding::Jpeg, 3_260, 12, lost(5, 1));
    drop(jpeg);
    let _h264 = watch(Encoding::H264);
    frame(Encoding::H264, 3_280, 13, lost(5, 1));
    frame(Encoding::H264, 3_320, 15, lost(6, 1));
    assert_eq!(totals(&video(), Cause::Driver).packets, 6);
}

#[test]
fn hub_losses_of_a_slow_viewer_and_of_the_source_are_separate() {
    let hub = hub();
    let live = hub.subscribe(&ask(Delivery::Live)).unwrap();
    video(&hub, 0);
    drain(&live);
    video(&hub, 1);
    let mut lossy = meta(5, FRAME);
    lossy.losses.driver = 3;
    hub.publish(Encoding::Jpeg, &lossy, Bytes::new(), MonoNs::now());
    lossy.sequence = 8;
    lossy.capture_time = MonoNs(8 * 20 * MS);
    lossy.losses.driver = 4;
    hub.publish(Encoding::Jpeg, &lossy, Bytes::new(), MonoNs::now());
    let Some(Item::Packet { gaps, .. }) = live.take(true) else {
        panic!("no packet")
    };
    assert_eq!(
        gaps,
        [
            packets(Cause::Driver, 4, 120),
            packets(Cause::Ring, 1, 40),
            packets(Cause::ViewerQueue, 2, 140)
        ]
    );
    assert_eq!(hub.snapshot(MonoNs::now()).video.unwrap().dropped, 2);
}

#[test]
fn hub_span_of_a_source_s_gap_is_the_same_for_all_readers() {
    let hub = hub();
    let every = hub.subscribe(&ask(Delivery::All)).unwrap();
    let thinned = hub
        .subscribe(&Request {
            max_fps: Some(25.0),
            ..ask(Delivery::All)
        })
        .unwrap();
    // The ring lost 2 and 3. 25 of 50 fps: one reader does not want 1, which is not a loss.
    [0, 1, 4].into_iter().for_each(|k| video(&hub, k));
    for (reader, received) in [(every, 3), (thinned, 2)] {
        let taken: Vec<_> = std::iter::from_fn(|| reader.take(true)).collect();
        assert_eq!(taken.len(), received);
        let Some(Item::Packet { gaps, .. }) = taken.last() else {
            panic!("no packet")
        };
        assert_eq!(*gaps, [packets(Cause::Ring, 2, 60)]);
    }
}

#[test]
fn snapshot_track_read_by_webrtc_alone_is_included() {
    let backlog = Backlog {
        packets: 50,
        bytes: 1 << 20,
    };
    let video = Some(StreamPlan {
        encodings: vec![Encoding::Jpeg, Encoding::H264],
        fps: Some(50.0),
        backlog,
    });
    let hub = hub_of(Plan { video, audio: None });
    let _watching = hub
        .subscribe(&Request {
            video: Some(TrackSelector::Encoded(Encoding::H264)),
            ..ask(Delivery::Live)
        })
        .unwrap();
    for sequence in [0, 1, 2, 6] {
        hub.publish(
            Encoding::H264,
            &meta(sequence, FRAME),
            Bytes::from_static(b"h264"),
            MonoNs(u64::MAX / 2),
        );
    }
    let video = hub.snapshot(MonoNs(150 * MS)).video.unwrap();
    assert_eq!(
        (video.last_sequence, totals(&video, Cause::Ring).packets),
        (Some(6), 3)
    );
    assert!(video.measured_fps.is_some());
}
