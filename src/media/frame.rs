//! Frames and audio as devices give them, borrowed from the source; and what is known of each pixel
//! format.

use super::MonoNs;

/// How a source's pixels lie in memory. Planar and semi-planar formats are contiguous, chroma after
/// luma.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 4:2:2 packed: Y0 U Y1 V.
    Yuyv,
    /// 4:2:2 packed: U Y0 V Y1.
    Uyvy,
    /// 4:2:0: a Y plane, then interleaved UV of the same stride.
    Nv12,
    /// 4:2:0: Y, U and V planes (V4L2's YU12); chroma strides are half of luma's.
    I420,
    /// 8-bit luma only.
    Grey,
    /// One JPEG image, perhaps without Huffman tables, perhaps padded.
    Mjpeg,
}

/// What is known of a pixel format. A new format is a variant of [`PixelFormat`], a line of
/// [`FORMATS`] and a converter in `encode::pipeline::convert`.
#[derive(Clone, Copy, Debug)]
pub struct FormatInfo {
    pub format: PixelFormat,
    /// V4L2's codes for it, the usual one first: drivers differ.
    pub fourccs: &'static [&'static [u8; 4]],
    /// Rank by what a frame costs until it is JPEG or H.264: the lowest is chosen.
    pub cost: u8,
    pub is_colour: bool,
    /// Bytes of a line of the first plane, at least, from the width in pixels; 0 for compressed
    /// formats.
    pub line_bytes: fn(usize) -> usize,
    /// Bytes of a frame from the first plane's stride in bytes and the height in lines; 0 for
    /// compressed formats. `None`: more than the address space has (32-bit machines).
    pub frame_bytes: fn(usize, usize) -> Option<usize>,
}

/// Every pixel format that is read.
pub const FORMATS: &[FormatInfo] = &[
    FormatInfo {
        format: PixelFormat::Yuyv,
        fourccs: &[b"YUYV"],
        cost: 3,
        is_colour: true,
        // Two pixels share their chroma: a line of odd width has one pair more.
        line_bytes: |width| 4 * width.div_ceil(2),
        frame_bytes: |stride, height| stride.checked_mul(height),
    },
    FormatInfo {
        format: PixelFormat::Uyvy,
        fourccs: &[b"UYVY"],
        cost: 3,
        is_colour: true,
        line_bytes: |width| 4 * width.div_ceil(2),
        frame_bytes: |stride, height| stride.checked_mul(height),
    },
    FormatInfo {
        format: PixelFormat::Nv12,
        fourccs: &[b"NV12"],
        cost: 2,
        is_colour: true,
        line_bytes: |width| width.next_multiple_of(2),
        frame_bytes: |stride, height| stride.checked_mul(height.checked_add(height.div_ceil(2))?),
    },
    FormatInfo {
        format: PixelFormat::I420,
        fourccs: &[b"YU12"],
        cost: 1,
        is_colour: true,
        line_bytes: |width| width.next_multiple_of(2),
        frame_bytes: |stride, height| {
            let chroma = (stride / 2 * 2).checked_mul(height.div_ceil(2))?;
            stride.checked_mul(height)?.checked_add(chroma)
        },
    },
    FormatInfo {
        format: PixelFormat::Grey,
        fourccs: &[b"GREY"],
        cost: 1,
        is_colour: false,
        line_bytes: |width| width,
        frame_bytes: |stride, height| stride.checked_mul(height),
    },
    FormatInfo {
        format: PixelFormat::Mjpeg,
        fourccs: &[b"MJPG", b"JPEG"],
        cost: 4,
        is_colour: true,
        line_bytes: |_| 0,
        frame_bytes: |_, _| Some(0),
    },
];

impl PixelFormat {
    /// The line of [`FORMATS`].
    pub fn info(self) -> &'static FormatInfo {
        FORMATS
            .iter()
            .find(|info| info.format == self)
            .expect("FORMATS has a line for every format (tested)")
    }

    /// The format that a V4L2 code names, if it is one that is read.
    pub fn from_fourcc(code: [u8; 4]) -> Option<Self> {
        let names = |info: &&FormatInfo| info.fourccs.iter().any(|fourcc| **fourcc == code);
        FORMATS.iter().find(names).map(|info| info.format)
    }
}

