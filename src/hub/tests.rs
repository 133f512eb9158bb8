//! The hub's pure parts, as tables and properties; and the hub itself without a socket.

use super::fps_meter::Meter;
use super::sequencer::Intake;
use super::*;
use crate::media::{Cause, Losses, Shape};
use crate::wire::Delivery;
use crate::wire::event::EventShape;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::task::{Context, Waker};

const MS: u64 = 1_000_000;
/// Between two packets of the tests' sources.
const INTERVAL: Duration = Duration::from_millis(20);
/// Sound of exactly that length.
const SOUND: Shape = Shape::Audio {
    rate_hz: 48_000,
    channels: 1,
};
const SOUND_BYTES: usize = 48_000 / 50 * 2;
const PICTURE: Shape = Shape::Video {
    width: 64,
    height: 48,
};

fn meta(sequence: u64, shape: Shape) -> PacketMeta {
    PacketMeta {
        generation: 1,
        sequence,
        capture_time: MonoNs((sequence + 1).saturating_mul(INTERVAL.as_nanos() as u64)),
        shape,
        keyframe: true,
        losses: Losses::default(),
    }
}

/// A look at the clocks that took no time.
fn clocks(at_ms: u64, offset_ms: u64) -> Sample {
    let at = MonoNs(at_ms * MS);
    Sample {
        before: at,
        unix: UnixNs(at.0 + offset_ms * MS),
        after: at,
    }
}

/// The gaps that a source's losses make between two records.
fn gaps_between(first: PacketMeta, second: PacketMeta) -> Vec<Gap> {
    let mut intake = Intake::default();
    let now = MonoNs(u64::MAX / 2);
    let before = intake.accept(&first, INTERVAL, now);
    let after = intake.accept(&second, INTERVAL, now);
    assert!(after.plausible, "{second:?}");
    after.missing.since(&before.missing)
}

fn packets(cause: Cause, count: u64) -> Gap {
    Gap {
        cause,
        count: Some(count),
        seconds: None,
    }
}

fn absence(cause: Cause, seconds: f64) -> Gap {
    Gap {
        cause,
        count: None,
        seconds: Some(seconds),
    }
}

#[test]
fn a_jump_is_explained_by_its_losses_and_the_rest_is_the_rings() {
    let first = meta(10, PICTURE);
    assert_eq!(gaps_between(first, meta(11, PICTURE)), []);
    assert_eq!(
        gaps_between(first, meta(14, PICTURE)),
        [packets(Cause::Ring, 3)]
    );
    let mut second = meta(21, PICTURE);
    second.losses = Losses {
        driver: 2,
        corrupt: 1,
        encoder: 4,
        ..Losses::default()
    };
    assert_eq!(
        gaps_between(first, second),
        [
            packets(Cause::Driver, 2),
            packets(Cause::Corrupt, 1),
            packets(Cause::Encoder, 4),
            packets(Cause::Ring, 3)
        ]
    );
}

#[test]
fn an_absence_has_its_length_in_seconds_and_no_count() {
    let first = meta(10, SOUND);
    let mut second = meta(11, SOUND);
    second.capture_time = second.capture_time + Duration::from_millis(300);
    second.losses.xrun = 1;
    assert_eq!(gaps_between(first, second), [absence(Cause::Xrun, 0.3)]);
    second.losses = Losses {
        source_away: 1,
        ..Losses::default()
    };
    assert_eq!(
        gaps_between(first, second),
        [absence(Cause::SourceAway, 0.3)]
    );
}

#[test]
fn a_restart_that_lost_nothing_is_no_gap() {
    let first = meta(10, SOUND);
    let second = PacketMeta {
        generation: 2,
        ..meta(11, SOUND)
    };
    assert_eq!(gaps_between(first, second), []);
}

