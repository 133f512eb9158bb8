//! A small HTTP client: one request per connection, with redirects and a bearer token, and with
//! bounds on what the server can cause. A server cannot point nearer than it is itself, nor than
//! any server that pointed to it: one on the Internet not to this machine or its networks, one in
//! these networks not to this machine.

#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "tls")]
pub(crate) use tls::TlsSettings;

use super::address_scope::{AddressScope, Scopes};
use super::dial::{self, DialError};
#[cfg(feature = "tls")]
use super::tls_client::TrustError;
use super::url;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// For a request and its response, from resolving the name to the last byte.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 5;
/// Of a response, bytes; SDP is far smaller.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Why there is no response, or none that is used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("the host name does not resolve; check the URL and this machine's DNS")]
    Resolve(#[source] io::Error),
    #[error("no connection; is the server running, and is the port right?")]
    Connect(#[source] io::Error),
    #[cfg(feature = "tls")]
    #[error("TLS failed; should the URL begin with http:// instead?")]
    Tls(#[source] io::Error),
    #[cfg(feature = "tls")]
    #[error(
        "the certificate is not trusted ({0}); give its authority, or the certificate itself if it is \
         self-signed, with --whip-ca"
    )]
    Certificate(String),
    #[cfg(feature = "tls")]
    #[error("no certificates to trust (see --whip-ca)")]
    Trust(#[from] TrustError),
    #[cfg(not(feature = "tls"))]
    #[error("https:// needs TLS, which is not included in this build")]
    TlsNotIncluded,
    #[error("the response is not HTTP")]
    Protocol(#[from] hyper::Error),
    #[error("the response is larger than {MAX_BODY_BYTES} bytes or incomplete")]
    Body,
    #[error("no response within {} s", EXCHANGE_TIMEOUT.as_secs())]
    Timeout,
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    #[error("the response has no Location with a URL of http or https")]
    BadLocation,
    #[error(
        "the server points from https:// to http://, which is not followed: the request would be sent \
         unencrypted"
    )]
    Downgrade,
    #[error(
        "the server points to {url}, which leads to {ip}, an address of this machine or of a private \
         network; this is not followed, because the server itself is farther away"
    )]
    PointsNearer { url: String, ip: IpAddr },
}

impl HttpError {
    fn from_dial(error: DialError, uri: &Uri) -> Self {
        match error {
            DialError::Resolve(e) => Self::Resolve(e),
            DialError::Connect(e) => Self::Connect(e),
            DialError::NotAllowed(ip) => Self::PointsNearer {
                url: url::without_secrets(uri),
                ip,
            },
        }
    }
}

/// What is sent.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) uri: &'a Uri,
    /// Sent as `Authorization: Bearer`, to the origin of `token_origin` only.
    pub(crate) token: Option<&'a str>,
    pub(crate) token_origin: &'a Uri,
    /// Nearer addresses are not connected to: [`Response::server_scope`] where a server named
    /// `uri`, else [`AddressScope::Loopback`].
    pub(crate) nearest: AddressScope,
    /// Media type and content.
    pub(crate) body: Option<(&'static str, String)>,
}

pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The URL that responded: the last one of a chain of redirects.
    pub(crate) uri: Uri,
    /// How far away the farthest server of the chain of redirects is.
    pub(crate) server_scope: AddressScope,
}

impl Response {
    /// The URL in `Location`.
    ///
    /// # Errors
    /// [`HttpError::BadLocation`]; [`HttpError::Downgrade`] from https to http.
    pub(crate) fn location(&self) -> Result<Uri, HttpError> {
        let reference = self.headers.get(header::LOCATION);
        let target = reference
            .and_then(|value| value.to_str().ok())
            .and_then(|reference| url::resolve(&self.uri, reference))
            .ok_or(HttpError::BadLocation)?;
        if url::is_https(&self.uri) && !url::is_https(&target) {
            return Err(HttpError::Downgrade);
        }
        Ok(target)
    }
}

/// Sends a request, and sends it again where the server redirects by 307 or 308, which keep method
/// and body (RFC 9110, sections 15.4.8 and 15.4.9). Other redirects are returned.
///
/// # Errors
/// No response within 10 s per request, or one beyond the bounds; see [`HttpError`].
pub(crate) async fn send(request: &Request<'_>, tls: &TlsSettings) -> Result<Response, HttpError> {
    let scopes = Scopes::now();
    send_by(request, tls, &|ip| scopes.of(ip)).await
}

