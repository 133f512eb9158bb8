//! One viewer of `/stream`: the task that owns its socket from the upgrade to the end. Knows the hub and the wire.
//!
//! It writes straight to the socket, and only when the kernel has room for a new frame does it ask the hub for the newest
//! one. A frame that is begun is finished. Between frames go the answers that the protocol owes (see `incoming`).

use super::Limits;
use super::incoming::{Ended, Incoming};
use super::socket::Socket;
use crate::hub::{Gap, Hub, Item, Packet, Subscription};
use crate::packet::{MonoNs, StreamKind, UnixNs};
use crate::wire::websocket::{Opcode, append_header, append_message};
use crate::wire::{Event, Format, Label, binary, text};
use bytes::{Buf, Bytes};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Messages read, and items written, in one turn; then other viewers get theirs.
const TURN: usize = 32;
/// How long a viewer may take for the last frame and the close frame.
const GOODBYE: Duration = Duration::from_millis(800);

/// What the viewer asked for, beyond what its subscription already does.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub format: Format,
    pub events: bool,
    /// Video frames on their way at most; `None`: no limit, and acknowledgements mean nothing.
    pub window: Option<u32>,
}

pub struct Viewer {
    hub: Arc<Hub>,
    subscription: Subscription,
    incoming: Incoming,
    manner: Manner,
    outgoing: Outgoing,
    /// Video frames sent and not acknowledged; counted only with a window.
    unacknowledged: u32,
    events_sent: u32,
    /// Since when the kernel has taken nothing although there was something.
    blocked_since: Option<Instant>,
    limits: Limits,
}

/// The bytes of which the kernel has taken a part: small things that are this viewer's own, then a shared frame.
#[derive(Default)]
struct Outgoing {
    head: Vec<u8>,
    head_sent: usize,
    body: Bytes,
}

/// What a turn ended for want of.
#[derive(Clone, Copy)]
struct Wait {
    /// Nothing but a turn for the others.
    again: bool,
    room: bool,
}

impl Viewer {
    pub fn new(hub: Arc<Hub>, subscription: Subscription, socket: Socket, read_ahead: Vec<u8>, manner: Manner, limits: Limits) -> Self {
        Self {
            hub,
            subscription,
            incoming: Incoming::new(socket, read_ahead, limits.message),
            manner,
            outgoing: Outgoing::default(),
            unacknowledged: 0,
            events_sent: 0,
            blocked_since: None,
            limits,
        }
    }

    /// Serves until one side ends it; says why.
    pub async fn run(mut self) -> Ended {
        let mut ended = self.serve().await;
        if let Ended::Refused { code, reason } = &ended {
            self.incoming.refuse(*code, reason);
        }
        if matches!(ended, Ended::Refused { .. } | Ended::ByViewer) && self.say_goodbye().await.is_err() {
            ended = Ended::Gone;
        }
        ended
    }

