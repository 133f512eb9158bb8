//! The hub's side of a subscription: the queues of one subscriber, and the task to wake.

use super::event::StampedEvent;
use super::queue::{Item, Queue};
use super::subscription::TrackSelector;
use super::{Demand, Packet};
use crate::media::{Encoding, MediaKind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use tokio::sync::watch;

pub(super) struct SubscriberQueues {
    video: Option<TrackSelector>,
    audio: Option<TrackSelector>,
    events: bool,
    queues: Mutex<Queues>,
}

pub(super) struct Queues {
    pub video: Option<Queue>,
    pub audio: Option<Queue>,
    /// Asks the worker of an H.264 track for keyframes.
    pub keyframes: Option<watch::Sender<Demand>>,
    /// When both queues have something, they take turns, so that neither starves the other on a
    /// slow connection.
    pub video_was_last: bool,
    pub closed: bool,
    /// The reading task. Kept when it was woken: it is the same one every time.
    pub waker: Option<Waker>,
}

impl SubscriberQueues {
    pub(super) fn new(
        video: Option<TrackSelector>,
        audio: Option<TrackSelector>,
        events: bool,
        queues: Queues,
    ) -> Self {
        Self {
            video,
            audio,
            events,
            queues: Mutex::new(queues),
        }
    }

    /// Appends a packet, where this subscriber reads `track`. Returns how many packets were dropped
    /// for it.
    pub(super) fn push(&self, track: TrackSelector, packet: &Arc<Packet>) -> u64 {
        let mut queues = self.lock();
        let queue = match track {
            _ if self.video == Some(track) => &mut queues.video,
            _ if self.audio == Some(track) => &mut queues.audio,
            _ => return 0,
        };
        let Some(dropped) = queue.as_mut().and_then(|queue| queue.push(packet)) else {
            return 0;
        };
        queues.wake();
        dropped
    }

    /// Appends an event of one stream, where this subscriber reads events.
    pub(super) fn push_event(&self, kind: MediaKind, event: StampedEvent) {
        if !self.events {
            return;
        }
        let mut queues = self.lock();
        let queue = match kind {
            MediaKind::Video => &mut queues.video,
            MediaKind::Audio => &mut queues.audio,
        };
        if let Some(queue) = queue {
            queue.push_event(event);
            queues.wake();
        }
    }

    /// The same, for a reader of this encoding or of audio transcoded from it.
    pub(super) fn push_track_event(&self, encoding: Encoding, event: StampedEvent) {
        if self.tracks().any(|track| track.encoding() == encoding) {
            self.push_event(encoding.kind(), event);
        }
    }

    /// No packet will arrive.
    pub(super) fn events_only(&self) -> bool {
        self.tracks().next().is_none()
    }

    pub(super) fn close(&self) {
        let mut queues = self.lock();
        queues.closed = true;
        queues.wake();
    }

    pub(super) fn tracks(&self) -> impl Iterator<Item = TrackSelector> {
        [self.video, self.audio].into_iter().flatten()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues
            .lock()
            .expect("no panic while a queue is locked")
    }
}

impl Queues {
    /// The stream whose turn it is; `None` when there is nothing to read.
    pub(super) fn next(&mut self, video_allowed: bool) -> Option<MediaKind> {
        if let Some(video) = &mut self.video
            && video.skip_undecodable()
            && let Some(keyframes) = &self.keyframes
        {
            request_keyframe(keyframes);
        }
        let is_readable = |queue: &Option<Queue>, packets_allowed| {
            queue
                .as_ref()
                .is_some_and(|queue| queue.is_readable(packets_allowed))
        };
        match (
            is_readable(&self.video, video_allowed),
            is_readable(&self.audio, true),
        ) {
            (true, true) if self.video_was_last => Some(MediaKind::Audio),
            (true, _) => Some(MediaKind::Video),
            (false, true) => Some(MediaKind::Audio),
            (false, false) => None,
        }
    }

    /// Takes out the next item of this stream; see [`Queue::pop`].
    pub(super) fn pop(&mut self, kind: MediaKind) -> Option<Item> {
        self.queue(kind)?.pop()
    }

    pub(super) fn put_back(&mut self, kind: MediaKind, item: Item) {
        if let Some(queue) = self.queue(kind) {
            queue.put_back(item);
        }
    }

    pub(super) fn delivered(&mut self, kind: MediaKind, item: &Item) {
        self.video_was_last = kind == MediaKind::Video;
        if let Some(queue) = self.queue(kind) {
            queue.delivered(item);
        }
    }

    fn queue(&mut self, kind: MediaKind) -> Option<&mut Queue> {
        match kind {
            MediaKind::Video => self.video.as_mut(),
            MediaKind::Audio => self.audio.as_mut(),
        }
    }

    /// Has this task woken whenever something arrives.
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        if !self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// Takes no lock of the hub, so that it may be called while a queue is locked.
pub(super) fn request_keyframe(demand: &watch::Sender<Demand>) {
    demand.send_modify(|demand| demand.keyframes = demand.keyframes.wrapping_add(1));
}
