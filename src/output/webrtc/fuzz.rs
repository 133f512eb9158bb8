//! Fuzzed: what strangers send to the one port, over UDP and TCP, up to str0m; and what comes as text: offers, answers, `Link`
//! and `Location` headers. (What is within DTLS, str0m takes apart, fuzzed by its project; HTTP's syntax is hyper's.)

mod peer;

use super::demux::Routes;
use super::ice_tcp;
use super::signalling::{check, check_answer};
use super::stun_client::Reflexive;
use super::udp_mux::{Datagram, Port};
use crate::fuzz::Input;
use crate::net::url::{resolve, same_origin};
use crate::output::whip::link_header::{IceServer, ice_servers};
use http::{HeaderMap, HeaderValue, Uri, header};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
use tokio::sync::mpsc;

/// Of a browser that wants both media.
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
/// Of the sessions.
const NAMES: [&str; 2] = ["aaaa", "bbbb"];
const PASSWORD: &str = "of the first session....";
/// Where the ports of peers begin. There are more of them than a session is heard from.
const PEERS: u16 = 5000;
const INBOX: usize = 8;

/// What is made once, for all inputs.
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

    /// A session with our addresses, before any offer.
    fn ours(&self) -> Rtc {
        let credentials = IceCreds {
            ufrag: NAMES[0].into(),
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

    /// A session that has answered and waits for its peer.
    fn session(&self) -> Rtc {
        let mut rtc = self.ours();
        rtc.sdp_api()
            .accept_offer(check(OFFER).expect("an offer"))
            .expect("it is answered");
        rtc
    }
}

/// Operations on the demux, each three bytes and what it needs.
pub fn datagrams(bytes: &[u8]) {
    SHARED.with(|shared| World::new(shared).run(bytes));
}

/// What str0m does with strangers' words; the first byte says which: a peer made of fields, an offer, an answer, or datagrams, as
/// above.
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
            let mut world = World::new(shared);
            world.first = Some(shared.session());
            world.run(bytes);
        }),
        _ => {}
    }
}

/// Two sessions behind the port, and a STUN server that was asked.
struct World<'a> {
    shared: &'a Shared,
    reflexive: Reflexive,
    mapped: tokio::sync::oneshot::Receiver<SocketAddr>,
    routes: Routes,
    inboxes: [mpsc::Receiver<Datagram>; 2],
    /// Whom each address is known to belong to.
    owners: HashMap<(Protocol, SocketAddr), usize>,
    /// The first session; gone with its first error. `None`: what would go to it goes nowhere.
    first: Option<Rtc>,
}

