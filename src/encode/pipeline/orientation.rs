//! `--rotate` and `--flip` as one of the eight orientations of an image, and the rotation of
//! planes.

use crate::config::{Flip, Rotate};
use crate::encode::planes::{Plane, PlaneBuffer, Planes, PlanesBuffer};

/// First rows and columns are exchanged (`transpose`); then the image is mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Exchanges width and height.
    pub transpose: bool,
    /// Exchanges left and right.
    pub mirror_x: bool,
    /// Exchanges top and bottom.
    pub mirror_y: bool,
}

impl Orientation {
    /// `rotate` is clockwise and comes first.
    pub fn new(rotate: Rotate, flip: Flip) -> Self {
        let (transpose, x, y) = match rotate {
            Rotate::None => (false, false, false),
            Rotate::Quarter => (true, true, false),
            Rotate::Half => (false, true, true),
            Rotate::ThreeQuarters => (true, false, true),
        };
        let (flip_x, flip_y) = match flip {
            Flip::None => (false, false),
            Flip::Horizontal => (true, false),
            Flip::Vertical => (false, true),
            Flip::Both => (true, true),
        };
        Self {
            transpose,
            mirror_x: x != flip_x,
            mirror_y: y != flip_y,
        }
    }

    /// Whether the image is not changed.
    pub fn is_identity(self) -> bool {
        self == Self::default()
    }

    /// Width and height in this orientation.
    pub fn size<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.transpose {
            (height, width)
        } else {
            (width, height)
        }
    }
}

/// Rotates and mirrors planes. Keeps its memory from frame to frame.
#[derive(Debug, Default)]
pub struct Rotator {
    made: PlanesBuffer,
}

impl Rotator {
    /// `planes` in this orientation, not copied where it changes nothing.
    pub fn rotate<'a>(&'a mut self, planes: Planes<'a>, to: Orientation) -> Planes<'a> {
        if to.is_identity() {
            return planes;
        }
        rotate_plane(planes.y, to, &mut self.made.y);
        rotate_plane(planes.u, to, &mut self.made.u);
        rotate_plane(planes.v, to, &mut self.made.v);
        self.made.planes()
    }
}

fn rotate_plane(from: Plane<'_>, orientation: Orientation, made: &mut PlaneBuffer) {
    let (width, height) = orientation.size((from.width(), from.height()));
    let to = made.for_size(width, height);
    if orientation.transpose {
        transpose(from, orientation, to);
        return;
    }
    for (y, line) in from.lines().enumerate() {
        let row = if orientation.mirror_y {
            height - 1 - y
        } else {
            y
        };
        let to = &mut to[row * width..][..width];
        if orientation.mirror_x {
            to.iter_mut()
                .zip(line.iter().rev())
                .for_each(|(to, from)| *to = *from);
        } else {
            to.copy_from_slice(line);
        }
    }
}

const BLOCK: usize = 8;

/// By blocks of 8 x 8, which fit in registers: sample by sample, each write would go to another
/// line.
fn transpose(from: Plane<'_>, orientation: Orientation, to: &mut [u8]) {
    let (width, height) = (from.width(), from.height());
    // Column x of `from` becomes this line of `to`; line y of `from` becomes this column.
    let line_of = |x: usize| {
        if orientation.mirror_y {
            width - 1 - x
        } else {
            x
        }
    };
    let column_of = |y: usize| {
        if orientation.mirror_x {
            height - 1 - y
        } else {
            y
        }
    };
    let (whole_x, whole_y) = (width - width % BLOCK, height - height % BLOCK);
    for top in (0..whole_y).step_by(BLOCK) {
        let first_column = column_of(top).min(column_of(top + BLOCK - 1));
        let lines: [&[u8]; BLOCK] = std::array::from_fn(|i| {
            from.line(if orientation.mirror_x {
                top + BLOCK - 1 - i
            } else {
                top + i
            })
        });
        for left in (0..whole_x).step_by(BLOCK) {
            let block = lines.map(|line| {
                *line[left..]
                    .first_chunk::<BLOCK>()
                    .expect("the block is inside the line")
            });
            for (i, line) in transposed(block).into_iter().enumerate() {
                to[line_of(left + i) * height + first_column..][..BLOCK].copy_from_slice(&line);
            }
        }
    }
    let mut one = |x, y| to[line_of(x) * height + column_of(y)] = from.line(y)[x];
    for y in 0..height {
        for x in if y < whole_y { whole_x } else { 0 }..width {
            one(x, y);
        }
    }
}

/// Eight lines of eight bytes: blocks of 4, of 2 and of 1 are exchanged across the diagonal
/// (Hacker's Delight, 7-3).
fn transposed(block: [[u8; BLOCK]; BLOCK]) -> [[u8; BLOCK]; BLOCK] {
    let mut rows = block.map(u64::from_le_bytes);
    for (step, mask) in [
        (4, 0x0000_0000_ffff_ffff),
        (2, 0x0000_ffff_0000_ffff),
        (1, 0x00ff_00ff_00ff_00ff_u64),
    ] {
        let shift = 8 * step;
        for i in (0..BLOCK).filter(|i| i & step == 0) {
            let (upper, lower) = (rows[i], rows[i + step]);
            rows[i] = (upper & mask) | ((lower & mask) << shift);
            rows[i + step] = ((upper >> shift) & mask) | (lower & !mask);
        }
    }
    rows.map(u64::to_le_bytes)
}
