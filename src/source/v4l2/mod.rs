//! A V4L2 camera, USB or not: opened, set up as the settings ask, and read frame by frame. Knows no encoder.
//!
//! `find` says which device, `formats` what to ask of it, `controls` its knobs, `device` and `stream` talk to the kernel, `stamp`
//! judges its stamps. `list` is for people.

pub(crate) mod abi;
pub mod controls;
pub mod device;
pub mod find;
pub mod formats;
pub mod list;
pub mod stream;
pub mod timestamp;

pub use find::Identity;
pub use list::{CameraListing, FormatListing, list_cameras};

use super::jitter::Scatter;
use super::{Capture, Source, SourceError, SourceIdentity, VideoSource};
use crate::config::{Flip, Rotate, UsbCamera, VideoConfig};
use crate::encode::jpeg::markers;
use crate::media::frame::{PixelFormat, RawFrame};
use crate::media::{MonoNs, Shape, StampMark, StampSource, StreamInfo};
use device::PixFormat;
use find::{Found, Node};
use formats::{Choice, Interval, Wish};
use std::io;
use std::time::{Duration, Instant};
use stream::{Filled, Next, Stream};
use timestamp::{Gaps, Stamps};

/// How often a streaming camera looks for others that are just like it (see [`Identity::note_twins`]).
const TWINS_EVERY: Duration = Duration::from_secs(5);

/// After so long without a good picture among damaged ones the device is opened anew: it may have lost its settings, or
/// v4l2loopback's next writer may write another format than the one that it was opened in.
const CORRUPT_AT_MOST: Duration = Duration::from_secs(3);

/// V4L2's stamps are a `timeval`: whole microseconds.
const STAMP_STEP_NS: u64 = 1_000;

/// A V4L2 camera that is streaming.
///
/// Stamps are the driver's where they can be believed (see `stamp.rs`), else the clock at the dequeue. What they mark follows
/// the driver's flag: the start of the frame (`SOE`: uvcvideo, which reads the clock when the first bytes of the frame
/// arrive) or its end (`EOF`). The uncertainty of a driver's stamp is its scatter (see `scatter.rs`), which cannot contain what
/// the driver is late by always; that of a dequeue is one interval: the frame ended after the one before it.
pub struct UsbSource {
    stream: Stream,
    label: String,
    format: PixFormat,
    pixels: PixelFormat,
    /// Bytes from line to line, and of the whole picture; 0 for MJPEG.
    stride: usize,
    picture_bytes: usize,
    /// MJPEG: the size that the last image had, pixels.
    size: (u32, u32),
    /// What the driver says it runs at.
    interval: Option<Interval>,
    fps_asked: f64,
    stamps: Stamps,
    scatter: Scatter,
    gaps: Gaps,
    mark: StampMark,
    /// v4l2loopback: bytes are copied here, since its writer may overwrite a buffer that is lent.
    copy: Option<Vec<u8>>,
    /// v4l2loopback: the first buffer is an old one of the whole slot's length, and its number is not the next one's neighbour.
    skip_first: bool,
    /// When the first of the damaged pictures came that followed one another without a good one.
    corrupt_since: Option<MonoNs>,
    identity: Identity,
    twins_due: Instant,
    notes: Vec<String>,
}

impl UsbSource {
    /// Finds the camera, sets format, frame rate and controls, and starts the stream. Blocks no longer than the driver's ioctls do.
    ///
    /// `known` says which camera was open before, so that the same one is opened again under whatever number or port; it is
    /// filled in when the stream has started. The caller keeps it from one open to the next.
    pub fn open(
        camera: &UsbCamera,
        video: &VideoConfig,
        known: &mut Option<Identity>,
    ) -> Result<Self, SourceError> {
        let found = find::resolve(camera, known.as_ref())?;
        let wish = wish(video);
        let offers = found
            .device
            .offers((wish.width, wish.height))
            .map_err(|e| fault(found.identity.node(), "listing its formats", e))?;
        let Some(choice) = formats::choose(&offers, &wish) else {
            let mut codes: Vec<_> = offers.iter().map(|o| o.code.to_string()).collect();
            codes.dedup();
            let why = format!(
                "it offers {}, and stampcast reads YUYV, NV12, YU12, GREY and MJPG",
                if codes.is_empty() {
                    "no format".into()
                } else {
                    codes.join(", ")
                }
            );
            return Err(SourceError::Unsupported {
                device: found.identity.node().label(),
                why,
            });
        };
        let source = Self::start(found, &choice, video)?;
        *known = Some(source.identity.clone());
        Ok(source)
    }

