//! Sound at another rate or with another number of channels than the source's: made once, for all who ask for the same.
//! Knows packets; knows no subscriber.

use super::Packet;
use crate::media::resample::{ResampleError, Resampler};
use crate::media::{MonoNs, Shape, UnixNs};
use std::fmt;
use std::sync::Arc;

/// What is asked for; `None`: as the source has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub rate_hz: Option<u32>,
    /// 1 or 2.
    pub channels: Option<u16>,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rate_hz, self.channels) {
            (Some(rate), Some(channels)) => {
                write!(f, "audio_rate={rate}&audio_channels={channels}")
            }
            (Some(rate), None) => write!(f, "audio_rate={rate}"),
            (None, Some(channels)) => write!(f, "audio_channels={channels}"),
            (None, None) => f.write_str("neither"),
        }
    }
}

/// Makes the packets of one view out of the source's, one for one.
pub struct Conversion {
    pub view: View,
    /// Subscribers that read it.
    pub readers: usize,
    chain: Option<Chain>,
    /// The shape that could not be converted, which was said once.
    failed: Option<Shape>,
    /// How far the view's numbers are behind the source's: by the packets that made no output (the filter was filling),
    /// less those that [`Chain::finish`] made besides.
    behind: i64,
}

/// The way from one shape to another.
struct Chain {
    from: Sound,
    to: Sound,
    /// `None`: the rates are equal.
    resampler: Option<Resampler>,
    /// The packet converted last.
    before: Arc<Packet>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Sound {
    rate_hz: u32,
    channels: u16,
}

impl Conversion {
    pub fn new(view: View) -> Self {
        Self {
            view,
            readers: 0,
            chain: None,
            failed: None,
            behind: 0,
        }
    }

    /// What the next packet of the source gives: the very same packet where nothing is to be done. `None` in the second
    /// place while the filter fills: less than 20 ms of sound at the start and after each gap, where it starts anew so that no
    /// sound is smeared over a hole. In the first place stands what was left in the filter before the gap. An error is given
    /// once for each shape of the source.
    pub fn convert(
        &mut self,
        packet: &Arc<Packet>,
    ) -> Result<[Option<Arc<Packet>>; 2], ResampleError> {
        if self.failed == Some(packet.shape) {
            return Ok([None, None]);
        }
        self.try_convert(packet)
            .inspect_err(|_| self.failed = Some(packet.shape))
    }

    fn try_convert(
        &mut self,
        packet: &Arc<Packet>,
    ) -> Result<[Option<Arc<Packet>>; 2], ResampleError> {
        let Shape::Audio { rate_hz, channels } = packet.shape else {
            return Ok([None, None]);
        };
        let from = Sound {
            rate_hz,
            channels: channels.max(1),
        };
        let to = Sound {
            rate_hz: self.view.rate_hz.unwrap_or(rate_hz),
            channels: self.view.channels.unwrap_or(channels).max(1),
        };
        let rest = self
            .chain
            .as_mut()
            .filter(|chain| (chain.from, chain.to) != (from, to) || !chain.is_followed_by(packet));
        let rest = rest.and_then(|chain| Some((chain.finish()?, chain.to, chain.before.clone())));
        let rest = rest.map(|((samples, before_end_ns), to, before)| {
            self.behind -= 1;
            let length_ns = before.duration().unwrap_or_default().as_nanos() as i64;
            self.made_of(&before, &samples, length_ns - before_end_ns, to)
        });
        if self
            .chain
            .as_ref()
            .is_none_or(|chain| (chain.from, chain.to) != (from, to))
        {
            let resampler = if from.rate_hz == to.rate_hz {
                None
            } else {
                Some(Resampler::new(
                    from.rate_hz,
                    to.rate_hz,
                    from.channels.min(to.channels),
                )?)
            };
            self.chain = Some(Chain {
                from,
                to,
                resampler,
                before: packet.clone(),
            });
        }
        let Some(chain) = &mut self.chain else {
            return Ok([rest, None]);
        };
        if from == to && self.behind == 0 {
            return Ok([rest, Some(packet.clone())]);
        }
        let (samples, offset_ns) = chain.convert(packet);
        if samples.is_empty() {
            self.behind += 1;
            return Ok([rest, None]);
        }
        Ok([rest, Some(self.made_of(packet, &samples, offset_ns, to))])
    }

    /// The view's packet of `samples`, the first of which was captured `offset_ns` after the source packet's first.
    fn made_of(&self, packet: &Packet, samples: &[i16], offset_ns: i64, to: Sound) -> Arc<Packet> {
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        Arc::new(packet.converted(
            packet.sequence.saturating_add_signed(-self.behind),
            MonoNs(packet.capture_time.0.saturating_add_signed(offset_ns)),
            UnixNs(packet.stamp.0.saturating_add_signed(offset_ns)),
            Shape::Audio {
                rate_hz: to.rate_hz,
                channels: to.channels,
            },
            bytes.into(),
        ))
    }
}

impl Chain {
    /// Whether no sound is missing between the packet converted last and `packet`.
    fn is_followed_by(&self, packet: &Packet) -> bool {
        self.before.missing == packet.missing && packet.sequence == self.before.sequence + 1
    }

