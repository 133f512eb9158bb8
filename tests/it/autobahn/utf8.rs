//! Section 6: valid and invalid UTF-8.

use super::cases::{Case, Cut};
use super::client::{CONTINUATION, FIN, TEXT, frame};

/// Its second letter is U+1F79, of three bytes.
const GREEK_WORD: &str = "κ\u{1f79}σμε";
const GREEK: &[u8] = GREEK_WORD.as_bytes();
/// A surrogate half, which UTF-8 cannot have.
const BROKEN: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";

pub fn cases() -> Vec<Case> {
    [
        empty(),
        valid_and_cut(),
        broken_and_cut(),
        fail_fast(),
        sequences(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn empty() -> Vec<Case> {
    let three = |middle: &[u8]| {
        [
            frame(TEXT, b""),
            frame(CONTINUATION, middle),
            frame(FIN | CONTINUATION, b""),
        ]
    };
    vec![
        Case::new("6.1.1", &[frame(FIN | TEXT, b"")], Cut::Whole).closes(1008),
        Case::new("6.1.2", &three(b""), Cut::Whole).closes(1008),
        Case::new("6.1.3", &three(b"ping:middle"), Cut::Whole).said(&["middle"]),
    ]
}

/// `ping:` and the bytes, as one message whose fragments are `length` bytes.
fn message(bytes: &[u8], length: usize) -> Vec<Vec<u8>> {
    let payload = [b"ping:", bytes].concat();
    let last = payload.len().div_ceil(length) - 1;
    let first =
        |n: usize| if n == 0 { TEXT } else { CONTINUATION } | if n == last { FIN } else { 0 };
    payload
        .chunks(length)
        .enumerate()
        .map(|(n, part)| frame(first(n), part))
        .collect()
}

fn valid_and_cut() -> Vec<Case> {
    let said = "Hello-µ@ßöäüàá-UTF-8!!";
    // At 13 the cut lies between two characters, at 1 within them.
    let cut = |number: &str, text: &str, length| {
        Case::new(number, &message(text.as_bytes(), length), Cut::Whole).said(&[text])
    };
    vec![
        cut("6.2.1", said, 100),
        cut("6.2.2", said, 13),
        cut("6.2.3", said, 1),
        cut("6.2.4", GREEK_WORD, 1),
    ]
}

fn broken_and_cut() -> Vec<Case> {
    [("6.3.1", 100), ("6.3.2", 1)]
        .map(|(number, length)| {
            Case::new(number, &message(BROKEN, length), Cut::Whole).closes(1007)
        })
        .into()
}

/// Invalid UTF-8 is refused before the message is complete: between fragments. Within a frame, it
/// is refused when the frame is complete, which Autobahn calls non-strict; no frame here is longer
/// than `--max-message`.
fn fail_fast() -> Vec<Case> {
    let fragments = |first: &[u8], second: &[u8]| [frame(TEXT, first), frame(CONTINUATION, second)];
    let broken_off = |tail: &[u8]| [GREEK, tail].concat();
    let whole = |tail: &[u8]| [frame(FIN | TEXT, &broken_off(tail))];
    vec![
        Case::new("6.4.1", &fragments(GREEK, b"\xf4\x90\x80\x80"), Cut::Frames).closes(1007),
        Case::new(
            "6.4.2",
            &fragments(&broken_off(b"\xf4"), b"\x90"),
            Cut::Frames,
        )
        .closes(1007),
        Case::new("6.4.3", &whole(b"\xf4\x90\x80\x80edited"), Cut::Octets(4)).closes(1007),
        Case::new("6.4.4", &whole(b"\xf4\x90"), Cut::Octets(1)).closes(1007),
    ]
}

/// Sections 6.5 to 6.23: one message each.
fn sequences() -> Vec<Case> {
    let lonely = |range: std::ops::RangeInclusive<u8>| {
        range.flat_map(|byte| [byte, b' ']).collect::<Vec<u8>>()
    };
    let continuations: Vec<u8> = (0x80..=0xbf).collect();
    let incomplete: [&[u8]; 10] = [
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
    ];
    let no_characters = ["\u{fffe}".to_owned(), "\u{ffff}".to_owned()]
        .into_iter()
        .chain((1..=16u32).flat_map(|plane| {
            [0xfffe, 0xffff].map(|low| {
                char::from_u32(plane << 16 | low)
                    .expect("in range")
                    .to_string()
            })
        }));
    let specials = (0xfff9..=0xffffu32).map(|c| char::from_u32(c).expect("in range").to_string());
    let owned = |list: &[&[u8]]| list.iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>();
    let groups: Vec<(u8, Vec<Vec<u8>>)> = vec![
        (
            5,
            owned(&[
                b"hello$world",
                "hello¢world".as_bytes(),
                "hello€world".as_bytes(),
                "hello\u{24b62}world".as_bytes(),
                GREEK,
            ]),
        ),
        (
            6,
            (1..=GREEK.len()).map(|end| GREEK[..end].to_vec()).collect(),
        ),
        (
            7,
            owned(&[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
        ),
        (
            8,
            owned(&[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
        ),
        (
            9,
            owned(&[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
        ),
        (
            10,
            owned(&[
                b"\xf7\xbf\xbf\xbf",
                b"\xfb\xbf\xbf\xbf\xbf",
                b"\xfd\xbf\xbf\xbf\xbf\xbf",
            ]),
        ),
        (
            11,
            owned(&[
                b"\xed\x9f\xbf",
                b"\xee\x80\x80",
                b"\xef\xbf\xbd",
                b"\xf4\x8f\xbf\xbf",
                b"\xf4\x90\x80\x80",
            ]),
        ),
        (
            12,
            owned(&[
                b"\x80",
                b"\xbf",
                b"\x80\xbf",
                b"\x80\xbf\x80",
                b"\x80\xbf\x80\xbf",
                b"\x80\xbf\x80\xbf\x80",
                b"\x80\xbf\x80\xbf\x80\xbf",
                &continuations,
            ]),
        ),
        (
            13,
            vec![
                lonely(0xc0..=0xdf),
                lonely(0xe0..=0xef),
                lonely(0xf0..=0xf7),
                lonely(0xf8..=0xfb),
                lonely(0xfc..=0xfd),
            ],
        ),
        (14, owned(&incomplete)),
        (15, vec![incomplete.concat()]),
        (16, owned(&[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"])),
        (
            17,
            owned(&[
                b"\xc0\xaf",
                b"\xe0\x80\xaf",
                b"\xf0\x80\x80\xaf",
                b"\xf8\x80\x80\x80\xaf",
                b"\xfc\x80\x80\x80\x80\xaf",
            ]),
        ),
        (
            18,
            owned(&[
                b"\xc1\xbf",
                b"\xe0\x9f\xbf",
                b"\xf0\x8f\xbf\xbf",
                b"\xf8\x87\xbf\xbf\xbf",
                b"\xfc\x83\xbf\xbf\xbf\xbf",
            ]),
        ),
        (
            19,
            owned(&[
                b"\xc0\x80",
                b"\xe0\x80\x80",
                b"\xf0\x80\x80\x80",
                b"\xf8\x80\x80\x80\x80",
                b"\xfc\x80\x80\x80\x80\x80",
            ]),
        ),
        (
            20,
            owned(&[
                b"\xed\xa0\x80",
                b"\xed\xad\xbf",
                b"\xed\xae\x80",
                b"\xed\xaf\xbf",
                b"\xed\xb0\x80",
                b"\xed\xbe\x80",
                b"\xed\xbf\xbf",
            ]),
        ),
        (
            21,
            owned(&[
                b"\xed\xa0\x80\xed\xb0\x80",
                b"\xed\xa0\x80\xed\xbf\xbf",
                b"\xed\xad\xbf\xed\xb0\x80",
                b"\xed\xad\xbf\xed\xbf\xbf",
                b"\xed\xae\x80\xed\xb0\x80",
                b"\xed\xae\x80\xed\xbf\xbf",
                b"\xed\xaf\xbf\xed\xb0\x80",
                b"\xed\xaf\xbf\xed\xbf\xbf",
            ]),
        ),
        (22, no_characters.map(String::into_bytes).collect()),
        (23, specials.map(String::into_bytes).collect()),
    ];
    let case = |section: u8, n: usize, bytes: &[u8]| {
        let case = Case::new(
            format!("6.{section}.{n}"),
            &message(bytes, 1000),
            Cut::Whole,
        );
        // The expectation comes from Rust's own decoder, which follows RFC 3629.
        match std::str::from_utf8(bytes) {
            Ok(text) => case.said(&[text]),
            Err(_) => case.closes(1007),
        }
    };
    groups
        .iter()
        .flat_map(|(section, list)| {
            (1..)
                .zip(list)
                .map(move |(n, bytes)| case(*section, n, bytes))
        })
        .collect()
}
