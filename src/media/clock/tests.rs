//! The mapping against simulated clocks, whose true offset is known.

use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
const EVERY: u64 = SECOND / 10;
const START_UNIX: u64 = 1_750_000_000 * SECOND;

/// Both clocks of a machine. Reading them takes time, and now and then much.
struct Machine {
    mono: u64,
    unix: u64,
    /// How much faster UNIX time goes than the monotonic clock.
    slew_ppm: i64,
    /// What slewing has not yet moved by a whole nanosecond, in millionths.
    carry: i64,
    /// The longest that reading takes when nothing interrupts it, and when something does, ns.
    quiet: u64,
    interrupted: u64,
    random: u64,
}

impl Machine {
    fn new(quiet: u64, interrupted: u64) -> Self {
        Self {
            mono: 40 * SECOND,
            unix: START_UNIX,
            slew_ppm: 0,
            carry: 0,
            quiet,
            interrupted,
            random: 7,
        }
    }

    fn run(&mut self, ns: u64) {
        let slewed = self.carry + ns as i64 * self.slew_ppm;
        self.mono += ns;
        self.unix = (self.unix + ns)
            .checked_add_signed(slewed.div_euclid(1_000_000))
            .unwrap();
        self.carry = slewed.rem_euclid(1_000_000);
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit.max(1)
    }

    fn sample(&mut self) -> ClockSample {
        // One sample in five is interrupted, and the UNIX clock may be read anywhere in its
        // bracket.
        let longest = if self.below(5) == 0 {
            self.interrupted
        } else {
            self.quiet
        };
        let width = self.below(longest) + 40;
        let read_at = self.below(width);
        let before = MonoNs(self.mono);
        self.run(read_at);
        let unix = UnixNs(self.unix);
        self.run(width - read_at);
        ClockSample {
            before,
            unix,
            after: MonoNs(self.mono),
        }
    }

    /// How far the map is from the truth right now, ns.
    fn error(&self, map: &ClockMap) -> i64 {
        map.to_unix(MonoNs(self.mono)).0 as i64 - self.unix as i64
    }
}

/// Samples every 100 ms for `ns`, looking at the error each 10 ms. The worst error, and the steps
/// that were seen.
fn follow(machine: &mut Machine, map: &mut ClockMap, ns: u64) -> (i64, Vec<ClockStep>) {
    let (mut worst, mut steps) = (0, Vec::new());
    for _ in 0..ns / EVERY {
        for _ in 0..10 {
            machine.run(EVERY / 10);
            worst = worst.max(machine.error(map).abs());
        }
        let sample = machine.sample();
        steps.extend(map.observe(sample));
    }
    (worst, steps)
}

/// A reading takes up to 200 ns, or up to 20 ms when interrupted.
fn busy() -> (Machine, ClockMap) {
    let mut machine = Machine::new(200, 20_000_000);
    let map = ClockMap::new(machine.sample());
    (machine, map)
}

#[test]
fn clock_map_scheduling_noise_moves_a_steady_clock_by_less_than_a_microsecond() {
    let (mut machine, mut map) = busy();
    follow(&mut machine, &mut map, 2 * SECOND);
    let (worst, steps) = follow(&mut machine, &mut map, HOUR);
    assert!(worst < 1_000, "{worst} ns");
    assert_eq!((steps.len(), map.steps()), (0, 0));
    assert!(map.uncertainty_ns() < 1_000, "{} ns", map.uncertainty_ns());
}

#[test]
fn clock_map_interrupted_first_samples_are_corrected() {
    let mut machine = Machine::new(200, 200);
    let wide = ClockSample {
        before: MonoNs(machine.mono),
        unix: UnixNs(machine.unix),
        after: MonoNs(machine.mono + 9_000_000),
    };
    machine.run(9_000_000);
    let mut map = ClockMap::new(wide);
    assert!(machine.error(&map).abs() > 1_000_000);
    assert!(map.uncertainty_ns() >= 4_500_000);
    let (_, steps) = follow(&mut machine, &mut map, SECOND);
    // It was within what may be caught up with, or else a step; either way it is right a second
    // later.
    assert!(steps.len() <= 1);
    assert!(
        machine.error(&map).abs() < 1_000,
        "{} ns",
        machine.error(&map)
    );
    assert!(map.uncertainty_ns() < 2_000, "{} ns", map.uncertainty_ns());
}

