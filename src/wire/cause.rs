//! Why packets are missing, as a word of the wire, and the gap that it explains.

use crate::media;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why packets are missing: a word of gap events and of `drops` in `/info`. Decoding accepts every
/// word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cause {
    /// A cause that this version knows.
    Known(media::Cause),
    /// The word of a later version.
    Other(String),
}

/// Packets missing before a packet of a stream: in JSON `"count":12,"cause":"viewer_queue"`, and
/// `"seconds":1.5` beside `"count":null`.
pub type Gap = media::Gap<Cause>;

impl Cause {
    /// The word on the wire: `viewer_queue`.
    pub fn name(&self) -> &str {
        match self {
            Self::Known(cause) => cause.name(),
            Self::Other(name) => name,
        }
    }
}

impl From<media::Cause> for Cause {
    fn from(cause: media::Cause) -> Self {
        Self::Known(cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
