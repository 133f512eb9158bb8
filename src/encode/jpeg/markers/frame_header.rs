//! The frame header (SOF): size, components, sampling.

/// What a frame header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHeader {
    /// Pixels; never 0.
    pub width: u16,
    pub height: u16,
    /// Width and height of a minimum coded unit, pixels.
    pub mcu: (u16, u16),
    /// 1, 3 or 4.
    pub components: u8,
    pub baseline: bool,
}

impl FrameHeader {
    /// `body` follows the segment's length (B.2.2): precision, lines, samples per line, components.
    ///
    /// # Errors
    /// Why such an image cannot be shown.
    pub(super) fn parse(code: u8, body: &[u8]) -> Result<Self, &'static str> {
        if code > 0xc2 {
            return Err(
                "a kind of JPEG that browsers do not show (lossless, hierarchical or arithmetic)",
            );
        }
        let (&[precision, h1, h0, w1, w0, count], components) = body
            .split_first_chunk::<6>()
            .ok_or("a frame header that is too short")?;
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        if precision != 8 {
            return Err("samples of other than 8 bits");
        }
        if width == 0 || height == 0 {
            return Err("a frame without a size");
        }
        if !matches!(count, 1 | 3 | 4) || components.len() != usize::from(count) * 3 {
            return Err("a frame header whose length does not fit its components");
        }
        let (mut across, mut down) = (1, 1);
        for component in components.chunks_exact(3) {
            let (h, v) = (component[1] >> 4, component[1] & 15);
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return Err("a sampling factor that is not 1 to 4");
            }
            across = across.max(u16::from(h));
            down = down.max(u16::from(v));
        }
        // The blocks of a single component are not interleaved, whatever its factors say (A.2.2).
        let mcu = if count == 1 {
            (8, 8)
        } else {
            (8 * across, 8 * down)
        };
        Ok(Self {
            width,
            height,
            mcu,
            components: count,
            baseline: code != 0xc2,
        })
    }
}
