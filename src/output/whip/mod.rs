//! Publishing by WHIP (RFC 9725): the camera is offered to a media server again and again, until the program ends. Knows the
//! server's answers; sessions are `session`'s, HTTP is `client`'s.

pub mod link_header;
mod output;

pub use output::Whip;

use super::webrtc::session::{Ended, Left, Session};
use super::webrtc::task::{Panicked, apart};
use super::webrtc::{Draft, Server, signalling};
use super::whip::link_header::{IceServer, ice_servers};
use crate::config;
use crate::config::secrets::{Secret, TokenFileError, first_line};
use crate::log::chain;
use crate::net::back_off;
use crate::net::back_off::{BackOff, random_share};
use crate::net::http_client;
use crate::net::http_client::{Answer, Call, HttpError, Roots};
use http::{Method, StatusCode, Uri, header};
use serde::Serialize;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

/// The longest that a server may tell us to wait (Retry-After).
const LONGEST_WISH: Duration = Duration::from_secs(300);
/// For the first answer of a STUN server.
const FOR_STUN: Duration = Duration::from_secs(2);
/// For the good-bye (DELETE).
const GOOD_BYE: Duration = Duration::from_secs(5);
/// So much of it at most when the program ends: the supervisor waits for 1.5 s.
const LAST_GOOD_BYE: Duration = Duration::from_secs(1);

/// Where it stands, for `/state` and `/metrics`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub state: State,
    /// UNIX seconds.
    pub since: f64,
    /// Scheme, host and port; the path may be a secret.
    pub server: String,
    /// How often it came through.
    pub sessions: u64,
    /// How often it did not, or was cut off.
    pub failures: u64,
    /// What it failed for last; `None` while connected.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Connecting,
    Connected,
    /// Until the next try.
    Waiting,
}

