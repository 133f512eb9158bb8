//! Transcoded audio, through the hub.

use super::*;
use crate::hub::*;
use crate::media::clock::{Clock, ClockSample};
use crate::media::{CameraId, Encoding, Gap, Losses, PacketMeta};

const PACKET_FRAMES: u64 = 960;

fn hub() -> Arc<Hub> {
    let backlog = Backlog {
        packets: 1000,
        bytes: 1 << 30,
    };
    let audio = Some(StreamPlan {
        encodings: vec![Encoding::Pcm],
        fps: None,
        backlog,
    });
    Arc::new(Hub::new(
        CameraId::main(),
        Plan { video: None, audio },
        Arc::new(Clock::new(ClockSample {
            before: MonoNs(0),
            unix: UnixNs(0),
            after: MonoNs(0),
        })),
    ))
}

fn ask(
    hub: &Arc<Hub>,
    rate_hz: Option<u32>,
    channels: Option<u16>,
) -> Result<Subscription, TooManyFormats> {
    hub.subscribe(&Request {
        video: None,
        audio: Some(TrackSelector::Transcoded(AudioFormat { rate_hz, channels })),
        delivery: Delivery::All,
        max_fps: None,
        events: false,
    })
}

/// Packet `k` of an endless 48 kHz recording; `sample` gives the samples of each frame.
fn publish(hub: &Hub, k: u64, channels: u16, sample: impl Fn(u64, u16) -> i16) {
    publish_at(hub, k, (48_000, channels), sample);
}

/// The same at another rate. Packet `k` arrives 20 ms after the one before it.
fn publish_at(
    hub: &Hub,
    k: u64,
    (rate_hz, channels): (u32, u16),
    sample: impl Fn(u64, u16) -> i16,
) {
    let frames = k * PACKET_FRAMES..(k + 1) * PACKET_FRAMES;
    let bytes: Vec<u8> = frames
        .flat_map(|n| (0..channels).map(move |c| (n, c)))
        .flat_map(|(n, c)| sample(n, c).to_le_bytes())
        .collect();
    let meta = PacketMeta {
        generation: 1,
        sequence: k,
        capture_time: MonoNs(1_000_000_000 + k * 20_000_000),
        shape: Shape::Audio { rate_hz, channels },
        keyframe: true,
        losses: Losses::default(),
    };
    let now = MonoNs(u64::MAX / 2 + k * 20_000_000);
    hub.publish(Encoding::Pcm, &meta, bytes.into(), now);
}

