//! Converts a device's raw pixels to planes: YUYV, UYVY, NV12, I420 and grey, of either range.
//! Planes that need no change are not copied.

use super::PipelineError;
use crate::encode::planes::{Plane, PlaneBuffer, Planes, PlanesBuffer};
use crate::media::frame::{PixelFormat, RawFrame};
use yuv::{BufferStoreMut, YuvError, YuvPackedImage, YuvPlanarImageMut};

/// Keeps the memory of converted planes from frame to frame.
#[derive(Debug, Default)]
pub struct Converter {
    made: PlanesBuffer,
}

impl Converter {
    /// The frame as 4:2:0 planes of full range. Grey gets neutral chroma, so that viewers receive
    /// three components from every camera. `frame` has a size other than 0.
    ///
    /// # Errors
    /// There are fewer bytes than the size needs, or the format is MJPEG.
    pub fn planes<'a>(&'a mut self, frame: &RawFrame<'a>) -> Result<Planes<'a>, PipelineError> {
        let (width, height) = (frame.width as usize, frame.height as usize);
        let (u_width, u_height) = (width.div_ceil(2), height.div_ceil(2));
        let Self { made } = self;
        match frame.format {
            PixelFormat::Yuyv => packed_planes(frame, &YUYV, made),
            PixelFormat::Uyvy => packed_planes(frame, &UYVY, made),
            PixelFormat::Nv12 => {
                let [(luma, _), (chroma, _), _] = split(
                    frame,
                    [(frame.stride, height), (frame.stride, u_height), (0, 0)],
                )?;
                let y = luma_plane(luma, frame, &mut made.y)?;
                let convert = if frame.full_range { |c| c } else { full_chroma };
                let (u, v) = (
                    made.u.for_size(u_width, u_height),
                    made.v.for_size(u_width, u_height),
                );
                let lines = chroma
                    .chunks(frame.stride.max(1))
                    .zip(u.chunks_exact_mut(u_width).zip(v.chunks_exact_mut(u_width)));
                for (line, (u, v)) in lines {
                    let pairs = line.as_chunks::<2>().0;
                    if pairs.len() < u_width {
                        return Err(short(frame));
                    }
                    for ((u, v), pair) in u.iter_mut().zip(v).zip(pairs) {
                        (*u, *v) = (convert(pair[0]), convert(pair[1]));
                    }
                }
                Ok(Planes {
                    y,
                    u: made.u.plane(),
                    v: made.v.plane(),
                })
            }
            PixelFormat::I420 => {
                let stride = frame.stride.div_ceil(2);
                let [(luma, _), u, v] = split(
                    frame,
                    [
                        (frame.stride, height),
                        (stride, u_height),
                        (stride, u_height),
                    ],
                )?;
                let y = luma_plane(luma, frame, &mut made.y)?;
                let chroma = |(data, stride), buffer| {
                    plane(
                        frame,
                        data,
                        stride,
                        (u_width, u_height),
                        full_chroma,
                        buffer,
                    )
                };
                Ok(Planes {
                    y,
                    u: chroma(u, &mut made.u)?,
                    v: chroma(v, &mut made.v)?,
                })
            }
            PixelFormat::Grey => {
                let y = luma_plane(frame.data, frame, &mut made.y)?;
                made.u.for_size(u_width, u_height).fill(128);
                Ok(Planes {
                    y,
                    u: made.u.plane(),
                    v: made.u.plane(),
                })
            }
            PixelFormat::Mjpeg => Err(PipelineError::Corrupt(
                "a JPEG where raw pixels were expected".into(),
            )),
        }
    }
}

/// Luma of 16 to 235 expanded to 0 to 255 and clipped (BT.601: 255/219, here 149/128).
fn full_luma(y: u8) -> u8 {
    let y = (u16::from(y.saturating_sub(16)) * 149 + 64) >> 7;
    y.min(255) as u8
}

/// Chroma of 16 to 240 expanded to 0 to 255 around 128 (255/224, here 146/128).
fn full_chroma(c: u8) -> u8 {
    let c = ((i16::from(c) - 128) * 146 + 64) >> 7;
    (c + 128).clamp(0, 255) as u8
}

fn short(frame: &RawFrame<'_>) -> PipelineError {
    let RawFrame {
        width,
        height,
        stride,
        data,
        ..
    } = frame;
    PipelineError::Corrupt(format!(
        "{} bytes are too few for {width}x{height} pixels in lines of {stride} bytes",
        data.len()
    ))
}

/// Splits the frame's bytes into planes of `(stride, lines)`; returns each with its stride. The
/// padding of the last line may be missing.
fn split<'a>(
    frame: &RawFrame<'a>,
    planes: [(usize, usize); 3],
) -> Result<[(&'a [u8], usize); 3], PipelineError> {
    let mut rest = frame.data;
    let mut cut = [(rest, 0); 3];
    for (cut, (stride, lines)) in cut.iter_mut().zip(planes) {
        let bytes = stride
            .checked_mul(lines)
            .ok_or_else(|| short(frame))?
            .min(rest.len());
        let (plane, after) = rest.split_at(bytes);
        *cut = (plane, stride);
        rest = after;
    }
    Ok(cut)
}

fn luma_plane<'a>(
    data: &'a [u8],
    frame: &RawFrame<'a>,
    buffer: &'a mut PlaneBuffer,
) -> Result<Plane<'a>, PipelineError> {
    plane(
        frame,
        data,
        frame.stride,
        (frame.width as usize, frame.height as usize),
        full_luma,
        buffer,
    )
}

