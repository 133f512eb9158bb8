//! WebRTC: the hub's H.264 and Opus to any browser and any media server. Owns sessions and their one port; knows the hub; knows
//! no HTTP (`http::webrtc` does) and no encoder.
//!
//! ```text
//! offer ─► signalling (checks) ─► Server::answer ─► Session, a task for each viewer ─┬─► sockets (one UDP port, ICE-TCP)
//! Publisher (WHIP) ─────────────► Server::offer ──► Session ─────────────────────────┤
//!                                                        hub: H.264, Opus ───────────┘
//! ```

pub mod bitrate_control;
pub mod checks;
pub mod clock_shift;
pub mod demux;
pub mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(feature = "webrtc")]
pub mod http;
pub mod ice_tcp;
mod output;
pub mod session;
pub mod sessions;
pub mod signalling;
pub mod stun;
pub mod stun_client;
pub mod task;
#[cfg(test)]
pub mod tests;
pub mod udp_mux;

pub use crate::output::whip::{Publisher, Report as WhipReport, State as WhipState};
pub use output::WebRtc;
pub use sessions::{Kind, Seen};
pub use signalling::{BadOffer, MAX_OFFER};

use crate::config;
use crate::hub::Hub;
use crate::media::Encoding;
use bitrate_control::Rates;
use clock_shift::{Epoch, Shift};
use demux::Routes;
use session::{Ends, Left, Session};
use sessions::Sessions;
use signalling::BadAnswer;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::rtp::Extension;
use str0m::{Candidate, Rtc, RtcConfig};
use stun_client::{Mapping, Reflexive};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info};
use udp_mux::Port;

/// Datagrams that wait for one session; what comes beyond them is lost, as on the way.
const INBOX: usize = 256;
/// The id that most senders use for abs-capture-time; an offer may name another.
const CAPTURE_TIME_ID: u8 = 9;
/// How often str0m says what viewers lost.
const REPORTS: Duration = Duration::from_secs(1);
/// A check that finds no answer is repeated at least so often, so that a lost datagram costs little.
const CHECK_AGAIN: Duration = Duration::from_millis(1500);
/// A peer that does not get through in this time will not.
const TO_CONNECT: Duration = Duration::from_secs(15);

/// What we offer of H.264, all of which any decoder of baseline takes: payload types, those of repeated packets (RFC 4588), and
/// profiles with level 3.1. Constrained baseline is what is sent; some servers know it as baseline alone.
const OFFERED_H264: [(u8, u8, u32); 2] = [(108, 109, 0x42_e01f), (127, 121, 0x42_001f)];

/// Everything that sessions share.
pub struct Server {
    hub: Arc<Hub>,
    port: Arc<Port>,
    routes: Arc<Routes>,
    rates: Arc<Rates>,
    public_ip: Option<IpAddr>,
    max_sessions: usize,
    /// A viewer's session has one from before its offer is read until its end.
    seats: Arc<Semaphore>,
    /// Whoever has it reads an offer: the runtime turns between two, however many come at once.
    turn: AsyncMutex<()>,
    /// For a peer's first way through.
    to_connect: Duration,
    certificate: str0m::config::DtlsCert,
    epoch: Epoch,
    pub(crate) reflexive: Arc<Reflexive>,
    sessions: Arc<Sessions>,
    /// Sessions that are answered and not yet tasks. As many at most as there may be sessions.
    born: mpsc::UnboundedSender<Session>,
    births: Mutex<Option<mpsc::UnboundedReceiver<Session>>>,
    /// Where publishing stands; `None`: nobody publishes.
    publishing: Mutex<Option<Arc<Mutex<crate::output::whip::Report>>>>,
}

/// What `/state` and `/metrics` show.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    pub port: u16,
    pub max_sessions: usize,
    /// Sessions by kind.
    pub count: BTreeMap<&'static str, usize>,
    /// Oldest first.
    pub sessions: Vec<Seen>,
    pub whip: Option<crate::output::whip::Report>,
}

/// An offer of ours on its way to a media server.
pub(crate) struct Draft {
    pub(crate) sdp: String,
    pub(crate) rtc: Rtc,
    pub(crate) pending: SdpPendingOffer,
    pub(crate) ends: Ends,
    pub(crate) video: Option<Mid>,
    pub(crate) audio: Option<Mid>,
    pub(crate) connected: watch::Receiver<bool>,
}

