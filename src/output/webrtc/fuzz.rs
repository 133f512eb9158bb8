//! Fuzz targets: datagrams and TCP frames to the port, including str0m; and text: offers, answers,
//! `Link` and `Location` headers. (DTLS payloads are parsed and fuzzed by str0m's project, HTTP's
//! syntax by hyper's.)

mod peer;

use super::address_guard::AddressGuard;
use super::byte_queue::{ByteReceiver, QueueBudget};
use super::demux::Routes;
use super::ice_tcp;
use super::port::{Datagram, MAX_DATAGRAM_BYTES, Port};
use super::signalling::{check, check_answer};
use super::stun_client::StunClient;
use crate::fuzz::Input;
use crate::net::url::{resolve, same_origin};
use crate::output::whip::link_header::{IceServer, ice_servers};
use http::{HeaderMap, HeaderValue, Uri, header};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use str0m::change::SdpAnswer;
use str0m::config::DtlsCert;
use str0m::crypto::{CryptoProvider, from_feature_flags};
use str0m::ice::{StunMessage, TransId};
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, IceCreds, Output, Rtc, RtcConfig};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;

/// A browser's offer to receive video and audio.
pub const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=msid-semantic: WMS\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
a=fingerprint:sha-256 11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00\r\n\
a=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:96 H264/90000\r\n\
a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
a=fingerprint:sha-256 11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00\r\n\
a=setup:actpass\r\na=mid:1\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n";

const OURS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8189);
const STUN_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3478);
const STUN_REQUEST: [u8; 12] = *b"our request!";
/// User fragments of the sessions.
const UFRAGS: [&str; 2] = ["aaaa", "bbbb"];
const PASSWORD: &str = "of the first session....";
/// The first of the peers' ports. They are more than a session has remote addresses.
const PEER_PORTS: u16 = 5000;

/// Made once for all inputs.
struct Shared {
    runtime: Runtime,
    port: Arc<Port>,
    crypto: CryptoProvider,
    certificate: DtlsCert,
}

thread_local! {
    static SHARED: Shared = Shared::new();
}

impl Shared {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let port = {
            let _entered = runtime.enter();
            Arc::new(Port::open(Ipv4Addr::LOCALHOST.into(), 0).expect("a free port"))
        };
        let crypto = from_feature_flags();
        let certificate = crypto
            .dtls_provider
            .generate_certificate()
            .expect("a certificate");
        Self {
            runtime,
            port,
            crypto,
            certificate,
        }
    }

    fn rtc(&self) -> RtcConfig {
        let config = RtcConfig::new().set_dtls_cert(self.certificate.clone());
        config
            .clear_codecs()
            .enable_h264(true)
            .enable_opus(true, false)
    }

    /// A session with our candidates, before any offer.
    fn local_session(&self) -> Rtc {
        let credentials = IceCreds {
            ufrag: UFRAGS[0].into(),
            pass: PASSWORD.into(),
        };
        let mut rtc = self
            .rtc()
            .set_local_ice_credentials(credentials)
            .build(Instant::now());
        for candidate in [
            Candidate::host(OURS, "udp").ok(),
            Candidate::builder().tcp().host(OURS).build().ok(),
        ] {
            rtc.add_local_candidate(candidate.expect("an address"));
        }
        rtc
    }

    /// A session that has answered an offer and waits for its peer.
    fn answered_session(&self) -> Rtc {
        let mut rtc = self.local_session();
        rtc.sdp_api()
            .accept_offer(check(OFFER).expect("an offer"))
            .expect("it is answered");
        rtc
    }
}

/// Operations on the routes, each three bytes and its arguments.
pub fn datagrams(bytes: &[u8]) {
    SHARED.with(|shared| Scenario::new(shared).run(bytes));
}

