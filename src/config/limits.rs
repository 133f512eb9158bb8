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

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Viewers at a time, of all kinds.
    pub clients: usize,
    /// Time allowed for a request's head, or a TLS handshake.
    pub handshake: Duration,
    /// A viewer that accepts no bytes for this long, although there are some, is disconnected.
    pub idle: Duration,
    /// The longest message from a viewer, bytes.
    pub message_bytes: usize,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Network")]
pub(crate) struct LimitsArgs {
    /// Viewers at a time; further ones get 503 (1 to 100000)
    #[arg(long, env = "STAMPCAST_MAX_CLIENTS", value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_clients: u32,

    /// Time allowed for a client's request or TLS handshake, seconds
    #[arg(long, env = "STAMPCAST_HANDSHAKE_TIMEOUT", value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    handshake_timeout: f64,

    /// Disconnect a viewer that accepts no data for this long, seconds
    #[arg(long, env = "STAMPCAST_IDLE_TIMEOUT", value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    idle_timeout: f64,

    /// The longest message that a viewer may send, KiB (1 to 1024); a longer one closes its
    /// connection with code 1009
    #[arg(long, env = "STAMPCAST_MAX_MESSAGE", value_name = "KIB", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_message: u16,
}

impl LimitsArgs {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            clients: self.max_clients as usize,
            handshake: Duration::from_secs_f64(self.handshake_timeout),
            idle: Duration::from_secs_f64(self.idle_timeout),
            message_bytes: usize::from(self.max_message) * 1024,
        }
    }
}
