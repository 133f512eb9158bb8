//! An open V4L2 camera: starts it in the selected format and turns its buffers into frames with
//! capture times.

use super::controls;
use super::device::PixFormat;
use super::find;
use super::find::Found;
use super::formats;
use super::formats::{Interval, SelectedFormat};
use super::frame_check::check_frame;
use super::identity::Identity;
use super::negotiation::{FrameLayout, capture_request, checked_format};
use super::nodes;
use super::nodes::Node;
use super::stream::{DequeuedBuffer, PollResult, Stream};
use super::timestamp::{SequenceGaps, TimestampFilter};
use crate::config::{UsbCamera, VideoConfig};
use crate::encode::jpeg::markers;
use crate::media::frame::{PixelFormat, RawFrame};
use crate::media::{MonoNs, Shape, StampMark, StampSource, StreamInfo};
use crate::source::jitter::JitterEstimator;
use crate::source::{Capture, Note, Source, SourceError, SourceIdentity, VideoSource};
use std::io;
use std::time::{Duration, Instant};

/// How often a streaming camera looks for identical devices
/// (see [`Identity::update_identical_devices`]).
const IDENTICAL_DEVICES_EVERY: Duration = Duration::from_secs(5);

/// After this long with damaged frames only, the device is reopened: it may have lost its
/// settings, or v4l2loopback's next writer may write another format than the one that was set.
const MAX_CORRUPT: Duration = Duration::from_secs(3);

/// The resolution of V4L2's timestamps: a `timeval` has whole microseconds.
const TIMESTAMP_STEP_NS: u64 = 1_000;

/// A V4L2 camera that is streaming.
///
/// Capture times are the driver's timestamps where these are plausible (see `timestamp.rs`), else
/// the time of dequeueing. What a driver's timestamp marks follows its flag: the start of the frame
/// (`SOE`: uvcvideo, which reads the clock when the first bytes of the frame arrive) or its end
/// (`EOF`). Its uncertainty is the jitter (see `jitter.rs`), which does not contain a constant
/// delay of the driver; that of a time of dequeueing is one interval, since the frame ended after
/// the one before it.
pub(crate) struct UsbSource {
    stream: Stream,
    label: String,
    format: PixFormat,
    layout: FrameLayout,
    /// Pixels; for MJPEG those of the last image.
    size: (u32, u32),
    /// Pixels: the larger of what was asked for and what the driver set. It limits the JPEGs.
    largest_size: (u32, u32),
    /// The interval that the driver set.
    interval: Option<Interval>,
    requested_fps: f64,
    timestamps: TimestampFilter,
    jitter: JitterEstimator,
    gaps: SequenceGaps,
    mark: StampMark,
    /// v4l2loopback: the frame is copied here, since its writer may overwrite a dequeued buffer.
    copy: Option<Vec<u8>>,
    /// v4l2loopback: the first buffer is an old one, as long as the whole buffer, and the next
    /// sequence number does not follow its.
    skip_first: bool,
    /// When the first of the current run of damaged frames was dequeued.
    corrupt_since: Option<MonoNs>,
    identity: Identity,
    next_identical_devices: Instant,
    notes: Vec<Note>,
}

impl UsbSource {
    /// Finds the camera, sets format, frame rate and controls, and starts streaming. Blocks no
    /// longer than the driver's ioctls do.
    ///
    /// `known` is the camera that was open before, so that the same one is opened again under any
    /// number and at any port.
    ///
    /// # Errors
    /// Missing, Busy, Failed and Io may pass; Unsupported lasts until device or options change.
    pub fn open(
        camera: &UsbCamera,
        video: &VideoConfig,
        known: Option<&Identity>,
    ) -> Result<Self, SourceError> {
        let found = find::resolve(camera, known)?;
        let request = capture_request(video);
        let formats = found
            .device
            .formats((request.width, request.height))
            .map_err(|e| io_error(found.identity.node(), "listing its formats", e))?;
        let Some(selected) = formats::select(&formats, &request) else {
            let mut codes: Vec<_> = formats.iter().map(|f| f.code.to_string()).collect();
            codes.dedup();
            let why = format!(
                "it has the formats {}; stampcast reads {}",
                if codes.is_empty() {
                    "(none)".into()
                } else {
                    codes.join(", ")
                },
                formats::readable()
            );
            return Err(SourceError::Unsupported {
                device: found.identity.node().label(),
                why,
            });
        };
        Self::start(found, &selected, video)
    }