impl<'a> World<'a> {
    fn new(shared: &'a Shared) -> Self {
        let reflexive = Reflexive::new(shared.port.clone(), None);
        let mapped = reflexive.expect(STUN_REQUEST, STUN_SERVER);
        let routes = Routes::default();
        let inboxes = NAMES.map(|name| {
            let (inbox, datagrams) = mpsc::channel(INBOX);
            routes.add(name, inbox);
            datagrams
        });
        Self {
            shared,
            reflexive,
            mapped,
            routes,
            inboxes,
            owners: HashMap::new(),
            first: None,
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
        let source = SocketAddr::new(OURS.ip(), PEERS + u16::from(from >> 1));
        let (session, is_authentic) = (session & 1, session & 2 == 0);
        match operation % 8 {
            0..3 => {
                let length = input.u8().into();
                self.arrive(protocol, source, input.take(length));
            }
            3 => {
                self.arrive(
                    Protocol::Udp,
                    STUN_SERVER,
                    &answer_of_the_stun_server(input),
                );
            }
            4 => {
                let check = self.check(session, is_authentic, input.u8());
                assert_eq!(
                    self.arrive(protocol, source, &check),
                    [session],
                    "whose name is in it"
                );
            }
            5 => {
                let length = usize::from(input.u16());
                let bytes = input.take(length);
                self.stream(source, bytes, input.u8().into());
            }
            6 => {
                self.routes.expect(NAMES[session], protocol, source);
                self.owners.insert((protocol, source), session);
            }
            _ => {
                self.routes.remove(NAMES[session]);
                self.owners.retain(|_, of| *of != session);
                self.routes.check();
                let (inbox, datagrams) = mpsc::channel(INBOX);
                self.routes.add(NAMES[session], inbox);
                self.inboxes[session] = datagrams;
            }
        }
        self.routes.check();
    }

    /// ICE's check (RFC 8445, section 7.2.2), by another hand than ours.
    fn check(&self, session: usize, is_authentic: bool, like: u8) -> Vec<u8> {
        let username = format!("{}:abcd", NAMES[session]);
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

    /// A connection that says `bytes`, in two pieces.
    fn stream(&mut self, source: SocketAddr, bytes: &[u8], cut: usize) {
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        let mut said = Vec::new();
        let give = |datagram: Datagram| {
            assert_eq!(
                (datagram.protocol, datagram.source, datagram.destination),
                (Protocol::Tcp, source, OURS)
            );
            said.push(datagram.bytes);
            true
        };
        self.shared.runtime.block_on(ice_tcp::read(
            first.chain(second),
            source,
            OURS,
            give,
            &AtomicBool::default(),
        ));
        assert_eq!(said, frames(bytes), "cut at {cut}");
        for datagram in said {
            self.arrive(Protocol::Tcp, source, &datagram);
        }
    }

    /// What `Server::run` does with a datagram; whom it was given to.
    fn arrive(&mut self, protocol: Protocol, source: SocketAddr, bytes: &[u8]) -> Vec<usize> {
        let datagram = Datagram {
            protocol,
            source,
            destination: OURS,
            at: Instant::now(),
            bytes: bytes.to_vec(),
        };
        if protocol == Protocol::Udp && self.reflexive.take(&datagram) {
            assert!(
                source == STUN_SERVER && bytes[8..20] == STUN_REQUEST,
                "no answer to our request"
            );
            if let Ok(public) = self.mapped.try_recv() {
                assert!(
                    public.port() != 0 && !public.ip().is_unspecified(),
                    "{public}"
                );
            }
            return vec![];
        }
        let was_given = self.routes.give(datagram);
        let mut given = Vec::new();
        for (session, name) in NAMES.iter().enumerate() {
            let Ok(datagram) = self.inboxes[session].try_recv() else {
                continue;
            };
            let from = (protocol, source);
            let is_named = bytes
                .windows(name.len())
                .any(|part| part == name.as_bytes());
            assert!(
                is_named || self.owners.get(&from) == Some(&session),
                "{name} got what {from:?} did not mean for it"
            );
            assert_eq!(datagram.bytes, bytes);
            self.owners.insert(from, session);
            given.push(session);
            if session == 0 {
                self.hear(&datagram);
            }
        }
        assert_eq!(given.len(), usize::from(was_given), "to one, or to nobody");
        given
    }

    /// As in `Session`.
    fn hear(&mut self, datagram: &Datagram) {
        let Some(rtc) = &mut self.first else { return };
        let Ok(received) = Receive::new(
            datagram.protocol,
            datagram.source,
            datagram.destination,
            &datagram.bytes,
        ) else {
            return;
        };
        let mut heard = rtc.handle_input(str0m::Input::Receive(datagram.at, received));
        while heard.is_ok() {
            match rtc.poll_output() {
                Ok(Output::Timeout(_)) => return,
                Ok(_) => {}
                Err(e) => heard = Err(e),
            }
        }
        self.first = None;
    }
}

/// With any attributes.
fn answer_of_the_stun_server(input: &mut Input<'_>) -> Vec<u8> {
    let length = input.u8();
    let attributes = input.take(length.into());
    [
        &[1, 1, 0, length, 0x21, 0x12, 0xa4, 0x42][..],
        &STUN_REQUEST,
        attributes,
    ]
    .concat()
}

/// The whole ones, by RFC 4571.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk()
        && let Some((frame, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into())
    {
        frames.push(frame.to_vec());
        bytes = rest;
    }
    frames
}

/// The first byte says what the rest is: an answer's `Link` headers, each a line, or an address and what its `Location` says.
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

/// What `Server::answer` does with an offer, without a port.
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

/// What `Draft::accept` does with an answer. Its `MID0` and `MID1` stand for the names of the two media.
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
    // Where the reference names no other, the token goes where it went before.
    let names_another = reference.contains(':') || reference.starts_with("//");
    assert!(
        names_another || same_origin(&base, &found),
        "{base} {reference} {found}"
    );
    assert_eq!(resolve(&base, &found.to_string()), Some(found));
}
