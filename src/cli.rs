//! The command line: options, their defaults and units, and their validation into [`Config`]. Knows no room.

use crate::config::{
    Access, Camera, Config, Flip, Limits, LogFormat, Logging, Microphone, Rotate, Secret, Sound, UsbCamera, Video, Webrtc,
};
use clap::{ArgAction, CommandFactory, Parser, ValueEnum};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// A camera and a microphone on one WebSocket, every packet stamped with the moment of its capture.
///
/// Every option can also come from the environment: STAMPCAST_PORT for --port, and so on.
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
    camera_type: Option<CameraType>,

    /// Print the cameras and microphones of this machine, and what each offers, then exit
    #[arg(long, exclusive = true)]
    list_devices: bool,

    /// Address or name to listen on; 0.0.0.0 is every interface
    #[arg(long, env = "STAMPCAST_HOST", default_value = "0.0.0.0", help_heading = "Network")]
    host: String,

    /// TCP port; 0 lets the kernel pick one, which is printed
    #[arg(long, env = "STAMPCAST_PORT", default_value_t = 8080, help_heading = "Network")]
    port: u16,

    /// Serve the viewer page at / too
    #[arg(long, env = "STAMPCAST_SERVE_CLIENT", action = ArgAction::SetTrue, help_heading = "Network")]
    serve_client: bool,

    /// Speak TLS (https:// and wss://) with the certificate chain in this PEM file; read again when it changes
    #[cfg(feature = "tls")]
    #[arg(long, env = "STAMPCAST_TLS_CERT", value_name = "FILE", requires = "tls_key", help_heading = "Network")]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key, a PEM file
    #[cfg(feature = "tls")]
    #[arg(long, env = "STAMPCAST_TLS_KEY", value_name = "FILE", requires = "tls_cert", help_heading = "Network")]
    tls_key: Option<PathBuf>,

    /// Viewers at a time; one more gets 503 (1 to 100000)
    #[arg(long, env = "STAMPCAST_MAX_CLIENTS", value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Network")]
    max_clients: u32,

    /// How long a client may take for its request or its TLS handshake, seconds
    #[arg(long, env = "STAMPCAST_HANDSHAKE_TIMEOUT", value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds, help_heading = "Network")]
    handshake_timeout: f64,

    /// How long a viewer may take nothing of what waits for it, seconds
    #[arg(long, env = "STAMPCAST_IDLE_TIMEOUT", value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds, help_heading = "Network")]
    idle_timeout: f64,

    /// Ask every client for this token; `ps` and the shell's history may show it: --token-file and STAMPCAST_TOKEN are safer
    #[arg(long, env = "STAMPCAST_TOKEN", hide_env_values = true, value_parser = secret, conflicts_with = "token_file", help_heading = "Who may watch")]
    token: Option<Secret>,

    /// Ask every client for the token in this file's first line
    #[arg(long, env = "STAMPCAST_TOKEN_FILE", value_name = "FILE", help_heading = "Who may watch")]
    token_file: Option<PathBuf>,

    /// A second token, which opens the picture without the sound
    #[arg(long, env = "STAMPCAST_VIDEO_TOKEN", hide_env_values = true, value_parser = secret, help_heading = "Who may watch")]
    video_token: Option<Secret>,

    /// Let pages of this web site watch where no token is asked for, such as https://dash.example.org; may be repeated
    #[arg(long, env = "STAMPCAST_ALLOW_ORIGIN", value_name = "ORIGIN", value_parser = origin, value_delimiter = ',', help_heading = "Who may watch")]
    allow_origin: Vec<String>,

    /// Turn away pages opened as a file (and any page's sandboxed frame, which looks the same)
    #[arg(long, env = "STAMPCAST_NO_FILE_ORIGIN", action = ArgAction::SetTrue, help_heading = "Who may watch")]
    no_file_origin: bool,

    /// Width of the streamed picture, pixels (16 to 8192)
    #[arg(long, env = "STAMPCAST_WIDTH", default_value_t = 640, value_parser = clap::value_parser!(u32).range(16..=8192), help_heading = "Video")]
    width: u32,

    /// Height of the streamed picture, pixels (16 to 8192)
    #[arg(long, env = "STAMPCAST_HEIGHT", default_value_t = 480, value_parser = clap::value_parser!(u32).range(16..=8192), help_heading = "Video")]
    height: u32,

    /// Width the USB camera is set to, pixels; scaled to --width [default: --width]
    #[arg(long, env = "STAMPCAST_CAPTURE_WIDTH", value_parser = clap::value_parser!(u32).range(16..=8192), help_heading = "Video")]
    capture_width: Option<u32>,

    /// Height the USB camera is set to, pixels; scaled to --height [default: --height]
    #[arg(long, env = "STAMPCAST_CAPTURE_HEIGHT", value_parser = clap::value_parser!(u32).range(16..=8192), help_heading = "Video")]
    capture_height: Option<u32>,

    /// Frames per second (0.1 to 240, may be fractional); a faster camera is thinned evenly
    #[arg(long, env = "STAMPCAST_FPS", default_value_t = 15.0, value_parser = fps, help_heading = "Video")]
    fps: f64,

    /// JPEG quality (1 to 100) [default: 70]. A USB camera's own JPEG of the asked size is sent untouched unless this is given
    #[arg(long, env = "STAMPCAST_QUALITY", value_parser = clap::value_parser!(u8).range(1..=100), help_heading = "Video")]
    quality: Option<u8>,

    /// Which USB camera: the N of /dev/videoN
    #[arg(long, env = "STAMPCAST_DEVICE_ID", default_value_t = 0, help_heading = "Video")]
    device_id: u32,

    /// Which USB camera, by path (/dev/v4l/by-id/…), serial number or name; stays the same over reboots
    #[arg(long, env = "STAMPCAST_DEVICE", help_heading = "Video")]
    device: Option<String>,

    /// Turn the picture clockwise, degrees; --width and --height are those before the turn
    #[arg(long, env = "STAMPCAST_ROTATE", value_enum, default_value = "0", help_heading = "Video")]
    rotate: RotateArg,

    /// Mirror the picture, after --rotate
    #[arg(long, env = "STAMPCAST_FLIP", value_enum, default_value = "none", help_heading = "Video")]
    flip: FlipArg,

    /// Set a control of the camera, such as exposure_time_absolute=200; may be repeated (the environment holds one); --list-devices names them
    #[arg(long, env = "STAMPCAST_CAMERA_CONTROL", value_name = "NAME=VALUE", value_parser = control, help_heading = "Video")]
    camera_control: Vec<(String, String)>,

    /// Frames that may wait between camera and network, and per viewer with delivery=all; the oldest goes (1 to 10000)
    #[arg(long, env = "STAMPCAST_VIDEO_QUEUE_SIZE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Video")]
    video_queue_size: u32,

    /// Stream sound too
    #[arg(long, env = "STAMPCAST_ENABLE_AUDIO", action = ArgAction::SetTrue, help_heading = "Sound")]
    enable_audio: bool,

    /// Which microphone, as --list-devices counts [default: the system's, else the first]
    #[arg(long, env = "STAMPCAST_AUDIO_DEVICE", value_name = "N", help_heading = "Sound")]
    audio_device: Option<u32>,

    /// Which microphone, by ALSA name (hw:CARD=Mic,DEV=0), card name or serial number; stays the same over reboots
    #[arg(long, env = "STAMPCAST_AUDIO_NAME", conflicts_with = "audio_device", help_heading = "Sound")]
    audio_name: Option<String>,

    /// Channels sent (1 or 2)
    #[arg(long, env = "STAMPCAST_AUDIO_CHANNELS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2), help_heading = "Sound")]
    audio_channels: u16,

    /// Sample rate sent, Hz (8000 to 192000) [default: the device's own]
    #[arg(long, env = "STAMPCAST_AUDIO_SAMPLERATE", value_name = "HZ", value_parser = clap::value_parser!(u32).range(8_000..=192_000), help_heading = "Sound")]
    audio_samplerate: Option<u32>,

    /// Sound packets that may wait between microphone and network, and per viewer with delivery=all (1 to 10000)
    #[arg(long, env = "STAMPCAST_AUDIO_QUEUE_SIZE", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Sound")]
    audio_queue_size: u32,

    /// No WebRTC (/whep, /api/webrtc/offer): no port for it is opened and nothing is encoded for it
    #[arg(long, env = "STAMPCAST_NO_WEBRTC", action = ArgAction::SetTrue, help_heading = "WebRTC")]
    no_webrtc: bool,

    /// UDP and TCP port for WebRTC's media; 0, or when it is taken, lets the kernel pick one, which is printed
    #[arg(long, env = "STAMPCAST_WEBRTC_PORT", default_value_t = 8189, help_heading = "WebRTC")]
    webrtc_port: u16,

    /// Public address of a router that forwards --webrtc-port to this machine
    #[arg(long, env = "STAMPCAST_WEBRTC_PUBLIC_IP", value_name = "IP", help_heading = "WebRTC")]
    webrtc_public_ip: Option<IpAddr>,

    /// Bit rate of WebRTC's picture, kbit/s (100 to 50000) [default: by its size, 1200 at 640x480]
    #[arg(long, env = "STAMPCAST_WEBRTC_BITRATE", value_name = "KBPS", value_parser = clap::value_parser!(u32).range(100..=50_000), help_heading = "WebRTC")]
    webrtc_bitrate: Option<u32>,

    /// WebRTC viewers at a time (1 to 1000)
    #[arg(long, env = "STAMPCAST_WEBRTC_MAX_SESSIONS", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "WebRTC")]
    webrtc_max_sessions: u32,

    /// Exit with code 3 when a device is missing or fails, instead of waiting for it
    #[arg(long, env = "STAMPCAST_EXIT_ON_DEVICE_ERROR", action = ArgAction::SetTrue, help_heading = "Running")]
    exit_on_device_error: bool,

    /// Do without the sandbox: the server keeps its files, the workers the network; for kernels that stumble over it
    #[arg(long, env = "STAMPCAST_NO_SANDBOX", action = ArgAction::SetTrue, help_heading = "Running")]
    no_sandbox: bool,

    /// Log lines as text or as one JSON object each
    #[arg(long, env = "STAMPCAST_LOG_FORMAT", value_enum, default_value = "text", help_heading = "Running")]
    log_format: LogFormatArg,

    /// Only warnings and errors
    #[arg(long, short, env = "STAMPCAST_QUIET", action = ArgAction::SetTrue, conflicts_with = "verbose", help_heading = "Running")]
    quiet: bool,

    /// Details for finding a fault
    #[arg(long, short, env = "STAMPCAST_VERBOSE", action = ArgAction::SetTrue, help_heading = "Running")]
    verbose: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Subcommand {
    /// Watch a running stream and say how it is: rates, latency, gaps, clocks
    Doctor(DoctorArgs),

    /// Print the shell's completions for this program: stampcast completions bash > /etc/bash_completion.d/stampcast
    Completions { shell: clap_complete::Shell },

    /// Print the manual page: stampcast man > stampcast.1
    Man,
}

