//! A blocking WebSocket client.
#![allow(dead_code)]

use base64::Engine;
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

pub struct Viewer(WebSocket<MaybeTlsStream<TcpStream>>);

/// One message of the text format.
#[derive(Debug)]
pub enum Text {
    Video {
        stamp: f64,
        width: u32,
        height: u32,
        jpeg: Vec<u8>,
    },
    Audio {
        stamp: f64,
        samples: Vec<i16>,
    },
    Event {
        stamp: f64,
        json: serde_json::Value,
    },
    Other(String),
}

impl Viewer {
    pub fn connect(url: &str) -> Self {
        Self::try_connect(url).unwrap_or_else(|e| panic!("{url}: {e}"))
    }

    pub fn try_connect(url: &str) -> Result<Self, Box<tungstenite::Error>> {
        let (socket, _) = tungstenite::connect(url)?;
        if let MaybeTlsStream::Plain(tcp) = socket.get_ref() {
            tcp.set_read_timeout(Some(super::PATIENCE))
                .expect("a timeout is settable");
        }
        Ok(Self(socket))
    }

    pub fn patience(&self, patience: Duration) {
        if let MaybeTlsStream::Plain(tcp) = self.0.get_ref() {
            tcp.set_read_timeout(Some(patience))
                .expect("a timeout is settable");
        }
    }

    pub fn send(&mut self, text: &str) {
        self.0
            .send(Message::text(text))
            .expect("the connection stands");
    }

    /// The next message; an error when the connection ends, and after [`super::PATIENCE`].
    pub fn message(&mut self) -> Result<Message, Box<tungstenite::Error>> {
        loop {
            match self.0.read() {
                // A signal of the test runner's own children.
                Err(tungstenite::Error::Io(e)) if e.kind() == std::io::ErrorKind::Interrupted => {}
                read => return Ok(read?),
            }
        }
    }

    /// The next text message, parsed strictly as documented.
    pub fn next(&mut self) -> Text {
        loop {
            match self
                .message()
                .unwrap_or_else(|e| panic!("the stream ended: {e}"))
            {
                Message::Text(text) => return parse(&text),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a text message: {other:?}"),
            }
        }
    }

    /// The next video frame.
    pub fn frame(&mut self) -> (f64, u32, u32, Vec<u8>) {
        loop {
            if let Text::Video {
                stamp,
                width,
                height,
                jpeg,
            } = self.next()
            {
                return (stamp, width, height, jpeg);
            }
        }
    }
}

pub fn parse(text: &str) -> Text {
    let parts: Vec<&str> = text.split(':').collect();
    let decode = |b64: &str| {
        base64::engine::general_purpose::STANDARD
            .decode(b64)
            .expect("base64")
    };
    let stamp = |s: &str| {
        assert_eq!(
            s.split('.').nth(1).map(str::len),
            Some(6),
            "six decimals: {s}"
        );
        s.parse::<f64>().expect("a number")
    };
    match parts[..] {
        ["video", ts, w, h, b64] => Text::Video {
            stamp: stamp(ts),
            width: w.parse().expect("a width"),
            height: h.parse().expect("a height"),
            jpeg: decode(b64),
        },
        ["audio", ts, b64] => {
            let samples = decode(b64)
                .chunks_exact(2)
                .map(|c| i16::from_le_bytes([c[0], c[1]]))
                .collect();
            Text::Audio {
                stamp: stamp(ts),
                samples,
            }
        }
        ["event", ts, ..] => {
            let json = text.splitn(3, ':').nth(2).expect("an event has a body");
            Text::Event {
                stamp: stamp(ts),
                json: serde_json::from_str(json).expect("JSON"),
            }
        }
        _ => Text::Other(text.to_owned()),
    }
}

/// UNIX time now, seconds.
pub fn unix_now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64()
}
