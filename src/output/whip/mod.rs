//! WHIP: publishes a camera to a media server (RFC 9725). A session uses WebRTC's port and code
//! (`output::webrtc`); it begins with an HTTP request instead of a viewer's.

mod error;
pub(crate) mod link_header;
mod output;
mod publisher;
mod report;

pub use output::Whip;
pub use publisher::Publisher;
pub use report::{Report, State};

pub(super) use report::lock;