/// Input of str0m; the first byte selects a peer made of fields, an offer, an answer, or datagrams
/// as above.
pub fn session(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    if kind & 0xc0 == 0x40 {
        return SHARED.with(|shared| peer::run(shared, &mut Input(bytes)));
    }
    match (kind % 4, std::str::from_utf8(bytes)) {
        (0, Ok(offer)) => drop(answer(offer)),
        (1, Ok(answer)) => accept(answer),
        (2.., _) => SHARED.with(|shared| {
            let mut scenario = Scenario::new(shared);
            scenario.first_session = Some(shared.answered_session());
            scenario.run(bytes);
        }),
        _ => {}
    }
}

/// Two sessions behind the port, and a STUN server with a pending request.
struct Scenario<'a> {
    shared: &'a Shared,
    stun_client: StunClient,
    mapped: tokio::sync::oneshot::Receiver<SocketAddr>,
    routes: Routes,
    inboxes: [ByteReceiver<Datagram>; 2],
    /// The session that each address belongs to.
    owners: HashMap<(Protocol, SocketAddr), usize>,
    /// The str0m instance of the first session, until its first error. `None`: its datagrams are
    /// not parsed further.
    first_session: Option<Rtc>,
    /// That of the first session.
    guard: AddressGuard,
}

fn inbox_budget() -> QueueBudget {
    QueueBudget::new(1, 1 << 20, 1 << 16, 1 << 20)
}

impl<'a> Scenario<'a> {
    fn new(shared: &'a Shared) -> Self {
        let stun_client = StunClient::new(shared.port.clone(), None);
        let mapped = stun_client.add_pending(STUN_REQUEST, STUN_SERVER);
        let routes = Routes::default();
        let inboxes = UFRAGS.map(|name| {
            let (inbox, datagrams) = inbox_budget().queue();
            routes.add(name, PASSWORD, inbox);
            datagrams
        });
        Self {
            shared,
            stun_client,
            mapped,
            routes,
            inboxes,
            owners: HashMap::new(),
            first_session: None,
            guard: AddressGuard::new(OFFER, PASSWORD),
        }
    }

