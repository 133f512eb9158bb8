//! Video in a worker: frames are reduced to the asked rate and encoded for every track that is read.
//!
//! One track is encoded by the loop itself, without a copy. As soon as two are read, each gets a thread
//! and a copy of the frame, so that H.264 for a WebRTC viewer does not delay the JPEG of a `/stream`
//! reader. A frame that an encoder is too busy for is lost to that track alone, with cause `encoder`.

use super::Stream;
use super::encoded_track::{EncodedTrack, FrameJob, Log, PipelineSlot, lock, log_dropped};
use super::encoder_thread::EncoderThread;

use super::ring_publisher::{NewLosses, RingPublisher};
use crate::config::VideoConfig;
use crate::encode::pipeline::{PixelPipeline, output_size};
use crate::encode::{EncodeRequest, VideoEncoder, video_encoder};
use crate::ipc::ring::DemandReader;
use crate::media::frame::{OwnedFrame, RawFrame};
use crate::media::frame_rate::FrameDecimator;
use crate::media::{Encoding, MonoNs, Shape, StreamInfo};
use crate::source;
use crate::source::{Capture, ClockOffset, SourceError, SourceIdentity, VideoSource};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Threads are kept for so long after the last frame that two tracks wanted: `/snapshot.jpg` wants one
/// for a moment.
const THREADS_KEPT: Duration = Duration::from_secs(2);

/// The tracks of one camera.
pub(super) struct VideoStream {
    config: VideoConfig,
    decimator: FrameDecimator,
    tracks: Vec<Track>,
    /// Of the tracks that the loop encodes.
    pipeline: PipelineSlot,
    copies: FramePool,
    /// The last frame that two tracks wanted.
    parallel_at: Option<MonoNs>,
    /// What the open source leaves to the pipelines.
    settings: Arc<VideoConfig>,
    /// The streamed size, pixels, once a frame has shown it.
    size: Option<(u16, u16)>,
    log: Arc<Mutex<Log>>,
}

/// One track as the loop sees it, wherever it is encoded.
struct Track {
    encoding: Encoding,
    demand: DemandReader,
    next_sequence: Arc<AtomicU64>,
    /// Lost since the last job of the track's thread.
    losses: NewLosses,
    /// Nobody reads it, and its encoder was reset.
    is_idle: bool,
    place: Place,
}

/// Where a track is encoded.
enum Place {
    Loop(EncodedTrack),
    Thread(EncoderThread<EncodedTrack, FrameJob>),
    /// While it moves from one to the other.
    Moving,
}

impl VideoStream {
    pub(super) fn new(config: &VideoConfig, publishers: Vec<RingPublisher>) -> Self {
        let log = Arc::<Mutex<Log>>::default();
        let track = |publisher: RingPublisher| {
            let Some(encoder) = video_encoder(publisher.encoding(), config) else {
                tracing::error!("no encoder for {}", publisher.encoding().name());
                return None;
            };
            Some(Track::new(publisher, encoder, log.clone()))
        };
        Self {
            decimator: FrameDecimator::new(config.fps),
            tracks: publishers.into_iter().filter_map(track).collect(),
            pipeline: PipelineSlot::default(),
            copies: FramePool::default(),
            parallel_at: None,
            settings: Arc::new(config.clone()),
            size: None,
            config: config.clone(),
            log,
        }
    }

    fn frame(&mut self, frame: &RawFrame<'_>) {
        self.size = streamed_size(&self.settings, frame);
        let (keep, lost) = self.decimator.take(frame.capture_time, frame.missed);
        let wanted = self.reset_unread();
        self.lose(NewLosses {
            driver: lost,
            ..NewLosses::default()
        });
        // Also with no reader: threads and copies are given back.
        self.place_tracks(wanted, frame.capture_time);
        if !keep || wanted == 0 {
            return;
        }
        let mut copy = None;
        for track in self.tracks.iter_mut().filter(|track| !track.is_idle) {
            let demand = track.demand.demand();
            let request = EncodeRequest {
                keyframes: demand.keyframes,
                bitrate_bps: demand.bitrate_bps,
            };
            match &mut track.place {
                Place::Loop(encoded) => {
                    encoded.encode(&mut self.pipeline, frame, &self.settings, request);
                }
                Place::Thread(thread) => {
                    let copy = copy.get_or_insert_with(|| self.copies.copy(frame));
                    thread.send(FrameJob {
                        losses: std::mem::take(&mut track.losses),
                        reset: false,
                        frame: Some((copy.clone(), self.settings.clone(), request)),
                    });
                }
                Place::Moving => {}
            }
        }
    }

