//! What the server says about itself: the address list, `/info`, `/state`, `/metrics`, and the page.

pub mod index;
pub mod metrics;
pub mod page;
pub mod prometheus;
pub mod ustreamer_state;
