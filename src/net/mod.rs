//! Network parts shared by clients and servers: back-off, dialling, TLS for clients, the connection
//! limiter.

#[cfg(feature = "webrtc")]
pub mod back_off;
pub(crate) mod connection_limiter;
#[cfg(feature = "webrtc")]
pub mod http_client;
#[cfg(feature = "tls")]
pub mod tls_client;
#[cfg(feature = "tls")]
pub mod tls_verifier;
