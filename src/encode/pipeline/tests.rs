//! Frames of every format against images made by definition, sample by sample.

use super::*;
use crate::config::{Flip, Rotate, VideoConfig};
use crate::encode::jpeg::tests::{
    RPICAM, camera_jpeg, decoded, is_420, likeness, psnr, scene, without_tables,
};
use crate::encode::planes::{Plane, PlaneBuffer, PlanesBuffer};
use crate::media::MonoNs;
use jpeg_encoder::SamplingFactor;
use proptest::prelude::*;

fn video(width: u32, height: u32) -> VideoConfig {
    VideoConfig {
        width,
        height,
        capture_width: width,
        capture_height: height,
        quality: 90,
        ..VideoConfig::default()
    }
}

fn raw(
    format: PixelFormat,
    (width, height): (usize, usize),
    stride: usize,
    data: &[u8],
) -> RawFrame<'_> {
    let (width, height) = (width as u32, height as u32);
    RawFrame {
        format,
        width,
        height,
        stride,
        data,
        full_range: true,
        capture_time: MonoNs(1),
        missed: 0,
    }
}

fn mjpeg(data: &[u8]) -> RawFrame<'_> {
    raw(PixelFormat::Mjpeg, (0, 0), 0, data)
}

const RAW: [PixelFormat; 5] = [
    PixelFormat::Yuyv,
    PixelFormat::Uyvy,
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::Grey,
];

/// `planes` in a device's format, with `padding` bytes after each line of luma; and the stride.
fn laid_out(format: PixelFormat, planes: &Planes<'_>, padding: usize) -> (Vec<u8>, usize) {
    let (width, height) = planes.size();
    let (Planes { y, u, v }, u_width) = (*planes, width.div_ceil(2));
    let mut data = Vec::new();
    let mut stride = width + padding;
    let pad =
        |data: &mut Vec<u8>, line: usize| data.resize(data.len().next_multiple_of(line), 0xaa);
    match format {
        PixelFormat::Yuyv | PixelFormat::Uyvy => {
            stride = 4 * u_width + padding;
            for line in 0..height {
                for x in 0..u_width {
                    let luma = y.line(line);
                    let luma = [luma[2 * x], luma[(2 * x + 1).min(width - 1)]];
                    let (u, v) = (u.line(line / 2)[x], v.line(line / 2)[x]);
                    data.extend(match format {
                        PixelFormat::Yuyv => [luma[0], u, luma[1], v],
                        _ => [u, luma[0], v, luma[1]],
                    });
                }
                pad(&mut data, stride);
            }
        }
        PixelFormat::Nv12 => {
            stride = 2 * u_width + padding;
            for line in y.lines() {
                data.extend(line);
                pad(&mut data, stride);
            }
            for (u, v) in u.lines().zip(v.lines()) {
                data.extend(u.iter().zip(v).flat_map(|(&u, &v)| [u, v]));
                pad(&mut data, stride);
            }
        }
        PixelFormat::I420 => {
            for (plane, stride) in [
                (y, stride),
                (u, stride.div_ceil(2)),
                (v, stride.div_ceil(2)),
            ] {
                for line in plane.lines() {
                    data.extend(line);
                    // The planes' strides differ: padded from where this plane's lines began.
                    data.resize(data.len() + stride - line.len(), 0xaa);
                }
            }
        }
        PixelFormat::Grey => {
            for line in y.lines() {
                data.extend(line);
                pad(&mut data, stride);
            }
        }
        PixelFormat::Mjpeg => unreachable!("has no lines"),
    }
    (data, stride)
}

/// The expected planes of `source` sent as `format`: the same, or without colour.
fn expected(format: PixelFormat, source: &PlanesBuffer) -> PlanesBuffer {
    let mut out = PlanesBuffer::default();
    let chroma = |value: fn(u8) -> u8, from: Plane<'_>, to: &mut PlaneBuffer| {
        let to = to.for_size(from.width(), from.height());
        to.iter_mut()
            .zip(from.data())
            .for_each(|(to, from)| *to = value(*from));
    };
    let value: fn(u8) -> u8 = if format == PixelFormat::Grey {
        |_| 128
    } else {
        |c| c
    };
    chroma(|y| y, source.y.plane(), &mut out.y);
    chroma(value, source.u.plane(), &mut out.u);
    chroma(value, source.v.plane(), &mut out.v);
    out
}

