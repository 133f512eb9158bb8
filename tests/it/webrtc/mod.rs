//! The whole program seen by a WebRTC peer: video and audio with their capture times, sessions,
//! limits.

mod cameras;
mod hostile;
mod offers;
mod peer;
mod reach;
mod transport;
mod whip;

use crate::common::{PATIENCE, Program, until};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use peer::{Peer, request};
use stampcast::media::timecode;
use stampcast::media::{MonoNs, UnixNs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use str0m::media::MediaData;

const TEST: [&str; 6] = [
    "--camera-type",
    "test",
    "--enable-audio",
    "--webrtc-port",
    "0",
    "--fps=30",
];

fn unix_ns(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos() as i64
}

/// The capture time given by the sender report and the RTP time together.
fn by_sender_report(data: &MediaData) -> Option<i64> {
    let report = data.last_sender_info.as_ref()?;
    let rate = data.time.denom() as f64;
    let ahead = (data.time.numer() as u32).wrapping_sub(report.rtp_time.numer() as u32) as i32;
    Some(unix_ns(report.ntp_time) + (f64::from(ahead) / rate * 1e9) as i64)
}

fn time_code(decoder: &mut Decoder, unit: &[u8]) -> Option<UnixNs> {
    let image = decoder.decode(unit).ok()??;
    let (width, height) = image.dimensions();
    timecode::read(image.y(), width as u32, height as u32, image.strides().0)
}

#[test]
fn webrtc_video_and_audio_play_with_their_capture_time() {
    let program = Program::start(&TEST);
    let mut peer = Peer::play(program.port());
    let mut decoder = Decoder::new().expect("there is a decoder");
    let mut opus = opus::Decoder::new(48_000, opus::Channels::Mono).expect("there is a decoder");
    let (mut frames, mut reported, mut beeps, mut quiet) = (0, 0, Vec::new(), false);
    let alive = peer.watch(|data| {
        let stamp = unix_ns(
            data.ext_vals
                .abs_capture_time
                .expect("each frame has its capture time")
                .capture_time,
        );
        if data.params.spec().codec.is_audio() {
            let mut samples = [0; 5760];
            let length = opus
                .decode(&data.data, &mut samples, false)
                .expect("it is Opus");
            assert_eq!(length, 960, "20 ms");
            let onset = samples[..length]
                .iter()
                .position(|s| s.unsigned_abs() > 4_000);
            if let Some(n) = onset.filter(|_| quiet) {
                beeps.push(stamp + n as i64 * 1_000_000_000 / 48_000);
            }
            quiet = onset.is_none();
        } else {
            // The first one may be drawn before the worker knows the clock offset.
            let Some(code) = time_code(&mut decoder, &data.data) else {
                assert_eq!(frames, 0, "each frame is whole and shows its time");
                return false;
            };
            // Drawn with the offset known to the worker, in whole microseconds.
            assert!((stamp - code.0 as i64).abs() < 100_000, "{stamp} {code:?}");
            frames += 1;
            if let Some(at) = by_sender_report(&data) {
                reported += 1;
                assert!(
                    (at - stamp).abs() < 2_000_000,
                    "the sender report is {} ns off",
                    at - stamp
                );
            }
        }
        frames >= 90 && reported >= 10 && beeps.len() >= 2
    });
    assert!(alive);
    // The beep begins with each second of CLOCK_MONOTONIC.
    let offset = unix_ns(SystemTime::now()) - MonoNs::now().0 as i64;
    for beep in beeps {
        let off_ms =
            ((beep - offset + 500_000_000).rem_euclid(1_000_000_000) - 500_000_000) as f64 / 1e6;
        assert!(off_ms.abs() < 2.0, "a beep is {off_ms} ms off");
    }
}

#[test]
fn webrtc_loss_of_5_percent_never_freezes_for_a_second() {
    let program = Program::start(&TEST);
    let mut peer = Peer::play_by_json(program.port());
    let mut decoder = Decoder::new().expect("there is a decoder");
    let mut whole = false;
    // When the shown frames were captured, and how many were not shown.
    let mut play = |peer: &mut Peer, units| {
        let (mut shown, mut lost) = (Vec::new(), 0);
        let alive = peer.watch(|data| {
            if data.params.spec().codec.is_audio() {
                return false;
            }
            let keyframe = data
                .data
                .windows(5)
                .any(|w| w[..4] == [0, 0, 0, 1] && w[4] & 31 == 7);
            whole = keyframe || (whole && data.contiguous);
            match time_code(&mut decoder, &data.data).filter(|_| whole) {
                Some(capture_time) => shown.push(Duration::from_nanos(capture_time.0)),
                None => lost += 1,
            }
            shown.len() + lost >= units
        });
        assert!(alive);
        (shown, lost)
    };
    play(&mut peer, 15);
    peer.loss_percent = 5;
    let (shown, lost) = play(&mut peer, 240);
    let freeze = shown
        .windows(2)
        .map(|w| w[1] - w[0])
        .max()
        .expect("there are frames");
    println!("shown {} of 240, longest pause {freeze:?}", 240 - lost);
    assert!(freeze < Duration::from_secs(1), "{freeze:?}");
    assert!(lost <= 40, "{lost} of 240 units were not shown");
}

#[test]
fn webrtc_delete_ends_the_session_and_the_last_one_the_encoder() {
    let program = Program::start(&TEST);
    let port = program.port();
    let (mut one, mut two) = (Peer::play(port), Peer::play(port));
    assert_ne!(one.location, two.location);
    // A proxy may have put a prefix before the path.
    let answer = request(port, "POST", "/any/whep", "application/sdp", &one.offer);
    let location = answer.header("location").expect("a Location");
    assert!(
        location.starts_with("whep/"),
        "relative to the endpoint: {location}"
    );
    assert_eq!(
        request(port, "DELETE", &format!("/any/{location}"), "", "").status,
        200
    );
    assert!(one.watch(|_| true) && two.watch(|_| true));
    for peer in [&mut one, &mut two] {
        let path = peer.location.clone();
        assert_eq!(request(port, "DELETE", &path, "", "").status, 200);
        assert!(!peer.watch(|_| false), "the session ends");
        until("the session is forgotten", || {
            (request(port, "DELETE", &path, "", "").status == 404).then_some(())
        });
    }
    let info: serde_json::Value =
        serde_json::from_str(&request(port, "GET", "/info", "", "").body).expect("JSON");
    assert_eq!(info["viewers"], 0);
}

#[test]
fn webrtc_peer_vanished_is_forgotten_within_16_s() {
    let program = Program::start(&TEST);
    let port = program.port();
    let mut peer = Peer::play(port);
    assert!(peer.watch(|_| true));
    let (path, killed) = (peer.location.clone(), Instant::now());
    let sessions = || state(port)["sessions"].as_array().cloned().expect("a list");
    assert_eq!(
        (
            sessions()[0]["kind"].as_str(),
            sessions()[0]["connected"].as_bool()
        ),
        (Some("whep"), Some(true))
    );
    drop(peer);
    until("an empty list", || sessions().is_empty().then_some(()));
    // After 10 s, and longer on a loaded machine.
    assert!(
        killed.elapsed() < Duration::from_secs(16),
        "{:?}",
        killed.elapsed()
    );
    program.line(&["WebRTC viewer left"]);
    assert_eq!(request(port, "DELETE", &path, "", "").status, 404);
    assert!(killed.elapsed() < PATIENCE);
}

/// WebRTC's part of `/state`.
fn state(port: u16) -> serde_json::Value {
    let state: serde_json::Value =
        serde_json::from_str(&request(port, "GET", "/state", "", "").body).expect("JSON");
    state["result"]["webrtc"].clone()
}

#[test]
fn webrtc_sessions_are_counted_by_kind_and_the_index_names_the_endpoint() {
    let program = Program::start(&TEST);
    let port = program.port();
    assert!(request(port, "GET", "/", "", "").body.contains("/whep"));
    let before = unix_ns(SystemTime::now()) as f64 / 1e9;
    let (mut whep, mut json) = (Peer::play(port), Peer::play_by_json(port));
    let waiting = state(port);
    assert_eq!(
        waiting["sessions"].as_array().map(Vec::len),
        Some(2),
        "{waiting}"
    );
    assert!(
        waiting["sessions"]
            .as_array()
            .is_some_and(|all| all.iter().all(|s| s["connected"] == false)),
        "{waiting}"
    );
    assert!(whep.watch(|_| true) && json.watch(|_| true));
    let state = state(port);
    assert_eq!(
        state["count"],
        serde_json::json!({"whep": 1, "json": 1, "whip": 0})
    );
    for session in state["sessions"].as_array().expect("a list") {
        let since = session["since"].as_f64().expect("UNIX seconds");
        assert!(
            session["connected"] == true && (since - before).abs() < 20.0,
            "{state}"
        );
    }
    let metrics = request(port, "GET", "/metrics", "", "").body;
    for line in [
        r#"stampcast_webrtc_sessions{kind="whep",state="connected"} 1"#,
        r#"stampcast_webrtc_sessions{kind="json",state="connected"} 1"#,
        r#"stampcast_webrtc_sessions{kind="whip",state="connecting"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let shown = state.to_string();
    assert!(
        !shown.contains(whep.location.rsplit('/').next().expect("an id")),
        "a session's name allows to end it"
    );
}

#[test]
fn webrtc_malformed_offer_is_refused_with_the_reason() {
    let program = Program::start(&TEST);
    let port = program.port();
    let sdp = "application/sdp";
    for (method, path, kind, body, status) in [
        ("POST", "/whep", sdp, "hello", 400),
        ("POST", "/whep", "text/plain", "hello", 415),
        ("POST", "/whep", "", "", 415),
        ("POST", "/whep", sdp, &*"a=x\r\n".repeat(100_000), 413),
        ("POST", "/any/whep", sdp, "v=0", 400),
        ("OPTIONS", "/whep", "", "", 204),
        ("GET", "/whep", "", "", 405),
        ("PATCH", "/whep/0123", sdp, "", 405),
        ("DELETE", "/whep/0123", "", "", 404),
        ("POST", "/api/webrtc/offer", "application/json", "{}", 422),
        ("POST", "/api/webrtc/offer", "application/json", "{", 400),
        (
            "POST",
            "/api/webrtc/offer",
            "application/json",
            r#"{"sdp":"x","type":"offer"}"#,
            400,
        ),
        (
            "POST",
            "/api/webrtc/offer",
            "application/json",
            r#"{"sdp":"x","type":"answer"}"#,
            400,
        ),
        (
            "POST",
            "/main/api/webrtc/offer",
            "application/json",
            "{}",
            422,
        ),
        (
            "POST",
            "/any/api/webrtc/offer",
            "application/json",
            "{}",
            404,
        ),
    ] {
        let answer = request(port, method, path, kind, body);
        assert_eq!(
            answer.status, status,
            "{method} {path} {kind}: {}",
            answer.body
        );
        let error: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
        assert_eq!(
            error.is_some_and(|e| e["error"].is_string()),
            status >= 400,
            "{method} {path} {kind}: {}",
            answer.body
        );
    }
    assert!(
        !program
            .lines()
            .iter()
            .any(|line| line.contains("127.0.0.1:") && line.contains("WebRTC")),
        "no address is logged"
    );
}

#[test]
fn webrtc_port_taken_is_replaced_and_logged_once() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let number = taken.local_addr().expect("it is bound").port().to_string();
    let program = Program::start(&["--camera-type", "test", "--webrtc-port", &number]);
    program.line(&["--webrtc-port", &number, "is taken"]);
    assert!(Peer::play(program.port()).watch(|_| true));
}

#[test]
fn webrtc_disabled_has_no_port_and_no_path() {
    let program = Program::start(&["--camera-type", "test", "--no-webrtc"]);
    assert_eq!(
        request(program.port(), "POST", "/whep", "application/sdp", "v=0").status,
        404
    );
    assert!(!program.lines().iter().any(|line| line.contains("WebRTC")));
}

/// CPU and memory of the server per viewer, once all 30 play. The common work, and the memory
/// that the code takes when first used, are divided among them.
#[test]
#[ignore = "a measurement, of a release build on an idle machine: cargo test --release --test it -- --ignored webrtc:: --nocapture"]
fn webrtc_30_viewers_cost_little_each() {
    const WINDOW: Duration = Duration::from_secs(10);
    let program = Program::start(&TEST);
    let port = program.port();
    let serve = program.child("stampcast-serve", None);
    // Seconds of all its threads, in the program and in the kernel (proc(5): ticks of 10 ms); KB.
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{serve}/stat")).expect("the server runs");
        // Behind the name, which may hold anything, proc(5)'s fields begin with the third, the
        // state.
        let fields: Vec<&str> = stat
            .rsplit(") ")
            .next()
            .expect("it has fields")
            .split(' ')
            .collect();
        let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("a number");
        let (utime, stime) = (ticks(14), ticks(15));
        let status =
            std::fs::read_to_string(format!("/proc/{serve}/status")).expect("the server runs");
        let rss = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .expect("it has memory");
        (
            (utime + stime) / 100.0,
            rss.trim()
                .trim_end_matches(" kB")
                .parse::<f64>()
                .expect("a number"),
        )
    };
    let (_, rss_before) = used();
    let received: Vec<AtomicU64> = (0..30).map(|_| AtomicU64::new(0)).collect();
    let counts = || {
        received
            .iter()
            .map(|count| count.load(Relaxed))
            .collect::<Vec<_>>()
    };
    let over = AtomicBool::new(false);
    let (share, rss, packets) = std::thread::scope(|threads| {
        for count in &received {
            threads.spawn(|| {
                let (mut peer, give_up) =
                    (Peer::play(port), Instant::now() + 2 * PATIENCE + WINDOW);
                while !over.load(Relaxed) && Instant::now() < give_up {
                    assert!(peer.watch(|_| true), "it plays on");
                    count.fetch_add(1, Relaxed);
                }
            });
        }
        // A second's media at each: the handshakes and the first keyframes are over.
        until("media at every viewer", || {
            counts().iter().all(|&n| n > 80).then_some(())
        });
        let (before, (cpu, _), start) = (counts(), used(), Instant::now());
        std::thread::sleep(WINDOW);
        let (elapsed, (cpu_after, rss), after) = (start.elapsed().as_secs_f64(), used(), counts());
        over.store(true, Relaxed);
        let packets: Vec<u64> = after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .collect();
        ((cpu_after - cpu) / elapsed, rss, packets)
    });
    let mb_each = (rss - rss_before).max(0.0) / 1024.0 / 30.0;
    println!(
        "of a core: {:.2} % for each of 30; {mb_each:.2} MB each",
        share * 100.0 / 30.0
    );
    println!("frames and audio packets in {WINDOW:?}: {packets:?}");
    assert!(mb_each <= 1.5, "{mb_each:.2} MB for each viewer");
    // Else the cost would be low because little was sent: 30 frames and 50 audio packets a second
    // are complete.
    assert!(
        packets.iter().all(|&n| n >= 720),
        "not everybody got nine tenths of what there was: {packets:?}"
    );
}
