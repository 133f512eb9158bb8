//! ICE's checks that were sent and wait for their response. str0m's ICE takes any number of responses to one check and keeps a
//! candidate for each mapped address in them, so that a peer could fill the memory: here each check has one response.

use super::stun::{Message, TransactionId};
use std::collections::VecDeque;

/// Checks that wait; then the oldest is forgotten. str0m has at most 100 pairs, with nine checks each.
const WAITING: usize = 1024;

#[derive(Default)]
pub struct Checks(VecDeque<TransactionId>);

impl Checks {
    /// Takes note of a datagram that is sent.
    pub fn sent(&mut self, datagram: &[u8]) {
        let Some(check) = Message::read(datagram).filter(Message::is_request) else {
            return;
        };
        if self.0.len() == WAITING {
            self.0.pop_front();
        }
        self.0.push_back(check.id);
    }

    /// Whether a datagram that came may be handled: all but responses to no check that waits.
    pub fn accept(&mut self, datagram: &[u8]) -> bool {
        let Some(response) = Message::read(datagram).filter(Message::is_response) else {
            return true;
        };
        let waiting = self.0.iter().position(|id| *id == response.id);
        waiting.is_some_and(|at| self.0.remove(at).is_some())
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
    fn a_check_has_one_response() {
        let mut checks = Checks::default();
        assert!(!checks.accept(&response(1, false)), "none was sent");
        checks.sent(&binding_request(&id(1)));
        checks.sent(&binding_request(&id(2)));
        assert!(checks.accept(&response(2, true)));
        assert!(!checks.accept(&response(2, false)));
        assert!(checks.accept(&response(1, false)));
        assert!(!checks.accept(&response(1, false)));
        // What is no response is none of this.
        assert!(checks.accept(&binding_request(&id(3))));
        assert!(checks.accept(&[22, 254, 253]) && checks.accept(&[]));
        checks.sent(&response(4, false));
        assert!(!checks.accept(&response(4, false)), "ours is no check");
    }

    #[test]
    fn checks_that_wait_are_bounded() {
        let mut checks = Checks::default();
        for n in 0..2000 {
            checks.sent(&binding_request(&id(n)));
        }
        assert_eq!(checks.0.len(), WAITING);
        assert!(!checks.accept(&response(2000 - WAITING as u16 - 1, false)));
        assert!(checks.accept(&response(1999, false)));
    }
}
