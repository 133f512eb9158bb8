//! One encoding's packets and a place among the viewers, for outputs of plain HTTP. Knows the hub; knows no format.

use crate::http::App;
use crate::http::error::Problem;
use crate::hub::{Feed, Item, Packet, Request, Subscription};
use crate::media::{Encoding, MediaKind};
use crate::wire::Delivery;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tracing::info;

/// Packets from now on, under the hub's rules for a reader that is slow. The place is free again when this is dropped.
pub struct Packets {
    subscription: Subscription,
    _place: OwnedSemaphorePermit,
    _visit: Option<Visit>,
}

/// Whom a request comes from; its connection says so.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// A viewer's coming and going, in the log.
struct Visit(SocketAddr);

impl Drop for Visit {
    fn drop(&mut self) {
        info!("viewer {} left", self.0);
    }
}

impl Packets {
    /// `max_fps`: pictures per second at most.
    pub fn subscribe(
        app: &App,
        encoding: Encoding,
        delivery: Delivery,
        max_fps: Option<f64>,
    ) -> Result<Self, Problem> {
        let feed = Some(Feed::Encoded(encoding));
        let (video, audio, absent) = match encoding.kind() {
            MediaKind::Video => (feed, None, Problem::NoCamera),
            MediaKind::Audio => (None, feed, Problem::NoSound),
        };
        if !app.hub.has(encoding) {
            return Err(absent);
        }
        let place = app
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Problem::Full)?;
        let request = Request {
            video,
            audio,
            delivery,
            max_fps,
            events: false,
        };
        let subscription = app.hub.subscribe(&request).map_err(|_| Problem::Full)?;
        Ok(Self {
            subscription,
            _place: place,
            _visit: None,
        })
    }

    /// The log tells that this viewer has come, and, once this is dropped, that it has left. `what`: it is sent.
    pub fn logged(self, Peer(peer): Peer, what: &str) -> Self {
        info!("viewer {peer} joined: {what}");
        Self {
            _visit: Some(Visit(peer)),
            ..self
        }
    }

    /// The next packet; `None` when the server stops.
    pub async fn next(&self) -> Option<Arc<Packet>> {
        loop {
            match self.subscription.take(true) {
                Some(Item::Packet { packet, .. }) => return Some(packet),
                Some(Item::Notice(_)) => {}
                None if self.subscription.is_closed() => return None,
                None => self.subscription.news().await,
            }
        }
    }
}
