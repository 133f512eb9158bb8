//! JPEG: where an image begins and ends, what is repaired in a camera's own, and the codecs.
//!
//! There are two sets of codecs: libjpeg-turbo (feature `turbojpeg`, the default), and pure Rust,
//! which is 2 to 3 times slower and needs no C compiler to build.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
pub(crate) mod hostile_tests;
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

/// The largest image that is encoded, pixels: more than any camera's, and less than what would
/// exhaust a small board's memory.
pub const MAX_PIXELS: usize = 1 << 26;

/// The largest number of scans of an image that is decoded: a progressive image takes time for
/// each, and libjpeg's own encoder makes ten.
pub const MAX_SCANS: u32 = 32;

/// The longest side that libjpeg accepts (JPEG_MAX_DIMENSION).
pub const MAX_SIDE: usize = 65_500;

/// Encodes JPEGs, 4:2:0, of one quality.
pub trait Encode {
    /// The image, valid until the next call. `planes` are 4:2:0 and no larger than [`MAX_PIXELS`]
    /// and [`MAX_SIDE`].
    ///
    /// # Errors
    /// The library failed, or the sides do not fit it.
    fn encode(&mut self, planes: &Planes<'_>) -> Result<&[u8], CodecError>;
}

/// Decodes JPEGs.
pub trait Decode {
    /// The planes, valid until the next call, with the image's own chroma sampling.
    ///
    /// # Errors
    /// Pixels are missing, or the library does not decode this kind of JPEG.
    fn decode(&mut self, image: &Repaired<'_>) -> Result<Planes<'_>, CodecError>;
}

/// An error of the JPEG library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

/// The JPEGs of a track: the camera's own where the settings allow it, else encoded by the
/// pipeline.
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
