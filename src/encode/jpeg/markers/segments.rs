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

/// How many bytes of the segment players need, its marker and length included; 0: none. `body`
/// follows its length.
pub(super) fn needed_bytes(code: u8, body: &[u8]) -> usize {
    let needed = match code {
        // SOF0 to SOF2, DHT, SOS, DQT, DRI.
        0xc0..=0xc2 | 0xc4 | 0xda | 0xdb | 0xdd => body.len(),
        0xe0 if body.len() == JFIF_BYTES && body.starts_with(b"JFIF\0") => JFIF_BYTES,
        // Players read a longer one too. What follows the colours is not defined.
        0xee if body.len() >= ADOBE_BYTES && body.starts_with(b"Adobe") => ADOBE_BYTES,
        _ => return 0,
    };
    4 + needed
}

/// Where a marker is that cannot be inside a scan and that decoders act on: a segment of T.81, or
/// SOI. `None`: nowhere. `data`: up to EOI.
///
/// Not those without a segment (TEM, RSTn, fill bytes), and not the reserved codes 02 to BF: what
/// follows them is no segment to any decoder, but damaged data like any other.
pub(super) fn find_in_scan(data: &[u8]) -> Option<usize> {
    let is_misplaced = |pair: (&u8, &u8)| {
        let code = *pair.1;
        let is_restart = code & 0xf8 == 0xd0;
        (*pair.0 == 0xff) & (code >= 0xc0) & (code != 0xff) & !is_restart
    };
    let pairs = || data.iter().zip(data.get(1..).unwrap_or_default());
    // Without an early exit, so that it is compiled to vector instructions.
    let any = pairs().fold(false, |any, pair| any | is_misplaced(pair));
    if any {
        pairs().position(is_misplaced)
    } else {
        None
    }
}

/// One part of an image: a segment with its marker, or the data of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Part {
    pub range: Range<usize>,
    /// How many of its bytes players need; fewer than it has: a segment to be cut.
    needed: usize,
}

impl Part {
    /// Appends what players need of it. `image`: that of [`Parts::new`].
    pub(in super::super) fn append_needed(&self, image: &[u8], out: &mut Vec<u8>) {
        let bytes = &image[self.range.clone()];
        if self.needed == bytes.len() {
            out.extend_from_slice(bytes);
        } else if self.needed > 4 {
            // The length counts itself but not the marker.
            let length = (self.needed - 2) as u16;
            out.extend_from_slice(&bytes[..2]);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&bytes[4..self.needed]);
        }
    }
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
            needed: (end - start) - (self.progress.unneeded_bytes - unneeded),
        })
    }
}
