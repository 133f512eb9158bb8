//! Fuzzed: metadata that no correct worker writes. Numbers and times only grow, and every jump of
//! the numbers is accounted for.

use super::sequencer::{SequencedMeta, Sequencer};
use crate::fuzz::Input;
use crate::ipc::ring::MAX_SEQUENCE;
use crate::media::{Losses, MonoNs, PacketMeta, Shape};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(20);

/// The input is a row of records, as differences from the last one: large differences are rare in
/// it, small ones matter.
pub fn labels(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut sequencer = Sequencer::default();
    let (mut generation, mut sequence, mut at) = (1, 1_000, MonoNs(1 << 40));
    let mut losses = Losses::default();
    let mut last: Option<SequencedMeta> = None;
    while !input.is_empty() {
        let flags = input.u8();
        let paused = flags & 1 != 0;
        if paused {
            sequencer.pause();
        }
        generation = if flags & 2 != 0 {
            generation + 1
        } else if flags & 4 != 0 {
            input.word() as u32
        } else {
            generation
        };
        sequence = if flags & 8 != 0 {
            input.word()
        } else {
            u64::wrapping_add(sequence, 1)
        } & MAX_SEQUENCE;
        at = if flags & 16 != 0 {
            MonoNs(input.word() >> 1)
        } else {
            at + INTERVAL
        };
        if flags & 32 != 0 {
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
        let sequenced = sequencer.accept(&meta, INTERVAL, at);
        if let Some(last) = last {
            assert!(
                sequenced.sequence > last.sequence && sequenced.capture_time > last.capture_time
            );
            let counted: u64 = sequenced
                .losses
                .since(&last.losses)
                .iter()
                .filter_map(|gap| gap.count)
                .sum();
            if !paused && sequenced.plausible {
                assert_eq!(sequenced.sequence - last.sequence, 1 + counted);
            }
        }
        last = Some(sequenced);
        generation = generation.min(u32::MAX - 1);
    }
}
