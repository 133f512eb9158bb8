//! Settings after validation: what the rooms are given. Knows neither clap nor the environment.

pub mod secrets;

use crate::config::secrets::{Secret, Tokens, unmask};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Config {
    pub host: IpAddr,
    /// 0: the kernel picks.
    pub port: u16,
    pub camera: Camera,
    pub video: Video,
    /// `None`: no sound.
    pub sound: Option<Sound>,
    pub exit_on_device_error: bool,
    pub serve_client: bool,
    pub logging: Logging,
    pub access: Access,
    pub limits: Limits,
    /// `None`: in the clear.
    pub tls: Option<Tls>,
    /// `false`: the children keep all rights of whoever started the program.
    pub sandbox: bool,
    /// `None`: off, or not in this build.
    pub webrtc: Option<Webrtc>,
    /// Options on the command line that change nothing beside the others, as they were typed: to be told.
    pub without_effect: Vec<String>,
}

impl Config {
    /// Puts the tokens where the parser of the options saw their masks.
    pub fn unmask(&mut self, tokens: Tokens) {
        unmask(&mut self.access.token, tokens.token);
        unmask(&mut self.access.video_token, tokens.video_token);
        if let Some(whip) = self.webrtc.as_mut().and_then(|webrtc| webrtc.whip.as_mut()) {
            unmask(&mut whip.token, tokens.whip_token);
            if let Some(url) = tokens.whip {
                whip.url = url;
            }
        }
    }

    /// What the server alone reads, and what it must not close.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let whip = self
            .webrtc
            .iter()
            .flat_map(|webrtc| &webrtc.whip)
            .flat_map(|whip| [Some(&whip.url), whip.token.as_ref()]);
        [self.access.token.as_ref(), self.access.video_token.as_ref()]
            .into_iter()
            .chain(whip)
            .flatten()
    }

    /// The files that the server reads again while it runs.
    pub fn files_of_the_server(&self) -> Vec<&Path> {
        let tls = self
            .tls
            .iter()
            .flat_map(|tls| [tls.cert.as_path(), tls.key.as_path()]);
        let whip = self
            .webrtc
            .iter()
            .flat_map(|webrtc| &webrtc.whip)
            .flat_map(|whip| [whip.token_file.as_deref(), whip.ca.as_deref()]);
        self.access
            .token_file
            .as_deref()
            .into_iter()
            .chain(tls)
            .chain(whip.flatten())
            .collect()
    }
}

/// PEM files, read by the server alone.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate, then those that vouch for it.
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What strangers can use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Viewers at a time, of all kinds.
    pub clients: usize,
    /// How long a request's head, or a TLS handshake, may take.
    pub handshake: Duration,
    /// How long a viewer may take nothing although there is something for it.
    pub idle: Duration,
    /// The longest message from a viewer, bytes.
    pub message_bytes: usize,
}

/// WebRTC's settings.
#[derive(Clone, Debug)]
pub struct Webrtc {
    /// UDP, and TCP for those whom UDP does not reach; 0: the kernel picks.
    pub port: u16,
    /// Where a router forwards `port` to this machine.
    pub public_ip: Option<IpAddr>,
    /// The most that the picture may take, bits per second; 0: by its size.
    pub bitrate_bps: u32,
    /// Viewers at a time.
    pub max_sessions: usize,
    /// HOST:PORT of a server that tells our public address.
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
    /// Read by the server alone; its first line is the token.
    pub token_file: Option<PathBuf>,
    /// PEM: whom to trust beside those that the system trusts.
    pub ca: Option<PathBuf>,
}

impl Whip {
    /// Whether the address can be one; the error does not repeat it.
    ///
    /// # Errors
    /// One line for the user.
    pub fn check(&self) -> Result<(), String> {
        let url = self
            .url
            .read()
            .map_err(|e| format!("--whip cannot be read from the kernel's memory: {e}"))?;
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let what = match scheme {
            _ if !url.bytes().all(|byte| byte.is_ascii_graphic()) => {
                "has a character that addresses do not have; write it as %XX"
            }
            "https" if !cfg!(feature = "tls") => "needs TLS, which this build has not",
            "http" | "https" if authority.contains('@') => {
                "names a user: give a token with --whip-token-file instead"
            }
            "http" | "https" if !matches!(authority.bytes().next(), None | Some(b':')) => {
                return Ok(());
            }
            _ => "is no address of a server: give http://HOST[:PORT]/PATH or https://…",
        };
        Err(format!("--whip {what}; see --help"))
    }
}

/// Who may watch. In the workers it is emptied: they know no client.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub token: Option<Secret>,
    /// Read by the server alone; its first line is the token.
    pub token_file: Option<PathBuf>,
    /// Opens the picture without the sound.
    pub video_token: Option<Secret>,
    /// `https://host[:port]` each.
    pub allowed_origins: Vec<String>,
    /// Pages opened as a file (Origin `null`) may watch.
    pub file_origin: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Logging {
    pub format: LogFormat,
    pub level: tracing::Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Camera {
    Usb(UsbCamera),
    /// Through rpicam-vid.
    Rpi,
    /// A moving pattern with its stamp drawn in.
    Test,
    /// Sound only.
    None,
}

/// How to find the USB (V4L2) camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsbCamera {
    /// `/dev/videoN`.
    Index(u32),
    /// A device node or a symbolic link to one, such as `/dev/v4l/by-id/…`.
    Path(PathBuf),
    /// The USB serial number, or else the card's name.
    Named(String),
}

#[derive(Clone, Debug)]
pub struct Video {
    /// The streamed size before `rotate`, pixels: a quarter turn makes 640x480 a picture of 480x640.
    pub width: u32,
    pub height: u32,
    /// The camera's size, pixels.
    pub capture_width: u32,
    pub capture_height: u32,
    /// Frames per second, > 0.
    pub fps: f64,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// True when the user gave a quality: then a camera's own JPEG is not passed through.
    pub quality_given: bool,
    pub rotate: Rotate,
    pub flip: Flip,
    /// `--camera-control NAME=VALUE`, in the order given.
    pub controls: Vec<(String, String)>,
    pub queue_packets: u32,
}

/// What the command line makes of no options.
impl Default for Video {
    fn default() -> Self {
        Self {
            width: 640,
            height: 480,
            capture_width: 640,
            capture_height: 480,
            fps: 15.0,
            quality: 70,
            quality_given: false,
            rotate: Rotate::None,
            flip: Flip::None,
            controls: Vec::new(),
            queue_packets: 50,
        }
    }
}

/// Clockwise, applied before [`Flip`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotate {
    #[default]
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flip {
    #[default]
    None,
    /// Left and right change places.
    Horizontal,
    /// Top and bottom change places.
    Vertical,
    Both,
}

#[derive(Clone, Debug)]
pub struct Sound {
    pub device: Microphone,
    /// What is sent: 1 or 2.
    pub channels: u16,
    /// `None`: the device's own.
    pub rate_hz: Option<u32>,
    pub queue_packets: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Microphone {
    /// The system's default capture device, else the first.
    Default,
    /// As `--list-devices` counts.
    Index(u32),
    /// An ALSA PCM name (`hw:…`), a card id or name, or a USB serial number.
    Named(String),
    /// A beep on each flash of the test picture.
    Beep,
}
