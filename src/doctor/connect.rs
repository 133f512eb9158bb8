//! Opens the connection: address, TCP, TLS, the WebSocket handshake with the token.

use super::Options;
use http::{HeaderValue, header};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use tungstenite::WebSocket;
use tungstenite::client::IntoClientRequest;

/// For connecting to one address, and then for each read and write of the handshakes.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no stream to measure.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error(
        "{0} is not the address of a stream; give ws://HOST:PORT/stream, wss://HOST:PORT/stream, or HOST:PORT"
    )]
    BadUrl(String),
    #[error("cannot connect to {url}: {reason}; is stampcast running there?")]
    Connect { url: String, reason: String },
    #[error("no TLS with {url}: {reason}")]
    Tls { url: String, reason: String },
    #[error("the token contains a character that is not allowed in an HTTP header")]
    BadToken,
    #[error("{url} refused the stream: {reason}")]
    Refused { url: String, reason: String },
    #[error("cannot handle signals: {0}")]
    Signals(std::io::Error),
}

/// Plain TCP or TLS.
pub trait Transport: Read + Write {}
impl<T: Read + Write> Transport for T {}

pub type Socket = WebSocket<Box<dyn Transport>>;

/// A stream whose reads time out after `read_timeout`.
///
/// # Errors
/// Each step's, with the address but without its query.
pub fn connect(options: &Options, read_timeout: Duration) -> Result<Socket, DoctorError> {
    let url = stream_url(&options.url)?;
    let bad_url = || DoctorError::BadUrl(without_query(&url));
    let connect_error = |e: std::io::Error| DoctorError::Connect {
        url: without_query(&url),
        reason: e.to_string(),
    };
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
    let tcp = dial(host, port).map_err(connect_error)?;
    let control_handle = tcp.try_clone().map_err(connect_error)?;
    let transport: Box<dyn Transport> = if is_tls {
        encrypt(tcp, host, options.ca.as_deref()).map_err(|reason| DoctorError::Tls {
            url: without_query(&url),
            reason,
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
        .map_err(connect_error)?;
    Ok(socket)
}

/// Tries the name's addresses in turn.
fn dial(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut outcome = Err(std::io::Error::other("the name has no address"));
    for address in std::net::ToSocketAddrs::to_socket_addrs(&(host, port))? {
        outcome = TcpStream::connect_timeout(&address, TIMEOUT);
        if outcome.is_ok() {
            break;
        }
    }
    let tcp = outcome?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(TIMEOUT))?;
    tcp.set_write_timeout(Some(TIMEOUT))?;
    Ok(tcp)
}

/// Performs the TLS handshake within the socket's timeouts.
#[cfg(feature = "tls")]
fn encrypt(
    mut tcp: TcpStream,
    host: &str,
    ca: Option<&Path>,
) -> Result<Box<dyn Transport>, String> {
    use crate::net::tls_client;
    use std::sync::Arc;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConnection, StreamOwned};
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host} is not a name that a certificate can have"))?;
    let config =
        tls_client::client_config(ca).map_err(|e| format!("--ca: {}", crate::log::chain(&e)))?;
    let mut tls =
        ClientConnection::new(Arc::new(config), name).map_err(|e| crate::log::chain(&e))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).map_err(|e| classify_error(&e))?;
    }
    Ok(Box::new(StreamOwned::new(tls, tcp)))
}

#[cfg(feature = "tls")]
fn classify_error(error: &std::io::Error) -> String {
    match crate::net::tls_client::certificate_error(error) {
        Some(e) => {
            format!("the certificate is not trusted ({e}); if it is yours, give it with --ca FILE")
        }
        None => format!("the handshake failed: {error}"),
    }
}

#[cfg(not(feature = "tls"))]
fn encrypt(_: TcpStream, _: &str, _: Option<&Path>) -> Result<Box<dyn Transport>, String> {
    Err("not included in this build; build with the feature tls".into())
}

/// The address of the stream in binary, which has sequence numbers and the audio format, with events,
/// and without a window, which limits the server to frames that were acknowledged.
fn stream_url(given: &str) -> Result<String, DoctorError> {
    let bad = || DoctorError::BadUrl(without_query(given));
    let (scheme, rest) = given.split_once("://").unwrap_or(("ws", given));
    let scheme = match scheme {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        _ => return Err(bad()),
    };
    let (authority_and_path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = authority_and_path
        .split_once('/')
        .unwrap_or((authority_and_path, ""));
    if host.is_empty() {
        return Err(bad());
    }
    let path = match path.trim_end_matches('/') {
        "" => "stream".to_owned(),
        path if path.ends_with("stream") => path.to_owned(),
        path => format!("{path}/stream"),
    };
    // A bare host means the program's default port, as on the page; a URL its scheme's.
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let port = if given.contains("://") || has_port {
        ""
    } else {
        ":8080"
    };
    let overridden = ["format=", "events=", "window="];
    let kept = query
        .split('&')
        .filter(|part| !part.is_empty() && !overridden.iter().any(|name| part.starts_with(name)));
    let query: String = kept.flat_map(|part| ["&", part]).collect();
    Ok(format!(
        "{scheme}://{host}{port}/{path}?format=binary&events=1{query}"
    ))
}

/// An address for messages: its query may contain a token.
fn without_query(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

fn handshake_error<R: tungstenite::handshake::HandshakeRole>(
    e: tungstenite::HandshakeError<R>,
) -> String {
    match e {
        tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            // The program answers in JSON; a proxy's answer is shown as it is.
            let error = serde_json::from_slice(body)
                .ok()
                .and_then(|json: serde_json::Value| Some(json.get("error")?.as_str()?.to_owned()));
            let text = error.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
            format!("{} {}", response.status(), text.trim())
                .trim_end()
                .to_owned()
        }
        tungstenite::HandshakeError::Failure(e) => e.to_string(),
        tungstenite::HandshakeError::Interrupted(_) => "no answer in time".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_url_accepts_the_usual_forms() {
        for (given, expected) in [
            (
                "localhost:8080",
                "ws://localhost:8080/stream?format=binary&events=1",
            ),
            (
                "ws://pi.local:8080/stream",
                "ws://pi.local:8080/stream?format=binary&events=1",
            ),
            (
                "http://[::1]:8080/",
                "ws://[::1]:8080/stream?format=binary&events=1",
            ),
            (
                "http://host/webcam/",
                "ws://host/webcam/stream?format=binary&events=1",
            ),
            (
                "ws://host/stream?token=t",
                "ws://host/stream?format=binary&events=1&token=t",
            ),
            (
                "pi.local",
                "ws://pi.local:8080/stream?format=binary&events=1",
            ),
            (
                "[::1]/webcam",
                "ws://[::1]:8080/webcam/stream?format=binary&events=1",
            ),
            (
                "pi.local:80/stream?events=0&max_fps=5&format=text",
                "ws://pi.local:80/stream?format=binary&events=1&max_fps=5",
            ),
            (
                "pi.local:80?window=2&audio=0",
                "ws://pi.local:80/stream?format=binary&events=1&audio=0",
            ),
            (
                "https://pi.local",
                "wss://pi.local/stream?format=binary&events=1",
            ),
            (
                "wss://pi.local:8443/stream",
                "wss://pi.local:8443/stream?format=binary&events=1",
            ),
        ] {
            assert_eq!(stream_url(given).expect(given), expected);
        }
        for bad in ["", "ftp://host", "ws://"] {
            assert!(stream_url(bad).is_err(), "{bad}");
        }
        assert!(!without_query("ws://host/stream?token=secret").contains("secret"));
    }
}
