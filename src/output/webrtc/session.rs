//! One viewer, from its answered offer to its end: str0m is fed with datagrams, packets of the hub and time, and what it gives goes
//! to the port. Knows no other viewer, so a slow or broken one harms itself alone.

use super::Hearing;
use super::bitrate_control::Share;
use super::checks::Checks;
use super::clock_shift::Shift;
use super::demux::Routes;
use super::sessions::{Kind, Place};
use super::udp_mux::{Datagram, Port};
use crate::hub::{Delivery, Hub, Item, Packet, Request, Subscription, TrackSelector};
use crate::media::rtp_time::{AudioRtpClock, rtp_timestamp};
use crate::media::{Encoding, MonoNs};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};
use str0m::format::Codec;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid, Pt};
use str0m::net::Receive;
use str0m::rtp::AbsCaptureTime;
use str0m::{Event, IceConnectionState, Input, Output, Rtc, RtcError};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

/// A connected peer reports (RTCP) and checks (STUN, RFC 7675) every few seconds; one that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// How often the two are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("it never connected")]
    NeverConnected,
    #[error("it went silent")]
    Silent,
    #[error("it said good-bye")]
    PeerClosed,
    #[error("its end was asked for")]
    Asked,
    #[error("WebRTC failed")]
    Failed(#[from] RtcError),
}

/// How a session ended.
pub struct Left {
    pub why: Ended,
    /// Whether the peer was ever there.
    pub joined: bool,
}

/// What a session is connected to.
pub struct Ends {
    pub hub: Arc<Hub>,
    pub port: Arc<Port>,
    pub routes: Arc<Routes>,
    pub datagrams: mpsc::Receiver<Datagram>,
    pub stopped: watch::Receiver<bool>,
    pub rate: Share,
    pub place: Place,
    /// Turns true when the peer is there.
    pub connected: watch::Sender<bool>,
    /// Every instant that str0m is given or gives is moved by this.
    pub shift: Shift,
    /// A peer that does not get through in this time will not.
    pub to_connect: Duration,
}

pub struct Session {
    rtc: Rtc,
    ends: Ends,
    hearing: Hearing,
    born: Instant,
    /// When the peer was heard last.
    heard: Instant,
    connected: bool,
    video: Option<Track>,
    audio: Option<Track>,
    subscription: Option<Subscription>,
    audio_clock: AudioRtpClock,
    checks: Checks,
}

/// One medium on its way to the peer.
#[derive(Clone, Copy)]
struct Track {
    mid: Mid,
    payload_type: Pt,
}

/// What a session has to deal with next.
enum Next {
    Stop,
    Datagram(Datagram),
    Packet,
    Time,
}

impl Session {
    pub fn new(rtc: Rtc, ends: Ends, hearing: Hearing) -> Self {
        let now = Instant::now();
        Self {
            rtc,
            ends,
            hearing,
            born: now,
            heard: now,
            connected: false,
            video: None,
            audio: None,
            subscription: None,
            audio_clock: AudioRtpClock::default(),
            checks: Checks::default(),
        }
    }

    /// The peer answered our offer of these media. str0m tells nothing of media that were offered, so they are looked up.
    pub fn publishing(
        rtc: Rtc,
        ends: Ends,
        video: Option<Mid>,
        audio: Option<Mid>,
    ) -> Option<Self> {
        let mut session = Self::new(rtc, ends, Hearing::Allowed);
        let mut track = |mid: Option<Mid>, kind| {
            let mid = mid.filter(|mid| {
                session
                    .rtc
                    .media(*mid)
                    .is_some_and(|media| media.direction().is_sending() && !media.disabled())
            })?;
            pick(&mut session.rtc, mid, kind)
        };
        let (video, audio) = (
            track(video, MediaKind::Video),
            track(audio, MediaKind::Audio),
        );
        (session.video, session.audio) = (video, audio);
        (video.is_some() || audio.is_some()).then_some(session)
    }

    pub async fn run(mut self) -> Left {
        let why = loop {
            match self.turn().await {
                Ok(None) => {}
                Ok(Some(why)) => break why,
                Err(e) => break Ended::Failed(e),
            }
        };
        Left {
            why,
            joined: self.connected,
        }
    }

