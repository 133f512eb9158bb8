//! The addresses of this machine's network interfaces.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::io;
use std::net::IpAddr;

/// The addresses of all interfaces that are up, in order, each once. Without IPv6 link-local ones:
/// they cannot be used without the name of the interface. Empty on error.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten();
    let mut found: Vec<IpAddr> = interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .filter(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_unspecified(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// A network that an interface is in: its address there, and the length of the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// `prefix`: bits; at most all of them count.
    pub(crate) fn new(address: IpAddr, prefix: u32) -> Self {
        Self { address, prefix }
    }

    /// Whether an address is in the network. A network with a prefix of 0 bits, which would be the
    /// whole Internet, contains nothing.
    pub(crate) fn contains(&self, other: IpAddr) -> bool {
        let differing = match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        self.prefix > 0 && differing >= self.prefix
    }
}

/// The networks of all interfaces that are up.
///
/// # Errors
/// Those of getifaddrs(3).
pub(crate) fn networks() -> io::Result<Vec<Network>> {
    let networks = getifaddrs()?
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let (address, mask) = (interface.address?, interface.netmask?);
            let v4 = address.as_sockaddr_in().zip(mask.as_sockaddr_in());
            let v4 =
                v4.map(|(a, mask)| Network::new(a.ip().into(), mask.ip().to_bits().leading_ones()));
            let v6 = address.as_sockaddr_in6().zip(mask.as_sockaddr_in6());
            let v6 =
                v6.map(|(a, mask)| Network::new(a.ip().into(), mask.ip().to_bits().leading_ones()));
            v4.or(v6)
        })
        .collect();
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::Network;
    use std::net::Ipv4Addr;

    #[test]
    fn networks_have_that_of_loopback() {
        let found = super::networks().expect("the kernel lists them");
        let loopback = Network::new(Ipv4Addr::LOCALHOST.into(), 8);
        assert!(found.contains(&loopback), "{found:?}");
        assert!(loopback.contains(Ipv4Addr::new(127, 255, 0, 1).into()));
        assert!(!loopback.contains(Ipv4Addr::new(126, 255, 0, 1).into()));
    }

    #[test]
    fn addresses_have_loopback_once() {
        let found = super::addresses();
        assert_eq!(
            found
                .iter()
                .filter(|ip| **ip == Ipv4Addr::LOCALHOST)
                .count(),
            1,
            "{found:?}"
        );
    }
}
