//! Audio is complete: every sample that was played, at its frequency.

use crate::cameras::Vivid;
use crate::microphones::{LOOPBACK_MICROPHONE, Player, RATE_HZ};
use crate::program::Program;
use crate::viewer::{AudioPacket, Body, Viewer};
use crate::{figure, unix_ns};
use std::process::{Child, Command, Stdio};

/// Not a divisor of the rate: no loss of less than a second leaves the phase unchanged.
const TONE_HZ: f64 = 997.0;
const SECONDS: usize = 10;

fn tone(n: u64) -> i16 {
    let turns = TONE_HZ * (n % u64::from(RATE_HZ)) as f64 / f64::from(RATE_HZ);
    (20_000.0 * (std::f64::consts::TAU * turns).sin()).round() as i16
}

/// The largest |x[n+1] - 2cos(w)x[n] + x[n-1]|: zero for an unbroken wave, at most 2 with each
/// sample rounded, thousands where samples are lost, doubled or altered.
fn worst_break(samples: &[i16]) -> f64 {
    let twice_cosine = 2.0 * (std::f64::consts::TAU * TONE_HZ / f64::from(RATE_HZ)).cos();
    let departure =
        |w: &[i16]| (f64::from(w[2]) - twice_cosine * f64::from(w[1]) + f64::from(w[0])).abs();
    samples.windows(3).map(departure).fold(0.0, f64::max)
}

#[test]
fn audio_tone_keeps_its_frequency_with_no_sample_lost() {
    let _player = Player::play(tone);
    let program = Program::start(&format!(
        "--camera-type none --enable-audio --audio-name {LOOPBACK_MICROPHONE}"
    ));
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all");
    let mut packets: Vec<AudioPacket> = Vec::new();
    while packets.iter().map(|p| p.samples.len()).sum::<usize>() < SECONDS * RATE_HZ as usize {
        packets.push(viewer.audio());
    }
    program.stop();

    for packet in &packets {
        assert_eq!((packet.rate_hz, packet.channels), (RATE_HZ, 1));
        let milliseconds = packet.samples.len() * 1000 / RATE_HZ as usize;
        assert!(
            (20..=50).contains(&milliseconds),
            "a packet of {milliseconds} ms"
        );
    }
    for (a, b) in packets.iter().zip(&packets[1..]) {
        assert_eq!(
            b.sequence,
            a.sequence.map(|n| n.wrapping_add(1)),
            "packets are numbered without a gap"
        );
    }
    let samples: Vec<i16> = packets
        .iter()
        .flat_map(|p| p.samples.iter().copied())
        .collect();
    let worst = worst_break(&samples);
    assert!(
        worst <= 3.0,
        "the wave is broken by {worst}: samples are missing or altered"
    );

    // Last, the clock: the number of samples, each a known part of a cycle, in the time between the
    // timestamps.
    let last = &packets[packets.len() - 1];
    let seconds = (last.stamp_ns - packets[0].stamp_ns) as f64 / 1e9;
    let frequency =
        TONE_HZ * (samples.len() - last.samples.len()) as f64 / f64::from(RATE_HZ) / seconds;
    figure(
        "997 Hz tone through snd-aloop, frequency by the stamps",
        format!("{frequency:.3} Hz"),
    );
    assert!(
        (frequency - TONE_HZ).abs() < TONE_HZ * 2e-3,
        "{frequency:.3} Hz"
    );
}

#[test]
fn audio_and_video_are_in_sync() {
    let _camera = Vivid::ready(0);
    let _player = Player::play(tone);
    let program = Program::start(&format!(
        "--camera-type usb --enable-audio --audio-name {LOOPBACK_MICROPHONE}"
    ));
    let mut viewer = Viewer::connect(program.port, "format=binary");
    let frame = viewer.frame();
    let audio = viewer.audio();
    let apart = (frame.stamp_ns - audio.stamp_ns).abs();
    figure(
        "stamps of the first frame and the next audio apart",
        format!("{:.0} ms", apart as f64 / 1e6),
    );
    assert!(apart < 2_000_000_000, "both are stamps of now");
    program.stop();
}

/// Twice as many busy loops as the machine has processors, each with the program's own priority.
struct Busy(Vec<Child>);

impl Busy {
    fn machine() -> Self {
        let processors = std::thread::available_parallelism()
            .expect("Linux counts them")
            .get();
        let child = |_| {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .expect("sh starts")
        };
        Self((0..2 * processors).map(child).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
#[ignore = "a minute long: tests/long.sh"]
fn audio_busy_machine_for_a_minute_has_no_overrun() {
    const MINUTE: usize = 60;
    let _camera = Vivid::ready(0);
    // Silence is accepted: the player may fall behind, and then the loopback delivers silence.
    let program = Program::start(&format!(
        "--camera-type usb --enable-audio --audio-name {LOOPBACK_MICROPHONE}"
    ));
    let mut frames = Viewer::connect(program.port, "audio=0");
    frames.frame();
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all&events=1&video=0");
    let first = viewer.audio();
    let busy = Busy::machine();
    let (mut packets, mut latest_ns, mut sequence) = (0, 0, first.sequence);
    let mut samples = first.samples.len();
    while samples < MINUTE * first.rate_hz as usize * usize::from(first.channels) {
        let audio = viewer.wait("audio", |packet| {
            assert!(
                !matches!(packet.body, Body::Event(_)),
                "nothing is lost: {packet:?}"
            );
            packet.audio()
        });
        sequence = sequence.map(|n| n.wrapping_add(1));
        assert_eq!(audio.sequence, sequence);
        latest_ns = latest_ns.max(unix_ns() - audio.end_ns());
        samples += audio.samples.len();
        packets += 1;
    }
    drop(busy);
    let drops = program.info()["audio"]["drops"].clone();
    figure(
        "audio for a minute on a busy machine",
        format!(
            "{packets} packets, none missing, at most {} ms late",
            latest_ns / 1_000_000
        ),
    );
    assert!(
        drops.get("xrun").is_none_or(|xrun| xrun["absences"] == 0),
        "{drops}"
    );
    program.stop();
}
