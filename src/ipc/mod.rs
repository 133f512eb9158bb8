//! Shared memory and messages between the processes: rings of packets, status pages and control
//! pages, and the channel that passes their descriptors.
//!
//! Every reader treats the memory as hostile: it copies, then validates. Cores are generic over
//! their [`memory`], so that loom and Miri check them on the heap.

pub mod control;
pub mod descriptors;
pub(crate) mod mapping;
pub(crate) mod memory;
pub mod ring;
pub(crate) mod seqlock;
pub mod status;
mod stream_memory;

pub use stream_memory::{ServerEnds, StreamMemory, StreamMemoryError, WorkerEnds};
