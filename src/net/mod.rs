//! Network parts shared by clients and servers: scopes of addresses, back-off, dialling, HTTP and
//! TLS clients, hosts and URLs, the list of interfaces, the connection limiter.

#[cfg(feature = "webrtc")]
pub(crate) mod address_scope;
#[cfg(feature = "webrtc")]
pub(crate) mod back_off;
pub(crate) mod connection_limiter;
pub(crate) mod dial;
pub(crate) mod host;
#[cfg(feature = "webrtc")]
pub(crate) mod http_client;
pub(crate) mod interfaces;
#[cfg(feature = "tls")]
pub(crate) mod tls_client;
#[cfg(feature = "tls")]
mod tls_verifier;
#[cfg(feature = "webrtc")]
pub(crate) mod url;
