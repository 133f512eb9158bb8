//! Network parts shared by clients and servers: back-off, dialling, HTTP and TLS clients, URLs, the
//! list of interfaces, the connection limiter.

#[cfg(feature = "webrtc")]
pub(crate) mod back_off;
pub(crate) mod connection_limiter;
pub(crate) mod dial;
#[cfg(feature = "webrtc")]
pub(crate) mod http_client;
pub(crate) mod interfaces;
#[cfg(feature = "tls")]
pub(crate) mod tls_client;
#[cfg(feature = "tls")]
mod tls_verifier;
#[cfg(feature = "webrtc")]
pub(crate) mod url;
