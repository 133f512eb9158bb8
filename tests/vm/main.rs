//! The whole program against real capture drivers: vivid, v4l2loopback, uvcvideo, snd-aloop,
//! snd-usb-audio.
//!
//! Runs in the test machine (boot.sh), as root, one test at a time; `tests/run.sh vm` does that.
//! The program under test is the release build, observed over its socket and by its log. Measured
//! times are added to /mnt/figures, which boot.sh prints.

mod audio;
mod audio_faults;
mod cameras;
mod clock;
mod continuity;
mod devices;
mod faults;
mod formats;
mod identity;
mod idle;
mod jpegs;
mod microphones;
mod processes;
mod program;
mod sizes;
mod speech;
mod stamps;
mod tracepoint;
mod video;
mod viewer;

use nix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Many times the program's targets: the host may be busy, and the machine is emulated.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program built by cargo, found relative to this one: target/debug/deps.
fn built(path: &str) -> PathBuf {
    let own = std::env::current_exe().expect("Linux names the running program");
    let target = own
        .ancestors()
        .nth(3)
        .expect("a test runs in target/PROFILE/deps");
    let program = target.join(path);
    assert!(
        program.exists(),
        "{} is not built; run tests/run.sh vm",
        program.display()
    );
    program
}

/// Runs a command to its end.
fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program)
        .args(arguments)
        .output()
        .expect("the command starts");
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Waits until `done` gives something; panics with `what` after [`PATIENCE`].
fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes a measured figure to the machine's results.
fn figure(name: &str, value: impl std::fmt::Display) {
    let line = format!("{name}: {value}\n");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open("/mnt/figures");
    file.and_then(|mut f| f.write_all(line.as_bytes()))
        .expect("the share is writable");
}

/// For a figure.
fn seconds_since(began: Instant) -> String {
    format!("{:.2} s", began.elapsed().as_secs_f64())
}

/// UNIX time now, nanoseconds.
fn unix_ns() -> i64 {
    clock_ns(ClockId::CLOCK_REALTIME)
}

fn clock_ns(clock: ClockId) -> i64 {
    let t = clock_gettime(clock).expect("the clock is there");
    t.tv_sec() * 1_000_000_000 + t.tv_nsec()
}

/// UNIX time minus CLOCK_MONOTONIC, nanoseconds: of many paired readings the one with the shortest
/// interval.
fn unix_minus_monotonic_ns() -> i64 {
    let pair = |_| {
        let before = clock_ns(ClockId::CLOCK_MONOTONIC);
        let unix = unix_ns();
        let after = clock_ns(ClockId::CLOCK_MONOTONIC);
        (after - before, unix - (before + after) / 2)
    };
    (0..200).map(pair).min().expect("200 pairs").1
}
