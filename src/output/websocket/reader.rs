//! The reading side of a viewer's WebSocket: the viewer's messages, and the answers that the
//! protocol requires.
//!
//! tungstenite reads and never writes by itself: its pongs and its answer to a close go to a small
//! buffer, which the session sends between two frames. While answers wait, nothing more is read: a
//! viewer that floods us with pings fills its own socket, not our memory.
//!
//! One read of tungstenite continues until it has a whole message, which fragments can delay
//! without end. So [`BoundedIo`] appears empty to it after a bounded number of bytes, and the rest
//! waits for the session's next poll.

use crate::http::UpgradedStream;
use crate::media::UnixNs;
use crate::wire::text;
use crate::wire::text::Command;
use crate::wire::websocket::{Opcode, append_close, append_message};
use std::io::{self, ErrorKind, Read, Write};
use std::task::{Context, Poll};
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

/// tungstenite's buffer per viewer, bytes.
const READ_BUFFER: usize = 256;
/// The most answers that wait, bytes. A control frame has at most 127.
const MAX_CONTROL: usize = 1024;
const MAX_PONGS: usize = 8;
/// Bytes read in a row; then other tasks run.
const READ_BUDGET: usize = 64 * 1024;
/// The most bytes on the wire per byte of payload: a fragment has a header of 2 bytes and a mask of
/// 4.
const MAX_OVERHEAD: usize = 7;

pub(super) struct Reader {
    ws: WebSocket<BoundedIo>,
    /// The last read found no whole message, so more can only come from the socket.
    drained: bool,
    pongs: Vec<Pong>,
}

/// The answer to `ping:<id>`; the time of sending is added when it is sent.
struct Pong {
    id: String,
    received: UnixNs,
}

/// The stream that tungstenite sees: reads come from the socket, writes go to a buffer.
struct BoundedIo {
    stream: UpgradedStream,
    control: Vec<u8>,
    /// Bytes that may still be read in a row.
    read_budget: usize,
    /// Bytes read since the last whole message.
    unfinished: usize,
    max_unfinished: usize,
}

/// What one [`Reader::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// A frame was acknowledged.
    Ack,
    /// A message that does not concern the viewer's queue.
    Other,
    /// There is no whole message now.
    Nothing,
    /// There may be more, but other tasks run first.
    Yield,
}

/// Why a viewer's connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CloseReason {
    #[error("closed by the viewer")]
    ByViewer,
    #[error("connection lost")]
    Lost,
    /// Sent to the viewer in a close frame.
    #[error("closed with {code}: {reason}")]
    Refused { code: u16, reason: String },
    #[error("took no data for too long")]
    Stalled,
}

impl Reader {
    /// `read_ahead`: what was read from the stream beyond the handshake. `max_message`: bytes.
    pub(super) fn new(stream: UpgradedStream, read_ahead: Vec<u8>, max_message: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_CONTROL)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let max_unfinished = max_message
            .saturating_mul(MAX_OVERHEAD)
            .saturating_add(READ_BUDGET);
        let io = BoundedIo {
            stream,
            control: Vec::new(),
            read_budget: READ_BUDGET,
            unfinished: 0,
            max_unfinished,
        };
        let ws = WebSocket::from_partially_read(io, read_ahead, Role::Server, Some(config));
        Self {
            ws,
            drained: false,
            pongs: Vec::new(),
        }
    }

    pub(super) fn stream(&self) -> &UpgradedStream {
        &self.ws.get_ref().stream
    }

    /// False while answers wait: then nothing may be read.
    pub(super) fn may_read(&self) -> bool {
        self.ws.get_ref().control.len() < MAX_CONTROL / 2 && self.pongs.len() < MAX_PONGS
    }

    /// Ready when [`read`](Self::read) may find something. Costs less than trying, which matters
    /// once per frame.
    ///
    /// # Errors
    /// Those of the stream.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        if !self.drained {
            return Ok(Poll::Ready(()));
        }
        match self.stream().poll_readable(cx) {
            Poll::Ready(ready) => ready.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Reads one message. `now`: the time of reception for the answer to a `ping:`.
    ///
    /// # Errors
    /// The connection is to end.
    pub(super) fn read(
        &mut self,
        now: impl FnOnce() -> UnixNs,
    ) -> Result<ReadOutcome, CloseReason> {
        let read = self.ws.read();
        let io = self.ws.get_mut();
        let message = match read {
            Ok(message) => message,
            Err(_) if io.unfinished > io.max_unfinished => {
                return Err(CloseReason::refused(
                    1008,
                    "too many fragments in one message",
                ));
            }
            Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {
                self.drained = io.read_budget > 0;
                io.read_budget = READ_BUDGET;
                return Ok(if self.drained {
                    ReadOutcome::Nothing
                } else {
                    ReadOutcome::Yield
                });
            }
            Err(e) => return Err(close_reason(&e)),
        };
        self.drained = false;
        io.unfinished = 0;
        match message {
            Message::Text(text) => match text::command(&text) {
                Some(Command::Ack) => Ok(ReadOutcome::Ack),
                Some(Command::Ping(id)) => {
                    self.pongs.push(Pong {
                        id: id.to_owned(),
                        received: now(),
                    });
                    Ok(ReadOutcome::Other)
                }
                None => Err(CloseReason::refused(
                    1008,
                    "a viewer may send: ack, and ping:<up to 64 bytes without a colon>",
                )),
            },
            Message::Binary(_) => Err(CloseReason::refused(1003, "a viewer may send text only")),
            // tungstenite answers these.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                Ok(ReadOutcome::Other)
            }
        }
    }

    /// Moves the answers to `out`, to be sent at once. `now`: the time of sending for pongs.
    pub(super) fn take_answers(&mut self, out: &mut Vec<u8>, now: impl FnOnce() -> UnixNs) {
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
        // Last: nothing may follow a close frame.
        out.append(&mut self.ws.get_mut().control);
    }

    /// Adds a close frame after the answers. To be called once, when nothing more will be read.
    pub(super) fn refuse(&mut self, code: u16, reason: &str) {
        append_close(&mut self.ws.get_mut().control, code, reason);
    }
}

impl From<io::Error> for CloseReason {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

impl CloseReason {
    pub(super) fn refused(code: u16, reason: impl Into<String>) -> Self {
        Self::Refused {
            code,
            reason: reason.into(),
        }
    }
}

/// The close code that an error calls for (RFC 6455, section 7.4.1).
fn close_reason(error: &Error) -> CloseReason {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => CloseReason::ByViewer,
        Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            CloseReason::Lost
        }
        Error::Utf8(_) => CloseReason::refused(1007, "the text is not valid UTF-8"),
        Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            CloseReason::refused(1009, format!("a message may have at most {max_size} bytes"))
        }
        other => CloseReason::refused(1002, other.to_string()),
    }
}

impl Read for BoundedIo {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let max = buf.len().min(self.read_budget);
        if max == 0 || self.unfinished > self.max_unfinished {
            return Err(ErrorKind::WouldBlock.into());
        }
        let read = self.stream.try_read(&mut buf[..max])?;
        self.read_budget -= read;
        self.unfinished += read;
        Ok(read)
    }
}

impl Write for BoundedIo {
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
