//! The sequencer's rules as tables and properties.

use super::*;
use crate::hub::tests::{AUDIO, FRAME, INTERVAL, MS, meta, outage, packets};
use crate::media::Gap;
use proptest::prelude::*;

/// The gaps that a source's losses make between two records.
fn gaps_between(first: PacketMeta, second: PacketMeta) -> Vec<Gap> {
    let mut sequencer = Sequencer::default();
    let now = MonoNs(u64::MAX / 2);
    let before = sequencer.accept(&first, INTERVAL, now);
    let after = sequencer.accept(&second, INTERVAL, now);
    assert!(after.plausible, "{second:?}");
    after.losses.since(&before.losses)
}

#[test]
fn sequencer_jump_is_attributed_to_the_losses_and_the_rest_to_the_ring() {
    let first = meta(10, FRAME);
    assert_eq!(gaps_between(first, meta(11, FRAME)), []);
    assert_eq!(
        gaps_between(first, meta(14, FRAME)),
        [packets(Cause::Ring, 3, 80)]
    );
    let mut second = meta(21, FRAME);
    second.losses = Losses {
        driver: 2,
        corrupt: 1,
        encoder: 4,
        ..Losses::default()
    };
    assert_eq!(
        gaps_between(first, second),
        [
            packets(Cause::Driver, 2, 220),
            packets(Cause::Corrupt, 1, 220),
            packets(Cause::Encoder, 4, 220),
            packets(Cause::Ring, 3, 220)
        ]
    );
}

#[test]
fn sequencer_outage_has_seconds_and_no_count() {
    let first = meta(10, AUDIO);
    let mut second = meta(11, AUDIO);
    second.capture_time = second.capture_time + Duration::from_millis(300);
    second.losses.xrun = 1;
    assert_eq!(gaps_between(first, second), [outage(Cause::Xrun, 0.3, 320)]);
    second.losses = Losses {
        source_away: 1,
        ..Losses::default()
    };
    assert_eq!(
        gaps_between(first, second),
        [outage(Cause::SourceAway, 0.3, 320)]
    );
}

#[test]
fn sequencer_restart_without_loss_is_not_a_gap() {
    let first = meta(10, AUDIO);
    let second = PacketMeta {
        generation: 2,
        ..meta(11, AUDIO)
    };
    assert_eq!(gaps_between(first, second), []);
}

#[test]
fn sequencer_restart_restarts_the_loss_counts_and_names_unread_packets() {
    let mut first = meta(10, FRAME);
    first.losses.driver = 500;
    let mut second = meta(15, FRAME);
    second.generation = 2;
    second.losses.driver = 1;
    second.capture_time = second.capture_time + Duration::from_secs(2);
    let gaps = gaps_between(first, second);
    assert_eq!(
        gaps,
        [
            packets(Cause::Driver, 1, 2_100),
            packets(Cause::WorkerRestarted, 3, 2_100),
            outage(Cause::WorkerRestarted, 2.0, 2_100)
        ]
    );
}

/// It was killed between handing them over and noting their numbers.
#[test]
fn sequencer_numbers_repeated_after_a_kill_are_continued() {
    let mut sequencer = Sequencer::default();
    let mut accept = |generation, sequence, at_ms: u64| {
        let meta = PacketMeta {
            generation,
            capture_time: MonoNs(at_ms * 1_000_000),
            ..meta(sequence, FRAME)
        };
        let accepted = sequencer.accept(&meta, INTERVAL, meta.capture_time);
        (accepted.sequence, accepted.plausible)
    };
    assert_eq!(accept(1, 7, 1000), (7, true));
    assert_eq!(accept(1, 8, 1100), (8, true));
    // Two numbers again; what follows them stays in step.
    assert_eq!(accept(2, 7, 1500), (9, true));
    assert_eq!(accept(2, 8, 1600), (10, true));
    assert_eq!(
        accept(3, 9, 2000),
        (11, true),
        "the next generation begins where it should"
    );
    assert_eq!(
        accept(3, 9, 2100),
        (12, false),
        "within one generation no number is repeated"
    );
}

/// The worker was killed between a packet and its note, and nobody watched when the next one began.
#[test]
fn sequencer_numbers_repeated_after_a_pause_are_continued() {
    let mut sequencer = Sequencer::default();
    let now = MonoNs(u64::MAX / 2);
    let before = sequencer.accept(&meta(8, FRAME), INTERVAL, now);
    sequencer.pause();
    let again = PacketMeta {
        generation: 2,
        capture_time: MonoNs(2_000 * MS),
        ..meta(8, FRAME)
    };
    let after = sequencer.accept(&again, INTERVAL, now);
    assert_eq!(
        (after.sequence, after.plausible, &after.losses),
        (9, true, &before.losses)
    );
    let next = PacketMeta {
        sequence: 9,
        capture_time: MonoNs(2_100 * MS),
        ..again
    };
    let next = sequencer.accept(&next, INTERVAL, now);
    assert_eq!(
        (next.sequence, next.plausible, &next.losses),
        (10, true, &before.losses)
    );
    // The same generation cannot use a number twice, paused or not.
    sequencer.pause();
    let same = PacketMeta {
        sequence: 9,
        capture_time: MonoNs(2_200 * MS),
        ..again
    };
    let same = sequencer.accept(&same, INTERVAL, now);
    assert_eq!((same.sequence, same.plausible), (11, false));
}

