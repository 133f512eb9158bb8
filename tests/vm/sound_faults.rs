//! Microphones that vanish, stall or are taken; and that the loss of the one stream never touches the other.

use crate::cameras::{Usb, Vivid};
use crate::figure;
use crate::microphones::{LOOPBACK_MICROPHONE, Player};
use crate::program::Program;
use crate::viewer::{Body, Viewer};
use std::time::{Duration, Instant};

/// Reads pictures until a sound comes and returns the longest time between two of their stamps, milliseconds.
fn worst_picture_interval_until_sound(viewer: &mut Viewer) -> i64 {
    let (mut last, mut worst) = (None, 0);
    viewer.wait("sound", |packet| match packet.body {
        Body::Video { .. } => {
            worst = worst.max(last.map_or(0, |l| packet.stamp_ns - l));
            last = Some(packet.stamp_ns);
            None
        }
        Body::Audio { .. } => Some(()),
        Body::Event(_) => None,
    });
    worst / 1_000_000
}

#[test]
fn an_unplugged_microphone_comes_back_and_the_picture_never_pauses() {
    let _camera = Vivid::ready(0);
    let microphone = Usb::microphone(0, "MIC");
    let program = Program::start("--camera-type usb --enable-audio --audio-name MIC");
    let mut viewer = Viewer::connect(program.port, "format=binary&events=1&delivery=all");
    viewer.picture();
    viewer.sound();
    let line = program.log_length();
    microphone.unplug();
    viewer.wait("lost microphone", |p| match p.body {
        Body::Event(e) if e["event"] == "source_lost" && e["stream"] == "audio" => Some(()),
        _ => None,
    });
    program.wait_for_line(line, &["microphone"]);
    let plugged = Instant::now();
    let _microphone = Usb::microphone(3, "MIC");
    let pause = worst_picture_interval_until_sound(&mut viewer);
    figure("USB microphone replugged to next sound", format!("{:.2} s", plugged.elapsed().as_secs_f64()));
    assert!(pause < 1000, "the picture paused for {pause} ms");
    program.stop();
}

#[test]
fn a_stalled_microphone_is_noticed_and_comes_back() {
    let microphone = Usb::microphone(0, "MIC");
    let program = Program::start("--camera-type none --enable-audio --audio-name MIC");
    let mut viewer = Viewer::connect(program.port, "events=1");
    viewer.sound();
    let line = program.log_length();
    microphone.mode("stall");
    program.wait_for_line(line, &["delivered nothing"]);
    microphone.mode("go");
    viewer.sound();
    program.stop();
}

#[test]
fn a_busy_microphone_is_waited_for() {
    let _player = Player::play(|_| 0);
    let other = Program::start(&format!("--camera-type none --enable-audio --audio-name {LOOPBACK_MICROPHONE}"));
    Viewer::connect(other.port, "").sound();
    // snd-aloop's capture device has two substreams; a second program of ours takes the second, a third finds none.
    let second = Program::start(&format!("--camera-type none --enable-audio --audio-name {LOOPBACK_MICROPHONE}"));
    Viewer::connect(second.port, "").sound();
    let program = Program::start(&format!("--camera-type none --enable-audio --audio-name {LOOPBACK_MICROPHONE}"));
    program.wait_for_line(0, &["in use"]);
    let mut viewer = Viewer::connect(program.port, "");
    viewer.drain(Duration::from_millis(500));
    other.stop();
    viewer.sound();
    second.stop();
    program.stop();
}

#[test]
fn a_lost_camera_leaves_the_sound_whole() {
    let camera = Vivid::ready(0);
    let _player = Player::play(|_| 0);
    let program = Program::start(&format!("--camera-type usb --enable-audio --audio-name {LOOPBACK_MICROPHONE}"));
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all");
    viewer.picture();
    let first = viewer.sound().sequence.expect("binary packets are numbered");
    camera.unplug();
    let mut expected = first;
    for _ in 0..100 {
        expected = expected.wrapping_add(1);
        assert_eq!(viewer.sound().sequence, Some(expected), "no sound is lost while the camera is away");
    }
    camera.plug();
    viewer.picture();
    program.stop();
}
