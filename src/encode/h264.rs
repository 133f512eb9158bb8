//! H.264 by OpenH264: constrained baseline, one slice, no B frames, so that each frame is output at
//! once. Owns the encoder, its keyframes and its bit rate. Knows no device, no ring and no viewer.
#![allow(unsafe_code)] // options that the crate does not offer, or sets too late

use super::pipeline::{Frame, PipelineError};
use super::planes::{Plane, PlaneBuffer, Planes};
use super::{EncodeRequest, EncodedFrame, VideoEncoder};
use crate::config::VideoConfig;
use crate::media::{MonoNs, default_h264_bps};
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile,
    RateControlMode, UsageType, VuiConfig,
};
use openh264::formats::YUVSlices;
use std::ffi::{c_int, c_uint};
use std::time::Duration;

/// Viewers that join or lose packets together are served by one keyframe.
const KEYFRAME_REQUESTS_APART: Duration = Duration::from_millis(300);
/// OpenH264 accepts frame rates in this range.
const FRAME_RATES: (f64, f64) = (1.0, 60.0);

/// An image that OpenH264 does not encode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("H.264 of {width}x{height} pixels failed: {why}")]
pub struct H264Error {
    width: usize,
    height: usize,
    why: String,
}

/// Encodes access units. Holds an OpenH264 encoder (a few MB) only between the first
/// [`encode_planes`](Self::encode_planes) and [`reset`](VideoEncoder::reset).
pub struct H264Encoder {
    fps: f64,
    keyframe_interval: Duration,
    /// Bits per second where a request names none; `None`: by the size of the image.
    bitrate_bps: Option<u32>,
    encoder: Option<Box<Running>>,
    /// A size that OpenH264 refused: not tried again with every frame.
    refused: Option<(usize, usize)>,
    chroma: [PlaneBuffer; 2],
    access_unit: Vec<u8>,
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
    pub fn new(video: &VideoConfig) -> Self {
        Self {
            // Only the rate control uses it, so a rate out of range is no error.
            fps: video.fps.clamp(FRAME_RATES.0, FRAME_RATES.1),
            keyframe_interval: video.keyframe_interval,
            bitrate_bps: video.h264_bitrate_bps,
            encoder: None,
            refused: None,
            chroma: Default::default(),
            access_unit: Vec::new(),
        }
    }

    /// One image as one access unit (Annex B, parameter sets before each keyframe), which replaces
    /// what `access_unit` held. Returns whether it is a keyframe; `None` when the encoder made
    /// nothing of it. A side of odd length loses its last line.
    ///
    /// # Errors
    /// OpenH264's, such as a size beyond 3840x2160; returned once for each size.
    pub fn encode_planes(
        &mut self,
        planes: &Planes<'_>,
        capture_time: MonoNs,
        request: EncodeRequest,
        access_unit: &mut Vec<u8>,
    ) -> Result<Option<bool>, H264Error> {
        access_unit.clear();
        let (width, height) = planes.size();
        let size = (width & !1, height & !1);
        if self.refused == Some(size) {
            return Ok(None);
        }
        self.try_encode(planes, size, capture_time, request, access_unit)
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
        request: EncodeRequest,
        access_unit: &mut Vec<u8>,
    ) -> Result<Option<bool>, openh264::Error> {
        let bitrate_bps = match (request.bitrate_bps, self.bitrate_bps) {
            (0, Some(configured)) => configured,
            (0, None) => default_h264_bps(size, self.keyframe_interval),
            (asked, _) => asked,
        };
        if self.encoder.as_ref().is_none_or(|e| e.size != size) {
            let mut encoder = Encoder::with_api_config(
                OpenH264API::from_source(),
                settings(self.fps, bitrate_bps),
            )?;
            silence(&mut encoder);
            self.encoder = Some(Box::new(Running {
                encoder,
                size,
                bitrate_bps,
                keyframes: request.keyframes,
                last_keyframe: capture_time,
            }));
        }
        let Some(running) = &mut self.encoder else {
            return Ok(None);
        };
        running.set_bitrate(bitrate_bps);
        let age = capture_time.since(running.last_keyframe);
        let is_requested = request.keyframes != running.keyframes && age >= KEYFRAME_REQUESTS_APART;
        // The frame that is nearest to the interval's end: capture times have jitter.
        let half_frame = Duration::from_secs_f64(0.5 / self.fps);
        if is_requested || age + half_frame >= self.keyframe_interval {
            running.keyframes = request.keyframes;
            running.encoder.force_intra_frame();
        }
        let (half_width, half_height) = (size.0 / 2, size.1 / 2);
        let [u_buffer, v_buffer] = &mut self.chroma;
        let u = halved(&planes.u, (half_width, half_height), u_buffer);
        let v = halved(&planes.v, (half_width, half_height), v_buffer);
        let lines = |plane: &Plane<'_>, count: usize| count * plane.stride();
        let image = YUVSlices::new(
            (
                &planes.y.data()[..lines(&planes.y, size.1)],
                &u.data()[..lines(&u, half_height)],
                &v.data()[..lines(&v, half_height)],
            ),
            size,
            (planes.y.stride(), u.stride(), v.stride()),
        );
        let coded = running.encoder.encode(&image)?;
        let keyframe = match coded.frame_type() {
            FrameType::IDR | FrameType::I => true,
            FrameType::Skip | FrameType::Invalid => return Ok(None),
            _ => false,
        };
        coded.write_vec(access_unit);
        if keyframe {
            running.last_keyframe = capture_time;
        }
        Ok((!access_unit.is_empty()).then_some(keyframe))
    }
}