    /// Sends what there is to send, then takes one thing in.
    async fn turn(&mut self) -> Result<Option<Ended>, RtcError> {
        let deadline = self.flush()?;
        if !self.rtc.is_alive() {
            return Ok(Some(Ended::PeerClosed));
        }
        let now = Instant::now();
        if !self.connected && now.duration_since(self.born) > self.ends.to_connect {
            return Ok(Some(Ended::NeverConnected));
        }
        if self.connected && now.duration_since(self.heard) > SILENCE {
            return Ok(Some(Ended::Silent));
        }
        let subscription = &self.subscription;
        let news = async {
            match subscription {
                Some(subscription) => subscription.readable().await,
                None => std::future::pending().await,
            }
        };
        let stopped = async { drop(self.ends.stopped.wait_for(|stop| *stop).await) };
        let next = tokio::select! {
            // What the peer says first: its keyframe request is no older than the frame that waits.
            biased;
            () = stopped => Next::Stop,
            Some(datagram) = self.ends.datagrams.recv() => Next::Datagram(datagram),
            () = news => Next::Packet,
            () = sleep_until(deadline.min(now + LOOK).into()) => Next::Time,
        };
        match next {
            Next::Stop => {
                self.rtc.close()?;
                self.flush()?;
                return Ok(Some(Ended::Asked));
            }
            Next::Datagram(datagram) => self.take_datagram(&datagram)?,
            Next::Packet => self.take_packet()?,
            Next::Time => self
                .rtc
                .handle_input(Input::Timeout(self.ends.shift.apply(Instant::now())))?,
        }
        Ok(None)
    }

