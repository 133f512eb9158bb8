//! The texture behind the test pattern: drawn once, then scrolled by copying rows.

/// Luma and chroma (4:2:0) of a texture whose left edge continues its right edge.
pub(super) struct Canvas {
    /// Pixels; a multiple of [`COARSE`], at least the frame's width.
    width: usize,
    luma: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

/// The size of the largest blobs, pixels.
const COARSE: usize = 64;

impl Canvas {
    pub fn new(width: u32, height: u32) -> Self {
        let width = (width as usize).next_multiple_of(COARSE);
        let height = (height as usize).next_multiple_of(2);
        let mut luma = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                // Blobs, texture, and the noise of a sensor: a VGA frame at quality 70 has 30 to 60
                // KB.
                let value = 128
                    + blob(x, y, width, 64, 1) * 80 / 128
                    + blob(x, y, width, 16, 2) * 40 / 128
                    + blob(x, y, width, 4, 3) * 26 / 128
                    + noise(x, y, 4) * 9 / 128;
                luma.push(value.clamp(0, 255) as u8);
            }
        }
        let chroma = |seed| {
            (0..height / 2)
                .flat_map(|y| {
                    (0..width / 2)
                        .map(move |x| (128 + blob(x, y, width / 2, 32, seed) * 60 / 128) as u8)
                })
                .collect()
        };
        Self {
            width,
            luma,
            u: chroma(5),
            v: chroma(6),
        }
    }

    /// Copies the texture, scrolled left by `2 * pairs` pixels, into an I420 frame.
    pub fn copy(&self, pairs: usize, luma: &mut [u8], u: &mut [u8], v: &mut [u8], stride: usize) {
        scroll(&self.luma, self.width, pairs * 2, luma, stride);
        scroll(&self.u, self.width / 2, pairs, u, stride / 2);
        scroll(&self.v, self.width / 2, pairs, v, stride / 2);
    }
}

fn scroll(from: &[u8], width: usize, by: usize, to: &mut [u8], stride: usize) {
    let by = by % width;
    for (to, from) in to.chunks_exact_mut(stride).zip(from.chunks_exact(width)) {
        let first = stride.min(width - by);
        to[..first].copy_from_slice(&from[by..by + first]);
        to[first..].copy_from_slice(&from[..stride - first]);
    }
}

/// Smooth noise, -128 to 127: random values every `cell` pixels, interpolated, periodic with
/// `width`.
fn blob(x: usize, y: usize, width: usize, cell: usize, seed: u32) -> i32 {
    let (cx, cy, fx, fy) = (x / cell, y / cell, (x % cell) as i32, (y % cell) as i32);
    let next = (cx + 1) % (width / cell);
    let cell = cell as i32;
    let row = |y| noise(cx, y, seed) * (cell - fx) + noise(next, y, seed) * fx;
    (row(cy) * (cell - fy) + row(cy + 1) * fy) / (cell * cell)
}

/// White noise, -128 to 127, a function of the position.
fn noise(x: usize, y: usize, seed: u32) -> i32 {
    let mut h = (x as u32).wrapping_mul(0x9E37_79B1)
        ^ (y as u32).wrapping_mul(0x85EB_CA77)
        ^ seed.wrapping_mul(0xC2B2_AE3D);
    h = (h ^ h >> 15).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ h >> 12).wrapping_mul(0x297A_2D39);
    (h >> 24) as i32 - 128
}
