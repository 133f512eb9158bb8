//! Microphones that are unplugged, stall, overrun or are busy; and that a fault of one stream never
//! affects the other.

use crate::cameras::{Usb, Vivid};
use crate::continuity::{ContinuityMonitor, Stream};
use crate::microphones::{AlsaProgram, Ear, LOOPBACK_MICROPHONE, LoopbackState, Player, click};
use crate::program::Program;
use crate::viewer::{Body, Viewer};
use crate::{figure, seconds_since, wait_for};
use nix::sys::signal::{Signal, kill};
use std::time::{Duration, Instant};

/// A camera slow enough for an emulated processor never to lose a frame.
const EASY_CAMERA: &str = "--camera-type usb --device-id 0 --width 320 --height 180 --fps 10";

/// A program with that camera and this microphone, a viewer of both streams, and a monitor of the
/// video.
fn watched(microphone: &str) -> (Program, Viewer, ContinuityMonitor) {
    let program = Program::start(&format!(
        "{EASY_CAMERA} --enable-audio --audio-name {microphone}"
    ));
    let mut viewer = Viewer::connect(program.port, "format=binary&events=1&delivery=all");
    viewer.frame();
    viewer.audio();
    let monitor = ContinuityMonitor::start(&program, Stream::Video);
    (program, viewer, monitor)
}

#[test]
fn microphone_unplugged_recovers_and_video_is_continuous() {
    let _camera = Vivid::ready(0);
    let microphone = Usb::microphone(0, "MIC");
    let (program, mut viewer, monitor) = watched("MIC");
    let line = program.log_length();
    microphone.unplug();
    viewer.wait("lost microphone", |p| match p.body {
        Body::Event(e) if e["event"] == "source_lost" && e["stream"] == "audio" => Some(()),
        _ => None,
    });
    program.wait_for_line(line, &["microphone"]);
    let plugged = Instant::now();
    let _microphone = Usb::microphone(3, "MIC");
    viewer.audio();
    figure(
        "USB microphone replugged to next audio",
        seconds_since(plugged),
    );
    figure("video meanwhile", monitor.finish());
    program.stop();
}

/// A stall without an error: the driver just delivers no audio.
#[test]
fn microphone_stalled_recovers_and_video_is_continuous() {
    let _camera = Vivid::ready(0);
    let microphone = Usb::microphone(0, "MIC");
    let (program, mut viewer, monitor) = watched("MIC");
    let (line, began) = (program.log_length(), Instant::now());
    microphone.mode("stall");
    let reported = program.wait_for_line(line, &["no data from its device"]);
    assert!(reported.contains("stampcast-audio"), "{reported}");
    figure(
        "microphone stalled, time until it is noticed",
        seconds_since(began),
    );
    viewer.wait_for_silence(Duration::from_millis(500));
    let healed = Instant::now();
    microphone.mode("go");
    viewer.audio();
    figure(
        "microphone stalled, device back to next audio",
        seconds_since(healed),
    );
    figure("video meanwhile", monitor.finish());
    program.stop();
}

#[test]
fn microphone_busy_is_waited_for_and_video_is_continuous() {
    let _camera = Vivid::ready(0);
    let _microphone = Usb::microphone(0, "MIC");
    let holder = AlsaProgram::holding_the_usb_microphone();
    let program = Program::start(&format!("{EASY_CAMERA} --enable-audio --audio-name MIC"));
    program.wait_for_line(0, &["microphone", "in use"]);
    let monitor = ContinuityMonitor::start(&program, Stream::Video);
    let mut viewer = Viewer::connect(program.port, "video=0");
    assert!(
        viewer.next_within(Duration::from_millis(500)).is_none(),
        "no audio while another program has it"
    );
    drop(holder);
    let healed = Instant::now();
    viewer.audio();
    figure(
        "microphone in use, free to next audio",
        seconds_since(healed),
    );
    assert_eq!(program.lines(&["in use"]).len(), 1, "said once");
    figure("video meanwhile", monitor.finish());
    program.stop();
}

