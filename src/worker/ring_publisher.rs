//! Numbers the packets of one track, counts what is missing between them, and writes them to the
//! track's ring.

use crate::ipc::ring::{DemandReader, RingWriter, TooLarge};
use crate::media::{Encoding, Losses, MonoNs, PacketMeta, Shape};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Losses of one track, by cause: what is to be added to its totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LossCounts {
    /// Frames that the device skipped.
    pub driver: u32,
    /// Frames that are not an image, or cannot be encoded.
    pub corrupt: u32,
    /// Frames that the encoder was too busy for.
    pub encoder: u32,
    /// Overruns of the audio device.
    pub xrun: u32,
}

impl LossCounts {
    pub(crate) fn add(&mut self, other: Self) {
        self.driver = self.driver.wrapping_add(other.driver);
        self.corrupt = self.corrupt.wrapping_add(other.corrupt);
        self.encoder = self.encoder.wrapping_add(other.encoder);
        self.xrun = self.xrun.wrapping_add(other.xrun);
    }
}

/// The writing end of one track.
pub struct RingPublisher {
    encoding: Encoding,
    ring: RingWriter,
    generation: u32,
    next: u64,
    /// `next`, for the loop while an encoder thread has the publisher.
    progress: Arc<AtomicU64>,
    losses: Losses,
    /// A packet was sent since the source was lost last.
    has_sent: bool,
}

impl RingPublisher {
    pub fn new(encoding: Encoding, ring: RingWriter, generation: u32, first_sequence: u64) -> Self {
        Self {
            encoding,
            ring,
            generation,
            next: first_sequence,
            progress: Arc::new(AtomicU64::new(first_sequence)),
            losses: Losses::default(),
            has_sent: false,
        }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(crate) fn demand(&self) -> DemandReader {
        self.ring.demand_reader()
    }

    /// The number that the next packet gets, readable from another thread.
    pub(crate) fn progress(&self) -> Arc<AtomicU64> {
        self.progress.clone()
    }

    /// The number that the next packet gets.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Counts what the source meant to send and could not. The next packet carries the counts.
    pub(crate) fn lose(&mut self, lost: LossCounts) {
        let counted = u64::from(lost.driver) + u64::from(lost.corrupt) + u64::from(lost.encoder);
        self.advance(counted);
        let losses = &mut self.losses;
        losses.driver = losses.driver.wrapping_add(lost.driver);
        losses.corrupt = losses.corrupt.wrapping_add(lost.corrupt);
        losses.encoder = losses.encoder.wrapping_add(lost.encoder);
        losses.xrun = losses.xrun.wrapping_add(lost.xrun);
    }

    /// The device was unavailable. An outage of the stream only where packets were before it: a
    /// device that is reopened several times until it delivers is one outage.
    pub(crate) fn source_lost(&mut self) {
        if std::mem::take(&mut self.has_sent) {
            self.losses.source_away = self.losses.source_away.wrapping_add(1);
        }
    }

    /// Numbers a packet and writes it.
    ///
    /// # Errors
    /// The packet is larger than the ring. It has its number all the same: the ring lost it.
    pub(crate) fn send(
        &mut self,
        capture_time: MonoNs,
        shape: Shape,
        keyframe: bool,
        payload: &[u8],
    ) -> Result<(), TooLarge> {
        let meta = PacketMeta {
            generation: self.generation,
            sequence: self.next,
            capture_time,
            shape,
            keyframe,
            losses: self.losses,
        };
        self.advance(1);
        self.has_sent = true;
        self.ring.push(&meta, payload)
    }

    fn advance(&mut self, packets: u64) {
        self.next += packets;
        self.progress.store(self.next, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::ring::{RingLimits, SharedRing};

    #[test]
    fn ring_publisher_source_lost_again_before_the_next_packet_is_one_outage() {
        let limits = RingLimits {
            packets: 10,
            bytes: 1 << 12,
        };
        let ring = SharedRing::create("test", limits).expect("memory");
        let mut reader = ring.reader();
        reader.set_demand(true);
        let mut publisher = RingPublisher::new(Encoding::Pcm, ring.writer(), 1, 7);
        let mut sent = 0;
        let mut outages_after = |lost: &[LossCounts]| {
            for &lost in lost {
                publisher.lose(lost);
                publisher.source_lost();
            }
            let shape = Shape::Audio {
                rate_hz: 48_000,
                channels: 1,
            };
            sent += 20_000_000;
            publisher
                .send(MonoNs(sent), shape, true, &[0; 4])
                .expect("it fits");
            let meta = reader.pop(&mut Vec::new()).expect("in order");
            meta.expect("a packet").losses.source_away
        };
        let nothing = LossCounts::default();
        let corrupt = LossCounts {
            corrupt: 1,
            ..nothing
        };
        assert_eq!(outages_after(&[nothing; 2]), 0, "no packet was before it");
        assert_eq!(outages_after(&[nothing]), 1);
        assert_eq!(outages_after(&[nothing, corrupt, nothing]), 2);
        assert_eq!(outages_after(&[]), 2);
    }
}
