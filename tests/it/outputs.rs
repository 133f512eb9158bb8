//! The plain HTTP outputs of the running program: snapshot, MJPEG, WAV, state and metrics.

use crate::common::Program;
use crate::common::viewer::{Viewer, unix_now};
use stampcast::encode::jpeg::size_of;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const TEST: [&str; 3] = ["--camera-type", "test", "--enable-audio"];

/// An answer whose head was read.
struct Answer {
    status: u16,
    head: String,
    body: BufReader<TcpStream>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| {
            l.split_once(": ")
                .filter(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, v)| v)
        })
    }

    /// The body to the end of the connection, chunks joined.
    fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                bytes.extend(chunk);
            }
        } else {
            self.body.read_to_end(&mut bytes).expect("the answer ends");
        }
        bytes
    }

    fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.body.read_line(&mut line).expect("a chunk's length");
        let length = usize::from_str_radix(line.trim(), 16)
            .unwrap_or_else(|_| panic!("{line:?} is no length"));
        let mut chunk = vec![0; length + 2];
        self.body.read_exact(&mut chunk).expect("a whole chunk");
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }
}

fn ask(program: &Program, method: &str, path: &str) -> Answer {
    let mut tcp = TcpStream::connect(("127.0.0.1", program.port())).expect("the server listens");
    tcp.set_read_timeout(Some(crate::common::PATIENCE))
        .expect("a timeout is settable");
    write!(
        tcp,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .expect("the server reads");
    let mut body = BufReader::new(tcp);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(
            body.read_line(&mut head).expect("a head") > 0,
            "{path} ended in its head: {head:?}"
        );
    }
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    Answer { status, head, body }
}

fn get(program: &Program, path: &str) -> Answer {
    ask(program, "GET", path)
}

#[test]
fn snapshot_is_captured_after_its_request() {
    let program = Program::start(&TEST);
    for path in [
        "/snapshot.jpg",
        "/snapshot",
        "/?action=snapshot",
        "/snapshot.jpg?t=1234",
    ] {
        let asked = unix_now();
        let answer = get(&program, path);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("image/jpeg")),
            "{path}: {}",
            answer.head
        );
        let stamp: f64 = answer
            .header("x-timestamp")
            .expect("a stamp")
            .parse()
            .expect("seconds");
        assert!(
            stamp > asked - 0.001 && stamp < unix_now(),
            "{path}: {stamp} for a request at {asked}"
        );
        assert!(answer.header("x-sequence").is_some());
        assert_eq!(size_of(&answer.rest()), Some((640, 480)), "{path}");
    }
}

#[test]
fn snapshot_with_max_age_may_be_older_without_viewers() {
    let program = Program::start(&["--camera-type", "test", "--fps", "1"]);
    let number = |query: &str| {
        get(&program, &format!("/snapshot.jpg{query}"))
            .header("x-sequence")
            .expect("a number")
            .to_owned()
    };
    crate::common::until("the same frame twice", || {
        (number("?max_age_ms=60000") == number("?max_age_ms=60000")).then_some(())
    });
    assert_ne!(
        number("?max_age_ms=60000"),
        number(""),
        "who does not ask for an older one gets a new one"
    );
}

