//! Fuzz target: what a viewer sends after its handshake, in reads of any length.

use super::reader::{CloseReason, ReadOutcome, Reader};
use crate::fuzz::Input;
use crate::http::UpgradedStream;
use crate::media::UnixNs;
use socket2::SockRef;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use tokio::runtime::Runtime;

const MAX_MESSAGE: usize = 256;

struct Loopback {
    runtime: Runtime,
    listener: TcpListener,
}

thread_local! {
    static LOOPBACK: Loopback = Loopback {
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime"),
        listener: TcpListener::bind("127.0.0.1:0").expect("a free port"),
    };
}

/// The answers to a viewer, and why its connection ended; `None`: it could go on.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Whole frames, sorted: pongs of the two kinds do not keep their order among each other.
    answers: Vec<Vec<u8>>,
    ended: Option<CloseReason>,
}

/// The first byte is the length of the reads.
pub fn incoming(bytes: &[u8]) {
    let mut input = Input(bytes);
    let step = usize::from(input.u8()).max(1);
    let bytes = input.rest();
    LOOPBACK.with(|loopback| {
        let at_once = loopback.feed(bytes, bytes.len().max(1));
        if let Some(CloseReason::Refused { code, .. }) = &at_once.ended {
            assert!([1002, 1003, 1007, 1008, 1009].contains(code), "{code}");
        }
        assert_eq!(loopback.feed(bytes, step), at_once, "reads of {step} bytes");
    });
}

impl Loopback {
    /// The first read is what came with the handshake, the others come over the socket.
    fn feed(&self, bytes: &[u8], step: usize) -> Outcome {
        let mut peer =
            TcpStream::connect(self.listener.local_addr().expect("bound")).expect("listening");
        // No port is to be left waiting: there are thousands of runs a second.
        SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .expect("an option of TCP");
        let (served, _) = self.listener.accept().expect("it was connected");
        served.set_nonblocking(true).expect("a socket");
        self.runtime.block_on(async {
            let mut reads = bytes.chunks(step);
            let ahead = reads.next().unwrap_or_default().to_vec();
            let mut incoming = Reader::new(
                UpgradedStream::plain(tokio::net::TcpStream::from_std(served).expect("a socket")),
                ahead,
                MAX_MESSAGE,
            );
            let mut answers = Vec::new();
            let mut ended = drain(&mut incoming, &mut answers);
            for read in reads {
                if ended.is_some() {
                    break;
                }
                peer.write_all(read).expect("the peer is there");
                incoming
                    .stream()
                    .readable()
                    .await
                    .expect("the peer is there");
                ended = drain(&mut incoming, &mut answers);
            }
            incoming.take_answers(&mut answers, || UnixNs(0));
            let mut answers = frames(&answers);
            answers.sort();
            Outcome { answers, ended }
        })
    }
}

/// Reads all that is there, as a viewer's task does; why it ended, if it did.
fn drain(incoming: &mut Reader, answers: &mut Vec<u8>) -> Option<CloseReason> {
    loop {
        if !incoming.may_read() {
            incoming.take_answers(answers, || UnixNs(0));
        }
        match incoming.read(|| UnixNs(0)) {
            Ok(ReadOutcome::Ack | ReadOutcome::Other | ReadOutcome::Yield) => {}
            Ok(ReadOutcome::Nothing) => return None,
            Err(ended) => return Some(ended),
        }
    }
}

/// Splits answers into frames, each as RFC 6455 demands of a server: whole, unmasked, short.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let [first, length, ..] = *bytes {
        assert!(
            [0x81, 0x88, 0x8a].contains(&first),
            "a text, a close or a pong: {first:#x}"
        );
        assert!(
            length <= 125,
            "an answer is short, and not masked: {length}"
        );
        let (frame, rest) = bytes.split_at(2 + usize::from(length));
        frames.push(frame.to_vec());
        bytes = rest;
    }
    assert!(bytes.is_empty(), "whole frames: {bytes:?}");
    frames
}
