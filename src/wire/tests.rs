//! Golden values of the wire, and round trips.

use super::event::EventShape;
use super::query::{Delivery, Format};
use super::text::Command;
use super::websocket::{Opcode, append_close, append_header};
use super::{
    AudioFormat, DecodeError, Event, Gap, Label, Message, Query, b64, binary, stamp, text,
};
use crate::media::{Cause, MediaKind, Shape, UnixNs};
use proptest::prelude::*;
use std::borrow::Cow;

const STAMP: UnixNs = UnixNs(1_700_000_000_123_456_789);

#[test]
fn stamp_display_truncates_to_microseconds() {
    let shown = |ns| stamp::Seconds(UnixNs(ns)).to_string();
    assert_eq!(shown(1_700_000_000_123_456_999), "1700000000.123456");
    assert_eq!(shown(1_700_000_000_999_999_999), "1700000000.999999");
    assert_eq!(shown(5_000), "0.000005");
}

#[test]
fn stamp_parse_accepts_only_digits_with_six_decimals() {
    assert_eq!(
        stamp::parse("1700000000.123456"),
        Some(UnixNs(1_700_000_000_123_456_000))
    );
    for bad in [
        "",
        ".",
        "1",
        "1.",
        ".123456",
        "1.12345",
        "1.1234567",
        "-1.123456",
        "+1.123456",
        "1.12345x",
        "1e5.000000",
        "99999999999.000000",
    ] {
        assert_eq!(stamp::parse(bad), None, "{bad}");
    }
}

#[test]
fn text_encode_matches_the_documentation() {
    let video = Shape::Video {
        width: 640,
        height: 480,
    };
    assert_eq!(
        text::packet(STAMP, video, b"\xff\xd8\xff"),
        "video:1700000000.123456:640:480:/9j/"
    );
    let audio = Shape::Audio {
        rate_hz: 48_000,
        channels: 2,
    };
    assert_eq!(
        text::packet(STAMP, audio, &[1, 0]),
        "audio:1700000000.123456:AQA="
    );
    assert_eq!(
        text::pong("a-1", STAMP, UnixNs(STAMP.0 + 1_000)),
        "pong:a-1:1700000000.123456:1700000000.123457"
    );
    let gap = Event::Gap {
        stream: MediaKind::Video,
        gap: Gap {
            count: Some(12),
            seconds: None,
            span_seconds: Some(0.52),
            cause: Cause::ViewerQueue.into(),
        },
    };
    assert_eq!(
        text::event(STAMP, &gap),
        r#"event:1700000000.123456:{"event":"gap","stream":"video","count":12,"span_seconds":0.52,"cause":"viewer_queue"}"#
    );
}

#[test]
fn binary_encode_matches_the_documentation() {
    let video = Shape::Video {
        width: 0x0280,
        height: 0x01e0,
    };
    let head = binary::packet_header(
        Label {
            sequence: 0x0403_0201,
            gap: true,
        },
        UnixNs(0x1817_1615_1413_1211),
        video,
    );
    let expected =
        b"v\x18\x01\x00\x01\x02\x03\x04\x11\x12\x13\x14\x15\x16\x17\x18\x80\x02\xe0\x01\0\0\0\0";
    assert_eq!(&head, expected);
    let audio = Shape::Audio {
        rate_hz: 48_000,
        channels: 2,
    };
    let head = binary::packet_header(
        Label {
            sequence: 7,
            gap: false,
        },
        STAMP,
        audio,
    );
    assert_eq!(
        (head[0], head[2], &head[16..]),
        (b'a', 0, &b"\x80\xbb\0\0\x02\0\0\0"[..])
    );
}

