//! Video in a worker: frames are reduced to the asked rate and encoded for every track that is read.
//!
//! One track is encoded by the loop itself, without a copy. As soon as two are read, each gets a thread
//! and a copy of the frame, so that H.264 for a WebRTC viewer does not delay the JPEG of a `/stream`
//! reader. A frame that an encoder is too busy for is lost to that track alone, with cause `encoder`.

use super::Stream;
use super::encoder_thread::{EncoderThread, Job};

use super::ring_publisher::{NewLosses, RingPublisher};
use crate::config::VideoConfig;
use crate::encode::pipeline::{PipelineError, PixelPipeline, output_size};
use crate::encode::{EncodeRequest, VideoEncoder, video_encoder};
use crate::ipc::ring::{DemandReader, TooLarge};
use crate::log::LogOnce;
use crate::media::frame::{OwnedFrame, RawFrame};
use crate::media::frame_rate::FrameDecimator;
use crate::media::{Encoding, MonoNs, Shape, StreamInfo};
use crate::source;
use crate::source::{Capture, ClockOffset, SourceError, SourceIdentity, VideoSource};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
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

/// What has been logged. The tracks share it: what is wrong with a frame is wrong in every encoding.
#[derive(Default)]
struct Log {
    faults: LogOnce,
    diagnostics: LogOnce,
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

/// One encoding of the frames, on its way to its ring.
struct EncodedTrack {
    publisher: RingPublisher,
    encoder: Box<dyn VideoEncoder>,
    log: Arc<Mutex<Log>>,
}

/// A pipeline, which stays in its thread: made with the first frame, and anew where the settings change.
#[derive(Default)]
struct PipelineSlot(Option<(Arc<VideoConfig>, PixelPipeline)>);

impl PipelineSlot {
    fn get(&mut self, settings: &Arc<VideoConfig>) -> Result<&mut PixelPipeline, PipelineError> {
        let is_current = |(of, _): &(Arc<VideoConfig>, _)| Arc::ptr_eq(of, settings);
        if !self.0.as_ref().is_some_and(is_current) {
            self.0 = Some((settings.clone(), PixelPipeline::new(settings)?));
        }
        let (_, pipeline) = self.0.as_mut().expect("it is there or was made above");
        Ok(pipeline)
    }
}

/// What the thread of a track does.
struct FrameJob {
    losses: NewLosses,
    /// Nobody reads any more.
    reset: bool,
    frame: Option<(Arc<OwnedFrame>, Arc<VideoConfig>, EncodeRequest)>,
}

impl Job for FrameJob {
    fn supersede(self, older: Self) -> Self {
        let mut losses = older.losses;
        // Where nobody reads any more, nothing is missing.
        if older.frame.is_some() && !self.reset {
            losses.encoder = losses.encoder.wrapping_add(1);
        }
        losses.add(self.losses);
        Self {
            losses,
            reset: self.reset || older.reset,
            frame: self.frame,
        }
    }
}

/// Why a frame did not reach a ring.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// It has its number.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
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
        if !keep || wanted == 0 {
            return;
        }
        self.place_tracks(wanted, frame.capture_time);
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
                match EncoderThread::spawn(self.encoding.name(), encoded, EncodedTrack::handle) {
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

impl EncodedTrack {
    /// In the track's thread.
    fn handle(&mut self, pipeline: &mut PipelineSlot, job: FrameJob) {
        if job.reset {
            self.encoder.reset();
            *pipeline = PipelineSlot::default();
        }
        self.publisher.lose(job.losses);
        if let Some((frame, settings, request)) = job.frame {
            self.encode(pipeline, &frame.as_raw(), &settings, request);
        }
    }

    fn encode(
        &mut self,
        pipeline: &mut PipelineSlot,
        frame: &RawFrame<'_>,
        settings: &Arc<VideoConfig>,
        request: EncodeRequest,
    ) {
        let sequence = self.publisher.next_sequence();
        if let Err(e) = self.try_encode(pipeline, frame, settings, request) {
            if let NotSent::Pipeline(_) = e {
                self.publisher.lose(NewLosses {
                    corrupt: 1,
                    ..NewLosses::default()
                });
            }
            log_dropped(&self.log, sequence, &e.to_string());
        }
        let Some((_, pipeline)) = &mut pipeline.0 else {
            return;
        };
        while let Some(diagnostic) = pipeline.next_diagnostic() {
            let line = diagnostic.to_string();
            if lock(&self.log).diagnostics.first_time(&line) {
                tracing::info!("{line}");
            }
        }
    }

    fn try_encode(
        &mut self,
        pipeline: &mut PipelineSlot,
        frame: &RawFrame<'_>,
        settings: &Arc<VideoConfig>,
        request: EncodeRequest,
    ) -> Result<(), NotSent> {
        let mut image = pipeline.get(settings)?.frame(*frame)?;
        let encoded = self
            .encoder
            .encode(&mut image, frame.capture_time, request)?;
        if let Some(encoded) = encoded {
            let shape = Shape::Video {
                width: encoded.width,
                height: encoded.height,
            };
            self.publisher
                .send(frame.capture_time, shape, encoded.keyframe, encoded.bytes)?;
        }
        Ok(())
    }
}

/// A camera that sends the same fault with every frame is reported once.
fn log_dropped(log: &Mutex<Log>, sequence: u64, why: &str) {
    if lock(log).faults.first_time_by_cause(why) {
        tracing::warn!("frame {sequence} was dropped: {why}");
    }
}

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests {
    use super::*;
    use crate::ipc::ring::{RingLimits, RingReader, SharedRing};
    use crate::media::PacketMeta;
    use crate::media::frame::PixelFormat;

    const FRAME_NS: u64 = 33_333_333;

    struct Rig {
        stream: VideoStream,
        readers: [RingReader; 2],
        frames: u64,
        _rings: [SharedRing; 2],
    }

    impl Rig {
        fn new(width: u32, height: u32) -> Self {
            let config = VideoConfig {
                width,
                height,
                capture_width: width,
                capture_height: height,
                fps: 30.0,
                ..VideoConfig::default()
            };
            let limits = RingLimits {
                packets: 1000,
                bytes: 64 << 20,
            };
            let encodings = [Encoding::Jpeg, Encoding::H264];
            let rings = encodings.map(|e| SharedRing::create(e.name(), limits).expect("memory"));
            let readers = rings.each_ref().map(SharedRing::reader);
            let publisher = |(&encoding, ring): (&Encoding, &SharedRing)| {
                RingPublisher::new(encoding, ring.writer(), 1, 0)
            };
            let publishers = encodings.iter().zip(&rings).map(publisher).collect();
            Self {
                stream: VideoStream::new(&config, publishers),
                readers,
                frames: 0,
                _rings: rings,
            }
        }

        fn want(&self, jpeg: bool, h264: bool) {
            self.readers[0].set_demand(jpeg);
            self.readers[1].set_demand(h264);
        }

        /// A frame of the size, with some detail.
        fn feed(&mut self, missed: u32) {
            let (width, height) = (self.stream.config.width, self.stream.config.height);
            let bytes = (width * height * 3 / 2) as usize;
            let data: Vec<u8> = (0..bytes)
                .map(|i| (i * 7 + self.frames as usize) as u8)
                .collect();
            self.frames += 1 + u64::from(missed);
            let frame = RawFrame {
                format: PixelFormat::I420,
                width,
                height,
                stride: width as usize,
                data: &data,
                full_range: true,
                capture_time: MonoNs(1_000_000_000 + self.frames * FRAME_NS),
                missed,
            };
            assert!(self.stream.accept(Capture::Frame(frame)));
        }

        fn threads(&self) -> usize {
            let is_thread = |track: &&Track| matches!(track.place, Place::Thread(_));
            self.stream.tracks.iter().filter(is_thread).count()
        }

        fn packets(&mut self, of: usize) -> Vec<PacketMeta> {
            let reader = &mut self.readers[of];
            let mut payload = Vec::new();
            std::iter::from_fn(|| reader.pop(&mut payload).expect("in order")).collect()
        }
    }

    /// Every frame has a packet or is counted: the last number is that of the last frame.
    fn check_complete(packets: &[PacketMeta], frames: u64) {
        let last = packets.last().expect("packets");
        let lost = |of: &PacketMeta| u64::from(of.losses.encoder) + u64::from(of.losses.driver);
        assert_eq!(packets.len() as u64 + lost(last), last.sequence + 1);
        assert_eq!(last.sequence + 1, frames, "{last:?}");
        for pair in packets.windows(2) {
            let skipped = pair[1].sequence - pair[0].sequence - 1;
            assert_eq!(skipped, lost(&pair[1]) - lost(&pair[0]), "{pair:?}");
            assert!(pair[1].capture_time > pair[0].capture_time);
        }
    }

    #[test]
    fn video_one_track_is_encoded_by_the_loop_and_two_by_threads() {
        let mut rig = Rig::new(320, 240);
        rig.want(true, false);
        (0..5).for_each(|_| rig.feed(0));
        assert_eq!((rig.threads(), rig.packets(0).len()), (0, 5));
        rig.want(true, true);
        (0..5).for_each(|_| rig.feed(0));
        assert_eq!(rig.threads(), 2);
        rig.want(true, false);
        rig.feed(0);
        assert_eq!(rig.threads(), 2, "they are kept for a while");
        (0..70).for_each(|_| rig.feed(0));
        assert_eq!(rig.threads(), 0);
        assert!(rig.stream.copies.0.is_empty());
        let jpeg = rig.packets(0);
        assert_eq!(jpeg.last().expect("packets").sequence, 80);
    }

    #[test]
    fn video_busy_encoder_loses_frames_with_cause_encoder_and_delays_nobody() {
        let mut rig = Rig::new(640, 480);
        rig.want(true, true);
        // Far faster than either encoder.
        for n in 0..200 {
            rig.feed(if n == 100 { 3 } else { 0 });
        }
        rig.stream.source_lost();
        assert_eq!(rig.threads(), 0);
        rig.feed(0);
        rig.stream.move_to_loop();
        for of in [0, 1] {
            let packets = rig.packets(of);
            let last = packets.last().expect("packets");
            assert!(last.losses.encoder > 0, "{last:?}");
            assert_eq!(last.losses.driver, 3, "{last:?}");
            assert_eq!(last.losses.source_away, 1);
            check_complete(&packets, 204);
        }
        let sequences: Vec<u64> = rig.stream.next_sequences().map(|(_, next)| next).collect();
        assert_eq!(sequences, [204, 204]);
    }

    #[test]
    fn video_track_nobody_reads_misses_nothing() {
        let mut rig = Rig::new(320, 240);
        rig.want(true, true);
        (0..3).for_each(|_| rig.feed(0));
        rig.want(true, false);
        (0..3).for_each(|_| rig.feed(2));
        rig.want(true, true);
        rig.feed(0);
        rig.stream.source_lost();
        let h264 = rig.packets(1);
        let last = h264.last().expect("packets");
        assert_eq!((last.losses.driver, last.losses.corrupt), (0, 0));
        assert_eq!(
            last.sequence + 1,
            h264.len() as u64 + u64::from(last.losses.encoder)
        );
        assert!(h264.len() <= 4 && last.keyframe, "the encoder was reset");
    }

    #[test]
    fn video_corrupt_frame_is_counted_before_the_next_packet() {
        let mut rig = Rig::new(320, 240);
        for h264 in [false, true] {
            rig.want(true, h264);
            rig.feed(0);
            rig.frames += 1;
            let corrupt = Capture::Corrupt {
                capture_time: MonoNs(1_000_000_000 + rig.frames * FRAME_NS),
                missed: 0,
                why: "cut short".into(),
            };
            assert!(!rig.stream.accept(corrupt));
            rig.feed(0);
        }
        rig.stream.source_lost();
        let last = *rig.packets(0).last().expect("packets");
        assert_eq!(last.losses.corrupt, 2);
        assert_eq!(last.sequence, 5);
    }
}
