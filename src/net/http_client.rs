//! HTTP to a media server: one request on a connection of its own, with redirects, a bearer's token, and bounds on all that
//! the server can make us do. Knows no WebRTC.

#[cfg(feature = "tls")]
use super::tls_client;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One address's turn: the next is tried after it.
const CONNECT: Duration = Duration::from_secs(4);
/// A request and its answer, from the name's resolution to the last byte.
const EXCHANGE: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 5;
/// An answer's body, bytes: far more than any SDP.
const MAX_BODY: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("its name does not resolve: check the address and this machine's DNS")]
    Resolve(#[source] io::Error),
    #[error("no connection: is it running, and is the port right?")]
    Connect(#[source] io::Error),
    #[cfg(feature = "tls")]
    #[error("no TLS: is the address to begin with http:// instead?")]
    Tls(#[source] io::Error),
    #[cfg(feature = "tls")]
    #[error(
        "its certificate is not trusted: name its authority, or itself where it is its own, with --whip-ca"
    )]
    Certificate(#[source] io::Error),
    #[cfg(feature = "tls")]
    #[error("cannot tell which servers to trust (see --whip-ca)")]
    Roots(#[from] tls_client::TrustError),
    #[cfg(not(feature = "tls"))]
    #[error("this build has no TLS, which https:// needs")]
    NoTls,
    #[error("it speaks no HTTP")]
    Http(#[from] hyper::Error),
    #[error("its answer is larger than {MAX_BODY} bytes or ends early")]
    Body,
    #[error("no answer within {} s", EXCHANGE.as_secs())]
    Timeout,
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    #[error("a Location that is missing or no address")]
    BadRedirect,
    #[error(
        "a Location that leads from https:// to http:// is not followed: what is sent would be in the clear"
    )]
    Downgrade,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Who answered: the last of the redirects.
    pub from: Uri,
}

/// What goes to the server.
pub struct Call<'a> {
    pub method: Method,
    pub uri: &'a Uri,
    /// Goes to the host of `trusted` only.
    pub token: Option<&'a str>,
    pub trusted: &'a Uri,
    /// With its type.
    pub body: Option<(&'static str, String)>,
}

/// Sends a request and follows redirects that keep it as it is (307 and 308: RFC 9110, sections 15.4.8 and 15.4.9).
pub async fn send(call: &Call<'_>, roots: &Roots) -> Result<Answer, HttpError> {
    let mut uri = call.uri.clone();
    for _ in 0..=MAX_REDIRECTS {
        let answer = timeout(EXCHANGE, exchange(call, &uri, roots))
            .await
            .map_err(|_| HttpError::Timeout)??;
        if !matches!(
            answer.status,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        ) {
            return Ok(answer);
        }
        uri = location(&answer)?;
    }
    Err(HttpError::TooManyRedirects)
}

/// Where an answer's Location points to; never from https to http.
pub fn location(answer: &Answer) -> Result<Uri, HttpError> {
    let reference = answer
        .headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let next = reference
        .and_then(|reference| resolve(&answer.from, reference))
        .ok_or(HttpError::BadRedirect)?;
    let is_https = |uri: &Uri| uri.scheme_str() == Some("https");
    if is_https(&answer.from) && !is_https(&next) {
        Err(HttpError::Downgrade)
    } else {
        Ok(next)
    }
}

async fn exchange(call: &Call<'_>, uri: &Uri, roots: &Roots) -> Result<Answer, HttpError> {
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let stream = connect(host, port(uri)).await?;
    if uri.scheme_str() == Some("https") {
        speak(roots.tls(host, stream).await?, request(call, uri), uri).await
    } else {
        speak(stream, request(call, uri), uri).await
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, HttpError> {
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(HttpError::Resolve)?;
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => failed = e,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(HttpError::Connect(failed))
}

fn request(call: &Call<'_>, uri: &Uri) -> Request<Body> {
    let (kind, body) = call.body.clone().unzip();
    let mut request = Request::new(Body::from(body.unwrap_or_default()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = uri
        .path_and_query()
        .map_or_else(|| Uri::from_static("/"), |path| path.clone().into());
    let headers = request.headers_mut();
    let mut set =
        |name, value: Result<HeaderValue, _>| value.ok().map(|value| headers.insert(name, value));
    set(
        header::HOST,
        HeaderValue::from_str(uri.authority().map_or("", |a| a.as_str())),
    );
    set(
        header::USER_AGENT,
        HeaderValue::from_str(concat!("stampcast/", env!("CARGO_PKG_VERSION"))),
    );
    set(header::CONNECTION, HeaderValue::from_str("close"));
    if let Some(kind) = kind {
        set(header::CONTENT_TYPE, HeaderValue::from_str(kind));
    }
    if let Some(token) = call.token.filter(|_| same_origin(uri, call.trusted)) {
        let value = HeaderValue::from_str(&format!("Bearer {}", token)).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        set(header::AUTHORIZATION, value);
    }
    request
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Body>,
    uri: &Uri,
) -> Result<Answer, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = axum::body::to_bytes(Body::new(body), MAX_BODY)
            .await
            .map_err(|_| HttpError::Body)?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            from: uri.clone(),
        })
    });
    let mut connection = pin!(connection);
    let mut over = false;
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            // What it has read is still to be taken; where it failed, the answer says so.
            _ = &mut connection, if !over => over = true,
        }
    }
}

