//! A peer's transport: a UDP socket, or a TCP connection (RFC 4571) through a relay.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use str0m::net::Protocol;

pub enum Transport {
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        /// The peer's view of the remote address.
        far: SocketAddr,
        read: Vec<u8>,
    },
}

impl Transport {
    pub fn udp() -> Self {
        Self::Udp(UdpSocket::bind("127.0.0.1:0").expect("a port is free"))
    }

    /// To `far` through a relay of bytes, like an SSH tunnel.
    pub fn relayed(far: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let relay = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            let (near, _) = listener.accept().expect("it listens");
            let far = TcpStream::connect(far).expect("WebRTC's port listens on TCP");
            let (from, to) = (
                near.try_clone().expect("a descriptor"),
                far.try_clone().expect("a descriptor"),
            );
            std::thread::spawn(move || carry(from, to));
            carry(far, near);
        });
        Self::Tcp {
            stream: TcpStream::connect(relay).expect("the relay listens"),
            far,
            read: Vec::new(),
        }
    }

    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Udp(_) => Protocol::Udp,
            Self::Tcp { .. } => Protocol::Tcp,
        }
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp { stream, .. } => stream.local_addr(),
        }
        .expect("it is bound")
    }

    /// Datagrams for the other protocol are dropped.
    pub fn send(&mut self, protocol: Protocol, bytes: &[u8], to: SocketAddr) {
        assert_eq!(
            protocol,
            self.protocol(),
            "only pairs of one protocol are checked"
        );
        match self {
            Self::Udp(socket) => drop(socket.send_to(bytes, to)),
            Self::Tcp { stream, .. } => {
                let length = u16::try_from(bytes.len())
                    .expect("a datagram")
                    .to_be_bytes();
                let _ = stream.write_all(&[&length[..], bytes].concat());
            }
        }
    }

    /// The next datagram and its source; `None` after the timeout.
    pub fn receive(&mut self, pause: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = vec![0; 4096];
        let (length, source) = match self {
            Self::Udp(socket) => {
                socket
                    .set_read_timeout(Some(pause))
                    .expect("a timeout is settable");
                ignore_timeout(socket.recv_from(&mut buffer))?
            }
            Self::Tcp { stream, far, read } => {
                if let Some(frame) = frame(read) {
                    return Some((frame, *far));
                }
                stream
                    .set_read_timeout(Some(pause))
                    .expect("a timeout is settable");
                let length = ignore_timeout(stream.read(&mut buffer))?;
                read.extend_from_slice(&buffer[..length]);
                return frame(read).map(|frame| (frame, *far));
            }
        };
        buffer.truncate(length);
        Some((buffer, source))
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn frame(read: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = 2 + usize::from(u16::from_be_bytes(*read.first_chunk()?));
    (read.len() >= end).then(|| read.drain(..end).skip(2).collect())
}

fn ignore_timeout<T>(outcome: std::io::Result<T>) -> Option<T> {
    match outcome {
        Ok(done) => Some(done),
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            ) =>
        {
            None
        }
        Err(e) => panic!("{e}"),
    }
}
