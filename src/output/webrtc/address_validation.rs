//! Limits what a session sends to UDP addresses that have not shown that they receive it, so that
//! an offer, or STUN requests with forged sources, cannot direct traffic at others. Pure.
//!
//! An address is validated once a response came from it to a check that was sent to it, with the
//! peer's ICE credentials. Before, it gets at most three times the bytes that came from it, and
//! three packets: one more for each further check that came from it, so that loss ends no session.
//! They are best spent on checks, whose responses validate it: responses of ours wait until then,
//! and all else is dropped. An address of the offer or answer gets two of its checks before
//! anything came from it; the third is for a peer that starts later. Their bytes are limited to
//! three times those of that text.
//!
//! The limits are those of QUIC (RFC 9000, section 8.1), and one on packets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Addresses that a session sends to.
pub const MAX_ADDRESSES: usize = 16;
/// Those from which nothing came; the others are for peers whose address is not in their offer.
const MAX_SILENT_ADDRESSES: usize = 12;
/// To an address that is not validated, from which one check came.
const MAX_PACKETS: usize = 3;
/// Local addresses that are remembered of a remote one.
const MAX_LOCALS: usize = 8;
/// Bytes sent for each byte received.
const MAX_FACTOR: usize = 3;
/// From the first packet to an address from which nothing came to the next ones: most peers send
/// something within the first second. The last one is sent to peers with ICE-lite only: they send
/// no checks (RFC 8445, section 2.5), so no packet needs to be left for what follows one.
const SILENT_INTERVALS: [Duration; MAX_PACKETS] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(4),
];

/// What a packet is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// A STUN request.
    Check,
    /// A STUN response.
    Response,
    /// DTLS, SRTP.
    Other,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Send,
    /// Keep it until the address is validated: see [`AddressValidation::hold`].
    Hold,
    Drop,
}

/// A packet that waits for the validation of its destination.
#[derive(Debug, PartialEq, Eq)]
pub struct HeldPacket {
    pub source: SocketAddr,
    pub bytes: Vec<u8>,
}

/// The remote addresses of one session.
pub struct AddressValidation {
    addresses: Vec<Address>,
    /// What is left for addresses from which nothing came.
    silent_bytes: usize,
    /// Packets to each of them.
    silent_packets: usize,
    /// Counts received packets.
    received: u64,
}

struct Address {
    remote: SocketAddr,
    is_validated: bool,
    /// The local addresses to which packets from it came, the newest last.
    locals: Vec<SocketAddr>,
    /// The number of the last packet from it.
    last_received: u64,
    received_bytes: usize,
    /// Signed checks from it.
    received_checks: usize,
    first_sent: Option<Instant>,
    sent_packets: usize,
    sent_bytes: usize,
    held: Option<HeldPacket>,
}

impl Address {
    fn new(remote: SocketAddr) -> Self {
        Self {
            remote,
            is_validated: false,
            locals: Vec::new(),
            last_received: 0,
            received_bytes: 0,
            received_checks: 0,
            first_sent: None,
            sent_packets: 0,
            sent_bytes: 0,
            held: None,
        }
    }
}

impl AddressValidation {
    /// `signalling_bytes`: the length of the peer's offer or answer; `is_lite`: whether the peer
    /// sends no checks.
    pub fn new(signalling_bytes: usize, is_lite: bool) -> Self {
        Self {
            addresses: Vec::new(),
            silent_bytes: MAX_FACTOR * signalling_bytes,
            silent_packets: MAX_PACKETS - usize::from(!is_lite),
            received: 0,
        }
    }

    /// Counts a received packet. `is_check`: it is a check, signed with our ICE password. `false`:
    /// the session has too many addresses; the packet is to be dropped.
    pub fn receive(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        bytes: usize,
        is_check: bool,
    ) -> bool {
        self.received += 1;
        let received = self.received;
        let Some(address) = self.entry(from, true) else {
            return false;
        };
        if address.locals.last() != Some(&to) {
            address.locals.retain(|local| *local != to);
            if address.locals.len() == MAX_LOCALS {
                address.locals.remove(0);
            }
            address.locals.push(to);
        }
        address.received_checks = address.received_checks.saturating_add(is_check.into());
        address.last_received = received;
        address.received_bytes = address.received_bytes.saturating_add(bytes);
        true
    }

    pub fn is_validated(&self, remote: SocketAddr) -> bool {
        self.addresses
            .iter()
            .any(|address| address.remote == remote && address.is_validated)
    }

    /// A response to a check came from this address, with the right credentials. Returns the
    /// response of ours that waited for it.
    pub fn validate(&mut self, from: SocketAddr) -> Option<HeldPacket> {
        let address = self.find(from)?;
        address.is_validated = true;
        address.held.take()
    }