#[test]
fn mjpeg_parts_are_whole_frames_with_the_stream_timestamps() {
    let program = Program::start(&TEST);
    for path in [
        "/stream.mjpg",
        "/stream",
        "/?action=stream",
        "/stream.mjpg?max_fps=5",
        "/?action=stream&max_fps=5",
    ] {
        let mut answer = get(&program, path);
        assert_eq!(
            answer.header("connection"),
            Some("close"),
            "{}",
            answer.head
        );
        let kind = answer.header("content-type").expect("a type").to_owned();
        let boundary = kind.split("boundary=").nth(1).expect("a boundary");
        assert!(kind.starts_with("multipart/x-mixed-replace"), "{kind}");
        let mut bytes = Vec::new();
        let mut stamps = Vec::new();
        let expected = if path.contains("max_fps") {
            0.2
        } else {
            1.0 / 15.0
        };
        // On a loaded machine frames may be missing, so the shortest step gives the rate.
        let shortest = |stamps: &[f64]| {
            stamps
                .windows(2)
                .map(|w| w[1] - w[0])
                .fold(f64::MAX, f64::min)
        };
        while stamps.len() < 6 || (shortest(&stamps) > expected * 1.5 && stamps.len() < 100) {
            bytes.extend(answer.chunk().expect("the stream does not end"));
            let open = format!("--{boundary}\r\n");
            let Some(head_end) = find(&bytes, b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8(bytes[..head_end].to_vec()).expect("a head is text");
            assert!(head.starts_with(&open), "{head:?}");
            let field = |name: &str| {
                head.lines()
                    .find_map(|l| l.strip_prefix(name))
                    .map(str::to_owned)
                    .unwrap_or_else(|| panic!("{name} in {head}"))
            };
            let length: usize = field("Content-Length: ").parse().expect("a length");
            let end = head_end + 4 + length;
            // The next boundary is sent with the frame: a browser shows a frame only after it.
            if bytes.len() < end + 2 + open.len() {
                continue;
            }
            assert_eq!(size_of(&bytes[head_end + 4..end]), Some((640, 480)));
            assert_eq!(&bytes[end..end + 2], b"\r\n");
            stamps.push(field("X-Timestamp: ").parse::<f64>().expect("seconds"));
            bytes.drain(..end + 2);
        }
        assert!(
            (shortest(&stamps) - expected).abs() < expected * 0.5,
            "{path}: {stamps:?}"
        );
    }
    assert_eq!(get(&program, "/stream.mjpg?max_fps=0").status, 400);
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[test]
fn wav_of_two_seconds_lasts_two_seconds() {
    let program = Program::start(&TEST);
    let answer = get(&program, "/audio.wav?seconds=2");
    assert_eq!(answer.header("content-type"), Some("audio/wav"));
    assert!(answer.header("x-timestamp").is_some());
    let wav = answer.rest();
    assert_eq!(wav.len(), 44 + 2 * 48_000 * 2);
    assert_eq!(
        (&wav[..4], &wav[8..16], &wav[36..40]),
        (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..])
    );
    assert_eq!(
        u32::from_le_bytes([wav[40], wav[41], wav[42], wav[43]]),
        2 * 48_000 * 2
    );
    // Two beeps of 100 ms, a second apart: 2 x 4,800 loud samples, minus the tone's zero crossings.
    let loud = wav[44..]
        .chunks_exact(2)
        .filter(|s| i16::from_le_bytes([s[0], s[1]]).unsigned_abs() > 1_000)
        .count();
    assert!((8_000..=9_600).contains(&loud), "{loud} loud samples");
    for bad in ["0", "-1", "nan", "1e9"] {
        assert_eq!(
            get(&program, &format!("/audio.wav?seconds={bad}")).status,
            400,
            "{bad}"
        );
    }
    let silent = Program::start(&TEST[..2]);
    assert_eq!(get(&silent, "/audio.wav").status, 404);
}

#[test]
fn log_lists_plain_http_viewers() {
    let program = Program::start(&TEST);
    for (path, what) in [
        ("/stream.mjpg", "joined: video, mjpeg"),
        ("/audio.wav", "joined: audio, wav"),
    ] {
        let answer = get(&program, path);
        let peer = format!(
            "viewer {} ",
            answer.body.get_ref().local_addr().expect("it is connected")
        );
        program.line(&[&peer, what]);
        drop(answer);
        program.line(&[&peer, "left"]);
    }
}

#[test]
fn http_every_refusal_is_json_with_the_reason() {
    let program = Program::start(&TEST);
    for (method, path, status, said) in [
        ("GET", "/snapshot.jpg?max_age_ms=x", 400, "max_age_ms"),
        ("GET", "/stream.mjpg?max_fps=x", 400, "max_fps"),
        ("GET", "/stream?max_fps=x", 400, "max_fps"),
        ("GET", "/audio.wav?seconds=x", 400, "seconds"),
        ("GET", "/?action=stop", 400, "action"),
        ("GET", "/?action=stream&action=stop", 400, "action"),
        ("GET", "/?action=stream&max_fps=x", 400, "max_fps"),
        ("GET", "/?action=snapshot&max_age_ms=x", 400, "max_age_ms"),
        ("GET", "/index.html", 404, "not found"),
        ("GET", "/nothing", 404, "not found"),
        ("PUT", "/snapshot.jpg", 405, "Allow"),
    ] {
        let answer = ask(&program, method, path);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/json")),
            "{path}"
        );
        assert!(
            status != 405 || answer.header("allow") == Some("GET,HEAD"),
            "{}",
            answer.head
        );
        let body: serde_json::Value = serde_json::from_slice(&answer.rest()).expect("JSON");
        assert!(
            body["error"]
                .as_str()
                .is_some_and(|error| error.contains(said)),
            "{path}: {body}"
        );
    }
}

