//! The network: connections, and what each path answers. Knows the hub and the wire; knows no ring and no device.

pub mod access;
mod connection;
mod incoming;
mod socket;
mod status;
mod stream;
mod viewer;
#[cfg(feature = "webrtc")]
pub mod webrtc;

use crate::hub::Hub;
use access::Access;
use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::get;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{error, warn};

/// What strangers can use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Viewers at a time; beyond them 503.
    pub viewers: usize,
    /// Other connections at a time; beyond them 503.
    pub connections: usize,
    /// How long a request's head may take, and a connection lie idle.
    pub head: Duration,
    /// How long a viewer may take nothing although there is something for it.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { viewers: 600, connections: 256, head: Duration::from_secs(10), stalled: Duration::from_secs(60) }
    }
}

/// How long viewers and requests get to end.
const DRAIN: Duration = Duration::from_secs(1);
/// When no connection can be accepted (no descriptors left), the wait before the next try.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the handlers of requests share.
#[derive(Clone)]
struct App {
    hub: Arc<Hub>,
    places: Arc<Semaphore>,
}

/// Serves until `shutdown`, with what other rooms serve over HTTP (`more`) behind the same door; then every viewer is told so (close code 1001), and all is over within a second.
pub async fn serve(listener: TcpListener, hub: Arc<Hub>, access: Access, limits: Limits, more: Router, shutdown: impl Future<Output = ()>) {
    let app = App { hub: hub.clone(), places: Arc::new(Semaphore::new(limits.viewers)) };
    let doorstep = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopping) = watch::channel(false);
    let server = connection::Server { hub: hub.clone(), router: router(app, access, more), limits, stopping };
    let mut connections = JoinSet::new();
    let mut accept_failed = false;
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    accept_failed = false;
                    match doorstep.clone().try_acquire_owned() {
                        Ok(place) => drop(connections.spawn(server.clone().serve(stream, peer, place))),
                        Err(_) => connection::turn_away(&stream),
                    }
                }
                Err(e) => {
                    if !std::mem::replace(&mut accept_failed, true) {
                        warn!("cannot accept connections: {e}; trying again");
                    }
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
            Some(ended) = connections.join_next() => report(ended),
            () = &mut shutdown => break,
        }
    }
    drop(listener);
    hub.close();
    // Fails only when no connection is left to hear it.
    let _ = stop.send(true);
    let deadline = Instant::now() + DRAIN;
    while let Ok(Some(ended)) = timeout_at(deadline, connections.join_next()).await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended {
        error!("a connection's task failed: {e}");
    }
}

fn router(app: App, access: Access, more: Router) -> Router {
    Router::new()
        .route("/", get(status::addresses))
        .route("/stream", get(stream::stream))
        .route("/info", get(status::info))
        .route("/healthz", get(status::healthz))
        .fallback(async || (StatusCode::NOT_FOUND, "there is nothing here; / lists what there is\n"))
        .with_state(app)
        .merge(more)
        .layer(middleware::from_fn_with_state(Arc::new(access), access::layer))
}

/// The listener of the supervisor, made ready for this runtime.
pub fn listener(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
