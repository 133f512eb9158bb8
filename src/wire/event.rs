//! Events: what happened to a stream, between its packets, for viewers that ask for `events=1`.

use super::{AudioFormat, Gap};
use crate::media::{MediaKind, Shape};
use serde::{Deserialize, Serialize};

/// One event; its JSON is one object whose `event` is the variant's name in snake case:
/// `{"event":"gap","stream":"video","count":12,"span_seconds":0.52,"cause":"viewer_queue"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Packets are missing exactly here, before the next packet of the stream. The event has the
    /// stamp of that packet.
    Gap {
        /// The stream that lacks them.
        stream: MediaKind,
        /// How many are missing, and why.
        #[serde(flatten)]
        gap: Gap,
    },
    /// The device failed or was unplugged. The server waits for it.
    SourceLost {
        /// The stream of the device.
        stream: MediaKind,
    },
    /// The device delivers again.
    SourceBack {
        /// The stream of the device.
        stream: MediaKind,
    },
    /// From the next packet of the stream on, another size, or another rate or number of channels.
    Format {
        /// The stream that changes.
        stream: MediaKind,
        /// The new size or rate.
        #[serde(flatten)]
        shape: EventShape,
    },
    /// The server's UNIX clock was set: the stream's earlier stamps are by the old time, later ones
    /// by the new time.
    ClockStep {
        /// The stream whose stamps change here; each stream gets its own event.
        stream: MediaKind,
        /// New time minus old time, seconds.
        seconds: f64,
    },
    /// An event of a later version. A client that does not know its name ignores it.
    #[serde(untagged)]
    Other(OtherEvent),
}

/// Size of frames or format of audio, under the names of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventShape {
    /// Of a frame.
    Video {
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
    },
    /// Of samples: `rate` and `channels`.
    Audio(AudioFormat),
}

/// An event that this version does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "AnyEvent")]
pub struct OtherEvent {
    /// Its `event` field.
    #[serde(rename = "event")]
    pub name: String,
    /// Its other fields.
    #[serde(flatten)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// Names of the variants above: one of these with wrong fields is malformed, not an event of a
/// later version.
const KNOWN: [&str; 5] = ["gap", "source_lost", "source_back", "format", "clock_step"];

#[derive(Deserialize)]
struct AnyEvent {
    event: String,
    #[serde(flatten)]
    fields: serde_json::Map<String, serde_json::Value>,
}

impl TryFrom<AnyEvent> for OtherEvent {
    type Error = String;

    fn try_from(any: AnyEvent) -> Result<Self, String> {
        if KNOWN.contains(&any.event.as_str()) {
            return Err(format!("malformed {} event", any.event));
        }
        Ok(Self {
            name: any.event,
            fields: any.fields,
        })
    }
}

impl From<Shape> for EventShape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Video { width, height } => Self::Video { width, height },
            Shape::Audio { rate_hz, channels } => Self::Audio(AudioFormat { rate_hz, channels }),
        }
    }
}

impl Event {
    /// The event as one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event is plain names and finite numbers")
    }

    /// Decodes UTF-8 JSON; `None` for anything but an object with an `event` field, and for a known
    /// event with missing or malformed fields.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}