    fn corrupt(&mut self, capture_time: MonoNs, missed: u32, why: &str) {
        let (keep, lost) = self.decimator.take(capture_time, missed);
        let wanted = self.reset_unread();
        let sequence = self.tracks.first().map_or(0, Track::next_sequence);
        self.lose(NewLosses {
            driver: lost,
            corrupt: keep.into(),
            ..NewLosses::default()
        });
        if wanted > 0 && keep {
            log_dropped(&self.log, sequence, why);
        }
    }

    /// Resets the encoders of tracks that nobody reads any more: nothing is encoded then and nothing
    /// is missing, their numbers stand still. Returns how many are read.
    fn reset_unread(&mut self) -> usize {
        for track in &mut self.tracks {
            let is_idle = !track.demand.demand().wanted;
            if is_idle && !track.is_idle {
                track.reset();
            }
            track.is_idle = is_idle;
        }
        let wanted = self.tracks.iter().filter(|track| !track.is_idle).count();
        if wanted == 0 {
            self.pipeline = PipelineSlot::default();
        }
        wanted
    }

    fn lose(&mut self, lost: NewLosses) {
        for track in self.tracks.iter_mut().filter(|track| !track.is_idle) {
            track.lose(lost);
        }
    }

    /// Gives each track a thread when two are read, and takes it back when that is over.
    fn place_tracks(&mut self, wanted: usize, at: MonoNs) {
        if wanted > 1 {
            self.parallel_at = Some(at);
            for track in self.tracks.iter_mut().filter(|track| !track.is_idle) {
                track.move_to_thread();
            }
        } else if self
            .parallel_at
            .is_some_and(|last| at.since(last) > THREADS_KEPT)
        {
            self.move_to_loop();
        }
    }

    fn move_to_loop(&mut self) {
        self.parallel_at = None;
        self.tracks.iter_mut().for_each(Track::move_to_loop);
        self.copies = FramePool::default();
    }
}

impl Stream for VideoStream {
    type Source = dyn VideoSource;
    type Item<'a> = Capture<'a>;

    fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.config.fps)
    }

    fn open(
        &self,
        known: Option<&SourceIdentity>,
        clock_offset: ClockOffset,
    ) -> Result<Box<Self::Source>, SourceError> {
        source::open_video(&self.config, known, clock_offset)
    }

    fn begin(&mut self, source: &Self::Source) -> Result<(), SourceError> {
        self.decimator = FrameDecimator::new(self.config.fps);
        self.size = None;
        self.settings = Arc::new(source.remaining(&self.config));
        PixelPipeline::check(&self.settings).map_err(|e| SourceError::Unsupported {
            device: source.info().device,
            why: e.to_string(),
        })
    }

    fn next<'a>(
        source: &'a mut Self::Source,
        timeout: Duration,
    ) -> Result<Option<Capture<'a>>, SourceError> {
        Ok(match source.next_frame(timeout)? {
            Capture::TimedOut => None,
            capture => Some(capture),
        })
    }

    fn accept(&mut self, item: Capture<'_>) -> bool {
        match item {
            Capture::Frame(frame) => {
                self.frame(&frame);
                true
            }
            Capture::Corrupt {
                capture_time,
                missed,
                why,
            } => {
                self.corrupt(capture_time, missed, &why);
                false
            }
            Capture::TimedOut => false,
        }
    }

    fn recovered(&mut self) {
        lock(&self.log).faults.recovered();
    }

    fn describe(&self, source: &Self::Source) -> Option<StreamInfo> {
        let (width, height) = self.size?;
        Some(StreamInfo {
            shape: Shape::Video { width, height },
            ..source.info()
        })
    }

    /// The threads are joined first, so that frames from before the loss are sent before it is told.
    fn source_lost(&mut self) {
        self.move_to_loop();
        for track in &mut self.tracks {
            if let Place::Loop(encoded) = &mut track.place {
                encoded.publisher.source_lost();
                encoded.encoder.reset();
            }
        }
    }

    fn next_sequences(&self) -> impl Iterator<Item = (Encoding, u64)> {
        self.tracks
            .iter()
            .map(|track| (track.encoding, track.next_sequence()))
    }
}

