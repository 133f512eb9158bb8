//! `GET /info` as JSON: the state of the server, of its clock and of its cameras (docs/info.md). A
//! field is null while its value is not known; so is everything that a device reports while the
//! device is missing.

use super::Cause;
use crate::media::{StampMark, StampSource, WorkerState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// `stampcast`
    pub name: String,
    /// The server's version: `0.1.0`.
    pub version: String,
    /// The server's clock.
    pub clock: Clock,
    /// Connected viewers, on any output, of the camera that `video` and `audio` are of.
    pub viewers: usize,
    /// The video of one camera: of the first, or of NAME at `/NAME/info`. Null when it has none.
    pub video: Option<Stream>,
    /// The audio of the same camera. Null when it has none.
    pub audio: Option<Stream>,
    /// All cameras by name, the one above among them.
    #[serde(default)]
    pub cameras: BTreeMap<String, CameraInfo>,
}

/// One camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// Connected viewers of this camera, on any output.
    pub viewers: usize,
    /// Null when it has no video.
    pub video: Option<Stream>,
    /// Null when it has no audio.
    pub audio: Option<Stream>,
}

/// The server's one mapping from CLOCK_MONOTONIC to UNIX time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// The server's UNIX time when this was written, seconds.
    pub now: f64,
    /// UNIX time minus monotonic time, ns.
    pub offset_ns: i64,
    /// Half width of the interval that holds the true offset of this machine's two clocks, ns.
    pub uncertainty_ns: u64,
    /// How often the UNIX clock was set while the server ran.
    pub steps: u64,
    /// Size of the last step, new time minus old time, seconds.
    pub last_step_seconds: Option<f64>,
}

/// The video or the audio of a camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// What the capture process is doing.
    pub state: WorkerState,
    /// The last fault, in one line.
    pub message: Option<String>,
    /// The device's name: `HD Pro Webcam C920 (/dev/video0)`.
    pub device: Option<String>,
    /// What the device delivers: `YUYV 640x480 at 30 fps`, `S16_LE`.
    pub device_format: Option<String>,
    /// What `/stream` sends: `jpeg`, `s16le`.
    pub format: String,
    /// Size and rate of frames, or rate and channels of audio; its fields are at the same level as
    /// the others.
    #[serde(flatten)]
    pub shape: Shape,
    /// Sequence number of the newest packet, of the encoding that was made last: JPEG and H.264,
    /// PCM and Opus are numbered separately.
    pub sequence: Option<u64>,
    /// How stamps are made.
    pub stamp: Option<Stamp>,
    /// What was lost since the server started while at least one viewer was connected, by cause.
    /// What the device and its worker lose is counted once, though it is missing in each of the
    /// stream's encodings; `ring` is the sum over these, `viewer_queue` over all viewers.
    pub drops: BTreeMap<Cause, Drops>,
}

/// What a stream's packets contain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Shape {
    /// Frames.
    Video {
        /// Pixels.
        width: Option<u16>,
        /// Pixels.
        height: Option<u16>,
        /// Frame rates.
        fps: Fps,
    },
    /// Audio samples.
    Audio {
        /// Samples per second and channel.
        rate: Option<u32>,
        /// Channels in each sample frame.
        channels: Option<u16>,
        /// How much faster the device's own clock runs than the host's, parts per million.
        drift_ppm: Option<f64>,
    },
}

/// Frames per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fps {
    /// Requested: the server's `--fps`.
    pub asked: Option<f64>,
    /// Over the last frames; null while no viewer is connected, since no frame is encoded then.
    pub measured: Option<f64>,
}

/// Which instant the stamps mark, and with what uncertainty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    /// The instant of a frame or of a packet of samples.
    pub marks: StampMark,
    /// Who read the clock.
    pub source: StampSource,
    /// The clock of the device's stamps: `CLOCK_MONOTONIC`.
    pub clock: String,
    /// Half width, ns, of the interval around the true instant that holds nine of ten stamps, as
    /// far as this machine can measure it: a camera's jitter, the residuals of a microphone's clock
    /// fit, or one frame's duration where the frame was stamped at the dequeue. Not included: a
    /// delay that all stamps share, and the clock's own `uncertainty_ns`. Null until it is measured
    /// (16 steps without a loss), and where a camera has no steady rate.
    pub uncertainty_ns: Option<u64>,
}

/// What was lost for one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drops {
    /// Packets.
    pub packets: u64,
    /// Interruptions in which the number of packets is not known.
    pub absences: u64,
    /// Total duration of these interruptions, seconds.
    pub seconds: f64,
}
