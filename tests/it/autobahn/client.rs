//! A WebSocket client that writes the bytes it is given and parses the answers.

use crate::common::PATIENCE;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

/// The answers, without the stream itself.
#[derive(Debug, Default, PartialEq)]
pub struct Answers {
    /// The payloads of protocol pongs.
    pub pongs: Vec<Vec<u8>>,
    /// The ids of answered `ping:<id>`.
    pub said: Vec<String>,
    /// The code of the close frame; [`NO_CODE`] if it has none. `None`: the connection is open and
    /// works.
    pub close: Option<u16>,
}

/// RFC 6455, section 7.1.5.
pub const NO_CODE: u16 = 1005;
/// The payload of the ping that asks whether the connection still works.
const STILL_THERE: &[u8] = b"still there?";

pub struct Client {
    tcp: TcpStream,
    /// The server's `Sec-WebSocket-Extensions`.
    pub extensions: Option<String>,
}

impl Client {
    pub fn connect(port: u16, headers: &str) -> io::Result<Self> {
        let mut tcp = TcpStream::connect(("127.0.0.1", port))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        write!(
            tcp,
            "GET /stream?audio=0 HTTP/1.1\r\nHost: autobahn\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        )?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            tcp.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if !head.starts_with("http/1.1 101 ") {
            return Err(io::Error::other(head));
        }
        let extensions = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-extensions:"))
            .map(str::to_owned);
        Ok(Self { tcp, extensions })
    }

    /// Sends `writes`, each on its own, and reads to the end; if `stays_open`, to the answer to one
    /// more ping.
    pub fn exchange(mut self, writes: &[Vec<u8>], stays_open: bool) -> Answers {
        let mut reader = BufReader::new(self.tcp.try_clone().expect("a descriptor"));
        std::thread::scope(|scope| {
            // In parallel with writing: a reset would discard what was not read before.
            let reading = scope.spawn(move || answers(&mut reader));
            let last = frame(FIN | PING, STILL_THERE);
            for write in writes.iter().chain(stays_open.then_some(&last)) {
                // The server may close before it has read all of it.
                if self.tcp.write_all(write).is_err() {
                    break;
                }
            }
            reading.join().expect("the reader found frames")
        })
    }
}

fn answers(reader: &mut impl Read) -> Answers {
    let mut answers = Answers::default();
    loop {
        let (opcode, payload) = match read_frame(reader) {
            Ok(frame) => frame,
            Err(e) => {
                panic!("the connection ended without a close frame: {e}; until then {answers:?}")
            }
        };
        match opcode {
            TEXT => {
                let text = String::from_utf8(payload).expect("text is UTF-8");
                match text.strip_prefix("pong:") {
                    Some(pong) => answers
                        .said
                        .push(pong.rsplitn(3, ':').last().expect("an id").to_owned()),
                    None => assert!(text.starts_with("video:"), "{text}"),
                }
            }
            PONG if payload == STILL_THERE => return answers,
            PONG => answers.pongs.push(payload),
            CLOSE => {
                answers.close = Some(
                    payload
                        .first_chunk()
                        .map_or(NO_CODE, |code| u16::from_be_bytes(*code)),
                );
                let mut rest = Vec::new();
                match reader.read_to_end(&mut rest) {
                    Ok(_) => assert!(
                        rest.is_empty(),
                        "nothing comes behind a close frame: {rest:?}"
                    ),
                    Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
                }
                return answers;
            }
            other => panic!("a server sends no frame of opcode {other}"),
        }
    }
}

fn read_frame(reader: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    reader.read_exact(&mut head)?;
    assert_eq!(
        (head[0] & 0xf0, head[1] & 0x80),
        (FIN, 0),
        "whole frames, no reserved bit, not masked"
    );
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            reader.read_exact(&mut length)?;
            u16::from_be_bytes(length).into()
        }
        127 => {
            let mut length = [0; 8];
            reader.read_exact(&mut length)?;
            u64::from_be_bytes(length)
        }
        short => u64::from(short),
    };
    assert!(length < 1 << 24, "no more than a picture: {length}");
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload)?;
    Ok((head[0] & 0x0f, payload))
}

pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A client's frame: `first` is FIN, the reserved bits and the opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    out
}
