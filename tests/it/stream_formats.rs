//! The messages of `/stream`, byte by byte.

use crate::stream_rig::*;
use stampcast::config::Limits;
use stampcast::media::{MonoNs, StampMark, StampSource, StreamInfo, UnixNs, WorkerState};
use stampcast::wire;
use stampcast::wire::{AudioFormat, Label, Message, stamp};
use std::time::{Duration, SystemTime};

fn unix_now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

/// The two clocks are read some nanoseconds apart, and the server measures their offset repeatedly.
fn is_stamp_of(stamp: UnixNs, capture_time: MonoNs) -> bool {
    let expected =
        unix_now().as_nanos() as i128 - i128::from(MonoNs::now().0) + i128::from(capture_time.0);
    (i128::from(stamp.0) - expected).abs() < 2_000_000
}

#[tokio::test]
async fn text_message_splits_at_colons() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect("").await;
    rig.video.wait_for_demand(true).await;
    rig.audio.wait_for_demand(true).await;

    let sent = rig.video.push(b"\xff\xd8 a picture \xff\xd9");
    let message = viewer.text().await;
    let parts: Vec<&str> = message.split(':').collect();
    assert_eq!(
        ["video", "64", "48", "/9ggYSBwaWN0dXJlIP/Z"],
        [parts[0], parts[2], parts[3], parts[4]]
    );
    assert_eq!(parts.len(), 5);
    assert!(
        is_stamp_of(stamp::parse(parts[1]).unwrap(), sent.capture_time),
        "{message}"
    );

    let sent = rig.audio.push(&[1, 0, 2, 0]);
    let message = viewer.text().await;
    let parts: Vec<&str> = message.split(':').collect();
    assert_eq!(["audio", "AQACAA=="], [parts[0], parts[2]]);
    assert_eq!(parts.len(), 3);
    assert!(
        is_stamp_of(stamp::parse(parts[1]).unwrap(), sent.capture_time),
        "{message}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn text_message_of_a_large_frame_arrives_whole() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect("?audio=0").await;
    rig.video.wait_for_demand(true).await;
    let picture: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
    rig.video.push(&picture);
    let text = viewer.text().await;
    let Ok(Message::Video { jpeg, .. }) = wire::text::decode(&text) else {
        panic!("no video")
    };
    assert!(jpeg == picture, "the picture was changed on its way");
    rig.stop().await;
}

#[tokio::test]
async fn binary_message_has_the_fields_that_text_lacks() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect("?format=binary").await;
    rig.video.wait_for_demand(true).await;
    rig.audio.wait_for_demand(true).await;

    rig.video.meta.sequence = 77;
    let sent = rig.video.push(b"picture");
    let message = viewer.binary().await;
    let Ok(Message::Video {
        stamp,
        label,
        width,
        height,
        jpeg,
    }) = wire::binary::decode(&message)
    else {
        panic!("{message:?}")
    };
    assert!(is_stamp_of(stamp, sent.capture_time));
    assert_eq!(
        (label, width, height, &*jpeg),
        (
            Some(Label {
                sequence: 77,
                gap: false
            }),
            WIDTH,
            HEIGHT,
            &b"picture"[..]
        )
    );

    rig.video.meta.sequence = 80;
    rig.video.push(b"after a gap");
    let message = viewer.binary().await;
    let Ok(Message::Video { label, .. }) = wire::binary::decode(&message) else {
        panic!("{message:?}")
    };
    assert_eq!(
        label,
        Some(Label {
            sequence: 80,
            gap: true
        })
    );

    rig.audio.push(&[1, 0, 2, 0]);
    let message = viewer.binary().await;
    let Ok(Message::Audio {
        label, format, pcm, ..
    }) = wire::binary::decode(&message)
    else {
        panic!("{message:?}")
    };
    assert_eq!(
        (label, format, &*pcm),
        (
            Some(Label {
                sequence: 0,
                gap: false
            }),
            Some(AudioFormat {
                rate_hz: RATE_HZ,
                channels: 1
            }),
            &[1, 0, 2, 0][..]
        )
    );
    rig.stop().await;
}

#[tokio::test]
async fn text_and_binary_have_the_same_timestamp() {
    let mut rig = Rig::start().await;
    let mut text = rig.connect_and_wait("?audio=0").await;
    let mut binary = rig.connect_and_wait("?audio=0&format=binary").await;
    rig.video.push(b"x");
    let text = text.text().await;
    let Ok(Message::Video { stamp: cut, .. }) = wire::text::decode(&text) else {
        panic!("{text}")
    };
    let Ok(Message::Video { stamp: exact, .. }) =
        wire::binary::decode(&binary.binary().await).map(owned)
    else {
        panic!("no video")
    };
    assert_eq!(exact.0 / 1_000, cut.0 / 1_000);
    rig.stop().await;
}

