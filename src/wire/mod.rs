//! What goes over `/stream` and `/info`: encode and decode. Public, so that a script in Rust reads a stream with it.
//!
//! Owns the bytes and the names; knows no socket, no hub and no device. Both formats decode to one [`Message`]:
//! [`text::decode`], [`binary::decode`]. Decoders take bytes from a network and never panic.

pub mod b64;
pub mod binary;
pub mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod info;
pub mod query;
pub mod stamp;
#[cfg(test)]
pub mod tests;
pub mod text;
pub mod websocket;

pub use event::Event;
pub use info::Info;
pub use query::{Delivery, Format, Query, QueryError};

use crate::media::UnixNs;
use std::borrow::Cow;

/// One message of a server to its viewer. Fields that a format does not carry are `None`.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    Video {
        /// Capture time. Text cuts it off at microseconds.
        stamp: UnixNs,
        /// Binary only.
        label: Option<Label>,
        /// Pixels.
        width: u16,
        height: u16,
        jpeg: Cow<'a, [u8]>,
    },
    Audio {
        /// Capture time of the first sample.
        stamp: UnixNs,
        /// Binary only.
        label: Option<Label>,
        /// Samples per second and channel, and channels; binary only (in text: `GET /info`).
        rate: Option<(u32, u16)>,
        /// Signed 16-bit little-endian samples, interleaved.
        pcm: Cow<'a, [u8]>,
    },
    Event {
        stamp: UnixNs,
        event: Event,
    },
    /// The answer to `ping:<id>`.
    Pong {
        id: Cow<'a, str>,
        /// When the server read the ping and when it sent this, by its UNIX clock, microseconds exact.
        received: UnixNs,
        sent: UnixNs,
    },
}

/// What the binary header says beyond the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The low 32 bits of the packet's number in its stream.
    pub sequence: u32,
    /// Packets are missing before this one.
    pub gap: bool,
}

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("unknown kind of message")]
    UnknownKind,
    #[error("the message ends too soon")]
    Truncated,
    #[error("bad {0}")]
    Bad(&'static str),
}
