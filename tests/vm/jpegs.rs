//! JPEG images for the fake camera, and decoding of those received.

use jpeg_encoder::{ColorType, Encoder};
use std::path::{Path, PathBuf};

/// Distinct noisy images of that size; no two are alike, so that each can be recognised by its
/// bytes.
pub fn distinct(count: usize, width: u16, height: u16) -> Vec<Vec<u8>> {
    (0..count).map(|n| image(n as u32, width, height)).collect()
}

fn image(number: u32, width: u16, height: u16) -> Vec<u8> {
    // A linear congruential generator: noise that is the same in every run.
    let mut state = number.wrapping_mul(0x9e37_79b9) | 1;
    let pixels: Vec<u8> = (0..usize::from(width) * usize::from(height) * 3)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number * 5 % 200) as u8 + (state >> 28) as u8
        })
        .collect();
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, 70)
        .encode(&pixels, width, height, ColorType::Rgb)
        .expect("the image can be encoded");
    jpeg
}

/// Writes them as files, in order, for the fake camera's command line.
pub fn to_files(directory: &Path, jpegs: &[Vec<u8>]) -> Vec<PathBuf> {
    let name = |n: usize| directory.join(format!("{n:03}.jpg"));
    for (n, jpeg) in jpegs.iter().enumerate() {
        std::fs::write(name(n), jpeg).expect("the directory is writable");
    }
    (0..jpegs.len()).map(name).collect()
}

/// The same image without its Huffman tables, as many USB cameras send it.
pub fn without_huffman_tables(jpeg: &[u8]) -> Vec<u8> {
    const HUFFMAN: u8 = 0xc4;
    const SCAN: u8 = 0xda;
    let mut kept = jpeg[..2].to_vec();
    let mut at = 2;
    while jpeg[at + 1] != SCAN {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != HUFFMAN {
            kept.extend_from_slice(&jpeg[at..end]);
        }
        at = end;
    }
    kept.extend_from_slice(&jpeg[at..]);
    kept
}

/// Decodes it completely and without warnings; returns its size and mean brightness (0 to 255).
pub fn decode(jpeg: &[u8]) -> (usize, usize, f64) {
    let image =
        turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::GRAY).expect("the frame decodes");
    let sum: u64 = image.pixels.iter().map(|p| u64::from(*p)).sum();
    (
        image.width,
        image.height,
        sum as f64 / image.pixels.len() as f64,
    )
}

/// Decodes it and returns its size and the colours (red, green, blue) in the middle of its four
/// quarters: above left and right, below left and right.
pub fn quarters(jpeg: &[u8]) -> (usize, usize, [[u8; 3]; 4]) {
    let image =
        turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).expect("the frame decodes");
    let colour = |(x, y): (usize, usize)| {
        let at = y * image.height / 4 * image.pitch + x * image.width / 4 * 3;
        [image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]]
    };
    (
        image.width,
        image.height,
        [(1, 1), (3, 1), (1, 3), (3, 3)].map(colour),
    )
}

/// An image whose quarters have these colours.
pub fn of_quarters(width: u16, height: u16, colours: [[u8; 3]; 4]) -> Vec<u8> {
    let quarter = |x, y| usize::from(2 * y >= height) * 2 + usize::from(2 * x >= width);
    let pixels: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| colours[quarter(x, y)]))
        .collect();
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, 90)
        .encode(&pixels, width, height, ColorType::Rgb)
        .expect("the image can be encoded");
    jpeg
}
