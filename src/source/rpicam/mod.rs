//! The Raspberry Pi camera through rpicam-vid: pictures and their sensor times from two pipes of a child process. Owns the
//! child and the wait; knows no encoder and no ring. Why a child and not libcamera itself: `docs/rpi.md`.

pub mod board;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod metadata;
pub mod options;
pub mod pairing;
pub mod process;
pub mod spawn;
pub mod stderr_tail;

use super::jitter::Scatter;
use super::{Capture, Source, SourceError, VideoSource};
use crate::config::VideoConfig;
use crate::media::frame::{PixelFormat, RawFrame};
use crate::media::{MonoNs, Shape, StampMark, StampSource, StreamInfo};
use nix::time::{ClockId, clock_gettime};
use options::Orientation;
use pairing::{Awaited, Fault, Pair, Pairing};
use process::{Camera, DEVICE, Got};
use std::ffi::OsString;
use std::time::Duration;

/// How long `open` waits for a first frame or for the child's error; after that, `next_frame` goes on waiting.
const OPENING: Duration = Duration::from_millis(800);

/// When a camera that gives nothing is given up: a little before the supervisor would end this process, because here we
/// know what rpicam-vid said. By itself it tries "Device timeout detected, attempting a restart" for ever.
const FIRST_FRAME: Duration = Duration::from_secs(9);
const STALLED: Duration = Duration::from_millis(1_800);
const STALLED_INTERVALS: f64 = 4.5;

/// JPEG frames with `SensorTimestamp` as capture time.
///
/// The stamp marks the frame's start: the sensor's first line on the CSI bus, as the kernel saw it. The exposure of that
/// line began one `ExposureTime` earlier.
pub struct RpiSource {
    /// For people: program and board.
    device: String,
    camera: Camera,
    pairing: Pairing,
    scatter: Scatter,
    /// Came while `open` waited.
    ready: Option<Pair>,
    /// Asked for; then as delivered.
    width: u16,
    height: u16,
    fps: f64,
    orientation: Orientation,
    /// How long we have waited since the start or the last frame, and how long at most. The time in which we ourselves
    /// were stopped (Ctrl-Z) or busy does not count.
    silent: Duration,
    patience: Duration,
    notes: Vec<String>,
    buffer: Vec<u8>,
}

impl RpiSource {
    /// Starts rpicam-vid (libcamera-vid before 2024) at `capture_width` by `capture_height`. The child is bound to the
    /// calling thread: it is killed when that ends. Waits up to 0.8 s for a first frame; a camera that takes longer is
    /// waited for by `next_frame`.
    pub fn open(video: &VideoConfig) -> Result<Self, SourceError> {
        Self::open_with(
            &[vec!["rpicam-vid".into()], vec!["libcamera-vid".into()]],
            video,
        )
    }

    /// The same with other programs: the first of these command lines (to be continued) whose program exists.
    pub fn open_with(programs: &[Vec<OsString>], video: &VideoConfig) -> Result<Self, SourceError> {
        let side = |n: u32| u16::try_from(n).ok().filter(|&n| n > 0);
        let (Some(width), Some(height), true) = (
            side(video.capture_width),
            side(video.capture_height),
            video.fps > 0.0,
        ) else {
            let why = format!(
                "{}x{} at {} frames per second",
                video.capture_width, video.capture_height, video.fps
            );
            return Err(SourceError::Unsupported {
                device: DEVICE.into(),
                why,
            });
        };
        let interval = Duration::try_from_secs_f64(1.0 / video.fps).unwrap_or(Duration::MAX);
        let camera = Camera::start(programs, video, pipe_bytes(width, height))?;
        let board = board::name().map_or(String::new(), |b| format!(" on {b}"));
        let mut source = Self {
            device: format!("Raspberry Pi camera ({}{board})", camera.program),
            camera,
            pairing: Pairing::new(interval),
            scatter: Scatter::default(),
            ready: None,
            width,
            height,
            fps: video.fps,
            orientation: Orientation::of(video.rotate, video.flip),
            silent: Duration::ZERO,
            patience: FIRST_FRAME.max(interval.saturating_mul(3)),
            notes: Vec::new(),
            buffer: vec![0; pipe_bytes(width, height)],
        };
        source.ready = source.wait(OPENING)?;
        Ok(source)
    }

