//! One connection, from accept to its end: HTTP first, then perhaps a viewer. Knows hyper.

use super::Limits;
#[cfg(feature = "tls")]
use super::tls::Tls;
#[cfg(feature = "tls")]
use super::tls::session::Session;
use crate::hub::Hub;
use crate::output::packets::Peer;
use crate::output::websocket::handshake::{Admitted, Handover};
use crate::output::websocket::reader::Ended;
use crate::output::websocket::session::Viewer;
use crate::output::websocket::transport;
use crate::output::websocket::transport::Socket;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
#[cfg(feature = "tls")]
use tokio::time::timeout;
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

/// hyper's buffer for one request; a larger head is answered with 431.
const MAX_HEAD: usize = 16 * 1024;

/// What every connection is served with.
#[derive(Clone)]
pub struct Server {
    pub hub: Arc<Hub>,
    pub router: Router,
    pub limits: Limits,
    pub stopping: watch::Receiver<bool>,
    /// `None`: in the clear.
    #[cfg(feature = "tls")]
    pub tls: Option<Arc<Tls>>,
}

impl Server {
    /// `doorstep`: the connection's place among those that are no viewers; given back when it becomes one. `busy` is true
    /// while a request of somebody who may ask is being answered, and for a viewer.
    pub async fn serve(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        doorstep: OwnedSemaphorePermit,
        busy: Arc<AtomicBool>,
    ) {
        if let Err(e) = transport::prepare(&stream, self.limits.stalled) {
            debug!("{peer}: {e}");
            return;
        }
        let handover = Handover::default();
        // In a box, so that a viewer's task is not as large as what HTTP needed before it.
        if let Err(e) = Box::pin(self.serve_requests(stream, peer, handover.clone(), busy)).await {
            debug!("{peer}: {e}");
        }
        drop(doorstep);
        if let Some(admitted) = handover.take() {
            Box::pin(self.serve_viewer(admitted, peer)).await;
        }
    }

    async fn serve_requests(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        handover: Handover,
        busy: Arc<AtomicBool>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let stream = timeout(self.limits.head, tls.accept(stream)).await??;
            return Ok(self.serve_http(stream, peer, handover, busy).await?);
        }
        Ok(self.serve_http(stream, peer, handover, busy).await?)
    }

    async fn serve_http<S>(
        &self,
        stream: S,
        peer: SocketAddr,
        handover: Handover,
        busy: Arc<AtomicBool>,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            // Who owes a body has not asked yet.
            busy.store(request.body().is_end_stream(), Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(handover.clone());
            request.extensions_mut().insert(Peer(peer));
            let (answer, busy) = (router.call(request), busy.clone());
            async move { Ok::<_, Infallible>(answered(answer.await?, busy)) }
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

    async fn serve_viewer(&self, admitted: Admitted, peer: SocketAddr) {
        let Admitted {
            upgrade,
            request,
            subscription,
            manner,
            place,
        } = admitted;
        let (socket, read_ahead) = match upgrade.await {
            Ok(upgraded) => taken_over(upgraded),
            // The peer left before the answer was sent.
            Err(e) => return debug!("{peer}: {e}"),
        };
        let streams = match (request.video, request.audio) {
            (Some(_), Some(_)) => "video and audio",
            (Some(_), None) => "video",
            (None, Some(_)) => "audio",
            (None, None) => "events",
        };
        let manner_of = format!("{:?}, {:?}", manner.format, request.delivery).to_lowercase();
        info!("viewer {peer} joined: {streams}, {manner_of}");
        let viewer = Viewer::new(
            self.hub.clone(),
            subscription,
            socket,
            read_ahead,
            manner,
            self.limits,
        );
        let ended: Ended = viewer.run().await;
        drop(place);
        info!("viewer {peer} left: {ended}");
    }
}

/// Who is refused is hung up on; for everybody else the connection is busy until the answer is out.
fn answered(mut response: Response<Body>, busy: Arc<AtomicBool>) -> Response<Body> {
    match response.status() {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::SERVICE_UNAVAILABLE => {
            busy.store(false, Relaxed);
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        // For as long as the viewer stays.
        StatusCode::SWITCHING_PROTOCOLS => {
            busy.store(true, Relaxed);
            response
        }
        _ => {
            busy.store(true, Relaxed);
            response.map(|body| Body::new(Underway { body, busy }))
        }
    }
}

/// The body of an answer; its connection is busy until hyper has taken the last of it.
struct Underway {
    body: Body,
    busy: Arc<AtomicBool>,
}

impl HttpBody for Underway {
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

impl Drop for Underway {
    fn drop(&mut self) {
        self.busy.store(false, Relaxed);
    }
}

/// The socket behind an upgraded connection, and what was already read from it: a copy, since converted it would keep
/// hyper's buffer of 8 KB for as long as the viewer stays.
fn taken_over(upgraded: Upgraded) -> (Socket, Vec<u8>) {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return (Socket::new(parts.io.into_inner()), parts.read_buf.to_vec()),
        Err(upgraded) => upgraded,
    };
    #[cfg(feature = "tls")]
    if let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() {
        let (tcp, tls) = parts.io.into_inner().into_inner();
        return (
            Socket::with_tls(tcp, Session::new(tls)),
            parts.read_buf.to_vec(),
        );
    }
    #[cfg(not(feature = "tls"))]
    drop(upgraded);
    unreachable!("`serve_requests` makes connections of these streams alone")
}

/// Answers a connection that has no place, without waiting for its request.
pub fn turn_away(stream: &TcpStream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 59\r\nRetry-After: 5\r\nConnection: close\r\n\r\n{\"error\":\"too many connections at a time; try again later\"}";
    // What it already sent is read first, or the kernel would reset the connection and the answer be lost.
    let _ = stream.try_read(&mut [0; 2048]);
    let _ = stream.try_write(FULL);
}
