//! The metadata of one packet as it crosses a ring.

use super::{Losses, MonoNs, Shape};

/// Written by a worker beside each payload. The reader treats it as untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketMeta {
    /// The worker's generation: 1 at first, one more after each restart.
    pub generation: u32,
    /// From 0, continuing through restarts: counts what the source meant to send.
    pub sequence: u64,
    /// The instant that the packet's stamp marks (see [`StampMark`](super::StampMark)).
    pub capture_time: MonoNs,
    pub shape: Shape,
    /// H.264: decodable without earlier packets. True for every other encoding.
    pub keyframe: bool,
    pub losses: Losses,
}
