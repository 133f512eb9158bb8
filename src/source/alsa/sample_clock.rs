//! The clock of audio: from pairs (frames captured so far, device time) to the capture time of any
//! frame. Pure.
//!
//! Device times are late and never early: the driver notices that a frame is complete at the next
//! interrupt, timer tick or USB transfer. So the earliest of many is the true one: a block of half
//! a second keeps only its earliest observation, and a line through the blocks of the last minute
//! (median of slopes, low quartile of phase, so that neither one outlier nor ten busy seconds move
//! it) gives rate and phase. Capture times follow that line by slewing; only after a gap do they
//! jump, which is reported. `docs/time.md` has the reasons and the figures.

use crate::media::MonoNs;
use std::collections::VecDeque;

const BLOCK_NS: f64 = 0.5e9;
/// One minute: short against a crystal's drift with temperature, long enough for a slope within 1
/// ppm.
const BLOCKS: usize = 120;
/// Until this many blocks are complete the open one is used too, so that the start converges at
/// once.
const BLOCKS_WITHOUT_OPEN: usize = 8;
/// Sound cards are specified to 100 ppm or better, USB full speed to 500 ppm (USB 2.0, 7.1.11: 2500
/// for the data rate, but the sample clock of any real device is far better). More is an error of
/// the measurement.
const DRIFT_MAX: f64 = 500e-6;
/// The blocks needed for slope and spread.
const MIN_BLOCKS: usize = 4;
/// How fast capture times approach the fitted line: 40 µs per packet of 20 ms.
const SLEW: f64 = 2000e-6;
/// Observations further than this from the line, without exception, for this long, are not due to
/// late interrupts: frames are missing.
const GAP_NS: f64 = 25e6;
const GAP_PROOF_NS: f64 = 200e6;
/// The observations off the line that are kept, for the fit that begins with them.
const GAP_OBSERVATIONS: usize = 64;
/// After a smaller step that lasts for this many blocks (5 s), the older blocks are discarded.
const SLIP_NS: f64 = 2e6;
const SLIP_BLOCKS: usize = 10;
/// Before the first packet: this much device time and this many observations.
const WARM_UP_NS: f64 = 100e6;
const WARM_UP_OBSERVATIONS: usize = 8;
/// The drift is known after this time.
const DRIFT_KNOWN_NS: f64 = 6e9;

/// What follows from one observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Frame count and time agree.
    Steady,
    /// They disagree by more than 25 ms, for a reason that is not known yet. No frame should be
    /// stamped now.
    Doubtful,
    /// They have disagreed for 0.2 s: audio was lost without a report. The fit has restarted, for
    /// the frames from `resume` on; the capture times of earlier frames without a stamp are
    /// unknown.
    Gap { resume: u64 },
}

/// The capture time of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub at: MonoNs,
    /// It does not continue the previous one: the difference was too large to be slewed.
    pub jumped: bool,
}

/// Frame count, and device time minus the time of that count at the nominal rate.
#[derive(Clone, Copy, Debug)]
struct Point {
    frame: f64,
    excess_ns: f64,
}

/// The running fit of one stream.
///
/// Memory is bounded: 120 blocks, whatever the length of the stream.
#[derive(Debug)]
pub struct SampleClock {
    frame_ns: f64,
    /// Device time of frame 0 if the first observation was exact; all times are relative to it.
    origin_ns: Option<i64>,
    blocks: VecDeque<Point>,
    open: Option<Point>,
    open_until: f64,
    observations: usize,
    last_frames: Option<u64>,
    span_ns: f64,
    /// The line: `phase_ns + slope_ns * (frame - pivot)`, on top of the nominal rate.
    phase_ns: f64,
    slope_ns: f64,
    pivot: f64,
    /// The slope before the last restart; the next fit begins with it.
    learned_ns: Option<f64>,
    spread_ns: f64,
    outliers: Option<Outliers>,
    off_blocks: usize,
    last_output: Option<LastOutput>,
    /// Stamps increase, through restarts too.
    last_stamp: MonoNs,
}

/// The observations off the line since the last one on it.
#[derive(Clone, Debug)]
struct Outliers {
    since_ns: f64,
    observations: Vec<(u64, MonoNs)>,
}

/// The last stamp returned, and its distance from the line.
#[derive(Clone, Copy, Debug)]
struct LastOutput {
    frame: f64,
    at_ns: f64,
    behind_ns: f64,
}

impl SampleClock {
    pub fn new(rate_hz: u32) -> Self {
        Self {
            frame_ns: 1e9 / f64::from(rate_hz.max(1)),
            origin_ns: None,
            blocks: VecDeque::with_capacity(BLOCKS + 1),
            open: None,
            open_until: 0.0,
            observations: 0,
            last_frames: None,
            span_ns: 0.0,
            phase_ns: 0.0,
            slope_ns: 0.0,
            pivot: 0.0,
            learned_ns: None,
            spread_ns: 0.0,
            outliers: None,
            off_blocks: 0,
            last_output: None,
            last_stamp: MonoNs(0),
        }
    }

