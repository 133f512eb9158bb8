//! Offers a camera to a media server, again and again until the program ends. Sessions are those of
//! `output::webrtc`, HTTP is `net::http_client`'s.

use super::error::WhipError;
use super::link_header::{IceServer, ice_servers};
use super::report::{Report, State, lock};
use crate::config;
use crate::config::secrets::{Secret, first_line};
use crate::hub::Hub;
use crate::log::{LogOnce, chain};
use crate::net::address_scope::AddressScope;
use crate::net::back_off::{BackOff, random_jitter};
use crate::net::http_client::{self, HttpError, Request, Response, TlsSettings};
use crate::net::url;
use crate::output::webrtc::isolated_task::{Panicked, run_isolated};
use crate::output::webrtc::session::{EndReason, Session, SessionEnd};
use crate::output::webrtc::{OutgoingOffer, Server, signalling};
use http::{Method, StatusCode, Uri};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

/// The longest Retry-After that is followed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// For the first response of a STUN server, before an offer is made without it.
const STUN_TIMEOUT: Duration = Duration::from_secs(2);
/// For the DELETE that ends a session.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);
/// For that DELETE when the program ends: the supervisor waits for 1.5 s.
const SHUTDOWN_DELETE_TIMEOUT: Duration = Duration::from_secs(1);

/// How an attempt ended.
enum Outcome {
    /// The program ends.
    Stopped,
    Failed {
        error: WhipError,
        connected_for: Duration,
    },
}

impl From<WhipError> for Outcome {
    fn from(error: WhipError) -> Self {
        Self::Failed {
            error,
            connected_for: Duration::ZERO,
        }
    }
}

#[derive(Default)]
struct Logged {
    /// Forgotten when a session connects.
    failures: LogOnce,
    /// Each logged once.
    notices: LogOnce,
}

/// Publishes one camera to one media server.
pub struct Publisher {
    server: Arc<Server>,
    hub: Arc<Hub>,
    url: Uri,
    config: config::Whip,
    report: Arc<Mutex<Report>>,
    logged: Mutex<Logged>,
    /// Attempts that are to panic.
    #[cfg(test)]
    injected_panics: std::sync::atomic::AtomicU32,
}

