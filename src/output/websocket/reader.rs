//! The reading side of a viewer's WebSocket: what the viewer says, and the answers that the protocol owes it. Knows no
//! packet.
//!
//! tungstenite reads and never writes by itself: its pongs and its answer to a close go to a small buffer, which the
//! viewer's writer sends between two frames. While answers wait, nothing more is read: a viewer that floods us with
//! pings fills its own socket, not our memory.
//!
//! One read of tungstenite's goes on until it has a whole message, which fragments can put off for ever. So the socket
//! seems empty to it after a bounded number of bytes, and the rest of the flood waits for the viewer's next turn.

use super::transport::Socket;
use crate::media::UnixNs;
use crate::wire::text;
use crate::wire::text::Command;
use crate::wire::websocket::{Opcode, append_close, append_message};
use std::io::{self, ErrorKind, Read, Write};
use std::task::{Context, Poll};
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

/// tungstenite keeps a buffer of this size for each viewer.
const READ_BUFFER: usize = 256;
/// Answers that wait, bytes. A control frame has at most 127.
const MAX_CONTROL: usize = 1024;
const MAX_PONGS: usize = 8;
/// Read without a rest, bytes; then other viewers get their turn.
const AT_A_STRETCH: usize = 64 * 1024;
/// What a payload byte may cost on the wire: a fragment of its own has a header of 2 bytes and a mask of 4.
const BYTES_PER_BYTE: usize = 7;

pub struct Incoming {
    ws: WebSocket<Link>,
    /// The last read found no whole message, so more can only come from the socket.
    used_up: bool,
    pongs: Vec<Pong>,
}

/// An answer to `ping:<id>`; the time of sending is filled in when it is sent.
struct Pong {
    id: String,
    received: UnixNs,
}

/// What tungstenite takes for a stream: reads come from the socket, writes go to the buffer.
struct Link {
    socket: Socket,
    control: Vec<u8>,
    /// Bytes that may still be read in this stretch.
    stretch: usize,
    /// Bytes read since the last whole message.
    unfinished: usize,
    /// The most that may come to.
    most_unfinished: usize,
}

/// What one [`Incoming::read`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A frame was acknowledged.
    Ack,
    /// A message that asks nothing of the viewer's queue.
    Other,
    /// There is no whole message now.
    Nothing,
    /// There is more, but it is the turn of others.
    Enough,
}

/// Why a viewer is not read any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("closed by the viewer")]
    ByViewer,
    #[error("connection lost")]
    Gone,
    /// To be told to the viewer in a close frame.
    #[error("closed with {code}: {reason}")]
    Refused { code: u16, reason: String },
    #[error("took nothing for too long")]
    Stalled,
}

impl Incoming {
    /// `read_ahead`: what was read from the socket behind the handshake. `longest`: message, bytes.
    pub fn new(socket: Socket, read_ahead: Vec<u8>, longest: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_CONTROL)
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest));
        let most_unfinished = longest
            .saturating_mul(BYTES_PER_BYTE)
            .saturating_add(AT_A_STRETCH);
        let link = Link {
            socket,
            control: Vec::new(),
            stretch: AT_A_STRETCH,
            unfinished: 0,
            most_unfinished,
        };
        let ws = WebSocket::from_partially_read(link, read_ahead, Role::Server, Some(config));
        Self {
            ws,
            used_up: false,
            pongs: Vec::new(),
        }
    }

    pub fn socket(&self) -> &Socket {
        &self.ws.get_ref().socket
    }

    /// False while answers wait: then nothing is to be read.
    pub fn may_read(&self) -> bool {
        self.ws.get_ref().control.len() < MAX_CONTROL / 2 && self.pongs.len() < MAX_PONGS
    }

    /// Ready when [`read`](Self::read) may give something. Costs less than to try, which matters once per frame.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        if !self.used_up {
            return Ok(Poll::Ready(()));
        }
        match self.socket().poll_readable(cx) {
            Poll::Ready(ready) => ready.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Reads one message. Pings are answered here, `now` being the time that their pongs give as received.
    pub fn read(&mut self, now: impl FnOnce() -> UnixNs) -> Result<Heard, Ended> {
        let read = self.ws.read();
        let link = self.ws.get_mut();
        let message = match read {
            Ok(message) => message,
            Err(_) if link.unfinished > link.most_unfinished => {
                return Err(Ended::refused(1008, "a message in fragments without end"));
            }
            Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {
                self.used_up = link.stretch > 0;
                link.stretch = AT_A_STRETCH;
                return Ok(if self.used_up {
                    Heard::Nothing
                } else {
                    Heard::Enough
                });
            }
            Err(e) => return Err(ended(&e)),
        };
        self.used_up = false;
        link.unfinished = 0;
        match message {
            Message::Text(said) => match text::command(&said) {
                Some(Command::Ack) => Ok(Heard::Ack),
                Some(Command::Ping(id)) => {
                    self.pongs.push(Pong {
                        id: id.to_owned(),
                        received: now(),
                    });
                    Ok(Heard::Other)
                }
                None => Err(Ended::refused(
                    1008,
                    "what a viewer may say is: ack, and ping:<up to 64 bytes without a colon>",
                )),
            },
            Message::Binary(_) => Err(Ended::refused(1003, "a viewer speaks in text")),
            // tungstenite answers these.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                Ok(Heard::Other)
            }
        }
    }

    /// Moves the answers to `out`, to be sent at once: `now` is what pongs give as sent.
    pub fn take_answers(&mut self, out: &mut Vec<u8>, now: impl FnOnce() -> UnixNs) {
        if !self.pongs.is_empty() {
            let sent = now();
            for pong in self.pongs.drain(..) {
                append_message(
                    out,
                    Opcode::Text,
                    text::pong(&pong.id, pong.received, sent).as_bytes(),
                );
            }
        }
        // Last, for nothing may follow a close frame.
        out.append(&mut self.ws.get_mut().control);
    }

    /// Adds a close frame behind the answers. To be called once, when nothing more will be read.
    pub fn refuse(&mut self, code: u16, reason: &str) {
        append_close(&mut self.ws.get_mut().control, code, reason);
    }
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Ended {
    pub fn refused(code: u16, reason: impl Into<String>) -> Self {
        Self::Refused {
            code,
            reason: reason.into(),
        }
    }
}

/// The close code that an error calls for (RFC 6455, section 7.4.1).
fn ended(error: &Error) -> Ended {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ended::ByViewer,
        Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ended::Gone,
        Error::Utf8(_) => Ended::refused(1007, "the text is not valid UTF-8"),
        Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            Ended::refused(1009, format!("a message may have {max_size} bytes"))
        }
        other => Ended::refused(1002, other.to_string()),
    }
}

impl Read for Link {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(self.stretch);
        if most == 0 || self.unfinished > self.most_unfinished {
            return Err(ErrorKind::WouldBlock.into());
        }
        let read = self.socket.try_read(&mut buf[..most])?;
        self.stretch -= read;
        self.unfinished += read;
        Ok(read)
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.control.len() + bytes.len() > MAX_CONTROL {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.control.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
