//! H.264 from planes, by OpenH264: constrained baseline, one slice, no B frames, so that a frame goes out when it comes in.
//! Owns the encoder's life and its keyframes; knows no device, no ring, no viewer.
#![allow(unsafe_code)] // an option that the crate sets too late

use super::planes::{Plane, PlaneBuffer, Planes};
use crate::media::{MonoNs, default_h264_bps};
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile,
    RateControlMode, UsageType, VuiConfig,
};
use openh264::formats::YUVSlices;
use std::time::Duration;

/// Viewers that join or lose packets together are served by one keyframe.
const KEYFRAMES_APART: Duration = Duration::from_millis(300);
/// A keyframe nobody asked for, so that a stream that is only recorded can be entered too.
const KEYFRAME_SECONDS: f64 = 10.0;
/// OpenH264 accepts frame rates in this range.
const FRAME_RATES: (f64, f64) = (1.0, 60.0);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("H.264 cannot be made of {width}x{height} pixels: {why}")]
pub struct H264Error {
    width: usize,
    height: usize,
    why: String,
}

/// What viewers ask of the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Counts requests for a keyframe; a change is a new one.
    pub keyframes: u32,
    /// Bits per second; 0: by the picture's size.
    pub bitrate_bps: u32,
}

/// Makes access units of pictures. Has an OpenH264 encoder only between the first [`encode`](Self::encode) and
/// [`rest`](Self::rest): it is a few MB.
pub struct H264Encoder {
    fps: f64,
    encoder: Option<Box<Running>>,
    /// A size that OpenH264 does not take: not tried again with every frame.
    refused: Option<(usize, usize)>,
    chroma: [PlaneBuffer; 2],
}

struct Running {
    encoder: Encoder,
    size: (usize, usize),
    bitrate_bps: u32,
    /// The count of requests that were answered.
    keyframes: u32,
    last_keyframe: MonoNs,
}

impl H264Encoder {
    /// `fps`: about how many frames per second will come, for the rate control.
    pub fn new(fps: f64) -> Self {
        Self {
            fps: fps.clamp(FRAME_RATES.0, FRAME_RATES.1),
            encoder: None,
            refused: None,
            chroma: Default::default(),
        }
    }

    /// Nobody watches: gives the encoder's memory back. The next picture will be a keyframe.
    pub fn rest(&mut self) {
        self.encoder = None;
        self.refused = None;
    }

    /// One picture as one access unit (Annex B, parameter sets before each keyframe) in `unit`, whatever that held before.
    /// Returns whether it is a keyframe; `None` when the encoder made nothing of it. A side of odd length loses its last line.
    ///
    /// # Errors
    /// OpenH264's, such as a size beyond 3840x2160; said once for each size.
    pub fn encode(
        &mut self,
        planes: &Planes<'_>,
        capture_time: MonoNs,
        wish: Wish,
        unit: &mut Vec<u8>,
    ) -> Result<Option<bool>, H264Error> {
        unit.clear();
        let (width, height) = planes.size();
        let size = (width & !1, height & !1);
        if self.refused == Some(size) {
            return Ok(None);
        }
        self.try_encode(planes, size, capture_time, wish, unit)
            .map_err(|e| {
                self.encoder = None;
                self.refused = Some(size);
                H264Error {
                    width,
                    height,
                    why: e.to_string(),
                }
            })
    }

