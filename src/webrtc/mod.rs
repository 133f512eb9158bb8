//! WebRTC: the hub's H.264 and Opus to any browser and any media server. Owns sessions and their one port; knows the hub; knows
//! no HTTP (`http::webrtc` does) and no encoder.
//!
//! ```text
//! offer ─► signalling (checks) ─► Server::answer ─► Session, a task for each viewer ─┬─► sockets (one UDP port, ICE-TCP)
//!                                                        hub: H.264, Opus ───────────┘
//! ```

mod port;
mod routes;
mod session;
mod signalling;
mod tcp;

#[cfg(test)]
mod tests;

pub use signalling::{BadOffer, MAX_OFFER};

use crate::config;
use crate::hub::Hub;
use crate::packet::Encoding;
use port::Port;
use routes::Routes;
use session::{Ended, Session};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use str0m::rtp::Extension;
use str0m::{Candidate, Rtc, RtcConfig};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info};

/// Datagrams that wait for one session; what comes beyond them is lost, as on the way.
const INBOX: usize = 256;
/// The id that most senders use for abs-capture-time; an offer may name another.
const CAPTURE_TIME_ID: u8 = 9;
/// A check that finds no answer is repeated at least so often, so that a lost datagram costs little.
const CHECK_AGAIN: Duration = Duration::from_millis(1500);

/// Everything that sessions share.
pub struct Server {
    hub: Arc<Hub>,
    port: Arc<Port>,
    routes: Arc<Routes>,
    public_ip: Option<IpAddr>,
    max_sessions: usize,
    certificate: str0m::config::DtlsCert,
    random: File,
    /// By id.
    sessions: Mutex<HashMap<String, watch::Sender<bool>>>,
    born: mpsc::UnboundedSender<Birth>,
    births: Mutex<Option<mpsc::UnboundedReceiver<Birth>>>,
}

/// A session that is answered and not yet a task. As many at most as there may be sessions.
struct Birth {
    id: String,
    ufrag: String,
    session: Session,
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
        let certificate =
            provider.dtls_provider.generate_certificate().ok_or_else(|| io::Error::other("no DTLS certificate can be made"))?;
        let port = Arc::new(Port::open(host, config.port)?);
        if port.number() != config.port && config.port != 0 {
            tracing::warn!("--webrtc-port {} is taken: {} is used", config.port, port.number());
        } else {
            info!("WebRTC: UDP and TCP port {}", port.number());
        }
        hub.set_bitrate(Encoding::H264, config.bitrate_bps);
        let (born, births) = mpsc::unbounded_channel();
        Ok(Self {
            hub,
            port,
            routes: Arc::default(),
            public_ip: config.public_ip,
            max_sessions: config.max_sessions,
            certificate,
            random: File::open("/dev/urandom")?,
            sessions: Mutex::default(),
            born,
            births: Mutex::new(Some(births)),
        })
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Sessions now, connected or not yet.
    pub fn sessions(&self) -> usize {
        self.lock().len()
    }

    /// Answers an offer and starts its session, which ends by itself unless the peer connects soon.
    pub fn answer(&self, offer: &str, hearing: Hearing) -> Result<Answer, Refusal> {
        let offer = signalling::check(offer)?;
        let mut sessions = self.lock();
        if sessions.len() >= self.max_sessions {
            return Err(Refusal::Full(self.max_sessions));
        }
        let mut rtc = self.rtc();
        let answer = rtc.sdp_api().accept_offer(offer).map_err(|e| BadOffer::Refused(e.to_string()))?;
        let sdp = signalling::readable(answer.to_sdp_string());
        let id = self.random_id().map_err(Refusal::Failed)?;
        let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        let (stop, stopped) = watch::channel(false);
        let (inbox, datagrams) = mpsc::channel(INBOX);
        self.routes.add(&ufrag, inbox);
        let session = Session::new(rtc, self.hub.clone(), self.port.clone(), datagrams, stopped, hearing);
        sessions.insert(id.clone(), stop);
        // The receiver lives as long as `run`; without it nobody would serve the session, and the program is ending.
        let _ = self.born.send(Birth { id: id.clone(), ufrag, session });
        Ok(Answer { id, sdp })
    }

