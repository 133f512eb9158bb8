//! The pixel pipeline: a camera's frame scaled, rotated, mirrored and encoded as asked, or passed
//! on as the camera's own JPEG where that is what was asked for.
//!
//! `--width` and `--height` are the size before `--rotate`: a quarter turn of 640x480 streams
//! 480x640. Images are scaled only where a capture size was asked for that differs from the
//! streamed size; otherwise the camera's size is streamed, also where its driver chose another one.

pub mod convert;
pub mod orientation;
pub mod scale;
#[cfg(test)]
pub mod tests;

use super::jpeg;
use super::jpeg::{CodecError, Decode, Encode, MAX_PIXELS, MAX_SIDE, Repaired};
use super::planes::Planes;
use crate::config;
use crate::media::frame::{PixelFormat, RawFrame};
use convert::Converter;
use orientation::{Orientation, Rotator};
use scale::Scaler;
use std::fmt;

/// Processes one camera's frames. Its memory is kept from frame to frame.
pub struct PixelPipeline {
    wanted: Wanted,
    /// Pixels: the larger of what was asked of the camera and what its driver set. A JPEG that
    /// claims many times this area is not decoded.
    frame_size: (u32, u32),
    stages: PlaneStages,
    encoder: jpeg::Encoder,
    #[cfg(feature = "turbojpeg")]
    lossless_rotator: jpeg::turbo::LosslessRotator,
    repaired: Vec<u8>,
    diagnostics: Diagnostics,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// Pixels, before the rotation; `None`: the camera's size.
    size: Option<(usize, usize)>,
    orientation: Orientation,
    /// The camera's own quality is kept.
    any_quality: bool,
}

/// The stages from a frame to planes of the wanted size.
struct PlaneStages {
    decoder: jpeg::Decoder,
    converter: Converter,
    scaler: Scaler,
    rotator: Rotator,
}

/// Why a frame was not encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    /// The device's bytes are not an image: this frame is lost, the next may be good.
    #[error("the camera delivered an incomplete or invalid image: {0}")]
    Corrupt(String),
    /// The size cannot be encoded, or a library failed: the next frame will fail too.
    #[error("the image cannot be encoded: {0}")]
    Encoder(String),
}

/// What is done to a camera's images, for the log; each is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagnostic {
    TablesAdded,
    TailCut,
    SegmentsRemoved,
    Reencoded(Reason),
    Stretched,
}

/// Why a camera's own JPEG is encoded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Quality,
    Size,
    /// The size is not a whole number of blocks, or this build cannot rotate JPEGs losslessly.
    Orientation,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TablesAdded => "the camera's JPEGs lack their Huffman tables (DHT): the standard ones are added, nothing else is changed",
            Self::TailCut => "the camera's JPEGs are followed by other bytes: these are removed, nothing else is changed",
            Self::SegmentsRemoved => "the camera's JPEGs have comments or application data (COM, APPn), which players do not need: these segments are removed, nothing else is changed",
            Self::Reencoded(Reason::Quality) => "the camera's JPEGs are encoded again, because a quality was given",
            Self::Reencoded(Reason::Size) => "the camera's JPEGs are encoded again, because another size was asked for",
            Self::Reencoded(Reason::Orientation) => {
                "the camera's JPEGs are encoded again, because their size is not a whole number of blocks, so they cannot be rotated losslessly"
            }
            Self::Stretched => "the image is stretched: the streamed size has another aspect ratio than the camera's",
        })
    }
}

/// A JPEG ready to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Jpeg<'a> {
    /// From SOI to EOI.
    pub bytes: &'a [u8],
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
}

/// Width and height of the streamed image for a camera image of `size`, both in pixels.
pub fn output_size(video: &config::VideoConfig, size: (u32, u32)) -> (u32, u32) {
    let is_scaled = (video.width, video.height) != (video.capture_width, video.capture_height);
    let size = if is_scaled {
        (video.width, video.height)
    } else {
        size
    };
    Orientation::new(video.rotate, video.flip).size(size)
}

