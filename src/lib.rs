//! stampcast: a camera and a microphone as one stream of packets, each stamped with the moment of its capture.
//!
//! The journey of a packet, device to viewer:
//!
//! ```text
//! camera ─► VideoSource ─► encode ─┐ process stampcast-video            ┌─► /stream  text, binary
//!                                  ├─► Ring (shared memory) ─► Hub ─────┼─► MJPEG, snapshot, WAV
//! microphone ─► SoundSource ───────┘ process stampcast-audio            └─► WebRTC
//! ```
//!
//! [`supervise`] is the program's first process: it binds the port, makes the rings, forks the others and watches them.
//! Arrows go one way: `capture` does not know the network, `ring` does not know JPEG, an output knows only the `hub`.

pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod http;
pub mod hub;
pub mod log;
pub mod packet;
pub mod resample;
pub mod ring;
pub mod serve;
pub mod supervise;
pub mod wire;