const PATHS: [&str; 11] = [
    "/",
    "/index.html",
    "/stream",
    "/info",
    "/state",
    "/metrics",
    "/snapshot.jpg",
    "/snapshot",
    "/stream.mjpg",
    "/audio.wav",
    "/healthz",
];

#[test]
fn http_head_is_get_without_body() {
    let program = Program::start(&[&TEST[..], &["--serve-client"]].concat());
    let mut asked_by = Vec::new();
    for path in PATHS {
        let (head, got) = (ask(&program, "HEAD", path), get(&program, path));
        assert_eq!(
            (head.status, got.status),
            (200, 200),
            "{path}: {}",
            head.head
        );
        assert_eq!(
            head.header("content-type"),
            got.header("content-type"),
            "{path}"
        );
        asked_by.push(format!(
            "viewer {} ",
            head.body.get_ref().local_addr().expect("it is connected")
        ));
        assert_eq!(head.rest().len(), 0, "{path}");
    }
    let last = get(&program, "/stream.mjpg");
    program.line(&[&format!(
        "viewer {} joined",
        last.body.get_ref().local_addr().expect("it is connected")
    )]);
    let logged = program.lines();
    assert!(
        asked_by
            .iter()
            .all(|viewer| !logged.iter().any(|line| line.contains(viewer))),
        "HEAD is no viewer: {asked_by:?}"
    );
}

#[test]
fn http_options_lists_the_methods_of_every_path() {
    let program = Program::start(&[&TEST[..], &["--serve-client"]].concat());
    for path in PATHS {
        let answer = ask(&program, "OPTIONS", path);
        assert_eq!(
            (answer.status, answer.header("allow")),
            (204, Some("GET,HEAD")),
            "{path}: {}",
            answer.head
        );
    }
    assert_eq!(ask(&program, "OPTIONS", "/nothing").status, 404);
}

#[test]
fn snapshot_of_missing_camera_is_refused_at_once() {
    let program = Program::start(&[
        "--camera-type",
        "usb",
        "--device",
        "/dev/video-that-is-not-there",
    ]);
    // Until the server has been told of it, a request waits and then says so.
    let said = |answer: Answer| {
        (
            answer.status,
            String::from_utf8(answer.rest()).expect("text"),
        )
    };
    crate::common::until("a refusal without a wait", || {
        let (status, body) = said(get(&program, "/snapshot.jpg"));
        (status == 503 && body.contains("the camera is not available")).then_some(())
    });
}

#[test]
fn state_frame_rate_without_viewers_is_the_capture_rate() {
    let program = Program::start(&["--camera-type", "test", "--fps", "20"]);
    let state = || {
        serde_json::from_slice::<serde_json::Value>(&get(&program, "/state").rest()).expect("JSON")
    };
    let result = crate::common::until("the camera", || {
        Some(state()["result"].clone()).filter(|result| result["source"]["online"] == true)
    });
    assert_eq!(
        (
            &result["source"]["captured_fps"],
            &result["stream"]["queued_fps"]
        ),
        (&20.into(), &0.into()),
        "{result}"
    );
}

