//! Access units against OpenH264's own decoder.

use super::*;
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

const FRAME: u64 = 1_000_000_000 / 30;

fn encoder_with_interval(seconds: u64) -> H264Encoder {
    H264Encoder::new(&VideoConfig {
        fps: 30.0,
        keyframe_interval: Duration::from_secs(seconds),
        ..VideoConfig::default()
    })
}

/// Without keyframes of its own but the first.
fn encoder() -> H264Encoder {
    encoder_with_interval(60)
}

/// A gradient that moves, `(luma, chroma)` in planes of the given chroma size.
struct Scene {
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
    size: (usize, usize),
    chroma: (usize, usize),
}

impl Scene {
    fn new(size: (usize, usize), chroma: (usize, usize), n: usize) -> Self {
        let luma = |i: usize| ((i % size.0 + i / size.0 + 4 * n) % 200) as u8 + 20;
        Self {
            y: (0..size.0 * size.1).map(luma).collect(),
            u: vec![90; chroma.0 * chroma.1],
            v: vec![170; chroma.0 * chroma.1],
            size,
            chroma,
        }
    }

    fn planes(&self) -> Planes<'_> {
        let plane = |data, (w, h)| Plane::new(data, w, w, h).expect("it fits");
        Planes {
            y: plane(&self.y, self.size),
            u: plane(&self.u, self.chroma),
            v: plane(&self.v, self.chroma),
        }
    }
}

fn encode(
    encoder: &mut H264Encoder,
    scene: &Scene,
    n: u64,
    request: EncodeRequest,
) -> (bool, Vec<u8>) {
    let mut unit = Vec::new();
    let key = encoder
        .encode_planes(&scene.planes(), MonoNs(n * FRAME), request, &mut unit)
        .expect("it encodes")
        .expect("no frame is left out");
    (key, unit)
}

#[test]
fn h264_any_chroma_or_odd_size_decodes_to_the_image() {
    for (size, chroma) in [
        ((64, 48), (32, 24)),
        ((64, 48), (32, 48)),
        ((64, 48), (64, 48)),
        ((65, 49), (33, 25)),
    ] {
        let mut encoder = encoder();
        let mut decoder = Decoder::new().expect("there is a decoder");
        for n in 0..5 {
            let scene = Scene::new(size, chroma, n);
            let (key, unit) = encode(&mut encoder, &scene, n as u64, EncodeRequest::default());
            assert_eq!(key, n == 0, "only the first is a keyframe");
            assert!(unit.starts_with(&[0, 0, 0, 1]), "Annex B");
            let image = decoder
                .decode(&unit)
                .expect("it decodes")
                .expect("a frame goes out when it comes in");
            assert_eq!(image.dimensions(), (size.0 & !1, size.1 & !1));
            let error = |a: u8, b: u8| a.abs_diff(b);
            assert!(
                error(
                    image.y()[20 * image.strides().0 + 20],
                    scene.y[20 * size.0 + 20]
                ) < 24,
                "luma of {size:?}, frame {n}"
            );
            assert!(
                error(image.u()[100], 90) < 6 && error(image.v()[100], 170) < 6,
                "chroma of {chroma:?}"
            );
        }
    }
}

#[test]
fn h264_keyframe_requests_are_answered_at_most_every_300_ms() {
    let mut encoder = encoder();
    let scene = Scene::new((64, 48), (32, 24), 0);
    let keys: Vec<u64> = (0..60)
        .filter(|&n| {
            encode(
                &mut encoder,
                &scene,
                n,
                EncodeRequest {
                    keyframes: n as u32 / 2,
                    bitrate_bps: 0,
                },
            )
            .0
        })
        .collect();
    assert!(
        keys.len() > 4
            && keys
                .windows(2)
                .all(|w| (w[1] - w[0]) * FRAME >= 300_000_000),
        "{keys:?}"
    );
    let request = EncodeRequest {
        keyframes: 29,
        bitrate_bps: 0,
    };
    let later: Vec<u64> = (60..120)
        .filter(|&n| encode(&mut encoder, &scene, n, request).0)
        .collect();
    assert!(later.len() <= 1, "none without a demand: {later:?}");
}