    /// Starts a camera that was found in a format that was chosen.
    pub fn start(found: Found, choice: &Choice, video: &VideoConfig) -> Result<Self, SourceError> {
        let Found {
            device,
            driver,
            identity,
        } = found;
        let node = identity.node().clone();
        let label = node.label();
        let format = device
            .set_format(choice.code, choice.width, choice.height)
            .map_err(|e| fault(&node, "setting its format", e))?;
        let pixels = usable(&format, choice).map_err(|why| SourceError::Unsupported {
            device: label.clone(),
            why,
        })?;
        let interval = device
            .set_interval(choice.interval)
            .map_err(|e| fault(&node, "setting its frame rate", e))?;
        if !video.controls.is_empty() {
            let controls =
                controls::read(&device).map_err(|e| fault(&node, "listing its controls", e))?;
            for (name, value) in &video.controls {
                controls::set(&device, &controls, name, value).map_err(|why| {
                    SourceError::Unsupported {
                        device: label.clone(),
                        why,
                    }
                })?;
            }
        }
        let stream = Stream::start(device).map_err(|e| fault(&node, "starting its stream", e))?;
        let loopback = driver.starts_with(find::LOOPBACK);
        let mut source = Self {
            stamps: Stamps::new(stream.started()),
            scatter: Scatter::default(),
            gaps: Gaps::new(stream.buffers()),
            stream,
            stride: stride(&format, pixels),
            picture_bytes: formats::picture_bytes(pixels, stride(&format, pixels), format.height),
            pixels,
            size: (format.width, format.height),
            format,
            interval,
            fps_asked: video.fps,
            mark: StampMark::EndOfFrame,
            copy: loopback.then(Vec::new),
            skip_first: loopback,
            corrupt_since: None,
            identity,
            twins_due: Instant::now() + TWINS_EVERY,
            notes: Vec::new(),
            label,
        };
        source.note_changes(video);
        Ok(source)
    }

    /// Frames per second that the driver says it delivers, which may be more than asked for; `None` where it does not say.
    pub fn device_fps(&self) -> Option<f64> {
        self.interval.map(Interval::fps)
    }

    fn note_changes(&mut self, video: &VideoConfig) {
        let (width, height) = (self.format.width, self.format.height);
        let asked = (video.capture_width, video.capture_height);
        if (width, height) != asked {
            self.notes.push(format!(
                "{} was asked for {}x{} and gives {width}x{height}",
                self.label, asked.0, asked.1
            ));
        }
        if let Some(fps) = self.device_fps().filter(|fps| *fps < video.fps * 0.99) {
            self.notes.push(format!(
                "{} was asked for {} fps and gives {fps:.2}",
                self.label, video.fps
            ));
        }
    }

    fn interval(&self) -> Duration {
        let fps = self
            .device_fps()
            .unwrap_or(self.fps_asked)
            .clamp(0.001, 1000.0);
        Duration::from_secs_f64(1.0 / fps)
    }

    fn lent(&self, filled: &Filled) -> &[u8] {
        match &self.copy {
            Some(copy) => copy,
            None => self.stream.bytes(filled.used),
        }
    }

    /// What is wrong with a buffer, if anything; notes a new size of an MJPEG camera.
    fn defect(&mut self, filled: &Filled) -> Option<String> {
        let bytes = self.lent(filled);
        if filled.faulty {
            return Some("the driver marked the picture as damaged".into());
        }
        if bytes.is_empty() {
            return Some("the picture is empty".into());
        }
        if self.pixels == PixelFormat::Mjpeg {
            return match markers::walk(bytes) {
                Ok(image) => {
                    self.size = (image.width.into(), image.height.into());
                    None
                }
                Err(e) => Some(e.to_string()),
            };
        }
        let (got, whole) = (bytes.len(), self.picture_bytes);
        (got < whole).then(|| format!("the picture has {got} bytes of {whole}"))
    }

