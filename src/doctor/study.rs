//! What a viewer can learn of a stream from its messages: rates, latency, what is missing, the clocks. Pure: arrival times
//! are arguments.

use super::numbers::{Line, Spread};
use super::test_picture::{Beat, TestPicture};
use crate::wire::{AudioFormat, Cause, Event, Label, MediaKind, Message, UnixNs};
use std::collections::{BTreeMap, VecDeque};

/// One answered ping: the four times of an NTP exchange (RFC 5905, section 8), UNIX ns; the outer two by our clock.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub asked: UnixNs,
    pub received: UnixNs,
    pub sent: UnixNs,
    pub answered: UnixNs,
}

impl Exchange {
    fn round_trip_ns(self) -> i64 {
        delta(self.answered, self.asked) - delta(self.sent, self.received)
    }

    /// The server's clock less ours; wrong by at most half the round trip.
    fn offset_ns(self) -> i64 {
        (delta(self.received, self.asked) + delta(self.sent, self.answered)) / 2
    }
}

fn delta(a: UnixNs, b: UnixNs) -> i64 {
    a.0.wrapping_sub(b.0) as i64
}

/// One stream's packets.
#[derive(Debug, Default)]
pub struct Packets {
    pub count: u64,
    pub bytes: u64,
    last_stamp: Option<UnixNs>,
    /// The steps between stamps together.
    stamped_ns: i64,
    /// Steps between stamps, ms.
    pub steps_ms: Spread,
    /// Capture to arrival here, ms, by the server's clock; sound counts from a packet's end.
    pub latency_ms: Spread,
    first_arrival: Option<UnixNs>,
    last_arrival: Option<UnixNs>,
    /// The longest time between two arrivals.
    longest_silence_ns: i64,
    /// Stamps that did not grow though no clock step was told.
    pub backwards: u64,
    pub clock_steps: u64,
    /// Packets that are missing by their numbers and that no event told of.
    pub unreported: u64,
    last_sequence: Option<u32>,
    /// Missing packets told of since the last packet.
    reported: u64,
}

impl Packets {
    fn note(&mut self, stamp: UnixNs, label: Option<Label>, bytes: usize, arrived: UnixNs) {
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
            let step = delta(stamp, last);
            self.steps_ms.add(step as f64 / 1e6);
            self.stamped_ns += step;
            self.backwards += u64::from(step <= 0);
        }
        if let Some(last) = self.last_arrival.replace(arrived) {
            self.longest_silence_ns = self.longest_silence_ns.max(delta(arrived, last));
        }
        self.first_arrival.get_or_insert(arrived);
    }

    /// Packets per second of stamps, while the stream was there.
    pub fn rate(&self) -> Option<f64> {
        let seconds = self.stamped_ns as f64 / 1e9;
        (self.count > 1 && seconds > 0.0).then(|| (self.count - 1) as f64 / seconds)
    }

    /// Packets per second of the whole `watched` time (from, to): a stream that came late, or fell silent, counts as one
    /// that delivered nothing then. Two packets' time is allowed at either end.
    pub fn rate_over(&self, watched: (UnixNs, UnixNs)) -> Option<f64> {
        let steps = self.count.checked_sub(1)?;
        let allowed = 2 * self.stamped_ns.checked_div(steps as i64)?;
        let before = delta(self.first_arrival?, watched.0) - allowed;
        let after = delta(watched.1, self.last_arrival?) - allowed;
        let seconds = (self.stamped_ns + before.max(0) + after.max(0)) as f64 / 1e9;
        (seconds > 0.0).then(|| steps as f64 / seconds)
    }

    /// The longest time without a packet, ms, the time from the last one to `until` included.
    pub fn longest_silence_ms(&self, until: UnixNs) -> Option<f64> {
        Some(
            self.longest_silence_ns
                .max(delta(until, self.last_arrival?)) as f64
                / 1e6,
        )
    }
}

/// What is missing, for one cause.
#[derive(Clone, Copy, Debug, Default)]
pub struct Missing {
    pub packets: u64,
    pub absences: u64,
    pub seconds: f64,
}

