//! The limits of sessions, of queues, and of what is sent to addresses that do not answer.

use super::byte_queue::ITEM_BYTES;
use super::fuzz::OFFER;
use super::ice_tcp::CONNECTIONS_PER_SESSION;
use super::server::{INBOX_BYTES, TOTAL_INBOX_BYTES};
use super::signalling::BadOffer;
use super::tests::{PATIENCE, post, server, until_no_session};
use super::{OfferError, Server, SessionKind};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;
use str0m::crypto::from_feature_flags;
use str0m::ice::{StunMessage, TransId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// An offer that cannot be answered ends no other session.
#[tokio::test]
async fn answer_at_the_limit_replaces_a_session_that_is_not_connected() {
    let server = server(1);
    let whep = SessionKind::Whep;
    let first = post(&server, OFFER, whep).await.expect("it is answered");
    let broken = post(&server, "hello", SessionKind::Json).await;
    let malformed = OfferError::BadOffer(BadOffer::Malformed);
    assert_eq!(
        broken.err().map(|e| e.to_string()),
        Some(malformed.to_string())
    );
    assert_eq!(server.report().sessions.len(), 1);
    let second = post(&server, OFFER, whep).await.expect("it is answered");
    assert!(!server.end(&first.id) && server.end(&second.id));
}

/// The value of an attribute's first line.
fn attribute<'a>(sdp: &'a str, name: &str) -> &'a str {
    let mut lines = sdp.lines();
    lines
        .find_map(|line| line.strip_prefix(name))
        .expect("the answer has it")
}

/// A STUN request for a session, not signed, with an attribute that fills it.
fn stun_frame(ufrag: &str, bytes: usize) -> Vec<u8> {
    let username = format!("{ufrag}:abcd");
    let mut frame = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    frame.extend([7; 12]);
    frame.extend([0, 6, 0, username.len() as u8]);
    frame.extend(username.as_bytes());
    frame.resize(frame.len().next_multiple_of(4), 0);
    let filler = (bytes - frame.len() - 4) as u16;
    frame.extend([0x80, 0x22]);
    frame.extend(filler.to_be_bytes());
    frame.resize(bytes, b'x');
    [&(bytes as u16).to_be_bytes()[..], &frame].concat()
}

