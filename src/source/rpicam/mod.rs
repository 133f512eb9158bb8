//! The Raspberry Pi camera through rpicam-vid: JPEGs and their sensor timestamps from two pipes of
//! a child process. Why a child process and not libcamera itself: `docs/rpi.md`.

mod board;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod metadata;
mod options;
mod pairing;
mod process;
mod spawn;
mod stderr_tail;

use super::jitter::JitterEstimator;
use super::{Capture, Note, Source, SourceError, VideoSource};
use crate::config::VideoConfig;
use crate::media::frame::{PixelFormat, RawFrame};
use crate::media::{MonoNs, Shape, StampMark, StampSource, StreamInfo};
use nix::time::{ClockId, clock_gettime};
use options::Orientation;
use pairing::{Awaited, Fault, Pair, Pairing};
use process::{DEVICE, ReadResult, RpicamProcess};
use std::ffi::OsString;
use std::time::Duration;

/// How long `open` waits for a first frame or for the child's error; after that, `next_frame`
/// waits.
const OPEN_TIMEOUT: Duration = Duration::from_millis(800);

/// How long to wait for a frame: a little shorter than the supervisor waits before it ends this
/// process, since the error here can quote rpicam-vid. By itself it would repeat "Device timeout
/// detected, attempting a restart" without end.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(9);
const FRAME_TIMEOUT: Duration = Duration::from_millis(1_800);
const FRAME_TIMEOUT_INTERVALS: f64 = 4.5;

/// A Raspberry Pi camera: JPEGs with `SensorTimestamp` as the capture time.
///
/// That is the start of the frame: the sensor's first line on the CSI bus, as the kernel saw it.
/// The exposure of that line began one `ExposureTime` earlier.
pub struct RpiSource {
    /// For people: program and board.
    device: String,
    process: RpicamProcess,
    pairing: Pairing,
    jitter: JitterEstimator,
    /// Arrived while `open` waited.
    ready: Option<Pair>,
    /// The requested size, pixels; from the first frame on the delivered one.
    width: u16,
    height: u16,
    fps: f64,
    orientation: Orientation,
    /// How long this source has waited since the start or the last frame, and how long it may. Time
    /// in which this process was stopped (Ctrl-Z) or busy does not count.
    waited: Duration,
    timeout: Duration,
    notes: Vec<Note>,
    buffer: Vec<u8>,
}

impl RpiSource {
    /// Starts rpicam-vid (libcamera-vid before 2024) at `capture_width` by `capture_height`. The
    /// child is killed when the calling thread ends. Waits up to 0.8 s for a first frame;
    /// `next_frame` waits for a camera that takes longer.
    ///
    /// # Errors
    /// Unsupported: size, rate or a control. Missing, Busy, Failed: the program is missing, or
    /// exited, with what it reported.
    pub fn open(video: &VideoConfig) -> Result<Self, SourceError> {
        Self::open_with(
            &[vec!["rpicam-vid".into()], vec!["libcamera-vid".into()]],
            video,
        )
    }