/// Whom to believe that they are who they say: the system's list, read with the first connection that needs it. For one session,
/// so that a renewed list counts for the next; and the good-bye, which has little time, finds it read.
#[derive(Default)]
pub struct Roots {
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    more: Option<PathBuf>,
    #[cfg(feature = "tls")]
    read: std::sync::OnceLock<std::sync::Arc<tokio_rustls::rustls::ClientConfig>>,
}

impl Roots {
    /// `more`: a PEM file of others, beside the system's.
    pub fn new(more: Option<PathBuf>) -> Self {
        Self {
            more,
            ..Self::default()
        }
    }
}

#[cfg(feature = "tls")]
impl Roots {
    async fn tls(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, HttpError> {
        use tokio_rustls::rustls::pki_types::ServerName;
        let invalid = |e| HttpError::Tls(io::Error::new(io::ErrorKind::InvalidInput, e));
        let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
        let config = match self.read.get() {
            Some(config) => config.clone(),
            None => {
                let more = self.more.clone();
                // A few hundred KB to read and parse: not on the server's one thread.
                let read =
                    tokio::task::spawn_blocking(move || tls_client::client_config(more.as_deref()))
                        .await;
                let mut config = read.map_err(|e| HttpError::Tls(io::Error::other(e)))??;
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                self.read
                    .get_or_init(|| std::sync::Arc::new(config))
                    .clone()
            }
        };
        let connector = tokio_rustls::TlsConnector::from(config);
        connector.connect(name, stream).await.map_err(|e| {
            if tls_client::certificate_error(&e).is_some() {
                HttpError::Certificate(e)
            } else {
                HttpError::Tls(e)
            }
        })
    }
}

#[cfg(not(feature = "tls"))]
impl Roots {
    async fn tls(&self, _: &str, _: TcpStream) -> Result<TcpStream, HttpError> {
        Err(HttpError::NoTls)
    }
}

fn port(uri: &Uri) -> u16 {
    uri.port_u16()
        .unwrap_or(if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        })
}

/// RFC 6454, section 5.
pub fn same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |uri: &Uri| {
        (
            uri.scheme_str().map(str::to_owned),
            uri.host().map(str::to_ascii_lowercase),
            port(uri),
        )
    };
    origin(a) == origin(b)
}

/// A reference as seen from `base` (RFC 3986, section 5.2). `None`: no address of http or https.
pub fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default();
    let has_scheme = reference
        .split(['/', '?'])
        .next()
        .is_some_and(|start| start.contains(':'));
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let whole = if has_scheme {
        reference.to_owned()
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else {
        let (path, query) = reference
            .split_once('?')
            .map_or((reference, None), |(path, query)| (path, Some(query)));
        let path = match path {
            "" => base.path().to_owned(),
            path if path.starts_with('/') => without_dots(path),
            path => without_dots(&format!(
                "{}/{path}",
                base.path()
                    .rsplit_once('/')
                    .map_or("", |(folder, _)| folder)
            )),
        };
        let query = query.or(if reference.is_empty() {
            base.query()
        } else {
            None
        });
        format!(
            "{scheme}://{authority}{path}{}",
            query.map(|query| format!("?{query}")).unwrap_or_default()
        )
    };
    let uri: Uri = whole.parse().ok()?;
    let usable = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty());
    usable.then_some(uri)
}

/// RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    for part in &parts {
        match *part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let folder = if matches!(parts.last(), Some(&("." | ".."))) && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{folder}", kept.join("/"))
}

#[cfg(test)]
#[path = "http_client_tests.rs"]
mod tests;