impl Draft {
    /// The session, and what turns true once media can flow.
    pub(crate) fn accept(
        mut self,
        answer: SdpAnswer,
    ) -> Result<(Session, watch::Receiver<bool>), BadAnswer> {
        self.rtc
            .sdp_api()
            .accept_answer(self.pending, answer)
            .map_err(|e| BadAnswer::Refused(e.to_string()))?;
        let session = Session::publishing(self.rtc, self.ends, self.video, self.audio)
            .ok_or(BadAnswer::NothingInCommon)?;
        Ok((session, self.connected))
    }
}

/// What the peer is told.
pub struct Answer {
    /// Names the session for its end; random, so that nobody ends another's.
    pub id: String,
    pub sdp: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    BadOffer(#[from] BadOffer),
    #[error("all {0} places for WebRTC viewers are taken; try again later")]
    Full(usize),
    #[error("no session can be made")]
    Failed(#[source] io::Error),
}

/// Whether a viewer may hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    Allowed,
    Forbidden,
}

impl Server {
    /// Opens the port on `host`; must run on a tokio runtime.
    ///
    /// # Errors
    /// No port can be opened, or there are no random numbers.
    pub fn open(config: &config::Webrtc, host: IpAddr, hub: Arc<Hub>) -> io::Result<Self> {
        let provider = str0m::crypto::from_feature_flags();
        let certificate = provider
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| io::Error::other("no DTLS certificate can be made"))?;
        let said = |e: io::Error| {
            let number = config.port;
            io::Error::new(
                e.kind(),
                format!(
                    "its port ({number} of {host}) cannot be opened: {e}; see --host and --webrtc-port"
                ),
            )
        };
        let port = Arc::new(Port::open(host, config.port).map_err(said)?);
        if port.number() != config.port && config.port != 0 {
            tracing::warn!(
                "--webrtc-port {} is taken: {} is used",
                config.port,
                port.number()
            );
        } else {
            info!("WebRTC: UDP and TCP port {}", port.number());
        }
        // str0m reads its clocks at its first use, which this is.
        drop(RtcConfig::new().build(Instant::now()));
        let epoch = Epoch::new(Instant::now(), hub.clock().unix_now());
        let rates = Rates::new(hub.clone(), config.bitrate_bps);
        let reflexive = Arc::new(Reflexive::new(port.clone(), config.stun.as_deref()));
        let (born, births) = mpsc::unbounded_channel();
        Ok(Self {
            hub,
            port,
            routes: Arc::default(),
            rates,
            reflexive,
            public_ip: config.public_ip,
            max_sessions: config.max_sessions,
            seats: Arc::new(Semaphore::new(
                config.max_sessions.min(Semaphore::MAX_PERMITS),
            )),
            turn: AsyncMutex::default(),
            to_connect: TO_CONNECT,
            certificate,
            epoch,
            sessions: Arc::default(),
            born,
            births: Mutex::new(Some(births)),
            publishing: Mutex::default(),
        })
    }

    pub fn report(&self) -> Report {
        let whip = self
            .publishing
            .lock()
            .expect("nothing panics while it holds the slot")
            .as_ref()
            .map(|report| crate::output::whip::lock(report).clone());
        let sessions = self.sessions.seen();
        let count = Kind::ALL
            .map(|kind| {
                (
                    kind.name(),
                    sessions.iter().filter(|seen| seen.kind == kind).count(),
                )
            })
            .into();
        Report {
            port: self.port.number(),
            max_sessions: self.max_sessions,
            count,
            sessions,
            whip,
        }
    }

