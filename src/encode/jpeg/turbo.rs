//! The codecs of libjpeg-turbo: encoder, decoder, and the rotation of an image without decoding its
//! pixels.

use super::{CodecError, Decode, Encode, MAX_SCANS, Repaired};
use crate::encode::planes::{Plane, PlaneBuffer, Planes};
use turbojpeg::{
    Compressor, Decompressor, OutputBuf, Subsamp, Transform, TransformOp, Transformer, YuvImage,
    YuvPlanesImage,
};

impl From<turbojpeg::Error> for CodecError {
    fn from(error: turbojpeg::Error) -> Self {
        Self(error.to_string())
    }
}

/// libjpeg-turbo's encoder.
pub struct Encoder {
    compressor: Compressor,
    even: PlaneBuffer,
    memory: Memory,
}

impl Encoder {
    /// `quality` is 1 to 100.
    ///
    /// # Errors
    /// The quality is out of range, or the library has no memory.
    pub fn new(quality: u8) -> Result<Self, CodecError> {
        let mut compressor = Compressor::new()?;
        compressor.set_quality(quality.into())?;
        Ok(Self {
            compressor,
            even: PlaneBuffer::default(),
            memory: Memory::default(),
        })
    }
}

impl Encode for Encoder {
    fn encode(&mut self, planes: &Planes<'_>) -> Result<&[u8], CodecError> {
        let (width, height) = planes.size();
        let y = even_sides(planes.y, &mut self.even);
        let image = YuvPlanesImage {
            y_plane: y.data(),
            u_plane: planes.u.data(),
            v_plane: planes.v.data(),
            width,
            height,
            y_stride: y.stride(),
            u_stride: planes.u.stride(),
            v_stride: planes.v.stride(),
            subsamp: Subsamp::Sub2x2,
        };
        let room = self.memory.for_image(width, height)?;
        let len = self.compressor.compress_yuv_planes_to_slice(&image, room)?;
        Ok(&self.memory.0[..len])
    }
}

/// The library reads luma as wide and as high as its chroma covers: of an odd side the last samples
/// are repeated.
fn even_sides<'a>(y: Plane<'a>, even: &'a mut PlaneBuffer) -> Plane<'a> {
    let (width, height) = (
        y.width().next_multiple_of(2),
        y.height().next_multiple_of(2),
    );
    if (width, height) == (y.width(), y.height()) {
        return y;
    }
    for (at, to) in even
        .for_size(width, height)
        .chunks_exact_mut(width)
        .enumerate()
    {
        let from = y.line(at.min(y.height() - 1));
        to[..from.len()].copy_from_slice(from);
        to[width - 1] = from[from.len() - 1];
    }
    even.plane()
}

/// libjpeg-turbo's decoder.
pub struct Decoder {
    decompressor: Decompressor,
    pixels: Vec<u8>,
    flat: Vec<u8>,
}

impl Decoder {
    /// # Errors
    /// The library has no memory.
    pub fn new() -> Result<Self, CodecError> {
        let mut decompressor = Decompressor::new()?;
        decompressor.set_scan_limit(MAX_SCANS)?;
        Ok(Self {
            decompressor,
            pixels: Vec::new(),
            flat: Vec::new(),
        })
    }
}

impl Decode for Decoder {
    fn decode(&mut self, image: &Repaired<'_>) -> Result<Planes<'_>, CodecError> {
        let header = self.decompressor.read_header(image.bytes)?;
        let (width, height, subsamp) = (header.width, header.height, header.subsamp);
        self.pixels
            .resize(turbojpeg::yuv_pixels_len(width, 1, height, subsamp)?, 0);
        let planes = YuvImage {
            pixels: &mut self.pixels[..],
            width,
            align: 1,
            height,
            subsamp,
        };
        let ((y_stride, y_lines), (uv_width, uv_height)) = (planes.y_size(), planes.uv_size());
        tolerate(self.decompressor.decompress_to_yuv(image.bytes, planes))?;
        let too_small = || CodecError("the image is smaller than its header says".into());
        let (y, chroma) = self
            .pixels
            .split_at_checked(y_stride * y_lines)
            .ok_or_else(too_small)?;
        let y = Plane::new(y, y_stride, width, height).ok_or_else(too_small)?;
        let (u, v) = if subsamp == Subsamp::Gray {
            let (width, height) = (width.div_ceil(2), height.div_ceil(2));
            self.flat.resize(width * height, 128);
            let flat = Plane::new(&self.flat, width, width, height).ok_or_else(too_small)?;
            (flat, flat)
        } else {
            let (u, v) = chroma
                .split_at_checked(uv_width * uv_height)
                .ok_or_else(too_small)?;
            let plane =
                |data| Plane::new(data, uv_width, uv_width, uv_height).ok_or_else(too_small);
            (plane(u)?, plane(v)?)
        };
        Ok(Planes { y, u, v })
    }
}

/// Rotates and mirrors images by moving their blocks: lossless, for images of whole blocks.
pub struct LosslessRotator {
    transformer: Transformer,
    transform: Transform,
    memory: Memory,
}

impl LosslessRotator {
    /// `op` is applied to every image.
    ///
    /// # Errors
    /// The library has no memory.
    pub fn new(op: TransformOp) -> Result<Self, CodecError> {
        let mut transform = Transform::op(op);
        transform.perfect = true;
        // A camera's application segments may be of any size.
        transform.copy_none = true;
        Ok(Self {
            transformer: Transformer::new()?,
            transform,
            memory: Memory::default(),
        })
    }

    /// The rotated image, valid until the next call. `image` has whole blocks only.
    ///
    /// # Errors
    /// The image is damaged.
    pub fn rotate(&mut self, image: &Repaired<'_>) -> Result<&[u8], CodecError> {
        let room = self
            .memory
            .for_image(image.layout.width.into(), image.layout.height.into())?;
        let mut out = OutputBuf::borrowed(room);
        let outcome = self
            .transformer
            .transform(&self.transform, image.bytes, &mut out);
        let len = out.len();
        drop(out);
        tolerate(outcome)?;
        Ok(&self.memory.0[..len])
    }
}

/// libjpeg-turbo reports its warnings as errors although it has decoded the image. One is common
/// and harmless: padding before a marker. Every other one means that pixels are missing.
fn tolerate(outcome: Result<(), turbojpeg::Error>) -> Result<(), CodecError> {
    match outcome {
        Err(turbojpeg::Error::TurboJpegError(message))
            if message.contains("extraneous bytes before marker") =>
        {
            Ok(())
        }
        other => Ok(other?),
    }
}

/// A buffer for the largest JPEG of a size. Pages that were never written take no memory.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Memory {
    fn for_image(&mut self, width: usize, height: usize) -> Result<&mut [u8], CodecError> {
        let room = turbojpeg::compressed_buf_len(width, height, Subsamp::None)?;
        if self.0.len() != room {
            self.0 = vec![0; room];
        }
        Ok(&mut self.0)
    }
}
