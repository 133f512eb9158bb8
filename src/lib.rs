//! stampcast: a camera and a microphone as one stream of packets, each stamped with the moment of its capture.
//!
//! The journey of a packet, device to viewer:
//!
//! ```text
//! camera ─► VideoSource ─► encode ─┐ process stampcast-video            ┌─► /stream  text, binary
//!                                  ├─► Ring (shared memory) ─► Hub ─────┼─► MJPEG, snapshot, WAV
//! microphone ─► AudioSource ───────┘ process stampcast-audio            └─► WebRTC
//! ```
//!
//! [`supervise`] is the program's first process: it binds the port, makes the rings, forks the others and watches them.
//! Arrows go one way: `capture` does not know the network, `ring` does not know JPEG, an output knows only the `hub`.

pub mod api;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod encode;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod hub;
pub mod ipc;
pub mod log;
pub mod malloc_trim;
pub mod media;
pub mod net;
pub mod output;
pub mod server;
pub mod signals;
pub mod source;
pub mod supervise;
pub mod wire;
pub mod worker;

use config::Config;

/// Runs the program until it is told to stop. The exit code, or one line that says why it cannot start.
/// `tokens`: what [`config::secrets::take`] found before the options were read.
pub fn run(mut config: Config, tokens: config::secrets::Tokens) -> Result<u8, String> {
    config.unmask(tokens);
    if let Some(whip) = config.webrtc.iter().flat_map(|webrtc| &webrtc.whip).next() {
        whip.check().map_err(|e| e.to_string())?;
    }
    log::init(config.logging.format, config.logging.level);
    if !config.ignored_options.is_empty() {
        tracing::warn!(
            "without effect with the other options: {}",
            config.ignored_options.join(", ")
        );
    }
    raise_descriptor_limit();
    supervise::run(config).map_err(|e| log::chain(&e))
}

/// As many descriptors as the system lets us have: shells and service files often begin with 1024, which is also how many
/// viewers that would be.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(e) = raised {
        tracing::warn!("cannot raise the limit of open files: {e}");
    }
}

/// Prints the cameras and microphones of this machine. In a process of its own, so that no driver's library lives in the
/// supervisor.
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

/// Writes to standard output. A reader that has seen enough and closed the pipe (`| head`) is no error.
///
/// # Errors
/// One line for the user: a full disk, say.
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
