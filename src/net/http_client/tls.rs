//! TLS for requests: root certificates are read with the first connection that needs them.

use super::HttpError;
use crate::media::printable;
use crate::net::tls_client;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Which servers are trusted. Made for one session: the next one reads renewed certificates, and
/// the request that ends the session has no time to read any.
pub(crate) struct TlsSettings {
    extra_certificates: Option<PathBuf>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl TlsSettings {
    /// `extra_certificates`: a PEM file of certificates to trust besides the system's.
    pub(crate) fn new(extra_certificates: Option<PathBuf>) -> Self {
        Self {
            extra_certificates,
            config: OnceLock::new(),
        }
    }

    /// Performs the handshake.
    ///
    /// # Errors
    /// The certificates cannot be read, the handshake fails, or the server is not trusted.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, HttpError> {
        let invalid = |e| HttpError::Tls(io::Error::new(io::ErrorKind::InvalidInput, e));
        let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
        let connector = TlsConnector::from(self.config().await?);
        connector
            .connect(name, stream)
            .await
            .map_err(|e| match tls_client::certificate_error(&e) {
                Some(problem) => HttpError::Certificate(printable(&problem)),
                None => HttpError::Tls(e),
            })
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, HttpError> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let path = self.extra_certificates.clone();
        // A few hundred KB to read and parse: not on the server's only thread.
        let reading =
            tokio::task::spawn_blocking(move || tls_client::client_config(path.as_deref()));
        let read = reading
            .await
            .map_err(|e| HttpError::Tls(io::Error::other(e)))?;
        let mut config = read?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(self.config.get_or_init(|| Arc::new(config)).clone())
    }
}
