//! JPEGs that a hostile camera may send: each is refused, or decoded within the bounds.

use super::markers::Parts;
use super::tests::{camera_jpeg, decoders, scene, without_tables};
use super::*;
use crate::config::VideoConfig;
use crate::encode::pipeline::{Diagnostic, PipelineError, PixelPipeline};
use crate::media::frame::{PixelFormat, RawFrame};
use jpeg_encoder::{ColorType, SamplingFactor};

const SECRET: &[u8] = b"root:x:0:0:root:/root:/bin/bash";

fn pipeline(width: u32, height: u32) -> PixelPipeline {
    PixelPipeline::new(&VideoConfig {
        width,
        height,
        capture_width: width,
        capture_height: height,
        ..VideoConfig::default()
    })
    .unwrap()
}

fn raw(data: &[u8]) -> RawFrame<'_> {
    RawFrame {
        format: PixelFormat::Mjpeg,
        width: 0,
        height: 0,
        stride: 0,
        data,
        full_range: true,
        capture_time: MonoNs(0),
        missed: 0,
    }
}

/// Why the image is not decoded by a camera of VGA; panics where it is.
fn refusal(image: &[u8]) -> String {
    let mut pipeline = pipeline(640, 480);
    let outcome = pipeline
        .frame(raw(image))
        .and_then(|mut frame| frame.planes().map(|_| ()));
    match outcome {
        Err(PipelineError::Corrupt(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// With another marker in place of the frame header's, or other bytes after its length.
fn with_header(image: &[u8], code: u8, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut image = image.to_vec();
    let at = image
        .windows(2)
        .position(|marker| matches!(marker, [0xff, 0xc0 | 0xc2]))
        .unwrap();
    image[at + 1] = code;
    change(&mut image[at + 4..]);
    image
}

pub(crate) fn sized(image: &[u8], code: u8, (width, height): (u16, u16)) -> Vec<u8> {
    with_header(image, code, |body| {
        body[1..3].copy_from_slice(&height.to_be_bytes());
        body[3..5].copy_from_slice(&width.to_be_bytes());
    })
}

pub(crate) fn vga(progressive: bool) -> Vec<u8> {
    camera_jpeg(
        &scene(640, 480).planes(),
        SamplingFactor::F_2_1,
        progressive,
    )
}

#[test]
fn pipeline_image_that_claims_many_times_the_size_is_refused() {
    for (progressive, code) in [(false, 0xc0), (true, 0xc2)] {
        for size in [(8_191, 8_191), (65_535, 65_535), (1_281, 961), (65_500, 64)] {
            let why = refusal(&sized(&vga(progressive), code, size));
            assert!(why.contains(&format!("{}x{}", size.0, size.1)), "{why}");
            assert!(why.contains("640x480"), "{why}");
        }
    }
    // What the driver set is allowed too.
    let large = camera_jpeg(&scene(1_920, 1_080).planes(), SamplingFactor::F_2_2, true);
    refusal(&large);
    let mut pipeline = pipeline(640, 480).with_driver_size((1_920, 1_080));
    pipeline.frame(raw(&large)).unwrap().planes().unwrap();
}

/// A progressive image whose last scan is repeated until it has this many.
pub(crate) fn more_scans(times: u32) -> Vec<u8> {
    let image = vga(true);
    let parts: Vec<_> = Parts::new(&image).collect();
    let is_scan = |part: &&markers::Part| image[part.range.clone()].starts_with(&[0xff, 0xda]);
    let last = parts.iter().rfind(is_scan).unwrap().range.start;
    let end = image.len() - 2;
    let scans = markers::walk(&image).unwrap().scans;
    assert!(scans > 1);
    let mut many = image[..end].to_vec();
    (scans..times).for_each(|_| many.extend_from_slice(&image[last..end]));
    many.extend_from_slice(&image[end..]);
    many
}

#[test]
fn pipeline_image_of_more_than_32_scans_is_refused() {
    assert_eq!(markers::walk(&more_scans(1_000)).unwrap().scans, 1_000);
    let why = refusal(&more_scans(MAX_SCANS + 1));
    assert!(why.contains("33 scans"), "{why}");
    let mut memory = Vec::new();
    let allowed = more_scans(MAX_SCANS);
    let allowed = repair(&allowed, &mut memory).unwrap();
    for (_, mut decoder) in decoders() {
        // Refused or not, it ends.
        let _ = decoder.decode(&allowed);
    }
}

/// Images that a camera of VGA does not send: what, the image, and words of the refusal.
pub(crate) fn refused_images() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let image = vga(false);
    let cut = image[..image.len() / 2].to_vec();
    let with_code = |code| with_header(&image, code, |_| ());
    vec![
        ("lossless", with_code(0xc3), "lossless"),
        ("hierarchical", with_code(0xc5), "hierarchical"),
        ("arithmetic", with_code(0xc9), "arithmetic"),
        ("arithmetic, progressive", with_code(0xca), "arithmetic"),
        (
            "12 bits",
            with_header(&image, 0xc1, |body| body[0] = 12),
            "8 bits",
        ),
        (
            "its height is in a DNL segment",
            sized(&image, 0xc0, (640, 0)),
            "without a size",
        ),
        ("cut short", cut, "no end"),
        (
            "many times the size",
            sized(&image, 0xc0, (8_191, 8_191)),
            "8191x8191",
        ),
        (
            "many times the size, progressive",
            sized(&vga(true), 0xc2, (65_500, 64)),
            "65500x64",
        ),
        ("many scans", more_scans(MAX_SCANS + 1), "33 scans"),
    ]
}

#[test]
fn pipeline_images_that_cameras_do_not_send_are_refused() {
    for (what, image, expected) in refused_images() {
        let why = refusal(&image);
        assert!(why.contains(expected), "{what}: {why}");
    }
}

#[test]
fn decoder_cmyk_and_restart_markers_end_within_the_bounds() {
    let pixels = vec![90; 64 * 48 * 4];
    let mut cmyk = Vec::new();
    jpeg_encoder::Encoder::new(&mut cmyk, 80)
        .encode(&pixels, 64, 48, ColorType::Cmyk)
        .unwrap();
    let mut restarts = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut restarts, 80);
    encoder.set_restart_interval(3);
    encoder
        .encode(&pixels[..64 * 48 * 3], 64, 48, ColorType::Rgb)
        .unwrap();
    for (name, mut decoder) in decoders() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let cmyk = repair(&cmyk, &mut a).unwrap();
        assert_eq!(cmyk.layout.components, 4);
        if let Ok(planes) = decoder.decode(&cmyk) {
            assert_eq!(planes.size(), (64, 48), "{name}");
        }
        let restarts = repair(&restarts, &mut b).unwrap();
        assert_eq!(
            decoder.decode(&restarts).unwrap().size(),
            (64, 48),
            "{name}"
        );
    }
}

/// `image` with comments and application segments before the frame header and before each scan.
fn with_segments(image: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in Parts::new(image) {
        let bytes = &image[part.range];
        if let [0xff, 0xc0..=0xc2 | 0xda, ..] = bytes {
            for code in [0xfe, 0xe1, 0xe0, 0xef, 0xf3] {
                out.extend([0xff, code]);
                out.extend((SECRET.len() as u16 + 2).to_be_bytes());
                out.extend(SECRET);
            }
            out.extend([0xff, 0x01]);
        }
        out.extend_from_slice(bytes);
    }
    out
}

#[test]
fn repair_segments_that_players_do_not_need_are_removed_and_nothing_else() {
    let image =
        |progressive| camera_jpeg(&scene(97, 63).planes(), SamplingFactor::F_2_1, progressive);
    for image in [image(false), image(true), without_tables(&image(false))] {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let clean = repair(&image, &mut a).unwrap();
        assert!(!clean.segments_removed);
        let dirty = with_segments(&image);
        assert!(dirty.windows(SECRET.len()).any(|bytes| bytes == SECRET));
        let repaired = repair(&dirty, &mut b).unwrap();
        assert!(repaired.segments_removed);
        assert!(repaired.bytes == clean.bytes, "as without the segments");
        assert_eq!(repaired.layout, clean.layout);
    }
}

#[test]
fn pipeline_passed_on_jpeg_has_no_comments() {
    let dirty = with_segments(&vga(false));
    let mut pipeline = pipeline(640, 480);
    let mut frame = pipeline.frame(raw(&dirty)).unwrap();
    let jpeg = frame.jpeg().unwrap().bytes.to_vec();
    assert!(!jpeg.windows(SECRET.len()).any(|bytes| bytes == SECRET));
    assert!(jpeg == vga(false), "not encoded again");
    let reported: Vec<_> = std::iter::from_fn(|| pipeline.next_diagnostic()).collect();
    assert_eq!(reported, [Diagnostic::SegmentsRemoved]);
}

#[test]
fn repair_adobe_segment_keeps_the_colours_and_nothing_that_follows_them() {
    let adobe = b"Adobe\0\x64\0\0\0\0\x01";
    let image = vga(false);
    let with_adobe = |body: &[u8]| {
        let length = (body.len() as u16 + 2).to_be_bytes();
        [&image[..2], &[0xff, 0xee], &length, body, &image[2..]].concat()
    };
    let (short, long) = (with_adobe(adobe), with_adobe(&[adobe, SECRET].concat()));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let clean = repair(&short, &mut a).unwrap();
    assert!(clean.bytes == short && !clean.segments_removed);
    let cut = repair(&long, &mut b).unwrap();
    assert!(cut.bytes == short && cut.segments_removed);
    assert_eq!(cut.layout, clean.layout);
    assert_eq!(markers::walk(&long).unwrap().unneeded_bytes, SECRET.len());
}
