//! TLS: the certificate and key, reloaded when their files change, and the handshake. Knows rustls,
//! and of HTTP one answer to clients that speak it without TLS.

pub(crate) mod session;

use super::reload::Reloading;
use crate::config;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use session::Session;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 62\r\n\
    Connection: close\r\n\r\n\
    this server speaks TLS: use https:// or wss:// in the address\n";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{option} {path} cannot be read")]
    Unreadable {
        option: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("--tls-cert {0} contains no PEM certificate")]
    NoCertificate(PathBuf),
    #[error("--tls-key {0} contains no PEM private key")]
    NoKey(PathBuf),
    #[error("--tls-key is not the key of --tls-cert")]
    Pair(#[source] rustls::Error),
}

/// Accepts TLS connections with the newest certificate.
pub struct Tls {
    config: Reloading<Arc<ServerConfig>>,
    /// One handshake at a time signs, which takes 4 ms with an RSA key of 4,096 bits. Between two
    /// signatures other tasks run, however many clients connect at once.
    signing: Semaphore,
}

impl Tls {
    /// # Errors
    /// A file cannot be read, holds no certificate or key, or they do not belong together.
    pub fn load(files: &config::Tls) -> Result<Self, TlsError> {
        let (watched, files) = (vec![files.cert.clone(), files.key.clone()], files.clone());
        let config = Reloading::new("TLS certificate", watched, move || server_config(&files))?;
        Ok(Self {
            config,
            signing: Semaphore::new(1),
        })
    }

    /// The handshake.
    ///
    /// # Errors
    /// Those of the socket and the protocol. A client that speaks plain HTTP is an error, after an
    /// answer that says so.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
            // Read first, or the kernel would reset the connection and the answer be lost.
            let _ = stream.try_read(&mut [0; 4096]);
            let _ = stream.try_write(PLAIN);
            return Err(io::Error::other("the client does not speak TLS"));
        }
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        // Signs at the first poll, or later where the client has to send a second hello.
        let mut handshake = pin!(async { hello.into_stream(self.config.get()).await });
        loop {
            let turn = self.signing.acquire().await.expect("never closed");
            // Returns after the runtime has polled sockets and timers, which it otherwise does
            // once in 61 tasks.
            yield_now().await;
            let polled = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
            drop(turn);
            if let Poll::Ready(done) = polled {
                return done;
            }
            woken().await;
        }
    }
}

/// Returns when what was polled last wakes the task. Nothing may be awaited between the two.
async fn woken() {
    let mut waited = false;
    poll_fn(|_| {
        if std::mem::replace(&mut waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// The TCP stream, TLS session and early plaintext of an upgraded connection that came through
/// [`Tls::accept`].
///
/// # Errors
/// The connection came in another way; it is returned.
pub(crate) fn downcast(upgraded: Upgraded) -> Result<(TcpStream, Session, Vec<u8>), Upgraded> {
    let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>()?;
    let (tcp, tls) = parts.io.into_inner().into_inner();
    Ok((tcp, Session::new(tls), parts.read_buf.to_vec()))
}

fn server_config(files: &config::Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let read = |option, path: &PathBuf| {
        std::fs::read(path).map_err(|source| TlsError::Unreadable {
            option,
            path: path.clone(),
            source,
        })
    };
    let chain = CertificateDer::pem_slice_iter(&read("--tls-cert", &files.cert)?)
        .collect::<Result<Vec<_>, _>>();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::NoCertificate(files.cert.clone()))?;
    let key = PrivateKeyDer::from_pem_slice(&read("--tls-key", &files.key)?)
        .map_err(|_| TlsError::NoKey(files.key.clone()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
