//! The codecs in pure Rust: `jpeg-encoder` and `zune-jpeg`. Always built, so that every test run
//! covers them; used by the build without libjpeg-turbo.

use super::{CodecError, Decode, Encode, MAX_SCANS, Repaired};
use crate::encode::planes::{Plane, PlaneBuffer, Planes, PlanesBuffer};
use jpeg_encoder::{ImageBuffer, JpegColorType, SamplingFactor};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};

/// `jpeg-encoder`.
pub struct Encoder {
    quality: u8,
    image: Vec<u8>,
}

impl Encoder {
    /// `quality` is 1 to 100.
    ///
    /// # Errors
    /// None; the signature is that of the other codecs.
    pub fn new(quality: u8) -> Result<Self, CodecError> {
        Ok(Self {
            quality,
            image: Vec::new(),
        })
    }
}

impl Encode for Encoder {
    fn encode(&mut self, planes: &Planes<'_>) -> Result<&[u8], CodecError> {
        let (width, height) = planes.size();
        let too_large = |_| CodecError(format!("{width}x{height} is too large for a JPEG"));
        let lines = Lines {
            planes,
            width: width.try_into().map_err(too_large)?,
            height: height.try_into().map_err(too_large)?,
        };
        self.image.clear();
        let mut encoder = jpeg_encoder::Encoder::new(&mut self.image, self.quality);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder
            .encode_image(lines)
            .map_err(|e| CodecError(e.to_string()))?;
        Ok(&self.image)
    }
}

/// Feeds the encoder, which takes chroma at luma's size and then uses every second sample of every
/// second line: exactly those of the planes.
struct Lines<'a> {
    planes: &'a Planes<'a>,
    width: u16,
    height: u16,
}

impl ImageBuffer for Lines<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn height(&self) -> u16 {
        self.height
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let y = usize::from(y);
        let [luma, u, v, _] = buffers;
        luma.extend_from_slice(self.planes.y.line(y));
        for (out, plane) in [(u, self.planes.u), (v, self.planes.v)] {
            let (start, line) = (out.len(), plane.line(y / 2));
            out.resize(start + 2 * line.len(), 0);
            for (pair, sample) in out[start..].as_chunks_mut::<2>().0.iter_mut().zip(line) {
                *pair = [*sample; 2];
            }
            out.truncate(start + usize::from(self.width));
        }
    }
}

/// `zune-jpeg`.
pub struct Decoder {
    interleaved: Vec<u8>,
    planes: PlanesBuffer,
}

impl Decoder {
    /// # Errors
    /// None; the signature is that of the other codecs.
    pub fn new() -> Result<Self, CodecError> {
        Ok(Self {
            interleaved: Vec::new(),
            planes: PlanesBuffer::default(),
        })
    }
}

impl Decode for Decoder {
    fn decode(&mut self, image: &Repaired<'_>) -> Result<Planes<'_>, CodecError> {
        let (width, height) = (
            usize::from(image.layout.width),
            usize::from(image.layout.height),
        );
        let grey = image.layout.components == 1;
        let (space, samples) = if grey {
            (ColorSpace::Luma, 1)
        } else {
            (ColorSpace::YCbCr, 3)
        };
        let options = DecoderOptions::default()
            .jpeg_set_out_colorspace(space)
            .jpeg_set_max_scans(MAX_SCANS as usize)
            .set_strict_mode(true)
            .set_max_width(width)
            .set_max_height(height);
        self.interleaved.resize(width * height * samples, 0);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(image.bytes), options);
        decoder
            .decode_into(&mut self.interleaved)
            .map_err(|e| CodecError(e.to_string()))?;
        if grey {
            let (u_width, u_height) = (width.div_ceil(2), height.div_ceil(2));
            self.planes.u.for_size(u_width, u_height).fill(128);
            let y = Plane::new(&self.interleaved, width, width, height)
                .ok_or(CodecError("no pixels".into()))?;
            return Ok(Planes {
                y,
                u: self.planes.u.plane(),
                v: self.planes.u.plane(),
            });
        }
        let separate = |plane: &mut PlaneBuffer, sample: usize| {
            for (out, pixel) in plane
                .for_size(width, height)
                .iter_mut()
                .zip(self.interleaved.as_chunks::<3>().0)
            {
                *out = pixel[sample];
            }
        };
        separate(&mut self.planes.y, 0);
        separate(&mut self.planes.u, 1);
        separate(&mut self.planes.v, 2);
        Ok(self.planes.planes())
    }
}
