//! The video of one camera: where frames come from, their size, rate and orientation.

use super::option_table::{Effective, OptionFacts};
use super::values::{control, fps, keyframe_interval};
use crate::media::default_h264_bps;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::path::PathBuf;
use std::time::Duration;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
const FPS: f64 = 15.0;
const QUALITY: u8 = 70;
const QUEUE_PACKETS: u32 = 50;
const KEYFRAME_INTERVAL_S: f64 = 2.0;

pub(super) const OPTIONS: &[OptionFacts] = &[
    OptionFacts::new("camera_type", Effective::Always),
    OptionFacts::new("width", Effective::Video),
    OptionFacts::new("height", Effective::Video),
    OptionFacts::new("capture_width", Effective::DeviceCamera),
    OptionFacts::new("capture_height", Effective::DeviceCamera),
    OptionFacts::new("fps", Effective::Video),
    OptionFacts::new("quality", Effective::Video),
    OptionFacts::new("device_id", Effective::UsbCamera).excludes("device"),
    OptionFacts::new("device", Effective::UsbCamera),
    OptionFacts::new("rotate", Effective::Video),
    OptionFacts::new("flip", Effective::Video),
    OptionFacts::new("camera_control", Effective::DeviceCamera),
    OptionFacts::new("keyframe_interval", Effective::H264),
    OptionFacts::new("h264_bitrate", Effective::H264),
    OptionFacts::new("video_queue_size", Effective::Video),
];

#[derive(Clone, Debug)]
pub struct VideoConfig {
    pub source: VideoSourceConfig,
    /// The streamed size before `rotate`, pixels: a quarter turn of 640x480 streams 480x640.
    pub width: u32,
    pub height: u32,
    /// The size that the camera is set to, pixels.
    pub capture_width: u32,
    pub capture_height: u32,
    /// Frames per second, > 0.
    pub fps: f64,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// The user gave a quality: a camera's own JPEG is decoded and encoded again.
    pub quality_given: bool,
    pub rotate: Rotate,
    pub flip: Flip,
    /// `--camera-control NAME=VALUE`, in the order given.
    pub controls: Vec<(String, String)>,
    /// The longest time from one H.264 keyframe to the next, in capture time.
    pub keyframe_interval: Duration,
    /// H.264's bit rate, bits per second. `None`: by the size of the video, see
    /// [`default_h264_bps`].
    pub h264_bitrate_bps: Option<u32>,
    /// Capacity of a ring, packets.
    pub queue_packets: u32,
}

impl VideoConfig {
    /// H.264's bit rate for video of `size`, pixels: the given one, else by the size.
    pub fn h264_bps(&self, size: (usize, usize)) -> u32 {
        self.h264_bitrate_bps
            .unwrap_or_else(|| default_h264_bps(size, self.keyframe_interval))
    }
}

/// The defaults of the command line, with the test pattern.
impl Default for VideoConfig {
    fn default() -> Self {
        Self {
            source: VideoSourceConfig::Test,
            width: WIDTH,
            height: HEIGHT,
            capture_width: WIDTH,
            capture_height: HEIGHT,
            fps: FPS,
            quality: QUALITY,
            quality_given: false,
            rotate: Rotate::default(),
            flip: Flip::default(),
            controls: Vec::new(),
            keyframe_interval: Duration::from_secs_f64(KEYFRAME_INTERVAL_S),
            h264_bitrate_bps: None,
            queue_packets: QUEUE_PACKETS,
        }
    }
}

/// Where frames come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoSourceConfig {
    Usb(UsbCamera),
    /// A Raspberry Pi camera, through rpicam-vid.
    Rpi,
    /// A moving pattern with its capture time drawn in.
    Test,
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

/// Clockwise rotation, applied before [`Flip`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotate {
    #[default]
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

impl ValueEnum for Rotate {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::None, Self::Quarter, Self::Half, Self::ThreeQuarters]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::None => "0",
            Self::Quarter => "90",
            Self::Half => "180",
            Self::ThreeQuarters => "270",
        }))
    }
}

// Comments on the variants would become help texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Flip {
    #[default]
    None,
    // Left and right change places.
    Horizontal,
    // Top and bottom change places.
    Vertical,
    Both,
}

/// `--camera-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CameraType {
    Rpi,
    Usb,
    Test,
    None,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Video")]
pub(crate) struct VideoArgs {
    /// Width of the streamed video, pixels (16 to 8192)
    #[arg(long, env = "STAMPCAST_WIDTH", default_value_t = WIDTH, value_parser = clap::value_parser!(u32).range(16..=8192))]
    width: u32,

