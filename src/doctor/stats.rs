//! Statistics of one stream, computed from its messages: rates, latency, losses, clocks. Pure: arrival
//! times are arguments.

use super::quantiles::{LinearFit, Quantiles};
use super::test_pattern::{Pulses, TestPattern};
use crate::wire::{AudioFormat, Cause, Event, Label, MediaKind, Message, UnixNs};
use std::collections::{BTreeMap, VecDeque};

/// An answered ping: the four times of an NTP exchange (RFC 5905, section 8), UNIX ns. `asked` and
/// `answered` are by this machine's clock, the others by the server's.
#[derive(Clone, Copy, Debug)]
pub struct PingSample {
    pub asked: UnixNs,
    pub received: UnixNs,
    pub sent: UnixNs,
    pub answered: UnixNs,
}

impl PingSample {
    fn round_trip_ns(self) -> i64 {
        delta(self.answered, self.asked) - delta(self.sent, self.received)
    }

    /// The server's clock minus this machine's; the error is at most half the round trip.
    fn offset_ns(self) -> i64 {
        (delta(self.received, self.asked) + delta(self.sent, self.answered)) / 2
    }
}

fn delta(a: UnixNs, b: UnixNs) -> i64 {
    a.0.wrapping_sub(b.0) as i64
}

/// Statistics of the video or the audio.
#[derive(Debug, Default)]
pub struct PacketStats {
    pub count: u64,
    pub bytes: u64,
    last_stamp: Option<UnixNs>,
    /// Sum of the intervals between stamps.
    stamped_ns: i64,
    /// Intervals between stamps, ms.
    pub intervals_ms: Quantiles,
    /// Capture to arrival, ms, both by the server's clock; for audio from the end of the packet.
    pub latency_ms: Quantiles,
    first_arrival: Option<UnixNs>,
    last_arrival: Option<UnixNs>,
    /// The longest time between two arrivals.
    longest_silence_ns: i64,
    /// Stamps that are not later than the previous one, without a clock step.
    pub non_monotonic: u64,
    pub clock_steps: u64,
    /// Packets missing by their sequence numbers, without a gap event.
    pub unreported: u64,
    last_sequence: Option<u32>,
    /// Packets in gap events since the last packet.
    reported: u64,
}

impl PacketStats {
    fn add(&mut self, stamp: UnixNs, label: Option<Label>, bytes: usize, arrival: UnixNs) {
        self.count += 1;
        let reported = std::mem::take(&mut self.reported);
        if let Some(label) = label
            && let Some(last) = self.last_sequence.replace(label.sequence)
        {
            let skipped = u64::from(label.sequence.wrapping_sub(last).wrapping_sub(1));
            self.unreported += skipped.saturating_sub(reported);
        }
        self.bytes += bytes as u64;
        if let Some(last) = self.last_stamp.replace(stamp) {
            let interval = delta(stamp, last);
            self.intervals_ms.add(interval as f64 / 1e6);
            self.stamped_ns += interval;
            self.non_monotonic += u64::from(interval <= 0);
        }
        if let Some(last) = self.last_arrival.replace(arrival) {
            self.longest_silence_ns = self.longest_silence_ns.max(delta(arrival, last));
        }
        self.first_arrival.get_or_insert(arrival);
    }

    /// Packets per second, by their stamps.
    pub fn rate(&self) -> Option<f64> {
        let seconds = self.stamped_ns as f64 / 1e9;
        (self.count > 1 && seconds > 0.0).then(|| (self.count - 1) as f64 / seconds)
    }

    /// Packets per second of the whole measurement (from, to), including the time before the first and
    /// after the last packet, of which two intervals each are not counted.
    pub fn rate_over(&self, measured: (UnixNs, UnixNs)) -> Option<f64> {
        let intervals = self.count.checked_sub(1)?;
        let allowed = 2 * self.stamped_ns.checked_div(intervals as i64)?;
        let before = delta(self.first_arrival?, measured.0) - allowed;
        let after = delta(measured.1, self.last_arrival?) - allowed;
        let seconds = (self.stamped_ns + before.max(0) + after.max(0)) as f64 / 1e9;
        (seconds > 0.0).then(|| intervals as f64 / seconds)
    }

