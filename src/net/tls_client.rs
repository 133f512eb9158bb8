//! TLS for clients: a rustls configuration that trusts the system's root certificates, and those of
//! one PEM file that the user may name.

use super::tls_verifier::PinningVerifier;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("{path} cannot be read as a PEM file")]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error("{0} contains no certificate in PEM form")]
    NoCertificate(PathBuf),
    #[error(
        "no root certificates on this system (Debian: package ca-certificates); install them, or give a \
         PEM file"
    )]
    NoRoots,
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Reads the system's root certificates and those of `extra`, a PEM file with authorities or with
/// servers' own certificates: a few hundred KB, so not on a thread that serves others.
///
/// # Errors
/// `extra` is not readable or has no certificate, or no certificate was found at all.
pub(crate) fn client_config(extra: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let (mut roots, mut pinned) = (RootCertStore::empty(), Vec::new());
    // rustls may reject one of the system's certificates; the others are used.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = extra {
        pinned = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| TrustError::Unreadable {
                path: path.to_owned(),
                source,
            })?;
        if roots.add_parsable_certificates(pinned.iter().cloned()).0 == 0 {
            return Err(TrustError::NoCertificate(path.to_owned()));
        }
    }
    let verifier = PinningVerifier::new(roots, pinned).map_err(|_| TrustError::NoRoots)?;
    Ok(
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth(),
    )
}

/// What is wrong with the server's certificate, if that is why a handshake failed. The words may
/// contain names from the certificate.
pub(crate) fn certificate_error(error: &io::Error) -> Option<String> {
    // rustls wraps its errors into those of the socket.
    let error: &rustls::Error = error.get_ref()?.downcast_ref()?;
    let rustls::Error::InvalidCertificate(problem) = error else {
        return None;
    };
    Some(match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".into()
        }
        CertificateError::UnknownIssuer => "its issuer is unknown".into(),
        CertificateError::Other(e) if format!("{e:?}").contains("CaUsedAsEndEntity") => {
            "it is self-signed, and not among the trusted ones".into()
        }
        problem => problem.to_string(),
    })
}