/// Only its timestamp is used.
fn owned(message: Message<'_>) -> Message<'static> {
    match message {
        Message::Video {
            stamp,
            label,
            width,
            height,
            ..
        } => Message::Video {
            stamp,
            label,
            width,
            height,
            jpeg: Default::default(),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn viewer_gets_only_requested_streams_and_no_events_by_default() {
    let mut rig = Rig::start().await;
    let mut sound = rig.connect_and_wait("?video=0").await;
    let mut picture = rig.connect_and_wait("?audio=0").await;
    rig.audio.push(&[0, 0]);
    rig.video.push(b"1");
    rig.video.meta.sequence += 5;
    rig.audio.meta.losses.xrun += 1;
    rig.audio.push(&[0, 0]);
    assert!(picture.text().await.starts_with("video:"));
    rig.video.push(b"2");
    for _ in 0..2 {
        assert!(sound.text().await.starts_with("audio:"));
    }
    assert!(picture.text().await.starts_with("video:"));
    rig.stop().await;
}

#[tokio::test]
async fn events_precede_the_following_packet_with_its_timestamp() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect_and_wait("?audio=0&events=1").await;
    let mut binary = rig
        .connect_and_wait("?audio=0&events=1&format=binary")
        .await;
    let start = MonoNs(MonoNs::now().0 - 1_000_000_000);
    rig.video.push_at(start, b"1");
    assert!(viewer.text().await.starts_with("video:"));
    binary.binary().await;
    rig.video.meta.sequence += 3;
    rig.video.meta.losses.driver = 2;
    rig.video.meta.shape = stampcast::media::Shape::Video {
        width: 128,
        height: 96,
    };
    rig.video.push_at(start + Duration::from_millis(160), b"2");

    let said = [
        viewer.text().await,
        viewer.text().await,
        viewer.text().await,
        viewer.text().await,
    ];
    let stamp = said[3].split(':').nth(1).unwrap();
    let expected = [
        format!(
            r#"event:{stamp}:{{"event":"gap","stream":"video","count":2,"span_seconds":0.16,"cause":"driver"}}"#
        ),
        format!(
            r#"event:{stamp}:{{"event":"gap","stream":"video","count":1,"span_seconds":0.16,"cause":"ring"}}"#
        ),
        format!(r#"event:{stamp}:{{"event":"format","stream":"video","width":128,"height":96}}"#),
        format!("video:{stamp}:128:96:Mg=="),
    ];
    assert_eq!(said, expected);

    for (number, text) in expected[..3].iter().enumerate() {
        let message = binary.binary().await;
        assert_eq!(
            (message[0], message[4]),
            (b'e', number as u8),
            "events are numbered by themselves"
        );
        let (
            Ok(Message::Event { event, stamp }),
            Ok(Message::Event {
                event: same,
                stamp: cut,
            }),
        ) = (wire::binary::decode(&message), wire::text::decode(text))
        else {
            panic!("{message:?}")
        };
        assert_eq!((event, stamp.0 / 1_000), (same, cut.0 / 1_000));
    }
    rig.stop().await;
}

#[tokio::test]
async fn events_report_source_lost_and_back() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect_and_wait("?events=1").await;
    rig.video.push(b"before");
    assert!(viewer.text().await.starts_with("video:"));
    rig.video.status.set_state(WorkerState::WaitingForDevice);
    assert!(
        viewer
            .text()
            .await
            .ends_with(r#"{"event":"source_lost","stream":"video"}"#)
    );
    rig.audio.push(&[0, 0]);
    assert!(
        viewer.text().await.starts_with("audio:"),
        "the other stream goes on"
    );
    // As a worker does: first the state, then the first packet.
    rig.video.status.set_state(WorkerState::Streaming);
    rig.video.meta.losses.source_away = 1;
    rig.video.push(b"after");
    assert!(
        viewer
            .text()
            .await
            .ends_with(r#"{"event":"source_back","stream":"video"}"#)
    );
    let gap = viewer.text().await;
    assert!(
        gap.contains(r#""event":"gap""#) && gap.contains(r#""cause":"source_away""#),
        "{gap}"
    );
    assert!(viewer.text().await.starts_with("video:"));
    rig.stop().await;
}

#[tokio::test]
async fn viewer_of_events_only_hears_of_both_streams_and_may_ping() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect_and_wait("?video=0&audio=0&events=1").await;
    rig.video.push(b"x");
    rig.audio.push(&[0, 0]);
    rig.video.status.set_state(WorkerState::WaitingForDevice);
    assert!(
        viewer
            .text()
            .await
            .ends_with(r#"{"event":"source_lost","stream":"video"}"#),
        "no packet before it"
    );
    rig.audio.status.set_state(WorkerState::WaitingForDevice);
    assert!(
        viewer
            .text()
            .await
            .ends_with(r#"{"event":"source_lost","stream":"audio"}"#)
    );
    viewer.say("ping:1").await;
    assert!(viewer.text().await.starts_with("pong:1:"));
    rig.stop().await;
}

#[tokio::test]
async fn ping_is_answered_with_the_server_times() {
    let mut rig = Rig::start().await;
    for format in ["", "?format=binary"] {
        let mut viewer = rig.connect(format).await;
        let before = unix_now();
        viewer.say("ping:round trip 1").await;
        let text = viewer.text().await;
        let after = unix_now();
        let Ok(Message::Pong { id, received, sent }) = wire::text::decode(&text) else {
            panic!("{text}")
        };
        assert_eq!(id, "round trip 1");
        // The server's mapping is as good as its shortest reading of both clocks, which takes long
        // on a loaded machine.
        let uncertainty_ns = rig.info().await["clock"]["uncertainty_ns"]
            .as_u64()
            .unwrap();
        let slack = Duration::from_millis(2) + Duration::from_nanos(uncertainty_ns);
        assert!(
            Duration::from_nanos(received.0) + slack >= before && received <= sent,
            "{text}"
        );
        assert!(Duration::from_nanos(sent.0) <= after + slack, "{text}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn max_fps_thins_evenly_and_is_not_a_gap() {
    let mut rig = Rig::start().await;
    let mut viewer = rig
        .connect_and_wait("?audio=0&max_fps=10&events=1&delivery=all&format=binary")
        .await;
    let start = MonoNs::now();
    for k in 0..40 {
        // 40 fps by timestamp; they are pushed without waiting.
        rig.video
            .push_at(MonoNs(start.0 - 2_000_000_000 + k * 25_000_000), b"x");
    }
    for expected in (0..40).step_by(4) {
        let message = viewer.binary().await;
        let Ok(Message::Video { label, .. }) = wire::binary::decode(&message) else {
            panic!("{message:?}")
        };
        assert_eq!(
            label,
            Some(Label {
                sequence: expected,
                gap: false
            })
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn window_holds_back_video_until_acknowledged() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect_and_wait("?window=2&events=1").await;
    let start = MonoNs(MonoNs::now().0 - 1_000_000_000);
    for k in 0..5 {
        rig.video.push_at(
            start + Duration::from_millis(40 * k),
            format!("frame {k}").as_bytes(),
        );
        // So that each one is observed separately.
        if k < 2 {
            assert!(viewer.text().await.starts_with("video:"));
        }
    }
    until(async || rig.info().await["video"]["sequence"] == 4).await;
    rig.audio.push(&[0, 0]);
    assert!(
        viewer.text().await.starts_with("audio:"),
        "the window is shut for video only"
    );
    viewer.say("ack").await;
    assert!(
        viewer
            .text()
            .await
            .ends_with(r#""count":2,"span_seconds":0.12,"cause":"viewer_queue"}"#)
    );
    let newest = viewer.text().await;
    let Ok(Message::Video { jpeg, .. }) = wire::text::decode(&newest) else {
        panic!("{newest}")
    };
    assert_eq!(
        &*jpeg, b"frame 4",
        "behind the window, too, the newest wins"
    );
    rig.stop().await;
}

#[tokio::test]
async fn window_with_delivery_all_keeps_queueing() {
    let mut rig = Rig::start().await;
    let mut viewer = rig
        .connect_and_wait("?audio=0&window=1&delivery=all&format=binary")
        .await;
    for _ in 0..10 {
        rig.video.push(b"x");
    }
    for expected in 0..10 {
        let message = viewer.binary().await;
        let Ok(Message::Video { label, .. }) = wire::binary::decode(&message) else {
            panic!("{message:?}")
        };
        assert_eq!(
            label,
            Some(Label {
                sequence: expected,
                gap: false
            })
        );
        viewer.say("ack").await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn query_unservable_is_refused_before_the_upgrade() {
    let mut rig = Rig::with(false, Limits::default()).await;
    let cases = [
        ("?audio=1", 400, "streams no audio"),
        ("?fps=3", 400, "unknown parameter \"fps\""),
        ("?window=0", 400, "window must be 1 to 100"),
        ("?video=0", 400, "nothing to send"),
        ("?video=0&audio=0", 400, "nothing to send"),
        ("?format=text&format=text", 400, "given twice"),
    ];
    for (query, expected, said) in cases {
        let (code, body) = refused(&rig, query).await;
        assert_eq!(code, expected, "{query}: {body}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert!(
            body["error"]
                .as_str()
                .is_some_and(|error| error.contains(said) && error.lines().count() == 1),
            "{query}: {body}"
        );
    }
    let mut viewer = rig.connect_and_wait("").await;
    rig.video.push(b"x");
    assert!(
        viewer.text().await.starts_with("video:"),
        "without sound the default is video alone"
    );
    rig.stop().await;
}

#[tokio::test]
async fn info_has_the_fields_that_text_lacks() {
    let mut rig = Rig::start().await;
    let info = rig.info().await;
    assert_eq!(info["video"]["device"], serde_json::Value::Null);
    assert_eq!(
        info["video"]["fps"],
        serde_json::json!({ "asked": 15.0, "measured": null })
    );
    let about = |shape, marks| StreamInfo {
        device: "Camera (/dev/video0)".into(),
        device_format: "YUYV 64x48".into(),
        shape,
        fps: Some(15.0),
        stamp_marks: marks,
        stamp_source: StampSource::Driver,
        stamp_clock: "CLOCK_MONOTONIC".into(),
        uncertainty_ns: Some(1_000),
        drift_ppm: Some(12.5),
    };
    rig.video
        .status
        .describe(Some(&about(VIDEO, StampMark::EndOfFrame)), "");
    rig.audio
        .status
        .describe(Some(&about(AUDIO, StampMark::FirstSample)), "an overrun");
    until(async || !rig.info().await["audio"]["device"].is_null()).await;
    let mut viewer = rig.connect_and_wait("").await;
    rig.video.push(b"x");
    rig.video.meta.sequence += 4;
    rig.video.push(b"x");
    viewer.text().await;
    until(async || rig.info().await["video"]["sequence"] == 5).await;

    let asked = unix_now().as_secs_f64();
    let info = rig.info().await;
    let answered = unix_now().as_secs_f64();
    let read: wire::Info = serde_json::from_value(info.clone()).unwrap();
    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        info,
        "a script reads with the type what the server writes"
    );
    let video = &info["video"];
    assert_eq!(
        video["stamp"],
        serde_json::json!({ "marks": "end_of_frame", "source": "driver", "clock": "CLOCK_MONOTONIC", "uncertainty_ns": 1000 })
    );
    assert_eq!(
        (&video["width"], &video["height"], &video["format"]),
        (&64.into(), &48.into(), &"jpeg".into())
    );
    assert_eq!(
        (&video["state"], &video["message"]),
        (&"streaming".into(), &serde_json::Value::Null)
    );
    assert_eq!(video["drops"]["ring"]["packets"], 4);
    let audio = &info["audio"];
    assert_eq!(
        (&audio["rate"], &audio["channels"], &audio["drift_ppm"]),
        (&48_000.into(), &1.into(), &12.5.into())
    );
    assert_eq!(audio["message"], "an overrun");
    assert_eq!(info["viewers"], 1);
    let now = info["clock"]["now"].as_f64().unwrap();
    assert!((asked - 1.0..answered + 1.0).contains(&now));
    rig.stop().await;
}

#[tokio::test]
async fn resampled_audio_is_labelled_and_its_timestamps_are_contiguous() {
    let mut rig = Rig::start().await;
    let mut viewer = rig
        .connect_and_wait("?video=0&format=binary&delivery=all&audio_rate=16000&audio_channels=2")
        .await;
    let start = MonoNs(MonoNs::now().0 - 2_000_000_000);
    for k in 0..20 {
        rig.audio
            .push_at(MonoNs(start.0 + k * 20_000_000), &[0x10; 1_920]);
    }
    let mut next = None;
    for _ in 0..18 {
        let message = viewer.binary().await;
        let Ok(Message::Audio {
            stamp,
            format,
            pcm,
            label,
        }) = wire::binary::decode(&message)
        else {
            panic!("{message:?}")
        };
        let expected = AudioFormat {
            rate_hz: 16_000,
            channels: 2,
        };
        assert_eq!((format, label.unwrap().gap), (Some(expected), false));
        let length = pcm.len() as u64 / 4 * 1_000_000_000 / 16_000;
        if let Some(expected) = next.replace(stamp.0 + length) {
            assert!(
                stamp.0.abs_diff(expected) < 100_000,
                "a packet begins {} ns off the end of the one before",
                stamp.0.abs_diff(expected)
            );
        }
    }
    rig.stop().await;
}
