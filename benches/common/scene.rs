//! A generated scene for the encoders' figures, like a room in front of a camera.

/// YUYV with edges, texture of all sizes and a sensor's noise: 30 to 60 kB as a VGA JPEG of quality
/// 70, like a room's.
pub fn textured_yuyv(width: usize, height: usize, number: usize) -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64 ^ (number as u64 + 1);
    let mut noise = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // The sum of two is nearer to a sensor's than an even spread.
        ((seed >> 20 & 7) + (seed >> 40 & 7)) as i32 - 7
    };
    let lattice = |x: usize, y: usize| {
        let hash = (x as u64)
            .wrapping_mul(0x8da6_b343)
            .wrapping_add((y as u64).wrapping_mul(0xd816_3841))
            .wrapping_mul(0xcb1a_b31f_9e37_79b9);
        (hash >> 40) as u8 as i32
    };
    // Between the points of a grid of `cell` pixels, times 256.
    let texture = |x: usize, y: usize, cell: usize| {
        let (cx, cy, fx, fy) = (x / cell, y / cell, (x % cell) as i32, (y % cell) as i32);
        let (cell, mix) = (cell as i32, |a: i32, b: i32, f: i32, n: i32| {
            a + (b - a) * f / n
        });
        let upper = mix(lattice(cx, cy), lattice(cx + 1, cy), fx, cell);
        let lower = mix(lattice(cx, cy + 1), lattice(cx + 1, cy + 1), fx, cell);
        mix(upper, lower, fy, cell)
    };
    let mut frame = Vec::with_capacity(2 * width * height);
    for y in 0..height {
        for x in 0..width {
            let (sx, sy) = (x + 3 * number, y + number);
            let mut luma = texture(sx, sy, 64) * 4 + texture(sx, sy, 16) * 2 + texture(sx, sy, 5);
            if (sx / 90 + sy / 70) % 3 == 0 {
                luma += 300;
            }
            let luma = luma / 8 + noise();
            let chroma = texture(sx / 2 + 500 * (x & 1), sy, 40) / 2 + 64 + noise() / 2;
            frame.extend([luma.clamp(0, 255) as u8, chroma.clamp(0, 255) as u8]);
        }
    }
    frame
}
