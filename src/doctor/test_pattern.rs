//! What the test pattern's frames and tone tell about the chain between source and viewer: the
//! stamp compared with the time code in the image, and the flash's stamp compared with the tone's
//! (`docs/test-picture.md`).

use super::quantiles::Quantiles;
use super::stats::delta_ns;
use crate::encode::jpeg::{Decode, Decoder, Repaired, repair};
use crate::media::UnixNs;
use crate::media::test_pattern::{PULSE_NS, PULSE_PERIOD_NS};
use crate::media::timecode;

/// A louder sample is part of a tone: between tones there is noise of 4 units.
const TONE_THRESHOLD: i16 = 1_000;
/// A flash and a tone are of one pulse when no further apart.
const MAX_PAIR_DISTANCE_NS: u64 = PULSE_PERIOD_NS / 3;

#[derive(Default)]
pub struct TestPattern {
    decoder: Option<Decoder>,
    repaired: Vec<u8>,
    /// Frames without a time code since the last one with it.
    frames_without_code: u32,
    pub stamp_error_us: Quantiles,
    pub flash_to_tone_ms: Quantiles,
    pub pulses: Pulses,
    was_dark: bool,
    quiet_since: Option<UnixNs>,
    flash: Option<UnixNs>,
    tone: Option<UnixNs>,
}

/// How many flashes and tones began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulses {
    pub flashes: u64,
    pub tones: u64,
}

impl std::fmt::Debug for TestPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestPattern")
            .field("pulses", &self.pulses)
            .finish_non_exhaustive()
    }
}

impl TestPattern {
    /// After so many frames without a time code this is another camera, and no frame is decoded.
    const GIVE_UP: u32 = 30;

    pub fn add_frame(&mut self, stamp: UnixNs, jpeg: &[u8]) {
        if self.frames_without_code >= Self::GIVE_UP {
            return;
        }
        self.frames_without_code += 1;
        let Ok(image) = repair(jpeg, &mut self.repaired) else {
            return;
        };
        if let Some((code, is_lit)) = read_image(&mut self.decoder, &image) {
            self.frames_without_code = 0;
            self.stamp_error_us
                .add((stamp.0 / 1_000) as f64 - (code.0 / 1_000) as f64);
            let Some(is_lit) = is_lit else { return };
            if is_lit && std::mem::replace(&mut self.was_dark, false) {
                self.pulses.flashes += 1;
                self.flash = Some(stamp);
                self.pair();
            }
            self.was_dark = !is_lit;
        }
    }

    pub fn add_audio(&mut self, stamp: UnixNs, pcm: &[u8], rate_hz: u32, channels: u16) {
        // Of another source, a loud sample is not a tone.
        if self.stamp_error_us.count() == 0 || rate_hz == 0 {
            return;
        }
        let first_channel = pcm
            .chunks_exact(2 * usize::from(channels.max(1)))
            .map(|s| i16::from_le_bytes([s[0], s[1]]));
        for (i, sample) in first_channel.enumerate() {
            let after_ns = i as u64 * 1_000_000_000 / u64::from(rate_hz);
            let at = UnixNs(stamp.0.saturating_add(after_ns));
            if sample.unsigned_abs() < TONE_THRESHOLD.unsigned_abs() {
                self.quiet_since.get_or_insert(at);
            } else if let Some(since) = self.quiet_since.take()
                // The sine crosses zero within a tone: a new tone follows a longer silence.
                && at.0.saturating_sub(since.0) > PULSE_NS
            {
                self.pulses.tones += 1;
                // The first sample or two of the sine are below the threshold.
                self.tone = Some(tone_start(at, sample, rate_hz));
                self.pair();
            }
        }
    }

    fn pair(&mut self) {
        let (Some(flash), Some(tone)) = (self.flash, self.tone) else {
            return;
        };
        if flash.0.abs_diff(tone.0) < MAX_PAIR_DISTANCE_NS {
            self.flash_to_tone_ms
                .add(delta_ns(flash, tone) as f64 / 1e6);
            (self.flash, self.tone) = (None, None);
        }
    }
}

