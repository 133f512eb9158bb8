//! The bounded queue of packets in shared memory between one worker (the writer) and the server
//! (the reader). Never blocks: when it is full, the oldest unread packets are dropped and counted.
//!
//! The halves are [`RingWriter`] and [`RingReader`]. The cores (`writer`, `reader`, `allocator`)
//! are generic over their memory, so that loom and Miri check them on the heap.
//!
//! The supervisor makes a [`SharedRing`] and forks; the worker calls [`SharedRing::writer`] and the
//! server [`SharedRing::reader`]. Either may be killed at any instruction and forked again: the
//! memory outlives both.

pub mod allocator;
#[cfg(test)]
pub mod core_tests;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod layout;
#[cfg(test)]
pub mod loom_tests;
pub mod reader;
pub mod record_header;
#[cfg(test)]
pub mod tests;
pub mod writer;

pub use crate::ipc::status::{
    Description, SharedStatus, StatusReader, StatusSnapshot, StatusWriter,
};
pub use reader::RingFault;
pub use record_header::MAX_SEQUENCE;
pub use writer::TooLarge;

use crate::ipc::mapping::Mapping;
use crate::ipc::memory::Memory;
use crate::media::PacketMeta;
use layout::Geometry;
use record_header::LABEL_WORDS;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;

/// The capacity of a ring, whichever limit is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// 1 to 10,000.
    pub packets: u32,
    /// Payload bytes, below 4 GiB. Each payload takes a multiple of 64.
    pub bytes: usize,
}

/// The memory of one ring and its eventfd, made before the fork that shares them. Only pages that
/// were written take memory.
pub struct SharedRing {
    mapping: Mapping,
    geometry: Geometry,
    limits: RingLimits,
}

impl SharedRing {
    /// `name` shows in `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// `InvalidInput` for limits out of range; those of [`Mapping::create`].
    pub fn create(name: &str, limits: RingLimits) -> io::Result<Self> {
        let geometry = geometry(limits).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a ring holds 1 to 10,000 packets and 1 byte to 4 GiB",
            )
        })?;
        let mapping = Mapping::create(name, geometry.total_words())?;
        writer::Writer::<_, LABEL_WORDS>::format(&mapping, &geometry);
        Ok(Self {
            mapping,
            geometry,
            limits,
        })
    }

    /// Words of the memory of a ring with these limits; `None` when they are out of range.
    pub(super) fn words(limits: RingLimits) -> Option<usize> {
        geometry(limits).map(|geometry| geometry.total_words())
    }

    /// Over memory of another process, of [`words`](Self::words). `None` when the limits are out of
    /// range or the sizes differ. What the memory holds is checked by each read.
    pub(super) fn adopt(mapping: Mapping, limits: RingLimits) -> Option<Self> {
        let geometry = geometry(limits)?;
        (mapping.words().len() == geometry.total_words()).then_some(Self {
            mapping,
            geometry,
            limits,
        })
    }

    pub(super) fn limits(&self) -> RingLimits {
        self.limits
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The writing half, for the worker after its fork, when the writer before it has exited.
    /// Unread records stay; a queue that is not plausible is emptied.
    pub fn writer(&self) -> RingWriter {
        RingWriter {
            core: writer::Writer::recover(self.mapping.clone(), self.geometry),
        }
    }

    /// The reading half, for the server after its fork, when the reader before it has exited. Wants
    /// nothing yet, and starts at the head: what was queued is dropped.
    pub fn reader(&self) -> RingReader {
        self.mapping.drain();
        let reader = RingReader {
            core: reader::Reader::new(self.mapping.clone(), self.geometry),
        };
        reader.set_demand(false);
        reader.set_bitrate(0);
        reader
    }
}

fn geometry(limits: RingLimits) -> Option<Geometry> {
    let RingLimits { packets, bytes } = limits;
    (1..=10_000)
        .contains(&packets)
        .then(|| Geometry::new(packets, bytes, LABEL_WORDS))?
}

