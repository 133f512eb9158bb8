//! Network parts shared by clients and servers: back-off, dialling, TLS for clients.

#[cfg(feature = "webrtc")]
pub mod back_off;
#[cfg(feature = "webrtc")]
pub mod http_client;
#[cfg(feature = "tls")]
pub mod tls_verifier;