    fn run(mut self, bytes: &[u8]) {
        let mut input = Input(bytes);
        while !input.is_empty() {
            self.step(&mut input);
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (operation, from, session) = (input.u8(), input.u8(), usize::from(input.u8()));
        let protocol = if from & 1 == 0 {
            Protocol::Udp
        } else {
            Protocol::Tcp
        };
        let source = SocketAddr::new(OURS.ip(), PEER_PORTS + u16::from(from >> 1));
        let (session, is_authentic) = (session & 1, session & 2 == 0);
        match operation % 8 {
            0..3 => {
                let length = input.u8().into();
                self.arrive(protocol, source, input.take(length));
            }
            3 => {
                self.arrive(Protocol::Udp, STUN_SERVER, &stun_server_response(input));
            }
            4 => {
                let check = self.check(session, is_authentic, input.u8());
                let owner = self.routes.owner((protocol, source));
                let may_move = is_authentic || owner.is_none_or(|of| of == UFRAGS[session]);
                let expected = may_move.then_some(session);
                assert_eq!(
                    self.arrive(protocol, source, &check),
                    Vec::from_iter(expected),
                    "the session that it names, or none"
                );
            }
            5 => {
                let length = usize::from(input.u16());
                let bytes = input.take(length);
                self.stream(source, bytes, input.u8().into());
            }
            6 => {
                let from = (protocol, source);
                let owner = self.routes.owner(from);
                self.routes
                    .add_remote_address(UFRAGS[session], protocol, source);
                let expected = owner.unwrap_or(UFRAGS[session].to_owned());
                assert_eq!(self.routes.owner(from), Some(expected));
                let of = self.routes.owner(from);
                let of = UFRAGS.iter().position(|name| of.as_deref() == Some(name));
                self.owners.insert(from, of.expect("it was added"));
            }
            _ => {
                self.routes.remove(UFRAGS[session]);
                self.owners.retain(|_, of| *of != session);
                self.routes.assert_consistent();
                let (inbox, datagrams) = inbox_budget().queue();
                self.routes.add(UFRAGS[session], PASSWORD, inbox);
                self.inboxes[session] = datagrams;
            }
        }
        self.routes.assert_consistent();
    }

    /// A connectivity check (RFC 8445, section 7.2.2), made by str0m's code.
    fn check(&self, session: usize, is_authentic: bool, like: u8) -> Vec<u8> {
        let username = format!("{}:abcd", UFRAGS[session]);
        let message = StunMessage::binding_request(
            &username,
            TransId::new(),
            like & 1 == 0,
            like.into(),
            1,
            like & 2 == 0,
        );
        let password = if is_authentic { PASSWORD } else { "another" };
        let mut bytes = [0; 256];
        let hmac = |key: &[u8], parts: &[&[u8]]| {
            self.shared.crypto.sha1_hmac_provider.sha1_hmac(key, parts)
        };
        let length = message
            .to_bytes(Some(password.as_bytes()), &mut bytes, hmac)
            .expect("it fits");
        bytes[..length].to_vec()
    }

    /// A TCP connection that sends `bytes` in two parts.
    fn stream(&mut self, source: SocketAddr, bytes: &[u8], cut: usize) {
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        let mut read = Vec::new();
        let route = |datagram: Datagram| {
            assert_eq!(
                (datagram.protocol, datagram.source, datagram.destination),
                (Protocol::Tcp, source, OURS)
            );
            read.push(datagram.bytes);
            true
        };
        self.shared
            .runtime
            .block_on(ice_tcp::read(first.chain(second), source, OURS, route));
        assert_eq!(read, frames(bytes), "cut at {cut}");
        for datagram in read {
            self.arrive(Protocol::Tcp, source, &datagram);
        }
    }

    /// Handles a datagram as `Server::run` does. The sessions that got it.
    fn arrive(&mut self, protocol: Protocol, source: SocketAddr, bytes: &[u8]) -> Vec<usize> {
        let datagram = Datagram {
            protocol,
            source,
            destination: OURS,
            at: Instant::now(),
            bytes: bytes.to_vec(),
        };
        if protocol == Protocol::Udp && self.stun_client.handle_response(&datagram) {
            assert!(
                source == STUN_SERVER && bytes[8..20] == STUN_REQUEST,
                "not the response to our request"
            );
            if let Ok(public) = self.mapped.try_recv() {
                assert!(
                    public.port() != 0 && !public.ip().is_unspecified(),
                    "{public}"
                );
            }
            return vec![];
        }
        let is_routed = self.routes.route(datagram);
        let mut reached = Vec::new();
        for (session, name) in UFRAGS.iter().enumerate() {
            let Some(datagram) = self.inboxes[session].try_recv() else {
                continue;
            };
            let from = (protocol, source);
            let is_named = bytes
                .windows(name.len())
                .any(|part| part == name.as_bytes());
            assert!(
                is_named || self.owners.get(&from) == Some(&session),
                "{name} got a datagram of {from:?} that neither names it nor belongs to it"
            );
            assert_eq!(datagram.bytes, bytes);
            self.owners.insert(from, session);
            reached.push(session);
            if session == 0 {
                self.handle(&datagram);
            }
        }
        assert_eq!(
            reached.len(),
            usize::from(is_routed),
            "one session, or none"
        );
        reached
    }

    /// As `Session` does.
    fn handle(&mut self, datagram: &Datagram) {
        let Some(rtc) = &mut self.first_session else {
            return;
        };
        let port = &self.shared.port;
        if !self.guard.accept(datagram, port) {
            return;
        }
        let Ok(received) = Receive::new(
            datagram.protocol,
            datagram.source,
            datagram.destination,
            &datagram.bytes,
        ) else {
            return;
        };
        let mut outcome = rtc.handle_input(str0m::Input::Receive(datagram.at, received));
        while outcome.is_ok() {
            match rtc.poll_output() {
                Ok(Output::Timeout(_)) => return,
                Ok(Output::Transmit(out)) => {
                    self.guard.may_send(&out, port, datagram.at);
                }
                Ok(Output::Event(_)) => {}
                Err(e) => outcome = Err(e),
            }
        }
        self.first_session = None;
    }
}

/// With any attributes.
fn stun_server_response(input: &mut Input<'_>) -> Vec<u8> {
    let length = input.u8();
    let attributes = input.take(length.into());
    [
        &[1, 1, 0, length, 0x21, 0x12, 0xa4, 0x42][..],
        &STUN_REQUEST,
        attributes,
    ]
    .concat()
}

/// The complete frames (RFC 4571), up to the first that is too large.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk()
        && let length = usize::from(u16::from_be_bytes(*length))
        && length <= MAX_DATAGRAM_BYTES
        && let Some((frame, rest)) = rest.split_at_checked(length)
    {
        frames.push(frame.to_vec());
        bytes = rest;
    }
    frames
}

