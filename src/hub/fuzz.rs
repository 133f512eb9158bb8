//! Fuzzed: labels that no honest worker writes. Numbers and times only grow, and every jump in the numbers is accounted for.

use super::sequencer::{Accepted, Intake};
use crate::fuzz::Input;
use crate::ipc::ring::MAX_SEQUENCE;
use crate::media::{Losses, MonoNs, PacketMeta, Shape};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(20);

/// The input is a row of labels, as differences from the last one: large ones are rare in it, small ones are what decides.
pub fn labels(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut intake = Intake::default();
    let (mut generation, mut sequence, mut at) = (1, 1_000, MonoNs(1 << 40));
    let mut losses = Losses::default();
    let mut last: Option<Accepted> = None;
    while !input.is_empty() {
        let what = input.u8();
        let paused = what & 1 != 0;
        if paused {
            intake.pause();
        }
        generation = if what & 2 != 0 {
            generation + 1
        } else if what & 4 != 0 {
            input.word() as u32
        } else {
            generation
        };
        sequence = if what & 8 != 0 {
            input.word()
        } else {
            u64::wrapping_add(sequence, 1)
        } & MAX_SEQUENCE;
        at = if what & 16 != 0 {
            MonoNs(input.word() >> 1)
        } else {
            at + INTERVAL
        };
        if what & 32 != 0 {
            let mut lost = || input.word() as u32;
            losses = Losses {
                driver: lost(),
                corrupt: lost(),
                encoder: lost(),
                xrun: lost(),
                source_away: lost(),
            };
        }
        let meta = PacketMeta {
            generation,
            sequence,
            capture_time: at,
            shape: Shape::Video {
                width: 1,
                height: 1,
            },
            keyframe: true,
            losses,
        };
        let accepted = intake.accept(&meta, INTERVAL, at);
        if let Some(last) = last {
            assert!(accepted.sequence > last.sequence && accepted.capture_time > last.capture_time);
            let counted: u64 = accepted
                .missing
                .since(&last.missing)
                .iter()
                .filter_map(|gap| gap.count)
                .sum();
            if !paused && accepted.plausible {
                assert_eq!(accepted.sequence - last.sequence, 1 + counted);
            }
        }
        last = Some(accepted);
        generation = generation.min(u32::MAX - 1);
    }
}
