//! WebRTC: playing (WHEP) and publishing (WHIP).

use super::ConfigError;
#[cfg(feature = "webrtc")]
use super::check_readable;
use super::option_table::{Effective, OptionFacts};
use super::secrets::Secret;
use crate::net::host::Host;
use clap::ArgAction;
use std::net::IpAddr;
use std::path::PathBuf;

pub(super) const OPTIONS: &[OptionFacts] = &[
    OptionFacts::new("no_webrtc", Effective::Always),
    OptionFacts::new("webrtc_port", Effective::Webrtc),
    OptionFacts::new("webrtc_public_ip", Effective::Webrtc),
    OptionFacts::new("webrtc_bitrate", Effective::Webrtc),
    OptionFacts::new("webrtc_max_sessions", Effective::Webrtc),
    OptionFacts::new("webrtc_stun", Effective::Webrtc),
    #[cfg(feature = "webrtc")]
    OptionFacts::new("whip", Effective::Webrtc),
    #[cfg(feature = "webrtc")]
    OptionFacts::new("whip_token", Effective::Whip).excludes("whip_token_file"),
    #[cfg(feature = "webrtc")]
    OptionFacts::new("whip_token_file", Effective::Whip),
    #[cfg(all(feature = "webrtc", feature = "tls"))]
    OptionFacts::new("whip_ca", Effective::Whip),
];

#[derive(Clone, Debug)]
pub struct Webrtc {
    /// UDP, and TCP for viewers that UDP does not reach; 0: the kernel picks.
    pub port: u16,
    /// The public address of a router that forwards `port` to this machine.
    pub public_ip: Option<IpAddr>,
    /// The highest video bit rate, bits per second; 0: that of the camera's H.264
    /// (`VideoConfig::h264_bps`).
    pub bitrate_bps: u32,
    /// Viewers at a time.
    pub max_sessions: usize,
    /// HOST:PORT of a STUN server that tells our public address.
    pub stun: Option<String>,
    /// `None`: nothing is published.
    pub whip: Option<Whip>,
}

/// Publishing to a media server by WHIP (RFC 9725).
#[derive(Clone, Debug)]
pub struct Whip {
    /// http or https. Some services have the key in its path.
    pub url: Secret,
    pub token: Option<Secret>,
    /// Read by the server process only; its first line is the token.
    pub token_file: Option<PathBuf>,
    /// PEM: root certificates to accept besides those of the system.
    pub ca: Option<PathBuf>,
}

impl Whip {
    /// Checks the form of the URL. To be called once it is unmasked.
    ///
    /// # Errors
    /// [`ConfigError::InvalidWhipUrl`], [`ConfigError::WhipUrlUnreadable`]; neither repeats the
    /// URL.
    pub fn check(&self) -> Result<(), ConfigError> {
        let url = self.url.read().map_err(ConfigError::WhipUrlUnreadable)?;
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        Err(ConfigError::InvalidWhipUrl(match scheme {
            _ if !url.bytes().all(|byte| byte.is_ascii_graphic()) => {
                "has a character that is not allowed in a URL; write it as %XX"
            }
            "https" if !cfg!(feature = "tls") => "needs TLS, which is not included in this build",
            "http" | "https" if authority.contains('@') => {
                "contains a user name: give a token with --whip-token-file instead"
            }
            "http" | "https" if Host::parse(authority).is_some() => return Ok(()),
            _ => "is not a valid URL: give http://HOST[:PORT]/PATH or https://…",
        }))
    }
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "WebRTC")]
pub(crate) struct WebrtcArgs {
    /// Disable WebRTC (/whep, /api/webrtc/offer): no port is opened, nothing is encoded for it
    #[arg(long, env = "STAMPCAST_NO_WEBRTC", action = ArgAction::SetTrue)]
    no_webrtc: bool,

    /// UDP and TCP port for WebRTC media; 0, or if it is taken: any free port, printed at start
    #[arg(long, env = "STAMPCAST_WEBRTC_PORT", default_value_t = 8189)]
    webrtc_port: u16,

    /// Public address of a router that forwards --webrtc-port to this machine
    #[arg(long, env = "STAMPCAST_WEBRTC_PUBLIC_IP", value_name = "IP")]
    webrtc_public_ip: Option<IpAddr>,

    /// Maximum bit rate of WebRTC video, kbit/s (100 to 50000) [default: --h264-bitrate]
    #[arg(long, env = "STAMPCAST_WEBRTC_BITRATE", value_name = "KBPS", value_parser = clap::value_parser!(u32).range(100..=50_000))]
    webrtc_bitrate: Option<u32>,

    /// WebRTC viewers at a time (1 to 1000)
    #[arg(long, env = "STAMPCAST_WEBRTC_MAX_SESSIONS", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    webrtc_max_sessions: u32,

    /// STUN server used to find the public address of --webrtc-port [default: none]
    #[arg(long, env = "STAMPCAST_WEBRTC_STUN", value_name = "HOST:PORT", value_parser = super::values::host_port)]
    webrtc_stun: Option<String>,

    #[cfg(feature = "webrtc")]
    #[command(flatten)]
    whip: WhipArgs,
}

#[cfg(feature = "webrtc")]
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "WebRTC")]
struct WhipArgs {
    /// Publish to this media server by WHIP; retries until it succeeds
    #[arg(long, env = "STAMPCAST_WHIP", value_name = "URL", hide_env_values = true, value_parser = super::values::secret_url)]
    whip: Option<Secret>,

    /// Token for --whip; visible in the shell's history, and in `ps` for a moment:
    /// --whip-token-file and STAMPCAST_WHIP_TOKEN are safer
    #[arg(long, env = "STAMPCAST_WHIP_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = super::values::secret)]
    whip_token: Option<Secret>,

    /// Token for --whip: the first line of this file, read for each session
    #[arg(long, env = "STAMPCAST_WHIP_TOKEN_FILE", value_name = "FILE")]
    whip_token_file: Option<PathBuf>,

    /// PEM file of root certificates for --whip, in addition to the system's CAs
    #[cfg(feature = "tls")]
    #[arg(long, env = "STAMPCAST_WHIP_CA", value_name = "FILE")]
    whip_ca: Option<PathBuf>,
}

impl WebrtcArgs {
    pub(crate) fn is_on(&self) -> bool {
        cfg!(feature = "webrtc") && !self.no_webrtc
    }

    /// `None`: off.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`].
    pub(crate) fn webrtc(self) -> Result<Option<Webrtc>, ConfigError> {
        if !self.is_on() {
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
    pub(crate) fn publishes(&self) -> bool {
        self.whip.whip.is_some()
    }

    #[cfg(not(feature = "webrtc"))]
    pub(crate) fn publishes(&self) -> bool {
        false
    }

    #[cfg(feature = "webrtc")]
    fn whip(&self) -> Result<Option<Whip>, ConfigError> {
        let args = &self.whip;
        let Some(url) = args.whip.clone() else {
            return Ok(None);
        };
        if let Some(file) = &args.whip_token_file {
            check_readable("--whip-token-file", file)?;
        }
        #[cfg(feature = "tls")]
        let ca = args.whip_ca.clone();
        #[cfg(not(feature = "tls"))]
        let ca: Option<PathBuf> = None;
        if let Some(file) = &ca {
            check_readable("--whip-ca", file)?;
        }
        Ok(Some(Whip {
            url,
            token: args.whip_token.clone(),
            token_file: args.whip_token_file.clone(),
            ca,
        }))
    }

    #[cfg(not(feature = "webrtc"))]
    fn whip(&self) -> Result<Option<Whip>, ConfigError> {
        Ok(None)
    }
}