    /// After an overrun: frames may be counted from 0 again and the phase is measured again; the
    /// rate is kept.
    pub fn restart(&mut self) {
        let learned_ns = if self.span_ns >= DRIFT_KNOWN_NS {
            Some(self.slope_ns)
        } else {
            self.learned_ns
        };
        let (frame_ns, last_stamp) = (self.frame_ns, self.last_stamp);
        *self = Self {
            frame_ns,
            last_stamp,
            learned_ns,
            slope_ns: learned_ns.unwrap_or(0.0),
            ..Self::new(1)
        };
    }

    /// Adds an observation: at `at`, `frames` frames had been captured since the (re)start.
    pub fn observe(&mut self, frames: u64, at: MonoNs) -> Continuity {
        if self.last_frames.is_some_and(|last| frames <= last) {
            // No new frame: the earliest time of this count is known.
            return if self.outliers.is_some() {
                Continuity::Doubtful
            } else {
                Continuity::Steady
            };
        }
        self.last_frames = Some(frames);
        let frame = frames as f64;
        let at_ns = i64::try_from(at.0).unwrap_or(i64::MAX);
        let origin_ns = *self
            .origin_ns
            .get_or_insert_with(|| at_ns.saturating_sub((frame * self.frame_ns) as i64));
        let elapsed_ns = at_ns.saturating_sub(origin_ns) as f64;
        let point = Point {
            frame,
            excess_ns: elapsed_ns - frame * self.frame_ns,
        };

        if self.ready() && (point.excess_ns - self.line(frame)).abs() > GAP_NS {
            let outliers = self.outliers.get_or_insert_with(|| Outliers {
                since_ns: elapsed_ns,
                observations: Vec::new(),
            });
            if outliers.observations.len() < GAP_OBSERVATIONS {
                outliers.observations.push((frames, at));
            }
            let proven = elapsed_ns - outliers.since_ns >= GAP_PROOF_NS
                && outliers.observations.len() >= WARM_UP_OBSERVATIONS;
            return if proven {
                self.begin_after_gap()
            } else {
                Continuity::Doubtful
            };
        }
        self.outliers = None;
        self.observations = self.observations.saturating_add(1);
        self.span_ns = self.span_ns.max(elapsed_ns);
        self.keep(point);
        Continuity::Steady
    }

    /// Restarts the fit with the observations that were off the line.
    fn begin_after_gap(&mut self) -> Continuity {
        let observations = self
            .outliers
            .take()
            .map(|outliers| outliers.observations)
            .unwrap_or_default();
        self.restart();
        for &(frames, at) in &observations {
            self.observe(frames, at);
        }
        Continuity::Gap {
            resume: observations.first().map_or(0, |&(frames, _)| frames),
        }
    }

    /// False during the first 0.1 s, when the earliest observation may still be a late one, and
    /// while observations are doubtful.
    pub fn may_stamp(&self) -> bool {
        self.ready() && self.outliers.is_none()
    }

    /// The capture time of `frame` (fractional: a resampled stream has frames between the
    /// device's). Frames must be asked for in increasing order. Stamps increase with them, and the
    /// time from one to the next differs from the nominal one by at most 0.25 % (50 µs in 20 ms)
    /// unless `jumped` is set. `None` for a frame that a jump back puts before one that has its
    /// stamp already.
    pub fn stamp(&mut self, frame: f64) -> Option<Stamp> {
        let target_ns = frame * self.frame_ns + self.line(frame);
        let followed = self.last_output.and_then(|last| {
            let frames = (frame - last.frame).max(0.0);
            let straight_ns = last.at_ns + frames * (self.frame_ns + self.slope_ns);
            let slew_ns = SLEW * frames * self.frame_ns;
            let off_ns = target_ns - straight_ns;
            (off_ns.abs() <= GAP_NS).then(|| straight_ns + off_ns.clamp(-slew_ns, slew_ns))
        });
        let at_ns = followed.unwrap_or(target_ns);
        let absolute = self.origin_ns.unwrap_or(0).saturating_add(at_ns as i64);
        let at = MonoNs(u64::try_from(absolute).unwrap_or(0));
        if at <= self.last_stamp {
            return None;
        }
        let jumped = followed.is_none() && self.last_output.is_some();
        self.last_output = Some(LastOutput {
            frame,
            at_ns,
            behind_ns: target_ns - at_ns,
        });
        self.last_stamp = at;
        Some(Stamp { at, jumped })
    }

