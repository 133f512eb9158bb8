//! The packets of one encoding on their way through the hub: numbered, stamped, counted; and who wants them. Pure: knows no
//! ring and no queue.

use super::clock_steps::Steps;
use super::fps_meter::Meter;
use super::losses::Tally;
use super::metrics::{Histogram, TrackFigures};
use super::sequencer::{Accepted, Intake};
use super::{Demand, Packet, packet};
use crate::media::clock::{ClockMap, ClockStep};
use crate::media::{Encoding, MonoNs, PacketMeta, UnixNs};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Far more than rounding can make, far less than the smallest clock step.
const ROUNDING_NS: u64 = 1_000;

pub struct Track {
    pub encoding: Encoding,
    intake: Intake,
    last_stamp: Option<UnixNs>,
    /// Its readers get them with the packets.
    pub steps: Steps,
    pub last_sequence: Option<u64>,
    /// For whoever asks for a picture and not for the stream. It stays when the last reader leaves: its age says whether it
    /// will do.
    pub latest: Option<Arc<Packet>>,
    packets: u64,
    bytes: u64,
    /// Capture to here.
    latency: Histogram,
    meter: Meter,
    /// Subscribers that read this encoding, or a view made of it.
    readers: usize,
    demand: watch::Sender<Demand>,
}

impl Track {
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            intake: Intake::default(),
            last_stamp: None,
            steps: Steps::default(),
            last_sequence: None,
            latest: None,
            packets: 0,
            bytes: 0,
            latency: Histogram::default(),
            meter: Meter::default(),
            readers: 0,
            demand: watch::Sender::new(Demand::default()),
        }
    }

    /// The next record from the ring. `interval`: the time expected until the next, where its own length does not tell.
    pub fn accept(
        &mut self,
        meta: &PacketMeta,
        payload: &Bytes,
        interval: Duration,
        now: MonoNs,
    ) -> Accepted {
        let length = packet::duration(self.encoding, meta.shape, payload.len()).unwrap_or(interval);
        let accepted = self.intake.accept(meta, length, now);
        if self.readers == 0 {
            // It was under way when the last one left.
            self.intake.pause();
        }
        accepted
    }

    /// The packet that an accepted record makes.
    pub fn packet(
        &mut self,
        accepted: &Accepted,
        meta: &PacketMeta,
        payload: Bytes,
        clock: &ClockMap,
        now: MonoNs,
    ) -> Arc<Packet> {
        let stamp = self.stamp(clock.to_unix(accepted.capture_time));
        self.last_sequence = Some(accepted.sequence);
        self.meter.note(accepted.capture_time);
        self.packets += 1;
        self.bytes += payload.len() as u64;
        self.latency.note(now.since(accepted.capture_time));
        let packet = Arc::new(Packet::new(self.encoding, accepted, stamp, meta, payload));
        self.latest = Some(packet.clone());
        packet
    }

    fn stamp(&mut self, mut stamp: UnixNs) -> UnixNs {
        // Two instants a nanosecond apart may be rounded to one stamp. A stamp further back is a clock that was set.
        if let Some(last) = self
            .last_stamp
            .filter(|last| stamp <= *last && last.0 - stamp.0 < ROUNDING_NS)
        {
            stamp = UnixNs(last.0 + 1);
        }
        self.last_stamp = Some(stamp);
        stamp
    }

    /// The UNIX clock was set. Only who has had packets with the old time is to be told.
    pub fn clock_was_set(&mut self, step: ClockStep) {
        if self.readers > 0 {
            self.steps.add(step);
        }
    }

    /// All that is missing since the server's start.
    pub fn missing(&self) -> &Arc<Tally> {
        self.intake.missing()
    }

    /// When the last packet was captured; zero before the first.
    pub fn capture_time(&self) -> MonoNs {
        self.intake.latest()
    }

    /// Packets per second; `interval`: the time expected between two.
    pub fn rate(&self, now: MonoNs, interval: Duration) -> Option<f64> {
        self.meter.rate(now, interval)
    }

    /// One reader more, or one fewer; tells the worker when the first comes and when the last goes.
    pub fn count_reader(&mut self, joins: bool) {
        self.readers = if joins {
            self.readers + 1
        } else {
            self.readers.saturating_sub(1)
        };
        if !joins && self.readers == 0 {
            // What is not encoded for want of a reader is not missing.
            self.intake.pause();
            self.steps.clear();
            self.meter = Meter::default();
        }
        let wanted = self.readers > 0;
        self.change_demand(|demand| demand.wanted = wanted);
    }

    pub fn demand(&self) -> watch::Receiver<Demand> {
        self.demand.subscribe()
    }

    pub fn change_demand(&self, change: impl FnOnce(&mut Demand)) {
        self.demand.send_if_modified(|demand| {
            let before = *demand;
            change(demand);
            *demand != before
        });
    }

    pub fn figures(&self) -> TrackFigures {
        TrackFigures {
            encoding: self.encoding,
            packets: self.packets,
            bytes: self.bytes,
            latency: self.latency.read(),
        }
    }
}
