//! The parser on real frames, made-up ones, and random bytes.

use super::*;
use crate::encode::jpeg::tests::RPICAM;
use proptest::prelude::*;

const RPICAM_LENGTHS: [usize; 5] = [18656, 15491, 18698, 15517, 18712];

/// The smallest image that is complete for the walker: a size, a scan, an end.
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
fn walker_real_frames_are_split_where_they_end_for_any_reads() {
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
fn walker_every_split_point_gives_the_same_answer() {
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
fn walk_bytes_after_the_image_are_not_counted() {
    let mut jpeg = tiny();
    let len = jpeg.len();
    jpeg.extend([0, 0, 0xff, 0xd9]);
    assert_eq!(walk(&jpeg).unwrap().len, len);
}

#[test]
fn walk_huffman_tables_are_found() {
    assert_eq!(
        walk(&with(8, &[0xff, 0xc4, 0, 2]))
            .unwrap()
            .tables_missing_at,
        None
    );
}

/// With a scan of one component before that of all three, and `insert` in its data.
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
fn walk_image_of_several_scans_has_its_end_after_the_last() {
    let jpeg = multi_scan(&[]);
    assert_eq!(walk(&jpeg).unwrap().len, jpeg.len());
    assert_eq!(
        Walker::new(1000).walk(&jpeg),
        Ok(Some(walk(&jpeg).unwrap()))
    );
}

#[test]
fn walker_image_cut_short_by_the_next_is_corrupt() {
    let cut = [&tiny()[..43], &tiny()].concat();
    assert_eq!(Walker::new(1000).walk(&cut).map_err(|e| e.at), Err(43));
}

#[test]
fn walker_only_the_end_follows_the_only_scan() {
    // Otherwise an end inside such a segment would be one to `walk` but not to the walker.
    let segment = with(43, &[0xff, 0xe5, 0, 4, 0xff, 0xd9]);
    assert_eq!(Walker::new(1000).walk(&segment).map_err(|e| e.at), Err(43));
}

#[test]
fn walk_fault_has_its_offset() {
    let tiny = tiny();
    let cases: [(Vec<u8>, usize); 9] = [
        (b"not a JPEG".to_vec(), 0),
        (tiny[..tiny.len() - 2].to_vec(), tiny.len() - 2), // no EOI
        (with(8, &[0]), 8),                                // garbage between segments
        (with(8, &[0xff, 0xd0]), 8),                       // a restart marker outside a scan
        (with(8, &[0xff, 0xe1, 0, 1]), 8), // a segment of less than its length field
        (with(8, &[0xff, 0xd9]), 8),       // the end before the scan
        (with(8, &tiny[27..41]), 8),       // a scan before the size
        (with(8, &tiny[8..27]), 27),       // two sizes
        (multi_scan(&[0xff, 0xd8]), 42),   // the next image inside this one
    ];
    for (bytes, at) in cases {
        assert_eq!(walk(&bytes).map_err(|e| e.at), Err(at), "{bytes:x?}");
    }
}

#[test]
fn walk_headers_that_browsers_do_not_show_are_corrupt() {
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
fn walker_image_without_end_is_corrupt_at_the_largest_size() {
    let mut walker = Walker::new(1000);
    let mut jpeg = tiny();
    jpeg.truncate(jpeg.len() - 3);
    jpeg.resize(999, 7);
    assert_eq!(walker.walk(&jpeg), Ok(None));
    jpeg.push(7);
    assert_eq!(walker.walk(&jpeg).map_err(|e| e.at), Err(1000));
    assert!(
        walker.walk(&tiny()).unwrap().is_some(),
        "the walker starts again"
    );
}

#[test]
fn size_of_is_known_from_the_frame_header_on() {
    let jpeg = tiny();
    assert_eq!(size_of(&jpeg[..26]), None);
    assert_eq!(size_of(&jpeg[..27]), Some((32, 16)));
    assert_eq!(size_of(&[]), None);
}

/// Random bytes seldom get past SOI: these consist of valid pieces.
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
    fn walker_any_bytes_do_not_panic_and_reads_do_not_change_the_answer(
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

/// A segment with this marker and body.
fn segment(code: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u16 + 2;
    [&[0xff, code], &length.to_be_bytes()[..], body].concat()
}

#[test]
fn walk_counts_the_bytes_that_players_do_not_need() {
    // The segment APP0 of `tiny` is not JFIF.
    let own = 6;
    assert_eq!(walk(&tiny()).unwrap().unneeded_bytes, own);
    let jfif = b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
    let adobe = b"Adobe\0\x64\0\0\0\0\x01";
    let thumbnail = [&jfif[..], &[7; 300]].concat();
    for (code, body, needed) in [
        (0xe0, &jfif[..], true),
        (0xee, &adobe[..], true),
        (0xdd, &[0, 4], true),
        (0xdb, &[0; 65], true),
        (0xe0, &thumbnail, false),
        (0xe0, b"AVI1\0\0\0\0\0\0\0\0\0\0", false),
        (0xee, b"Adobe\0\x64\0\0\0\0", false), // one byte short of the colours
        (0xe1, b"Exif\0\0", false),
        (0xe2, b"ICC_PROFILE\0", false),
        (0xef, b"", false),
        (0xf0, b"JPG0", false),
        (0xfe, b"a comment", false),
        (0xdc, &[0, 16], false),
    ] {
        let extra = if needed { 0 } else { 4 + body.len() };
        let jpeg = with(8, &segment(code, body));
        let layout = walk(&jpeg).unwrap();
        assert_eq!(layout.unneeded_bytes, own + extra, "{code:#x}");
        assert_eq!(Walker::new(1000).walk(&jpeg), Ok(Some(layout)));
    }
}

#[test]
fn check_only_scan_segment_in_the_scan_is_corrupt() {
    let check = |at, code| {
        let jpeg = with(at, &segment(code, b"text"));
        let checked = walk(&jpeg).unwrap().check_only_scan(&jpeg);
        (checked.map_err(|e| e.at), Walker::new(1000).walk(&jpeg))
    };
    for at in [43, 46] {
        for code in (0xc0..=0xcf).chain([0xd8]).chain(0xda..=0xfe) {
            let (checked, walked) = check(at, code);
            assert_eq!(checked, Err(at), "{code:#x}");
            assert!(walked.is_err(), "{code:#x}");
        }
        // No decoder reads a segment there.
        for code in (0x00..=0xbf).chain(0xd0..=0xd7).chain([0xff]) {
            assert_eq!(check(at, code).0, Ok(()), "{code:#x}");
        }
    }
    // The data may end with any number of 0xFF.
    let clean = with(49, &[0xff; 3]);
    assert_eq!(walk(&clean).unwrap().check_only_scan(&clean), Ok(()));
    // Of several scans, the walk itself reads all markers.
    let several = multi_scan(&segment(0xfe, b"text"));
    let layout = walk(&several).unwrap();
    assert_eq!((layout.scans, layout.unneeded_bytes), (2, 6 + 8));
    assert_eq!(layout.only_scan_at, Some(several.len() - 11));
}

#[test]
fn is_oversized_is_by_area_in_whole_coded_units() {
    let of = |width: u16, height: u16, mcu: (u16, u16)| Layout {
        width,
        height,
        mcu,
        ..walk(&tiny()).unwrap()
    };
    let vga = (640, 480);
    assert!(!of(640, 480, (16, 16)).is_oversized(vga));
    assert!(!of(1280, 960, (16, 16)).is_oversized(vga));
    assert!(of(1280, 961, (16, 16)).is_oversized(vga));
    assert!(of(8_191, 8_191, (16, 16)).is_oversized(vga));
    // A line of pixels takes a line of coded units.
    assert!(of(65_535, 1, (8, 32)).is_oversized(vga));
    assert!(!of(65_535, 1, (8, 8)).is_oversized(vga));
    assert!(!of(1, 1, (32, 32)).is_oversized((1, 1)));
    assert!(!of(65_535, 65_535, (32, 32)).is_oversized((u32::MAX, u32::MAX)));
}
