//! The command line: parsing, precedence over the environment, usage errors. The options
//! themselves, with defaults and units, are in `config`.

pub(crate) mod doctor;
pub(crate) mod precedence;
#[cfg(test)]
mod tests;

use crate::config::access::AccessArgs;
use crate::config::audio::AudioArgs;
use crate::config::limits::LimitsArgs;
use crate::config::logging::LoggingArgs;
use crate::config::network::NetworkArgs;
use crate::config::option_table::{self, Choices};
use crate::config::process::ProcessArgs;
use crate::config::video::{CameraType, VideoArgs};
use crate::config::webrtc::WebrtcArgs;
use crate::config::{CameraConfig, Config, ConfigError};
use crate::media::id::CameraId;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use clap_mangen::Man;

/// A camera and a microphone on one WebSocket, every packet stamped with its capture time.
///
/// Every option except --list-devices can also be set in the environment: STAMPCAST_PORT=8081
/// means --port 8081, STAMPCAST_ENABLE_AUDIO=1 means --enable-audio. Command-line options override
/// the environment.
#[derive(Parser, Debug)]
#[command(
    name = "stampcast",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  stampcast --camera-type usb --enable-audio
  stampcast --camera-type rpi --width 1280 --height 720 --fps 30
  stampcast --camera-type test --enable-audio      (no hardware needed)
  stampcast --list-devices"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Subcommand>,

    /// Video source: the Raspberry Pi camera, a USB (V4L2) camera, a test pattern, or none (audio
    /// only)
    #[arg(long, value_enum, env = "STAMPCAST_CAMERA_TYPE")]
    camera_type: Option<CameraType>,

    /// Print the cameras and microphones of this machine and their formats, then exit
    #[arg(long)]
    list_devices: bool,

    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    limits: LimitsArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    video: VideoArgs,
    #[command(flatten)]
    audio: AudioArgs,
    #[command(flatten)]
    webrtc: WebrtcArgs,
    #[command(flatten)]
    process: ProcessArgs,
    #[command(flatten)]
    logging: LoggingArgs,
}

#[derive(clap::Subcommand, Debug)]
enum Subcommand {
    /// Check a running stream: rates, latency, gaps, clocks
    Doctor(doctor::DoctorArgs),

    /// Print shell completions: stampcast completions bash > /etc/bash_completion.d/stampcast
    Completions { shell: clap_complete::Shell },

    /// Print the manual page: stampcast man > stampcast.1
    Man,
}

/// What the user asked for.
#[derive(Debug)]
pub enum Command {
    Run(Box<Config>),
    ListDevices,
    Doctor(crate::doctor::Options),
}

/// The outcome of parsing where there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// `--help`, `--version` and the like: text for stdout, exit code 0.
    #[error("{0}")]
    Requested(String),
    /// A usage error: one line for stderr, exit code 2.
    #[error("{0}")]
    Usage(String),
}

impl From<ConfigError> for CliError {
    fn from(e: ConfigError) -> Self {
        Self::Usage(e.to_string())
    }
}

/// Reads the arguments (the first is the program's name) and the environment.
///
/// # Errors
/// A usage error, or a text that was asked for (`--help`).
pub fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Command, CliError> {
    let matches = precedence::read(&args.into_iter().collect::<Vec<_>>())?;
    let cli = Cli::from_arg_matches(&matches)
        .map_err(|e| CliError::Usage(one_line(&e.render().to_string())))?;
    cli.validate(&matches)
}

/// clap's errors have several lines; a log needs one.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .take_while(|l| !l.starts_with("Usage:"))
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    format!(
        "{}; see --help",
        lines
            .join(" ")
            .replace(" tip:", "; tip:")
            .trim_start_matches("error: ")
            .trim_end_matches("For more information, try '--help'.")
            .trim_end()
    )
}

impl Cli {
    fn validate(self, matches: &ArgMatches) -> Result<Command, CliError> {
        if self.list_devices {
            let mut others = precedence::on_the_line(matches, |id| id != "list_devices");
            others.extend(matches.subcommand_name().map(str::to_owned));
            if !others.is_empty() {
                return Err(CliError::Usage(format!(
                    "--list-devices takes no other options; leave out {}",
                    others.join(", ")
                )));
            }
            return Ok(Command::ListDevices);
        }
        match self.command {
            Some(Subcommand::Doctor(args)) => return Ok(Command::Doctor(args.options()?)),
            Some(Subcommand::Completions { shell }) => {
                return Err(CliError::Requested(completions(shell)));
            }
            Some(Subcommand::Man) => return Err(CliError::Requested(manual())),
            None => {}
        }
        let Some(camera_type) = self.camera_type else {
            return Err(CliError::Usage(
                "--camera-type is missing: give usb, rpi, test or none; see --help".into(),
            ));
        };
        if camera_type == CameraType::None && !self.audio.enable_audio {
            return Err(CliError::Usage(
                "with --camera-type none there is nothing to stream; add --enable-audio".into(),
            ));
        }
        let ignored_options = self.ignored_options(camera_type, matches);
        Ok(Command::Run(Box::new(Config {
            ignored_options,
            host: self.network.address()?,
            port: self.network.port,
            serve_client: self.network.serve_client,
            limits: self.limits.limits(),
            tls: self.network.tls()?,
            access: self.access.access()?,
            cameras: vec![CameraConfig {
                id: CameraId::main(),
                video: self.video.video(camera_type),
                audio: self.audio.audio(camera_type),
            }],
            webrtc: self.webrtc.webrtc()?,
            exit_on_device_error: self.process.exit_on_device_error,
            sandbox: !self.process.no_sandbox,
            logging: self.logging.logging(),
        })))
    }

    /// A line for each option of the command line that has no effect with the others.
    fn ignored_options(&self, camera_type: CameraType, matches: &ArgMatches) -> Vec<String> {
        let choices = Choices {
            usb_camera: camera_type == CameraType::Usb,
            device_camera: matches!(camera_type, CameraType::Usb | CameraType::Rpi),
            video: camera_type != CameraType::None,
            audio: self.audio.enable_audio,
            served_page: self.network.serve_client,
            webrtc: self.webrtc.is_on(),
            whip: self.webrtc.publishes(),
        };
        let ignored = option_table::all().filter_map(|option| {
            let reason = option.ignored_because(choices)?;
            let names = precedence::on_the_line(matches, |id| id == option.id);
            Some(format!("{} is ignored: {reason}", names.first()?))
        });
        ignored.collect()
    }
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stampcast", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The manual page, with a section for each subcommand: one page is simpler to install.
fn manual() -> String {
    let (mut command, mut text) = (Cli::command().disable_help_subcommand(true), Vec::new());
    // Writing to memory does not fail.
    let _ = Man::new(
        command
            .clone()
            .mut_subcommands(|subcommand| subcommand.hide(true)),
    )
    .render(&mut text);
    let mut page = String::from_utf8_lossy(&text).into_owned();
    command.build();
    for subcommand in command.get_subcommands() {
        let (man, mut text) = (Man::new(subcommand.clone()), Vec::new());
        let _ = man.render_synopsis_section(&mut text);
        let _ = man.render_description_section(&mut text);
        let _ = man.render_options_section(&mut text);
        let sections = String::from_utf8_lossy(&text).replace(".SH ", ".SS ");
        page += &format!(
            ".SH \"STAMPCAST {}\"\n{sections}",
            subcommand.get_name().to_uppercase()
        );
    }
    page
}