    fn try_encode(
        &mut self,
        planes: &Planes<'_>,
        size: (usize, usize),
        capture_time: MonoNs,
        wish: Wish,
        unit: &mut Vec<u8>,
    ) -> Result<Option<bool>, openh264::Error> {
        let bitrate_bps = if wish.bitrate_bps == 0 {
            default_h264_bps(size)
        } else {
            wish.bitrate_bps
        };
        let fits = |running: &Running| running.size == size && running.bitrate_bps == bitrate_bps;
        if !self.encoder.as_deref().is_some_and(fits) {
            let mut encoder = Encoder::with_api_config(
                OpenH264API::from_source(),
                settings(self.fps, bitrate_bps),
            )?;
            silence(&mut encoder);
            let running = Running {
                encoder,
                size,
                bitrate_bps,
                keyframes: wish.keyframes,
                last_keyframe: capture_time,
            };
            self.encoder = Some(Box::new(running));
        }
        let Some(running) = &mut self.encoder else {
            return Ok(None);
        };
        if wish.keyframes != running.keyframes
            && capture_time.since(running.last_keyframe) >= KEYFRAMES_APART
        {
            running.keyframes = wish.keyframes;
            running.encoder.force_intra_frame();
        }
        let (half_width, half_height) = (size.0 / 2, size.1 / 2);
        let [u_buffer, v_buffer] = &mut self.chroma;
        let u = halved(&planes.u, (half_width, half_height), u_buffer);
        let v = halved(&planes.v, (half_width, half_height), v_buffer);
        let lines = |plane: &Plane<'_>, count: usize| count * plane.stride();
        let picture = YUVSlices::new(
            (
                &planes.y.data()[..lines(&planes.y, size.1)],
                &u.data()[..lines(&u, half_height)],
                &v.data()[..lines(&v, half_height)],
            ),
            size,
            (planes.y.stride(), u.stride(), v.stride()),
        );
        let coded = running.encoder.encode(&picture)?;
        let keyframe = match coded.frame_type() {
            FrameType::IDR | FrameType::I => true,
            FrameType::Skip | FrameType::Invalid => return Ok(None),
            _ => false,
        };
        coded.write_vec(unit);
        if keyframe {
            running.last_keyframe = capture_time;
        }
        Ok((!unit.is_empty()).then_some(keyframe))
    }
}

/// Keeps OpenH264 from writing lines of its own to stderr, such as its warning that it leaves out no frames. The crate asks for the
/// same, but only after the encoder was set up and has said it.
fn silence(encoder: &mut Encoder) {
    /// ENCODER_OPTION_TRACE_LEVEL and WELS_LOG_QUIET of OpenH264's codec_app_def.h.
    const TRACE_LEVEL: std::ffi::c_int = 25;
    let mut quiet: std::ffi::c_int = 0;
    // SAFETY: the encoder is there as long as `encoder`; this option can be set before it is set up, and reads an int, which outlives
    // the call. The crate relies on no level. Should it fail, a line more is on stderr.
    unsafe {
        encoder
            .raw_api()
            .set_option(TRACE_LEVEL, (&raw mut quiet).cast())
    };
}

fn settings(fps: f64, bitrate_bps: u32) -> EncoderConfig {
    EncoderConfig::new()
        .bitrate(BitRate::from_bps(bitrate_bps))
        .max_frame_rate(FrameRate::from_hz(fps as f32))
        .rate_control_mode(RateControlMode::Bitrate)
        .usage_type(UsageType::CameraVideoRealTime)
        .profile(Profile::Baseline)
        .complexity(Complexity::Low)
        // Threads of its own would each cut the picture into slices, and this process has frames to fetch meanwhile.
        .num_threads(1)
        // A frame that is left out looks to a viewer as a fault of the camera.
        .skip_frames(false)
        .scene_change_detect(false)
        .intra_frame_period(IntraFramePeriod::from_num_frames(
            (fps * KEYFRAME_SECONDS).round() as u32,
        ))
        // The planes are JPEG's: BT.601, 0 to 255.
        .vui(VuiConfig::bt601().full_range(true))
}

