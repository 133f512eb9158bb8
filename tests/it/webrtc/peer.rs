//! A WebRTC viewer made of str0m and one socket, UDP or TCP: it plays by WHEP, can drop datagrams
//! on purpose, and vanishes when it is dropped.

use super::transport::Transport;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaData, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::Extension;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

pub struct Peer {
    rtc: Rtc,
    pub transport: Transport,
    address: SocketAddr,
    /// Per cent of received datagrams that are dropped.
    pub loss_percent: u32,
    /// The number of datagrams after which none is dropped.
    pub loss_ends_after: u32,
    seen: u32,
    /// The session's path.
    pub location: String,
    pub offer: String,
    pub answer: String,
}

/// An HTTP answer.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// One request on a connection of its own.
pub fn request(port: u16, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream
        .set_read_timeout(Some(crate::common::PATIENCE))
        .expect("a timeout is settable");
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    // A body that is too large is refused before it is read.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no HTTP: {answer}"));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

impl Peer {
    fn new(transport: Transport, direction: Direction) -> (Self, String, SdpPendingOffer) {
        let address = transport.address();
        let config = RtcConfig::new()
            .clear_codecs()
            .enable_h264(true)
            .enable_opus(true, false);
        let mut rtc = config
            .set_extension(9, Extension::AbsoluteCaptureTime)
            .build(Instant::now());
        let protocol = if transport.protocol() == Protocol::Udp {
            "udp"
        } else {
            "tcp"
        };
        rtc.add_local_candidate(Candidate::host(address, protocol).expect("an address"));
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Video, direction, None, None, None);
        api.add_media(MediaKind::Audio, direction, None, None, None);
        let (offer, pending) = api.apply().expect("there is something to offer");
        let offer = offer.to_sdp_string();
        let peer = Self {
            rtc,
            transport,
            address,
            loss_percent: 0,
            loss_ends_after: u32::MAX,
            seen: 0,
            location: String::new(),
            offer: offer.clone(),
            answer: String::new(),
        };
        (peer, offer, pending)
    }

    /// Plays by WHEP.
    pub fn play(port: u16) -> Self {
        Self::play_over(Transport::udp(), port)
    }

    pub fn play_over(transport: Transport, port: u16) -> Self {
        Self::play_as(transport, Direction::RecvOnly, port)
    }

    /// Offers to send as well.
    pub fn play_both_ways(port: u16) -> Self {
        Self::play_as(Transport::udp(), Direction::SendRecv, port)
    }

    fn play_as(transport: Transport, direction: Direction, port: u16) -> Self {
        Self::offer(transport, direction, "", port)
    }

    /// Plays a camera by WHEP. `camera`: empty, or `/NAME`.
    pub fn play_camera(camera: &str, port: u16) -> Self {
        Self::offer(Transport::udp(), Direction::RecvOnly, camera, port)
    }

    fn offer(transport: Transport, direction: Direction, camera: &str, port: u16) -> Self {
        let (mut peer, offer, pending) = Self::new(transport, direction);
        let path = format!("{camera}/whep");
        let answer = request(port, "POST", &path, "application/sdp", &offer);
        assert_eq!(answer.status, 201, "{}", answer.body);
        // It is relative to the endpoint.
        let location = answer.header("location").expect("a Location");
        peer.location = format!("{camera}/{location}");
        peer.accept(pending, &answer.body);
        peer
    }

    /// Plays by the JSON endpoint.
    pub fn play_by_json(port: u16) -> Self {
        Self::play_camera_by_json("", port)
    }

    pub fn play_camera_by_json(camera: &str, port: u16) -> Self {
        let (mut peer, offer, pending) = Self::new(Transport::udp(), Direction::RecvOnly);
        let offer = serde_json::json!({"sdp": offer, "type": "offer"}).to_string();
        let path = format!("{camera}/api/webrtc/offer");
        let answer = request(port, "POST", &path, "application/json", &offer);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(answer["type"], "answer");
        peer.accept(pending, answer["sdp"].as_str().expect("SDP"));
        peer
    }

    /// Accepts an offer as a media server does; with ICE-lite it waits for checks (RFC 8445,
    /// section 2.5).
    pub fn serve(offer: &str, is_lite: bool) -> Self {
        let transport = Transport::udp();
        let address = transport.address();
        let config = RtcConfig::new()
            .set_ice_lite(is_lite)
            .clear_codecs()
            .enable_h264(true)
            .enable_opus(true, false);
        let mut rtc = config
            .set_extension(9, Extension::AbsoluteCaptureTime)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("an address"));
        let answer = rtc
            .sdp_api()
            .accept_offer(SdpOffer::from_sdp_string(offer).expect("SDP"))
            .expect("an offer for us")
            .to_sdp_string();
        Self {
            rtc,
            transport,
            address,
            loss_percent: 0,
            loss_ends_after: u32::MAX,
            seen: 0,
            location: String::new(),
            offer: offer.to_owned(),
            answer,
        }
    }

    fn accept(&mut self, pending: SdpPendingOffer, answer: &str) {
        self.answer = answer.to_owned();
        self.rtc
            .sdp_api()
            .accept_answer(pending, SdpAnswer::from_sdp_string(answer).expect("SDP"))
            .expect("an answer to our offer");
    }

    /// Media as it arrives, until `take` has enough. Panics after [`crate::common::PATIENCE`];
    /// `false` when the session ended.
    pub fn watch(&mut self, mut take: impl FnMut(MediaData) -> bool) -> bool {
        let give_up = Instant::now() + crate::common::PATIENCE;
        loop {
            assert!(Instant::now() < give_up, "no media in time");
            let deadline = loop {
                match self.rtc.poll_output().expect("str0m goes on") {
                    Output::Timeout(at) => break at,
                    Output::Transmit(out) => {
                        if !self.is_lost() {
                            self.transport
                                .send(out.proto, &out.contents, out.destination);
                        }
                    }
                    Output::Event(Event::MediaData(data)) => {
                        if data.params.spec().codec.is_video() && !data.contiguous {
                            self.ask_for_keyframe(data.mid);
                        }
                        if take(data) {
                            return true;
                        }
                    }
                    Output::Event(_) => {}
                }
            };
            if !self.rtc.is_alive() {
                return false;
            }
            let pause = deadline
                .saturating_duration_since(Instant::now())
                .clamp(Duration::from_millis(1), Duration::from_millis(100));
            match self.transport.receive(pause) {
                Some((bytes, source)) => {
                    if self.is_lost() {
                        continue;
                    }
                    if let Ok(received) =
                        Receive::new(self.transport.protocol(), source, self.address, &bytes)
                    {
                        self.rtc
                            .handle_input(Input::Receive(Instant::now(), received))
                            .expect("str0m takes it");
                    }
                }
                None => self
                    .rtc
                    .handle_input(Input::Timeout(Instant::now()))
                    .expect("str0m goes on"),
            }
        }
    }

    /// Requests a keyframe, as players do after a loss.
    fn ask_for_keyframe(&mut self, mid: Mid) {
        let mut writer = self.rtc.writer(mid).expect("what comes has a medium");
        writer
            .request_keyframe(None, KeyframeRequestKind::Pli)
            .expect("the answer allows it");
    }

    /// The same choice in each run, as far as the order is the same.
    fn is_lost(&mut self) -> bool {
        self.seen = self.seen.wrapping_add(1);
        self.seen <= self.loss_ends_after
            && self.seen.wrapping_mul(0x9E37_79B9) >> 16 & 0xffff < self.loss_percent * 65536 / 100
    }
}
