//! One encoding's way out of a worker: its ring, its packets' numbers and what is missing between them.

use crate::ipc::ring::{Demand, RingWriter, TooLarge};
use crate::media::{Encoding, Losses, MonoNs, PacketMeta, Shape};

pub struct Lane {
    pub encoding: Encoding,
    ring: RingWriter,
    generation: u32,
    /// The number that this life of the worker began with.
    first: u64,
    next: u64,
    losses: Losses,
}

impl Lane {
    pub fn new(encoding: Encoding, ring: RingWriter, generation: u32, first_sequence: u64) -> Self {
        Self {
            encoding,
            ring,
            generation,
            first: first_sequence,
            next: first_sequence,
            losses: Losses::default(),
        }
    }

    pub fn demand(&self) -> Demand {
        self.ring.demand()
    }

    /// The number that the next packet gets.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Numbers that the source meant to send and could not.
    pub fn lose(&mut self, driver: u32, corrupt: u32) {
        self.next += u64::from(driver) + u64::from(corrupt);
        self.losses.driver = self.losses.driver.wrapping_add(driver);
        self.losses.corrupt = self.losses.corrupt.wrapping_add(corrupt);
    }

    /// The device was away: an absence of the stream's only when there was something before it.
    pub fn source_was_away(&mut self) {
        if self.next > self.first {
            self.losses.source_away += 1;
        }
    }

    pub fn lose_to_xrun(&mut self) {
        self.losses.xrun += 1;
    }

    /// Numbers a packet and sends it. One that is too large is numbered all the same: the ring's loss.
    pub fn send(
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
        self.next += 1;
        self.ring.push(&meta, payload)
    }
}
