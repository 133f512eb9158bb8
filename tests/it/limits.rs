//! Clients that use up connections, memory or descriptors do not disturb other viewers.

use crate::common::viewer::{Text, Viewer, unix_now};
use crate::common::{PATIENCE, Program, until};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const CAMERA: [&str; 4] = ["--camera-type", "test", "--fps", "30"];
/// A frame that takes this long counts as disturbed; much longer than a loaded machine needs.
const LATE_SECONDS: f64 = 2.0;

/// Raises this process's descriptor limit to the system's maximum.
fn many_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit is known");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard limit");
    assert!(
        hard > 12_000,
        "this test needs `ulimit -Hn` above 12000, not {hard}"
    );
}

fn connect(program: &Program) -> TcpStream {
    let tcp = TcpStream::connect(("127.0.0.1", program.port())).expect("the server listens");
    tcp.set_read_timeout(Some(PATIENCE))
        .expect("a timeout is settable");
    tcp
}

/// Runs `attack` beside a viewer for whom no frame may be missing or late.
fn undisturbed<T>(program: &Program, attack: impl FnOnce() -> T) -> T {
    // With a short handshake timeout, ours may be late.
    let mut viewer = until("a viewer", || {
        Viewer::try_connect(&program.url("?audio=0&events=1&delivery=all")).ok()
    });
    viewer.frame();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut frames = 0;
            while !over.load(Relaxed) || frames < 30 {
                match viewer.next() {
                    Text::Video { stamp, .. } => {
                        frames += 1;
                        let age = unix_now() - stamp;
                        assert!(age < LATE_SECONDS, "a frame came {age:.2} s late");
                    }
                    // The test camera skipped a frame, as it may on a loaded machine. No later
                    // stage lost one.
                    Text::Event { json, .. } if json["cause"] == "driver" => {}
                    other => panic!("the viewer was told of {other:?}"),
                }
            }
        });
        let result = attack();
        over.store(true, Relaxed);
        watching.join().expect("the viewer noticed nothing");
        result
    })
}

/// Resident private memory, KiB.
fn own_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("RssAnon:"))
        .expect("the kernel counts it");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

fn idle(count: usize) {
    many_descriptors();
    let program = Program::start(&CAMERA);
    let server = program.child("stampcast-serve", None);
    let before = own_memory_kib(server);
    let silent = undisturbed(&program, || {
        let silent: Vec<TcpStream> = (0..count).map(|_| connect(&program)).collect();
        // A request is answered at once, and a new viewer is admitted.
        let asked = Instant::now();
        Viewer::connect(&program.url("?audio=0")).frame();
        eprintln!(
            "a viewer's first frame beside {count} idle connections: {:?}",
            asked.elapsed()
        );
        silent
    });
    let grown = own_memory_kib(server).saturating_sub(before);
    eprintln!("memory for {count} idle connections: {grown} KiB");
    assert!(grown < 64 << 10, "the server took {grown} KiB");
    drop(silent);
    Viewer::connect(&program.url("?audio=0")).frame();
}

#[test]
fn connections_2000_idle_do_not_disturb_viewers() {
    idle(2_000);
}

#[test]
#[ignore = "opens 10,000 sockets: tests/long.sh"]
fn connections_10000_idle_do_not_disturb_viewers() {
    idle(10_000);
}

