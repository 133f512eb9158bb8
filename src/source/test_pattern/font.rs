//! Digits, full stop and dash of 5 by 7 dots, enough for a UNIX timestamp, drawn into a luma plane.

use crate::media::test_pattern::Rect;

/// Dots from one character to the next, and from one line to the next.
const ADVANCE: usize = 6;
const LINE: usize = 8;

/// Seven rows of five dots, the leftmost dot in bit 4.
fn glyph(c: u8) -> [u8; 7] {
    match c {
        b'0' => [
            0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110,
        ],
        b'1' => [
            0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110,
        ],
        b'2' => [
            0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111,
        ],
        b'3' => [
            0b11110, 0b00001, 0b00001, 0b01110, 0b00001, 0b00001, 0b11110,
        ],
        b'4' => [
            0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010,
        ],
        b'5' => [
            0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110,
        ],
        b'6' => [
            0b01110, 0b10000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110,
        ],
        b'7' => [
            0b11111, 0b00001, 0b00010, 0b00100, 0b00100, 0b01000, 0b01000,
        ],
        b'8' => [
            0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110,
        ],
        b'9' => [
            0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00001, 0b01110,
        ],
        b'.' => [0, 0, 0, 0, 0, 0b01100, 0b01100],
        b'-' => [0, 0, 0, 0b01110, 0, 0, 0],
        _ => [0; 7],
    }
}

/// Pixels per dot so that `characters` characters fill `area`; 0 where they do not fit.
pub(super) fn scale(characters: usize, area: Rect) -> usize {
    (area.width() / (ADVANCE * characters.max(1))).min(area.height() / LINE)
}

/// Writes `text` in white, centred in `area`, which must be black. Writes nothing where it does not
/// fit.
pub(super) fn write(luma: &mut [u8], stride: usize, area: Rect, text: &str) {
    let scale = scale(text.len(), area);
    let left = area.left + (area.width() - text.len() * ADVANCE * scale) / 2;
    let top = area.top + (area.height() - LINE * scale) / 2 + scale / 2;
    for (n, c) in text.bytes().enumerate() {
        for (row, dots) in glyph(c).into_iter().enumerate() {
            for y in 0..scale {
                let line = (top + row * scale + y) * stride + left + n * ADVANCE * scale;
                for dot in (0..5).filter(|d| dots >> (4 - d) & 1 == 1) {
                    luma[line + dot * scale..line + (dot + 1) * scale].fill(255);
                }
            }
        }
    }
}