    async fn serve(&mut self) -> Ended {
        let alarm = sleep_until(Instant::now() + self.limits.stalled);
        tokio::pin!(alarm);
        loop {
            let wait = match self.turn() {
                Ok(wait) => wait,
                Err(ended) => return ended,
            };
            if wait.again {
                tokio::task::yield_now().await;
                continue;
            }
            let interest = match (wait.room, self.incoming.may_read()) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (true, false) => Interest::WRITABLE,
                // Answers always find room or wait for it, so here there is something to read.
                (false, _) => Interest::READABLE,
            };
            tokio::select! {
                biased;
                _ = self.subscription.news() => {}
                ready = self.incoming.socket().ready(interest) => if ready.is_err() { return Ended::Gone },
                // Rings once in a while, not for each frame: a timer per frame would cost more than it tells.
                _ = &mut alarm => {
                    let since = self.blocked_since.unwrap_or_else(Instant::now);
                    if since.elapsed() >= self.limits.stalled {
                        return Ended::Stalled;
                    }
                    alarm.as_mut().reset(since + self.limits.stalled);
                }
            }
        }
    }

    /// Reads what is there and writes what has room. Never waits.
    fn turn(&mut self) -> Result<Wait, Ended> {
        if self.subscription.is_closed() {
            return Err(Ended::refused(1001, "the server stops"));
        }
        let again = self.read()?;
        let mut wait = self.write().map_err(|_| Ended::Gone)?;
        wait.again |= again && !wait.room;
        Ok(wait)
    }

    /// True when there may be more to read.
    fn read(&mut self) -> Result<bool, Ended> {
        for _ in 0..TURN {
            if !self.incoming.may_read() {
                return Ok(false);
            }
            match self.incoming.read(|| self.hub.unix(MonoNs::now()))? {
                None => return Ok(false),
                Some(true) => self.unacknowledged = self.unacknowledged.saturating_sub(1),
                Some(false) => {}
            }
        }
        Ok(true)
    }

    fn write(&mut self) -> std::io::Result<Wait> {
        for _ in 0..TURN {
            if self.outgoing.is_empty() {
                if !self.incoming.owes_answers() && !self.subscription.has_news(self.window_open()) {
                    self.blocked_since = None;
                    return Ok(Wait { again: false, room: false });
                }
                if !self.incoming.socket().has_room()? {
                    return Ok(self.blocked());
                }
                // Only now: what is newest is chosen when there is room for it.
                self.compose();
            }
            if !self.send()? {
                return Ok(self.blocked());
            }
        }
        Ok(Wait { again: true, room: false })
    }

    /// Sends what is composed. False when the kernel would not take all of it.
    fn send(&mut self) -> std::io::Result<bool> {
        while !self.outgoing.is_empty() {
            match self.incoming.socket().try_write(self.outgoing.slices()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.outgoing.advance(n);
                    self.blocked_since = None;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn blocked(&mut self) -> Wait {
        self.blocked_since.get_or_insert_with(Instant::now);
        Wait { again: false, room: true }
    }

    fn window_open(&self) -> bool {
        self.manner.window.is_none_or(|window| self.unacknowledged < window)
    }

    /// Puts together what goes next: the answers owed, then one item with what stands before it.
    fn compose(&mut self) {
        self.incoming.take_answers(&mut self.outgoing.head, || self.hub.unix(MonoNs::now()));
        match self.subscription.take(self.window_open()) {
            Some(Item::Notice(notice)) => self.compose_event(notice.stamp, &notice.event),
            Some(Item::Packet { packet, gaps, reshaped }) => self.compose_packet(&packet, &gaps, reshaped),
            None => {}
        }
    }

    fn compose_packet(&mut self, packet: &Packet, gaps: &[Gap], reshaped: bool) {
        let stream = packet.encoding.stream();
        if self.manner.events {
            for &Gap { cause, count, seconds } in gaps {
                self.compose_event(packet.stamp, &Event::Gap { stream, count, seconds, cause });
            }
            if reshaped {
                self.compose_event(packet.stamp, &Event::Format { stream, shape: packet.shape.into() });
            }
        }
        if stream == StreamKind::Video && self.manner.window.is_some() {
            self.unacknowledged += 1;
        }
        match self.manner.format {
            Format::Text => self.outgoing.body = packet.text_frame().clone(),
            Format::Binary => {
                let head = &mut self.outgoing.head;
                append_header(head, Opcode::Binary, binary::HEADER_LEN + packet.payload.len());
                let label = Label { sequence: packet.sequence as u32, gap: !gaps.is_empty() };
                head.extend_from_slice(&binary::packet_header(label, packet.stamp, packet.shape));
                self.outgoing.body = packet.payload.clone();
            }
        }
    }

    fn compose_event(&mut self, stamp: UnixNs, event: &Event) {
        let head = &mut self.outgoing.head;
        match self.manner.format {
            Format::Text => append_message(head, Opcode::Text, text::event(stamp, event).as_bytes()),
            Format::Binary => {
                let json = event.to_json();
                append_header(head, Opcode::Binary, binary::HEADER_LEN + json.len());
                head.extend_from_slice(&binary::event_header(self.events_sent, stamp));
                head.extend_from_slice(json.as_bytes());
                self.events_sent = self.events_sent.wrapping_add(1);
            }
        }
    }

    /// Finishes the frame that is begun, sends the close frame, and reads until the viewer has hung up: were the socket
    /// closed with unread bytes in it, the kernel would reset the connection and the viewer never see our reason.
    async fn say_goodbye(&mut self) -> std::io::Result<()> {
        let deadline = Instant::now() + GOODBYE;
        loop {
            if self.outgoing.is_empty() {
                if !self.incoming.owes_answers() {
                    break;
                }
                self.incoming.take_answers(&mut self.outgoing.head, || self.hub.unix(MonoNs::now()));
            }
            if !self.send()? {
                timeout_at(deadline, self.incoming.socket().ready(Interest::WRITABLE)).await??;
            }
        }
        let socket = self.incoming.socket();
        socket.shut_down_write()?;
        while !discard(socket)? {
            if timeout_at(deadline, socket.ready(Interest::READABLE)).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Reads and drops a bounded amount of what is there. True at the end of the stream.
fn discard(socket: &Socket) -> std::io::Result<bool> {
    let mut scratch = [0; 4096];
    for _ in 0..TURN {
        match socket.try_read(&mut scratch) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    fn slices(&self) -> [&[u8]; 2] {
        [&self.head[self.head_sent..], &self.body]
    }

    fn advance(&mut self, sent: usize) {
        let of_head = sent.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        self.body.advance(sent - of_head);
        if self.head_sent == self.head.len() {
            self.head.clear();
            self.head_sent = 0;
        }
        if self.body.is_empty() {
            // An empty slice of a frame would keep the whole frame in memory.
            self.body = Bytes::new();
        }
    }
}
