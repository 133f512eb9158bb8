//! What happens to a stream between two packets. Outputs render it in their own words.

use crate::media::{MediaKind, UnixNs};

/// An event and when it happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StampedEvent {
    pub stamp: UnixNs,
    pub event: Event,
}

/// Something that concerns one stream of the hub's camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The device became unavailable. The worker waits for it.
    SourceLost { stream: MediaKind },
    /// The device delivers again.
    SourceBack { stream: MediaKind },
    /// The UNIX clock was set: earlier stamps of the stream have the old time, later ones the new.
    ClockStep {
        stream: MediaKind,
        /// New time minus old time.
        seconds: f64,
    },
}
