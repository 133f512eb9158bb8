//! Timestamps are the devices' own: each frame's is compared with the kernel's of the same buffer,
//! each click's with the time at which that click was played.

use crate::cameras::{Usb, Vivid};
use crate::microphones::{Ear, LOOPBACK_MICROPHONE, Player, click};
use crate::program::Program;
use crate::tracepoint::{Buffer, Tracepoint};
use crate::viewer::Viewer;
use crate::{PATIENCE, figure, jpegs, unix_minus_monotonic_ns};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// The value below which `share` of the sorted values lie.
fn quantile(sorted: &[i64], share: f64) -> i64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Frames compared for each camera.
const FRAMES: usize = 300;
/// More frames per second than any camera of these tests has, so that none is dropped and the
/// sequence numbers follow the driver's.
const ALL: &str = "--fps 240";

/// Compares the timestamps of [`FRAMES`] packets with those of their buffers. Packets and buffers
/// are matched by sequence numbers alone: the camera loses frames while `lossy` makes it, and both
/// sequences must have the same holes. So timestamps that are one frame off would be noticed.
fn compare_with_the_kernel(name: &str, node: &Path, options: &str, lossy: impl Fn(bool)) {
    let program = Program::start(&format!("{options} {ALL}"));
    let tracepoint = Tracepoint::of(node);
    crate::wait_for("buffer in the kernel's trace", || {
        tracepoint.buffers().first().map(|_| ())
    });
    // Only from here on: this viewer's frames were dequeued later, as nothing is encoded without
    // viewers.
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all");
    let mut frames = Vec::new();
    for part in 0..3 {
        lossy(part == 1);
        frames.extend((0..FRAMES / 3).map(|_| viewer.frame()));
    }
    let stated = program.info()["video"]["stamp"]["uncertainty_ns"].clone();
    let offset_ns = unix_minus_monotonic_ns();
    let kernel: BTreeMap<u32, i64> = counted(&tracepoint.buffers())
        .map(|(number, stamp_ns)| (number, stamp_ns + offset_ns))
        .collect();
    program.stop();

    let packets: Vec<(u32, i64)> = frames
        .iter()
        .map(|p| (p.sequence.expect("binary packets are numbered"), p.stamp_ns))
        .collect();
    let own = |ahead: u32| -> Option<Vec<i64>> {
        packets
            .iter()
            .map(|(number, stamp)| Some(stamp - kernel.get(&number.wrapping_add(ahead))?))
            .collect()
    };
    let matches: Vec<Vec<i64>> = kernel
        .keys()
        .filter_map(|first| own(first.wrapping_sub(packets[0].0)))
        .collect();
    let lost = packets[packets.len() - 1].0 - packets[0].0 + 1 - packets.len() as u32;
    println!("packets: {packets:?}\nbuffers: {kernel:?}"); // shown when the test fails
    let [errors] = &matches[..] else {
        panic!(
            "{} ways to match {} packets, of which {lost} were lost",
            matches.len(),
            packets.len()
        )
    };
    let mut errors: Vec<i64> = errors.iter().map(|e| e.abs()).collect();
    errors.sort_unstable();
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|q| quantile(&errors, q));
    let figures = format!(
        "p50 {p50} ns, p99 {p99} ns, most {most} ns, {FRAMES} frames matched by number among which {lost} were lost; \
         the driver's own unevenness is stated as {stated} ns"
    );
    figure(&format!("{name}: stamp against the driver's"), figures);
    assert!(
        p99 <= 200_000 && most <= 10_000_000,
        "p99 {p99} ns, most {most} ns"
    );
}

/// The buffers' sequence numbers and timestamps; where the driver's number did not grow, counted
/// on: vivid sometimes repeats a number, and a restarted stream counts from 0.
fn counted(buffers: &[Buffer]) -> impl Iterator<Item = (u32, i64)> {
    let mut last: Option<(u32, u32)> = None;
    buffers.iter().map(move |buffer| {
        let number = last.map_or(0, |(driver, ours)| {
            ours + buffer
                .sequence
                .checked_sub(driver)
                .map_or(1, |step| step.max(1))
        });
        last = Some((buffer.sequence, number));
        (number, buffer.stamp_ns)
    })
}

