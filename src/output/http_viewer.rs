//! A viewer over plain HTTP: a subscription and a permit among the viewers.

use super::{ApiError, Context};
use crate::http::ClientAddr;
use crate::hub::{Hub, Item, Packet, Request, Subscription};
use axum::http::{HeaderName, header};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tracing::info;

/// For responses with live content.
pub(super) const LIVE_HEADERS: [(HeaderName, &str); 2] = [
    (header::CACHE_CONTROL, "no-store"),
    // Keeps nginx from buffering the response, which would delay frames.
    (HeaderName::from_static("x-accel-buffering"), "no"),
];

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
    /// # Errors
    /// The limit of viewers, or of audio formats, is reached.
    pub(super) fn subscribe(
        cx: &Context,
        hub: &Arc<Hub>,
        request: &Request,
    ) -> Result<Self, ApiError> {
        let permit = cx
            .viewers
            .clone()
            .try_acquire_owned()
            .map_err(|_| ApiError::TooManyViewers)?;
        let subscription = hub
            .subscribe(request)
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
            if let Item::Packet { packet, .. } = self.next_item().await? {
                return Some(packet);
            }
        }
    }

    /// The next packet, with the gaps before it, or event; `None` when the server stops.
    pub(super) async fn next_item(&self) -> Option<Item> {
        loop {
            match self.subscription.take(true) {
                Some(item) => return Some(item),
                None if self.subscription.is_closed() => return None,
                None => self.subscription.readable().await,
            }
        }
    }
}