#[test]
fn clock_map_step_of_an_hour_is_found_at_the_next_sample_with_its_size() {
    for (quiet, interrupted, precision) in [
        (200, 200, 1e-6),
        (200, 20_000_000, 0.011),
        (5_000_000, 20_000_000, 0.011),
    ] {
        for hours in [1i64, -1] {
            let mut machine = Machine::new(quiet, interrupted);
            let mut map = ClockMap::new(machine.sample());
            follow(&mut machine, &mut map, 10 * SECOND);
            let before = machine.mono;
            machine.unix = machine
                .unix
                .checked_add_signed(hours * HOUR as i64)
                .unwrap();
            let (_, steps) = follow(&mut machine, &mut map, SECOND);
            let [step] = steps[..] else {
                panic!("{steps:?}")
            };
            assert!(
                (step.seconds - hours as f64 * 3600.0).abs() < precision,
                "{step:?}"
            );
            assert!(step.at.0 > before && step.at.0 < before + 2 * EVERY);
            assert_eq!(map.steps(), 1);
            follow(&mut machine, &mut map, 3 * SECOND);
            let error = machine.error(&map).unsigned_abs();
            assert!(error <= quiet.max(1_000), "{error} ns");
        }
    }
}

#[test]
fn clock_map_error_of_3_ms_is_a_step_and_of_1_ms_is_slewed() {
    for (jump, expected) in [
        (3_000_000, 1),
        (-3_000_000, 1),
        (1_000_000, 0),
        (-1_000_000, 0),
    ] {
        let mut machine = Machine::new(200, 200);
        let mut map = ClockMap::new(machine.sample());
        follow(&mut machine, &mut map, 5 * SECOND);
        machine.unix = machine.unix.checked_add_signed(jump).unwrap();
        let (_, steps) = follow(&mut machine, &mut map, 2 * SECOND);
        assert_eq!(steps.len(), expected, "{jump} ns");
        let (worst, _) = follow(&mut machine, &mut map, SECOND);
        assert!(worst < 2_000, "{worst} ns");
    }
}

#[test]
fn clock_map_slew_of_500_ppm_is_followed_within_microseconds_without_a_step() {
    let (mut machine, mut map) = busy();
    follow(&mut machine, &mut map, 5 * SECOND);
    for ppm in [500, 0, -500, 500, -500, 0] {
        machine.slew_ppm = ppm;
        // Until the next samples the new rate cannot be known: 100 ms, or a few of them when they
        // are interrupted, at up to 1,000 ppm.
        let (transient, steps) = follow(&mut machine, &mut map, 2 * SECOND);
        assert!(transient < 600_000, "{ppm} ppm: {transient} ns");
        let (worst, more) = follow(&mut machine, &mut map, 60 * SECOND);
        assert!(worst < 3_000, "{ppm} ppm: {worst} ns");
        assert!(steps.is_empty() && more.is_empty());
    }
}

#[test]
fn clock_map_undisturbed_slew_is_followed_within_a_microsecond_after_half_a_second() {
    let mut machine = Machine::new(100, 100);
    let mut map = ClockMap::new(machine.sample());
    follow(&mut machine, &mut map, 5 * SECOND);
    machine.slew_ppm = 500;
    let (transient, _) = follow(&mut machine, &mut map, SECOND / 2);
    assert!(transient < 110_000, "{transient} ns");
    let (worst, _) = follow(&mut machine, &mut map, 60 * SECOND);
    assert!(worst < 1_000, "{worst} ns");
}

#[test]
fn clock_map_suspend_is_a_step_of_its_duration() {
    let (mut machine, mut map) = busy();
    follow(&mut machine, &mut map, 5 * SECOND);
    // CLOCK_MONOTONIC does not count the time asleep.
    machine.unix += 8 * HOUR;
    let (_, steps) = follow(&mut machine, &mut map, SECOND);
    let [step] = steps[..] else {
        panic!("{steps:?}")
    };
    assert!((step.seconds - 8.0 * 3600.0).abs() < 0.011, "{step:?}");
}

#[test]
fn clock_map_stopped_process_finds_no_step_in_a_slewing_clock() {
    let mut machine = Machine::new(200, 200);
    let mut map = ClockMap::new(machine.sample());
    follow(&mut machine, &mut map, 5 * SECOND);
    machine.slew_ppm = 500;
    machine.run(60 * SECOND);
    let (_, steps) = follow(&mut machine, &mut map, 5 * SECOND);
    assert_eq!(steps, []);
    assert!(machine.error(&map).abs() < 1_000);
}

