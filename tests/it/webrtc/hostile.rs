//! Arbitrary traffic to the media port, and what must not be logged.

use super::peer::{Peer, request};
use super::transport::Transport;
use crate::common::{PATIENCE, Program};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use str0m::net::Protocol;

const TEST: [&str; 6] = [
    "--camera-type",
    "test",
    "--enable-audio",
    "--webrtc-port",
    "0",
    "--fps=30",
];

/// Pseudo-random numbers, the same in each run (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ mixed >> 27) >> 16) as usize % limit
    }
}

/// Beginnings of the protocols on such a port (RFC 7983): a STUN request for a session, DTLS, RTP,
/// RTCP.
fn seeds(ufrag: &str) -> Vec<Vec<u8>> {
    let username = format!("{ufrag}:abcd");
    let padded = username.len().next_multiple_of(4);
    let mut stun = vec![
        0,
        1,
        0,
        (4 + padded) as u8,
        0x21,
        0x12,
        0xa4,
        0x42,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        12,
    ];
    stun.extend([0, 6, 0, username.len() as u8]);
    stun.extend(username.as_bytes());
    stun.resize(24 + padded, 0);
    let mut response = stun.clone();
    response[0] = 1;
    response[1] = 1;
    // A ClientHello's record and a first fragment; an alert; a record of application data.
    let hello = [
        &[
            22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 48, 254,
            253,
        ][..],
        &[7; 46],
    ]
    .concat();
    let alert = vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 1, 0];
    let data = [&[23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40][..], &[9; 40]].concat();
    let rtp = [
        &[
            0x90, 108, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 0xbe, 0xde, 0, 1, 0x10, 0, 0, 0,
        ][..],
        &[5; 60],
    ]
    .concat();
    let rtcp = [
        &[0x81, 201, 0, 7, 1, 2, 3, 4][..],
        &[6; 24],
        &[0x80, 0, 0, 1, 8, 8, 8, 8],
    ]
    .concat();
    vec![stun, response, hello, alert, data, rtp, rtcp]
}

fn broken(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.below(6) {
        let at = random.below(bytes.len());
        bytes[at] = random.below(256) as u8;
    }
    match random.below(4) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => bytes.extend((0..random.below(1400)).map(|n| n as u8)),
        _ => {}
    }
    bytes
}

fn attribute<'a>(sdp: &'a str, name: &str) -> &'a str {
    sdp.lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("no {name} in {sdp}"))
        .trim_end()
}

/// From senders that know the session's user fragment, and from the viewer's own address: data
/// without authentication changes nothing.
#[test]
fn webrtc_arbitrary_datagrams_stop_neither_server_nor_video() {
    let program = Program::start(&TEST);
    let port = program.port();
    let serve = program.child("stampcast-serve", None);
    let mut peer = Peer::play(port);
    assert!(peer.watch(|_| true));
    let ufrag = attribute(&peer.answer, "a=ice-ufrag:").to_owned();
    let line = program.line(&["WebRTC: UDP and TCP port "]);
    let to = format!("127.0.0.1:{}", line.rsplit(' ').next().expect("a port"))
        .parse()
        .expect("an address");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let mut random = Random(1);
    let seeds = seeds(&ufrag);
    let mut sent = 0;
    // The peer keeps playing between them, so that buffers do not fill.
    while sent < 12_000 {
        for seed in &seeds {
            let bytes = broken(seed, &mut random);
            let _ = sender.send_to(&bytes, to);
            let bytes = broken(seed, &mut random);
            peer.transport.send(Protocol::Udp, &bytes, to);
            sent += 2;
        }
        let mut left = 2;
        assert!(
            peer.watch(|_| {
                left -= 1;
                left == 0
            }),
            "the session ended after {sent} datagrams"
        );
    }
    let mut frames = 0;
    assert!(
        peer.watch(|data| {
            frames += u32::from(data.params.spec().codec.is_video());
            frames == 10
        }),
        "it plays on"
    );
    assert!(Peer::play(port).watch(|_| true), "others can come");
    assert_eq!(
        program.child("stampcast-serve", None),
        serve,
        "the server was not restarted"
    );
    // Nor do they fill the log.
    let logged = program
        .lines()
        .iter()
        .filter(|line| line.contains("WARN  stampcast-") || line.contains("ERROR"))
        .count();
    assert_eq!(logged, 0, "{:?}", program.lines());
}

