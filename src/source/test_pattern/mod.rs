//! The generated camera: a moving test pattern with its capture time drawn in, at exact instants.
//! What is drawn where: `docs/test-picture.md`.

mod canvas;
mod font;
mod sync_pulse;
#[cfg(test)]
mod tests;
pub mod tone;

use super::{Capture, ClockOffset, Source, SourceError, VideoSource};
use crate::media::frame::{PixelFormat, RawFrame};
use crate::media::test_pattern::{self, Rect};
use crate::media::timecode;
use crate::media::{MonoNs, Shape, StampMark, StampSource, StreamInfo, UnixNs};
use canvas::Canvas;
use std::time::Duration;

const DEVICE: &str = "test pattern";
const MAX_SIDE: u32 = 8_192;
const MAX_FPS: f64 = 1_000.0;

/// Frames at the instants k / fps of CLOCK_MONOTONIC, I420, full range. A caller that is late gets
/// the newest frame, and the number of frames that it missed.
pub struct TestSource {
    width: u32,
    height: u32,
    stride: usize,
    fps: f64,
    grid: Grid,
    /// The number of the frame to deliver next.
    next: u64,
    /// The number of the frame in `data`, and the clock offset drawn into it.
    drawn: Option<(u64, i64)>,
    /// The offset that the next frame is drawn with. While it is 0 (not known yet) the timestamp is
    /// drawn as dashes and the time code is black, so that no wrong time is read.
    clock_offset_ns: i64,
    clock_offset: ClockOffset,
    canvas: Canvas,
    data: Vec<u8>,
}

impl TestSource {
    /// `width` and `height` in pixels, `fps` in frames per second.
    ///
    /// # Errors
    /// Unsupported: a side of 0 or over 8192, a rate that is not above 0 and at most 1000.
    pub fn open(width: u32, height: u32, fps: f64) -> Result<Self, SourceError> {
        let refuse = |why: String| {
            Err(SourceError::Unsupported {
                device: DEVICE.into(),
                why,
            })
        };
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return refuse(format!(
                "a size of {width}x{height}; each side must be 1 to {MAX_SIDE}"
            ));
        }
        let Some(grid) = Grid::new(fps) else {
            return refuse(format!(
                "{fps} frames per second; it must be above 0 and at most {MAX_FPS}"
            ));
        };
        let stride = (width as usize).next_multiple_of(2);
        let chroma = stride / 2 * (height as usize).div_ceil(2);
        Ok(Self {
            width,
            height,
            stride,
            fps,
            next: grid.newest(MonoNs::now()) + 1,
            grid,
            drawn: None,
            clock_offset_ns: 0,
            clock_offset: Box::new(|| 0),
            canvas: Canvas::new(width, height),
            data: vec![128; stride * height as usize + 2 * chroma],
        })
    }

    /// The same with the clock whose time is drawn.
    pub fn with_clock_offset(self, clock_offset: ClockOffset) -> Self {
        Self {
            clock_offset,
            ..self
        }
    }

    /// Draws frame `number` unless `data` has it already.
    fn draw(&mut self, number: u64) {
        if self.drawn == Some((number, self.clock_offset_ns)) {
            return;
        }
        let at = self.grid.instant(number);
        let unix = (self.clock_offset_ns != 0)
            .then(|| UnixNs(at.0.saturating_add_signed(self.clock_offset_ns)));
        let (w, h, stride) = (self.width, self.height, self.stride);
        let (luma, chroma) = self.data.split_at_mut(stride * h as usize);
        let (u, v) = chroma.split_at_mut(chroma.len() / 2);

        // An eighth of the width each second.
        let pairs = u128::from(at.0) * u128::from(w) / 16 / u128::from(sync_pulse::PERIOD_NS);
        self.canvas.copy(pairs as usize, luma, u, v, stride);

        let mut panel = |area, value| {
            let rect = Rect::of(area, w, h);
            fill(luma, stride, rect, value);
            let half = Rect {
                left: rect.left / 2,
                top: rect.top / 2,
                right: rect.right.div_ceil(2),
                bottom: rect.bottom.div_ceil(2),
            };
            fill(u, stride / 2, half, 128);
            fill(v, stride / 2, half, 128);
            rect
        };
        panel(
            test_pattern::FLASH,
            if sync_pulse::is_on(at) { 255 } else { 0 },
        );
        if timecode::fits(w, h) {
            panel(test_pattern::CODE, 0);
        }
        let text = unix.map_or("----------.------".into(), |t| {
            format!("{:010}.{:06}", t.0 / 1_000_000_000, t.0 / 1_000 % 1_000_000)
        });
        if font::scale(text.len(), Rect::of(test_pattern::TEXT, w, h)) > 0 {
            let area = panel(test_pattern::TEXT, 0);
            font::write(luma, stride, area, &text);
        }
        if let Some(t) = unix {
            timecode::draw(luma, w, h, stride, t);
        }
        self.drawn = Some((number, self.clock_offset_ns));
    }
}

