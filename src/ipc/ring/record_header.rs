//! The record header: a packet's [`PacketMeta`] as the words of a slot, and back with every value
//! checked.

use crate::media::{Losses, MonoNs, PacketMeta, Shape};

/// Words of a record header.
pub const LABEL_WORDS: usize = 6;

const KEYFRAME: u64 = 1;
const AUDIO: u64 = 2;
const FLAGS: u64 = KEYFRAME | AUDIO;
/// Sequence numbers stay exact in JSON: at most 2^53 - 1. At a thousand packets a second: 285,000
/// years.
pub const MAX_SEQUENCE: u64 = (1 << 53) - 1;
const MAX_RATE_HZ: u32 = 768_000;
const MAX_CHANNELS: u16 = 32;
/// The low bits of an audio shape hold the channels, the others the sample rate.
const CHANNEL_BITS: u32 = 8;

pub fn encode(meta: &PacketMeta) -> [u64; LABEL_WORDS] {
    let (kind, shape) = match meta.shape {
        Shape::Video { width, height } => (0, u32::from(width) << 16 | u32::from(height)),
        Shape::Audio { rate_hz, channels } => {
            (AUDIO, rate_hz << CHANNEL_BITS | u32::from(channels))
        }
    };
    let flags = kind | if meta.keyframe { KEYFRAME } else { 0 };
    [
        meta.sequence,
        meta.capture_time.0,
        u64::from(meta.generation) << 32 | flags,
        pair(shape, meta.losses.encoder),
        pair(meta.losses.driver, meta.losses.corrupt),
        pair(meta.losses.xrun, meta.losses.source_away),
    ]
}

/// The metadata that `words` hold.
///
/// # Errors
/// What is wrong with them.
pub fn decode(words: [u64; LABEL_WORDS]) -> Result<PacketMeta, &'static str> {
    let [sequence, capture_time, generation, shape, packets, absences] = words;
    if sequence > MAX_SEQUENCE {
        return Err("its sequence number is out of range");
    }
    if capture_time > i64::MAX as u64 {
        return Err("its capture time is out of range");
    }
    let (generation, flags) = unpair(generation);
    let flags = u64::from(flags);
    if flags & !FLAGS != 0 {
        return Err("it has unknown flags");
    }
    let (shape, encoder) = unpair(shape);
    let (driver, corrupt) = unpair(packets);
    let (xrun, source_away) = unpair(absences);
    Ok(PacketMeta {
        generation,
        sequence,
        capture_time: MonoNs(capture_time),
        shape: if flags & AUDIO == 0 {
            video(shape)?
        } else {
            audio(shape)?
        },
        keyframe: flags & KEYFRAME != 0,
        losses: Losses {
            driver,
            corrupt,
            encoder,
            xrun,
            source_away,
        },
    })
}

fn video(shape: u32) -> Result<Shape, &'static str> {
    match ((shape >> 16) as u16, shape as u16) {
        (width @ 1.., height @ 1..) => Ok(Shape::Video { width, height }),
        _ => Err("its frame size is out of range"),
    }
}

fn audio(shape: u32) -> Result<Shape, &'static str> {
    let channels = (shape & ((1 << CHANNEL_BITS) - 1)) as u16;
    match (shape >> CHANNEL_BITS, channels) {
        (rate_hz @ 1..=MAX_RATE_HZ, channels @ 1..=MAX_CHANNELS) => {
            Ok(Shape::Audio { rate_hz, channels })
        }
        _ => Err("its sample rate or channel count is out of range"),
    }
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn unpair(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
