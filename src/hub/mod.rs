//! The hub: one camera's packets, numbered and stamped once, given to whoever subscribed. Knows rings and workers only in
//! `feed`, and no socket at all: an output knows the hub, the hub knows no output.
//!
//! ```text
//! ring ─► feed ─► Hub::publish: Intake (number, what is missing) ─► stamp ─► Packet ─┬─► Queue of a subscriber ─► take
//!                                                                                   └─► Queue of another …
//! ```
//!
//! A subscriber has a bounded [`queue`](queue::Queue) of references to shared packets, made by its own rules: newest frame
//! only, half a second of sound, or all up to a limit. So a slow one loses packets, is told how many, and delays nobody.

pub mod async_eventfd;
pub mod audio_transcode;
pub mod clock_steps;
pub mod fps_meter;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod losses;
pub mod metrics;
pub mod packet;
pub mod queue;
pub mod report;
pub mod ring_reader_task;
pub mod sequencer;
pub mod source;
pub mod subscription;
#[cfg(test)]
pub mod tests;
pub mod track;

pub use crate::media::Gap;
pub use audio_transcode::View;
pub use packet::Packet;
pub use queue::{Item, Notice};
pub use subscription::{Feed, Request, Subscription, Taken, TooManyViews};

use crate::media::clock::{ClockMap, ClockStep, Sample};
use crate::media::{Encoding, MediaKind, MonoNs, PacketMeta, StreamInfo, UnixNs, WorkerState};
use crate::wire::Event;
use audio_transcode::Conversion;
use bytes::Bytes;
use metrics::{Figures, Histogram};
use queue::Limit;
use source::Source;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use subscription::Inbox;
use tokio::sync::watch;
use tracing::warn;
use track::Track;

/// What is kept for a live subscriber of sound, or of a picture that builds on the one before.
const LIVE: Duration = Duration::from_millis(500);

/// What a hub is made for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub video: Option<StreamPlan>,
    pub audio: Option<StreamPlan>,
}

#[derive(Clone, Debug)]
pub struct StreamPlan {
    pub encodings: Vec<Encoding>,
    /// Frames per second asked of the camera; `None` for sound.
    pub fps: Option<f64>,
    /// The most that a subscriber with `delivery=all` may be behind.
    pub backlog: Backlog,
}

/// Whichever is reached first; then the oldest goes.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    pub packets: usize,
    /// Payload bytes.
    pub bytes: usize,
}

/// What the subscribers of one encoding, all together, want of its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Somebody reads.
    pub wanted: bool,
    /// Counts the requests for a keyframe; a change is a new one.
    pub keyframes: u32,
    /// Bits per second; 0: as the worker thinks best.
    pub bitrate_bps: u32,
}

/// One camera and one microphone.
pub struct Hub {
    state: Mutex<State>,
    video: Outputs,
    audio: Outputs,
}

/// What all outputs together did with one stream's packets.
#[derive(Default)]
struct Outputs {
    /// Capture to the moment at which an output took the packet.
    age: Histogram,
    /// Payload of the packets taken.
    bytes: AtomicU64,
    /// Packets that subscribers lost because they were slow.
    missed: AtomicU64,
}

struct State {
    sources: Vec<Source>,
    tracks: Vec<Track>,
    views: Vec<Conversion>,
    inboxes: Vec<Arc<Inbox>>,
    clock: ClockMap,
    last_step_seconds: Option<f64>,
    closed: bool,
}

impl Hub {
    /// `clock`: a first look at the clocks, for the packets before the first [`observe`](Self::observe).
    pub fn new(plan: Plan, clock: Sample) -> Self {
        let mut sources = Vec::new();
        let mut tracks = Vec::new();
        for (kind, plan) in [
            (MediaKind::Video, plan.video),
            (MediaKind::Audio, plan.audio),
        ] {
            let Some(plan) = plan else { continue };
            tracks.extend(plan.encodings.iter().map(|&encoding| Track::new(encoding)));
            sources.push(Source::new(kind, plan));
        }
        let state = State {
            sources,
            tracks,
            views: Vec::new(),
            inboxes: Vec::new(),
            clock: ClockMap::new(clock),
            last_step_seconds: None,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            video: Outputs::default(),
            audio: Outputs::default(),
        }
    }

    /// Whether there is such a stream, its device present or not.
    pub fn has(&self, encoding: Encoding) -> bool {
        self.lock().track(encoding).is_some()
    }

