//! ICE over TCP (RFC 6544, passive): each datagram follows two bytes of length (RFC 4571). For
//! peers that UDP does not reach, such as through an SSH tunnel.

use super::byte_queue::{ByteReceiver, QueueBudget};
use super::demux::Routes;
use super::port::{Datagram, MAX_DATAGRAM_BYTES, Port, Turns};
use crate::log::LogOnce;
use crate::net::connection_limiter::{ConnectionLimiter, ConnectionSlot};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use str0m::net::Protocol;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use tracing::warn;

/// A connection is closed after this time without a datagram for a session: ICE sends checks every
/// few seconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// For writing one datagram.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// These are not evicted. Browsers open a connection for each candidate that they try.
pub(super) const CONNECTIONS_PER_SESSION: usize = 4;
/// Pause after a failed accept (no file descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Accepts on one listener of the port until the task is aborted. Each connection's input is parsed
/// in its own task, so a panic ends that connection only. At the limit of connections, which is
/// that of all listeners, the oldest one that holds no place of a session is evicted; if there is
/// none, the new one is closed.
pub(super) async fn accept(
    port: Arc<Port>,
    listener: usize,
    routes: Arc<Routes>,
    outboxes: Arc<QueueBudget>,
    limiter: Arc<Mutex<ConnectionLimiter>>,
) {
    let mut connections = JoinSet::new();
    let mut accept_errors = LogOnce::default();
    loop {
        tokio::select! {
            accepted = port.listener(listener).accept() => match accepted {
                Ok((stream, peer)) => {
                    accept_errors.recovered();
                    let mut limiter = limiter.lock().await;
                    let Some(slot) = limiter.admit().await else { continue };
                    let holds_place = slot.busy();
                    let serving = serve(port.clone(), routes.clone(), outboxes.clone(), stream, peer, slot);
                    limiter.track(connections.spawn(serving), holds_place);
                }
                Err(e) => {
                    if accept_errors.first_time(&e.to_string()) {
                        warn!("WebRTC: cannot accept TCP connections: {e}; trying again");
                    }
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(
    port: Arc<Port>,
    routes: Arc<Routes>,
    outboxes: Arc<QueueBudget>,
    stream: TcpStream,
    peer: SocketAddr,
    slot: ConnectionSlot,
) {
    let Ok(destination) = stream.local_addr() else {
        return;
    };
    // Each write is a whole frame: there is nothing to coalesce.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (outbox, frames) = outboxes.queue();
    port.connections().insert(peer, outbox);
    let _listed = Listed {
        port: &port,
        routes: &routes,
        peer,
    };
    let holds_place = slot.busy();
    let route = |datagram| {
        let is_routed = routes.route(datagram);
        if is_routed && !holds_place.load(Relaxed) {
            routes.hold_place(peer, &holds_place);
        }
        is_routed
    };
    tokio::select! {
        () = read(reader, peer, destination, route) => {}
        () = write(writer, frames) => {}
    }
}

/// A connection's entry in the port's list and its session's, removed when dropped.
struct Listed<'a> {
    port: &'a Port,
    routes: &'a Routes,
    peer: SocketAddr,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.port.connections().remove(&self.peer);
        self.routes.free_place(self.peer);
    }
}

/// Passes each datagram to `route`, until the connection ends, has been idle for too long, or sends
/// a frame that is larger than any datagram over UDP.
/// `route` returns whether there is a session for it.
pub async fn read(
    mut reader: impl AsyncRead + Unpin,
    source: SocketAddr,
    destination: SocketAddr,
    mut route: impl FnMut(Datagram) -> bool,
) {
    let mut last_routed = Instant::now();
    let mut turns = Turns::default();
    loop {
        turns.next().await;
        let frame = async {
            let length = usize::from(reader.read_u16().await?);
            if length > MAX_DATAGRAM_BYTES {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            let mut bytes = vec![0; length];
            reader.read_exact(&mut bytes).await?;
            std::io::Result::Ok(bytes)
        };
        let Ok(Ok(bytes)) = timeout_at((last_routed + IDLE_TIMEOUT).into(), frame).await else {
            return;
        };
        let at = Instant::now();
        let is_routed = route(Datagram {
            protocol: Protocol::Tcp,
            source,
            destination,
            at,
            bytes,
        });
        if is_routed {
            last_routed = at;
        } else if at > last_routed + IDLE_TIMEOUT {
            // While frames are always ready, the timeout above is not reached.
            return;
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut frames: ByteReceiver<Vec<u8>>) {
    while let Some(bytes) = frames.recv().await {
        let Ok(length) = u16::try_from(bytes.len()) else {
            continue;
        };
        let mut frame = Vec::with_capacity(2 + bytes.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&bytes);
        match timeout(WRITE_TIMEOUT, writer.write_all(&frame)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}
