//! Options of WebRTC.

use super::CliError;
#[cfg(feature = "webrtc")]
use crate::config::secrets::Secret;
use crate::config::{Webrtc, Whip};
use clap::ArgAction;
use std::net::IpAddr;

/// Playing by WebRTC.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "WebRTC")]
pub(super) struct WebrtcArgs {
    /// No WebRTC (/whep, /api/webrtc/offer): no port for it is opened and nothing is encoded for it
    #[arg(long, env = "STAMPCAST_NO_WEBRTC", action = ArgAction::SetTrue)]
    no_webrtc: bool,

    /// UDP and TCP port for WebRTC's media; 0, or when it is taken, lets the kernel pick one, which is printed
    #[arg(long, env = "STAMPCAST_WEBRTC_PORT", default_value_t = 8189)]
    webrtc_port: u16,

    /// Public address of a router that forwards --webrtc-port to this machine
    #[arg(long, env = "STAMPCAST_WEBRTC_PUBLIC_IP", value_name = "IP")]
    webrtc_public_ip: Option<IpAddr>,

    /// Bit rate of WebRTC's picture, kbit/s (100 to 50000) [default: by its size, 1200 at 640x480]
    #[arg(long, env = "STAMPCAST_WEBRTC_BITRATE", value_name = "KBPS", value_parser = clap::value_parser!(u32).range(100..=50_000))]
    webrtc_bitrate: Option<u32>,

    /// WebRTC viewers at a time (1 to 1000)
    #[arg(long, env = "STAMPCAST_WEBRTC_MAX_SESSIONS", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    webrtc_max_sessions: u32,

    /// STUN server that tells the public address of --webrtc-port [default: none is asked]
    #[arg(long, env = "STAMPCAST_WEBRTC_STUN", value_name = "HOST:PORT", value_parser = super::values::host_port)]
    webrtc_stun: Option<String>,

    #[cfg(feature = "webrtc")]
    #[command(flatten)]
    whip: WhipArgs,
}

/// Publishing by WebRTC.
#[cfg(feature = "webrtc")]
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "WebRTC")]
struct WhipArgs {
    /// Publish to this media server by WHIP, again and again until it works
    #[arg(long, env = "STAMPCAST_WHIP", value_name = "URL", hide_env_values = true, value_parser = super::values::address)]
    whip: Option<Secret>,

    /// Token for --whip; `ps` and the shell's history may show it: --whip-token-file and STAMPCAST_WHIP_TOKEN are safer
    #[arg(long, env = "STAMPCAST_WHIP_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = super::values::secret)]
    whip_token: Option<Secret>,

    /// Token for --whip: this file's first line, read for each session
    #[arg(long, env = "STAMPCAST_WHIP_TOKEN_FILE", value_name = "FILE")]
    whip_token_file: Option<std::path::PathBuf>,

    /// Trust the server of --whip by this PEM file too, beside what the system trusts
    #[cfg(feature = "tls")]
    #[arg(long, env = "STAMPCAST_WHIP_CA", value_name = "FILE")]
    whip_ca: Option<std::path::PathBuf>,
}

impl WebrtcArgs {
    /// Or not in this build.
    fn is_off(&self) -> bool {
        !cfg!(feature = "webrtc") || self.no_webrtc
    }

    /// Whether an option, by its id, is without effect.
    pub(super) fn is_idle(&self, id: &str) -> bool {
        let of_whip = id == "whip" || id.starts_with("whip_");
        (self.is_off() && (of_whip || id.starts_with("webrtc_")))
            || (id.starts_with("whip_") && !self.publishes())
    }

    /// `None`: off.
    pub(super) fn webrtc(self) -> Result<Option<Webrtc>, CliError> {
        if self.is_off() {
            return Ok(None);
        }
        let whip = self.whip()?;
        Ok(Some(Webrtc {
            port: self.webrtc_port,
            public_ip: self.webrtc_public_ip,
            bitrate_bps: self.webrtc_bitrate.unwrap_or(0) * 1000,
            max_sessions: self.webrtc_max_sessions as usize,
            stun: self.webrtc_stun,
            whip,
        }))
    }

    #[cfg(feature = "webrtc")]
    fn publishes(&self) -> bool {
        self.whip.whip.is_some()
    }

    #[cfg(not(feature = "webrtc"))]
    fn publishes(&self) -> bool {
        false
    }

    #[cfg(feature = "webrtc")]
    fn whip(&self) -> Result<Option<Whip>, CliError> {
        use super::network::readable;
        let args = &self.whip;
        let Some(url) = args.whip.clone() else {
            return Ok(None);
        };
        if let Some(file) = &args.whip_token_file {
            readable("--whip-token-file", file)?;
        }
        #[cfg(feature = "tls")]
        let ca = args.whip_ca.clone();
        #[cfg(not(feature = "tls"))]
        let ca: Option<std::path::PathBuf> = None;
        if let Some(file) = &ca {
            readable("--whip-ca", file)?;
        }
        Ok(Some(Whip {
            url,
            token: args.whip_token.clone(),
            token_file: args.whip_token_file.clone(),
            ca,
        }))
    }

    #[cfg(not(feature = "webrtc"))]
    fn whip(&self) -> Result<Option<Whip>, CliError> {
        Ok(None)
    }
}
