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

/// The pixel format that the driver set, or why frames in it cannot be read.
///
/// # Errors
/// One line: what the driver set, and what was requested.
pub(super) fn checked_format(
    got: &PixFormat,
    requested: &SelectedFormat,
) -> Result<PixelFormat, String> {
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
    Ok(pixels)
}

/// Bytes from line to line; 0 for MJPEG.
pub(super) fn stride(got: &PixFormat, pixels: PixelFormat) -> usize {
    match (pixels, got.stride as usize) {
        (PixelFormat::Mjpeg, _) => 0,
        (_, 0) => (pixels.info().line_bytes)(got.width as usize),
        (_, stride) => stride,
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
                Ok(PixelFormat::Yuyv),
            ),
            (
                "padded lines",
                got(b"YUYV", 640, 480, 1536),
                Ok(PixelFormat::Yuyv),
            ),
            (
                "no stride",
                got(b"GREY", 640, 480, 0),
                Ok(PixelFormat::Grey),
            ),
            (
                "another format",
                got(b"MJPG", 640, 480, 0),
                Ok(PixelFormat::Mjpeg),
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
        ] {
            match (checked_format(&format, &requested), expected) {
                (Ok(a), Ok(b)) => assert_eq!(a, b, "{what}"),
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
