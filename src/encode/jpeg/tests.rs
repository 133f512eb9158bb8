//! Repair and codecs against images of known pixels: what one library encodes, another one decodes.

use super::*;
use crate::encode::planes::{Plane, PlanesBuffer};
use jpeg_encoder::{ColorType, SamplingFactor};
use proptest::prelude::*;

/// Five frames that a real rpicam-vid 1.12 wrote to its standard output, nothing between them.
pub(crate) const RPICAM: &[u8] = include_bytes!("../../../tests/data/rpicam/out.mjpeg");

/// An image that JPEG compresses with little loss: waves of some ten pixels in luma, slower ones in
/// chroma, all different in x and y, so that each orientation of it looks different.
pub(crate) fn scene(width: usize, height: usize) -> PlanesBuffer {
    let wave = |x: usize, y: usize, fx: f64, fy: f64| (x as f64 * fx + y as f64 * fy).sin();
    let mut scene = PlanesBuffer::default();
    let (u_width, u_height) = (width.div_ceil(2), height.div_ceil(2));
    let fill = |plane: &mut crate::encode::planes::PlaneBuffer,
                (width, height),
                fx: f64,
                fy: f64,
                slope: f64| {
        for (i, sample) in plane.for_size(width, height).iter_mut().enumerate() {
            let (x, y) = (i % width, i / width);
            *sample =
                (128.0 + 70.0 * wave(x, y, fx, fy) + slope * (x as f64 / width as f64 - 0.5)) as u8;
        }
    };
    fill(&mut scene.y, (width, height), 0.21, 0.11, 90.0);
    fill(&mut scene.u, (u_width, u_height), 0.05, 0.15, 30.0);
    fill(&mut scene.v, (u_width, u_height), 0.13, -0.07, -60.0);
    scene
}

/// The peak signal-to-noise ratio of two planes, dB; 100 for equal ones.
pub(crate) fn psnr(a: Plane<'_>, b: Plane<'_>) -> f64 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let squares = a.lines().zip(b.lines()).flat_map(|(a, b)| a.iter().zip(b));
    let sum: f64 = squares
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
        .sum();
    let mean = sum / (a.width() * a.height()) as f64;
    if mean == 0.0 {
        100.0
    } else {
        10.0 * (255.0 * 255.0 / mean).log10()
    }
}

/// The lowest PSNR of the three planes of two images, dB.
pub(crate) fn likeness(a: &Planes<'_>, b: &Planes<'_>) -> f64 {
    [(a.y, b.y), (a.u, b.u), (a.v, b.v)]
        .map(|(a, b)| psnr(a, b))
        .into_iter()
        .fold(100.0, f64::min)
}

/// True for 4:2:0 (I420): chroma has half the luma's width and height, rounded up.
pub(crate) fn is_420(planes: &Planes<'_>) -> bool {
    let chroma = (planes.y.width().div_ceil(2), planes.y.height().div_ceil(2));
    [planes.u, planes.v]
        .iter()
        .all(|plane| (plane.width(), plane.height()) == chroma)
}

/// `image`'s pixels as 4:2:0, by a decoder that shares no code with the encoders.
pub(crate) fn decoded(image: &[u8]) -> PlanesBuffer {
    let mut memory = Vec::new();
    let repaired = repair(image, &mut memory).unwrap();
    let mut decoder = pure::Decoder::new().unwrap();
    let full = decoder.decode(&repaired).unwrap();
    let mut out = PlanesBuffer::default();
    let (width, height) = full.size();
    copy(full.y, &mut out.y, width, height, 1);
    let step = if is_420(&full) { 1 } else { 2 };
    copy(
        full.u,
        &mut out.u,
        width.div_ceil(2),
        height.div_ceil(2),
        step,
    );
    copy(
        full.v,
        &mut out.v,
        width.div_ceil(2),
        height.div_ceil(2),
        step,
    );
    out
}

fn copy(
    from: Plane<'_>,
    to: &mut crate::encode::planes::PlaneBuffer,
    width: usize,
    height: usize,
    step: usize,
) {
    for (i, sample) in to.for_size(width, height).iter_mut().enumerate() {
        let (x, y) = (i % width * step, i / width * step);
        // The mean of what is there of a square of `step` samples.
        let square = (y..from.height().min(y + step))
            .flat_map(|y| from.line(y)[x..from.width().min(x + step)].iter());
        let (sum, count) = square.fold((0u32, 0u32), |(sum, count), &s| {
            (sum + u32::from(s), count + 1)
        });
        *sample = ((sum + count / 2) / count) as u8;
    }
}