#[test]
fn timestamps_of_a_raw_camera_are_the_driver_ones() {
    let camera = Vivid::ready(0);
    let lossy = |on| camera.set("percentage_of_dropped_buffers", if on { 15 } else { 0 });
    compare_with_the_kernel(
        "vivid YUYV",
        &camera.node(),
        "--camera-type usb --device-id 0",
        lossy,
    );
}

#[test]
fn timestamps_of_a_usb_camera_are_the_driver_ones() {
    let camera = Usb::camera(0, "STAMPS", &jpegs::distinct(8, 640, 480));
    // uvcvideo discards frames with the error bit, and continues its numbers.
    let lossy = |on| camera.mode(if on { "corrupt" } else { "go" });
    compare_with_the_kernel(
        "USB camera MJPEG",
        camera.node(),
        "--camera-type usb --device STAMPS",
        lossy,
    );
}

/// Plays a click each second and locates each in the audio by the packets' timestamps: how late
/// each was, nanoseconds.
///
/// When its other side is opened, snd-aloop may shift the player's clock by up to its buffer of
/// half a second. So for the clicks of the first seconds, whose reference was taken before, only
/// the distances are checked.
fn clicks(seconds: usize) -> Vec<i64> {
    const SETTLING_SAMPLES: u64 = 3 * 48_000;
    let player = Player::play(click);
    let program = Program::start(&format!(
        "--camera-type none --enable-audio --audio-name {LOOPBACK_MICROPHONE}"
    ));
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all");
    let mut ear = Ear::default();
    let (mut errors, mut samples, mut stream) = (Vec::new(), 0u64, None);
    let end = Instant::now() + Duration::from_secs(seconds as u64) + PATIENCE;
    while errors.len() < seconds {
        assert!(Instant::now() < end, "{} clicks of {seconds}", errors.len());
        let audio = viewer.audio();
        let length_ns = |samples: u64| (samples * 1_000_000_000 / u64::from(audio.rate_hz)) as i64;
        let began = *stream.get_or_insert(audio.stamp_ns);
        // In snd-aloop the player's clock is the host's, but its timer is coarse.
        let off = audio.stamp_ns - began - length_ns(samples);
        assert!(
            off.abs() < 5_000_000,
            "after {samples} samples the stamps are {off} ns off their count"
        );
        samples += audio.samples.len() as u64;
        let clicks = ear.clicks(&audio);
        errors.extend(
            clicks
                .iter()
                .filter(|_| samples > SETTLING_SAMPLES)
                .map(|click| player.click_error_ns(click)),
        );
    }
    program.stop();
    errors
}

#[test]
fn timestamps_of_a_click_match_its_playback() {
    let errors = clicks(15);
    let worst = errors
        .iter()
        .map(|e| e.abs())
        .max()
        .expect("there are clicks");
    figure(
        "click through snd-aloop: stamp minus time of playing, worst of 15",
        format!("{:.2} ms", worst as f64 / 1e6),
    );
    assert!(worst <= 5_000_000, "errors in ns: {errors:?}");
}

/// Five minutes; tests/long.sh runs it.
#[test]
#[ignore = "five minutes long: tests/long.sh"]
fn timestamps_of_clicks_do_not_drift_in_five_minutes() {
    let errors = clicks(300);
    let mean = |part: &[i64]| part.iter().sum::<i64>() as f64 / part.len() as f64 / 1e6;
    let (first, last) = (mean(&errors[..30]), mean(&errors[270..]));
    let worst = errors
        .iter()
        .map(|e| e.abs())
        .max()
        .expect("there are clicks") as f64
        / 1e6;
    figure(
        "clicks over 5 min: mean error of the first and last 30, worst",
        format!("{first:.2}, {last:.2}, {worst:.2} ms"),
    );
    assert!(
        worst <= 5.0 && (last - first).abs() <= 1.0,
        "first {first:.2} ms, last {last:.2} ms, worst {worst:.2} ms"
    );
}