/// `data` itself where it needs no change, else a copy in `buffer`.
fn plane<'a>(
    frame: &RawFrame<'_>,
    data: &'a [u8],
    stride: usize,
    (width, height): (usize, usize),
    expand: fn(u8) -> u8,
    buffer: &'a mut PlaneBuffer,
) -> Result<Plane<'a>, PipelineError> {
    if frame.full_range
        && let Some(plane) = Plane::new(data, stride, width, height)
    {
        return Ok(plane);
    }
    if stride < width || data.len() < stride.saturating_mul(height - 1).saturating_add(width) {
        return Err(short(frame));
    }
    for (to, from) in buffer
        .for_size(width, height)
        .chunks_exact_mut(width)
        .zip(data.chunks(stride))
    {
        let from = &from[..width];
        if frame.full_range {
            to.copy_from_slice(from);
        } else {
            to.iter_mut()
                .zip(from)
                .for_each(|(to, &from)| *to = expand(from));
        }
    }
    Ok(buffer.plane())
}

/// The order of the samples of two pixels in a packed 4:2:2 format.
struct Packing {
    /// Offsets in four bytes: luma of the left and the right pixel, then their common chroma.
    y: [usize; 2],
    u: usize,
    v: usize,
    /// The `yuv` crate's conversion of whole pairs of lines.
    to_420: fn(&mut YuvPlanarImageMut<'_, u8>, &YuvPackedImage<'_, u8>) -> Result<(), YuvError>,
}

const YUYV: Packing = Packing {
    y: [0, 2],
    u: 1,
    v: 3,
    to_420: yuv::yuyv422_to_yuv420,
};

const UYVY: Packing = Packing {
    y: [1, 3],
    u: 0,
    v: 2,
    to_420: yuv::uyvy422_to_yuv420,
};

/// Packed 4:2:2 as planes of full range.
fn packed_planes<'a>(
    frame: &RawFrame<'_>,
    packing: &Packing,
    made: &'a mut PlanesBuffer,
) -> Result<Planes<'a>, PipelineError> {
    unpack(frame, packing, made)?;
    if !frame.full_range {
        made.y
            .samples_mut()
            .iter_mut()
            .for_each(|y| *y = full_luma(*y));
        for plane in [&mut made.u, &mut made.v] {
            plane
                .samples_mut()
                .iter_mut()
                .for_each(|c| *c = full_chroma(*c));
        }
    }
    Ok(made.planes())
}

/// Luma of every line; chroma of every second line (nearest-neighbour sampling of 4:2:2).
fn unpack(
    frame: &RawFrame<'_>,
    packing: &Packing,
    made: &mut PlanesBuffer,
) -> Result<(), PipelineError> {
    let (width, height, stride) = (frame.width as usize, frame.height as usize, frame.stride);
    let (u_width, u_height) = (width.div_ceil(2), height.div_ceil(2));
    let line_bytes = 4 * u_width;
    if stride < line_bytes
        || frame.data.len() < stride.saturating_mul(height - 1).saturating_add(line_bytes)
    {
        return Err(short(frame));
    }
    let (y, u, v) = (
        made.y.for_size(width, height),
        made.u.for_size(u_width, u_height),
        made.v.for_size(u_width, u_height),
    );
    // The `yuv` crate takes pairs of lines with all their padding: an odd last line, and one whose
    // padding is missing, are converted here.
    let whole_lines = if frame.data.len() / stride >= height {
        height
    } else {
        height - 1
    };
    let by_two = whole_lines & !1;
    if by_two > 0 {
        let packed = YuvPackedImage {
            yuy: &frame.data[..by_two * stride],
            yuy_stride: stride as u32,
            width: frame.width,
            height: by_two as u32,
        };
        let mut planar = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(&mut y[..by_two * width]),
            y_stride: width as u32,
            u_plane: BufferStoreMut::Borrowed(&mut u[..by_two / 2 * u_width]),
            u_stride: u_width as u32,
            v_plane: BufferStoreMut::Borrowed(&mut v[..by_two / 2 * u_width]),
            v_stride: u_width as u32,
            width: frame.width,
            height: by_two as u32,
        };
        (packing.to_420)(&mut planar, &packed)
            .map_err(|e| PipelineError::Corrupt(e.to_string()))?;
    }
    for line in by_two..height {
        let pixels = frame.data[line * stride..][..line_bytes].as_chunks::<4>().0;
        for (pair, pixel) in y[line * width..][..width].chunks_mut(2).zip(pixels) {
            pair.copy_from_slice(&packing.y.map(|at| pixel[at])[..pair.len()]);
        }
        let chroma = u[line / 2 * u_width..]
            .iter_mut()
            .zip(&mut v[line / 2 * u_width..]);
        for ((u, v), pixel) in chroma.zip(pixels) {
            (*u, *v) = (pixel[packing.u], pixel[packing.v]);
        }
    }
    Ok(())
}
