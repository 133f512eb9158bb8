//! Identities of cameras, streams and tracks: data, not variants, so that their number is not fixed
//! anywhere. Everything between sources and outputs is keyed by them.

use super::Encoding;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The longest camera name, bytes.
const MAX_NAME: usize = 32;

/// The name of a camera: `[a-z0-9][a-z0-9_-]{0,31}`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraId(Arc<str>);

/// Not for cameras: the first parts of the server's own addresses, present and planned.
const RESERVED: [&str; 23] = [
    "annotations",
    "api",
    "cameras",
    "captions",
    "clip",
    "config",
    "controls",
    "foxglove",
    "healthz",
    "hls",
    "info",
    "metrics",
    "mix",
    "record",
    "recordings",
    "rtsp",
    "snapshot",
    "state",
    "static",
    "stream",
    "webrtc",
    "whep",
    "whip",
];

/// A text that is not a camera name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCameraId {
    #[error(
        "{0:?} is not a camera name: use 1 to 32 lower-case letters, digits, `_` and `-`, \
         beginning with a letter or digit"
    )]
    Malformed(String),
    #[error("a camera cannot be named {0}: that is an address of the server")]
    Reserved(String),
}

impl CameraId {
    /// # Errors
    /// `name` is empty, too long, has other characters, or is reserved.
    pub fn new(name: &str) -> Result<Self, InvalidCameraId> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_valid = name.len() <= MAX_NAME
            && name.bytes().next().is_some_and(is_plain)
            && name.bytes().all(|b| is_plain(b) || b == b'_' || b == b'-');
        if !is_valid {
            let shown = name.chars().take(64).collect();
            Err(InvalidCameraId::Malformed(shown))
        } else if RESERVED.contains(&name) {
            Err(InvalidCameraId::Reserved(name.to_owned()))
        } else {
            Ok(Self(name.into()))
        }
    }

    /// The one camera of a program without a configuration file.
    pub fn main() -> Self {
        Self("main".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CameraId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Video or audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Frames of a camera.
    Video,
    /// Samples of a microphone.
    Audio,
}

impl MediaKind {
    /// Every kind, in the order of the wire.
    pub const ALL: [Self; 2] = [Self::Video, Self::Audio];

    /// The word in names of processes, shared memory, metrics and log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

/// The video or the audio of one camera.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub camera: CameraId,
    pub kind: MediaKind,
}

impl fmt::Display for StreamId {
    /// `main/video`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.camera, self.kind.name())
    }
}

/// One encoding of one stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId {
    pub stream: StreamId,
    pub encoding: Encoding,
}

impl fmt::Display for TrackId {
    /// `main/video/h264`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.encoding.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_id_accepts_documented_names_only() {
        for name in ["main", "left", "0", "a-b_c", &"x".repeat(32)] {
            assert_eq!(CameraId::new(name).expect(name).as_str(), name);
        }
        for name in [
            "",
            "Main",
            "-a",
            "_a",
            "a b",
            "ä",
            "a/b",
            "a.b",
            &"x".repeat(33),
        ] {
            assert!(CameraId::new(name).is_err(), "{name:?}");
        }
        for name in RESERVED {
            let error = CameraId::new(name).expect_err(name);
            assert_eq!(error, InvalidCameraId::Reserved(name.to_owned()));
        }
    }
}
