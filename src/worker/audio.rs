//! Audio in a worker: each chunk of the microphone is encoded for every track that is read. All in
//! the loop: an Opus packet takes a fraction of a millisecond, and no chunk may be lost because an
//! encoder is busy.

use super::ring_publisher::{LossCounts, RingPublisher};
use super::stream::Stream;
use crate::config::AudioConfig;
use crate::encode::{AudioEncoder, AudioPackets, audio_encoder};
use crate::log::LogOnce;
use crate::media::frame::AudioChunk;
use crate::media::{Encoding, Shape, StreamInfo};
use crate::source;
use crate::source::{AudioSource, ClockOffset, SourceError, SourceIdentity};
use std::time::Duration;

/// The usual duration of a chunk.
const CHUNK: Duration = Duration::from_millis(20);

/// The tracks of one microphone.
pub(super) struct AudioStream {
    config: AudioConfig,
    tracks: Vec<Track>,
}

/// One encoding of the chunks, on its way to its ring.
struct Track {
    publisher: RingPublisher,
    encoder: Box<dyn AudioEncoder>,
    packets: AudioPackets,
    faults: LogOnce,
}

impl AudioStream {
    pub(super) fn new(config: &AudioConfig, publishers: Vec<RingPublisher>) -> Self {
        let track = |publisher: RingPublisher| {
            let Some(encoder) = audio_encoder(publisher.encoding()) else {
                tracing::error!("no encoder for {}", publisher.encoding().name());
                return None;
            };
            Some(Track {
                publisher,
                encoder,
                packets: AudioPackets::default(),
                faults: LogOnce::default(),
            })
        };
        Self {
            config: config.clone(),
            tracks: publishers.into_iter().filter_map(track).collect(),
        }
    }
}

impl Stream for AudioStream {
    type Source = dyn AudioSource;
    type Item<'a> = AudioChunk<'a>;

    fn interval(&self) -> Duration {
        CHUNK
    }

    fn open(
        &self,
        known: Option<&SourceIdentity>,
        _clock_offset: ClockOffset,
    ) -> Result<Box<Self::Source>, SourceError> {
        source::open_audio(&self.config, known)
    }

    fn begin(&mut self, _source: &Self::Source) -> Result<(), SourceError> {
        Ok(())
    }

    fn next<'a>(
        source: &'a mut Self::Source,
        timeout: Duration,
    ) -> Result<Option<AudioChunk<'a>>, SourceError> {
        source.next_chunk(timeout)
    }

    fn accept(&mut self, chunk: AudioChunk<'_>) -> bool {
        self.tracks.iter_mut().for_each(|track| track.chunk(&chunk));
        true
    }

    fn recovered(&mut self) {
        for track in &mut self.tracks {
            track.faults.recovered();
        }
    }

    fn describe(&self, source: &Self::Source) -> Option<StreamInfo> {
        Some(source.info())
    }

    fn source_lost(&mut self) {
        for track in &mut self.tracks {
            track.publisher.source_lost();
            track.encoder.reset();
        }
    }

    /// Nothing is held back: an Opus packet that is not full was never numbered.
    fn finish(&mut self) {}

    fn next_sequences(&self) -> impl Iterator<Item = (Encoding, u64)> {
        self.tracks
            .iter()
            .map(|track| (track.publisher.encoding(), track.publisher.next_sequence()))
    }
}

impl Track {
    fn chunk(&mut self, chunk: &AudioChunk<'_>) {
        if chunk.after_xrun {
            self.publisher.lose(LossCounts {
                xrun: 1,
                ..LossCounts::default()
            });
        }
        // Without readers nothing is sent and nothing is missing: the numbers do not advance.
        if !self.publisher.demand().demand().wanted {
            return self.encoder.reset();
        }
        self.packets.clear();
        let encoded = self.encoder.encode(chunk, &mut self.packets);
        let mut fault = encoded.err().map(|e| crate::log::chain(&e));
        let (rate_hz, channels) = self.encoder.format(chunk);
        let shape = Shape::Audio { rate_hz, channels };
        for (capture_time, packet) in self.packets.iter() {
            if let Err(e) = self.publisher.send(capture_time, shape, true, packet) {
                fault = Some(e.to_string());
            }
        }
        if let Some(why) = fault.filter(|why| self.faults.first_time(why)) {
            tracing::warn!("audio was dropped: {why}");
        }
    }
}