    /// Decides on a packet of `bytes` from the local address `from`. `routed_source` is the local
    /// address that the kernel would choose, called for a check to an address from which nothing
    /// came: there are few, and one from another interface would be wasted.
    pub fn decide(
        &mut self,
        kind: PacketKind,
        from: SocketAddr,
        to: SocketAddr,
        bytes: usize,
        now: Instant,
        routed_source: impl FnOnce() -> Option<SocketAddr>,
    ) -> Decision {
        let (silent_bytes, silent_packets) = (self.silent_bytes, self.silent_packets);
        if self.find(to).is_none() && kind != PacketKind::Check {
            return Decision::Drop;
        }
        let Some(address) = self.entry(to, false) else {
            return Decision::Drop;
        };
        if address.is_validated {
            return Decision::Send;
        }
        match kind {
            PacketKind::Check => {}
            PacketKind::Response => return Decision::Hold,
            PacketKind::Other => return Decision::Drop,
        }
        let is_silent = address.locals.is_empty();
        let may_send = if is_silent {
            let is_due = SILENT_INTERVALS[..silent_packets]
                .get(address.sent_packets)
                .is_some_and(|wait| {
                    let first = address.first_sent.unwrap_or(now);
                    now.saturating_duration_since(first) >= *wait
                });
            is_due && bytes <= silent_bytes && routed_source() == Some(from)
        } else {
            let max_packets = MAX_PACKETS + address.received_checks.saturating_sub(1);
            // Of the pairs with this address, those on which the peer reached us.
            address.locals.contains(&from)
                && address.sent_packets < max_packets
                && address.sent_bytes + bytes <= MAX_FACTOR * address.received_bytes
        };
        if !may_send {
            return Decision::Drop;
        }
        address.first_sent.get_or_insert(now);
        address.sent_packets += 1;
        if is_silent {
            self.silent_bytes -= bytes;
        } else {
            address.sent_bytes += bytes;
        }
        Decision::Send
    }

    /// Keeps a response until its destination is validated; a later one replaces it.
    pub fn hold(&mut self, to: SocketAddr, packet: HeldPacket) {
        if let Some(address) = self.find(to) {
            address.held = Some(packet);
        }
    }

    fn find(&mut self, remote: SocketAddr) -> Option<&mut Address> {
        self.addresses
            .iter_mut()
            .find(|address| address.remote == remote)
    }

    /// The entry of an address; a new one if there is room.
    fn entry(&mut self, remote: SocketAddr, is_received: bool) -> Option<&mut Address> {
        if self.find(remote).is_none() {
            let limit = if is_received {
                MAX_ADDRESSES
            } else {
                MAX_SILENT_ADDRESSES
            };
            if self.addresses.len() >= limit {
                let unused = self.unused(is_received);
                let replaced = unused.or_else(|| self.former().filter(|_| is_received))?;
                self.addresses.remove(replaced);
            }
            self.addresses.push(Address::new(remote));
        }
        self.find(remote)
    }

    /// An address to which nothing was sent. One from which something came gives way only to
    /// another such (`for_received`).
    fn unused(&self, for_received: bool) -> Option<usize> {
        self.addresses.iter().position(|address| {
            address.sent_packets == 0
                && !address.is_validated
                && (for_received || address.locals.is_empty())
        })
    }

