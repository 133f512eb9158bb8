//! Audio at another sample rate or with another number of channels than the source's: transcoded
//! once, for all subscribers that ask for the same format.

use super::Packet;
use super::losses::LossCounters;
use crate::log::LogOnce;
use crate::media::resample::{ResampleError, Resampler};
use crate::media::{Cause, MonoNs, Shape, UnixNs};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Different formats at a time. Each costs the server a filter, so that a client must not be able
/// to ask for one of its own again and again.
pub(super) const MAX_FORMATS: usize = 8;
/// The shortest time between two pipelines of one format. A device that is opened again may have
/// another rate; only a hostile worker changes it again and again.
const PIPELINE_INTERVAL: Duration = Duration::from_secs(1);

/// A failure is over once packets were transcoded for this long without another one.
const RECOVERED_AFTER: Duration = Duration::from_secs(3);

/// The format that a subscriber asks for; `None`: as the source has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AudioFormat {
    pub rate_hz: Option<u32>,
    /// 1 or 2.
    pub channels: Option<u16>,
}

impl fmt::Display for AudioFormat {
    /// `16000 Hz, 1 channel`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate_hz {
            Some(rate_hz) => write!(f, "{rate_hz} Hz")?,
            None => f.write_str("the source's rate")?,
        }
        match self.channels {
            Some(1) => f.write_str(", 1 channel"),
            Some(channels) => write!(f, ", {channels} channels"),
            None => Ok(()),
        }
    }
}

/// The limit of formats is reached.
#[derive(Debug, thiserror::Error)]
#[error("{MAX_FORMATS} audio formats are in use, which is the limit")]
pub struct TooManyFormats {
    /// Those that can still be subscribed to.
    pub in_use: Vec<AudioFormat>,
}

/// Makes the packets of one format out of the source's, one for one.
pub(super) struct Transcoder {
    pub format: AudioFormat,
    /// Subscribers that read it.
    pub readers: usize,
    pipeline: Option<Pipeline>,
    /// When a pipeline was last made or could not be made.
    made_at: Option<MonoNs>,
    /// What has been logged of its failures.
    pub faults: LogOnce,
    /// The source's shape that could not be transcoded last, and when a packet last failed.
    failed: Option<(Shape, MonoNs)>,
    /// Packets of the source that had no pipeline, since the start.
    dropped: u64,
    /// The time that the dropped packets left open, from the packet before to the packet after.
    dropped_span: Duration,
    /// The capture time of the latest packet of the source, and whether it was dropped.
    latest: Option<(MonoNs, bool)>,
    /// The losses of a packet of the source, and the same with `dropped` added.
    losses: Option<[Arc<LossCounters>; 2]>,
    /// How far the output's sequence numbers are behind the source's: packets without output (the
    /// filter was filling) minus the packets from [`Pipeline::finish`].
    sequence_lag: i64,
}

/// The conversion from one PCM format to another.
struct Pipeline {
    from: PcmFormat,
    to: PcmFormat,
    /// `None`: the rates are equal.
    resampler: Option<Resampler>,
    /// The packet transcoded last.
    previous: Arc<Packet>,
    /// What was missing before its output.
    previous_losses: Arc<LossCounters>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct PcmFormat {
    rate_hz: u32,
    channels: u16,
}

impl Transcoder {
    pub(super) fn new(format: AudioFormat) -> Self {
        Self {
            format,
            readers: 0,
            pipeline: None,
            made_at: None,
            faults: LogOnce::default(),
            failed: None,
            dropped: 0,
            dropped_span: Duration::ZERO,
            latest: None,
            losses: None,
            sequence_lag: 0,
        }
    }

    /// The output for the next packet of the source. First: what was left in the filter before a
    /// gap. Second: the packet, the source's own where nothing is to be done; `None` while the
    /// filter fills (less than 20 ms at the start and after each gap, where the filter restarts so
    /// that no audio is smeared across the gap), and for a packet that is dropped because its shape
    /// cannot be resampled or needs a new pipeline less than a second after the last one was made.
    /// Dropped packets are counted with cause `encoder`.
    ///
    /// # Errors
    /// This shape cannot be resampled; returned for its first packet (at most once a second), and
    /// again after another shape has failed or the failure was [over](Self::has_recovered).
    pub(super) fn transcode(
        &mut self,
        packet: &Arc<Packet>,
        now: MonoNs,
    ) -> Result<[Option<Arc<Packet>>; 2], ResampleError> {
        let (latest, was_dropped) = self.latest.unwrap_or((packet.capture_time, false));
        let step = packet.capture_time.since(latest);
        if was_dropped {
            self.dropped_span = self.dropped_span.saturating_add(step);
        }
        let dropped_before = self.dropped;
        let output = match &mut self.failed {
            Some((shape, at)) if *shape == packet.shape => {
                *at = now;
                self.dropped += 1;
                Ok([None, None])
            }
            _ => self.try_transcode(packet, now).inspect_err(|_| {
                self.failed = Some((packet.shape, now));
                self.dropped += 1;
            }),
        };
        let is_dropped = self.dropped > dropped_before;
        if is_dropped && !was_dropped {
            self.dropped_span = self.dropped_span.saturating_add(step);
        }
        self.latest = Some((packet.capture_time, is_dropped));
        output
    }