impl VideoEncoder for H264Encoder {
    fn encode<'a>(
        &'a mut self,
        frame: &'a mut Frame<'_>,
        capture_time: MonoNs,
        request: EncodeRequest,
    ) -> Result<Option<EncodedFrame<'a>>, PipelineError> {
        let planes = frame.planes()?;
        let mut access_unit = std::mem::take(&mut self.access_unit);
        let coded = self.encode_planes(&planes, capture_time, request, &mut access_unit);
        self.access_unit = access_unit;
        let keyframe = coded.map_err(|e| PipelineError::Encoder(e.to_string()))?;
        let side = |side: usize| u16::try_from(side).ok();
        let (width, height) = frame.size();
        Ok(keyframe
            .zip(side(width).zip(side(height)))
            .map(|(keyframe, (width, height))| EncodedFrame {
                bytes: &self.access_unit,
                width,
                height,
                keyframe,
            }))
    }

    fn reset(&mut self) {
        self.encoder = None;
        self.refused = None;
        self.access_unit = Vec::new();
    }
}

impl Running {
    /// Changes the rate between two frames; the next one is no keyframe for it. The maximum moves
    /// with the target, and never lies below it. Where OpenH264 refuses, the rate stays as it was
    /// and is not tried again.
    fn set_bitrate(&mut self, bps: u32) {
        if bps == self.bitrate_bps {
            return;
        }
        /// ENCODER_OPTION_BITRATE and ENCODER_OPTION_MAX_BITRATE of OpenH264's codec_app_def.h.
        const BITRATE: c_int = 5;
        const MAX_BITRATE: c_int = 6;
        let order = if bps > self.bitrate_bps {
            [MAX_BITRATE, BITRATE]
        } else {
            [BITRATE, MAX_BITRATE]
        };
        for option in order {
            set_layer_bitrate(&mut self.encoder, option, bps);
        }
        self.bitrate_bps = bps;
    }
}

/// SBitrateInfo of OpenH264's codec_app_def.h.
#[repr(C)]
struct LayerBitrate {
    layer: c_uint,
    bps: c_int,
}

fn set_layer_bitrate(encoder: &mut Encoder, option: c_int, bps: u32) {
    /// SPATIAL_LAYER_0: the only one.
    const LAYER: c_uint = 0;
    let mut info = LayerBitrate {
        layer: LAYER,
        bps: c_int::try_from(bps).unwrap_or(c_int::MAX),
    };
    // SAFETY: the encoder exists as long as `encoder`; SetOption reads an SBitrateInfo, an enum and an
    // int, for these options, and `info` outlives the call. Before the first frame it is refused
    // (cmInitExpected), and the rate of `settings` holds.
    unsafe {
        encoder
            .raw_api()
            .set_option(option as _, (&raw mut info).cast())
    };
}

/// Keeps OpenH264 from writing to stderr, such as its warning that it skips no frames. The crate sets
/// the same option, but only after the encoder was set up and has written.
fn silence(encoder: &mut Encoder) {
    /// ENCODER_OPTION_TRACE_LEVEL and WELS_LOG_QUIET of OpenH264's codec_app_def.h.
    const TRACE_LEVEL: c_int = 25;
    let mut quiet: c_int = 0;
    // SAFETY: the encoder exists as long as `encoder`; this option can be set before it is set up, and
    // reads an int, which outlives the call. The crate relies on no level. Should it fail, there is one
    // more line on stderr.
    unsafe {
        encoder
            .raw_api()
            .set_option(TRACE_LEVEL as _, (&raw mut quiet).cast())
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
        // Threads of its own would each cut the image into slices, and this process has frames to
        // fetch meanwhile.
        .num_threads(1)
        // A skipped frame looks to a viewer like a fault of the camera.
        .skip_frames(false)
        .scene_change_detect(false)
        // Keyframes are forced by capture time, not counted in frames.
        .intra_frame_period(IntraFramePeriod::from_num_frames(0))
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
}
