//! stampcast: a camera and a microphone as one stream of packets, each stamped with its capture
//! time.
//!
//! The path of a packet, from device to viewer:
//!
//! ```text
//! camera ─────► VideoSource ─► encoders ─┐                                ┌─► WebSocket
//!                                        ├─► ring (shared memory) ─► hub ─┼─► MJPEG, snapshot, WAV
//! microphone ─► AudioSource ─► encoders ─┘                                └─► WebRTC, WHIP
//! └─ processes stampcast-video, -audio ──┘                     └─ process stampcast-serve ─┘
//! ```
//!
//! 1. [`source`] opens a device and returns frames with its own capture time ([`media::MonoNs`]).
//! 2. [`worker`] is the loop of a capture process: it passes each frame to the encoders
//!    ([`encode`]) that are in demand, waits for missing devices, and writes packets to rings.
//! 3. [`ipc`] carries packets between processes: one ring for each track, which drops its oldest
//!    packet when it is full. The reader treats what it reads as untrusted.
//! 4. [`hub`] numbers the packets of a camera, counts losses, maps capture times to UNIX time, and
//!    keeps a bounded queue for each subscriber.
//! 5. [`output`] has one file or folder for each way out; [`http`] is the transport that most of
//!    them share, and [`api`] the addresses about the streams (`/info`, `/metrics`, the page).
//!
//! [`supervise`] is the first process: it binds the port, makes the shared memory, forks the others
//! and restarts them; [`server`] is the process of the network. [`wire`] is the public protocol,
//! and [`doctor`] a client that measures a stream. [`cli`] and [`config`] are the options.
//!
//! [`wire`] is what other programs may depend on; everything else may change in any release.
//!
//! Imports go one way: a source does not know the network, a ring does not know JPEG, an output
//! knows only the hub. `docs/design.md` has the table, and a test compares it with the code.

mod api;
mod http;
mod hub;
mod malloc_trim;
mod net;
mod output;
mod panics;
mod signals;

pub mod wire;

// Public for the program, tests, benches and fuzz targets of this repository.
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod doctor;
#[doc(hidden)]
pub mod encode;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[doc(hidden)]
pub mod ipc;
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod media;
#[doc(hidden)]
pub mod server;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod supervise;
#[doc(hidden)]
pub mod worker;

use config::Config;

/// Runs the program until it is told to stop; returns its exit code. `tokens`: what
/// [`config::secrets::take`] found before the options were read.
///
/// # Errors
/// One line for the user: why it cannot start.
#[doc(hidden)]
pub fn run(mut config: Config, tokens: config::secrets::Tokens) -> Result<u8, String> {
    config.unmask(tokens);
    if let Some(whip) = config.webrtc.iter().flat_map(|webrtc| &webrtc.whip).next() {
        whip.check().map_err(|e| e.to_string())?;
    }
    log::init(config.logging.format, config.logging.level);
    panics::install();
    for line in &config.ignored_options {
        tracing::warn!("{line}");
    }
    raise_descriptor_limit();
    supervise::run(config).map_err(|e| log::chain(&e))
}

/// Raises the limit of open descriptors as far as allowed: shells and service files often set 1024,
/// which would limit the number of viewers.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(e) = raised {
        tracing::warn!("cannot raise the limit of open files: {e}");
    }
}

/// Prints the cameras and microphones of this machine, instead of running.
///
/// # Errors
/// One line for the user: standard output cannot be written.
#[doc(hidden)]
pub fn list_devices() -> Result<u8, String> {
    let cameras = source::v4l2::list_cameras()
        .into_iter()
        .map(|camera| format!("{camera}\n"))
        .collect();
    let microphones = source::alsa::find::list_microphones();
    let microphones = microphones
        .iter()
        .enumerate()
        .map(|(n, microphone)| format!("  {n}  {}\n", microphone.describe()))
        .collect();
    let or_none = |list: String| {
        if list.is_empty() {
            "  none\n".into()
        } else {
            list
        }
    };
    print(&format!(
        "Cameras (--camera-type usb):\n{}Microphones (--audio-device N):\n{}",
        or_none(cameras),
        or_none(microphones)
    ))?;
    Ok(0)
}

/// Writes to standard output. A reader that has closed the pipe (`| head`) is not an error.
///
/// # Errors
/// One line for the user, such as for a full disk.
#[doc(hidden)]
pub fn print(text: &str) -> Result<(), String> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {e}"))
        }
        _ => Ok(()),
    }
}
