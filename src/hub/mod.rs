//! The hub: one camera's packets, numbered and stamped once, delivered to all subscribers. Outputs
//! use the hub; it does not depend on them or on a wire format.
//!
//! ```text
//! ring ─► ring_reader_task ─► Hub::publish ─► Track (number, losses, stamp) ─► Packet
//!                                                                               │
//!             take ◄─ Queue of a subscriber ◄───────────────────────────────────┴─► …
//! ```
//!
//! A subscriber has a bounded [`queue`] of references to shared packets, under its own rules: the
//! newest frame only, half a second of audio, or everything up to a limit. A slow subscriber loses
//! packets, which are reported to it as gaps, and delays no other.

pub mod audio_transcode;
mod clock_steps;
mod event;
mod event_fd;
mod fps_meter;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hubs;
mod keyframe_gate;
mod losses;
pub mod metrics;
mod packet;
mod plan;
mod queue;
pub mod ring_reader_task;
mod sequencer;
mod snapshot;
mod source;
mod subscriber_queues;
mod subscription;
#[cfg(test)]
mod tests;
mod track;

pub use audio_transcode::{AudioFormat, TooManyFormats};
pub use event::{Event, StampedEvent};
pub use event_fd::EventFd;
pub use hubs::Hubs;
pub use losses::LossTotals;
pub use packet::{Packet, RenderingKey};
pub use plan::{Backlog, Demand, Plan, StreamPlan};
pub use queue::Item;
pub use snapshot::{DeliverySnapshot, Snapshot, StreamSnapshot, TrackSnapshot};
pub use subscription::{Delivery, Peek, Request, Subscription, TrackSelector};

use crate::media::clock::{Clock, ClockStep};
use crate::media::{CameraId, Encoding, MediaKind, MonoNs, PacketMeta, StreamInfo, WorkerState};
use audio_transcode::Transcoder;
use bytes::Bytes;
use metrics::Histogram;
use queue::Limit;
use source::Source;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use subscriber_queues::SubscriberQueues;
use tokio::sync::watch;
use tracing::{info, warn};
use track::Track;

/// The largest backlog of a live subscriber to audio, or to video whose frames depend on each
/// other.
const LIVE: Duration = Duration::from_millis(500);

/// The packets of one camera's streams.
pub struct Hub {
    camera: CameraId,
    clock: Arc<Clock>,
    state: Mutex<State>,
    default_audio: AudioFormat,
    video: Deliveries,
    audio: Deliveries,
}

/// What all subscribers together did with one stream's packets.
#[derive(Default)]
struct Deliveries {
    /// Capture to the moment at which a subscriber took the packet.
    age: Histogram,
    /// Payload of the packets taken.
    bytes: AtomicU64,
    /// Packets dropped from the queues of slow subscribers.
    dropped: AtomicU64,
}

struct State {
    sources: Vec<Source>,
    tracks: Vec<Track>,
    transcoders: Vec<Transcoder>,
    subscribers: Vec<Arc<SubscriberQueues>>,
    closed: bool,
}

impl Hub {
    /// `clock`: the server's, which all hubs share.
    pub fn new(camera: CameraId, plan: Plan, clock: Arc<Clock>) -> Self {
        let mut sources = Vec::new();
        let mut tracks = Vec::new();
        for (kind, plan) in plan.streams() {
            tracks.extend(plan.encodings.iter().map(|&encoding| Track::new(encoding)));
            sources.push(Source::new(kind, plan));
        }
        let state = State {
            sources,
            tracks,
            transcoders: Vec::new(),
            subscribers: Vec::new(),
            closed: false,
        };
        Self {
            camera,
            clock,
            state: Mutex::new(state),
            default_audio: AudioFormat::default(),
            video: Deliveries::default(),
            audio: Deliveries::default(),
        }
    }

    /// Sets the format of PCM audio for requests that name none (`--audio-samplerate`,
    /// `--audio-channels`). Always available; not counted in the limit of formats.
    pub fn with_default_audio(self, default_audio: AudioFormat) -> Self {
        Self {
            default_audio,
            ..self
        }
    }

    /// The track of PCM audio in the format that is asked for; what is `None` is the default's,
    /// else the source's own.
    pub fn audio_track(&self, asked: AudioFormat) -> TrackSelector {
        let format = AudioFormat {
            rate_hz: asked.rate_hz.or(self.default_audio.rate_hz),
            channels: asked.channels.or(self.default_audio.channels),
        };
        if format == AudioFormat::default() {
            TrackSelector::Encoded(Encoding::Pcm)
        } else {
            TrackSelector::Transcoded(format)
        }
    }

    pub fn camera(&self) -> &CameraId {
        &self.camera
    }

    /// The clock that stamps the packets.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Whether there is such a track, its device present or not.
    pub fn has(&self, encoding: Encoding) -> bool {
        self.lock().track(encoding).is_some()
    }

