//! The viewers: many that read as fast as they can on one epoll loop, or one that reads slowly.

use super::{say, wait_for_end_of_input};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

/// After the last viewer came, before the measurement.
const SETTLE: Duration = Duration::from_secs(1);
/// WebSocket header, `video:` and the stamp.
const PREFIX: usize = 10 + 6 + 17;

/// Reads frames of text off a stream of bytes, of which only the stamp matters.
#[derive(Default)]
struct Frames {
    prefix: Vec<u8>,
    left: usize,
}

impl Frames {
    /// Calls back with each frame's stamp as soon as its last byte is there.
    fn feed(&mut self, mut bytes: &[u8], mut whole: impl FnMut(Duration)) {
        while !bytes.is_empty() {
            if self.prefix.len() < PREFIX {
                let part = bytes.len().min(PREFIX - self.prefix.len());
                self.prefix.extend_from_slice(&bytes[..part]);
                bytes = &bytes[part..];
                if self.prefix.len() == PREFIX {
                    self.left = self.length() - PREFIX;
                }
                continue;
            }
            let part = bytes.len().min(self.left);
            self.left -= part;
            bytes = &bytes[part..];
            if self.left == 0 {
                whole(self.stamp());
                self.prefix.clear();
            }
        }
    }

    /// Of header and payload.
    fn length(&self) -> usize {
        match self.prefix[1] {
            127 => 10 + u64::from_be_bytes(self.prefix[2..10].try_into().expect("eight bytes")) as usize,
            126 => 4 + usize::from(u16::from_be_bytes([self.prefix[2], self.prefix[3]])),
            short => panic!("a video frame of {short} bytes"),
        }
    }

    fn stamp(&self) -> Duration {
        let start = if self.prefix[1] == 127 { 10 } else { 4 } + "video:".len();
        let text = std::str::from_utf8(&self.prefix[start..start + 17]).expect("digits");
        Duration::from_nanos(stampcast::wire::stamp::parse(text).expect("a stamp").0)
    }
}

fn connect(port: u16, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
    let request = format!(
        "GET /stream{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it answers");
        answer.push(byte[0]);
    }
    stream
}

fn age(stamp: Duration) -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").saturating_sub(stamp)
}

/// Says `begin`, and in the end: frames, bytes, p50 and p99 of stamp to last byte read, in microseconds.
pub fn fast(port: u16, viewers: usize, stalled: usize, seconds: Duration) {
    let _stalled: Vec<_> = (0..stalled).map(|_| connect(port, "")).collect();
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("epoll");
    let mut streams: Vec<_> = (0..viewers)
        .map(|at| {
            let stream = connect(port, "");
            stream.set_nonblocking(true).expect("a socket");
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, at as u64)).expect("room");
            (stream, Frames::default())
        })
        .collect();
    let mut begin = Instant::now() + SETTLE;
    let mut begun = false;
    let mut bytes = 0;
    let mut ages = Vec::new();
    let mut scratch = vec![0; 256 * 1024];
    let mut events = vec![EpollEvent::empty(); 64];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::from(20u8)).expect("epoll waits");
        if !begun && Instant::now() >= begin {
            begun = true;
            begin = Instant::now();
            say("begin");
        }
        if begun && begin.elapsed() >= seconds {
            break;
        }
        for event in &events[..ready] {
            let (stream, frames) = &mut streams[event.data() as usize];
            match stream.read(&mut scratch) {
                Ok(0) => panic!("the server hung up"),
                Ok(n) => {
                    bytes += if begun { n } else { 0 };
                    frames.feed(&scratch[..n], |stamp| {
                        if begun {
                            ages.push(age(stamp))
                        }
                    });
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => panic!("{e}"),
            }
        }
    }
    ages.sort_unstable();
    let micros = |share: f64| ages[((ages.len() - 1) as f64 * share) as usize].as_micros();
    say(&format!("{} {bytes} {} {}", ages.len(), micros(0.5), micros(0.99)));
    wait_for_end_of_input();
}

/// Reads a frame, then waits for two frames' time. Says p95 of the ages in microseconds, and frames per second.
pub fn slow(port: u16, query: &str, fps: u32, seconds: Duration) {
    const ACK: [u8; 9] = [0x81, 0x83, 0, 0, 0, 0, b'a', b'c', b'k'];
    let mut stream = connect(port, query);
    let mut frames = Frames::default();
    let mut scratch = vec![0; 4096];
    let mut ages = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < seconds {
        let mut done = None;
        while done.is_none() {
            let wanted = if frames.prefix.len() < PREFIX { PREFIX - frames.prefix.len() } else { frames.left.min(scratch.len()) };
            let n = stream.read(&mut scratch[..wanted]).expect("the stream goes on");
            frames.feed(&scratch[..n], |stamp| done = Some(age(stamp)));
        }
        if !query.is_empty() {
            stream.write_all(&ACK).expect("it reads");
        }
        ages.extend(done);
        std::thread::sleep(Duration::from_secs(2) / fps);
    }
    // The first half fills the buffers.
    let mut ages = ages.split_off(ages.len() / 2);
    let rate = ages.len() as f64 / (seconds.as_secs_f64() / 2.0);
    ages.sort_unstable();
    say(&format!("{} {rate}", ages[(ages.len() - 1) * 95 / 100].as_micros()));
    wait_for_end_of_input();
}