fn taken(subscription: &Subscription) -> Vec<(Arc<Packet>, Vec<Gap>)> {
    let item = |item| match item {
        Item::Packet { packet, gaps, .. } => (packet, gaps),
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(|| subscription.take(true))
        .map(item)
        .collect()
}

fn samples(packet: &Packet) -> Vec<i16> {
    packet
        .payload
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect()
}

#[test]
fn transcoder_click_keeps_its_capture_time_at_every_rate() {
    const CLICK: u64 = 5 * PACKET_FRAMES + 123;
    let at_ns = 1e9 + CLICK as f64 * 1e9 / 48_000.0;
    for rate in [8_000, 16_000, 44_100] {
        let hub = hub();
        let view = ask(&hub, Some(rate), None).unwrap();
        (0..12).for_each(|k| publish(&hub, k, 1, |n, _| if n == CLICK { 30_000 } else { 0 }));
        let (mut peak, mut found_ns, mut next_ns) = (0, 0.0, None);
        for (packet, gaps) in taken(&view) {
            assert_eq!(
                (gaps, packet.shape),
                (
                    vec![],
                    Shape::Audio {
                        rate_hz: rate,
                        channels: 1
                    }
                )
            );
            let start_ns = packet.capture_time.0 as f64;
            if let Some(next_ns) = next_ns
                .replace(start_ns + packet.payload.len() as f64 / 2.0 * 1e9 / f64::from(rate))
            {
                let off: f64 = next_ns - start_ns;
                assert!(
                    off.abs() < 100_000.0,
                    "{rate} Hz: a packet begins {off} ns off the end of the one before"
                );
            }
            for (n, sample) in samples(&packet).into_iter().enumerate() {
                if sample > peak {
                    (peak, found_ns) = (sample, start_ns + n as f64 * 1e9 / f64::from(rate));
                }
            }
        }
        let off = (found_ns - at_ns).abs();
        assert!(
            off <= 0.5e9 / f64::from(rate) + 1_000.0,
            "{rate} Hz: the click is {off} ns off"
        );
    }
}

#[test]
fn transcoder_one_packet_for_all_readers_and_the_source_s_own_where_possible() {
    let hub = hub();
    let (one, two) = (
        ask(&hub, Some(16_000), None).unwrap(),
        ask(&hub, Some(16_000), None).unwrap(),
    );
    let (same, raw) = (
        ask(&hub, Some(48_000), Some(1)).unwrap(),
        ask(&hub, None, None).unwrap(),
    );
    (0..4).for_each(|k| publish(&hub, k, 1, |n, _| n as i16));
    for ((a, _), (b, _)) in taken(&one)
        .iter()
        .zip(taken(&two))
        .chain(taken(&same).iter().zip(taken(&raw)))
    {
        assert!(Arc::ptr_eq(a, &b));
    }
}

#[test]
fn transcoder_sequence_is_exact_through_gaps_and_filter_starts() {
    let hub = hub();
    let view = ask(&hub, Some(16_000), None).unwrap();
    for k in (0..10).chain(13..20).chain(25..40) {
        publish(&hub, k, 1, |n, _| (n % 100) as i16);
    }
    let packets = taken(&view);
    let first = packets[0].0.sequence;
    let last = packets.last().unwrap().0.sequence;
    let reported: u64 = packets
        .iter()
        .flat_map(|(_, gaps)| gaps)
        .filter_map(|g| g.count)
        .sum();
    assert_eq!(reported, 8);
    assert_eq!(last - first + 1, packets.len() as u64 + reported);
}

#[test]
fn transcoder_audio_before_a_gap_ends_where_the_gap_begins() {
    for rate in [8_000, 16_000, 44_100] {
        let hub = hub();
        let view = ask(&hub, Some(rate), None).unwrap();
        for k in (0..10).chain(13..20) {
            publish(&hub, k, 1, |_, _| 7_000);
        }
        let packets = taken(&view);
        let end = |packet: &Packet| {
            packet.capture_time.0 + packet.duration().expect("it is audio").as_nanos() as u64
        };
        let gap = packets
            .iter()
            .position(|(_, gaps)| !gaps.is_empty())
            .expect("packets are missing");
        let frame_ns = 1_000_000_000 / u64::from(rate);
        let before = &packets[gap - 1].0;
        assert!(
            end(before).abs_diff(1_200_000_000) <= frame_ns,
            "{rate} Hz: {}",
            end(before)
        );
        assert!(
            packets[gap].0.capture_time.0.abs_diff(1_260_000_000) <= frame_ns,
            "{rate} Hz"
        );
        // Then the filter sees the silence that stands for what follows.
        assert!(
            samples(before)[..samples(before).len() / 8]
                .iter()
                .all(|s| (6_900..7_100).contains(s)),
            "{:?}",
            samples(before)
        );
    }
}

#[test]
fn transcoder_channels_are_mixed_and_repeated() {
    let hub = hub();
    let (mono, stereo) = (
        ask(&hub, None, Some(1)).unwrap(),
        ask(&hub, None, Some(2)).unwrap(),
    );
    publish(&hub, 0, 2, |_, c| [1_000, -200][usize::from(c)]);
    assert_eq!(samples(&taken(&mono)[0].0), [400; PACKET_FRAMES as usize]);
    assert_eq!(taken(&stereo)[0].0.payload.len() as u64, PACKET_FRAMES * 4);
    // More than a second later: until then packets of another format are dropped.
    publish(&hub, 60, 1, |n, _| (n % 1_000) as i16);
    let spread = samples(&taken(&stereo)[0].0);
    assert_eq!(spread[..4], [600, 600, 601, 601]);
    assert_eq!(
        taken(&mono)[0].0.shape,
        Shape::Audio {
            rate_hz: 48_000,
            channels: 1
        }
    );
}

#[test]
fn transcoder_rate_that_changes_with_every_packet_makes_a_pipeline_a_second_and_counts_the_rest() {
    let hub = hub();
    let view = ask(&hub, Some(16_000), Some(1)).unwrap();
    let rates = [48_000, 44_100];
    (0..200).for_each(|k| publish_at(&hub, k, (rates[k as usize % 2], 1), |_, _| 0));
    publish(&hub, 200, 1, |_, _| 0);
    let packets = taken(&view);
    let (first, last) = (&packets[0].0, &packets[packets.len() - 1].0);
    let gaps = packets.iter().flat_map(|(_, gaps)| gaps);
    let span: f64 = gaps
        .clone()
        .map(|gap| gap.span_seconds.expect("a packet was before"))
        .sum();
    let lost: u64 = gaps
        .map(|gap| {
            assert_eq!(gap.cause, Cause::Encoder);
            gap.count.expect("they are counted")
        })
        .sum();
    // Four seconds with a pipeline each: of either rate every other packet is dropped.
    assert!((95..=105).contains(&lost), "{lost}");
    // One packet of 20 ms is missing at a time: two packet intervals from one to the next.
    assert!((span - 0.04 * lost as f64).abs() < 0.05, "{span} s");
    assert_eq!(
        last.sequence - first.sequence + 1,
        packets.len() as u64 + lost
    );
    assert!(hub.lock().transcoders[0].dropped >= lost);
}

/// Packets, of which each but the first has gaps that explain the jump of its sequence number.
fn check_gaps(packets: &[(Arc<Packet>, Vec<Gap>)]) {
    for pair in packets.windows(2) {
        let [(before, _), (after, gaps)] = pair else {
            unreachable!("windows of two")
        };
        let counted: u64 = gaps.iter().map(|gap| gap.count.expect("a count")).sum();
        let jump = after.sequence - before.sequence - 1;
        assert_eq!(counted, jump, "before {}: {gaps:?}", after.sequence);
        let end = before.capture_time.0 + before.duration().expect("audio").as_nanos() as u64;
        let missing_ns = after.capture_time.0.saturating_sub(end);
        assert_eq!(
            missing_ns > 10_000_000,
            !gaps.is_empty(),
            "before {}: {missing_ns} ns, {gaps:?}",
            after.sequence
        );
    }
}

#[test]
fn transcoder_rest_of_the_filter_is_before_the_gap_of_dropped_packets() {
    let hub = hub();
    let view = ask(&hub, Some(16_000), Some(1)).unwrap();
    // Dropped, since the pipeline of the other rate was made less than a second ago: 5, 6; then 10
    // and 13, between which the source loses two.
    let rate = |k| {
        if [5, 6, 10, 13].contains(&k) {
            44_100
        } else {
            48_000
        }
    };
    for k in (0..=10).chain(13..20) {
        publish_at(&hub, k, (rate(k), 1), |_, _| 7_000);
    }
    let packets = taken(&view);
    check_gaps(&packets);
    let causes = |cause| {
        let gaps = packets.iter().flat_map(|(_, gaps)| gaps);
        gaps.filter(move |gap| gap.cause == cause)
            .map(|gap| gap.count)
            .collect::<Vec<_>>()
    };
    assert_eq!(causes(Cause::Encoder), [Some(2), Some(2)]);
    assert_eq!(causes(Cause::Ring), [Some(2)]);
}

#[test]
fn transcoder_rest_of_the_filter_outlives_a_pipeline_that_cannot_be_made() {
    let hub = hub();
    let view = ask(&hub, Some(16_000), Some(1)).unwrap();
    // Below the resampler's range, after more than a second.
    let rate = |k| if k == 60 { 100 } else { 48_000 };
    (0..70).for_each(|k| publish_at(&hub, k, (rate(k), 1), |_, _| 7_000));
    assert_eq!(hub.lock().transcoders[0].dropped, 1);
    let packets = taken(&view);
    check_gaps(&packets);
    let audio: Duration = packets
        .iter()
        .filter(|(packet, _)| packet.capture_time < MonoNs(1_000_000_000 + 60 * 20_000_000))
        .map(|(packet, _)| packet.duration().expect("audio"))
        .sum();
    assert!(
        audio.abs_diff(Duration::from_millis(60 * 20)) < Duration::from_millis(1),
        "{audio:?} before the gap"
    );
}

#[test]
fn transcoder_failure_is_reported_of_each_format_and_again_after_a_recovery() {
    let hub = hub();
    let _views = [16_000, 8_000].map(|rate| ask(&hub, Some(rate), Some(1)).unwrap());
    let rates = |packets: std::ops::Range<u64>, rate| {
        packets.for_each(|k| publish_at(&hub, k, (rate, 1), |_, _| 0));
    };
    // Forgets what was logged.
    let logged = || {
        let mut state = hub.lock();
        let transcoders = state.transcoders.iter_mut();
        transcoders
            .map(|t| t.faults.recovered())
            .collect::<Vec<_>>()
    };
    rates(0..10, 48_000);
    assert_eq!(logged(), [false, false]);
    rates(100..110, 100);
    assert_eq!(logged(), [true, true]);
    rates(110..200, 48_000);
    rates(200..210, 100);
    assert_eq!(logged(), [false, false], "not over yet");
    rates(210..400, 48_000);
    rates(400..410, 100);
    assert_eq!(logged(), [true, true], "a later failure");
}

#[test]
fn transcoder_rates_that_cannot_be_resampled_are_tried_once_a_second() {
    let hub = hub();
    let _view = ask(&hub, Some(16_000), None).unwrap();
    // Below the resampler's range, and no two are the same.
    (0..150).for_each(|k| publish_at(&hub, k, (100 + k as u32, 1), |_, _| 0));
    let state = hub.lock();
    assert_eq!(state.transcoders[0].dropped, 150);
    let tries = state.transcoders[0].made_at.expect("it was tried");
    assert_eq!(
        tries,
        MonoNs(u64::MAX / 2 + 100 * 20_000_000),
        "at 0, 1 and 2 s"
    );
}

#[test]
fn hub_transcoders_are_limited_and_an_unused_one_makes_room() {
    let hub = hub();
    let mut views: Vec<_> = (0..8)
        .map(|k| ask(&hub, Some(8_000 + k), None).unwrap())
        .collect();
    let error = ask(&hub, Some(9_000), None)
        .err()
        .expect("the ninth format");
    let in_use = AudioFormat {
        rate_hz: Some(8_007),
        channels: None,
    };
    assert!(error.in_use.contains(&in_use), "{error:?}");
    views.push(ask(&hub, Some(8_000), None).expect("a kind that is made already"));
    drop(views.remove(3));
    ask(&hub, Some(9_000), None).expect("a place is free");
}

#[test]
fn hub_default_audio_is_had_beside_the_limited_formats() {
    let format = |rate_hz, channels| AudioFormat { rate_hz, channels };
    let default = format(Some(16_000), Some(1));
    let hub = Arc::into_inner(hub()).expect("the only reference");
    let hub = Arc::new(hub.with_default_audio(default));
    let _others: Vec<_> = (0..8)
        .map(|k| ask(&hub, Some(8_000 + k), None).expect("one of eight"))
        .collect();
    ask(&hub, Some(16_000), Some(1)).expect("the default format");
    let track = |asked| hub.audio_track(asked);
    assert_eq!(
        track(AudioFormat::default()),
        TrackSelector::Transcoded(default)
    );
    assert_eq!(
        track(format(None, Some(2))),
        TrackSelector::Transcoded(format(Some(16_000), Some(2))),
        "what is not asked for is as in the default"
    );
}