impl Track {
    fn new(publisher: RingPublisher, encoder: Box<dyn VideoEncoder>, log: Arc<Mutex<Log>>) -> Self {
        Self {
            encoding: publisher.encoding(),
            demand: publisher.demand(),
            next_sequence: publisher.progress(),
            losses: NewLosses::default(),
            is_idle: true,
            place: Place::Loop(EncodedTrack {
                publisher,
                encoder,
                log,
            }),
        }
    }

    fn next_sequence(&self) -> u64 {
        self.next_sequence.load(Relaxed)
    }

    fn lose(&mut self, lost: NewLosses) {
        match &mut self.place {
            Place::Loop(encoded) => encoded.publisher.lose(lost),
            Place::Thread(_) | Place::Moving => self.losses.add(lost),
        }
    }

    fn reset(&mut self) {
        match &mut self.place {
            Place::Loop(encoded) => encoded.encoder.reset(),
            Place::Thread(thread) => thread.send(FrameJob {
                losses: std::mem::take(&mut self.losses),
                reset: true,
                frame: None,
            }),
            Place::Moving => {}
        }
    }

    fn move_to_thread(&mut self) {
        self.place = match std::mem::replace(&mut self.place, Place::Moving) {
            Place::Loop(encoded) => {
                let name = self.encoding.name();
                let nice = niceness(self.encoding);
                match EncoderThread::spawn(name, nice, encoded, EncodedTrack::handle) {
                    Ok(thread) => Place::Thread(thread),
                    Err((encoded, e)) => {
                        let line = format!(
                            "{} is encoded by the capture loop: no thread: {e}",
                            self.encoding.name()
                        );
                        if lock(&encoded.log).diagnostics.first_time(&line) {
                            tracing::warn!("{line}");
                        }
                        Place::Loop(encoded)
                    }
                }
            }
            other => other,
        };
    }

    fn move_to_loop(&mut self) {
        self.place = match std::mem::replace(&mut self.place, Place::Moving) {
            Place::Thread(thread) => {
                let mut encoded = thread.join();
                encoded.publisher.lose(std::mem::take(&mut self.losses));
                Place::Loop(encoded)
            }
            other => other,
        };
    }
}

/// What a track's thread adds to its nice value. H.264 takes several times as long as JPEG: where the
/// cores are busy, it is the one that waits.
fn niceness(encoding: Encoding) -> i32 {
    match encoding {
        Encoding::H264 => 5,
        _ => 0,
    }
}

fn streamed_size(settings: &VideoConfig, frame: &RawFrame<'_>) -> Option<(u16, u16)> {
    let (width, height) = output_size(settings, (frame.width, frame.height));
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// Copies of frames. A copy that no thread has any more is used again; each thread has two at most, one
/// that it encodes and one that is queued.
#[derive(Default)]
struct FramePool(Vec<Arc<OwnedFrame>>);

impl FramePool {
    fn copy(&mut self, frame: &RawFrame<'_>) -> Arc<OwnedFrame> {
        for copy in &mut self.0 {
            if let Some(free) = Arc::get_mut(copy) {
                free.replace(frame);
                return copy.clone();
            }
        }
        let copy = Arc::new(OwnedFrame::new(frame));
        self.0.push(copy.clone());
        copy
    }
}

#[cfg(all(test, feature = "h264"))]
mod tests;
