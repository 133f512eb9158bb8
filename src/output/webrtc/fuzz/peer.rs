//! Fuzz target: a peer whose SDP is made of fields of any length, and its datagrams as time
//! advances, so that checks, their retransmissions and their end are covered too.

use super::{OURS, PASSWORD, PEER_PORTS, Shared, UFRAGS};
use crate::fuzz::Input;
use crate::output::webrtc::signalling::{check, check_answer};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::ice::{StunMessage, TransId};
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Output, Rtc};

/// Steps after the exchange, bounded for speed.
const MAX_STEPS: usize = 64;
const MAX_CANDIDATES: u8 = 20;

/// A peer's description. All zeros as input make a valid one.
struct Peer {
    ufrag: String,
    pwd: String,
    fingerprint: String,
    setup: &'static str,
    /// SDP lines.
    candidates: String,
    extensions: String,
    is_lite: bool,
    /// Credentials and candidates are in the session part, not in each m-section.
    in_session: bool,
}

/// `default`, or another text of any length.
fn text(input: &mut Input<'_>, default: &str) -> String {
    const CHARACTERS: [&str; 8] = ["u", "A", "/", "9", "+", "-", "\u{e9}", " "];
    match input.u8() {
        0 => default.to_owned(),
        length => {
            let more = if length == 255 { input.u8() } else { 0 };
            let character = CHARACTERS[usize::from(input.u8() >> 3 & 7)];
            character.repeat(usize::from(length) + usize::from(more))
        }
    }
}

/// `default`, or another number, which may be too large for its field.
fn number(input: &mut Input<'_>, default: u64) -> u64 {
    default.wrapping_add(input.word())
}

fn candidate(input: &mut Input<'_>) -> String {
    const TRANSPORTS: [&str; 4] = ["udp", "UDP", "tcp", "ssltcp"];
    const ADDRESSES: [&str; 8] = [
        "127.0.0.1",
        "192.0.2.7",
        "2001:db8::7",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "0f9a.local",
    ];
    const KINDS: [&str; 5] = ["host", "srflx", "prflx", "relay", "other"];
    let foundation = text(input, "1");
    let component = number(input, 1);
    let transport = TRANSPORTS[usize::from(input.u8() & 3)];
    let priority = number(input, 2_113_937_151);
    let address = ADDRESSES[usize::from(input.u8() & 7)];
    let port = number(input, u64::from(PEER_PORTS));
    let kind = KINDS[usize::from(input.u8() % 5)];
    let more = match input.u8() & 3 {
        0 => String::new(),
        1 => format!(" raddr 0.0.0.0 rport {}", number(input, 9)),
        2 => format!(" ufrag {}", text(input, "abcd")),
        _ => format!(" generation 0 network-cost {}", text(input, "50")),
    };
    format!(
        "a=candidate:{foundation} {component} {transport} {priority} {address} {port} typ {kind}{more}\r\n"
    )
}

fn fingerprint(input: &mut Input<'_>) -> String {
    const HASHES: [(&str, u8); 8] = [
        ("sha-256", 32),
        ("SHA-256", 32),
        ("sha-1", 20),
        ("sha-384", 48),
        ("sha-512", 64),
        ("md5", 16),
        ("sha-3", 32),
        ("", 0),
    ];
    let (hash, count) = HASHES[usize::from(input.u8() & 7)];
    let bytes = vec!["aB"; usize::from(count.wrapping_add(input.u8()))];
    format!("{hash} {}", bytes.join(":"))
}

impl Peer {
    fn new(input: &mut Input<'_>) -> Self {
        const SETUPS: [&str; 4] = ["active", "passive", "actpass", "holdconn"];
        let flags = input.u8();
        let (ufrag, pwd) = (text(input, "abcd"), text(input, "abcdefghijklmnopqrstuvwx"));
        let fingerprint = fingerprint(input);
        let count = input.u8().wrapping_add(1) % MAX_CANDIDATES;
        let candidates = (0..count).map(|_| candidate(input)).collect();
        let mut extensions = String::new();
        for _ in 0..flags >> 4 & 3 {
            let (id, uri) = (
                number(input, 9),
                text(
                    input,
                    "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
                ),
            );
            let _ = write!(extensions, "a=extmap:{id} {uri}\r\n");
        }
        Self {
            ufrag,
            pwd,
            fingerprint,
            setup: SETUPS[usize::from(flags >> 2 & 3)],
            candidates,
            extensions,
            is_lite: flags & 1 != 0,
            in_session: flags & 2 != 0,
        }
    }

    fn sdp(&self, mids: [&str; 2]) -> String {
        let Self {
            ufrag,
            pwd,
            fingerprint,
            setup,
            candidates,
            extensions,
            ..
        } = self;
        let lite = if self.is_lite { "a=ice-lite\r\n" } else { "" };
        let ice = format!(
            "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\na=fingerprint:{fingerprint}\r\na=setup:{setup}\r\n{candidates}"
        );
        let (session, media) = if self.in_session {
            (&*ice, "")
        } else {
            ("", &*ice)
        };
        let [video, audio] = mids;
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {video} {audio}\r\n{lite}{session}\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:{video}\r\na=recvonly\r\na=rtcp-mux\r\n{extensions}{media}\
a=rtpmap:96 H264/90000\r\na=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:{audio}\r\na=recvonly\r\na=rtcp-mux\r\n{media}\
a=rtpmap:111 opus/48000/2\r\n"
        )
    }

    /// A session that has accepted the peer's description, as an offer or as an answer to ours.
    fn session(&self, shared: &Shared, as_answer: bool) -> Option<Rtc> {
        let mut rtc = shared.local_session();
        if as_answer {
            let mut api = rtc.sdp_api();
            let mut add = |kind| {
                api.add_media(kind, Direction::SendOnly, None, None, None)
                    .to_string()
            };
            let (video, audio) = (add(MediaKind::Video), add(MediaKind::Audio));
            let (_, pending) = api.apply().expect("there are media");
            let answer = check_answer(&self.sdp([&video, &audio])).ok()?;
            rtc.sdp_api().accept_answer(pending, answer).ok()?;
        } else {
            let offer = check(&self.sdp(["0", "1"])).ok()?;
            rtc.sdp_api().accept_offer(offer).ok()?;
        }
        Some(rtc)
    }
}

