//! Who may watch: the token, and where none is asked for the Origin of a browser's request. The verdict is a pure function of
//! the request's head; the layer that applies it is at the end. Knows no hub.
//!
//! A page of any web site can open a WebSocket to any address that its visitor's browser reaches, and the browser says
//! whose page it is in `Origin` (RFC 6454). A script sends none. With a token, that is proof enough and `Origin` is not asked.

use super::error::refusal;
use super::reload::Renewed;
use crate::config;
use crate::config::secrets;
use crate::config::secrets::{Secret, TokenFileError};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Everything,
    /// `--video-token`: the picture without the sound.
    PictureOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error(
        "a token is needed: send it as `Authorization: Bearer TOKEN`, or add ?token=TOKEN to the address"
    )]
    NoToken,
    #[error("the token is wrong")]
    WrongToken,
    #[error(
        "pages of this origin may not watch; start stampcast with --allow-origin ORIGIN, or with --token"
    )]
    Origin,
    #[error("pages opened as a file may not watch here (--no-file-origin)")]
    File,
    #[error(
        "a browser may not watch by this name, which any web site could give itself; start stampcast with --allow-origin http://NAME, or with --token, or use the address"
    )]
    Host,
}

/// The rules, with the tokens in memory.
pub struct Access {
    token: Option<Renewed<Arc<Zeroizing<String>>>>,
    video_token: Option<Zeroizing<String>>,
    allowed_origins: Vec<String>,
    file_origin: bool,
}

/// Why the rules cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(transparent)]
    File(#[from] TokenFileError),
    #[error("the token cannot be read from the kernel's memory")]
    Lost(#[from] std::io::Error),
    #[error(
        "--video-token is the same as --token, so it would open the sound too; give two tokens that differ"
    )]
    SameTokens,
}

impl Access {
    /// Reads the token file, if that is where the token is, and again when it changes.
    pub fn new(config: &config::Access) -> Result<Self, AccessError> {
        let video_token = config.video_token.as_ref().map(Secret::read).transpose()?;
        let other = video_token.clone();
        let alone = move |token| {
            if Some(&token) == other.as_ref() {
                Err(AccessError::SameTokens)
            } else {
                Ok(Arc::new(token))
            }
        };
        let token = match (config.token.clone(), config.token_file.clone()) {
            (Some(token), _) => Some(Renewed::new("token", Vec::new(), move || {
                alone(token.read()?)
            })?),
            (None, Some(file)) => Some(Renewed::new("token", vec![file.clone()], move || {
                alone(secrets::first_line(&file)?)
            })?),
            (None, None) => None,
        };
        Ok(Self {
            token,
            video_token,
            allowed_origins: config.allowed_origins.clone(),
            file_origin: config.file_origin,
        })
    }

    #[cfg(any(test, fuzzing))]
    pub fn of(
        token: Option<&str>,
        video_token: Option<&str>,
        allowed: &[&str],
        file_origin: bool,
    ) -> Self {
        let fixed = |token: &str| {
            let token = Arc::new(Zeroizing::new(token.to_owned()));
            Renewed::new("token", Vec::new(), move || {
                Ok::<_, std::convert::Infallible>(token.clone())
            })
            .expect("it is at hand")
        };
        Self {
            token: token.map(fixed),
            video_token: video_token.map(|t| Zeroizing::new(t.to_owned())),
            allowed_origins: allowed.iter().map(|s| (*s).to_owned()).collect(),
            file_origin,
        }
    }

    /// What the request may have. A token guards every path, known or not.
    pub fn judge(&self, uri: &Uri, headers: &HeaderMap) -> Result<Scope, Denied> {
        if let Some(token) = &self.token {
            let given = bearer(headers)
                .or_else(|| token_of(uri))
                .ok_or(Denied::NoToken)?;
            return if same(&given, &token.get()) {
                Ok(Scope::Everything)
            } else if self.video_token.as_ref().is_some_and(|t| same(&given, t)) {
                Ok(Scope::PictureOnly)
            } else {
                Err(Denied::WrongToken)
            };
        }
        match headers.get(header::ORIGIN) {
            None => self.judge_without_origin(headers),
            Some(origin) => self.judge_origin(origin, headers),
        }
    }

