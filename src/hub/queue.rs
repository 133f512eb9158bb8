//! The items of one stream that wait for one subscriber, under its own rules. Pure.
//!
//! Bounded by its [`Limit`]: when that is exceeded the oldest packet is dropped and counted, and
//! the count is reported as a gap before the next packet delivered.

use super::event::StampedEvent;
use super::keyframe_gate::{KeyframeGate, Verdict};
use super::losses::LossCounters;
use super::{Backlog, Packet};
use crate::media::frame_rate::FrameRateLimiter;
use crate::media::{Cause, Gap, MonoNs, Shape};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The largest number of waiting events; beyond it the oldest is dropped. They are rare, and the
/// present state matters more than its history.
const MAX_EVENTS: usize = 32;
/// The largest number of waiting packets under [`Limit::Recent`], whatever their duration claims.
const MAX_RECENT: usize = 256;

#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// The newest packet only.
    Newest,
    /// The newest packets, as long as they cover no more than this time together.
    Recent(Duration),
    Backlog(Backlog),
}

/// What a subscriber is given next.
#[derive(Clone, Debug)]
pub enum Item {
    Packet {
        packet: Arc<Packet>,
        /// What is missing between the packet delivered before and this one; empty before the
        /// first.
        gaps: Vec<Gap>,
        /// The packet delivered before had another shape.
        format_changed: bool,
    },
    Event(StampedEvent),
}

#[derive(Debug)]
pub(super) struct Queue {
    limit: Limit,
    frame_rate: Option<FrameRateLimiter>,
    /// Of H.264 only.
    gate: Option<KeyframeGate>,
    entries: VecDeque<Entry>,
    packets: usize,
    bytes: usize,
    /// Packets dropped by the limit since the previous packet.
    dropped: u64,
    /// The previous packet in order, delivered or skipped by the gate: gaps are counted from here.
    /// `None` before the first delivery.
    previous: Option<Previous>,
    /// What is missing between the packet delivered last and `previous`. The span of what this
    /// queue left out is known at the next delivery only.
    skipped: Vec<Gap>,
}

#[derive(Debug)]
enum Entry {
    Packet(Arc<Packet>),
    Event(StampedEvent),
}

#[derive(Debug)]
struct Previous {
    losses: Arc<LossCounters>,
    /// Of the packet delivered last.
    capture_time: MonoNs,
    /// Of the packet delivered last.
    shape: Shape,
}

impl Queue {
    /// `max_fps`: frames per second, > 0. It does not apply behind a gate: a frame left out would
    /// break those that follow.
    pub(super) fn new(limit: Limit, max_fps: Option<f64>, gate: Option<KeyframeGate>) -> Self {
        Self {
            limit,
            frame_rate: max_fps
                .filter(|_| gate.is_none())
                .map(FrameRateLimiter::new),
            gate,
            entries: VecDeque::new(),
            packets: 0,
            bytes: 0,
            dropped: 0,
            previous: None,
            skipped: Vec::new(),
        }
    }

    /// Appends a packet, unless the frame rate is limited and it is too early. Returns how many
    /// packets were dropped for it, `None` when it was not appended.
    pub(super) fn push(&mut self, packet: &Arc<Packet>) -> Option<u64> {
        if let Some(frame_rate) = &mut self.frame_rate
            && !frame_rate.keep(packet.capture_time)
        {
            return None;
        }
        self.entries.push_back(Entry::Packet(packet.clone()));
        self.packets += 1;
        self.bytes += packet.payload.len();
        let mut dropped = 0;
        while self.packets > 1 && self.is_over(packet) {
            self.drop_oldest();
            dropped += 1;
        }
        self.dropped += dropped;
        Some(dropped)
    }

    pub(super) fn push_event(&mut self, event: StampedEvent) {
        let events = self.entries.len() - self.packets;
        if events == MAX_EVENTS {
            let oldest = self
                .entries
                .iter()
                .position(|e| matches!(e, Entry::Event(_)));
            oldest.map(|at| self.entries.remove(at));
        }
        self.entries.push_back(Entry::Event(event));
    }

    /// Whether there is something to take; a packet counts only where `packets_allowed`.
    pub(super) fn is_readable(&self, packets_allowed: bool) -> bool {
        match self.entries.front() {
            Some(Entry::Packet(_)) => packets_allowed,
            Some(Entry::Event(_)) => true,
            None => false,
        }
    }

    /// Drops the packets in front that a reader cannot decode. Returns whether a keyframe is to be
    /// requested. To be called before [`is_readable`](Self::is_readable) and [`pop`](Self::pop).
    pub(super) fn skip_undecodable(&mut self) -> bool {
        if self.gate.is_none() || !matches!(self.entries.front(), Some(Entry::Packet(_))) {
            return false;
        }
        self.skip_undecodable_at(MonoNs::now())
    }