    /// The longest time without a packet, ms, including that from the last one to `now`.
    pub fn longest_silence_ms(&self, now: UnixNs) -> Option<f64> {
        let since_last = delta(now, self.last_arrival?);
        Some(self.longest_silence_ns.max(since_last) as f64 / 1e6)
    }
}

/// What gap events reported for one cause.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    pub packets: u64,
    /// Gaps without a number of packets.
    pub outages: u64,
    /// Total duration of the outages.
    pub seconds: f64,
}

/// Statistics of a stream.
#[derive(Debug, Default)]
pub struct Stats {
    pub video: PacketStats,
    pub audio: PacketStats,
    /// Width and height of the last frame, pixels.
    pub size: Option<(u16, u16)>,
    /// Of the last packet.
    pub audio_format: Option<AudioFormat>,
    pub losses: BTreeMap<(MediaKind, Cause), Loss>,
    pub source_losses: u64,
    pub undecodable: u64,
    /// The stream was requested with a maximum frame rate: sequence numbers of frames are skipped.
    pub is_decimated: bool,
    /// All pings: seconds since the start, and the sample.
    pings: Vec<(f64, PingSample)>,
    /// Those of the last [`OFFSET_WINDOW_NS`].
    recent_pings: VecDeque<PingSample>,
    /// First and last time of the measurement.
    measured: Option<(UnixNs, UnixNs)>,
    test_pattern: TestPattern,
}

/// Clocks that drift by 50 ppm diverge by 1.5 ms in this time.
const OFFSET_WINDOW_NS: i64 = 30_000_000_000;