    /// Starts the camera in the selected format.
    fn start(
        found: Found,
        selected: &SelectedFormat,
        video: &VideoConfig,
    ) -> Result<Self, SourceError> {
        let Found {
            device,
            driver,
            identity,
        } = found;
        let node = identity.node().clone();
        let label = node.label();
        let format = device
            .set_format(selected.code, selected.width, selected.height)
            .map_err(|e| io_error(&node, "setting its format", e))?;
        let layout = checked_format(&format, selected).map_err(|why| SourceError::Unsupported {
            device: label.clone(),
            why,
        })?;
        let interval = device
            .set_interval(selected.interval)
            .map_err(|e| io_error(&node, "setting its frame rate", e))?;
        if !video.controls.is_empty() {
            let controls =
                controls::read(&device).map_err(|e| io_error(&node, "listing its controls", e))?;
            for (name, value) in &video.controls {
                controls::set(&device, &controls, name, value).map_err(|why| {
                    SourceError::Unsupported {
                        device: label.clone(),
                        why,
                    }
                })?;
            }
        }
        let stream =
            Stream::start(device).map_err(|e| io_error(&node, "starting its stream", e))?;
        let loopback = driver.starts_with(find::LOOPBACK);
        let mut source = Self {
            timestamps: TimestampFilter::new(stream.start_time()),
            jitter: JitterEstimator::default(),
            gaps: SequenceGaps::new(stream.buffers()),
            stream,
            layout,
            size: (format.width, format.height),
            largest_size: markers::larger_size(
                (video.capture_width, video.capture_height),
                (format.width, format.height),
            ),
            format,
            interval,
            requested_fps: video.fps,
            mark: StampMark::EndOfFrame,
            copy: loopback.then(Vec::new),
            skip_first: loopback,
            corrupt_since: None,
            identity,
            next_identical_devices: Instant::now() + IDENTICAL_DEVICES_EVERY,
            notes: Vec::new(),
            label,
        };
        source.note_changes(video);
        Ok(source)
    }

    /// Frames per second that the driver set, which may be more than requested; `None` where it has
    /// no such setting.
    fn device_fps(&self) -> Option<f64> {
        self.interval.map(Interval::fps)
    }

    fn note_changes(&mut self, video: &VideoConfig) {
        let (width, height) = (self.format.width, self.format.height);
        let asked = (video.capture_width, video.capture_height);
        if (width, height) != asked {
            self.notes.push(Note::Warning(format!(
                "{} captures {width}x{height} instead of {}x{}",
                self.label, asked.0, asked.1
            )));
        }
        if let Some(fps) = self.device_fps().filter(|fps| *fps < video.fps * 0.99) {
            self.notes.push(Note::Warning(format!(
                "{} captures {fps:.2} fps instead of {}",
                self.label, video.fps
            )));
        }
    }

    fn interval(&self) -> Duration {
        let fps = self
            .device_fps()
            .unwrap_or(self.requested_fps)
            .clamp(0.001, 1000.0);
        Duration::from_secs_f64(1.0 / fps)
    }

    /// The frame in the buffer that was dequeued last.
    fn data(&self, buffer: &DequeuedBuffer) -> &[u8] {
        match &self.copy {
            Some(copy) => copy,
            None => self.stream.bytes(buffer.used),
        }
    }

    /// Checks the frame in the buffer that was dequeued last. Records the size of a JPEG.
    ///
    /// # Errors
    /// Why it is corrupt.
    fn check_frame(&mut self, buffer: &DequeuedBuffer) -> Result<(), String> {
        if buffer.has_error {
            return Err("the driver marked the frame as damaged".into());
        }
        let jpeg_size = check_frame(self.data(buffer), &self.layout, self.largest_size)?;
        self.size = jpeg_size.unwrap_or(self.size);
        Ok(())
    }

    fn io_error(&self, e: io::Error) -> SourceError {
        io_error(self.identity.node(), "waiting for a frame", e)
    }
}

