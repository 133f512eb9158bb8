//! Options of the camera and of the microphone.

use super::values::{control, fps};
use crate::config::{Camera, Flip, Microphone, Rotate, Sound, UsbCamera, Video};
use clap::{ArgAction, ValueEnum};
use std::path::PathBuf;

/// `--camera-type`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CameraType {
    Rpi,
    Usb,
    Test,
    None,
}

/// Whether an option changes nothing with this camera, or without sound.
pub(super) fn is_idle(id: &str, camera: &Camera, sound: bool) -> bool {
    match id {
        "device_id" | "device" => !matches!(camera, Camera::Usb(_)),
        "capture_width" | "capture_height" | "camera_control" => {
            matches!(camera, Camera::Test | Camera::None)
        }
        "width" | "height" | "fps" | "quality" | "rotate" | "flip" | "video_queue_size" => {
            *camera == Camera::None
        }
        "audio_device" | "audio_name" | "audio_channels" | "audio_samplerate"
        | "audio_queue_size" => !sound,
        _ => false,
    }
}

/// The picture.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Video")]
pub(super) struct VideoArgs {
    /// Width of the streamed picture, pixels (16 to 8192)
    #[arg(long, env = "STAMPCAST_WIDTH", default_value_t = 640, value_parser = clap::value_parser!(u32).range(16..=8192))]
    width: u32,

    /// Height of the streamed picture, pixels (16 to 8192)
    #[arg(long, env = "STAMPCAST_HEIGHT", default_value_t = 480, value_parser = clap::value_parser!(u32).range(16..=8192))]
    height: u32,

    /// Width the USB camera is set to, pixels; scaled to --width [default: --width]
    #[arg(long, env = "STAMPCAST_CAPTURE_WIDTH", value_parser = clap::value_parser!(u32).range(16..=8192))]
    capture_width: Option<u32>,

    /// Height the USB camera is set to, pixels; scaled to --height [default: --height]
    #[arg(long, env = "STAMPCAST_CAPTURE_HEIGHT", value_parser = clap::value_parser!(u32).range(16..=8192))]
    capture_height: Option<u32>,

    /// Frames per second (0.1 to 240, may be fractional); a faster camera is thinned evenly
    #[arg(long, env = "STAMPCAST_FPS", default_value_t = 15.0, value_parser = fps)]
    fps: f64,

    /// JPEG quality (1 to 100) [default: 70]. A USB camera's own JPEG of the asked size is sent untouched unless this is given
    #[arg(long, env = "STAMPCAST_QUALITY", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: Option<u8>,

    /// Which USB camera: the N of /dev/videoN
    #[arg(long, env = "STAMPCAST_DEVICE_ID", default_value_t = 0)]
    device_id: u32,

    /// Which USB camera, by path (/dev/v4l/by-id/…), serial number or name; stays the same over reboots
    #[arg(long, env = "STAMPCAST_DEVICE")]
    device: Option<String>,

    /// Turn the picture clockwise, degrees; --width and --height are those before the turn
    #[arg(long, env = "STAMPCAST_ROTATE", value_enum, default_value = "0")]
    rotate: RotateArg,

    /// Mirror the picture, after --rotate
    #[arg(long, env = "STAMPCAST_FLIP", value_enum, default_value = "none")]
    flip: FlipArg,

    /// Set a control of the camera, such as exposure_time_absolute=200; may be repeated (the environment holds one); --list-devices names them
    #[arg(long, env = "STAMPCAST_CAMERA_CONTROL", value_name = "NAME=VALUE", value_parser = control)]
    camera_control: Vec<(String, String)>,

    /// Frames that may wait between camera and network, and per viewer with delivery=all; the oldest goes (1 to 10000)
    #[arg(long, env = "STAMPCAST_VIDEO_QUEUE_SIZE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    video_queue_size: u32,
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

impl VideoArgs {
    pub(super) fn camera(&self, camera_type: CameraType) -> Camera {
        match camera_type {
            CameraType::Usb => Camera::Usb(match &self.device {
                Some(d) if d.starts_with('/') => UsbCamera::Path(PathBuf::from(d)),
                Some(d) => UsbCamera::Named(d.clone()),
                None => UsbCamera::Index(self.device_id),
            }),
            CameraType::Rpi => Camera::Rpi,
            CameraType::Test => Camera::Test,
            CameraType::None => Camera::None,
        }
    }

    pub(super) fn video(self) -> Video {
        Video {
            width: self.width,
            height: self.height,
            capture_width: self.capture_width.unwrap_or(self.width),
            capture_height: self.capture_height.unwrap_or(self.height),
            fps: self.fps,
            quality: self.quality.unwrap_or(70),
            quality_given: self.quality.is_some(),
            rotate: match self.rotate {
                RotateArg::R0 => Rotate::None,
                RotateArg::R90 => Rotate::Quarter,
                RotateArg::R180 => Rotate::Half,
                RotateArg::R270 => Rotate::ThreeQuarters,
            },
            flip: match self.flip {
                FlipArg::None => Flip::None,
                FlipArg::Horizontal => Flip::Horizontal,
                FlipArg::Vertical => Flip::Vertical,
                FlipArg::Both => Flip::Both,
            },
            controls: self.camera_control,
            queue_packets: self.video_queue_size,
        }
    }
}

/// The sound.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Sound")]
pub(super) struct SoundArgs {
    /// Stream sound too
    #[arg(long, env = "STAMPCAST_ENABLE_AUDIO", action = ArgAction::SetTrue)]
    pub(super) enable_audio: bool,

    /// Which microphone, as --list-devices counts [default: the system's, else the first]
    #[arg(long, env = "STAMPCAST_AUDIO_DEVICE", value_name = "N")]
    audio_device: Option<u32>,

    /// Which microphone, by ALSA name (hw:CARD=Mic,DEV=0), card name or serial number; stays the same over reboots
    #[arg(long, env = "STAMPCAST_AUDIO_NAME")]
    audio_name: Option<String>,

    /// Channels sent (1 or 2)
    #[arg(long, env = "STAMPCAST_AUDIO_CHANNELS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2))]
    audio_channels: u16,

    /// Sample rate sent, Hz (8000 to 192000) [default: the device's own]
    #[arg(long, env = "STAMPCAST_AUDIO_SAMPLERATE", value_name = "HZ", value_parser = clap::value_parser!(u32).range(8_000..=192_000))]
    audio_samplerate: Option<u32>,

    /// Sound packets that may wait between microphone and network, and per viewer with delivery=all (1 to 10000)
    #[arg(long, env = "STAMPCAST_AUDIO_QUEUE_SIZE", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    audio_queue_size: u32,
}

impl SoundArgs {
    /// `None`: no sound. The test camera brings its own sound, unless a microphone is chosen.
    pub(super) fn sound(self, camera: &Camera) -> Option<Sound> {
        let device = match (self.audio_device, self.audio_name) {
            (Some(n), _) => Microphone::Index(n),
            (None, Some(name)) => Microphone::Named(name),
            (None, None) if matches!(camera, Camera::Test) => Microphone::Beep,
            (None, None) => Microphone::Default,
        };
        self.enable_audio.then_some(Sound {
            device,
            channels: self.audio_channels,
            rate_hz: self.audio_samplerate,
            queue_packets: self.audio_queue_size,
        })
    }
}