/// The exchange, then steps.
pub fn run(shared: &Shared, input: &mut Input<'_>) {
    let as_answer = input.u8() & 1 != 0;
    let peer = Peer::new(input);
    let Some(rtc) = peer.session(shared, as_answer) else {
        return;
    };
    let mut exchange = Exchange {
        shared,
        peer,
        rtc,
        now: Instant::now(),
        last_check: None,
    };
    // The first checks, whatever the input.
    let mut alive = exchange.wait(Duration::ZERO) && exchange.wait(Duration::from_millis(300));
    for _ in 0..MAX_STEPS {
        if !alive || input.is_empty() {
            return;
        }
        alive = exchange.step(input);
    }
}

struct Exchange<'a> {
    shared: &'a Shared,
    peer: Peer,
    rtc: Rtc,
    now: Instant,
    /// The last check that was sent, its source and destination.
    last_check: Option<(TransId, SocketAddr, SocketAddr)>,
}

impl Exchange<'_> {
    /// `false`: the session has ended.
    fn step(&mut self, input: &mut Input<'_>) -> bool {
        let (operation, detail) = (input.u8(), input.u8());
        let source = SocketAddr::new(OURS.ip(), PEER_PORTS + u16::from(detail >> 4));
        match operation % 8 {
            0..3 => self.wait(Duration::from_millis(
                u64::from(input.u16()) >> (detail & 15),
            )),
            3 => self.wait(Duration::from_secs(u64::from(detail) * 600)),
            4 => {
                // With the USERNAME that the session expects.
                let username = format!("{}:{}", UFRAGS[0], self.peer.ufrag);
                let message = StunMessage::binding_request(
                    &username,
                    TransId::new(),
                    detail & 1 != 0,
                    input.word(),
                    input.word() as u32,
                    detail & 2 != 0,
                );
                let password = if detail & 4 == 0 { PASSWORD } else { "another" };
                self.deliver_stun(message, password, source)
            }
            5 | 6 => {
                let Some((id, from, to)) = self.last_check else {
                    return true;
                };
                let mapped = SocketAddr::new(from.ip(), from.port() + u16::from(detail & 3));
                let message = if operation % 8 == 5 {
                    StunMessage::binding_reply(id, mapped)
                } else {
                    StunMessage::binding_role_conflict_reply(id)
                };
                let pwd = self.peer.pwd.clone();
                self.deliver_stun(message, &pwd, to)
            }
            _ => {
                let bytes = input.take(detail.into());
                self.deliver(bytes, source)
            }
        }
    }

    fn deliver_stun(&mut self, message: StunMessage<'_>, password: &str, from: SocketAddr) -> bool {
        let mut bytes = [0; 512];
        let hmac = |key: &[u8], parts: &[&[u8]]| {
            self.shared.crypto.sha1_hmac_provider.sha1_hmac(key, parts)
        };
        // Fails for names that are too long for a message.
        match message.to_bytes(Some(password.as_bytes()), &mut bytes, hmac) {
            Ok(length) => self.deliver(&bytes[..length], from),
            Err(_) => true,
        }
    }

    fn deliver(&mut self, bytes: &[u8], source: SocketAddr) -> bool {
        match Receive::new(Protocol::Udp, source, OURS, bytes) {
            Ok(received) => {
                let outcome = self
                    .rtc
                    .handle_input(str0m::Input::Receive(self.now, received));
                outcome.is_ok() && self.flush()
            }
            Err(_) => true,
        }
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.now += time;
        let outcome = self.rtc.handle_input(str0m::Input::Timeout(self.now));
        outcome.is_ok() && self.flush()
    }

    fn flush(&mut self) -> bool {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(_)) => return self.rtc.is_alive(),
                Ok(Output::Transmit(out)) => {
                    if let Ok(message) = StunMessage::parse(&out.contents)
                        && message.is_binding_request()
                    {
                        self.last_check = Some((message.trans_id(), out.source, out.destination));
                    }
                }
                Ok(Output::Event(_)) => {}
                Err(_) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the steps would not be reached.
    #[test]
    fn peer_of_zeros_is_accepted_and_gets_a_check() {
        super::super::SHARED.with(|shared| {
            for as_answer in [false, true] {
                let peer = Peer::new(&mut Input(&[]));
                let rtc = peer.session(shared, as_answer).expect("it is accepted");
                let mut exchange = Exchange {
                    shared,
                    peer,
                    rtc,
                    now: Instant::now(),
                    last_check: None,
                };
                assert!(exchange.wait(Duration::ZERO) && exchange.wait(Duration::from_millis(300)));
                assert!(exchange.last_check.is_some(), "as answer: {as_answer}");
            }
        });
    }
}
