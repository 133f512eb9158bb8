//! What travels: the words that every room shares (time, encodings, losses, provenance). Knows no device and no network.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An instant of CLOCK_MONOTONIC, nanoseconds. Orders packets; says nothing of the time of day.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// The clock read now.
    pub fn now() -> Self {
        let t = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .expect("CLOCK_MONOTONIC is always there on Linux");
        Self(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for MonoNs {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d.as_nanos() as u64))
    }
}

/// An instant of UNIX time (UTC, 1970), nanoseconds. Labels packets; never orders them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixNs(pub u64);

/// The two streams that a viewer can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    Video,
    Audio,
}

/// What a record's bytes are. Each encoding has a ring of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// One whole JPEG image.
    Jpeg,
    /// One H.264 access unit, Annex B.
    H264,
    /// Signed 16-bit little-endian samples, interleaved.
    Pcm,
    /// One Opus packet of [`OPUS_PACKET`].
    Opus,
}

/// The time that a packet of Opus covers.
pub const OPUS_PACKET: Duration = Duration::from_millis(20);

impl StreamKind {
    /// The word in names of processes, shared memory, metrics and log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

impl Encoding {
    /// The word in names of shared memory, metrics and log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::H264 => "h264",
            Self::Pcm => "pcm",
            Self::Opus => "opus",
        }
    }

    pub fn stream(self) -> StreamKind {
        match self {
            Self::Jpeg | Self::H264 => StreamKind::Video,
            Self::Pcm | Self::Opus => StreamKind::Audio,
        }
    }
}

/// Size of a picture, or rate and channels of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    Video { width: u16, height: u16 },
    Audio { rate_hz: u32, channels: u16 },
}

/// Why packets are missing: the names are those of the wire (gap events) and of `/info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The device skipped frames (a jump of the driver's sequence number).
    Driver,
    /// The device delivered bytes that are no picture, or marked them as faulty.
    Corrupt,
    /// The server read the ring too late and the oldest went.
    Ring,
    /// This viewer was too slow.
    ViewerQueue,
    /// The sound card's buffer overran.
    Xrun,
    /// The device was away: missing, unplugged, failing.
    SourceAway,
    /// The capture process died or was killed.
    WorkerRestarted,
}

/// Cumulative counts of what a source lost within one incarnation of its worker; carried by every record, so that a
/// cause outlives the record that would have told it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Packets, counted in the sequence.
    pub driver: u32,
    /// Packets, counted in the sequence.
    pub corrupt: u32,
    /// Absences of unknown length, not counted in the sequence.
    pub xrun: u32,
    /// Absences of unknown length, not counted in the sequence.
    pub source_away: u32,
}

/// One packet's label as it crosses a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Which life of the worker sent it: 1 for the first, one more after each restart.
    pub incarnation: u32,
    /// The packet's number, from 0, going on through restarts: counts what the source meant to send.
    pub sequence: u64,
    /// The instant that the packet's stamp marks (see [`StampMark`]).
    pub captured: MonoNs,
    pub shape: Shape,
    /// H.264: decodable without what came before. True for every other encoding.
    pub keyframe: bool,
    pub losses: Losses,
}

/// Which instant of a packet the stamp marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StampMark {
    /// The first line leaves the sensor or the first bytes reach the host (V4L2 SOE, CSI frame start).
    FrameStart,
    /// The last bytes of the frame reached the host (V4L2 EOF).
    EndOfFrame,
    FirstSample,
}

/// Who read the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StampSource {
    Sensor,
    Driver,
    /// The driver gives no usable stamp: the clock was read when the frame was taken from it.
    Dequeue,
    /// Made, not captured (the test source).
    Generator,
}

/// What a worker says of its stream, as JSON in its status page; `/info` repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// The device as a person would name it: "HD Pro Webcam C920 (/dev/video0)".
    pub device: String,
    /// What the device delivers: "YUYV 640x480", "S16_LE".
    pub device_format: String,
    pub shape: Shape,
    /// Frames per second asked for; null for sound.
    pub fps: Option<f64>,
    pub stamp_marks: StampMark,
    pub stamp_source: StampSource,
    /// The clock that the device's stamps are in: "CLOCK_MONOTONIC".
    pub stamp_clock: String,
    /// What the stamps scatter by: half width of the interval about the true instant that holds nine of ten stamps, as far as
    /// it can be measured on this side of the cable (docs/time.md); null until it is measured and where it cannot be.
    pub uncertainty_ns: Option<u64>,
    /// How much faster than the host's clock the device's own runs, parts per million (sound only).
    pub drift_ppm: Option<f64>,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    Starting,
    /// The device is missing or failed; the worker waits for it.
    WaitingForDevice,
    Streaming,
}
