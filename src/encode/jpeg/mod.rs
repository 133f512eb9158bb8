//! JPEG: where an image begins and ends, what is repaired in a camera's own, and the codecs. Knows no device and no ring.
//!
//! Two sets of codecs: libjpeg-turbo (the feature `turbojpeg`, the default), and one in Rust alone, which is 2 to 3 times
//! slower and needs no C compiler to build.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod markers;
pub mod pure;
pub mod repair;
#[cfg(test)]
pub mod tests;
#[cfg(feature = "turbojpeg")]
pub mod turbo;

pub use markers::size_of;
pub use repair::{Repaired, repair};
#[cfg(feature = "turbojpeg")]
pub use turbo::{Decoder, Encoder};

#[cfg(not(feature = "turbojpeg"))]
pub use pure::{Decoder, Encoder};

use super::pipeline::{Frame, PipelineError};
use super::planes::Planes;
use super::{EncodeRequest, EncodedFrame, VideoEncoder};
use crate::media::MonoNs;

/// The largest picture that is decoded or encoded, pixels: more than any camera's, and less than what would exhaust a
/// small board's memory (a JPEG of a few bytes may claim 65,535 lines of 65,535).
pub const MAX_PIXELS: usize = 1 << 26;

/// The longest side that libjpeg accepts (JPEG_MAX_DIMENSION).
pub const MAX_SIDE: usize = 65_500;

/// Makes JPEGs, 4:2:0, of one quality.
pub trait Encode {
    /// The image, valid until the next call. `planes` are 4:2:0 and no larger than [`MAX_PIXELS`] and [`MAX_SIDE`].
    fn encode(&mut self, planes: &Planes<'_>) -> Result<&[u8], CodecError>;
}

/// Takes JPEGs apart.
pub trait Decode {
    /// The picture, valid until the next call, its chroma as the image has it. `image` is a repaired one.
    fn decode(&mut self, image: &Repaired<'_>) -> Result<Planes<'_>, CodecError>;
}

/// What the JPEG library says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

/// The JPEGs of a track: the camera's own where the settings allow it, else encoded by the pipeline.
pub struct JpegEncoder;

impl VideoEncoder for JpegEncoder {
    fn encode<'a>(
        &'a mut self,
        frame: &'a mut Frame<'_>,
        _capture_time: MonoNs,
        _request: EncodeRequest,
    ) -> Result<Option<EncodedFrame<'a>>, PipelineError> {
        let jpeg = frame.jpeg()?;
        Ok(Some(EncodedFrame {
            bytes: jpeg.bytes,
            width: jpeg.width,
            height: jpeg.height,
            keyframe: true,
        }))
    }
}