#[derive(Debug, Default)]
pub struct Study {
    pub video: Packets,
    pub audio: Packets,
    /// Width and height of the last frame, pixels.
    pub size: Option<(u16, u16)>,
    /// Rate and channels of the last sound.
    pub sound: Option<AudioFormat>,
    pub missing: BTreeMap<(MediaKind, Cause), Missing>,
    pub sources_lost: u64,
    pub undecodable: u64,
    /// Fewer pictures were asked for than there are, so that numbers are skipped by wish.
    pub thinned: bool,
    /// Of all exchanges: when, seconds from the beginning, and what.
    exchanges: Vec<(f64, Exchange)>,
    /// Those of the last [`OFFSET_WINDOW_NS`].
    recent: VecDeque<Exchange>,
    watched: Option<(UnixNs, UnixNs)>,
    test: TestPicture,
}

/// Two clocks that drift by 50 ppm part by 1.5 ms in this time.
const OFFSET_WINDOW_NS: i64 = 30_000_000_000;

impl Study {
    pub fn message(&mut self, message: &Message<'_>, arrived: UnixNs) {
        self.watching(arrived);
        let offset_ns = self
            .recent
            .iter()
            .min_by_key(|e| e.round_trip_ns())
            .map(|e| e.offset_ns());
        // Unknown before the first exchange.
        let latency_ms = |stamp: UnixNs, length_ns: u64| {
            Some((delta(arrived, stamp) - length_ns as i64 + offset_ns?) as f64 / 1e6)
        };
        match message {
            Message::Video {
                stamp,
                label,
                width,
                height,
                jpeg,
            } => {
                self.video.note(*stamp, *label, jpeg.len(), arrived);
                self.video.latency_ms.extend(latency_ms(*stamp, 0));
                self.size = Some((*width, *height));
                self.test.frame(*stamp, jpeg);
            }
            Message::Audio {
                stamp,
                label,
                format,
                pcm,
            } => {
                self.sound = format.or(self.sound);
                let (rate_hz, channels) = self.sound.map_or((0, 1), |f| (f.rate_hz, f.channels));
                let frames = pcm.len() as u64 / 2 / u64::from(channels.max(1));
                let length_ns = frames
                    .saturating_mul(1_000_000_000)
                    .checked_div(u64::from(rate_hz))
                    .unwrap_or(0);
                self.audio.note(*stamp, *label, pcm.len(), arrived);
                self.audio.latency_ms.extend(latency_ms(*stamp, length_ns));
                self.test.sound(*stamp, pcm, rate_hz, channels);
            }
            Message::Event { event, .. } => self.event(event),
            Message::Pong { .. } => {}
        }
    }