impl PixelPipeline {
    /// Whether the size can be encoded.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(video: &config::VideoConfig) -> Result<(), PipelineError> {
        let size = (video.width as usize, video.height as usize);
        check_size(size).map_err(PipelineError::Encoder)
    }

    /// # Errors
    /// The size cannot be encoded, or a library cannot be set up.
    pub fn new(video: &config::VideoConfig) -> Result<Self, PipelineError> {
        Self::check(video)?;
        let size = (video.width as usize, video.height as usize);
        let scaled = (video.width, video.height) != (video.capture_width, video.capture_height);
        let orientation = Orientation::new(video.rotate, video.flip);
        let failed = |CodecError(why)| PipelineError::Encoder(why);
        Ok(Self {
            wanted: Wanted {
                size: scaled.then_some(size),
                orientation,
                any_quality: !video.quality_given,
            },
            frame_size: (video.capture_width, video.capture_height),
            stages: PlaneStages {
                decoder: jpeg::Decoder::new().map_err(failed)?,
                converter: Converter::default(),
                scaler: Scaler::default(),
                rotator: Rotator::default(),
            },
            encoder: jpeg::Encoder::new(video.quality).map_err(failed)?,
            #[cfg(feature = "turbojpeg")]
            lossless_rotator: jpeg::turbo::LosslessRotator::new(orientation.into())
                .map_err(failed)?,
            repaired: Vec::new(),
            diagnostics: Diagnostics::default(),
        })
    }

    /// For a camera whose driver set this frame size (pixels), which may be another one than was
    /// asked for.
    #[must_use]
    pub fn with_driver_size(self, driver_size: (u32, u32)) -> Self {
        Self {
            frame_size: jpeg::markers::larger_size(self.frame_size, driver_size),
            ..self
        }
    }

    /// Reads a frame's header, of a JPEG its markers; pixels are not read.
    ///
    /// # Errors
    /// The camera's bytes are not an image, or the size cannot be encoded.
    pub fn frame<'a>(&'a mut self, raw: RawFrame<'a>) -> Result<Frame<'a>, PipelineError> {
        let Self {
            wanted,
            stages,
            encoder,
            repaired,
            diagnostics,
            ..
        } = self;
        let (source, size) = if raw.format == PixelFormat::Mjpeg {
            let image = jpeg::repair(raw.data, repaired)
                .map_err(|corrupt| PipelineError::Corrupt(corrupt.to_string()))?;
            if image.tables_added {
                diagnostics.report(Diagnostic::TablesAdded);
            }
            if image.tail_cut {
                diagnostics.report(Diagnostic::TailCut);
            }
            if image.segments_removed {
                diagnostics.report(Diagnostic::SegmentsRemoved);
            }
            image
                .layout
                .check_decoding_cost(self.frame_size)
                .map_err(PipelineError::Corrupt)?;
            (
                Source::Jpeg(image),
                (
                    usize::from(image.layout.width),
                    usize::from(image.layout.height),
                ),
            )
        } else {
            (
                Source::Pixels(raw),
                (raw.width as usize, raw.height as usize),
            )
        };
        check_size(size).map_err(PipelineError::Corrupt)?;
        if let Some((width, height)) = wanted.size
            && size.0 * height != size.1 * width
        {
            diagnostics.report(Diagnostic::Stretched);
        }
        Ok(Frame {
            source,
            size,
            wanted: *wanted,
            planes: Lazy::Not(stages),
            encoder,
            #[cfg(feature = "turbojpeg")]
            lossless_rotator: &mut self.lossless_rotator,
            diagnostics,
        })
    }

    /// Replaces the contents of `out` by the frame's JPEG; returns its width and height in pixels.
    /// For a caller that needs the JPEG alone and in its own memory; [`Frame::jpeg`] does not copy.
    ///
    /// # Errors
    /// As [`frame`](Self::frame) and [`Frame::jpeg`].
    pub fn jpeg(
        &mut self,
        raw: &RawFrame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(u16, u16), PipelineError> {
        let mut frame = self.frame(*raw)?;
        let jpeg = frame.jpeg()?;
        out.clear();
        out.extend_from_slice(jpeg.bytes);
        Ok((jpeg.width, jpeg.height))
    }

    /// The next diagnostic that was not returned yet.
    pub fn next_diagnostic(&mut self) -> Option<Diagnostic> {
        self.diagnostics.next()
    }
}

/// One frame, which gives both the JPEG and the planes, each made once and only when asked for.
pub struct Frame<'a> {
    source: Source<'a>,
    /// Pixels, as the camera delivered it.
    size: (usize, usize),
    wanted: Wanted,
    planes: Lazy<'a>,
    encoder: &'a mut jpeg::Encoder,
    #[cfg(feature = "turbojpeg")]
    lossless_rotator: &'a mut jpeg::turbo::LosslessRotator,
    diagnostics: &'a mut Diagnostics,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Pixels(RawFrame<'a>),
    Jpeg(Repaired<'a>),
}

