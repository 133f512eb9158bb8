//! Limits on what clients can use up.

use super::option_table::{Effective, OptionFacts};
use super::values::seconds;
use std::time::Duration;

pub(super) const OPTIONS: &[OptionFacts] = &[
    OptionFacts::new("max_clients", Effective::Always),
    OptionFacts::new("handshake_timeout", Effective::Always),
    OptionFacts::new("idle_timeout", Effective::Always),
    OptionFacts::new("max_message", Effective::Always),
];

/// Bounds on what clients can use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Viewers at a time, of all outputs but WebRTC, which has a limit of its own. Further ones are
    /// answered with 503.
    pub viewers: usize,
    /// Connections at a time that are not upgraded. Above it the oldest one with no request in
    /// flight is closed; if all are busy, the new one is answered with 503.
    pub connections: usize,
    /// Time for a TLS handshake, for a request's head, for its body, and between two requests.
    pub head: Duration,
    /// A viewer that takes no bytes for this long, although there are some, is disconnected.
    pub stalled: Duration,
    /// The longest message that is read from a viewer, bytes; a longer one is closed with 1009. The
    /// longest that means anything has 69.
    pub message_bytes: usize,
}

/// Connections beside those of viewers, which stay HTTP connections for MJPEG and WAV.
const OTHER_CONNECTIONS: usize = 256;

/// Those of the command line without options, but fewer connections.
impl Default for Limits {
    fn default() -> Self {
        Self {
            viewers: 600,
            connections: OTHER_CONNECTIONS,
            head: Duration::from_secs(10),
            stalled: Duration::from_secs(60),
            message_bytes: 4096,
        }
    }
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Network")]
pub(crate) struct LimitsArgs {
    /// Viewers at a time; further clients get HTTP 503 (1 to 100000)
    #[arg(long, env = "STAMPCAST_MAX_CLIENTS", value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_clients: u32,

    /// Seconds allowed for a request or a TLS handshake
    #[arg(long, env = "STAMPCAST_HANDSHAKE_TIMEOUT", value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    handshake_timeout: f64,

    /// Disconnect a viewer that reads nothing for this many seconds
    #[arg(long, env = "STAMPCAST_IDLE_TIMEOUT", value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    idle_timeout: f64,

    /// Longest message that a viewer may send, KiB (1 to 1024); a longer one closes the connection
    /// with code 1009
    #[arg(long, env = "STAMPCAST_MAX_MESSAGE", value_name = "KIB", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_message: u16,
}

impl LimitsArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            viewers: self.max_clients as usize,
            connections: self.max_clients as usize + OTHER_CONNECTIONS,
            head: Duration::from_secs_f64(self.handshake_timeout),
            stalled: Duration::from_secs_f64(self.idle_timeout),
            message_bytes: usize::from(self.max_message) * 1024,
        }
    }
}
