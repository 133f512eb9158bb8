//! One packet as every output sees it: numbered, stamped once, its bytes shared, and rendered at most once per format.

use super::losses::Tally;
use super::sequencer::Accepted;
use crate::media::{Encoding, MonoNs, OPUS_PACKET, PacketMeta, Shape, UnixNs};
use crate::wire::{b64, text, websocket};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

#[derive(Debug)]
pub struct Packet {
    pub encoding: Encoding,
    /// Counts what the source meant to send.
    pub sequence: u64,
    pub capture_time: MonoNs,
    /// The one UNIX stamp that every output shows; strictly increasing per stream while the clock is not set.
    pub stamp: UnixNs,
    pub shape: Shape,
    pub keyframe: bool,
    pub payload: Bytes,
    /// What the source lost before this packet, in all.
    pub(super) missing: Arc<Tally>,
    text_frame: OnceLock<Bytes>,
}

impl Packet {
    pub(super) fn new(
        encoding: Encoding,
        accepted: &Accepted,
        stamp: UnixNs,
        meta: &PacketMeta,
        payload: Bytes,
    ) -> Self {
        Self {
            encoding,
            sequence: accepted.sequence,
            capture_time: accepted.capture_time,
            stamp,
            shape: meta.shape,
            keyframe: meta.keyframe,
            payload,
            missing: accepted.missing.clone(),
            text_frame: OnceLock::new(),
        }
    }

    /// The same stretch of sound in another shape.
    pub(super) fn converted(
        &self,
        sequence: u64,
        capture_time: MonoNs,
        stamp: UnixNs,
        shape: Shape,
        payload: Bytes,
    ) -> Self {
        Self {
            encoding: self.encoding,
            sequence,
            capture_time,
            stamp,
            shape,
            keyframe: true,
            payload,
            missing: self.missing.clone(),
            text_frame: OnceLock::new(),
        }
    }

    /// The time that its sound covers; `None` for a picture.
    pub fn duration(&self) -> Option<Duration> {
        duration(self.encoding, self.shape, self.payload.len())
    }

    /// The packet in the text format as one whole WebSocket frame, header and all: the same bytes for every viewer.
    pub fn text_frame(&self) -> &Bytes {
        self.text_frame.get_or_init(|| {
            let prefix = text::packet_prefix(self.stamp, self.shape);
            let prefix = prefix.as_bytes();
            let length = prefix.len() + b64::encoded_len(self.payload.len());
            let mut frame = Vec::with_capacity(websocket::MAX_HEADER_LEN + length);
            websocket::append_header(&mut frame, websocket::Opcode::Text, length);
            frame.extend_from_slice(prefix);
            b64::append(&mut frame, &self.payload);
            frame.into()
        })
    }
}

/// The time that a packet of `bytes` bytes covers; `None` for a picture, or when the shape makes no sense.
pub(super) fn duration(encoding: Encoding, shape: Shape, bytes: usize) -> Option<Duration> {
    match (encoding, shape) {
        (Encoding::Opus, _) => Some(OPUS_PACKET),
        (
            Encoding::Pcm,
            Shape::Audio {
                rate_hz: rate_hz @ 1..,
                channels,
            },
        ) => {
            let frames = bytes as u64 / (2 * u64::from(channels.max(1)));
            Some(Duration::from_nanos(
                frames.saturating_mul(1_000_000_000) / u64::from(rate_hz),
            ))
        }
        _ => None,
    }
}
