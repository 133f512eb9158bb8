//! Scales planes, and chroma to 4:2:0. The result fills the size: where the aspect ratio differs
//! the image is stretched, as by ffmpeg's scale filter, not cropped or padded.

use crate::encode::planes::{Plane, PlaneBuffer, Planes, PlanesBuffer};
use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer, pixels::U8};

/// Keeps the memory of scaled planes from frame to frame.
#[derive(Default)]
pub struct Scaler {
    resizer: Resizer,
    made: PlanesBuffer,
}

impl Scaler {
    /// `planes` as 4:2:0 of `width` x `height` pixels, both at least 1. Planes that have the size
    /// already are not copied.
    pub fn scale<'a>(&'a mut self, planes: Planes<'a>, width: usize, height: usize) -> Planes<'a> {
        let (u_width, u_height) = (width.div_ceil(2), height.div_ceil(2));
        let Self { resizer, made } = self;
        Planes {
            y: fit(planes.y, width, height, resizer, &mut made.y),
            u: fit(planes.u, u_width, u_height, resizer, &mut made.u),
            v: fit(planes.v, u_width, u_height, resizer, &mut made.v),
        }
    }
}

fn fit<'a>(
    from: Plane<'a>,
    width: usize,
    height: usize,
    resizer: &mut Resizer,
    made: &'a mut PlaneBuffer,
) -> Plane<'a> {
    if (from.width(), from.height()) == (width, height) {
        return from;
    }
    let to = made.for_size(width, height);
    if from.width() == width && from.height().div_ceil(2) == height {
        average_lines(from, to);
    } else {
        resize(from, to, width, height, resizer);
    }
    made.plane()
}

/// 4:2:2 to 4:2:0, which most cameras' MJPEG needs: a tenth of the time of [`resize`].
fn average_lines(from: Plane<'_>, to: &mut [u8]) {
    for (y, to) in to.chunks_exact_mut(from.width()).enumerate() {
        let upper = from.line(2 * y);
        let lower = from.line((2 * y + 1).min(from.height() - 1));
        for ((to, &a), &b) in to.iter_mut().zip(upper).zip(lower) {
            *to = (u16::from(a) + u16::from(b)).div_ceil(2) as u8;
        }
    }
}

/// Bilinear; when it gets smaller, over all samples that one of the result covers (no aliasing).
fn resize(from: Plane<'_>, to: &mut [u8], width: usize, height: usize, resizer: &mut Resizer) {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let whole =
        TypedImageRef::<U8>::from_buffer(from.stride() as u32, from.height() as u32, from.data());
    let lines = whole.ok().and_then(|w| {
        TypedCroppedImage::new(w, 0, 0, from.width() as u32, from.height() as u32).ok()
    });
    let to = TypedImage::<U8>::from_buffer(width as u32, height as u32, to);
    let (lines, mut to) = lines
        .zip(to.ok())
        .expect("a plane has its size in bytes, and so has the memory made for it");
    resizer
        .resize_typed(&lines, &mut to, &options)
        .expect("no crop is asked for that could be outside the image");
}
