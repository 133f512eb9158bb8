//! The bounded queue in shared memory between one worker (the writer) and the server (the reader), and the page on which
//! a worker says how it is. Knows no JPEG, no device, no network.
//!
//! The halves: [`RingWriter`] and [`RingReader`] for packets, [`StatusWriter`] and [`StatusReader`] for the state of a worker.
