//! The connectivity checks that were sent and have no response yet. str0m's ICE accepts any number
//! of responses to one check and keeps a candidate for each mapped address in them, so that a peer
//! could fill the memory: here each check has one response.

use super::stun::{Message, TransactionId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use str0m::net::Protocol;

/// When as many checks are pending, the oldest is forgotten. str0m has at most 100 candidate pairs
/// with nine checks each.
const MAX_PENDING: usize = 1024;

#[derive(Default)]
pub struct PendingChecks(VecDeque<(TransactionId, Remote)>);

/// Where a check was sent, and its response comes from (RFC 8445, section 7.2.5.2.1).
type Remote = (Protocol, SocketAddr);

impl PendingChecks {
    /// Remembers a check that is sent.
    pub fn add(&mut self, check: &Message<'_>, to: Remote) {
        if self.0.len() == MAX_PENDING {
            self.0.pop_front();
        }
        self.0.push_back((check.id, to));
    }

    /// Whether this is the response to a pending check.
    pub fn contains(&self, response: &Message<'_>, from: Remote) -> bool {
        self.0.contains(&(response.id, from))
    }

    /// The check that this responds to is pending no longer.
    pub fn remove(&mut self, response: &Message<'_>, from: Remote) {
        self.0.retain(|check| *check != (response.id, from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::webrtc::stun::binding_request;

    fn id(n: u16) -> TransactionId {
        let [high, low] = n.to_be_bytes();
        [high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    fn remote(port: u16) -> Remote {
        (Protocol::Udp, ([192, 0, 2, 7], port).into())
    }

    fn add(checks: &mut PendingChecks, n: u16, port: u16) {
        let check = binding_request(&id(n));
        checks.add(&Message::parse(&check).expect("STUN"), remote(port));
    }

    fn remove(checks: &mut PendingChecks, n: u16, port: u16) -> bool {
        let mut response = binding_request(&id(n));
        response[0] = 1;
        let response = Message::parse(&response).expect("STUN");
        let was_pending = checks.contains(&response, remote(port));
        checks.remove(&response, remote(port));
        was_pending
    }

    #[test]
    fn pending_checks_each_has_one_response_from_where_it_was_sent() {
        let mut checks = PendingChecks::default();
        assert!(!remove(&mut checks, 1, 1), "none was sent");
        add(&mut checks, 1, 1);
        add(&mut checks, 2, 1);
        assert!(!remove(&mut checks, 2, 2), "from elsewhere");
        assert!(remove(&mut checks, 2, 1) && !remove(&mut checks, 2, 1));
        assert!(remove(&mut checks, 1, 1) && !remove(&mut checks, 1, 1));
    }

    #[test]
    fn pending_checks_full_forgets_the_oldest() {
        let mut checks = PendingChecks::default();
        (0..2000).for_each(|n| add(&mut checks, n, 1));
        assert_eq!(checks.0.len(), MAX_PENDING);
        assert!(!remove(&mut checks, 2000 - MAX_PENDING as u16 - 1, 1));
        assert!(remove(&mut checks, 1999, 1));
    }
}