impl Publisher {
    /// Publishes the camera of `hub` through `server`'s port.
    ///
    /// # Errors
    /// `config` has no valid URL, or it cannot be read from the kernel's memory.
    pub fn new(server: Arc<Server>, hub: Arc<Hub>, config: config::Whip) -> io::Result<Self> {
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "--whip is not a valid URL");
        let url: Uri = config.url.read()?.parse().map_err(invalid)?;
        let report = Arc::new(Mutex::new(Report {
            state: State::Connecting,
            since: server.unix_now(),
            server: url::without_secrets(&url),
            sessions: 0,
            failures: 0,
            error: None,
        }));
        server.set_publisher_status(report.clone());
        Ok(Self {
            server,
            hub,
            url,
            config,
            report,
            logged: Mutex::default(),
            #[cfg(test)]
            injected_panics: 0.into(),
        })
    }

    /// Publishes until `stopping` is true, then ends the session. This function parses nothing that
    /// the server sends: each attempt is a task of its own, whose panic is a failed attempt.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut back_off = BackOff::default();
        loop {
            self.update(|report| report.state = State::Connecting);
            let outcome = run_isolated(self.clone().attempt(stopping.clone())).await;
            let (error, connected_for) = match outcome {
                Ok(Outcome::Stopped) => return,
                Ok(Outcome::Failed {
                    error,
                    connected_for,
                }) => (error, connected_for),
                Err(panicked) => (panicked.into(), Duration::ZERO),
            };
            let mut wait = back_off.next(connected_for, random_jitter());
            if let WhipError::Busy {
                retry_after: Some(least),
                ..
            } = error
            {
                wait = wait.max(least.min(MAX_RETRY_AFTER));
            }
            let message = chain(&error);
            if self.logged().failures.first_time(&message) {
                let server = url::without_secrets(&self.url);
                warn!("WHIP: {server}: {message}; retrying until it succeeds");
            } else {
                debug!(
                    "WHIP: {message}; next attempt in {:.1} s",
                    wait.as_secs_f64()
                );
            }
            self.update(|report| {
                report.state = State::Waiting;
                report.failures += 1;
                report.error = Some(message);
            });
            tokio::select! {
                () = sleep(wait) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One session, from the offer to its end.
    async fn attempt(self: Arc<Self>, mut stopping: watch::Receiver<bool>) -> Outcome {
        #[cfg(test)]
        self.panic_if_injected();
        let token = match self.token() {
            Ok(token) => token,
            Err(e) => return e.into(),
        };
        let token = token.as_ref().map(|token| token.as_str());
        let tls = TlsSettings::new(self.config.ca.clone());
        let offered = tokio::select! {
            offered = self.offer(token, &tls) => offered,
            // If the server made a session for this offer, it times out there.
            _ = stopping.wait_for(|stop| *stop) => return Outcome::Stopped,
        };
        let (draft, response) = match offered {
            Ok(offered) => offered,
            Err(e) => return e.into(),
        };
        let resource = response
            .location()
            .map_err(|e| {
                self.warn_once(&format!(
                    "the session cannot be deleted at its end: {}",
                    chain(&e)
                ))
            })
            .ok();
        let nearest = response.server_scope;
        self.use_ice_servers(&response);
        let outcome = match self.accept(draft, &response) {
            // A task of its own: after a panic in it the session is still deleted.
            Ok((session, connected)) => {
                self.wait_for_end(run_isolated(session.run()), connected, &stopping)
                    .await
            }
            Err(e) => e.into(),
        };
        let Some(resource) = resource else {
            return outcome;
        };
        let program_ends = async {
            // The sender lives as long as the program.
            let _ = stopping.wait_for(|stop| *stop).await;
            sleep(SHUTDOWN_DELETE_TIMEOUT).await;
        };
        tokio::select! {
            () = self.delete((&resource, nearest), token, &tls) => {}
            () = program_ends => debug!("WHIP: no response to DELETE before the program's end"),
        }
        outcome
    }

    /// Sends an offer.
    ///
    /// # Errors
    /// No session can be created, or the server does not accept the offer.
    async fn offer(
        &self,
        token: Option<&str>,
        tls: &TlsSettings,
    ) -> Result<(OutgoingOffer, Response), WhipError> {
        // The offer names the public address, if it is known by then.
        let _ = timeout(STUN_TIMEOUT, self.server.stun_client.first_result()).await;
        let draft = self.server.offer(&self.hub).map_err(WhipError::NoSession)?;
        let request = Request {
            method: Method::POST,
            uri: &self.url,
            token,
            token_origin: &self.url,
            nearest: AddressScope::Loopback,
            body: Some((signalling::SDP, draft.sdp.clone())),
        };
        let response = http_client::send(&request, tls).await?;
        match response.status {
            // Servers older than the RFC respond with 200.
            StatusCode::CREATED | StatusCode::OK => Ok((draft, response)),
            _ => {
                let token_was_sent = url::same_origin(&response.uri, &self.url);
                Err(WhipError::from_status(
                    &response,
                    token.is_some(),
                    token_was_sent,
                ))
            }
        }
    }

    /// Starts a session by the server's answer.
    ///
    /// # Errors
    /// The answer is not SDP, is out of bounds, or shares nothing with the offer.
    fn accept(
        &self,
        draft: OutgoingOffer,
        response: &Response,
    ) -> Result<(Session, watch::Receiver<bool>), WhipError> {
        let sdp = std::str::from_utf8(&response.body)
            .map_err(|_| WhipError::BadAnswer("it is not text".into()))?;
        let answer =
            signalling::check_answer(sdp).map_err(|e| WhipError::BadAnswer(e.to_string()))?;
        draft
            .accept(answer)
            .map_err(|e| WhipError::BadAnswer(e.to_string()))
    }

    async fn wait_for_end(
        &self,
        session: impl Future<Output = Result<SessionEnd, Panicked>>,
        mut connected: watch::Receiver<bool>,
        stopping: &watch::Receiver<bool>,
    ) -> Outcome {
        let mut session = std::pin::pin!(session);
        let mut connected_since: Option<Instant> = None;
        loop {
            tokio::select! {
                end = &mut session => {
                    let error = match end.map(|end| end.reason) {
                        Ok(EndReason::Requested) if *stopping.borrow() => return Outcome::Stopped,
                        Ok(EndReason::NeverConnected) => WhipError::NeverConnected,
                        Ok(ended) => WhipError::Ended(ended),
                        Err(panicked) => panicked.into(),
                    };
                    let connected_for =
                        connected_since.map_or(Duration::ZERO, |since| since.elapsed());
                    return Outcome::Failed { error, connected_for };
                }
                changed = connected.wait_for(|connected| *connected), if connected_since.is_none() => {
                    connected_since = Some(Instant::now());
                    if changed.is_ok() {
                        self.connected();
                    }
                }
            }
        }
    }

    fn connected(&self) {
        info!("WHIP: publishing to {}", url::without_secrets(&self.url));
        self.logged().failures.recovered();
        self.update(|report| {
            report.state = State::Connected;
            report.sessions += 1;
            report.error = None;
        });
    }

    /// Tells the server that the session has ended. If this fails, the session times out there.
    async fn delete(
        &self,
        (resource, nearest): (&Uri, AddressScope),
        token: Option<&str>,
        tls: &TlsSettings,
    ) {
        let request = Request {
            method: Method::DELETE,
            uri: resource,
            token,
            token_origin: &self.url,
            nearest,
            body: None,
        };
        match timeout(DELETE_TIMEOUT, http_client::send(&request, tls)).await {
            Ok(Ok(response)) => debug!("WHIP: response to DELETE: {}", response.status),
            Ok(Err(e @ HttpError::PointsNearer { .. })) => self.warn_once(&chain(&e)),
            Ok(Err(e)) => debug!("WHIP: DELETE failed: {}", chain(&e)),
            Err(_) => debug!("WHIP: no response to DELETE in time"),
        }
    }

    /// The public address that a STUN server finds is in the next offer; it is too late for this
    /// one. The servers of the session before are not asked any longer.
    fn use_ice_servers(&self, response: &Response) {
        let mut stun_servers = Vec::new();
        for server in ice_servers(&response.headers) {
            match server {
                IceServer::Stun(server) => stun_servers.push(server),
                IceServer::Relay => {
                    let message = "the server offers relays (TURN), which are not supported: its media \
                                   port must be reachable over UDP";
                    if self.logged().notices.first_time(message) {
                        info!("WHIP: {message}");
                    }
                }
            }
        }
        self.server
            .stun_client
            .set_offer_servers(stun_servers, response.server_scope);
    }

    fn warn_once(&self, message: &str) {
        if self.logged().notices.first_time(message) {
            warn!("WHIP: {message}");
        }
    }

    /// Read for each session: tokens are renewed.
    ///
    /// # Errors
    /// The file, or the kernel's memory, cannot be read.
    fn token(&self) -> Result<Option<Zeroizing<String>>, WhipError> {
        if let Some(file) = &self.config.token_file {
            return Ok(Some(first_line(file)?));
        }
        let token = self.config.token.as_ref().map(Secret::read);
        token.transpose().map_err(WhipError::TokenUnreadable)
    }

    #[cfg(test)]
    fn panic_if_injected(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        let left = self
            .injected_panics
            .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        assert!(left.is_err(), "injected");
    }

    fn logged(&self) -> MutexGuard<'_, Logged> {
        self.logged.lock().expect("no panic while it is locked")
    }

    fn update(&self, change: impl FnOnce(&mut Report)) {
        let mut report = lock(&self.report);
        let before = report.state;
        change(&mut report);
        if report.state != before {
            report.since = self.server.unix_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Plan;
    use crate::media::CameraId;
    use crate::media::clock::Clock;
    use crate::output::webrtc::tests::server;
    use std::sync::atomic::Ordering::Relaxed;

    /// Nothing listens at its URL.
    fn publisher() -> Arc<Publisher> {
        let config = config::Whip {
            url: Secret::new("http://127.0.0.1:9/whip").expect("kernel memory"),
            token: None,
            token_file: None,
            ca: None,
        };
        let hub = Hub::new(CameraId::main(), Plan::default(), Arc::new(Clock::start()));
        let publisher = Publisher::new(Arc::new(server(1)), Arc::new(hub), config);
        Arc::new(publisher.expect("a URL"))
    }

    #[tokio::test]
    async fn publisher_panic_in_session_is_failed_attempt() {
        let (publisher, (connected, is_connected)) = (publisher(), watch::channel(true));
        let (_stop, stopping) = watch::channel(false);
        let session = run_isolated(async move {
            tokio::task::yield_now().await;
            drop(connected);
            panic!("injected")
        });
        let outcome = publisher
            .wait_for_end(session, is_connected, &stopping)
            .await;
        let Outcome::Failed { error, .. } = outcome else {
            panic!("stopped by nobody")
        };
        assert!(matches!(error, WhipError::Panicked(_)), "{error:?}");
    }

    /// The attempt itself panics, as by a fault in signalling or HTTP.
    #[tokio::test]
    async fn publisher_panic_in_attempt_is_reported_and_retried() {
        let publisher = publisher();
        publisher.injected_panics.store(2, Relaxed);
        let (stop, stopping) = watch::channel(false);
        let third_failure = async {
            loop {
                let report = lock(&publisher.report).clone();
                if report.failures >= 3 {
                    return report;
                }
                if report.failures > 0 && publisher.injected_panics.load(Relaxed) > 0 {
                    let error = report.error.unwrap_or_default();
                    assert!(error.contains("panicked"), "{error}");
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let report = tokio::select! {
            () = publisher.clone().run(stopping) => panic!("stopped by nobody"),
            report = timeout(Duration::from_secs(20), third_failure) => report.expect("three attempts"),
        };
        assert_eq!(publisher.injected_panics.load(Relaxed), 0);
        let error = report.error.expect("a failure");
        assert!(
            !error.contains("panicked"),
            "the third attempt fails for its own reason: {error}"
        );
        drop(stop);
    }
}
