//! Audio at another sample rate. The position of every output frame in the input is known, so that
//! stamps stay exact through the filter. Pure.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

/// Filter length, frames at the lower of the two rates. Passes 0.9 of the narrower band;
/// frequencies beyond its Nyquist frequency are attenuated by more than 90 dB.
const FILTER_FRAMES: usize = 128;
/// Positions between two input frames for which the filter is computed; rubato interpolates.
const PHASES: usize = 256;
/// Input frames are filtered in blocks of one part in this of a second.
const BLOCKS_PER_SECOND: u32 = 100;

#[derive(Debug, thiserror::Error)]
#[error("audio of {channels} channels cannot be resampled from {from_hz} to {to_hz} Hz: {why}")]
pub struct ResampleError {
    from_hz: u32,
    to_hz: u32,
    channels: u16,
    why: String,
}

/// Converts signed 16-bit interleaved samples from one rate to another with a windowed-sinc filter
/// of linear phase.
///
/// Holds back less than one block (10 ms) of input plus half the filter (64 frames of the lower
/// rate).
pub struct Resampler {
    inner: Async<f32>,
    from_hz: u32,
    to_hz: u32,
    channels: usize,
    /// Input not filtered yet, interleaved, shorter than one block.
    waiting: Vec<f32>,
    filtered: Vec<f32>,
    /// Input and output frames since the start or the last reset.
    taken: u64,
    given: u64,
    /// Frames that the filter still makes of what lies before the first input frame; discarded.
    lead: usize,
}

impl Resampler {
    /// # Errors
    /// A rate is not within 1,000 to 768,000 Hz, the rates differ by more than 100 times, or the
    /// channels are not 1 to 32.
    pub fn new(from_hz: u32, to_hz: u32, channels: u16) -> Result<Self, ResampleError> {
        let refuse = |why: String| ResampleError {
            from_hz,
            to_hz,
            channels,
            why,
        };
        let rates = 1_000..=768_000;
        if !rates.contains(&from_hz) || !rates.contains(&to_hz) {
            return Err(refuse("rates are 1000 to 768000 Hz".into()));
        }
        // At 100 the filter's table takes 13 MB, shared by all subscribers of the format.
        if from_hz > to_hz.saturating_mul(100) || to_hz > from_hz.saturating_mul(100) {
            return Err(refuse("the rates differ by more than 100 times".into()));
        }
        if !(1..=32).contains(&channels) {
            return Err(refuse("channels are 1 to 32".into()));
        }
        let ratio = f64::from(to_hz) / f64::from(from_hz);
        let filter = SincInterpolationParameters::new(
            filter_frames(from_hz, to_hz),
            WindowFunction::Blackman2,
        )
        .oversampling_factor(PHASES)
        .interpolation(SincInterpolationType::Linear);
        let block = (from_hz / BLOCKS_PER_SECOND) as usize;
        let inner = Async::new_sinc(
            ratio,
            1.0,
            &filter,
            block,
            usize::from(channels),
            FixedAsync::Input,
        )
        .map_err(|e| refuse(e.to_string()))?;
        let mut it = Self {
            inner,
            from_hz,
            to_hz,
            channels: usize::from(channels),
            waiting: Vec::new(),
            filtered: Vec::new(),
            taken: 0,
            given: 0,
            lead: 0,
        };
        it.lead = it.lead_frames();
        Ok(it)
    }

    /// Discards everything held back; the next input frame is frame 0 again.
    pub fn reset(&mut self) {
        self.inner.reset();
        self.waiting.clear();
        self.taken = 0;
        self.given = 0;
        self.lead = self.lead_frames();
    }

    /// Takes the whole frames of `input` and appends their output to `output`. Returns how much
    /// later (negative: earlier) the first frame appended was captured than the first frame of
    /// `input`, in nanoseconds at the nominal rate.
    pub fn process(&mut self, input: &[i16], output: &mut Vec<i16>) -> i64 {
        let frames = self.source_frame(self.given) - self.taken as f64;
        let offset_ns = (frames * 1e9 / f64::from(self.from_hz)).round() as i64;
        let block = self.inner.input_frames_next();
        let whole = input.len() / self.channels;
        self.taken += whole as u64;
        for part in input[..whole * self.channels].chunks(block * self.channels) {
            self.waiting.extend(part.iter().map(|s| f32::from(*s)));
            while self.waiting.len() >= block * self.channels {
                self.filter_block(block, output);
            }
        }
        offset_ns
    }