    /// One packet from a ring to everybody who wants it. `false` when the label was not plausible: it was then numbered
    /// anew, and what is missing before it has an unknown length.
    pub fn publish(
        &self,
        encoding: Encoding,
        meta: &PacketMeta,
        payload: Bytes,
        now: MonoNs,
    ) -> bool {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(track) = state.tracks.iter_mut().find(|t| t.encoding == encoding) else {
            return true;
        };
        let kind = encoding.kind();
        let source = state.sources.iter_mut().find(|s| s.kind == kind);
        let interval = source.as_ref().map_or(Duration::ZERO, |s| s.interval);
        let (before, since) = (track.missing().clone(), track.capture_time());
        let accepted = track.accept(meta, &payload, interval, now);
        // Nearly always nothing is missing, and the totals are the same ones.
        if let Some(source) = source.filter(|_| !Arc::ptr_eq(&before, &accepted.missing)) {
            source
                .lost
                .count(since..accepted.capture_time, &before, &accepted.missing);
        }
        while let Some(ClockStep { seconds, at }) = track.steps.due(accepted.capture_time) {
            let notice = Notice {
                stamp: state.clock.to_unix(at),
                event: Event::ClockStep {
                    stream: kind,
                    seconds,
                },
            };
            for inbox in &state.inboxes {
                inbox.notify_readers_of(encoding, &notice);
            }
        }
        let packet = track.packet(&accepted, meta, payload, &state.clock, now);
        let give = |feed, packet: &Arc<Packet>| {
            let missed: u64 = state
                .inboxes
                .iter()
                .map(|inbox| inbox.offer(feed, packet))
                .sum();
            self.outputs(kind).missed.fetch_add(missed, Relaxed);
        };
        give(Feed::Encoded(encoding), &packet);
        for made in state.views.iter_mut().filter(|_| encoding == Encoding::Pcm) {
            match made.convert(&packet) {
                Ok(packets) => packets
                    .iter()
                    .flatten()
                    .for_each(|packet| give(Feed::Viewed(made.view), packet)),
                Err(e) => warn!("viewers that ask for {} get no sound: {e}", made.view),
            }
        }
        accepted.plausible
    }

    /// What the status page of a worker says now. `since`: when the state began, which tells two states that are alike but
    /// not the same; `None` where it does not say. `interval`: time expected between packets.
    pub fn set_source(
        &self,
        kind: MediaKind,
        worker: WorkerState,
        since: Option<MonoNs>,
        interval: Option<Duration>,
    ) {
        let mut state = self.lock();
        let stamp = state.clock.to_unix(since.unwrap_or_else(MonoNs::now));
        let Some(source) = state.sources.iter_mut().find(|s| s.kind == kind) else {
            return;
        };
        let events = source.is(worker, since, interval);
        for inbox in &state.inboxes {
            for event in &events {
                inbox.notify_of(
                    kind,
                    &Notice {
                        stamp,
                        event: event.clone(),
                    },
                );
            }
        }
    }

    /// How often a source's worker was started again. Never fewer times than before, whatever stands in the page.
    pub fn set_restarts(&self, kind: MediaKind, restarts: u32) {
        let mut state = self.lock();
        state
            .sources
            .iter_mut()
            .filter(|s| s.kind == kind)
            .for_each(|s| s.restarts = s.restarts.max(restarts));
    }

    pub fn describe_source(&self, kind: MediaKind, info: Option<StreamInfo>, message: String) {
        let mut state = self.lock();
        if let Some(source) = state.sources.iter_mut().find(|s| s.kind == kind) {
            source.info = info;
            source.message = message;
        }
    }

    /// Takes a new look at the clocks into account. Where it proves that the UNIX clock was set, each stream's subscribers are
    /// told just before the first packet with the new time; who asked for events alone, at once. Returns UNIX time less
    /// CLOCK_MONOTONIC, ns.
    pub fn observe(&self, clocks: Sample) -> i64 {
        let mut state = self.lock();
        if let Some(step) = state.clock.observe(clocks) {
            state.last_step_seconds = Some(step.seconds);
            state
                .tracks
                .iter_mut()
                .for_each(|track| track.clock_was_set(step));
            let stamp = state.clock.to_unix(step.at);
            for stream in state.sources.iter().map(|source| source.kind) {
                let notice = Notice {
                    stamp,
                    event: Event::ClockStep {
                        stream,
                        seconds: step.seconds,
                    },
                };
                state
                    .inboxes
                    .iter()
                    .filter(|inbox| inbox.is_bare())
                    .for_each(|inbox| inbox.notify_of(stream, &notice));
            }
        }
        state.clock.offset_ns()
    }