/// `planes` as a camera of that sampling would send them, by an encoder that is in every build.
pub(crate) fn camera_jpeg(
    planes: &Planes<'_>,
    sampling: SamplingFactor,
    progressive: bool,
) -> Vec<u8> {
    let (width, height) = planes.size();
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            pixels.extend([
                planes.y.line(y)[x],
                planes.u.line(y / 2)[x / 2],
                planes.v.line(y / 2)[x / 2],
            ]);
        }
    }
    let mut image = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut image, 92);
    encoder.set_sampling_factor(sampling);
    encoder.set_progressive(progressive);
    encoder
        .encode(&pixels, width as u16, height as u16, ColorType::Ycbcr)
        .unwrap();
    image
}

/// The same image as sent by cameras that leave out the Huffman tables.
pub(crate) fn without_tables(image: &[u8]) -> Vec<u8> {
    let mut out = image[..2].to_vec();
    let mut at = 2;
    while image[at + 1] != 0xda {
        let length = 2 + usize::from(u16::from_be_bytes([image[at + 2], image[at + 3]]));
        if image[at + 1] != 0xc4 {
            out.extend(&image[at..at + length]);
        }
        at += length;
    }
    out.extend(&image[at..]);
    out
}

fn encoders(quality: u8) -> Vec<(&'static str, Box<dyn Encode>)> {
    vec![
        ("pure", Box::new(pure::Encoder::new(quality).unwrap())),
        #[cfg(feature = "turbojpeg")]
        ("turbo", Box::new(turbo::Encoder::new(quality).unwrap())),
    ]
}

pub(crate) fn decoders() -> Vec<(&'static str, Box<dyn Decode>)> {
    vec![
        ("pure", Box::new(pure::Decoder::new().unwrap())),
        #[cfg(feature = "turbojpeg")]
        ("turbo", Box::new(turbo::Decoder::new().unwrap())),
    ]
}

const SIZES: [(usize, usize); 8] = [
    (640, 480),
    (64, 48),
    (65, 47),
    (48, 65),
    (17, 16),
    (16, 17),
    (2, 3),
    (1, 1),
];

#[test]
fn codecs_encoded_image_decodes_to_the_same_planes() {
    for (name, mut encoder) in encoders(90) {
        for (width, height) in SIZES {
            let scene = scene(width, height);
            let image = encoder.encode(&scene.planes()).unwrap();
            assert_eq!(size_of(image), Some((width as u16, height as u16)));
            let like = likeness(&decoded(image).planes(), &scene.planes());
            assert!(like > 33.0, "{name} {width}x{height}: {like:.1} dB");
        }
    }
}

#[test]
fn encoder_padded_lines_change_nothing() {
    for (name, mut encoder) in encoders(90) {
        let scene = scene(50, 30);
        let tight = encoder.encode(&scene.planes()).unwrap().to_vec();
        let padded = |plane: Plane<'_>, stride: usize| -> Vec<u8> {
            plane
                .lines()
                .flat_map(|line| [line, &vec![0xee; stride - line.len()]].concat())
                .collect()
        };
        let planes = scene.planes();
        let (y, u, v) = (
            padded(planes.y, 64),
            padded(planes.u, 40),
            padded(planes.v, 33),
        );
        let (u_width, u_height) = (25, 15);
        let padded = Planes {
            y: Plane::new(&y, 64, 50, 30).unwrap(),
            u: Plane::new(&u, 40, u_width, u_height).unwrap(),
            v: Plane::new(&v, 33, u_width, u_height).unwrap(),
        };
        assert!(encoder.encode(&padded).unwrap() == tight, "{name}");
    }
}

#[test]
fn encoder_higher_quality_is_larger_and_better() {
    for name in 0..encoders(1).len() {
        let scene = scene(320, 240);
        let made = [10, 50, 90].map(|quality| {
            encoders(quality)[name]
                .1
                .encode(&scene.planes())
                .unwrap()
                .to_vec()
        });
        let likes = made
            .each_ref()
            .map(|image| likeness(&decoded(image).planes(), &scene.planes()));
        assert!(
            made.is_sorted_by_key(Vec::len) && likes.is_sorted(),
            "{likes:?}"
        );
    }
}

#[test]
fn decoder_every_sampling_and_progressive_is_decoded() {
    let scene = scene(97, 63);
    use SamplingFactor::*;
    for sampling in [F_1_1, F_2_1, F_1_2, F_2_2, F_4_1] {
        for progressive in [false, true] {
            let image = camera_jpeg(&scene.planes(), sampling, progressive);
            let mut memory = Vec::new();
            let image = repair(&image, &mut memory).unwrap();
            for (name, mut decoder) in decoders() {
                let got = decoder.decode(&image).unwrap();
                let like = psnr(got.y, scene.y.plane());
                assert!(
                    like > 33.0,
                    "{name} {sampling:?} progressive {progressive}: {like:.1} dB"
                );
            }
        }
    }
}