enum Lazy<'a> {
    Not(&'a mut PlaneStages),
    Made(Result<Planes<'a>, PipelineError>),
}

impl<'a> Frame<'a> {
    /// Width and height of the streamed image, pixels.
    pub fn size(&self) -> (usize, usize) {
        self.wanted
            .orientation
            .size(self.wanted.size.unwrap_or(self.size))
    }

    /// The streamed image as 4:2:0 planes, which video encoders take.
    ///
    /// # Errors
    /// The camera's bytes are not an image.
    pub fn planes(&mut self) -> Result<Planes<'a>, PipelineError> {
        let stages = match std::mem::replace(
            &mut self.planes,
            Lazy::Made(Err(PipelineError::Corrupt(String::new()))),
        ) {
            Lazy::Made(made) => {
                self.planes = Lazy::Made(made.clone());
                return made;
            }
            Lazy::Not(stages) => stages,
        };
        let made = stages.run(self.source, self.wanted, self.size);
        self.planes = Lazy::Made(made.clone());
        made
    }

    /// The streamed image as JPEG: the camera's own bytes where they are what was asked for.
    ///
    /// # Errors
    /// The camera's bytes are not an image, or cannot be encoded.
    pub fn jpeg(&mut self) -> Result<Jpeg<'_>, PipelineError> {
        let (width, height) = self.size();
        let dimension = |side: usize| {
            u16::try_from(side)
                .map_err(|_| PipelineError::Encoder(format!("{side} pixels are too many")))
        };
        let (width, height) = (dimension(width)?, dimension(height)?);
        if let Source::Jpeg(image) = self.source {
            let unchanged = self.wanted.size.is_none_or(|size| size == self.size);
            let reason = match self.wanted {
                Wanted {
                    any_quality: false, ..
                } => Some(Reason::Quality),
                _ if !unchanged => Some(Reason::Size),
                Wanted { orientation, .. } if orientation.is_identity() => {
                    return Ok(Jpeg {
                        bytes: image.bytes,
                        width,
                        height,
                    });
                }
                _ if moves_whole_blocks(&image) => None,
                _ => Some(Reason::Orientation),
            };
            #[cfg(feature = "turbojpeg")]
            if reason.is_none() {
                let bytes = self
                    .lossless_rotator
                    .rotate(&image)
                    .map_err(|CodecError(why)| PipelineError::Corrupt(why))?;
                return Ok(Jpeg {
                    bytes,
                    width,
                    height,
                });
            }
            self.diagnostics
                .report(Diagnostic::Reencoded(reason.unwrap_or(Reason::Orientation)));
        }
        let planes = self.planes()?;
        let bytes = self
            .encoder
            .encode(&planes)
            .map_err(|CodecError(why)| PipelineError::Encoder(why))?;
        Ok(Jpeg {
            bytes,
            width,
            height,
        })
    }
}

impl PlaneStages {
    fn run<'a>(
        &'a mut self,
        source: Source<'a>,
        wanted: Wanted,
        size: (usize, usize),
    ) -> Result<Planes<'a>, PipelineError> {
        let planes = match source {
            Source::Pixels(raw) => self.converter.planes(&raw)?,
            Source::Jpeg(image) => self
                .decoder
                .decode(&image)
                .map_err(|CodecError(why)| PipelineError::Corrupt(why))?,
        };
        let (width, height) = wanted.size.unwrap_or(size);
        let planes = self.scaler.scale(planes, width, height);
        Ok(self.rotator.rotate(planes, wanted.orientation))
    }
}

/// Only baseline images: moving the blocks of a progressive one takes memory for all coefficients,
/// and cameras do not send them.
fn moves_whole_blocks(image: &Repaired<'_>) -> bool {
    let layout = image.layout;
    layout.baseline
        && layout.width.is_multiple_of(layout.mcu.0)
        && layout.height.is_multiple_of(layout.mcu.1)
}

fn check_size((width, height): (usize, usize)) -> Result<(), String> {
    let sides = 1..=MAX_SIDE;
    if sides.contains(&width) && sides.contains(&height) && width * height <= MAX_PIXELS {
        Ok(())
    } else {
        Err(format!(
            "{width}x{height} pixels; each side may be 1 to {MAX_SIDE}, the area at most {MAX_PIXELS}"
        ))
    }
}

#[cfg(feature = "turbojpeg")]
impl From<Orientation> for turbojpeg::TransformOp {
    fn from(orientation: Orientation) -> Self {
        match (
            orientation.transpose,
            orientation.mirror_x,
            orientation.mirror_y,
        ) {
            (false, false, false) => Self::None,
            (false, true, false) => Self::Hflip,
            (false, false, true) => Self::Vflip,
            (false, true, true) => Self::Rot180,
            (true, false, false) => Self::Transpose,
            (true, true, false) => Self::Rot90,
            (true, false, true) => Self::Rot270,
            (true, true, true) => Self::Transverse,
        }
    }
}

/// Each diagnostic is held once, so the list is bounded by their number.
#[derive(Debug, Default)]
struct Diagnostics {
    reported: Vec<Diagnostic>,
    read: usize,
}

impl Diagnostics {
    fn report(&mut self, diagnostic: Diagnostic) {
        if !self.reported.contains(&diagnostic) {
            self.reported.push(diagnostic);
        }
    }

    fn next(&mut self) -> Option<Diagnostic> {
        let diagnostic = self.reported.get(self.read).copied()?;
        self.read += 1;
        Some(diagnostic)
    }
}
