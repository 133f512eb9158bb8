//! The address to listen on, the page, and TLS.

use super::ConfigError;
#[cfg(feature = "tls")]
use super::check_readable;
use super::option_table::{Effective, OptionFacts};
use clap::ArgAction;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;

pub(super) const OPTIONS: &[OptionFacts] = &[
    OptionFacts::new("host", Effective::Always),
    OptionFacts::new("port", Effective::Always),
    OptionFacts::new("serve_client", Effective::Always),
    #[cfg(feature = "tls")]
    OptionFacts::new("tls_cert", Effective::Always),
    #[cfg(feature = "tls")]
    OptionFacts::new("tls_key", Effective::Always),
];

/// PEM files of the server's TLS, read by the server process only.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate, then its intermediate certificates.
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// Address or name to listen on; 0.0.0.0: all IPv4 interfaces
    #[arg(long, env = "STAMPCAST_HOST", default_value = "0.0.0.0")]
    host: String,

    /// TCP port; 0: any free port, printed at start
    #[arg(long, env = "STAMPCAST_PORT", default_value_t = 8080)]
    pub(crate) port: u16,

    /// Serve the viewer page at /
    #[arg(long, env = "STAMPCAST_SERVE_CLIENT", action = ArgAction::SetTrue)]
    pub(crate) serve_client: bool,

    /// Serve https:// and wss:// with the certificate chain in this PEM file; reloaded when it
    /// changes
    #[cfg(feature = "tls")]
    #[arg(
        long,
        env = "STAMPCAST_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key, a PEM file
    #[cfg(feature = "tls")]
    #[arg(
        long,
        env = "STAMPCAST_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
}

impl NetworkArgs {
    /// The address of `--host`. Resolves names, which may take as long as the resolver does.
    ///
    /// # Errors
    /// [`ConfigError::HostNotFound`].
    pub(crate) fn address(&self) -> Result<IpAddr, ConfigError> {
        (self.host.as_str(), 0)
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .map(|address| address.ip())
            .ok_or_else(|| ConfigError::HostNotFound(self.host.clone()))
    }

    /// # Errors
    /// [`ConfigError::Unreadable`].
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        let Some((cert, key)) = self.tls_cert.clone().zip(self.tls_key.clone()) else {
            return Ok(None);
        };
        check_readable("--tls-cert", &cert)?;
        check_readable("--tls-key", &key)?;
        Ok(Some(Tls { cert, key }))
    }

    /// # Errors
    /// None in this build.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        Ok(None)
    }
}
