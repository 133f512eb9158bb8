//! Whether the bytes of a buffer are a frame. Pure: no device.

use super::negotiation::FrameLayout;
use crate::encode::jpeg::markers;
use crate::media::frame::PixelFormat;

/// Checks a frame, of a JPEG its markers; pixels are not decoded. Returns the size of a JPEG,
/// pixels. `largest_size`: of the camera's images, pixels (see [`markers::larger_size`]).
///
/// # Errors
/// Why it is corrupt. Where all frames are, reopening the device finds out what it sends now.
pub(super) fn check_frame(
    bytes: &[u8],
    layout: &FrameLayout,
    largest_size: (u32, u32),
) -> Result<Option<(u32, u32)>, String> {
    if bytes.is_empty() {
        return Err("the frame is empty".into());
    }
    if layout.pixels != PixelFormat::Mjpeg {
        let (got, whole) = (bytes.len(), layout.frame_bytes);
        return if got < whole {
            Err(format!("the frame has {got} bytes of {whole}"))
        } else {
            Ok(None)
        };
    }
    let image = markers::walk(bytes).map_err(|e| e.to_string())?;
    image.check_only_scan(bytes).map_err(|e| e.to_string())?;
    image.check_decoding_cost(largest_size)?;
    Ok(Some((image.width.into(), image.height.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::jpeg::MAX_SCANS;
    use crate::encode::jpeg::hostile_tests::{more_scans, refused_images, sized, vga};

    const VGA: (u32, u32) = (640, 480);
    const HD: (u32, u32) = (1_920, 1_080);

    fn check(bytes: &[u8], largest_size: (u32, u32)) -> Result<Option<(u32, u32)>, String> {
        let layout = FrameLayout {
            pixels: PixelFormat::Mjpeg,
            stride: 0,
            frame_bytes: 0,
        };
        check_frame(bytes, &layout, largest_size)
    }

    #[test]
    fn check_frame_images_of_a_hostile_camera_are_corrupt() {
        for (what, image, expected) in refused_images() {
            let why = check(&image, VGA).expect_err(what);
            assert!(why.contains(expected), "{what}: {why}");
        }
    }

    #[test]
    fn check_frame_jpeg_of_the_larger_of_the_requested_and_the_driver_s_size_is_good() {
        for progressive in [false, true] {
            let code = if progressive { 0xc2 } else { 0xc0 };
            let image = sized(&vga(progressive), code, (1_920, 1_080));
            for sizes in [(HD, VGA), (VGA, HD)] {
                let largest = markers::larger_size(sizes.0, sizes.1);
                assert_eq!(check(&image, largest), Ok(Some(HD)), "{sizes:?}");
            }
            let why = check(&image, markers::larger_size(VGA, VGA)).expect_err("too large");
            assert!(
                why.contains("1920x1080") && why.contains("640x480"),
                "{why}"
            );
        }
    }

    #[test]
    fn check_frame_scans_are_limited() {
        assert_eq!(check(&more_scans(MAX_SCANS), VGA), Ok(Some(VGA)));
        let why = check(&more_scans(MAX_SCANS + 1), VGA).expect_err("too many");
        assert!(why.contains("33 scans"), "{why}");
    }

    #[test]
    fn check_frame_raw_frame_must_be_whole() {
        let layout = FrameLayout {
            pixels: PixelFormat::Grey,
            stride: 4,
            frame_bytes: 12,
        };
        let check = |bytes: &[u8]| check_frame(bytes, &layout, (4, 3));
        assert_eq!(check(&[0; 12]), Ok(None));
        assert_eq!(check(&[0; 16]), Ok(None), "padded");
        assert_eq!(
            check(&[0; 11]),
            Err("the frame has 11 bytes of 12".to_owned())
        );
        assert_eq!(check(&[]), Err("the frame is empty".to_owned()));
    }
}