    /// A script says no `Origin`, and neither does a browser that gets something from the page's own server. So where a web site
    /// lets its own name point to our address (DNS rebinding), only that name tells: what no local network means is to be allowed.
    /// A browser is known by `Accept-Language`, which no page can keep it from sending and which scripts do not send, or by its name.
    fn judge_without_origin(&self, headers: &HeaderMap) -> Result<Scope, Denied> {
        let asked = headers
            .get(header::HOST)
            .and_then(|h| h.to_str().ok())
            .map(host_without_port);
        let is_known = |asked: &str| {
            is_local_name(asked)
                || self
                    .allowed_origins
                    .iter()
                    .filter_map(|o| host_of_origin(o))
                    .any(|host| host.eq_ignore_ascii_case(asked))
        };
        let is_browser = headers.contains_key(header::ACCEPT_LANGUAGE)
            || headers
                .get(header::USER_AGENT)
                .is_some_and(|name| name.as_bytes().starts_with(b"Mozilla/"));
        if is_browser && asked.is_some_and(|asked| !is_known(asked)) {
            return Err(Denied::Host);
        }
        Ok(Scope::Everything)
    }

    fn judge_origin(&self, origin: &HeaderValue, headers: &HeaderMap) -> Result<Scope, Denied> {
        let origin = origin.to_str().map_err(|_| Denied::Origin)?;
        if origin == "null" {
            return if self.file_origin {
                Ok(Scope::Everything)
            } else {
                Err(Denied::File)
            };
        }
        if self
            .allowed_origins
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(origin))
        {
            return Ok(Scope::Everything);
        }
        let page = host_of_origin(origin).ok_or(Denied::Origin)?;
        let asked = headers
            .get(header::HOST)
            .and_then(|h| h.to_str().ok())
            .map(host_without_port);
        // Equal names prove nothing by themselves: a web site can let its own name point to our address (DNS rebinding).
        let same_local_host =
            asked.is_some_and(|asked| asked.eq_ignore_ascii_case(page) && is_local_name(asked));
        if is_loopback(page) || same_local_host {
            Ok(Scope::Everything)
        } else {
            Err(Denied::Origin)
        }
    }
}

/// In constant time for tokens of one length; the length itself is no secret.
fn same(given: &str, token: &str) -> bool {
    given.as_bytes().ct_eq(token.as_bytes()).into()
}

/// RFC 6750, section 2.1.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

/// RFC 6750, section 2.3, as browsers need it: a WebSocket of theirs cannot bear headers.
fn token_of(uri: &Uri) -> Option<String> {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs
        .0
        .into_iter()
        .find(|(name, _)| name == "token")
        .map(|(_, value)| value)
}

/// "http://host:port" to "host", brackets kept.
fn host_of_origin(origin: &str) -> Option<&str> {
    let (scheme, host) = origin.split_once("://")?;
    matches!(scheme, "http" | "https").then(|| host_without_port(host))
}

fn host_without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(end) => &host[..end + 2],
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || ip(host).is_some_and(|ip| ip.is_loopback())
}

/// Names that only a local network can mean: an address, a single label, and the suffixes that no public DNS serves
/// (RFC 6762, RFC 8375, and ICANN's reservation of .internal; .lan by custom).
fn is_local_name(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let suffixes = [".local", ".lan", ".home.arpa", ".internal", ".localhost"];
    ip(host).is_some()
        || (!name.is_empty() && !name.contains('.'))
        || suffixes.iter().any(|s| name.ends_with(s))
}

const BEARER: &str = "Bearer realm=\"stampcast\"";

/// Paths that need no token: whether the program lives is no secret.
const OPEN_PATHS: [&str; 1] = ["/healthz"];

