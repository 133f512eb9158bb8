//! Hostile and faulty clients: each is closed with the right code and disturbs no other.

use crate::stream_rig::*;
use futures_util::SinkExt;
use stampcast::config::Limits;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// Frames the given bytes, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len => {
            out.extend_from_slice(&[0x80 | 127]);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// A WebSocket whose bytes the test writes.
struct Raw(TcpStream);

impl Raw {
    async fn connect(rig: &Rig, query: &str) -> Self {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let head = format!(
            "GET /stream{query} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(patient(stream.read_u8()).await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // The example of RFC 6455, section 1.3.
        assert!(
            answer
                .to_ascii_lowercase()
                .contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{answer}"
        );
        Self(stream)
    }

    /// Reads to the end; the code in the close frame that comes last.
    async fn close_code(mut self) -> u16 {
        let mut all = Vec::new();
        patient(self.0.read_to_end(&mut all)).await.unwrap();
        let mut rest = &all[..];
        loop {
            let [first, len, body @ ..] = rest else {
                panic!("no close frame in {all:?}")
            };
            assert!(*len < 126, "only small frames are expected here");
            let (body, next) = body.split_at(usize::from(*len));
            if *first == 0x88 {
                assert!(next.is_empty(), "nothing comes behind a close frame");
                return u16::from_be_bytes([body[0], body[1]]);
            }
            rest = next;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_protocol_violation_closes_with_its_code() {
    let mut rig = Rig::start().await;
    let mut witness = rig.connect_and_wait("?audio=0").await;
    let text = 0x81;
    let giant = frame(text, &vec![b'x'; 10 << 20]);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a text that is no command", frame(text, b"hello"), 1008),
        ("a binary message", frame(0x82, b"hello"), 1003),
        ("invalid UTF-8", frame(text, b"ping:\xff\xfe"), 1007),
        ("a 10 MB message", giant, 1009),
        (
            "fragments that add up to too much",
            [frame(0x01, &[b'x'; 4000]), frame(0x80, &[b'x'; 4000])].concat(),
            1009,
        ),
        ("a reserved opcode", frame(0x83, b""), 1002),
        ("a reserved control opcode", frame(0x8b, b""), 1002),
        ("reserved bits", frame(0xc1, b"ack"), 1002),
        ("a fragmented ping", frame(0x09, b""), 1002),
        ("a ping that is too long", frame(0x89, &[0; 126]), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        (
            "a new message inside another",
            [frame(0x01, b"a"), frame(0x01, b"b")].concat(),
            1002,
        ),
        ("an unmasked frame", vec![text, 3, b'a', b'c', b'k'], 1002),
        ("garbage", vec![0xff; 400], 1002),
        ("a close with half a code", frame(0x88, &[3]), 1002),
        ("an orderly close", frame(0x88, &[0x03, 0xe8]), 1000),
    ];
    for (what, bytes, code) in cases {
        let mut client = Raw::connect(&rig, "").await;
        // The server may close before it has read all of it.
        let _ = client.0.write_all(&bytes).await;
        assert_eq!(client.close_code().await, code, "{what}");
        rig.video.push(b"x");
        assert!(witness.text().await.starts_with("video:"));
    }
    rig.wait_for_viewers(1).await;
    rig.stop().await;
}

#[tokio::test]
async fn websocket_ping_flood_does_not_grow_server_memory() {
    let mut rig = Rig::start().await;
    let mut witness = rig.connect_and_wait("?audio=0").await;
    let mut flood = Raw::connect(&rig, "?audio=0").await;
    let pings = [frame(0x89, &[7; 125]), frame(0x81, b"ping:x")]
        .concat()
        .repeat(1000);
    // It never reads, so its writes must block in the end: no buffer grows without bound.
    let blocked = async {
        while let Ok(written) =
            tokio::time::timeout(Duration::from_millis(300), flood.0.write_all(&pings)).await
        {
            written.unwrap();
        }
    };
    patient(blocked).await;
    rig.video.push(b"x");
    assert!(witness.text().await.starts_with("video:"));
    drop(flood);
    rig.wait_for_viewers(1).await;
    rig.stop().await;
}

#[tokio::test]
async fn websocket_pings_are_answered_between_frames() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect_and_wait("?audio=0").await;
    viewer
        .socket
        .send(Message::Ping("abc".into()))
        .await
        .unwrap();
    assert_eq!(viewer.next().await, Message::Pong("abc".into()));
    rig.video.push(&[1; 500_000]);
    viewer
        .socket
        .send(Message::Ping("def".into()))
        .await
        .unwrap();
    let mut got = [viewer.next().await, viewer.next().await];
    got.sort_by_key(|m| m.len());
    assert_eq!(got[0], Message::Pong("def".into()));
    assert!(got[1].is_text());
    rig.stop().await;
}

/// RFC 9110, section 5.3: lists, several headers of one name, any case.
#[tokio::test]
async fn websocket_handshake_with_lists_and_repeated_headers_is_accepted() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let mut rig = Rig::start().await;
    let head = "GET /stream HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\
                Connection: Upgrade\r\nUpgrade: h2c, WebSocket\r\n\
                Sec-WebSocket-Version: 8, 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = tokio::net::TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = String::new();
    BufReader::new(&mut stream)
        .read_line(&mut status)
        .await
        .unwrap();
    assert!(status.starts_with("HTTP/1.1 101 "), "{status}");
    drop(stream);
    rig.stop().await;
}

#[tokio::test]
async fn http_malformed_requests_are_refused() {
    let mut rig = Rig::start().await;
    assert_eq!(rig.get("/nothing").await.0, 404);
    assert_eq!(rig.get("/../etc/passwd").await.0, 404);
    assert_eq!(rig.get("//info").await.0, 404);
    let (code, body) = rig.get("/").await;
    assert!(
        code == 200 && body.contains("/stream") && body.contains("/info"),
        "{body}"
    );
    assert_eq!(
        rig.request(
            "POST /info HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .await
        .0,
        405
    );
    assert_eq!(
        rig.request("DELETE /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .0,
        405
    );
    assert_eq!(rig.request("this is no HTTP\r\n\r\n").await.0, 400);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    assert!([414, 431].contains(&rig.request(&long).await.0));
    let upgrade = |headers: &str| {
        format!(
            "GET /stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n{headers}\r\n"
        )
    };
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let head = upgrade(key).replace("GET ", "HEAD ");
    assert_eq!(rig.request(&head).await.0, 200, "HEAD upgrades nothing");
    assert_eq!(
        rig.request(&upgrade("Sec-WebSocket-Version: 8\r\n"))
            .await
            .0,
        426
    );
    assert_eq!(
        rig.request(&upgrade("Sec-WebSocket-Version: 13\r\n"))
            .await
            .0,
        400
    );
    assert_eq!(
        rig.request(&upgrade(
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"
        ))
        .await
        .0,
        400
    );
    rig.stop().await;
}

#[tokio::test]
async fn handshake_incomplete_ends_at_its_deadline() {
    let limits = Limits {
        head: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut rig = Rig::with(true, limits).await;
    for half in ["", "GET /stream HTTP/1.1\r\nHost: x\r\nUpg"] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        patient(stream.read_to_end(&mut answer)).await.unwrap();
    }
    // Our own handshake may miss so short a deadline, too.
    let url = format!("ws://{}/stream", rig.address);
    until(async || {
        patient(tokio_tungstenite::connect_async(&url))
            .await
            .is_ok()
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn viewers_beyond_limit_get_503_until_a_slot_is_free() {
    let limits = Limits {
        viewers: 2,
        ..Limits::default()
    };
    let mut rig = Rig::with(true, limits).await;
    let first = rig.connect_and_wait("").await;
    let _second = rig.connect_and_wait("").await;
    assert_eq!(refused(&rig, "").await.0, 503);
    drop(first);
    rig.wait_for_viewers(1).await;
    let _third = rig.connect_and_wait("").await;
    rig.stop().await;
}

#[tokio::test]
async fn connections_idle_are_evicted_for_new_requests() {
    let limits = Limits {
        connections: 8,
        head: PATIENCE,
        ..Limits::default()
    };
    let mut rig = Rig::with(true, limits).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(rig.address).await.unwrap());
    }
    assert_eq!(rig.get("/info").await.0, 200);
    // The longest idle one was evicted first.
    assert_eq!(patient(idle[0].read(&mut [0; 16])).await.unwrap_or(0), 0);
    rig.stop().await;
}

#[tokio::test]
async fn connections_all_busy_one_more_gets_503() {
    let limits = Limits {
        connections: 4,
        ..Limits::default()
    };
    let mut rig = Rig::with(true, limits).await;
    let mut watching = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream
            .write_all(b"GET /stream.mjpg HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut head = [0; 12];
        patient(stream.read_exact(&mut head)).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        watching.push(stream);
    }
    let (code, body) = rig.get("/info").await;
    assert!(
        code == 503 && body.contains("too many connections"),
        "{body}"
    );
    drop(watching);
    until(async || {
        rig.video.push(b"x");
        rig.get("/info").await.0 == 200
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn connection_not_reading_answers_is_closed() {
    let limits = Limits {
        connections: 1,
        stalled: Duration::from_millis(500),
        ..Limits::default()
    };
    let mut rig = Rig::with(true, limits).await;
    let mut deaf = TcpStream::connect(rig.address).await.unwrap();
    let requests = "GET /info HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let asking = async { while deaf.write_all(requests.as_bytes()).await.is_ok() {} };
    patient(asking).await;
    until(async || rig.get("/info").await.0 == 200).await;
    rig.stop().await;
}

#[tokio::test]
async fn viewer_not_reading_is_closed_eventually() {
    let limits = Limits {
        stalled: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut rig = Rig::with(true, limits).await;
    let _stalled = rig.connect_and_wait("?audio=0").await;
    let mut idle = rig.connect_and_wait("?video=0").await;
    until(async || {
        rig.video.push(&[7; 300_000]);
        rig.info().await["viewers"] == 1
    })
    .await;
    rig.audio.push(&[0, 0]);
    assert!(
        idle.text().await.starts_with("audio:"),
        "who has nothing to take is not stalled"
    );
    rig.stop().await;
}

#[tokio::test]
async fn server_stop_notifies_every_viewer() {
    // Much longer than the test waits: neither deadline may be what ends it.
    let limits = Limits {
        head: 10 * PATIENCE,
        stalled: 10 * PATIENCE,
        ..Limits::default()
    };
    let mut rig = Rig::with(true, limits).await;
    let mut reading = rig.connect_and_wait("").await;
    let stalled = rig.connect_and_wait("?audio=0").await;
    // A request that never comes must not delay the end.
    let _idle = TcpStream::connect(rig.address).await.unwrap();
    for _ in 0..50 {
        rig.video.push(&[7; 300_000]);
        assert!(reading.text().await.starts_with("video:"));
    }
    let (closed, ()) = tokio::join!(reading.closed(), rig.stop());
    assert_eq!(closed, (1001, "the server stops".into()));
    drop(stalled);
    assert!(
        TcpStream::connect(rig.address).await.is_err(),
        "the port is free"
    );
}

/// 192.0.2.1 is on no interface (RFC 5737), like the address of --host after it was removed.
#[cfg(feature = "webrtc")]
#[tokio::test]
async fn webrtc_without_a_port_all_else_is_served_and_whep_says_why() {
    let webrtc = stampcast::config::Webrtc {
        port: 0,
        public_ip: None,
        bitrate_bps: 0,
        max_sessions: 1,
        stun: None,
        whip: None,
    };
    let host = [192, 0, 2, 1].into();
    let mut rig = Rig::of(
        stampcast::config::Config {
            host,
            webrtc: Some(webrtc),
            ..config(true)
        },
        Limits::default(),
    )
    .await;
    for path in ["/whep", "/any/whep", "/api/webrtc/offer"] {
        let (status, body) = rig
            .request(&format!(
                "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
            ))
            .await;
        assert_eq!(status, 503, "{path}: {body}");
        assert!(
            body.contains("WebRTC is not available") && body.contains("192.0.2.1"),
            "{body}"
        );
    }
    let mut viewer = rig.connect_and_wait("?audio=0").await;
    rig.video.push(&[1; 5000]);
    while viewer.text().await.len() < 5000 {}
    rig.stop().await;
}
