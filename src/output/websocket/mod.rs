//! `/stream`: packets and events over WebSocket.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod handshake;
pub mod reader;
pub mod session;
pub mod transport;
pub mod writer;
