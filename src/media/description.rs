//! What a worker reports about its source: device, stamps, state. The enums are part of
//! [`wire`](crate::wire).
#![deny(missing_docs)]

use super::Shape;
use serde::{Deserialize, Serialize};

/// Which instant of a packet its stamp marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StampMark {
    /// The first line leaves the sensor or the first bytes reach the host (V4L2 SOE, CSI frame
    /// start).
    FrameStart,
    /// The last bytes of the frame reached the host (V4L2 EOF).
    EndOfFrame,
    /// The first sample of a packet of audio.
    FirstSample,
}

/// Who read the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StampSource {
    /// The camera's own hardware path, as the kernel saw it (Raspberry Pi camera).
    Sensor,
    /// The device's driver.
    Driver,
    /// The driver gives no usable stamp: the clock was read when the frame was dequeued.
    Dequeue,
    /// Generated, not captured (the test source).
    Generator,
}

/// A worker's description of its stream, as JSON in its status page; `/info` repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// The device as a person would name it: "HD Pro Webcam C920 (/dev/video0)".
    pub device: String,
    /// What the device delivers: "YUYV 640x480", "S16_LE".
    pub device_format: String,
    /// Size of its frames, or rate and channels of its audio.
    pub shape: Shape,
    /// Frames per second asked for; null for audio.
    pub fps: Option<f64>,
    /// Which instant its stamps mark.
    pub stamp_marks: StampMark,
    /// Who read the clock for them.
    pub stamp_source: StampSource,
    /// The clock that the device's stamps are in: "CLOCK_MONOTONIC".
    pub stamp_clock: String,
    /// Half width of the interval around the true instant that holds nine of ten stamps, as far as
    /// it can be measured on this side of the cable (docs/time.md), ns; null until it is measured
    /// and where it cannot be.
    pub uncertainty_ns: Option<u64>,
    /// How much faster than the host's clock the device's own runs, parts per million (audio
    /// only).
    pub drift_ppm: Option<f64>,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// The process has started; its device is not open yet.
    Starting,
    /// The device is missing or failed; the worker waits for it.
    WaitingForDevice,
    /// The device delivers.
    Streaming,
}
