//! Where things stand in the test picture, as fractions of its size: `docs/test-picture.md` for programs that read it.
//! Knows no pixel format.

/// The picture is ruled into this many columns and rows.
pub const COLUMNS: u32 = 20;
pub const ROWS: u32 = 24;

/// An area in columns and rows: left, top, right, bottom; right and bottom are outside.
pub type Area = [u32; 4];

/// The UNIX stamp for people.
pub const TEXT: Area = [2, 1, 18, 3];
/// White during a flash, black otherwise.
pub const FLASH: Area = [8, 6, 12, 12];
/// The time code: 16 columns, 5 rows, one cell each.
pub const CODE: Area = [2, 17, 18, 22];

/// An area in pixels; right and bottom are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl Rect {
    /// The pixels of `area` in a picture of `width` by `height`: each edge is rounded down to a whole pixel.
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