type ScopeOf<'a> = &'a (dyn Fn(IpAddr) -> AddressScope + Sync);

/// Tests have their own `scope_of`: all their servers are on this machine.
async fn send_by(
    request: &Request<'_>,
    tls: &TlsSettings,
    scope_of: ScopeOf<'_>,
) -> Result<Response, HttpError> {
    let mut uri = request.uri.clone();
    let mut nearest = request.nearest;
    for _ in 0..=MAX_REDIRECTS {
        let sent = send_once(request, &uri, (nearest, scope_of), tls);
        let mut response = timeout(EXCHANGE_TIMEOUT, sent)
            .await
            .map_err(|_| HttpError::Timeout)??;
        nearest = nearest.max(response.server_scope);
        response.server_scope = nearest;
        if !matches!(
            response.status,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        ) {
            return Ok(response);
        }
        uri = response.location()?;
    }
    Err(HttpError::TooManyRedirects)
}

async fn send_once(
    request: &Request<'_>,
    uri: &Uri,
    (nearest, scope_of): (AddressScope, ScopeOf<'_>),
    tls: &TlsSettings,
) -> Result<Response, HttpError> {
    let host = url::host(uri);
    let stream = dial::connect(host, url::port(uri), |ip| scope_of(ip) >= nearest)
        .await
        .map_err(|e| HttpError::from_dial(e, uri))?;
    let peer = stream.peer_addr().map_err(HttpError::Connect)?;
    let server_scope = scope_of(peer.ip());
    let (status, headers, body) = if url::is_https(uri) {
        exchange(tls.connect(host, stream).await?, request.to_http(uri)).await?
    } else {
        exchange(stream, request.to_http(uri)).await?
    };
    Ok(Response {
        status,
        headers,
        body,
        uri: uri.clone(),
        server_scope,
    })
}

/// Sends the request over a connection and reads the response.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: http::Request<Body>,
) -> Result<(StatusCode, HeaderMap, Bytes), HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut response = pin!(async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = axum::body::to_bytes(Body::new(body), MAX_BODY_BYTES)
            .await
            .map_err(|_| HttpError::Body)?;
        Ok((head.status, head.headers, body))
    });
    let mut connection = pin!(connection);
    let mut has_ended = false;
    loop {
        tokio::select! {
            response = &mut response => return response,
            // What was read before its end is still to be used; its error is the response's too.
            _ = &mut connection, if !has_ended => has_ended = true,
        }
    }
}

impl Request<'_> {
    fn to_http(&self, uri: &Uri) -> http::Request<Body> {
        let (media_type, body) = self.body.clone().unzip();
        let mut request = http::Request::new(Body::from(body.unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = match uri.path_and_query() {
            Some(path) => path.clone().into(),
            None => Uri::from_static("/"),
        };
        let headers = request.headers_mut();
        let mut set = |name, value: &str| {
            HeaderValue::from_str(value)
                .ok()
                .map(|value| headers.insert(name, value))
        };
        set(header::HOST, url::host_and_port(uri));
        set(
            header::USER_AGENT,
            concat!("stampcast/", env!("CARGO_PKG_VERSION")),
        );
        set(header::CONNECTION, "close");
        if let Some(media_type) = media_type {
            set(header::CONTENT_TYPE, media_type);
        }
        let token = self
            .token
            .filter(|_| url::same_origin(uri, self.token_origin));
        if let Some(Ok(mut value)) =
            token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")))
        {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        request
    }
}

/// No TLS in this build.
#[cfg(not(feature = "tls"))]
pub(crate) struct TlsSettings;

#[cfg(not(feature = "tls"))]
impl TlsSettings {
    pub(crate) fn new(_: Option<std::path::PathBuf>) -> Self {
        Self
    }

    async fn connect(
        &self,
        _: &str,
        _: tokio::net::TcpStream,
    ) -> Result<tokio::net::TcpStream, HttpError> {
        Err(HttpError::TlsNotIncluded)
    }
}
