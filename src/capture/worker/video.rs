//! The video worker's loop: camera to ring, one frame at a time, nothing kept waiting.

use super::{Description, End, GRAB, Numbering, Worker, thin::Thinner};
use crate::capture::picture::Picture;
use crate::capture::video::{rpi::RpiSource, test::TestSource, usb};
use crate::capture::{Grab, RawFrame, SourceError, VideoSource};
use crate::config::{Camera, Video};
use crate::packet::{Encoding, MonoNs, Shape, StreamInfo, WorkerState};
use crate::ring::RingWriter;
use std::time::Duration;

/// Runs until the supervisor asks it to end, or a device fails and that was to be the end.
pub fn run(mut worker: Worker, camera: &Camera, video: &Video, ring: RingWriter) -> End {
    let mut outlet = Outlet::new(&worker, video, ring);
    let mut known = None;
    worker.status.set_interval(Duration::from_secs_f64(1.0 / video.fps));
    worker.status.set_next_sequence(Encoding::Jpeg, outlet.numbering.next);
    loop {
        let mut source = match worker.open(|| open(camera, video, &mut known)) {
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

/// `known`: which USB camera it was before, to be found again under whatever number or port.
fn open(camera: &Camera, video: &Video, known: &mut Option<usb::Identity>) -> Result<Box<dyn VideoSource>, SourceError> {
    Ok(match camera {
        Camera::Usb(which) => Box::new(usb::UsbSource::open(which, video, known)?),
        Camera::Rpi => Box::new(RpiSource::open(video)?),
        Camera::Test => Box::new(TestSource::open(video.width, video.height, video.fps)?),
        Camera::None => unreachable!("without a camera there is no video worker"),
    })
}

fn stream(worker: &mut Worker, source: &mut dyn VideoSource, outlet: &mut Outlet) -> Result<End, SourceError> {
    outlet.source_is_new(source)?;
    let mut description = Description::default();
    while !worker.stop.asked() {
        worker.status.beat(MonoNs::now());
        source.clock_offset(outlet.ring.clock_offset_ns());
        match source.grab(GRAB)? {
            Grab::TimedOut => {
                // A device that is open and gives nothing is the supervisor's to judge.
                worker.status.set_state(WorkerState::Streaming);
                continue;
            }
            Grab::Frame(frame) => outlet.frame(&frame),
            Grab::Corrupt { captured, missed, why } => outlet.corrupt(captured, missed, &why),
        }
        let now = MonoNs::now();
        worker.status.captured(now);
        worker.status.set_losses(outlet.numbering.losses);
        worker.status.set_next_sequence(Encoding::Jpeg, outlet.numbering.next);
        if let Some((width, height)) = outlet.size {
            description.tell(worker, now, || StreamInfo { shape: Shape::Video { width, height }, ..source.info() });
        }
        worker.status.set_state(WorkerState::Streaming);
    }
    Ok(End::Asked)
}

/// From a frame to the ring: thinned, encoded if somebody watches, numbered.
struct Outlet {
    ring: RingWriter,
    numbering: Numbering,
    thinner: Thinner,
    video: Video,
    /// Made anew with each source, which may do part of the work itself.
    picture: Option<Picture>,
    /// The streamed size, once a frame has shown it.
    size: Option<(u16, u16)>,
    /// The last fault of a frame that was logged.
    told: String,
}

impl Outlet {
    fn new(worker: &Worker, video: &Video, ring: RingWriter) -> Self {
        Self {
            ring,
            numbering: Numbering::new(worker),
            thinner: Thinner::new(video.fps),
            video: video.clone(),
            picture: None,
            size: None,
            told: String::new(),
        }
    }

    fn source_is_new(&mut self, source: &dyn VideoSource) -> Result<(), SourceError> {
        self.thinner = Thinner::new(self.video.fps);
        self.told.clear();
        self.size = None;
        let picture = Picture::new(&source.left_to_do(&self.video));
        self.picture = Some(picture.map_err(|e| SourceError::Unsupported { device: source.info().device, why: e.to_string() })?);
        Ok(())
    }

    /// An absence is one of the stream's only when there was something before it.
    fn source_away(&mut self, worker: &Worker) {
        if self.numbering.next > worker.first_sequence {
            self.numbering.losses.source_away += 1;
        }
    }

    fn frame(&mut self, frame: &RawFrame<'_>) {
        let captured = frame.captured;
        let (keep, lost) = self.thinner.take(captured, frame.missed);
        let Some(picture) = &mut self.picture else { return };
        let wanted = self.ring.demand().wanted;
        if self.size.is_none() {
            let size = picture.frame(*frame).ok().map(|f| f.size());
            self.size = size.and_then(|(w, h)| Some((u16::try_from(w).ok()?, u16::try_from(h).ok()?)));
        }
        // Without a viewer nothing is encoded and nothing is missing: numbers stand still.
        if !wanted {
            return;
        }
        self.numbering.lose(lost, 0);
        if !keep {
            return;
        }
        let sent = picture.frame(*frame).and_then(|mut frame| {
            let jpeg = frame.jpeg()?;
            self.size = Some((jpeg.width, jpeg.height));
            let meta = self.numbering.label(captured, Shape::Video { width: jpeg.width, height: jpeg.height });
            Ok(self.ring.push(&meta, jpeg.bytes))
        });
        for note in std::iter::from_fn(|| picture.news()) {
            tracing::info!("{note}");
        }
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(e)) => self.complain(&e.to_string()), // numbered and not sent: the ring's loss
            Err(e) => self.lose_corrupt(&e.to_string()),
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
        self.complain(why);
        self.numbering.lose(0, 1);
    }

    /// A camera that sends the same fault with every frame is reported once.
    fn complain(&mut self, why: &str) {
        if self.told != why {
            tracing::warn!("frame {} was dropped: {why}", self.numbering.next);
            self.told = why.to_owned();
        }
    }
}
