//! `stampcast doctor URL`: watches a stream as any client would and says how it is. Owns the connection and the pacing;
//! what is learnt is [`study`]'s, what is said [`report`]'s. Knows the wire; knows no server room.

mod numbers;
pub mod report;
mod study;
mod test_picture;

use crate::packet::UnixNs;
use crate::wire::{Message as Wire, binary, text};
use report::Limits;
use std::io::{self, IsTerminal};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use study::{Exchange, Study};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// No read waits longer, so that pings and progress go on through silence.
const READ: Duration = Duration::from_millis(50);
const LEAVE_WITHIN: Duration = Duration::from_millis(500);
const PING_EVERY: Duration = Duration::from_millis(250);

/// What the command line asks of the doctor.
#[derive(Clone, Debug)]
pub struct Options {
    /// `ws://host:port/stream`, `http://host:port`, or `host:port`.
    pub url: String,
    pub seconds: f64,
    pub json: bool,
    pub limits: Limits,
}

/// Why the stream could not be watched at all.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error("{0} is no address of a stream; give ws://HOST:PORT/stream, or HOST:PORT")]
    BadUrl(String),
    #[error("cannot connect to {url}: {why}; is stampcast running there?")]
    Connect { url: String, why: String },
    #[error("{url} refused the stream: {why}")]
    Refused { url: String, why: String },
    #[error("{0}")]
    Print(String),
}

