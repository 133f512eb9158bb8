//! The public protocol: every message of `/stream` and the JSON of `/info`, encoded and decoded.
//!
//! This module is what other programs may depend on; the other modules of the crate may change in
//! any release. Later versions may add fields, events and causes to what is sent; a decoder accepts
//! those that it does not know: see [`Event::Other`] and [`Cause::Other`]. For other languages,
//! `docs/design.md` and `docs/info.md` describe the same bytes.
//!
//! Both formats of `/stream` decode to a [`Message`]: [`text::decode`], [`binary::decode`].
//! Decoders take bytes from a network and never panic. No item here reads a socket, a clock or a
//! device.

#![deny(missing_docs)]

pub mod b64;
pub mod binary;
pub mod cause;
pub mod event;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod info;
pub mod query;
pub mod stamp;
#[cfg(test)]
mod tests;
pub mod text;
pub mod websocket;

#[doc(inline)]
pub use crate::media::{MediaKind, StampMark, StampSource, UnixNs, WorkerState};
pub use cause::{Cause, Gap};
pub use event::Event;
pub use info::Info;
pub use query::{Delivery, Format, Query, QueryError};

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One message of a server to its viewer. Fields that a format does not carry are `None`.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// One frame.
    Video {
        /// Capture time, UNIX ns. Text truncates it to microseconds.
        stamp: UnixNs,
        /// Binary only.
        label: Option<Label>,
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
        /// One whole JPEG image.
        jpeg: Cow<'a, [u8]>,
    },
    /// One packet of audio samples.
    Audio {
        /// Capture time of the first sample, UNIX ns. Text truncates it to microseconds.
        stamp: UnixNs,
        /// Binary only.
        label: Option<Label>,
        /// Binary only; a viewer of the text format reads it from `GET /info`.
        format: Option<AudioFormat>,
        /// Signed 16-bit little-endian samples, interleaved: 2 bytes for each sample and channel.
        pcm: Cow<'a, [u8]>,
    },
    /// Sent to a viewer that asked for `events=1`.
    Event {
        /// UNIX ns: the capture time of the next packet of the stream for gaps and formats, the
        /// time of the event for others. Text truncates it to microseconds.
        stamp: UnixNs,
        /// What happened.
        event: Event,
    },
    /// The answer to `ping:<id>`; always text.
    Pong {
        /// The id of the ping, at most [`text::MAX_PING_ID`] bytes.
        id: Cow<'a, str>,
        /// When the server read the ping, by its UNIX clock, truncated to microseconds.
        received: UnixNs,
        /// When the server sent this answer, by the same clock.
        sent: UnixNs,
    },
}

/// Packet fields of the binary header, beyond its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The low 32 bits of the packet's sequence number; each stream counts its own packets.
    pub sequence: u32,
    /// Packets are missing before this one.
    pub gap: bool,
}

/// Rate and channels of audio samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioFormat {
    /// Samples per second and channel; `rate` in JSON.
    #[serde(rename = "rate")]
    pub rate_hz: u32,
    /// 1 for mono, 2 for stereo.
    pub channels: u16,
}

/// Why a message cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A kind that this version does not know; a later server may send it, so skip the message.
    #[error("unknown kind of message")]
    UnknownKind,
    /// The message ends before its last field.
    #[error("the message is truncated")]
    Truncated,
    /// The named field is malformed.
    #[error("bad {0}")]
    Bad(&'static str),
}
