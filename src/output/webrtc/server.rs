//! The state that all sessions share: answers offers, makes our offer for publishing, and runs the
//! sessions and the port.

use super::AudioAccess;
use super::address_guard::AddressGuard;
use super::bitrate_control::BitrateControl;
use super::byte_queue::QueueBudget;
use super::clock_shift::Shift;
use super::demux::Routes;
use super::ice_tcp::{self, CONNECTIONS_PER_SESSION};
use super::outgoing_offer::OutgoingOffer;
use super::port::{MAX_DATAGRAM_BYTES, Port};
use super::rtc_factory::RtcFactory;
use super::session::{Session, SessionContext, SessionEnd};
use super::sessions::{Client, SessionInfo, SessionKind, Sessions};
use super::signalling::{self, BadOffer};
use super::stun_client::StunClient;
use crate::config;
use crate::hub::{Hub, Hubs};
use crate::log::chain;
use crate::media::Encoding;
use crate::media::clock::Clock;
use crate::net::connection_limiter::ConnectionLimiter;
use crate::output::whip;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use str0m::Rtc;
use str0m::media::{Direction, MediaKind};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

/// Received datagrams that wait in one session's inbox; further ones are dropped, like those lost
/// by the network. A handshake and some seconds of reports.
pub(super) const INBOX_BYTES: usize = 128 << 10;
/// In all inboxes.
pub(super) const TOTAL_INBOX_BYTES: usize = 16 << 20;
/// Datagrams that wait to be written to one TCP connection; further ones are dropped, and
/// retransmitted if the peer asks. A large keyframe.
const OUTBOX_BYTES: usize = 256 << 10;
/// For all TCP connections.
const TOTAL_OUTBOX_BYTES: usize = 32 << 20;
/// A session whose peer has not connected by then ends.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What the sessions share.
pub struct Server {
    /// In the order of the configuration, at least one.
    cameras: Vec<Camera>,
    clock: Arc<Clock>,
    port: Arc<Port>,
    routes: Arc<Routes>,
    pub(super) inboxes: QueueBudget,
    outboxes: Arc<QueueBudget>,
    rtc_factory: RtcFactory,
    max_sessions: usize,
    /// Each viewer's session holds one.
    permits: Arc<Semaphore>,
    /// Held while an offer is read: one in each turn of the event loop, however many arrive.
    offer_turn: AsyncMutex<()>,
    pub(super) connect_timeout: Duration,
    pub(crate) stun_client: Arc<StunClient>,
    sessions: Arc<Sessions>,
    /// Sessions that are not tasks yet; [`run`](Self::run) starts them at once.
    new_sessions: mpsc::UnboundedSender<Session>,
    /// Taken by [`run`](Self::run).
    session_queue: Mutex<Option<mpsc::UnboundedReceiver<Session>>>,
    /// `None`: nothing is published.
    publisher_status: Mutex<Option<Arc<Mutex<whip::Report>>>>,
}

/// A camera that sessions play.
pub struct Camera {
    hub: Arc<Hub>,
    bitrate: Arc<BitrateControl>,
}

/// For `/state` and `/metrics`.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    pub port: u16,
    pub max_sessions: usize,
    /// Sessions by kind.
    pub count: BTreeMap<&'static str, usize>,
    /// Oldest first.
    pub sessions: Vec<SessionInfo>,
    pub whip: Option<whip::Report>,
}

/// A peer's offer.
pub(crate) struct OfferRequest<'a> {
    pub(crate) camera: &'a Camera,
    pub(crate) sdp: &'a str,
    pub(crate) kind: SessionKind,
    pub(crate) audio: AudioAccess,
    /// Who sent it.
    pub(crate) client: IpAddr,
}

/// The answer to a peer's offer.
pub struct Answer {
    /// The session's name: whoever knows it can end the session, so it is random.
    pub id: String,
    pub sdp: String,
}