    /// Lets str0m say all that it has to say; when it next wants to be asked.
    fn flush(&mut self) -> Result<Instant, RtcError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(deadline) => return Ok(self.ends.shift.undo(deadline)),
                Output::Transmit(out) => {
                    self.checks.sent(&out.contents);
                    if self.ends.place.kind == Kind::Whip {
                        // A media server with ICE-lite (RFC 8445, section 2.5) asks nothing, so only its answers show where it is.
                        // A viewer's candidates are a stranger's word: one that named another viewer's address would get what
                        // comes from there.
                        self.ends.routes.expect(
                            self.ends.place.ufrag(),
                            out.proto,
                            out.destination,
                        );
                    }
                    self.ends
                        .port
                        .send(out.proto, out.source, out.destination, &out.contents);
                }
                Output::Event(event) => self.take_event(event)?,
            }
        }
    }

    fn take_event(&mut self, event: Event) -> Result<(), RtcError> {
        match event {
            Event::Connected => {
                self.connected = true;
                self.heard = Instant::now();
                self.ends.place.note_connected();
                if self.ends.place.kind != Kind::Whip {
                    tracing::info!(
                        "WebRTC viewer joined after {:.1} s",
                        self.born.elapsed().as_secs_f64()
                    );
                }
                self.ends.connected.send_replace(true);
                self.subscribe();
            }
            // Comes before or after `Connected`.
            Event::MediaAdded(media)
                if matches!(media.direction, Direction::SendOnly | Direction::SendRecv) =>
            {
                let track = pick(&mut self.rtc, media.mid, media.kind);
                match media.kind {
                    MediaKind::Video if self.video.is_none() => self.video = track,
                    MediaKind::Audio
                        if self.audio.is_none() && self.hearing == Hearing::Allowed =>
                    {
                        self.audio = track
                    }
                    _ => return Ok(()),
                }
                self.subscribe();
            }
            Event::MediaEgressStats(said)
                if self.video.is_some_and(|video| video.mid == said.mid) =>
            {
                if let Some(share) = said.loss {
                    self.ends.rate.lost(share, Instant::now());
                }
            }
            Event::KeyframeRequest(_) => self.ends.hub.request_keyframe(Encoding::H264),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.rtc.close()?
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing is encoded for a peer that is not there yet.
    fn subscribe(&mut self) {
        if !self.connected {
            return;
        }
        let feed = |track: Option<Track>, encoding| {
            track
                .filter(|_| self.ends.hub.has(encoding))
                .map(|_| TrackSelector::Encoded(encoding))
        };
        let request = Request {
            video: feed(self.video, Encoding::H264),
            audio: feed(self.audio, Encoding::Opus),
            delivery: Delivery::Live,
            max_fps: None,
            events: false,
        };
        // Fails for resampled sound only, which is not asked for.
        self.subscription = self.ends.hub.subscribe(&request).ok();
    }

    fn take_datagram(&mut self, datagram: &Datagram) -> Result<(), RtcError> {
        // Of media nothing is received, whatever a peer sends.
        if is_media(&datagram.bytes) || !self.checks.accept(&datagram.bytes) {
            return Ok(());
        }
        // What is neither STUN nor DTLS nor RTCP is not for us.
        let Ok(received) = Receive::new(
            datagram.protocol,
            datagram.source,
            datagram.destination,
            &datagram.bytes,
        ) else {
            return Ok(());
        };
        self.heard = datagram.at;
        self.rtc
            .handle_input(Input::Receive(self.ends.shift.apply(datagram.at), received))
    }

    fn take_packet(&mut self) -> Result<(), RtcError> {
        let Some(subscription) = &self.subscription else {
            return Ok(());
        };
        let item = subscription.take(true);
        if item.is_none() && subscription.is_closed() {
            // A closed subscription is always readable: waiting for it would never yield.
            self.subscription = None;
        }
        let Some(Item::Packet { packet, .. }) = item else {
            return Ok(());
        };
        match packet.encoding {
            Encoding::H264 => self.send_picture(&packet),
            Encoding::Opus => self.send_sound(&packet),
            Encoding::Jpeg | Encoding::Pcm => Ok(()),
        }
    }

    fn send_picture(&mut self, packet: &Packet) -> Result<(), RtcError> {
        let at = rtp_timestamp(packet.capture_time, 90_000);
        self.send(
            self.video,
            packet,
            MediaTime::new(at, Frequency::NINETY_KHZ),
        )
    }

    fn send_sound(&mut self, packet: &Packet) -> Result<(), RtcError> {
        let at = self
            .audio_clock
            .next(rtp_timestamp(packet.capture_time, AudioRtpClock::RATE_HZ));
        self.send(
            self.audio,
            packet,
            MediaTime::new(at, Frequency::FORTY_EIGHT_KHZ),
        )
    }

    fn send(
        &mut self,
        track: Option<Track>,
        packet: &Packet,
        at: MediaTime,
    ) -> Result<(), RtcError> {
        let Some(Track { mid, payload_type }) = track else {
            return Ok(());
        };
        let age = MonoNs::now().since(packet.capture_time);
        let now = Instant::now();
        let capture_time = self.ends.shift.apply(now.checked_sub(age).unwrap_or(now));
        let stamp = AbsCaptureTime {
            capture_time: UNIX_EPOCH + Duration::from_nanos(packet.stamp.0),
            clock_offset: None,
        };
        let Some(writer) = self.rtc.writer(mid) else {
            return Ok(());
        };
        writer
            .abs_capture_time(stamp)
            .write(payload_type, capture_time, at, &packet.payload[..])
    }
}

/// RTP and not RTCP (RFC 7983, section 7; RFC 5761, section 4).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, kind, ..] if !(192..=223).contains(kind))
}

/// The payload type to send with: for H.264 the one whose profile and packetization are ours.
fn pick(rtc: &mut Rtc, mid: Mid, kind: MediaKind) -> Option<Track> {
    const CONSTRAINED_BASELINE: u32 = 0x42e0;
    const BASELINE: u32 = 0x4200;
    let writer = rtc.writer(mid)?;
    let rank = |params: &&str0m::format::PayloadParams| {
        let spec = params.spec();
        match (kind, spec.codec) {
            (MediaKind::Audio, Codec::Opus) => 1,
            // RFC 6184, section 8.1: mode 0 allows no fragments, which a keyframe needs.
            (MediaKind::Video, Codec::H264) if spec.format.packetization_mode == Some(1) => {
                match spec.format.profile_level_id.map(|id| id >> 8) {
                    Some(CONSTRAINED_BASELINE) => 4,
                    Some(BASELINE) => 3,
                    _ => 2,
                }
            }
            (MediaKind::Video, Codec::H264) => 1,
            _ => 0,
        }
    };
    let best = writer
        .payload_params()
        .max_by_key(rank)
        .filter(|params| rank(params) > 0)?;
    Some(Track {
        mid,
        payload_type: best.pt(),
    })
}