#[test]
fn a_restarted_worker_counts_anew_and_its_unread_packets_are_named() {
    let mut first = meta(10, PICTURE);
    first.losses.driver = 500;
    let mut second = meta(15, PICTURE);
    second.generation = 2;
    second.losses.driver = 1;
    second.capture_time = second.capture_time + Duration::from_secs(2);
    let gaps = gaps_between(first, second);
    assert_eq!(
        gaps,
        [
            packets(Cause::Driver, 1),
            packets(Cause::WorkerRestarted, 3),
            absence(Cause::WorkerRestarted, 2.0)
        ]
    );
}

/// It was killed between handing them over and noting their numbers.
#[test]
fn packets_that_a_killed_worker_had_not_noted_are_numbered_on() {
    let mut intake = Intake::default();
    let mut accept = |generation, sequence, at_ms: u64| {
        let meta = PacketMeta {
            generation,
            capture_time: MonoNs(at_ms * 1_000_000),
            ..meta(sequence, PICTURE)
        };
        let accepted = intake.accept(&meta, INTERVAL, meta.capture_time);
        (accepted.sequence, accepted.plausible)
    };
    assert_eq!(accept(1, 7, 1000), (7, true));
    assert_eq!(accept(1, 8, 1100), (8, true));
    // Two numbers again; what follows them stays in step.
    assert_eq!(accept(2, 7, 1500), (9, true));
    assert_eq!(accept(2, 8, 1600), (10, true));
    assert_eq!(
        accept(3, 9, 2000),
        (11, true),
        "the next life begins where it should"
    );
    assert_eq!(
        accept(3, 9, 2100),
        (12, false),
        "within one life no number comes twice"
    );
}

/// The worker was killed between a packet and its note, and nobody watched when the next one began.
#[test]
fn numbers_used_again_after_a_pause_are_numbered_on() {
    let mut intake = Intake::default();
    let now = MonoNs(u64::MAX / 2);
    let before = intake.accept(&meta(8, PICTURE), INTERVAL, now);
    intake.pause();
    let again = PacketMeta {
        generation: 2,
        capture_time: MonoNs(2_000 * MS),
        ..meta(8, PICTURE)
    };
    let after = intake.accept(&again, INTERVAL, now);
    assert_eq!(
        (after.sequence, after.plausible, &after.missing),
        (9, true, &before.missing)
    );
    let next = PacketMeta {
        sequence: 9,
        capture_time: MonoNs(2_100 * MS),
        ..again
    };
    let next = intake.accept(&next, INTERVAL, now);
    assert_eq!(
        (next.sequence, next.plausible, &next.missing),
        (10, true, &before.missing)
    );
    // The same life cannot use a number twice, paused or not.
    intake.pause();
    let same = PacketMeta {
        sequence: 9,
        capture_time: MonoNs(2_200 * MS),
        ..again
    };
    let same = intake.accept(&same, INTERVAL, now);
    assert_eq!((same.sequence, same.plausible), (11, false));
}

/// Found by the fuzzer: ours less the worker's is negative here, and the sum of a small number and it wrapped around.
#[test]
fn a_number_that_falls_after_a_pause_is_numbered_anew() {
    let mut intake = Intake::default();
    let mut accept = |sequence, at_ms: u64, pause: bool| {
        if pause {
            intake.pause();
        }
        let meta = PacketMeta {
            capture_time: MonoNs(at_ms * MS),
            ..meta(sequence, PICTURE)
        };
        let accepted = intake.accept(&meta, INTERVAL, meta.capture_time);
        (accepted.sequence, accepted.plausible)
    };
    assert_eq!(accept(1_000, 1_000, false), (1_000, true));
    assert_eq!(accept(1 << 30, 1_100, false), (1_001, false));
    assert_eq!(accept(5, 1_200, true), (1_002, false));
    assert_eq!(accept(6, 1_300, false), (1_003, true));
}

