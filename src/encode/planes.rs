//! Pixels between the camera and an encoder: planes of luma and chroma, borrowed or owned.

/// 8-bit samples in lines. Every line, the last one too, is `stride` bytes long.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    data: &'a [u8],
    stride: usize,
    width: usize,
    height: usize,
}

impl<'a> Plane<'a> {
    /// `None` where `data` is too short for `height` lines of `stride` bytes, or a line for `width`
    /// samples, or a size is 0.
    pub fn new(data: &'a [u8], stride: usize, width: usize, height: usize) -> Option<Self> {
        let bytes = stride.checked_mul(height)?;
        let fits = width > 0 && height > 0 && stride >= width && data.len() >= bytes;
        fits.then(|| Self {
            data: &data[..bytes],
            stride,
            width,
            height,
        })
    }

    /// `stride * height` bytes.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Bytes from one line to the next, at least the width.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Samples in a line, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// At least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The samples of line `y`, which is less than the height.
    pub fn line(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..][..self.width]
    }

    /// All lines from the top, `width` samples each.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
        let width = self.width;
        self.data
            .chunks_exact(self.stride)
            .map(move |line| &line[..width])
    }
}

/// A frame in YCbCr, BT.601, full range, as JPEG has it (JFIF 1.02). Luma has the frame's size.
#[derive(Clone, Copy, Debug)]
pub struct Planes<'a> {
    pub y: Plane<'a>,
    pub u: Plane<'a>,
    /// The size of `u`.
    pub v: Plane<'a>,
}

impl Planes<'_> {
    /// Pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.y.width, self.y.height)
    }
}

/// A plane's memory, kept from frame to frame; its lines have no padding.
#[derive(Debug, Default)]
pub struct PlaneBuffer {
    data: Vec<u8>,
    width: usize,
    height: usize,
}

impl PlaneBuffer {
    /// The memory for `width * height` samples, both at least 1. Its contents are those of the last
    /// use.
    pub fn for_size(&mut self, width: usize, height: usize) -> &mut [u8] {
        (self.width, self.height) = (width, height);
        self.data.resize(width * height, 0);
        &mut self.data
    }

    /// What was written last. A size must have been given.
    pub fn plane(&self) -> Plane<'_> {
        Plane::new(&self.data, self.width, self.width, self.height)
            .expect("the memory has the size that for_size gave it")
    }

    /// What was written last, to be changed in place.
    pub fn samples_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

/// A frame's memory, kept from frame to frame.
#[derive(Debug, Default)]
pub struct PlanesBuffer {
    pub y: PlaneBuffer,
    pub u: PlaneBuffer,
    pub v: PlaneBuffer,
}

impl PlanesBuffer {
    pub fn planes(&self) -> Planes<'_> {
        Planes {
            y: self.y.plane(),
            u: self.u.plane(),
            v: self.v.plane(),
        }
    }
}
