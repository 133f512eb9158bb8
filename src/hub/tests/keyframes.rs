//! What a reader of H.264 is given.

use super::*;
use proptest::prelude::*;

fn h264_hub() -> Arc<Hub> {
    let backlog = Backlog {
        packets: 5,
        bytes: 1 << 20,
    };
    let video = Some(StreamPlan {
        encodings: vec![Encoding::H264],
        fps: Some(50.0),
        backlog,
    });
    hub_of(Plan { video, audio: None })
}

fn subscribe(hub: &Arc<Hub>, delivery: Delivery) -> Subscription {
    hub.subscribe(&Request {
        video: Some(TrackSelector::Encoded(Encoding::H264)),
        audio: None,
        max_fps: Some(1.0),
        ..ask(delivery)
    })
    .unwrap()
}

fn publish(hub: &Hub, sequence: u64, keyframe: bool, losses: Losses) {
    let meta = PacketMeta {
        keyframe,
        losses,
        ..meta(sequence, FRAME)
    };
    hub.publish(
        Encoding::H264,
        &meta,
        Bytes::from_static(b"unit"),
        MonoNs(u64::MAX / 2),
    );
}

fn unit(hub: &Hub, sequence: u64, keyframe: bool) {
    publish(hub, sequence, keyframe, Losses::default());
}

/// Everything that waits, with what is missing before it.
fn units(subscription: &Subscription) -> Vec<(u64, Vec<Gap>)> {
    std::iter::from_fn(|| subscription.take(true))
        .map(|item| match item {
            Item::Packet { packet, gaps, .. } => (packet.sequence, gaps),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn h264_reader_starts_with_a_keyframe_which_is_requested() {
    let hub = h264_hub();
    let demand = hub.demand(Encoding::H264).unwrap();
    let keyframes = || demand.borrow().keyframes;
    assert_eq!(keyframes(), 0);
    let reader = subscribe(&hub, Delivery::Live);
    assert_eq!(keyframes(), 1);
    (0..3).for_each(|k| unit(&hub, k, false));
    assert_eq!(units(&reader), []);
    unit(&hub, 3, true);
    unit(&hub, 4, false);
    assert_eq!(
        units(&reader),
        [(3, vec![]), (4, vec![])],
        "every frame, whatever max_fps says"
    );
    assert_eq!(keyframes(), 1);
}

#[test]
fn h264_reader_after_a_loss_waits_for_a_keyframe_and_gets_the_exact_gap() {
    let hub = h264_hub();
    let demand = hub.demand(Encoding::H264).unwrap();
    let reader = subscribe(&hub, Delivery::Live);
    unit(&hub, 0, true);
    assert_eq!(units(&reader).len(), 1);
    // The ring lost 1 and 2.
    (3..6).for_each(|k| unit(&hub, k, false));
    assert_eq!(units(&reader), []);
    assert_eq!(demand.borrow().keyframes, 2);
    unit(&hub, 6, false);
    assert_eq!(units(&reader), []);
    unit(&hub, 7, true);
    assert_eq!(units(&reader), [(7, vec![packets(Cause::Ring, 6, 140)])]);
}

#[test]
fn h264_reader_is_not_interrupted_by_frames_that_were_never_encoded() {
    let hub = h264_hub();
    let reader = subscribe(&hub, Delivery::Live);
    unit(&hub, 0, true);
    let losses = Losses {
        driver: 2,
        encoder: 1,
        ..Losses::default()
    };
    publish(&hub, 4, false, losses);
    assert_eq!(
        units(&reader),
        [
            (0, vec![]),
            (
                4,
                vec![
                    packets(Cause::Driver, 2, 80),
                    packets(Cause::Encoder, 1, 80)
                ]
            )
        ]
    );
}

#[test]
fn h264_slow_reader_loses_what_depends_on_dropped_units() {
    let hub = h264_hub();
    let reader = subscribe(&hub, Delivery::All);
    unit(&hub, 0, true);
    assert_eq!(units(&reader).len(), 1);
    // Of eight, the backlog keeps five: 4 to 8.
    (1..9).for_each(|k| unit(&hub, k, k == 7));
    assert_eq!(
        units(&reader),
        [(7, vec![packets(Cause::ViewerQueue, 6, 140)]), (8, vec![])]
    );
}

proptest! {
    /// Whatever is lost on whichever way: every unit is delivered, or is in a gap, exactly once.
    #[test]
    fn h264_reader_gaps_and_units_account_for_everything(
        units_sent in prop::collection::vec((0..12_u8, 0..3_u64), 1..200),
    ) {
        let hub = h264_hub();
        let reader = subscribe(&hub, Delivery::All);
        let (mut sequence, mut last) = (0, None);
        let mut losses = Losses::default();
        let mut is_decodable = false;
        for (kind, lost) in units_sent {
            sequence += 1;
            if kind == 0 {
                sequence += lost;
            } else if kind == 1 {
                sequence += lost;
                losses.driver += lost as u32;
            }
            publish(&hub, sequence, kind < 4, losses);
            // Now and then the reader is late.
            if kind % 3 == 0 {
                continue;
            }
            while let Some(Item::Packet { packet, gaps, .. }) = reader.take(true) {
                let missing: u64 = gaps.iter().filter_map(|gap| gap.count).sum();
                if let Some(last) = last.replace(packet.sequence) {
                    prop_assert_eq!(packet.sequence - last, 1 + missing);
                }
                let broken = gaps.iter().any(|gap| gap.cause != Cause::Driver);
                prop_assert!(packet.keyframe || (is_decodable && !broken));
                is_decodable = true;
            }
        }
    }
}
