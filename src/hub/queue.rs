//! What one subscriber has yet to be given of one stream, under its own rules. Pure: knows no lock and no task.
//!
//! Bounded by its [`Limit`]; when that is reached the oldest packet goes and is counted, and the count stands as a gap
//! before the next packet given.

use super::losses::Tally;
use super::{Backlog, Packet};
use crate::media::frame_rate::Pace;
use crate::media::{Cause, Gap, Shape, UnixNs};
use crate::wire::Event;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Notices that wait at most; then the oldest goes. They are rare, and the present state matters more than the history.
const MAX_NOTICES: usize = 32;
/// Sound packets that wait at most, however short they claim to be.
const MAX_RECENT: usize = 256;

#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// The newest packet only.
    Newest,
    /// The newest packets, as long as together they cover no more than this time.
    Recent(Duration),
    Backlog(Backlog),
}

/// What a subscriber is given next.
#[derive(Clone, Debug)]
pub enum Item {
    Packet {
        packet: Arc<Packet>,
        /// What is missing between the packet given before and this one; nothing is missing before the first.
        gaps: Vec<Gap>,
        /// The packet given before had another size or rate.
        reshaped: bool,
    },
    Notice(Notice),
}

/// Something that happened between two packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub stamp: UnixNs,
    pub event: Event,
}

#[derive(Debug)]
pub struct Queue {
    limit: Limit,
    pace: Option<Pace>,
    entries: VecDeque<Entry>,
    packets: usize,
    bytes: usize,
    /// Packets that went unread since the last one given.
    missed: u64,
    given: Option<Given>,
}

#[derive(Debug)]
enum Entry {
    Packet(Arc<Packet>),
    Notice(Notice),
}

/// The packet given last: the next one's gaps are counted from here.
#[derive(Debug)]
struct Given {
    missing: Arc<Tally>,
    shape: Shape,
}

impl Queue {
    pub fn new(limit: Limit, max_fps: Option<f64>) -> Self {
        Self {
            limit,
            pace: max_fps.map(Pace::new),
            entries: VecDeque::new(),
            packets: 0,
            bytes: 0,
            missed: 0,
            given: None,
        }
    }

    /// Adds a packet, unless it is thinned. Returns how many had to go for it, `None` when it was thinned.
    pub fn offer(&mut self, packet: &Arc<Packet>) -> Option<u64> {
        if self
            .pace
            .as_mut()
            .is_some_and(|pace| !pace.keeps(packet.capture_time))
        {
            return None;
        }
        self.entries.push_back(Entry::Packet(packet.clone()));
        self.packets += 1;
        self.bytes += packet.payload.len();
        let mut gone = 0;
        while self.packets > 1 && self.is_over(packet) {
            self.drop_oldest();
            gone += 1;
        }
        self.missed += gone;
        Some(gone)
    }

    pub fn notify(&mut self, notice: Notice) {
        let notices = self.entries.len() - self.packets;
        if notices == MAX_NOTICES {
            let oldest = self
                .entries
                .iter()
                .position(|e| matches!(e, Entry::Notice(_)));
            oldest.map(|at| self.entries.remove(at));
        }
        self.entries.push_back(Entry::Notice(notice));
    }

    /// Whether something is in front; a packet does not count unless `packets_allowed`.
    pub fn has_news(&self, packets_allowed: bool) -> bool {
        match self.entries.front() {
            Some(Entry::Packet(_)) => packets_allowed,
            Some(Entry::Notice(_)) => true,
            None => false,
        }
    }

    /// Shows the next item in order to `accept`, and returns it when it was taken; else it stays next.
    pub fn take_if<E>(
        &mut self,
        accept: impl FnOnce(&Item) -> Result<bool, E>,
    ) -> Result<Option<Item>, E> {
        let item = match self.entries.pop_front() {
            Some(Entry::Notice(notice)) => Item::Notice(notice),
            Some(Entry::Packet(packet)) => self.with_gaps(packet),
            None => return Ok(None),
        };
        let taken = accept(&item);
        if !matches!(taken, Ok(true)) {
            self.entries.push_front(match item {
                Item::Notice(notice) => Entry::Notice(notice),
                Item::Packet { packet, .. } => Entry::Packet(packet),
            });
            return taken.map(|_| None);
        }
        if let Item::Packet { packet, .. } = &item {
            self.packets -= 1;
            self.bytes -= packet.payload.len();
            self.missed = 0;
            self.given = Some(Given {
                missing: packet.missing.clone(),
                shape: packet.shape,
            });
        }
        Ok(Some(item))
    }

    fn with_gaps(&self, packet: Arc<Packet>) -> Item {
        let mut gaps = Vec::new();
        let mut reshaped = false;
        if let Some(before) = &self.given {
            gaps = packet.missing.since(&before.missing);
            if self.missed > 0 {
                gaps.push(Gap {
                    cause: Cause::ViewerQueue,
                    count: Some(self.missed),
                    seconds: None,
                });
            }
            reshaped = before.shape != packet.shape;
        }
        Item::Packet {
            packet,
            gaps,
            reshaped,
        }
    }

    fn is_over(&self, newest: &Packet) -> bool {
        match self.limit {
            Limit::Newest => true,
            Limit::Backlog(most) => self.packets > most.packets || self.bytes > most.bytes,
            Limit::Recent(most) => {
                let oldest = self.entries.iter().find_map(|e| match e {
                    Entry::Packet(packet) => Some(packet.capture_time),
                    Entry::Notice(_) => None,
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
