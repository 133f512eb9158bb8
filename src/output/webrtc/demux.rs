//! Finds the session of a datagram: all sessions share one port. A STUN request names its session
//! in the first half of USERNAME (RFC 8445, section 7.2.2); every other datagram belongs to the
//! session that the last such request from its address named. A request takes over the address of
//! another session only if it is signed with its session's password: sources can be forged.

use super::byte_queue::ByteSender;
use super::ice_tcp::CONNECTIONS_PER_SESSION;
use super::port::Datagram;
use super::stun;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use str0m::crypto::from_feature_flags;
use str0m::ice::StunMessage;
use str0m::net::Protocol;

/// Remote addresses of a session; beyond that the oldest is forgotten. A peer has a few, and tries
/// each.
const MAX_ADDRESSES: usize = 32;

#[derive(Default)]
pub struct Routes(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// By our ICE user fragment.
    sessions: HashMap<String, Route>,
    /// The user fragment of the session that a remote address belongs to.
    addresses: HashMap<(Protocol, SocketAddr), String>,
}

struct Route {
    inbox: ByteSender<Datagram>,
    /// Our ICE password, the key of the peer's requests.
    password: String,
    addresses: VecDeque<(Protocol, SocketAddr)>,
    /// TCP connections that hold a place of the session, and their flags.
    connections: Vec<(SocketAddr, Arc<AtomicBool>)>,
}

impl Routes {
    /// A session: our ICE user fragment and password, and where its datagrams go.
    pub fn add(&self, ufrag: &str, password: &str, inbox: ByteSender<Datagram>) {
        self.lock().sessions.insert(
            ufrag.to_owned(),
            Route {
                inbox,
                password: password.to_owned(),
                addresses: VecDeque::new(),
                connections: Vec::new(),
            },
        );
    }

    pub fn remove(&self, ufrag: &str) {
        let mut table = self.lock();
        if let Some(route) = table.sessions.remove(ufrag) {
            for (_, holds_place) in route.connections {
                holds_place.store(false, Relaxed);
            }
        }
        table.addresses.retain(|_, of| of != ufrag);
    }

    /// Routes datagrams from this address to the session before its peer has named it, unless the
    /// address is another session's.
    pub fn add_remote_address(&self, ufrag: &str, protocol: Protocol, address: SocketAddr) {
        let mut table = self.lock();
        if !table.is_of_another(ufrag, (protocol, address)) {
            table.assign(ufrag, (protocol, address));
        }
    }

    /// Gives a TCP connection from which a datagram was routed a place of its session, if one is
    /// free. The flag is true while it has it: until the session ends.
    pub fn hold_place(&self, peer: SocketAddr, holds_place: &Arc<AtomicBool>) {
        let mut table = self.lock();
        let Table {
            sessions,
            addresses,
        } = &mut *table;
        let ufrag = addresses.get(&(Protocol::Tcp, peer));
        if let Some(route) = ufrag.and_then(|ufrag| sessions.get_mut(ufrag))
            && route.connections.len() < CONNECTIONS_PER_SESSION
        {
            holds_place.store(true, Relaxed);
            route.connections.push((peer, holds_place.clone()));
        }
    }

    /// Frees the place of a TCP connection that has ended.
    pub fn free_place(&self, peer: SocketAddr) {
        for route in self.lock().sessions.values_mut() {
            route.connections.retain(|(of, _)| *of != peer);
        }
    }

    /// Puts a datagram into the inbox of its session, or drops it if the inbox is full. `false`:
    /// there is no session for it.
    pub fn route(&self, datagram: Datagram) -> bool {
        // Parsed and verified without the lock, so that a panic cannot poison it.
        let named = named_session(&datagram.bytes);
        let from = (datagram.protocol, datagram.source);
        if let Some(password) = named.and_then(|ufrag| self.lock().password_to_move(ufrag, from))
            && !is_signed(&datagram.bytes, &password)
        {
            return false;
        }
        let mut table = self.lock();
        let inbox = match named {
            Some(ufrag) => table.assign(ufrag, from),
            None => table
                .addresses
                .get(&from)
                .and_then(|ufrag| table.sessions.get(ufrag))
                .map(|route| &route.inbox),
        };
        let Some(inbox) = inbox else { return false };
        // Full: dropped, like one lost by the network.
        let bytes = datagram.bytes.len();
        inbox.try_send(datagram, bytes);
        true
    }

