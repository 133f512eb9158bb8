//! The integration tests, as one program: each program more would be linked with the whole library
//! once more. Tests that need a process of their own are programs of their own (`forks`), as
//! are those for the test machine (`vm`).
//!
//! Each test starts the servers that it asks, on ports of their own; none changes this process's
//! environment, directory or standard streams, so that all may run side by side.

mod common;
mod stream_rig;

mod access;
mod architecture;
mod autobahn;
mod bytes;
mod cameras;
mod doctor;
mod failing_camera;
mod hostile;
mod limits;
mod options;
mod outputs;
mod program;
mod restarts;
mod rpi;
mod run_script;
mod sandbox;
mod stream_clients;
mod stream_formats;
mod stream_gaps;
#[cfg(all(feature = "tls", feature = "webrtc"))]
// the second one for its certificates: see rcgen in Cargo.toml
mod tls;
#[cfg(feature = "webrtc")]
mod webrtc;
