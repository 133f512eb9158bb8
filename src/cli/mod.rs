//! The command line: options, their defaults and units, and their validation into [`Config`]. Knows no room.

pub mod doctor;
pub mod media;
pub mod network;
pub mod precedence;
pub mod running;
#[cfg(test)]
pub mod tests;
pub mod values;
pub mod webrtc;

use crate::config::{Camera, Config};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use clap_mangen::Man;

/// A camera and a microphone on one WebSocket, every packet stamped with the moment of its capture.
///
/// Every option but --list-devices can also come from the environment: STAMPCAST_PORT=8081 for --port 8081,
/// STAMPCAST_ENABLE_AUDIO=1 for --enable-audio. What is given here goes before that.
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

    /// Where the picture comes from: the Pi camera, a USB (V4L2) camera, a test pattern, or nowhere (sound only)
    #[arg(long, value_enum, env = "STAMPCAST_CAMERA_TYPE")]
    camera_type: Option<media::CameraType>,

    /// Print the cameras and microphones of this machine, and what each offers, then exit
    #[arg(long)]
    list_devices: bool,

    #[command(flatten)]
    network: network::NetworkArgs,
    #[command(flatten)]
    access: network::AccessArgs,
    #[command(flatten)]
    video: media::VideoArgs,
    #[command(flatten)]
    sound: media::SoundArgs,
    #[command(flatten)]
    webrtc: webrtc::WebrtcArgs,
    #[command(flatten)]
    running: running::RunningArgs,
}

#[derive(clap::Subcommand, Debug)]
enum Subcommand {
    /// Watch a running stream and say how it is: rates, latency, gaps, clocks
    Doctor(doctor::DoctorArgs),

    /// Print the shell's completions for this program: stampcast completions bash > /etc/bash_completion.d/stampcast
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

/// Why the command line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// `--help`, `--version` and the like: text for stdout, exit code 0.
    #[error("{0}")]
    Wanted(String),
    /// One clear line for stderr, exit code 2.
    #[error("{0}")]
    Usage(String),
}

/// Reads the arguments (the first is the program's name) and the environment.
pub fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Command, CliError> {
    let matches = precedence::read(&args.into_iter().collect::<Vec<_>>())?;
    let cli = Cli::from_arg_matches(&matches)
        .map_err(|e| CliError::Usage(one_line(&e.render().to_string())))?;
    cli.validate(&matches)
}

/// clap explains over several lines; a log and a service file want one.
fn one_line(text: &str) -> String {
    let told: Vec<&str> = text
        .lines()
        .take_while(|l| !l.starts_with("Usage:"))
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    format!(
        "{}; see --help",
        told.join(" ")
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
                    "--list-devices stands alone; leave out {}",
                    others.join(", ")
                )));
            }
            return Ok(Command::ListDevices);
        }
        match self.command {
            Some(Subcommand::Doctor(args)) => return Ok(Command::Doctor(args.options()?)),
            Some(Subcommand::Completions { shell }) => {
                return Err(CliError::Wanted(completions(shell)));
            }
            Some(Subcommand::Man) => return Err(CliError::Wanted(manual())),
            None => {}
        }
        let Some(camera_type) = self.camera_type else {
            return Err(CliError::Usage(
                "--camera-type is missing: give usb, rpi, test or none; see --help".into(),
            ));
        };
        let camera = self.video.camera(camera_type);
        if matches!(camera, Camera::None) && !self.sound.enable_audio {
            return Err(CliError::Usage(
                "--camera-type none leaves nothing to stream; add --enable-audio".into(),
            ));
        }
        let without_effect = precedence::on_the_line(matches, |id| {
            media::is_idle(id, &camera, self.sound.enable_audio) || self.webrtc.is_idle(id)
        });
        Ok(Command::Run(Box::new(Config {
            without_effect,
            host: self.network.address()?,
            port: self.network.port,
            serve_client: self.network.serve_client,
            limits: self.network.limits(),
            tls: self.network.tls()?,
            access: self.access.access()?,
            video: self.video.video(),
            sound: self.sound.sound(&camera),
            camera,
            webrtc: self.webrtc.webrtc()?,
            exit_on_device_error: self.running.exit_on_device_error,
            sandbox: !self.running.no_sandbox,
            logging: self.running.logging(),
        })))
    }
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stampcast", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// One page: each subcommand's options are a section of it, since nobody installs a page for each.
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
