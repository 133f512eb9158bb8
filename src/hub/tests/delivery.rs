//! What subscribers receive, and the demand on the workers.

use super::*;
use std::task::{Context, Waker};

#[test]
fn subscription_live_gets_the_newest_frame_and_half_a_second_of_audio() {
    let hub = hub();
    let live = hub.subscribe(&ask(Delivery::Live)).unwrap();
    video(&hub, 0);
    audio(&hub, 0);
    assert_eq!(
        drain(&live),
        [(MediaKind::Video, 0, 0), (MediaKind::Audio, 0, 0)]
    );
    for k in 1..=100 {
        video(&hub, k);
        audio(&hub, k);
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
fn subscription_all_gets_a_backlog_up_to_its_limits() {
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
            &meta(k, FRAME),
            vec![0; 400_000].into(),
            MonoNs::now(),
        );
    }
    let numbers: Vec<_> = drain(&all).into_iter().map(|t| (t.1, t.2)).collect();
    assert_eq!(numbers, [(17, 2), (18, 0)]);
}

#[test]
fn subscription_max_fps_leaves_out_frames_without_gaps() {
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
fn hub_demand_follows_the_readers() {
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
    assert_eq!(hub.snapshot(MonoNs::now()).subscribers, 1);
    drop(listener);
    assert_eq!(hub.snapshot(MonoNs::now()).subscribers, 0);
}

#[test]
fn subscription_closed_window_keeps_the_newest_frame() {
    let hub = hub();
    let live = hub.subscribe(&ask(Delivery::Live)).unwrap();
    (0..3).for_each(|k| video(&hub, k));
    audio(&hub, 0);
    let Some(Item::Packet { packet, .. }) = live.take(false) else {
        panic!("no audio")
    };
    assert_eq!(packet.encoding, Encoding::Pcm);
    assert!(live.take(false).is_none());
    assert_eq!(drain(&live), [(MediaKind::Video, 2, 0)]);
}

#[test]
fn subscription_peeked_item_is_replaceable_until_committed() {
    let hub = hub();
    let live = hub.subscribe(&ask(Delivery::Live)).unwrap();
    let cx = Context::from_waker(Waker::noop());
    let peeked = || match live.peek(&cx, true) {
        Peek::Item(next) => match next.item() {
            Item::Packet { packet, .. } => format!("packet {}", packet.sequence),
            other => panic!("{other:?}"),
        },
        Peek::Empty => "empty".into(),
        Peek::Closed => "closed".into(),
    };
    assert_eq!(peeked(), "empty");
    video(&hub, 0);
    drain(&live);
    video(&hub, 1);
    assert_eq!(peeked(), "packet 1");
    assert_eq!(peeked(), "packet 1");
    video(&hub, 2);
    assert_eq!(peeked(), "packet 2");
    assert_eq!(drain(&live), [(MediaKind::Video, 2, 1)]);
    assert_eq!(peeked(), "empty");
    hub.close();
    assert_eq!(peeked(), "closed");
}

#[test]
fn subscription_committed_item_is_gone_and_says_whether_more_waits() {
    let hub = hub();
    let all = hub.subscribe(&ask(Delivery::All)).unwrap();
    (0..2).for_each(|k| video(&hub, k));
    let cx = Context::from_waker(Waker::noop());
    let commit = |video_allowed| match all.peek(&cx, video_allowed) {
        Peek::Item(next) => Some(next.commit()),
        Peek::Empty | Peek::Closed => None,
    };
    assert_eq!(commit(false), None);
    assert_eq!([commit(true), commit(true)], [Some(true), Some(false)]);
    assert_eq!(commit(true), None);
}

#[test]
fn packet_rendered_once_per_key_for_all_readers() {
    let hub = hub();
    let (one, two) = (
        hub.subscribe(&ask(Delivery::Live)).unwrap(),
        hub.subscribe(&ask(Delivery::Live)).unwrap(),
    );
    video(&hub, 0);
    let frame = |s: &Subscription| match s.take(true) {
        Some(Item::Packet { packet, .. }) => packet,
        other => panic!("{other:?}"),
    };
    let (one, two) = (frame(&one), frame(&two));
    let (text, binary) = (RenderingKey("text"), RenderingKey("binary"));
    let rendered = |packet: &Packet, key, bytes: &'static [u8]| {
        packet.rendered(key, || Bytes::from_static(bytes)).clone()
    };
    for (key, bytes) in [(text, b"text" as &[u8]), (binary, b"binary")] {
        assert_eq!(rendered(&one, key, bytes), bytes);
        assert_eq!(rendered(&two, key, b"not rendered again"), bytes);
    }
}

#[test]
fn hub_closed_ends_old_and_new_subscriptions() {
    let hub = hub();
    let old = hub.subscribe(&ask(Delivery::Live)).unwrap();
    assert!(!old.is_closed());
    hub.close();
    assert!(old.is_closed());
    assert!(hub.subscribe(&ask(Delivery::Live)).unwrap().is_closed());
}