/// The sessions are not tasks here, so nothing reads their inboxes.
#[tokio::test]
async fn ice_tcp_flood_fills_inboxes_up_to_their_bounds() {
    const SESSIONS: usize = 32;
    const FRAME_BYTES: usize = 2000;
    let server = server(SESSIONS);
    let _tasks = server.serve_port();
    let to = (Ipv4Addr::LOCALHOST, server.report().port);
    let mut connections = Vec::new();
    for _ in 0..SESSIONS {
        let answer = post(&server, OFFER, SessionKind::Whep).await;
        let answer = answer.expect("it is answered");
        let ufrag = attribute(&answer.sdp, "a=ice-ufrag:").to_owned();
        let mut large = TcpStream::connect(to).await.expect("it listens");
        let frame = stun_frame(&ufrag, 65_300);
        // The server may close before it has read all.
        let _ = large.write_all(&frame).await;
        let end = timeout(PATIENCE, large.read(&mut [0])).await;
        assert!(matches!(end.expect("it is closed"), Ok(0) | Err(_)));
        for _ in 0..2 {
            let connection = TcpStream::connect(to).await.expect("it listens");
            connections.push((connection, stun_frame(&ufrag, FRAME_BYTES)));
        }
    }
    assert_eq!(
        server.inboxes.used_bytes(),
        0,
        "large frames are not queued"
    );
    let used = |queued: usize| SESSIONS * queued * (FRAME_BYTES + ITEM_BYTES);
    let full = used(INBOX_BYTES / (FRAME_BYTES + ITEM_BYTES));
    for _ in 0..100 {
        for (connection, frame) in &mut connections {
            connection.write_all(frame).await.expect("it is open");
        }
        assert!(server.inboxes.used_bytes() <= full);
    }
    timeout(PATIENCE, async {
        while server.inboxes.used_bytes() < full {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the inboxes fill");
    assert!(full <= TOTAL_INBOX_BYTES);
}

/// More connections than a session has places for take none of another session's.
#[tokio::test]
async fn ice_tcp_connections_of_one_session_leave_the_places_of_others() {
    const FRAME_BYTES: usize = 100;
    let server = server(2);
    let _tasks = server.serve_port();
    let to = (Ipv4Addr::LOCALHOST, server.report().port);
    let mut connections = Vec::new();
    for (session, count) in [8, CONNECTIONS_PER_SESSION].into_iter().enumerate() {
        let answer = post(&server, OFFER, SessionKind::Whep).await;
        let sdp = answer.expect("it is answered").sdp;
        let frame = stun_frame(attribute(&sdp, "a=ice-ufrag:"), FRAME_BYTES);
        for _ in 0..count {
            let mut connection = TcpStream::connect(to).await.expect("it listens");
            connection.write_all(&frame).await.expect("it is open");
            connections.push((session, connection));
            let used = connections.len() * (FRAME_BYTES + ITEM_BYTES);
            timeout(PATIENCE, async {
                while server.inboxes.used_bytes() < used {
                    sleep(Duration::from_millis(1)).await;
                }
            })
            .await
            .expect("the connection has a place");
        }
    }
    let is_open = |connection: &TcpStream| connection.try_read(&mut [0]).is_err();
    let open = |of| {
        let of_it = connections.iter().filter(|(session, _)| *session == of);
        of_it.filter(|(_, connection)| is_open(connection)).count()
    };
    timeout(PATIENCE, async {
        while open(0) > CONNECTIONS_PER_SESSION {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("those without a place give way");
    assert_eq!([open(0), open(1)], [CONNECTIONS_PER_SESSION; 2]);
}

fn signed(message: StunMessage<'_>, password: &str) -> Vec<u8> {
    let hmac = from_feature_flags().sha1_hmac_provider;
    let mut bytes = [0; 512];
    let length = message
        .to_bytes(Some(password.as_bytes()), &mut bytes, |key, parts| {
            hmac.sha1_hmac(key, parts)
        })
        .expect("it fits");
    bytes[..length].to_vec()
}

/// A check of a peer.
pub(super) fn check(username: &str, password: &str) -> Vec<u8> {
    let id = TransId::new();
    signed(
        StunMessage::binding_request(username, id, true, 1, 1, true),
        password,
    )
}

/// What sockets got that never answer, as forged sources do not.
#[derive(Debug)]
struct Reflected {
    request_bytes: usize,
    addresses: usize,
    packets: usize,
    bytes: usize,
}

/// Sends `repeats` requests with the right credentials from each of `sources`, and checks the
/// limits once the session has ended.
async fn reflect(server: &Server, sources: usize, repeats: usize) -> Reflected {
    let answer = post(server, OFFER, SessionKind::Whep).await;
    let sdp = answer.expect("it is answered").sdp;
    let username = format!("{}:abcd", attribute(&sdp, "a=ice-ufrag:"));
    let password = attribute(&sdp, "a=ice-pwd:");
    let to = (Ipv4Addr::LOCALHOST, server.report().port);
    let sockets: Vec<_> = (0..sources)
        .map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
            socket.set_nonblocking(true).expect("it is settable");
            socket
        })
        .collect();
    let mut request_bytes = 0;
    for _ in 0..repeats {
        for socket in &sockets {
            let request = check(&username, password);
            request_bytes = request.len();
            socket.send_to(&request, to).expect("it is sent");
            tokio::task::yield_now().await;
        }
    }
    until_no_session(server).await;
    let mut reflected = Reflected {
        request_bytes: sources * repeats * request_bytes,
        addresses: 0,
        packets: 0,
        bytes: 0,
    };
    for socket in sockets {
        let received = std::iter::from_fn(|| socket.recv(&mut [0; 2048]).ok());
        let received: Vec<usize> = received.collect();
        let bytes: usize = received.iter().sum();
        assert!(received.len() <= 2 + repeats, "{received:?}");
        assert!(bytes <= 3 * repeats * request_bytes, "{received:?}");
        reflected.addresses += usize::from(!received.is_empty());
        reflected.packets += received.len();
        reflected.bytes += bytes;
    }
    reflected
}

/// Until the session ends, with all retransmissions of str0m.
#[tokio::test]
async fn session_forged_sources_get_three_packets_or_one_per_check_and_three_times_the_bytes() {
    let mut server = server(4);
    // Checks are repeated after 0.25, 0.75, 1.75 and 3.25 s.
    server.connect_timeout = Duration::from_secs(4);
    let (_stop, stopping) = watch::channel(false);
    let attacks = async {
        let attacks = [(1, 1), (10, 1), (100, 1), (20, 20)];
        let reflected = attacks.map(|(sources, repeats)| reflect(&server, sources, repeats));
        let reflected = futures_util::future::join_all(reflected).await;
        for (reflected, (sources, _)) in reflected.iter().zip(attacks) {
            let factor = reflected.bytes as f64 / reflected.request_bytes as f64;
            println!("{sources} sources: {reflected:?}, {factor:.2} times the bytes");
            assert_eq!(reflected.addresses, sources.min(16), "{reflected:?}");
        }
    };
    tokio::select! {
        () = server.run(stopping) => panic!("it runs until it is stopped"),
        () = attacks => {}
    }
}

/// Answers the checks of a session, signed with `password`. The number of packets until the session
/// has ended, and that of responses to our own check.
async fn answer_checks(server: &Server, password: &str) -> (usize, usize) {
    let answer = post(server, OFFER, SessionKind::Whep).await;
    let sdp = answer.expect("it is answered").sdp;
    let username = format!("{}:abcd", attribute(&sdp, "a=ice-ufrag:"));
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let socket = socket.expect("a port is free");
    let to = (Ipv4Addr::LOCALHOST, server.report().port);
    let request = check(&username, attribute(&sdp, "a=ice-pwd:"));
    socket.send_to(&request, to).await.expect("it is sent");
    let (mut packets, mut responses) = (0, 0);
    let answering = async {
        let mut bytes = [0; 2048];
        loop {
            let length = socket.recv(&mut bytes).await.expect("it is open");
            packets += 1;
            // DTLS is not STUN.
            let Ok(message) = StunMessage::parse(&bytes[..length]) else {
                continue;
            };
            responses += usize::from(message.is_successful_binding_response());
            if message.is_binding_request() {
                let response = StunMessage::binding_reply(message.trans_id(), to.into());
                let response = signed(response, password);
                socket.send_to(&response, to).await.expect("it is sent");
            }
        }
    };
    tokio::select! {
        () = answering => {}
        () = until_no_session(server) => {}
    }
    (packets, responses)
}

#[tokio::test]
async fn session_only_a_response_with_the_peers_key_validates_its_address() {
    let mut server = server(4);
    server.connect_timeout = Duration::from_secs(3);
    let (_stop, stopping) = watch::channel(false);
    let peers = async {
        let right = answer_checks(&server, "abcdefghijklmnopqrstuvwx");
        let wrong = answer_checks(&server, "xbcdefghijklmnopqrstuvwx");
        let ((_, responses), wrong) = tokio::join!(right, wrong);
        assert_eq!(responses, 1, "it waited for the validation");
        assert_eq!(wrong, (3, 0));
    };
    tokio::select! {
        () = server.run(stopping) => panic!("it runs until it is stopped"),
        () = peers => {}
    }
}
