//! Peers that come over TCP (RFC 6544, passive): each datagram behind two bytes of length (RFC 4571). For those whom UDP does not
//! reach, such as through an SSH tunnel. Knows no session.

use super::port::{Datagram, Port};
use super::routes::Routes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::net::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A peer that says nothing for so long is gone: ICE has it say something every few seconds.
const SILENCE: Duration = Duration::from_secs(15);
/// One datagram takes no longer to write, or the peer is gone.
const WRITE: Duration = Duration::from_secs(10);
/// Datagrams that wait to be written; what comes beyond them is lost, and sent again if the peer asks.
const OUTBOX: usize = 512;
/// Browsers open a connection for each candidate that they try.
const CONNECTIONS_PER_SESSION: usize = 4;
/// When no connection can be accepted (no descriptors left), the wait before the next try.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Accepts on one listener of the port, for ever.
pub async fn accept(port: Arc<Port>, listener: usize, routes: Arc<Routes>, max_sessions: usize) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = port.listener(listener).accept() => match accepted {
                Ok((stream, peer)) if connections.len() < max_sessions * CONNECTIONS_PER_SESSION => {
                    connections.spawn(serve(port.clone(), routes.clone(), stream, peer));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(port: Arc<Port>, routes: Arc<Routes>, stream: TcpStream, peer: SocketAddr) {
    let Ok(destination) = stream.local_addr() else { return };
    // Each write is a whole frame: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (outbox, frames) = mpsc::channel(OUTBOX);
    port.connections().insert(peer, outbox);
    tokio::select! {
        () = read(reader, peer, destination, &routes) => {}
        () = write(writer, frames) => {}
    }
    port.connections().remove(&peer);
}

async fn read(mut reader: OwnedReadHalf, source: SocketAddr, destination: SocketAddr, routes: &Routes) {
    loop {
        let frame = async {
            let length = reader.read_u16().await?;
            let mut bytes = vec![0; length.into()];
            reader.read_exact(&mut bytes).await?;
            std::io::Result::Ok(bytes)
        };
        let Ok(Ok(bytes)) = timeout(SILENCE, frame).await else { return };
        routes.give(Datagram { protocol: Protocol::Tcp, source, destination, at: Instant::now(), bytes });
    }
}

async fn write(mut writer: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = frames.recv().await {
        let Ok(length) = u16::try_from(bytes.len()) else { continue };
        let mut frame = Vec::with_capacity(2 + bytes.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&bytes);
        match timeout(WRITE, writer.write_all(&frame)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}