    /// Whether a failure that was logged is over: packets are transcoded again, for a while. True
    /// once.
    pub(super) fn has_recovered(&mut self, now: MonoNs) -> bool {
        let is_over = |(_, at): (Shape, MonoNs)| now.since(at) >= RECOVERED_AFTER;
        let is_transcoding = self.latest.is_some_and(|(_, was_dropped)| !was_dropped);
        if !is_transcoding || !self.failed.is_some_and(is_over) {
            return false;
        }
        self.failed = None;
        self.faults.recovered()
    }

    fn try_transcode(
        &mut self,
        packet: &Arc<Packet>,
        now: MonoNs,
    ) -> Result<[Option<Arc<Packet>>; 2], ResampleError> {
        let Shape::Audio { rate_hz, channels } = packet.shape else {
            return Ok([None, None]);
        };
        let from = PcmFormat {
            rate_hz,
            channels: channels.max(1),
        };
        let to = PcmFormat {
            rate_hz: self.format.rate_hz.unwrap_or(rate_hz),
            channels: self.format.channels.unwrap_or(channels).max(1),
        };
        let is_usable = |pipeline: &Pipeline| (pipeline.from, pipeline.to) == (from, to);
        let is_new = !self.pipeline.as_ref().is_some_and(is_usable);
        if is_new
            && let Some(made_at) = self.made_at
            && now.since(made_at) < PIPELINE_INTERVAL
        {
            self.dropped += 1;
            return Ok([None, None]);
        }
        let losses = self.losses_of(packet);
        let mut new = None;
        if is_new {
            self.made_at = Some(now);
            // Before the old one is emptied: where this fails, that is done by a later packet.
            new = Some(Pipeline::new(from, to, packet, &losses)?);
        }
        let rest = self.finish_before(packet, from, to);
        if new.is_some() {
            self.pipeline = new;
        }
        let Some(pipeline) = &mut self.pipeline else {
            return Ok([rest, None]);
        };
        if from == to && self.sequence_lag == 0 && self.dropped == 0 {
            return Ok([rest, Some(packet.clone())]);
        }
        let (samples, offset_ns) = pipeline.convert(packet, &losses);
        if samples.is_empty() {
            self.sequence_lag += 1;
            return Ok([rest, None]);
        }
        let output = self.output(packet, losses, &samples, offset_ns, to);
        Ok([rest, Some(output)])
    }

    /// What the filter still holds, where `packet` does not continue its input. It was captured
    /// before what is missing, so it has the losses of the packet transcoded last.
    fn finish_before(
        &mut self,
        packet: &Packet,
        from: PcmFormat,
        to: PcmFormat,
    ) -> Option<Arc<Packet>> {
        let pipeline = self.pipeline.as_mut().filter(|pipeline| {
            (pipeline.from, pipeline.to) != (from, to) || !pipeline.is_continued_by(packet)
        })?;
        let (samples, before_end_ns) = pipeline.finish()?;
        let (to, previous) = (pipeline.to, pipeline.previous.clone());
        let losses = pipeline.previous_losses.clone();
        self.sequence_lag -= 1;
        let duration_ns = previous.duration().unwrap_or_default().as_nanos() as i64;
        let offset_ns = duration_ns - before_end_ns;
        Some(self.output(&previous, losses, &samples, offset_ns, to))
    }

    /// A packet of `samples`, the first of which was captured `offset_ns` after the first of
    /// `packet`. `losses`: what is missing before it.
    fn output(
        &self,
        packet: &Packet,
        losses: Arc<LossCounters>,
        samples: &[i16],
        offset_ns: i64,
        to: PcmFormat,
    ) -> Arc<Packet> {
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        Arc::new(packet.transcoded(
            packet.sequence.saturating_add_signed(-self.sequence_lag),
            MonoNs(packet.capture_time.0.saturating_add_signed(offset_ns)),
            UnixNs(packet.stamp.0.saturating_add_signed(offset_ns)),
            Shape::Audio {
                rate_hz: to.rate_hz,
                channels: to.channels,
            },
            bytes.into(),
            losses,
        ))
    }

