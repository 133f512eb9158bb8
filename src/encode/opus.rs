//! Opus from a microphone's chunks, of any rate and length: packets of 20 ms at 48 kHz, each with
//! the capture time of the audio that it decodes to.

use super::{AudioEncodeError, AudioEncoder, AudioPackets};
use crate::media::frame::AudioChunk;
use crate::media::resample::{ResampleError, Resampler};
use crate::media::{MonoNs, OPUS_PACKET};
use opus::{Application, Bitrate, Channels, Encoder};

/// The clock of Opus in RTP (RFC 7587, section 4.1).
pub const RATE_HZ: u32 = 48_000;
/// Sample frames in a packet.
const PACKET_FRAMES: usize = (RATE_HZ as u64 * OPUS_PACKET.as_millis() as u64 / 1000) as usize;
/// The largest packet that RFC 6716, section 3.2.1 allows for one frame, and its first byte.
const MAX_PACKET: usize = 1276;
/// Per channel. Full band, transparent for speech and good for music.
const BPS_PER_CHANNEL: i32 = 64_000;

/// Why audio was not encoded as Opus.
#[derive(Debug, thiserror::Error)]
pub enum OpusError {
    #[error("this audio cannot be encoded as Opus: {0}")]
    Resample(#[from] ResampleError),
    #[error("audio of {0} channels cannot be encoded as Opus")]
    Channels(u16),
    #[error("libopus failed: {0}")]
    Library(#[from] opus::Error),
}

/// Holds a libopus encoder only between the first chunk and [`reset`](AudioEncoder::reset).
#[derive(Default)]
pub struct OpusEncoder(Option<Box<Running>>);

struct Running {
    from: (u32, u16),
    encoder: Encoder,
    resampler: Option<Resampler>,
    /// 48 kHz, interleaved: samples that do not fill a packet yet.
    waiting: Vec<i16>,
    /// A decoder's output is this many sample frames behind the encoder's input (RFC 7845:
    /// pre-skip).
    lookahead: u64,
    packet: [u8; MAX_PACKET],
}

impl AudioEncoder for OpusEncoder {
    /// Each packet has the capture time of the first sample that a decoder makes of it. Audio
    /// before a gap that fills no packet is lost with the gap: less than 20 ms.
    fn encode(
        &mut self,
        chunk: &AudioChunk<'_>,
        packets: &mut AudioPackets,
    ) -> Result<(), AudioEncodeError> {
        let from = (chunk.rate_hz, chunk.channels);
        let running = match &mut self.0 {
            Some(running) if running.from == from => running,
            other => other.insert(Box::new(Running::new(from)?)),
        };
        let encoded = running.encode(chunk, packets);
        if encoded.is_err() {
            self.0 = None;
        }
        Ok(encoded?)
    }

    fn format(&self, chunk: &AudioChunk<'_>) -> (u32, u16) {
        (RATE_HZ, chunk.channels)
    }

    fn reset(&mut self) {
        self.0 = None;
    }
}

impl Running {
    fn new((rate_hz, channels): (u32, u16)) -> Result<Self, OpusError> {
        let layout = match channels {
            1 => Channels::Mono,
            2 => Channels::Stereo,
            more => return Err(OpusError::Channels(more)),
        };
        let mut encoder = Encoder::new(RATE_HZ, layout, Application::Audio)?;
        encoder.set_bitrate(Bitrate::Bits(BPS_PER_CHANNEL * i32::from(channels)))?;
        encoder.set_inband_fec(true)?;
        Ok(Self {
            from: (rate_hz, channels),
            lookahead: encoder.get_lookahead()?.max(0) as u64,
            encoder,
            resampler: (rate_hz != RATE_HZ)
                .then(|| Resampler::new(rate_hz, RATE_HZ, channels))
                .transpose()?,
            waiting: Vec::new(),
            packet: [0; MAX_PACKET],
        })
    }

    fn encode(
        &mut self,
        chunk: &AudioChunk<'_>,
        packets: &mut AudioPackets,
    ) -> Result<(), OpusError> {
        if chunk.after_xrun {
            self.waiting.clear();
            self.resampler.iter_mut().for_each(Resampler::reset);
        }
        let channels = usize::from(self.from.1);
        let before = self.waiting.len();
        let offset_ns = match &mut self.resampler {
            Some(resampler) => resampler.process(chunk.samples, &mut self.waiting),
            None => {
                self.waiting.extend_from_slice(chunk.samples);
                0
            }
        };
        // Counted back from the newest chunk's stamp, so that the packets follow the device's
        // clock.
        let added = MonoNs(chunk.first_sample.0.saturating_add_signed(offset_ns));
        let mut first = back(added, (before / channels) as u64 + self.lookahead);
        let packet_len = PACKET_FRAMES * channels;
        let whole = self.waiting.len() / packet_len * packet_len;
        for samples in self.waiting[..whole].chunks_exact(packet_len) {
            let length = self.encoder.encode(samples, &mut self.packet)?;
            packets.push(first, self.packet[..length].iter().copied());
            first = first + OPUS_PACKET;
        }
        self.waiting.drain(..whole);
        Ok(())
    }
}

/// `frames` sample frames before `at`.
fn back(at: MonoNs, frames: u64) -> MonoNs {
    MonoNs(at.0.saturating_sub(frames * 1_000_000_000 / u64::from(RATE_HZ)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 5_000_000_000;

    /// Audio of `seconds` in chunks of `chunk` sample frames: silence, then from 1 s after
    /// [`START`] on a tone.
    fn packets(rate_hz: u32, channels: u16, chunk: usize, seconds: u32) -> Vec<(MonoNs, Vec<u8>)> {
        let mut encoder = OpusEncoder::default();
        let mut packets = Vec::new();
        let tone = |n: u64| {
            ((n as f64 * 1000.0 * std::f64::consts::TAU / f64::from(rate_hz)).sin() * 12_000.0)
                as i16
        };
        let sample = |n: u64| if n < u64::from(rate_hz) { 0 } else { tone(n) };
        let frames: Vec<u64> = (0..u64::from(rate_hz * seconds)).collect();
        for part in frames.chunks(chunk) {
            let samples: Vec<i16> = part
                .iter()
                .flat_map(|&n| std::iter::repeat_n(sample(n), usize::from(channels)))
                .collect();
            let first_sample = MonoNs(START + part[0] * 1_000_000_000 / u64::from(rate_hz));
            let chunk = AudioChunk {
                samples: &samples,
                channels,
                rate_hz,
                first_sample,
                after_xrun: false,
            };
            let mut made = AudioPackets::default();
            encoder.encode(&chunk, &mut made).expect("it encodes");
            packets.extend(made.iter().map(|(at, packet)| (at, packet.to_vec())));
        }
        packets
    }

    #[test]
    fn opus_packet_has_the_capture_time_of_the_audio_it_decodes_to() {
        for (rate_hz, channels, chunk) in [
            (48_000, 1, 960),
            (48_000, 2, 480),
            (44_100, 1, 882),
            (16_000, 2, 333),
        ] {
            let packets = packets(rate_hz, channels, chunk, 2);
            let layout = if channels == 1 {
                Channels::Mono
            } else {
                Channels::Stereo
            };
            let mut decoder = opus::Decoder::new(RATE_HZ, layout).expect("there is a decoder");
            let mut onset = None;
            for (at, packet) in &packets {
                let mut samples = vec![0; PACKET_FRAMES * usize::from(channels)];
                assert_eq!(
                    decoder
                        .decode(packet, &mut samples, false)
                        .expect("it decodes"),
                    PACKET_FRAMES
                );
                let loud = samples
                    .chunks(usize::from(channels))
                    .position(|frame| frame[0].unsigned_abs() > 3_000);
                onset =
                    onset.or(loud.map(|n| at.0 + n as u64 * 1_000_000_000 / u64::from(RATE_HZ)));
            }
            // A decoder smears an onset by a fraction of a millisecond.
            let late_ms =
                (onset.expect("there is a tone") as f64 - (START + 1_000_000_000) as f64) / 1e6;
            assert!(
                (-1.0..1.0).contains(&late_ms),
                "{rate_hz} Hz, {channels} channels: {late_ms} ms"
            );
        }
    }

    #[test]
    fn packets_are_20_ms_apart_whatever_the_chunks() {
        for (rate_hz, chunk) in [(48_000, 960), (48_000, 1_000), (44_100, 441), (8_000, 77)] {
            let packets = packets(rate_hz, 1, chunk, 2);
            assert!(packets.len() >= 97, "{} packets", packets.len());
            let apart = packets
                .windows(2)
                .map(|w| w[1].0.since(w[0].0).as_nanos() as i64 - 20_000_000);
            assert!(
                apart.into_iter().all(|off| off.abs() < 2_000),
                "{rate_hz} Hz in {chunk}"
            );
        }
    }

    #[test]
    fn after_a_gap_the_packets_begin_anew() {
        let mut encoder = OpusEncoder::default();
        let samples = [0i16; 1_000];
        let mut stamps = Vec::new();
        for (start, after_xrun) in [(START, false), (START + 3_000_000_000, true)] {
            let chunk = AudioChunk {
                samples: &samples,
                channels: 1,
                rate_hz: 48_000,
                first_sample: MonoNs(start),
                after_xrun,
            };
            let mut made = AudioPackets::default();
            encoder.encode(&chunk, &mut made).expect("it encodes");
            stamps.extend(made.iter().map(|(at, _)| at));
        }
        assert_eq!(stamps.len(), 2);
        assert_eq!(stamps[1].since(stamps[0]).as_secs_f64(), 3.0);
    }
}
