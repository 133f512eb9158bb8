//! The writing side of a viewer's WebSocket: composes messages, and remembers what of them the
//! kernel has taken.

use crate::http::UpgradedStream;
use crate::hub::{self, Item, Packet, RenderingKey};
use crate::media::{Gap, MediaKind, UnixNs};
use crate::wire::websocket::{Opcode, append_header, append_message};
use crate::wire::{Event, Format, Label, b64, binary, text, websocket};
use bytes::{Buf, Bytes};
use std::io::{self, ErrorKind};

/// What the viewer asked for, beyond its subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamOptions {
    pub(super) format: Format,
    pub(super) events: bool,
    /// The most unacknowledged video frames; `None`: no limit, and acknowledgements are ignored.
    pub(super) window: Option<u32>,
}

pub(super) struct Writer {
    options: StreamOptions,
    /// Bytes of this viewer alone: answers, events, binary headers.
    head: Vec<u8>,
    head_sent: usize,
    /// What is left of the frame or payload after them; shared with other viewers.
    body: Bytes,
    /// Binary events, which are numbered by themselves.
    events: u32,
    /// Video frames sent and not acknowledged; counted only with a window.
    unacknowledged: u32,
    taken: u64,
}

impl Writer {
    pub(super) fn new(options: StreamOptions) -> Self {
        Self {
            options,
            head: Vec::new(),
            head_sent: 0,
            body: Bytes::new(),
            events: 0,
            unacknowledged: 0,
            taken: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// For answers; to be called when [`is_empty`](Self::is_empty).
    pub(super) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Bytes that the kernel took, in all.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn window_is_open(&self) -> bool {
        self.options
            .window
            .is_none_or(|window| self.unacknowledged < window)
    }

    pub(super) fn acknowledged(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    /// Composes an item after what is in the head, and offers all of it to the kernel. False when
    /// the kernel takes not a single byte: then nothing of the item is kept. What it does not take
    /// at once is sent by [`send`](Self::send).
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) fn begin(&mut self, item: &Item, stream: &UpgradedStream) -> io::Result<bool> {
        let (mark, events) = (self.head.len(), self.events);
        let body = match item {
            Item::Event(event) => {
                self.compose_event(event.stamp, &wire_event(event.event));
                None
            }
            Item::Packet {
                packet,
                gaps,
                format_changed,
            } => Some(self.compose_packet(packet, gaps, *format_changed)),
        };
        // Only borrowed: nearly always the kernel takes all of it, and then nothing has to be
        // counted or kept.
        let bytes = body.map_or(&[][..], |body| body);
        let sent = write(stream, [&self.head[self.head_sent..], bytes])?;
        if sent == 0 {
            self.head.truncate(mark);
            self.events = events;
            return Ok(false);
        }
        let of_body = self.count_sent(sent);
        if let Some(body) = body.filter(|body| of_body < body.len()) {
            self.body = body.slice(of_body..);
        }
        if matches!(item, Item::Packet { packet, .. } if packet.encoding.kind() == MediaKind::Video)
            && self.options.window.is_some()
        {
            self.unacknowledged += 1;
        }
        Ok(true)
    }

    /// Sends what is composed. False when the kernel does not take all of it.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) fn send(&mut self, stream: &UpgradedStream) -> io::Result<bool> {
        while !self.is_empty() {
            let sent = write(stream, [&self.head[self.head_sent..], &self.body])?;
            if sent == 0 {
                return Ok(false);
            }
            let of_body = self.count_sent(sent);
            self.body.advance(of_body);
            if self.body.is_empty() {
                // An empty slice of a frame would keep the whole frame in memory.
                self.body = Bytes::new();
            }
        }
        match stream.flush() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            flushed => flushed.map(|()| true),
        }
    }

    /// Counts bytes sent; returns how many of them were of the body.
    fn count_sent(&mut self, sent: usize) -> usize {
        self.taken += sent as u64;
        let of_head = sent.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        if self.head_sent == self.head.len() {
            self.head.clear();
            self.head_sent = 0;
        }
        sent - of_head
    }

    /// Puts what precedes the packet into the head; returns the shared bytes that follow it.
    fn compose_packet<'a>(
        &mut self,
        packet: &'a Packet,
        gaps: &[Gap],
        format_changed: bool,
    ) -> &'a Bytes {
        let stream = packet.encoding.kind();
        if self.options.events {
            for gap in gaps {
                let gap = gap.map_cause(Into::into);
                self.compose_event(packet.stamp, &Event::Gap { stream, gap });
            }
            if format_changed {
                self.compose_event(
                    packet.stamp,
                    &Event::Format {
                        stream,
                        shape: packet.shape.into(),
                    },
                );
            }
        }
        match self.options.format {
            Format::Text => text_frame(packet),
            Format::Binary => {
                append_header(
                    &mut self.head,
                    Opcode::Binary,
                    binary::HEADER_LEN + packet.payload.len(),
                );
                let label = Label {
                    sequence: packet.sequence as u32,
                    gap: !gaps.is_empty(),
                };
                self.head.extend_from_slice(&binary::packet_header(
                    label,
                    packet.stamp,
                    packet.shape,
                ));
                &packet.payload
            }
        }
    }

    fn compose_event(&mut self, stamp: UnixNs, event: &Event) {
        match self.options.format {
            Format::Text => append_message(
                &mut self.head,
                Opcode::Text,
                text::event(stamp, event).as_bytes(),
            ),
            Format::Binary => {
                let json = event.to_json();
                append_header(
                    &mut self.head,
                    Opcode::Binary,
                    binary::HEADER_LEN + json.len(),
                );
                self.head
                    .extend_from_slice(&binary::event_header(self.events, stamp));
                self.head.extend_from_slice(json.as_bytes());
                self.events = self.events.wrapping_add(1);
            }
        }
    }
}

/// Packets in the text format, rendered once for all viewers.
const TEXT_FRAME: RenderingKey = RenderingKey("websocket text frame");

/// The packet in the text format as one whole WebSocket frame with its header.
fn text_frame(packet: &Packet) -> &Bytes {
    packet.rendered(TEXT_FRAME, || {
        let prefix = text::packet_prefix(packet.stamp, packet.shape);
        let prefix = prefix.as_bytes();
        let length = prefix.len() + b64::encoded_len(packet.payload.len());
        let mut frame = Vec::with_capacity(websocket::MAX_HEADER_LEN + length);
        append_header(&mut frame, Opcode::Text, length);
        frame.extend_from_slice(prefix);
        b64::append(&mut frame, &packet.payload);
        frame.into()
    })
}

/// A hub's event in the words of the wire.
fn wire_event(event: hub::Event) -> Event {
    match event {
        hub::Event::SourceLost { stream } => Event::SourceLost { stream },
        hub::Event::SourceBack { stream } => Event::SourceBack { stream },
        hub::Event::ClockStep { stream, seconds } => Event::ClockStep { stream, seconds },
    }
}

/// Bytes that the kernel took; 0 when it has no room.
fn write(stream: &UpgradedStream, slices: [&[u8]; 2]) -> io::Result<usize> {
    loop {
        match stream.try_write(slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            taken => return taken,
        }
    }
}