#[test]
fn event_json_matches_the_documentation() {
    let cases = [
        (
            Event::Gap {
                stream: MediaKind::Audio,
                gap: Gap {
                    count: None,
                    seconds: Some(1.5),
                    span_seconds: Some(1.52),
                    cause: Cause::SourceAway.into(),
                },
            },
            r#"{"event":"gap","stream":"audio","count":null,"seconds":1.5,"span_seconds":1.52,"cause":"source_away"}"#,
        ),
        (
            Event::Gap {
                stream: MediaKind::Video,
                gap: Gap {
                    count: Some(3),
                    seconds: None,
                    span_seconds: None,
                    cause: Cause::Driver.into(),
                },
            },
            r#"{"event":"gap","stream":"video","count":3,"cause":"driver"}"#,
        ),
        (
            Event::SourceLost {
                stream: MediaKind::Video,
            },
            r#"{"event":"source_lost","stream":"video"}"#,
        ),
        (
            Event::SourceBack {
                stream: MediaKind::Audio,
            },
            r#"{"event":"source_back","stream":"audio"}"#,
        ),
        (
            Event::Format {
                stream: MediaKind::Video,
                shape: EventShape::Video {
                    width: 1280,
                    height: 720,
                },
            },
            r#"{"event":"format","stream":"video","width":1280,"height":720}"#,
        ),
        (
            Event::Format {
                stream: MediaKind::Audio,
                shape: EventShape::Audio(AudioFormat {
                    rate_hz: 44_100,
                    channels: 2,
                }),
            },
            r#"{"event":"format","stream":"audio","rate":44100,"channels":2}"#,
        ),
        (
            Event::ClockStep {
                stream: MediaKind::Audio,
                seconds: -3600.25,
            },
            r#"{"event":"clock_step","stream":"audio","seconds":-3600.25}"#,
        ),
    ];
    for (event, json) in cases {
        assert_eq!(event.to_json(), json);
        assert_eq!(Event::from_json(json.as_bytes()), Some(event));
    }
}

#[test]
fn event_unknown_name_or_cause_is_kept() {
    let json = r#"{"event":"set","set":17,"spread_ns":3200000}"#;
    let Some(Event::Other(other)) = Event::from_json(json.as_bytes()) else {
        panic!("not decoded")
    };
    assert_eq!(
        (other.name.as_str(), &other.fields["set"]),
        ("set", &17.into())
    );
    assert_eq!(Event::Other(other).to_json(), json);

    let json = r#"{"event":"gap","stream":"video","count":3,"cause":"cosmic_ray"}"#;
    let Some(Event::Gap { gap, .. }) = Event::from_json(json.as_bytes()) else {
        panic!("not decoded")
    };
    assert_eq!((gap.count, gap.cause.name()), (Some(3), "cosmic_ray"));
}

#[test]
fn event_malformed_is_refused() {
    for json in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"event":1}"#,
        r#"{"event":"gap"}"#,
        r#"{"event":"gap","stream":"video","count":-1,"cause":"driver"}"#,
        r#"{"event":"gap","stream":"video","count":1,"cause":1}"#,
        r#"{"event":"source_lost","stream":"smell"}"#,
        r#"{"event":"clock_step","stream":"video"}"#,
    ] {
        assert_eq!(Event::from_json(json.as_bytes()), None, "{json}");
    }
}

#[test]
fn info_unknown_cause_is_kept() {
    let drops = r#"{"driver":{"packets":1,"absences":0,"seconds":0.0},"new":{"packets":2,"absences":0,"seconds":0.0}}"#;
    let read: std::collections::BTreeMap<super::Cause, super::info::Drops> =
        serde_json::from_str(drops).expect("a map");
    assert_eq!(read[&Cause::Driver.into()].packets, 1);
    assert_eq!(read[&super::Cause::Other("new".into())].packets, 2);
    assert_eq!(
        serde_json::to_string(&read).expect("it has words as keys"),
        drops
    );
}

#[test]
fn binary_decode_longer_header_finds_the_payload() {
    let mut bytes = binary::packet_header(
        Label {
            sequence: 1,
            gap: false,
        },
        STAMP,
        Shape::Video {
            width: 1,
            height: 2,
        },
    )
    .to_vec();
    bytes[1] = 28;
    bytes.extend_from_slice(b"new!payload");
    let Ok(Message::Video { jpeg, .. }) = binary::decode(&bytes) else {
        panic!("not decoded")
    };
    assert_eq!(&*jpeg, b"payload");
    bytes[1] = 23;
    assert_eq!(
        binary::decode(&bytes),
        Err(DecodeError::Bad("header length"))
    );
    bytes[1] = 255;
    assert_eq!(binary::decode(&bytes), Err(DecodeError::Truncated));
}

