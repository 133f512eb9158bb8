//! `--rotate` and `--flip` as one of the eight ways to lay a picture on itself, and the planes turned so.

use crate::config::{Flip, Rotate};
use crate::encode::planes::{Plane, PlaneBuffer, Planes, PlanesBuffer};

/// First rows and columns change places, if so; then the picture is mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Width and height change places.
    pub transpose: bool,
    /// Left and right change places.
    pub mirror_x: bool,
    /// Top and bottom change places.
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

    /// The picture stays as it is.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Width and height after the turn.
    pub fn size<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.transpose {
            (height, width)
        } else {
            (width, height)
        }
    }
}

#[derive(Debug, Default)]
pub struct Rotator {
    made: PlanesBuffer,
}

impl Rotator {
    /// `planes` turned; themselves where there is nothing to do.
    pub fn turn<'a>(&'a mut self, planes: Planes<'a>, turn: Orientation) -> Planes<'a> {
        if turn.is_none() {
            return planes;
        }
        turn_plane(planes.y, turn, &mut self.made.y);
        turn_plane(planes.u, turn, &mut self.made.u);
        turn_plane(planes.v, turn, &mut self.made.v);
        self.made.planes()
    }
}

fn turn_plane(from: Plane<'_>, turn: Orientation, made: &mut PlaneBuffer) {
    let (width, height) = turn.size((from.width(), from.height()));
    let to = made.for_size(width, height);
    if turn.transpose {
        transpose(from, turn, to);
        return;
    }
    for (y, line) in from.lines().enumerate() {
        let to = &mut to[if turn.mirror_y { height - 1 - y } else { y } * width..][..width];
        if turn.mirror_x {
            to.iter_mut()
                .zip(line.iter().rev())
                .for_each(|(to, from)| *to = *from);
        } else {
            to.copy_from_slice(line);
        }
    }
}

const BLOCK: usize = 8;

/// By blocks of 8 x 8, which stay in registers: a sample at a time would touch another line of memory with each.
fn transpose(from: Plane<'_>, turn: Orientation, to: &mut [u8]) {
    let (width, height) = (from.width(), from.height());
    // Column x of `from` becomes this line of `to`; line y of `from` becomes this column.
    let line_of = |x: usize| if turn.mirror_y { width - 1 - x } else { x };
    let column_of = |y: usize| if turn.mirror_x { height - 1 - y } else { y };
    let (whole_x, whole_y) = (width - width % BLOCK, height - height % BLOCK);
    for top in (0..whole_y).step_by(BLOCK) {
        let first_column = column_of(top).min(column_of(top + BLOCK - 1));
        let lines: [&[u8]; BLOCK] = std::array::from_fn(|i| {
            from.line(if turn.mirror_x {
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

/// Eight lines of eight bytes: blocks of 4, of 2 and of 1 change places across the diagonal (Hacker's Delight, 7-3).
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
