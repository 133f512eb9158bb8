//! A microphone of USB Audio Class 1: 48 kHz, one channel, 16 bits, playing 440 Hz. On a busy host
//! it is served late and starves, so it is good for identity, unplugging and stalls, not for
//! judging audio.

use crate::descriptors::{self, descriptor};
use crate::usbip::{Link, Submit};
use crate::{Answer, Function, Mode, Setup};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

const CLASS_AUDIO: u8 = 1;
const RATE_HZ: usize = 48_000;
const TONE_HZ: f64 = 440.0;
/// One packet is a millisecond.
const PACKET_SAMPLES: usize = RATE_HZ / 1000;
const PACKET_BYTES: usize = PACKET_SAMPLES * 2;
/// A host that asked for nothing for so long has stopped listening.
const LISTENING: Duration = Duration::from_millis(100);

pub struct Microphone {
    /// One second of the tone, which is whole periods.
    tone: Vec<u8>,
    sample: usize,
    /// When the first packet of this run was due, and how many have gone since.
    running: Option<(Instant, u64)>,
    /// When the host last had a transfer waiting.
    wanted: Instant,
}

impl Microphone {
    pub fn new() -> Self {
        let step = std::f64::consts::TAU * TONE_HZ / RATE_HZ as f64;
        let tone = (0..RATE_HZ)
            .flat_map(|i| ((8000.0 * (step * i as f64).sin()) as i16).to_le_bytes())
            .collect();
        Self {
            tone,
            sample: 0,
            running: None,
            wanted: Instant::now(),
        }
    }

    fn take(&mut self, samples: usize) -> Vec<u8> {
        let bytes = (self.sample..self.sample + samples)
            .flat_map(|i| [self.tone[i % RATE_HZ * 2], self.tone[i % RATE_HZ * 2 + 1]])
            .collect();
        self.sample = (self.sample + samples) % RATE_HZ;
        bytes
    }
}

impl Function for Microphone {
    fn device_descriptor(&self) -> Vec<u8> {
        descriptors::device([0, 0, 0], 0x0d8c, 0x0014)
    }

    fn product(&self) -> &'static str {
        "Fake Microphone"
    }

    fn configuration(&self) -> Vec<u8> {
        let rate = (RATE_HZ as u32).to_le_bytes();
        descriptors::configuration(&[
            descriptors::interface(0, 0, 0, [CLASS_AUDIO, 1]),
            // Audio control: header of 30 bytes in all, microphone terminal 1, streaming terminal
            // 2.
            descriptor(&[&[0x24, 1, 0x00, 0x01, 30, 0, 1, 1]]),
            descriptor(&[&[0x24, 2, 1, 0x01, 0x02, 0, 1, 0, 0, 0, 0]]),
            descriptor(&[&[0x24, 3, 2, 0x01, 0x01, 0, 1, 0]]),
            // Audio streaming: silent in setting 0, PCM in setting 1.
            descriptors::interface(1, 0, 0, [CLASS_AUDIO, 2]),
            descriptors::interface(1, 1, 1, [CLASS_AUDIO, 2]),
            descriptor(&[&[0x24, 1, 2, 1, 1, 0]]),
            descriptor(&[&[0x24, 2, 1, 1, 2, 16, 1], &rate[..3]]),
            descriptor(&[&[5, 0x82, 5], &100u16.to_le_bytes(), &[4, 0, 0]]), // isochronous, every millisecond
            descriptor(&[&[0x25, 1, 0, 0, 0, 0]]),
        ])
    }

    /// The one rate is fixed: there is nothing to set.
    fn control(&mut self, _setup: Setup, _data: &[u8]) -> Answer {
        Answer::Refused
    }

    fn deliver(
        &mut self,
        mode: Mode,
        transfers: &mut VecDeque<Submit>,
        link: &mut Link,
    ) -> io::Result<Duration> {
        let now = Instant::now();
        if transfers.is_empty() || mode == Mode::Stall {
            // A host that is only late is caught up with; one that has stopped listening is not.
            if mode == Mode::Stall || now - self.wanted > LISTENING {
                self.running = None;
            }
            return Ok(Duration::MAX);
        }
        self.wanted = now;
        let (began, mut packets) = self.running.unwrap_or((now, 0));
        let mut wait = Duration::MAX;
        while let Some(transfer) = transfers.front() {
            // Audio of a period exists when the period has passed.
            let ready = began + Duration::from_millis(packets + transfer.packet_count() as u64);
            if ready > now {
                wait = ready - now;
                break;
            }
            packets += transfer.packet_count() as u64;
            let bytes = self.take(transfer.packet_count() * PACKET_SAMPLES);
            debug_assert_eq!(bytes.len(), transfer.packet_count() * PACKET_BYTES);
            link.deliver_packets(transfer, &bytes)?;
            transfers.pop_front();
        }
        self.running = Some((began, packets));
        Ok(wait)
    }
}