    /// Appends what is still held back to `output`, then resets. Returns when the first frame
    /// appended was captured, in nanoseconds before the end of the input.
    pub fn finish(&mut self, output: &mut Vec<i16>) -> i64 {
        let before_end = |it: &Self| it.taken as f64 - it.source_frame(it.given);
        let held = before_end(self);
        let block = self.inner.input_frames_next() * self.channels;
        while before_end(self) > 0.0 && self.taken > 0 {
            self.waiting.resize(block, 0.0);
            self.filter_block(block / self.channels, output);
        }
        // Beyond the end of the input there is only filtered silence.
        while before_end(self) <= -f64::from(self.from_hz) / f64::from(self.to_hz)
            && output.len() >= self.channels
        {
            output.truncate(output.len() - self.channels);
            self.given -= 1;
        }
        self.reset();
        (held * 1e9 / f64::from(self.from_hz)).round() as i64
    }

    /// The input frame, counted from the start or the last reset, that the output frame `frame` was
    /// captured with. Fractional; never negative.
    pub fn source_frame(&self, frame: u64) -> f64 {
        // In integers as far as possible: an f64 product would lose the fraction after days.
        // The filter steps before it computes, so its first frame is one step in.
        let steps = frame + self.lead_frames() as u64 + 1;
        let numerator = u128::from(steps) * u128::from(self.from_hz);
        let whole = (numerator / u128::from(self.to_hz)) as u64;
        let rest = (numerator % u128::from(self.to_hz)) as f64 / f64::from(self.to_hz);
        whole as f64 - self.delay_frames() + rest
    }

    fn filter_block(&mut self, block: usize, output: &mut Vec<i16>) {
        let room = self.inner.output_frames_max();
        self.filtered.resize(room * self.channels, 0.0);
        let source = InterleavedSlice::new(&self.waiting, self.channels, block)
            .expect("at least one block is waiting");
        let mut sink = InterleavedSlice::new_mut(&mut self.filtered, self.channels, room)
            .expect("resized to this just now");
        let (_, made) = self
            .inner
            .process_into_buffer(&source, &mut sink, None)
            .expect("both buffers have the size that the filter asks for");
        self.waiting.drain(..block * self.channels);
        let lead = self.lead.min(made);
        self.lead -= lead;
        self.given += (made - lead) as u64;
        let kept = &self.filtered[lead * self.channels..made * self.channels];
        output.extend(kept.iter().map(|s| s.round() as i16));
    }

    /// The filter's delay, input frames: half its length (it is symmetric), less one phase, since
    /// rubato's table begins one phase in (measured; `resampler_source_frame_matches_the_output`
    /// holds it to 0.01 frames).
    fn delay_frames(&self) -> f64 {
        filter_frames(self.from_hz, self.to_hz) as f64 / 2.0 - 1.0 / PHASES as f64
    }

    /// The first step at or after input frame 0 is the first frame of output.
    fn lead_frames(&self) -> usize {
        let steps =
            (self.delay_frames() * f64::from(self.to_hz) / f64::from(self.from_hz)).ceil() as usize;
        steps - 1
    }
}

