//! Publishing to media servers made of str0m and a socket: what they receive, and what is logged of
//! those that refuse.

use super::peer::{Peer, request};
use super::reach::{names_public_address, stun_server};
use crate::common::viewer::Viewer;
use crate::common::{PATIENCE, Program, until};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const TEST: [&str; 6] = [
    "--camera-type",
    "test",
    "--enable-audio",
    "--webrtc-port",
    "0",
    "--fps=30",
];

struct Sink(TcpListener);

/// A request that waits for its answer.
struct Asked {
    stream: TcpStream,
    head: String,
    body: String,
}

impl Sink {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("it is settable");
        Self(listener)
    }

    fn url(&self) -> String {
        format!(
            "http://{}/live/whip",
            self.0.local_addr().expect("it is bound")
        )
    }

    fn next(&self) -> Asked {
        let mut stream = until("a request", || match self.0.accept() {
            Ok((stream, _)) => Some(stream),
            Err(e) => (e.kind() != ErrorKind::WouldBlock).then(|| panic!("it listens: {e}")),
        });
        stream.set_nonblocking(false).expect("it is settable");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout is settable");
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")
                        .map(str::to_owned)
                });
                if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                    return Asked {
                        stream,
                        head: head.to_owned(),
                        body: body.to_owned(),
                    };
                }
            }
            let length = stream.read(&mut buffer).expect("it can be read");
            assert!(length > 0, "the request ends early: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
}

impl Asked {
    fn answer(mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        self.stream
            .write_all(answer.as_bytes())
            .expect("it can be written");
    }
}

