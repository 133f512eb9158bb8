//! Video in a worker: frames are reduced to the asked rate and encoded for every track that is
//! read.
//!
//! One track is encoded by the loop itself, without a copy. As soon as two are read, each gets a
//! thread and a copy of the frame, so that H.264 for a WebRTC viewer does not delay the JPEG of a
//! `/stream` reader. A frame for which an encoder is too busy is lost to that track alone, with
//! cause `encoder`.

mod track;

use super::encoded_track::{FrameJob, Log, PipelineSlot, Settings, lock, log_dropped};
use super::ring_publisher::{LossCounts, RingPublisher};
use super::stream::Stream;
use crate::config::VideoConfig;
use crate::encode::pipeline::output_size;
use crate::encode::{EncodeRequest, video_encoder};
use crate::media::frame::{OwnedFrame, RawFrame};
use crate::media::frame_rate::FrameDecimator;
use crate::media::{Encoding, MonoNs, Shape, StreamInfo};
use crate::source;
use crate::source::{Capture, ClockOffset, SourceError, SourceIdentity, VideoSource};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use track::{Place, SpawnThread, Track, spawn_thread};

/// Threads are kept for this long after the last frame that two tracks wanted: `/snapshot.jpg`
/// wants one for a moment.
const THREADS_KEPT: Duration = Duration::from_secs(2);

/// The tracks of one camera.
pub(super) struct VideoStream {
    config: VideoConfig,
    decimator: FrameDecimator,
    tracks: Vec<Track>,
    /// Of the tracks that the loop encodes.
    pipeline: PipelineSlot,
    copies: FramePool,
    spawn: SpawnThread,
    /// The last frame that two tracks wanted.
    parallel_at: Option<MonoNs>,
    /// What the open source leaves to the pipelines to do.
    settings: Arc<Settings>,
    /// The streamed size, pixels, once a frame has shown it.
    size: Option<(u16, u16)>,
    log: Arc<Mutex<Log>>,
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
            spawn: spawn_thread,
            parallel_at: None,
            settings: Arc::new(Settings {
                video: config.clone(),
                frame_size: (config.capture_width, config.capture_height),
            }),
            size: None,
            config: config.clone(),
            log,
        }
    }

    fn frame(&mut self, frame: &RawFrame<'_>) {
        self.size = streamed_size(&self.settings.video, frame);
        let (keep, lost) = self.decimator.take(frame.capture_time, frame.missed);
        let wanted = self.reset_unread();
        self.lose(LossCounts {
            driver: lost,
            ..LossCounts::default()
        });
        // Also without a reader: threads and copies are released.
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
            }
        }
    }

    fn corrupt(&mut self, capture_time: MonoNs, missed: u32, why: &str) {
        let (keep, lost) = self.decimator.take(capture_time, missed);
        let wanted = self.reset_unread();
        let sequence = self.tracks.first().map_or(0, Track::next_sequence);
        self.lose(LossCounts {
            driver: lost,
            corrupt: keep.into(),
            ..LossCounts::default()
        });
        if wanted > 0 && keep {
            log_dropped(&self.log, sequence, why);
        }
    }

    /// Resets the encoders of tracks without readers: nothing is encoded then, so nothing is
    /// missing, and their numbers do not advance. Returns how many tracks are read.
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

    fn lose(&mut self, lost: LossCounts) {
        for track in self.tracks.iter_mut().filter(|track| !track.is_idle) {
            track.lose(lost);
        }
    }

    /// Gives each track that is read a thread when two are, and returns them to the loop when that
    /// is over.
    fn place_tracks(&mut self, wanted: usize, at: MonoNs) {
        if wanted > 1 {
            self.parallel_at = Some(at);
            if self.tracks.iter().any(|track| track.needs_thread(at)) {
                let spawn = self.spawn;
                self.replace_tracks(|track| track.into_thread(spawn, at));
            }
        } else if self
            .parallel_at
            .is_some_and(|last| at.since(last) > THREADS_KEPT)
        {
            self.move_to_loop();
        }
    }

    /// Joins the threads, after what they have queued.
    fn move_to_loop(&mut self) {
        self.parallel_at = None;
        self.replace_tracks(Track::into_loop);
        self.copies = FramePool::default();
    }

    fn replace_tracks(&mut self, replace: impl FnMut(Track) -> Track) {
        let tracks = std::mem::take(&mut self.tracks);
        self.tracks = tracks.into_iter().map(replace).collect();
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
        let info = source.info();
        let frame_size = match info.shape {
            Shape::Video { width, height } => (width.into(), height.into()),
            Shape::Audio { .. } => (0, 0),
        };
        self.settings = Arc::new(Settings {
            video: source.remaining(&self.config),
            frame_size,
        });
        self.pipeline =
            PipelineSlot::new(&self.settings).map_err(|e| SourceError::Unsupported {
                device: info.device,
                why: e.to_string(),
            })?;
        Ok(())
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

    /// The threads are joined first, so that frames from before the loss are sent before it is
    /// reported.
    fn source_lost(&mut self) {
        self.move_to_loop();
        for track in &mut self.tracks {
            if let Place::Loop(encoded) = &mut track.place {
                encoded.publisher.source_lost();
                encoded.encoder.reset();
            }
        }
    }

    fn finish(&mut self) {
        self.move_to_loop();
    }

    fn next_sequences(&self) -> impl Iterator<Item = (Encoding, u64)> {
        self.tracks
            .iter()
            .map(|track| (track.encoding, track.next_sequence()))
    }
}

fn streamed_size(settings: &VideoConfig, frame: &RawFrame<'_>) -> Option<(u16, u16)> {
    let (width, height) = output_size(settings, (frame.width, frame.height));
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// Copies of frames. A copy that no thread has any more is used again; each thread has at most two,
/// one that it encodes and one that is queued.
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
