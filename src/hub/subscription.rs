//! A subscription: what one output asked for, and its end of the hub. Dropping it unsubscribes.

use super::audio_transcode::{Conversion, View};
use super::queue::{Item, Notice, Queue};
use super::{Hub, Packet, State};
use crate::media::{Encoding, MediaKind};
use crate::wire::{Delivery, Event};
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// A stream that can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    Encoded(Encoding),
    /// Sound in another shape.
    Viewed(View),
}

impl Feed {
    /// What is encoded for it.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::Encoded(encoding) => encoding,
            Self::Viewed(_) => Encoding::Pcm,
        }
    }
}

/// What an output asks for.
#[derive(Clone, Debug)]
pub struct Request {
    pub video: Option<Feed>,
    pub audio: Option<Feed>,
    pub delivery: Delivery,
    /// Video frames per second at most.
    pub max_fps: Option<f64>,
    /// Notices (source lost or back, clock steps) are wanted.
    pub events: bool,
}

/// Each view costs the server a filter, so a viewer must not be able to ask for one of its own again and again.
#[derive(Debug, thiserror::Error)]
#[error(
    "this server makes {MAX_VIEWS} kinds of resampled sound at a time, and all are taken; ask for the source's own, or for {0}"
)]
pub struct TooManyViews(String);

/// Different views at a time.
const MAX_VIEWS: usize = 8;

/// The hub's side of a subscription.
pub(super) struct Inbox {
    video: Option<Feed>,
    audio: Option<Feed>,
    events: bool,
    queues: Mutex<Queues>,
}

struct Queues {
    video: Option<Queue>,
    audio: Option<Queue>,
    /// When both have something, they take turns, so that neither starves the other on a slow line.
    video_was_last: bool,
    closed: bool,
    /// Of the task that takes. Kept when it was woken: it is the same one every time.
    waiting: Option<Waker>,
}

pub struct Subscription {
    hub: Arc<Hub>,
    inbox: Arc<Inbox>,
}

impl Hub {
    /// Subscribes: the first packet is the next one that is captured. Ask [`Hub::has`] first; a stream that is not there never
    /// gives anything. Fails when it would take one [`View`] more than there may be.
    pub fn subscribe(self: &Arc<Self>, request: &Request) -> Result<Subscription, TooManyViews> {
        let mut state = self.lock();
        if let Some(Feed::Viewed(view)) = request.audio {
            state.make_view(view)?;
        }
        let queue = |feed, max_fps| Queue::new(state.limit(feed, request.delivery), max_fps);
        // Who asks for events alone hears of both streams, in queues that no packet enters.
        let bare = request.events && request.video.is_none() && request.audio.is_none();
        let video = request
            .video
            .or(bare.then_some(Feed::Encoded(Encoding::Jpeg)));
        let audio = request
            .audio
            .or(bare.then_some(Feed::Encoded(Encoding::Pcm)));
        let queues = Queues {
            video: video.map(|feed| queue(feed, request.max_fps)),
            audio: audio.map(|feed| queue(feed, None)),
            video_was_last: false,
            closed: state.closed,
            waiting: None,
        };
        let inbox = Arc::new(Inbox {
            video: request.video,
            audio: request.audio,
            events: request.events,
            queues: Mutex::new(queues),
        });
        for source in state.sources.iter().filter(|s| s.away) {
            let stamp = state.clock.to_unix(crate::media::MonoNs::now());
            inbox.notify_of(
                source.kind,
                &Notice {
                    stamp,
                    event: Event::SourceLost {
                        stream: source.kind,
                    },
                },
            );
        }
        for feed in inbox.feeds() {
            state.count_reader(feed, true);
        }
        state.inboxes.push(inbox.clone());
        drop(state);
        Ok(Subscription {
            hub: self.clone(),
            inbox,
        })
    }
}

/// What became of a look into the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Yes {
        /// Something else was waiting behind it.
        more: bool,
    },
    /// The item is still next, unless a newer one replaces it.
    Refused,
    Nothing,
    /// The hub has ended: no more will come.
    Closed,
}

impl Subscription {
    /// Shows what is next to `accept`, which takes it or leaves it, and wakes the task from now on whenever something comes.
    /// Video packets stay queued, under the queue's rules, while `video_allowed` is false. The queues are locked meanwhile:
    /// `accept` must neither wait nor call the hub.
    pub fn take_if<E>(
        &self,
        cx: &Context<'_>,
        video_allowed: bool,
        accept: impl FnOnce(&Item) -> Result<bool, E>,
    ) -> Result<Taken, E> {
        let mut queues = self.inbox.lock();
        queues.wake(cx);
        if queues.closed {
            return Ok(Taken::Closed);
        }
        if queues.next(video_allowed).is_none() {
            return Ok(Taken::Nothing);
        }
        let taken = queues.take_if(video_allowed, accept)?;
        let more = queues.next(video_allowed).is_some();
        drop(queues);
        Ok(taken.map_or(Taken::Refused, |item| {
            self.note_taken(&item);
            Taken::Yes { more }
        }))
    }