/// The worker is frozen until the kernel reports an overrun of its buffer of a second, but not so
/// long that it is replaced.
#[test]
fn microphone_overrun_is_reported_with_duration_and_timestamps_stay_right() {
    let _camera = Vivid::ready(0);
    let player = Player::play(click);
    let (program, mut viewer, monitor) = watched(LOOPBACK_MICROPHONE);
    let worker = program.worker("stampcast-audio");
    kill(worker, Signal::SIGSTOP).expect("the worker runs");
    wait_for("overrun", || {
        (LoopbackState::now().state == "XRUN").then_some(())
    });
    kill(worker, Signal::SIGCONT).expect("the worker is there");
    let healed = Instant::now();

    // The gap event precedes the first packet after it.
    let mut before = viewer.audio();
    let mut reported = None;
    let after = viewer.wait("audio after the overrun", |packet| {
        if let Body::Event(event) = &packet.body
            && event["event"] == "gap"
            && event["stream"] == "audio"
        {
            reported = Some(event.clone());
        }
        let audio = packet.audio()?;
        if reported.is_some() {
            return Some(audio);
        }
        before = audio;
        None
    });
    figure(
        "overrun, worker running again to next audio",
        seconds_since(healed),
    );
    let reported = reported.expect("a gap");
    assert_eq!(reported["cause"], "xrun", "{reported}");
    let missing = (after.stamp_ns - before.end_ns()) as f64 / 1e9;
    figure(
        "overrun, audio missing by the stamps, and as reported",
        format!("{missing:.4} s, {} s", reported["seconds"]),
    );
    let reported = reported["seconds"]
        .as_f64()
        .expect("an overrun's packets cannot be counted, its time can");
    assert!(
        (reported - missing).abs() < 0.005,
        "reported {reported} s, missing {missing} s"
    );
    assert_eq!(
        program.worker("stampcast-audio"),
        worker,
        "it was not replaced"
    );

    let mut ear = Ear::default();
    let error = viewer.wait("click", |packet| {
        ear.clicks(&packet.audio()?)
            .first()
            .map(|click| player.click_error_ns(click))
    });
    figure(
        "overrun, first click after it: stamp minus time of playing",
        format!("{:.2} ms", error as f64 / 1e6),
    );
    assert!(error.abs() <= 5_000_000, "{error} ns");
    figure("video meanwhile", monitor.finish());
    program.stop();
}

#[test]
fn audio_worker_killed_or_frozen_is_replaced_and_video_is_continuous() {
    let _camera = Vivid::ready(0);
    let _player = Player::play(|_| 0);
    let (program, mut viewer, monitor) = watched(LOOPBACK_MICROPHONE);
    let camera = program.worker("stampcast-video");
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let before = program.worker("stampcast-audio");
        let began = Instant::now();
        kill(before, signal).expect("the worker runs");
        viewer.wait("gap of the restart", |p| match p.body {
            Body::Event(e)
                if e["event"] == "gap"
                    && e["cause"] == "worker_restarted"
                    && e["stream"] == "audio" =>
            {
                Some(())
            }
            _ => None,
        });
        viewer.audio();
        figure(
            &format!("audio process {signal}, fault to next audio"),
            seconds_since(began),
        );
        assert_ne!(program.worker("stampcast-audio"), before);
    }
    assert_eq!(
        program.worker("stampcast-video"),
        camera,
        "the camera's process was not touched"
    );
    figure("video meanwhile", monitor.finish());
    program.stop();
}

#[test]
fn camera_faults_leave_audio_continuous() {
    let camera = Vivid::ready(0);
    let _player = Player::play(|_| 0);
    let program = Program::start(&format!(
        "--camera-type usb --device-id 0 --enable-audio --audio-name {LOOPBACK_MICROPHONE}"
    ));
    let mut viewer = Viewer::connect(program.port, "audio=0&events=1");
    viewer.frame();
    let microphone = program.worker("stampcast-audio");
    let monitor = ContinuityMonitor::start(&program, Stream::Audio);
    let mut during = |fault: &dyn Fn(), healing: &dyn Fn()| {
        fault();
        viewer.event("source_lost");
        healing();
        viewer.event("source_back");
        viewer.frame();
    };
    during(&|| camera.unplug(), &|| camera.plug());
    // A new vivid begins with its own settings.
    let camera = Vivid::ready(0);
    during(
        &|| camera.set("percentage_of_dropped_buffers", 100),
        &|| camera.set("percentage_of_dropped_buffers", 0),
    );
    during(&|| camera.set("inject_fatal_streaming_error", 1), &|| ());
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        during(
            &|| kill(program.worker("stampcast-video"), signal).expect("the worker runs"),
            &|| (),
        );
    }
    figure("audio during five faults of the camera", monitor.finish());
    assert_eq!(
        program.worker("stampcast-audio"),
        microphone,
        "the microphone's process was not touched"
    );
    program.stop();
}
