//! The tasks that feed the hub: one for each ring and one for each status page of a worker.

use super::Hub;
use super::event_fd::EventFd;
use crate::ipc::ring::{RingFault, RingReader, StatusReader};
use crate::log::LogOnce;
use crate::media::{
    Encoding, MediaKind, MonoNs, StreamId, StreamInfo, TrackId, escape_unprintable, printable,
};
use std::io;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

/// Records read at once. Then other tasks run, however much a hostile worker pushes.
const BATCH: usize = 64;
/// How often the demand is written to a ring again.
const DEMAND_INTERVAL: Duration = Duration::from_secs(1);
/// How often a status page is read without a notification. One may be missing: the page's reset
/// does not notify, and a hostile worker may drain the eventfd.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

/// Passes every record of a ring to the hub, and the hub's demand to the ring. `page`: the
/// worker's. Ends at once where the hub has no such track.
///
/// # Errors
/// The eventfd cannot be waited for.
pub async fn read_ring(
    hub: &Hub,
    encoding: Encoding,
    mut ring: RingReader,
    page: &StatusReader,
) -> io::Result<()> {
    let Some(mut demand) = hub.demand(encoding) else {
        return Ok(());
    };
    let event = EventFd::new(ring.event_fd())?;
    let mut reader = Reader {
        hub,
        page,
        encoding,
        period: None,
        faults: Faults::new(hub, encoding),
    };
    let mut keyframes = demand.borrow().keyframes;
    // The demand is in memory that the worker may write: repeated, so that it is soon right again.
    let mut repeat = tokio::time::interval(DEMAND_INTERVAL);
    repeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        // Before the records are read, so that those made for an old demand are numbered as such.
        let wanted = *demand.borrow_and_update();
        ring.set_demand(wanted.wanted);
        ring.set_bitrate(wanted.bitrate_bps);
        if std::mem::replace(&mut keyframes, wanted.keyframes) != wanted.keyframes {
            ring.request_keyframe();
        }
        tokio::select! {
            notified = event.notified() => {
                notified?;
                ring.drain_event();
                while reader.read_batch(&mut ring) == Batch::Full {
                    ring.set_demand(demand.borrow().wanted);
                    tokio::task::yield_now().await;
                }
            }
            _ = repeat.tick() => {}
            // The senders live as long as the hub; without them no demand could arrive any more.
            changed = demand.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

struct Reader<'a> {
    hub: &'a Hub,
    page: &'a StatusReader,
    encoding: Encoding,
    /// Of the last record.
    period: Option<Period>,
    faults: Faults,
}

/// An uninterrupted period of a source: the worker's generation, and how often its device had been
/// unavailable in it.
type Period = (u32, u32);

#[derive(PartialEq)]
enum Batch {
    /// The ring is empty.
    Last,
    /// There may be more.
    Full,
}

impl Reader<'_> {
    fn read_batch(&mut self, ring: &mut RingReader) -> Batch {
        let mut state_is_read = false;
        for _ in 0..BATCH {
            let mut payload = Vec::new();
            let fault = match ring.pop(&mut payload) {
                Ok(None) => return Batch::Last,
                Err(fault) => Some(Fault::Ring(fault)),
                Ok(Some(meta)) => {
                    let period = (meta.generation, meta.losses.source_away);
                    // A worker reports that its device is back before it pushes the first packet.
                    // Once in a batch: a worker that changes this in each record must not cause a
                    // read of the page for each.
                    if self.period.replace(period) != Some(period)
                        && !std::mem::replace(&mut state_is_read, true)
                    {
                        read_state(self.hub, self.encoding.kind(), self.page);
                    }
                    let plausible =
                        self.hub
                            .publish(self.encoding, &meta, payload.into(), MonoNs::now());
                    (!plausible).then_some(Fault::Metadata)
                }
            };
            self.faults.record(fault);
        }
        Batch::Full
    }
}

fn read_state(hub: &Hub, kind: MediaKind, page: &StatusReader) {
    let status = page.snapshot();
    hub.set_source_state(kind, status.state, status.state_since, status.interval);
    hub.set_source_restarts(kind, status.generation.saturating_sub(1));
}

/// Passes what a worker reports about itself to the hub, whenever it changes.
///
/// # Errors
/// The eventfd cannot be waited for.
pub async fn read_status(hub: &Hub, kind: MediaKind, page: &StatusReader) -> io::Result<()> {
    let event = EventFd::new(page.event_fd())?;
    let mut repeat = tokio::time::interval(STATUS_INTERVAL);
    repeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            notified = event.notified() => {
                notified?;
                page.drain_event();
            }
            _ = repeat.tick() => {}
        }
        read_state(hub, kind, page);
        // `None`: it is being written, or not written yet. The next iteration reads it.
        if let Some(description) = page.description() {
            let info = description.info.map(printable_info);
            let message = escape_unprintable(&description.message);
            hub.set_source_description(kind, info, message);
        }
    }
}