fn assert_same(got: Planes<'_>, wanted: Planes<'_>, what: &str) {
    for (name, got, wanted) in [
        ("y", got.y, wanted.y),
        ("u", got.u, wanted.u),
        ("v", got.v, wanted.v),
    ] {
        assert_eq!(
            (got.width(), got.height()),
            (wanted.width(), wanted.height()),
            "{what}: size of {name}"
        );
        assert!(got.lines().eq(wanted.lines()), "{what}: {name}");
    }
}

const SIZES: [(usize, usize); 9] = [
    (640, 48),
    (96, 32),
    (66, 49),
    (65, 48),
    (33, 47),
    (2, 2),
    (2, 3),
    (3, 2),
    (1, 1),
];

#[test]
fn every_format_size_and_stride_gives_its_samples() {
    for format in RAW {
        for (width, height) in SIZES {
            for padding in [0, 2, 30] {
                let scene = scene(width, height);
                let what = format!("{format:?} {width}x{height} padding {padding}");
                let (data, stride) = laid_out(format, &scene.planes(), padding);
                let mut pipeline = PixelPipeline::new(&video(width as u32, height as u32)).unwrap();
                let wanted = expected(format, &scene);
                let mut frame = pipeline
                    .frame(raw(format, (width, height), stride, &data))
                    .unwrap();
                assert_same(frame.planes().unwrap(), wanted.planes(), &what);
                // A driver need not count the padding of the last line.
                let end = data.iter().rposition(|&b| b != 0xaa).unwrap() + 1;
                if data.len() - end <= padding {
                    let mut frame = pipeline
                        .frame(raw(format, (width, height), stride, &data[..end]))
                        .unwrap();
                    assert_same(
                        frame.planes().unwrap(),
                        wanted.planes(),
                        &format!("{what}, last padding missing"),
                    );
                }
            }
        }
    }
}

#[test]
fn uyvy_gives_what_the_same_frame_in_yuyv_gives() {
    for (width, height) in SIZES {
        for full_range in [true, false] {
            // Every line has chroma of its own, as cameras send it.
            let stride = 4 * width.div_ceil(2);
            let yuyv: Vec<u8> = (0..stride * height).map(|i| (i * i / 7) as u8).collect();
            let uyvy: Vec<u8> = yuyv
                .as_chunks::<2>()
                .0
                .iter()
                .flat_map(|&[luma, chroma]| [chroma, luma])
                .collect();
            let asked = VideoConfig {
                capture_width: width as u32,
                capture_height: height as u32,
                rotate: Rotate::Quarter,
                flip: Flip::Vertical,
                ..video(48, 32)
            };
            let [yuyv, uyvy] =
                [(PixelFormat::Yuyv, yuyv), (PixelFormat::Uyvy, uyvy)].map(|(format, data)| {
                    let mut jpeg = Vec::new();
                    let frame = RawFrame {
                        full_range,
                        ..raw(format, (width, height), stride, &data)
                    };
                    let mut pipeline = PixelPipeline::new(&asked).unwrap();
                    pipeline.jpeg(&frame, &mut jpeg).unwrap();
                    jpeg
                });
            assert!(yuyv == uyvy, "{width}x{height}, full range: {full_range}");
        }
    }
}

#[test]
fn a_frame_with_bytes_missing_is_corrupt() {
    for format in RAW {
        let scene = scene(64, 48);
        let (data, stride) = laid_out(format, &scene.planes(), 0);
        let mut pipeline = PixelPipeline::new(&video(64, 48)).unwrap();
        for len in [0, 1, data.len() / 2, data.len() - 1] {
            let outcome = pipeline.jpeg(
                &raw(format, (64, 48), stride, &data[..len]),
                &mut Vec::new(),
            );
            assert!(
                matches!(outcome, Err(PipelineError::Corrupt(_))),
                "{format:?} {len}: {outcome:?}"
            );
        }
        let too_narrow = pipeline.jpeg(&raw(format, (64, 48), 63, &data), &mut Vec::new());
        assert!(
            matches!(too_narrow, Err(PipelineError::Corrupt(_))),
            "{format:?}"
        );
        assert!(
            pipeline
                .jpeg(&raw(format, (64, 48), stride, &data), &mut Vec::new())
                .is_ok(),
            "the next frame is good"
        );
    }
}