    /// Delivers one record from a ring to all readers of its track. Returns false when its metadata
    /// was implausible: it was then renumbered, and the gap before it has an unknown length.
    pub fn publish(
        &self,
        encoding: Encoding,
        meta: &PacketMeta,
        payload: Bytes,
        now: MonoNs,
    ) -> bool {
        let mut state = self.lock();
        let State {
            sources,
            tracks,
            transcoders,
            subscribers,
            ..
        } = &mut *state;
        let Some(track) = tracks.iter_mut().find(|t| t.encoding == encoding) else {
            return true;
        };
        let kind = encoding.kind();
        let source = sources.iter_mut().find(|s| s.kind == kind);
        let interval = source.as_ref().map_or(Duration::ZERO, |s| s.interval);
        let ingested = track.ingest(meta, payload, interval, &self.clock, now);
        if let (Some(source), Some(losses)) = (source, &ingested.new_losses) {
            source.losses.count(losses);
        }
        for step in ingested.due_steps {
            let event = self.clock_step_event(kind, step);
            subscribers
                .iter()
                .for_each(|queues| queues.push_track_event(encoding, event));
        }
        let give = |track, packet: &Arc<Packet>| {
            let dropped: u64 = subscribers
                .iter()
                .map(|queues| queues.push(track, packet))
                .sum();
            self.deliveries(kind).dropped.fetch_add(dropped, Relaxed);
        };
        give(TrackSelector::Encoded(encoding), &ingested.packet);
        if encoding == Encoding::Pcm {
            for transcoder in transcoders {
                let track = TrackSelector::Transcoded(transcoder.format);
                match transcoder.transcode(&ingested.packet, now) {
                    Ok(packets) => packets
                        .iter()
                        .flatten()
                        .for_each(|packet| give(track, packet)),
                    Err(e) => {
                        let line = format!(
                            "{}: viewers that ask for {} get no audio: {e}",
                            self.camera, transcoder.format
                        );
                        if transcoder.faults.first_time_by_cause(&line) {
                            warn!("{line}");
                        }
                    }
                }
                if transcoder.has_recovered(now) {
                    info!(
                        "{}: viewers that ask for {} get audio again",
                        self.camera, transcoder.format
                    );
                }
            }
        }
        ingested.plausible
    }

    /// Takes over what a worker's status page says. `since`: when the state began, which tells two
    /// equal states apart; `None` where the page does not say. `interval`: time expected between
    /// packets.
    pub fn set_source_state(
        &self,
        kind: MediaKind,
        state: WorkerState,
        since: Option<MonoNs>,
        interval: Option<Duration>,
    ) {
        let stamp = self.clock.unix(since.unwrap_or_else(MonoNs::now));
        let mut hub = self.lock();
        let Some(source) = hub.source_mut(kind) else {
            return;
        };
        for event in source.set_state(state, since, interval) {
            let event = StampedEvent { stamp, event };
            hub.subscribers
                .iter()
                .for_each(|queues| queues.push_event(kind, event));
        }
    }

    /// Takes over how often a source's worker was restarted. The number never decreases, whatever
    /// the page says.
    pub fn set_source_restarts(&self, kind: MediaKind, restarts: u32) {
        if let Some(source) = self.lock().source_mut(kind) {
            source.restarts = source.restarts.max(restarts);
        }
    }

    /// Takes over a worker's description of its device, and its last fault in one line, or empty.
    pub fn set_source_description(
        &self,
        kind: MediaKind,
        info: Option<StreamInfo>,
        message: String,
    ) {
        if let Some(source) = self.lock().source_mut(kind) {
            source.info = info;
            source.message = message;
        }
    }

    /// The UNIX clock was set. Each track's readers get the event just before the first packet with
    /// the new time; subscribers to events alone get it at once.
    pub fn clock_stepped(&self, step: ClockStep) {
        let mut state = self.lock();
        for track in &mut state.tracks {
            track.clock_stepped(step);
        }
        for source in &state.sources {
            let event = self.clock_step_event(source.kind, step);
            state
                .subscribers
                .iter()
                .filter(|queues| queues.events_only())
                .for_each(|queues| queues.push_event(source.kind, event));
        }
    }

    fn clock_step_event(&self, stream: MediaKind, step: ClockStep) -> StampedEvent {
        StampedEvent {
            stamp: self.clock.unix(step.at),
            event: Event::ClockStep {
                stream,
                seconds: step.seconds,
            },
        }
    }

    /// Requests a keyframe for a reader that lost what it had. The encoder limits how often it
    /// makes one.
    // Without WebRTC no output reads H.264, the only encoding with keyframes and a bitrate.
    #[cfg(feature = "webrtc")]
    pub fn request_keyframe(&self, encoding: Encoding) {
        if let Some(track) = self.lock().track(encoding) {
            subscriber_queues::request_keyframe(track.demand());
        }
    }