/// When a sine of 1 kHz, half of full scale, was at phase 0, given one `sample` of its first
/// quarter.
fn tone_start(at: UnixNs, sample: i16, rate_hz: u32) -> UnixNs {
    let phase = (f64::from(sample.unsigned_abs()) / 16_384.0)
        .clamp(0.0, 1.0)
        .asin()
        / std::f64::consts::TAU;
    let before_ns = (phase * 1e6).min(2e9 / f64::from(rate_hz));
    UnixNs(at.0.saturating_sub(before_ns as u64))
}

/// The time code, and whether the flash is lit (`None`: not visible).
fn read_image(
    decoder: &mut Option<Decoder>,
    image: &Repaired<'_>,
) -> Option<(UnixNs, Option<bool>)> {
    if decoder.is_none() {
        *decoder = Decoder::new().ok();
    }
    let luma = decoder.as_mut()?.decode(image).ok()?.y;
    let (width, height) = (
        u32::try_from(luma.width()).ok()?,
        u32::try_from(luma.height()).ok()?,
    );
    let code = timecode::read(luma.data(), width, height, luma.stride())?;
    Some((
        code,
        timecode::flash_is_lit(luma.data(), width, height, luma.stride()),
    ))
}

/// A JPEG with the time code of `at` and the flash.
#[cfg(test)]
pub fn test_frame(at: UnixNs, is_lit: bool) -> Vec<u8> {
    use crate::encode::jpeg::{Encode, Encoder};
    use crate::encode::planes::PlanesBuffer;
    let (width, height) = (320, 240);
    let mut image = PlanesBuffer::default();
    let luma = image.y.for_size(width, height);
    luma.fill(if is_lit { 255 } else { 0 });
    timecode::draw(luma, width as u32, height as u32, width, at);
    image.u.for_size(width / 2, height / 2).fill(128);
    image.v.for_size(width / 2, height / 2).fill(128);
    Encoder::new(90)
        .and_then(|mut encoder| encoder.encode(&image.planes()).map(<[u8]>::to_vec))
        .expect("a JPEG")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000_000_000;
    const MS: u64 = 1_000_000;

    #[test]
    fn test_pattern_stamp_error_is_stamp_minus_time_code() {
        let mut test = TestPattern::default();
        for (at_ms, error_ns) in [(0, 0), (100, 5_000_000), (200, -3_000_000)] {
            let code = UnixNs(START + at_ms * MS);
            test.add_frame(
                UnixNs(code.0.saturating_add_signed(error_ns)),
                &test_frame(code, false),
            );
        }
        let at = |share| test.stamp_error_us.quantile(share);
        assert_eq!(
            (at(0.0), at(0.5), at(1.0)),
            (Some(-3_000.0), Some(0.0), Some(5_000.0))
        );
    }

    #[test]
    fn test_pattern_other_images_are_not_decoded_after_30() {
        let mut test = TestPattern::default();
        for _ in 0..TestPattern::GIVE_UP {
            test.add_frame(UnixNs(START), b"not a JPEG");
        }
        test.add_frame(UnixNs(START), &test_frame(UnixNs(START), false));
        assert_eq!(test.stamp_error_us.count(), 0);
    }

    /// 20 ms of 8 kHz mono: the start of a tone, or silence.
    fn audio(is_tone: bool) -> Vec<u8> {
        let sine = |k: u32| (f64::from(k) / 8.0 * std::f64::consts::TAU).sin() * 16_384.0;
        (0..160)
            .flat_map(|k| (if is_tone { sine(k) as i16 } else { 0 }).to_le_bytes())
            .collect()
    }

    #[test]
    fn test_pattern_late_video_stamps_show_against_the_tone() {
        let mut test = TestPattern::default();
        // Frames are stamped 40 ms late, audio correctly; three pulses.
        for frame in 0..30 {
            let at = START - 400 * MS + frame * 100 * MS;
            let is_lit = at % PULSE_PERIOD_NS < PULSE_NS;
            test.add_frame(UnixNs(at + 40 * MS), &test_frame(UnixNs(at), is_lit));
            for packet in 0..5 {
                let at = at + packet * 20 * MS;
                test.add_audio(
                    UnixNs(at),
                    &audio(at % PULSE_PERIOD_NS < PULSE_NS),
                    8_000,
                    1,
                );
            }
        }
        assert_eq!((test.pulses.flashes, test.pulses.tones), (3, 3));
        let ms = test.flash_to_tone_ms.quantile(0.5).expect("pulses");
        assert!((ms - 40.0).abs() < 0.1, "{ms}");
    }
}