    /// Each stream is told of each.
    pub fn clock_steps(&self) -> u64 {
        self.video.clock_steps.max(self.audio.clock_steps)
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Gap { stream, gap } => {
                let key = (*stream, gap.cause.clone());
                let missing = self.missing.entry(key).or_default();
                let packets = gap.count.unwrap_or(0);
                missing.packets += packets;
                missing.absences += u64::from(gap.count.is_none());
                missing.seconds += gap.seconds.unwrap_or(0.0);
                match stream {
                    MediaKind::Video => self.video.reported += packets,
                    MediaKind::Audio => self.audio.reported += packets,
                }
            }
            Event::ClockStep { stream, .. } => {
                let packets = match stream {
                    MediaKind::Video => &mut self.video,
                    MediaKind::Audio => &mut self.audio,
                };
                packets.clock_steps += 1;
                packets.last_stamp = None;
            }
            Event::SourceLost { .. } => self.sources_lost += 1,
            Event::SourceBack { .. } | Event::Format { .. } | Event::Other(_) => {}
        }
    }

    pub fn exchange(&mut self, exchange: Exchange) {
        self.watching(exchange.asked);
        self.watching(exchange.answered);
        let (began, now) = self.watched.unwrap_or((exchange.asked, exchange.answered));
        self.exchanges
            .push((delta(exchange.answered, began) as f64 / 1e9, exchange));
        self.recent.push_back(exchange);
        while self
            .recent
            .front()
            .is_some_and(|e| delta(now, e.answered) > OFFSET_WINDOW_NS)
        {
            self.recent.pop_front();
        }
    }

    /// The stream has been watched until `now`, whether anything came or not.
    pub fn watching(&mut self, now: UnixNs) {
        let (began, _) = self.watched.unwrap_or((now, now));
        self.watched = Some((began, now));
    }

    /// Frames per second of the whole time that was watched; silence counts.
    pub fn delivered_fps(&self) -> Option<f64> {
        self.video.rate_over(self.watched?)
    }

    pub fn longest_silence_ms(&self, packets: &Packets) -> Option<f64> {
        packets.longest_silence_ms(self.watched?.1)
    }

    /// The server's clock less ours now and half the round trip, ms, from the quickest exchange of the last half minute;
    /// `None` before the first.
    pub fn clock_offset_ms(&self) -> Option<(f64, f64)> {
        let best = self.recent.iter().min_by_key(|e| e.round_trip_ns())?;
        Some((
            best.offset_ns() as f64 / 1e6,
            best.round_trip_ns() as f64 / 2e6,
        ))
    }

    /// How the two clocks drift apart and the standard error of that, parts per million; `None` before there is enough to say.
    pub fn clock_drift_ppm(&self) -> Option<(f64, f64)> {
        const WORTH_SAYING_PPM: f64 = 10.0;
        // A slow exchange says little of the offset, and most of their error is one-sided.
        let quickest = self
            .exchanges
            .iter()
            .map(|(_, e)| e.round_trip_ns())
            .min()?;
        let quick = self
            .exchanges
            .iter()
            .filter(|(_, e)| e.round_trip_ns() <= quickest + quickest / 2);
        let line = Line::through(quick.map(|(at, e)| (*at, e.offset_ns() as f64 / 1e3)))?;
        (line.error < WORTH_SAYING_PPM).then_some((line.slope, line.error))
    }

    /// How much later a picture arrives than the sound of the same moment, ms (medians).
    pub fn av_offset_ms(&self) -> Option<f64> {
        Some(self.video.latency_ms.quantile(0.5)? - self.audio.latency_ms.quantile(0.5)?)
    }

    /// Packets and absences that were told of, packets that are missing without a word, and messages that could not be read.
    pub fn missing_things(&self) -> u64 {
        self.missing
            .values()
            .map(|m| m.packets + m.absences)
            .sum::<u64>()
            + self.untold()
            + self.undecodable
    }

    /// Packets that are missing by their numbers and that no event told of.
    pub fn untold(&self) -> u64 {
        self.audio.unreported
            + if self.thinned {
                0
            } else {
                self.video.unreported
            }
    }

    pub fn backwards(&self) -> u64 {
        self.video.backwards + self.audio.backwards
    }

    /// The stamp less the time code in the test picture, µs: what the whole chain adds to the truth.
    pub fn stamp_error_us(&self) -> &Spread {
        &self.test.stamp_error_us
    }

    /// The flash's stamp less the beep's, ms.
    pub fn flash_to_beep_ms(&self) -> &Spread {
        &self.test.flash_to_beep_ms
    }

    /// Whether this is the test picture: its time code could be read.
    pub fn is_test_picture(&self) -> bool {
        self.test.stamp_error_us.count() > 0
    }

    pub fn beats(&self) -> Beat {
        self.test.beats
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
            jpeg: b"no picture".as_slice().into(),
        }
    }
    fn unix(seconds: f64) -> UnixNs {
        UnixNs(1_700_000_000 * SECOND + (seconds * 1e9) as u64)
    }

    #[test]
    fn latency_is_by_the_servers_clock() {
        let mut study = Study::default();
        // The server's clock is 2 s ahead of ours, 5 ms each way, frames take 30 ms.
        for i in 0..100 {
            let t = f64::from(i) / 10.0;
            study.exchange(Exchange {
                asked: unix(t),
                received: unix(t + 2.005),
                sent: unix(t + 2.006),
                answered: unix(t + 0.011),
            });
            study.message(&frame(t + 2.0), unix(t + 0.030));
        }
        let (offset, uncertainty) = study.clock_offset_ms().expect("there were exchanges");
        assert!(
            (offset - 2000.0).abs() < 0.01 && (uncertainty - 5.0).abs() < 0.01,
            "{offset} {uncertainty}"
        );
        assert!(
            (study
                .video
                .latency_ms
                .quantile(0.5)
                .expect("there were frames")
                - 30.0)
                .abs()
                < 0.01
        );
        assert!((study.video.rate().expect("there were frames") - 10.0).abs() < 1e-6);
    }

    #[test]
    fn latency_stays_right_while_the_clocks_drift_apart() {
        let mut study = Study::default();
        for i in 0..36_000 {
            let t = f64::from(i) / 10.0;
            let ahead = t * 100e-6;
            study.exchange(Exchange {
                asked: unix(t),
                received: unix(t + ahead + 0.001),
                sent: unix(t + ahead + 0.001),
                answered: unix(t + 0.002),
            });
            study.message(&frame(t + ahead), unix(t + 0.030));
        }
        let worst = study
            .video
            .latency_ms
            .quantile(1.0)
            .expect("there were frames");
        assert!(
            (worst - 30.0).abs() < 3.1,
            "an hour at 100 ppm are 360 ms, the last half minute is 3: {worst}"
        );
    }

    #[test]
    fn a_stream_that_fell_silent_has_not_the_rate_it_had() {
        let mut study = Study::default();
        study.watching(unix(0.0));
        for i in 0..=30 {
            study.message(&frame(f64::from(i) / 15.0), unix(f64::from(i) / 15.0));
        }
        assert!((study.delivered_fps().expect("there were frames") - 15.0).abs() < 0.01);
        study.watching(unix(8.0));
        let rate = study.delivered_fps().expect("there were frames");
        assert!((rate - 30.0 / 7.87).abs() < 0.01, "{rate}");
        assert!(
            (study
                .longest_silence_ms(&study.video)
                .expect("there were frames")
                - 6000.0)
                .abs()
                < 1.0
        );
    }

    #[test]
    fn drift_of_the_clocks_is_found() {
        let mut study = Study::default();
        for i in 0..300 {
            let t = f64::from(i) / 10.0;
            let ahead = 1.0 + t * 50e-6;
            study.exchange(Exchange {
                asked: unix(t),
                received: unix(t + ahead),
                sent: unix(t + ahead),
                answered: unix(t),
            });
        }
        let (drift, error) = study.clock_drift_ppm().expect("there is a line");
        assert!((drift - 50.0).abs() < 0.5 && error < 0.5, "{drift} {error}");
    }

    #[test]
    fn gaps_are_counted_by_stream_and_cause() {
        let mut study = Study::default();
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
            study.message(
                &Message::Event {
                    stamp: unix(0.0),
                    event,
                },
                unix(0.0),
            );
        }
        assert_eq!(study.missing_things(), 8);
        let away = study.missing[&(MediaKind::Video, Cause::SourceAway.into())];
        assert_eq!((away.absences, away.seconds), (1, 1.5));
    }

    #[test]
    fn a_missing_number_that_nobody_told_of_is_found() {
        let mut study = Study::default();
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
        study.message(&numbered(10), unix(10.0));
        study.message(
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
        study.message(&numbered(13), unix(13.0));
        assert_eq!(study.audio.unreported, 0);
        study.message(&numbered(17), unix(17.0));
        assert_eq!(
            (study.audio.unreported, study.missing_things()),
            (3, 5),
            "what is told and what is not, both are missing"
        );
    }

    #[test]
    fn numbers_skipped_because_fewer_pictures_were_asked_for_are_not_missing() {
        let mut study = Study {
            thinned: true,
            ..Study::default()
        };
        for sequence in [1, 4, 7] {
            let stamp = unix(f64::from(sequence));
            let label = Some(Label {
                sequence,
                gap: false,
            });
            study.message(
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
        assert_eq!(study.missing_things(), 0);
    }

    #[test]
    fn a_told_clock_step_is_no_stamp_that_runs_backwards() {
        let mut study = Study::default();
        study.message(&frame(10.0), unix(10.0));
        study.message(
            &Message::Event {
                stamp: unix(0.0),
                event: Event::ClockStep {
                    stream: MediaKind::Video,
                    seconds: -10.0,
                },
            },
            unix(10.0),
        );
        study.message(&frame(0.1), unix(10.1));
        assert_eq!((study.video.backwards, study.clock_steps()), (0, 1));
        study.message(&frame(0.0), unix(10.2));
        assert_eq!(study.video.backwards, 1);
    }
}