/// The layer: asks [`Access::judge`], tells the handler the [`Scope`], and adds the CORS headers to whatever it answers.
pub async fn layer(
    State(access): State<Arc<Access>>,
    mut request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let verdict = access.judge(request.uri(), request.headers());
    // A preflight bears no token, and its answer says only which pages may ask.
    let origin_passes = verdict.is_ok() || access.token.is_some();
    let browser = shows_html(&request);
    let mut response = if preflight && origin_passes {
        StatusCode::NO_CONTENT.into_response()
    } else {
        match verdict {
            _ if OPEN_PATHS.contains(&request.uri().path()) => next.run(request).await,
            Ok(scope) => {
                request.extensions_mut().insert(scope);
                next.run(request).await
            }
            Err(Denied::NoToken | Denied::WrongToken) if browser => ask_for_token(),
            Err(denied) => denied.into_response(),
        }
    };
    if let Some(origin) = origin.filter(|_| origin_passes) {
        allow(response.headers_mut(), origin, preflight);
    }
    response
}

/// A person's browser opens an address, or reloads the page after its token left the address: a script's `Accept` is `*/*`.
fn shows_html(request: &Request) -> bool {
    let accepted = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    matches!(*request.method(), Method::GET | Method::HEAD)
        && accepted.is_some_and(|types| types.contains("text/html"))
}