#[test]
fn a_label_that_cannot_be_true_is_numbered_anew() {
    let now = MonoNs(10_000 * MS);
    let good = meta(10, PICTURE);
    let mut backwards = meta(3, PICTURE);
    backwards.capture_time = MonoNs(300 * MS);
    let mut far = meta(10_000_000_000, PICTURE);
    far.capture_time = MonoNs(320 * MS);
    let mut older_life = meta(11, PICTURE);
    older_life.generation = 0;
    let mut fewer_losses = meta(11, PICTURE);
    let mut lossy = good;
    lossy.losses.driver = 5;
    fewer_losses.losses.driver = 4;
    for (first, bad) in [
        (good, backwards),
        (good, far),
        (good, older_life),
        (lossy, fewer_losses),
        (good, good),
    ] {
        let mut intake = Intake::default();
        let before = intake.accept(&first, INTERVAL, now);
        let after = intake.accept(&bad, INTERVAL, now);
        assert!(!after.plausible, "{bad:?}");
        assert_eq!(after.sequence, before.sequence + 1);
        let gaps = after.missing.since(&before.missing);
        assert!(
            matches!(
                gaps[..],
                [Gap {
                    cause: Cause::Corrupt,
                    count: None,
                    seconds: Some(_)
                }]
            ),
            "{gaps:?}"
        );
        let mut next = bad;
        next.sequence += 2;
        let next = intake.accept(&next, INTERVAL, now);
        assert!(
            next.plausible,
            "the worker's numbers go on from where they are"
        );
        assert_eq!(next.sequence, after.sequence + 2);
    }
}

#[test]
fn what_was_lost_while_nobody_read_is_no_gap() {
    let mut intake = Intake::default();
    let now = MonoNs(u64::MAX / 2);
    let before = intake.accept(&meta(0, PICTURE), INTERVAL, now);
    intake.pause();
    let after = intake.accept(&meta(50, PICTURE), INTERVAL, now);
    assert_eq!((after.sequence, after.missing), (50, before.missing));
}

/// A record is under way when the last reader leaves.
#[test]
fn what_comes_after_the_last_reader_left_ends_no_pause() {
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
                ..meta(sequence, PICTURE)
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
    let drops = hub
        .info(MonoNs::now())
        .video
        .expect("there is a camera")
        .drops;
    assert!(
        drops.values().all(|d| d.packets == 0 && d.absences == 0),
        "{drops:?}"
    );
}

proptest! {
    /// Whatever a worker that was broken into writes.
    #[test]
    fn numbers_and_times_only_grow(labels in prop::collection::vec(any::<(u8, u64, u64, (u32, u32, u32, u32, u32), bool)>(), 1..40), now: u64) {
        let now = MonoNs(now / 2);
        let mut intake = Intake::default();
        let mut last: Option<sequencer::Accepted> = None;
        for (generation, sequence, capture_time, (driver, corrupt, encoder, xrun, source_away), pause) in labels {
            let losses = Losses { driver, corrupt, encoder, xrun, source_away };
            let meta = PacketMeta { generation: generation.into(), sequence: sequence >> 11, capture_time: MonoNs(capture_time), shape: PICTURE, keyframe: true, losses };
            if pause {
                intake.pause();
            }
            let accepted = intake.accept(&meta, INTERVAL, now);
            if let Some(last) = last {
                prop_assert!(accepted.sequence > last.sequence);
                prop_assert!(accepted.capture_time > last.capture_time);
                let counted: u64 = accepted.missing.since(&last.missing).iter().filter_map(|g| g.count).sum();
                if !pause && accepted.plausible {
                    prop_assert_eq!(accepted.sequence - last.sequence, 1 + counted);
                }
            }
            last = Some(accepted);
        }
    }
}

#[test]
fn the_rate_is_that_of_the_last_frames() {
    let mut meter = Meter::default();
    let at = |k: u64| MonoNs(1_000 * MS + k * 50 * MS);
    let rate = |meter: &Meter, now| meter.rate(now, Duration::from_millis(50));
    assert_eq!(rate(&meter, at(0)), None);
    (0..100).for_each(|k| meter.note(at(k)));
    assert!((rate(&meter, at(100)).unwrap() - 20.0).abs() < 1e-9);
    assert_eq!(rate(&meter, at(1000)), None, "the frames are too long ago");
}

