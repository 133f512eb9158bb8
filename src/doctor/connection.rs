//! The open connection: pings at a fixed interval, and passes each message to the statistics with
//! its arrival time.

use super::connect::Socket;
use super::stats::{PingSample, Stats};
use super::unix_now;
use crate::media::{UnixNs, printable};
use crate::wire::{self, binary, text};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};
use tungstenite::Message;

/// Bounds each read, so that pings and progress continue while the server sends nothing.
pub const READ_TIMEOUT: Duration = Duration::from_millis(50);
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
const PING_INTERVAL: Duration = Duration::from_millis(250);

pub struct Connection {
    socket: Socket,
    next_ping: Instant,
    /// Number and send time of the ping in flight.
    pending_ping: Option<(u64, UnixNs)>,
    pings: u64,
}

impl Connection {
    /// `socket` times out after [`READ_TIMEOUT`].
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            next_ping: Instant::now(),
            pending_ping: None,
            pings: 0,
        }
    }

    /// Performs the closing handshake; gives up after half a second.
    pub fn close(&mut self) {
        let _ = self.socket.close(None);
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while Instant::now() < deadline {
            match self.socket.read() {
                Err(tungstenite::Error::Io(e)) if is_timeout(&e) => {}
                Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Sends a ping if one is due and handles the next message, if one arrives within
    /// [`READ_TIMEOUT`].
    ///
    /// # Errors
    /// Why the connection ended, in printable words.
    pub fn poll(&mut self, stats: &mut Stats) -> Result<(), String> {
        if Instant::now() >= self.next_ping {
            self.next_ping = Instant::now() + PING_INTERVAL;
            self.pings += 1;
            self.pending_ping = Some((self.pings, unix_now()));
            self.socket
                .send(Message::text(format!("ping:{}", self.pings)))
                .map_err(|e| printable(&e.to_string()))?;
        }
        let message = match self.socket.read() {
            Ok(message) => message,
            Err(tungstenite::Error::Io(e)) if is_timeout(&e) => return Ok(()),
            Err(e) => return Err(printable(&e.to_string())),
        };
        let arrival = unix_now();
        let decoded = match &message {
            Message::Text(text) => text::decode(text),
            Message::Binary(bytes) => binary::decode(bytes),
            Message::Close(frame) => {
                let reason = frame.as_ref().map_or("no reason given".into(), |f| {
                    format!("{} {}", f.code, printable(&f.reason))
                });
                return Err(format!("closed by the server ({reason})"));
            }
            _ => return Ok(()),
        };
        match decoded {
            Ok(wire::Message::Pong { id, received, sent }) => {
                let is_this = |(number, _): &mut (u64, UnixNs)| number.to_string() == id;
                if let Some((_, asked)) = self.pending_ping.take_if(is_this) {
                    stats.add_ping(PingSample {
                        asked,
                        received,
                        sent,
                        answered: arrival,
                    });
                }
            }
            Ok(message) => stats.add_message(&message, arrival),
            Err(_) => stats.undecodable += 1,
        }
        Ok(())
    }
}

/// The read timed out, or a signal interrupted it.
fn is_timeout(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
