//! Parses a JPEG's markers: where the image ends, its size, what it lacks. Without decoding.
//!
//! ITU-T T.81, annex B: a JPEG is SOI, then segments of a stated length up to SOS, then
//! entropy-coded data in which a 0xFF is followed by 0x00 or by a restart marker, up to the next
//! marker: EOI, or another segment and scan.

mod frame_header;
mod segments;
#[cfg(test)]
mod tests;

use super::MAX_SCANS;
use frame_header::FrameHeader;
use memchr::{memchr, memmem::Finder};
#[cfg(test)]
pub(super) use segments::Part;
pub(super) use segments::Parts;
use std::sync::LazyLock;

/// The largest JPEG that is read, bytes: more than any camera's. One of 12 megapixels of a noisy
/// scene at the best quality has about 12 MB.
pub const MAX_JPEG_BYTES: usize = 16 << 20;

/// The largest area of a camera's JPEG, as a multiple of the [larger](larger_size) of the requested
/// size and the driver's. Decoding takes time and memory by the size that the image itself claims.
pub const MAX_AREA_RATIO: usize = 4;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DHT: u8 = 0xc4;
const TEM: u8 = 0x01;

/// Built once: it detects the processor's features.
static END: LazyLock<Finder> = LazyLock::new(|| Finder::new(&[0xff, EOI]));

/// The larger by area of the size that was asked of a camera and the one that its driver set,
/// pixels: the driver's may be that of another program's stream (v4l2loopback).
pub fn larger_size(asked: (u32, u32), driver: (u32, u32)) -> (u32, u32) {
    let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    if area(driver) > area(asked) {
        driver
    } else {
        asked
    }
}

/// What the markers of a complete image say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes from SOI to EOI, both included.
    pub len: usize,
    /// Pixels; never 0.
    pub width: u16,
    /// Pixels; never 0.
    pub height: u16,
    /// Width and height of a minimum coded unit, pixels: the blocks that a lossless transform
    /// moves.
    pub mcu: (u16, u16),
    /// 1 (grey), 3 (colour) or 4.
    pub components: u8,
    /// Baseline, as every camera's MJPEG is; false: progressive.
    pub baseline: bool,
    /// A baseline image has one, or one for each component; a progressive one any number.
    pub scans: u32,
    /// The offset at which missing Huffman tables have to be inserted (the first SOS); `None`: it
    /// has tables.
    pub tables_missing_at: Option<usize>,
    /// Bytes of the segments that players do not need: comments, EXIF and the like.
    pub unneeded_bytes: usize,
    /// The offset of the data of a baseline image's only scan; `None`: it has several.
    pub only_scan_at: Option<usize>,
}

impl Layout {
    /// Checks that no segment and no other image begins in the image's only scan, which [`walk`]
    /// does not read. `bytes` are those of the walk. (Of several scans, all markers are read.)
    ///
    /// # Errors
    /// One does.
    pub fn check_only_scan(&self, bytes: &[u8]) -> Result<(), Corrupt> {
        // Without EOI.
        let data = |start| bytes.get(start..self.len.saturating_sub(2));
        match self
            .only_scan_at
            .and_then(data)
            .and_then(segments::find_in_scan)
        {
            Some(at) => Err(Corrupt {
                at: self.only_scan_at.unwrap_or(0) + at,
                why: "a marker inside the only scan (a segment or another image begins there)",
            }),
            None => Ok(()),
        }
    }

    /// Checks that decoding the image takes no more time and memory than a camera's image of
    /// `largest_size` (pixels, see [`larger_size`]): both depend on what the image claims of itself.
    ///
    /// # Errors
    /// It is [oversized](Self::is_oversized), or has more than [`MAX_SCANS`] scans.
    pub fn check_decoding_cost(&self, largest_size: (u32, u32)) -> Result<(), String> {
        if self.is_oversized(largest_size) {
            return Err(format!(
                "a JPEG of {}x{} pixels from a camera that was set to {}x{}",
                self.width, self.height, largest_size.0, largest_size.1
            ));
        }
        if self.scans > MAX_SCANS {
            return Err(format!(
                "a JPEG of {} scans; at most {MAX_SCANS} are decoded",
                self.scans
            ));
        }
        Ok(())
    }

    /// Whether the image is larger than a camera can send that was set to `frame_size` (pixels):
    /// more than [`MAX_AREA_RATIO`] times its area, in whole coded units, as it is decoded.
    pub fn is_oversized(&self, frame_size: (u32, u32)) -> bool {
        let area = |width: usize, height: usize| width.saturating_mul(height);
        let padded = area(
            usize::from(self.width).next_multiple_of(self.mcu.0.into()),
            usize::from(self.height).next_multiple_of(self.mcu.1.into()),
        );
        // A frame of a few pixels is padded too.
        let side = |side: u32| (side.min(1 << 16) as usize).next_multiple_of(32);
        let asked = area(side(frame_size.0), side(frame_size.1));
        padded > asked.saturating_mul(MAX_AREA_RATIO)
    }
}

