//! `GET /info`: what the text format cannot carry. Every name here is public; a field is null where it is not known, which
//! is so for all that a device tells while the device is away.

use crate::media::{Cause, StampMark, StampSource, WorkerState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// `stampcast`
    pub name: String,
    pub version: String,
    pub clock: Clock,
    /// Connected viewers.
    pub viewers: usize,
    /// Null when the server has no camera.
    pub video: Option<Stream>,
    /// Null when sound is off.
    pub audio: Option<Stream>,
}

/// The server's one mapping from CLOCK_MONOTONIC to UNIX time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// The server's UNIX time when this was written, seconds.
    pub now: f64,
    /// UNIX less monotonic time.
    pub offset_ns: i64,
    /// Half width of the interval that holds the true offset of the two clocks of this machine.
    pub uncertainty_ns: u64,
    /// How often the UNIX clock was set while the server ran.
    pub steps: u64,
    /// Size of the last step, new time less old time.
    pub last_step_seconds: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    pub state: WorkerState,
    /// The last fault, in one line.
    pub message: Option<String>,
    pub device: Option<String>,
    /// What the device delivers: "YUYV 640x480".
    pub device_format: Option<String>,
    /// What is sent: `jpeg`, `s16le`.
    pub format: String,
    #[serde(flatten)]
    pub shape: Shape,
    /// The number of the newest packet; of the encoding that was made last (JPEG and H.264, samples and Opus are numbered
    /// each by itself).
    pub sequence: Option<u64>,
    pub stamp: Option<Stamp>,
    /// What was lost since the server started while somebody watched, by cause. What the device and its worker lose is counted
    /// once, though it is missing in each of the stream's encodings; `ring` is the sum over these, `viewer_queue` over all
    /// viewers.
    pub drops: BTreeMap<Cause, Drops>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Shape {
    Video {
        /// Pixels.
        width: Option<u16>,
        height: Option<u16>,
        fps: Fps,
    },
    Audio {
        /// Samples per second and channel.
        rate: Option<u32>,
        channels: Option<u16>,
        /// How much faster than the host's clock the device's own runs, parts per million.
        drift_ppm: Option<f64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fps {
    pub asked: Option<f64>,
    /// Over the last frames; null while nobody watches, since then none is encoded.
    pub measured: Option<f64>,
}

/// Which instant the stamps mark, and how well it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    pub marks: StampMark,
    pub source: StampSource,
    /// The clock that the device's stamps are in.
    pub clock: String,
    /// Half width of the interval about the true instant that holds nine of ten stamps, as far as it can be measured here:
    /// a camera's unevenness, a microphone's fit, one frame's time where the frame was stamped at the dequeue. Not in it:
    /// what every stamp is late by alike, and the clock's own `uncertainty_ns`. Null until it is measured (16 steps without a loss), and where
    /// a camera keeps no steady rate.
    pub uncertainty_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drops {
    pub packets: u64,
    /// Absences in which the number of packets cannot be known, and how long they were together.
    pub absences: u64,
    pub seconds: f64,
}
