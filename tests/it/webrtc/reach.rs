//! Indirect paths to a viewer or a media server: STUN, TCP only.

use super::peer::{Peer, request};
use super::transport::Transport;
use crate::common::{Program, until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

const TEST: [&str; 6] = [
    "--camera-type",
    "test",
    "--enable-audio",
    "--webrtc-port",
    "0",
    "--fps=30",
];

/// The port as a NAT might have mapped it.
const PUBLIC: ([u8; 4], u16) = ([203, 0, 113, 9], 40_123);

/// A STUN server on `at` that gives everybody the same answer; RFC 8489, sections 5 and 14.2.
pub fn stun_server(at: &str) -> SocketAddr {
    let socket = UdpSocket::bind(at).expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut request = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut request) {
            assert_eq!(
                (length, &request[..2]),
                (20, &[0, 1][..]),
                "a binding request"
            );
            let port = PUBLIC.1 ^ 0x2112;
            let ip: Vec<u8> = PUBLIC
                .0
                .iter()
                .zip([0x21, 0x12, 0xa4, 0x42])
                .map(|(a, b)| a ^ b)
                .collect();
            let value = [&[0, 1][..], &port.to_be_bytes(), &ip].concat();
            let answer = [
                &[1, 1, 0, 12],
                &request[4..20],
                &[0, 0x20, 0, 8],
                &value[..],
            ]
            .concat();
            // An unsolicited answer comes first and is ignored.
            let mut forged = answer.clone();
            forged[8] ^= 1;
            forged[31] ^= 1;
            let _ = socket.send_to(&forged, from);
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

pub fn names_public_address(sdp: &str) -> bool {
    sdp.lines().any(|line| {
        line.starts_with("a=candidate:") && line.contains(" 203.0.113.9 40123 typ srflx")
    })
}

#[test]
fn webrtc_stun_address_is_in_answers_and_offers() {
    let stun = stun_server("127.0.0.1:0").to_string();
    let sink = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/whip", sink.local_addr().expect("it is bound"));
    let program = Program::start(&[&TEST[..], &["--webrtc-stun", &stun, "--whip", &url]].concat());
    let (mut stream, _) = sink.accept().expect("the offer comes");
    let mut offer = String::new();
    until("the offer", || {
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).expect("it can be read");
        offer.push_str(&String::from_utf8_lossy(&bytes[..length]));
        offer.contains("typ srflx").then_some(())
    });
    assert!(names_public_address(&offer), "{offer}");
    stream
        .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        .expect("it can be written");
    program.line(&["WARN", "WHIP", "404", "check the path of --whip"]);
    let mut peer = Peer::play(program.port());
    assert!(names_public_address(&peer.answer), "{}", peer.answer);
    assert!(peer.watch(|_| true), "the direct path still works");
    assert!(
        !program
            .lines()
            .iter()
            .any(|line| line.contains("203.0.113.9")),
        "it is not logged"
    );
}

/// As behind a firewall that lets nothing in before the viewer has sent: what came is lost.
#[test]
fn webrtc_viewer_that_is_silent_for_8_s_connects() {
    let program = Program::start(&TEST);
    let mut peer = Peer::play(program.port());
    let start = Instant::now();
    let mut ignored = 0;
    while start.elapsed() < Duration::from_secs(8) {
        let received = peer.transport.receive(Duration::from_millis(100));
        ignored += usize::from(received.is_some());
    }
    assert_eq!(ignored, 2, "one is left for the time when it sends");
    assert!(peer.watch(|_| true));
}

#[test]
fn webrtc_viewer_with_30_percent_loss_at_the_start_connects() {
    let program = Program::start(&TEST);
    let mut peer = Peer::play(program.port());
    peer.loss_percent = 30;
    peer.loss_ends_after = 30;
    assert!(peer.watch(|_| true));
}

#[test]
fn webrtc_stun_server_silent_is_logged_once_and_delays_nobody() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = silent.local_addr().expect("it is bound").to_string();
    let program = Program::start(&[&TEST[..], &["--webrtc-stun", &address]].concat());
    let mut peer = Peer::play(program.port());
    assert!(peer.watch(|_| true) && !peer.answer.contains("srflx"));
    program.line(&["WARN", "STUN server", &address, "does not answer"]);
    silent
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout is settable");
    assert_eq!(
        std::iter::from_fn(|| silent.recv(&mut [0; 64]).ok()).count(),
        5,
        "it is asked a few times and then left alone"
    );
}

#[test]
fn webrtc_viewer_behind_tcp_relay_plays() {
    let program = Program::start(&TEST);
    let line = program.line(&["WebRTC: UDP and TCP port "]);
    let port: u16 = line
        .rsplit(' ')
        .next()
        .and_then(|p| p.parse().ok())
        .expect("a port");
    let mut peer = Peer::play_over(
        Transport::relayed(([127, 0, 0, 1], port).into()),
        program.port(),
    );
    let (mut frames, mut audio_packets) = (0, 0);
    assert!(peer.watch(|data| {
        let count = if data.params.spec().codec.is_audio() {
            &mut audio_packets
        } else {
            &mut frames
        };
        *count += 1;
        frames >= 30 && audio_packets >= 30
    }));
    assert_eq!(
        request(program.port(), "DELETE", &peer.location.clone(), "", "").status,
        200
    );
}