fn is_published(is_lite: bool) {
    let sink = Sink::new();
    let url = sink.url();
    let mut program =
        Program::start(&[&TEST[..], &["--whip", &url, "--whip-token", "s3cret"]].concat());
    let asked = sink.next();
    let head = asked.head.to_ascii_lowercase();
    assert!(
        head.starts_with("post /live/whip ") && head.contains("authorization: bearer s3cret"),
        "{head}"
    );
    assert!(
        asked.body.contains("a=sendonly") && !asked.body.contains("a=recvonly"),
        "{}",
        asked.body
    );
    let mut peer = Peer::serve(&asked.body, is_lite);
    asked.answer(
        "201 Created",
        "Location: ../sessions/7\r\nContent-Type: application/sdp\r\n",
        &peer.answer.clone(),
    );
    let (mut frames, mut audio_packets) = (0, 0);
    assert!(peer.watch(|data| {
        assert!(
            data.ext_vals.abs_capture_time.is_some(),
            "each frame has its capture time"
        );
        let count = if data.params.spec().codec.is_audio() {
            &mut audio_packets
        } else {
            &mut frames
        };
        *count += 1;
        frames >= 30 && audio_packets >= 30
    }));
    program.line(&["WHIP: publishing to http://127.0.0.1:"]);
    let state: serde_json::Value =
        serde_json::from_str(&request(program.port(), "GET", "/state", "", "").body).expect("JSON");
    let webrtc = &state["result"]["webrtc"];
    assert_eq!(
        (
            webrtc["whip"]["state"].as_str(),
            webrtc["count"]["whip"].as_u64()
        ),
        (Some("connected"), Some(1)),
        "{webrtc}"
    );
    program.signal(libc::SIGTERM);
    let asked = sink.next();
    assert!(
        asked.head.starts_with("DELETE /sessions/7 "),
        "{}",
        asked.head
    );
    asked.answer("200 OK", "", "");
    assert!(program.wait().success());
    let log = program.lines().join("\n");
    for secret in ["s3cret", "/live", "candidate", "ufrag"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn whip_media_server_gets_the_stream_with_timestamps_and_a_delete() {
    is_published(false);
}

#[test]
fn whip_ice_lite_server_gets_the_stream() {
    is_published(true);
}

/// A STUN server of a media server's `Link` header: for the next offer, not for viewers.
#[test]
fn whip_link_headers_stun_address_is_in_the_next_offer_only() {
    let stun = stun_server("127.0.0.1:0");
    let sink = Sink::new();
    let url = sink.url();
    let program = Program::start(&[&TEST[..], &["--whip", &url]].concat());
    let headers = format!("Location: /1\r\nLink: <stun:{stun}>; rel=\"ice-server\"\r\n");
    let mut offers: Vec<String> = Vec::new();
    while !offers
        .last()
        .is_some_and(|offer| names_public_address(offer))
    {
        assert!(offers.len() < 4, "no public address in {offers:?}");
        let asked = sink.next();
        if asked.head.starts_with("POST ") {
            offers.push(asked.body.clone());
        }
        asked.answer("201 Created", &headers, "v=0");
    }
    assert!(offers.len() > 1 && !offers[0].contains("srflx"));
    let mut peer = Peer::play(program.port());
    assert!(!peer.answer.contains("srflx"), "{}", peer.answer);
    assert!(peer.watch(|_| true));
}

#[test]
fn whip_session_without_location_is_warned_of_once() {
    let sink = Sink::new();
    let url = sink.url();
    let program = Program::start(&[&TEST[..], &["--whip", &url]].concat());
    for _ in 0..3 {
        let asked = sink.next();
        assert!(asked.head.starts_with("POST "), "{}", asked.head);
        asked.answer("201 Created", "", "v=0");
    }
    let log = program.lines();
    let warnings = log.iter().filter(|line| line.contains("cannot be deleted"));
    assert_eq!(warnings.count(), 1, "{log:?}");
}

/// With such a user fragment str0m's ICE would panic at its first check.
#[test]
fn whip_answer_out_of_bounds_is_a_failed_attempt() {
    let sink = Sink::new();
    let url = sink.url();
    let program = Program::start(&[&TEST[..], &["--whip", &url]].concat());
    let serve = program.child("stampcast-serve", None);
    let mut viewer = Viewer::connect(&program.url(""));
    viewer.frame();
    let mut attempts = Vec::new();
    while attempts.len() < 4 {
        let asked = sink.next();
        if asked.head.starts_with("DELETE ") {
            asked.answer("200 OK", "", "");
            continue;
        }
        attempts.push(Instant::now());
        let peer = Peer::serve(&asked.body, false);
        let ufrag = peer
            .answer
            .lines()
            .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
            .expect("it has one");
        // Candidates name it too: those of another are left out.
        let answer = peer.answer.replace(ufrag, &"U".repeat(300));
        assert!(answer.contains("a=candidate:") && answer.contains("UUU"));
        let headers = "Location: /1\r\nContent-Type: application/sdp\r\n";
        asked.answer("201 Created", headers, &answer);
        viewer.frame();
    }
    // At least half of 1, 2 and 4 s.
    let waits: Duration = attempts.windows(2).map(|w| w[1] - w[0]).sum();
    assert!(waits >= Duration::from_millis(3500), "{attempts:?}");
    viewer.frame();
    assert_eq!(program.child("stampcast-serve", None), serve);
    program.line(&["WARN", "WHIP", "answer cannot be used", "a=ice-ufrag"]);
    let log = program.lines();
    let lines = log.iter().filter(|line| line.contains("WHIP: http"));
    assert_eq!(lines.count(), 1, "{log:?}");
    assert!(!log.join("\n").contains("panicked"), "{log:?}");
}

#[test]
fn whip_every_refusal_is_one_line_with_the_remedy() {
    let sink = Sink::new();
    let url = sink.url();
    let program = Program::start(&[&TEST[..], &["--whip", &url]].concat());
    for (status, headers, hint) in [
        ("401 Unauthorized", "", "--whip-token"),
        (
            "302 Found",
            "Location: /elsewhere\r\n",
            "give the URL of the redirect",
        ),
        ("503 Service Unavailable", "Retry-After: 1\r\n", "busy"),
    ] {
        sink.next().answer(status, headers, "");
        program.line(&["WARN", "WHIP", status, hint]);
    }
    sink.next().answer("201 Created", "Location: /1\r\n", "v=0");
    let asked = sink.next();
    assert!(
        asked.head.starts_with("DELETE /1 "),
        "a session that is of no use is ended: {}",
        asked.head
    );
    asked.answer("200 OK", "", "");
    program.line(&["WARN", "WHIP", "answer cannot be used"]);
    drop(sink);
    program.line(&["WARN", "WHIP", "no connection", "is the server running"]);
    assert_eq!(
        program
            .lines()
            .iter()
            .filter(|line| line.contains("WARN  stampcast-serve"))
            .count(),
        5,
        "{:?}",
        program.lines()
    );
}

/// A file's name, the media server's words and a client's header reach the log, in both formats,
/// without a character that acts on a terminal.
#[test]
fn whip_hostile_words_reach_the_log_escaped() {
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\nERROR fake\u{7f}";
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let token = folder.path().join(hostile);
        std::fs::write(&token, "s3cret").expect("writable");
        let sink = Sink::new();
        let url = sink.url();
        let token_file = token.to_str().expect("UTF-8");
        let options = [
            "--whip",
            &url,
            "--whip-token-file",
            token_file,
            "--log-format",
            format,
            "--verbose",
        ];
        let program = Program::start(&[&TEST[..], &options].concat());
        request(program.port(), "GET", "/\u{1b}", hostile, "");
        let asked = sink.next();
        let words = hostile.replace('\n', "");
        let sdp = format!("v=0\r\no={words}\r\ns={words}\r\na=ice-ufrag:{words}\r\na={words}\r\n");
        std::fs::remove_file(&token).expect("writable");
        let headers = format!("Location: /1\r\nLink: <stun:{words}:1>; rel=ice-server\r\n");
        // hyper refuses headers with control characters: that is an error of its own.
        asked.answer("201 \u{9b}2J", &headers, &sdp);
        // How they are escaped depends on the format.
        program.line(&[
            "WARN",
            "WHIP",
            "the token file",
            "]0;owned",
            "cannot be read",
        ]);
        let log = program.lines().join("\n");
        let raw = log.chars().find(|c| {
            *c != '\n'
                && (c.is_control()
                    || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        });
        assert_eq!(raw, None, "{log:?}");
        assert!(
            !log.lines().any(|line| line.starts_with("ERROR fake")),
            "{log:?}"
        );
    }
}
