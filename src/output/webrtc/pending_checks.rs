//! The connectivity checks that were sent and have no response yet. str0m's ICE accepts any number
//! of responses to one check and keeps a candidate for each mapped address in them, so that a peer
//! could fill the memory: here each check has one response.

use super::stun::{Message, TransactionId};
use std::collections::VecDeque;

/// When as many checks are pending, the oldest is forgotten. str0m has at most 100 candidate pairs
/// with nine checks each.
const MAX_PENDING: usize = 1024;

#[derive(Default)]
pub struct PendingChecks(VecDeque<TransactionId>);

impl PendingChecks {
    /// Remembers a sent datagram if it is a check.
    pub fn record_sent(&mut self, datagram: &[u8]) {
        let Some(check) = Message::parse(datagram).filter(Message::is_request) else {
            return;
        };
        if self.0.len() == MAX_PENDING {
            self.0.pop_front();
        }
        self.0.push_back(check.id);
    }

    /// Whether a received datagram may be handled: all but responses to no pending check. The check
    /// is no longer pending then.
    pub fn accept(&mut self, datagram: &[u8]) -> bool {
        let Some(response) = Message::parse(datagram).filter(Message::is_response) else {
            return true;
        };
        let pending = self.0.iter().position(|id| *id == response.id);
        pending.is_some_and(|at| self.0.remove(at).is_some())
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

    fn response(n: u16, error: bool) -> Vec<u8> {
        let mut bytes = binding_request(&id(n)).to_vec();
        bytes[..2].copy_from_slice(if error { &[1, 0x11] } else { &[1, 1] });
        bytes
    }

    #[test]
    fn pending_checks_each_has_one_response() {
        let mut checks = PendingChecks::default();
        assert!(!checks.accept(&response(1, false)), "none was sent");
        checks.record_sent(&binding_request(&id(1)));
        checks.record_sent(&binding_request(&id(2)));
        assert!(checks.accept(&response(2, true)));
        assert!(!checks.accept(&response(2, false)));
        assert!(checks.accept(&response(1, false)));
        assert!(!checks.accept(&response(1, false)));
        // Datagrams that are not responses are accepted.
        assert!(checks.accept(&binding_request(&id(3))));
        assert!(checks.accept(&[22, 254, 253]) && checks.accept(&[]));
        checks.record_sent(&response(4, false));
        assert!(
            !checks.accept(&response(4, false)),
            "our response is no check"
        );
    }

    #[test]
    fn pending_checks_full_forgets_the_oldest() {
        let mut checks = PendingChecks::default();
        for n in 0..2000 {
            checks.record_sent(&binding_request(&id(n)));
        }
        assert_eq!(checks.0.len(), MAX_PENDING);
        assert!(!checks.accept(&response(2000 - MAX_PENDING as u16 - 1, false)));
        assert!(checks.accept(&response(1999, false)));
    }
}