#[test]
fn a_slow_cameras_rate_is_known_all_the_time() {
    let mut meter = Meter::default();
    let interval = Duration::from_secs(10);
    let at = |seconds: u64| MonoNs(seconds * 1_000 * MS);
    meter.note(at(10));
    assert_eq!(meter.rate(at(19), interval), None, "one frame is no rate");
    (2..6).for_each(|k| meter.note(at(10 * k)));
    for late in [50, 59, 65, 75] {
        assert_eq!(meter.rate(at(late), interval), Some(0.1), "after {late} s");
    }
    assert_eq!(
        meter.rate(at(100), interval),
        None,
        "the camera has stalled"
    );
}

// The hub as a whole.

fn hub() -> Arc<Hub> {
    let backlog = Backlog {
        packets: 5,
        bytes: 1 << 20,
    };
    let plan = |encoding| {
        Some(StreamPlan {
            encodings: vec![encoding],
            fps: Some(15.0),
            backlog,
        })
    };
    Arc::new(Hub::new(
        Plan {
            video: plan(Encoding::Jpeg),
            audio: plan(Encoding::Pcm),
        },
        clocks(0, 0),
    ))
}

fn ask(delivery: Delivery) -> Request {
    Request {
        video: Some(Feed::Encoded(Encoding::Jpeg)),
        audio: Some(Feed::Encoded(Encoding::Pcm)),
        delivery,
        max_fps: None,
        events: true,
    }
}

fn video(hub: &Hub, sequence: u64) {
    hub.publish(
        Encoding::Jpeg,
        &meta(sequence, PICTURE),
        Bytes::from_static(b"jpeg"),
        MonoNs::now(),
    );
}

fn sound(hub: &Hub, sequence: u64) {
    hub.publish(
        Encoding::Pcm,
        &meta(sequence, SOUND),
        vec![0; SOUND_BYTES].into(),
        MonoNs::now(),
    );
}

/// Everything that waits, as (stream, sequence, packets reported missing).
fn drain(subscription: &Subscription) -> Vec<(MediaKind, u64, u64)> {
    let mut taken = Vec::new();
    while let Some(item) = subscription.take(true) {
        if let Item::Packet { packet, gaps, .. } = item {
            let missing = gaps.iter().filter_map(|g| g.count).sum();
            taken.push((packet.encoding.kind(), packet.sequence, missing));
        }
    }
    taken
}