#[test]
fn h264_reset_and_new_size_begin_with_a_keyframe_new_rate_does_not() {
    let mut encoder = encoder();
    let (small, large) = (
        Scene::new((64, 48), (32, 24), 0),
        Scene::new((96, 64), (48, 32), 0),
    );
    let request = EncodeRequest::default();
    assert!(encode(&mut encoder, &small, 0, request).0);
    assert!(!encode(&mut encoder, &small, 1, request).0);
    encoder.reset();
    assert!(encode(&mut encoder, &small, 2, request).0);
    assert!(encode(&mut encoder, &large, 3, request).0);
    assert!(!encode(&mut encoder, &large, 4, request).0);
    assert!(
        !encode(
            &mut encoder,
            &large,
            5,
            EncodeRequest {
                bitrate_bps: 300_000,
                ..request
            }
        )
        .0
    );
}

#[test]
fn h264_refused_size_is_reported_once() {
    let mut encoder = encoder();
    let scene = Scene::new((4096, 16), (2048, 8), 0);
    let mut unit = Vec::new();
    let e = encoder
        .encode_planes(
            &scene.planes(),
            MonoNs(0),
            EncodeRequest::default(),
            &mut unit,
        )
        .expect_err("beyond 3840");
    assert!(e.to_string().contains("4096x16"), "{e}");
    assert_eq!(
        encoder.encode_planes(
            &scene.planes(),
            MonoNs(1),
            EncodeRequest::default(),
            &mut unit
        ),
        Ok(None)
    );
}

#[test]
fn h264_bit_rate_is_kept() {
    for bps in [300_000, 1_500_000] {
        let mut encoder = encoder();
        let mut bytes = 0;
        for n in 0..90 {
            let scene = Scene::new((320, 240), (160, 120), 7 * n);
            bytes += encode(
                &mut encoder,
                &scene,
                n as u64,
                EncodeRequest {
                    keyframes: 0,
                    bitrate_bps: bps,
                },
            )
            .1
            .len();
        }
        let got = bytes as f64 * 8.0 / 3.0;
        assert!(got < f64::from(bps) * 1.5, "{got} bits per second of {bps}");
    }
}

/// Bits per second of 90 frames at 30 fps, from frame `first` on, and the keyframes among them.
fn rate(encoder: &mut H264Encoder, first: usize, bitrate_bps: u32) -> (f64, usize) {
    let request = EncodeRequest {
        keyframes: 0,
        bitrate_bps,
    };
    let units: Vec<(bool, Vec<u8>)> = (first..first + 90)
        .map(|n| {
            let mut scene = Scene::new((320, 240), (160, 120), 7 * n);
            // A gradient alone needs less than any of the rates.
            for (i, y) in scene.y.iter_mut().enumerate() {
                *y ^= ((i + n) as u32).wrapping_mul(0x9E37_79B9).to_be_bytes()[0] & 31;
            }
            encode(encoder, &scene, n as u64, request)
        })
        .collect();
    let bytes: usize = units.iter().map(|(_, unit)| unit.len()).sum();
    let keyframes = units.iter().filter(|(keyframe, _)| *keyframe).count();
    (bytes as f64 * 8.0 / 3.0, keyframes)
}

#[test]
fn h264_rate_change_is_kept_and_makes_no_keyframe() {
    let mut encoder = encoder();
    let (low, first) = rate(&mut encoder, 0, 300_000);
    let (high, second) = rate(&mut encoder, 90, 1_500_000);
    let (low_again, third) = rate(&mut encoder, 180, 300_000);
    assert_eq!((first, second, third), (1, 0, 0));
    for got in [low, low_again] {
        assert!((100_000.0..450_000.0).contains(&got), "{got} of 300000");
    }
    assert!(
        (900_000.0..2_250_000.0).contains(&high),
        "{high} of 1500000"
    );
}

#[test]
fn h264_keyframe_interval_counts_capture_time_from_the_last_keyframe() {
    let mut encoder = encoder_with_interval(2);
    let scene = Scene::new((64, 48), (32, 24), 0);
    // 30 fps, then 5 fps, with a request at 3 s.
    let times = (0..150)
        .map(|n| n as f64 / 30.0)
        .chain((25..50).map(|n| n as f64 / 5.0));
    let keyframes: Vec<f64> = times
        .filter(|&seconds| {
            let request = EncodeRequest {
                keyframes: u32::from(seconds >= 3.0),
                bitrate_bps: 0,
            };
            let mut unit = Vec::new();
            let at = MonoNs(1_000_000_000 + (seconds * 1e9) as u64);
            encoder
                .encode_planes(&scene.planes(), at, request, &mut unit)
                .expect("it encodes")
                .expect("no frame is skipped")
        })
        .collect();
    assert_eq!(keyframes, [0.0, 2.0, 3.0, 5.0, 7.0, 9.0]);
}