#[test]
fn limited_range_is_expanded_to_full() {
    // Every value of luma and chroma once.
    let mut all = PlanesBuffer::default();
    all.y
        .for_size(32, 32)
        .iter_mut()
        .enumerate()
        .for_each(|(i, y)| *y = (i / 4) as u8);
    all.u
        .for_size(16, 16)
        .iter_mut()
        .enumerate()
        .for_each(|(i, u)| *u = i as u8);
    all.v
        .for_size(16, 16)
        .iter_mut()
        .enumerate()
        .for_each(|(i, v)| *v = 255 - i as u8);
    let exact = |value: u8, zero: f64, range: f64, centre: f64| {
        ((f64::from(value) - zero) * 255.0 / range + centre)
            .round()
            .clamp(0.0, 255.0) as u8
    };
    for format in RAW {
        let (data, stride) = laid_out(format, &all.planes(), 6);
        let limited = RawFrame {
            full_range: false,
            ..raw(format, (32, 32), stride, &data)
        };
        let mut pipeline = PixelPipeline::new(&video(32, 32)).unwrap();
        let got = pipeline.frame(limited).unwrap().planes().unwrap();
        let wanted = expected(format, &all);
        let near = |got: Plane<'_>, from: Plane<'_>, exact: &dyn Fn(u8) -> u8| {
            let samples = got.lines().flatten().zip(from.lines().flatten());
            samples.for_each(|(&got, &from)| {
                assert!(
                    got.abs_diff(exact(from)) <= 1,
                    "{format:?}: {from} became {got}"
                )
            });
        };
        near(got.y, wanted.y.plane(), &|y| exact(y, 16.0, 219.0, 0.0));
        near(got.u, wanted.u.plane(), &|c| exact(c, 128.0, 224.0, 128.0));
        near(got.v, wanted.v.plane(), &|c| exact(c, 128.0, 224.0, 128.0));
    }
}

#[test]
fn pipeline_every_format_becomes_a_jpeg_of_the_same_planes() {
    for format in RAW {
        for (width, height) in [(640, 480), (65, 47)] {
            let scene = scene(width, height);
            let (data, stride) = laid_out(format, &scene.planes(), 8);
            let mut pipeline = PixelPipeline::new(&video(width as u32, height as u32)).unwrap();
            let mut jpeg = b"left over".to_vec();
            let size = pipeline
                .jpeg(&raw(format, (width, height), stride, &data), &mut jpeg)
                .unwrap();
            assert_eq!(size, (width as u16, height as u16));
            let like = likeness(&decoded(&jpeg).planes(), &expected(format, &scene).planes());
            assert!(like > 33.0, "{format:?} {width}x{height}: {like:.1} dB");
            assert_eq!(pipeline.next_diagnostic(), None);
        }
    }
}

const ROTATIONS: [Rotate; 4] = [
    Rotate::None,
    Rotate::Quarter,
    Rotate::Half,
    Rotate::ThreeQuarters,
];
const FLIPS: [Flip; 4] = [Flip::None, Flip::Horizontal, Flip::Vertical, Flip::Both];

/// The rotation by definition: clockwise quarter turns, then the mirrors.
fn turned(from: Plane<'_>, rotate: Rotate, flip: Flip) -> PlaneBuffer {
    let mut pixels: Vec<Vec<u8>> = from.lines().map(<[u8]>::to_vec).collect();
    let quarters = ROTATIONS.iter().position(|&r| r == rotate).unwrap();
    for _ in 0..quarters {
        pixels = (0..pixels[0].len())
            .map(|x| pixels.iter().rev().map(|line| line[x]).collect())
            .collect();
    }
    if matches!(flip, Flip::Horizontal | Flip::Both) {
        pixels.iter_mut().for_each(|line| line.reverse());
    }
    if matches!(flip, Flip::Vertical | Flip::Both) {
        pixels.reverse();
    }
    let mut out = PlaneBuffer::default();
    out.for_size(pixels[0].len(), pixels.len())
        .copy_from_slice(&pixels.concat());
    out
}

fn turned_planes(from: &Planes<'_>, rotate: Rotate, flip: Flip) -> PlanesBuffer {
    let rotated = |plane| turned(plane, rotate, flip);
    PlanesBuffer {
        y: rotated(from.y),
        u: rotated(from.u),
        v: rotated(from.v),
    }
}

