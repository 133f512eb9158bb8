//! The fit against simulated devices whose true capture times are known.

use super::*;

const RATE: u32 = 48_000;
const PACKET: u64 = 960;
const MS: f64 = 1e6;

/// xorshift64*: the same sequence at every run.
struct Random(u64);

impl Random {
    /// 0 to 1.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// A sound card whose sample clock is `ppm` fast, and a host that reads its position every 10 ms.
struct Card {
    start_ns: f64,
    ppm: f64,
    /// The step of the device's pointer (snd-aloop: a jiffy, 4 ms; USB: a transfer).
    tick_ns: f64,
    /// Mean delay of an interrupt.
    jitter_ns: f64,
    /// (n, delay): one wake-up in n is late, by up to the delay.
    late: (f64, f64),
    random: Random,
    next_ns: f64,
    /// Audio that the device lost without a report: (from device time, length).
    lost: Option<(f64, f64)>,
}

impl Card {
    fn new(ppm: f64) -> Self {
        Self {
            start_ns: 7e12,
            ppm,
            tick_ns: 1.0,
            jitter_ns: 0.05 * MS,
            late: (100.0, 30.0 * MS),
            random: Random(42),
            next_ns: 0.0,
            lost: None,
        }
    }

    fn aloop(ppm: f64) -> Self {
        Self {
            tick_ns: 4.0 * MS,
            ..Self::new(ppm)
        }
    }

    fn usb(ppm: f64) -> Self {
        Self {
            tick_ns: 6.0 * MS,
            jitter_ns: 0.2 * MS,
            ..Self::new(ppm)
        }
    }

    fn frame_ns(&self) -> f64 {
        1e9 / (f64::from(RATE) * (1.0 + self.ppm * 1e-6))
    }

    /// Since the start of the device.
    fn true_ns(&self, frame: f64) -> f64 {
        let plain = frame * self.frame_ns();
        match self.lost {
            Some((from, length)) if plain > from => plain + length,
            _ => plain,
        }
    }

    fn frames_at(&self, at_ns: f64) -> u64 {
        let ticked = (at_ns / self.tick_ns).floor() * self.tick_ns;
        let running = match self.lost {
            Some((from, length)) if ticked > from => (ticked - length).max(from),
            _ => ticked,
        };
        (running / self.frame_ns()) as u64
    }

