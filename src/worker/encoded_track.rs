//! One encoding of a camera's frames, from a frame to its ring: in the loop, or in its own thread.

use super::encoder_thread::Job;
use super::ring_publisher::{LossCounts, RingPublisher};
use crate::config::VideoConfig;
use crate::encode::pipeline::{PipelineError, PixelPipeline};
use crate::encode::{EncodeRequest, VideoEncoder};
use crate::ipc::ring::TooLarge;
use crate::log::LogOnce;
use crate::media::Shape;
use crate::media::frame::{OwnedFrame, RawFrame};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What has been logged. The tracks share it: a fault of a frame concerns every encoding.
#[derive(Default)]
pub(super) struct Log {
    pub(super) faults: LogOnce,
    pub(super) diagnostics: LogOnce,
}

/// One encoding of the frames, on its way to its ring.
pub(super) struct EncodedTrack {
    pub(super) publisher: RingPublisher,
    pub(super) encoder: Box<dyn VideoEncoder>,
    pub(super) log: Arc<Mutex<Log>>,
}

/// What the pipelines of an open source do.
pub(super) struct Settings {
    pub(super) video: VideoConfig,
    /// The frame size that the source was set to, pixels.
    pub(super) frame_size: (u32, u32),
}

impl Settings {
    fn pipeline(&self) -> Result<PixelPipeline, PipelineError> {
        Ok(PixelPipeline::new(&self.video)?.with_driver_size(self.frame_size))
    }
}

/// A pipeline, which stays in its thread: made with the first frame, and again when the settings
/// change. Settings for which none can be made are not tried again.
#[derive(Default)]
pub(super) struct PipelineSlot(Option<(Arc<Settings>, Result<PixelPipeline, PipelineError>)>);

impl PipelineSlot {
    /// # Errors
    /// No pipeline can be made for these settings.
    pub(super) fn new(settings: &Arc<Settings>) -> Result<Self, PipelineError> {
        let pipeline = settings.pipeline()?;
        Ok(Self(Some((settings.clone(), Ok(pipeline)))))
    }

    fn get(&mut self, settings: &Arc<Settings>) -> Result<&mut PixelPipeline, PipelineError> {
        let is_current = |(of, _): &(Arc<Settings>, _)| Arc::ptr_eq(of, settings);
        if !self.0.as_ref().is_some_and(is_current) {
            self.0 = Some((settings.clone(), settings.pipeline()));
        }
        let (_, pipeline) = self.0.as_mut().expect("it is there or was made above");
        pipeline.as_mut().map_err(|e| e.clone())
    }
}

/// What the thread of a track does.
pub(super) struct FrameJob {
    pub(super) losses: LossCounts,
    /// The track has no readers any more.
    pub(super) reset: bool,
    pub(super) frame: Option<(Arc<OwnedFrame>, Arc<Settings>, EncodeRequest)>,
}

impl Job for FrameJob {
    fn supersede(self, older: Self) -> Self {
        let mut losses = older.losses;
        // Without readers nothing is missing.
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

impl EncodedTrack {
    /// In the track's thread.
    pub(super) fn handle(&mut self, pipeline: &mut PipelineSlot, job: FrameJob) {
        if job.reset {
            self.encoder.reset();
            *pipeline = PipelineSlot::default();
        }
        self.publisher.lose(job.losses);
        if let Some((frame, settings, request)) = job.frame {
            self.encode(pipeline, &frame.as_raw(), &settings, request);
        }
    }

    pub(super) fn encode(
        &mut self,
        pipeline: &mut PipelineSlot,
        frame: &RawFrame<'_>,
        settings: &Arc<Settings>,
        request: EncodeRequest,
    ) {
        let sequence = self.publisher.next_sequence();
        if let Err(e) = self.try_encode(pipeline, frame, settings, request) {
            if let NotSent::Pipeline(_) = e {
                self.publisher.lose(LossCounts {
                    corrupt: 1,
                    ..LossCounts::default()
                });
            }
            log_dropped(&self.log, sequence, &e.to_string());
        }
        let Some((_, Ok(pipeline))) = &mut pipeline.0 else {
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
        settings: &Arc<Settings>,
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

/// Logs a cause once, however many frames have it.
pub(super) fn log_dropped(log: &Mutex<Log>, sequence: u64, why: &str) {
    if lock(log).faults.first_time_by_cause(why) {
        tracing::warn!("frame {sequence} was dropped: {why}");
    }
}

pub(super) fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
