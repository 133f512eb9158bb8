//! The ICE servers that a media server names in `Link` headers (RFC 9725, section 4.6). Pure.

use crate::net::host::Host;
use http::{HeaderMap, header};

/// Further servers are ignored.
const MAX_SERVERS: usize = 8;
const STUN_PORT: u16 = 3478;

/// A server that a WebRTC client may use to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IceServer {
    /// STUN: `HOST:PORT`.
    Stun(String),
    /// TURN.
    Relay,
}

/// At most 8; what is malformed, or not an ICE server, is left out.
pub(crate) fn ice_servers(headers: &HeaderMap) -> Vec<IceServer> {
    let values = headers
        .get_all(header::LINK)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(links)
        .filter_map(ice_server)
        .take(MAX_SERVERS)
        .collect()
}

/// The links of one header, separated by commas outside of `<>` and quotes.
fn links(value: &str) -> impl Iterator<Item = &str> {
    let (mut in_address, mut in_quotes) = (false, false);
    value.split(move |c: char| {
        match c {
            '"' if !in_address => in_quotes = !in_quotes,
            '<' if !in_quotes => in_address = true,
            '>' if !in_quotes => in_address = false,
            _ => {}
        }
        c == ',' && !in_address && !in_quotes
    })
}

fn ice_server(link: &str) -> Option<IceServer> {
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_ice_server = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        let relations = value.trim().trim_matches('"').to_ascii_lowercase();
        name.trim().eq_ignore_ascii_case("rel")
            && relations
                .split_whitespace()
                .any(|relation| relation == "ice-server")
    };
    if !parameters.split(';').any(is_ice_server) {
        return None;
    }
    let (scheme, server) = address.split_once(':')?;
    match scheme.to_ascii_lowercase().as_str() {
        "stun" => Some(IceServer::Stun(with_port(server.split('?').next()?)?)),
        "turn" | "turns" => Some(IceServer::Relay),
        _ => None,
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` (RFC 7064).
fn with_port(server: &str) -> Option<String> {
    match Host::parse(server)? {
        (_, Some(_)) => Some(server.to_owned()),
        (_, None) => Some(format!("{}:{STUN_PORT}", server.trim_end_matches(':'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[&str]) -> Vec<IceServer> {
        let headers = values
            .iter()
            .map(|value| (header::LINK, value.parse().expect("a header value")))
            .collect();
        ice_servers(&headers)
    }

    #[test]
    fn ice_servers_among_other_links_are_found() {
        let stun = |server: &str| IceServer::Stun(server.to_owned());
        assert_eq!(
            found(&["<stun:stun.example.net>; rel=\"ice-server\""]),
            [stun("stun.example.net:3478")]
        );
        assert_eq!(
            found(&[
                "<https://example.net/a,b>; rel=\"help\", <stun:a.example:19302>; rel=ice-server, <turns:t.example?transport=tcp>; \
                 rel=\"ice-server\"; username=\"a,b;c\"; credential=\"x\"",
                "<STUN:[2001:db8::1]>; title=\"a > b\"; rel=\"next ice-server\", <stun:[::1]:5>; REL=ice-server",
            ]),
            [
                stun("a.example:19302"),
                IceServer::Relay,
                stun("[2001:db8::1]:3478"),
                stun("[::1]:5")
            ]
        );
        for broken in [
            "",
            "stun:a",
            "<stun:a",
            "<stun:>; rel=ice-server",
            "<stun:a:x>; rel=ice-server",
            "<stun:user@a:5>; rel=ice-server",
            "<stun:[::1]a:5>; rel=ice-server",
            "<>;rel=ice-server",
            ">,<\",;=",
        ] {
            assert_eq!(found(&[broken]), [], "{broken}");
        }
        assert_eq!(
            found(&["<turn:a>;rel=ice-server,".repeat(100).as_str()]).len(),
            MAX_SERVERS
        );
    }
}
