//! The port that all sessions share, on UDP and, with the same number, on TCP. IP_PKTINFO (ip(7))
//! tells which local address a datagram was sent to, so one socket serves all interfaces, those
//! that appear later too.

use super::byte_queue::ByteSender;
use crate::net::interfaces;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use str0m::net::Protocol;
use tokio::io::Interest;
use tokio::net::{TcpListener, UdpSocket};

/// Larger than any datagram of WebRTC, which fits an Ethernet frame; what exceeds it is cut off.
pub const MAX_DATAGRAM_BYTES: usize = 2048;
/// Datagrams that a task handles before other tasks have a turn.
const DATAGRAMS_PER_TURN: u32 = 16;
/// Attempts to find a number that is free for both UDP and TCP.
const BIND_ATTEMPTS: usize = 16;
/// Pause after an error of the socket itself, so that a lasting one does not use up the CPU.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Room for a large keyframe to many viewers at once.
const SEND_BUFFER_BYTES: usize = 1 << 20;
/// Room for one IPv6 packet information and its header.
const CONTROL_BYTES: usize = 64;

/// A received datagram, also one framed in a TCP connection.
pub struct Datagram {
    pub protocol: Protocol,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub at: Instant,
    pub bytes: Vec<u8>,
}

/// Lets other tasks have a turn between datagrams that keep coming. The event loop looks for new
/// input after every 61 turns, so this bounds how long viewers wait during a flood.
#[derive(Default)]
pub struct Turns(u32);

impl Turns {
    /// To be awaited before each datagram.
    pub async fn next(&mut self) {
        self.0 += 1;
        if self.0 >= DATAGRAMS_PER_TURN {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
}

pub struct Port {
    udp: Vec<Socket>,
    tcp: Vec<TcpListener>,
    number: u16,
    /// Open TCP connections by remote address, and their queues of datagrams to be written.
    connections: Mutex<HashMap<SocketAddr, ByteSender<Vec<u8>>>>,
}

struct Socket {
    socket: UdpSocket,
    /// The address that it is bound to; `None`: all of its family.
    ip: Option<IpAddr>,
    is_ipv4: bool,
}

impl Port {
    /// Opens `number` on `host`, or if it is taken, a number that the kernel picks. Must run on a
    /// tokio runtime.
    ///
    /// # Errors
    /// Those of socket, bind and listen: `host` is not an address of this machine, or no number is
    /// free.
    pub fn open(host: IpAddr, number: u16) -> io::Result<Self> {
        let hosts: &[IpAddr] = match host {
            IpAddr::V6(ip) if ip.is_unspecified() => &[
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ],
            _ => &[host],
        };
        let mut opened = Self::open_number(hosts, number);
        for _ in 0..BIND_ATTEMPTS {
            match &opened {
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
                    ) =>
                {
                    opened = Self::open_number(hosts, 0);
                }
                _ => break,
            }
        }
        opened
    }

    fn open_number(hosts: &[IpAddr], mut number: u16) -> io::Result<Self> {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for &host in hosts {
            let socket = Socket::bind(SocketAddr::new(host, number))?;
            number = socket.socket.local_addr()?.port();
            udp.push(socket);
            tcp.push(listen(SocketAddr::new(host, number))?);
        }
        Ok(Self {
            udp,
            tcp,
            number,
            connections: Mutex::default(),
        })
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn sockets(&self) -> usize {
        self.udp.len()
    }

    pub fn listeners(&self) -> usize {
        self.tcp.len()
    }

    pub fn listener(&self, n: usize) -> &TcpListener {
        &self.tcp[n]
    }

    /// The addresses of this port now: those of the interfaces that are up, or the one that it is
    /// bound to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let all = self
            .udp
            .iter()
            .any(|socket| socket.ip.is_none())
            .then(interface_addresses)
            .unwrap_or_default();
        let of = |socket: &Socket| match socket.ip {
            Some(ip) => vec![ip],
            None => all
                .iter()
                .copied()
                .filter(|ip| ip.is_ipv4() == socket.is_ipv4)
                .collect(),
        };
        self.udp
            .iter()
            .flat_map(of)
            .map(|ip| SocketAddr::new(ip, self.number))
            .collect()
    }

    /// The local address from which a datagram to `peer` is sent; `None`: there is no route.
    pub fn base_towards(&self, peer: SocketAddr) -> Option<SocketAddr> {
        let socket = self
            .udp
            .iter()
            .find(|socket| socket.is_ipv4 == peer.is_ipv4())?;
        let ip = match socket.ip {
            Some(ip) => ip,
            None => {
                // Connecting a UDP socket sends nothing; it looks up the route.
                let any: IpAddr = if peer.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                let probe = std::net::UdpSocket::bind((any, 0)).ok()?;
                probe.connect(peer).ok()?;
                probe.local_addr().ok()?.ip()
            }
        };
        Some(SocketAddr::new(ip, self.number))
    }

    /// Passes each datagram of a socket to `handle`, until the task is aborted. A panic in `handle`
    /// drops that datagram only, since all sessions depend on this task.
    pub async fn receive(&self, socket: usize, handle: impl Fn(Datagram)) {
        let socket = &self.udp[socket];
        let mut buffer = [0; MAX_DATAGRAM_BYTES];
        let mut turns = Turns::default();
        loop {
            turns.next().await;
            match socket.receive(&mut buffer).await {
                Ok((length, source, ip)) => {
                    let datagram = Datagram {
                        protocol: Protocol::Udp,
                        source,
                        destination: SocketAddr::new(ip, self.number),
                        at: Instant::now(),
                        bytes: buffer[..length].to_vec(),
                    };
                    // The panic hook logs it. `handle` parses the datagram before it takes a lock,
                    // so shared state stays consistent.
                    let _ = catch_unwind(AssertUnwindSafe(|| handle(datagram)));
                }
                // The ICMP error for a datagram to a peer that is gone.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(e) => {
                    tracing::debug!("WebRTC: cannot receive on the UDP port: {e}");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// Waits until the sockets can send: tokio assumes that a new one cannot before it has polled
    /// it.
    pub async fn ready(&self) {
        for socket in &self.udp {
            // An error is reported by the first send.
            let _ = socket.socket.writable().await;
        }
    }

    /// Sends at once or drops the datagram: if the buffer is full, the peer requests it again.
    pub fn send(
        &self,
        protocol: Protocol,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: &[u8],
    ) {
        if protocol == Protocol::Udp {
            let serves = |socket: &&Socket| {
                socket
                    .ip
                    .map_or(socket.is_ipv4 == source.is_ipv4(), |ip| ip == source.ip())
            };
            if let Some(socket) = self.udp.iter().find(serves) {
                // ICE notices an unreachable address by the missing response.
                let _ = socket.send(source.ip(), destination, bytes);
            }
        } else if let Some(connection) = self.connections().get(&destination) {
            connection.try_send(bytes.to_vec(), bytes.len());
        }
    }

    pub fn connections(&self) -> MutexGuard<'_, HashMap<SocketAddr, ByteSender<Vec<u8>>>> {
        self.connections.lock().expect("no panic while locked")
    }
}

fn raw(
    domain: socket2::Domain,
    kind: socket2::Type,
    address: SocketAddr,
) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(domain, kind, None)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // IPv4 has its own socket.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = raw(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        address,
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(64)?;
    TcpListener::from_std(socket.into())
}

impl Socket {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = raw(
            socket2::Domain::for_address(address),
            socket2::Type::DGRAM,
            address,
        )?;
        let all = address.ip().is_unspecified();
        if all && address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else if all {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        // The kernel limits it to net.core.wmem_max.
        let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
        socket.bind(&address.into())?;
        let ip = (!all).then_some(address.ip());
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            ip,
            is_ipv4: address.is_ipv4(),
        })
    }

