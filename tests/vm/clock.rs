//! The system clock is set by an hour while the program runs.

use crate::cameras::Vivid;
use crate::microphones::{LOOPBACK_MICROPHONE, Player};
use crate::program::Program;
use crate::viewer::{Body, Viewer};
use crate::{PATIENCE, figure, run, seconds_since, unix_minus_monotonic_ns, unix_ns, wait_for};
use std::time::{Duration, Instant};

/// The target is 1 s.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// What was received of one stream.
#[derive(Default)]
struct Stream {
    packets: u32,
    last_ns: Option<i64>,
    /// The reported steps, seconds.
    steps: Vec<f64>,
    /// The last of them, until the packet after it has arrived.
    reported: Option<f64>,
}

impl Stream {
    fn take(&mut self, stamp_ns: i64) {
        self.packets += 1;
        let Some(last_ns) = self.last_ns.replace(stamp_ns) else {
            return;
        };
        let since = (stamp_ns - last_ns) as f64 / 1e9 - self.reported.take().unwrap_or(0.0);
        assert!(
            since > 0.0 && since < 5.0,
            "stamps go on from {last_ns} to {stamp_ns}, and jump only where a step is reported"
        );
    }

    fn step(&mut self, seconds: f64) {
        self.steps.push(seconds);
        assert_eq!(self.reported.replace(seconds), None, "reported once");
    }
}

/// Reads until both streams are as `done` wants them.
fn watch(viewer: &mut Viewer, streams: &mut [Stream; 2], done: impl Fn(&Stream) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !streams.iter().all(&done) {
        assert!(Instant::now() < end, "the streams stopped");
        let Some(packet) = viewer.next_within(PATIENCE) else {
            continue;
        };
        match &packet.body {
            Body::Video { .. } => streams[0].take(packet.stamp_ns),
            Body::Audio { .. } => streams[1].take(packet.stamp_ns),
            Body::Event(event) if event["event"] == "clock_step" => {
                let of = usize::from(event["stream"] == "audio");
                streams[of].step(event["seconds"].as_f64().expect("a size"));
            }
            Body::Event(_) => {}
        }
    }
}

/// Set back, too, for the tests that follow.
#[test]
fn clock_step_of_an_hour_is_reported_within_a_second_and_viewers_stay() {
    let _camera = Vivid::ready(0);
    let _player = Player::play(|_| 0);
    let program = Program::start(&format!(
        "--camera-type usb --device-id 0 --enable-audio --audio-name {LOOPBACK_MICROPHONE}"
    ));
    // One connection from the beginning to the end.
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all&events=1");
    let mut streams = [Stream::default(), Stream::default()];
    watch(&mut viewer, &mut streams, |stream| stream.packets >= 10);
    assert_eq!(program.info()["clock"]["steps"], 0);

    for (n, (name, step)) in (1..).zip([("forward", "+1 hour"), ("back", "-1 hour")]) {
        let before = unix_minus_monotonic_ns();
        let setting = std::thread::spawn(move || run("date", &["-s", step]));
        wait_for("clock that was set", || {
            ((unix_minus_monotonic_ns() - before).abs() > 1_000_000_000).then_some(())
        });
        let began = Instant::now();
        let set = (unix_minus_monotonic_ns() - before) as f64 / 1e9;
        watch(&mut viewer, &mut streams, |stream| stream.steps.len() == n);
        let reported = streams[0].steps[n - 1];
        figure(
            &format!("clock set {name}, time until reported in both streams"),
            seconds_since(began),
        );
        figure(
            &format!("clock set {name}, by how much, and as reported"),
            format!("{set:.6} s, {reported:.6} s"),
        );
        assert!(began.elapsed() < TOLD_WITHIN);
        setting.join().expect("date can set the clock");
        assert!(
            (reported - set).abs() < 0.001,
            "set {set} s, reported {reported} s"
        );
        assert_eq!(
            streams[1].steps, streams[0].steps,
            "the same in both streams"
        );
        let clock = &program.info()["clock"];
        assert_eq!(clock["steps"], n);
        assert_eq!(clock["last_step_seconds"], reported);
        streams.iter_mut().for_each(|stream| stream.packets = 0);
        watch(&mut viewer, &mut streams, |stream| stream.packets >= 15);
        // vivid's own stamps run up to a frame ahead.
        let ages = streams
            .each_ref()
            .map(|stream| unix_ns() - stream.last_ns.expect("packets came"));
        assert!(
            ages.iter()
                .all(|age| (-100_000_000..10_000_000_000).contains(age)),
            "stamps are of now: {ages:?} ns ago"
        );
    }
    assert!(
        streams.iter().all(|stream| stream.steps.len() == 2),
        "each step is reported once"
    );
    program.stop();
}