    /// What is missing before an output made of `packet`: the same `Arc` until something more is
    /// lost.
    fn losses_of(&mut self, packet: &Packet) -> Arc<LossCounters> {
        if self.dropped == 0 {
            return packet.losses.clone();
        }
        let is_current = |[of, with_dropped]: &&[Arc<LossCounters>; 2]| {
            Arc::ptr_eq(of, &packet.losses)
                && with_dropped.packets(Cause::Encoder) == of.packets(Cause::Encoder) + self.dropped
        };
        if let Some([_, losses]) = self.losses.as_ref().filter(is_current) {
            return losses.clone();
        }
        let mut losses = LossCounters::clone(&packet.losses);
        losses.add_packets(Cause::Encoder, self.dropped, self.dropped_span);
        let losses = Arc::new(losses);
        self.losses = Some([packet.losses.clone(), losses.clone()]);
        losses
    }
}

impl Pipeline {
    fn new(
        from: PcmFormat,
        to: PcmFormat,
        first: &Arc<Packet>,
        losses: &Arc<LossCounters>,
    ) -> Result<Self, ResampleError> {
        let resampler = if from.rate_hz == to.rate_hz {
            None
        } else {
            let channels = from.channels.min(to.channels);
            Some(Resampler::new(from.rate_hz, to.rate_hz, channels)?)
        };
        Ok(Self {
            from,
            to,
            resampler,
            previous: first.clone(),
            previous_losses: losses.clone(),
        })
    }

    /// Whether no audio is missing between the packet transcoded last and `packet`.
    fn is_continued_by(&self, packet: &Packet) -> bool {
        self.previous.losses == packet.losses && packet.sequence == self.previous.sequence + 1
    }

    /// Samples, and how much later than the packet the first of them was captured, ns. `losses`:
    /// what is missing before its output.
    fn convert(&mut self, packet: &Arc<Packet>, losses: &Arc<LossCounters>) -> (Vec<i16>, i64) {
        self.previous = packet.clone();
        self.previous_losses = losses.clone();
        let input = packet
            .payload
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]));
        let (from, to) = (self.from.channels, self.to.channels);
        let mut samples: Vec<i16> = input.collect();
        // Before the filter: fewer channels cost less.
        if to < from {
            samples = mix_down(&samples, from, to);
        }
        let mut offset_ns = 0;
        if let Some(resampler) = &mut self.resampler {
            let mut output = Vec::new();
            offset_ns = resampler.process(&samples, &mut output);
            samples = output;
        }
        (self.widen(samples), offset_ns)
    }

    /// What the filter still holds, and how long before the end of the packet transcoded last its
    /// first sample was captured, ns; `None`: nothing. The next packet starts afresh.
    fn finish(&mut self) -> Option<(Vec<i16>, i64)> {
        let mut samples = Vec::new();
        let before_end_ns = self.resampler.as_mut()?.finish(&mut samples);
        (!samples.is_empty()).then(|| (self.widen(samples), before_end_ns))
    }

    fn widen(&self, samples: Vec<i16>) -> Vec<i16> {
        let resampled = self.from.channels.min(self.to.channels);
        if self.to.channels > resampled {
            repeat_channels(&samples, resampled, self.to.channels)
        } else {
            samples
        }
    }
}

/// Each output channel is the mean of every `to`th input channel; for one output channel, of all.
fn mix_down(samples: &[i16], from: u16, to: u16) -> Vec<i16> {
    let (from, to) = (usize::from(from), usize::from(to));
    let mix = |frame: &[i16], channel: usize| {
        let share = frame.iter().skip(channel).step_by(to);
        let count = share.len() as i32;
        (share.map(|&s| i32::from(s)).sum::<i32>() / count) as i16
    };
    samples
        .chunks_exact(from)
        .flat_map(|frame| (0..to).map(move |channel| mix(frame, channel)))
        .collect()
}

/// The input channels, repeated until there are enough.
fn repeat_channels(samples: &[i16], from: u16, to: u16) -> Vec<i16> {
    let (from, to) = (usize::from(from), usize::from(to));
    samples
        .chunks_exact(from)
        .flat_map(|frame| frame.iter().copied().cycle().take(to))
        .collect()
}

#[cfg(test)]
mod tests;