#[test]
fn a_loss_that_two_encodings_tell_of_is_counted_once() {
    let backlog = Backlog {
        packets: 5,
        bytes: 1 << 20,
    };
    let plan = StreamPlan {
        encodings: vec![Encoding::Jpeg, Encoding::H264],
        fps: Some(50.0),
        backlog,
    };
    let hub = Arc::new(Hub::new(
        Plan {
            video: Some(plan),
            audio: None,
        },
        clocks(0, 0),
    ));
    hub.set_source(
        MediaKind::Video,
        WorkerState::Streaming,
        Some(MonoNs(1)),
        Some(INTERVAL),
    );
    let watch = |encoding| {
        let feed = Some(Feed::Encoded(encoding));
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
    // The encodings are numbered each by itself: so many apart.
    let frame = |encoding, at: u64, sequence: u64, losses| {
        let number = if encoding == Encoding::Jpeg {
            sequence
        } else {
            sequence + 700
        };
        let meta = PacketMeta {
            capture_time: MonoNs(at * MS),
            losses,
            ..meta(number, PICTURE)
        };
        hub.publish(
            encoding,
            &meta,
            Bytes::from_static(b"picture"),
            MonoNs(at * MS),
        );
    };
    let told = || hub.info(MonoNs(5_000 * MS)).video.unwrap().drops;
    let (jpeg, h264) = (watch(Encoding::Jpeg), watch(Encoding::H264));
    for encoding in [Encoding::Jpeg, Encoding::H264] {
        frame(encoding, 1_000, 0, lost(0, 0));
        frame(encoding, 1_080, 4, lost(3, 0));
    }
    for encoding in [Encoding::H264, Encoding::Jpeg] {
        frame(encoding, 3_100, 5, lost(3, 1));
    }
    let drops = told();
    assert_eq!(
        (
            drops[&Cause::Driver.into()].packets,
            drops[&Cause::SourceAway.into()].absences
        ),
        (3, 1),
        "{drops:?}"
    );
    assert!(
        (drops[&Cause::SourceAway.into()].seconds - 2.0).abs() < 1e-9,
        "{drops:?}"
    );
    // Each ring's own loss is another one; the device's, within the same time, is not.
    frame(Encoding::Jpeg, 3_200, 8, lost(3, 1));
    frame(Encoding::H264, 3_220, 10, lost(4, 1));
    frame(Encoding::Jpeg, 3_220, 10, lost(4, 1));
    let drops = told();
    assert_eq!(
        (
            drops[&Cause::Ring.into()].packets,
            drops[&Cause::Driver.into()].packets
        ),
        (2 + 3, 4),
        "{drops:?}"
    );
    // Who is there alone is enough to tell of it.
    drop(h264);
    frame(Encoding::Jpeg, 3_260, 12, lost(5, 1));
    drop(jpeg);
    let _h264 = watch(Encoding::H264);
    frame(Encoding::H264, 3_280, 13, lost(5, 1));
    frame(Encoding::H264, 3_320, 15, lost(6, 1));
    assert_eq!(told()[&Cause::Driver.into()].packets, 6);
}

#[test]
fn live_is_the_newest_frame_and_half_a_second_of_sound() {
    let hub = hub();
    let live = hub.subscribe(&ask(Delivery::Live)).unwrap();
    video(&hub, 0);
    sound(&hub, 0);
    assert_eq!(
        drain(&live),
        [(MediaKind::Video, 0, 0), (MediaKind::Audio, 0, 0)]
    );
    for k in 1..=100 {
        video(&hub, k);
        sound(&hub, k);
    }
    let taken = drain(&live);
    let frames: Vec<_> = taken.iter().filter(|t| t.0 == MediaKind::Video).collect();
    assert_eq!(frames, [&(MediaKind::Video, 100, 99)]);
    let sound: Vec<_> = taken.iter().filter(|t| t.0 == MediaKind::Audio).collect();
    assert_eq!(sound.len(), 25, "half a second in packets of 20 ms");
    assert_eq!(*sound[0], (MediaKind::Audio, 76, 75));
    assert!(sound[1..].iter().all(|t| t.2 == 0));
}

#[test]
fn all_is_a_backlog_up_to_the_queues_size_in_packets_and_bytes() {
    let hub = hub();
    let all = hub.subscribe(&ask(Delivery::All)).unwrap();
    for k in 0..8 {
        video(&hub, k);
    }
    let numbers: Vec<_> = drain(&all).into_iter().map(|t| (t.1, t.2)).collect();
    assert_eq!(
        numbers,
        [(3, 0), (4, 0), (5, 0), (6, 0), (7, 0)],
        "accounting begins with the first packet received"
    );
    for k in 8..15 {
        video(&hub, k);
    }
    let numbers: Vec<_> = drain(&all).into_iter().map(|t| (t.1, t.2)).collect();
    assert_eq!(numbers, [(10, 2), (11, 0), (12, 0), (13, 0), (14, 0)]);
    // 400 KB each: two fit into a megabyte.
    for k in 15..19 {
        hub.publish(
            Encoding::Jpeg,
            &meta(k, PICTURE),
            vec![0; 400_000].into(),
            MonoNs::now(),
        );
    }
    let numbers: Vec<_> = drain(&all).into_iter().map(|t| (t.1, t.2)).collect();
    assert_eq!(numbers, [(17, 2), (18, 0)]);
}

#[test]
fn a_slow_viewers_loss_and_the_sources_stand_apart() {
    let hub = hub();
    let live = hub.subscribe(&ask(Delivery::Live)).unwrap();
    video(&hub, 0);
    drain(&live);
    video(&hub, 1);
    let mut lossy = meta(5, PICTURE);
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
            packets(Cause::Driver, 4),
            packets(Cause::Ring, 1),
            packets(Cause::ViewerQueue, 2)
        ]
    );
    assert_eq!(
        hub.info(MonoNs::now()).video.unwrap().drops[&Cause::ViewerQueue.into()].packets,
        2
    );
}

