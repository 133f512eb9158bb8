//! The cheapest possible client of the stream: bytes are counted, and only the stamps are read.
#![allow(dead_code)] // each benchmark uses its own part

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, SystemTime};

/// WebSocket header, `video:` and the stamp.
const PREFIX: usize = 10 + 6 + 17;

/// Reads frames of text off a stream of bytes, of which only the stamp matters.
#[derive(Default)]
pub struct Frames {
    prefix: Vec<u8>,
    left: usize,
}

impl Frames {
    /// Calls back with each frame's stamp as soon as its last byte is there.
    pub fn feed(&mut self, mut bytes: &[u8], mut whole: impl FnMut(Duration)) {
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

    /// Bytes that may be read without reading beyond this frame.
    pub fn missing(&self) -> usize {
        if self.prefix.len() < PREFIX {
            PREFIX - self.prefix.len()
        } else {
            self.left
        }
    }

    /// Of header and payload.
    fn length(&self) -> usize {
        match self.prefix[1] {
            127 => {
                10 + u64::from_be_bytes(self.prefix[2..10].try_into().expect("eight bytes"))
                    as usize
            }
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

pub fn connect(port: u16, query: &str) -> TcpStream {
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

pub fn age(stamp: Duration) -> Duration {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .saturating_sub(stamp)
}