impl Source for UsbSource {
    fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Complete from the first frame on. `stamp_source` may later change from driver to dequeue,
    /// and the size of an MJPEG camera may change.
    fn info(&self) -> StreamInfo {
        let (width, height) = self.size;
        let rate = self
            .device_fps()
            .map(|fps| format!(" at {fps:.4}"))
            .unwrap_or_default();
        let rate = rate.trim_end_matches('0').trim_end_matches('.');
        let source = self.timestamps.source();
        let dequeued = source == StampSource::Dequeue;
        StreamInfo {
            device: self.label.clone(),
            device_format: match rate {
                "" => format!("{} {width}x{height}", self.format.code),
                rate => format!("{} {width}x{height}{rate} fps", self.format.code),
            },
            shape: Shape::Video {
                width: u16::try_from(width).unwrap_or(u16::MAX),
                height: u16::try_from(height).unwrap_or(u16::MAX),
            },
            fps: Some(self.requested_fps),
            stamp_marks: if dequeued {
                StampMark::EndOfFrame
            } else {
                self.mark
            },
            stamp_source: source,
            stamp_clock: "CLOCK_MONOTONIC".into(),
            uncertainty_ns: if dequeued {
                Some(self.interval().as_nanos() as u64)
            } else {
                self.jitter
                    .uncertainty_ns()
                    .map(|ns| ns.max(TIMESTAMP_STEP_NS))
            },
            drift_ppm: None,
        }
    }

    fn identity(&self) -> Option<SourceIdentity> {
        Some(SourceIdentity::V4l2(self.identity.clone()))
    }
}

impl VideoSource for UsbSource {
    fn next_frame(&mut self, timeout: Duration) -> Result<Capture<'_>, SourceError> {
        let deadline = Instant::now() + timeout;
        let buffer = loop {
            match self
                .stream
                .next_buffer(deadline)
                .map_err(|e| self.io_error(e))?
            {
                PollResult::Buffer(_) if self.skip_first => self.skip_first = false,
                PollResult::Buffer(buffer) => break buffer,
                PollResult::TimedOut => return Ok(Capture::TimedOut),
                PollResult::SourceChanged => {
                    let why = "the size of its input signal changed; reopening it".into();
                    return Err(SourceError::Failed {
                        device: self.label.clone(),
                        why,
                    });
                }
            }
        };
        let capture_time =
            self.timestamps
                .accept(buffer.timestamp, buffer.is_monotonic, buffer.dequeue_time);
        let missed = self
            .gaps
            .advance(buffer.sequence, buffer.dequeue_time, self.interval());
        self.jitter.record(capture_time, missed);
        self.mark = if buffer.is_frame_start {
            StampMark::FrameStart
        } else {
            StampMark::EndOfFrame
        };
        if let Some(copy) = &mut self.copy {
            self.stream.copy_bytes(buffer.used, copy);
        }
        if Instant::now() >= self.next_identical_devices {
            // This camera has just delivered a frame, so an identical device is another one.
            self.identity.update_identical_devices(&nodes::scan());
            self.next_identical_devices = Instant::now() + IDENTICAL_DEVICES_EVERY;
        }
        if let Err(why) = self.check_frame(&buffer) {
            let since = *self.corrupt_since.get_or_insert(buffer.dequeue_time);
            if buffer.dequeue_time.since(since) >= MAX_CORRUPT {
                let why = format!("all of its frames are damaged ({why}); reopening it");
                return Err(SourceError::Failed {
                    device: self.label.clone(),
                    why,
                });
            }
            return Ok(Capture::Corrupt {
                capture_time,
                missed,
                why,
            });
        }
        self.corrupt_since = None;
        let bytes = self.data(&buffer);
        Ok(Capture::Frame(RawFrame {
            format: self.layout.pixels,
            width: self.size.0,
            height: self.size.1,
            stride: self.layout.stride,
            // A raw frame may be followed by padding; a JPEG is cut by the encoder.
            data: if self.layout.frame_bytes == 0 {
                bytes
            } else {
                &bytes[..self.layout.frame_bytes]
            },
            full_range: self.layout.pixels == PixelFormat::Mjpeg || self.format.full_range,
            capture_time,
            missed,
        }))
    }
}

/// The error that a failed system call means.
fn io_error(node: &Node, doing: &'static str, e: io::Error) -> SourceError {
    let device = node.label();
    match e.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO | libc::ENOENT) => SourceError::Missing {
            device,
            available: find::other_cameras(node),
        },
        Some(libc::EBUSY) => SourceError::Busy { device },
        _ => SourceError::Io {
            device,
            doing,
            source: e,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_error_errno_gives_its_variant() {
        let error = |errno| {
            io_error(
                &Node::default(),
                "waiting for a frame",
                io::Error::from_raw_os_error(errno),
            )
        };
        assert!(matches!(error(libc::ENODEV), SourceError::Missing { .. }));
        assert!(matches!(error(libc::EBUSY), SourceError::Busy { .. }));
        assert!(matches!(error(libc::EIO), SourceError::Io { .. }));
    }
}