    /// The same with other programs: the first of these beginnings of command lines whose program
    /// exists.
    ///
    /// # Errors
    /// As [`Self::open`].
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
        let process = RpicamProcess::start(programs, video, pipe_bytes(width, height))?;
        let board = board::name().map_or(String::new(), |b| format!(" on {b}"));
        let mut source = Self {
            device: format!("Raspberry Pi camera ({}{board})", process.program),
            process,
            pairing: Pairing::new(interval),
            jitter: JitterEstimator::default(),
            ready: None,
            width,
            height,
            fps: video.fps,
            orientation: Orientation::new(video.rotate, video.flip),
            waited: Duration::ZERO,
            timeout: FIRST_FRAME_TIMEOUT.max(interval.saturating_mul(3)),
            notes: Vec::new(),
            buffer: vec![0; pipe_bytes(width, height)],
        };
        source.ready = source.wait(OPEN_TIMEOUT)?;
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
            if self.waited > self.timeout {
                let why = format!(
                    "{} gave no frame for {:.1} s",
                    self.process.program,
                    self.waited.as_secs_f64()
                );
                return Err(self.process.failed(why));
            }
            if now >= deadline {
                return Ok(None);
            }
            let rest = deadline.since(now);
            self.process.wait_readable(rest);
            self.waited += MonoNs::now().since(now).min(rest);
        }
    }

    /// Reads what has arrived, up to the next pair. Never waits.
    fn advance(&mut self) -> Result<Option<Pair>, SourceError> {
        loop {
            self.process.drain_stderr();
            match self.pairing.awaited() {
                Awaited::Nothing => {
                    let taken = self.pairing.take();
                    return self.checked(taken);
                }
                Awaited::Both => {
                    let (jpegs, metadata) = (self.read_jpegs()?, self.read_metadata()?);
                    match (jpegs, metadata) {
                        (ReadResult::Closed, m) if !matches!(m, ReadResult::Bytes(_)) => {
                            return Err(self.process.exit_error());
                        }
                        (p, m)
                            if !matches!(
                                (p, m),
                                (ReadResult::Bytes(_), _) | (_, ReadResult::Bytes(_))
                            ) =>
                        {
                            return Ok(None);
                        }
                        _ => {}
                    }
                }
                Awaited::Jpeg => match self.read_jpegs()? {
                    ReadResult::Bytes(_) => {}
                    ReadResult::Closed => return Err(self.process.exit_error()),
                    // The record was written after the JPEG, so the JPEG should have arrived.
                    ReadResult::Empty => return self.checked(Err(Fault::MissingJpeg)),
                },
                Awaited::Record => {
                    // Checked before the metadata: the next JPEG is written after this one's
                    // record.
                    let mut closed = false;
                    if !self.pairing.next_jpeg_begun() {
                        closed = self.read_jpegs()? == ReadResult::Closed;
                    }
                    if matches!(self.read_metadata()?, ReadResult::Bytes(_)) {
                        continue;
                    }
                    if self.pairing.next_jpeg_begun() {
                        return self.checked(Err(self.pairing.missing_record()));
                    }
                    return if closed {
                        Err(self.process.exit_error())
                    } else {
                        Ok(None)
                    };
                }
            }
        }
    }

    fn read_jpegs(&mut self) -> Result<ReadResult, SourceError> {
        let got = self.process.jpegs.read(&mut self.buffer);
        if let ReadResult::Bytes(n) = got {
            let pushed = self.pairing.push_jpeg_bytes(&self.buffer[..n]);
            self.checked(pushed)?;
        }
        Ok(got)
    }

    fn read_metadata(&mut self) -> Result<ReadResult, SourceError> {
        let got = self.process.metadata.read(&mut self.buffer);
        if let ReadResult::Bytes(n) = got {
            let pushed = self.pairing.push_metadata(&self.buffer[..n]);
            self.checked(pushed)?;
        }
        Ok(got)
    }

    fn checked<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, SourceError> {
        outcome.map_err(|fault| {
            self.process
                .failed(format!("{}: {fault}", self.process.program))
        })
    }

    /// Records a frame's size and arrival. Returns its capture time.
    fn accept(&mut self, pair: &Pair) -> Result<MonoNs, SourceError> {
        let now = MonoNs::now();
        let Some(capture_time) =
            on_monotonic(pair.sensor_timestamp_ns, now, boot_minus_monotonic())
        else {
            let why = "sensor timestamps lie in the future: they are of an unknown clock";
            return Err(self.process.failed(why.into()));
        };
        self.jitter.record(capture_time, pair.missed);
        self.waited = Duration::ZERO;
        self.timeout = FRAME_TIMEOUT.max(
            Duration::try_from_secs_f64(FRAME_TIMEOUT_INTERVALS / self.fps)
                .unwrap_or(Duration::MAX),
        );
        if (pair.width, pair.height) != (self.width, self.height) {
            self.notes.push(Note::Warning(format!(
                "{DEVICE} captures {}x{} instead of {}x{}",
                pair.width, pair.height, self.width, self.height
            )));
            (self.width, self.height) = (pair.width, pair.height);
        }
        Ok(capture_time)
    }
}

impl Source for RpiSource {
    fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The size is the requested one until the first frame, then the delivered one.
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
            uncertainty_ns: self.jitter.uncertainty_ns(),
            drift_ppm: None,
        }
    }
}

impl VideoSource for RpiSource {
    /// rpicam-vid encodes at the configured quality and flips by itself.
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
            data: self.pairing.jpeg(),
            full_range: true,
            capture_time,
            missed: pair.missed,
        }))
    }
}

/// How much of the JPEGs is read at once, and the capacity of their pipe. Both together are less
/// than a JPEG (a sixteenth of a byte per pixel is a dark scene at low quality), so that the child
/// cannot have written a second JPEG and its record while the first one's record is looked for: see
/// [`pairing`]. It also bounds the backlog.
fn pipe_bytes(width: u16, height: u16) -> usize {
    let part = (usize::from(width) * usize::from(height) / 32).clamp(4 << 10, 64 << 10);
    // The kernel rounds a pipe's capacity up to a power of two.
    1 << part.ilog2()
}

/// libcamera documents SensorTimestamp as CLOCK_BOOTTIME, the drivers write CLOCK_MONOTONIC; they
/// differ by the time for which the machine was suspended. A timestamp ahead of one clock is of the
/// other; `None` where it is ahead of both.
fn on_monotonic(stamp_ns: u64, now: MonoNs, boot_minus_monotonic: u64) -> Option<MonoNs> {
    let candidates = [Some(stamp_ns), stamp_ns.checked_sub(boot_minus_monotonic)];
    candidates
        .into_iter()
        .flatten()
        .map(MonoNs)
        .find(|&at| at <= now)
}

fn boot_minus_monotonic() -> u64 {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux always has CLOCK_BOOTTIME");
    let boot = boot.tv_sec() as u64 * 1_000_000_000 + boot.tv_nsec() as u64;
    boot.saturating_sub(MonoNs::now().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_monotonic_either_clock_becomes_monotonic() {
        let now = MonoNs(1_000_000);
        assert_eq!(on_monotonic(990_000, now, 500_000), Some(MonoNs(990_000)));
        assert_eq!(on_monotonic(1_490_000, now, 500_000), Some(MonoNs(990_000)));
        assert_eq!(on_monotonic(1_510_000, now, 500_000), None);
        assert_eq!(on_monotonic(1_000_001, now, 0), None);
        assert_eq!(on_monotonic(u64::MAX, now, u64::MAX), Some(MonoNs(0)));
    }
}
