//! A look at a camera's JPEG: its size, and whether it is all there. Decodes nothing. Bytes are the device's: never trusted.

/// Width and height in pixels of a complete JPEG image, or what is wrong with it. Bytes after the end marker are allowed
/// (cameras pad), a missing Huffman table too (the decoder's business).
///
/// ITU-T T.81, annex B: segments up to the scan, then entropy-coded data in which 0xFF is never followed by an end marker
/// but at the end.
pub fn inspect(data: &[u8]) -> Result<(u32, u32), &'static str> {
    if !data.starts_with(&[0xff, 0xd8]) {
        return Err("its bytes do not begin a JPEG image");
    }
    let mut at = 2;
    let mut size = None;
    loop {
        if *data.get(at).ok_or(CUT_OFF)? != 0xff {
            return Err("its JPEG header is damaged");
        }
        let marker = *data.get(at + 1).ok_or(CUT_OFF)?;
        match marker {
            // Fill bytes may precede a marker.
            0xff => {
                at += 1;
                continue;
            }
            // Stand-alone markers: TEM, RST0 to RST7, a second SOI.
            0x01 | 0xd0..=0xd8 => {
                at += 2;
                continue;
            }
            0xd9 => return Err("its JPEG image ends before the picture"),
            _ => {}
        }
        let length = usize::from(be16(data, at + 2)?);
        if length < 2 {
            return Err("its JPEG header is damaged");
        }
        match marker {
            // SOF0 to SOF15 but DHT (C4), JPG (C8) and DAC (CC).
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let (height, width) = (be16(data, at + 5)?, be16(data, at + 7)?);
                if width == 0 || height == 0 {
                    return Err("its JPEG header has no size");
                }
                size = Some((u32::from(width), u32::from(height)));
            }
            0xda => {
                let scan = data.get(at + 2 + length..).ok_or(CUT_OFF)?;
                let size = size.ok_or("its JPEG header has no size")?;
                return if ends(scan) { Ok(size) } else { Err(CUT_OFF) };
            }
            _ => {}
        }
        at += 2 + length;
    }
}

const CUT_OFF: &str = "its JPEG image is cut off";

fn be16(data: &[u8], at: usize) -> Result<u16, &'static str> {
    match data.get(at..at + 2) {
        Some(b) => Ok(u16::from_be_bytes([b[0], b[1]])),
        None => Err(CUT_OFF),
    }
}

/// From the back: the end marker is the last or nearly the last thing in a whole image.
fn ends(scan: &[u8]) -> bool {
    scan.windows(2).rev().any(|w| w == [0xff, 0xd9])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jpeg(width: u16, height: u16) -> Vec<u8> {
        let mut v = vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2];
        v.extend([0xff, 0xff, 0xc0, 0, 11, 8]);
        v.extend(height.to_be_bytes());
        v.extend(width.to_be_bytes());
        v.extend([1, 1, 0x11, 0]);
        v.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0x12, 0xff, 0x00, 0x34, 0xff, 0xd9]);
        v
    }

    #[test]
    fn a_whole_image_tells_its_size() {
        assert_eq!(inspect(&jpeg(1280, 720)), Ok((1280, 720)));
        let mut padded = jpeg(640, 480);
        padded.extend([0; 500]);
        assert_eq!(inspect(&padded), Ok((640, 480)));
    }

    #[test]
    fn damage_is_told() {
        let whole = jpeg(640, 480);
        for cut in 0..whole.len() {
            assert!(inspect(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(inspect(&jpeg(0, 480)), Err("its JPEG header has no size"));
        assert_eq!(inspect(&[0; 64]), Err("its bytes do not begin a JPEG image"));
        assert_eq!(inspect(&[0xff, 0xd8, 0xff, 0xd9]), Err("its JPEG image ends before the picture"));
        assert_eq!(inspect(&[0xff, 0xd8, 0x00, 0x00]), Err("its JPEG header is damaged"));
        assert_eq!(inspect(&[0xff, 0xd8, 0xff, 0xe0, 0, 1, 0, 0]), Err("its JPEG header is damaged"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
            if head && bytes.len() > 2 {
                bytes[..2].copy_from_slice(&[0xff, 0xd8]);
            }
            let _ = inspect(&bytes);
        }

        #[test]
        fn one_changed_byte_never_panics(at in 0usize..40, to in any::<u8>()) {
            let mut bytes = jpeg(640, 480);
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = inspect(&bytes);
        }
    }
}
