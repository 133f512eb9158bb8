//! The shared memory of one stream: a ring per encoding, the worker's status page and its control
//! page. Made by the supervisor; the worker and the server each get their ends.

use super::control::{ControlReader, ControlWriter, SharedControl};
use super::mapping::{AdoptError, Mapping};
use super::ring::{RingLimits, RingReader, RingWriter, SharedRing};
use super::status::{MAX_ENCODINGS, SharedStatus, StatusReader, StatusWriter};
use crate::media::{Encoding, MediaKind};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{OwnedFd, RawFd};

/// The memory of one stream.
pub struct StreamMemory {
    rings: Vec<(Encoding, SharedRing)>,
    status: SharedStatus,
    control: SharedControl,
}

/// The server's ends of a stream's memory.
pub struct ServerEnds {
    pub rings: Vec<(Encoding, RingReader)>,
    pub status: StatusReader,
    pub control: ControlWriter,
}

/// The worker's ends of a stream's memory.
pub struct WorkerEnds {
    pub rings: Vec<(Encoding, RingWriter)>,
    pub status: StatusWriter,
    pub control: ControlReader,
}

/// What another process has to know to adopt the memory. Its descriptors follow in the order of
/// [`StreamMemory::mappings`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamLayout {
    pub kind: MediaKind,
    rings: Vec<RingLayout>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RingLayout {
    encoding: Encoding,
    packets: u32,
    bytes: usize,
}

/// A [`StreamLayout`] or its memory that cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum StreamMemoryError {
    #[error(
        "a stream has no encoding, one twice, one of another kind, or more than {MAX_ENCODINGS}"
    )]
    Encodings,
    #[error("the size of a ring is out of range")]
    RingSize,
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    #[error("a status or control page is of another version")]
    Version,
}

impl StreamMemory {
    /// `name` begins the names of the memory in `/proc/<pid>/maps`: `left-video-jpeg`.
    ///
    /// # Errors
    /// `InvalidInput` for limits out of range; those of memfd_create(2), mmap(2) and eventfd(2).
    pub fn create(name: &str, encodings: &[Encoding], limits: RingLimits) -> io::Result<Self> {
        let rings = encodings
            .iter()
            .map(|&encoding| {
                let name = format!("{name}-{}", encoding.name());
                Ok((encoding, SharedRing::create(&name, limits)?))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            rings,
            status: SharedStatus::create(name, encodings)?,
            control: SharedControl::create(&format!("{name}-control"))?,
        })
    }

    /// Over the memory of another process. `next` gives its descriptors in their order; it must
    /// have at least [`StreamLayout::descriptors`] of them.
    ///
    /// # Errors
    /// The layout is not one of a stream, or a descriptor is not of memory of its size.
    pub(super) fn adopt(
        layout: &StreamLayout,
        mut next: impl FnMut() -> OwnedFd,
    ) -> Result<Self, StreamMemoryError> {
        let StreamLayout { kind, rings } = layout;
        let encodings: Vec<Encoding> = rings.iter().map(|ring| ring.encoding).collect();
        let is_valid = |(at, encoding): (usize, &Encoding)| {
            encoding.kind() == *kind && !encodings[..at].contains(encoding)
        };
        if !(1..=MAX_ENCODINGS).contains(&encodings.len())
            || !encodings.iter().enumerate().all(is_valid)
        {
            return Err(StreamMemoryError::Encodings);
        }
        let mut adopted = Vec::with_capacity(rings.len());
        for ring in rings {
            let limits = RingLimits {
                packets: ring.packets,
                bytes: ring.bytes,
            };
            let words = SharedRing::words(limits).ok_or(StreamMemoryError::RingSize)?;
            let mapping = Mapping::adopt(next(), next(), words)?;
            let ring_memory =
                SharedRing::adopt(mapping, limits).ok_or(StreamMemoryError::RingSize)?;
            adopted.push((ring.encoding, ring_memory));
        }
        let status = Mapping::adopt(next(), next(), SharedStatus::WORDS)?;
        let control = Mapping::adopt(next(), next(), SharedControl::WORDS)?;
        Ok(Self {
            rings: adopted,
            status: SharedStatus::adopt(status, &encodings).ok_or(StreamMemoryError::Version)?,
            control: SharedControl::adopt(control).ok_or(StreamMemoryError::Version)?,
        })
    }

    pub(super) fn layout(&self, kind: MediaKind) -> StreamLayout {
        let rings = self.rings.iter().map(|(encoding, ring)| RingLayout {
            encoding: *encoding,
            packets: ring.limits().packets,
            bytes: ring.limits().bytes,
        });
        StreamLayout {
            kind,
            rings: rings.collect(),
        }
    }

    /// All of its memory: the rings, the status page, the control page.
    pub(super) fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.rings
            .iter()
            .map(|(_, ring)| ring.mapping())
            .chain([self.status.mapping(), self.control.mapping()])
    }

    /// Its descriptors, so that a child can close what it must not have.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.mappings().flat_map(Mapping::fds)
    }

    /// The status page, for the supervisor.
    pub fn status(&self) -> StatusReader {
        self.status.reader()
    }

    /// For the server after its fork, when the server before it has exited.
    pub fn server_ends(&self) -> ServerEnds {
        ServerEnds {
            rings: self
                .rings
                .iter()
                .map(|(encoding, ring)| (*encoding, ring.reader()))
                .collect(),
            status: self.status.reader(),
            control: self.control.writer(),
        }
    }

    /// For the worker after its fork, when the worker before it has exited.
    pub fn worker_ends(&self) -> WorkerEnds {
        WorkerEnds {
            rings: self
                .rings
                .iter()
                .map(|(encoding, ring)| (*encoding, ring.writer()))
                .collect(),
            status: self.status.writer(),
            control: self.control.reader(),
        }
    }
}

impl StreamLayout {
    /// The number of descriptors of its memory.
    pub(super) fn descriptors(&self) -> usize {
        2 * (self.rings.len() + 2)
    }
}
