//! Whose a datagram is: all sessions share one port. A STUN request names its session (the first half of USERNAME, RFC 8445,
//! section 7.2.2); everything else is told by the address that such a request came from. Knows no session and no socket.

use super::stun;
use super::udp_mux::Datagram;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use str0m::net::Protocol;
use tokio::sync::mpsc;

/// Addresses that one session is heard from; then the oldest is forgotten. A peer has a few, and tries each.
const ADDRESSES: usize = 32;

#[derive(Default)]
pub struct Routes(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// By our ICE user fragment.
    sessions: HashMap<String, Route>,
    /// Whose ICE user fragment.
    addresses: HashMap<(Protocol, SocketAddr), String>,
}

struct Route {
    inbox: mpsc::Sender<Datagram>,
    addresses: VecDeque<(Protocol, SocketAddr)>,
}

impl Routes {
    pub fn add(&self, ufrag: &str, inbox: mpsc::Sender<Datagram>) {
        self.lock().sessions.insert(
            ufrag.to_owned(),
            Route {
                inbox,
                addresses: VecDeque::new(),
            },
        );
    }

    pub fn remove(&self, ufrag: &str) {
        let mut table = self.lock();
        table.sessions.remove(ufrag);
        table.addresses.retain(|_, of| of != ufrag);
    }

    /// What comes from this address is the session's, although its peer has not named it yet.
    pub fn expect(&self, ufrag: &str, protocol: Protocol, from: SocketAddr) {
        self.lock().learn(ufrag, (protocol, from));
    }

    /// Hands a datagram to its session; false: there is none. One that is nobody's, or for which there is no room, is dropped.
    pub fn give(&self, datagram: Datagram) -> bool {
        // What a stranger sent is read without the lock.
        let named = named_session(&datagram.bytes);
        let mut table = self.lock();
        let from = (datagram.protocol, datagram.source);
        let inbox = match named {
            Some(ufrag) => table.learn(ufrag, from),
            None => table
                .addresses
                .get(&from)
                .and_then(|ufrag| table.sessions.get(ufrag))
                .map(|route| &route.inbox),
        };
        let Some(inbox) = inbox else { return false };
        // Full: lost, as on the way here.
        let _ = inbox.try_send(datagram);
        true
    }

    /// Each address is in the list of the session that it belongs to, and in no other.
    #[cfg(any(test, fuzzing))]
    pub fn check(&self) {
        let table = self.lock();
        for (ufrag, route) in &table.sessions {
            assert!(
                route.addresses.len() <= ADDRESSES,
                "{ufrag} has too many addresses"
            );
            assert!(
                route
                    .addresses
                    .iter()
                    .all(|from| table.addresses.get(from) == Some(ufrag)),
                "{ufrag} lists another's address"
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
        self.0
            .lock()
            .expect("nothing panics while it holds the routes")
    }
}

impl Table {
    fn learn(
        &mut self,
        ufrag: &str,
        from: (Protocol, SocketAddr),
    ) -> Option<&mpsc::Sender<Datagram>> {
        let Self {
            sessions,
            addresses,
        } = self;
        if addresses.get(&from).is_none_or(|of| of != ufrag) {
            let route = sessions.get_mut(ufrag)?;
            if route.addresses.len() == ADDRESSES
                && let Some(oldest) = route.addresses.pop_front()
            {
                addresses.remove(&oldest);
            }
            route.addresses.push_back(from);
            // Whose it was must not forget it once more, when it is another's.
            if let Some(before) = addresses.insert(from, ufrag.to_owned())
                && let Some(before) = sessions.get_mut(&before)
            {
                before.addresses.retain(|address| *address != from);
            }
        }
        sessions.get(ufrag).map(|route| &route.inbox)
    }
}

/// Our user fragment in a STUN request; `None` where there is none, or where this is none. An answer may have the request's USERNAME
/// too (libnice does it), which begins with the peer's.
fn named_session(bytes: &[u8]) -> Option<&str> {
    let (_, username) = stun::Message::read(bytes)
        .filter(stun::Message::is_request)?
        .attributes()
        .find(|(kind, _)| *kind == stun::USERNAME)?;
    std::str::from_utf8(username).ok()?.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Instant;

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
    fn a_datagram_goes_to_the_session_whose_name_its_sender_knew() {
        let routes = Routes::default();
        let (a, mut of_a) = mpsc::channel(4);
        let (b, mut of_b) = mpsc::channel(4);
        routes.add("aaaa", a);
        routes.add("bbbb", b);
        routes.give(datagram(10, vec![22; 40]));
        assert!(
            of_a.try_recv().is_err() && of_b.try_recv().is_err(),
            "from nowhere"
        );
        routes.give(datagram(10, request_for("aaaa:peer")));
        routes.give(datagram(11, request_for("bbbb:peer")));
        assert!(
            !routes.give(datagram(12, request_for("cccc:peer"))),
            "nobody's"
        );
        routes.give(datagram(10, vec![22; 40]));
        // An answer that repeats the USERNAME of our request.
        let answer = [&[1, 1][..], &request_for("peer:aaaa")[2..]].concat();
        routes.give(datagram(11, answer.clone()));
        assert_eq!(
            (
                of_a.try_recv().unwrap().bytes.len(),
                of_a.try_recv().unwrap().bytes
            ),
            (request_for("aaaa:peer").len(), vec![22; 40])
        );
        assert_eq!(of_b.try_recv().unwrap().source.port(), 11);
        assert_eq!(of_b.try_recv().unwrap().bytes, answer);
        assert!(of_b.try_recv().is_err());
        routes.remove("aaaa");
        routes.give(datagram(10, vec![22; 40]));
        assert!(of_a.try_recv().is_err(), "forgotten with its session");
    }

    #[test]
    fn a_peer_of_a_thousand_addresses_is_remembered_by_a_few() {
        let routes = Routes::default();
        let (inbox, _datagrams) = mpsc::channel(4);
        routes.add("aaaa", inbox);
        (1..1000).for_each(|port| assert!(routes.give(datagram(port, request_for("aaaa:peer")))));
        assert_eq!(routes.lock().addresses.len(), ADDRESSES);
        assert!(
            routes
                .lock()
                .addresses
                .contains_key(&(Protocol::Udp, SocketAddr::from(([127, 0, 0, 1], 999))))
        );
    }

    #[test]
    fn an_address_that_changed_hands_is_not_forgotten_with_those_of_its_first_session() {
        let routes = Routes::default();
        let (a, _of_a) = mpsc::channel(4);
        let (b, mut of_b) = mpsc::channel(4);
        routes.add("aaaa", a);
        routes.add("bbbb", b);
        assert!(
            routes.give(datagram(10, request_for("aaaa:peer")))
                && routes.give(datagram(10, request_for("bbbb:peer")))
        );
        (100..200).for_each(|port| assert!(routes.give(datagram(port, request_for("aaaa:peer")))));
        assert!(of_b.try_recv().is_ok());
        assert!(
            routes.give(datagram(10, vec![22; 40])) && of_b.try_recv().is_ok(),
            "it is still the second's"
        );
        routes.check();
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_demux_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), real in any::<bool>(), at in 0usize..200, by in any::<u8>()) {
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
