//! Options of WebRTC.

use crate::config::Webrtc;
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
}

impl WebrtcArgs {
    /// Or not in this build.
    pub(super) fn is_off(&self) -> bool {
        !cfg!(feature = "webrtc") || self.no_webrtc
    }

    /// `None`: off.
    pub(super) fn webrtc(self) -> Option<Webrtc> {
        (!self.is_off()).then_some(Webrtc {
            port: self.webrtc_port,
            public_ip: self.webrtc_public_ip,
            bitrate_bps: self.webrtc_bitrate.unwrap_or(0) * 1000,
            max_sessions: self.webrtc_max_sessions as usize,
        })
    }
}
