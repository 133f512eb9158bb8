//! One connection, from accept to end: HTTP first, then perhaps what an upgrade made of it. Knows
//! hyper.

use super::tls::Tls;
use super::upgrade::UpgradeSlot;
use super::upgraded_stream;
use crate::config::Limits;
use crate::net::connection_limiter::ConnectionSlot;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

/// hyper's buffer for one request, bytes; a larger head is answered with 431.
const MAX_HEAD: usize = 16 * 1024;

/// The address of a request's client: an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr(pub SocketAddr);

/// While true, the request's connection is not evicted: an extension of every request.
#[derive(Clone, Debug)]
pub(super) struct Busy(pub(super) Arc<AtomicBool>);

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What every connection is served with.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) stopping: watch::Receiver<bool>,
    /// `None`: plain HTTP.
    pub(super) tls: Option<Arc<Tls>>,
}

impl Server {
    /// Serves the connection to its end. `slot` is free again after an upgrade; it is busy while an
    /// authorized request is being answered, and from an upgrade on, but not while a request waits
    /// because its client has guessed tokens.
    pub(super) async fn serve(self, stream: TcpStream, client: ClientAddr, slot: ConnectionSlot) {
        if let Err(e) = upgraded_stream::set_options(&stream, self.limits.stalled) {
            debug!("{client}: {e}");
            return;
        }
        let upgrade = UpgradeSlot::default();
        // Boxed, so that the task of an upgraded connection is not as large as what HTTP needed.
        let requests = Box::pin(self.serve_requests(stream, client, upgrade.clone(), slot.busy()));
        if let Err(e) = requests.await {
            debug!("{client}: {e}");
        }
        drop(slot);
        if let Some(accepted) = upgrade.take()
            && let Err(e) = Box::pin(accepted.serve(client)).await
        {
            debug!("{client}: {e}");
        }
    }

    async fn serve_requests(
        &self,
        stream: TcpStream,
        client: ClientAddr,
        upgrade: UpgradeSlot,
        busy: Arc<AtomicBool>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        match &self.tls {
            Some(tls) => {
                let stream = timeout(self.limits.head, tls.accept(stream)).await??;
                self.serve_http(stream, client, upgrade, busy).await?;
            }
            None => self.serve_http(stream, client, upgrade, busy).await?,
        }
        Ok(())
    }

    async fn serve_http<S>(
        &self,
        stream: S,
        client: ClientAddr,
        upgrade: UpgradeSlot,
        busy: Arc<AtomicBool>,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            // A client that still owes its body has not asked yet.
            busy.store(request.body().is_end_stream(), Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(upgrade.clone());
            request.extensions_mut().insert(client);
            request.extensions_mut().insert(Busy(busy.clone()));
            let (router, busy) = (router.clone(), busy.clone());
            async move {
                // A client that sends many requests at once is served one of them at a time, after
                // the tasks that are ready, which send frames to viewers.
                tokio::task::yield_now().await;
                let answer = router.call(request).await?;
                Ok::<_, Infallible>(track_response(answer, busy))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let mut stopping = self.stopping.clone();
        tokio::select! {
            ended = &mut connection => return ended,
            // The sender's end means the same.
            _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }
}

/// Closes the connection after 401, 403, 408, 429 and 503; after any other status it is busy until
/// the body is out.
fn track_response(mut response: Response<Body>, busy: Arc<AtomicBool>) -> Response<Body> {
    match response.status() {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE => {
            busy.store(false, Relaxed);
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        // Until the connection ends.
        StatusCode::SWITCHING_PROTOCOLS => {
            busy.store(true, Relaxed);
            response
        }
        _ => {
            busy.store(true, Relaxed);
            response.map(|body| Body::new(InFlightBody { body, busy }))
        }
    }
}

/// A response's body; its connection is busy until hyper has taken the last of it.
struct InFlightBody {
    body: Body,
    busy: Arc<AtomicBool>,
}

impl HttpBody for InFlightBody {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for InFlightBody {
    fn drop(&mut self) {
        self.busy.store(false, Relaxed);
    }
}

/// Answers a connection beyond the limit, without waiting for its request.
pub(super) fn reject_overloaded(stream: &TcpStream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
        Content-Type: application/json\r\n\
        Content-Length: 59\r\n\
        Retry-After: 5\r\n\
        Connection: close\r\n\r\n\
        {\"error\":\"too many connections at a time; try again later\"}";
    // What was already sent is read first, or the kernel would reset the connection and the answer
    // be lost.
    let _ = stream.try_read(&mut [0; 2048]);
    let _ = stream.try_write(FULL);
}
