//! `stampcast doctor URL`: watches a stream as any client would and says how it is. Owns the pacing; the way there is
//! [`connect`]'s, what is learnt [`study`]'s, what is said [`report`]'s. Knows the wire; knows no server room.

pub mod connect;
pub mod numbers;
pub mod report;
pub mod study;
pub mod test_picture;
#[cfg(feature = "tls")]
pub mod tls;

use crate::config::secrets::Secret;
use crate::media::UnixNs;
use crate::wire::{Message as Wire, binary, text};
pub use connect::DoctorError;
use connect::Socket;
use nix::sys::signal::Signal;
use report::Limits;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use study::{Exchange, Study};
use tungstenite::Message;

/// No read waits longer, so that pings and progress go on through silence.
const READ: Duration = Duration::from_millis(50);
const LEAVE_WITHIN: Duration = Duration::from_millis(500);
const PING_EVERY: Duration = Duration::from_millis(250);

/// What the command line asks of the doctor.
#[derive(Clone, Debug)]
pub struct Options {
    /// `ws://host:port/stream`, `https://host:port`, or `host:port`.
    pub url: String,
    /// Sent as a header, which no log of a proxy shows.
    pub token: Option<Secret>,
    /// PEM certificates to believe instead of the system's authorities.
    pub ca: Option<PathBuf>,
    pub seconds: f64,
    pub json: bool,
    pub limits: Limits,
}

/// Watches, prints progress on a terminal's stderr and the findings on stdout. The exit code: 1 when a limit was exceeded
/// or the stream ended early. Ctrl-C and SIGTERM end the watching: what was found so far is then said, and judged.
pub fn run(options: &Options) -> Result<u8, DoctorError> {
    let mut study = Study::default();
    study.thinned = options.url.contains("max_fps=");
    let mut patient = Patient::new(connect::connect(options, READ)?);
    // Not before: while it connects, a signal may end it at once.
    let enough = enough().map_err(DoctorError::Signals)?;
    let began = Instant::now();
    let whole = Duration::from_secs_f64(options.seconds);
    let mut told = 0;
    let mut ended = None;
    while began.elapsed() < whole && ended.is_none() && !enough.load(Relaxed) {
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
    if study.video.count + study.audio.count == 0 {
        exceeded.push(format!(
            "no packet came in {seconds:.1} s; /info on the same server says why"
        ));
    }
    exceeded.extend(ended.map(|why| format!("the stream ended after {seconds:.1} s: {why}")));
    crate::print(&if options.json {
        format!("{}\n", report::as_json(&study, seconds, &exceeded))
    } else {
        exceeded
            .iter()
            .fold(report::table(&study, seconds), |text, line| {
                text + &format!("EXCEEDED: {line}\n")
            })
    })
    .map_err(DoctorError::Print)?;
    Ok(u8::from(!exceeded.is_empty()))
}

/// Whether the user has seen enough; a signal that whoever started us had ignored (`nohup`, a script's `&`) stays ignored.
fn enough() -> io::Result<Arc<AtomicBool>> {
    let enough = Arc::new(AtomicBool::new(false));
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        if !crate::supervise::ignores(signal)? {
            signal_hook::flag::register(signal as i32, enough.clone())?;
        }
    }
    Ok(enough)
}

/// A connection that is watched.
struct Patient {
    socket: Socket,
    next_ping: Instant,
    /// The number of the ping under way and when it was sent.
    asked: Option<(u64, UnixNs)>,
    pings: u64,
}

impl Patient {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            next_ping: Instant::now(),
            asked: None,
            pings: 0,
        }
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
            self.socket
                .send(Message::text(format!("ping:{}", self.pings)))
                .map_err(|e| e.to_string())?;
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
                let why = frame.as_ref().map_or("no reason given".into(), |f| {
                    format!("{} {}", f.code, f.reason)
                });
                return Err(format!("the server closed it ({why})"));
            }
            _ => return Ok(()),
        };
        match wire {
            Ok(Wire::Pong { id, received, sent }) => {
                if let Some((_, asked)) = self.asked.take_if(|(number, _)| number.to_string() == id)
                {
                    study.exchange(Exchange {
                        asked,
                        received,
                        sent,
                        answered: arrived,
                    });
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
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// The system's clock as it was at the start, carried on by the monotonic one: a step of ours is not the stream's doing.
fn unix_now() -> UnixNs {
    static START: LazyLock<(Duration, Instant)> = LazyLock::new(|| {
        (
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            Instant::now(),
        )
    });
    let (unix, at) = *START;
    UnixNs((unix + at.elapsed()).as_nanos() as u64)
}
