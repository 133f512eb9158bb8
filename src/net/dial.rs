//! TCP connections to a host name: resolves it and tries its addresses by Happy Eyeballs (RFC
//! 8305). What may be connected to is decided by address, right before connecting: a name can
//! resolve differently each time (DNS rebinding).

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// For connecting to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// After this time without an answer the next address is tried too (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of a name that are tried; further ones are ignored.
const MAX_ADDRESSES: usize = 16;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the host name does not resolve")]
    Resolve(#[source] io::Error),
    /// The error of the address that failed last.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// None of the name's addresses is allowed; this is the first.
    #[error("{0} is not allowed")]
    NotAllowed(IpAddr),
}

/// Connects to the first address of `host` (a name, or an IP address without brackets) that
/// answers; addresses that are not allowed are left out.
///
/// # Errors
/// The name does not resolve within the system's time, none of its addresses is allowed, or none
/// accepts within 4 s.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    is_allowed: impl Fn(IpAddr) -> bool,
) -> Result<TcpStream, DialError> {
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(DialError::Resolve)?;
    let (allowed, forbidden): (Vec<_>, Vec<_>) = addresses
        .take(MAX_ADDRESSES)
        .partition(|address| is_allowed(address.ip()));
    match forbidden.first() {
        Some(address) if allowed.is_empty() => Err(DialError::NotAllowed(address.ip())),
        _ => connect_to_any(alternate_families(allowed.into_iter()), CONNECT_TIMEOUT).await,
    }
}

/// IPv6 and IPv4 by turns, in the resolver's order within a family: one of the two may lead nowhere
/// (RFC 8305, section 4).
fn alternate_families(addresses: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let addresses: Vec<_> = addresses.collect();
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return VecDeque::new();
    };
    let family = |v6| addresses.iter().copied().filter(move |a| a.is_ipv6() == v6);
    let (mut one, mut other) = (family(first), family(!first));
    let mut sorted = VecDeque::with_capacity(addresses.len());
    while sorted.len() < addresses.len() {
        sorted.extend(one.next());
        sorted.extend(other.next());
    }
    sorted
}

/// Starts one attempt after the other; the first that succeeds wins, and the others are dropped.
async fn connect_to_any(
    mut addresses: VecDeque<SocketAddr>,
    connect_timeout: Duration,
) -> Result<TcpStream, DialError> {
    let mut attempts = FuturesUnordered::new();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match addresses.pop_front() {
            Some(address) => attempts.push(timeout(connect_timeout, TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(DialError::Connect(last_error)),
            None => {}
        }
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(e)) => last_error = e,
                Err(_) => last_error = io::ErrorKind::TimedOut.into(),
            },
            () = sleep(ATTEMPT_DELAY), if !addresses.is_empty() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, TcpListener};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    /// A port that answers no SYN: the queue of its listener is full.
    fn silent_port() -> (Socket, Vec<Socket>, SocketAddr) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let tcp = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let listener = tcp();
        listener.bind(&any.into()).expect("a free port");
        listener.listen(0).expect("bound");
        let address = listener.local_addr().expect("bound");
        let mut waiting = Vec::new();
        loop {
            let client = tcp();
            let answered = client.connect_timeout(&address, Duration::from_millis(500));
            waiting.push(client);
            if answered.is_err() {
                break;
            }
            assert!(waiting.len() < 10, "the queue has no end");
        }
        (listener, waiting, address.as_socket().expect("IPv4"))
    }

    #[tokio::test]
    async fn connect_first_address_silent_second_is_used() {
        let (_socket, _waiting, silent) = silent_port();
        let (_listener, open) = listener();
        // A timeout that the test does not live to see: only an overlapping attempt connects.
        let connected = connect_to_any([silent, open].into(), 10 * PATIENCE);
        let stream = timeout(PATIENCE, connected).await.expect("in time");
        assert_eq!(
            stream.expect("connected").peer_addr().expect("a peer"),
            open
        );
    }

    #[tokio::test]
    async fn connect_first_address_refuses_second_is_used() {
        let closed = listener().1;
        let (_listener, open) = listener();
        let stream = connect_to_any([closed, open].into(), PATIENCE).await;
        assert_eq!(
            stream.expect("connected").peer_addr().expect("a peer"),
            open
        );
    }

    #[tokio::test]
    async fn connect_no_address_answers_is_the_last_error() {
        let (_socket, _waiting, silent) = silent_port();
        let outcome = connect_to_any([silent].into(), Duration::from_millis(50)).await;
        assert!(
            matches!(&outcome, Err(DialError::Connect(e)) if e.kind() == io::ErrorKind::TimedOut),
            "{outcome:?}"
        );
        let closed = listener().1;
        let outcome = connect_to_any([closed].into(), PATIENCE).await;
        assert!(
            matches!(&outcome, Err(DialError::Connect(e)) if e.kind() == io::ErrorKind::ConnectionRefused),
            "{outcome:?}"
        );
        let outcome = connect_to_any(VecDeque::new(), PATIENCE).await;
        assert!(matches!(outcome, Err(DialError::Connect(_))), "{outcome:?}");
    }

    #[test]
    fn addresses_of_both_families_alternate() {
        let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"].map(parse);
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"].map(parse);
        assert_eq!(alternate_families(given.into_iter()), expected);
        let one_family = [expected[1], expected[3]];
        assert_eq!(alternate_families(one_family.into_iter()), one_family);
    }

    #[tokio::test]
    async fn connect_addresses_not_allowed_are_left_out() {
        let (_listener, address) = listener();
        let port = address.port();
        let refused = connect("127.0.0.1", port, |ip| !ip.is_loopback()).await;
        assert!(
            matches!(refused, Err(DialError::NotAllowed(ip)) if ip == address.ip()),
            "{refused:?}"
        );
        let stream = connect("localhost", port, |ip| ip.is_ipv4()).await;
        assert_eq!(
            stream.expect("connected").peer_addr().expect("a peer"),
            address
        );
    }
}
