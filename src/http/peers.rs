//! Which clients are local: on this machine, on a network that is not routed on the Internet, or on
//! one that an interface of this machine is in. Without a token only these may watch, so that
//! nobody on the Internet can watch through a forwarded port or a public IPv6 address.
//!
//! Stricter than [`net::address_scope`](crate::net::address_scope), which says where packets to an
//! address go: a client on the Internet may have an address with a private one in it (6to4).

use crate::net::interfaces;
use crate::net::interfaces::Network;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The interfaces are read again for a client that is not known to be local, at most this often.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Decides by address alone.
pub(super) struct Peers {
    /// Reads the networks of the interfaces.
    read: fn() -> io::Result<Vec<Network>>,
    own: Mutex<Own>,
}

struct Own {
    networks: Vec<Network>,
    /// `None`: not read yet.
    read_at: Option<Instant>,
}

impl Default for Peers {
    fn default() -> Self {
        Self::new(interfaces::networks)
    }
}

impl Peers {
    fn new(read: fn() -> io::Result<Vec<Network>>) -> Self {
        let own = Own {
            networks: Vec::new(),
            read_at: None,
        };
        Self {
            read,
            own: Mutex::new(own),
        }
    }

    /// Whether a client with this address is local. While the interfaces cannot be read, the
    /// networks that were read last count.
    pub(super) fn is_local(&self, peer: IpAddr, now: Instant) -> bool {
        let peer = peer.to_canonical();
        if is_never_public(peer) {
            return true;
        }
        let mut own = self.own.lock().expect("no panic while the list is held");
        let is_due = own
            .read_at
            .is_none_or(|at| now.saturating_duration_since(at) >= READ_EVERY);
        if is_due {
            if let Ok(networks) = (self.read)() {
                own.networks = networks;
            }
            own.read_at = Some(now);
        }
        own.networks.iter().any(|network| network.contains(peer))
    }
}

/// Loopback, private (RFC 1918, RFC 4193), link-local (RFC 3927, RFC 4291) and shared addresses of
/// a provider's network (RFC 6598).
fn is_never_public(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared
        }
        IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST || is_unique_local(ip) || is_link_local(ip),
    }
}

fn is_unique_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xfe00 == 0xfc00
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_by_address() {
        let own = || {
            let network = |ip: &str, prefix| Network::new(ip.parse().expect("an address"), prefix);
            Ok(vec![
                network("203.0.113.77", 25),
                network("2001:db8:1:2::7", 64),
                // A point-to-point link: the address alone.
                network("198.51.100.9", 32),
                // An interface without a prefix does not make everybody local.
                network("198.18.0.1", 0),
                network("2001:db8:9::1", 0),
            ])
        };
        let peers = Peers::new(own);
        for (peer, local) in [
            ("127.0.0.1", true),
            ("127.255.255.254", true),
            ("128.0.0.1", false),
            ("10.0.0.1", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("172.15.255.255", false),
            ("172.16.0.1", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("192.168.1.20", true),
            ("192.169.0.1", false),
            ("169.254.7.7", true),
            ("100.63.255.255", false),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("100.128.0.0", false),
            ("0.0.0.0", false),
            ("8.8.8.8", false),
            ("203.0.113.1", true),
            ("203.0.113.127", true),
            ("203.0.113.128", false),
            ("198.51.100.9", true),
            ("198.51.100.10", false),
            ("198.18.0.2", false),
            ("::1", true),
            ("::", false),
            ("::2", false),
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("fc00::1", true),
            ("fdff::1", true),
            ("fe00::1", false),
            ("2001:db8:1:2:ffff::1", true),
            ("2001:db8:1:3::1", false),
            ("2606:4700::1111", false),
            // IPv4-mapped: a socket on `::` shows IPv4 clients so.
            ("::ffff:192.168.1.20", true),
            ("::ffff:203.0.113.1", true),
            ("::ffff:8.8.8.8", false),
            ("::ffff:127.0.0.1", true),
            // IPv4-compatible and NAT64 addresses are no IPv4 addresses here.
            ("::127.0.0.1", false),
            ("64:ff9b::c0a8:114", false),
            ("2002:c0a8:114::1", false),
        ] {
            let peer: IpAddr = peer.parse().expect("an address");
            assert_eq!(peers.is_local(peer, Instant::now()), local, "{peer}");
        }
    }

    #[test]
    fn peers_interfaces_are_read_again_when_they_may_have_changed() {
        use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
        static READS: AtomicU8 = AtomicU8::new(0);
        // A new network with each reading; the third fails.
        let read = || match READS.fetch_add(1, Relaxed) {
            2 => Err(io::ErrorKind::OutOfMemory.into()),
            n => Ok(vec![Network::new(IpAddr::from([203, 0, n, 1]), 24)]),
        };
        let (peers, start) = (Peers::new(read), Instant::now());
        let at = |ms, third| {
            let now = start + Duration::from_millis(ms);
            peers.is_local(IpAddr::from([203, 0, third, 9]), now)
        };
        assert!(at(0, 0) && !at(999, 1) && at(999, 0));
        assert!(at(1000, 1) && !at(1000, 0));
        assert_eq!(READS.load(Relaxed), 2);
        assert!(at(2000, 1) && !at(2000, 2), "the last that could be read");
        assert!(at(2999, 1) && at(3000, 3), "and then the new ones");
        assert_eq!(READS.load(Relaxed), 4);
    }
}
