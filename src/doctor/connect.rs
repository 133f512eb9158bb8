//! Opens the connection: TCP, TLS, the WebSocket handshake with the token.

use super::stream_url::{stream_url, without_query};
use super::{DoctorError, Options};
use crate::log::chain;
use crate::media::{printable, printable_bytes};
use crate::net::dial;
use http::{HeaderValue, header};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::{HandshakeError, HandshakeRole};
use tungstenite::{Error, WebSocket};

/// For each read and write of the handshakes.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Plain TCP or TLS.
pub(super) trait Transport: Read + Write {}
impl<T: Read + Write> Transport for T {}

pub(super) type Socket = WebSocket<Box<dyn Transport>>;

/// Connects to the stream; reads of the result time out after `read_timeout`.
///
/// # Errors
/// The first step that failed; see [`DoctorError`].
pub(super) fn connect(options: &Options, read_timeout: Duration) -> Result<Socket, DoctorError> {
    let url = stream_url(&options.url)?;
    let bad_url = || DoctorError::BadUrl(without_query(&options.url));
    let connect_error = |reason: String| DoctorError::Connect {
        url: without_query(&url),
        reason: printable(&reason),
    };
    let io_error = |e: io::Error| connect_error(e.to_string());
    let uri: http::Uri = url.parse().map_err(|_| bad_url())?;
    let is_tls = uri.scheme_str() == Some("wss");
    let host = uri.host().ok_or_else(bad_url)?.trim_matches(['[', ']']);
    let mut request = url.as_str().into_client_request().map_err(|_| bad_url())?;
    if let Some(token) = &options.token {
        let token = token.read().map_err(|_| DoctorError::BadToken)?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", *token))
            .map_err(|_| DoctorError::BadToken)?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io_error)?;
    let tcp = runtime
        .block_on(dial::connect(host, port, |_| true))
        .map_err(|e| connect_error(chain(&e)))?;
    let tcp = tcp.into_std().and_then(blocking).map_err(io_error)?;
    let control_handle = tcp.try_clone().map_err(io_error)?;
    let transport: Box<dyn Transport> = if is_tls {
        encrypt(tcp, host, options.ca.as_deref()).map_err(|reason| DoctorError::Tls {
            url: without_query(&url),
            reason: printable(&reason),
        })?
    } else {
        Box::new(tcp)
    };
    let (socket, _) =
        tungstenite::client(request, transport).map_err(|e| DoctorError::Refused {
            url: without_query(&url),
            reason: handshake_error(e),
        })?;
    control_handle
        .set_read_timeout(Some(read_timeout))
        .map_err(io_error)?;
    Ok(socket)
}

/// A blocking socket with timeouts.
///
/// # Errors
/// Those of the system calls.
fn blocking(tcp: TcpStream) -> io::Result<TcpStream> {
    tcp.set_nonblocking(false)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    tcp.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
    Ok(tcp)
}

/// Performs the TLS handshake within the socket's timeouts.
///
/// # Errors
/// In words, with the remedy.
#[cfg(feature = "tls")]
fn encrypt(
    mut tcp: TcpStream,
    host: &str,
    ca: Option<&Path>,
) -> Result<Box<dyn Transport>, String> {
    use crate::net::tls_client::{self, TrustError};
    use std::sync::Arc;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConnection, StreamOwned};
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host} is not a name that a certificate can have"))?;
    let config = tls_client::client_config(ca).map_err(|e| match e {
        TrustError::Unreadable { .. } | TrustError::NoCertificate(_) => {
            format!("--ca: {}", chain(&e))
        }
        TrustError::NoRoots => format!("{e} with --ca"),
        TrustError::Setup(_) => chain(&e),
    })?;
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(|e| chain(&e))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)
            .map_err(|e| match tls_client::certificate_error(&e) {
                Some(problem) => format!(
                    "the certificate is not trusted ({}); if it is yours, give it with --ca FILE",
                    printable(&problem)
                ),
                None => format!("the handshake failed: {e}"),
            })?;
    }
    Ok(Box::new(StreamOwned::new(tls, tcp)))
}

#[cfg(not(feature = "tls"))]
fn encrypt(_: TcpStream, _: &str, _: Option<&Path>) -> Result<Box<dyn Transport>, String> {
    Err("not included in this build; build with the feature tls".into())
}

/// Why the server did not open a WebSocket; its words are made printable.
fn handshake_error<R: HandshakeRole>(error: HandshakeError<R>) -> String {
    match error {
        HandshakeError::Failure(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            // stampcast responds with JSON, a proxy with something else.
            let error = serde_json::from_slice(body)
                .ok()
                .and_then(|json: serde_json::Value| Some(printable(json.get("error")?.as_str()?)));
            let text = error.unwrap_or_else(|| printable_bytes(body.trim_ascii()));
            let status = response.status();
            format!("{status} {text}").trim_end().to_owned()
        }
        HandshakeError::Failure(e @ (Error::Protocol(_) | Error::HttpFormat(_))) => {
            let problem = printable(&e.to_string());
            format!("the response is not that of a WebSocket server ({problem})")
        }
        HandshakeError::Failure(e) => printable(&e.to_string()),
        HandshakeError::Interrupted(_) => "no response in time".into(),
    }
}
