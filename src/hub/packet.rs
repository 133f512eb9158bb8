//! One packet as every output sees it: numbered and stamped once, its payload shared.

use super::losses::LossCounters;
use super::sequencer::SequencedMeta;
use crate::media::{Encoding, MonoNs, OPUS_PACKET, PacketMeta, Shape, UnixNs};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A packet of one track.
#[derive(Debug)]
pub struct Packet {
    pub encoding: Encoding,
    /// Counts what the source meant to send; strictly increasing per track.
    pub sequence: u64,
    /// Strictly increasing per track.
    pub capture_time: MonoNs,
    /// The UNIX stamp that every output shows; strictly increasing per track while the clock is not
    /// set.
    pub stamp: UnixNs,
    pub shape: Shape,
    /// H.264: decodable without earlier packets. True for every other encoding.
    pub keyframe: bool,
    /// Bytes as `encoding` says.
    pub payload: Bytes,
    /// Everything lost before this packet since the server started.
    pub(super) losses: Arc<LossCounters>,
    renderings: OnceLock<Box<Rendering>>,
}

/// Identifies one way to render a packet. Each output that renders packets once for many readers
/// has a key of its own; the hub knows none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderingKey(pub &'static str);

/// A list that only grows, so that a rendering can be borrowed for as long as its packet.
#[derive(Debug)]
struct Rendering {
    key: RenderingKey,
    bytes: Bytes,
    next: OnceLock<Box<Rendering>>,
}

impl Packet {
    pub(super) fn new(
        encoding: Encoding,
        sequenced: &SequencedMeta,
        stamp: UnixNs,
        meta: &PacketMeta,
        payload: Bytes,
    ) -> Self {
        Self {
            encoding,
            sequence: sequenced.sequence,
            capture_time: sequenced.capture_time,
            stamp,
            shape: meta.shape,
            keyframe: meta.keyframe,
            payload,
            losses: sequenced.losses.clone(),
            renderings: OnceLock::new(),
        }
    }

    /// The same audio in another shape. `losses`: everything lost before it.
    pub(super) fn transcoded(
        &self,
        sequence: u64,
        capture_time: MonoNs,
        stamp: UnixNs,
        shape: Shape,
        payload: Bytes,
        losses: Arc<LossCounters>,
    ) -> Self {
        Self {
            encoding: self.encoding,
            sequence,
            capture_time,
            stamp,
            shape,
            keyframe: true,
            payload,
            losses,
            renderings: OnceLock::new(),
        }
    }

    /// The duration of its audio; `None` for video.
    pub fn duration(&self) -> Option<Duration> {
        duration(self.encoding, self.shape, self.payload.len())
    }

    /// The rendering of this packet under `key`, made by `render` at the first call and shared by
    /// all later ones.
    pub fn rendered(&self, key: RenderingKey, render: impl FnOnce() -> Bytes) -> &Bytes {
        let mut slot = &self.renderings;
        let mut render = Some(render);
        loop {
            let rendering = slot.get_or_init(|| {
                let render = render
                    .take()
                    .expect("the list ends at the first empty slot");
                Box::new(Rendering {
                    key,
                    bytes: render(),
                    next: OnceLock::new(),
                })
            });
            if rendering.key == key {
                return &rendering.bytes;
            }
            slot = &rendering.next;
        }
    }
}

/// The duration of a packet of `bytes` bytes; `None` for video, and for a shape that is not valid.
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
