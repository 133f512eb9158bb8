//! Two test cameras in one program: through supervisor, workers, rings and hubs to `/NAME/…`.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, fork, pipe};
use stampcast::config::{
    Access, AudioConfig, AudioSourceConfig, CameraConfig, Config, Limits, LogFormat, Logging,
    VideoConfig,
};
use stampcast::media::CameraId;
use stampcast::wire;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(60);
const LEFT: (u16, u16) = (320, 240);
const RIGHT: (u16, u16) = (160, 128);

pub fn each_has_its_own_processes_rings_hub_and_addresses() {
    let (log, port, supervisor) = start();
    let mut program = Program {
        log,
        supervisor,
        port,
    };

    // Each name has its own frames; without a name it is the first camera.
    for (path, size) in [
        ("/left/snapshot.jpg", LEFT),
        ("/right/snapshot.jpg", RIGHT),
        ("/snapshot.jpg", LEFT),
    ] {
        assert_eq!(jpeg_size(&program.snapshot(path)), size, "{path}");
    }
    let (status, body) = program.get("/middle/snapshot.jpg");
    assert_eq!(status, 404, "{}", String::from_utf8_lossy(&body));

    // Processes and memory by camera and kind; each worker has its own memory alone.
    for (name, own, other) in [
        ("stampcast-v-lef", "left-video", "right-"),
        ("stampcast-v-rig", "right-video", "left-"),
        ("stampcast-a-lef", "left-audio", "right-"),
    ] {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", program.process(name)))
            .expect("our own child");
        assert!(maps.contains(&format!("memfd:{own}")), "{name}: {maps}");
        assert!(!maps.contains(&format!("memfd:{other}")), "{name}: {maps}");
    }

    // One camera's worker dies: the other's viewers miss nothing.
    let mut right = program.stream("/right/stream?format=binary&video=1&audio=0&delivery=all");
    let mut numbers = vec![next_video(&mut right, RIGHT)];
    kill(program.process("stampcast-v-lef"), Signal::SIGKILL).expect("our own child");
    program.line(&["stampcast-v-left", "was killed by signal 9"]);
    let mut left = program.stream("/left/stream?format=binary&video=1&audio=0");
    next_video(&mut left, LEFT);
    for _ in 0..30 {
        numbers.push(next_video(&mut right, RIGHT));
    }
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );

    // The server dies: its next generation has both cameras again.
    kill(program.process("stampcast-serve"), Signal::SIGKILL).expect("our own child");
    program.line(&["stampcast-serve", "was killed by signal 9"]);
    assert_eq!(jpeg_size(&program.snapshot("/left/snapshot.jpg")), LEFT);
    assert_eq!(jpeg_size(&program.snapshot("/right/snapshot.jpg")), RIGHT);

    kill(supervisor, Signal::SIGTERM).expect("our own child");
    assert_eq!(
        waitpid(supervisor, None),
        Ok(WaitStatus::Exited(supervisor, 0))
    );
}

struct Program {
    log: BufReader<File>,
    supervisor: Pid,
    port: u16,
}

fn start() -> (BufReader<File>, u16, Pid) {
    let (log, stderr) = pipe().expect("a pipe");
    // SAFETY: this process has one thread, so the child may do anything that the parent may.
    let supervisor = match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            drop(log);
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGTERM);
            dup2_stderr(stderr).expect("a descriptor");
            stampcast::log::init(LogFormat::Text, tracing::Level::INFO);
            let code = stampcast::supervise::run(config()).unwrap_or_else(|e| {
                eprintln!("{e}");
                2
            });
            std::process::exit(code.into())
        }
        ForkResult::Parent { child } => child,
    };
    drop(stderr);
    let mut log = BufReader::new(File::from(log));
    let line = line_with(&mut log, &["listening on http://127.0.0.1:"]);
    let port = line
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|port| port.parse().ok())
        .expect("a port");
    (log, port, supervisor)
}

impl Program {
    fn line(&mut self, words: &[&str]) -> String {
        line_with(&mut self.log, words)
    }

    /// The child with this process name.
    fn process(&self, name: &str) -> Pid {
        until(name, || {
            let children = format!("/proc/{0}/task/{0}/children", self.supervisor);
            let children = std::fs::read_to_string(children).ok()?;
            children
                .split_whitespace()
                .find(|pid| {
                    std::fs::read_to_string(format!("/proc/{pid}/comm"))
                        .is_ok_and(|comm| comm.trim_end() == name)
                })
                .and_then(|pid| pid.parse().ok())
                .map(Pid::from_raw)
        })
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        until(path, || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).ok()?;
            let end = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
            let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
            Some((status, answer.split_off(end)))
        })
    }

    /// Asked again until the camera has given a frame.
    fn snapshot(&self, path: &str) -> Vec<u8> {
        until(path, || {
            let (status, body) = self.get(path);
            (status == 200).then_some(body)
        })
    }

    fn stream(&self, path: &str) -> WebSocket<MaybeTlsStream<TcpStream>> {
        let url = format!("ws://127.0.0.1:{}{path}", self.port);
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let (socket, _) =
            tungstenite::client(url, MaybeTlsStream::Plain(stream)).expect("a handshake");
        socket
    }
}

/// The sequence number of the next frame.
fn next_video(socket: &mut WebSocket<MaybeTlsStream<TcpStream>>, size: (u16, u16)) -> u32 {
    loop {
        let Message::Binary(bytes) = socket.read().expect("the stream goes on") else {
            continue;
        };
        let message = wire::binary::decode(&bytes).expect("our own wire");
        if let wire::Message::Video {
            label: Some(label),
            width,
            height,
            jpeg,
            ..
        } = message
        {
            assert_eq!((width, height), size);
            assert_eq!(jpeg_size(&jpeg), size);
            return label.sequence;
        }
    }
}

/// Width and height from the frame header (SOF0, ITU-T T.81 B.2.2).
fn jpeg_size(jpeg: &[u8]) -> (u16, u16) {
    let at = jpeg
        .windows(2)
        .position(|marker| marker == [0xff, 0xc0])
        .expect("a baseline JPEG");
    let u16_at = |at: usize| u16::from_be_bytes([jpeg[at], jpeg[at + 1]]);
    (u16_at(at + 7), u16_at(at + 5))
}

fn line_with(log: &mut impl BufRead, words: &[&str]) -> String {
    let mut seen = String::new();
    loop {
        let before = seen.len();
        let length = log.read_line(&mut seen).expect("a pipe");
        assert!(length > 0, "the program ended without {words:?}:\n{seen}");
        let line = &seen[before..];
        if words.iter().all(|word| line.contains(word)) {
            return line.to_owned();
        }
    }
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn config() -> Config {
    let camera = |name: &str, (width, height): (u16, u16), audio: bool| CameraConfig {
        id: CameraId::new(name).expect("a name"),
        video: Some(VideoConfig {
            width: width.into(),
            height: height.into(),
            capture_width: width.into(),
            capture_height: height.into(),
            fps: 30.0,
            ..VideoConfig::default()
        }),
        audio: audio.then_some(AudioConfig {
            source: AudioSourceConfig::Test,
            channels: 1,
            rate_hz: None,
            queue_packets: 500,
        }),
    };
    Config {
        host: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        cameras: vec![camera("left", LEFT, true), camera("right", RIGHT, false)],
        exit_on_device_error: false,
        serve_client: false,
        logging: Logging {
            format: LogFormat::Text,
            level: tracing::Level::INFO,
        },
        access: Access::default(),
        limits: Limits::default(),
        tls: None,
        sandbox: true,
        webrtc: None,
        ignored_options: Vec::new(),
    }
}
