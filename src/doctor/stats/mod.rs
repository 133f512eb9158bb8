//! Statistics of a stream, computed from its messages: rates, latency, losses, clocks. Pure:
//! arrival times are arguments. Stamps and counts are a server's and may be anything: sums
//! saturate.

mod clock;
mod losses;
mod packets;
#[cfg(test)]
mod tests;

pub use clock::PingSample;
pub(super) use clock::delta_ns;
pub use packets::PacketStats;

use super::quantiles::Quantiles;
use super::test_pattern::{Pulses, TestPattern};
use crate::wire::{AudioFormat, Event, MediaKind, Message, UnixNs};
use clock::ServerClock;
use losses::Losses;

#[derive(Debug, Default)]
pub struct Stats {
    pub video: PacketStats,
    pub audio: PacketStats,
    /// Width and height of the last frame, pixels.
    pub size: Option<(u16, u16)>,
    /// Of the last packet.
    pub audio_format: Option<AudioFormat>,
    pub losses: Losses,
    pub source_losses: u64,
    pub undecodable: u64,
    /// The stream was requested with a maximum frame rate: sequence numbers of frames are skipped.
    pub is_decimated: bool,
    pub clock: ServerClock,
    /// First and last time of the measurement.
    measured: Option<(UnixNs, UnixNs)>,
    test_pattern: TestPattern,
}

impl Stats {
    pub fn add_message(&mut self, message: &Message<'_>, arrival: UnixNs) {
        self.advance_to(arrival);
        let offset_ns = self.clock.offset_ns();
        // Unknown before the first pong.
        let latency_ms = |stamp: UnixNs, duration_ns: u64| {
            let ns = delta_ns(arrival, stamp)
                .saturating_sub_unsigned(duration_ns)
                .saturating_add(offset_ns?);
            Some(ns as f64 / 1e6)
        };
        match message {
            Message::Video {
                stamp,
                label,
                width,
                height,
                jpeg,
            } => {
                self.video.add(*stamp, *label, jpeg.len(), arrival);
                self.video.latency_ms.extend(latency_ms(*stamp, 0));
                self.size = Some((*width, *height));
                self.test_pattern.add_frame(*stamp, jpeg);
            }
            Message::Audio {
                stamp,
                label,
                format,
                pcm,
            } => {
                self.audio_format = format.or(self.audio_format);
                let (rate_hz, channels) = self
                    .audio_format
                    .map_or((0, 1), |f| (f.rate_hz, f.channels));
                let frames = pcm.len() as u64 / 2 / u64::from(channels.max(1));
                let duration_ns = frames
                    .saturating_mul(1_000_000_000)
                    .checked_div(u64::from(rate_hz))
                    .unwrap_or(0);
                self.audio.add(*stamp, *label, pcm.len(), arrival);
                self.audio
                    .latency_ms
                    .extend(latency_ms(*stamp, duration_ns));
                self.test_pattern.add_audio(*stamp, pcm, rate_hz, channels);
            }
            Message::Event { event, .. } => self.add_event(event),
            Message::Pong { .. } => {}
        }
    }

    fn add_event(&mut self, event: &Event) {
        match event {
            Event::Gap { stream, gap } => {
                self.losses.add(*stream, gap);
                let reported = &mut self.packets_of(*stream).reported;
                *reported = reported.saturating_add(gap.count.unwrap_or(0));
            }
            Event::ClockStep { stream, .. } => {
                let packets = self.packets_of(*stream);
                packets.clock_steps += 1;
                packets.last_stamp = None;
            }
            Event::SourceLost { .. } => self.source_losses += 1,
            Event::SourceBack { .. } | Event::Format { .. } | Event::Other(_) => {}
        }
    }

    fn packets_of(&mut self, kind: MediaKind) -> &mut PacketStats {
        match kind {
            MediaKind::Video => &mut self.video,
            MediaKind::Audio => &mut self.audio,
        }
    }

    pub fn add_ping(&mut self, ping: PingSample) {
        self.advance_to(ping.asked);
        self.advance_to(ping.answered);
        let (start, _) = self.measured.unwrap_or((ping.asked, ping.answered));
        self.clock.add(ping, start);
    }

    /// The measurement has lasted until `now`.
    pub fn advance_to(&mut self, now: UnixNs) {
        let (start, _) = self.measured.unwrap_or((now, now));
        self.measured = Some((start, now));
    }

    /// Clock steps of the server; each stream reports all of them.
    pub fn clock_steps(&self) -> u64 {
        self.video.clock_steps.max(self.audio.clock_steps)
    }

    /// Frames per second of the whole measurement.
    pub fn delivered_fps(&self) -> Option<f64> {
        self.video.rate_over(self.measured?)
    }

    pub fn longest_silence_ms(&self, packets: &PacketStats) -> Option<f64> {
        packets.longest_silence_ms(self.measured?.1)
    }

    /// How much later video arrives than audio of the same capture time, ms (medians).
    pub fn arrival_offset_ms(&self) -> Option<f64> {
        Some(self.video.latency_ms.quantile(0.5)? - self.audio.latency_ms.quantile(0.5)?)
    }

    /// Video against audio, ms: measured in the test pattern if there is one, else by arrival.
    pub fn av_offset_ms(&self) -> Option<f64> {
        self.flash_to_tone_ms()
            .quantile(0.5)
            .or_else(|| self.arrival_offset_ms())
    }

    /// Missing packets and outages, reported or not, and messages that could not be decoded.
    pub fn total_losses(&self) -> u64 {
        self.losses
            .packets()
            .saturating_add(self.losses.outages())
            .saturating_add(self.unreported_losses())
            .saturating_add(self.undecodable)
    }

    /// Packets missing by their sequence numbers, without a gap event.
    pub fn unreported_losses(&self) -> u64 {
        let video = if self.is_decimated {
            0
        } else {
            self.video.unreported
        };
        video + self.audio.unreported
    }

    pub fn non_monotonic(&self) -> u64 {
        self.video.non_monotonic + self.audio.non_monotonic
    }

    /// Stamps minus the time codes in the test pattern, µs: the error of the whole chain.
    pub fn stamp_error_us(&self) -> &Quantiles {
        &self.test_pattern.stamp_error_us
    }

    /// The flash's stamp minus the tone's, ms.
    pub fn flash_to_tone_ms(&self) -> &Quantiles {
        &self.test_pattern.flash_to_tone_ms
    }

    /// Whether a time code was read.
    pub fn is_test_pattern(&self) -> bool {
        self.test_pattern.stamp_error_us.count() > 0
    }

    pub fn pulses(&self) -> Pulses {
        self.test_pattern.pulses
    }
}