    /// The next observation: frames so far, and when that was read.
    fn observation(&mut self) -> (u64, MonoNs, f64) {
        self.next_ns += 10.0 * MS;
        let mut at_ns = self.next_ns + self.random.exponential(self.jitter_ns);
        if self.random.unit() < 1.0 / self.late.0 {
            at_ns += self.random.unit() * self.late.1;
        }
        (
            self.frames_at(self.next_ns),
            MonoNs((self.start_ns + at_ns) as u64),
            at_ns,
        )
    }
}

/// The result of a run.
#[derive(Debug, Default)]
struct Found {
    packets: u64,
    /// Largest error of a stamp after 5 s, and at any time.
    worst_settled_ns: f64,
    worst_ns: f64,
    /// Largest difference between a packet's stamp plus its nominal length and the next one's
    /// stamp.
    worst_seam_ns: f64,
}

/// Runs `card` for `seconds`, stamping packets as soon as they are complete. Ends early at a gap,
/// which it returns.
fn run(fit: &mut SampleClock, card: &mut Card, seconds: f64) -> (Found, Option<f64>) {
    let mut found = Found::default();
    let (mut next_packet, mut last) = (0u64, None::<MonoNs>);
    while card.next_ns < seconds * 1e9 {
        let (frames, at, at_ns) = card.observation();
        if let Continuity::Gap { resume } = fit.observe(frames, at) {
            assert!(
                card.true_ns(resume as f64) + 30.0 * MS > at_ns - 0.3e9,
                "the audio of the last 0.2 s is kept"
            );
            return (found, Some(at_ns));
        }
        while fit.may_stamp() && (next_packet + 1) * PACKET <= frames {
            let first = next_packet * PACKET;
            let Stamp { at: stamp, jumped } = fit.stamp(first as f64).expect("stamps increase");
            assert!(!jumped);
            let error_ns = (stamp.0 as f64 - card.start_ns - card.true_ns(first as f64)).abs();
            found.worst_ns = found.worst_ns.max(error_ns);
            if first > 5 * u64::from(RATE) {
                found.worst_settled_ns = found.worst_settled_ns.max(error_ns);
            }
            if let Some(last) = last {
                let seam_ns = (stamp.0 as f64 - last.0 as f64 - 20.0 * MS).abs();
                found.worst_seam_ns = found.worst_seam_ns.max(seam_ns);
            }
            last = Some(stamp);
            next_packet += 1;
            found.packets += 1;
        }
    }
    (found, None)
}

fn stamped(fit: &mut SampleClock, frame: f64) -> u64 {
    fit.stamp(frame).expect("stamps increase").at.0
}

fn check_an_hour(mut card: Card, what: &str) {
    let mut fit = SampleClock::new(RATE);
    let (found, gap) = run(&mut fit, &mut card, 3600.0);
    println!(
        "{what}, {:+} ppm: {found:?}, drift {:?}, ±{:?} ns",
        card.ppm,
        fit.drift_ppm(),
        fit.uncertainty_ns()
    );
    assert_eq!(gap, None, "{what}");
    assert!(found.packets > 179_900, "{what}: {} packets", found.packets);
    assert!(
        found.worst_ns < 5.0 * MS,
        "{what}: the first packets are within a few ms: {found:?}"
    );
    assert!(found.worst_settled_ns < MS, "{what}: {found:?}");
    assert!(found.worst_seam_ns < 0.1 * MS, "{what}: {found:?}");
    let drift = fit.drift_ppm().unwrap();
    assert!(
        (drift - card.ppm).abs() < 2.0,
        "{what}: drift {drift} for {}",
        card.ppm
    );
    assert!(fit.uncertainty_ns().unwrap() < 1_000_000);
}

#[test]
fn sample_clock_hour_of_drift_stays_within_a_millisecond() {
    for ppm in [-100.0, 0.0, 100.0, 400.0] {
        check_an_hour(Card::new(ppm), "exact device");
        check_an_hour(Card::aloop(ppm), "4 ms ticks");
        check_an_hour(Card::usb(ppm), "6 ms transfers");
    }
}

#[test]
fn sample_clock_day_loses_no_precision() {
    let (mut card, mut fit) = (Card::aloop(100.0), SampleClock::new(RATE));
    let (found, gap) = run(&mut fit, &mut card, 86_400.0);
    assert_eq!(gap, None);
    assert!(
        found.worst_settled_ns < MS && found.worst_seam_ns < 0.1 * MS,
        "{found:?}"
    );
    assert!(fit.blocks.len() <= BLOCKS);
}

#[test]
fn sample_clock_late_wake_ups_do_not_move_the_stamps() {
    let card = Card {
        late: (2.0, 60.0 * MS),
        jitter_ns: 0.5 * MS,
        ..Card::new(50.0)
    };
    check_an_hour(card, "every other wake-up late");
}

#[test]
fn sample_clock_ten_busy_seconds_do_not_move_the_stamps() {
    let (mut card, mut fit) = (Card::new(-80.0), SampleClock::new(RATE));
    run(&mut fit, &mut card, 60.0);
    // Every observation of ten seconds 1.5 ms late or more.
    while card.next_ns < 70e9 {
        let (frames, at, _) = card.observation();
        let late = 1.5 * MS + card.random.exponential(5.0 * MS).min(20.0 * MS);
        let continuity = fit.observe(frames, MonoNs(at.0 + late as u64));
        assert!(!matches!(continuity, Continuity::Gap { .. }));
    }
    let frame = card.frames_at(card.next_ns) as f64;
    let error_ns = stamped(&mut fit, frame) as f64 - card.start_ns - card.true_ns(frame);
    assert!(error_ns.abs() < 0.3 * MS, "{error_ns}");
}

#[test]
fn sample_clock_late_start_is_slewed_without_a_jump() {
    // All observations of the first 100 ms are 4 ms late.
    let (mut card, mut fit) = (Card::new(0.0), SampleClock::new(RATE));
    for _ in 0..12 {
        let (frames, at, _) = card.observation();
        fit.observe(frames, MonoNs(at.0 + 4_000_000));
    }
    assert!(fit.may_stamp());
    let first = stamped(&mut fit, 0.0) as f64 - card.start_ns;
    assert!((3.9 * MS..6.0 * MS).contains(&first), "{first}");
    let mut last_ns = first;
    for packet in 1..250u64 {
        let (frames, at, _) = card.observation();
        fit.observe(frames, at);
        let (frames, at, _) = card.observation();
        fit.observe(frames, at);
        let at_ns = stamped(&mut fit, (packet * PACKET) as f64) as f64 - card.start_ns;
        assert!((at_ns - last_ns - 20.0 * MS).abs() < 0.1 * MS);
        last_ns = at_ns;
    }
    assert!((last_ns - 249.0 * 20.0 * MS).abs() < 0.3 * MS, "{last_ns}");
    assert!(fit.uncertainty_ns().unwrap() < 300_000);
}

#[test]
fn sample_clock_unreported_loss_is_a_gap_within_a_second() {
    let mut card = Card {
        lost: Some((20e9, 0.5e9)),
        ..Card::aloop(30.0)
    };
    let mut fit = SampleClock::new(RATE);
    let (found, gap) = run(&mut fit, &mut card, 60.0);
    let at_ns = gap.expect("the gap is detected");
    assert!((20.5e9..21.5e9).contains(&at_ns), "{at_ns}");
    assert!(
        found.worst_settled_ns < MS,
        "no packet after the gap had a stamp from before it: {found:?}"
    );
    assert!(fit.may_stamp(), "the observations since the gap suffice");
    let frame = card.frames_at(card.next_ns) as f64;
    let error_ns = stamped(&mut fit, frame) as f64 - card.start_ns - card.true_ns(frame);
    assert!(error_ns.abs() < MS, "{error_ns}");
}

#[test]
fn sample_clock_line_far_too_late_jumps_and_no_time_is_stamped_twice() {
    // All observations of the first 0.3 s are 120 ms late, as on a host that is too busy.
    let (mut card, mut fit) = (Card::new(0.0), SampleClock::new(RATE));
    for _ in 0..30 {
        let (frames, at, _) = card.observation();
        fit.observe(frames, MonoNs(at.0 + 120_000_000));
    }
    let (mut last, mut refused, mut jumps) = (0, 0, 0);
    for packet in 0..200u64 {
        for _ in 0..2 {
            let (frames, at, _) = card.observation();
            fit.observe(frames, at);
        }
        match fit.may_stamp().then(|| fit.stamp((packet * PACKET) as f64)) {
            Some(Some(stamp)) => {
                assert!(stamp.at.0 > last);
                last = stamp.at.0;
                jumps += u32::from(stamp.jumped);
            }
            Some(None) => refused += 1,
            None => {}
        }
    }
    assert!(refused <= 7, "120 ms are six packets: {refused}");
    assert!(jumps <= 1);
    let error_ns = last as f64 - card.start_ns - card.true_ns((199 * PACKET) as f64);
    assert!(error_ns.abs() < 0.5 * MS, "{error_ns}");
}

#[test]
fn sample_clock_small_slip_is_followed_without_a_jump() {
    let mut card = Card {
        lost: Some((100e9, 6.0 * MS)),
        ..Card::new(30.0)
    };
    let mut fit = SampleClock::new(RATE);
    let (found, gap) = run(&mut fit, &mut card, 200.0);
    assert_eq!(gap, None);
    assert!(found.worst_seam_ns < 0.1 * MS, "{found:?}");
    let frame = card.frames_at(card.next_ns) as f64;
    let error_ns = stamped(&mut fit, frame) as f64 - card.start_ns - card.true_ns(frame);
    assert!(error_ns.abs() < 0.5 * MS, "{error_ns}");
}

#[test]
fn sample_clock_restart_keeps_the_rate_and_stamps_increase() {
    let (mut card, mut fit) = (Card::new(100.0), SampleClock::new(RATE));
    run(&mut fit, &mut card, 30.0);
    let before = stamped(&mut fit, 30.0 * f64::from(RATE));
    fit.restart();
    assert!(!fit.may_stamp(), "the phase is unknown again");
    assert!((fit.drift_ppm().unwrap() - 100.0).abs() < 10.0);
    let mut again = Card {
        start_ns: card.start_ns + 31e9,
        random: Random(7),
        ..Card::new(100.0)
    };
    let (found, gap) = run(&mut fit, &mut again, 5.0);
    assert_eq!(gap, None);
    assert!(
        found.worst_ns < 0.5 * MS,
        "the known rate is used from the first packet on: {found:?}"
    );
    assert!(fit.last_stamp.0 > before);
}

#[test]
fn sample_clock_pause_of_the_reader_changes_nothing() {
    let (mut card, mut fit) = (Card::new(10.0), SampleClock::new(RATE));
    run(&mut fit, &mut card, 20.0);
    card.next_ns += 0.9e9; // The program was stopped; the card and its ring were not.
    let (frames, at, _) = card.observation();
    assert_eq!(fit.observe(frames, at), Continuity::Steady);
}

#[test]
fn sample_clock_random_times_and_counts_do_not_panic() {
    let mut random = Random(3);
    let mut fit = SampleClock::new(RATE);
    for round in 0..20_000u64 {
        let frames = if round % 7 == 0 {
            u64::MAX
        } else {
            (random.unit() * 1e12) as u64
        };
        let at = if round % 11 == 0 {
            u64::MAX
        } else {
            (random.unit() * 1e19) as u64
        };
        let continuity = fit.observe(frames, MonoNs(at));
        if matches!(continuity, Continuity::Gap { .. }) && round % 3 == 0 {
            fit.restart();
        }
        let last = fit.last_stamp;
        assert!(fit.stamp(frames as f64).is_none_or(|stamp| stamp.at > last));
        fit.uncertainty_ns();
        fit.drift_ppm();
    }
}