#[test]
fn webrtc_addresses_and_sdp_are_not_logged() {
    let program = Program::start(&TEST);
    let port = program.port();
    let mut secrets = Vec::new();
    let mut note = |peer: &Peer| {
        secrets.push(peer.transport.address().to_string());
        for sdp in [&peer.offer, &peer.answer] {
            secrets.extend(
                ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:"]
                    .map(|name| attribute(sdp, name).to_owned()),
            );
        }
        secrets.extend(
            peer.location
                .rsplit('/')
                .next()
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
        );
    };
    let (mut ended, mut killed, mut by_json) =
        (Peer::play(port), Peer::play(port), Peer::play_by_json(port));
    for peer in [&mut ended, &mut killed, &mut by_json] {
        assert!(peer.watch(|_| true));
        note(peer);
    }
    // Malformed offers with content that must not be logged.
    let offer = by_json.offer.clone();
    for broken in [
        offer.replace("a=mid:", "a=mad:"),
        offer.replace("a=recvonly", "a=sendonly"),
        offer.replace("127.0.0.1", "\u{1b}[2Jx"),
        offer[..300].to_owned(),
    ] {
        request(port, "POST", "/whep", "application/sdp", &broken);
    }
    assert_eq!(
        request(port, "DELETE", &ended.location.clone(), "", "").status,
        200
    );
    assert!(!ended.watch(|_| false));
    drop((killed, by_json));
    program.line(&["WebRTC viewer left: nothing was received from it for 10 s"]);
    let log = program.lines().join("\n");
    for secret in secrets.iter().map(String::as_str).chain([
        "a=",
        "candidate",
        "m=video",
        "ufrag",
        "typ host",
        "\u{1b}[2J",
    ]) {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// An offer of `peer`'s media with this user fragment and one address.
fn offer_from(peer: &Peer, ufrag: &str, address: SocketAddr) -> String {
    let mut offer = peer
        .offer
        .replace(attribute(&peer.offer, "a=ice-ufrag:"), ufrag);
    let (ip, port) = (address.ip(), address.port());
    let candidate = format!("a=candidate:1 1 udp 2113937151 {ip} {port} typ host\r\n");
    offer = offer
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("a=candidate:"))
        .collect();
    offer.replacen("a=rtcp-mux\r\n", &format!("a=rtcp-mux\r\n{candidate}"), 1)
}

/// str0m's ICE panics where a check's USERNAME, both user fragments and a colon, is longer than 128 bytes.
#[test]
fn webrtc_ice_ufrag_too_long_for_a_check_is_refused() {
    let program = Program::start(&TEST);
    let port = program.port();
    let serve = program.child("stampcast-serve", None);
    let mut peer = Peer::play(port);
    assert!(peer.watch(|_| true));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout is settable");
    let address = socket.local_addr().expect("it is bound");
    for length in [3, 112, 256, 1000] {
        let offer = offer_from(&peer, &"u".repeat(length), address);
        let answer = request(port, "POST", "/whep", "application/sdp", &offer);
        assert_eq!(answer.status, 400, "{length}: {}", answer.body);
        assert!(answer.body.contains("a=ice-ufrag"), "{}", answer.body);
    }
    // The longest is checked.
    let longest = "u".repeat(111);
    let offer = offer_from(&peer, &longest, address);
    let answer = request(port, "POST", "/whep", "application/sdp", &offer);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let username = format!("{longest}:{}", attribute(&answer.body, "a=ice-ufrag:"));
    assert_eq!(username.len(), 128);
    let mut check = [0; 2048];
    let length = socket.recv(&mut check).expect("a check comes");
    assert!(
        check[..length]
            .windows(username.len())
            .any(|part| part == username.as_bytes())
    );
    // Its reports could make str0m panic.
    assert!(peer.offer.contains("transport-wide-cc"));
    assert!(
        !answer.body.contains("transport-wide-cc"),
        "{}",
        answer.body
    );
    assert!(peer.watch(|_| true), "the viewer continues");
    assert_eq!(program.child("stampcast-serve", None), serve);
    let log = program.lines().join("\n");
    assert!(!log.contains("panicked") && !log.contains("uuu"), "{log}");
}

/// The number of connections that the server has not closed; removes the others.
fn open(connections: &mut Vec<TcpStream>) -> usize {
    connections.retain_mut(
        |stream| matches!(stream.read(&mut [0; 64]), Err(e) if e.kind() == ErrorKind::WouldBlock),
    );
    connections.len()
}

#[test]
fn webrtc_tcp_connections_without_a_session_are_evicted() {
    // Four slots.
    let program = Program::start(&[&TEST[..], &["--webrtc-max-sessions", "1"]].concat());
    let line = program.line(&["WebRTC: UDP and TCP port "]);
    let port: u16 = line
        .rsplit(' ')
        .next()
        .and_then(|p| p.parse().ok())
        .expect("a port");
    let to: SocketAddr = ([127, 0, 0, 1], port).into();
    let mut idle: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(to).expect("the port listens"))
        .collect();
    for stream in &mut idle {
        stream.set_nonblocking(true).expect("it is settable");
        stream.write_all(&[0, 1, 7]).expect("there is room");
    }
    let mut peer = Peer::play_over(Transport::relayed(to), program.port());
    assert!(peer.watch(|_| true), "one of them is evicted");
    let give_up = Instant::now() + PATIENCE;
    while open(&mut idle) > 0 {
        assert!(
            Instant::now() < give_up,
            "{} connections are still open",
            idle.len()
        );
        for stream in &mut idle {
            let _ = stream.write_all(&[0, 1, 7]);
        }
        let until = Instant::now() + Duration::from_millis(300);
        assert!(
            peer.watch(|_| Instant::now() > until),
            "the viewer's connection stays"
        );
    }
}
