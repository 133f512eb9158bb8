//! Hosts as they stand in a `Host` header, in an origin or in an option: parsed strictly, so that a
//! name that only looks like a local one is not taken for it.
//!
//! The syntax is checked by the `http` crate's `Authority`, which accepts user names, and text
//! after the brackets of an IPv6 address; both are refused here. The `url` crate would do as much,
//! with some twenty crates for names outside of ASCII, which browsers send in ASCII (RFC 5890).

use http::uri::Authority;
use std::net::{IpAddr, Ipv6Addr};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Ip(IpAddr),
    Name(Name),
}

/// In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    labels: String,
    /// Ends with a dot: the labels are all there are.
    is_absolute: bool,
}

/// The origin of a page (RFC 6454): equal where a browser takes both for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    is_https: bool,
    pub(crate) host: Host,
    port: u16,
}

/// Names that no public DNS serves (RFC 6762, RFC 8375, RFC 6761, and ICANN's reservation of
/// .internal; .lan by custom).
const LOCAL_SUFFIXES: [&str; 5] = [".local", ".lan", ".home.arpa", ".internal", ".localhost"];
/// RFC 1035, section 2.3.4.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

impl Host {
    /// `host` or `host:port`. `None`: anything else, such as a user name, a part of a longer name
    /// in brackets, or a name that is no DNS name.
    pub(crate) fn parse(text: &str) -> Option<(Self, Option<u16>)> {
        let authority: Authority = text.parse().ok()?;
        let host = authority.host();
        let port = match text.strip_prefix(host)? {
            "" | ":" => None,
            rest => {
                let port = rest.strip_prefix(':')?;
                let is_number = port.bytes().all(|b| b.is_ascii_digit());
                Some(port.parse().ok().filter(|_| is_number)?)
            }
        };
        let host = match host.strip_prefix('[') {
            Some(rest) => Self::Ip(ipv6(rest.strip_suffix(']')?)?),
            None => match host.parse() {
                Ok(v4) => Self::Ip(IpAddr::V4(v4)),
                Err(_) => Self::Name(Name::parse(host)?),
            },
        };
        Some((host, port))
    }

    /// This machine, by every resolver.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name.labels == "localhost",
        }
    }

    /// Not a name that a web site on the Internet can have: an address, a single label, or one of
    /// the suffixes that only a local network resolves.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Ip(_) => true,
            // With the dot at its end a single label is a name of the public DNS, as `com.` is.
            Self::Name(name) if !name.labels.contains('.') => {
                !name.is_absolute || self.is_loopback()
            }
            Self::Name(name) => LOCAL_SUFFIXES.iter().any(|s| name.labels.ends_with(s)),
        }
    }
}

impl Origin {
    /// `http://host:port` or `https://…`, without a path; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (is_https, default_port) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return None,
        };
        let (host, port) = Host::parse(authority)?;
        Some(Self {
            is_https,
            host,
            port: port.unwrap_or(default_port),
        })
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let labels = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=MAX_LABEL_BYTES).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        // Such a name is an IPv4 address in a form that browsers rewrite: 127.1, 0x7f000001.
        let is_number = |label: &str| {
            let hex = label.strip_prefix("0x").or(label.strip_prefix("0X"));
            label.bytes().all(|b| b.is_ascii_digit())
                || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let is_name = labels.len() <= MAX_NAME_BYTES
            && labels.split('.').all(is_label)
            && !labels.rsplit('.').next().is_some_and(is_number);
        is_name.then(|| Self {
            labels: labels.to_ascii_lowercase(),
            is_absolute: labels.len() < text.len(),
        })
    }
}

/// Without brackets; a link-local address may have a zone (RFC 6874).
fn ipv6(text: &str) -> Option<IpAddr> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let ip: Ipv6Addr = address.parse().ok()?;
    let is_valid = zone.is_none_or(|zone| !zone.is_empty() && ip.is_unicast_link_local());
    is_valid.then(|| IpAddr::V6(ip).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<Host> {
        Host::parse(text).map(|(host, _)| host)
    }

    #[test]
    fn host_local_names_and_addresses() {
        for (text, is_loopback) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("localhost.", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]", true),
            ("192.168.1.5", false),
            ("8.8.8.8:80", false),
            ("[2001:db8::7]", false),
            ("[fe80::1%25eth0]:80", false),
            ("pi", false),
            ("pi:", false),
            ("my_pi-2:8080", false),
            ("pi.local", false),
            ("Pi.LOCAL.", false),
            ("camera.home.arpa", false),
            ("a.b.lan", false),
            ("x.internal", false),
            ("cam.localhost", false),
        ] {
            let host = host(text).expect(text);
            assert!(host.is_local(), "{text}");
            assert_eq!(host.is_loopback(), is_loopback, "{text}");
        }
    }

    #[test]
    fn host_public_names_are_not_local() {
        for text in [
            "evil.example",
            "com.",
            "example.com.",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "local.evil.example",
            "evil.notlocal",
            "xlocal.example",
            "lan.com",
        ] {
            let host = host(text).expect(text);
            assert!(!host.is_loopback() && !host.is_local(), "{text}");
        }
    }

    #[test]
    fn host_what_only_looks_like_one_is_none() {
        for text in [
            "",
            "[]",
            "[::1",
            "::1",
            "[::1].evil.example",
            "[::1]evil.example:80",
            "[::1]@evil.example",
            "[127.0.0.1]",
            "[::1%evil.example]",
            "[fe80::1%]",
            "[v1.x]",
            "user:192.168.1.5@evil.example",
            "localhost:pw@evil.example",
            "localhost@evil.example",
            "evil@evil",
            "localhost:80:80",
            "localhost:+80",
            "localhost:65536",
            "localhost:x",
            "localhost/evil.example",
            "localhost?x",
            "localhost#x",
            "localhost\\evil.example",
            "localhost%00.evil.example",
            "local host",
            " localhost",
            ".",
            "..",
            ".local",
            "a..local",
            "localhost..",
            "127.1",
            "0x7f.1",
            "2130706433",
            "0x7f000001",
            "1.2.3.4.5",
            "127.0.0.01",
            "evil\u{3002}local",
        ] {
            assert_eq!(host(text), None, "{text:?}");
        }
        assert_eq!(host(&format!("{}.local", "a".repeat(64))), None);
        assert_eq!(host(&format!("{}local", "a.".repeat(130))), None);
    }

    #[test]
    fn origin_needs_http_and_nothing_after_the_port() {
        for origin in ["http://localhost:3000", "https://[::1]", "http://127.0.0.1"] {
            assert!(
                Origin::parse(origin).expect(origin).host.is_loopback(),
                "{origin}"
            );
        }
        for origin in [
            "null",
            "file://",
            "ftp://localhost",
            "localhost",
            "http://",
            "http:///",
            "http://localhost/",
            "http://localhost:pw@evil.example",
            "http://[::1].evil.example",
            "HTTP://localhost http://evil.example",
        ] {
            assert_eq!(Origin::parse(origin), None, "{origin}");
        }
    }

    #[test]
    fn origin_is_scheme_host_and_port_or_its_default() {
        let origin = |text| Origin::parse(text).expect(text);
        for (one, other, is_same) in [
            ("https://a.example", "https://A.Example:443", true),
            ("http://a.example:80", "http://a.example", true),
            ("http://[2001:db8::7]", "http://[2001:DB8:0::7]:80", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:80", false),
            ("https://a.example:8443", "https://a.example", false),
            ("https://a.example", "https://b.example", false),
        ] {
            assert_eq!(origin(one) == origin(other), is_same, "{one} {other}");
        }
    }
}
