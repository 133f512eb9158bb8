//! Which segments players need, and the parts of an image.
//!
//! A camera's JPEG may contain comments, EXIF, thumbnails, maker notes or serial numbers. Players
//! need none of them, and what they contain is not the video, so they are not passed on. That
//! includes EXIF's orientation, which is not applied to the other encodings either, and colour
//! profiles: cameras send sRGB without one.

use super::{Progress, SOI, Step};
use std::ops::Range;

/// JFIF without a thumbnail (JFIF 1.02): 16 bytes with the length field.
const JFIF_BYTES: usize = 14;
/// Adobe's segment, whose last byte says which colours the components are: 14 bytes with the
/// length.
const ADOBE_BYTES: usize = 12;

/// Whether players need the segment. `body` follows its length.
pub(super) fn is_needed(code: u8, body: &[u8]) -> bool {
    match code {
        // SOF0 to SOF2, DHT, SOS, DQT, DRI.
        0xc0..=0xc2 | 0xc4 | 0xda | 0xdb | 0xdd => true,
        0xe0 => body.len() == JFIF_BYTES && body.starts_with(b"JFIF\0"),
        0xee => body.len() == ADOBE_BYTES && body.starts_with(b"Adobe"),
        _ => false,
    }
}

/// Where a segment begins that cannot be inside a scan: APPn, JPGn or COM. `None`: nowhere.
pub(super) fn find_in_scan(data: &[u8]) -> Option<usize> {
    let is_segment = |pair: (&u8, &u8)| (*pair.0 == 0xff) & (0xe0..=0xfe).contains(pair.1);
    let pairs = || data.iter().zip(data.get(1..).unwrap_or_default());
    // Without an early exit, so that it is compiled to vector instructions.
    let any = pairs().fold(false, |any, pair| any | is_segment(pair));
    if any {
        pairs().position(is_segment)
    } else {
        None
    }
}

/// One part of an image: a segment with its marker, or the data of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Part {
    pub range: Range<usize>,
    pub is_needed: bool,
}

/// The parts of a complete image, in order. Together they are all of it.
pub(in super::super) struct Parts<'a> {
    image: &'a [u8],
    progress: Progress,
    is_over: bool,
}

impl<'a> Parts<'a> {
    /// `image`: from SOI to EOI.
    pub(in super::super) fn new(image: &'a [u8]) -> Self {
        debug_assert!(image.starts_with(&[0xff, SOI]));
        Self {
            image,
            progress: Progress::default(),
            is_over: false,
        }
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        if self.is_over {
            return None;
        }
        let start = self.progress.at;
        let unneeded = self.progress.unneeded_bytes;
        // Nothing but EOI follows the only scan.
        let step = if self.progress.in_only_scan() {
            None
        } else {
            Some(self.progress.step(self.image))
        };
        let end = match step {
            Some(Ok(Step::On)) => self.progress.at,
            _ => {
                self.is_over = true;
                self.image.len()
            }
        };
        Some(Part {
            range: start..end,
            is_needed: self.progress.unneeded_bytes == unneeded,
        })
    }
}
