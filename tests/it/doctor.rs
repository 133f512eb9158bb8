//! `stampcast doctor` against servers that misbehave: what they say reaches the terminal as one
//! line of printable characters.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

/// Sets the title of a terminal, clears it, changes colours by C1, reverses the direction, and adds
/// a line of its own.
const HOSTILE: &str =
    "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{85}\u{202e}\u{2066}\r\nFAILED: fake\u{2028}\u{7f}";

/// Passes one connection to `serve`.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        serve(stream);
    });
    (address, thread)
}

/// Exit code and output of `stampcast doctor`, all of it printable.
fn doctor(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_stampcast"))
        .args(["doctor", "--seconds", "60"])
        .args(args)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = String::from_utf8([out.stdout, out.stderr].concat()).expect("UTF-8");
    let raw = text.chars().find(|c| {
        *c != '\n'
            && (c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    });
    assert_eq!(raw, None, "{text:?}");
    (out.status.code(), text)
}

/// A stream that ends with this close reason, after gaps with these causes.
fn stream_that_ends(causes: Vec<String>, reason: &str) -> (String, JoinHandle<()>) {
    let reason = reason.to_owned();
    server(move |stream| {
        let mut socket = tungstenite::accept(stream).expect("a handshake");
        for cause in causes {
            let gap =
                serde_json::json!({"event": "gap", "stream": "video", "count": 2, "cause": cause});
            let event = Message::text(format!("event:1700000000.000000:{gap}"));
            socket.send(event).expect("a viewer");
        }
        let close = CloseFrame {
            code: CloseCode::Away,
            reason: reason.into(),
        };
        socket.close(Some(close)).expect("a viewer");
        while socket.read().is_ok() {}
    })
}

#[test]
fn doctor_close_reason_and_causes_are_printable() {
    let huge = "\u{1b}".repeat(1 << 20);
    for format in [&[][..], &["--json"]] {
        let causes = vec![HOSTILE.to_owned(), huge.clone()];
        let (address, thread) = stream_that_ends(causes, HOSTILE);
        let (code, text) = doctor(&[&[address.as_str()], format].concat(), &[]);
        thread.join().expect("the server ends");
        assert_eq!(code, Some(1), "{text}");
        let [reason, cause] = match format {
            [] => ["\\u{1b}]0;owned", "(\\u{1b}]0;owned"],
            // A backslash in JSON.
            _ => ["\\\\u{1b}]0;owned", "\"\\\\u{1b}]0;owned"],
        };
        for expected in ["closed by the server (1001 ", reason, cause, "FAILED: fake"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(
            !text.lines().any(|line| line.starts_with("FAILED: fake")) && text.len() < 8_000,
            "{text}"
        );
    }
}

#[test]
fn doctor_refusal_is_one_printable_line() {
    let json = serde_json::json!({ "error": HOSTILE }).to_string();
    for body in [HOSTILE.to_owned(), json, HOSTILE.repeat(10_000)] {
        let (address, thread) = server(move |mut stream| {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.ends_with(b"\r\n\r\n") {
                let length = stream.read(&mut buffer).expect("a request");
                request.extend_from_slice(&buffer[..length]);
            }
            let head = format!(
                "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            // The client does not have to read all of it.
            let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
            let _ = stream.read(&mut buffer);
        });
        let (code, text) = doctor(&[&address], &[]);
        thread.join().expect("the server ends");
        assert_eq!((code, text.lines().count()), (Some(2), 1), "{text}");
        assert!(
            text.contains("refused the stream: 403 Forbidden \\u{1b}]0;owned") && text.len() < 600,
            "{text}"
        );
    }
}

#[test]
fn doctor_server_without_websocket_is_named_as_such() {
    let (address, thread) = server(|mut stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        let _ = stream.read(&mut buffer);
    });
    let (code, text) = doctor(&[&address], &[]);
    thread.join().expect("the server ends");
    assert_eq!((code, text.lines().count()), (Some(2), 1), "{text}");
    assert!(text.contains("not that of a WebSocket server"), "{text}");
}

/// Without --ca, an error does not begin with it.
#[cfg(feature = "tls")]
#[test]
fn doctor_without_root_certificates_proposes_ca() {
    let empty = tempfile::tempdir().expect("a folder");
    let file = empty.path().join("none.pem");
    std::fs::write(&file, "").expect("writable");
    let (address, thread) = server(|_| {});
    let environment = [
        ("SSL_CERT_FILE", file.to_str().expect("a plain path")),
        ("SSL_CERT_DIR", empty.path().to_str().expect("a plain path")),
    ];
    let (code, text) = doctor(&[&format!("wss://{address}")], &environment);
    thread.join().expect("the server ends");
    assert_eq!((code, text.lines().count()), (Some(2), 1), "{text}");
    assert!(
        text.contains("no root certificates")
            && text.contains("with --ca")
            && !text.contains("--ca:"),
        "{text}"
    );
}
