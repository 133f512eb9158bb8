//! Events: what a viewer that asked with `events=1` is told between packets.

use crate::media::{Cause, MediaKind, Shape};
use serde::{Deserialize, Serialize};

/// Sent as JSON: `{"event":"gap","stream":"video","count":12,"cause":"viewer_queue"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Packets are missing exactly here, before the next packet of the stream, whose stamp the event bears.
    Gap {
        stream: MediaKind,
        /// Packets; null where the number cannot be known, and then `seconds` is given.
        count: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        cause: Cause,
    },
    /// The device is away. The server waits for it.
    SourceLost {
        stream: MediaKind,
    },
    SourceBack {
        stream: MediaKind,
    },
    /// From the next packet of the stream on: a new size, or a new rate.
    Format {
        stream: MediaKind,
        #[serde(flatten)]
        shape: EventShape,
    },
    /// The server's UNIX clock was set: the stream's stamps so far are by the old time, those from here on by the new one.
    ClockStep {
        stream: MediaKind,
        /// New time less old time.
        seconds: f64,
    },
}

/// [`Shape`] under the names that events and `/info` use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventShape {
    /// Pixels.
    Video { width: u16, height: u16 },
    /// Samples per second and channel.
    Audio { rate: u32, channels: u16 },
}

impl From<Shape> for EventShape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Video { width, height } => Self::Video { width, height },
            Shape::Audio { rate_hz, channels } => Self::Audio {
                rate: rate_hz,
                channels,
            },
        }
    }
}

impl Event {
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event is plain names and finite numbers")
    }

    /// `None` when it is no JSON or no event that this version knows.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}
