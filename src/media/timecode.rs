//! The machine-readable time in the test pattern: UNIX microseconds (64 bits) and a CRC-16 as black
//! and white cells, written to and read from a luma plane. The cells survive JPEG, H.264 and
//! scaling. Described in `docs/test-picture.md`.

use super::UnixNs;
use super::test_pattern::{CODE, COLUMNS, FLASH, ROWS, Rect};

/// Cells in a row.
const BITS: u32 = 16;
/// Four rows of time, most significant first, and one of CRC.
const LINES: usize = 5;

/// A cell's mean luma below this is a 0.
const DARK: u32 = 96;
/// A cell's mean luma above this is a 1; between the two nothing is read.
const LIGHT: u32 = 160;
/// Cells narrower or lower than this many pixels are not drawn: lossy encoding would destroy them.
const SMALLEST_CELL: u32 = 4;

/// True when a frame of this size (pixels) has room for the code.
pub fn fits(width: u32, height: u32) -> bool {
    width >= SMALLEST_CELL * COLUMNS && height >= SMALLEST_CELL * ROWS
}

/// Draws the code of `at` (truncated to microseconds) into a luma plane of `width` by `height`
/// pixels with `stride` bytes from row to row. Does nothing where the frame is too small
/// ([`fits`]).
pub fn draw(luma: &mut [u8], width: u32, height: u32, stride: usize, at: UnixNs) {
    if !fits(width, height) {
        return;
    }
    for (line, bits) in (0..).zip(encode(at.0 / 1_000)) {
        for column in 0..BITS {
            let one = bits >> (BITS - 1 - column) & 1 == 1;
            let cell = cell(column, line, width, height);
            for y in cell.top..cell.bottom {
                luma[y * stride + cell.left..y * stride + cell.right].fill(if one {
                    255
                } else {
                    0
                });
            }
        }
    }
}

/// Reads the code from a luma plane (8 bits, full or limited range) of any size. `None` when there
/// is none, when a cell is neither dark nor light, when the CRC is wrong, or when `luma` is too
/// short for the size: never a wrong time.
pub fn read(luma: &[u8], width: u32, height: u32, stride: usize) -> Option<UnixNs> {
    let enough = (height as usize)
        .checked_sub(1)?
        .checked_mul(stride)?
        .checked_add(width as usize)?;
    if stride < width as usize
        || luma.len() < enough
        || width < BITS * 2
        || height < LINES as u32 * 8
    {
        return None;
    }
    let mut lines = [0u16; LINES];
    for (line, bits) in (0..).zip(&mut lines) {
        for column in 0..BITS {
            let bit = match mean_of_middle(luma, stride, cell(column, line, width, height))? {
                m if m < DARK => 0,
                m if m > LIGHT => 1,
                _ => return None,
            };
            *bits = *bits << 1 | bit;
        }
    }
    let micros = lines[..4].iter().fold(0u64, |a, &l| a << 16 | u64::from(l));
    if lines != encode(micros) {
        return None;
    }
    micros.checked_mul(1_000).map(UnixNs)
}

/// Whether the flash is white in a luma plane. `None` when it is neither white nor black, or when
/// `luma` is too short for the size.
pub fn flash_is_lit(luma: &[u8], width: u32, height: u32, stride: usize) -> Option<bool> {
    let enough = (height as usize)
        .checked_sub(1)?
        .checked_mul(stride)?
        .checked_add(width as usize)?;
    if stride < width as usize || luma.len() < enough {
        return None;
    }
    match mean_of_middle(luma, stride, Rect::of(FLASH, width, height))? {
        m if m < DARK => Some(false),
        m if m > LIGHT => Some(true),
        _ => None,
    }
}

fn encode(micros: u64) -> [u16; LINES] {
    let word = |n: u32| (micros >> (48 - 16 * n)) as u16;
    [
        word(0),
        word(1),
        word(2),
        word(3),
        crc16(&micros.to_be_bytes()),
    ]
}

fn cell(column: u32, line: u32, width: u32, height: u32) -> Rect {
    let [left, top, ..] = CODE;
    Rect::of(
        [left + column, top + line, left + column + 1, top + line + 1],
        width,
        height,
    )
}

/// Mean of a cell's middle half in both directions (at least one pixel): codecs and scalers blur
/// the edges.
fn mean_of_middle(luma: &[u8], stride: usize, cell: Rect) -> Option<u32> {
    let (mx, my) = (cell.width() / 4, cell.height() / 4);
    let (mut sum, mut count) = (0u32, 0u32);
    for y in cell.top + my..cell.bottom - my {
        for &p in &luma[y * stride + cell.left + mx..y * stride + cell.right - mx] {
            sum += u32::from(p);
            count += 1;
        }
    }
    sum.checked_div(count)
}

/// CRC-16/IBM-3740 ("CCITT-FALSE"): polynomial 0x1021, initial value 0xFFFF, not reflected. It
/// rejects all black and all white.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, &b| {
        (0..8).fold(crc ^ u16::from(b) << 8, |c: u16, _| {
            if c & 0x8000 != 0 {
                c << 1 ^ 0x1021
            } else {
                c << 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crc16_check_string_gives_the_catalogued_value() {
        // The check value of the Catalogue of parametrised CRC algorithms.
        assert_eq!(crc16(b"123456789"), 0x29B1);
    }

    #[test]
    fn read_uniform_plane_is_none() {
        for luma in [0u8, 128, 255] {
            assert_eq!(read(&vec![luma; 640 * 480], 640, 480, 640), None);
        }
    }

    #[test]
    fn read_one_inverted_cell_is_none() {
        let (w, h) = (320u32, 240u32);
        for line in 0..LINES as u32 {
            for column in 0..BITS {
                let mut luma = vec![90u8; (w * h) as usize];
                draw(
                    &mut luma,
                    w,
                    h,
                    w as usize,
                    UnixNs(1_795_161_453_994_942_000),
                );
                let c = cell(column, line, w, h);
                for y in c.top..c.bottom {
                    for p in &mut luma[y * w as usize + c.left..y * w as usize + c.right] {
                        *p = 255 - *p;
                    }
                }
                assert_eq!(read(&luma, w, h, w as usize), None);
            }
        }
    }

    proptest! {
        #[test]
        fn read_drawn_code_gives_its_time(micros in 0u64..u64::MAX / 1_000, w in 80u32..700, h in 96u32..500, pad in 0usize..9) {
            let stride = w as usize + pad;
            let mut luma = vec![77u8; stride * h as usize];
            draw(&mut luma, w, h, stride, UnixNs(micros * 1_000 + 999));
            prop_assert_eq!(read(&luma, w, h, stride), Some(UnixNs(micros * 1_000)));
        }

        #[test]
        fn read_any_bytes_and_sizes_is_none(luma in proptest::collection::vec(any::<u8>(), 0..5_000),
            w in 0u32..200, h in 0u32..200, stride in 0usize..300) {
            prop_assert_eq!(read(&luma, w, h, stride), None);
        }

        #[test]
        fn read_huge_sizes_is_none(w in any::<u32>(), h in any::<u32>(), stride in any::<usize>()) {
            prop_assert_eq!(read(&[0; 64], w, h, stride), None);
        }
    }
}
