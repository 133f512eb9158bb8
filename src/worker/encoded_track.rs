//! One encoding of a camera's frames, from a frame to its ring: in the loop, or in a thread of its own.

use super::encoder_thread::Job;
use super::ring_publisher::{NewLosses, RingPublisher};
use crate::config::VideoConfig;
use crate::encode::pipeline::{PipelineError, PixelPipeline};
use crate::encode::{EncodeRequest, VideoEncoder};
use crate::ipc::ring::TooLarge;
use crate::log::LogOnce;
use crate::media::Shape;
use crate::media::frame::{OwnedFrame, RawFrame};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What has been logged. The tracks share it: what is wrong with a frame is wrong in every encoding.
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

/// A pipeline, which stays in its thread: made with the first frame, and anew where the settings change.
#[derive(Default)]
pub(super) struct PipelineSlot(Option<(Arc<VideoConfig>, PixelPipeline)>);

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
pub(super) struct FrameJob {
    pub(super) losses: NewLosses,
    /// Nobody reads any more.
    pub(super) reset: bool,
    pub(super) frame: Option<(Arc<OwnedFrame>, Arc<VideoConfig>, EncodeRequest)>,
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
pub(super) fn log_dropped(log: &Mutex<Log>, sequence: u64, why: &str) {
    if lock(log).faults.first_time_by_cause(why) {
        tracing::warn!("frame {sequence} was dropped: {why}");
    }
}

pub(super) fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
