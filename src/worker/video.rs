//! The video worker's loop: camera to rings, one frame at a time, nothing kept waiting.

use super::{Description, End, GRAB, Lane, Worker};
use crate::config::VideoConfig;
#[cfg(feature = "webrtc")]
use crate::encode::h264::{H264Encoder, Wish};
use crate::encode::pipeline::{Frame, Picture, PictureError};
use crate::ipc::ring::TooLarge;
use crate::log::Told;
use crate::media::frame::RawFrame;
use crate::media::frame_rate::FrameDecimator;
use crate::media::{Encoding, MonoNs, Shape, StreamInfo, WorkerState};
use crate::source;
use crate::source::{Capture, SourceError, SourceIdentity, VideoSource};
use std::time::Duration;

/// Runs until the supervisor asks it to end, or a device fails and that was to be the end.
pub fn run(mut worker: Worker, video: &VideoConfig, lanes: Vec<Lane>) -> End {
    let mut frames = Frames::new(video, lanes);
    let mut known: Option<SourceIdentity> = worker.noted_device();
    worker
        .status
        .set_interval(Duration::from_secs_f64(1.0 / video.fps));
    frames
        .outlets
        .iter()
        .for_each(|outlet| worker.note_number(&outlet.lane));
    loop {
        let unix_offset = worker.unix_offset();
        let mut source = match worker
            .open(|| source::open_video(video, known.as_ref(), unix_offset.clock_offset()))
        {
            Ok(source) => source,
            Err(end) => return end,
        };
        known = source.identity().or(known);
        match stream(&mut worker, source.as_mut(), known.as_ref(), &mut frames) {
            Ok(end) => return end,
            Err(e) => {
                // The device is closed before it is tried again.
                drop(source);
                frames.outlets.iter_mut().for_each(Outlet::source_was_away);
                if let Err(end) = worker.failed(&e) {
                    return end;
                }
            }
        }
    }
}

fn stream(
    worker: &mut Worker,
    source: &mut dyn VideoSource,
    camera: Option<&SourceIdentity>,
    frames: &mut Frames,
) -> Result<End, SourceError> {
    frames.source_is_new(source)?;
    if let Some(camera) = camera {
        worker.note_device(camera);
    }
    let mut description = Description::default();
    while !worker.stop.asked() {
        worker.status.set_heartbeat(MonoNs::now());
        worker.read_requests();
        let grabbed = source.next_frame(GRAB)?;
        // Before the frame is handed over, so that whoever gets it knows that the camera is back. A device that is open and gives
        // nothing is the supervisor's to judge.
        worker.status.set_state(WorkerState::Streaming);
        match grabbed {
            Capture::TimedOut => continue,
            Capture::Frame(frame) => {
                frames.frame(&frame);
                if worker.good(MonoNs::now()) {
                    frames.told.forget();
                }
            }
            Capture::Corrupt {
                capture_time,
                missed,
                why,
            } => frames.corrupt(capture_time, missed, &why),
        }
        for note in source.take_notes() {
            if worker.is_new_note(&note) {
                tracing::warn!("{note}");
            }
        }
        let now = MonoNs::now();
        worker.status.set_last_capture(now);
        frames
            .outlets
            .iter()
            .for_each(|outlet| worker.note_number(&outlet.lane));
        if let (None, Some(_)) = (description.looked, frames.size) {
            // Opening a camera is over, for a long time with luck.
            crate::malloc_trim::trim();
        }
        if let Some((width, height)) = frames.size {
            let looked = description.tell(worker, now, || StreamInfo {
                shape: Shape::Video { width, height },
                ..source.info()
            });
            // The source learns of twins while it streams.
            if let Some(camera) = camera.filter(|_| looked) {
                worker.note_device(camera);
            }
        }
    }
    Ok(End::Asked)
}

/// The frames of one camera on their way to the rings: thinned, and each made into what somebody reads.
struct Frames {
    outlets: Vec<Outlet>,
    thinner: FrameDecimator,
    video: VideoConfig,
    /// Made anew with each source, which may do part of the work itself.
    picture: Option<Picture>,
    /// The streamed size, once a frame has shown it.
    size: Option<(u16, u16)>,
    /// The faults of frames that were logged.
    told: Told,
    /// What was done to the pictures, as far as it was logged.
    notes: Told,
}

impl Frames {
    fn new(video: &VideoConfig, lanes: Vec<Lane>) -> Self {
        Self {
            outlets: lanes
                .into_iter()
                .map(|lane| Outlet::new(lane, video))
                .collect(),
            thinner: FrameDecimator::new(video.fps),
            video: video.clone(),
            picture: None,
            size: None,
            told: Told::default(),
            notes: Told::default(),
        }
    }

    fn source_is_new(&mut self, source: &dyn VideoSource) -> Result<(), SourceError> {
        self.thinner = FrameDecimator::new(self.video.fps);
        self.size = None;
        let picture = Picture::new(&source.remaining(&self.video));
        self.picture = Some(picture.map_err(|e| SourceError::Unsupported {
            device: source.info().device,
            why: e.to_string(),
        })?);
        Ok(())
    }