#[test]
fn raw_frames_are_turned_and_mirrored() {
    for (width, height) in SIZES {
        for (rotate, flip) in ROTATIONS.into_iter().flat_map(|r| FLIPS.map(|f| (r, f))) {
            let scene = scene(width, height);
            let (data, stride) = laid_out(PixelFormat::I420, &scene.planes(), 10);
            let mut pipeline = PixelPipeline::new(&VideoConfig {
                rotate,
                flip,
                ..video(width as u32, height as u32)
            })
            .unwrap();
            let mut frame = pipeline
                .frame(raw(PixelFormat::I420, (width, height), stride, &data))
                .unwrap();
            let wanted = turned_planes(&scene.planes(), rotate, flip);
            let what = format!("{width}x{height} {rotate:?} {flip:?}");
            assert_same(frame.planes().unwrap(), wanted.planes(), &what);
            let jpeg = frame.jpeg().unwrap();
            assert_eq!(
                (usize::from(jpeg.width), usize::from(jpeg.height)),
                wanted.planes().size(),
                "{what}"
            );
            assert_eq!(
                jpeg::size_of(jpeg.bytes),
                Some((jpeg.width, jpeg.height)),
                "{what}"
            );
        }
    }
}

#[test]
fn pipeline_scaled_image_fills_the_asked_size() {
    for format in RAW {
        for (width, height) in [(320, 240), (333, 111), (1280, 960), (1, 1)] {
            let scene = scene(640, 480);
            let (data, stride) = laid_out(format, &scene.planes(), 4);
            let asked = VideoConfig {
                capture_width: 640,
                capture_height: 480,
                rotate: Rotate::Quarter,
                ..video(width, height)
            };
            let mut pipeline = PixelPipeline::new(&asked).unwrap();
            let mut jpeg = Vec::new();
            let size = pipeline
                .jpeg(&raw(format, (640, 480), stride, &data), &mut jpeg)
                .unwrap();
            assert_eq!(
                size,
                (height as u16, width as u16),
                "a quarter turn after the scaling"
            );
            assert_eq!(jpeg::size_of(&jpeg), Some(size));
            assert_eq!(
                pipeline.next_diagnostic(),
                (width * 3 != height * 4).then_some(Diagnostic::Stretched)
            );
        }
    }
}

#[test]
fn pipeline_scaling_keeps_the_content() {
    let (small, large) = (scene(320, 240), scene(640, 480));
    let (data, stride) = laid_out(PixelFormat::I420, &small.planes(), 7);
    let mut pipeline = PixelPipeline::new(&VideoConfig {
        capture_width: 320,
        capture_height: 240,
        ..video(640, 480)
    })
    .unwrap();
    let mut frame = pipeline
        .frame(raw(PixelFormat::I420, (320, 240), stride, &data))
        .unwrap();
    let got = frame.planes().unwrap();
    assert_eq!(got.size(), large.planes().size());
    let mut back = PixelPipeline::new(&VideoConfig {
        capture_width: 640,
        capture_height: 480,
        ..video(320, 240)
    })
    .unwrap();
    let (data, stride) = laid_out(PixelFormat::I420, &got, 0);
    let mut frame = back
        .frame(raw(PixelFormat::I420, (640, 480), stride, &data))
        .unwrap();
    let like = likeness(&frame.planes().unwrap(), &small.planes());
    assert!(like > 30.0, "{like:.1} dB");
}

#[test]
fn a_size_that_the_driver_chose_is_streamed_as_it_is() {
    let scene = scene(320, 240);
    let (data, stride) = laid_out(PixelFormat::Yuyv, &scene.planes(), 0);
    let mut pipeline = PixelPipeline::new(&video(333, 333)).unwrap();
    let size = pipeline.jpeg(
        &raw(PixelFormat::Yuyv, (320, 240), stride, &data),
        &mut Vec::new(),
    );
    assert_eq!((size, pipeline.next_diagnostic()), (Ok((320, 240)), None));
}

#[test]
fn a_cameras_jpeg_passes_untouched() {
    let image = &RPICAM[..18656];
    let (width, height) = jpeg::size_of(image).unwrap();
    let mut pipeline = PixelPipeline::new(&video(width.into(), height.into())).unwrap();
    let mut frame = pipeline.frame(mjpeg(image)).unwrap();
    let jpeg = frame.jpeg().unwrap();
    assert!(std::ptr::eq(jpeg.bytes, image) && (jpeg.width, jpeg.height) == (width, height));
    assert_eq!(pipeline.next_diagnostic(), None);
}

