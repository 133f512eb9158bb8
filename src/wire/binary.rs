//! The binary format: a header of 24 bytes, little-endian, and the payload. A quarter smaller than
//! text.
//!
//! ```text
//!  0 u8  kind: 'v', 'a', 'e'
//!  1 u8  header length: 24
//!  2 u16 flags; bit 0: packets are missing before this one
//!  4 u32 sequence number, counted per kind
//!  8 u64 capture time, UNIX ns
//! 16     video: u16 width, u16 height, pixels; u32 0
//!        audio: u32 sample rate, Hz; u16 channels; u16 0
//!        event: u64 0
//! 24     payload: JPEG, s16le samples, JSON
//! ```
//!
//! The payload starts at the header length, so that later versions can extend the header.

use super::{AudioFormat, DecodeError, Event, Label, Message};
use crate::media::{Shape, UnixNs};
use std::borrow::Cow;

/// Length of the header that this version writes, bytes.
pub const HEADER_LEN: usize = 24;

const FLAG_GAP: u16 = 1;

/// The header of a packet, which its JPEG or PCM follows.
pub fn packet_header(label: Label, stamp: UnixNs, shape: Shape) -> [u8; HEADER_LEN] {
    let mut head = match shape {
        Shape::Video { .. } => header(b'v', label, stamp),
        Shape::Audio { .. } => header(b'a', label, stamp),
    };
    match shape {
        Shape::Video { width, height } => {
            head[16..18].copy_from_slice(&width.to_le_bytes());
            head[18..20].copy_from_slice(&height.to_le_bytes());
        }
        Shape::Audio { rate_hz, channels } => {
            head[16..20].copy_from_slice(&rate_hz.to_le_bytes());
            head[20..22].copy_from_slice(&channels.to_le_bytes());
        }
    }
    head
}

/// The header of an event, which its JSON follows. `sequence` counts the events of one connection.
pub fn event_header(sequence: u32, stamp: UnixNs) -> [u8; HEADER_LEN] {
    header(
        b'e',
        Label {
            sequence,
            gap: false,
        },
        stamp,
    )
}

fn header(kind: u8, label: Label, stamp: UnixNs) -> [u8; HEADER_LEN] {
    let mut head = [0; HEADER_LEN];
    head[0] = kind;
    head[1] = HEADER_LEN as u8;
    let flags = if label.gap { FLAG_GAP } else { 0 };
    head[2..4].copy_from_slice(&flags.to_le_bytes());
    head[4..8].copy_from_slice(&label.sequence.to_le_bytes());
    head[8..16].copy_from_slice(&stamp.0.to_le_bytes());
    head
}

/// Decodes one binary message of a server. The payload is borrowed.
///
/// # Errors
/// An unknown kind, a message shorter than its header, a header length below 24, or a malformed
/// event.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    let head: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(DecodeError::Truncated)?;
    let header_len = usize::from(head[1]);
    if header_len < HEADER_LEN {
        return Err(DecodeError::Bad("header length"));
    }
    let payload = bytes.get(header_len..).ok_or(DecodeError::Truncated)?;
    let label = Some(Label {
        sequence: u32_at(head, 4),
        gap: u16_at(head, 2) & FLAG_GAP != 0,
    });
    let stamp = UnixNs(u64::from(u32_at(head, 8)) | u64::from(u32_at(head, 12)) << 32);
    match head[0] {
        b'v' => Ok(Message::Video {
            stamp,
            label,
            width: u16_at(head, 16),
            height: u16_at(head, 18),
            jpeg: Cow::Borrowed(payload),
        }),
        b'a' => Ok(Message::Audio {
            stamp,
            label,
            format: Some(AudioFormat {
                rate_hz: u32_at(head, 16),
                channels: u16_at(head, 20),
            }),
            pcm: Cow::Borrowed(payload),
        }),
        b'e' => {
            let event = Event::from_json(payload).ok_or(DecodeError::Bad("event"))?;
            Ok(Message::Event { stamp, event })
        }
        _ => Err(DecodeError::UnknownKind),
    }
}

fn u16_at(head: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes([head[at], head[at + 1]])
}

fn u32_at(head: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}
