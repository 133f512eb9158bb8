//! Options of `stampcast doctor`.

use super::CliError;
use crate::config::secrets;
use crate::config::secrets::Secret;
use crate::config::values::{seconds, secret};
use crate::doctor::{Limits, Options};
use std::path::PathBuf;

/// Options, by their ids, that cannot be used together.
pub(super) const EXCLUSIVE: (&str, &str) = ("token", "token_file");

#[derive(clap::Args, Debug)]
pub(super) struct DoctorArgs {
    /// The stream: ws://HOST:PORT/stream, wss:// for TLS, or HOST:PORT
    #[arg(default_value = "localhost:8080")]
    url: String,

    /// The server's token; visible in the shell's history, and in `ps` for a moment: --token-file
    /// and STAMPCAST_TOKEN are safer
    #[arg(long, env = "STAMPCAST_TOKEN", hide_env_values = true, value_parser = secret)]
    token: Option<Secret>,

    /// The server's token: this file's first line
    #[arg(long, env = "STAMPCAST_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// For wss://: also trust the certificates in this PEM file (the server's own, or its
    /// authority's)
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Duration of the measurement, seconds
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,

    /// Print the results as one JSON object
    #[arg(long)]
    json: bool,

    /// Exit with 1 below this many frames per second
    #[arg(long, value_name = "FPS")]
    min_fps: Option<f64>,

    /// Exit with 1 when the p99 latency, capture to arrival, is above this, milliseconds
    #[arg(long, value_name = "MS")]
    max_latency: Option<f64>,

    /// Exit with 1 when the offset between video and audio is larger, milliseconds
    #[arg(long, value_name = "MS")]
    max_av_offset: Option<f64>,

    /// Exit with 1 when a stamp differs more from the test pattern's time code, milliseconds
    #[arg(long, value_name = "MS")]
    max_stamp_error: Option<f64>,

    /// Exit with 1 when more packets than this are missing
    #[arg(long, value_name = "N")]
    max_gaps: Option<u64>,
}

impl DoctorArgs {
    /// # Errors
    /// The token file cannot be read, or has no token.
    pub(super) fn options(self) -> Result<Options, CliError> {
        let in_file = self
            .token_file
            .as_deref()
            .map(secrets::first_line)
            .transpose();
        let in_file = in_file.map_err(|e| CliError::Usage(crate::log::chain(&e)))?;
        let in_file = in_file
            .as_deref()
            .map(|token| secret(token))
            .transpose()
            .map_err(CliError::Usage)?;
        let limits = Limits {
            min_fps: self.min_fps,
            max_latency_ms: self.max_latency,
            max_av_offset_ms: self.max_av_offset,
            max_stamp_error_ms: self.max_stamp_error,
            max_gaps: self.max_gaps,
        };
        #[cfg(feature = "tls")]
        let ca = self.ca;
        #[cfg(not(feature = "tls"))]
        let ca = None;
        Ok(Options {
            url: self.url,
            token: self.token.or(in_file),
            ca,
            seconds: self.seconds,
            json: self.json,
            limits,
        })
    }
}