/// Chroma of the size that 4:2:0 has: the plane itself, or (4:2:2, 4:4:4) the mean of what falls on each sample.
fn halved<'a>(
    plane: &Plane<'a>,
    (width, height): (usize, usize),
    buffer: &'a mut PlaneBuffer,
) -> Plane<'a> {
    let (across, down) = (
        (plane.width() / width.max(1)).max(1),
        (plane.height() / height.max(1)).max(1),
    );
    if (across, down) == (1, 1) {
        return *plane;
    }
    let samples = buffer.for_size(width, height);
    let count = across * down;
    for (y, out) in samples.chunks_exact_mut(width).enumerate() {
        for (x, out) in out.iter_mut().enumerate() {
            let square =
                (0..down).flat_map(|dy| plane.line(y * down + dy)[x * across..][..across].iter());
            *out = ((square.map(|s| usize::from(*s)).sum::<usize>() + count / 2) / count) as u8;
        }
    }
    buffer.plane()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openh264::decoder::Decoder;
    use openh264::formats::YUVSource;

    const FRAME: u64 = 1_000_000_000 / 30;

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

    fn encode(encoder: &mut H264Encoder, scene: &Scene, n: u64, wish: Wish) -> (bool, Vec<u8>) {
        let mut unit = Vec::new();
        let key = encoder
            .encode(&scene.planes(), MonoNs(n * FRAME), wish, &mut unit)
            .expect("it encodes")
            .expect("no frame is left out");
        (key, unit)
    }

    #[test]
    fn pictures_of_any_chroma_and_odd_sizes_decode_to_what_they_were() {
        for (size, chroma) in [
            ((64, 48), (32, 24)),
            ((64, 48), (32, 48)),
            ((64, 48), (64, 48)),
            ((65, 49), (33, 25)),
        ] {
            let mut encoder = H264Encoder::new(30.0);
            let mut decoder = Decoder::new().expect("there is a decoder");
            for n in 0..5 {
                let scene = Scene::new(size, chroma, n);
                let (key, unit) = encode(&mut encoder, &scene, n as u64, Wish::default());
                assert_eq!(key, n == 0, "only the first is a keyframe");
                assert!(unit.starts_with(&[0, 0, 0, 1]), "Annex B");
                let picture = decoder
                    .decode(&unit)
                    .expect("it decodes")
                    .expect("a frame goes out when it comes in");
                assert_eq!(picture.dimensions(), (size.0 & !1, size.1 & !1));
                let error = |a: u8, b: u8| a.abs_diff(b);
                assert!(
                    error(
                        picture.y()[20 * picture.strides().0 + 20],
                        scene.y[20 * size.0 + 20]
                    ) < 24,
                    "luma of {size:?}, frame {n}"
                );
                assert!(
                    error(picture.u()[100], 90) < 6 && error(picture.v()[100], 170) < 6,
                    "chroma of {chroma:?}"
                );
            }
        }
    }

    #[test]
    fn keyframes_come_on_demand_but_not_more_often_than_every_300_ms() {
        let mut encoder = H264Encoder::new(30.0);
        let scene = Scene::new((64, 48), (32, 24), 0);
        let keys: Vec<u64> = (0..60)
            .filter(|&n| {
                encode(
                    &mut encoder,
                    &scene,
                    n,
                    Wish {
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
        let wish = Wish {
            keyframes: 29,
            bitrate_bps: 0,
        };
        let later: Vec<u64> = (60..120)
            .filter(|&n| encode(&mut encoder, &scene, n, wish).0)
            .collect();
        assert!(later.len() <= 1, "none without a demand: {later:?}");
    }

    #[test]
    fn a_rest_a_new_size_and_a_new_bit_rate_begin_with_a_keyframe() {
        let mut encoder = H264Encoder::new(30.0);
        let (small, large) = (
            Scene::new((64, 48), (32, 24), 0),
            Scene::new((96, 64), (48, 32), 0),
        );
        let wish = Wish::default();
        assert!(encode(&mut encoder, &small, 0, wish).0);
        assert!(!encode(&mut encoder, &small, 1, wish).0);
        encoder.rest();
        assert!(encode(&mut encoder, &small, 2, wish).0);
        assert!(encode(&mut encoder, &large, 3, wish).0);
        assert!(!encode(&mut encoder, &large, 4, wish).0);
        assert!(
            encode(
                &mut encoder,
                &large,
                5,
                Wish {
                    bitrate_bps: 300_000,
                    ..wish
                }
            )
            .0
        );
    }

    #[test]
    fn a_size_that_openh264_does_not_take_is_said_once() {
        let mut encoder = H264Encoder::new(30.0);
        let scene = Scene::new((4096, 16), (2048, 8), 0);
        let mut unit = Vec::new();
        let e = encoder
            .encode(&scene.planes(), MonoNs(0), Wish::default(), &mut unit)
            .expect_err("beyond 3840");
        assert!(e.to_string().contains("4096x16"), "{e}");
        assert_eq!(
            encoder.encode(&scene.planes(), MonoNs(1), Wish::default(), &mut unit),
            Ok(None)
        );
    }

    #[test]
    fn the_bit_rate_is_kept() {
        for bps in [300_000, 1_500_000] {
            let mut encoder = H264Encoder::new(30.0);
            let mut bytes = 0;
            for n in 0..90 {
                let scene = Scene::new((320, 240), (160, 120), 7 * n);
                bytes += encode(
                    &mut encoder,
                    &scene,
                    n as u64,
                    Wish {
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
}