#[test]
fn connections_flood_of_connects_and_disconnects_leaks_nothing() {
    let program = Program::start_open(&CAMERA);
    let server = program.child("stampcast-serve", None);
    let flood = || {
        undisturbed(&program, || {
            for n in 0..3_000 {
                let mut tcp = connect(&program);
                if n % 3 == 0 {
                    // The server may have closed it already.
                    let _ = tcp.write_all(b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n");
                }
            }
        });
    };
    flood();
    let fds = crate::common::descriptors(server).len();
    let memory = own_memory_kib(server);
    flood();
    let grown = own_memory_kib(server).saturating_sub(memory);
    assert!(grown < 8 << 10, "a second flood took {grown} KiB more");
    until("the descriptors to be closed", || {
        (crate::common::descriptors(server).len() <= fds).then_some(())
    });
}

#[test]
fn handshake_trickling_ends_at_timeout() {
    let program = Program::start(&[&CAMERA[..], &["--handshake-timeout", "0.5"]].concat());
    undisturbed(&program, || {
        let mut slow: Vec<TcpStream> = (0..100).map(|_| connect(&program)).collect();
        let began = Instant::now();
        let ended = until("the server to end them", || {
            // One more byte of an endless head for each; the writes fail once the server has
            // closed.
            let alive = slow
                .iter_mut()
                .filter_map(|tcp| tcp.write_all(b"X").ok())
                .count();
            std::thread::sleep(Duration::from_millis(20));
            (alive == 0).then(|| began.elapsed())
        });
        eprintln!("100 trickling handshakes were ended after {ended:?}");
    });
}

/// Ends the attack also when the test fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Sends `bytes` repeatedly over a viewer's WebSocket, as fast as they are accepted, until the
/// server closes or `over`. Adds to `sent` how many were accepted.
fn flood(program: &Program, start: &[u8], bytes: &[u8], over: &AtomicBool, sent: &AtomicUsize) {
    let mut tcp = connect(program);
    tcp.set_write_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout is settable");
    let head = "GET /stream?video=0&audio=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tcp.write_all(&[head.as_bytes(), start].concat())
        .expect("the server reads");
    let many = bytes.repeat(64 * 1024 / bytes.len());
    let mut at = 0;
    while !over.load(Relaxed) {
        match tcp.write(&many[at..]) {
            Ok(taken) => {
                sent.fetch_add(taken, Relaxed);
                at = (at + taken) % many.len();
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
}

#[test]
fn viewer_flooding_does_not_disturb_others() {
    let program = Program::start(&[&CAMERA[..], &["--enable-audio"]].concat());
    let server = program.child("stampcast-serve", None);
    let start: &[u8] = &[0x01, 0x80, 0, 0, 0, 0];
    for (what, start, again) in [
        (
            "fragments of no length",
            start,
            &[0x00, 0x80, 0, 0, 0, 0][..],
        ),
        ("pings", &[], &[0x89, 0x80, 0, 0, 0, 0]),
        ("acks", &[], &[0x81, 0x83, 0, 0, 0, 0, b'a', b'c', b'k']),
    ] {
        let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let flooders: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        // A viewer that is disconnected reconnects.
                        while !over.load(Relaxed) {
                            flood(&program, start, again, &over, &sent);
                        }
                    })
                })
                .collect();
            let _over = OnDrop(&over);
            let began = Instant::now();
            undisturbed(&program, || {
                while began.elapsed() < Duration::from_secs(3) || sent.load(Relaxed) <= 1 << 20 {
                    Viewer::connect(&program.url("?audio=0")).frame();
                }
            });
            over.store(true, Relaxed);
            flooders
                .into_iter()
                .for_each(|f| f.join().expect("it flooded"));
        });
        let sent = sent.into_inner();
        eprintln!("{what}: {} KiB were sent", sent >> 10);
        assert_eq!(
            program.children("stampcast-serve"),
            [server],
            "the server is the same"
        );
    }
}

#[test]
fn message_in_endless_fragments_is_refused() {
    let program = Program::start(&[&CAMERA[..], &["--enable-audio"]].concat());
    let sent = AtomicUsize::new(0);
    flood(
        &program,
        &[0x01, 0x80, 0, 0, 0, 0],
        &[0x00, 0x80, 0, 0, 0, 0],
        &AtomicBool::new(false),
        &sent,
    );
    eprintln!("{sent:?} bytes were sent");
    program.line(&["viewer", "left", "1008", "fragments"]);
}

/// An answer's head, and a body of its Content-Length.
fn answer(tcp: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    tcp.read_exact(&mut vec![0; length])?;
    Ok(head)
}

/// More connections than a program with `--max-clients 2` or 3 keeps beside its viewers.
const MORE_THAN_PLACES: usize = 270;

#[test]
fn connection_refused_frees_its_slot() {
    let program =
        Program::start(&[&CAMERA[..], &["--max-clients", "2", "--token", "s3cret"]].concat());
    let mut strangers: Vec<TcpStream> = (0..MORE_THAN_PLACES).map(|_| connect(&program)).collect();
    for _ in 0..2 {
        for tcp in &mut strangers {
            // A closed connection gets no answer.
            if tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").is_ok()
                && let Ok(head) = answer(tcp)
            {
                assert!(
                    head.starts_with("http/1.1 401 ") && head.contains("connection: close"),
                    "{head}"
                );
            }
        }
    }
    Viewer::connect(&program.url("?audio=0&token=s3cret")).frame();
}

