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
pub mod doctor;
pub mod http;
pub mod hub;
pub mod log;
pub mod memory;
pub mod pace;
pub mod packet;
pub mod resample;
pub mod ring;
pub mod sandbox;
mod secrets;
pub mod serve;
pub mod supervise;
#[cfg(feature = "webrtc")]
pub mod webrtc;
pub mod wire;

use config::Config;

/// Runs the program until it is told to stop. The exit code, or one line that says why it cannot start.
pub fn run(config: Config) -> Result<u8, String> {
    secrets::hide();
    log::init(config.logging);
    raise_descriptor_limit();
    supervise::run(config).map_err(|e| log::chain(&e))
}

/// As many descriptors as the system lets us have: shells and service files often begin with 1024, which is also how many
/// viewers that would be.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(e) = raised {
        tracing::warn!("cannot raise the limit of open files: {e}");
    }
}

/// Prints the cameras and microphones of this machine. In a process of its own, so that no driver's library lives in the
/// supervisor.
pub fn list_devices() -> Result<u8, String> {
    let cameras = capture::video::usb::list_cameras();
    let microphones = capture::audio::find::list_microphones();
    println!("Cameras (--camera-type usb):");
    if cameras.is_empty() {
        println!("  none");
    }
    cameras.iter().for_each(|camera| println!("{camera}"));
    println!("Microphones (--audio-device N):");
    if microphones.is_empty() {
        println!("  none");
    }
    for (n, microphone) in microphones.iter().enumerate() {
        println!("  {n}  {}", microphone.describe());
    }
    Ok(0)
}