#[derive(Debug, thiserror::Error)]
enum WhipError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
    #[error("the token cannot be read from the kernel's memory")]
    Lost(#[source] io::Error),
    #[error("it wants a token ({0}): give --whip-token or --whip-token-file")]
    NoToken(StatusCode),
    #[error("it does not take the token ({0}): check --whip-token or --whip-token-file")]
    WrongToken(StatusCode),
    #[error(
        "it does not take the token ({0}), which was not sent on: it redirects to another address; give that one to --whip"
    )]
    TokenNotSent(StatusCode),
    #[error("there is nothing at this address ({0}): check the path of --whip")]
    NotFound(StatusCode),
    #[error("this address takes no WHIP ({0}): check --whip")]
    NoWhip(StatusCode),
    #[error(
        "it redirects by {0}, which would drop the offer: give the address that it redirects to"
    )]
    Redirect(StatusCode),
    #[error("it is busy ({status})")]
    Busy {
        status: StatusCode,
        wait: Option<Duration>,
    },
    #[error("it refuses the offer ({0}): does it take H.264 and Opus?")]
    Refused(StatusCode),
    #[error("it answers with {0}")]
    Unexpected(StatusCode),
    #[error("its answer cannot be used: {0}")]
    BadAnswer(String),
    #[error("no session can be made")]
    NoSession(#[source] io::Error),
    #[error(
        "no media gets through: is its media port open, and does it announce an address that this machine reaches?"
    )]
    NeverConnected,
    #[error("the session ended")]
    Ended(#[source] Ended),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// How an attempt ended.
enum Outcome {
    /// The program ends.
    Stopped,
    Failed {
        error: WhipError,
        connected_for: Duration,
    },
}

impl From<Panicked> for Outcome {
    fn from(panicked: Panicked) -> Self {
        WhipError::from(panicked).into()
    }
}

impl From<WhipError> for Outcome {
    fn from(error: WhipError) -> Self {
        Self::Failed {
            error,
            connected_for: Duration::ZERO,
        }
    }
}

/// What the log has been told and need not be told again.
#[derive(Default)]
struct Told {
    /// Until it comes through.
    failure: Option<String>,
    relays: bool,
}

pub struct Publisher {
    server: Arc<Server>,
    url: Uri,
    config: config::Whip,
    report: Arc<Mutex<Report>>,
    told: Mutex<Told>,
    /// So many attempts are to panic.
    #[cfg(test)]
    panics: std::sync::atomic::AtomicU32,
}

impl Publisher {
    /// # Errors
    /// The address of `config` is none.
    pub fn new(server: Arc<Server>, config: config::Whip) -> io::Result<Self> {
        let invalid = |_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "--whip is no address of a server",
            )
        };
        let url: Uri = config.url.read()?.parse().map_err(invalid)?;
        let report = Arc::new(Mutex::new(Report {
            state: State::Connecting,
            since: server.unix_now(),
            server: name(&url),
            sessions: 0,
            failures: 0,
            error: None,
        }));
        server.show_publisher(report.clone());
        Ok(Self {
            server,
            url,
            config,
            report,
            told: Mutex::default(),
            #[cfg(test)]
            panics: 0.into(),
        })
    }

    /// Publishes until `stopping` says so, which the server is then told. Here is read nothing that the server sends: an attempt is a
    /// task of its own, and its panic a failed attempt.
    pub async fn run(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut back_off = BackOff::default();
        loop {
            self.set(|report| report.state = State::Connecting);
            let outcome = apart(self.clone().attempt(stopping.clone())).await;
            let (error, connected_for) = match outcome.unwrap_or_else(Outcome::from) {
                Outcome::Stopped => return,
                Outcome::Failed {
                    error,
                    connected_for,
                } => (error, connected_for),
            };
            let line = chain(&error);
            let wait = match error {
                WhipError::Busy {
                    wait: Some(wait), ..
                } => wait.min(LONGEST_WISH),
                _ => back_off.next(connected_for, random_share()),
            };
            if self.told().failure.as_ref() == Some(&line) {
                debug!("WHIP: {line}; trying again in {:.1} s", wait.as_secs_f64());
            } else {
                warn!(
                    "WHIP: {}: {line}; trying again until it works",
                    name(&self.url)
                );
                self.told().failure = Some(line.clone());
            }
            self.set(|report| {
                report.state = State::Waiting;
                report.failures += 1;
                report.error = Some(line);
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
        self.panic_if_told();
        let token = match self.token() {
            Ok(token) => token,
            Err(e) => return e.into(),
        };
        let token = token.as_ref().map(|token| token.as_str());
        let roots = Roots::new(self.config.ca.clone());
        let asked = tokio::select! {
            asked = self.offer(token, &roots) => asked,
            // A session that the server may have made for an offer on its way ends when nobody connects to it.
            _ = stopping.wait_for(|stop| *stop) => return Outcome::Stopped,
        };
        let (draft, answer) = match asked {
            Ok(asked) => asked,
            Err(e) => return e.into(),
        };
        // A session that has no address, or one that a token must not go to, ends at the server's own time-out.
        let session = http_client::location(&answer)
            .map_err(|e| debug!("WHIP: the session's end will not be told: {}", chain(&e)))
            .ok();
        self.note_ice_servers(&answer);
        let outcome = match self.accept(draft, &answer) {
            // A task of its own once more: after its panic the server is still told of the session's end.
            Ok((session, connected)) => self.keep(apart(session.run()), connected, &stopping).await,
            Err(e) => e.into(),
        };
        let Some(session) = session else {
            return outcome;
        };
        let program_ends = async {
            // The sender lives as long as the program.
            let _ = stopping.wait_for(|stop| *stop).await;
            sleep(LAST_GOOD_BYE).await;
        };
        tokio::select! {
            () = self.delete(&session, token, &roots) => {}
            () = program_ends => debug!("WHIP: the session's end was not answered before the program's"),
        }
        outcome
    }

    fn accept(
        &self,
        draft: Draft,
        answer: &Answer,
    ) -> Result<(Session, watch::Receiver<bool>), WhipError> {
        let sdp = std::str::from_utf8(&answer.body)
            .map_err(|_| WhipError::BadAnswer("it is no text".into()))?;
        let answer =
            signalling::check_answer(sdp).map_err(|e| WhipError::BadAnswer(e.to_string()))?;
        draft.accept(answer).map_err(|e| {
            debug!("WHIP: {e:?}");
            WhipError::BadAnswer(e.to_string())
        })
    }

    async fn keep(
        &self,
        session: impl Future<Output = Result<Left, Panicked>>,
        mut connected: watch::Receiver<bool>,
        stopping: &watch::Receiver<bool>,
    ) -> Outcome {
        let mut session = std::pin::pin!(session);
        let mut since = None;
        loop {
            tokio::select! {
                left = &mut session => {
                    let connected_for = since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
                    let error = match left.map(|left| left.why) {
                        Ok(Ended::Asked) if *stopping.borrow() => return Outcome::Stopped,
                        Ok(Ended::NeverConnected) => WhipError::NeverConnected,
                        Ok(ended) => WhipError::Ended(ended),
                        Err(panicked) => panicked.into(),
                    };
                    return Outcome::Failed { error, connected_for };
                }
                is = connected.wait_for(|is| *is), if since.is_none() => {
                    since = Some(Instant::now());
                    if is.is_ok() {
                        info!("WHIP: publishing to {}", name(&self.url));
                        self.told().failure = None;
                        self.set(|report| {
                            report.state = State::Connected;
                            report.sessions += 1;
                            report.error = None;
                        });
                    }
                }
            }
        }
    }

    async fn offer(
        &self,
        token: Option<&str>,
        roots: &Roots,
    ) -> Result<(Draft, Answer), WhipError> {
        // What it says belongs into the offer; that it says nothing must not hinder.
        let _ = timeout(FOR_STUN, self.server.reflexive.settled()).await;
        let draft = self.server.offer().map_err(WhipError::NoSession)?;
        let body = Some((signalling::SDP, draft.sdp.clone()));
        let url = &self.url;
        let answer = http_client::send(
            &Call {
                method: Method::POST,
                uri: url,
                token,
                trusted: url,
                body,
            },
            roots,
        )
        .await?;
        match answer.status {
            // 200 is what some servers older than the RFC say.
            StatusCode::CREATED | StatusCode::OK => Ok((draft, answer)),
            status => Err(refusal(
                status,
                &answer,
                token.is_some(),
                http_client::same_origin(&answer.from, url),
            )),
        }
    }

    /// Its sessions end by themselves when nobody says good-bye, so nothing depends on this.
    async fn delete(&self, session: &Uri, token: Option<&str>, roots: &Roots) {
        let call = Call {
            method: Method::DELETE,
            uri: session,
            token,
            trusted: &self.url,
            body: None,
        };
        match timeout(GOOD_BYE, http_client::send(&call, roots)).await {
            Ok(Ok(answer)) => debug!(
                "WHIP: the session's end was answered with {}",
                answer.status
            ),
            Ok(Err(e)) => debug!("WHIP: the session's end could not be told: {}", chain(&e)),
            Err(_) => debug!("WHIP: the session's end was not answered in time"),
        }
    }

    /// A STUN server's word is in the next offer; for this one it comes too late.
    fn note_ice_servers(&self, answer: &Answer) {
        for server in ice_servers(&answer.headers) {
            match server {
                IceServer::Stun(server) => self.server.reflexive.ask_too(server),
                IceServer::Relay if !std::mem::replace(&mut self.told().relays, true) => {
                    info!(
                        "WHIP: the server offers relays (TURN), which stampcast does not use: UDP must get through to it"
                    );
                }
                IceServer::Relay => {}
            }
        }
    }

    /// Read anew for each session: tokens are renewed.
    fn token(&self) -> Result<Option<Zeroizing<String>>, WhipError> {
        match &self.config.token_file {
            Some(file) => Ok(Some(first_line(file)?)),
            None => self
                .config
                .token
                .as_ref()
                .map(Secret::read)
                .transpose()
                .map_err(WhipError::Lost),
        }
    }

    #[cfg(test)]
    fn panic_if_told(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        let is_to = self
            .panics
            .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        assert!(is_to.is_err(), "injected");
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told
            .lock()
            .expect("nothing panics while it holds what was told")
    }

    fn set(&self, change: impl FnOnce(&mut Report)) {
        let mut report = lock(&self.report);
        let before = report.state;
        change(&mut report);
        if report.state != before {
            report.since = self.server.unix_now();
        }
    }
}

pub(super) fn lock(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report
        .lock()
        .expect("nothing panics while it holds the report")
}

fn refusal(
    status: StatusCode,
    answer: &Answer,
    had_token: bool,
    token_was_sent: bool,
) -> WhipError {
    match status.as_u16() {
        401 | 403 if !had_token => WhipError::NoToken(status),
        401 | 403 if !token_was_sent => WhipError::TokenNotSent(status),
        401 | 403 => WhipError::WrongToken(status),
        404 | 410 => WhipError::NotFound(status),
        405 | 501 => WhipError::NoWhip(status),
        400 | 406 | 415 | 422 => WhipError::Refused(status),
        429 | 503 => WhipError::Busy {
            status,
            wait: retry_after(answer),
        },
        300..400 => WhipError::Redirect(status),
        _ => WhipError::Unexpected(status),
    }
}

/// Seconds; a date, which nobody sends, is left aside.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds = answer
        .headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).max(back_off::FIRST))
}