#[cfg(all(test, feature = "opus"))]
mod tests {
    use super::*;
    use crate::config::AudioSourceConfig;
    use crate::ipc::ring::{RingLimits, SharedRing};
    use crate::media::MonoNs;
    use crate::source::test_pattern::tone::ToneSource;

    const TONE_HZ: f64 = 15_000.0;

    /// The share of the samples' energy that is at [`TONE_HZ`] (Goertzel's algorithm over whole
    /// periods at 48 kHz).
    fn share_at_tone(samples: &[i16]) -> f64 {
        let coefficient = 2.0 * (std::f64::consts::TAU * TONE_HZ / 48_000.0).cos();
        let (mut s1, mut s2, mut energy) = (0.0, 0.0, 0.0);
        for &sample in samples {
            let sample = f64::from(sample);
            (s1, s2) = (sample + coefficient * s1 - s2, s1);
            energy += sample * sample;
        }
        let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
        2.0 * power / (samples.len() as f64 * energy.max(1.0))
    }

    #[test]
    fn opus_beside_a_stream_rate_of_16_khz_keeps_a_tone_of_15_khz() {
        let config = AudioConfig {
            source: AudioSourceConfig::Test,
            channels: 1,
            rate_hz: Some(16_000),
            queue_packets: 100,
        };
        let ring = |name| {
            let limits = RingLimits {
                packets: 100,
                bytes: 1 << 20,
            };
            SharedRing::create(name, limits).expect("memory")
        };
        let (pcm, opus) = (ring("pcm"), ring("opus"));
        let (mut pcm_reader, mut opus_reader) = (pcm.reader(), opus.reader());
        pcm_reader.set_demand(true);
        opus_reader.set_demand(true);
        let publishers = vec![
            RingPublisher::new(Encoding::Pcm, pcm.writer(), 1, 0),
            RingPublisher::new(Encoding::Opus, opus.writer(), 1, 0),
        ];
        let mut stream = AudioStream::new(&config, publishers);
        let opened = stream
            .open(None, Box::new(|| 0))
            .expect("it needs no device");
        let shape = Shape::Audio {
            rate_hz: 48_000,
            channels: 1,
        };
        assert_eq!(opened.info().shape, shape, "the source's own rate");

        let mut source = ToneSource::with_frequency(48_000, 1, TONE_HZ).expect("in range");
        let end = MonoNs::now() + Duration::from_millis(1_200);
        while MonoNs::now() < end {
            if let Some(chunk) = source
                .next_chunk(Duration::from_millis(100))
                .expect("no device")
            {
                stream.accept(chunk);
            }
        }
        let mut payload = Vec::new();
        let meta = pcm_reader
            .pop(&mut payload)
            .expect("in order")
            .expect("a packet");
        assert_eq!((meta.shape, payload.len()), (shape, 960 * 2));

        let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).expect("a decoder");
        let mut shares = Vec::new();
        while let Some(meta) = opus_reader.pop(&mut payload).expect("in order") {
            assert_eq!(meta.shape, shape);
            let mut samples = [0i16; 960];
            let length = decoder.decode(&payload, &mut samples, false).expect("Opus");
            assert_eq!(length, 960);
            // The tone's packets, not the noise between.
            if samples.iter().filter(|s| s.unsigned_abs() > 4_000).count() > 480 {
                shares.push(share_at_tone(&samples));
            }
        }
        let clear = shares.iter().filter(|share| **share > 0.9).count();
        assert!(clear >= 3, "shares of the energy at 15 kHz: {shares:?}");
    }
}