/// The first byte selects `Link` headers of an answer, one a line, or a URL and the `Location` of a
/// response from there.
pub fn links(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    if kind % 4 != 2 {
        return ice_servers_of(bytes);
    }
    if let Some((base, reference)) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.split_once('\n'))
    {
        location(base, reference);
    }
}

/// Answers an offer as `Server::answer` does, without a port.
pub fn answer(offer: &str) -> Option<String> {
    let offer = check(offer).ok()?;
    let mut rtc = SHARED.with(Shared::rtc).build(Instant::now());
    let sdp = rtc.sdp_api().accept_offer(offer).ok()?.to_sdp_string();
    assert!(SdpAnswer::from_sdp_string(&sdp).is_ok(), "{sdp}");
    for media in sdp.lines().filter(|line| line.starts_with("m=")) {
        assert!(
            media.split(' ').filter(|part| !part.is_empty()).count() >= 4,
            "no format: {sdp}"
        );
    }
    Some(sdp)
}

/// Handles an answer as `OutgoingOffer::accept` does. `MID0` and `MID1` in it are replaced by the
/// names of the two media.
fn accept(answer: &str) {
    let mut rtc = SHARED.with(Shared::rtc).build(Instant::now());
    let mut api = rtc.sdp_api();
    let mut add = |kind| {
        api.add_media(kind, Direction::SendOnly, None, None, None)
            .to_string()
    };
    let (video, audio) = (add(MediaKind::Video), add(MediaKind::Audio));
    let (_, pending) = api.apply().expect("there are media");
    if let Ok(answer) = check_answer(&answer.replace("MID0", &video).replace("MID1", &audio)) {
        let _ = rtc.sdp_api().accept_answer(pending, answer);
    }
}

fn ice_servers_of(bytes: &[u8]) {
    let values = bytes
        .split(|&b| b == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers: HeaderMap = values.map(|value| (header::LINK, value)).collect();
    for server in ice_servers(&headers) {
        if let IceServer::Stun(server) = server {
            let port = server
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse::<u16>().ok());
            assert!(port.is_some(), "{server}");
        }
    }
}

fn location(base: &str, reference: &str) {
    let Ok(base) = base.parse::<Uri>() else {
        return;
    };
    let Some(found) = resolve(&base, reference) else {
        return;
    };
    assert!(
        matches!(found.scheme_str(), Some("http" | "https"))
            && found.host().is_some_and(|host| !host.is_empty()),
        "{found}"
    );
    // Without another host in the reference, the token is sent to the same origin.
    let has_host = reference.contains(':') || reference.starts_with("//");
    assert!(
        has_host || same_origin(&base, &found),
        "{base} {reference} {found}"
    );
    assert_eq!(resolve(&base, &found.to_string()), Some(found));
}