/// Length in input frames: longer when the rate falls, since the pass band is then a smaller part
/// of the input's.
fn filter_frames(from_hz: u32, to_hz: u32) -> usize {
    let stretch = f64::from(from_hz.max(to_hz)) / f64::from(to_hz);
    ((FILTER_FRAMES as f64 * stretch) as usize).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// Frame `n` (fractional) of a tone.
    fn tone(hz: f64, rate_hz: u32, n: f64) -> f64 {
        10_000.0 * (TAU * hz * n / f64::from(rate_hz)).sin()
    }

    fn resampled(
        from: u32,
        to: u32,
        hz: f64,
        frames: usize,
        block: usize,
    ) -> (Resampler, Vec<i16>) {
        let input: Vec<i16> = (0..frames)
            .map(|n| tone(hz, from, n as f64).round() as i16)
            .collect();
        let mut r = Resampler::new(from, to, 1).unwrap();
        let mut out = Vec::new();
        for part in input.chunks(block) {
            r.process(part, &mut out);
        }
        (r, out)
    }

    #[test]
    fn resampler_source_frame_matches_the_output() {
        for (from, to) in [
            (48_000, 16_000),
            (44_100, 48_000),
            (48_000, 44_100),
            (48_000, 12_345),
            (16_000, 48_000),
            (96_000, 8_000),
            (192_000, 8_000),
        ] {
            let (r, out) = resampled(from, to, 440.0, from as usize, 777);
            let expected = |k: usize| tone(440.0, from, r.source_frame(k as u64));
            // The filter's first half length has silence before it.
            let from_here = 200;
            assert!(
                out.len() > from_here + 1000,
                "{from} to {to}: {} frames",
                out.len()
            );
            // The tone's steepest slope per input frame turns a difference of value into one of
            // place.
            let slope = 10_000.0 * TAU * 440.0 / f64::from(from);
            for (k, &s) in out.iter().enumerate().skip(from_here) {
                let off = (f64::from(s) - expected(k)).abs();
                assert!(
                    off < 1.5 + 0.01 * slope,
                    "{from} to {to}, frame {k}: {s} for {:.1}",
                    expected(k)
                );
            }
        }
    }

    #[test]
    fn resampler_output_starts_with_the_first_input_frame_and_lacks_at_most_the_delay() {
        let (r, out) = resampled(48_000, 16_000, 440.0, 48_000, 960);
        assert!(
            (0.0..3.0).contains(&r.source_frame(0)),
            "{}",
            r.source_frame(0)
        );
        let last = r.source_frame(out.len() as u64);
        assert!(
            (48_000.0 - 480.0 - 200.0..=48_000.0).contains(&last),
            "{last}"
        );
    }

    #[test]
    fn resampler_process_returns_the_offset_of_the_output() {
        let mut r = Resampler::new(48_000, 16_000, 1).unwrap();
        let (mut all, mut fed) = (Vec::new(), 0u64);
        for block in [960usize, 100, 1, 3000, 479, 480, 481] {
            let before = all.len() as u64;
            let offset = r.process(&vec![0; block], &mut all);
            let expected = (r.source_frame(before) - fed as f64) / 48_000.0 * 1e9;
            assert!((offset as f64 - expected).abs() < 1.0);
            fed += block as u64;
        }
    }

    #[test]
    fn resampler_finish_gives_all_input_and_nothing_more() {
        for (from, to) in [
            (48_000, 16_000),
            (44_100, 48_000),
            (48_000, 44_100),
            (16_000, 48_000),
        ] {
            for frames in [0usize, 1, 479, 480, 481, 9_999] {
                let (mut r, mut out) = resampled(from, to, 440.0, frames, 333);
                let given = out.len() as u64;
                let expected = (frames as f64 - r.source_frame(given)) * 1e9 / f64::from(from);
                let whole = (0..)
                    .take_while(|&k| r.source_frame(k) < frames as f64)
                    .count();
                assert!((r.finish(&mut out) as f64 - expected).abs() < 1.0);
                assert_eq!(
                    out.len(),
                    if frames == 0 { 0 } else { whole },
                    "{frames} frames from {from} to {to}"
                );
            }
        }
    }

    #[test]
    fn resampler_tone_above_the_band_is_removed_and_full_scale_does_not_wrap() {
        let (_, out) = resampled(48_000, 16_000, 11_000.0, 48_000, 960);
        assert!(
            out.iter().skip(200).all(|s| s.abs() <= 2),
            "{:?}",
            out.iter().max()
        );
        let square: Vec<i16> = (0..48_000)
            .map(|n| if n / 50 % 2 == 0 { i16::MAX } else { i16::MIN })
            .collect();
        let mut r = Resampler::new(48_000, 44_100, 1).unwrap();
        let mut out = Vec::new();
        r.process(&square, &mut out);
        let jumps = out
            .windows(2)
            .filter(|w| (i32::from(w[0]) - i32::from(w[1])).abs() > 60_000)
            .count();
        assert_eq!(
            jumps, 0,
            "a wrapped sample jumps from one end of the scale to the other"
        );
    }

    #[test]
    fn resampler_channels_are_separate_and_reset_restarts() {
        let stereo: Vec<i16> = (0..4800).flat_map(|_| [8000, -4000]).collect();
        let mut r = Resampler::new(48_000, 24_000, 2).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        r.process(&stereo, &mut first);
        for frame in first.chunks(2).skip(100) {
            assert!(
                (frame[0] - 8000).abs() <= 2 && (frame[1] + 4000).abs() <= 2,
                "{frame:?}"
            );
        }
        r.reset();
        r.process(&stereo, &mut second);
        assert_eq!(first, second);
    }

    #[test]
    fn resampler_source_frame_is_exact_after_days() {
        let r = Resampler::new(44_100, 48_000, 1).unwrap();
        let day = 48_000u64 * 86_400;
        let step = r.source_frame(day + 1) - r.source_frame(day);
        assert!((step - 44_100.0 / 48_000.0).abs() < 1e-5, "{step}");
    }

    #[test]
    fn resampler_invalid_formats_are_refused() {
        for (from, to, ch) in [
            (0, 48_000, 1),
            (48_000, 0, 1),
            (768_000, 1_000, 1),
            (48_000, 16_000, 0),
        ] {
            assert!(Resampler::new(from, to, ch).is_err(), "{from} {to} {ch}");
        }
    }
}
