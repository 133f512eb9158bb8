//! HTTP transport: accepts connections, limits them, speaks TLS, authorizes requests and hands
//! upgraded connections to the handlers that accepted them. Serves any axum [`Router`]; knows no
//! hub and no output.

pub mod access;
mod auth_layer;
pub(crate) mod connection;
#[cfg(test)]
mod connection_tests;
pub(crate) mod content_policy;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod guesses;
#[cfg(test)]
mod layer_tests;
mod peers;
pub(crate) mod reload;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/absent.rs"]
pub mod tls;
pub(crate) mod upgrade;
pub(crate) mod upgraded_stream;

pub use connection::ClientAddr;
pub use upgrade::{UpgradeSlot, Upgraded};
pub use upgraded_stream::UpgradedStream;

use crate::config::Limits;
use crate::log::LogOnce;
use crate::net::connection_limiter::ConnectionLimiter;
use access::Access;
use axum::Router;
use axum::middleware;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tls::Tls;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

/// Time for requests and upgraded connections to end at shutdown.
const DRAIN: Duration = Duration::from_secs(1);
/// Pause after a failed accept (no file descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the transport is configured with.
pub struct HttpConfig {
    pub access: Access,
    pub limits: Limits,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
}

/// Serves `router`, behind the access rules, until `shutdown`; then requests and upgraded
/// connections have one second to end.
///
/// Every request has the extensions [`ClientAddr`], [`UpgradeSlot`] and, once authorized,
/// [`access::Scope`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: HttpConfig,
    shutdown: impl Future<Output = ()>,
) {
    let HttpConfig {
        access,
        limits,
        tls,
    } = config;
    let mut limiter = ConnectionLimiter::new(limits.connections);
    let (stop, stopping) = watch::channel(false);
    let server = connection::Server {
        router: router.layer(middleware::from_fn_with_state(
            Arc::new(access),
            auth_layer::auth_layer,
        )),
        limits,
        stopping,
        tls: tls.map(Arc::new),
    };
    let mut connections = JoinSet::new();
    let mut accept_errors = LogOnce::default();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    accept_errors.recovered();
                    match limiter.admit().await {
                        Some(slot) => {
                            let busy = slot.busy();
                            let serving = server.clone().serve(stream, ClientAddr(client), slot);
                            limiter.track(connections.spawn(serving), busy);
                        }
                        None => connection::reject_overloaded(&stream),
                    }
                }
                Err(e) => {
                    if accept_errors.first_time(&e.to_string()) {
                        warn!("cannot accept connections: {e}; trying again");
                    }
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(ended) = connections.join_next() => log_join_error(ended),
            () = &mut shutdown => break,
        }
    }
    drop(listener);
    // Fails only when no connection is left.
    let _ = stop.send(true);
    let deadline = Instant::now() + DRAIN;
    while let Ok(Some(ended)) = timeout_at(deadline, connections.join_next()).await {
        log_join_error(ended);
    }
}

/// A connection's panic ends that connection: requests, WebSocket messages and offers are read in
/// its task.
fn log_join_error(ended: Result<(), JoinError>) {
    if let Err(e) = ended
        && !e.is_cancelled()
    {
        // The panic hook has logged it.
        debug!("a connection's task panicked");
    }
}

/// Registers a bound listener with this thread's runtime.
///
/// # Errors
/// Those of fcntl(2) and epoll_ctl(2).
pub fn listener(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
