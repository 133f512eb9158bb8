//! Network parts shared by clients and servers: back-off, dialling, TLS for clients, the list of
//! interfaces, the connection limiter.

#[cfg(feature = "webrtc")]
pub mod back_off;
pub(crate) mod connection_limiter;
#[cfg(feature = "webrtc")]
pub mod http_client;
pub(crate) mod interfaces;
#[cfg(feature = "tls")]
pub mod tls_client;
#[cfg(feature = "tls")]
pub mod tls_verifier;
