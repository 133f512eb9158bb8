//! Feeds the hub from the rings and status pages of the workers, one task for each. Knows rings; knows no network.

use super::Hub;
use super::wake::Wake;
use crate::packet::{Encoding, MonoNs, StreamKind};
use crate::ring::{RingFault, RingReader, StatusReader};
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tracing::{info, warn};

/// Records taken in one go; then the viewers get their turn, however much a hostile worker pushes.
const BATCH: usize = 64;
/// How often a page is looked at although nothing rang. The supervisor waits on the same eventfd, so a ring can be missed.
const LOOK: Duration = Duration::from_millis(250);

/// Passes every record of a ring to the hub, and the hub's demand to the ring. Ends only with an error of the eventfd.
/// `offset_ns` is passed on for the time drawn into a test picture.
pub async fn pump(hub: &Hub, encoding: Encoding, mut ring: RingReader, mut offset_ns: watch::Receiver<i64>) -> io::Result<()> {
    let Some(mut demand) = hub.demand(encoding) else { return Ok(()) };
    let rung = Wake::on(ring.event_fd())?;
    let mut faults = Faults::new(encoding);
    let mut keyframes = demand.borrow().keyframes;
    loop {
        // Before the records, so that what came for an old demand is numbered as such.
        let wants = *demand.borrow_and_update();
        ring.set_demand(wants.wanted);
        ring.set_bitrate(wants.bitrate_bps);
        if std::mem::replace(&mut keyframes, wants.keyframes) != wants.keyframes {
            ring.request_keyframe();
        }
        ring.set_clock_offset_ns(*offset_ns.borrow_and_update());
        tokio::select! {
            rung = rung.rung() => {
                rung?;
                ring.clear_event();
                while drain(hub, encoding, &mut ring, &mut faults) == Drained::More {
                    ring.set_demand(demand.borrow().wanted);
                    tokio::task::yield_now().await;
                }
            }
            // The senders live as long as the hub; were they gone, no demand could come any more.
            changed = demand.changed() => if changed.is_err() { return Ok(()) },
            changed = offset_ns.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

#[derive(PartialEq)]
enum Drained {
    Empty,
    More,
}

fn drain(hub: &Hub, encoding: Encoding, ring: &mut RingReader, faults: &mut Faults) -> Drained {
    for _ in 0..BATCH {
        let mut payload = Vec::new();
        match ring.pop(&mut payload) {
            Ok(Some(meta)) => {
                let plausible = hub.publish(encoding, &meta, payload.into(), MonoNs::now());
                faults.note((!plausible).then_some(Fault::Label));
            }
            Ok(None) => return Drained::Empty,
            Err(fault) => faults.note(Some(Fault::Ring(fault))),
        }
    }
    Drained::More
}

/// Tells the hub what a worker says of itself, whenever that changes. Ends only with an error of the eventfd.
pub async fn watch_status(hub: &Hub, kind: StreamKind, page: StatusReader) -> io::Result<()> {
    let rung = Wake::on(page.event_fd())?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            rung = rung.rung() => {
                rung?;
                page.clear_event();
            }
            _ = look.tick() => {}
        }
        let hot = page.hot();
        hub.set_source(kind, hot.state, hot.state_since.unwrap_or_else(MonoNs::now), hot.interval);
        hub.set_restarts(kind, hot.incarnation.saturating_sub(1));
        match page.description() {
            Some(said) => hub.describe_source(kind, said.info, said.message),
            // Being written just now, or not yet: the next look finds it.
            None => continue,
        }
    }
}

/// Logs a fault that repeats once, and its end once: when enough records in a row were good.
struct Faults {
    encoding: Encoding,
    last: Option<std::mem::Discriminant<Fault>>,
    good: u32,
}

#[derive(Debug)]
enum Fault {
    Ring(RingFault),
    Label,
}

impl Faults {
    const RECOVERED: u32 = 100;

    fn new(encoding: Encoding) -> Self {
        Self { encoding, last: None, good: 0 }
    }

    fn note(&mut self, fault: Option<Fault>) {
        let Some(fault) = fault else {
            self.good = self.good.saturating_add(1);
            if self.good == Self::RECOVERED && self.last.take().is_some() {
                info!("the {:?} ring is in order again", self.encoding);
            }
            return;
        };
        self.good = 0;
        if self.last.replace(std::mem::discriminant(&fault)) == Some(std::mem::discriminant(&fault)) {
            return;
        }
        match fault {
            Fault::Ring(fault) => warn!("the {:?} ring holds what its worker cannot have written: {fault}", self.encoding),
            Fault::Label => warn!("the {:?} ring's numbers jump without reason; numbered anew from here", self.encoding),
        }
    }
}