#[test]
fn repairs_are_told_once() {
    let scene = scene(64, 48);
    let bare = [
        without_tables(&camera_jpeg(&scene.planes(), SamplingFactor::F_2_1, false)),
        vec![0; 9],
    ]
    .concat();
    let mut pipeline = PixelPipeline::new(&video(64, 48)).unwrap();
    let mut jpeg = Vec::new();
    for _ in 0..3 {
        assert_eq!(pipeline.jpeg(&mjpeg(&bare), &mut jpeg), Ok((64, 48)));
        assert_eq!(without_tables(&jpeg), bare[..bare.len() - 9]);
    }
    assert!(psnr(decoded(&jpeg).y.plane(), scene.y.plane()) > 33.0);
    let told: Vec<Diagnostic> = std::iter::from_fn(|| pipeline.next_diagnostic()).collect();
    assert_eq!(told, [Diagnostic::TablesAdded, Diagnostic::TailCut]);
    assert!(
        told.iter()
            .all(|note| note.to_string().contains("nothing else is changed"))
    );
}

#[test]
fn a_jpeg_cut_short_is_corrupt_and_the_next_is_good() {
    let image = &RPICAM[..18656];
    let mut pipeline = PixelPipeline::new(&video(640, 480)).unwrap();
    assert!(matches!(
        pipeline.jpeg(&mjpeg(&image[..9000]), &mut Vec::new()),
        Err(PipelineError::Corrupt(_))
    ));
    assert!(matches!(
        pipeline.jpeg(&mjpeg(&[]), &mut Vec::new()),
        Err(PipelineError::Corrupt(_))
    ));
    assert!(pipeline.jpeg(&mjpeg(image), &mut Vec::new()).is_ok());
}

#[test]
fn a_jpeg_of_another_kind_than_asked_is_encoded_anew_and_that_is_told() {
    let scene = scene(96, 64);
    let same = video(96, 64);
    let scaled = VideoConfig {
        capture_width: 96,
        capture_height: 64,
        ..video(48, 32)
    };
    let cases = [
        (
            VideoConfig {
                quality_given: true,
                ..same.clone()
            },
            (96, 64),
            Reason::Quality,
        ),
        (scaled, (48, 32), Reason::Size),
        (
            VideoConfig {
                capture_width: 96,
                capture_height: 64,
                rotate: Rotate::Quarter,
                ..video(48, 40)
            },
            (40, 48),
            Reason::Size,
        ),
    ];
    for (asked, size, reason) in cases {
        for sampling in [
            SamplingFactor::F_2_1,
            SamplingFactor::F_2_2,
            SamplingFactor::F_1_1,
            SamplingFactor::F_1_2,
        ] {
            for bare in [false, true] {
                let mut image = camera_jpeg(&scene.planes(), sampling, false);
                if bare {
                    image = without_tables(&image);
                }
                let mut pipeline = PixelPipeline::new(&asked).unwrap();
                let mut jpeg = Vec::new();
                assert_eq!(pipeline.jpeg(&mjpeg(&image), &mut jpeg), Ok(size));
                assert!(
                    std::iter::from_fn(|| pipeline.next_diagnostic())
                        .any(|note| note == Diagnostic::Reencoded(reason))
                );
                assert_eq!(jpeg::markers::walk(&jpeg).unwrap().mcu, (16, 16), "4:2:0");
                if reason == Reason::Quality {
                    let like = likeness(&decoded(&jpeg).planes(), &scene.planes());
                    assert!(like > 30.0, "{sampling:?}: {like:.1} dB");
                }
            }
        }
    }
}