    /// Waits for the next pair, at most `timeout`.
    fn wait(&mut self, timeout: Duration) -> Result<Option<Pair>, SourceError> {
        let deadline = MonoNs::now() + timeout;
        loop {
            if let Some(pair) = self.advance()? {
                return Ok(Some(pair));
            }
            let now = MonoNs::now();
            if self.silent > self.patience {
                let why = format!(
                    "{} gave no frame for {:.1} s",
                    self.camera.program,
                    self.silent.as_secs_f64()
                );
                return Err(self.camera.failed(why));
            }
            if now >= deadline {
                return Ok(None);
            }
            let rest = deadline.since(now);
            self.camera.wait_readable(rest);
            self.silent += MonoNs::now().since(now).min(rest);
        }
    }

    /// Reads what is there, up to the next pair. Never waits.
    fn advance(&mut self) -> Result<Option<Pair>, SourceError> {
        loop {
            self.camera.drain_errors();
            match self.pairing.awaited() {
                Awaited::Nothing => {
                    let taken = self.pairing.take();
                    return self.checked(taken);
                }
                Awaited::Both => {
                    let (pictures, metadata) = (self.read_pictures()?, self.read_metadata()?);
                    match (pictures, metadata) {
                        (Got::Closed, m) if !matches!(m, Got::Bytes(_)) => {
                            return Err(self.camera.ended());
                        }
                        (p, m) if !matches!((p, m), (Got::Bytes(_), _) | (_, Got::Bytes(_))) => {
                            return Ok(None);
                        }
                        _ => {}
                    }
                }
                Awaited::Picture => match self.read_pictures()? {
                    Got::Bytes(_) => {}
                    Got::Closed => return Err(self.camera.ended()),
                    // The record was written after the picture, so the picture would be there.
                    Got::Empty => return self.checked(Err(Fault::MissingPicture)),
                },
                Awaited::Record => {
                    // Looked at before the metadata: what begins the next picture was written after this one's record.
                    let mut closed = false;
                    if !self.pairing.next_picture_begun() {
                        closed = self.read_pictures()? == Got::Closed;
                    }
                    if matches!(self.read_metadata()?, Got::Bytes(_)) {
                        continue;
                    }
                    if self.pairing.next_picture_begun() {
                        return self.checked(Err(self.pairing.missing_record()));
                    }
                    return if closed {
                        Err(self.camera.ended())
                    } else {
                        Ok(None)
                    };
                }
            }
        }
    }

    fn read_pictures(&mut self) -> Result<Got, SourceError> {
        let got = self.camera.pictures.read(&mut self.buffer);
        if let Got::Bytes(n) = got {
            let pushed = self.pairing.push_picture_bytes(&self.buffer[..n]);
            self.checked(pushed)?;
        }
        Ok(got)
    }

    fn read_metadata(&mut self) -> Result<Got, SourceError> {
        let got = self.camera.metadata.read(&mut self.buffer);
        if let Got::Bytes(n) = got {
            let pushed = self.pairing.push_metadata(&self.buffer[..n]);
            self.checked(pushed)?;
        }
        Ok(got)
    }

    fn checked<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, SourceError> {
        outcome.map_err(|fault| {
            self.camera
                .failed(format!("{}: {fault}", self.camera.program))
        })
    }

    /// Takes note of a frame: its size, the sign of life, and its stamp in our clock.
    fn accept(&mut self, pair: &Pair) -> Result<MonoNs, SourceError> {
        let now = MonoNs::now();
        let Some(capture_time) =
            on_monotonic(pair.sensor_timestamp_ns, now, boot_minus_monotonic())
        else {
            let why =
                "its sensor's times lie in the future: they are of a clock that we do not know";
            return Err(self.camera.failed(why.into()));
        };
        self.scatter.note(capture_time, pair.missed);
        self.silent = Duration::ZERO;
        self.patience = STALLED.max(
            Duration::try_from_secs_f64(STALLED_INTERVALS / self.fps).unwrap_or(Duration::MAX),
        );
        if (pair.width, pair.height) != (self.width, self.height) {
            self.notes.push(format!(
                "{DEVICE} was asked for {}x{} and gives {}x{}",
                self.width, self.height, pair.width, pair.height
            ));
            (self.width, self.height) = (pair.width, pair.height);
        }
        Ok(capture_time)
    }
}

