//! A viewer over plain HTTP: the packets of one track, and a permit among the viewers.

use super::{ApiError, Context};
use crate::http::ClientAddr;
use crate::hub::{Delivery, Hub, Item, Packet, Request, Subscription, TrackSelector};
use crate::media::MediaKind;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tracing::info;

/// Reads packets from now on, under the hub's rules for slow subscribers. Dropping it gives the
/// permit back.
pub(super) struct HttpViewer {
    subscription: Subscription,
    _permit: OwnedSemaphorePermit,
    _log: Option<ViewerLog>,
}

/// Logs the end of a viewer when dropped.
struct ViewerLog(ClientAddr);

impl Drop for ViewerLog {
    fn drop(&mut self) {
        info!("viewer {} left", self.0);
    }
}

impl HttpViewer {
    /// `max_fps`: frames per second at most.
    ///
    /// # Errors
    /// The hub has no such stream, or the limit of viewers is reached.
    pub(super) fn subscribe(
        cx: &Context,
        hub: &Arc<Hub>,
        track: TrackSelector,
        delivery: Delivery,
        max_fps: Option<f64>,
    ) -> Result<Self, ApiError> {
        let encoding = track.encoding();
        let track = Some(track);
        let (video, audio, absent) = match encoding.kind() {
            MediaKind::Video => (track, None, ApiError::NoVideo),
            MediaKind::Audio => (None, track, ApiError::NoAudio),
        };
        if !hub.has(encoding) {
            return Err(absent);
        }
        let permit = cx
            .viewers
            .clone()
            .try_acquire_owned()
            .map_err(|_| ApiError::TooManyViewers)?;
        let request = Request {
            video,
            audio,
            delivery,
            max_fps,
            events: false,
        };
        let subscription = hub
            .subscribe(&request)
            .map_err(|_| ApiError::TooManyViewers)?;
        Ok(Self {
            subscription,
            _permit: permit,
            _log: None,
        })
    }

    /// Logs that this viewer joined, and, when it is dropped, that it left. `what`: it is sent.
    pub(super) fn logged(self, client: ClientAddr, what: &str) -> Self {
        info!("viewer {client} joined: {what}");
        Self {
            _log: Some(ViewerLog(client)),
            ..self
        }
    }

    /// The next packet; `None` when the server stops.
    pub(super) async fn next(&self) -> Option<Arc<Packet>> {
        loop {
            match self.subscription.take(true) {
                Some(Item::Packet { packet, .. }) => return Some(packet),
                Some(Item::Event(_)) => {}
                None if self.subscription.is_closed() => return None,
                None => self.subscription.readable().await,
            }
        }
    }
}
