//! Peers that come over TCP (RFC 6544, passive): each datagram behind two bytes of length (RFC 4571). For those whom UDP does not
//! reach, such as through an SSH tunnel. Knows no session.

use super::demux::Routes;
use super::udp_mux::{Datagram, Port};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use str0m::net::Protocol;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{timeout, timeout_at};

/// A peer that says nothing to a session for so long is gone: ICE has it say something every few seconds.
const SILENCE: Duration = Duration::from_secs(15);
/// One datagram takes no longer to write, or the peer is gone.
const WRITE: Duration = Duration::from_secs(10);
/// Datagrams that wait to be written; what comes beyond them is lost, and sent again if the peer asks.
const OUTBOX: usize = 512;
/// Browsers open a connection for each candidate that they try.
const CONNECTIONS_PER_SESSION: usize = 4;
/// When no connection can be accepted (no descriptors left), the wait before the next try.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How long the end of a connection that gives way may take.
const GIVING_WAY: Duration = Duration::from_millis(100);

/// A connection that has said nothing to a session yet. Whoever may play knows the name of one, and says it at once.
struct Stranger {
    task: AbortHandle,
    is_known: Arc<AtomicBool>,
}

/// Accepts on one listener of the port, for ever. Nothing that a peer sends is read here but in a task for each connection, so a
/// panic ends that connection alone. When all places are taken, the stranger who came first gives way; where there is
/// none, the newcomer is closed.
pub async fn accept(port: Arc<Port>, listener: usize, routes: Arc<Routes>, max_sessions: usize) {
    let mut connections = JoinSet::new();
    // In the order of their coming.
    let mut strangers: VecDeque<Stranger> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = port.listener(listener).accept() => match accepted {
                Ok((stream, peer)) => {
                    strangers.retain(|stranger| !stranger.task.is_finished() && !stranger.is_known.load(Relaxed));
                    if connections.len() >= max_sessions * CONNECTIONS_PER_SESSION {
                        let Some(oldest) = strangers.pop_front() else { continue };
                        oldest.task.abort();
                        if timeout(GIVING_WAY, connections.join_next()).await.is_err() {
                            continue;
                        }
                    }
                    let is_known = Arc::new(AtomicBool::new(false));
                    let task = connections.spawn(serve(port.clone(), routes.clone(), stream, peer, is_known.clone()));
                    strangers.push_back(Stranger { task, is_known });
                }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(
    port: Arc<Port>,
    routes: Arc<Routes>,
    stream: TcpStream,
    peer: SocketAddr,
    is_known: Arc<AtomicBool>,
) {
    let Ok(destination) = stream.local_addr() else {
        return;
    };
    // Each write is a whole frame: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (outbox, frames) = mpsc::channel(OUTBOX);
    port.connections().insert(peer, outbox);
    let _listed = Listed { port: &port, peer };
    tokio::select! {
        () = read(reader, peer, destination, |datagram| routes.give(datagram), &is_known) => {}
        () = write(writer, frames) => {}
    }
}

/// A connection's entry in the port's list, which goes however the connection ends.
struct Listed<'a> {
    port: &'a Port,
    peer: SocketAddr,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.port.connections().remove(&self.peer);
    }
}

/// Gives each datagram to `give`, until the connection ends or says nothing for too long that `give` knows a session for.
pub async fn read(
    mut reader: impl AsyncRead + Unpin,
    source: SocketAddr,
    destination: SocketAddr,
    mut give: impl FnMut(Datagram) -> bool,
    is_known: &AtomicBool,
) {
    let mut heard = Instant::now();
    loop {
        let frame = async {
            let length = reader.read_u16().await?;
            let mut bytes = vec![0; length.into()];
            reader.read_exact(&mut bytes).await?;
            std::io::Result::Ok(bytes)
        };
        let Ok(Ok(bytes)) = timeout_at((heard + SILENCE).into(), frame).await else {
            return;
        };
        let at = Instant::now();
        if give(Datagram {
            protocol: Protocol::Tcp,
            source,
            destination,
            at,
            bytes,
        }) {
            heard = at;
            is_known.store(true, Relaxed);
        } else if at > heard + SILENCE {
            // Where there is always a frame to be read, the timeout above never looks at the clock.
            return;
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = frames.recv().await {
        let Ok(length) = u16::try_from(bytes.len()) else {
            continue;
        };
        let mut frame = Vec::with_capacity(2 + bytes.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&bytes);
        match timeout(WRITE, writer.write_all(&frame)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}