#[derive(clap::Args, Debug)]
struct DoctorArgs {
    /// The stream: ws://HOST:PORT/stream, or HOST:PORT
    #[arg(default_value = "localhost:8080")]
    url: String,

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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CameraType {
    Rpi,
    Usb,
    Test,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RotateArg {
    #[value(name = "0")]
    R0,
    #[value(name = "90")]
    R90,
    #[value(name = "180")]
    R180,
    #[value(name = "270")]
    R270,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FlipArg {
    None,
    Horizontal,
    Vertical,
    Both,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
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
    let cli = Cli::try_parse_from(args).map_err(|e| match e.kind() {
        clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion => CliError::Wanted(e.render().to_string()),
        _ => CliError::Usage(one_line(&e.render().to_string())),
    })?;
    cli.validate()
}

/// clap explains over several lines; a log and a service file want one.
fn one_line(text: &str) -> String {
    let told: Vec<&str> = text.lines().take_while(|l| !l.starts_with("Usage:")).map(str::trim).filter(|l| !l.is_empty()).collect();
    format!(
        "{}; see --help",
        told.join(" ").trim_start_matches("error: ").trim_end_matches("For more information, try '--help'.").trim_end()
    )
}

impl Cli {
    fn validate(self) -> Result<Command, CliError> {
        match self.command {
            Some(Subcommand::Doctor(args)) => return Ok(Command::Doctor(args.into())),
            Some(Subcommand::Completions { shell }) => return Err(CliError::Wanted(completions(shell))),
            Some(Subcommand::Man) => return Err(CliError::Wanted(manual())),
            None => {}
        }
        if self.list_devices {
            return Ok(Command::ListDevices);
        }
        let Some(camera_type) = self.camera_type else {
            return Err(CliError::Usage("--camera-type is missing: give usb, rpi, test or none; see --help".into()));
        };
        let camera = match camera_type {
            CameraType::Usb => Camera::Usb(match &self.device {
                Some(d) if d.starts_with('/') => UsbCamera::Path(PathBuf::from(d)),
                Some(d) => UsbCamera::Named(d.clone()),
                None => UsbCamera::Index(self.device_id),
            }),
            CameraType::Rpi => Camera::Rpi,
            CameraType::Test => Camera::Test,
            CameraType::None => Camera::None,
        };
        if matches!(camera, Camera::None) && !self.enable_audio {
            return Err(CliError::Usage("--camera-type none leaves nothing to stream; add --enable-audio".into()));
        }
        if self.video_token.is_some() && self.token.is_none() && self.token_file.is_none() {
            return Err(CliError::Usage("--video-token opens the picture alone; give --token or --token-file for the whole too".into()));
        }
        let files = [
            ("--token-file", &self.token_file),
            #[cfg(feature = "tls")]
            ("--tls-cert", &self.tls_cert),
            #[cfg(feature = "tls")]
            ("--tls-key", &self.tls_key),
        ];
        for (option, file) in files {
            // Opened, not read: what they hold is for the server alone.
            if let Some(file) = file
                && let Err(e) = std::fs::File::open(file)
            {
                return Err(CliError::Usage(format!("{option} {} cannot be read: {e}", file.display())));
            }
        }
        let device = match (self.audio_device, self.audio_name) {
            (Some(n), _) => Microphone::Index(n),
            (None, Some(name)) => Microphone::Named(name),
            (None, None) if matches!(camera, Camera::Test) => Microphone::Beep,
            (None, None) => Microphone::Default,
        };
        let rotate = match self.rotate {
            RotateArg::R0 => Rotate::None,
            RotateArg::R90 => Rotate::Quarter,
            RotateArg::R180 => Rotate::Half,
            RotateArg::R270 => Rotate::ThreeQuarters,
        };
        Ok(Command::Run(Box::new(Config {
            host: resolve(&self.host)?,
            port: self.port,
            camera,
            video: Video {
                width: self.width,
                height: self.height,
                capture_width: self.capture_width.unwrap_or(self.width),
                capture_height: self.capture_height.unwrap_or(self.height),
                fps: self.fps,
                quality: self.quality.unwrap_or(70),
                quality_given: self.quality.is_some(),
                rotate,
                flip: match self.flip {
                    FlipArg::None => Flip::None,
                    FlipArg::Horizontal => Flip::Horizontal,
                    FlipArg::Vertical => Flip::Vertical,
                    FlipArg::Both => Flip::Both,
                },
                controls: self.camera_control,
                queue_packets: self.video_queue_size,
            },
            sound: self.enable_audio.then_some(Sound {
                device,
                channels: self.audio_channels,
                rate_hz: self.audio_samplerate,
                queue_packets: self.audio_queue_size,
            }),
            exit_on_device_error: self.exit_on_device_error,
            serve_client: self.serve_client,
            access: Access {
                token: self.token,
                token_file: self.token_file,
                video_token: self.video_token,
                allowed_origins: self.allow_origin,
                file_origin: !self.no_file_origin,
            },
            limits: Limits {
                clients: self.max_clients as usize,
                handshake: Duration::from_secs_f64(self.handshake_timeout),
                idle: Duration::from_secs_f64(self.idle_timeout),
            },
            #[cfg(feature = "tls")]
            tls: self.tls_cert.zip(self.tls_key).map(|(cert, key)| crate::config::Tls { cert, key }),
            #[cfg(not(feature = "tls"))]
            tls: None,
            sandbox: !self.no_sandbox,
            webrtc: (cfg!(feature = "webrtc") && !self.no_webrtc).then_some(Webrtc {
                port: self.webrtc_port,
                public_ip: self.webrtc_public_ip,
                bitrate_bps: self.webrtc_bitrate.unwrap_or(0) * 1000,
                max_sessions: self.webrtc_max_sessions as usize,
            }),
            logging: Logging {
                format: match self.log_format {
                    LogFormatArg::Text => LogFormat::Text,
                    LogFormatArg::Json => LogFormat::Json,
                },
                level: match (self.quiet, self.verbose) {
                    (true, _) => tracing::Level::WARN,
                    (_, true) => tracing::Level::DEBUG,
                    _ => tracing::Level::INFO,
                },
            },
        })))
    }
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "stampcast", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn manual() -> String {
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = clap_mangen::Man::new(Cli::command()).render(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

impl From<DoctorArgs> for crate::doctor::Options {
    fn from(args: DoctorArgs) -> Self {
        let limits = crate::doctor::report::Limits {
            min_fps: args.min_fps,
            max_latency_ms: args.max_latency,
            max_av_offset_ms: args.max_av_offset,
            max_stamp_error_ms: args.max_stamp_error,
            max_gaps: args.max_gaps,
        };
        Self { url: args.url, seconds: args.seconds, json: args.json, limits }
    }
}

fn resolve(host: &str) -> Result<IpAddr, CliError> {
    let found = (host, 0).to_socket_addrs().ok().and_then(|mut a| a.next());
    found.map(|a| a.ip()).ok_or_else(|| {
        CliError::Usage(format!("--host {host} does not resolve to an address; give an address of this machine, or 0.0.0.0 for all"))
    })
}

fn fps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(f) if (0.1..=240.0).contains(&f) => Ok(f),
        _ => Err("frames per second are a number from 0.1 to 240".into()),
    }
}

fn secret(text: &str) -> Result<Secret, String> {
    if text.trim().is_empty() { Err("a token has at least one character".into()) } else { Ok(Secret::new(text.to_owned())) }
}

fn origin(text: &str) -> Result<String, String> {
    let is_origin =
        text.split_once("://").is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/'));
    if is_origin { Ok(text.to_owned()) } else { Err("an origin is https://HOST or https://HOST:PORT, without a path".into()) }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.1..=86_400.0).contains(&s) => Ok(s),
        _ => Err("seconds are a number from 0.1 to 86400".into()),
    }
}

fn control(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => Ok((name.trim().into(), value.trim().into())),
        _ => Err("a control is NAME=VALUE, such as exposure_time_absolute=200".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Command, CliError> {
        parse(std::iter::once("stampcast").chain(args.iter().copied()).map(Into::into))
    }
    fn config(args: &[&str]) -> Config {
        match run(args) {
            Ok(Command::Run(c)) => *c,
            other => panic!("{args:?} gave {other:?}"),
        }
    }
    fn refused(args: &[&str]) -> String {
        match run(args) {
            Err(CliError::Usage(line)) => line,
            other => panic!("{args:?} gave {other:?}"),
        }
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let c = config(&["--camera-type", "usb"]);
        assert_eq!((c.host.to_string().as_str(), c.port), ("0.0.0.0", 8080));
        let v = &c.video;
        assert_eq!((v.width, v.height, v.capture_width, v.capture_height), (640, 480, 640, 480));
        assert_eq!((v.fps, v.quality, v.quality_given, v.queue_packets), (15.0, 70, false, 50));
        assert_eq!(c.camera, Camera::Usb(UsbCamera::Index(0)));
        assert!(c.sound.is_none() && !c.exit_on_device_error && !c.serve_client);
        let s = config(&["--camera-type", "rpi", "--enable-audio"]).sound.expect("sound was asked for");
        assert_eq!((s.device, s.channels, s.rate_hz, s.queue_packets), (Microphone::Default, 1, None, 500));
    }

    #[test]
    fn the_test_camera_beeps_unless_a_microphone_is_chosen() {
        let device = |args: &[&str]| config(args).sound.expect("sound was asked for").device;
        assert_eq!(device(&["--camera-type", "test", "--enable-audio"]), Microphone::Beep);
        assert_eq!(device(&["--camera-type", "test", "--enable-audio", "--audio-device", "1"]), Microphone::Index(1));
        assert_eq!(device(&["--camera-type", "none", "--enable-audio", "--audio-name", "Mic"]), Microphone::Named("Mic".into()));
    }

    #[test]
    fn every_option_out_of_range_is_one_line_that_names_it() {
        for (option, value) in [
            ("--port", "65536"),
            ("--width", "0"),
            ("--width", "15"),
            ("--height", "8193"),
            ("--capture-width", "-1"),
            ("--capture-height", "x"),
            ("--fps", "0"),
            ("--fps", "NaN"),
            ("--fps", "241"),
            ("--quality", "0"),
            ("--quality", "101"),
            ("--device-id", "-1"),
            ("--audio-channels", "3"),
            ("--audio-samplerate", "7999"),
            ("--audio-device", "one"),
            ("--video-queue-size", "0"),
            ("--audio-queue-size", "10001"),
            ("--rotate", "45"),
            ("--flip", "x"),
            ("--camera-control", "exposure"),
            ("--log-format", "xml"),
        ] {
            let line = refused(&["--camera-type", "usb", &format!("{option}={value}")]);
            assert!(line.contains(option) && line.contains(value), "{option} {value}: {line}");
            assert!(!line.contains('\n'), "{line}");
        }
        assert!(refused(&[]).contains("--camera-type"));
        assert!(refused(&["--camera-type", "none"]).contains("--enable-audio"));
        assert!(refused(&["--camera-type", "usb", "--host", "no.such.host.invalid"]).contains("no.such.host.invalid"));
    }

    #[test]
    fn help_names_every_option_with_its_default_or_unit() {
        let Err(CliError::Wanted(help)) = run(&["--help"]) else { panic!("--help is text") };
        for expected in [
            "--video-queue-size",
            "[default: 50]",
            "[default: 500]",
            "[default: 15]",
            "[default: 70]",
            "[default: 8080]",
            "Hz",
            "pixels",
            "untouched",
        ] {
            assert!(help.contains(expected), "{expected} is not in {help}");
        }
    }
}
