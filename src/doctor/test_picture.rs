//! What the test picture and its beep betray of the chain between them and us: the stamp against the drawn time code, and
//! the flash's stamp against the beep's (`docs/test-picture.md`).

use super::numbers::Spread;
use crate::encode::jpeg::{Decode, Decoder, Repaired, repair};
use crate::media::UnixNs;
use crate::source::test_pattern::{sync_pulse, timecode};

/// A sample louder than this belongs to the beep: between beeps there is noise of 4 units.
const LOUD: i16 = 1_000;
/// A flash and a beep belong together when no further apart.
const TOGETHER_NS: u64 = sync_pulse::PERIOD_NS / 3;

#[derive(Default)]
pub struct TestPicture {
    decoder: Option<Decoder>,
    repaired: Vec<u8>,
    /// Frames without a readable code since the last readable one; other pictures are not decoded for ever.
    unread: u32,
    pub stamp_error_us: Spread,
    pub flash_to_beep_ms: Spread,
    pub beats: Beat,
    dark_before: bool,
    quiet_since: Option<UnixNs>,
    flash: Option<UnixNs>,
    beep: Option<UnixNs>,
}

/// How many flashes and beeps were met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beat {
    pub flashes: u64,
    pub beeps: u64,
}

impl std::fmt::Debug for TestPicture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestPicture")
            .field("beats", &self.beats)
            .finish_non_exhaustive()
    }
}

impl TestPicture {
    /// After so many frames without a code the picture is an ordinary one.
    const GIVE_UP: u32 = 30;

    pub fn frame(&mut self, stamp: UnixNs, jpeg: &[u8]) {
        if self.unread >= Self::GIVE_UP {
            return;
        }
        self.unread += 1;
        let Ok(image) = repair(jpeg, &mut self.repaired) else {
            return;
        };
        if let Some((code, lit)) = look(&mut self.decoder, &image) {
            self.unread = 0;
            self.stamp_error_us
                .add((stamp.0 / 1_000) as f64 - (code.0 / 1_000) as f64);
            let Some(lit) = lit else { return };
            if lit && std::mem::replace(&mut self.dark_before, false) {
                self.beats.flashes += 1;
                self.flash = Some(stamp);
                self.pair();
            }
            self.dark_before = !lit;
        }
    }

    pub fn sound(&mut self, stamp: UnixNs, pcm: &[u8], rate_hz: u32, channels: u16) {
        // Another source's sounds are no beeps.
        if self.stamp_error_us.count() == 0 || rate_hz == 0 {
            return;
        }
        let first_channel = pcm
            .chunks_exact(2 * usize::from(channels.max(1)))
            .map(|s| i16::from_le_bytes([s[0], s[1]]));
        for (i, sample) in first_channel.enumerate() {
            let at = UnixNs(stamp.0 + i as u64 * 1_000_000_000 / u64::from(rate_hz));
            if sample.unsigned_abs() < LOUD.unsigned_abs() {
                self.quiet_since.get_or_insert(at);
            } else if let Some(since) = self.quiet_since.take()
                // The tone itself crosses zero: a beep begins after a real silence only.
                && at.0.saturating_sub(since.0) > sync_pulse::ON_NS
            {
                self.beats.beeps += 1;
                // The sine is still below LOUD for its first sample or two.
                self.beep = Some(since_silence_ended(at, sample, rate_hz));
                self.pair();
            }
        }
    }

    fn pair(&mut self) {
        let (Some(flash), Some(beep)) = (self.flash, self.beep) else {
            return;
        };
        if flash.0.abs_diff(beep.0) < TOGETHER_NS {
            self.flash_to_beep_ms
                .add((flash.0 as i64 - beep.0 as i64) as f64 / 1e6);
            (self.flash, self.beep) = (None, None);
        }
    }
}