#[test]
fn what_is_thinned_is_not_missing() {
    let hub = hub();
    let mut request = ask(Delivery::All);
    request.max_fps = Some(25.0);
    let thinned = hub.subscribe(&request).unwrap();
    (0..4).for_each(|k| video(&hub, k));
    assert_eq!(
        drain(&thinned),
        [(MediaKind::Video, 0, 0), (MediaKind::Video, 2, 0)],
        "25 of 50 fps"
    );
    (4..24).for_each(|k| video(&hub, k));
    let taken = drain(&thinned);
    assert_eq!(
        taken[0],
        (MediaKind::Video, 14, 5),
        "of ten kept, five fit the queue"
    );
    assert_eq!(taken.len(), 5);
}

#[test]
fn only_what_somebody_wants_is_encoded() {
    let hub = hub();
    let wanted = hub.demand(Encoding::Jpeg).unwrap();
    assert!(!wanted.borrow().wanted);
    let mut no_video = ask(Delivery::Live);
    no_video.video = None;
    let listener = hub.subscribe(&no_video).unwrap();
    assert!(!wanted.borrow().wanted);
    let first = hub.subscribe(&ask(Delivery::Live)).unwrap();
    let second = hub.subscribe(&ask(Delivery::Live)).unwrap();
    assert!(wanted.borrow().wanted);
    drop(first);
    assert!(wanted.borrow().wanted);
    drop(second);
    assert!(!wanted.borrow().wanted);
    assert_eq!(hub.viewers(), 1);
    drop(listener);
    assert_eq!(hub.viewers(), 0);
}

#[test]
fn frames_wait_by_the_queues_rules_while_the_window_is_shut() {
    let hub = hub();
    let live = hub.subscribe(&ask(Delivery::Live)).unwrap();
    (0..3).for_each(|k| video(&hub, k));
    sound(&hub, 0);
    let Some(Item::Packet { packet, .. }) = live.take(false) else {
        panic!("no sound")
    };
    assert_eq!(packet.encoding, Encoding::Pcm);
    assert!(live.take(false).is_none());
    assert_eq!(drain(&live), [(MediaKind::Video, 2, 0)]);
}

#[test]
fn what_is_refused_may_still_be_replaced_by_a_newer_one() {
    let hub = hub();
    let live = hub.subscribe(&ask(Delivery::Live)).unwrap();
    let no_room = || {
        live.take_if(&Context::from_waker(Waker::noop()), true, |_| {
            Ok::<_, ()>(false)
        })
    };
    assert_eq!(no_room(), Ok(Taken::Nothing));
    video(&hub, 0);
    drain(&live);
    video(&hub, 1);
    assert_eq!(no_room(), Ok(Taken::Refused));
    video(&hub, 2);
    assert_eq!(no_room(), Ok(Taken::Refused));
    assert_eq!(drain(&live), [(MediaKind::Video, 2, 1)]);
    assert_eq!(no_room(), Ok(Taken::Nothing));
    hub.close();
    assert_eq!(no_room(), Ok(Taken::Closed));
}

#[test]
fn notices_stand_between_the_packets_where_they_happened() {
    let hub = hub();
    let all = hub.subscribe(&ask(Delivery::All)).unwrap();
    let quiet = hub
        .subscribe(&Request {
            events: false,
            ..ask(Delivery::All)
        })
        .unwrap();
    let at = MonoNs(1);
    hub.set_source(MediaKind::Video, WorkerState::Streaming, Some(at), None);
    video(&hub, 0);
    hub.set_source(
        MediaKind::Video,
        WorkerState::WaitingForDevice,
        Some(at),
        None,
    );
    hub.set_source(
        MediaKind::Video,
        WorkerState::WaitingForDevice,
        Some(at),
        None,
    );
    hub.set_source(MediaKind::Video, WorkerState::Starting, Some(at), None);
    hub.set_source(MediaKind::Video, WorkerState::Streaming, Some(at), None);
    video(&hub, 1);
    hub.observe(clocks(50, 1_500));
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
                reshaped,
            } => format!("packet {} {} {reshaped}", packet.sequence, gaps.len()),
            Item::Notice(notice) => notice.event.to_json(),
        });
    }
    let expected = [
        "packet 0 0 false",
        r#"{"event":"source_lost","stream":"video"}"#,
        r#"{"event":"source_back","stream":"video"}"#,
        "packet 1 0 false",
        r#"{"event":"clock_step","stream":"video","seconds":1.5}"#,
        "packet 2 1 true",
    ];
    assert_eq!(seen, expected);
    assert_eq!(drain(&quiet).len(), 3);
    assert_eq!(
        EventShape::from(wider.shape),
        EventShape::Video {
            width: 128,
            height: 96
        }
    );
}

