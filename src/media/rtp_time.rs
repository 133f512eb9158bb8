//! Capture times as RTP timestamps. Pure.

use super::{MonoNs, OPUS_PACKET};

/// An instant in ticks of an RTP clock.
pub fn rtp_timestamp(at: MonoNs, rate_hz: u64) -> u64 {
    (u128::from(at.0) * u128::from(rate_hz) / 1_000_000_000) as u64
}

/// RTP timestamps of audio: packets follow each other without a sample between them, as players
/// expect, and are realigned to their capture times when the two are half a packet apart (a gap, or
/// a microphone's clock that drifts).
#[derive(Default)]
pub struct AudioRtpClock(Option<u64>);

impl AudioRtpClock {
    pub const RATE_HZ: u64 = 48_000;
    const PACKET: u64 = Self::RATE_HZ * OPUS_PACKET.as_millis() as u64 / 1000;

    /// The timestamp of the next packet. `stamp`: its capture time, in ticks.
    pub fn next(&mut self, stamp: u64) -> u64 {
        let at = match self.0 {
            Some(last) => {
                last + (stamp.saturating_sub(last) + Self::PACKET / 2) / Self::PACKET.max(1)
                    * Self::PACKET
            }
            None => stamp,
        };
        let at = self.0.map_or(at, |last| at.max(last + Self::PACKET));
        self.0 = Some(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_rtp_clock_is_continuous_until_stamps_are_half_a_packet_away() {
        let mut clock = AudioRtpClock::default();
        let placed: Vec<u64> = [1000, 1961, 2918, 3881, 4840, 10_605, 11_561]
            .map(|stamp| clock.next(stamp))
            .to_vec();
        assert_eq!(placed, [1000, 1960, 2920, 3880, 4840, 10_600, 11_560]);
        // A clock 100 ppm slow: one packet in 10,000 is skipped, none is repeated.
        let mut clock = AudioRtpClock::default();
        let placed: Vec<u64> = (0..20_000u64)
            .map(|n| clock.next(n * 960 + n * 96 / 1000))
            .collect();
        assert!(
            placed
                .windows(2)
                .all(|w| (w[1] - w[0]) % 960 == 0 && w[1] > w[0])
        );
        let off = placed
            .iter()
            .zip(0..20_000u64)
            .map(|(at, n)| at.abs_diff(n * 960 + n * 96 / 1000))
            .max();
        assert!(off.is_some_and(|off| off <= 480), "{off:?}");
    }

    #[test]
    fn rtp_timestamp_is_exact_after_years() {
        let year = 365 * 86_400 * 1_000_000_000u64;
        assert_eq!(
            rtp_timestamp(MonoNs(100 * year), 90_000),
            100 * 365 * 86_400 * 90_000
        );
    }
}