    /// Height of the streamed video, pixels (16 to 8192)
    #[arg(long, env = "STAMPCAST_HEIGHT", default_value_t = HEIGHT, value_parser = clap::value_parser!(u32).range(16..=8192))]
    height: u32,

    /// Width that the camera captures, pixels; scaled to --width [default: --width]
    #[arg(long, env = "STAMPCAST_CAPTURE_WIDTH", value_parser = clap::value_parser!(u32).range(16..=8192))]
    capture_width: Option<u32>,

    /// Height that the camera captures, pixels; scaled to --height [default: --height]
    #[arg(long, env = "STAMPCAST_CAPTURE_HEIGHT", value_parser = clap::value_parser!(u32).range(16..=8192))]
    capture_height: Option<u32>,

    /// Frames per second (0.1 to 240, may be fractional); frames of a faster camera are dropped
    /// evenly
    #[arg(long, env = "STAMPCAST_FPS", default_value_t = FPS, value_parser = fps)]
    fps: f64,

    /// JPEG quality (1 to 100) [default: 70]. JPEG from a USB camera at the streamed size is
    /// passed through unchanged unless this is given
    #[arg(long, env = "STAMPCAST_QUALITY", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: Option<u8>,

    /// USB camera: the N of /dev/videoN
    #[arg(long, env = "STAMPCAST_DEVICE_ID", default_value_t = 0)]
    device_id: u32,

    /// USB camera by path (/dev/v4l/by-id/…), serial number or name; stable across reboots
    #[arg(long, env = "STAMPCAST_DEVICE")]
    device: Option<String>,

    /// Rotate the video clockwise, degrees; --width and --height are those before the rotation
    #[arg(long, env = "STAMPCAST_ROTATE", value_enum, default_value_t)]
    rotate: Rotate,

    /// Mirror the video, after --rotate
    #[arg(long, env = "STAMPCAST_FLIP", value_enum, default_value_t)]
    flip: Flip,

    /// Set a control of the camera, such as exposure_time_absolute=200; --list-devices shows the
    /// names; may be repeated (only one via the environment)
    #[arg(long, env = "STAMPCAST_CAMERA_CONTROL", value_name = "NAME=VALUE", value_parser = control)]
    camera_control: Vec<(String, String)>,

    /// Longest time between two H.264 keyframes, seconds (0.5 to 60)
    #[arg(long, env = "STAMPCAST_KEYFRAME_INTERVAL", value_name = "SECONDS", default_value_t = KEYFRAME_INTERVAL_S, value_parser = keyframe_interval)]
    keyframe_interval: f64,

    /// Bit rate of H.264, bits per second (100000 to 100000000) [default: by the size of the video,
    /// 1440000 at 640x480]. WebRTC lowers it for viewers with slow connections, see
    /// --webrtc-bitrate
    #[arg(long, env = "STAMPCAST_H264_BITRATE", value_name = "BPS", value_parser = clap::value_parser!(u32).range(100_000..=100_000_000))]
    h264_bitrate: Option<u32>,

    /// Frames queued between camera and network, and per viewer with delivery=all; when full, the
    /// oldest is dropped (1 to 10000)
    #[arg(long, env = "STAMPCAST_VIDEO_QUEUE_SIZE", default_value_t = QUEUE_PACKETS, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    video_queue_size: u32,
}

impl VideoArgs {
    fn source(&self, camera_type: CameraType) -> Option<VideoSourceConfig> {
        match camera_type {
            CameraType::Usb => Some(VideoSourceConfig::Usb(match &self.device {
                Some(d) if d.starts_with('/') => UsbCamera::Path(PathBuf::from(d)),
                Some(d) => UsbCamera::Named(d.clone()),
                None => UsbCamera::Index(self.device_id),
            })),
            CameraType::Rpi => Some(VideoSourceConfig::Rpi),
            CameraType::Test => Some(VideoSourceConfig::Test),
            CameraType::None => None,
        }
    }

    /// `None`: no camera.
    pub(crate) fn video(self, camera_type: CameraType) -> Option<VideoConfig> {
        Some(VideoConfig {
            source: self.source(camera_type)?,
            width: self.width,
            height: self.height,
            capture_width: self.capture_width.unwrap_or(self.width),
            capture_height: self.capture_height.unwrap_or(self.height),
            fps: self.fps,
            quality: self.quality.unwrap_or(QUALITY),
            quality_given: self.quality.is_some(),
            rotate: self.rotate,
            flip: self.flip,
            controls: self.camera_control,
            keyframe_interval: Duration::from_secs_f64(self.keyframe_interval),
            h264_bitrate_bps: self.h264_bitrate,
            queue_packets: self.video_queue_size,
        })
    }
}