    /// Answers an offer and starts its session, which ends by itself unless the peer connects soon.
    pub async fn answer(
        &self,
        offer: &str,
        kind: Kind,
        hearing: Hearing,
    ) -> Result<Answer, Refusal> {
        let seat = self
            .seats
            .clone()
            .try_acquire_owned()
            .map_err(|_| Refusal::Full(self.max_sessions))?;
        let _turn = self.turn.lock().await;
        tokio::task::yield_now().await;
        let offer = signalling::check(offer)?;
        let now = Instant::now();
        let shift = self.shift(now);
        let mut rtc = self.rtc(
            RtcConfig::new()
                .clear_codecs()
                .enable_h264(true)
                .enable_opus(true, false),
            shift.apply(now),
        );
        let answer = rtc
            .sdp_api()
            .accept_offer(offer)
            .map_err(|e| BadOffer::Refused(e.to_string()))?;
        let sdp = answer.to_sdp_string();
        let id = random_id().map_err(Refusal::Failed)?;
        let (ends, _) = self.ends(&mut rtc, &self.hub, &id, kind, Some(seat), shift);
        // The receiver lives as long as `run`; without it nobody would serve the session, and the program is ending.
        let _ = self.born.send(Session::new(rtc, ends, hearing));
        Ok(Answer { id, sdp })
    }

    /// Drafts an offer of the video and audio of `hub`'s camera.
    pub(crate) fn offer(&self, hub: &Arc<Hub>) -> io::Result<Draft> {
        let now = Instant::now();
        let shift = self.shift(now);
        let mut config = RtcConfig::new().clear_codecs().enable_opus(true, false);
        for (payload_type, repairs, profile) in OFFERED_H264 {
            config.codec_config().add_h264(
                Pt::new_with_value(payload_type),
                Some(Pt::new_with_value(repairs)),
                true,
                profile,
            );
        }
        let mut rtc = self.rtc(config, shift.apply(now));
        let mut api = rtc.sdp_api();
        // One stream of both, so that a player keeps them in step.
        let stream = Some("stampcast".to_owned());
        let mut add = |encoding, kind| {
            hub.has(encoding)
                .then(|| api.add_media(kind, Direction::SendOnly, stream.clone(), None, None))
        };
        let (video, audio) = (
            add(Encoding::H264, MediaKind::Video),
            add(Encoding::Opus, MediaKind::Audio),
        );
        let (offer, pending) = api
            .apply()
            .ok_or_else(|| io::Error::other("there is neither a camera nor a microphone"))?;
        let (ends, connected) = self.ends(&mut rtc, hub, &random_id()?, Kind::Whip, None, shift);
        Ok(Draft {
            sdp: offer.to_sdp_string(),
            rtc,
            pending,
            ends,
            video,
            audio,
            connected,
        })
    }

    /// Lists a session and routes what is for it to it.
    fn ends(
        &self,
        rtc: &mut Rtc,
        hub: &Arc<Hub>,
        id: &str,
        kind: Kind,
        seat: Option<OwnedSemaphorePermit>,
        shift: Shift,
    ) -> (Ends, watch::Receiver<bool>) {
        let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        let (inbox, datagrams) = mpsc::channel(INBOX);
        self.routes.add(&ufrag, inbox);
        let (place, stopped) =
            self.sessions
                .add(&self.routes, (id, &ufrag), (kind, seat), self.unix_now());
        let (connected, is_connected) = watch::channel(false);
        let (hub, port, routes, rate) = (
            hub.clone(),
            self.port.clone(),
            self.routes.clone(),
            self.rates.share(),
        );
        let to_connect = self.to_connect;
        (
            Ends {
                hub,
                port,
                routes,
                datagrams,
                stopped,
                rate,
                shift,
                place,
                connected,
                to_connect,
            },
            is_connected,
        )
    }

    /// Ends a session; `false` when there is none of this name.
    pub fn end(&self, id: &str) -> bool {
        self.sessions.end(id)
    }

