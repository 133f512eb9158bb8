//! What passes between a session's str0m and the network: applies [`AddressValidation`] to sent
//! datagrams, and recognizes the responses that validate an address.

use super::address_validation::{AddressValidation, Decision, HeldPacket, PacketKind};
use super::pending_checks::PendingChecks;
use super::port::{Datagram, Port};
use super::signalling;
use super::stun::Message;
use std::time::Instant;
use str0m::crypto::{CryptoProvider, from_feature_flags};
use str0m::ice::StunMessage;
use str0m::net::{Protocol, Transmit};

pub struct AddressGuard {
    validation: AddressValidation,
    pending_checks: PendingChecks,
    /// Our ICE password, the key of the peer's checks.
    local_password: String,
    /// The peer's ICE password, the key of its responses.
    password: String,
    has_check: bool,
    crypto: CryptoProvider,
}

impl AddressGuard {
    /// `sdp`: the peer's offer or answer. `local_password`: our ICE password.
    pub fn new(sdp: &str, local_password: &str) -> Self {
        let is_lite = sdp.lines().any(|line| line.trim_end() == "a=ice-lite");
        Self {
            validation: AddressValidation::new(sdp.len(), is_lite),
            local_password: local_password.to_owned(),
            has_check: false,
            pending_checks: PendingChecks::default(),
            password: signalling::ice_password(sdp).unwrap_or_default().to_owned(),
            crypto: from_feature_flags(),
        }
    }

    /// Whether a datagram of str0m may be sent now. A TCP connection validates its address itself.
    pub fn may_send(&mut self, out: &Transmit, port: &Port, now: Instant) -> bool {
        let message = Message::parse(&out.contents);
        let check = message.filter(Message::is_request);
        if out.proto == Protocol::Udp {
            let kind = match message {
                Some(message) if message.is_request() => PacketKind::Check,
                Some(message) if message.is_response() => PacketKind::Response,
                _ => PacketKind::Other,
            };
            let (from, to) = (out.source, out.destination);
            let routed_source = || port.base_towards(to);
            let bytes = out.contents.len();
            let decision = self
                .validation
                .decide(kind, from, to, bytes, now, routed_source);
            if decision == Decision::Hold {
                let held = HeldPacket {
                    source: from,
                    bytes: out.contents.to_vec(),
                };
                self.validation.hold(to, held);
            }
            if decision != Decision::Send {
                return false;
            }
        }
        if let Some(check) = check {
            self.pending_checks
                .add(&check, (out.proto, out.destination));
        }
        true
    }

    /// Whether str0m may get a received datagram: all but responses to no pending check, those with
    /// the wrong key, and what comes from too many addresses. Sends what the response allows.
    pub fn accept(&mut self, datagram: &Datagram, port: &Port) -> bool {
        let Datagram {
            protocol,
            source,
            destination,
            bytes,
            ..
        } = datagram;
        let is_udp = *protocol == Protocol::Udp;
        let message = Message::parse(bytes);
        let is_needed = !self.has_check || (is_udp && !self.validation.is_validated(*source));
        let is_check = is_needed
            && message.is_some_and(|message| message.is_request())
            && self.is_signed(bytes, &self.local_password);
        self.has_check |= is_check;
        let length = bytes.len();
        if is_udp
            && !self
                .validation
                .receive(*source, *destination, length, is_check)
        {
            return false;
        }
        let Some(response) = message.filter(Message::is_response) else {
            return true;
        };
        let from = (*protocol, *source);
        if !self.pending_checks.contains(&response, from) || !self.is_signed(bytes, &self.password)
        {
            return false;
        }
        self.pending_checks.remove(&response, from);
        if is_udp && let Some(held) = self.validation.validate(*source) {
            port.send(Protocol::Udp, held.source, *source, &held.bytes);
        }
        true
    }

    /// Whether a check came that was signed with our password.
    pub fn has_check(&self) -> bool {
        self.has_check
    }

    fn is_signed(&self, message: &[u8], password: &str) -> bool {
        let hmac = self.crypto.sha1_hmac_provider;
        StunMessage::parse(message).is_ok_and(|message| {
            message.verify(password.as_bytes(), |key, parts| hmac.sha1_hmac(key, parts))
        })
    }
}
