//! The program's own processes killed while real devices stream.

use crate::cameras::Vivid;
use crate::microphones::{LOOPBACK_MICROPHONE, LoopbackState, Player};
use crate::program::Program;
use crate::tracepoint::Tracepoint;
use crate::viewer::Viewer;
use crate::{clock_ns, figure, seconds_since, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

#[test]
fn server_killed_devices_keep_streaming_and_viewers_reconnect() {
    let camera = Vivid::ready(0);
    let _player = Player::play(|_| 0);
    let program = Program::start(&format!(
        "--camera-type usb --device-id 0 --enable-audio --audio-name {LOOPBACK_MICROPHONE}"
    ));
    let mut viewer = Viewer::connect(program.port, "format=binary");
    viewer.frame();
    viewer.audio();
    let workers = || ["stampcast-video", "stampcast-audio"].map(|name| program.worker(name));
    let (before, microphone) = (workers(), LoopbackState::now());
    assert_eq!(microphone.state, "RUNNING");
    let tracepoint = Tracepoint::of(&camera.node());
    wait_for("buffer before the fault", || {
        tracepoint.buffers().first().map(|_| ())
    });

    let (began, killed_ns) = (Instant::now(), clock_ns(ClockId::CLOCK_MONOTONIC));
    kill(program.worker("stampcast-serve"), Signal::SIGKILL).expect("the server runs");
    viewer.ended();
    let mut viewer = Viewer::connect(program.port, "format=binary");
    let frame = viewer.frame();
    figure(
        "server killed, to next frame at a viewer that reconnects at once",
        seconds_since(began),
    );
    let audio = viewer.audio();
    figure(
        "server killed, to next frame and audio",
        seconds_since(began),
    );
    assert!(
        (frame.stamp_ns - audio.stamp_ns).abs() < 2_000_000_000,
        "both are stamps of now"
    );

    assert_eq!(workers(), before, "neither worker was replaced");
    assert_eq!(
        LoopbackState::now(),
        microphone,
        "the kernel knows of one start of the microphone only"
    );
    // The ring still held a frame for the next server: the viewer may get it before the camera
    // delivers another.
    let after_the_fault = || {
        tracepoint
            .buffers()
            .last()
            .is_some_and(|b| b.stamp_ns > killed_ns)
    };
    wait_for("buffer after the fault", || after_the_fault().then_some(()));
    // A restarted stream counts from 0.
    let numbers: Vec<u32> = tracepoint.buffers().iter().map(|b| b.sequence).collect();
    assert!(numbers[0] > 0, "{numbers:?}");
    assert!(numbers.is_sorted(), "the camera streamed on: {numbers:?}");
    program.stop();
}

#[test]
fn supervisor_killed_leaves_no_process_and_frees_devices() {
    let camera = Vivid::ready(0);
    let _player = Player::play(|_| 0);
    let mut program = Program::start(&format!(
        "--camera-type usb --device-id 0 --enable-audio --audio-name {LOOPBACK_MICROPHONE}"
    ));
    let mut viewer = Viewer::connect(program.port, "");
    viewer.frame();
    viewer.audio();
    let workers = program.workers();
    assert_eq!(workers.len(), 3);

    let began = Instant::now();
    program.kill_supervisor();
    wait_for("end of all processes", || {
        workers.iter().all(has_ended).then_some(())
    });
    figure(
        "supervisor killed, until no process is left",
        seconds_since(began),
    );
    let node = camera.node();
    assert!(
        works(
            "v4l2-ctl",
            &[
                "-d",
                &node.to_string_lossy(),
                "--stream-mmap",
                "--stream-count=1"
            ]
        ),
        "the camera is free"
    );
    assert!(
        works(
            "arecord",
            &[
                "-q",
                "-D",
                LOOPBACK_MICROPHONE,
                "-f",
                "S16_LE",
                "-r",
                "48000",
                "-s",
                "480",
                "/dev/null"
            ]
        ),
        "the microphone is free"
    );
    TcpListener::bind(("127.0.0.1", program.port)).expect("the port is free");
    figure(
        "supervisor killed, until other programs have used camera and microphone",
        seconds_since(began),
    );
    viewer.ended();
}

/// A zombie holds nothing; init reaps it later.
fn has_ended(pid: &Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, state)| state.starts_with('Z'))
}

fn works(program: &str, arguments: &[&str]) -> bool {
    let done = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    done.expect("the command starts").success()
}