    /// Serves the sessions until `stopping` says so; every peer is then told.
    pub async fn run(&self, mut stopping: watch::Receiver<bool>) {
        let Some(mut births) = self
            .births
            .lock()
            .expect("nothing panics while it holds the slot")
            .take()
        else {
            return;
        };
        let mut tasks = JoinSet::new();
        let mut ports = JoinSet::new();
        for listener in 0..self.port.listeners() {
            ports.spawn(ice_tcp::accept(
                self.port.clone(),
                listener,
                self.routes.clone(),
                self.max_sessions,
            ));
        }
        for socket in 0..self.port.sockets() {
            let (port, routes, reflexive) = (
                self.port.clone(),
                self.routes.clone(),
                self.reflexive.clone(),
            );
            let take = move |datagram| {
                if !reflexive.take(&datagram) {
                    routes.give(datagram);
                }
            };
            ports.spawn(async move { port.receive(socket, take).await });
        }
        ports.spawn(self.reflexive.clone().run());
        loop {
            tokio::select! {
                Some(session) = births.recv() => drop(tasks.spawn(session.run())),
                Some(left) = tasks.join_next() => say(left),
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        self.sessions.end_all();
        // The caller's deadline is the limit; each says good-bye at once.
        while let Some(left) = tasks.join_next().await {
            say(left);
        }
    }

    pub(crate) fn show_publisher(&self, report: Arc<Mutex<crate::output::whip::Report>>) {
        *self
            .publishing
            .lock()
            .expect("nothing panics while it holds the slot") = Some(report);
    }

    /// UNIX seconds, by the hub's clock.
    pub(crate) fn unix_now(&self) -> f64 {
        self.hub.clock().unix_now().0 as f64 / 1e9
    }

    fn shift(&self, now: Instant) -> Shift {
        self.epoch.shift(now, self.hub.clock().unix_now())
    }

    /// `now`: by str0m's clock.
    fn rtc(&self, config: RtcConfig, now: Instant) -> Rtc {
        let mut config = without_transport_feedback(config)
            .set_dtls_cert(self.certificate.clone())
            .set_stats_interval(Some(REPORTS))
            .set_extension(CAPTURE_TIME_ID, Extension::AbsoluteCaptureTime);
        config.set_max_stun_rto(CHECK_AGAIN);
        let mut rtc = config.build(now);
        for candidate in candidates(
            &self.port.addresses(),
            &self.reflexive.mappings(),
            self.public_ip,
        ) {
            rtc.add_local_candidate(candidate);
        }
        rtc
    }
}

/// Nothing here uses transport-wide feedback, the rate follows receiver reports; and str0m 0.25 panics at such a report that has a
/// run of no packets (`TwccIter::next`) once it has numbered packets for it.
fn without_transport_feedback(mut config: RtcConfig) -> RtcConfig {
    let kept: Vec<_> = config
        .extension_map()
        .iter()
        .map(|(id, extension)| (id, extension.clone()))
        .filter(|(_, extension)| *extension != Extension::TransportSequenceNumber)
        .collect();
    kept.into_iter()
        .fold(config.clear_extension_map(), |config, (id, extension)| {
            config.set_extension(id, extension)
        })
}

/// Where a peer can find us: over UDP and, for those whom UDP does not reach, TCP. `addresses` are those of the port.
fn candidates(
    addresses: &[SocketAddr],
    seen: &[Mapping],
    public_ip: Option<IpAddr>,
) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for address in addresses.iter().copied() {
        candidates.extend(Candidate::host(address, "udp"));
        candidates.extend(
            Candidate::builder()
                .tcp()
                .host(address)
                .tcptype(str0m::net::TcpType::Passive)
                .build(),
        );
        if let Some(ip) =
            public_ip.filter(|ip| ip.is_ipv4() == address.is_ipv4() && !address.ip().is_loopback())
        {
            candidates.extend(Candidate::server_reflexive(
                (ip, address.port()).into(),
                address,
                "udp",
            ));
        }
        // Where there is no NAT, the address is named already.
        let beyond = |public: SocketAddr| !addresses.contains(&public);
        let seen = seen
            .iter()
            .filter(|mapping| mapping.base == address && beyond(mapping.public));
        candidates.extend(seen.filter_map(|mapping| {
            Candidate::server_reflexive(mapping.public, address, "udp").ok()
        }));
    }
    candidates
}

/// Of one that never joined the log at its default level says nothing: it costs a stranger little to fill it.
fn say(left: Result<Left, tokio::task::JoinError>) {
    match left {
        Ok(Left { why, joined: true }) => info!("WebRTC viewer left: {}", crate::log::chain(&why)),
        Ok(Left { why, joined: false }) => {
            debug!("a WebRTC viewer did not join: {}", crate::log::chain(&why))
        }
        // It panicked, which the panic hook has logged. Its place in the lists went with it.
        Err(_) => debug!("a WebRTC session's task panicked"),
    }
}

/// 128 bits that nobody can guess.
fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    // The system call, not the device: the sandbox opens no file.
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