/// One frame as the device gave it, borrowed from the source until the next one is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RawFrame<'a> {
    pub format: PixelFormat,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    /// Bytes from one line of the first plane to the next; 0 for MJPEG.
    pub stride: usize,
    pub data: &'a [u8],
    /// True when luma spans 0 to 255 (what JPEG expects), false for 16 to 235.
    pub full_range: bool,
    /// The device's own capture instant.
    pub capture_time: MonoNs,
    /// Frames that the device captured between the last delivered one and this one, and did not
    /// deliver.
    pub missed: u32,
}

/// A copy of a frame, for encoders in threads of their own. The memory is kept from frame to frame.
#[derive(Clone, Debug)]
pub struct OwnedFrame {
    data: Vec<u8>,
    format: PixelFormat,
    width: u32,
    height: u32,
    stride: usize,
    full_range: bool,
    capture_time: MonoNs,
}

impl OwnedFrame {
    pub fn new(frame: &RawFrame<'_>) -> Self {
        Self {
            data: frame.data.to_vec(),
            format: frame.format,
            width: frame.width,
            height: frame.height,
            stride: frame.stride,
            full_range: frame.full_range,
            capture_time: frame.capture_time,
        }
    }

    /// Takes another frame in place of the one that it holds.
    pub fn replace(&mut self, frame: &RawFrame<'_>) {
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        data.extend_from_slice(frame.data);
        *self = Self {
            data,
            ..Self::new(&RawFrame {
                data: &[],
                ..*frame
            })
        };
    }

    /// The frame; `missed` is 0, since the thread that copied it has counted them.
    pub fn as_raw(&self) -> RawFrame<'_> {
        RawFrame {
            format: self.format,
            width: self.width,
            height: self.height,
            stride: self.stride,
            data: &self.data,
            full_range: self.full_range,
            capture_time: self.capture_time,
            missed: 0,
        }
    }
}

/// Audio as the device gave it, borrowed from the source until the next chunk is asked for.
#[derive(Clone, Copy, Debug)]
pub struct AudioChunk<'a> {
    /// Interleaved; `samples.len() / channels` sample frames.
    pub samples: &'a [i16],
    pub channels: u16,
    pub rate_hz: u32,
    /// Capture time of the first sample, from the fit of sample count against device time.
    pub first_sample: MonoNs,
    /// Audio was lost just before this chunk (an overrun).
    pub after_xrun: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_one_line_per_format_and_distinct_codes() {
        for format in [
            PixelFormat::Yuyv,
            PixelFormat::Uyvy,
            PixelFormat::Nv12,
            PixelFormat::I420,
            PixelFormat::Grey,
            PixelFormat::Mjpeg,
        ] {
            assert_eq!(format.info().format, format);
            for code in format.info().fourccs {
                assert_eq!(PixelFormat::from_fourcc(**code), Some(format));
            }
        }
        assert_eq!(FORMATS.len(), 6);
        assert_eq!(PixelFormat::from_fourcc(*b"H264"), None);
    }

    #[test]
    fn formats_line_and_frame_bytes_are_those_of_the_layout() {
        let bytes = |format: PixelFormat, width, height| {
            let info = format.info();
            let line = (info.line_bytes)(width);
            let frame = (info.frame_bytes)(line, height);
            (line, frame.expect("it fits"))
        };
        assert_eq!(bytes(PixelFormat::Yuyv, 5, 3), (12, 36));
        assert_eq!(bytes(PixelFormat::Uyvy, 5, 3), (12, 36));
        assert_eq!(bytes(PixelFormat::Nv12, 6, 3), (6, 30));
        assert_eq!(bytes(PixelFormat::I420, 6, 4), (6, 36));
        assert_eq!(bytes(PixelFormat::Grey, 5, 3), (5, 15));
        assert_eq!(bytes(PixelFormat::Mjpeg, 640, 480), (0, 0));
        for info in FORMATS.iter().filter(|info| (info.line_bytes)(1) > 0) {
            assert_eq!((info.frame_bytes)(usize::MAX / 3, 4), None, "{info:?}");
        }
    }
}
