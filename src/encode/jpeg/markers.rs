//! Walks a JPEG's markers: where the image ends, its size, what it lacks. Decodes nothing and changes nothing.
//!
//! ITU-T T.81, annex B: a JPEG is SOI, then segments of a stated length up to SOS, then entropy-coded data in which a
//! 0xFF is followed by 0x00 or by a restart marker, up to the next marker: EOI, or another segment and scan.

use memchr::{memchr, memmem::Finder};
use std::sync::LazyLock;

/// More than any camera's frame: a 12-megapixel one of a noisy scene at the best quality is about 12 MB.
pub const MAX_JPEG_BYTES: usize = 16 << 20;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DHT: u8 = 0xc4;
const TEM: u8 = 0x01;

/// Built once: it asks the processor what it can do.
static END: LazyLock<Finder> = LazyLock::new(|| Finder::new(&[0xff, EOI]));

/// What the markers of one whole image say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes from SOI to EOI, both included.
    pub len: usize,
    /// Pixels; never 0.
    pub width: u16,
    /// Pixels; never 0.
    pub height: u16,
    /// Width and height of the blocks that a lossless transform moves, pixels.
    pub mcu: (u16, u16),
    /// 1 (grey), 3 (colour) or 4.
    pub components: u8,
    /// Baseline, as every camera's MJPEG is; false: progressive, which has tables of its own for each scan.
    pub baseline: bool,
    /// Where the Huffman tables are missing: they belong before the byte at this offset (the first SOS).
    pub tables_missing_at: Option<usize>,
}

/// Bytes that are no whole JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the JPEG: {why}")]
pub struct Corrupt {
    pub at: usize,
    pub why: &'static str,
}

/// Finds the end of the JPEG at the start of a growing buffer, without looking at any byte twice.
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
///         buffer.drain(..image.len); // the walker has begun anew
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
    /// All before this offset has been looked at.
    at: usize,
    place: Place,
    frame: Option<Frame>,
    has_tables: bool,
    first_scan: Option<usize>,
    /// The last scan holds every component.
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

/// What SOF says.
#[derive(Clone, Copy, Debug)]
struct Frame {
    width: u16,
    height: u16,
    mcu: (u16, u16),
    components: u8,
    baseline: bool,
}

impl Walker {
    /// An image of more than `max_bytes` is taken for corrupt.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            progress: Progress::default(),
        }
    }

    /// Walks on in `prefix`, which begins with the image's first byte and holds at least what the last call was given.
    ///
    /// `None`: the image is not whole yet. After any other answer the walker begins anew: the next call's `prefix` is
    /// the next image.
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

/// Walks `bytes`, a device's buffer, which is to hold a whole image at its start (and perhaps more after it).
///
/// In the one scan of a baseline image only EOI is looked for, and no other marker that cannot be there, as [`Walker`] does:
/// that takes a third of the time, and here no other image depends on where this one ends.
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

/// Width and height in pixels of the JPEG whose first bytes these are; `None` where they do not say.
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
                why: "no JPEG begins here",
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
                self.first_scan.get_or_insert(at);
                self.place = Place::Scan;
            }
            0xc0..=0xcf if code != 0xc8 && code != 0xcc => {
                if self.frame.is_some() {
                    return Err(Corrupt {
                        at,
                        why: "a second frame header",
                    });
                }
                self.frame = Some(Frame::parse(code, body).map_err(|why| Corrupt { at, why })?);
            }
            _ => {}
        }
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
                why: "the image ends before its picture",
            });
        };
        Ok(Step::End(Layout {
            len: self.at + 2,
            width: frame.width,
            height: frame.height,
            mcu: frame.mcu,
            components: frame.components,
            baseline: frame.baseline,
            tables_missing_at: (!self.has_tables).then_some(first_scan),
        }))
    }
}

