//! WebRTC offers, well-meant and hostile.

use super::peer::{Peer, request};
use crate::common::{Program, until};
use std::collections::HashSet;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::thread;

const TEST: [&str; 6] = [
    "--camera-type",
    "test",
    "--enable-audio",
    "--webrtc-port",
    "0",
    "--fps=30",
];

fn without_candidates(offer: &str) -> String {
    offer
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("a=candidate:"))
        .collect()
}

/// Offers that take longest to parse, as many as once blocked the event loop for two seconds.
#[test]
fn webrtc_offer_flood_ends_no_session() {
    let program = Program::start(&TEST);
    let port = program.port();
    let serve = program.child("stampcast-serve", None);
    let mut peer = Peer::play(port);
    assert!(peer.watch(|_| true));
    // 400 lines; str0m finds the fault when it has read all of them.
    let mut costly = without_candidates(&peer.offer);
    costly.push_str(&"a=setup:actpass\r\n".repeat(400 - costly.lines().count()));
    let senders: Vec<_> = (0..200)
        .map(|_| {
            let costly = costly.clone();
            thread::spawn(move || request(port, "POST", "/whep", "application/sdp", &costly).status)
        })
        .collect();
    while !senders.iter().all(thread::JoinHandle::is_finished) {
        assert!(peer.watch(|_| true), "it plays on");
    }
    let statuses: Vec<u16> = senders
        .into_iter()
        .map(|sender| sender.join().expect("it is answered"))
        .collect();
    assert!(
        statuses.iter().all(|status| matches!(status, 400 | 408)) && statuses.contains(&400),
        "{statuses:?}"
    );
    assert_eq!(
        program.child("stampcast-serve", None),
        serve,
        "the server was not restarted"
    );
    assert!(Peer::play(port).watch(|_| true), "others can connect");
}

#[test]
fn webrtc_sendrecv_offer_is_answered_sendonly() {
    let program = Program::start(&TEST);
    let port = program.port();
    let mut peer = Peer::play_both_ways(port);
    assert!(peer.watch(|_| true), "it plays all the same");
    let directions: Vec<&str> = peer
        .answer
        .lines()
        .filter(|line| ["a=sendrecv", "a=recvonly", "a=sendonly"].contains(line))
        .collect();
    assert_eq!(directions, ["a=sendonly", "a=sendonly"], "{}", peer.answer);
}

#[test]
fn webrtc_offer_candidates_get_checks_at_12_addresses_at_most() {
    let program = Program::start(&TEST);
    let port = program.port();
    let sockets: Vec<UdpSocket> = (0..40)
        .map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port is free"))
        .collect();
    let mut candidates = String::new();
    for (n, socket) in sockets.iter().enumerate() {
        socket.set_nonblocking(true).expect("it is settable");
        let port = socket.local_addr().expect("it is bound").port();
        candidates += &format!("a=candidate:{n} 1 udp 2113937151 127.0.0.1 {port} typ host\r\n");
    }
    let offer = without_candidates(&Peer::play(port).offer).replacen(
        "a=rtcp-mux\r\n",
        &format!("a=rtcp-mux\r\n{candidates}"),
        1,
    );
    let answer = request(port, "POST", "/whep", "application/sdp", &offer);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let mut checked = HashSet::new();
    let mut listen = || {
        checked.extend((0..sockets.len()).filter(|n| sockets[*n].recv(&mut [0; 2048]).is_ok()));
        checked.len()
    };
    until("checks at twelve", || (listen() >= 12).then_some(()));
    let path = format!("/{}", answer.header("location").expect("a Location"));
    assert_eq!(request(port, "DELETE", &path, "", "").status, 200);
    until("the session is forgotten", || {
        (request(port, "DELETE", &path, "", "").status == 404).then_some(())
    });
    assert_eq!(listen(), 12);
}

#[test]
fn webrtc_session_limit_replaces_unconnected_sessions_and_no_connected_one() {
    let program = Program::start(&[&TEST[..], &["--webrtc-max-sessions", "2"]].concat());
    let port = program.port();
    let mut peer = Peer::play(port);
    assert!(peer.watch(|_| true));
    let offer = without_candidates(&peer.offer);
    let post = || request(port, "POST", "/whep", "application/sdp", &offer);
    let mut sessions = Vec::new();
    for _ in 0..20 {
        let answer = post();
        assert_eq!(answer.status, 201, "{}", answer.body);
        sessions.push(format!(
            "/{}",
            answer.header("location").expect("a Location")
        ));
    }
    let last = sessions.pop().expect("there are 20");
    for path in sessions {
        assert_eq!(request(port, "DELETE", &path, "", "").status, 404);
    }
    assert!(peer.watch(|_| true), "the connected one plays on");
    assert_eq!(request(port, "DELETE", &last, "", "").status, 200);
    let mut other = Peer::play(port);
    assert!(other.watch(|_| true));
    let answer = post();
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert!(
        answer.body.contains("limit of 2 WebRTC sessions"),
        "{}",
        answer.body
    );
    assert!(peer.watch(|_| true) && other.watch(|_| true));
}

