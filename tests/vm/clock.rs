//! The system's clock set for real, by an hour, under a running program.

use crate::cameras::Vivid;
use crate::microphones::{LOOPBACK_MICROPHONE, Player};
use crate::program::Program;
use crate::viewer::{Body, Packet, Viewer};
use crate::{PATIENCE, figure, run, seconds_since, unix_minus_monotonic_ns, unix_ns, wait_for};
use std::time::{Duration, Instant};

/// The target is 1 s.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// The stamps of one stream.
#[derive(Default)]
struct Stamps {
    last: Option<i64>,
    /// Where they jump by more than a minute, by how much, nanoseconds.
    jumps: Vec<i64>,
}

impl Stamps {
    fn take(&mut self, packet: &Packet) {
        let Some(last) = self.last.replace(packet.stamp_ns) else { return };
        let step = packet.stamp_ns - last;
        if step.abs() > 60_000_000_000 {
            self.jumps.push(step);
        } else {
            assert!(step > 0, "stamps grow strictly between steps: {last}, {}", packet.stamp_ns);
        }
    }

    /// Since the last time that this was asked.
    fn jumped_once_by(&mut self, seconds: f64) {
        let jumps = std::mem::take(&mut self.jumps);
        assert!(matches!(jumps[..], [jump] if (jump as f64 / 1e9 - seconds).abs() < 5.0), "jumps of {jumps:?} ns");
    }
}

/// Reads until so many packets of each stream have come, or the clock's step: by how much, seconds.
fn watch(viewer: &mut Viewer, streams: &mut [Stamps; 2], packets: u32) -> Option<f64> {
    let mut seen = [0, 0];
    let end = Instant::now() + PATIENCE;
    while seen.iter().any(|n| *n < packets) {
        assert!(Instant::now() < end, "the streams stopped");
        let packet = viewer.next_within(PATIENCE)?;
        let stream = match &packet.body {
            Body::Video { .. } => 0,
            Body::Audio { .. } => 1,
            Body::Event(event) if event["event"] == "clock_step" => return event["seconds"].as_f64(),
            Body::Event(_) => continue,
        };
        streams[stream].take(&packet);
        seen[stream] += 1;
    }
    None
}

/// Back again, too, so that later tests find the time as it was.
#[test]
fn a_clock_set_by_an_hour_is_told_within_a_second_and_no_viewer_is_lost() {
    let _camera = Vivid::ready(0);
    let _player = Player::play(|_| 0);
    let program = Program::start(&format!("--camera-type usb --device-id 0 --enable-audio --audio-name {LOOPBACK_MICROPHONE}"));
    // One connection from the beginning to the end.
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all&events=1");
    let mut streams = [Stamps::default(), Stamps::default()];
    assert_eq!(watch(&mut viewer, &mut streams, 10), None);
    assert_eq!(program.info()["clock"]["steps"], 0);

    for (n, (name, step)) in [("forward", "+1 hour"), ("back", "-1 hour")].into_iter().enumerate() {
        let before = unix_minus_monotonic_ns();
        let setting = std::thread::spawn(move || run("date", &["-s", step]));
        wait_for("clock that was set", || ((unix_minus_monotonic_ns() - before).abs() > 1_000_000_000).then_some(()));
        let began = Instant::now();
        let set = (unix_minus_monotonic_ns() - before) as f64 / 1e9;
        let told = watch(&mut viewer, &mut streams, u32::MAX).expect("a clock_step event");
        figure(&format!("clock set {name}, time until it is told"), seconds_since(began));
        figure(&format!("clock set {name}, by how much, and as told"), format!("{set:.6} s, {told:.6} s"));
        assert!(began.elapsed() < TOLD_WITHIN);
        setting.join().expect("date can set the clock");
        assert!((told - set).abs() < 0.001, "set {set} s, told {told} s");
        let clock = &program.info()["clock"];
        assert_eq!(clock["steps"], n + 1);
        assert_eq!(clock["last_step_seconds"], told);
        assert_eq!(watch(&mut viewer, &mut streams, 15), None, "told once");
        streams.iter_mut().for_each(|stream| stream.jumped_once_by(set));
        // vivid's own stamps run up to a frame ahead.
        let ages = [viewer.picture().stamp_ns, viewer.sound().stamp_ns].map(|stamp| unix_ns() - stamp);
        assert!(ages.iter().all(|age| (-100_000_000..10_000_000_000).contains(age)), "stamps are of now: {ages:?} ns ago");
    }
    program.stop();
}
