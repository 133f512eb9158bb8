//! One track of a camera as the loop sees it, whether the loop encodes it or a thread.

use crate::encode::VideoEncoder;
use crate::ipc::ring::DemandReader;
use crate::media::{Encoding, MonoNs};
use crate::worker::encoded_track::{EncodedTrack, FrameJob, Log, lock};
use crate::worker::encoder_thread::EncoderThread;
use crate::worker::ring_publisher::{LossCounts, RingPublisher};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The system refused a thread: the next one is asked for after this time.
const SPAWN_RETRY: Duration = Duration::from_secs(5);

type TrackThread = EncoderThread<Box<EncodedTrack>, FrameJob>;

/// Starts the thread of a track, or returns the track with the system's error.
pub(super) type SpawnThread =
    fn(Encoding, Box<EncodedTrack>) -> Result<TrackThread, (Box<EncodedTrack>, io::Error)>;

pub(super) struct Track {
    pub encoding: Encoding,
    pub demand: DemandReader,
    next_sequence: Arc<AtomicU64>,
    /// Lost since the last job of the track's thread.
    pub losses: LossCounts,
    /// It has no readers, and its encoder was reset.
    pub is_idle: bool,
    pub place: Place,
    /// When a thread was last refused.
    refused_at: Option<MonoNs>,
}

/// Where a track is encoded.
pub(super) enum Place {
    Loop(Box<EncodedTrack>),
    Thread(TrackThread),
}

impl Track {
    pub fn new(
        publisher: RingPublisher,
        encoder: Box<dyn VideoEncoder>,
        log: Arc<Mutex<Log>>,
    ) -> Self {
        Self {
            encoding: publisher.encoding(),
            demand: publisher.demand(),
            next_sequence: publisher.progress(),
            losses: LossCounts::default(),
            is_idle: true,
            place: Place::Loop(Box::new(EncodedTrack {
                publisher,
                encoder,
                log,
            })),
            refused_at: None,
        }
    }

    pub fn next_sequence(&self) -> u64 {
        self.next_sequence.load(Relaxed)
    }

    pub fn lose(&mut self, lost: LossCounts) {
        match &mut self.place {
            Place::Loop(encoded) => encoded.publisher.lose(lost),
            Place::Thread(_) => self.losses.add(lost),
        }
    }

    pub fn reset(&mut self) {
        match &mut self.place {
            Place::Loop(encoded) => encoded.encoder.reset(),
            Place::Thread(thread) => thread.send(FrameJob {
                losses: std::mem::take(&mut self.losses),
                reset: true,
                frame: None,
            }),
        }
    }

    /// Whether it is read, has no thread, and may ask for one at `now`.
    pub fn needs_thread(&self, now: MonoNs) -> bool {
        let may_ask = self
            .refused_at
            .is_none_or(|refused| now.since(refused) >= SPAWN_RETRY);
        !self.is_idle && may_ask && matches!(self.place, Place::Loop(_))
    }

    /// Moves it to a thread where it needs one. Where the system refuses, the loop encodes it.
    pub fn into_thread(self, spawn: SpawnThread, now: MonoNs) -> Self {
        if !self.needs_thread(now) {
            return self;
        }
        let Place::Loop(encoded) = self.place else {
            return self;
        };
        match spawn(self.encoding, encoded) {
            Ok(thread) => Self {
                place: Place::Thread(thread),
                refused_at: None,
                ..self
            },
            Err((encoded, e)) => {
                let line = format!(
                    "{} is encoded by the capture loop, because no thread can be started: {e}",
                    self.encoding.name()
                );
                if lock(&encoded.log).diagnostics.first_time(&line) {
                    tracing::warn!("{line}");
                }
                Self {
                    place: Place::Loop(encoded),
                    refused_at: Some(now),
                    ..self
                }
            }
        }
    }

    /// Joins its thread, if it has one, after what is queued.
    pub fn into_loop(self) -> Self {
        let Place::Thread(thread) = self.place else {
            return self;
        };
        let mut encoded = thread.join();
        encoded.publisher.lose(self.losses);
        Self {
            place: Place::Loop(encoded),
            losses: LossCounts::default(),
            ..self
        }
    }
}

/// Starts a thread named after the encoding.
///
/// # Errors
/// No thread can be started; the track is returned.
pub(super) fn spawn_thread(
    encoding: Encoding,
    track: Box<EncodedTrack>,
) -> Result<TrackThread, (Box<EncodedTrack>, io::Error)> {
    EncoderThread::spawn(
        encoding.name(),
        niceness(encoding),
        track,
        |track, pipeline, job| track.handle(pipeline, job),
    )
}

/// What a track's thread adds to its nice value. H.264 takes several times as long as JPEG: where
/// the cores are busy, it is the one that waits.
fn niceness(encoding: Encoding) -> i32 {
    match encoding {
        Encoding::H264 => 5,
        _ => 0,
    }
}