/// What the server wants from a ring's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// There are readers: encode.
    pub wanted: bool,
    /// Counts the requests for a keyframe; a change is a new request.
    pub keyframes: u32,
    /// Bits per second; 0: the worker's default.
    pub bitrate_bps: u32,
}

/// The worker's half. One at a time.
pub struct RingWriter {
    core: writer::Writer<Mapping, LABEL_WORDS>,
}

impl RingWriter {
    /// Adds a packet and notifies the reader. Never blocks: when the ring is full, in packets or in
    /// bytes, the oldest unread ones are dropped and counted.
    ///
    /// # Errors
    /// A payload larger than the ring; nothing was changed.
    pub fn push(&mut self, meta: &PacketMeta, payload: &[u8]) -> Result<(), TooLarge> {
        self.core.push(record_header::encode(meta), payload)?;
        self.core.memory().notify();
        Ok(())
    }

    /// What the server wants from this ring. Nothing wakes the worker for it: read it before each
    /// frame.
    pub fn demand(&self) -> Demand {
        self.demand_reader().demand()
    }

    /// Reads what the server wants from this ring, also while another thread writes to it.
    pub fn demand_reader(&self) -> DemandReader {
        DemandReader(self.core.memory().clone())
    }

    /// Packets that this ring dropped since it was made.
    pub fn dropped(&self) -> u64 {
        self.core.dropped()
    }
}

/// What the server wants from a ring, from the ring's header.
#[derive(Clone)]
pub struct DemandReader(Mapping);

impl DemandReader {
    /// See [`RingWriter::demand`].
    pub fn demand(&self) -> Demand {
        Demand {
            wanted: self.word(layout::WANTED) != 0,
            keyframes: self.word(layout::KEYFRAMES) as u32,
            bitrate_bps: self.word(layout::BITRATE_BPS) as u32,
        }
    }

    fn word(&self, at: usize) -> u64 {
        self.0.words()[at].load(Relaxed)
    }
}

/// The server's half. One at a time.
pub struct RingReader {
    core: reader::Reader<Mapping, LABEL_WORDS>,
}

impl RingReader {
    /// The oldest unread packet; `payload` is replaced by its payload (at most
    /// [`RingLimits::bytes`]), and empty unless a packet came. `None` when there is none. Never
    /// blocks.
    ///
    /// A hostile worker can make packets and faults as fast as this is called: loop a bounded
    /// number of times per wake-up.
    ///
    /// # Errors
    /// What only a broken or hostile worker can cause; the next call continues.
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<Option<PacketMeta>, RingFault> {
        let Some(record) = self.core.pop(payload)? else {
            return Ok(None);
        };
        match record_header::decode(record.header) {
            Ok(meta) => Ok(Some(meta)),
            Err(what) => {
                payload.clear();
                Err(RingFault::Header {
                    record: record.number,
                    what,
                })
            }
        }
    }

    /// Readable from the next push on until [`drain_event`](Self::drain_event).
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.core.memory().event_fd()
    }

    /// To be called before the pops that follow a wake-up, so that no push is missed.
    pub fn drain_event(&self) {
        self.core.memory().drain();
    }

    pub fn set_demand(&self, wanted: bool) {
        self.set(layout::WANTED, wanted.into());
    }

    pub fn request_keyframe(&self) {
        let requests = self.core.memory().words()[layout::KEYFRAMES].load(Relaxed);
        self.set(layout::KEYFRAMES, requests.wrapping_add(1));
    }

    /// Bits per second; 0: the worker's default.
    pub fn set_bitrate(&self, bps: u32) {
        self.set(layout::BITRATE_BPS, bps.into());
    }

    /// Packets that this reader skipped since it was made, because the ring was full or after a
    /// fault. Exact for an honest worker.
    pub fn dropped(&self) -> u64 {
        self.core.dropped()
    }

    fn set(&self, at: usize, value: u64) {
        self.core.memory().words()[at].store(value, Relaxed);
    }
}