    /// The session that an address belongs to.
    #[cfg(any(test, fuzzing))]
    pub fn owner(&self, from: (Protocol, SocketAddr)) -> Option<String> {
        self.lock().addresses.get(&from).cloned()
    }

    /// Asserts that each address is in the list of the session that it belongs to, and in no other.
    #[cfg(any(test, fuzzing))]
    pub fn assert_consistent(&self) {
        let table = self.lock();
        for (ufrag, route) in &table.sessions {
            assert!(
                route.addresses.len() <= MAX_ADDRESSES,
                "{ufrag} has too many addresses"
            );
            assert!(
                route
                    .addresses
                    .iter()
                    .all(|from| table.addresses.get(from) == Some(ufrag)),
                "{ufrag} lists an address of another session"
            );
        }
        assert_eq!(
            table.addresses.len(),
            table
                .sessions
                .values()
                .map(|route| route.addresses.len())
                .sum::<usize>()
        );
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("no panic while locked")
    }
}

impl Table {
    fn is_of_another(&self, ufrag: &str, from: (Protocol, SocketAddr)) -> bool {
        self.addresses.get(&from).is_some_and(|of| of != ufrag)
    }

    /// The key of a request that makes the address of another session one of this session's.
    fn password_to_move(&self, ufrag: &str, from: (Protocol, SocketAddr)) -> Option<String> {
        let route = self.sessions.get(ufrag)?;
        self.is_of_another(ufrag, from)
            .then(|| route.password.clone())
    }

    /// Makes `from` an address of a session; its inbox, if there is such a session.
    fn assign(
        &mut self,
        ufrag: &str,
        from: (Protocol, SocketAddr),
    ) -> Option<&ByteSender<Datagram>> {
        let Self {
            sessions,
            addresses,
        } = self;
        if addresses.get(&from).is_none_or(|of| of != ufrag) {
            let route = sessions.get_mut(ufrag)?;
            if route.addresses.len() == MAX_ADDRESSES
                && let Some(oldest) = route.addresses.pop_front()
            {
                addresses.remove(&oldest);
            }
            route.addresses.push_back(from);
            // The former session must not remove it once more.
            if let Some(former) = addresses.insert(from, ufrag.to_owned())
                && let Some(former) = sessions.get_mut(&former)
            {
                former.addresses.retain(|address| *address != from);
            }
        }
        sessions.get(ufrag).map(|route| &route.inbox)
    }
}

fn is_signed(bytes: &[u8], password: &str) -> bool {
    let hmac = from_feature_flags().sha1_hmac_provider;
    StunMessage::parse(bytes).is_ok_and(|message| {
        message.verify(password.as_bytes(), |key, parts| hmac.sha1_hmac(key, parts))
    })
}