#[test]
fn text_command_accepts_only_documented_commands() {
    assert_eq!(text::command("ack"), Some(Command::Ack));
    assert_eq!(text::command("ping:"), Some(Command::Ping("")));
    assert_eq!(text::command("ping:é1"), Some(Command::Ping("é1")));
    let longest = "x".repeat(64);
    assert_eq!(
        text::command(&format!("ping:{longest}")),
        Some(Command::Ping(&longest))
    );
    for bad in [
        "",
        "ACK",
        "ack ",
        "ping",
        "ping:a:b",
        &format!("ping:{longest}x"),
    ] {
        assert_eq!(text::command(bad), None, "{bad}");
    }
}

#[test]
fn websocket_header_uses_the_shortest_length() {
    let header = |len| {
        let mut out = Vec::new();
        append_header(&mut out, Opcode::Binary, len);
        out
    };
    assert_eq!(header(125), [0x82, 125]);
    assert_eq!(header(126), [0x82, 126, 0, 126]);
    assert_eq!(header(65_535), [0x82, 126, 255, 255]);
    assert_eq!(header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    let mut close = Vec::new();
    append_close(&mut close, 1001, &"é".repeat(100));
    assert_eq!(
        (close[0], close[1], close.len()),
        (0x88, 124, 126),
        "the reason is truncated between characters"
    );
}

fn query(text: &str) -> Result<Query, String> {
    let pairs = text
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').unwrap_or((p, "")));
    Query::from_pairs(pairs).map_err(|e| e.to_string())
}

#[test]
fn query_all_parameters_are_decoded() {
    assert_eq!(query(""), Ok(Query::default()));
    let all = query(
        "video=1&audio=0&format=binary&delivery=all&max_fps=7.5&window=2&events=1&audio_rate=16000&audio_channels=1&token=s",
    );
    let expected = Query {
        video: Some(true),
        audio: Some(false),
        format: Format::Binary,
        delivery: Delivery::All,
        max_fps: Some(7.5),
        window: Some(2),
        events: true,
        audio_rate: Some(16_000),
        audio_channels: Some(1),
    };
    assert_eq!(all, Ok(expected));
}

#[test]
fn query_error_is_one_line() {
    let cases = [
        ("video=yes", "video must be 0 or 1, not \"yes\""),
        ("audio=", "audio must be 0 or 1, not \"\""),
        ("format=json", "format must be text or binary, not \"json\""),
        ("delivery=ALL", "delivery must be live or all, not \"ALL\""),
        ("max_fps=0", "max_fps must be a number above 0, not \"0\""),
        (
            "max_fps=nan",
            "max_fps must be a number above 0, not \"nan\"",
        ),
        (
            "max_fps=inf",
            "max_fps must be a number above 0, not \"inf\"",
        ),
        ("window=0", "window must be 1 to 100, not \"0\""),
        ("window=101", "window must be 1 to 100, not \"101\""),
        ("window=+1", "window must be 1 to 100, not \"+1\""),
        ("events=2", "events must be 0 or 1, not \"2\""),
        (
            "audio_rate=7999",
            "audio_rate must be 8000 to 48000, not \"7999\"",
        ),
        (
            "audio_rate=48001",
            "audio_rate must be 8000 to 48000, not \"48001\"",
        ),
        (
            "audio_channels=3",
            "audio_channels must be 1 or 2, not \"3\"",
        ),
        ("audio=1&audio=1", "parameter \"audio\" is given twice"),
        ("a\nb=1", "unknown parameter \"a?b\""),
    ];
    for (text, expected) in cases {
        let error = query(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

prop_compose! {
    fn micros()(us in 0..u64::MAX / 1_000) -> UnixNs { UnixNs(us * 1_000) }
}

proptest! {
    #[test]
    fn text_packet_round_trip(stamp in micros(), width: u16, height: u16, payload: Vec<u8>) {
        let sent = text::packet(stamp, Shape::Video { width, height }, &payload);
        let read = Message::Video { stamp, label: None, width, height, jpeg: Cow::Borrowed(&payload) };
        prop_assert_eq!(text::decode(&sent), Ok(read));
        let sent = text::packet(stamp, Shape::Audio { rate_hz: 1, channels: 1 }, &payload);
        prop_assert_eq!(text::decode(&sent), Ok(Message::Audio { stamp, label: None, format: None, pcm: Cow::Borrowed(&payload) }));
    }

    #[test]
    fn binary_packet_round_trip(stamp: u64, sequence: u32, gap: bool, width: u16, height: u16, rate_hz: u32, channels: u16, payload: Vec<u8>) {
        let (stamp, label) = (UnixNs(stamp), Label { sequence, gap });
        let sent = [&binary::packet_header(label, stamp, Shape::Video { width, height })[..], &payload].concat();
        let read = Message::Video { stamp, label: Some(label), width, height, jpeg: Cow::Borrowed(&payload) };
        prop_assert_eq!(binary::decode(&sent), Ok(read));
        let sent = [&binary::packet_header(label, stamp, Shape::Audio { rate_hz, channels })[..], &payload].concat();
        let read = Message::Audio { stamp, label: Some(label), format: Some(AudioFormat { rate_hz, channels }), pcm: Cow::Borrowed(&payload) };
        prop_assert_eq!(binary::decode(&sent), Ok(read));
    }

    #[test]
    fn pong_and_event_round_trip(received in micros(), sent in micros(), id in "[^:]{0,16}", count: Option<u32>) {
        let pong = text::pong(&id, received, sent);
        prop_assert_eq!(text::decode(&pong), Ok(Message::Pong { id: Cow::Borrowed(&id), received, sent }));
        let seconds = count.is_none().then_some(0.25);
        let gap = Gap { count: count.map(u64::from), seconds, span_seconds: Some(0.27), cause: Cause::Driver.into() };
        let event = Event::Gap { stream: MediaKind::Video, gap };
        let line = text::event(sent, &event);
        prop_assert_eq!(text::decode(&line), Ok(Message::Event { stamp: sent, event: event.clone() }));
        let bytes = [&binary::event_header(3, sent)[..], event.to_json().as_bytes()].concat();
        prop_assert_eq!(binary::decode(&bytes), Ok(Message::Event { stamp: sent, event }));
    }

    /// The prefix has its own number formatting.
    #[test]
    fn text_prefix_equals_formatted_text(stamp: u64, width: u16, height: u16) {
        for stamp in [UnixNs(stamp), UnixNs(stamp % 2_000_000), UnixNs(u64::MAX)] {
            let head = text::packet_prefix(stamp, Shape::Video { width, height });
            prop_assert_eq!(head.as_bytes().to_vec(), format!("video:{}:{width}:{height}:", stamp::Seconds(stamp)).into_bytes());
            let head = text::packet_prefix(stamp, Shape::Audio { rate_hz: 48_000, channels: 1 });
            prop_assert_eq!(head.as_bytes().to_vec(), format!("audio:{}:", stamp::Seconds(stamp)).into_bytes());
        }
    }

    #[test]
    fn base64_round_trip(bytes: Vec<u8>, before: Vec<u8>) {
        let mut out = before.clone();
        b64::append(&mut out, &bytes);
        prop_assert_eq!(out.len(), before.len() + b64::encoded_len(bytes.len()));
        prop_assert!(out.starts_with(&before));
        prop_assert_eq!(b64::decode(&out[before.len()..]), Some(bytes));
    }

    /// Prefixes of good messages, and any bytes.
    #[test]
    fn decoders_arbitrary_bytes_do_not_panic(bytes: Vec<u8>, line in "(video|audio|event|pong|):?[0-9.:a-zA-Z{}\"+/=]{0,40}") {
        let _ = binary::decode(&bytes);
        let _ = Event::from_json(&bytes);
        let _ = text::command(&line);
        for end in (0..=line.len()).filter(|&end| line.is_char_boundary(end)) {
            let _ = text::decode(&line[..end]);
        }
        let mut headed = binary::packet_header(Label { sequence: 0, gap: false }, STAMP, Shape::Video { width: 1, height: 1 }).to_vec();
        headed.extend_from_slice(&bytes);
        for end in 0..headed.len() {
            let _ = binary::decode(&headed[..end]);
        }
    }
}