/// With texts that are safe to show: a hostile worker can write any.
fn printable_info(info: StreamInfo) -> StreamInfo {
    StreamInfo {
        device: printable(&info.device),
        device_format: printable(&info.device_format),
        stamp_clock: printable(&info.stamp_clock),
        ..info
    }
}

/// Each kind of fault of a ring is logged once, until enough records in a row were valid.
struct Faults {
    track: TrackId,
    logged: LogOnce,
    /// Valid records since the last fault.
    valid: u32,
}

#[derive(Debug)]
enum Fault {
    Ring(RingFault),
    Metadata,
}

impl Faults {
    const RECOVERED: u32 = 100;

    fn new(hub: &Hub, encoding: Encoding) -> Self {
        let stream = StreamId {
            camera: hub.camera().clone(),
            kind: encoding.kind(),
        };
        Self {
            track: TrackId { stream, encoding },
            logged: LogOnce::default(),
            valid: 0,
        }
    }

    fn record(&mut self, fault: Option<Fault>) {
        if let Some(line) = self.line(fault) {
            warn!("ring {}: {line}", self.track);
        } else if self.valid == Self::RECOVERED && self.logged.recovered() {
            info!("ring {}: valid again", self.track);
        }
    }

    /// The line to log for a fault, unless one of its kind was logged.
    fn line(&mut self, fault: Option<Fault>) -> Option<String> {
        let Some(fault) = fault else {
            self.valid = self.valid.saturating_add(1);
            return None;
        };
        self.valid = 0;
        // By kind: the numbers in a fault's text are the worker's choice.
        let (kind, line) = match fault {
            Fault::Ring(fault) => ("ring", format!("not written by a working worker: {fault}")),
            Fault::Metadata => (
                "metadata",
                "implausible sequence numbers or times; packets are renumbered from here".into(),
            ),
        };
        self.logged.first_time(kind).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Backlog, Delivery, Event, Item, Plan, Request, StreamPlan, TrackSelector};
    use crate::ipc::ring::{RingLimits, SharedRing, SharedStatus};
    use crate::media::clock::Clock;
    use crate::media::{CameraId, Losses, PacketMeta, Shape, WorkerState};
    use std::sync::Arc;

    #[test]
    fn faults_of_each_kind_are_logged_once_until_100_records_were_valid() {
        let hub = Hub::new(CameraId::main(), Plan::default(), Arc::new(Clock::start()));
        let mut faults = Faults::new(&hub, Encoding::Jpeg);
        let slot = |found| Some(Fault::Ring(RingFault::Slot { record: 1, found }));
        assert!(
            faults
                .line(slot(2))
                .is_some_and(|line| line.contains("record 2"))
        );
        assert!(faults.line(Some(Fault::Metadata)).is_some());
        for found in 0..100 {
            assert_eq!(faults.line(slot(found)), None);
            assert_eq!(faults.line(Some(Fault::Metadata)), None);
        }
        (0..99).for_each(|_| faults.record(None));
        assert_eq!(faults.line(slot(3)), None, "not valid for long enough");
        (0..100).for_each(|_| faults.record(None));
        assert!(faults.line(slot(3)).is_some());
    }

    /// The page is read only because a record reveals an interruption: no other task reads it.
    #[tokio::test]
    async fn read_ring_source_that_is_back_is_reported_before_its_first_packet() {
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
            CameraId::main(),
            Plan {
                video: Some(plan),
                audio: None,
            },
            Arc::new(Clock::start()),
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
        let video = Some(TrackSelector::Encoded(Encoding::Jpeg));
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
                Some(Item::Event(event)) => {
                    return match event.event {
                        Event::SourceLost { stream } => format!("{} lost", stream.name()),
                        Event::SourceBack { stream } => format!("{} back", stream.name()),
                        other => panic!("{other:?}"),
                    };
                }
                None => viewer.readable().await,
            }
        };
        let (lost, back) = ("video lost", "video back");
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
            done = tokio::time::timeout(Duration::from_secs(60), story) => {
                done.expect("all is reported")
            }
            ended = read_ring(&hub, Encoding::Jpeg, ring.reader(), &read) => panic!("{ended:?}"),
        }
    }
}
