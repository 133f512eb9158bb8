//! The bounded queue in shared memory between one worker (the writer) and the server (the reader), and the page on which
//! a worker says how it is. Knows no JPEG, no device, no network.
//!
//! The halves: [`RingWriter`] and [`RingReader`] for packets, [`StatusWriter`] and [`StatusReader`] for the state of a worker.
//! The core (`writer`, `reader`, `space`, `page`) is generic over its memory, so that loom and Miri check it on the heap.
//!
//! The supervisor makes a [`SharedRing`] and forks; the worker calls [`SharedRing::writer`] and the server
//! [`SharedRing::reader`]. Either may be killed at any instruction and forked again: the memory outlives both.

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

pub use crate::ipc::status::{Description, Hot, SharedStatus, StatusReader, StatusWriter};
pub use reader::RingFault;
pub use record_header::MAX_SEQUENCE;
pub use writer::TooLarge;

use crate::ipc::mapping::Mapping;
use crate::ipc::memory::Memory;
use crate::media::PacketMeta;
use layout::Geometry;
use record_header::LABEL;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::Ordering::Relaxed;

/// What a ring holds at most, whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// 1 to 10,000.
    pub packets: u32,
    /// Payload bytes, below 4 GiB. Each payload takes a multiple of 64.
    pub bytes: usize,
}

/// The memory of one ring and its eventfd, made before the fork that shares them. Only pages that were used cost memory.
pub struct SharedRing {
    mapping: Mapping,
    geometry: Geometry,
}

impl SharedRing {
    /// `name` shows in `/proc/<pid>/maps`. Fails with `InvalidInput` for limits out of range.
    pub fn create(name: &str, limits: RingLimits) -> io::Result<Self> {
        let RingLimits {
            packets: 1..=10_000,
            bytes,
        } = limits
        else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a ring holds 1 to 10,000 packets",
            ));
        };
        let geometry = Geometry::new(limits.packets, bytes, LABEL).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a ring holds 1 byte to 4 GiB")
        })?;
        let mapping = Mapping::create(name, geometry.total_words())?;
        writer::Writer::<_, LABEL>::format(&mapping, &geometry);
        Ok(Self { mapping, geometry })
    }

    /// The memfd and the eventfd, so that a child can close what is not its own.
    pub fn fds(&self) -> [RawFd; 2] {
        self.mapping.fds()
    }

    /// Address and length in bytes, so that a child can unmap what is not its own.
    pub fn mapping(&self) -> (usize, usize) {
        self.mapping.range()
    }

    /// The writing half, for the worker after its fork and when the writer before it is dead. Unread records survive;
    /// a queue that is not plausible is emptied.
    pub fn writer(&self) -> RingWriter {
        RingWriter {
            core: writer::Writer::recover(self.mapping.clone(), self.geometry),
        }
    }

    /// The reading half, for the server after its fork and when the reader before it is dead. Asks for nothing yet, and
    /// starts at the head: what was queued is dropped.
    pub fn reader(&self) -> RingReader {
        self.mapping.clear();
        let reader = RingReader {
            core: reader::Reader::new(self.mapping.clone(), self.geometry),
        };
        reader.set_demand(false);
        reader.set_bitrate(0);
        reader
    }
}

/// What the server wants of a ring's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Somebody reads: encode.
    pub wanted: bool,
    /// Counts the requests for a keyframe; a change is a new request.
    pub keyframes: u32,
    /// Bits per second; 0: the worker's default.
    pub bitrate_bps: u32,
}

/// The worker's half. One at a time.
pub struct RingWriter {
    core: writer::Writer<Mapping, LABEL>,
}

impl RingWriter {
    /// Adds a packet and rings the eventfd. Never blocks: when the ring is full, in packets or in bytes, the oldest unread
    /// ones go and are counted.
    pub fn push(&mut self, meta: &PacketMeta, payload: &[u8]) -> Result<(), TooLarge> {
        self.core.push(record_header::encode(meta), payload)?;
        self.core.memory().ring();
        Ok(())
    }

    /// What the server wants of this ring. Nothing wakes the worker for it: read it before each frame.
    pub fn demand(&self) -> Demand {
        self.demand_reader().demand()
    }

    /// Reads what the server wants of this ring, also while another thread writes to it.
    pub fn demand_reader(&self) -> DemandReader {
        DemandReader(self.core.memory().clone())
    }

    /// Packets that this ring dropped since it was made.
    pub fn dropped(&self) -> u64 {
        self.core.dropped()
    }
}

/// What the server wants of a ring, as it stands in the ring's header. Nothing wakes the worker for
/// it: read it before each frame.
#[derive(Clone)]
pub struct DemandReader(Mapping);

impl DemandReader {
    pub fn demand(&self) -> Demand {
        Demand {
            wanted: self.word(layout::WANTED) != 0,
            keyframes: self.word(layout::KEYFRAMES) as u32,
            bitrate_bps: self.word(layout::BITRATE_BPS) as u32,
        }
    }

    /// The server's UNIX time minus CLOCK_MONOTONIC; 0 until it is known.
    pub fn clock_offset_ns(&self) -> i64 {
        self.word(layout::CLOCK_OFFSET_NS) as i64
    }

    fn word(&self, at: usize) -> u64 {
        self.0.words()[at].load(Relaxed)
    }
}

/// The server's half. One at a time.
pub struct RingReader {
    core: reader::Reader<Mapping, LABEL>,
}

impl RingReader {
    /// The oldest unread packet; its payload takes the place of what `payload` held (at most [`RingLimits::bytes`]). `None`
    /// when there is none. Never blocks. `payload` is empty unless a packet came.
    ///
    /// A hostile worker can make packets and faults as fast as this is called: loop a bounded number of times per wake.
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<Option<PacketMeta>, RingFault> {
        let Some(record) = self.core.pop(payload)? else {
            return Ok(None);
        };
        match record_header::decode(record.label) {
            Ok(meta) => Ok(Some(meta)),
            Err(what) => {
                payload.clear();
                Err(RingFault::Label {
                    record: record.number,
                    what,
                })
            }
        }
    }

    /// Readable from the next push on until [`clear_event`](Self::clear_event).
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.core.memory().event_fd()
    }

    /// To be called before the pops that follow a wake, so that no push goes unnoticed.
    pub fn clear_event(&self) {
        self.core.memory().clear();
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

    /// UNIX time minus CLOCK_MONOTONIC.
    pub fn set_clock_offset_ns(&self, offset_ns: i64) {
        self.set(layout::CLOCK_OFFSET_NS, offset_ns as u64);
    }

    /// Packets that this reader passed over, because the ring was full or after a fault: exact for an honest worker, from this
    /// reader's beginning on.
    pub fn dropped(&self) -> u64 {
        self.core.dropped()
    }

    fn set(&self, at: usize, value: u64) {
        self.core.memory().words()[at].store(value, Relaxed);
    }
}
