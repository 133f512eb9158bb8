//! The generated microphone: a tone at each flash of the test pattern, exact to the sample.

use super::sync_pulse;
use crate::media::frame::AudioChunk;
use crate::media::{MonoNs, Shape, StampMark, StampSource, StreamInfo};
use crate::source::{AudioSource, Source, SourceError};
use std::time::Duration;

const DEVICE: &str = "test tone";
/// The frequency of the tone.
const FREQUENCY_HZ: f64 = 1_000.0;
/// Half of full scale.
const AMPLITUDE: f64 = 16_384.0;
/// Chunks per second where the rate divides evenly; otherwise they are longer by part of a sample.
const CHUNKS: u32 = 50;
/// A reader that is later than this loses audio, as with a sound card's ring of the same length.
const BACKLOG_NS: u64 = 1_000_000_000;

/// Sample n has the instant n / rate of CLOCK_MONOTONIC. There is a tone in the first tenth of each
/// second, and noise of a few units in the rest. Chunks have rate / 50 samples (rounded up) and are
/// delivered when the time of their last sample has passed.
pub struct ToneSource {
    rate_hz: u32,
    channels: u16,
    /// Sample frames in a chunk.
    length: u64,
    /// The number of the next chunk's first sample.
    next: u64,
    /// The samples of one tone.
    tone: Vec<i16>,
    samples: Vec<i16>,
}

impl ToneSource {
    /// `rate_hz` is 8000 to 192000, `channels` 1 or 2.
    ///
    /// # Errors
    /// Other values.
    pub fn open(rate_hz: u32, channels: u16) -> Result<Self, SourceError> {
        Self::with_frequency(rate_hz, channels, FREQUENCY_HZ)
    }

    /// The same with a tone of another frequency, Hz.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_frequency(
        rate_hz: u32,
        channels: u16,
        frequency_hz: f64,
    ) -> Result<Self, SourceError> {
        if !(8_000..=192_000).contains(&rate_hz) || !(1..=2).contains(&channels) {
            let why = format!(
                "{rate_hz} Hz, {channels} channels; it generates 8000 to 192000 Hz and 1 or 2 channels"
            );
            return Err(SourceError::Unsupported {
                device: DEVICE.into(),
                why,
            });
        }
        let length = u64::from(rate_hz.div_ceil(CHUNKS));
        let angle = std::f64::consts::TAU * frequency_hz / f64::from(rate_hz);
        let count = (u64::from(rate_hz) * sync_pulse::ON_NS).div_ceil(sync_pulse::PERIOD_NS);
        let mut source = Self {
            rate_hz,
            channels,
            length,
            next: 0,
            tone: (0..count)
                .map(|n| ((angle * n as f64).sin() * AMPLITUDE).round() as i16)
                .collect(),
            samples: vec![0; length as usize * usize::from(channels)],
        };
        source.next = source.newest(MonoNs::now());
        Ok(source)
    }

    fn instant(&self, sample: u64) -> MonoNs {
        MonoNs((u128::from(sample) * 1_000_000_000 / u128::from(self.rate_hz)) as u64)
    }

    /// The first sample of the chunk that is being captured at `at`.
    fn newest(&self, at: MonoNs) -> u64 {
        let sample = (u128::from(at.0) * u128::from(self.rate_hz) / 1_000_000_000) as u64;
        sample / self.length * self.length
    }

    fn fill(&mut self, first: u64) {
        for (n, frame) in (first..).zip(self.samples.chunks_exact_mut(usize::from(self.channels))) {
            let in_second = (n % u64::from(self.rate_hz)) as usize;
            frame.fill(
                self.tone
                    .get(in_second)
                    .copied()
                    .unwrap_or_else(|| noise(n)),
            );
        }
    }
}

/// Noise of -3 to 4 units, at most -78 dB, like a microphone in a quiet room, so that it differs
/// from a stream without signal.
fn noise(n: u64) -> i16 {
    (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61) as i16 - 3
}

impl Source for ToneSource {
    fn info(&self) -> StreamInfo {
        StreamInfo {
            device: DEVICE.into(),
            device_format: "S16_LE".into(),
            shape: Shape::Audio {
                rate_hz: self.rate_hz,
                channels: self.channels,
            },
            fps: None,
            stamp_marks: StampMark::FirstSample,
            stamp_source: StampSource::Generator,
            stamp_clock: "CLOCK_MONOTONIC".into(),
            uncertainty_ns: Some(0),
            drift_ppm: Some(0.0),
        }
    }
}

