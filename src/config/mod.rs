//! The program's settings. One file per topic: its command-line options (clap arguments) and the
//! validated type that the other folders get, side by side. `cli` parses and reports; this folder
//! neither reads the command line nor prints.

pub(crate) mod access;
pub(crate) mod audio;
pub(crate) mod limits;
pub(crate) mod logging;
pub(crate) mod network;
pub(crate) mod option_table;
pub(crate) mod process;
pub mod secrets;
pub(crate) mod values;
pub(crate) mod video;
pub(crate) mod webrtc;

pub use access::Access;
pub use audio::{AudioConfig, AudioSourceConfig, Microphone};
pub use limits::Limits;
pub use logging::{LogFormat, Logging};
pub use network::Tls;
pub use video::{Flip, Rotate, UsbCamera, VideoConfig, VideoSourceConfig};
pub use webrtc::{Webrtc, Whip};

use crate::media::id::CameraId;
use secrets::{Secret, Tokens};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// All settings of one run, validated.
#[derive(Clone, Debug)]
pub struct Config {
    pub host: IpAddr,
    /// 0: the kernel picks.
    pub port: u16,
    /// In the order given; the first is the default camera. The command line makes exactly one,
    /// `main`.
    pub cameras: Vec<CameraConfig>,
    pub exit_on_device_error: bool,
    pub serve_client: bool,
    pub logging: Logging,
    pub access: Access,
    pub limits: Limits,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// `false`: the children keep all rights of the user who started the program.
    pub sandbox: bool,
    /// `None`: switched off, or not included in this build.
    pub webrtc: Option<Webrtc>,
    /// A line for each option on the command line that has no effect with the others: which, and
    /// why. Logged at start.
    pub ignored_options: Vec<String>,
}

/// One camera: a named pair of a video and an audio source. At least one of them is present.
#[derive(Clone, Debug)]
pub struct CameraConfig {
    pub id: CameraId,
    /// `None`: audio only.
    pub video: Option<VideoConfig>,
    /// `None`: no audio.
    pub audio: Option<AudioConfig>,
}

/// Options that cannot be used as given.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "--host {0} does not resolve; give an address of this machine, or 0.0.0.0 for all \
         interfaces"
    )]
    HostNotFound(String),
    #[error("{option} {} cannot be read: {source}", .path.display())]
    Unreadable {
        option: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "--video-token allows video without audio; give --token or --token-file for full access \
         too"
    )]
    VideoTokenAlone,
    #[error("--whip cannot be read back from memory: {0}")]
    WhipUrlUnreadable(io::Error),
    /// The text does not repeat the URL, which may contain a key.
    #[error("--whip {0}; see --help")]
    InvalidWhipUrl(&'static str),
}

impl Config {
    /// Puts the tokens in place of the masks that the option parser saw.
    pub fn unmask(&mut self, mut tokens: Tokens) {
        tokens.unmask("token", self.access.token.as_mut());
        tokens.unmask("video_token", self.access.video_token.as_mut());
        if let Some(whip) = self.webrtc.as_mut().and_then(|webrtc| webrtc.whip.as_mut()) {
            tokens.unmask("whip_token", whip.token.as_mut());
            tokens.unmask("whip", Some(&mut whip.url));
        }
    }

    /// Everything that only the server may read. It keeps these descriptors open; workers close
    /// them.
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

    /// Files that the server reads again while it runs. Outputs may have further ones.
    pub fn server_files(&self) -> impl Iterator<Item = PathBuf> {
        let tls = self.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]);
        let files = self.access.token_file.iter().chain(tls);
        files.cloned()
    }
}

/// Checks that `path`, given with `option`, can be opened. Does not read it: the contents are for
/// the server only.
///
/// # Errors
/// [`ConfigError::Unreadable`].
pub(crate) fn check_readable(option: &'static str, path: &Path) -> Result<(), ConfigError> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(source) => Err(ConfigError::Unreadable {
            option,
            path: path.to_owned(),
            source,
        }),
    }
}