    /// Samples, and how much later than the packet the first of them was captured.
    fn convert(&mut self, packet: &Arc<Packet>) -> (Vec<i16>, i64) {
        self.before = packet.clone();
        let input = packet
            .payload
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]));
        let (from, to) = (self.from.channels, self.to.channels);
        let mut samples: Vec<i16> = input.collect();
        // Fewer channels are resampled, not more.
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

    /// What the filter still holds, and how long before the end of the packet converted last its first sample was captured;
    /// `None`: nothing. The next packet begins anew.
    fn finish(&mut self) -> Option<(Vec<i16>, i64)> {
        let mut samples = Vec::new();
        let before_end_ns = self.resampler.as_mut()?.finish(&mut samples);
        (!samples.is_empty()).then(|| (self.widen(samples), before_end_ns))
    }

    fn widen(&self, samples: Vec<i16>) -> Vec<i16> {
        let resampled = self.from.channels.min(self.to.channels);
        if self.to.channels > resampled {
            spread(&samples, resampled, self.to.channels)
        } else {
            samples
        }
    }
}

/// Each output channel is the mean of the input channels that fall to it: for one, of all.
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

/// The input channels again and again, until there are enough.
fn spread(samples: &[i16], from: u16, to: u16) -> Vec<i16> {
    let (from, to) = (usize::from(from), usize::from(to));
    samples
        .chunks_exact(from)
        .flat_map(|frame| frame.iter().copied().cycle().take(to))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::*;
    use crate::media::{Losses, PacketMeta};

    const PACKET_FRAMES: u64 = 960;

    fn hub() -> Arc<Hub> {
        let backlog = Backlog {
            packets: 1000,
            bytes: 1 << 30,
        };
        let audio = Some(StreamPlan {
            encodings: vec![Encoding::Pcm],
            fps: None,
            backlog,
        });
        Arc::new(Hub::new(
            Plan { video: None, audio },
            Sample {
                before: MonoNs(0),
                unix: UnixNs(0),
                after: MonoNs(0),
            },
        ))
    }

    fn ask(
        hub: &Arc<Hub>,
        rate_hz: Option<u32>,
        channels: Option<u16>,
    ) -> Result<Subscription, TooManyViews> {
        hub.subscribe(&Request {
            video: None,
            audio: Some(Feed::Viewed(View { rate_hz, channels })),
            delivery: crate::wire::Delivery::All,
            max_fps: None,
            events: false,
        })
    }

    /// Packet `k` of an endless 48 kHz recording; `sample` gives the sound of each frame.
    fn publish(hub: &Hub, k: u64, channels: u16, sample: impl Fn(u64, u16) -> i16) {
        let frames = k * PACKET_FRAMES..(k + 1) * PACKET_FRAMES;
        let bytes: Vec<u8> = frames
            .flat_map(|n| (0..channels).map(move |c| (n, c)))
            .flat_map(|(n, c)| sample(n, c).to_le_bytes())
            .collect();
        let meta = PacketMeta {
            generation: 1,
            sequence: k,
            capture_time: MonoNs(1_000_000_000 + k * 20_000_000),
            shape: Shape::Audio {
                rate_hz: 48_000,
                channels,
            },
            keyframe: true,
            losses: Losses::default(),
        };
        hub.publish(Encoding::Pcm, &meta, bytes.into(), MonoNs(u64::MAX / 2));
    }

    fn taken(subscription: &Subscription) -> Vec<(Arc<Packet>, Vec<Gap>)> {
        let item = |item| match item {
            Item::Packet { packet, gaps, .. } => (packet, gaps),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| subscription.take(true))
            .map(item)
            .collect()
    }

    fn samples(packet: &Packet) -> Vec<i16> {
        packet
            .payload
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]))
            .collect()
    }

    #[test]
    fn a_click_stays_at_its_instant_whatever_the_rate() {
        const CLICK: u64 = 5 * PACKET_FRAMES + 123;
        let at_ns = 1e9 + CLICK as f64 * 1e9 / 48_000.0;
        for rate in [8_000, 16_000, 44_100] {
            let hub = hub();
            let view = ask(&hub, Some(rate), None).unwrap();
            (0..12).for_each(|k| publish(&hub, k, 1, |n, _| if n == CLICK { 30_000 } else { 0 }));
            let (mut peak, mut found_ns, mut next_ns) = (0, 0.0, None);
            for (packet, gaps) in taken(&view) {
                assert_eq!(
                    (gaps, packet.shape),
                    (
                        vec![],
                        Shape::Audio {
                            rate_hz: rate,
                            channels: 1
                        }
                    )
                );
                let start_ns = packet.capture_time.0 as f64;
                if let Some(next_ns) = next_ns
                    .replace(start_ns + packet.payload.len() as f64 / 2.0 * 1e9 / f64::from(rate))
                {
                    let off: f64 = next_ns - start_ns;
                    assert!(
                        off.abs() < 100_000.0,
                        "{rate} Hz: a packet begins {off} ns off the end of the one before"
                    );
                }
                for (n, sample) in samples(&packet).into_iter().enumerate() {
                    if sample > peak {
                        (peak, found_ns) = (sample, start_ns + n as f64 * 1e9 / f64::from(rate));
                    }
                }
            }
            let off = (found_ns - at_ns).abs();
            assert!(
                off <= 0.5e9 / f64::from(rate) + 1_000.0,
                "{rate} Hz: the click is {off} ns off"
            );
        }
    }

    #[test]
    fn a_view_is_made_once_for_all_who_ask_and_not_at_all_where_nothing_is_to_do() {
        let hub = hub();
        let (one, two) = (
            ask(&hub, Some(16_000), None).unwrap(),
            ask(&hub, Some(16_000), None).unwrap(),
        );
        let (same, raw) = (
            ask(&hub, Some(48_000), Some(1)).unwrap(),
            ask(&hub, None, None).unwrap(),
        );
        (0..4).for_each(|k| publish(&hub, k, 1, |n, _| n as i16));
        for ((a, _), (b, _)) in taken(&one)
            .iter()
            .zip(taken(&two))
            .chain(taken(&same).iter().zip(taken(&raw)))
        {
            assert!(Arc::ptr_eq(a, &b));
        }
    }

    #[test]
    fn numbers_stay_exact_through_gaps_and_the_filters_start() {
        let hub = hub();
        let view = ask(&hub, Some(16_000), None).unwrap();
        for k in (0..10).chain(13..20).chain(25..40) {
            publish(&hub, k, 1, |n, _| (n % 100) as i16);
        }
        let packets = taken(&view);
        let first = packets[0].0.sequence;
        let last = packets.last().unwrap().0.sequence;
        let reported: u64 = packets
            .iter()
            .flat_map(|(_, gaps)| gaps)
            .filter_map(|g| g.count)
            .sum();
        assert_eq!(reported, 8);
        assert_eq!(last - first + 1, packets.len() as u64 + reported);
    }

    #[test]
    fn all_sound_before_a_gap_is_given_and_ends_where_the_gap_begins() {
        for rate in [8_000, 16_000, 44_100] {
            let hub = hub();
            let view = ask(&hub, Some(rate), None).unwrap();
            for k in (0..10).chain(13..20) {
                publish(&hub, k, 1, |_, _| 7_000);
            }
            let packets = taken(&view);
            let end = |packet: &Packet| {
                packet.capture_time.0 + packet.duration().expect("it is sound").as_nanos() as u64
            };
            let gap = packets
                .iter()
                .position(|(_, gaps)| !gaps.is_empty())
                .expect("packets are missing");
            let frame_ns = 1_000_000_000 / u64::from(rate);
            let before = &packets[gap - 1].0;
            assert!(
                end(before).abs_diff(1_200_000_000) <= frame_ns,
                "{rate} Hz: {}",
                end(before)
            );
            assert!(
                packets[gap].0.capture_time.0.abs_diff(1_260_000_000) <= frame_ns,
                "{rate} Hz"
            );
            // Then the filter sees the silence that stands for what follows.
            assert!(
                samples(before)[..samples(before).len() / 8]
                    .iter()
                    .all(|s| (6_900..7_100).contains(s)),
                "{:?}",
                samples(before)
            );
        }
    }

    #[test]
    fn channels_are_mixed_and_spread() {
        let hub = hub();
        let (mono, stereo) = (
            ask(&hub, None, Some(1)).unwrap(),
            ask(&hub, None, Some(2)).unwrap(),
        );
        publish(&hub, 0, 2, |_, c| [1_000, -200][usize::from(c)]);
        assert_eq!(samples(&taken(&mono)[0].0), [400; PACKET_FRAMES as usize]);
        assert_eq!(taken(&stereo)[0].0.payload.len() as u64, PACKET_FRAMES * 4);
        publish(&hub, 1, 1, |n, _| n as i16);
        let spread = samples(&taken(&stereo)[0].0);
        assert_eq!(spread[..4], [960, 960, 961, 961]);
        assert_eq!(
            taken(&mono)[0].0.shape,
            Shape::Audio {
                rate_hz: 48_000,
                channels: 1
            }
        );
    }

    #[test]
    fn there_are_only_so_many_kinds_and_an_unused_one_makes_room() {
        let hub = hub();
        let mut views: Vec<_> = (0..8)
            .map(|k| ask(&hub, Some(8_000 + k), None).unwrap())
            .collect();
        let error = ask(&hub, Some(9_000), None)
            .err()
            .expect("the ninth kind")
            .to_string();
        assert!(error.contains("audio_rate=8007"), "{error}");
        views.push(ask(&hub, Some(8_000), None).expect("a kind that is made already"));
        drop(views.remove(3));
        ask(&hub, Some(9_000), None).expect("a place is free");
    }
}