impl Stats {
    pub fn add_message(&mut self, message: &Message<'_>, arrival: UnixNs) {
        self.advance_to(arrival);
        let offset_ns = self.best_ping().map(PingSample::offset_ns);
        // Unknown before the first pong.
        let latency_ms = |stamp: UnixNs, duration_ns: u64| {
            Some((delta(arrival, stamp) - duration_ns as i64 + offset_ns?) as f64 / 1e6)
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
                let loss = self.losses.entry((*stream, gap.cause.clone())).or_default();
                let packets = gap.count.unwrap_or(0);
                loss.packets = loss.packets.saturating_add(packets);
                loss.outages += u64::from(gap.count.is_none());
                loss.seconds += gap.seconds.unwrap_or(0.0);
                let reported = &mut self.packets_of(*stream).reported;
                *reported = reported.saturating_add(packets);
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
        let (start, now) = self.measured.unwrap_or((ping.asked, ping.answered));
        self.pings
            .push((delta(ping.answered, start) as f64 / 1e9, ping));
        self.recent_pings.push_back(ping);
        while self
            .recent_pings
            .front()
            .is_some_and(|p| delta(now, p.answered) > OFFSET_WINDOW_NS)
        {
            self.recent_pings.pop_front();
        }
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

    /// Of the recent pings that with the shortest round trip, hence the smallest error.
    fn best_ping(&self) -> Option<PingSample> {
        self.recent_pings
            .iter()
            .copied()
            .min_by_key(|p| p.round_trip_ns())
    }

    /// The server's clock minus this machine's, and half the round trip of that ping, ms; `None` before
    /// the first pong.
    pub fn clock_offset_ms(&self) -> Option<(f64, f64)> {
        let best = self.best_ping()?;
        Some((
            best.offset_ns() as f64 / 1e6,
            best.round_trip_ns() as f64 / 2e6,
        ))
    }

    /// How fast the server's clock drifts from this machine's, and the standard error, parts per
    /// million; `None` while the error is too large.
    pub fn clock_drift_ppm(&self) -> Option<(f64, f64)> {
        const MAX_ERROR_PPM: f64 = 10.0;
        // A slow ping has a large error of its offset, and most of these errors have one sign.
        let quickest = self.pings.iter().map(|(_, p)| p.round_trip_ns()).min()?;
        let quick = self
            .pings
            .iter()
            .filter(|(_, p)| p.round_trip_ns() <= quickest + quickest / 2);
        let fit = LinearFit::new(quick.map(|(at, p)| (*at, p.offset_ns() as f64 / 1e3)))?;
        (fit.standard_error < MAX_ERROR_PPM).then_some((fit.slope, fit.standard_error))
    }

    /// How much later video arrives than audio of the same capture time, ms (medians).
    pub fn av_offset_ms(&self) -> Option<f64> {
        Some(self.video.latency_ms.quantile(0.5)? - self.audio.latency_ms.quantile(0.5)?)
    }

    /// Missing packets and outages, reported or not, and messages that could not be decoded.
    pub fn total_losses(&self) -> u64 {
        self.losses
            .values()
            .map(|loss| loss.packets + loss.outages)
            .sum::<u64>()
            + self.unreported_losses()
            + self.undecodable
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Cause;
    use crate::wire::Gap;

    const SECOND: u64 = 1_000_000_000;

    fn frame(at: f64) -> Message<'static> {
        Message::Video {
            stamp: unix(at),
            label: None,
            width: 640,
            height: 480,
            jpeg: b"not a JPEG".as_slice().into(),
        }
    }
    fn unix(seconds: f64) -> UnixNs {
        UnixNs(1_700_000_000 * SECOND + (seconds * 1e9) as u64)
    }

    #[test]
    fn latency_is_measured_by_the_servers_clock() {
        let mut stats = Stats::default();
        // The server's clock is 2 s ahead of ours, 5 ms each way, frames take 30 ms.
        for i in 0..100 {
            let t = f64::from(i) / 10.0;
            stats.add_ping(PingSample {
                asked: unix(t),
                received: unix(t + 2.005),
                sent: unix(t + 2.006),
                answered: unix(t + 0.011),
            });
            stats.add_message(&frame(t + 2.0), unix(t + 0.030));
        }
        let (offset, uncertainty) = stats.clock_offset_ms().expect("there were pings");
        assert!(
            (offset - 2000.0).abs() < 0.01 && (uncertainty - 5.0).abs() < 0.01,
            "{offset} {uncertainty}"
        );
        assert!(
            (stats
                .video
                .latency_ms
                .quantile(0.5)
                .expect("there were frames")
                - 30.0)
                .abs()
                < 0.01
        );
        assert!((stats.video.rate().expect("there were frames") - 10.0).abs() < 1e-6);
    }

    #[test]
    fn latency_with_drifting_clocks_stays_correct() {
        let mut stats = Stats::default();
        for i in 0..36_000 {
            let t = f64::from(i) / 10.0;
            let ahead = t * 100e-6;
            stats.add_ping(PingSample {
                asked: unix(t),
                received: unix(t + ahead + 0.001),
                sent: unix(t + ahead + 0.001),
                answered: unix(t + 0.002),
            });
            stats.add_message(&frame(t + ahead), unix(t + 0.030));
        }
        let worst = stats
            .video
            .latency_ms
            .quantile(1.0)
            .expect("there were frames");
        assert!(
            (worst - 30.0).abs() < 3.1,
            "100 ppm are 360 ms in an hour, 3 ms in the last half minute: {worst}"
        );
    }

    #[test]
    fn delivered_fps_counts_silence() {
        let mut stats = Stats::default();
        stats.advance_to(unix(0.0));
        for i in 0..=30 {
            stats.add_message(&frame(f64::from(i) / 15.0), unix(f64::from(i) / 15.0));
        }
        assert!((stats.delivered_fps().expect("there were frames") - 15.0).abs() < 0.01);
        stats.advance_to(unix(8.0));
        let rate = stats.delivered_fps().expect("there were frames");
        assert!((rate - 30.0 / 7.87).abs() < 0.01, "{rate}");
        assert!(
            (stats
                .longest_silence_ms(&stats.video)
                .expect("there were frames")
                - 6000.0)
                .abs()
                < 1.0
        );
    }

    #[test]
    fn clock_drift_is_the_slope_of_the_offsets() {
        let mut stats = Stats::default();
        for i in 0..300 {
            let t = f64::from(i) / 10.0;
            let ahead = 1.0 + t * 50e-6;
            stats.add_ping(PingSample {
                asked: unix(t),
                received: unix(t + ahead),
                sent: unix(t + ahead),
                answered: unix(t),
            });
        }
        let (drift, error) = stats.clock_drift_ppm().expect("there are enough pings");
        assert!((drift - 50.0).abs() < 0.5 && error < 0.5, "{drift} {error}");
    }

    #[test]
    fn gaps_are_counted_by_stream_and_cause() {
        let mut stats = Stats::default();
        let gap = |count: Option<u64>, cause: Cause| Event::Gap {
            stream: MediaKind::Video,
            gap: Gap {
                count,
                seconds: count.is_none().then_some(1.5),
                cause: cause.into(),
            },
        };
        for (event, _) in [
            (gap(Some(3), Cause::Driver), ()),
            (gap(Some(4), Cause::Driver), ()),
            (gap(None, Cause::SourceAway), ()),
        ] {
            stats.add_message(
                &Message::Event {
                    stamp: unix(0.0),
                    event,
                },
                unix(0.0),
            );
        }
        assert_eq!(stats.total_losses(), 8);
        let away = stats.losses[&(MediaKind::Video, Cause::SourceAway.into())];
        assert_eq!((away.outages, away.seconds), (1, 1.5));
    }

    #[test]
    fn unreported_losses_are_skipped_numbers_without_a_gap_event() {
        let mut stats = Stats::default();
        let numbered = |sequence| Message::Audio {
            stamp: unix(f64::from(sequence)),
            label: Some(Label {
                sequence,
                gap: false,
            }),
            format: Some(AudioFormat {
                rate_hz: 48_000,
                channels: 1,
            }),
            pcm: [0; 2].as_slice().into(),
        };
        stats.add_message(&numbered(10), unix(10.0));
        stats.add_message(
            &Message::Event {
                stamp: unix(13.0),
                event: Event::Gap {
                    stream: MediaKind::Audio,
                    gap: Gap {
                        count: Some(2),
                        seconds: None,
                        cause: Cause::Ring.into(),
                    },
                },
            },
            unix(13.0),
        );
        stats.add_message(&numbered(13), unix(13.0));
        assert_eq!(stats.audio.unreported, 0);
        stats.add_message(&numbered(17), unix(17.0));
        assert_eq!(
            (stats.audio.unreported, stats.total_losses()),
            (3, 5),
            "reported and unreported losses both count"
        );
    }

    #[test]
    fn unreported_losses_exclude_decimated_frames() {
        let mut stats = Stats {
            is_decimated: true,
            ..Stats::default()
        };
        for sequence in [1, 4, 7] {
            let stamp = unix(f64::from(sequence));
            let label = Some(Label {
                sequence,
                gap: false,
            });
            stats.add_message(
                &Message::Video {
                    stamp,
                    label,
                    width: 1,
                    height: 1,
                    jpeg: b"".as_slice().into(),
                },
                stamp,
            );
        }
        assert_eq!(stats.total_losses(), 0);
    }

    #[test]
    fn non_monotonic_excludes_clock_steps() {
        let mut stats = Stats::default();
        stats.add_message(&frame(10.0), unix(10.0));
        stats.add_message(
            &Message::Event {
                stamp: unix(0.0),
                event: Event::ClockStep {
                    stream: MediaKind::Video,
                    seconds: -10.0,
                },
            },
            unix(10.0),
        );
        stats.add_message(&frame(0.1), unix(10.1));
        assert_eq!((stats.video.non_monotonic, stats.clock_steps()), (0, 1));
        stats.add_message(&frame(0.0), unix(10.2));
        assert_eq!(stats.video.non_monotonic, 1);
    }
}