impl Source for TestSource {
    fn info(&self) -> StreamInfo {
        StreamInfo {
            device: DEVICE.into(),
            device_format: format!("I420 {}x{}", self.width, self.height),
            // `open` allows no side over 8192.
            shape: Shape::Video {
                width: self.width as u16,
                height: self.height as u16,
            },
            fps: Some(self.fps),
            stamp_marks: StampMark::FrameStart,
            stamp_source: StampSource::Generator,
            stamp_clock: "CLOCK_MONOTONIC".into(),
            uncertainty_ns: Some(0),
            drift_ppm: None,
        }
    }
}

impl VideoSource for TestSource {
    fn next_frame(&mut self, timeout: Duration) -> Result<Capture<'_>, SourceError> {
        self.clock_offset_ns = (self.clock_offset)();
        let start = MonoNs::now();
        let due = self.next.max(self.grid.newest(start));
        // Drawn before its instant, so that it is delivered at its instant.
        self.draw(due);
        if !sync_pulse::wait(self.grid.instant(due), start + timeout) {
            return Ok(Capture::TimedOut);
        }
        let missed = due - self.next;
        self.next = due + 1;
        Ok(Capture::Frame(RawFrame {
            format: PixelFormat::I420,
            width: self.width,
            height: self.height,
            stride: self.stride,
            data: &self.data,
            full_range: true,
            capture_time: self.grid.instant(due),
            missed: u32::try_from(missed).unwrap_or(u32::MAX),
        }))
    }
}

fn fill(plane: &mut [u8], stride: usize, rect: Rect, value: u8) {
    for row in plane
        .chunks_exact_mut(stride)
        .take(rect.bottom)
        .skip(rect.top)
    {
        row[rect.left..rect.right].fill(value);
    }
}

/// The instants k / fps since the clock's zero, computed without accumulating errors.
#[derive(Clone, Copy, Debug)]
struct Grid {
    /// Frames per 1,000,000 seconds.
    micro_fps: u64,
}

impl Grid {
    /// A frame's instant is number * SCALE / micro_fps.
    const SCALE: u128 = 1_000_000_000_000_000;

    fn new(fps: f64) -> Option<Self> {
        let micro_fps = (fps * 1e6).round();
        (micro_fps >= 1.0 && fps <= MAX_FPS).then_some(Self {
            micro_fps: micro_fps as u64,
        })
    }

    fn instant(&self, number: u64) -> MonoNs {
        MonoNs((u128::from(number) * Self::SCALE / u128::from(self.micro_fps)) as u64)
    }

    /// The number of the newest frame whose instant is not after `at`.
    fn newest(&self, at: MonoNs) -> u64 {
        // Instants are rounded down, so the exact instant of that frame may be up to 1 ns after
        // `at`.
        ((u128::from(at.0) + 1) * u128::from(self.micro_fps)).div_ceil(Self::SCALE) as u64 - 1
    }
}