/// The same refusal, with a form to type the token into.
fn ask_for_token() -> Response {
    const FORM: &str = include_str!("token.html");
    // In another site's frame the form could be dressed up as that site's own.
    let headers = [
        (header::WWW_AUTHENTICATE, BEARER),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
    ];
    (StatusCode::UNAUTHORIZED, headers, Html(FORM)).into_response()
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    const EXPOSED: &str = "location, link, etag, retry-after, accept-post, x-timestamp, x-sequence";
    const SET: [(HeaderName, &str); 1] = [(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)];
    const PREFLIGHT: [(HeaderName, &str); 3] = [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, if-match",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let extra = if preflight {
        PREFLIGHT.as_slice()
    } else {
        SET.as_slice()
    };
    for (name, value) in extra {
        headers.insert(name.clone(), HeaderValue::from_static(value));
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            // RFC 6750, section 3.
            Self::NoToken | Self::WrongToken => (
                [(header::WWW_AUTHENTICATE, BEARER)],
                refusal(StatusCode::UNAUTHORIZED, self),
            )
                .into_response(),
            Self::Origin | Self::File | Self::Host => refusal(StatusCode::FORBIDDEN, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_for_both_is_refused() {
        let secret = |text: &str| Some(Secret::new(text).expect("the kernel has memory"));
        let access = |video: &str| {
            Access::new(&config::Access {
                token: secret("a"),
                video_token: secret(video),
                ..Default::default()
            })
        };
        assert!(matches!(access("a"), Err(AccessError::SameTokens)));
        assert!(access("b").is_ok());
    }

    fn judge(access: &Access, uri: &str, headers: &[(HeaderName, &str)]) -> Result<Scope, Denied> {
        let headers = headers
            .iter()
            .map(|(n, v)| (n.clone(), HeaderValue::from_str(v).expect("a header")))
            .collect();
        access.judge(&uri.parse().expect("an address"), &headers)
    }

    #[test]
    fn origins_are_judged_by_whose_page_it_is() {
        let open = Access::of(None, None, &["https://dash.example.org"], true);
        let everything = Ok(Scope::Everything);
        for (origin, host, expected) in [
            ("null", "192.0.2.7:8080", everything),
            ("http://localhost:3000", "192.0.2.7:8080", everything),
            ("http://127.0.0.1", "192.0.2.7:8080", everything),
            ("http://[::1]:3000", "192.0.2.7:8080", everything),
            ("http://192.0.2.7:8080", "192.0.2.7:8080", everything),
            ("http://[2001:db8::7]:80", "[2001:db8::7]:8080", everything),
            ("http://pi:8080", "pi:8080", everything),
            ("http://Pi.Local", "pi.local:8080", everything),
            ("https://camera.home.arpa", "camera.home.arpa", everything),
            ("https://dash.example.org", "192.0.2.7:8080", everything),
            ("https://DASH.example.org", "192.0.2.7:8080", everything),
            // A web site, plainly; one that points its own name here; one that only begins like a local name.
            (
                "https://evil.example",
                "192.0.2.7:8080",
                Err(Denied::Origin),
            ),
            (
                "http://evil.example:8080",
                "evil.example:8080",
                Err(Denied::Origin),
            ),
            (
                "http://localhost.evil.example",
                "192.0.2.7:8080",
                Err(Denied::Origin),
            ),
            (
                "http://127.0.0.1.evil.example",
                "127.0.0.1.evil.example",
                Err(Denied::Origin),
            ),
            (
                "https://dash.example.org.evil.example",
                "192.0.2.7",
                Err(Denied::Origin),
            ),
            ("http://192.0.2.8", "192.0.2.7:8080", Err(Denied::Origin)),
            ("file://", "192.0.2.7", Err(Denied::Origin)),
            ("", "192.0.2.7", Err(Denied::Origin)),
        ] {
            let found = judge(
                &open,
                "/stream",
                &[(header::ORIGIN, origin), (header::HOST, host)],
            );
            assert_eq!(found, expected, "{origin} at {host}");
        }
        assert_eq!(
            judge(&open, "/stream", &[(header::HOST, "evil.example")]),
            everything,
            "a script sends no Origin"
        );
        for (host, language, expected) in [
            ("evil.example:8080", Some("en"), Err(Denied::Host)),
            ("evil.example:8080", Some(""), Err(Denied::Host)),
            ("127.0.0.1.evil.example", Some("en"), Err(Denied::Host)),
            ("evil.example:8080", None, everything),
            ("192.0.2.7:8080", Some("en"), everything),
            ("[::1]:8080", Some("en"), everything),
            ("pi.local", Some("en"), everything),
            ("dash.example.org", Some("en"), everything),
        ] {
            let language = language.map(|l| (header::ACCEPT_LANGUAGE, l));
            let headers: Vec<_> = [(header::HOST, host)]
                .into_iter()
                .chain(language.clone())
                .collect();
            assert_eq!(
                judge(&open, "/snapshot.jpg", &headers),
                expected,
                "{host} {language:?}"
            );
        }
        let unsaid = [
            (header::HOST, "evil.example"),
            (
                header::USER_AGENT,
                "Mozilla/5.0 (X11; Linux) QtWebEngine/6.5",
            ),
        ];
        assert_eq!(
            judge(&open, "/snapshot.jpg", &unsaid),
            Err(Denied::Host),
            "a browser that says no language"
        );
        let shut = Access::of(None, None, &[], false);
        assert_eq!(
            judge(&shut, "/stream", &[(header::ORIGIN, "null")]),
            Err(Denied::File)
        );
    }

    #[test]
    fn a_token_opens_by_header_or_query_and_replaces_the_origin_check() {
        let guarded = Access::of(Some("s3cret"), Some("eyes"), &[], true);
        let evil = (header::ORIGIN, "https://evil.example");
        for (uri, headers, expected) in [
            ("/stream", vec![], Err(Denied::NoToken)),
            ("/nothing/here", vec![], Err(Denied::NoToken)),
            ("/stream?token=s3cret", vec![], Ok(Scope::Everything)),
            ("/stream?token=s3cret", vec![evil], Ok(Scope::Everything)),
            ("/stream?token=eyes", vec![], Ok(Scope::PictureOnly)),
            ("/stream?token=s3cre", vec![], Err(Denied::WrongToken)),
            ("/stream?token=", vec![], Err(Denied::WrongToken)),
            (
                "/stream",
                vec![(header::AUTHORIZATION, "Bearer s3cret")],
                Ok(Scope::Everything),
            ),
            (
                "/stream",
                vec![(header::AUTHORIZATION, "bearer eyes")],
                Ok(Scope::PictureOnly),
            ),
            (
                "/stream",
                vec![(header::AUTHORIZATION, "Basic s3cret")],
                Err(Denied::NoToken),
            ),
            (
                "/stream?token=s3cret",
                vec![(header::AUTHORIZATION, "Bearer wrong")],
                Err(Denied::WrongToken),
            ),
            (
                "/stream",
                vec![(header::ORIGIN, "null")],
                Err(Denied::NoToken),
            ),
        ] {
            assert_eq!(
                judge(&guarded, uri, &headers),
                expected,
                "{uri} {headers:?}"
            );
        }
    }
}
