//! Who may watch: tokens and origins.

use super::option_table::{Effective, OptionFacts};
use super::secrets::Secret;
use super::values::{frame_origin, origin, secret};
use super::{ConfigError, check_readable};
use clap::ArgAction;
use std::path::PathBuf;

pub(super) const OPTIONS: &[OptionFacts] = &[
    OptionFacts::new("token", Effective::Always).excludes("token_file"),
    OptionFacts::new("token_file", Effective::Always),
    OptionFacts::new("video_token", Effective::Always),
    OptionFacts::new("allow_origin", Effective::Always),
    OptionFacts::new("no_file_origin", Effective::Always),
    OptionFacts::new("allow_public", Effective::Always),
    OptionFacts::new("allow_frame", Effective::ServedPage),
];

/// Empty in the workers, which have no clients.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub token: Option<Secret>,
    /// Read by the server process only; its first line is the token.
    pub token_file: Option<PathBuf>,
    /// Gives access to video but not to audio.
    pub video_token: Option<Secret>,
    /// `https://host[:port]` each.
    pub allowed_origins: Vec<String>,
    /// Pages opened as a file (Origin `null`) may watch.
    pub file_origin: bool,
    /// Without a token, clients with public addresses, or behind a proxy, may watch.
    pub public_clients: bool,
    /// Sites that may show the served page in a frame: `https://host[:port]` each, or `*`.
    pub frame_origins: Vec<String>,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessArgs {
    /// Require this token from every client; visible in the shell's history, and in `ps` for a
    /// moment: --token-file and STAMPCAST_TOKEN are safer
    #[arg(long, env = "STAMPCAST_TOKEN", hide_env_values = true, value_parser = secret)]
    token: Option<Secret>,

    /// Require the token in the first line of this file from every client
    #[arg(long, env = "STAMPCAST_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// A second token that gives access to video without audio
    #[arg(long, env = "STAMPCAST_VIDEO_TOKEN", hide_env_values = true, value_parser = secret)]
    video_token: Option<Secret>,

    /// Allow pages of this origin (such as https://dash.example.org) where no token is required; may
    /// be repeated
    #[arg(long, env = "STAMPCAST_ALLOW_ORIGIN", value_name = "ORIGIN", value_parser = origin, value_delimiter = ',')]
    allow_origin: Vec<String>,

    /// Refuse pages opened as a file (Origin: null); sandboxed iframes look the same and are refused
    /// too
    #[arg(long, env = "STAMPCAST_NO_FILE_ORIGIN", action = ArgAction::SetTrue)]
    no_file_origin: bool,

    /// Without a token, also serve clients outside this machine's networks, such as clients on the
    /// Internet, and requests through a proxy (with Forwarded, X-Forwarded-For or Via)
    #[arg(long, env = "STAMPCAST_ALLOW_PUBLIC", action = ArgAction::SetTrue)]
    allow_public: bool,

    /// Allow pages of this origin (such as https://ha.example.org:8123, or * for all) to show the
    /// viewer page in a frame; may be repeated
    #[arg(long, env = "STAMPCAST_ALLOW_FRAME", value_name = "ORIGIN", value_parser = frame_origin, value_delimiter = ',')]
    allow_frame: Vec<String>,
}

impl AccessArgs {
    /// # Errors
    /// [`ConfigError::VideoTokenAlone`], [`ConfigError::Unreadable`].
    pub(crate) fn access(self) -> Result<Access, ConfigError> {
        if self.video_token.is_some() && self.token.is_none() && self.token_file.is_none() {
            return Err(ConfigError::VideoTokenAlone);
        }
        if let Some(file) = &self.token_file {
            check_readable("--token-file", file)?;
        }
        Ok(Access {
            token: self.token,
            token_file: self.token_file,
            video_token: self.video_token,
            allowed_origins: self.allow_origin,
            file_origin: !self.no_file_origin,
            public_clients: self.allow_public,
            frame_origins: self.allow_frame,
        })
    }
}