/// Without the path and the query, which may be secrets.
fn name(url: &Uri) -> String {
    format!(
        "{}://{}",
        url.scheme_str().unwrap_or_default(),
        url.authority().map_or("", |authority| authority.as_str())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::webrtc::tests::server;
    use std::sync::atomic::Ordering::Relaxed;

    /// Where its bytes go does not matter: nothing listens there.
    fn publisher() -> Arc<Publisher> {
        let config = config::Whip {
            url: Secret::new("http://127.0.0.1:9/whip").expect("it fits"),
            token: None,
            token_file: None,
            ca: None,
        };
        Arc::new(Publisher::new(Arc::new(server(1)), config).expect("an address"))
    }

    #[tokio::test]
    async fn a_panic_in_the_session_is_a_failed_attempt() {
        let (publisher, (connected, is_connected)) = (publisher(), watch::channel(true));
        let (_stop, stopping) = watch::channel(false);
        let session = apart(async move {
            tokio::task::yield_now().await;
            drop(connected);
            panic!("injected")
        });
        let outcome = publisher.keep(session, is_connected, &stopping).await;
        let Outcome::Failed { error, .. } = outcome else {
            panic!("nobody stopped it")
        };
        assert!(matches!(error, WhipError::Panicked(_)), "{error:?}");
    }

    /// What panics here is the attempt itself: signalling, HTTP.
    #[tokio::test]
    async fn a_panic_in_an_attempt_is_reported_and_followed_by_another() {
        let publisher = publisher();
        publisher.panics.store(2, Relaxed);
        let (stop, stopping) = watch::channel(false);
        let watching = async {
            loop {
                let report = lock(&publisher.report).clone();
                if report.failures >= 3 {
                    return report;
                }
                if report.failures > 0 && publisher.panics.load(Relaxed) > 0 {
                    let error = report.error.unwrap_or_default();
                    assert!(error.contains("panicked"), "{error}");
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let report = tokio::select! {
            () = publisher.clone().run(stopping) => panic!("it runs until it is stopped"),
            report = timeout(Duration::from_secs(20), watching) => report.expect("three attempts"),
        };
        assert_eq!(publisher.panics.load(Relaxed), 0);
        let error = report.error.expect("it failed");
        assert!(
            !error.contains("panicked"),
            "the third one fails for what it is: {error}"
        );
        drop(stop);
    }

    #[test]
    fn a_secret_path_is_not_named() {
        let url = "https://live.example.net:8443/s3cret/publish?key=s3cret"
            .parse()
            .expect("an address");
        assert_eq!(name(&url), "https://live.example.net:8443");
    }
}