    /// An instant by the mapping that stamps the packets.
    pub fn unix(&self, at: MonoNs) -> UnixNs {
        self.lock().clock.to_unix(at)
    }

    /// A keyframe, for a subscriber that has none yet or lost what it had. How often there is one is the encoder's to limit.
    pub fn request_keyframe(&self, encoding: Encoding) {
        self.lock().change_demand(encoding, |demand| {
            demand.keyframes = demand.keyframes.wrapping_add(1)
        });
    }

    /// Bits per second; 0: as the worker thinks best.
    pub fn set_bitrate(&self, encoding: Encoding, bps: u32) {
        self.lock()
            .change_demand(encoding, |demand| demand.bitrate_bps = bps);
    }

    /// What is wanted of this encoding's worker. `None` when the hub has no such stream.
    pub fn demand(&self, encoding: Encoding) -> Option<watch::Receiver<Demand>> {
        self.lock().track(encoding).map(Track::demand)
    }

    /// The newest packet, which is an old one where nobody reads this encoding any more; `None` when there was none.
    pub fn latest(&self, encoding: Encoding) -> Option<Arc<Packet>> {
        self.lock().track(encoding)?.latest.clone()
    }

    /// The time expected between two packets of a source; zero while its worker has not said.
    pub fn interval(&self, kind: MediaKind) -> Duration {
        self.lock()
            .source(kind)
            .map_or(Duration::ZERO, |s| s.interval)
    }

    pub fn figures(&self) -> Figures {
        let state = self.lock();
        let outputs = [MediaKind::Video, MediaKind::Audio].map(|kind| (kind, self.outputs(kind)));
        let age = outputs.map(|(kind, outputs)| (kind, outputs.age.read()));
        let sent_bytes = outputs.map(|(kind, outputs)| (kind, outputs.bytes.load(Relaxed)));
        let restarts = state.sources.iter().map(|s| (s.kind, s.restarts)).collect();
        Figures {
            tracks: state.tracks.iter().map(Track::figures).collect(),
            age,
            sent_bytes,
            restarts,
        }
    }

    /// An output took a packet.
    fn note_taken(&self, packet: &Packet) {
        let outputs = self.outputs(packet.encoding.kind());
        outputs.age.note(MonoNs::now().since(packet.capture_time));
        outputs
            .bytes
            .fetch_add(packet.payload.len() as u64, Relaxed);
    }

    pub fn viewers(&self) -> usize {
        self.lock().inboxes.len()
    }

    /// Tells every subscriber, present and future, to end.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for inbox in &state.inboxes {
            inbox.close();
        }
    }

    fn outputs(&self, kind: MediaKind) -> &Outputs {
        match kind {
            MediaKind::Video => &self.video,
            MediaKind::Audio => &self.audio,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the hub")
    }
}

impl State {
    fn track(&self, encoding: Encoding) -> Option<&Track> {
        self.tracks.iter().find(|t| t.encoding == encoding)
    }

    fn source(&self, kind: MediaKind) -> Option<&Source> {
        self.sources.iter().find(|s| s.kind == kind)
    }

    /// One more, or one fewer, reader of `feed`; tells the worker when the first comes and when the last goes.
    fn count_reader(&mut self, feed: Feed, joins: bool) {
        if let Feed::Viewed(view) = feed {
            for made in self.views.iter_mut().filter(|made| made.view == view) {
                made.readers = if joins {
                    made.readers + 1
                } else {
                    made.readers.saturating_sub(1)
                };
            }
            self.views.retain(|made| made.readers > 0);
        }
        let Some(track) = self
            .tracks
            .iter_mut()
            .find(|t| t.encoding == feed.encoding())
        else {
            return;
        };
        track.count_reader(joins);
    }

    fn change_demand(&self, encoding: Encoding, change: impl FnOnce(&mut Demand)) {
        if let Some(track) = self.track(encoding) {
            track.change_demand(change);
        }
    }

    fn limit(&self, feed: Feed, delivery: crate::wire::Delivery) -> Limit {
        let kind = feed.encoding().kind();
        match (delivery, kind, self.source(kind)) {
            (crate::wire::Delivery::All, _, Some(source)) => Limit::Backlog(source.plan.backlog),
            // A unit of H.264 is of no use without those before it.
            (_, MediaKind::Video, _) if feed.encoding() != Encoding::H264 => Limit::Newest,
            _ => Limit::Recent(LIVE),
        }
    }
}