#[test]
fn clock_map_capture_before_a_step_keeps_the_old_time() {
    let mut machine = Machine::new(200, 200);
    let mut map = ClockMap::new(machine.sample());
    follow(&mut machine, &mut map, 5 * SECOND);
    let capture_time = MonoNs(machine.mono - 1);
    let stamp = map.to_unix(capture_time);
    machine.unix += HOUR;
    let (_, steps) = follow(&mut machine, &mut map, SECOND);
    assert_eq!(map.to_unix(capture_time), stamp);
    let at = steps[0].at;
    let jump = map.to_unix(at).0 - map.to_unix(MonoNs(at.0 - 1)).0;
    assert!(jump.abs_diff(HOUR) < 1_000, "{jump} ns");
}

#[test]
fn clock_map_implausible_samples_change_nothing() {
    let mut machine = Machine::new(200, 200);
    let first = machine.sample();
    let mut map = ClockMap::new(first);
    machine.run(SECOND);
    let now = MonoNs(machine.mono);
    let stamp = map.to_unix(now);
    let (early, late) = (MonoNs(machine.mono), MonoNs(machine.mono + 100));
    for nonsense in [
        ClockSample {
            unix: UnixNs(5),
            ..first
        },
        ClockSample {
            before: late,
            unix: UnixNs(5),
            after: early,
        },
        ClockSample {
            before: early,
            unix: UnixNs(u64::MAX),
            after: late,
        },
        ClockSample {
            before: early,
            unix: UnixNs(5),
            after: MonoNs(u64::MAX),
        },
    ] {
        assert_eq!(map.observe(nonsense), None);
    }
    assert_eq!(map.to_unix(now), stamp);
    // Nothing that a hostile worker may claim as its capture time panics.
    assert!(map.to_unix(MonoNs(u64::MAX)) >= stamp);
    assert!(map.to_unix(MonoNs(0)) < stamp);
}

#[test]
fn clock_sample_reads_this_machine_s_clocks() {
    let sample = ClockSample::read();
    assert!(sample.before <= sample.after);
    let map = ClockMap::new(sample);
    assert_eq!(
        map.to_unix(sample.after).0 - sample.unix.0,
        (sample.after.0 - sample.before.0) / 2
    );
    assert!(map.offset_ns() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the slew and the noise: between steps stamps keep the order of the captures, and a
    /// stamp given once is given again.
    #[test]
    fn clock_map_stamps_only_grow_and_never_change(
        slews in proptest::collection::vec(-500i64..=500, 1..20),
        quiet in 50u64..100_000,
        interrupted in 50u64..30_000_000,
        every in 100u64..=250,
    ) {
        let mut machine = Machine::new(quiet, interrupted);
        let mut map = ClockMap::new(machine.sample());
        let mut given: Vec<(MonoNs, UnixNs)> = Vec::new();
        for slew in slews {
            machine.slew_ppm = slew;
            for _ in 0..8 {
                for _ in 0..5 {
                    // Two packets a microsecond apart.
                    for _ in 0..2 {
                        machine.run(1_000);
                        let capture_time = MonoNs(machine.mono);
                        given.push((capture_time, map.to_unix(capture_time)));
                    }
                    machine.run(every * 1_000_000 / 5);
                }
                prop_assert_eq!(map.observe(machine.sample()), None);
            }
        }
        prop_assert!(given.is_sorted_by(|a, b| a.1 < b.1));
        let recent = given.len().saturating_sub(200);
        for &(capture_time, stamp) in &given[recent..] {
            prop_assert_eq!(map.to_unix(capture_time), stamp);
        }
    }
}

#[test]
fn clock_observed_step_is_in_the_snapshot_and_old_captures_keep_their_time() {
    let sample = |mono: u64, unix: u64| ClockSample {
        before: MonoNs(mono),
        unix: UnixNs(unix),
        after: MonoNs(mono),
    };
    let clock = Clock::new(sample(SECOND, START_UNIX));
    assert_eq!(clock.observe(sample(2 * SECOND, START_UNIX + SECOND)), None);
    let before = clock.unix(MonoNs(2 * SECOND));
    let step = clock
        .observe(sample(3 * SECOND, START_UNIX + 2 * SECOND + HOUR))
        .expect("an hour is a step");
    assert!((step.seconds - 3_600.0).abs() < 1e-6, "{step:?}");
    assert_eq!(clock.unix(MonoNs(2 * SECOND)), before);
    assert_eq!(clock.unix(step.at).0, START_UNIX + 2 * SECOND + HOUR);
    let snapshot = clock.snapshot();
    assert_eq!((snapshot.steps, snapshot.last_step), (1, Some(step)));
    assert_eq!(snapshot.offset_ns, clock.offset_ns());
}
