//! What is asked of a driver, and the check of what it set.

use super::device::PixFormat;
use super::formats::{CaptureRequest, SelectedFormat};
use crate::config::{Flip, Rotate, VideoConfig};
use crate::media::frame::PixelFormat;

/// What the options ask of the camera.
pub(super) fn capture_request(video: &VideoConfig) -> CaptureRequest {
    let same_size = (video.width, video.height) == (video.capture_width, video.capture_height);
    let upright = video.rotate == Rotate::None && video.flip == Flip::None;
    CaptureRequest {
        width: video.capture_width,
        height: video.capture_height,
        fps: video.fps,
        passes_jpeg_through: same_size && upright && !video.quality_given,
    }
}

/// How the frames lie in the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameLayout {
    pub pixels: PixelFormat,
    /// Bytes from line to line; 0 for MJPEG.
    pub stride: usize,
    /// Bytes of the whole frame; 0 for MJPEG.
    pub frame_bytes: usize,
}

/// The layout that the driver set, or why frames in it cannot be read.
///
/// # Errors
/// One line: what the driver set, and what was requested.
pub(super) fn checked_format(
    got: &PixFormat,
    requested: &SelectedFormat,
) -> Result<FrameLayout, String> {
    let Some(pixels) = got.code.pixel_format() else {
        return Err(format!(
            "it was set to {}, but captures {}, which stampcast does not read",
            requested.code, got.code
        ));
    };
    if got.alternating_fields {
        return Err(
            "it delivers alternating fields, not frames; choose another input or size".into(),
        );
    }
    let sane = |n: u32| (1..=u32::from(u16::MAX)).contains(&n);
    if !sane(got.width) || !sane(got.height) {
        return Err(format!(
            "its driver reports frames of {}x{}",
            got.width, got.height
        ));
    }
    let line = (pixels.info().line_bytes)(got.width as usize);
    if got.stride != 0
        && pixels != PixelFormat::Mjpeg
        && !(line..=16 * line).contains(&(got.stride as usize))
    {
        return Err(format!(
            "its driver reports {} bytes for a line of {} pixels",
            got.stride, got.width
        ));
    }
    let stride = match (pixels, got.stride as usize) {
        (PixelFormat::Mjpeg, _) => 0,
        (_, 0) => line,
        (_, stride) => stride,
    };
    let frame_bytes = (pixels.info().frame_bytes)(stride, got.height as usize);
    // V4L2's buffers have at most 4 GiB: their size is an `__u32`.
    match frame_bytes.filter(|&bytes| u32::try_from(bytes).is_ok()) {
        Some(frame_bytes) => Ok(FrameLayout {
            pixels,
            stride,
            frame_bytes,
        }),
        None => Err(format!(
            "its driver reports frames of {} lines of {stride} bytes, more than a buffer has",
            got.height
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::formats::{FourCc, Interval};
    use super::*;

    fn got(code: &[u8; 4], width: u32, height: u32, stride: u32) -> PixFormat {
        PixFormat {
            code: FourCc::new(code),
            width,
            height,
            stride,
            alternating_fields: false,
            full_range: false,
        }
    }

    #[test]
    fn checked_format_of_each_answer_is_read_or_refused() {
        let requested = SelectedFormat {
            code: FourCc::new(b"YUYV"),
            format: PixelFormat::Yuyv,
            width: 640,
            height: 480,
            interval: Interval::from_fps(15.0),
        };
        for (what, format, expected) in [
            (
                "as requested",
                got(b"YUYV", 640, 480, 1280),
                Ok((PixelFormat::Yuyv, 1280, 1280 * 480)),
            ),
            (
                "padded lines",
                got(b"YUYV", 640, 480, 1536),
                Ok((PixelFormat::Yuyv, 1536, 1536 * 480)),
            ),
            (
                "no stride",
                got(b"GREY", 640, 480, 0),
                Ok((PixelFormat::Grey, 640, 640 * 480)),
            ),
            (
                "another format",
                got(b"MJPG", 640, 480, 0),
                Ok((PixelFormat::Mjpeg, 0, 0)),
            ),
            (
                "an unknown format",
                got(b"H264", 640, 480, 0),
                Err("which stampcast does not read"),
            ),
            (
                "lines too short",
                got(b"YUYV", 640, 480, 640),
                Err("640 bytes for a line of 640 pixels"),
            ),
            (
                "lines too long",
                got(b"YUYV", 640, 480, u32::MAX),
                Err("for a line of 640 pixels"),
            ),
            ("no size", got(b"YUYV", 0, 480, 0), Err("frames of 0x480")),
            (
                "an impossible size",
                got(b"YUYV", 640, 1 << 30, 1280),
                Err("frames of 640x"),
            ),
            (
                "more than 4 GiB",
                got(b"NV12", 65_535, 65_535, 65_536),
                Err("65535 lines of 65536 bytes"),
            ),
        ] {
            match (checked_format(&format, &requested), expected) {
                (Ok(a), Ok(b)) => {
                    assert_eq!((a.pixels, a.stride, a.frame_bytes), b, "{what}");
                }
                (Err(a), Err(b)) => assert!(a.contains(b), "{what}: {a}"),
                (a, b) => panic!("{what}: {a:?} is not {b:?}"),
            }
        }
    }

    #[test]
    fn capture_request_jpeg_passes_through_only_unchanged() {
        let plain = VideoConfig::default();
        assert!(capture_request(&plain).passes_jpeg_through);
        for other in [
            VideoConfig {
                width: 320,
                height: 240,
                ..plain.clone()
            },
            VideoConfig {
                quality_given: true,
                ..plain.clone()
            },
            VideoConfig {
                rotate: Rotate::Half,
                ..plain.clone()
            },
            VideoConfig {
                flip: Flip::Horizontal,
                ..plain.clone()
            },
        ] {
            assert!(!capture_request(&other).passes_jpeg_through, "{other:?}");
        }
    }
}