    /// The distance from the line of nine in ten blocks, plus what the stamps still have to slew;
    /// `None` in the first 2 s. The device's constant delay (converter, USB transfer) cannot be
    /// measured here and is not included.
    pub fn uncertainty_ns(&self) -> Option<u64> {
        let behind_ns = self.last_output.map_or(0.0, |e| e.behind_ns.abs());
        (self.blocks.len() >= MIN_BLOCKS).then_some((self.spread_ns + behind_ns) as u64)
    }

    /// How much faster than CLOCK_MONOTONIC the device's sample clock runs, parts per million;
    /// `None` in the first 6 s.
    pub fn drift_ppm(&self) -> Option<f64> {
        let known = self.span_ns >= DRIFT_KNOWN_NS || self.learned_ns.is_some();
        known.then_some(-self.slope_ns / self.frame_ns * 1e6)
    }

    fn ready(&self) -> bool {
        self.observations >= WARM_UP_OBSERVATIONS && self.span_ns >= WARM_UP_NS
    }

    fn line(&self, frame: f64) -> f64 {
        self.phase_ns + self.slope_ns * (frame - self.pivot)
    }

    fn keep(&mut self, point: Point) {
        if let Some(earliest) = self.open
            && point.frame >= self.open_until
        {
            self.close(earliest);
        }
        match self.open {
            None => {
                self.open = Some(point);
                self.open_until = point.frame + BLOCK_NS / self.frame_ns;
            }
            // Relative to the slope: otherwise the blocks of a slow clock would always keep their
            // first point, those of a fast one their last.
            Some(best)
                if point.excess_ns - best.excess_ns
                    >= self.slope_ns * (point.frame - best.frame) =>
            {
                return;
            }
            Some(_) => self.open = Some(point),
        }
        if self.blocks.len() < BLOCKS_WITHOUT_OPEN {
            self.refit();
        }
    }

    fn close(&mut self, earliest: Point) {
        self.open = None;
        let off_ns = earliest.excess_ns - self.line(earliest.frame);
        self.off_blocks = if off_ns.abs() > SLIP_NS.max(4.0 * self.spread_ns) {
            self.off_blocks + 1
        } else {
            0
        };
        self.blocks.push_back(earliest);
        if self.blocks.len() > BLOCKS {
            self.blocks.pop_front();
        }
        if self.off_blocks >= SLIP_BLOCKS && self.blocks.len() > SLIP_BLOCKS {
            self.learned_ns = Some(self.slope_ns);
            self.blocks.drain(..self.blocks.len() - SLIP_BLOCKS);
            self.off_blocks = 0;
        }
        self.refit();
    }

    fn refit(&mut self) {
        let open = self
            .open
            .filter(|_| self.blocks.len() < BLOCKS_WITHOUT_OPEN);
        let points: Vec<Point> = self.blocks.iter().copied().chain(open).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return;
        };
        self.slope_ns = self.slope(&points);
        self.pivot = last.frame;
        let mut rest: Vec<f64> = points
            .iter()
            .map(|p| p.excess_ns - self.slope_ns * (p.frame - first.frame))
            .collect();
        rest.sort_by(f64::total_cmp);
        // The quartile of few points would be a late one: at the start the earliest is used.
        let phase_at_first = rest[if rest.len() < BLOCKS_WITHOUT_OPEN {
            0
        } else {
            rest.len() / 4
        }];
        self.phase_ns = phase_at_first + self.slope_ns * (last.frame - first.frame);
        let mut away: Vec<f64> = rest.iter().map(|r| (r - phase_at_first).abs()).collect();
        away.sort_by(f64::total_cmp);
        self.spread_ns = away[(away.len() - 1) * 9 / 10];
    }

    /// The median of the slopes between each block and the one half the window later, weighted with
    /// the previous slope while the span is short (equally at 4 s, almost without it from 10 s on):
    /// noise of 0.1 ms over 2 s is 50 ppm.
    fn slope(&self, points: &[Point]) -> f64 {
        let before = self.learned_ns.unwrap_or(0.0);
        let half = points.len() / 2;
        let mut slopes: Vec<f64> = points
            .iter()
            .zip(&points[half..])
            .filter(|(a, b)| b.frame > a.frame)
            .map(|(a, b)| (b.excess_ns - a.excess_ns) / (b.frame - a.frame))
            .collect();
        if points.len() < MIN_BLOCKS || slopes.is_empty() {
            return before;
        }
        slopes.sort_by(f64::total_cmp);
        let median = slopes[slopes.len() / 2];
        let span_s = (points[points.len() - 1].frame - points[0].frame) * self.frame_ns / 1e9;
        let weight = 1.0 / (1.0 + (4.0 / span_s).powi(4));
        let limit = DRIFT_MAX * self.frame_ns;
        (before + weight * (median - before)).clamp(-limit, limit)
    }
}

#[cfg(test)]
pub mod tests;