#[test]
fn a_cameras_jpeg_is_turned() {
    for sampling in [
        SamplingFactor::F_2_1,
        SamplingFactor::F_2_2,
        SamplingFactor::F_1_1,
    ] {
        for (width, height) in [(96, 64), (90, 60)] {
            let scene = scene(width, height);
            let image = camera_jpeg(&scene.planes(), sampling, false);
            let before = decoded(&image);
            for (rotate, flip) in ROTATIONS.into_iter().flat_map(|r| FLIPS.map(|f| (r, f))) {
                let mut pipeline = PixelPipeline::new(&VideoConfig {
                    rotate,
                    flip,
                    ..video(width as u32, height as u32)
                })
                .unwrap();
                let mut jpeg = Vec::new();
                let size = pipeline.jpeg(&mjpeg(&image), &mut jpeg).unwrap();
                let what = format!("{sampling:?} {width}x{height} {rotate:?} {flip:?}");
                let wanted = turned_planes(&before.planes(), rotate, flip);
                assert_eq!(
                    (usize::from(size.0), usize::from(size.1)),
                    wanted.planes().size(),
                    "{what}"
                );
                let like = likeness(&decoded(&jpeg).planes(), &wanted.planes());
                let untouched = Orientation::new(rotate, flip).is_identity();
                let lossless = untouched || cfg!(feature = "turbojpeg") && width == 96;
                assert_eq!(
                    pipeline.next_diagnostic(),
                    (!lossless).then_some(Diagnostic::Reencoded(Reason::Orientation)),
                    "{what}"
                );
                let least = if untouched {
                    99.0
                } else if lossless {
                    45.0
                } else {
                    30.0
                };
                assert!(like > least, "{what}: {like:.1} dB");
            }
        }
    }
}

#[test]
fn a_frames_planes_are_made_once() {
    let scene = scene(64, 48);
    let image = camera_jpeg(&scene.planes(), SamplingFactor::F_2_1, false);
    let mut pipeline = PixelPipeline::new(&VideoConfig {
        quality_given: true,
        ..video(64, 48)
    })
    .unwrap();
    let mut frame = pipeline.frame(mjpeg(&image)).unwrap();
    let first = frame.planes().unwrap();
    assert!(is_420(&first) && psnr(first.y, scene.y.plane()) > 33.0);
    assert_eq!(frame.size(), (64, 48));
    assert_eq!(frame.jpeg().map(|jpeg| jpeg.width), Ok(64));
    assert!(std::ptr::eq(
        frame.planes().unwrap().y.data(),
        first.y.data()
    ));
    // Damage that the markers do not show: each request for the planes fails.
    let broken = [&image[..image.len() / 2], &[0xff, 0xd9]].concat();
    if cfg!(feature = "turbojpeg") {
        let mut frame = pipeline.frame(mjpeg(&broken)).unwrap();
        let why = frame.planes().unwrap_err();
        assert_eq!(frame.planes().unwrap_err(), why);
        assert_eq!(frame.jpeg().unwrap_err(), why);
    }
}

#[test]
fn sizes_that_no_jpeg_has_are_refused() {
    assert!(PixelPipeline::new(&video(0, 480)).is_err());
    assert!(PixelPipeline::new(&video(65_501, 1)).is_err());
    assert!(PixelPipeline::new(&video(65_000, 65_000)).is_err());
    let mut pipeline = PixelPipeline::new(&video(640, 480)).unwrap();
    for (width, height) in [(0, 1), (1, 0), (70_000, 1), (60_000, 60_000)] {
        let outcome = pipeline.jpeg(
            &raw(PixelFormat::Grey, (width, height), width, &[0; 9]),
            &mut Vec::new(),
        );
        assert!(matches!(outcome, Err(PipelineError::Corrupt(_))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn no_frame_panics(
        format in prop::sample::select(&RAW[..]),
        (width, height) in (0u32..70, 0u32..70),
        stride in prop_oneof![0usize..300, Just(usize::MAX), Just(usize::MAX / 2)],
        len in 0usize..20_000,
        full_range: bool,
        (rotate, flip) in (0usize..4, 0usize..4),
        scaled: bool,
    ) {
        let data = vec![77; len];
        let mut asked = VideoConfig { rotate: ROTATIONS[rotate], flip: FLIPS[flip], ..video(32, 24) };
        asked.capture_width += u32::from(scaled);
        let mut pipeline = PixelPipeline::new(&asked).unwrap();
        let frame = RawFrame { format, width, height, stride, data: &data, full_range, capture_time: MonoNs(0), missed: 0 };
        let mut jpeg = Vec::new();
        if let Ok(size) = pipeline.jpeg(&frame, &mut jpeg) {
            prop_assert_eq!(jpeg::size_of(&jpeg), Some(size));
        }
    }
}