    /// Ends a session; `false` when there is none of this name.
    pub fn end(&self, id: &str) -> bool {
        self.lock().get(id).is_some_and(|stop| stop.send(true).is_ok())
    }

    /// Serves the sessions until `stopping` says so; every peer is then told.
    pub async fn run(&self, mut stopping: watch::Receiver<bool>) {
        let Some(mut births) = self.births.lock().expect("nothing panics while it holds the slot").take() else { return };
        let mut tasks = JoinSet::new();
        let mut ports = JoinSet::new();
        for listener in 0..self.port.listeners() {
            ports.spawn(tcp::accept(self.port.clone(), listener, self.routes.clone(), self.max_sessions));
        }
        for socket in 0..self.port.sockets() {
            let (port, routes) = (self.port.clone(), self.routes.clone());
            ports.spawn(async move { port.receive(socket, |datagram| routes.give(datagram)).await });
        }
        loop {
            tokio::select! {
                Some(birth) = births.recv() => {
                    let Birth { id, ufrag, session } = birth;
                    tasks.spawn(async move { (id, ufrag, session.run().await) });
                }
                Some(ended) = tasks.join_next() => match ended {
                    Ok((id, ufrag, ended)) => self.bury(&id, &ufrag, &ended),
                    // Its entries go with the next look at the list: a panic names no session.
                    Err(e) => { error!("a WebRTC session's task failed: {e}"); self.sweep(); }
                },
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        for stop in self.lock().values() {
            let _ = stop.send(true);
        }
        // The caller's deadline is the limit; each says good-bye at once.
        while let Some(ended) = tasks.join_next().await {
            if let Ok((id, ufrag, ended)) = ended {
                self.bury(&id, &ufrag, &ended);
            }
        }
    }

    fn bury(&self, id: &str, ufrag: &str, ended: &Ended) {
        self.lock().remove(id);
        self.routes.remove(ufrag);
        match ended {
            Ended::NeverConnected => debug!("a WebRTC viewer never connected"),
            ended => info!("WebRTC viewer left: {ended}"),
        }
    }

    /// Forgets sessions whose task is gone.
    fn sweep(&self) {
        self.lock().retain(|_, stop| !stop.is_closed());
        self.routes.sweep();
    }

    fn rtc(&self) -> Rtc {
        let mut config = RtcConfig::new()
            .clear_codecs()
            .enable_h264(true)
            .enable_opus(true, false)
            .set_dtls_cert(self.certificate.clone())
            .set_extension(CAPTURE_TIME_ID, Extension::AbsoluteCaptureTime);
        config.set_max_stun_rto(CHECK_AGAIN);
        let mut rtc = config.build(Instant::now());
        for candidate in self.candidates() {
            rtc.add_local_candidate(candidate);
        }
        rtc
    }

    /// Where a peer can find us: over UDP and, for those whom UDP does not reach, TCP.
    fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for address in self.port.addresses() {
            candidates.extend(Candidate::host(address, "udp"));
            candidates.extend(Candidate::builder().tcp().host(address).tcptype(str0m::net::TcpType::Passive).build());
            if let Some(ip) = self.public_ip.filter(|ip| ip.is_ipv4() == address.is_ipv4() && !address.ip().is_loopback()) {
                candidates.extend(Candidate::server_reflexive((ip, address.port()).into(), address, "udp"));
            }
        }
        candidates
    }

    /// 128 bits that nobody can guess.
    fn random_id(&self) -> io::Result<String> {
        let mut bytes = [0; 16];
        (&self.random).read_exact(&mut bytes)?;
        Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<bool>>> {
        self.sessions.lock().expect("nothing panics while it holds the sessions")
    }
}
