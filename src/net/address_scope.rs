//! How far an IP address reaches: this machine, its networks, or the Internet.

use super::interfaces::{self, Network};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ordered from near to far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AddressScope {
    /// This machine: 127.0.0.0/8, ::1, the unspecified addresses (which connect to this machine),
    /// and what is passed as the machine's own.
    Loopback,
    /// The networks of its interfaces, whatever their addresses, and what is not routed on the
    /// Internet: private (RFC 1918), link-local, shared by carriers (RFC 6598),
    /// unique local (RFC 4193), and what is no host's address at all (multicast, reserved).
    Local,
    Global,
}

/// What the scope of an address depends on: this machine's addresses and networks.
pub(crate) struct Scopes {
    own: Vec<IpAddr>,
    networks: Vec<Network>,
}

impl Scopes {
    /// Reads the addresses and networks of this machine's interfaces.
    pub(crate) fn now() -> Self {
        Self {
            own: interfaces::addresses(),
            // As for the addresses: none on error.
            networks: interfaces::networks().unwrap_or_default(),
        }
    }

    pub(crate) fn of(&self, ip: IpAddr) -> AddressScope {
        let ip = ip.to_canonical();
        match ip {
            IpAddr::V4(v4) => self.with_interfaces(ip, AddressScope::of_v4(v4)),
            // Where the packets go is decided by the IPv4 address in it.
            IpAddr::V6(v6) => match embedded_v4(v6) {
                Some(v4) => {
                    let scope = self.with_interfaces(v4.into(), AddressScope::of_v4(v4));
                    self.with_interfaces(ip, scope)
                }
                None => self.with_interfaces(ip, AddressScope::of_v6(v6)),
            },
        }
    }

    fn with_interfaces(&self, ip: IpAddr, scope: AddressScope) -> AddressScope {
        if self.own.contains(&ip) {
            AddressScope::Loopback
        } else if self.networks.iter().any(|network| network.contains(ip)) {
            scope.min(AddressScope::Local)
        } else {
            scope
        }
    }
}

impl AddressScope {
    fn of_v4(ip: Ipv4Addr) -> Self {
        match ip.octets() {
            [0 | 127, ..] => Self::Loopback,
            [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] | [224..=255, ..] => {
                Self::Local
            }
            _ if ip.is_private() || ip.is_link_local() => Self::Local,
            _ => Self::Global,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        match ip.segments() {
            _ if ip.is_loopback() || ip.is_unspecified() => Self::Loopback,
            // NAT64 within one network (RFC 8215): the IPv4 address may be anywhere in it.
            [0x64, 0xff9b, 1, ..] => Self::Local,
            // Link-local, the deprecated site-local, multicast.
            [0xfe80..=0xffff, ..] => Self::Local,
            _ if ip.is_unique_local() => Self::Local,
            _ => Self::Global,
        }
    }
}

/// The IPv4 address to which an IPv6 address leads: IPv4-compatible (RFC 4291), NAT64 (RFC 6052),
/// 6to4 (RFC 3056), Teredo (RFC 4380). IPv4-mapped ones are IPv4 addresses by then.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(from(high, low))
        }
        [0x2002, high, low, ..] => Some(from(high, low)),
        // Stored inverted.
        [0x2001, 0, _, _, _, _, high, low] => Some(from(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::AddressScope::*;
    use super::*;

    fn scopes(own: &[IpAddr], networks: &[Network]) -> Scopes {
        Scopes {
            own: own.to_vec(),
            networks: networks.to_vec(),
        }
    }

    #[test]
    fn address_scope_of_the_machines_networks_is_local() {
        let network = |ip: &str, prefix| Network::new(ip.parse().expect(ip), prefix);
        let networks = [
            network("203.0.113.7", 24),
            network("2001:db8::7", 64),
            network("127.0.0.1", 8),
            network("198.51.100.1", 0),
        ];
        for (text, expected) in [
            ("203.0.113.99", Local),
            ("::ffff:203.0.113.99", Local),
            ("64:ff9b::203.0.113.99", Local),
            ("2001:db8::99", Local),
            ("127.0.0.9", Loopback),
            ("203.0.114.1", Global),
            ("2001:db8:0:1::1", Global),
        ] {
            let ip = text.parse().expect(text);
            assert_eq!(scopes(&[], &networks).of(ip), expected, "{text}");
        }
    }

    #[test]
    fn address_scope_of_special_addresses() {
        for (text, expected) in [
            ("127.0.0.1", Loopback),
            ("127.255.0.9", Loopback),
            ("0.0.0.0", Loopback),
            ("0.1.2.3", Loopback),
            ("::1", Loopback),
            ("::", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:0.0.0.0", Loopback),
            ("::127.0.0.1", Loopback),
            ("64:ff9b::127.0.0.1", Loopback),
            ("2002:7f00:1::1", Loopback),
            // 127.0.0.1 inverted.
            ("2001:0:4136:e378:8000:63bf:80ff:fffe", Loopback),
            ("10.0.0.1", Local),
            ("172.16.0.1", Local),
            ("172.31.255.255", Local),
            ("192.168.1.5", Local),
            ("169.254.169.254", Local),
            ("100.64.0.1", Local),
            ("100.127.255.255", Local),
            ("192.0.0.8", Local),
            ("198.18.0.1", Local),
            ("224.0.0.251", Local),
            ("240.0.0.1", Local),
            ("255.255.255.255", Local),
            ("fe80::1", Local),
            ("febf::1", Local),
            ("fec0::1", Local),
            ("fc00::1", Local),
            ("fd12:3456::1", Local),
            ("ff02::1", Local),
            ("::ffff:192.168.1.5", Local),
            ("::10.0.0.1", Local),
            ("64:ff9b::10.0.0.1", Local),
            ("64:ff9b::a9fe:a9fe", Local),
            ("64:ff9b:1::1", Local),
            ("2002:c0a8:101::", Local),
            // 192.168.1.1 inverted.
            ("2001:0:4136:e378:8000:63bf:3f57:fefe", Local),
            ("8.8.8.8", Global),
            ("172.15.255.255", Global),
            ("172.32.0.1", Global),
            ("100.63.255.255", Global),
            ("100.128.0.0", Global),
            ("192.0.1.1", Global),
            ("198.17.255.255", Global),
            ("198.20.0.1", Global),
            ("169.253.0.1", Global),
            ("223.255.255.255", Global),
            ("2606:4700::1111", Global),
            ("fbff::1", Global),
            ("::ffff:8.8.8.8", Global),
            ("64:ff9b::8.8.8.8", Global),
            ("2002:808:808::1", Global),
            ("2001:db8::1", Global),
        ] {
            let ip = text.parse().expect(text);
            assert_eq!(scopes(&[], &[]).of(ip), expected, "{text}");
        }
        assert!(Loopback < Local && Local < Global);
    }

    #[test]
    fn address_scope_of_the_machines_own_addresses_is_loopback() {
        let own = ["203.0.113.7", "2001:db8::7", "192.168.1.7"].map(|a| a.parse().expect(a));
        for text in [
            "203.0.113.7",
            "::ffff:203.0.113.7",
            "64:ff9b::203.0.113.7",
            "2001:db8::7",
            "192.168.1.7",
        ] {
            let ip = text.parse().expect(text);
            assert_eq!(scopes(&own, &[]).of(ip), Loopback, "{text}");
        }
        assert_eq!(
            scopes(&own, &[]).of("203.0.113.8".parse().expect("IPv4")),
            Global
        );
    }
}
