//! The way to a stream: address, TCP, TLS, the WebSocket's handshake with the token. Knows nothing of what is sent then.

use super::Options;
use http::{HeaderValue, header};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use tungstenite::WebSocket;
use tungstenite::client::IntoClientRequest;

/// For TCP, and then for each answer of a handshake.
const WITHIN: Duration = Duration::from_secs(5);

/// Why the stream could not be watched at all.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error(
        "{0} is no address of a stream; give ws://HOST:PORT/stream, wss://HOST:PORT/stream, or HOST:PORT"
    )]
    BadUrl(String),
    #[error("cannot connect to {url}: {why}; is stampcast running there?")]
    Connect { url: String, why: String },
    #[error("no TLS with {url}: {why}")]
    Tls { url: String, why: String },
    #[error("the token holds a character that no HTTP header can bear")]
    BadToken,
    #[error("{url} refused the stream: {why}")]
    Refused { url: String, why: String },
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
    #[error("{0}")]
    Print(String),
}

/// Bytes in the clear or through TLS.
pub trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

pub type Socket = WebSocket<Box<dyn Wire>>;

/// A stream whose reads wait no longer than `patience`.
pub fn connect(options: &Options, patience: Duration) -> Result<Socket, DoctorError> {
    let url = stream_url(&options.url)?;
    let bad_url = || DoctorError::BadUrl(shown(&url));
    let refused = |why: String| DoctorError::Refused {
        url: shown(&url),
        why,
    };
    let unreachable = |e: std::io::Error| DoctorError::Connect {
        url: shown(&url),
        why: e.to_string(),
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
    let tcp = dial(
        host,
        uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
    )
    .map_err(unreachable)?;
    let knob = tcp.try_clone().map_err(unreachable)?;
    let no_tls = |why: String| DoctorError::Tls {
        url: shown(&url),
        why,
    };
    let wire: Box<dyn Wire> = if is_tls {
        encrypt(tcp, host, options.ca.as_deref()).map_err(no_tls)?
    } else {
        Box::new(tcp)
    };
    let (socket, _) = tungstenite::client(request, wire).map_err(|e| refused(handshake(e)))?;
    knob.set_read_timeout(Some(patience)).map_err(unreachable)?;
    Ok(socket)
}

/// The first of the name's addresses that answers.
fn dial(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut outcome = Err(std::io::Error::other("the name has no address"));
    for address in std::net::ToSocketAddrs::to_socket_addrs(&(host, port))? {
        outcome = TcpStream::connect_timeout(&address, WITHIN);
        if outcome.is_ok() {
            break;
        }
    }
    let tcp = outcome?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(WITHIN))?;
    tcp.set_write_timeout(Some(WITHIN))?;
    Ok(tcp)
}

#[cfg(feature = "tls")]
fn encrypt(tcp: TcpStream, host: &str, ca: Option<&Path>) -> Result<Box<dyn Wire>, String> {
    Ok(Box::new(
        super::tls::encrypt(tcp, host, ca).map_err(|e| crate::log::chain(&e))?,
    ))
}

#[cfg(not(feature = "tls"))]
fn encrypt(_: TcpStream, _: &str, _: Option<&Path>) -> Result<Box<dyn Wire>, String> {
    Err("this build has none; build with the feature tls".into())
}

/// Binary, since only it carries numbers and the sound's rate; with events; without a window, which only a viewer that
/// says what it has read can have.
fn stream_url(given: &str) -> Result<String, DoctorError> {
    let bad = || DoctorError::BadUrl(shown(given));
    let (scheme, rest) = given.split_once("://").unwrap_or(("ws", given));
    let scheme = match scheme {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        _ => return Err(bad()),
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    if host.is_empty() {
        return Err(bad());
    }
    let path = match path.trim_end_matches('/') {
        "" => "stream".to_owned(),
        path if path.ends_with("stream") => path.to_owned(),
        path => format!("{path}/stream"),
    };
    // A bare name means the program's own port, as on the page; in an address each scheme has its own.
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let port = if given.contains("://") || has_port {
        ""
    } else {
        ":8080"
    };
    let ours = ["format=", "events=", "window="];
    let asked = query
        .split('&')
        .filter(|part| !part.is_empty() && !ours.iter().any(|name| part.starts_with(name)));
    let query: String = asked.flat_map(|part| ["&", part]).collect();
    Ok(format!(
        "{scheme}://{host}{port}/{path}?format=binary&events=1{query}"
    ))
}

/// An address as it may be shown: without its query, which may hold a token.
fn shown(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

fn handshake<R: tungstenite::handshake::HandshakeRole>(
    e: tungstenite::HandshakeError<R>,
) -> String {
    match e {
        tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            // The program's own answers are JSON; what a proxy says is shown as it is.
            let error = serde_json::from_slice(body)
                .ok()
                .and_then(|json: serde_json::Value| Some(json.get("error")?.as_str()?.to_owned()));
            let said = error.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
            format!("{} {}", response.status(), said.trim())
                .trim_end()
                .to_owned()
        }
        tungstenite::HandshakeError::Failure(e) => e.to_string(),
        tungstenite::HandshakeError::Interrupted(_) => "it did not answer in time".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_given_in_any_usual_form() {
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
        assert!(!shown("ws://host/stream?token=secret").contains("secret"));
    }
}
