//! H.264 by OpenH264: constrained baseline, one slice, no B frames, so that each frame is output at
//! once. Owns the encoder, its keyframes and its bit rate; `options` has its settings.

mod options;
#[cfg(test)]
mod tests;

use super::pipeline::{Frame, PipelineError};
use super::planes::{Plane, PlaneBuffer, Planes};
use super::{EncodeRequest, EncodedFrame, VideoEncoder};
use crate::config::VideoConfig;
use crate::media::{MonoNs, default_h264_bps};
use openh264::OpenH264API;
use openh264::encoder::{Encoder, FrameType};
use openh264::formats::YUVSlices;
use options::{BITRATE, MAX_BITRATE, set_layer_bitrate, settings, silence};
use std::time::Duration;

/// Viewers that join or lose packets together are served by one keyframe.
const KEYFRAME_REQUESTS_APART: Duration = Duration::from_millis(300);
/// OpenH264 accepts frame rates in this range.
const FRAME_RATES: (f64, f64) = (1.0, 60.0);

/// A frame that OpenH264 does not encode.
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
    /// Bits per second where a request names none; `None`: by the size of the frame.
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
    /// The count of the last request that was answered.
    keyframes: u32,
    last_keyframe: MonoNs,
}

impl H264Encoder {
    pub fn new(video: &VideoConfig) -> Self {
        Self {
            // Only the rate control uses it, so a rate out of range is not an error.
            fps: video.fps.clamp(FRAME_RATES.0, FRAME_RATES.1),
            keyframe_interval: video.keyframe_interval,
            bitrate_bps: video.h264_bitrate_bps,
            encoder: None,
            refused: None,
            chroma: Default::default(),
            access_unit: Vec::new(),
        }
    }

    /// Encodes one frame as one access unit (Annex B, parameter sets before each keyframe), which
    /// replaces the contents of `access_unit`. Returns whether it is a keyframe; `None` when the
    /// encoder skipped the frame. A side of odd length loses its last line.
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
        // The frame nearest to the interval's end: capture times have jitter.
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
    /// Changes the rate between two frames, without a keyframe. The maximum changes with the
    /// target, and is never below it. Where OpenH264 refuses, the rate stays as it was and is not
    /// tried again.
    fn set_bitrate(&mut self, bps: u32) {
        if bps == self.bitrate_bps {
            return;
        }
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

/// Chroma of the size that 4:2:0 has: the plane itself, or (4:2:2, 4:4:4) the mean of the samples
/// that each of its samples covers.
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