#[test]
fn decoder_grey_image_gets_neutral_chroma() {
    let scene = scene(33, 21);
    let mut grey = Vec::new();
    jpeg_encoder::Encoder::new(&mut grey, 90)
        .encode(scene.y.plane().data(), 33, 21, ColorType::Luma)
        .unwrap();
    let mut memory = Vec::new();
    let image = repair(&grey, &mut memory).unwrap();
    for (name, mut decoder) in decoders() {
        let got = decoder.decode(&image).unwrap();
        assert!(
            is_420(&got) && psnr(got.y, scene.y.plane()) > 33.0,
            "{name}"
        );
        assert!(
            got.u.data().iter().chain(got.v.data()).all(|&c| c == 128),
            "{name}"
        );
    }
}

#[test]
fn repair_missing_tables_are_the_standard_ones() {
    // Both libraries write the standard tables.
    for (name, mut encoder) in encoders(80) {
        let scene = scene(64, 48);
        let image = encoder.encode(&scene.planes()).unwrap();
        let bare = without_tables(image);
        assert!(bare.len() < image.len() - 400);
        let mut memory = Vec::new();
        let repaired = repair(&bare, &mut memory).unwrap();
        assert!(repaired.tables_added && !repaired.tail_cut);
        assert_eq!(repaired.layout.len, repaired.bytes.len());
        let like = likeness(&decoded(repaired.bytes).planes(), &scene.planes());
        assert!(like > 30.0, "{name}: {like:.1} dB");
        assert_eq!(
            without_tables(repaired.bytes),
            bare,
            "{name}: nothing else is touched"
        );
    }
}

#[test]
fn repair_tail_is_removed_and_a_complete_image_is_not_copied() {
    let image = &RPICAM[..18656];
    let mut memory = Vec::new();
    let repaired = repair(image, &mut memory).unwrap();
    assert!(std::ptr::eq(repaired.bytes, image) && !repaired.tail_cut && !repaired.tables_added);
    for tail in [&[0u8][..], &[0; 5000], &[0xff, 0xd9], image] {
        let padded = [image, tail].concat();
        let repaired = repair(&padded, &mut memory).unwrap();
        assert!(repaired.bytes == image && repaired.tail_cut && !repaired.tables_added);
    }
}

#[test]
fn repair_image_cut_short_anywhere_is_corrupt() {
    let image = &RPICAM[..18656];
    for len in (0..image.len()).step_by(61).chain([image.len() - 1]) {
        assert!(
            repair(&image[..len], &mut Vec::new()).is_err(),
            "cut at {len}"
        );
    }
}

#[test]
fn decoder_missing_pixels_are_an_error_and_padding_before_the_end_is_not() {
    let image = camera_jpeg(&scene(64, 48).planes(), SamplingFactor::F_2_1, false);
    let (body, end) = image.split_at(image.len() - 2);
    let half = [&body[..body.len() * 2 / 3], end].concat();
    let padded = [body, &[0, 0, 0], end].concat();
    for (name, mut decoder) in decoders() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        // `zune-jpeg` reports no error: it leaves what is missing grey.
        let seen = decoder.decode(&repair(&half, &mut a).unwrap()).is_err();
        assert_eq!(seen, name == "turbo");
        assert!(
            decoder.decode(&repair(&padded, &mut b).unwrap()).is_ok(),
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn decoder_damaged_images_never_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        kind in 0usize..4,
    ) {
        let scene = scene(40, 24);
        let mut image = match kind {
            0 => camera_jpeg(&scene.planes(), SamplingFactor::F_2_1, false),
            1 => camera_jpeg(&scene.planes(), SamplingFactor::F_2_2, true),
            2 => without_tables(&camera_jpeg(&scene.planes(), SamplingFactor::F_1_1, false)),
            _ => RPICAM[..18656].to_vec(),
        };
        for (at, byte) in damage {
            // Most kinds of damage concern the headers.
            let at = if byte % 2 == 0 { at.index(image.len()) } else { at.index(image.len().min(700)) };
            image[at] = byte;
        }
        let mut memory = Vec::new();
        if let Ok(image) = repair(&image, &mut memory)
            && usize::from(image.layout.width) * usize::from(image.layout.height) < 1 << 20
        {
            for (_, mut decoder) in decoders() {
                if let Ok(planes) = decoder.decode(&image) {
                    prop_assert_eq!(planes.size(), (image.layout.width.into(), image.layout.height.into()));
                }
            }
            #[cfg(feature = "turbojpeg")]
            let _ = turbo::LosslessRotator::new(turbojpeg::TransformOp::Rot90).unwrap().rotate(&image);
        }
    }
}
