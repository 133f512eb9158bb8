//! WebRTC: H.264 and Opus of the hubs for browsers and media servers. All sessions share one port,
//! on UDP and TCP; each session is a task of its own.
//!
//! ```text
//! offer ─► http ─► signalling (checks) ─► Server::answer ─► Session ─┬─► port: UDP, ICE-TCP
//! WHIP publisher ───────────────────────► Server::offer ──► Session ─┤
//!                                               hub: H.264, Opus ────┘
//! port ─► demux: the session of a datagram ─► its inbox ─► Session
//! ```

mod address_guard;
pub mod address_validation;
pub mod bitrate_control;
pub mod byte_queue;
pub mod clock_shift;
pub mod demux;
pub mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
pub mod ice_tcp;
pub mod isolated_task;
#[cfg(test)]
mod limit_tests;
mod outgoing_offer;
mod output;
pub mod pending_checks;
pub mod port;
mod rtc_factory;
mod server;
pub mod session;
pub mod sessions;
pub mod signalling;
pub mod stun;
pub mod stun_client;
#[cfg(test)]
pub mod tests;

pub use crate::output::whip::State as WhipState;
pub(crate) use outgoing_offer::OutgoingOffer;
pub use output::WebRtc;
pub(crate) use server::OfferRequest;
pub use server::{Answer, Camera, OfferError, Report, Server};
pub use sessions::SessionKind;
pub use signalling::{BadOffer, MAX_OFFER_BYTES};

/// Whether a viewer may receive audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioAccess {
    Allowed,
    Forbidden,
}