    /// Bits per second; 0: the worker's default.
    #[cfg(feature = "webrtc")]
    pub fn set_bitrate(&self, encoding: Encoding, bps: u32) {
        if let Some(track) = self.lock().track(encoding) {
            track.change_demand(|demand| demand.bitrate_bps = bps);
        }
    }

    /// What is wanted of this track's worker. `None`: the hub has no such track.
    pub fn demand(&self, encoding: Encoding) -> Option<watch::Receiver<Demand>> {
        Some(self.lock().track(encoding)?.demand().subscribe())
    }

    /// The newest packet, which may be old where the track has no readers; `None` when there was
    /// none.
    pub fn latest(&self, encoding: Encoding) -> Option<Arc<Packet>> {
        self.lock().track(encoding)?.latest.clone()
    }

    /// The time expected between two packets of a source; zero until its worker reports it.
    pub fn interval(&self, kind: MediaKind) -> Duration {
        self.lock()
            .source(kind)
            .map_or(Duration::ZERO, |s| s.interval)
    }

    /// What a source's worker is doing; `None`: the camera has no such stream.
    pub fn source_state(&self, kind: MediaKind) -> Option<WorkerState> {
        self.lock().source(kind).map(|s| s.state)
    }

    /// Tells every subscriber, present and future, to end.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.subscribers.iter().for_each(|queues| queues.close());
    }

    /// A subscriber took a packet.
    fn record_delivery(&self, packet: &Packet) {
        let deliveries = self.deliveries(packet.encoding.kind());
        deliveries
            .age
            .record(MonoNs::now().since(packet.capture_time));
        deliveries
            .bytes
            .fetch_add(packet.payload.len() as u64, Relaxed);
    }

    fn deliveries(&self, kind: MediaKind) -> &Deliveries {
        match kind {
            MediaKind::Video => &self.video,
            MediaKind::Audio => &self.audio,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the hub is locked")
    }
}

impl State {
    fn track(&self, encoding: Encoding) -> Option<&Track> {
        self.tracks.iter().find(|t| t.encoding == encoding)
    }

    fn track_mut(&mut self, encoding: Encoding) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|t| t.encoding == encoding)
    }

    fn source(&self, kind: MediaKind) -> Option<&Source> {
        self.sources.iter().find(|s| s.kind == kind)
    }

    fn source_mut(&mut self, kind: MediaKind) -> Option<&mut Source> {
        self.sources.iter_mut().find(|s| s.kind == kind)
    }

    /// Adds a transcoder for this format unless there is one. `default`: a format that is not
    /// counted in the limit.
    ///
    /// # Errors
    /// The limit of formats is reached.
    fn add_transcoder(
        &mut self,
        format: AudioFormat,
        default: AudioFormat,
    ) -> Result<(), TooManyFormats> {
        if self.transcoders.iter().any(|t| t.format == format) {
            return Ok(());
        }
        let others = self.transcoders.iter().filter(|t| t.format != default);
        if format != default && others.count() == audio_transcode::MAX_FORMATS {
            let in_use = self.transcoders.iter().map(|t| t.format);
            let in_use = in_use.filter(|format| *format != default).collect();
            return Err(TooManyFormats { in_use });
        }
        self.transcoders.push(Transcoder::new(format));
        Ok(())
    }

    fn add_reader(&mut self, track: TrackSelector) {
        if let TrackSelector::Transcoded(format) = track {
            let transcoder = self.transcoders.iter_mut().find(|t| t.format == format);
            transcoder
                .into_iter()
                .for_each(|transcoder| transcoder.readers += 1);
        }
        if let Some(track) = self.track_mut(track.encoding()) {
            track.add_reader();
        }
    }

    fn remove_reader(&mut self, track: TrackSelector) {
        if let TrackSelector::Transcoded(format) = track {
            self.transcoders.retain_mut(|transcoder| {
                if transcoder.format == format {
                    transcoder.readers = transcoder.readers.saturating_sub(1);
                }
                transcoder.readers > 0
            });
        }
        if let Some(track) = self.track_mut(track.encoding()) {
            track.remove_reader();
        }
    }

    fn limit(&self, track: TrackSelector, delivery: Delivery) -> Limit {
        let encoding = track.encoding();
        match (delivery, encoding, self.source(encoding.kind())) {
            (Delivery::All, _, Some(source)) => Limit::Backlog(source.plan.backlog),
            (_, Encoding::Jpeg, _) => Limit::Newest,
            // An access unit of H.264 is of no use without those before it.
            (_, Encoding::H264 | Encoding::Pcm | Encoding::Opus, _) => Limit::Recent(LIVE),
        }
    }
}
