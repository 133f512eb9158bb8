//! A viewer: a plain WebSocket client with its own reading of the wire, so that the program's is
//! checked and not trusted. It never reconnects: a lost connection fails the test, which is how
//! "viewers stay connected" is shown. Only [`ended`](Viewer::ended) expects it.

use crate::PATIENCE;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::{Error, Message, WebSocket};

pub struct Viewer {
    socket: WebSocket<TcpStream>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// UNIX time, nanoseconds (whole microseconds in the text format).
    pub stamp_ns: i64,
    /// The binary format only.
    pub sequence: Option<u32>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Video {
        width: u32,
        height: u32,
        jpeg: Vec<u8>,
    },
    /// Rate and channels are in the binary format only.
    Audio {
        rate_hz: u32,
        channels: u16,
        samples: Vec<i16>,
    },
    Event(serde_json::Value),
}

impl Packet {
    pub fn frame(self) -> Option<Frame> {
        match self.body {
            Body::Video {
                width,
                height,
                jpeg,
            } => Some(Frame {
                stamp_ns: self.stamp_ns,
                sequence: self.sequence,
                width,
                height,
                jpeg,
            }),
            _ => None,
        }
    }

    pub fn audio(self) -> Option<AudioPacket> {
        match self.body {
            Body::Audio {
                rate_hz,
                channels,
                samples,
            } => Some(AudioPacket {
                stamp_ns: self.stamp_ns,
                sequence: self.sequence,
                rate_hz,
                channels,
                samples,
            }),
            _ => None,
        }
    }
}

pub struct Frame {
    pub stamp_ns: i64,
    pub sequence: Option<u32>,
    pub width: u32,
    pub height: u32,
    pub jpeg: Vec<u8>,
}

pub struct AudioPacket {
    pub stamp_ns: i64,
    pub sequence: Option<u32>,
    pub rate_hz: u32,
    pub channels: u16,
    pub samples: Vec<i16>,
}

impl AudioPacket {
    /// When the next packet begins, if nothing is missing.
    pub fn end_ns(&self) -> i64 {
        let frames = self.samples.len() as i64 / i64::from(self.channels);
        self.stamp_ns + frames * 1_000_000_000 / i64::from(self.rate_hz)
    }
}

impl Viewer {
    /// Connects to `/stream` with a query such as `format=binary&events=1`, or none.
    pub fn connect(port: u16, query: &str) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).expect("the program listens");
        tcp.set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout can be set");
        let url = format!(
            "ws://127.0.0.1:{port}/stream{}{query}",
            if query.is_empty() { "" } else { "?" }
        );
        let end = Instant::now() + PATIENCE;
        let mut handshake = tungstenite::client(url, tcp);
        loop {
            match handshake {
                Ok((socket, _)) => return Self { socket },
                Err(tungstenite::HandshakeError::Interrupted(more)) if Instant::now() < end => {
                    handshake = more.handshake()
                }
                Err(e) => panic!("the handshake failed: {e}"),
            }
        }
    }

    /// The next packet, or `None` when nothing came within `timeout`.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Packet> {
        let end = Instant::now() + timeout;
        while Instant::now() < end {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(read_text(text.as_str())),
                Ok(Message::Binary(bytes)) => return Some(read_binary(&bytes)),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(other) => panic!("the stream ended: {other:?}"),
                Err(Error::Io(e))
                    if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => panic!("the viewer was disconnected: {e}"),
            }
        }
        None
    }

    pub fn frame(&mut self) -> Frame {
        self.wait("frame", Packet::frame)
    }

    pub fn audio(&mut self) -> AudioPacket {
        self.wait("audio", Packet::audio)
    }

    /// The next event of that name; what comes before it is dropped.
    pub fn event(&mut self, name: &str) -> serde_json::Value {
        self.wait(name, |p| match p.body {
            Body::Event(json) if json["event"] == name => Some(json),
            _ => None,
        })
    }

    /// The first packet that `wanted` takes.
    pub fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let packet = self
                .next_within(left)
                .unwrap_or_else(|| panic!("no {what} within {PATIENCE:?}"));
            if let Some(found) = wanted(packet) {
                return found;
            }
        }
    }

    /// Reads until no audio has come for `quiet`; frames go on.
    pub fn wait_for_silence(&mut self, quiet: Duration) {
        let end = Instant::now() + PATIENCE;
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            assert!(Instant::now() < end, "audio went on for {PATIENCE:?}");
            if self.next_within(quiet).and_then(Packet::audio).is_some() {
                last = Instant::now();
            }
        }
    }

    /// Reads until the connection ends.
    pub fn ended(mut self) {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.socket.read() {
                Err(Error::Io(e))
                    if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(Message::Close(_)) | Err(_) => return,
                Ok(_) => {}
            }
        }
        panic!("the connection did not end within {PATIENCE:?}");
    }

    /// Reads until nothing has come for `quiet`: what was on its way when a device failed.
    pub fn drain(&mut self, quiet: Duration) {
        let end = Instant::now() + PATIENCE;
        while self.next_within(quiet).is_some() {
            assert!(Instant::now() < end, "packets went on for {PATIENCE:?}");
        }
    }
}

/// `video:<ts>:<width>:<height>:<base64>`, `audio:<ts>:<base64>`, `event:<ts>:<json>`.
fn read_text(text: &str) -> Packet {
    let (kind, rest) = text.split_once(':').expect("a kind");
    let (stamp, rest) = rest.split_once(':').expect("a stamp");
    let (seconds, micros) = stamp.split_once('.').expect("a fraction");
    assert_eq!(micros.len(), 6, "six decimals in {stamp}");
    let stamp_us: i64 = format!("{seconds}{micros}").parse().expect("digits");
    let decode = |b64: &str| STANDARD.decode(b64).expect("base64");
    let body = match kind {
        "video" => {
            let parts: Vec<&str> = rest.split(':').collect();
            let [width, height, jpeg] = parts[..] else {
                panic!("{} parts in a frame", parts.len())
            };
            let pixels = |s: &str| s.parse().expect("a number of pixels");
            Body::Video {
                width: pixels(width),
                height: pixels(height),
                jpeg: decode(jpeg),
            }
        }
        "audio" => Body::Audio {
            rate_hz: 0,
            channels: 0,
            samples: samples(&decode(rest)),
        },
        "event" => Body::Event(serde_json::from_str(rest).expect("JSON")),
        other => panic!("an unknown kind {other}"),
    };
    Packet {
        stamp_ns: stamp_us * 1000,
        sequence: None,
        body,
    }
}

/// The 24-byte header and its payload.
fn read_binary(bytes: &[u8]) -> Packet {
    let (header, payload) = bytes.split_at_checked(24).expect("a whole header");
    assert_eq!(header[1], 24);
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let body = match header[0] {
        b'v' => Body::Video {
            width: half(16).into(),
            height: half(18).into(),
            jpeg: payload.to_vec(),
        },
        b'a' => Body::Audio {
            rate_hz: word(16),
            channels: half(20),
            samples: samples(payload),
        },
        b'e' => Body::Event(serde_json::from_slice(payload).expect("JSON")),
        other => panic!("an unknown kind {other}"),
    };
    let stamp_ns = i64::from(word(8)) | i64::from(word(12)) << 32;
    Packet {
        stamp_ns,
        sequence: Some(word(4)),
        body,
    }
}

fn samples(bytes: &[u8]) -> Vec<i16> {
    assert!(bytes.len().is_multiple_of(2), "half a sample");
    bytes
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect()
}
