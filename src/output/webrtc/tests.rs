//! Offers, valid and hostile.

use super::fuzz::{OFFER, answer};
use super::rtc_factory::candidates;
use super::server::CONNECT_TIMEOUT;
use super::signalling::{BadAnswer, BadOffer, MAX_OFFER_BYTES, check, check_answer};
use super::stun_client::Mapping;
use super::{Answer, AudioAccess, OfferError, OfferRequest, Server, SessionKind};
use crate::hub::{Hub, Hubs, Plan};
use crate::media::CameraId;
use crate::media::clock::Clock;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// More than any condition takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

fn refused(offer: &str) -> BadOffer {
    check(offer)
        .err()
        .unwrap_or_else(|| panic!("accepted: {offer}"))
}

#[test]
fn check_offer_is_accepted_or_refused_with_the_reason() {
    assert!(check(OFFER).is_ok());
    assert!(check(&OFFER.replace("a=recvonly", "a=sendrecv")).is_ok());
    assert!(
        check(&OFFER.replace("H264", "VP8")).is_ok(),
        "its audio can be sent"
    );
    assert_eq!(
        refused(&OFFER.replace("H264", "VP8").replace("opus", "G722")),
        BadOffer::NothingInCommon
    );
    assert_eq!(
        refused(&OFFER.replace("a=recvonly", "a=sendonly")),
        BadOffer::NothingInCommon
    );
    assert_eq!(refused("hello"), BadOffer::Malformed);
    assert_eq!(refused(""), BadOffer::Malformed);
    assert_eq!(
        refused(&format!("{OFFER}{}", "a=x\r\n".repeat(400))),
        BadOffer::TooMuch
    );
    assert_eq!(
        refused(&format!(
            "{OFFER}{}",
            "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(3)
        )),
        BadOffer::TooMuch
    );
    assert_eq!(
        refused(&"x".repeat(MAX_OFFER_BYTES + 1)),
        BadOffer::TooLarge
    );
}

/// In the session part and in any m-section. `fields` tests each bound.
#[test]
fn check_field_out_of_bounds_is_refused_in_offers_and_answers() {
    let ufrag = "a=ice-ufrag:abcd\r\n";
    let long = format!("a=ice-ufrag:{}\r\n", "u".repeat(112));
    let (first, last) = (OFFER.find(ufrag), OFFER.rfind(ufrag));
    let replaced = |at: Option<usize>| {
        let mut sdp = OFFER.to_owned();
        let at = at.expect("the offer has it");
        sdp.replace_range(at..at + ufrag.len(), &long);
        sdp
    };
    let in_session = OFFER.replacen("a=group", &format!("{long}a=group"), 1);
    for sdp in [replaced(first), replaced(last), in_session] {
        let BadOffer::Field(field) = refused(&sdp) else {
            panic!("{:?}", refused(&sdp))
        };
        assert_eq!(field.name, "a=ice-ufrag");
        let answer = sdp.replace("actpass", "active");
        assert!(
            matches!(check_answer(&answer), Err(BadAnswer::Field(other)) if other == field),
            "{answer}"
        );
    }
    let longest = OFFER.replace("ufrag:abcd", &format!("ufrag:{}", "u".repeat(111)));
    assert!(check(&longest).is_ok());
}

/// str0m panics at some of these.
#[test]
fn check_contradictory_payload_types_are_malformed() {
    let video = "a=rtpmap:96 H264/90000\r\n";
    let rtx = "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";
    assert!(answer(&OFFER.replace(video, &format!("{video}{rtx}"))).is_some());
    for (from, to) in [
        (video, format!("{video}{video}")),
        (video, video.replace("96", "200").repeat(2)),
        (
            "a=rtpmap:111 opus/48000/2",
            "a=rtpmap:96 opus/48000/2".to_owned(),
        ),
        (
            video,
            format!(
                "{video}a=rtpmap:98 H264/90000\r\na=fmtp:98 packetization-mode=1;profile-level-id=4d001f\r\n{rtx}a=fmtp:97 apt=98\r\n"
            ),
        ),
    ] {
        assert_eq!(
            refused(&OFFER.replace(from, &to)),
            BadOffer::Malformed,
            "{to}"
        );
    }
    assert_eq!(refused(&OFFER.replace("96", "200")), BadOffer::Malformed);
}

#[test]
fn answer_is_sendonly_with_both_codecs() {
    let sdp = answer(OFFER).expect("it is answered");
    assert!(
        sdp.contains("a=sendonly") && sdp.contains("H264/90000") && sdp.contains("opus/48000"),
        "{sdp}"
    );
}

/// The directions of an answer to an offer with these lines in the session part, video and audio.
fn directions(session: &str, video: &str, audio: &str) -> Vec<String> {
    let parts: Vec<&str> = OFFER.split("a=recvonly\r\n").collect();
    let offer = [parts[0], video, parts[1], audio, parts[2]].concat();
    let offer = offer.replace(
        "a=msid-semantic: WMS\r\n",
        &format!("a=msid-semantic: WMS\r\n{session}"),
    );
    let answer = answer(&offer).unwrap_or_else(|| panic!("refused: {offer}"));
    let is_direction = |line: &&str| {
        matches!(
            *line,
            "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive"
        )
    };
    answer
        .lines()
        .filter(is_direction)
        .map(str::to_owned)
        .collect()
}

