//! TLS to the server, and whom the doctor believes: the system's authorities, or the certificates of a file. Knows rustls;
//! knows no WebSocket.

use crate::net::tls_verifier::Believed;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("--ca {path} cannot be read")]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error(
        "--ca {0} holds no certificate; give a PEM file with the server's own, or with its authority's"
    )]
    NoCertificate(PathBuf),
    #[error(
        "this system has no list of certificate authorities (Debian: ca-certificates); install it, or give --ca FILE"
    )]
    NoAuthorities,
    #[error("{0} is no name that a certificate can have")]
    BadName(String),
    #[error("the certificates to believe cannot be used")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the certificate is not to be believed; if it is your own, give it with --ca FILE")]
    Certificate(#[source] rustls::Error),
    #[error("the handshake failed")]
    Handshake(#[source] io::Error),
}

/// Shakes hands within the socket's own timeouts. `ca`: a PEM file to believe instead of the system's authorities.
pub fn encrypt(
    mut tcp: TcpStream,
    host: &str,
    ca: Option<&Path>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, TlsError> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| TlsError::BadName(host.to_owned()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Unusable(e.into()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(believed(ca)?))
        .with_no_client_auth();
    let mut tls =
        ClientConnection::new(Arc::new(config), name).map_err(|e| TlsError::Unusable(e.into()))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).map_err(blame)?;
    }
    Ok(StreamOwned::new(tls, tcp))
}

/// rustls wraps its own errors into those of the socket.
fn blame(error: io::Error) -> TlsError {
    match error.get_ref().and_then(|e| e.downcast_ref()) {
        Some(e @ rustls::Error::InvalidCertificate(_)) => TlsError::Certificate(e.clone()),
        _ => TlsError::Handshake(error),
    }
}

/// `ca` alone, or the system's authorities.
fn believed(ca: Option<&Path>) -> Result<Believed, TlsError> {
    let mut roots = RootCertStore::empty();
    let mut own = Vec::new();
    if let Some(path) = ca {
        let unreadable = |source| TlsError::Unreadable {
            path: path.to_owned(),
            source,
        };
        own = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable)?;
        if roots.add_parsable_certificates(own.iter().cloned()).0 == 0 {
            return Err(TlsError::NoCertificate(path.to_owned()));
        }
    } else {
        // A system's list may hold one that rustls cannot read: the others will do.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities);
        }
    }
    Believed::new(roots, own).map_err(|e| TlsError::Unusable(e.into()))
}