/// Why an offer is not answered.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    #[error(transparent)]
    BadOffer(#[from] BadOffer),
    #[error("the limit of {0} WebRTC sessions is reached, and all are connected; try again later")]
    TooManySessions(usize),
    #[error("too many WebRTC offers at the same time; try again later")]
    TooManyOffers,
    #[error("the session cannot be created")]
    Failed(#[source] io::Error),
}

impl Server {
    /// Opens the port on `host`. Must run on a tokio runtime. `bitrate_bps`: a camera's video at
    /// full rate.
    ///
    /// # Errors
    /// No port can be opened, or the DTLS certificate cannot be made.
    pub fn open(
        config: &config::Webrtc,
        host: IpAddr,
        hubs: &Hubs,
        bitrate_bps: impl Fn(&Hub) -> u32,
    ) -> io::Result<Self> {
        let port = Arc::new(Port::open(host, config.port).map_err(|e| {
            let number = config.port;
            io::Error::new(
                e.kind(),
                format!("cannot open port {number} of {host}: {e}; see --host and --webrtc-port"),
            )
        })?);
        if port.number() != config.port && config.port != 0 {
            warn!(
                "--webrtc-port {} is taken: using {}",
                config.port,
                port.number()
            );
        } else {
            info!("WebRTC: UDP and TCP port {}", port.number());
        }
        let clock = hubs.default_hub().clock().clone();
        let stun_client = Arc::new(StunClient::new(port.clone(), config.stun.as_deref()));
        let rtc_factory = RtcFactory::new(
            port.clone(),
            stun_client.clone(),
            config.public_ip,
            clock.clone(),
        )?;
        let camera = |hub: &Arc<Hub>| Camera {
            hub: hub.clone(),
            bitrate: BitrateControl::new(hub.clone(), bitrate_bps(hub)),
        };
        let (new_sessions, session_queue) = mpsc::unbounded_channel();
        Ok(Self {
            cameras: hubs.iter().map(camera).collect(),
            clock,
            port,
            routes: Arc::default(),
            // One more for the publisher's.
            inboxes: QueueBudget::new(
                config.max_sessions.saturating_add(1),
                INBOX_BYTES,
                MAX_DATAGRAM_BYTES,
                TOTAL_INBOX_BYTES,
            ),
            outboxes: Arc::new(QueueBudget::new(
                config.max_sessions.saturating_mul(CONNECTIONS_PER_SESSION),
                OUTBOX_BYTES,
                MAX_DATAGRAM_BYTES,
                TOTAL_OUTBOX_BYTES,
            )),
            rtc_factory,
            max_sessions: config.max_sessions,
            permits: Arc::new(Semaphore::new(
                config.max_sessions.min(Semaphore::MAX_PERMITS),
            )),
            offer_turn: AsyncMutex::default(),
            connect_timeout: CONNECT_TIMEOUT,
            stun_client,
            sessions: Arc::default(),
            new_sessions,
            session_queue: Mutex::new(Some(session_queue)),
            publisher_status: Mutex::default(),
        })
    }

    /// The first camera, served at addresses without a name.
    pub(crate) fn default_camera(&self) -> &Camera {
        &self.cameras[0]
    }

    pub(crate) fn camera(&self, name: &str) -> Option<&Camera> {
        self.cameras
            .iter()
            .find(|camera| camera.hub.camera().as_str() == name)
    }

    pub(crate) fn has_one_camera(&self) -> bool {
        self.cameras.len() == 1
    }

    pub fn report(&self) -> Report {
        let whip = self
            .publisher_status
            .lock()
            .expect("no panic while locked")
            .as_ref()
            .map(|report| whip::lock(report).clone());
        let sessions = self.sessions.list();
        let count = SessionKind::ALL.map(|kind| {
            let of_kind = sessions.iter().filter(|session| session.kind == kind);
            (kind.name(), of_kind.count())
        });
        Report {
            port: self.port.number(),
            max_sessions: self.max_sessions,
            count: count.into(),
            sessions,
            whip,
        }
    }

    /// Answers an offer and starts its session, which ends by itself if the peer does not connect.
    /// At the limit of sessions, one that is not connected gives way ([`Sessions::evict`]).
    ///
    /// # Errors
    /// The offer is not valid or has nothing that can be sent, as many sessions as allowed are
    /// connected, or the system has no random numbers.
    pub(crate) async fn answer(&self, request: OfferRequest<'_>) -> Result<Answer, OfferError> {
        let too_many = || OfferError::TooManySessions(self.max_sessions);
        if self.permits.available_permits() == 0 && !self.sessions.can_evict() {
            return Err(too_many());
        }
        let _turn = self.offer_turn.lock().await;
        tokio::task::yield_now().await;
        let offer = signalling::check(request.sdp)?;
        let (mut rtc, shift) = self.rtc_factory.answering();
        let answer = rtc
            .sdp_api()
            .accept_offer(offer)
            .map_err(|e| BadOffer::Refused(e.to_string()))?;
        let sdp = answer.to_sdp_string();
        let id = random_id().map_err(OfferError::Failed)?;
        // Only now: what cannot be answered ends no other session.
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.sessions.evict().ok_or_else(too_many)?,
        };
        let viewer = Some((permit, request.client.into()));
        let (context, _) =
            self.register(request.camera, &mut rtc, &id, request.kind, viewer, shift);
        let password = rtc.direct_api().local_ice_credentials().pass;
        let guard = AddressGuard::new(request.sdp, &password);
        // Fails only when the program is ending: `run` has the receiver.
        let _ = self
            .new_sessions
            .send(Session::new(rtc, context, guard, request.audio));
        Ok(Answer { id, sdp })
    }

    /// An offer of the video and audio of `hub`'s camera.
    ///
    /// # Errors
    /// The camera has neither, or the system has no random numbers.
    pub(crate) fn offer(&self, hub: &Hub) -> io::Result<OutgoingOffer> {
        let camera = self
            .camera(hub.camera().as_str())
            .ok_or_else(|| io::Error::other("the camera was removed"))?;
        let (mut rtc, shift) = self.rtc_factory.offering();
        let mut api = rtc.sdp_api();
        // One stream of both, so that a player keeps them in sync.
        let stream = Some("stampcast".to_owned());
        let mut add = |encoding, kind| {
            camera
                .hub
                .has(encoding)
                .then(|| api.add_media(kind, Direction::SendOnly, stream.clone(), None, None))
        };
        let (video, audio) = (
            add(Encoding::H264, MediaKind::Video),
            add(Encoding::Opus, MediaKind::Audio),
        );
        let (offer, pending) = api
            .apply()
            .ok_or_else(|| io::Error::other("there is neither a camera nor a microphone"))?;
        let (context, connected) = self.register(
            camera,
            &mut rtc,
            &random_id()?,
            SessionKind::Whip,
            None,
            shift,
        );
        Ok(OutgoingOffer {
            sdp: offer.to_sdp_string(),
            rtc,
            pending,
            context,
            video,
            audio,
            connected,
        })
    }

    /// Lists a session and routes its datagrams. The flag turns true when its peer connects.
    fn register(
        &self,
        camera: &Camera,
        rtc: &mut Rtc,
        id: &str,
        kind: SessionKind,
        viewer: Option<(OwnedSemaphorePermit, Client)>,
        shift: Shift,
    ) -> (SessionContext, watch::Receiver<bool>) {
        let credentials = rtc.direct_api().local_ice_credentials();
        let ufrag = credentials.ufrag;
        let (inbox, datagrams) = self.inboxes.queue();
        self.routes.add(&ufrag, &credentials.pass, inbox);
        let (registration, stopped) =
            self.sessions
                .add(&self.routes, (id, &ufrag), kind, viewer, self.unix_now());
        let (connected, is_connected) = watch::channel(false);
        let context = SessionContext {
            hub: camera.hub.clone(),
            port: self.port.clone(),
            routes: self.routes.clone(),
            datagrams,
            stopped,
            bitrate: camera.bitrate.viewer(),
            shift,
            registration,
            connected,
            connect_timeout: self.connect_timeout,
        };
        (context, is_connected)
    }

    /// Ends a session; `false` when there is none of this name.
    pub fn end(&self, id: &str) -> bool {
        self.sessions.end(id)
    }

    /// Serves the sessions until `stopping` turns true, then ends them all.
    pub async fn run(&self, mut stopping: watch::Receiver<bool>) {
        let Some(mut session_queue) = self
            .session_queue
            .lock()
            .expect("no panic while locked")
            .take()
        else {
            return;
        };
        let mut tasks = JoinSet::new();
        let mut ports = self.serve_port();
        ports.spawn(self.stun_client.clone().run());
        loop {
            tokio::select! {
                Some(session) = session_queue.recv() => drop(tasks.spawn(session.run())),
                Some(ended) = tasks.join_next() => log_session_end(ended),
                // The panic hook has logged why, if it panicked; the others continue.
                Some(_) = ports.join_next() => {
                    error!("WebRTC: a task that reads the port has ended; restart the program")
                }
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        self.sessions.end_all();
        // Each closes at once; the caller has a deadline.
        while let Some(ended) = tasks.join_next().await {
            log_session_end(ended);
        }
    }

    /// Tasks that read the port.
    pub(super) fn serve_port(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let max_connections = self.max_sessions.saturating_mul(CONNECTIONS_PER_SESSION);
        let limiter = Arc::new(AsyncMutex::new(ConnectionLimiter::new(max_connections)));
        for listener in 0..self.port.listeners() {
            tasks.spawn(ice_tcp::accept(
                self.port.clone(),
                listener,
                self.routes.clone(),
                self.outboxes.clone(),
                limiter.clone(),
            ));
        }
        for socket in 0..self.port.sockets() {
            let (port, routes, stun_client) = (
                self.port.clone(),
                self.routes.clone(),
                self.stun_client.clone(),
            );
            let handle = move |datagram| {
                if !stun_client.handle_response(&datagram) {
                    routes.route(datagram);
                }
            };
            tasks.spawn(async move { port.receive(socket, handle).await });
        }
        tasks
    }

    pub(crate) fn set_publisher_status(&self, report: Arc<Mutex<whip::Report>>) {
        *self.publisher_status.lock().expect("no panic while locked") = Some(report);
    }

    /// UNIX seconds, by the clock of the hubs.
    pub(crate) fn unix_now(&self) -> f64 {
        self.clock.unix_now().0 as f64 / 1e9
    }
}

/// Sessions that never connected are logged with `--verbose` only: anyone can create them.
fn log_session_end(ended: Result<SessionEnd, tokio::task::JoinError>) {
    match ended {
        Ok(SessionEnd {
            reason,
            connected: true,
        }) => info!("WebRTC viewer left: {}", chain(&reason)),
        Ok(SessionEnd {
            reason,
            connected: false,
        }) => debug!("WebRTC viewer did not join: {}", chain(&reason)),
        // The panic hook has logged it. Its registration was dropped with the task.
        Err(_) => debug!("a WebRTC session's task panicked"),
    }
}

/// 128 random bits, in hexadecimal digits.
fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    // The system call, not the device: the sandbox opens no file.
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
