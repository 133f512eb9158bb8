//! The video worker's loop: camera to ring, one frame at a time, nothing kept waiting.

use super::{End, GRAB, Numbering, Worker, thin::Thinner};
use crate::capture::picture::{Picture, PictureError};
use crate::capture::video::{rpi::RpiSource, test::TestSource, usb};
use crate::capture::{Grab, RawFrame, SourceError, VideoSource};
use crate::config::{Camera, Video};
use crate::packet::{Encoding, MonoNs, Shape, WorkerState};
use crate::ring::RingWriter;
use std::time::Duration;

/// Runs until the supervisor asks it to end, or a device fails and that was to be the end.
pub fn run(mut worker: Worker, camera: &Camera, video: &Video, ring: RingWriter) -> End {
    let mut outlet = Outlet::new(&worker, video, ring);
    let mut identity = None;
    worker.status.set_interval(Duration::from_secs_f64(1.0 / video.fps));
    worker.status.set_next_sequence(Encoding::Jpeg, outlet.numbering.next);
    loop {
        let mut source = match worker.open(|| open(camera, video, &mut identity)) {
            Ok(source) => source,
            Err(end) => return end,
        };
        match stream(&mut worker, source.as_mut(), &mut outlet) {
            Ok(end) => return end,
            Err(e) => {
                // The device is closed before it is tried again.
                drop(source);
                outlet.source_away(&worker);
                if let Err(end) = worker.away(&e, &mut String::new()) {
                    return end;
                }
            }
        }
    }
}

fn open(camera: &Camera, video: &Video, identity: &mut Option<usb::Identity>) -> Result<Box<dyn VideoSource>, SourceError> {
    Ok(match camera {
        Camera::Usb(which) => Box::new(usb::UsbSource::open(which, video, identity)?),
        Camera::Rpi => Box::new(RpiSource::open(video)?),
        Camera::Test => Box::new(TestSource::open(video.width, video.height, video.fps)?),
        Camera::None => unreachable!("without a camera there is no video worker"),
    })
}

fn stream(worker: &mut Worker, source: &mut dyn VideoSource, outlet: &mut Outlet) -> Result<End, SourceError> {
    let info = source.info();
    tracing::info!("{}: {}", info.device, info.device_format);
    worker.status.describe(Some(&info), "");
    worker.status.set_state(WorkerState::Streaming);
    outlet.source_is_new(source);
    while !worker.stop.asked() {
        worker.status.beat(MonoNs::now());
        source.clock_offset(outlet.ring.clock_offset_ns());
        match source.grab(GRAB)? {
            Grab::TimedOut => continue,
            Grab::Frame(frame) => outlet.frame(&frame),
            Grab::Corrupt { captured, missed, why } => outlet.corrupt(captured, missed, &why),
        }
        worker.status.captured(MonoNs::now());
        worker.status.set_losses(outlet.numbering.losses);
        worker.status.set_next_sequence(Encoding::Jpeg, outlet.numbering.next);
    }
    Ok(End::Asked)
}

/// From a frame to the ring: thinned, encoded if somebody watches, numbered.
struct Outlet {
    ring: RingWriter,
    numbering: Numbering,
    thinner: Thinner,
    video: Video,
    picture: Picture,
    jpeg: Vec<u8>,
    /// The last fault of a frame that was logged: a camera that sends the same fault with every frame says it once.
    told: String,
}

impl Outlet {
    fn new(worker: &Worker, video: &Video, ring: RingWriter) -> Self {
        Self {
            ring,
            numbering: Numbering::new(worker),
            thinner: Thinner::new(video.fps),
            video: video.clone(),
            picture: Picture::new(video),
            jpeg: Vec::new(),
            told: String::new(),
        }
    }

    fn source_is_new(&mut self, source: &dyn VideoSource) {
        self.thinner = Thinner::new(self.video.fps);
        self.picture = Picture::new(&source.left_to_do(&self.video));
        self.told.clear();
    }

    /// An absence is one of the stream's only when there was something before it.
    fn source_away(&mut self, worker: &Worker) {
        if self.numbering.next > worker.first_sequence {
            self.numbering.losses.source_away += 1;
        }
    }

    fn frame(&mut self, frame: &RawFrame<'_>) {
        let (keep, lost) = self.thinner.take(frame.captured, frame.missed);
        // Without a viewer nothing is encoded and nothing is missing: numbers stand still.
        if !self.ring.demand().wanted {
            return;
        }
        self.numbering.lose(lost, 0);
        if !keep {
            return;
        }
        match self.picture.jpeg(frame, &mut self.jpeg) {
            Ok((width, height)) => self.send(frame.captured, Shape::Video { width, height }),
            Err(e @ PictureError::Corrupt { .. }) => self.lose_corrupt(&e.to_string()),
            Err(e) => self.lose_corrupt(&crate::log::chain(&e)),
        }
        for note in self.picture.take_notes() {
            tracing::info!("{note}");
        }
    }

    fn corrupt(&mut self, captured: MonoNs, missed: u32, why: &str) {
        let (keep, lost) = self.thinner.take(captured, missed);
        if !self.ring.demand().wanted {
            return;
        }
        self.numbering.lose(lost, 0);
        if keep {
            self.lose_corrupt(why);
        }
    }

    fn lose_corrupt(&mut self, why: &str) {
        if self.told != why {
            tracing::warn!("frame {} was dropped: {why}", self.numbering.next);
            self.told = why.to_owned();
        }
        self.numbering.lose(0, 1);
    }

    fn send(&mut self, captured: MonoNs, shape: Shape) {
        let meta = self.numbering.label(captured, shape);
        if let Err(e) = self.ring.push(&meta, &self.jpeg) {
            tracing::warn!("frame {} was dropped: {e}", meta.sequence);
            self.numbering.losses.corrupt += 1;
        }
    }
}