    /// Length in bytes, source, and local destination.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, IpAddr)> {
        if let Some(ip) = self.ip {
            let (length, source) = self.socket.recv_from(buffer).await?;
            return Ok((length, source, ip));
        }
        self.socket
            .async_io(Interest::READABLE, || self.receive_now(buffer))
            .await
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, IpAddr)> {
        let mut parts = [IoSliceMut::new(buffer)];
        let mut control = vec![0; CONTROL_BYTES];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let source = message
            .address
            .as_ref()
            .and_then(address)
            .ok_or(io::ErrorKind::InvalidData)?;
        let ip = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::V4(u32::from_be(info.ipi_addr.s_addr).into()))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(IpAddr::V6(info.ipi6_addr.s6_addr.into()))
            }
            _ => None,
        });
        Ok((message.bytes, source, ip.ok_or(io::ErrorKind::InvalidData)?))
    }

    fn send(&self, from: IpAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<usize> {
        if self.ip.is_some() {
            return self.socket.try_send_to(bytes, to);
        }
        let to = SockaddrStorage::from(to);
        let parts = [IoSlice::new(bytes)];
        let send = |control: ControlMessage<'_>| {
            Ok(sendmsg(
                self.socket.as_raw_fd(),
                &parts,
                &[control],
                MsgFlags::empty(),
                Some(&to),
            )?)
        };
        self.socket.try_io(Interest::WRITABLE, || match from {
            IpAddr::V4(ip) => {
                let own = libc::in_addr {
                    s_addr: u32::from(ip).to_be(),
                };
                let any = libc::in_addr { s_addr: 0 };
                send(ControlMessage::Ipv4PacketInfo(&libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: own,
                    ipi_addr: any,
                }))
            }
            IpAddr::V6(ip) => {
                let own = libc::in6_addr {
                    s6_addr: ip.octets(),
                };
                send(ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo {
                    ipi6_addr: own,
                    ipi6_ifindex: 0,
                }))
            }
        })
    }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|a| SocketAddr::new(a.ip().into(), a.port()));
    v4.or_else(|| {
        storage
            .as_sockaddr_in6()
            .map(|a| SocketAddr::new(a.ip().into(), a.port()))
    })
}

/// The addresses of the interfaces that are up, without link-local ones.
fn interface_addresses() -> Vec<IpAddr> {
    let is_link_local = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if ip.is_link_local());
    let mut ips = interfaces::addresses();
    ips.retain(|ip| !is_link_local(ip));
    if ips.is_empty() {
        ips.push(Ipv4Addr::LOCALHOST.into());
    }
    ips
}