    fn skip_undecodable_at(&mut self, now: MonoNs) -> bool {
        let mut request = false;
        while let (Some(gate), Some(Entry::Packet(packet))) = (&mut self.gate, self.entries.front())
        {
            let gaps = gaps_before(packet, self.previous.as_ref(), self.dropped);
            let Verdict::Skip {
                cause,
                request_keyframe,
            } = gate.examine(packet.keyframe, &gaps, now)
            else {
                break;
            };
            request |= request_keyframe;
            self.packets -= 1;
            self.bytes -= packet.payload.len();
            self.dropped = 0;
            // Nothing is missing before the first packet delivered.
            if let Some(previous) = &mut self.previous {
                previous.losses = packet.losses.clone();
                let this = Gap {
                    cause,
                    count: Some(1),
                    seconds: None,
                    span_seconds: None,
                };
                for gap in gaps.into_iter().chain([this]) {
                    add(&mut self.skipped, gap);
                }
            }
            self.entries.pop_front();
        }
        request
    }

    /// Takes out the next item. The caller either [puts it back](Self::put_back) or reports its
    /// [delivery](Self::delivered), before anything else is done with this queue.
    pub(super) fn pop(&mut self) -> Option<Item> {
        match self.entries.pop_front()? {
            Entry::Event(event) => Some(Item::Event(event)),
            Entry::Packet(packet) => {
                let mut gaps = self.skipped.clone();
                for gap in gaps_before(&packet, self.previous.as_ref(), self.dropped) {
                    add(&mut gaps, gap);
                }
                // What this queue left out counts from what its reader got.
                if let Some(previous) = &self.previous {
                    let span = packet.capture_time.since(previous.capture_time);
                    for gap in &mut gaps {
                        gap.span_seconds.get_or_insert(span.as_secs_f64());
                    }
                }
                let format_changed = self
                    .previous
                    .as_ref()
                    .is_some_and(|previous| previous.shape != packet.shape);
                Some(Item::Packet {
                    packet,
                    gaps,
                    format_changed,
                })
            }
        }
    }

    pub(super) fn put_back(&mut self, item: Item) {
        self.entries.push_front(match item {
            Item::Event(event) => Entry::Event(event),
            Item::Packet { packet, .. } => Entry::Packet(packet),
        });
    }

    /// The item that was taken out reached the reader.
    pub(super) fn delivered(&mut self, item: &Item) {
        let Item::Packet { packet, .. } = item else {
            return;
        };
        self.packets -= 1;
        self.bytes -= packet.payload.len();
        self.dropped = 0;
        self.skipped.clear();
        self.previous = Some(Previous {
            losses: packet.losses.clone(),
            capture_time: packet.capture_time,
            shape: packet.shape,
        });
        if let Some(gate) = &mut self.gate {
            gate.delivered();
        }
    }

    fn is_over(&self, newest: &Packet) -> bool {
        match self.limit {
            Limit::Newest => true,
            Limit::Backlog(most) => self.packets > most.packets || self.bytes > most.bytes,
            Limit::Recent(most) => {
                let oldest = self.entries.iter().find_map(|e| match e {
                    Entry::Packet(packet) => Some(packet.capture_time),
                    Entry::Event(_) => None,
                });
                let end = newest.capture_time + newest.duration().unwrap_or_default();
                self.packets > MAX_RECENT || oldest.is_some_and(|start| end.since(start) > most)
            }
        }
    }

    fn drop_oldest(&mut self) {
        let Some(at) = self
            .entries
            .iter()
            .position(|e| matches!(e, Entry::Packet(_)))
        else {
            return;
        };
        if let Some(Entry::Packet(packet)) = self.entries.remove(at) {
            self.packets -= 1;
            self.bytes -= packet.payload.len();
        }
    }
}

/// What is missing between `previous` and `packet`. `dropped`: packets between them that the
/// queue's limit dropped; their gap has no span yet.
fn gaps_before(packet: &Packet, previous: Option<&Previous>, dropped: u64) -> Vec<Gap> {
    let Some(previous) = previous else {
        return Vec::new();
    };
    let mut gaps = packet.losses.since(&previous.losses);
    if dropped > 0 {
        gaps.push(Gap {
            cause: Cause::ViewerQueue,
            count: Some(dropped),
            seconds: None,
            span_seconds: None,
        });
    }
    gaps
}

/// Adds a gap to one of the same cause and sort, or else to the end.
fn add(gaps: &mut Vec<Gap>, new: Gap) {
    let same = gaps
        .iter_mut()
        .find(|gap| gap.cause == new.cause && gap.count.is_some() == new.count.is_some());
    match same {
        Some(gap) => {
            gap.count = gap.count.zip(new.count).map(|(a, b)| a + b);
            gap.seconds = gap.seconds.zip(new.seconds).map(|(a, b)| a + b);
            gap.span_seconds = gap.span_seconds.zip(new.span_seconds).map(|(a, b)| a + b);
        }
        None => gaps.push(new),
    }
}