/// Forwarded to addresses of the same family, but not to loopback, which no router reaches.
#[test]
fn webrtc_public_address_is_in_the_answer_beside_forwardable_ones() {
    let args = [
        "--host",
        "0.0.0.0",
        "--port",
        "0",
        "--webrtc-public-ip",
        "203.0.113.9",
    ];
    let program = Program::spawn(
        Command::new(env!("CARGO_BIN_EXE_stampcast"))
            .args(args)
            .args(TEST),
    );
    let line = program.line(&["listening on http://"]);
    let address = line
        .split("listening on http://")
        .nth(1)
        .and_then(|rest| rest.split([' ', '/']).next())
        .expect("an address");
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let mut peer = Peer::play(port);
    let hosts: HashSet<IpAddr> = ips(&peer.answer, "host").collect();
    let forwarded = hosts
        .iter()
        .filter(|ip| ip.is_ipv4() && !ip.is_loopback())
        .count();
    // Each is listed once per medium.
    let named: Vec<IpAddr> = ips(&peer.answer, "srflx").collect();
    let public: IpAddr = [203, 0, 113, 9].into();
    assert!(
        named.iter().all(|ip| *ip == public) && named.is_empty() == (forwarded == 0),
        "{}",
        peer.answer
    );
    assert!(peer.watch(|_| true));
}

/// The candidates of a type.
fn ips<'a>(sdp: &'a str, kind: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
    let candidates = sdp.lines().filter(move |line| {
        line.starts_with("a=candidate:") && line.contains(&format!(" typ {kind}"))
    });
    candidates.map(|line| {
        line.split(' ')
            .nth(4)
            .and_then(|ip| ip.parse().ok())
            .expect("an address")
    })
}

#[test]
fn webrtc_session_never_connected_is_not_logged() {
    let program = Program::start(&TEST);
    let port = program.port();
    let mut peer = Peer::play(port);
    for _ in 0..5 {
        let answer = request(
            port,
            "POST",
            "/whep",
            "application/sdp",
            &without_candidates(&peer.offer),
        );
        let path = format!("/{}", answer.header("location").expect("a Location"));
        assert_eq!(request(port, "DELETE", &path, "", "").status, 200);
        until("the session is forgotten", || {
            (request(port, "DELETE", &path, "", "").status == 404).then_some(())
        });
    }
    assert!(peer.watch(|_| true));
    let path = peer.location.clone();
    assert_eq!(request(port, "DELETE", &path, "", "").status, 200);
    program.line(&["WebRTC viewer left"]);
    for text in ["viewer joined", "viewer left"] {
        assert_eq!(
            program
                .lines()
                .iter()
                .filter(|line| line.contains(text))
                .count(),
            1,
            "{:?}",
            program.lines()
        );
    }
}

#[test]
fn webrtc_json_log_is_json_while_playing() {
    let program = Program::start(&[&TEST[..], &["--log-format", "json"]].concat());
    let mut encoders = 0;
    while encoders < 2 {
        let mut peer = Peer::play(program.port());
        assert!(peer.watch(|data| data.params.spec().codec.is_video()));
        assert_eq!(
            request(program.port(), "DELETE", &peer.location.clone(), "", "").status,
            200
        );
        assert!(!peer.watch(|_| false), "the session ends");
        encoders += 1;
    }
    for line in program.lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(&line).is_ok_and(|line| line.is_object()),
            "{line}"
        );
    }
}

#[test]
fn webrtc_options_lists_methods_and_offer_types() {
    let program = Program::start(&TEST);
    let endpoint = ("POST, OPTIONS", Some("application/sdp"));
    for (path, (allow, accept)) in [
        ("/whep", endpoint),
        ("/any/whep", endpoint),
        ("/whep/0123", ("DELETE, OPTIONS", None)),
        (
            "/api/webrtc/offer",
            ("POST, OPTIONS", Some("application/json")),
        ),
    ] {
        let answer = request(program.port(), "OPTIONS", path, "", "");
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(
            (answer.header("allow"), answer.header("accept-post")),
            (Some(allow), accept),
            "{path}"
        );
        let refused = request(program.port(), "PATCH", path, "", "");
        assert_eq!(refused.status, 405, "{path}");
        assert!(
            refused.header("allow").is_some(),
            "{path}: {}",
            refused.head
        );
    }
}