/// The instant at which a sine of 1 kHz that starts at phase 0, half of full scale, passed zero before `sample`.
fn since_silence_ended(at: UnixNs, sample: i16, rate_hz: u32) -> UnixNs {
    let phase = (f64::from(sample.unsigned_abs()) / 16_384.0)
        .clamp(0.0, 1.0)
        .asin()
        / std::f64::consts::TAU;
    let before_ns = (phase * 1e6).min(2e9 / f64::from(rate_hz));
    UnixNs(at.0.saturating_sub(before_ns as u64))
}

/// The time code, and whether the flash is lit (`None`: it cannot be told).
fn look(decoder: &mut Option<Decoder>, image: &Repaired<'_>) -> Option<(UnixNs, Option<bool>)> {
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

/// A picture that shows the time code of `at` and the flash, lit or not, as a JPEG.
#[cfg(test)]
pub fn drawn(at: UnixNs, lit: bool) -> Vec<u8> {
    use crate::encode::jpeg::{Encode, Encoder};
    use crate::encode::planes::PlanesBuffer;
    let (width, height) = (320, 240);
    let mut picture = PlanesBuffer::default();
    let luma = picture.y.for_size(width, height);
    luma.fill(if lit { 255 } else { 0 });
    timecode::draw(luma, width as u32, height as u32, width, at);
    picture.u.for_size(width / 2, height / 2).fill(128);
    picture.v.for_size(width / 2, height / 2).fill(128);
    Encoder::new(90)
        .and_then(|mut encoder| encoder.encode(&picture.planes()).map(<[u8]>::to_vec))
        .expect("a picture")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000_000_000;
    const MS: u64 = 1_000_000;

    #[test]
    fn a_stamp_beside_the_time_code_is_an_error_of_that_size() {
        let mut test = TestPicture::default();
        for (at_ms, wrong_ns) in [(0, 0), (100, 5_000_000), (200, -3_000_000)] {
            let code = UnixNs(START + at_ms * MS);
            test.frame(
                UnixNs(code.0.saturating_add_signed(wrong_ns)),
                &drawn(code, false),
            );
        }
        let at = |share| test.stamp_error_us.quantile(share);
        assert_eq!(
            (at(0.0), at(0.5), at(1.0)),
            (Some(-3_000.0), Some(0.0), Some(5_000.0))
        );
    }

    #[test]
    fn other_pictures_have_no_error_and_are_not_decoded_for_ever() {
        let mut test = TestPicture::default();
        for _ in 0..TestPicture::GIVE_UP {
            test.frame(UnixNs(START), b"no picture");
        }
        test.frame(UnixNs(START), &drawn(UnixNs(START), false));
        assert_eq!(test.stamp_error_us.count(), 0);
    }

    /// 20 ms of 8 kHz, one channel: the tone begins, or there is silence.
    fn sound(tone: bool) -> Vec<u8> {
        let sine = |k: u32| (f64::from(k) / 8.0 * std::f64::consts::TAU).sin() * 16_384.0;
        (0..160)
            .flat_map(|k| (if tone { sine(k) as i16 } else { 0 }).to_le_bytes())
            .collect()
    }

    #[test]
    fn the_flash_and_the_beep_of_one_beat_are_compared() {
        let mut test = TestPicture::default();
        // The picture is stamped 40 ms too late, the sound is right; two beats.
        for frame in 0..30 {
            let at = START - 400 * MS + frame * 100 * MS;
            let lit = at % sync_pulse::PERIOD_NS < sync_pulse::ON_NS;
            test.frame(UnixNs(at + 40 * MS), &drawn(UnixNs(at), lit));
            for packet in 0..5 {
                let at = at + packet * 20 * MS;
                test.sound(
                    UnixNs(at),
                    &sound(at % sync_pulse::PERIOD_NS < sync_pulse::ON_NS),
                    8_000,
                    1,
                );
            }
        }
        assert_eq!((test.beats.flashes, test.beats.beeps), (3, 3));
        let found = test.flash_to_beep_ms.quantile(0.5).expect("beats were met");
        assert!((found - 40.0).abs() < 0.1, "{found}");
    }
}