    fn frame(&mut self, frame: &RawFrame<'_>) {
        let capture_time = frame.capture_time;
        let (keep, lost) = self.thinner.take(capture_time, frame.missed);
        let Some(picture) = &mut self.picture else {
            return;
        };
        if self.size.is_none() {
            self.size = picture.frame(*frame).ok().and_then(|f| size(&f));
        }
        // Without a viewer nothing is encoded and nothing is missing: numbers stand still.
        let mut wanted: Vec<&mut Outlet> = self
            .outlets
            .iter_mut()
            .filter_map(|outlet| outlet.wanted().then_some(outlet))
            .collect();
        wanted
            .iter_mut()
            .for_each(|outlet| outlet.lane.lose(lost, 0));
        if !keep || wanted.is_empty() {
            return;
        }
        let mut faults = Vec::new();
        match picture.frame(*frame) {
            Ok(mut frame) => {
                self.size = size(&frame);
                for outlet in wanted {
                    match outlet.frame(&mut frame, capture_time) {
                        Ok(()) => {}
                        Err(NotSent::TooLarge(e)) => faults.push(e.to_string()), // numbered and not sent: the ring's loss
                        Err(NotSent::Picture(e)) => {
                            outlet.lane.lose(0, 1);
                            faults.push(e.to_string());
                        }
                    }
                }
            }
            Err(e) => {
                wanted.into_iter().for_each(|outlet| outlet.lane.lose(0, 1));
                faults.push(e.to_string());
            }
        }
        for note in std::iter::from_fn(|| picture.news()) {
            if self.notes.is_news(&note.to_string()) {
                tracing::info!("{note}");
            }
        }
        faults.into_iter().for_each(|why| self.complain(why));
    }

    fn corrupt(&mut self, capture_time: MonoNs, missed: u32, why: &str) {
        let (keep, lost) = self.thinner.take(capture_time, missed);
        let mut anybody = false;
        for outlet in &mut self.outlets {
            if outlet.wanted() {
                outlet.lane.lose(lost, keep.into());
                anybody = true;
            }
        }
        if anybody && keep {
            self.complain(why.to_owned());
        }
    }

    /// A camera that sends the same fault with every frame is reported once.
    fn complain(&mut self, why: String) {
        if self.told.is_new_cause(&why) {
            tracing::warn!(
                "frame {} was dropped: {why}",
                self.outlets
                    .first()
                    .map_or(0, |outlet| outlet.lane.next_sequence())
            );
        }
    }
}

fn size(frame: &Frame<'_>) -> Option<(u16, u16)> {
    let (width, height) = frame.size();
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// Why a frame did not reach a ring.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// It had its number.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// One encoding of the frames, to its ring.
struct Outlet {
    lane: Lane,
    coder: Coder,
}

enum Coder {
    Jpeg,
    #[cfg(feature = "webrtc")]
    H264 {
        encoder: H264Encoder,
        unit: Vec<u8>,
    },
}

impl Outlet {
    fn new(lane: Lane, video: &VideoConfig) -> Self {
        let coder = match lane.encoding {
            #[cfg(feature = "webrtc")]
            Encoding::H264 => Coder::H264 {
                encoder: H264Encoder::new(video.fps),
                unit: Vec::new(),
            },
            Encoding::Jpeg => Coder::Jpeg,
            other => unreachable!(
                "no ring for {other:?} is made for the video worker of {}x{}",
                video.width, video.height
            ),
        };
        Self { lane, coder }
    }

    /// Whether somebody reads. Where nobody does, an encoder with a memory is dropped.
    fn wanted(&mut self) -> bool {
        let wanted = self.lane.demand().wanted;
        if !wanted {
            self.rest();
        }
        wanted
    }

    fn source_was_away(&mut self) {
        self.lane.source_was_away();
        self.rest();
    }

    fn rest(&mut self) {
        match &mut self.coder {
            Coder::Jpeg => {}
            #[cfg(feature = "webrtc")]
            Coder::H264 { encoder, .. } => encoder.rest(),
        }
    }

    fn frame(&mut self, frame: &mut Frame<'_>, capture_time: MonoNs) -> Result<(), NotSent> {
        match &mut self.coder {
            Coder::Jpeg => {
                let jpeg = frame.jpeg()?;
                self.lane.send(
                    capture_time,
                    Shape::Video {
                        width: jpeg.width,
                        height: jpeg.height,
                    },
                    true,
                    jpeg.bytes,
                )?;
            }
            #[cfg(feature = "webrtc")]
            Coder::H264 { encoder, unit } => {
                let demand = self.lane.demand();
                let wish = Wish {
                    keyframes: demand.keyframes,
                    bitrate_bps: demand.bitrate_bps,
                };
                let planes = frame.planes()?;
                let coded = encoder
                    .encode(&planes, capture_time, wish, unit)
                    .map_err(|e| PictureError::Encoder(e.to_string()))?;
                let (Some(keyframe), Some((width, height))) = (coded, size(frame)) else {
                    return Ok(());
                };
                self.lane
                    .send(capture_time, Shape::Video { width, height }, keyframe, unit)?;
            }
        }
        Ok(())
    }
}
