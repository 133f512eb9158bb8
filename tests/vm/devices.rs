//! Choosing and setting devices: `--list-devices`, a microphone by its number there, a camera's
//! controls.

use crate::cameras::{Usb, Vivid};
use crate::microphones::{AlsaProgram, LOOPBACK_MICROPHONE, Player, RATE_HZ};
use crate::program::Program;
use crate::viewer::{AudioPacket, Packet, Viewer};
use crate::{built, jpegs};
use std::process::Command;

fn list_devices() -> String {
    let done = Command::new(built("release/stampcast"))
        .arg("--list-devices")
        .output()
        .expect("the program starts");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let list = String::from_utf8(done.stdout).expect("text");
    println!("{list}"); // shown when the test fails
    list
}

/// The number by which `--audio-device` takes the loopback microphone.
fn loopback_number(list: &str) -> u32 {
    let (_, microphones) = list
        .split_once("Microphones (--audio-device N):\n")
        .expect("a list of microphones");
    let (number, _) = microphones
        .split_once(&format!("  {LOOPBACK_MICROPHONE}  "))
        .expect("the loopback is listed");
    number
        .lines()
        .last()
        .and_then(|line| line.trim().parse().ok())
        .expect("a number before it")
}

#[test]
fn list_devices_names_cameras_formats_controls_and_microphones() {
    let vivid = Vivid::ready(1);
    let usb = Usb::camera(0, "LISTED", &jpegs::distinct(2, 640, 480));
    let list = list_devices();
    let about = |node: &str| {
        list.split("\n\n")
            .find(|camera| camera.contains(&format!("({node})")))
            .map(str::to_owned)
    };
    let says = |node: &str, facts: &[&str]| {
        let camera = about(node).unwrap_or_else(|| panic!("{node} is not listed"));
        for fact in facts {
            assert!(camera.contains(fact), "{fact:?} of {node}");
        }
    };
    says(
        &vivid.node().to_string_lossy(),
        &[
            "1: vivid",
            "YUYV 640x480 at ",
            "NV12 640x480 at ",
            "    brightness: 0 to 255",
        ],
    );
    says(
        &usb.node().to_string_lossy(),
        &["serial LISTED", "MJPG 640x480 at ", "YUYV 640x480 at "],
    );
    assert_eq!(about("/dev/video2"), None, "a metadata node is no camera");
    let [playing_end, microphone] =
        [0, 1].map(|device| format!("  hw:CARD=Loopback,DEV={device}  Loopback"));
    assert!(
        list.contains(&playing_end) && list.contains(&microphone),
        "both of the loopback's capture devices"
    );
    assert_eq!(loopback_number(&list), 1, "counted from 0");
}

#[test]
fn microphone_chosen_by_number_has_the_requested_rate_and_channels() {
    const TONE_HZ: f64 = 440.0;
    let wave = |n: u64, rate_hz: u32| {
        let turns = TONE_HZ * n as f64 / f64::from(rate_hz);
        (10_000.0 * (std::f64::consts::TAU * turns).sin()) as i16
    };
    let options = format!(
        "--camera-type none --enable-audio --audio-device {} --audio-channels 2 --audio-samplerate 16000",
        loopback_number(&list_devices())
    );
    // The loopback captures in the player's format. First one channel at 48 kHz, which the program
    // converts.
    let player = Player::play(move |n| wave(n, RATE_HZ));
    let program = Program::start(&options);
    let (left, right) = a_second_of_it(&program);
    assert_eq!(left, right, "one channel on both sides");
    let periods = left
        .windows(2)
        .filter(|pair| pair[0] < 0 && pair[1] >= 0)
        .count();
    assert!(
        periods.abs_diff(TONE_HZ as usize) <= 2,
        "{periods} periods in a second"
    );
    program.stop();
    drop(player);

    // Then the requested format, with silence on the right.
    let stereo = (0..16_000 * 120)
        .flat_map(|n| [wave(n, 16_000), 0])
        .flat_map(i16::to_le_bytes)
        .collect::<Vec<u8>>();
    let _player = AlsaProgram::playing_stereo(&stereo);
    let program = Program::start(&options);
    let (left, right) = a_second_of_it(&program);
    assert!(
        left.iter().any(|sample| *sample > 9_000),
        "the tone is on the left"
    );
    assert!(
        right.iter().all(|sample| *sample == 0),
        "nothing is on the right"
    );
    program.stop();
}

/// A second of the program's audio from the begin of the tone, left and right; another one where
/// the emulator stood still, so that the player underran or the program lost audio.
fn a_second_of_it(program: &Program) -> (Vec<i16>, Vec<i16>) {
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all");
    // In each 5 ms, which are two periods of it.
    let loud = |audio: &AudioPacket| {
        audio
            .samples
            .chunks(160)
            .all(|part| part.iter().any(|sample| *sample > 9_000))
    };
    viewer.wait("tone", |packet| Packet::audio(packet).filter(loud));
    let (mut left, mut right) = (Vec::new(), Vec::new());
    while left.len() < 16_000 {
        let audio = viewer.audio();
        assert_eq!((audio.rate_hz, audio.channels), (16_000, 2));
        if !loud(&audio) {
            (left, right) = (Vec::new(), Vec::new());
            continue;
        }
        left.extend(audio.samples.iter().step_by(2));
        right.extend(audio.samples.iter().skip(1).step_by(2));
    }
    left.truncate(16_000);
    right.truncate(16_000);
    (left, right)
}

#[test]
fn camera_controls_are_set_by_number_and_by_menu_text() {
    let camera = Vivid::ready(0);
    camera.set("brightness", 128);
    camera.set("test_pattern", 0);
    let program = Program::start(
        "--camera-type usb --camera-control brightness=77 --camera-control test_pattern=100_black",
    );
    let (.., shade) = jpegs::decode(&Viewer::connect(program.port, "").frame().jpeg);
    let reported = Command::new("v4l2-ctl")
        .args(["-d", "/dev/video0", "-C", "brightness"])
        .output()
        .expect("v4l2-ctl starts");
    program.stop();
    camera.set("brightness", 128);
    camera.set("test_pattern", 0);
    assert_eq!(
        String::from_utf8_lossy(&reported.stdout).trim(),
        "brightness: 77"
    );
    assert!(shade < 60.0, "black but for the driver's own text: {shade}");
}