/// Found by the fuzzer: the difference to the worker's numbers is negative here, and the sum with a
/// small number wrapped around.
#[test]
fn sequencer_number_that_falls_after_a_pause_is_renumbered() {
    let mut sequencer = Sequencer::default();
    let mut accept = |sequence, at_ms: u64, pause: bool| {
        if pause {
            sequencer.pause();
        }
        let meta = PacketMeta {
            capture_time: MonoNs(at_ms * MS),
            ..meta(sequence, FRAME)
        };
        let accepted = sequencer.accept(&meta, INTERVAL, meta.capture_time);
        (accepted.sequence, accepted.plausible)
    };
    assert_eq!(accept(1_000, 1_000, false), (1_000, true));
    assert_eq!(accept(1 << 30, 1_100, false), (1_001, false));
    assert_eq!(accept(5, 1_200, true), (1_002, false));
    assert_eq!(accept(6, 1_300, false), (1_003, true));
}

#[test]
fn sequencer_implausible_record_is_renumbered() {
    let now = MonoNs(10_000 * MS);
    let good = meta(10, FRAME);
    let mut backwards = meta(3, FRAME);
    backwards.capture_time = MonoNs(300 * MS);
    let mut far = meta(10_000_000_000, FRAME);
    far.capture_time = MonoNs(320 * MS);
    let mut older_life = meta(11, FRAME);
    older_life.generation = 0;
    let mut fewer_losses = meta(11, FRAME);
    let mut lossy = good;
    lossy.losses.driver = 5;
    fewer_losses.losses.driver = 4;
    for (first, bad) in [
        (good, backwards),
        (good, far),
        (good, older_life),
        (lossy, fewer_losses),
        (good, good),
    ] {
        let mut sequencer = Sequencer::default();
        let before = sequencer.accept(&first, INTERVAL, now);
        let after = sequencer.accept(&bad, INTERVAL, now);
        assert!(!after.plausible, "{bad:?}");
        assert_eq!(after.sequence, before.sequence + 1);
        let gaps = after.losses.since(&before.losses);
        assert!(
            matches!(
                gaps[..],
                [Gap {
                    cause: Cause::Corrupt,
                    count: None,
                    seconds: Some(_),
                    span_seconds: Some(_)
                }]
            ),
            "{gaps:?}"
        );
        let mut next = bad;
        next.sequence += 2;
        let next = sequencer.accept(&next, INTERVAL, now);
        assert!(
            next.plausible,
            "the worker's numbers go on from where they are"
        );
        assert_eq!(next.sequence, after.sequence + 2);
    }
}

#[test]
fn sequencer_losses_during_a_pause_are_not_a_gap() {
    let mut sequencer = Sequencer::default();
    let now = MonoNs(u64::MAX / 2);
    let before = sequencer.accept(&meta(0, FRAME), INTERVAL, now);
    sequencer.pause();
    let after = sequencer.accept(&meta(50, FRAME), INTERVAL, now);
    assert_eq!((after.sequence, after.losses), (50, before.losses));
}

/// A record's generation, sequence, capture time, losses, and whether nobody read before it.
type Record = (u8, u64, u64, (u32, u32, u32, u32, u32), bool);

proptest! {
    /// Whatever a compromised worker writes.
    #[test]
    fn sequencer_numbers_and_times_only_grow(
        records in prop::collection::vec(any::<Record>(), 1..40),
        now: u64,
    ) {
        let now = MonoNs(now / 2);
        let mut sequencer = Sequencer::default();
        let mut last: Option<SequencedMeta> = None;
        for (generation, sequence, capture_time, losses, pause) in records {
            let (driver, corrupt, encoder, xrun, source_away) = losses;
            let meta = PacketMeta {
                generation: generation.into(),
                sequence: sequence >> 11,
                capture_time: MonoNs(capture_time),
                shape: FRAME,
                keyframe: true,
                losses: Losses { driver, corrupt, encoder, xrun, source_away },
            };
            if pause {
                sequencer.pause();
            }
            let accepted = sequencer.accept(&meta, INTERVAL, now);
            if let Some(last) = last {
                prop_assert!(accepted.sequence > last.sequence);
                prop_assert!(accepted.capture_time > last.capture_time);
                let gaps = accepted.losses.since(&last.losses);
                let counted: u64 = gaps.iter().filter_map(|gap| gap.count).sum();
                if !pause && accepted.plausible {
                    prop_assert_eq!(accepted.sequence - last.sequence, 1 + counted);
                }
            }
            last = Some(accepted);
        }
    }
}
