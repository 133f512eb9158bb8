//! Options of `stampcast doctor`.

use super::CliError;
use super::values::{seconds, secret};
use crate::config::secrets;
use crate::config::secrets::Secret;
use crate::doctor::Options;
use crate::doctor::report::Limits;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(super) struct DoctorArgs {
    /// The stream: ws://HOST:PORT/stream, wss:// for TLS, or HOST:PORT
    #[arg(default_value = "localhost:8080")]
    url: String,

    /// The server's token; `ps` and the shell's history may show it: --token-file and STAMPCAST_TOKEN are safer
    #[arg(long, env = "STAMPCAST_TOKEN", hide_env_values = true, value_parser = secret, conflicts_with = "token_file")]
    token: Option<Secret>,

    /// The server's token is in this file's first line
    #[arg(long, env = "STAMPCAST_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// With wss://: believe the certificates in this PEM file (the server's own, or its authority's), not the system's list
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// How long to watch, seconds
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,

    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,

    /// Exit with 1 below this many frames per second
    #[arg(long, value_name = "FPS")]
    min_fps: Option<f64>,

    /// Exit with 1 when the latency's p99, capture to arrival, is above this, milliseconds
    #[arg(long, value_name = "MS")]
    max_latency: Option<f64>,

    /// Exit with 1 when picture and sound are further apart, milliseconds
    #[arg(long, value_name = "MS")]
    max_av_offset: Option<f64>,

    /// Exit with 1 when a stamp is further from the test picture's time code, milliseconds
    #[arg(long, value_name = "MS")]
    max_stamp_error: Option<f64>,

    /// Exit with 1 when more packets are missing
    #[arg(long, value_name = "N")]
    max_gaps: Option<u64>,
}

impl DoctorArgs {
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