    fn fault(&self, e: io::Error) -> SourceError {
        fault(self.identity.node(), "waiting for a frame", e)
    }
}

impl Source for UsbSource {
    fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Complete once the first frame was grabbed; `stamp_source` may later fall from driver to dequeue, and an MJPEG camera's size may
    /// change.
    fn info(&self) -> StreamInfo {
        let (width, height) = self.size;
        let rate = self
            .device_fps()
            .map(|fps| format!(" at {fps:.4}"))
            .unwrap_or_default();
        let rate = rate.trim_end_matches('0').trim_end_matches('.');
        let source = self.stamps.source();
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
            fps: Some(self.fps_asked),
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
                self.scatter
                    .uncertainty_ns()
                    .map(|ns| ns.max(STAMP_STEP_NS))
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
        let filled = loop {
            match self.stream.next(deadline).map_err(|e| self.fault(e))? {
                Next::Filled(_) if self.skip_first => self.skip_first = false,
                Next::Filled(filled) => break filled,
                Next::TimedOut => return Ok(Capture::TimedOut),
                Next::SourceChanged => {
                    let why = "its picture changed its size, so it must be opened anew".into();
                    return Err(SourceError::Failed {
                        device: self.label.clone(),
                        why,
                    });
                }
            }
        };
        let capture_time = self
            .stamps
            .judge(filled.stamp, filled.monotonic, filled.dequeued);
        let missed = self
            .gaps
            .missed(filled.sequence, filled.dequeued, self.interval());
        self.scatter.note(capture_time, missed);
        self.mark = if filled.start_of_frame {
            StampMark::FrameStart
        } else {
            StampMark::EndOfFrame
        };
        if let Some(copy) = &mut self.copy {
            self.stream.copy_bytes(filled.used, copy);
        }
        if Instant::now() >= self.twins_due {
            // The camera has just delivered, so whatever else looks like it now is another.
            self.identity.note_twins(&find::scan());
            self.twins_due = Instant::now() + TWINS_EVERY;
        }
        if let Some(why) = self.defect(&filled) {
            let since = *self.corrupt_since.get_or_insert(filled.dequeued);
            if filled.dequeued.since(since) >= CORRUPT_AT_MOST {
                let why =
                    format!("it delivers only damaged pictures ({why}), so it must be opened anew");
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
        let bytes = self.lent(&filled);
        Ok(Capture::Frame(RawFrame {
            format: self.pixels,
            width: self.size.0,
            height: self.size.1,
            stride: self.stride,
            // Raw pictures may be followed by padding; a JPEG's length is its own.
            data: if self.picture_bytes == 0 {
                bytes
            } else {
                &bytes[..self.picture_bytes]
            },
            full_range: self.pixels == PixelFormat::Mjpeg || self.format.full_range,
            capture_time,
            missed,
        }))
    }
}

/// What the settings ask of the camera.
pub fn wish(video: &VideoConfig) -> Wish {
    let same_size = (video.width, video.height) == (video.capture_width, video.capture_height);
    let upright = video.rotate == Rotate::None && video.flip == Flip::None;
    Wish {
        width: video.capture_width,
        height: video.capture_height,
        fps: video.fps,
        untouched_jpeg: same_size && upright && !video.quality_given,
    }
}

/// The pixel format of what the driver settled on, or why it cannot be read.
fn usable(got: &PixFormat, asked: &Choice) -> Result<PixelFormat, String> {
    let Some(pixels) = got.code.pixel_format() else {
        return Err(format!(
            "it was asked for {} and gives {}, which stampcast does not read",
            asked.code, got.code
        ));
    };
    if got.alternating_fields {
        return Err(
            "it gives half pictures (alternating fields); choose another input or size".into(),
        );
    }
    let sane = |n: u32| (1..=u32::from(u16::MAX)).contains(&n);
    if !sane(got.width) || !sane(got.height) {
        return Err(format!(
            "its driver says the picture is {}x{}",
            got.width, got.height
        ));
    }
    let line = formats::line_bytes(pixels, got.width);
    if got.stride != 0
        && pixels != PixelFormat::Mjpeg
        && !(line..=16 * line).contains(&(got.stride as usize))
    {
        return Err(format!(
            "its driver says that a line of {} pixels has {} bytes",
            got.width, got.stride
        ));
    }
    Ok(pixels)
}

fn stride(got: &PixFormat, pixels: PixelFormat) -> usize {
    match (pixels, got.stride as usize) {
        (PixelFormat::Mjpeg, _) => 0,
        (_, 0) => formats::line_bytes(pixels, got.width),
        (_, stride) => stride,
    }
}

fn fault(node: &Node, doing: &'static str, e: io::Error) -> SourceError {
    let device = node.label();
    match e.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO | libc::ENOENT) => SourceError::Missing {
            device,
            available: find::others(node),
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
    use formats::FourCc;

    fn got(code: &[u8; 4], width: u32, height: u32, stride: u32) -> PixFormat {
        PixFormat {
            code: FourCc::new(code),
            width,
            height,
            stride,
            alternating_fields: false,
            full_range: false,
        }
    }

    #[test]
    fn what_the_driver_settled_on_is_checked() {
        let asked = Choice {
            code: FourCc::new(b"YUYV"),
            format: PixelFormat::Yuyv,
            width: 640,
            height: 480,
            interval: Interval::from_fps(15.0),
        };
        for (what, format, expected) in [
            (
                "as asked",
                got(b"YUYV", 640, 480, 1280),
                Ok(PixelFormat::Yuyv),
            ),
            (
                "padded lines",
                got(b"YUYV", 640, 480, 1536),
                Ok(PixelFormat::Yuyv),
            ),
            (
                "no stride",
                got(b"GREY", 640, 480, 0),
                Ok(PixelFormat::Grey),
            ),
            (
                "another format",
                got(b"MJPG", 640, 480, 0),
                Ok(PixelFormat::Mjpeg),
            ),
            (
                "an unknown format",
                got(b"H264", 640, 480, 0),
                Err("which stampcast does not read"),
            ),
            (
                "lines too short",
                got(b"YUYV", 640, 480, 640),
                Err("a line of 640 pixels has 640 bytes"),
            ),
            (
                "lines without end",
                got(b"YUYV", 640, 480, u32::MAX),
                Err("a line of 640 pixels"),
            ),
            (
                "no size",
                got(b"YUYV", 0, 480, 0),
                Err("the picture is 0x480"),
            ),
            (
                "a senseless size",
                got(b"YUYV", 640, 1 << 30, 1280),
                Err("the picture is 640x"),
            ),
        ] {
            match (usable(&format, &asked), expected) {
                (Ok(a), Ok(b)) => assert_eq!(a, b, "{what}"),
                (Err(a), Err(b)) => assert!(a.contains(b), "{what}: {a}"),
                (a, b) => panic!("{what}: {a:?} is not {b:?}"),
            }
        }
    }

    #[test]
    fn a_jpeg_stays_untouched_only_where_nothing_is_asked_of_it() {
        let plain = VideoConfig::default();
        assert!(wish(&plain).untouched_jpeg);
        for other in [
            VideoConfig {
                width: 320,
                height: 240,
                ..plain.clone()
            },
            VideoConfig {
                quality_given: true,
                ..plain.clone()
            },
            VideoConfig {
                rotate: Rotate::Half,
                ..plain.clone()
            },
            VideoConfig {
                flip: Flip::Horizontal,
                ..plain.clone()
            },
        ] {
            assert!(!wish(&other).untouched_jpeg, "{other:?}");
        }
    }

    #[test]
    fn faults_are_named_for_what_they_are() {
        let fault = |errno| {
            fault(
                &Node::default(),
                "waiting for a frame",
                io::Error::from_raw_os_error(errno),
            )
        };
        assert!(matches!(fault(libc::ENODEV), SourceError::Missing { .. }));
        assert!(matches!(fault(libc::EBUSY), SourceError::Busy { .. }));
        assert!(matches!(fault(libc::EIO), SourceError::Io { .. }));
    }
}