/// Bytes that are not a complete JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the JPEG: {why}")]
pub struct Corrupt {
    pub at: usize,
    pub why: &'static str,
}

/// Finds the end of the JPEG at the start of a growing buffer, reading each byte once.
///
/// ```
/// use stampcast::encode::jpeg::markers::{MAX_JPEG_BYTES, Walker};
/// # let pipe: Vec<Vec<u8>> = vec![vec![0xff], vec![0xd8, 0xff]];
/// let mut walker = Walker::new(MAX_JPEG_BYTES);
/// let mut buffer = Vec::new();
/// for bytes in pipe {
///     buffer.extend_from_slice(&bytes);
///     while let Some(image) = walker.walk(&buffer)? {
///         let _jpeg = &buffer[..image.len];
///         buffer.drain(..image.len); // the walker starts with the next image
///     }
/// }
/// # Ok::<(), stampcast::encode::jpeg::markers::Corrupt>(())
/// ```
#[derive(Clone, Debug)]
pub struct Walker {
    max_bytes: usize,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Everything before this offset was read.
    at: usize,
    place: Place,
    frame: Option<FrameHeader>,
    has_tables: bool,
    first_scan: Option<usize>,
    scans: u32,
    unneeded_bytes: usize,
    only_scan_at: Option<usize>,
    /// The last scan has every component.
    whole_scan: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Start,
    /// `at` is where a marker must be.
    Marker,
    Scan,
}

impl Walker {
    /// An image of more than `max_bytes` is corrupt.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            progress: Progress::default(),
        }
    }

    /// Continues in `prefix`, which begins with the image's first byte and contains at least the
    /// bytes of the last call.
    ///
    /// `None`: the image is not complete yet. After any other answer the walker starts again: the
    /// next call's `prefix` is the next image.
    ///
    /// # Errors
    /// The bytes are not an image that can be shown.
    pub fn walk(&mut self, prefix: &[u8]) -> Result<Option<Layout>, Corrupt> {
        let capped = &prefix[..prefix.len().min(self.max_bytes)];
        let outcome = match self.progress.advance(capped) {
            Ok(None) if prefix.len() >= self.max_bytes => Err(Corrupt {
                at: self.max_bytes,
                why: "no end within the largest size allowed",
            }),
            outcome => outcome,
        };
        if !matches!(outcome, Ok(None)) {
            self.progress = Progress::default();
        }
        outcome
    }
}

/// Parses `bytes`, a device's buffer, which should have a complete image at its start (perhaps with
/// more after it).
///
/// In the only scan of a baseline image it searches EOI alone, not every marker that cannot be
/// there, as [`Walker`] does: that takes a third of the time, and here no other image depends on
/// where this one ends. See [`Layout::check_only_scan`].
///
/// # Errors
/// The bytes are not an image that can be shown.
pub fn walk(bytes: &[u8]) -> Result<Layout, Corrupt> {
    let mut progress = Progress::default();
    let capped = &bytes[..bytes.len().min(MAX_JPEG_BYTES)];
    loop {
        if progress.in_only_scan() {
            let rest = capped.get(progress.at..).unwrap_or_default();
            progress.at += END.find(rest).unwrap_or(rest.len());
            progress.place = Place::Marker;
        }
        match progress.step(capped)? {
            Step::On => {}
            Step::More => {
                return Err(Corrupt {
                    at: capped.len(),
                    why: "the image has no end (cut short)",
                });
            }
            Step::End(layout) => return Ok(layout),
        }
    }
}

/// Width and height in pixels of the JPEG that begins with `bytes`; `None` where they do not
/// contain them.
pub fn size_of(bytes: &[u8]) -> Option<(u16, u16)> {
    let mut progress = Progress::default();
    while progress.frame.is_none() {
        match progress.step(bytes) {
            Ok(Step::On) => {}
            _ => break,
        }
    }
    progress.frame.map(|f| (f.width, f.height))
}

enum Step {
    On,
    More,
    End(Layout),
}

impl Progress {
    fn advance(&mut self, bytes: &[u8]) -> Result<Option<Layout>, Corrupt> {
        loop {
            match self.step(bytes)? {
                Step::On => {}
                Step::More => return Ok(None),
                Step::End(layout) => return Ok(Some(layout)),
            }
        }
    }

