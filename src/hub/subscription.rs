//! A subscription: what one output asked for, and its end of the hub. Dropping it unsubscribes.

use super::audio_transcode::{AudioFormat, TooManyFormats};
use super::keyframe_gate::KeyframeGate;
use super::queue::{Item, Queue};
use super::subscriber_queues::{Queues, SubscriberQueues, request_keyframe};
use super::{Event, Hub, StampedEvent};
use crate::media::{Encoding, MediaKind, MonoNs};
use std::future::poll_fn;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};

/// A track of the hub that can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackSelector {
    /// As the worker encoded it.
    Encoded(Encoding),
    /// PCM in another format than the source's.
    Transcoded(AudioFormat),
}

impl TrackSelector {
    /// What the worker has to encode for it.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::Encoded(encoding) => encoding,
            Self::Transcoded(_) => Encoding::Pcm,
        }
    }
}

/// What waits for a subscriber that is slower than the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// The newest frame, or half a second of audio or H.264; never a backlog.
    #[default]
    Live,
    /// A backlog up to [`StreamPlan::backlog`](super::StreamPlan::backlog), then a gap.
    All,
}

impl Delivery {
    /// The word for log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::All => "all",
        }
    }
}

/// What an output asks for.
#[derive(Clone, Debug)]
pub struct Request {
    pub video: Option<TrackSelector>,
    pub audio: Option<TrackSelector>,
    pub delivery: Delivery,
    /// Video frames per second at most, > 0. Frames left out are not gaps. Does not apply to H.264,
    /// whose frames depend on each other.
    pub max_fps: Option<f64>,
    /// Events (source lost or back, clock steps) are wanted. Without video and audio: those of both
    /// streams.
    pub events: bool,
}

pub struct Subscription {
    hub: Arc<Hub>,
    queues: Arc<SubscriberQueues>,
}

/// What a look into the queues found.
pub enum Peek<'a> {
    Item(PeekedItem<'a>),
    Empty,
    /// The hub is closed: nothing more will come.
    Closed,
}

/// The next item. It stays next, and may be replaced by a newer one, unless it is
/// [committed](Self::commit). The queues are locked for as long as this lives, so it cannot be kept
/// across an `await`.
pub struct PeekedItem<'a> {
    hub: &'a Hub,
    queues: MutexGuard<'a, Queues>,
    kind: MediaKind,
    video_allowed: bool,
    /// `None` after the commit.
    item: Option<Item>,
}

impl PeekedItem<'_> {
    pub fn item(&self) -> &Item {
        self.item
            .as_ref()
            .expect("the item is there until it is committed")
    }

    /// Takes the item: it counts as delivered. Returns whether something else is waiting.
    pub fn commit(mut self) -> bool {
        self.take();
        self.queues.next(self.video_allowed).is_some()
    }

    fn take(&mut self) -> Option<Item> {
        let item = self.item.take()?;
        self.queues.delivered(self.kind, &item);
        if let Item::Packet { packet, .. } = &item {
            self.hub.record_delivery(packet);
        }
        Some(item)
    }
}

impl Drop for PeekedItem<'_> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.queues.put_back(self.kind, item);
        }
    }
}

impl Hub {
    /// Subscribes: the first packet is the next one that arrives. A track that the hub does not
    /// [have](Hub::has) never delivers anything. A reader of H.264 gets packets from the first
    /// keyframe on, which is requested here.
    ///
    /// # Errors
    /// The audio format is one more than there may be.
    pub fn subscribe(self: &Arc<Self>, request: &Request) -> Result<Subscription, TooManyFormats> {
        let mut state = self.lock();
        if let Some(TrackSelector::Transcoded(format)) = request.audio {
            state.add_transcoder(format, self.default_audio)?;
        }
        let now = MonoNs::now();
        let queue = |track: TrackSelector, max_fps| {
            let is_gated = track == TrackSelector::Encoded(Encoding::H264);
            let gate = is_gated.then(|| KeyframeGate::new(now));
            Queue::new(state.limit(track, request.delivery), max_fps, gate)
        };
        // Without tracks, events of both streams go into queues that no packet enters.
        let events_only = request.events && request.video.is_none() && request.audio.is_none();
        let or_events = |track: Option<TrackSelector>, encoding| {
            track.or(events_only.then_some(TrackSelector::Encoded(encoding)))
        };
        let video = or_events(request.video, Encoding::Jpeg);
        let audio = or_events(request.audio, Encoding::Pcm);
        let keyframes = match request.video {
            Some(TrackSelector::Encoded(Encoding::H264)) => state
                .track(Encoding::H264)
                .map(|track| track.demand().clone()),
            _ => None,
        };
        let queues = Arc::new(SubscriberQueues::new(
            request.video,
            request.audio,
            request.events,
            Queues {
                video: video.map(|track| queue(track, request.max_fps)),
                audio: audio.map(|track| queue(track, None)),
                keyframes: keyframes.clone(),
                video_was_last: false,
                closed: state.closed,
                waker: None,
            },
        ));
        for source in state.sources.iter().filter(|source| source.lost) {
            let event = StampedEvent {
                stamp: self.clock.unix(now),
                event: Event::SourceLost {
                    stream: source.kind,
                },
            };
            queues.push_event(source.kind, event);
        }
        for track in queues.tracks() {
            state.add_reader(track);
        }
        if let Some(keyframes) = &keyframes {
            request_keyframe(keyframes);
        }
        state.subscribers.push(queues.clone());
        drop(state);
        Ok(Subscription {
            hub: self.clone(),
            queues,
        })
    }
}

impl Subscription {
    /// Shows the next item, and has the task woken from now on whenever something arrives. Video
    /// packets stay queued, under the queue's rules, while `video_allowed` is false.
    pub fn peek(&self, cx: &Context<'_>, video_allowed: bool) -> Peek<'_> {
        let mut queues = self.queues.lock();
        queues.register(cx);
        if queues.closed {
            return Peek::Closed;
        }
        match self.peek_locked(queues, video_allowed) {
            Some(item) => Peek::Item(item),
            None => Peek::Empty,
        }
    }

    /// Takes the next item; `None` when there is nothing (then wait for
    /// [`readable`](Self::readable)). Video packets stay queued while `video_allowed` is false.
    pub fn take(&self, video_allowed: bool) -> Option<Item> {
        self.peek_locked(self.queues.lock(), video_allowed)?.take()
    }

    fn peek_locked<'a>(
        &'a self,
        mut queues: MutexGuard<'a, Queues>,
        video_allowed: bool,
    ) -> Option<PeekedItem<'a>> {
        let kind = queues.next(video_allowed)?;
        let item = queues.pop(kind)?;
        Some(PeekedItem {
            hub: &self.hub,
            queues,
            kind,
            video_allowed,
            item: Some(item),
        })
    }

    /// Returns when there is something to take, or the hub is closed. One task at a time may wait.
    pub async fn readable(&self) {
        poll_fn(|cx| {
            let mut queues = self.queues.lock();
            queues.register(cx);
            if queues.closed || queues.next(true).is_some() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Ready when the hub is closed. Also has the task woken whenever something arrives.
    pub fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut queues = self.queues.lock();
        queues.register(cx);
        if queues.closed {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The hub is closed: nothing more will come.
    pub fn is_closed(&self) -> bool {
        self.queues.lock().closed
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state
            .subscribers
            .retain(|queues| !Arc::ptr_eq(queues, &self.queues));
        for track in self.queues.tracks() {
            state.remove_reader(track);
        }
    }
}