#[test]
fn answer_never_receives() {
    for line in [
        "a=sendrecv\r\n",
        "a=sendrecv\n",
        "",
        "a=sendrecv\r\na=recvonly\r\n",
    ] {
        assert_eq!(
            directions("", line, line),
            ["a=sendonly", "a=sendonly"],
            "{line:?}"
        );
    }
    assert_eq!(
        directions("", "a=sendonly\r\n", "a=sendrecv\r\n"),
        ["a=inactive", "a=sendonly"]
    );
    assert_eq!(
        directions("", "a=recvonly\r\n", "a=inactive\r\n"),
        ["a=sendonly", "a=inactive"]
    );
    assert_eq!(
        directions("a=sendonly\r\n", "a=recvonly\r\n", ""),
        ["a=sendonly", "a=inactive"]
    );
    assert_eq!(
        directions("a=recvonly\r\n", "", "a=sendonly\r\na=sendrecv\r\n"),
        ["a=sendonly", "a=inactive"]
    );
}

#[test]
fn candidates_public_address_is_beside_those_that_it_is_forwarded_to() {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let own = ["127.0.0.1:8189", "192.0.2.7:8189", "[2001:db8::7]:8189"].map(address);
    let reflexive = |mappings: &[Mapping], public: Option<&str>| -> Vec<String> {
        let public = public.map(|ip| ip.parse().expect("an address"));
        let all = candidates(&own, mappings, public)
            .into_iter()
            .map(|candidate| candidate.to_sdp_string());
        all.filter(|line| line.contains("srflx"))
            .map(|line| line.split(' ').skip(4).collect::<Vec<_>>().join(" "))
            .collect()
    };
    assert!(reflexive(&[], None).is_empty());
    let forwarded = reflexive(&[], Some("203.0.113.9"));
    assert_eq!(
        forwarded.len(),
        1,
        "not for loopback, not for IPv6: {forwarded:?}"
    );
    assert!(
        forwarded[0].starts_with("203.0.113.9 8189 typ srflx"),
        "{forwarded:?}"
    );
    assert_eq!(reflexive(&[], Some("2001:db8::99")).len(), 1);
    let mappings = [
        Mapping {
            base: own[1],
            public: address("203.0.113.9:40123"),
        },
        Mapping {
            base: own[1],
            public: own[1],
        },
    ];
    assert!(
        matches!(&reflexive(&mappings, None)[..], [one] if one.starts_with("203.0.113.9 40123 "))
    );
}

pub fn server(max_sessions: usize) -> Server {
    let hub = Hub::new(CameraId::main(), Plan::default(), Arc::new(Clock::start()));
    let hubs = Hubs::new(Arc::new(hub), []);
    let config = crate::config::Webrtc {
        port: 0,
        public_ip: None,
        bitrate_bps: 1_000_000,
        max_sessions,
        stun: None,
        whip: None,
    };
    Server::open(&config, IpAddr::V4(Ipv4Addr::LOCALHOST), &hubs, |_| {
        config.bitrate_bps
    })
    .expect("a port is free")
}

pub async fn post(server: &Server, sdp: &str, kind: SessionKind) -> Result<Answer, OfferError> {
    let request = OfferRequest {
        camera: server.default_camera(),
        sdp,
        kind,
        audio: AudioAccess::Allowed,
        client: Ipv4Addr::LOCALHOST.into(),
    };
    server.answer(request).await
}

#[tokio::test]
async fn answer_reads_one_offer_per_turn_of_the_event_loop() {
    let server = server(200);
    let (turns, read) = (Cell::new(0u64), RefCell::new(Vec::new()));
    let others = async {
        loop {
            tokio::task::yield_now().await;
            turns.set(turns.get() + 1);
        }
    };
    let broken = "a=x\r\n".repeat(300);
    let offers = (0..200).map(|n| {
        let (server, turns, read, broken) = (&server, &turns, &read, &broken);
        async move {
            let offer = if n % 2 == 0 { OFFER } else { broken };
            let _ = post(server, offer, SessionKind::Whep).await;
            read.borrow_mut().push(turns.get());
        }
    });
    tokio::select! {
        biased;
        () = others => {}
        _ = futures_util::future::join_all(offers) => {}
    }
    let read = read.into_inner();
    assert_eq!(read.len(), 200);
    assert!(
        read.windows(2).all(|w| w[0] < w[1]),
        "two in one turn: {read:?}"
    );
}

#[tokio::test]
async fn answer_session_that_does_not_connect_in_time_is_ended() {
    let mut server = server(1);
    assert_eq!(server.connect_timeout, CONNECT_TIMEOUT);
    server.connect_timeout = Duration::from_millis(100);
    let (_stop, stopping) = watch::channel(false);
    let ended = async {
        assert!(post(&server, OFFER, SessionKind::Whep).await.is_ok());
        until_no_session(&server).await;
    };
    tokio::select! {
        () = server.run(stopping) => panic!("it runs until it is stopped"),
        () = ended => {}
    }
}

pub async fn until_no_session(server: &Server) {
    timeout(PATIENCE, async {
        while !server.report().sessions.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the sessions end");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn check_changed_offer_does_not_panic(at in 0..OFFER.len(), cut in 0..40usize, with in "[ -~\r\n]{0,12}") {
        let mut offer = OFFER.to_owned();
        offer.replace_range(at..(at + cut).min(OFFER.len()), &with);
        answer(&offer);
    }

    #[test]
    fn check_offer_with_lines_removed_or_repeated_does_not_panic(lines in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..6)) {
        let mut offer: Vec<&str> = OFFER.split_inclusive("\r\n").collect();
        for (at, double) in lines {
            if offer.is_empty() { break }
            let at = at.index(offer.len());
            if double { offer.insert(at, offer[at]) } else { offer.remove(at); }
        }
        answer(&offer.concat());
    }
}