/// Watches, prints progress on a terminal's stderr and the findings on stdout. The exit code: 1 when a limit was exceeded
/// or the stream ended early.
pub fn run(options: &Options) -> Result<u8, DoctorError> {
    let mut study = Study::default();
    study.thinned = options.url.contains("max_fps=");
    let mut patient = Patient::connect(&options.url)?;
    let began = Instant::now();
    let whole = Duration::from_secs_f64(options.seconds);
    let mut told = 0;
    let mut ended = None;
    while began.elapsed() < whole && ended.is_none() {
        ended = patient.look(&mut study).err();
        study.watching(unix_now());
        let seconds = began.elapsed().as_secs();
        if seconds > told && io::stderr().is_terminal() {
            told = seconds;
            eprintln!("{}", report::progress(&study, seconds));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    patient.leave();
    let mut exceeded = options.limits.exceeded(&study);
    exceeded.extend(ended.map(|why| format!("the stream ended after {seconds:.1} s: {why}")));
    crate::print(&if options.json {
        format!("{}\n", report::as_json(&study, seconds, &exceeded))
    } else {
        exceeded.iter().fold(report::table(&study, seconds), |text, line| text + &format!("EXCEEDED: {line}\n"))
    })
    .map_err(DoctorError::Print)?;
    Ok(u8::from(!exceeded.is_empty()))
}

/// A connection that is watched.
struct Patient {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    next_ping: Instant,
    /// The number of the ping under way and when it was sent.
    asked: Option<(u64, UnixNs)>,
    pings: u64,
}

impl Patient {
    fn connect(url: &str) -> Result<Self, DoctorError> {
        let url = stream_url(url)?;
        let refused = |why: String| DoctorError::Refused { url: shown(&url), why };
        let unreachable = |why: String| DoctorError::Connect { url: shown(&url), why };
        let uri: http::Uri = url.parse().map_err(|_| DoctorError::BadUrl(shown(&url)))?;
        let host = uri.host().ok_or_else(|| DoctorError::BadUrl(shown(&url)))?.trim_matches(['[', ']']).to_owned();
        let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), uri.port_u16().unwrap_or(80)));
        let mut why = "the name has no address".to_owned();
        for address in addresses.map_err(|e| unreachable(e.to_string()))? {
            match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
                Ok(tcp) => {
                    let set = tcp.set_nodelay(true).and_then(|()| tcp.set_read_timeout(Some(CONNECT_WITHIN)));
                    set.map_err(|e| unreachable(e.to_string()))?;
                    let (socket, _) = tungstenite::client(&url, MaybeTlsStream::Plain(tcp)).map_err(|e| refused(handshake(e)))?;
                    if let MaybeTlsStream::Plain(tcp) = socket.get_ref() {
                        tcp.set_read_timeout(Some(READ)).map_err(|e| unreachable(e.to_string()))?;
                    }
                    return Ok(Self { socket, next_ping: Instant::now(), asked: None, pings: 0 });
                }
                Err(e) => why = e.to_string(),
            }
        }
        Err(unreachable(why))
    }

    /// Says goodbye, as a client should, and hears the answer out; whether one comes changes nothing.
    fn leave(&mut self) {
        let _ = self.socket.close(None);
        let patience = Instant::now() + LEAVE_WITHIN;
        while Instant::now() < patience {
            match self.socket.read() {
                Err(tungstenite::Error::Io(e)) if is_no_news(&e) => {}
                Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Sends a ping when one is due and takes in the next message, if one comes within [`READ`].
    fn look(&mut self, study: &mut Study) -> Result<(), String> {
        if Instant::now() >= self.next_ping {
            self.next_ping = Instant::now() + PING_EVERY;
            self.pings += 1;
            self.asked = Some((self.pings, unix_now()));
            self.socket.send(Message::text(format!("ping:{}", self.pings))).map_err(|e| e.to_string())?;
        }
        let message = match self.socket.read() {
            Ok(message) => message,
            Err(tungstenite::Error::Io(e)) if is_no_news(&e) => return Ok(()),
            Err(e) => return Err(e.to_string()),
        };
        let arrived = unix_now();
        let wire = match &message {
            Message::Text(text) => text::decode(text),
            Message::Binary(bytes) => binary::decode(bytes),
            Message::Close(frame) => {
                let why = frame.as_ref().map_or("no reason given".into(), |f| format!("{} {}", f.code, f.reason));
                return Err(format!("the server closed it ({why})"));
            }
            _ => return Ok(()),
        };
        match wire {
            Ok(Wire::Pong { id, received, sent }) => {
                if let Some((_, asked)) = self.asked.take_if(|(number, _)| number.to_string() == id) {
                    study.exchange(Exchange { asked, received, sent, answered: arrived });
                }
            }
            Ok(wire) => study.message(&wire, arrived),
            Err(_) => study.undecodable += 1,
        }
        Ok(())
    }
}

/// The read's timeout, or a signal.
fn is_no_news(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Binary, since only it carries numbers and the sound's rate; with events.
fn stream_url(given: &str) -> Result<String, DoctorError> {
    let bad = || DoctorError::BadUrl(shown(given));
    let (scheme, rest) = given.split_once("://").unwrap_or(("ws", given));
    if !matches!(scheme, "ws" | "http") {
        return Err(bad());
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    if host.is_empty() {
        return Err(bad());
    }
    let path = match path.trim_end_matches('/') {
        "" => "stream".to_owned(),
        path if path.ends_with("stream") => path.to_owned(),
        path => format!("{path}/stream"),
    };
    let and = if query.is_empty() { "" } else { "&" };
    Ok(format!("ws://{host}/{path}?format=binary&events=1{and}{query}"))
}

/// An address as it may be shown: without its query, which may hold a token.
fn shown(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

fn handshake<R: tungstenite::handshake::HandshakeRole>(e: tungstenite::HandshakeError<R>) -> String {
    match e {
        tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            format!("{} {}", response.status(), body.trim()).trim_end().to_owned()
        }
        tungstenite::HandshakeError::Failure(e) => e.to_string(),
        tungstenite::HandshakeError::Interrupted(_) => "it did not answer in time".into(),
    }
}

/// The system's clock as it was at the start, carried on by the monotonic one: a step of ours is not the stream's doing.
fn unix_now() -> UnixNs {
    static START: LazyLock<(Duration, Instant)> =
        LazyLock::new(|| (SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), Instant::now()));
    let (unix, at) = *START;
    UnixNs((unix + at.elapsed()).as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_given_in_any_usual_form() {
        for (given, expected) in [
            ("localhost:8080", "ws://localhost:8080/stream?format=binary&events=1"),
            ("ws://pi.local:8080/stream", "ws://pi.local:8080/stream?format=binary&events=1"),
            ("http://[::1]:8080/", "ws://[::1]:8080/stream?format=binary&events=1"),
            ("http://host/webcam/", "ws://host/webcam/stream?format=binary&events=1"),
            ("ws://host/stream?token=t", "ws://host/stream?format=binary&events=1&token=t"),
        ] {
            assert_eq!(stream_url(given).expect(given), expected);
        }
        for bad in ["", "ftp://host", "ws://"] {
            assert!(stream_url(bad).is_err(), "{bad}");
        }
        assert!(!shown("ws://host/stream?token=secret").contains("secret"));
    }
}
