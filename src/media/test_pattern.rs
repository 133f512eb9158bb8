//! What the source that draws the test pattern and the programs that read it agree on: the areas of
//! the frame, and when flash and tone are on. Described in `docs/test-picture.md`.

use super::MonoNs;

/// Nanoseconds of CLOCK_MONOTONIC from one sync pulse (flash and tone) to the next. The pulses
/// begin at its multiples.
pub const PULSE_PERIOD_NS: u64 = 1_000_000_000;

/// How long the flash is white and the tone sounds from the beginning of each pulse.
pub const PULSE_NS: u64 = 100_000_000;

/// True while the flash is white and the tone sounds.
pub fn is_pulse(at: MonoNs) -> bool {
    at.0 % PULSE_PERIOD_NS < PULSE_NS
}

/// The frame is divided into this many columns and rows.
pub const COLUMNS: u32 = 20;
pub const ROWS: u32 = 24;

/// An area in columns and rows: left, top, right, bottom. Right and bottom are exclusive.
pub type Area = [u32; 4];

/// The UNIX timestamp as text.
pub const TEXT: Area = [2, 1, 18, 3];
/// White during a pulse, black otherwise.
pub const FLASH: Area = [8, 6, 12, 12];
/// The time code: 16 columns, 5 rows, one cell each.
pub const CODE: Area = [2, 17, 18, 22];

/// An area in pixels. Right and bottom are exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl Rect {
    /// The pixels of `area` in a frame of `width` by `height` pixels. Edges are rounded down.
    pub fn of(area: Area, width: u32, height: u32) -> Self {
        let at = |n: u32, size: u32, parts: u32| {
            (u64::from(n) * u64::from(size) / u64::from(parts)) as usize
        };
        Self {
            left: at(area[0], width, COLUMNS),
            top: at(area[1], height, ROWS),
            right: at(area[2], width, COLUMNS),
            bottom: at(area[3], height, ROWS),
        }
    }

    pub fn width(&self) -> usize {
        self.right - self.left
    }

    pub fn height(&self) -> usize {
        self.bottom - self.top
    }
}