/// A worker that was killed streams again within milliseconds: nobody may have seen it start.
#[test]
fn a_restart_between_two_looks_is_told_as_lost_and_back() {
    let hub = hub();
    let viewer = hub.subscribe(&ask(Delivery::Live)).unwrap();
    let streams_since = |ms: u64| {
        hub.set_source(
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
    let told: Vec<_> = std::iter::from_fn(|| viewer.take(true)).collect();
    let [Item::Notice(lost), Item::Notice(back)] = &told[..] else {
        panic!("{told:?}")
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
fn who_comes_while_a_source_is_away_is_told_so() {
    let hub = hub();
    hub.set_source(
        MediaKind::Audio,
        WorkerState::WaitingForDevice,
        Some(MonoNs(1)),
        None,
    );
    let late = hub.subscribe(&ask(Delivery::Live)).unwrap();
    let Some(Item::Notice(notice)) = late.take(true) else {
        panic!("no notice")
    };
    assert_eq!(
        notice.event,
        Event::SourceLost {
            stream: MediaKind::Audio
        }
    );
    assert!(late.take(true).is_none());
}

/// The page does while its picture comes by WebRTC. No packet will come that the step could stand before.
#[test]
fn who_asks_for_events_alone_is_told_of_a_clock_step_at_once_and_of_both_streams() {
    let hub = hub();
    hub.observe(clocks(0, 1_000));
    let bare = hub
        .subscribe(&Request {
            video: None,
            audio: None,
            ..ask(Delivery::Live)
        })
        .unwrap();
    hub.observe(clocks(100, 3_500));
    video(&hub, 0);
    let told: Vec<_> = std::iter::from_fn(|| bare.take(true)).collect();
    let [Item::Notice(video), Item::Notice(audio)] = &told[..] else {
        panic!("{told:?}")
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
fn a_notice_flood_is_bounded() {
    let hub = hub();
    let idle = hub.subscribe(&ask(Delivery::Live)).unwrap();
    for k in 0..1000 {
        hub.observe(clocks(20 * k, 1_000 * (k % 2 + 1)));
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
    hub.observe(clocks(10, 1_000_000));
    video(&hub, 0);
    video(&hub, 1);
    assert_eq!(stamps(), [1_000_020 * MS, 1_000_040 * MS]);
    hub.observe(clocks(50, 500_000));
    video(&hub, 2);
    assert_eq!(
        stamps(),
        [500_060 * MS],
        "a clock that is set back sets the stamps back"
    );
    assert_eq!(
        hub.unix(MonoNs(60 * MS)).0,
        500_060 * MS,
        "every output maps as the packets were"
    );
}

/// Pictures are told 130 ms after their capture, sound 30 ms after; the clock is looked at each 100 ms and set now and then.
#[test]
fn a_clock_step_is_told_between_the_last_old_stamp_and_the_first_new_one() {
    let offset_ms = |at_ms: u64| match at_ms {
        0..2_050 => 1_000_000_u64,
        2_050..3_010 => 4_600_000, // an hour forward
        3_010..4_000 => 1_000_000, // and back
        4_000..4_120 => 1_000_003,
        _ => 999_990, // twice within the pictures' way through the encoder
    };
    let hub = hub();
    hub.observe(clocks(0, offset_ms(0)));
    let both = hub.subscribe(&ask(Delivery::All)).unwrap();
    let alone = hub
        .subscribe(&Request {
            audio: None,
            max_fps: Some(10.0),
            ..ask(Delivery::Live)
        })
        .unwrap();
    let resampled = View {
        rate_hz: Some(16_000),
        channels: None,
    };
    let resampled = hub
        .subscribe(&Request {
            video: None,
            audio: Some(Feed::Viewed(resampled)),
            ..ask(Delivery::All)
        })
        .expect("there is room");
    let quiet = hub
        .subscribe(&Request {
            events: false,
            ..ask(Delivery::All)
        })
        .unwrap();
    // Per viewer and stream: the stamp less the capture instant, ms, of each packet, and the steps told of.
    type Seen = BTreeMap<&'static str, (Vec<i64>, Vec<i64>)>;
    let mut seen: [Seen; 4] = Default::default();
    for at_ms in 0..6_000 {
        if at_ms % 100 == 0 {
            hub.observe(clocks(at_ms, offset_ms(at_ms)));
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
                    ..meta(k, PICTURE)
                },
                Bytes::from_static(b"jpeg"),
                now,
            );
        }
        if let Some((k, now)) = capture_time(30) {
            let sound = PacketMeta {
                capture_time: MonoNs(k * 20 * MS),
                ..meta(k, SOUND)
            };
            hub.publish(Encoding::Pcm, &sound, vec![0; SOUND_BYTES].into(), now);
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
                    Item::Notice(Notice {
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
    let told = vec![3_600_000, -3_600_000, 3, -13];
    let [both, alone, resampled, quiet] = seen;
    for (stream, (offsets, steps)) in both.iter().chain(&alone).chain(&resampled) {
        assert_eq!(*steps, told, "{stream}");
        assert!(offsets.len() > 40, "{stream}: {} packets", offsets.len());
        // With all steps told so far taken off, nothing is left of them: no packet is on the wrong side of any.
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
fn a_packet_is_rendered_once_for_all() {
    let hub = hub();
    let (one, two) = (
        hub.subscribe(&ask(Delivery::Live)).unwrap(),
        hub.subscribe(&ask(Delivery::Live)).unwrap(),
    );
    video(&hub, 0);
    let frame = |s: &Subscription| match s.take(true) {
        Some(Item::Packet { packet, .. }) => packet.text_frame().as_ptr(),
        other => panic!("{other:?}"),
    };
    assert_eq!(frame(&one), frame(&two));
}

#[test]
fn what_webrtc_alone_watches_is_in_the_report_too() {
    let backlog = Backlog {
        packets: 50,
        bytes: 1 << 20,
    };
    let video = Some(StreamPlan {
        encodings: vec![Encoding::Jpeg, Encoding::H264],
        fps: Some(50.0),
        backlog,
    });
    let hub = Arc::new(Hub::new(Plan { video, audio: None }, clocks(0, 0)));
    let _watching = hub
        .subscribe(&Request {
            video: Some(Feed::Encoded(Encoding::H264)),
            ..ask(Delivery::Live)
        })
        .unwrap();
    for sequence in [0, 1, 2, 6] {
        hub.publish(
            Encoding::H264,
            &meta(sequence, PICTURE),
            Bytes::from_static(b"h264"),
            MonoNs(u64::MAX / 2),
        );
    }
    let video = hub.info(MonoNs(150 * MS)).video.unwrap();
    assert_eq!(
        (video.sequence, video.drops[&Cause::Ring.into()].packets),
        (Some(6), 3)
    );
    assert!(
        matches!(video.shape, crate::wire::info::Shape::Video { fps, .. } if fps.measured.is_some())
    );
}

#[test]
fn a_closed_hub_says_so_to_old_and_new() {
    let hub = hub();
    let old = hub.subscribe(&ask(Delivery::Live)).unwrap();
    assert!(!old.is_closed());
    hub.close();
    assert!(old.is_closed());
    assert!(hub.subscribe(&ask(Delivery::Live)).unwrap().is_closed());
}