    /// What is next; `None` when there is nothing (then wait for [`news`](Self::news)). Video packets stay queued while
    /// `video_allowed` is false.
    pub fn take(&self, video_allowed: bool) -> Option<Item> {
        let Ok(item) = self
            .inbox
            .lock()
            .take_if(video_allowed, |_| Ok::<_, Infallible>(true));
        item.inspect(|item| self.note_taken(item))
    }

    fn note_taken(&self, item: &Item) {
        if let Item::Packet { packet, .. } = item {
            self.hub.note_taken(packet);
        }
    }

    /// Returns when there is something to take, or the hub has ended. One task at a time may wait.
    pub async fn news(&self) {
        poll_fn(|cx| {
            let mut queues = self.inbox.lock();
            queues.wake(cx);
            if queues.closed || queues.next(true).is_some() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Ready when the hub has ended. The task is woken by other news too.
    pub fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut queues = self.inbox.lock();
        queues.wake(cx);
        if queues.closed {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The hub has ended: no more will come.
    pub fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }
}

impl Queues {
    /// The queue whose turn it is, and whether it is that of the video.
    fn next(&mut self, video_allowed: bool) -> Option<(&mut Queue, bool)> {
        let video = self.video.as_mut().filter(|q| q.has_news(video_allowed));
        let audio = self.audio.as_mut().filter(|q| q.has_news(true));
        match (video, audio) {
            (Some(_), Some(audio)) if self.video_was_last => Some((audio, false)),
            (Some(video), _) => Some((video, true)),
            (None, Some(audio)) => Some((audio, false)),
            (None, None) => None,
        }
    }

    /// The item whose turn it is, if `accept` takes it.
    fn take_if<E>(
        &mut self,
        video_allowed: bool,
        accept: impl FnOnce(&Item) -> Result<bool, E>,
    ) -> Result<Option<Item>, E> {
        let Some((queue, is_video)) = self.next(video_allowed) else {
            return Ok(None);
        };
        let item = queue.take_if(accept)?;
        if item.is_some() {
            self.video_was_last = is_video;
        }
        Ok(item)
    }

    /// Has this task woken by whatever comes.
    fn wake(&mut self, cx: &Context<'_>) {
        if !self
            .waiting
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.waiting = Some(cx.waker().clone());
        }
    }

    /// There is news.
    fn ring(&self) {
        if let Some(waker) = &self.waiting {
            waker.wake_by_ref();
        }
    }
}

impl State {
    fn make_view(&mut self, view: View) -> Result<(), TooManyViews> {
        if self.views.iter().any(|made| made.view == view) {
            return Ok(());
        }
        if self.views.len() == MAX_VIEWS {
            let mut taken: Vec<_> = self
                .views
                .iter()
                .map(|made| made.view.to_string())
                .collect();
            taken.sort();
            return Err(TooManyViews(taken.join(", ")));
        }
        self.views.push(Conversion::new(view));
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state
            .inboxes
            .retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
        for feed in self.inbox.feeds() {
            state.count_reader(feed, false);
        }
    }
}

impl Inbox {
    /// Returns how many packets went unread for this one.
    pub fn offer(&self, feed: Feed, packet: &Arc<Packet>) -> u64 {
        let mut queues = self.lock();
        let queue = match feed {
            _ if self.video == Some(feed) => &mut queues.video,
            _ if self.audio == Some(feed) => &mut queues.audio,
            _ => return 0,
        };
        let Some(gone) = queue.as_mut().and_then(|q| q.offer(packet)) else {
            return 0;
        };
        queues.ring();
        gone
    }

    /// Tells of something that happened to one stream, if it was asked for.
    pub fn notify_of(&self, kind: MediaKind, notice: &Notice) {
        if !self.events {
            return;
        }
        let mut queues = self.lock();
        let queue = match kind {
            MediaKind::Video => &mut queues.video,
            MediaKind::Audio => &mut queues.audio,
        };
        if let Some(queue) = queue {
            queue.notify(notice.clone());
            queues.ring();
        }
    }

    /// The same for a reader of this encoding, or of a view of it.
    pub fn notify_readers_of(&self, encoding: Encoding, notice: &Notice) {
        if self.feeds().any(|feed| feed.encoding() == encoding) {
            self.notify_of(encoding.kind(), notice);
        }
    }

    /// No packet will come.
    pub fn is_bare(&self) -> bool {
        self.feeds().next().is_none()
    }

    pub fn close(&self) {
        let mut queues = self.lock();
        queues.closed = true;
        queues.ring();
    }

    fn feeds(&self) -> impl Iterator<Item = Feed> {
        [self.video, self.audio].into_iter().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues
            .lock()
            .expect("nothing panics while it holds a queue")
    }
}