impl Frame {
    /// `body` is what follows the segment's length (B.2.2): precision, lines, samples per line, components.
    fn parse(code: u8, body: &[u8]) -> Result<Self, &'static str> {
        if code > 0xc2 {
            return Err(
                "a kind of JPEG that no browser shows (lossless, hierarchical or arithmetic)",
            );
        }
        let (&[precision, h1, h0, w1, w0, count], components) = body
            .split_first_chunk::<6>()
            .ok_or("a frame header that is too short")?;
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        if precision != 8 {
            return Err("samples of other than 8 bits");
        }
        if width == 0 || height == 0 {
            return Err("a frame without a size");
        }
        if !matches!(count, 1 | 3 | 4) || components.len() != usize::from(count) * 3 {
            return Err("a frame header whose components do not fit its length");
        }
        let (mut across, mut down) = (1, 1);
        for component in components.chunks_exact(3) {
            let (h, v) = (component[1] >> 4, component[1] & 15);
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return Err("a sampling factor that is not 1 to 4");
            }
            across = across.max(u16::from(h));
            down = down.max(u16::from(v));
        }
        // The blocks of a single component are not interleaved, whatever its factors say (A.2.2).
        let mcu = if count == 1 {
            (8, 8)
        } else {
            (8 * across, 8 * down)
        };
        Ok(Self {
            width,
            height,
            mcu,
            components: count,
            baseline: code != 0xc2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::jpeg::tests::RPICAM;
    use proptest::prelude::*;

    const RPICAM_LENGTHS: [usize; 5] = [18656, 15491, 18698, 15517, 18712];

    /// The smallest image that the walker takes for whole: a size, a scan, an end.
    fn tiny() -> Vec<u8> {
        let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 0xff, 0xd9];
        jpeg.extend([
            0xff, 0xc0, 0, 17, 8, 0, 16, 0, 32, 3, 1, 0x21, 0, 2, 0x11, 1, 3, 0x11, 1,
        ]);
        jpeg.extend([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
        jpeg.extend([1, 2, 0xff, 0, 3, 0xff, 0xd0, 4, 0xff, 0xff, 0xd9]);
        jpeg
    }

    fn with(position: usize, insert: &[u8]) -> Vec<u8> {
        let mut jpeg = tiny();
        jpeg.splice(position..position, insert.iter().copied());
        jpeg
    }

    #[test]
    fn real_frames_are_split_where_they_end_whatever_the_reads() {
        for step in [1, 2, 3, 1000, 4096, 65536, RPICAM.len()] {
            let (mut walker, mut buffer, mut lengths) =
                (Walker::new(MAX_JPEG_BYTES), Vec::new(), Vec::new());
            for read in RPICAM.chunks(step) {
                buffer.extend_from_slice(read);
                while let Some(image) = walker.walk(&buffer).unwrap() {
                    assert_eq!(Some((image.width, image.height)), size_of(&buffer));
                    assert!(image.baseline && image.tables_missing_at.is_none());
                    lengths.push(image.len);
                    buffer.drain(..image.len);
                }
            }
            assert_eq!(lengths, RPICAM_LENGTHS, "reads of {step} bytes");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn every_split_point_gives_the_same_answer() {
        let jpeg = tiny();
        let whole = walk(&jpeg).unwrap();
        assert_eq!(
            (whole.len, whole.width, whole.height, whole.mcu),
            (jpeg.len(), 32, 16, (16, 8))
        );
        assert_eq!(whole.tables_missing_at, Some(27));
        for split in 0..jpeg.len() {
            let mut walker = Walker::new(MAX_JPEG_BYTES);
            assert_eq!(walker.walk(&jpeg[..split]), Ok(None), "split at {split}");
            assert_eq!(walker.walk(&jpeg), Ok(Some(whole)), "split at {split}");
        }
    }

    #[test]
    fn what_follows_the_image_is_not_counted() {
        let mut jpeg = tiny();
        let len = jpeg.len();
        jpeg.extend([0, 0, 0xff, 0xd9]);
        assert_eq!(walk(&jpeg).unwrap().len, len);
    }

    #[test]
    fn tables_are_seen() {
        assert_eq!(
            walk(&with(8, &[0xff, 0xc4, 0, 2]))
                .unwrap()
                .tables_missing_at,
            None
        );
    }

    /// With a scan of one component before that of all three, and `insert` in that one's data.
    fn multi_scan(insert: &[u8]) -> Vec<u8> {
        with(
            27,
            &[
                &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 1, 2, 3, 4, 5][..],
                insert,
            ]
            .concat(),
        )
    }

    #[test]
    fn an_image_of_several_scans_is_walked_to_its_end() {
        let jpeg = multi_scan(&[]);
        assert_eq!(walk(&jpeg).unwrap().len, jpeg.len());
        assert_eq!(
            Walker::new(1000).walk(&jpeg),
            Ok(Some(walk(&jpeg).unwrap()))
        );
    }

    #[test]
    fn in_a_stream_an_image_that_is_cut_short_by_the_next_is_corrupt() {
        let cut = [&tiny()[..43], &tiny()].concat();
        assert_eq!(Walker::new(1000).walk(&cut).map_err(|e| e.at), Err(43));
    }

    #[test]
    fn nothing_but_the_end_follows_the_only_scan() {
        // Else an end inside such a segment would be one to `walk` and none to the walker.
        let segment = with(43, &[0xff, 0xe5, 0, 4, 0xff, 0xd9]);
        assert_eq!(Walker::new(1000).walk(&segment).map_err(|e| e.at), Err(43));
    }

    #[test]
    fn faults_are_named_with_their_place() {
        let tiny = tiny();
        let cases: [(Vec<u8>, usize); 9] = [
            (b"not a JPEG".to_vec(), 0),
            (tiny[..tiny.len() - 2].to_vec(), tiny.len() - 2), // no EOI
            (with(8, &[0]), 8),                                // garbage between segments
            (with(8, &[0xff, 0xd0]), 8),                       // a restart marker outside a scan
            (with(8, &[0xff, 0xe1, 0, 1]), 8), // a segment of less than its length field
            (with(8, &[0xff, 0xd9]), 8),       // the end before the picture
            (with(8, &tiny[27..41]), 8),       // a scan before the size
            (with(8, &tiny[8..27]), 27),       // two sizes
            (multi_scan(&[0xff, 0xd8]), 42),   // the next image where this one goes on
        ];
        for (bytes, at) in cases {
            assert_eq!(walk(&bytes).map_err(|e| e.at), Err(at), "{bytes:x?}");
        }
    }

    #[test]
    fn headers_that_no_browser_shows_are_corrupt() {
        for (offset, value) in [
            (9, 0xc3),
            (9, 0xc9),
            (12, 12),
            (14, 0),
            (16, 0),
            (17, 2),
            (17, 4),
            (19, 0x05),
        ] {
            let mut jpeg = tiny();
            jpeg[offset] = value;
            assert!(walk(&jpeg).is_err(), "byte {offset} = {value:#x}");
        }
    }

    #[test]
    fn an_image_that_never_ends_is_given_up_at_the_largest_size() {
        let mut walker = Walker::new(1000);
        let mut jpeg = tiny();
        jpeg.truncate(jpeg.len() - 3);
        jpeg.resize(999, 7);
        assert_eq!(walker.walk(&jpeg), Ok(None));
        jpeg.push(7);
        assert_eq!(walker.walk(&jpeg).map_err(|e| e.at), Err(1000));
        assert!(
            walker.walk(&tiny()).unwrap().is_some(),
            "the walker begins anew"
        );
    }

    #[test]
    fn size_is_known_as_soon_as_the_frame_header_is_there() {
        let jpeg = tiny();
        assert_eq!(size_of(&jpeg[..26]), None);
        assert_eq!(size_of(&jpeg[..27]), Some((32, 16)));
        assert_eq!(size_of(&[]), None);
    }

    /// Random bytes seldom get past SOI: these are made of pieces that mean something.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(vec![0xff]),
            Just(tiny()[8..27].to_vec()),
            Just(tiny()[27..].to_vec()),
            any::<u8>().prop_map(|code| vec![0xff, code]),
            (any::<u8>(), 0u16..300).prop_map(|(code, length)| [
                &[0xff, code],
                &length.to_be_bytes()[..]
            ]
            .concat()),
            proptest::collection::vec(any::<u8>(), 0..40),
        ];
        proptest::collection::vec(piece, 0..12)
            .prop_map(|pieces| [&[0xff, 0xd8], &pieces.concat()[..]].concat())
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_reads_do_not_change_the_answer(
            bytes in prop_oneof![pieces(), proptest::collection::vec(any::<u8>(), 0..200)],
            step in 1usize..50,
        ) {
            let whole = Walker::new(300).walk(&bytes);
            let mut walker = Walker::new(300);
            let mut answer = Ok(None);
            let mut given = 0;
            while answer == Ok(None) && given < bytes.len() {
                given = (given + step).min(bytes.len());
                answer = walker.walk(&bytes[..given]);
            }
            prop_assert_eq!(answer, whole);
            let in_a_buffer = walk(&bytes);
            if let Ok(Some(layout)) = whole {
                prop_assert!(layout.len <= bytes.len());
                prop_assert_eq!(&bytes[layout.len - 2..layout.len], &[0xff, EOI]);
                prop_assert_eq!(size_of(&bytes), Some((layout.width, layout.height)));
                prop_assert_eq!(in_a_buffer, Ok(layout));
            }
        }
    }
}
