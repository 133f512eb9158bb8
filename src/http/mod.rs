//! The network: connections, and what each path answers. Knows the hub and the wire; knows no ring and no device.

pub mod access;
pub mod connection;
pub mod error;
pub mod reload;
#[cfg(feature = "tls")]
pub mod tls;

use crate::hub::Hub;
use access::Access;
use axum::Router;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use error::Problem;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{error, warn};

/// What strangers can use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Viewers at a time; beyond them 503.
    pub viewers: usize,
    /// Connections at a time that are no WebSocket. Beyond them the oldest that nothing is being answered to gives way; where
    /// all are busy, 503.
    pub connections: usize,
    /// How long a request's head may take, and its body, and how long a connection may lie idle.
    pub head: Duration,
    /// How long anyone may take nothing although there is something to take.
    pub stalled: Duration,
    /// The longest WebSocket message that is read, bytes; beyond it close code 1009. The longest that means anything has 69.
    pub message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            viewers: 600,
            connections: 256,
            head: Duration::from_secs(10),
            stalled: Duration::from_secs(60),
            message: 4096,
        }
    }
}

/// How long viewers and requests get to end.
const DRAIN: Duration = Duration::from_secs(1);
/// When no connection can be accepted (no descriptors left), the wait before the next try.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How long the end of a connection that gives way may take.
const GIVING_WAY: Duration = Duration::from_millis(100);

/// What the command line says of the network side.
pub struct Door {
    pub access: Access,
    /// The page is at `/`.
    pub serve_client: bool,
    /// How often the server itself was started again.
    pub restarts: u32,
    /// `None`: in the clear.
    #[cfg(feature = "tls")]
    pub tls: Option<tls::Tls>,
    /// `Ok(None)`: off. An error: on, and why it cannot be had.
    #[cfg(feature = "webrtc")]
    pub webrtc: Result<Option<Arc<crate::output::webrtc::Server>>, String>,
}

/// What the handlers of requests share.
#[derive(Clone)]
pub struct App {
    pub hub: Arc<Hub>,
    pub places: Arc<Semaphore>,
    pub serve_client: bool,
    pub restarts: u32,
    #[cfg(feature = "webrtc")]
    pub webrtc: Option<Arc<crate::output::webrtc::Server>>,
}

impl App {
    pub fn has_webrtc(&self) -> bool {
        #[cfg(feature = "webrtc")]
        return self.webrtc.is_some();
        #[cfg(not(feature = "webrtc"))]
        false
    }
}

/// Serves until `shutdown`; then every viewer is told so (close code 1001), and all is over within a second.
pub async fn serve(
    listener: TcpListener,
    hub: Arc<Hub>,
    door: Door,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let more = routes_of_webrtc(&door, &limits);
    let app = App {
        hub: hub.clone(),
        places: Arc::new(Semaphore::new(limits.viewers)),
        serve_client: door.serve_client,
        restarts: door.restarts,
        #[cfg(feature = "webrtc")]
        webrtc: door.webrtc.unwrap_or_default(),
    };
    let mut doorstep = Doorstep::new(limits.connections);
    let (stop, stopping) = watch::channel(false);
    let server = connection::Server {
        hub: hub.clone(),
        router: router(app, door.access, more),
        limits,
        stopping,
        #[cfg(feature = "tls")]
        tls: door.tls.map(Arc::new),
    };
    let mut connections = JoinSet::new();
    let mut accept_failed = false;
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    accept_failed = false;
                    match doorstep.place().await {
                        Some(place) => {
                            let busy = Arc::new(AtomicBool::new(false));
                            let task = connections.spawn(server.clone().serve(stream, peer, place, busy.clone()));
                            doorstep.open.push_back(Open { task, busy });
                        }
                        None => connection::turn_away(&stream),
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

/// The places of connections that are no viewers. Whoever says nothing, may not ask, or lies idle between two requests takes
/// no place from those who ask.
struct Doorstep {
    places: Arc<Semaphore>,
    /// In the order of their coming, and not of their last request: who asks often does not get older than who just came.
    /// Those that have ended are swept out as it grows; viewers are among the others.
    open: VecDeque<Open>,
    sweep_at: usize,
}

struct Open {
    task: AbortHandle,
    busy: Arc<AtomicBool>,
}

impl Doorstep {
    fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            open: VecDeque::new(),
            sweep_at: 2 * places,
        }
    }

    async fn place(&mut self) -> Option<OwnedSemaphorePermit> {
        if self.open.len() >= self.sweep_at {
            self.open.retain(|c| !c.task.is_finished());
        }
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(place);
        }
        let oldest = self
            .open
            .iter()
            .position(|c| !c.task.is_finished() && !c.busy.load(Relaxed))?;
        self.open.remove(oldest)?.task.abort();
        // The runtime drops it, and its place, at its next turn.
        timeout(GIVING_WAY, self.places.clone().acquire_owned())
            .await
            .ok()?
            .ok()
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended
        && !e.is_cancelled()
    {
        error!("a connection's task failed: {e}");
    }
}

fn router(app: App, access: Access, more: Router) -> Router {
    let page = if app.serve_client {
        Router::new().route("/index.html", get(crate::api::index::page))
    } else {
        Router::new()
    };
    page.route("/", get(crate::api::index::root))
        .route("/stream", get(crate::output::websocket::handshake::stream))
        .route("/info", get(crate::api::index::info))
        .route("/state", get(crate::api::ustreamer_state::state))
        .route("/metrics", get(crate::api::metrics::metrics))
        .route("/snapshot.jpg", get(crate::output::mjpeg::snapshot))
        .route("/snapshot", get(crate::output::mjpeg::snapshot))
        .route("/stream.mjpg", get(crate::output::mjpeg::mjpeg))
        .route("/audio.wav", get(crate::output::wav::wav))
        .route("/healthz", get(crate::api::index::healthz))
        .fallback(async || Problem::NotFound)
        .with_state(app)
        .merge(more)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(
            Arc::new(access),
            access::layer,
        ))
}

/// The router adds the `Allow` header: to whoever asks for it with OPTIONS (RFC 9110, section 9.3.7), and to a refusal.
async fn no_such_method(method: Method) -> Response {
    match method {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => Problem::Method.into_response(),
    }
}

#[cfg(feature = "webrtc")]
fn routes_of_webrtc(door: &Door, limits: &Limits) -> Router {
    match &door.webrtc {
        Ok(Some(server)) => crate::output::webrtc::http::routes(server.clone(), limits.head),
        Ok(None) => Router::new(),
        Err(reason) => crate::output::webrtc::http::unavailable(reason),
    }
}

#[cfg(not(feature = "webrtc"))]
fn routes_of_webrtc(_: &Door, _: &Limits) -> Router {
    Router::new()
}

/// The listener of the supervisor, made ready for this runtime.
pub fn listener(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
