//! The addresses of this machine's network interfaces.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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