    fn in_only_scan(&self) -> bool {
        matches!(self.place, Place::Scan)
            && self.whole_scan
            && self.frame.is_some_and(|frame| frame.baseline)
    }

    fn step(&mut self, bytes: &[u8]) -> Result<Step, Corrupt> {
        match self.place {
            Place::Start => self.start(bytes),
            Place::Marker => self.marker(bytes),
            Place::Scan => self.scan(bytes),
        }
    }

    fn start(&mut self, bytes: &[u8]) -> Result<Step, Corrupt> {
        match bytes {
            [0xff, SOI, ..] => {
                self.at = 2;
                self.place = Place::Marker;
                Ok(Step::On)
            }
            [] | [0xff] => Ok(Step::More),
            _ => Err(Corrupt {
                at: 0,
                why: "a JPEG does not begin here",
            }),
        }
    }

    fn marker(&mut self, bytes: &[u8]) -> Result<Step, Corrupt> {
        let at = self.at;
        let code = match bytes.get(at..) {
            None | Some([] | [0xff]) => return Ok(Step::More),
            // A marker may have any number of fill bytes 0xFF before it (B.1.1.2).
            Some([0xff, 0xff, ..]) => {
                self.at += 1;
                return Ok(Step::On);
            }
            Some([0xff, code, ..]) => *code,
            Some(_) => {
                return Err(Corrupt {
                    at,
                    why: "no marker where one must be",
                });
            }
        };
        match code {
            EOI => return self.end(),
            SOI => {
                return Err(Corrupt {
                    at,
                    why: "another image begins before this one has ended (cut short)",
                });
            }
            0x00 | 0xd0..=0xd7 => {
                return Err(Corrupt {
                    at,
                    why: "entropy-coded data outside a scan",
                });
            }
            TEM => {
                self.at += 2;
                self.unneeded_bytes += 2;
                return Ok(Step::On);
            }
            _ => {}
        }
        let Some(&[high, low]) = bytes.get(at + 2..at + 4) else {
            return Ok(Step::More);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Err(Corrupt {
                at,
                why: "a segment shorter than its own length field",
            });
        }
        let Some(body) = bytes.get(at + 4..at + 2 + length) else {
            return Ok(Step::More);
        };
        match code {
            DHT => self.has_tables = true,
            SOS => {
                let Some(frame) = self.frame else {
                    return Err(Corrupt {
                        at,
                        why: "a scan before the frame's size",
                    });
                };
                self.whole_scan = body.first() == Some(&frame.components);
                self.scans = self.scans.saturating_add(1);
                self.first_scan.get_or_insert(at);
                self.place = Place::Scan;
                let is_only = self.in_only_scan();
                self.only_scan_at = is_only.then_some(at + 2 + length);
            }
            0xc0..=0xcf if code != 0xc8 && code != 0xcc => {
                if self.frame.is_some() {
                    return Err(Corrupt {
                        at,
                        why: "a second frame header",
                    });
                }
                self.frame =
                    Some(FrameHeader::parse(code, body).map_err(|why| Corrupt { at, why })?);
            }
            _ => {}
        }
        self.unneeded_bytes += 2 + length - segments::needed_bytes(code, body);
        self.at = at + 2 + length;
        Ok(Step::On)
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<Step, Corrupt> {
        let mut at = self.at;
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr(0xff, rest)) {
            at += found;
            match bytes.get(at + 1) {
                Some(0x00 | 0xd0..=0xd7) => at += 2,
                Some(0xff) => at += 1,
                Some(&code) => {
                    if self.in_only_scan() && code != EOI {
                        return Err(Corrupt {
                            at,
                            why: "a marker inside the only scan (another image begins, or bytes are damaged)",
                        });
                    }
                    self.at = at;
                    self.place = Place::Marker;
                    return Ok(Step::On);
                }
                None => {
                    self.at = at;
                    return Ok(Step::More);
                }
            }
        }
        self.at = at.max(bytes.len());
        Ok(Step::More)
    }

    fn end(&self) -> Result<Step, Corrupt> {
        let (Some(frame), Some(first_scan)) = (self.frame, self.first_scan) else {
            return Err(Corrupt {
                at: self.at,
                why: "the image ends before its first scan",
            });
        };
        Ok(Step::End(Layout {
            len: self.at + 2,
            width: frame.width,
            height: frame.height,
            mcu: frame.mcu,
            components: frame.components,
            baseline: frame.baseline,
            scans: self.scans,
            tables_missing_at: (!self.has_tables).then_some(first_scan),
            unneeded_bytes: self.unneeded_bytes,
            only_scan_at: self.only_scan_at,
        }))
    }
}
