//! Converts a device's sample format and channels to signed 16-bit samples of 1 or 2 channels.
//! Pure.

/// The sample formats that are read, under ALSA's names, in order of preference: the cheapest that
/// has all of 16 bits first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// S16_LE.
    S16,
    /// S32_LE.
    S32,
    /// S24_3LE: three bytes.
    S24Packed,
    /// S24_LE: the lower three of four bytes.
    S24,
    /// FLOAT_LE: -1 to 1.
    Float,
}

impl SampleFormat {
    pub const ALL: [Self; 5] = [
        Self::S16,
        Self::S32,
        Self::S24Packed,
        Self::S24,
        Self::Float,
    ];

    /// ALSA's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::S16 => "S16_LE",
            Self::S32 => "S32_LE",
            Self::S24Packed => "S24_3LE",
            Self::S24 => "S24_LE",
            Self::Float => "FLOAT_LE",
        }
    }

    /// Bytes of one sample.
    pub fn bytes(self) -> usize {
        match self {
            Self::S16 => 2,
            Self::S24Packed => 3,
            Self::S32 | Self::S24 | Self::Float => 4,
        }
    }

    /// One sample as a signed 32-bit one. `raw` has [`bytes`](Self::bytes) bytes.
    fn widen(self, raw: &[u8]) -> i32 {
        match (self, raw) {
            (Self::S16, &[a, b]) => i32::from_le_bytes([0, 0, a, b]),
            (Self::S24Packed, &[a, b, c]) | (Self::S24, &[a, b, c, _]) => {
                i32::from_le_bytes([0, a, b, c])
            }
            (Self::S32, &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]),
            // The cast saturates, and turns NaN into silence.
            (Self::Float, &[a, b, c, d]) => {
                (f32::from_le_bytes([a, b, c, d]) * 2_147_483_648.0) as i32
            }
            _ => 0,
        }
    }
}

/// Takes the first channels (front left and right) of each frame, as 16-bit samples. The server
/// mixes and resamples, for each format that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Converter {
    pub format: SampleFormat,
    pub channels_in: usize,
    /// At most `channels_in`.
    pub channels_out: usize,
}

impl Converter {
    /// Bytes of one of the device's sample frames.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.format.bytes() * self.channels_in
    }

    /// Appends what the whole frames of `raw` (the device's bytes, interleaved) become.
    pub(crate) fn convert(&self, raw: &[u8], out: &mut Vec<i16>) {
        let frames = raw.chunks_exact(self.frame_bytes().max(1));
        out.reserve(frames.len() * self.channels_out);
        let bytes = self.format.bytes();
        for frame in frames {
            let samples = frame.chunks_exact(bytes).take(self.channels_out);
            out.extend(samples.map(|raw| narrow(self.format.widen(raw))));
        }
    }
}

/// 32 bits to 16, rounded.
fn narrow(wide: i32) -> i16 {
    (wide.saturating_add(0x8000) >> 16) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(
        format: SampleFormat,
        channels_in: usize,
        channels_out: usize,
        raw: &[u8],
    ) -> Vec<i16> {
        let mut out = Vec::new();
        Converter {
            format,
            channels_in,
            channels_out,
        }
        .convert(raw, &mut out);
        out
    }

    #[test]
    fn converter_every_format_gives_the_same_samples() {
        let values = [0i16, 1, -1, 1000, -1000, i16::MAX, i16::MIN];
        for format in SampleFormat::ALL {
            let raw: Vec<u8> = values
                .iter()
                .flat_map(|&v| {
                    let wide = (i32::from(v) << 16).to_le_bytes();
                    match format {
                        SampleFormat::S16 => v.to_le_bytes().to_vec(),
                        SampleFormat::S32 => wide.to_vec(),
                        SampleFormat::S24Packed => wide[1..].to_vec(),
                        // The fourth byte is undefined.
                        SampleFormat::S24 => vec![wide[1], wide[2], wide[3], 0x5a],
                        SampleFormat::Float => (f32::from(v) / 32768.0).to_le_bytes().to_vec(),
                    }
                })
                .collect();
            assert_eq!(converted(format, 1, 1, &raw), values, "{}", format.name());
            assert_eq!(raw.len(), values.len() * format.bytes());
        }
    }

    #[test]
    fn converter_beyond_full_scale_saturates_and_nan_is_silence() {
        let raw: Vec<u8> = [2.0f32, -2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(
            converted(SampleFormat::Float, 1, 1, &raw),
            [i16::MAX, i16::MIN, 0, i16::MAX, i16::MIN]
        );
        assert_eq!(
            converted(SampleFormat::S32, 1, 1, &i32::MAX.to_le_bytes()),
            [i16::MAX]
        );
    }

    #[test]
    fn converter_more_channels_than_wanted_takes_the_first() {
        let raw: Vec<u8> = [100i16, 300, -100, -301]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(
            converted(SampleFormat::S16, 2, 2, &raw),
            [100, 300, -100, -301]
        );
        assert_eq!(converted(SampleFormat::S16, 4, 2, &raw), [100, 300]);
        let loud: Vec<u8> = [i16::MIN; 8].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(converted(SampleFormat::S16, 8, 1, &loud), [i16::MIN]);
    }

    #[test]
    fn converter_incomplete_frame_is_ignored() {
        assert_eq!(converted(SampleFormat::S24Packed, 2, 1, &[0; 11]), [0]);
    }
}
