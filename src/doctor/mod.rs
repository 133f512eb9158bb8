//! `stampcast doctor URL`: connects to a stream as any client does, measures it for some seconds,
//! and compares the findings with limits. [`connect`] opens the connection, [`stats`] computes,
//! [`report`] formats. A client: it imports nothing of the server. What a server says is made
//! printable before it is kept or shown.

mod connect;
mod connection;
mod quantiles;
mod report;
mod stats;
mod stream_url;
mod test_pattern;

pub use report::Limits;

use crate::config::secrets::Secret;
use crate::media::UnixNs;
use connection::Connection;
use nix::sys::signal::Signal;
use stats::Stats;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Why there is no stream to measure. Words of the server are printable.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error(
        "'{0}' is not the address of a stream; give ws://HOST:PORT/stream, wss://HOST:PORT/stream, or HOST:PORT"
    )]
    BadUrl(String),
    #[error("'{0}' is not the address of a stream; write an IPv6 address in brackets: [::1]:8080")]
    Ipv6WithoutBrackets(String),
    #[error("cannot connect to {url}: {reason}; is stampcast running there?")]
    Connect { url: String, reason: String },
    #[error("TLS connection to {url} failed: {reason}")]
    Tls { url: String, reason: String },
    #[error("the token contains a character that is not allowed in an HTTP header")]
    BadToken,
    #[error("{url} refused the stream: {reason}")]
    Refused { url: String, reason: String },
    #[error("cannot handle signals: {0}")]
    Signals(#[source] io::Error),
}

/// Options of the command.
#[derive(Clone, Debug)]
pub struct Options {
    /// `ws://host:port/stream`, `https://host:port`, or `host:port`.
    pub url: String,
    /// Sent in a header, which proxies do not log.
    pub token: Option<Secret>,
    /// PEM file with certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// Duration of the measurement.
    pub seconds: f64,
    /// The report is one JSON object instead of a table.
    pub json: bool,
    pub limits: Limits,
}

/// The findings, and whether they are within the limits.
pub struct Report {
    /// For standard output.
    pub text: String,
    /// 0, or 1 when a limit was exceeded or the stream ended early.
    pub exit_code: u8,
}

/// Measures a stream; shows progress on standard error if that is a terminal. SIGINT and SIGTERM
/// end the measurement early: the report is then of what was measured so far.
///
/// # Errors
/// There is no stream to measure: a bad address, no connection, a refusal.
pub fn run(options: &Options) -> Result<Report, DoctorError> {
    let mut stats = Stats::default();
    stats.is_decimated = options.url.contains("max_fps=");
    let mut connection = Connection::new(connect::connect(options, connection::READ_TIMEOUT)?);
    // Not before: while it connects, a signal should end it at once.
    let stop = stop_on_signals().map_err(DoctorError::Signals)?;
    let start = Instant::now();
    let duration = Duration::from_secs_f64(options.seconds);
    let mut last_progress = 0;
    let mut ended = None;
    while start.elapsed() < duration && ended.is_none() && !stop.load(Relaxed) {
        ended = connection.poll(&mut stats).err();
        stats.advance_to(unix_now());
        let seconds = start.elapsed().as_secs();
        if seconds > last_progress && io::stderr().is_terminal() {
            last_progress = seconds;
            eprintln!("{}", report::progress(&stats, seconds));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    connection.close();
    let mut failures = options.limits.failures(&stats);
    if stats.video.count + stats.audio.count == 0 {
        failures.push(format!(
            "no packets within {seconds:.1} s; /info on the same server gives the reason"
        ));
    }
    failures.extend(ended.map(|why| format!("the stream ended after {seconds:.1} s: {why}")));
    let text = if options.json {
        format!("{}\n", report::json(&stats, seconds, &failures))
    } else {
        failures
            .iter()
            .fold(report::table(&stats, seconds), |text, line| {
                text + &format!("FAILED: {line}\n")
            })
    };
    Ok(Report {
        text,
        exit_code: u8::from(!failures.is_empty()),
    })
}

/// Set by SIGINT and SIGTERM. A signal that was ignored when this process started (`nohup`, a
/// script's `&`) stays ignored.
///
/// # Errors
/// Those of sigaction(2).
fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        if !crate::signals::is_ignored(signal)? {
            signal_hook::flag::register(signal as i32, stop.clone())?;
        }
    }
    Ok(stop)
}

/// The system's clock at the start plus monotonic time since: a step of this machine's clock is not
/// an error of the stream.
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
