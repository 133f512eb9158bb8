//! One peer, from its answered offer to the end: gives str0m datagrams, packets of the hub and
//! time, and sends what str0m outputs to the port. Sessions share no state, so a slow or failing
//! one does not affect others.

use super::AudioAccess;
use super::address_guard::AddressGuard;
use super::bitrate_control::ViewerBitrate;
use super::byte_queue::ByteReceiver;
use super::clock_shift::Shift;
use super::demux::Routes;
use super::port::{Datagram, Port, Turns};
use super::sessions::{Registration, SessionKind};
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
use tokio::sync::watch;
use tokio::time::sleep_until;

/// A connected peer sends reports (RTCP) and checks (STUN, RFC 7675) every few seconds; one that
/// sends nothing for this time is gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the timeouts are looked at.
const TIMEOUT_INTERVAL: Duration = Duration::from_secs(1);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum EndReason {
    #[error("it did not connect in time")]
    NeverConnected,
    #[error("nothing was received from it for 10 s")]
    Silent,
    #[error("it closed the session")]
    PeerClosed,
    #[error("the session was ended on request")]
    Requested,
    #[error("WebRTC failed")]
    Failed(#[from] RtcError),
}

/// How a session ended.
pub struct SessionEnd {
    pub reason: EndReason,
    /// Whether the peer ever connected.
    pub connected: bool,
}

/// What a session is connected to.
pub struct SessionContext {
    pub hub: Arc<Hub>,
    pub port: Arc<Port>,
    pub routes: Arc<Routes>,
    pub datagrams: ByteReceiver<Datagram>,
    pub stopped: watch::Receiver<bool>,
    pub bitrate: ViewerBitrate,
    pub registration: Registration,
    /// Turns true when the peer connects.
    pub connected: watch::Sender<bool>,
    /// Applied to every instant that str0m is given, undone for those that it returns.
    pub shift: Shift,
    /// A session whose peer has not connected by then ends.
    pub connect_timeout: Duration,
}

pub struct Session {
    rtc: Rtc,
    context: SessionContext,
    audio_access: AudioAccess,
    created: Instant,
    last_received: Instant,
    connected: bool,
    video: Option<Track>,
    audio: Option<Track>,
    subscription: Option<Subscription>,
    audio_clock: AudioRtpClock,
    guard: AddressGuard,
    turns: Turns,
}

/// What a track is sent with.
#[derive(Clone, Copy)]
struct Track {
    mid: Mid,
    payload_type: Pt,
}

/// What a session waited for.
enum Wakeup {
    Stop,
    Datagram(Datagram),
    Packet,
    Timeout,
}

impl Session {
    pub(super) fn new(
        rtc: Rtc,
        context: SessionContext,
        guard: AddressGuard,
        audio_access: AudioAccess,
    ) -> Self {
        let now = Instant::now();
        Self {
            rtc,
            context,
            audio_access,
            created: now,
            last_received: now,
            connected: false,
            video: None,
            audio: None,
            subscription: None,
            audio_clock: AudioRtpClock::default(),
            guard,
            turns: Turns::default(),
        }
    }

    /// A session whose peer answered our offer of these media. `None`: it accepts none of them.
    /// (str0m has no event for media that were offered.)
    pub(super) fn publishing(
        rtc: Rtc,
        context: SessionContext,
        guard: AddressGuard,
        video: Option<Mid>,
        audio: Option<Mid>,
    ) -> Option<Self> {
        let mut session = Self::new(rtc, context, guard, AudioAccess::Allowed);
        let mut track = |mid: Option<Mid>, kind| {
            let mid = mid.filter(|mid| {
                session
                    .rtc
                    .media(*mid)
                    .is_some_and(|media| media.direction().is_sending() && !media.disabled())
            })?;
            choose_payload_type(&mut session.rtc, mid, kind)
        };
        let (video, audio) = (
            track(video, MediaKind::Video),
            track(audio, MediaKind::Audio),
        );
        (session.video, session.audio) = (video, audio);
        (video.is_some() || audio.is_some()).then_some(session)
    }

    pub async fn run(mut self) -> SessionEnd {
        let reason = loop {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(reason)) => break reason,
                Err(e) => break EndReason::Failed(e),
            }
        };
        SessionEnd {
            reason,
            connected: self.connected,
        }
    }

    /// Sends all output, then handles one input.
    async fn step(&mut self) -> Result<Option<EndReason>, RtcError> {
        let deadline = self.flush()?;
        if !self.rtc.is_alive() {
            return Ok(Some(EndReason::PeerClosed));
        }
        let now = Instant::now();
        if !self.connected && now.duration_since(self.created) > self.context.connect_timeout {
            return Ok(Some(EndReason::NeverConnected));
        }
        if self.connected && now.duration_since(self.last_received) > SILENCE_TIMEOUT {
            return Ok(Some(EndReason::Silent));
        }
        match self.wait(deadline.min(now + TIMEOUT_INTERVAL)).await {
            Wakeup::Stop => {
                self.rtc.close()?;
                self.flush()?;
                return Ok(Some(EndReason::Requested));
            }
            Wakeup::Datagram(datagram) => {
                self.turns.next().await;
                self.handle_datagram(&datagram)?
            }
            Wakeup::Packet => self.send_next_packet()?,
            Wakeup::Timeout => {
                let now = self.context.shift.apply(Instant::now());
                self.rtc.handle_input(Input::Timeout(now))?;
            }
        }
        Ok(None)
    }

    async fn wait(&mut self, deadline: Instant) -> Wakeup {
        let subscription = &self.subscription;
        let packet = async {
            match subscription {
                Some(subscription) => subscription.readable().await,
                None => std::future::pending().await,
            }
        };
        let stopped = async { drop(self.context.stopped.wait_for(|stop| *stop).await) };
        tokio::select! {
            // Datagrams before packets: a keyframe request is handled before the waiting frame.
            biased;
            () = stopped => Wakeup::Stop,
            Some(datagram) = self.context.datagrams.recv() => Wakeup::Datagram(datagram),
            () = packet => Wakeup::Packet,
            () = sleep_until(deadline.into()) => Wakeup::Timeout,
        }
    }

    /// Handles all output of str0m. Returns when it wants to be called again.
    fn flush(&mut self) -> Result<Instant, RtcError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(deadline) => return Ok(self.context.shift.undo(deadline)),
                Output::Transmit(out) => {
                    let context = &self.context;
                    if !self.guard.may_send(&out, &context.port, Instant::now()) {
                        continue;
                    }
                    if context.registration.kind() == SessionKind::Whip {
                        // A media server with ICE-lite (RFC 8445, section 2.5) sends no checks, so
                        // its address is known from ours only. A viewer's candidates are not
                        // routed: one that named another viewer's address would take over its
                        // datagrams.
                        let ufrag = context.registration.ufrag();
                        context
                            .routes
                            .add_remote_address(ufrag, out.proto, out.destination);
                    }
                    context
                        .port
                        .send(out.proto, out.source, out.destination, &out.contents);
                }
                Output::Event(event) => self.handle_event(event)?,
            }
        }
    }

    fn handle_event(&mut self, event: Event) -> Result<(), RtcError> {
        match event {
            Event::Connected => {
                self.connected = true;
                self.last_received = Instant::now();
                self.context.registration.set_connected();
                if self.context.registration.kind() != SessionKind::Whip {
                    tracing::info!(
                        "WebRTC viewer joined after {:.1} s",
                        self.created.elapsed().as_secs_f64()
                    );
                }
                self.context.connected.send_replace(true);
                self.subscribe();
            }
            // Before or after `Connected`.
            Event::MediaAdded(media)
                if matches!(media.direction, Direction::SendOnly | Direction::SendRecv) =>
            {
                let track = choose_payload_type(&mut self.rtc, media.mid, media.kind);
                match media.kind {
                    MediaKind::Video if self.video.is_none() => self.video = track,
                    MediaKind::Audio
                        if self.audio.is_none() && self.audio_access == AudioAccess::Allowed =>
                    {
                        self.audio = track
                    }
                    _ => return Ok(()),
                }
                self.subscribe();
            }
            Event::MediaEgressStats(stats)
                if self.video.is_some_and(|video| video.mid == stats.mid) =>
            {
                if let Some(loss) = stats.loss {
                    self.context.bitrate.report_loss(loss, Instant::now());
                }
            }
            Event::KeyframeRequest(_) => self.context.hub.request_keyframe(Encoding::H264),
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.rtc.close()?
            }
            _ => {}
        }
        Ok(())
    }

    /// Only once the peer is connected: nothing is encoded for one that may never be.
    fn subscribe(&mut self) {
        if !self.connected {
            return;
        }
        let selector = |track: Option<Track>, encoding| {
            track
                .filter(|_| self.context.hub.has(encoding))
                .map(|_| TrackSelector::Encoded(encoding))
        };
        let request = Request {
            video: selector(self.video, Encoding::H264),
            audio: selector(self.audio, Encoding::Opus),
            delivery: Delivery::Live,
            max_fps: None,
            events: false,
        };
        // Fails for views of audio only, which are not requested.
        self.subscription = self.context.hub.subscribe(&request).ok();
    }

    fn handle_datagram(&mut self, datagram: &Datagram) -> Result<(), RtcError> {
        // No media is received, whatever a peer sends.
        if is_media(&datagram.bytes) {
            return Ok(());
        }
        let had_check = self.guard.has_check();
        let is_accepted = self.guard.accept(datagram, &self.context.port);
        if self.guard.has_check() && !had_check {
            self.context.registration.set_checked();
        }
        if !is_accepted {
            return Ok(());
        }
        // Neither STUN nor DTLS nor RTCP.
        let Ok(received) = Receive::new(
            datagram.protocol,
            datagram.source,
            datagram.destination,
            &datagram.bytes,
        ) else {
            return Ok(());
        };
        self.last_received = datagram.at;
        let at = self.context.shift.apply(datagram.at);
        self.rtc.handle_input(Input::Receive(at, received))
    }

    fn send_next_packet(&mut self) -> Result<(), RtcError> {
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
        let capture_time = packet.capture_time;
        match packet.encoding {
            Encoding::H264 => {
                let at = rtp_timestamp(capture_time, 90_000);
                let at = MediaTime::new(at, Frequency::NINETY_KHZ);
                self.send(self.video, &packet, at)
            }
            Encoding::Opus => {
                let at = rtp_timestamp(capture_time, AudioRtpClock::RATE_HZ);
                let at = MediaTime::new(self.audio_clock.next(at), Frequency::FORTY_EIGHT_KHZ);
                self.send(self.audio, &packet, at)
            }
            Encoding::Jpeg | Encoding::Pcm => Ok(()),
        }
    }

    fn send(
        &mut self,
        track: Option<Track>,
        packet: &Packet,
        rtp_time: MediaTime,
    ) -> Result<(), RtcError> {
        let Some(Track { mid, payload_type }) = track else {
            return Ok(());
        };
        let age = MonoNs::now().since(packet.capture_time);
        let now = Instant::now();
        let capture_time = self
            .context
            .shift
            .apply(now.checked_sub(age).unwrap_or(now));
        let stamp = AbsCaptureTime {
            capture_time: UNIX_EPOCH + Duration::from_nanos(packet.stamp.0),
            clock_offset: None,
        };
        let Some(writer) = self.rtc.writer(mid) else {
            return Ok(());
        };
        writer.abs_capture_time(stamp).write(
            payload_type,
            capture_time,
            rtp_time,
            &packet.payload[..],
        )
    }
}

/// RTP and not RTCP (RFC 7983, section 7; RFC 5761, section 4).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, kind, ..] if !(192..=223).contains(kind))
}

/// The payload type to send with: for H.264 the one whose profile and packetization are ours.
fn choose_payload_type(rtc: &mut Rtc, mid: Mid, kind: MediaKind) -> Option<Track> {
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