#[test]
fn metrics_restarts_are_counted_per_worker_without_viewers() {
    let program = Program::start(&TEST);
    for (times, name) in [(1, "video"), (1, "serve"), (2, "video")] {
        let process = format!("stampcast-{name}");
        let before = program.child(&process, None);
        crate::common::kill(before, libc::SIGKILL);
        program.child(&process, Some(before));
        let row = format!("worker=\"{name}\"}} {times}");
        crate::common::until(&row, || metrics(&program).contains(&row).then_some(()));
    }
    for row in ["worker=\"serve\"} 1", "worker=\"audio\"} 0"] {
        assert!(metrics(&program).contains(row), "{}", metrics(&program));
    }
}

fn metrics(program: &Program) -> String {
    String::from_utf8(get(program, "/metrics").rest()).expect("text")
}

#[test]
fn http_state_metrics_and_page_are_served() {
    let program = Program::start(&[&TEST[..], &["--serve-client"]].concat());
    let mut viewer = Viewer::connect(&program.url(""));
    for _ in 0..5 {
        viewer.frame();
    }
    let state: serde_json::Value =
        serde_json::from_slice(&get(&program, "/state").rest()).expect("JSON");
    assert_eq!(
        state["result"]["source"]["resolution"],
        serde_json::json!({ "width": 640, "height": 480 })
    );
    assert_eq!(
        (&state["ok"], &state["result"]["source"]["online"]),
        (&true.into(), &true.into())
    );
    let metrics = metrics(&program);
    for expected in [
        "stampcast_viewers{camera=\"main\"} 1",
        "stampcast_packets_total{camera=\"main\",encoding=\"jpeg\"}",
        "stampcast_packets_dropped_total{camera=\"main\",stream=\"video\",cause=\"viewer_queue\"}",
        "stampcast_capture_latency_seconds_bucket{camera=\"main\",encoding=\"jpeg\",le=\"0.001\"}",
        "stampcast_packet_age_seconds_sum{camera=\"main\",stream=\"audio\"}",
        "stampcast_worker_restarts_total{camera=\"main\",worker=\"audio\"} 0",
        "stampcast_build_info{version=",
        "# TYPE stampcast_packets_total counter",
    ] {
        assert!(
            metrics.contains(expected),
            "{expected} is not in\n{metrics}"
        );
    }
    let sent = metrics.lines().find_map(|l| {
        l.strip_prefix("stampcast_sent_bytes_total{camera=\"main\",stream=\"video\"} ")?
            .parse::<f64>()
            .ok()
    });
    assert!(
        sent.is_some_and(|bytes| bytes > 5_000.0),
        "five frames were sent: {sent:?}"
    );
    // histogram_quantile() of Prometheus gives NaN without this bucket.
    let of_all = |name: &str, labels: &str| {
        let line = metrics.lines().find_map(|l| {
            l.strip_prefix(&format!("stampcast_packet_age_seconds_{name}{{{labels}}} "))
        });
        line.unwrap_or_else(|| panic!("no {name} {labels} in\n{metrics}"))
            .to_owned()
    };
    assert_eq!(
        of_all("bucket", "camera=\"main\",stream=\"video\",le=\"+Inf\""),
        of_all("count", "camera=\"main\",stream=\"video\"")
    );
    for path in ["/", "/index.html"] {
        assert!(
            String::from_utf8(get(&program, path).rest())
                .expect("text")
                .contains("Start audio"),
            "{path}"
        );
    }
    let page = get(&program, "/");
    let policy = page.header("content-security-policy");
    assert!(policy.is_some_and(|p| p.contains("frame-ancestors 'self'")));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let worklet = get(&program, "/playout-worklet.js");
    let content_type = worklet.header("content-type");
    assert!(content_type.is_some_and(|t| t.starts_with("text/javascript")));
    program.line(&[
        "listening on http://127.0.0.1:",
        "(the page; stream: ws://127.0.0.1:",
    ]);
    let plain = Program::start(&TEST[..2]);
    let addresses = String::from_utf8(get(&plain, "/").rest()).expect("text");
    assert!(
        ["/snapshot.jpg", "--serve-client"]
            .iter()
            .all(|said| addresses.contains(said)),
        "{addresses}"
    );
    plain.line(&["viewer page: open public/index.html"]);
    assert_eq!(
        (
            get(&plain, "/nothing").status,
            ask(&plain, "POST", "/info").status
        ),
        (404, 405)
    );
}