#[test]
fn connection_idle_is_evicted_for_a_new_one() {
    let program = Program::start(&[&CAMERA[..], &["--max-clients", "3"]].concat());
    let mut watching = Viewer::connect(&program.url("?audio=0"));
    let mut mjpeg = connect(&program);
    mjpeg
        .write_all(b"GET /stream.mjpg HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("the server reads");
    assert!(
        answer(&mut mjpeg)
            .expect("it is answered")
            .starts_with("http/1.1 200 ")
    );
    let kept: Vec<TcpStream> = (0..MORE_THAN_PLACES)
        .map(|_| {
            let mut tcp = connect(&program);
            tcp.write_all(b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n")
                .expect("the server reads");
            let head = answer(&mut tcp).expect("it is answered");
            assert!(head.starts_with("http/1.1 200 "), "{head}");
            tcp
        })
        .collect();
    Viewer::connect(&program.url("?audio=0")).frame();
    watching.frame();
    for _ in 0..3 {
        mjpeg
            .read_exact(&mut [0; 20_000])
            .expect("what is being answered goes on");
    }
    drop(kept);
}

#[cfg(feature = "webrtc")]
#[test]
fn request_body_missing_ends_with_408_and_frees_its_slot() {
    let program = Program::start(
        &[
            &CAMERA[..],
            &["--max-clients", "2", "--handshake-timeout", "3"],
        ]
        .concat(),
    );
    let mut bodiless: Vec<TcpStream> = (0..MORE_THAN_PLACES).map(|_| connect(&program)).collect();
    let post = b"POST /whep HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 1000\r\n\r\n";
    for tcp in &mut bodiless {
        // The first of them was evicted for the last.
        let _ = tcp.write_all(post);
    }
    Viewer::connect(&program.url("?audio=0")).frame();
    let mut last = bodiless.pop().expect("there are many");
    let head = answer(&mut last).expect("it is told why");
    assert!(
        head.starts_with("http/1.1 408 ") && head.contains("connection: close"),
        "{head}"
    );
    assert_eq!(last.read(&mut [0]).expect("the server closes"), 0);
}

#[test]
fn viewer_beyond_limit_gets_503() {
    let program = Program::start(&[&CAMERA[..], &["--max-clients", "2"]].concat());
    let mut first = Viewer::connect(&program.url(""));
    let second = Viewer::connect(&program.url(""));
    let mut third = connect(&program);
    let head = "GET /stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    third.write_all(head.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    third
        .read_to_string(&mut answer)
        .expect("the server answers");
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("too many viewers"),
        "{answer}"
    );
    first.frame();
    drop(second);
    until("a free place", || {
        Viewer::try_connect(&program.url("")).ok()
    })
    .frame();
}

#[test]
fn message_beyond_max_message_closes_with_1009() {
    for (option, allowed) in [(None, 4096), (Some("1"), 1024), (Some("64"), 65_536)] {
        let option = option.map(|kib| ["--max-message", kib]);
        let program =
            Program::start(&[&CAMERA[..], option.as_ref().map_or(&[][..], |o| o)].concat());
        for (length, code) in [(allowed, 1008), (allowed + 1, 1009)] {
            let mut viewer = Viewer::connect(&program.url("?audio=0"));
            viewer.send(&"x".repeat(length));
            let close = loop {
                if let tungstenite::Message::Close(frame) =
                    viewer.message().expect("the server says why it ends")
                {
                    break frame.expect("with a code");
                }
            };
            assert_eq!(
                u16::from(close.code),
                code,
                "{length} bytes of {allowed}: {}",
                close.reason
            );
        }
    }
}

#[test]
fn viewer_reading_nothing_is_closed_after_idle_timeout() {
    let program = Program::start(&[&CAMERA[..], &["--idle-timeout", "2"]].concat());
    let _stalled = Viewer::connect(&program.url("?delivery=all"));
    undisturbed(&program, || {
        program.line(&["left: took no data for too long"])
    });
}

#[test]
fn descriptors_exhausted_viewers_stay_and_later_ones_connect() {
    let mut limited = Command::new("bash");
    limited.args([
        "-c",
        "ulimit -n 64; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_stampcast"),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]);
    let program = Program::spawn(limited.args(CAMERA));
    undisturbed(&program, || {
        let idle: Vec<TcpStream> = (0..100).map(|_| connect(&program)).collect();
        program.line(&[
            "stampcast-serve",
            "cannot accept connections",
            "trying again",
        ]);
        drop(idle);
        Viewer::connect(&program.url("?audio=0")).frame();
    });
    let complaints = program
        .lines()
        .iter()
        .filter(|l| l.contains("cannot accept connections"))
        .count();
    assert!(
        complaints < 10,
        "it is said once per cause, not {complaints} times"
    );
}

#[test]
fn connection_closed_without_close_frame_is_not_logged_as_error() {
    let program = Program::start(&CAMERA);
    let mut tcp = connect(&program);
    tcp.write_all(b"GET /stream HTTP/1.1\r\n")
        .expect("the server reads");
    drop(tcp);
    let mut gone = connect(&program);
    gone.shutdown(std::net::Shutdown::Write)
        .expect("it is open");
    match gone.read(&mut [0; 64]) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
    }
    Viewer::connect(&program.url("")).frame();
    assert!(
        !program.lines().iter().any(|l| l.contains("ERROR")),
        "{:?}",
        program.lines()
    );
}