impl AudioSource for ToneSource {
    fn next_chunk(&mut self, timeout: Duration) -> Result<Option<AudioChunk<'_>>, SourceError> {
        let start = MonoNs::now();
        let after_xrun = start
            .0
            .saturating_sub(self.instant(self.next + self.length).0)
            > BACKLOG_NS;
        if after_xrun {
            self.next = self.newest(start);
        }
        self.fill(self.next);
        if !sync_pulse::wait(self.instant(self.next + self.length), start + timeout) {
            return Ok(None);
        }
        let first = self.next;
        self.next += self.length;
        Ok(Some(AudioChunk {
            channels: self.channels,
            rate_hz: self.rate_hz,
            first_sample: self.instant(first),
            after_xrun,
            samples: &self.samples,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tone_source_tone_begins_with_the_second_and_lasts_a_tenth() {
        for (rate, channels) in [
            (48_000u32, 1u16),
            (48_000, 2),
            (44_100, 2),
            (16_000, 1),
            (11_025, 1),
        ] {
            let mut source = ToneSource::open(rate, channels).unwrap();
            let mut samples = Vec::new();
            let start = source.newest(MonoNs(1_234_900_000_000));
            while samples.len() < rate as usize * 3 / 2 {
                source.fill(start + samples.len() as u64);
                samples.extend(source.samples.chunks(usize::from(channels)).map(|f| {
                    assert!(f.iter().all(|s| s == &f[0]));
                    f[0]
                }));
            }
            for (n, &s) in (start..).zip(&samples) {
                let at = n as f64 / f64::from(rate) % 1.0;
                let expected = (std::f64::consts::TAU * 1_000.0 * at).sin() * 16_384.0;
                if sync_pulse::is_on(source.instant(n)) || n % u64::from(rate) == 0 {
                    assert!(
                        (f64::from(s) - expected).abs() <= 1.0,
                        "{rate} Hz, sample {n}: {s}, not {expected}"
                    );
                } else {
                    assert!(s.abs() <= 4);
                }
            }
        }
    }

    #[test]
    fn tone_source_chunks_have_20_ms_and_are_continuous() {
        let mut source = ToneSource::open(48_000, 2).unwrap();
        let mut next = None;
        for _ in 0..10 {
            let chunk = source
                .next_chunk(Duration::from_secs(1))
                .unwrap()
                .expect("a chunk within a second");
            assert_eq!(chunk.samples.len(), 960 * 2);
            assert_eq!(chunk.first_sample.0 % 20_000_000, 0);
            assert!(
                MonoNs::now() >= chunk.first_sample + Duration::from_millis(20),
                "delivered before its end"
            );
            assert!(next.is_none_or(|n| n == chunk.first_sample) || chunk.after_xrun);
            next = Some(chunk.first_sample + Duration::from_millis(20));
        }
    }

    #[test]
    fn tone_source_rate_that_does_not_divide_makes_longer_chunks() {
        for (rate, samples) in [
            (8_000, 160),
            (11_025, 221),
            (22_050, 441),
            (44_100, 882),
            (48_000, 960),
            (192_000, 3_840),
        ] {
            let mut source = ToneSource::open(rate, 1).unwrap();
            assert_eq!(
                source
                    .next_chunk(Duration::from_secs(1))
                    .unwrap()
                    .unwrap()
                    .samples
                    .len(),
                samples,
                "{rate} Hz"
            );
        }
    }

    #[test]
    fn tone_source_late_reader_gets_its_backlog_and_then_a_reported_gap() {
        let mut source = ToneSource::open(8_000, 1).unwrap();
        let now = source.newest(MonoNs::now());
        source.next = now - 800;
        let chunk = source.next_chunk(Duration::from_secs(1)).unwrap().unwrap();
        assert!(!chunk.after_xrun);
        assert_eq!(chunk.first_sample.0, (now - 800) * 125_000);
        source.next = now - 12_000;
        let chunk = source.next_chunk(Duration::from_secs(1)).unwrap().unwrap();
        assert!(chunk.after_xrun);
        assert!(chunk.first_sample.0 >= now * 125_000);
    }

    #[test]
    fn tone_source_wait_ends_at_the_timeout() {
        let mut source = ToneSource::open(48_000, 1).unwrap();
        source.next += 48_000 * 60;
        assert!(
            source
                .next_chunk(Duration::from_millis(5))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn tone_source_invalid_settings_are_refused() {
        for (rate, channels) in [(0, 1), (7_999, 1), (200_000, 1), (48_000, 0), (48_000, 3)] {
            assert!(matches!(
                ToneSource::open(rate, channels),
                Err(SourceError::Unsupported { .. })
            ));
        }
    }
}