impl Source for RpiSource {
    fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The size is the asked one until a first frame has come, then the delivered one.
    fn info(&self) -> StreamInfo {
        StreamInfo {
            device: self.device.clone(),
            device_format: format!("MJPEG {}x{}", self.width, self.height),
            shape: Shape::Video {
                width: self.width,
                height: self.height,
            },
            fps: Some(self.fps),
            stamp_marks: StampMark::FrameStart,
            stamp_source: StampSource::Sensor,
            stamp_clock: "CLOCK_MONOTONIC".into(),
            uncertainty_ns: self.scatter.uncertainty_ns(),
            drift_ppm: None,
        }
    }
}

impl VideoSource for RpiSource {
    /// The program encodes at the asked quality and mirrors by itself.
    fn remaining(&self, asked: &VideoConfig) -> VideoConfig {
        let Orientation {
            left_rotate: rotate,
            left_flip: flip,
            ..
        } = self.orientation;
        VideoConfig {
            rotate,
            flip,
            quality_given: false,
            ..asked.clone()
        }
    }

    fn next_frame(&mut self, timeout: Duration) -> Result<Capture<'_>, SourceError> {
        let pair = match self.ready.take() {
            Some(pair) => pair,
            None => {
                let released = self.pairing.release();
                self.checked(released)?;
                match self.wait(timeout)? {
                    Some(pair) => pair,
                    None => return Ok(Capture::TimedOut),
                }
            }
        };
        let capture_time = self.accept(&pair)?;
        Ok(Capture::Frame(RawFrame {
            format: PixelFormat::Mjpeg,
            width: pair.width.into(),
            height: pair.height.into(),
            stride: 0,
            data: self.pairing.picture(),
            full_range: true,
            capture_time,
            missed: pair.missed,
        }))
    }
}

/// How much of the pictures is read at once and how much their pipe may hold. Both together are less than a picture (a
/// sixteenth of a byte per pixel is a dark scene at low quality), so that the child cannot have written a second picture
/// and its record while we still look for the first one's record: see [`pairing`]. And little waits there that is old.
fn pipe_bytes(width: u16, height: u16) -> usize {
    let part = (usize::from(width) * usize::from(height) / 32).clamp(4 << 10, 64 << 10);
    // The kernel would round a pipe's length up to a power of two.
    1 << part.ilog2()
}

/// libcamera documents SensorTimestamp as CLOCK_BOOTTIME, the drivers write CLOCK_MONOTONIC; they differ by the time that
/// the machine was suspended. A time that lies ahead of the one clock is of the other; `None` when it is ahead of both.
fn on_monotonic(stamp_ns: u64, now: MonoNs, boot_minus_monotonic: u64) -> Option<MonoNs> {
    let candidates = [Some(stamp_ns), stamp_ns.checked_sub(boot_minus_monotonic)];
    candidates
        .into_iter()
        .flatten()
        .map(MonoNs)
        .find(|&at| at <= now)
}

fn boot_minus_monotonic() -> u64 {
    let boot =
        clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME is always there on Linux");
    let boot = boot.tv_sec() as u64 * 1_000_000_000 + boot.tv_nsec() as u64;
    boot.saturating_sub(MonoNs::now().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_either_clock_become_monotonic() {
        let now = MonoNs(1_000_000);
        assert_eq!(on_monotonic(990_000, now, 500_000), Some(MonoNs(990_000)));
        assert_eq!(on_monotonic(1_490_000, now, 500_000), Some(MonoNs(990_000)));
        assert_eq!(on_monotonic(1_510_000, now, 500_000), None);
        assert_eq!(on_monotonic(1_000_001, now, 0), None);
        assert_eq!(on_monotonic(u64::MAX, now, u64::MAX), Some(MonoNs(0)));
    }
}