    /// A validated address that the peer has moved away from: the one from which nothing came for
    /// longest, and not the one from which the last packet came. Addresses that are not validated
    /// stay until the session ends: they may be anybody's.
    fn former(&self) -> Option<usize> {
        let newest = self.addresses.iter().map(|a| a.last_received).max();
        self.addresses
            .iter()
            .enumerate()
            .filter(|(_, address)| address.is_validated && Some(address.last_received) != newest)
            .min_by_key(|(_, address)| address.last_received)
            .map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const OURS: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

    fn remote(n: u16) -> SocketAddr {
        ([192, 0, 2, 7], n + 1000).into()
    }

    fn check(v: &mut AddressValidation, to: SocketAddr, bytes: usize, now: Instant) -> Decision {
        v.decide(PacketKind::Check, OURS, to, bytes, now, || Some(OURS))
    }

    #[test]
    fn validation_forged_request_brings_at_most_three_checks_and_three_times_its_bytes() {
        let now = Instant::now();
        let mut v = AddressValidation::new(10_000, false);
        assert!(v.receive(remote(1), OURS, 104, true));
        let sent = |v: &mut AddressValidation, bytes| {
            (0..20)
                .filter(|_| check(v, remote(1), bytes, now) == Decision::Send)
                .count()
        };
        assert_eq!(sent(&mut v, 100), 3);
        // Packets that are not signed allow no more of them, each further check one.
        assert!((0..50).all(|_| v.receive(remote(1), OURS, 104, false)));
        assert_eq!(sent(&mut v, 100), 0);
        assert!((0..5).all(|_| v.receive(remote(1), OURS, 104, true)));
        assert_eq!(sent(&mut v, 100), 5);
        // Large ones are limited by their bytes.
        assert!(v.receive(remote(2), OURS, 104, true));
        assert_eq!(check(&mut v, remote(2), 313, now), Decision::Drop);
        assert_eq!(check(&mut v, remote(2), 200, now), Decision::Send);
        assert_eq!(check(&mut v, remote(2), 113, now), Decision::Drop);
        assert_eq!(check(&mut v, remote(2), 112, now), Decision::Send);
    }

    #[test]
    fn validation_responses_wait_and_media_is_dropped_until_a_response_came() {
        let now = Instant::now();
        let mut v = AddressValidation::new(10_000, false);
        assert!(v.receive(remote(1), OURS, 1000, true));
        let decide =
            |v: &mut AddressValidation, kind| v.decide(kind, OURS, remote(1), 50, now, || None);
        assert_eq!(decide(&mut v, PacketKind::Response), Decision::Hold);
        assert_eq!(decide(&mut v, PacketKind::Other), Decision::Drop);
        let held = |n| HeldPacket {
            source: OURS,
            bytes: vec![n],
        };
        v.hold(remote(1), held(1));
        v.hold(remote(1), held(2));
        assert_eq!(v.validate(remote(1)), Some(held(2)), "the newest");
        for kind in [PacketKind::Response, PacketKind::Other, PacketKind::Check] {
            assert!((0..100).all(|_| decide(&mut v, kind) == Decision::Send));
        }
        assert_eq!(v.validate(remote(1)), None);
        assert_eq!(v.validate(remote(2)), None, "unknown");
        let unknown = v.decide(PacketKind::Response, OURS, remote(2), 50, now, || {
            Some(OURS)
        });
        assert_eq!(unknown, Decision::Drop);
    }

    #[test]
    fn validation_offered_addresses_get_spaced_checks_within_the_bytes_of_the_offer() {
        let start = Instant::now();
        let mut v = AddressValidation::new(1000, false);
        let at = |ms| start + Duration::from_millis(ms);
        let times = [0, 250, 750, 1000, 1750, 3250, 4000, 4750, 9000];
        let sent: Vec<_> = times
            .into_iter()
            .filter(|ms| check(&mut v, remote(1), 100, at(*ms)) == Decision::Send)
            .collect();
        assert_eq!(sent, [0, 1000]);
        let mut lite = AddressValidation::new(1000, true);
        let sent = times.map(|ms| check(&mut lite, remote(1), 100, at(ms)) == Decision::Send);
        assert_eq!(sent.into_iter().filter(|sent| *sent).count(), 3);
        // From an address that the kernel would not use, nothing is sent.
        let other = v.decide(PacketKind::Check, remote(99), remote(2), 100, start, || {
            Some(OURS)
        });
        assert_eq!(other, Decision::Drop);
        let silent = (2..100).filter(|n| check(&mut v, remote(*n), 100, start) == Decision::Send);
        assert_eq!(silent.count(), MAX_SILENT_ADDRESSES - 1);
        assert_eq!(v.silent_bytes, 3000 - 100 * (1 + MAX_SILENT_ADDRESSES));
        // A peer from elsewhere still has room.
        assert!(v.receive(remote(200), OURS, 100, true));
        assert_eq!(check(&mut v, remote(200), 100, start), Decision::Send);
        let mut short = AddressValidation::new(100, false);
        let silent =
            (0..12).filter(|n| check(&mut short, remote(*n), 100, start) == Decision::Send);
        assert_eq!(silent.count(), 3);
    }

    #[test]
    fn validation_checks_go_out_where_the_peer_came_in() {
        let now = Instant::now();
        let mut v = AddressValidation::new(10_000, false);
        let (wired, wireless) = (remote(80), remote(81));
        assert!(v.receive(remote(1), wireless, 100, true));
        let from = |v: &mut AddressValidation, from| {
            v.decide(PacketKind::Check, from, remote(1), 100, now, || Some(wired))
        };
        assert_eq!(from(&mut v, wired), Decision::Drop);
        assert_eq!(from(&mut v, wireless), Decision::Send);
        assert!(v.receive(remote(1), wired, 100, true));
        assert_eq!(from(&mut v, wired), Decision::Send);
        assert_eq!(from(&mut v, wireless), Decision::Send, "both are paths");
    }

    #[test]
    fn validation_address_of_a_peer_gives_no_way_to_one_that_is_silent() {
        let now = Instant::now();
        let mut v = AddressValidation::new(10_000, false);
        let peers = MAX_SILENT_ADDRESSES as u16;
        assert!((0..peers).all(|n| v.receive(remote(n), OURS, 100, true)));
        assert_eq!(check(&mut v, remote(100), 100, now), Decision::Drop);
        assert!((0..peers).all(|n| check(&mut v, remote(n), 100, now) == Decision::Send));
    }

    /// When str0m sends a check, in ms from the first.
    const CHECKS: [u64; 9] = [0, 250, 750, 1750, 3250, 4750, 6250, 7750, 9250];

    /// Whether one of our checks to an address of the offer is answered. The peer starts after
    /// `delay_ms`; packets are lost in both directions as `is_lost` says.
    fn connects(delay_ms: u64, mut is_lost: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        let mut v = AddressValidation::new(1000, false);
        (0..15_000).step_by(50).any(|ms| {
            if ms >= delay_ms && CHECKS.contains(&(ms - delay_ms)) && !is_lost() {
                assert!(v.receive(remote(1), OURS, 104, true));
            }
            let now = start + Duration::from_millis(ms);
            CHECKS.contains(&ms)
                && check(&mut v, remote(1), 100, now) == Decision::Send
                && ms >= delay_ms
                && !is_lost()
                && !is_lost()
        })
    }

    #[test]
    fn validation_peer_that_starts_late_connects() {
        for delay_ms in (0..=9000).step_by(50) {
            assert!(connects(delay_ms, || false), "after {delay_ms} ms");
        }
    }

    /// With three packets in all it would be 13 % that do not connect.
    #[test]
    fn validation_peer_behind_30_percent_loss_connects() {
        let mut random = 1u64;
        let mut is_lost = || {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
            (random >> 33) % 100 < 30
        };
        let connected = (0..1000).filter(|_| connects(0, &mut is_lost)).count();
        assert!(connected >= 980, "{connected} of 1000");
        let connected = (0..1000).filter(|_| connects(4000, &mut is_lost)).count();
        assert!(connected >= 850, "{connected} of 1000 that start late");
    }

    #[test]
    fn validation_addresses_are_limited_and_validated_ones_give_way_to_a_peer_that_moves() {
        let now = Instant::now();
        let mut v = AddressValidation::new(10_000, false);
        let accepted = (0..100).filter(|n| {
            v.receive(remote(*n), OURS, 100, true)
                && check(&mut v, remote(*n), 100, now) == Decision::Send
        });
        assert_eq!(accepted.count(), MAX_ADDRESSES);
        assert!(v.receive(remote(3), OURS, 100, true), "a known one");
        assert!(!v.receive(remote(200), OURS, 100, true));
        // The peer is at 3 and moves: its former address gives way.
        v.validate(remote(3));
        assert!(
            !v.receive(remote(200), OURS, 100, true),
            "the one in use stays"
        );
        assert!(v.receive(remote(4), OURS, 100, true));
        v.validate(remote(4));
        assert!(v.receive(remote(4), OURS, 100, true));
        assert!(v.receive(remote(200), OURS, 100, true));
        assert!(v.find(remote(3)).is_none() && v.find(remote(4)).is_some());
        assert_eq!(v.addresses.len(), MAX_ADDRESSES);
    }

    proptest! {
        /// Whatever comes and is to be sent, over all of a session.
        #[test]
        fn validation_limits_hold_for_any_sequence(
            steps in proptest::collection::vec((0u16..40, 0usize..300, 0u8..8, 0u64..2000), 0..400),
        ) {
            let mut now = Instant::now();
            let mut v = AddressValidation::new(500, false);
            let mut sent: HashMap<u16, (usize, usize)> = HashMap::new();
            let mut received: HashMap<u16, (usize, usize)> = HashMap::new();
            for (n, bytes, operation, ms) in steps {
                now += Duration::from_millis(ms);
                match operation {
                    0..4 => {
                        if v.receive(remote(n), OURS, bytes, operation > 1) {
                            let (checks, total) = received.entry(n).or_default();
                            *checks += usize::from(operation > 1);
                            *total += bytes;
                        }
                    }
                    4 => {
                        let kind = PacketKind::Response;
                        let decision = v.decide(kind, OURS, remote(n), bytes, now, || Some(OURS));
                        prop_assert!(decision != Decision::Send);
                    }
                    _ => {
                        if check(&mut v, remote(n), bytes, now) == Decision::Send {
                            let (packets, total) = sent.entry(n).or_default();
                            *packets += 1;
                            *total += bytes;
                        }
                    }
                }
            }
            prop_assert!(sent.len() <= MAX_ADDRESSES);
            let mut beyond_received = 0;
            for (n, (packets, total)) in sent {
                let (checks, bytes) = received.get(&n).copied().unwrap_or_default();
                prop_assert!(packets <= MAX_PACKETS + checks.saturating_sub(1));
                beyond_received += total.saturating_sub(MAX_FACTOR * bytes);
            }
            prop_assert!(beyond_received <= MAX_FACTOR * 500);
        }
    }
}