/// Our user fragment in a STUN request. `None`: no request, or without USERNAME. A response may
/// have the request's USERNAME too (libnice does it), which begins with the peer's.
fn named_session(bytes: &[u8]) -> Option<&str> {
    let (_, username) = stun::Message::parse(bytes)
        .filter(stun::Message::is_request)?
        .attributes()
        .find(|(kind, _)| *kind == stun::USERNAME)?;
    std::str::from_utf8(username).ok()?.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::webrtc::byte_queue::{ByteReceiver, QueueBudget};
    use crate::output::webrtc::limit_tests::check;
    use proptest::prelude::*;
    use std::time::Instant;

    fn inbox() -> (ByteSender<Datagram>, ByteReceiver<Datagram>) {
        QueueBudget::new(1, 1 << 20, 2048, 1 << 20).queue()
    }

    fn request_for(username: &str) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend([7; 12]);
        bytes.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        bytes.extend([0, 6]);
        bytes.extend((username.len() as u16).to_be_bytes());
        bytes.extend(username.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn datagram(from: u16, bytes: Vec<u8>) -> Datagram {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Datagram {
            protocol: Protocol::Udp,
            source: at(from),
            destination: at(1),
            at: Instant::now(),
            bytes,
        }
    }

    #[test]
    fn routes_datagrams_reach_the_session_that_their_source_named() {
        let routes = Routes::default();
        let (a, mut of_a) = inbox();
        let (b, mut of_b) = inbox();
        routes.add("aaaa", "of a", a);
        routes.add("bbbb", "of b", b);
        routes.route(datagram(10, vec![22; 40]));
        assert!(
            of_a.try_recv().is_none() && of_b.try_recv().is_none(),
            "from an unknown address"
        );
        routes.route(datagram(10, request_for("aaaa:peer")));
        routes.route(datagram(11, request_for("bbbb:peer")));
        assert!(
            !routes.route(datagram(12, request_for("cccc:peer"))),
            "no such session"
        );
        routes.route(datagram(10, vec![22; 40]));
        // A response that repeats the USERNAME of our request.
        let response = [&[1, 1][..], &request_for("peer:aaaa")[2..]].concat();
        routes.route(datagram(11, response.clone()));
        assert_eq!(
            (
                of_a.try_recv().unwrap().bytes.len(),
                of_a.try_recv().unwrap().bytes
            ),
            (request_for("aaaa:peer").len(), vec![22; 40])
        );
        assert_eq!(of_b.try_recv().unwrap().source.port(), 11);
        assert_eq!(of_b.try_recv().unwrap().bytes, response);
        assert!(of_b.try_recv().is_none());
        routes.remove("aaaa");
        routes.route(datagram(10, vec![22; 40]));
        assert!(of_a.try_recv().is_none(), "removed with its session");
    }

    #[test]
    fn routes_addresses_of_a_session_are_bounded() {
        let routes = Routes::default();
        let (inbox, _datagrams) = inbox();
        routes.add("aaaa", "of a", inbox);
        (1..1000).for_each(|port| assert!(routes.route(datagram(port, request_for("aaaa:peer")))));
        assert_eq!(routes.lock().addresses.len(), MAX_ADDRESSES);
        assert!(
            routes
                .lock()
                .addresses
                .contains_key(&(Protocol::Udp, SocketAddr::from(([127, 0, 0, 1], 999))))
        );
    }

    #[test]
    fn routes_address_of_another_session_moves_by_a_signed_request_only() {
        let routes = Routes::default();
        let (a, mut of_a) = inbox();
        let (b, mut of_b) = inbox();
        routes.add("aaaa", "of a", a);
        routes.add("bbbb", "of b", b);
        let ten = datagram(10, vec![22; 40]).source;
        assert!(routes.route(datagram(10, request_for("aaaa:peer"))));
        assert!(!routes.route(datagram(10, request_for("bbbb:peer"))));
        assert!(!routes.route(datagram(10, check("bbbb:peer", "of a"))));
        routes.add_remote_address("bbbb", Protocol::Udp, ten);
        assert!(of_a.try_recv().is_some());
        assert!(routes.route(datagram(10, vec![22; 40])) && of_a.try_recv().is_some());
        assert!(of_b.try_recv().is_none());
        assert!(routes.route(datagram(10, check("bbbb:peer", "of b"))));
        (100..200).for_each(|port| assert!(routes.route(datagram(port, request_for("aaaa:peer")))));
        assert!(of_b.try_recv().is_some());
        assert!(
            routes.route(datagram(10, vec![22; 40])) && of_b.try_recv().is_some(),
            "it belongs to the second session"
        );
        routes.assert_consistent();
        routes.remove("bbbb");
        assert!(routes.route(datagram(10, request_for("aaaa:peer"))));
    }

    #[test]
    fn routes_places_of_tcp_connections_are_limited_and_end_with_the_session() {
        let routes = Routes::default();
        let (inbox, _datagrams) = inbox();
        routes.add("aaaa", "of a", inbox);
        let connect = |port| {
            let mut datagram = datagram(port, request_for("aaaa:peer"));
            datagram.protocol = Protocol::Tcp;
            let (peer, flag) = (datagram.source, Arc::new(AtomicBool::default()));
            assert!(routes.route(datagram));
            routes.hold_place(peer, &flag);
            (peer, flag)
        };
        let opened: Vec<_> = (10..16).map(connect).collect();
        let held = || opened.iter().map(|(_, flag)| flag.load(Relaxed));
        assert!(held().eq([true, true, true, true, false, false]));
        routes.free_place(opened[0].0);
        assert!(connect(20).1.load(Relaxed) && !connect(21).1.load(Relaxed));
        routes.remove("aaaa");
        assert!(held().skip(1).all(|held| !held));
    }

    proptest! {
        #[test]
        fn named_session_arbitrary_bytes_do_not_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), real in any::<bool>(), at in 0usize..200, by in any::<u8>()) {
            if real {
                bytes = request_for("aaaa:peer");
                let at = at % bytes.len();
                bytes[at] = by;
            }
            named_session(&bytes);
            for end in 0..bytes.len() {
                named_session(&bytes[..end]);
            }
        }
    }
}
