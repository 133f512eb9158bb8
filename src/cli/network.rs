//! Options of the network: the address, TLS, limits, and who may watch.

use super::CliError;
use super::values::{origin, seconds, secret};
use crate::config::secrets::Secret;
use crate::config::{Access, Limits, Tls};
use clap::ArgAction;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where to listen, and what strangers can use up.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkArgs {
    /// Address or name to listen on; 0.0.0.0 is every interface
    #[arg(long, env = "STAMPCAST_HOST", default_value = "0.0.0.0")]
    pub(super) host: String,

    /// TCP port; 0 lets the kernel pick one, which is printed
    #[arg(long, env = "STAMPCAST_PORT", default_value_t = 8080)]
    pub(super) port: u16,

    /// Serve the viewer page at / too
    #[arg(long, env = "STAMPCAST_SERVE_CLIENT", action = ArgAction::SetTrue)]
    pub(super) serve_client: bool,

    /// Speak TLS (https:// and wss://) with the certificate chain in this PEM file; read again when it changes
    #[cfg(feature = "tls")]
    #[arg(
        long,
        env = "STAMPCAST_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key, a PEM file
    #[cfg(feature = "tls")]
    #[arg(
        long,
        env = "STAMPCAST_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,

    /// Viewers at a time; one more gets 503 (1 to 100000)
    #[arg(long, env = "STAMPCAST_MAX_CLIENTS", value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_clients: u32,

    /// How long a client may take for its request or its TLS handshake, seconds
    #[arg(long, env = "STAMPCAST_HANDSHAKE_TIMEOUT", value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    handshake_timeout: f64,

    /// How long a viewer may take nothing of what waits for it, seconds
    #[arg(long, env = "STAMPCAST_IDLE_TIMEOUT", value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    idle_timeout: f64,

    /// The longest message that a viewer may send, KiB (1 to 1024); a longer one ends its connection with close code 1009
    #[arg(long, env = "STAMPCAST_MAX_MESSAGE", value_name = "KIB", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_message: u16,
}

impl NetworkArgs {
    pub(super) fn address(&self) -> Result<IpAddr, CliError> {
        let host = &self.host;
        let found = (host.as_str(), 0)
            .to_socket_addrs()
            .ok()
            .and_then(|mut a| a.next());
        found.map(|a| a.ip()).ok_or_else(|| {
            CliError::Usage(format!("--host {host} does not resolve to an address; give an address of this machine, or 0.0.0.0 for all"))
        })
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            clients: self.max_clients as usize,
            handshake: Duration::from_secs_f64(self.handshake_timeout),
            idle: Duration::from_secs_f64(self.idle_timeout),
            message_bytes: usize::from(self.max_message) * 1024,
        }
    }

    /// The two PEM files; an error where one cannot be read.
    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> Result<Option<Tls>, CliError> {
        let Some((cert, key)) = self.tls_cert.clone().zip(self.tls_key.clone()) else {
            return Ok(None);
        };
        readable("--tls-cert", &cert)?;
        readable("--tls-key", &key)?;
        Ok(Some(Tls { cert, key }))
    }

    #[cfg(not(feature = "tls"))]
    pub(super) fn tls(&self) -> Result<Option<Tls>, CliError> {
        Ok(None)
    }
}

/// Tokens and origins.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Who may watch")]
pub(super) struct AccessArgs {
    /// Ask every client for this token; `ps` and the shell's history may show it: --token-file and STAMPCAST_TOKEN are safer
    #[arg(long, env = "STAMPCAST_TOKEN", hide_env_values = true, value_parser = secret)]
    token: Option<Secret>,

    /// Ask every client for the token in this file's first line
    #[arg(long, env = "STAMPCAST_TOKEN_FILE", value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,

    /// A second token, which opens the picture without the sound
    #[arg(long, env = "STAMPCAST_VIDEO_TOKEN", hide_env_values = true, value_parser = secret)]
    video_token: Option<Secret>,

    /// Let pages of this web site watch where no token is asked for, such as https://dash.example.org; may be repeated
    #[arg(long, env = "STAMPCAST_ALLOW_ORIGIN", value_name = "ORIGIN", value_parser = origin, value_delimiter = ',')]
    allow_origin: Vec<String>,

    /// Turn away pages opened as a file (and any page's sandboxed frame, which looks the same)
    #[arg(long, env = "STAMPCAST_NO_FILE_ORIGIN", action = ArgAction::SetTrue)]
    no_file_origin: bool,
}

impl AccessArgs {
    pub(super) fn access(self) -> Result<Access, CliError> {
        if self.video_token.is_some() && self.token.is_none() && self.token_file.is_none() {
            return Err(CliError::Usage("--video-token opens the picture alone; give --token or --token-file for the whole too".into()));
        }
        if let Some(file) = &self.token_file {
            readable("--token-file", file)?;
        }
        Ok(Access {
            token: self.token,
            token_file: self.token_file,
            video_token: self.video_token,
            allowed_origins: self.allow_origin,
            file_origin: !self.no_file_origin,
        })
    }
}

/// Opened, not read: what the file holds is for the server alone.
pub(super) fn readable(option: &str, file: &Path) -> Result<(), CliError> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(()),
        Err(e) => Err(CliError::Usage(format!(
            "{option} {} cannot be read: {e}",
            file.display()
        ))),
    }
}
