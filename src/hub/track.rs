//! One encoding of one stream: numbers, stamps and counts its packets, and counts its readers.
//! Pure.

use super::clock_steps::ClockSteps;
use super::fps_meter::FpsMeter;
use super::losses::NewLosses;
use super::metrics::Histogram;
use super::sequencer::Sequencer;
use super::snapshot::TrackSnapshot;
use super::{Demand, Packet, packet};
use crate::media::clock::{Clock, ClockStep};
use crate::media::{Encoding, MonoNs, PacketMeta, UnixNs};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Far more than rounding can make, far less than the smallest clock step.
const ROUNDING_NS: u64 = 1_000;

pub(super) struct Track {
    pub encoding: Encoding,
    sequencer: Sequencer,
    last_stamp: Option<UnixNs>,
    /// Reported to its readers between the packets.
    steps: ClockSteps,
    pub last_sequence: Option<u64>,
    /// For snapshots. Kept when the last reader leaves: its age says whether it is of use.
    pub latest: Option<Arc<Packet>>,
    packets: u64,
    bytes: u64,
    /// Capture to hub.
    latency: Histogram,
    fps: FpsMeter,
    /// Subscribers that read this track, or audio transcoded from it.
    readers: usize,
    demand: watch::Sender<Demand>,
}

/// A record that became a packet.
pub(super) struct Ingested {
    pub packet: Arc<Packet>,
    /// What was lost between the previous packet and this one.
    pub new_losses: Option<NewLosses>,
    /// Clock steps to report before this packet, oldest first.
    pub due_steps: Vec<ClockStep>,
    /// False: the metadata was implausible and was replaced.
    pub plausible: bool,
}

impl Track {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            sequencer: Sequencer::default(),
            last_stamp: None,
            steps: ClockSteps::default(),
            last_sequence: None,
            latest: None,
            packets: 0,
            bytes: 0,
            latency: Histogram::default(),
            fps: FpsMeter::default(),
            readers: 0,
            demand: watch::Sender::new(Demand::default()),
        }
    }

    /// Takes the next record from the ring. `interval`: the time expected until the next one, where
    /// the packet itself has no duration.
    pub(super) fn ingest(
        &mut self,
        meta: &PacketMeta,
        payload: Bytes,
        interval: Duration,
        clock: &Clock,
        now: MonoNs,
    ) -> Ingested {
        let duration =
            packet::duration(self.encoding, meta.shape, payload.len()).unwrap_or(interval);
        let mut sequenced = self.sequencer.accept(meta, duration, now);
        if self.readers == 0 {
            // It was in the ring when the last reader left.
            self.sequencer.pause();
        }
        let due_steps = std::iter::from_fn(|| self.steps.pop_due(sequenced.capture_time)).collect();
        let stamp = self.next_stamp(clock.unix(sequenced.capture_time));
        self.last_sequence = Some(sequenced.sequence);
        self.fps.record(sequenced.capture_time);
        self.packets += 1;
        self.bytes += payload.len() as u64;
        self.latency.record(now.since(sequenced.capture_time));
        let new_losses = sequenced.new_losses.take();
        let packet = Arc::new(Packet::new(self.encoding, &sequenced, stamp, meta, payload));
        self.latest = Some(packet.clone());
        Ingested {
            packet,
            new_losses,
            due_steps,
            plausible: sequenced.plausible,
        }
    }

    fn next_stamp(&mut self, mut stamp: UnixNs) -> UnixNs {
        // Two instants a nanosecond apart may be rounded to one stamp. A stamp that is further back
        // is due to a clock that was set.
        if let Some(last) = self
            .last_stamp
            .filter(|last| stamp <= *last && last.0 - stamp.0 < ROUNDING_NS)
        {
            stamp = UnixNs(last.0 + 1);
        }
        self.last_stamp = Some(stamp);
        stamp
    }

    /// The UNIX clock was set. Reported only to readers that had packets with the old time.
    pub(super) fn clock_stepped(&mut self, step: ClockStep) {
        if self.readers > 0 {
            self.steps.push(step);
        }
    }

    /// Packets per second; `interval`: the time expected between two.
    pub(super) fn rate(&self, now: MonoNs, interval: Duration) -> Option<f64> {
        self.fps.rate(now, interval)
    }

    /// Counts a new reader. With the first one, the demand for this track begins.
    pub(super) fn add_reader(&mut self) {
        self.readers += 1;
        self.change_demand(|demand| demand.wanted = true);
    }

    /// Counts off a reader. With the last one, the demand for this track ends.
    pub(super) fn remove_reader(&mut self) {
        self.readers = self.readers.saturating_sub(1);
        if self.readers > 0 {
            return;
        }
        // What is not encoded because it has no readers is not missing.
        self.sequencer.pause();
        self.steps.clear();
        self.fps = FpsMeter::default();
        self.change_demand(|demand| demand.wanted = false);
    }

    pub(super) fn demand(&self) -> &watch::Sender<Demand> {
        &self.demand
    }

    pub(super) fn change_demand(&self, change: impl FnOnce(&mut Demand)) {
        self.demand.send_if_modified(|demand| {
            let before = *demand;
            change(demand);
            *demand != before
        });
    }

    pub(super) fn snapshot(&self) -> TrackSnapshot {
        TrackSnapshot {
            encoding: self.encoding,
            packets: self.packets,
            bytes: self.bytes,
            latency: self.latency.snapshot(),
        }
    }
}
