//! Feeds the hub from the rings and status pages of the workers, one task for each. Knows rings; knows no network.

use super::Hub;
use super::async_eventfd::Wake;
use crate::ipc::ring::{RingFault, RingReader, StatusReader};
use crate::media::{Encoding, MediaKind, MonoNs};
use std::io;
use std::time::Duration;
use tracing::{info, warn};

/// Records taken in one go; then the viewers get their turn, however much a hostile worker pushes.
const BATCH: usize = 64;
/// How often a ring is told again what is wanted of it.
const SAY_AGAIN: Duration = Duration::from_secs(1);
/// How often a page is looked at although nothing rang. The supervisor waits on the same eventfd, so a ring can be missed.
const LOOK: Duration = Duration::from_millis(250);

/// Passes every record of a ring to the hub, and the hub's demand to the ring. Ends only with an error of the eventfd.
/// `page` is the worker's.
pub async fn pump(
    hub: &Hub,
    encoding: Encoding,
    mut ring: RingReader,
    page: &StatusReader,
) -> io::Result<()> {
    let Some(mut demand) = hub.demand(encoding) else {
        return Ok(());
    };
    let rung = Wake::on(ring.event_fd())?;
    let mut faults = Faults::new(encoding);
    let mut stretch = None;
    let mut keyframes = demand.borrow().keyframes;
    // What is wanted stands in memory that the worker may write: said again and again, it is right again soon.
    let mut again = tokio::time::interval(SAY_AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        // Before the records, so that what came for an old demand is numbered as such.
        let wants = *demand.borrow_and_update();
        ring.set_demand(wants.wanted);
        ring.set_bitrate(wants.bitrate_bps);
        if std::mem::replace(&mut keyframes, wants.keyframes) != wants.keyframes {
            ring.request_keyframe();
        }
        tokio::select! {
            rung = rung.rung() => {
                rung?;
                ring.drain_event();
                while drain(hub, encoding, &mut ring, page, &mut stretch, &mut faults) == Drained::More {
                    ring.set_demand(demand.borrow().wanted);
                    tokio::task::yield_now().await;
                }
            }
            _ = again.tick() => {}
            // The senders live as long as the hub; were they gone, no demand could come any more.
            changed = demand.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

#[derive(PartialEq)]
enum Drained {
    Empty,
    More,
}

/// Of a stream without a break: the worker's life, and how often its device had been away in it.
type Stretch = (u32, u32);

fn drain(
    hub: &Hub,
    encoding: Encoding,
    ring: &mut RingReader,
    page: &StatusReader,
    stretch: &mut Option<Stretch>,
    faults: &mut Faults,
) -> Drained {
    let mut told = false;
    for _ in 0..BATCH {
        let mut payload = Vec::new();
        match ring.pop(&mut payload) {
            Ok(Some(meta)) => {
                let this = (meta.generation, meta.losses.source_away);
                // A worker says that its device is back before it hands over what comes from it. Once in a batch: one that lies
                // in each record is not to cost a look for each.
                if stretch.replace(this) != Some(this) && !std::mem::replace(&mut told, true) {
                    tell_state(hub, encoding.kind(), page);
                }
                let plausible = hub.publish(encoding, &meta, payload.into(), MonoNs::now());
                faults.note((!plausible).then_some(Fault::Label));
            }
            Ok(None) => return Drained::Empty,
            Err(fault) => faults.note(Some(Fault::Ring(fault))),
        }
    }
    Drained::More
}

fn tell_state(hub: &Hub, kind: MediaKind, page: &StatusReader) {
    let snapshot = page.snapshot();
    hub.set_source(
        kind,
        snapshot.state,
        snapshot.state_since,
        snapshot.interval,
    );
    hub.set_restarts(kind, snapshot.generation.saturating_sub(1));
}

/// Tells the hub what a worker says of itself, whenever that changes. Ends only with an error of the eventfd.
pub async fn watch_status(hub: &Hub, kind: MediaKind, page: &StatusReader) -> io::Result<()> {
    let rung = Wake::on(page.event_fd())?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            rung = rung.rung() => {
                rung?;
                page.drain_event();
            }
            _ = look.tick() => {}
        }
        tell_state(hub, kind, page);
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
        Self {
            encoding,
            last: None,
            good: 0,
        }
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
        if self.last.replace(std::mem::discriminant(&fault)) == Some(std::mem::discriminant(&fault))
        {
            return;
        }
        match fault {
            Fault::Ring(fault) => warn!(
                "the {:?} ring holds what its worker cannot have written: {fault}",
                self.encoding
            ),
            Fault::Label => warn!(
                "the {:?} ring's numbers jump without reason; numbered anew from here",
                self.encoding
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Backlog, Feed, Item, Plan, Request, StreamPlan};
    use crate::ipc::ring::{RingLimits, SharedRing, SharedStatus};
    use crate::media::{Losses, PacketMeta, Shape, WorkerState};
    use crate::wire::Delivery;
    use std::sync::Arc;

    /// The page is looked at here only because a record tells of a break: no other task does.
    #[tokio::test]
    async fn a_source_that_is_back_is_told_between_its_last_packet_and_its_first() {
        let backlog = Backlog {
            packets: 8,
            bytes: 1 << 20,
        };
        let plan = StreamPlan {
            encodings: vec![Encoding::Jpeg],
            fps: Some(15.0),
            backlog,
        };
        let hub = Arc::new(Hub::new(
            Plan {
                video: Some(plan),
                audio: None,
            },
            crate::media::clock::Sample::take(),
        ));
        let ring = SharedRing::create(
            "test",
            RingLimits {
                packets: 8,
                bytes: 1 << 20,
            },
        )
        .expect("memory");
        let page = SharedStatus::create("test", &[]).expect("memory");
        let (mut records, mut status, read) = (ring.writer(), page.writer(), page.reader());
        let video = Some(Feed::Encoded(Encoding::Jpeg));
        let viewer = hub
            .subscribe(&Request {
                video,
                audio: None,
                delivery: Delivery::All,
                max_fps: None,
                events: true,
            })
            .expect("room");
        let mut push = |sequence, generation, source_away| {
            let shape = Shape::Video {
                width: 64,
                height: 48,
            };
            let losses = Losses {
                source_away,
                ..Losses::default()
            };
            let meta = PacketMeta {
                generation,
                sequence,
                capture_time: MonoNs::now(),
                shape,
                keyframe: true,
                losses,
            };
            records.push(&meta, b"jpeg").expect("it fits");
        };
        let next = async || loop {
            match viewer.take(true) {
                Some(Item::Packet { packet, .. }) => return format!("packet {}", packet.sequence),
                Some(Item::Notice(notice)) => return notice.event.to_json(),
                None => viewer.news().await,
            }
        };
        let (lost, back) = (
            r#"{"event":"source_lost","stream":"video"}"#,
            r#"{"event":"source_back","stream":"video"}"#,
        );
        let story = async {
            status.set_state(WorkerState::Streaming);
            push(0, 1, 0);
            assert_eq!(next().await, "packet 0");
            status.set_state(WorkerState::WaitingForDevice);
            status.set_state(WorkerState::Streaming);
            push(1, 1, 1);
            assert_eq!(
                [next().await, next().await, next().await],
                [lost, back, "packet 1"]
            );
            page.reader().reset(2);
            status.set_state(WorkerState::Streaming);
            push(2, 2, 0);
            push(3, 2, 0);
            assert_eq!(
                [next().await, next().await, next().await],
                [lost, back, "packet 2"]
            );
            assert_eq!(next().await, "packet 3");
        };
        tokio::select! {
            told = tokio::time::timeout(Duration::from_secs(60), story) => told.expect("all is told"),
            ended = pump(&hub, Encoding::Jpeg, ring.reader(), &read) => panic!("{ended:?}"),
        }
    }
}
