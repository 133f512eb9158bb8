//! Shared memory between processes: rings of packets and status pages.

pub mod mapping;
pub mod memory;
pub mod ring;
pub mod status;
