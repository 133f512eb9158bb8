//! Authorization of requests: by token, or where none is configured by the client's address and the
//! Origin of a browser's request. The decision is a pure function of the request's head and the
//! client's address; `auth_layer` applies it.
//!
//! A page of any web site can open a WebSocket to any address that its visitor's browser reaches,
//! and the browser names the page's site in `Origin` (RFC 6454). A script sends none. A token is
//! sufficient by itself, so with one `Origin` is not checked.

use super::guesses::{Guesses, Reservation};
use super::peers::Peers;
use super::reload::Reloading;
use crate::config;
use crate::config::secrets;
use crate::config::secrets::{Secret, TokenFileError};
use crate::net::host::{Host, Origin};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a request may have: an extension of every authorized request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Everything,
    /// `--video-token`: video without audio.
    VideoOnly,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error(
        "a token is required: send it as `Authorization: Bearer TOKEN`, or add ?token=TOKEN to the \
         address"
    )]
    NoToken,
    #[error("the token is wrong")]
    WrongToken,
    #[error(
        "pages of this origin are not allowed; start stampcast with --allow-origin ORIGIN, or \
         require a token (--token-file)"
    )]
    Origin,
    #[error("pages opened as a file are not allowed here (--no-file-origin)")]
    File,
    #[error(
        "clients outside this machine's networks are not allowed without a token; start stampcast \
         with --token-file FILE, or with --allow-public to let everyone watch"
    )]
    NotLocal,
    #[error(
        "requests that came through a proxy (with Forwarded, X-Forwarded-For or Via) are not \
         allowed without a token, because their client may be anywhere; start stampcast with \
         --token-file FILE, or with --allow-public to let everyone watch"
    )]
    Proxied,
    #[error("too many wrong tokens from this address; try again later")]
    TooManyGuesses,
    #[error(
        "browsers are not allowed to use this host name, because any web site could point its own \
         name here; use the IP address, or start stampcast with --allow-origin http://NAME, or \
         require a token (--token-file)"
    )]
    Host,
}

/// The rules, with the tokens in memory.
pub struct Access {
    token: Option<Reloading<Arc<Zeroizing<String>>>>,
    video_token: Option<Zeroizing<String>>,
    allowed_origins: Vec<Origin>,
    file_origin: bool,
    /// Without a token, only local clients may watch. `None`: everyone.
    peers: Option<Peers>,
    guesses: Guesses,
}

/// Why the rules cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(transparent)]
    File(#[from] TokenFileError),
    #[error("the token cannot be read back from memory")]
    Unreadable(#[from] std::io::Error),
    #[error(
        "--video-token is the same as --token, so it would give access to the audio, too; use two \
         different tokens"
    )]
    SameTokens,
}

impl Access {
    /// Reads the token, which is reloaded when its file changes.
    ///
    /// # Errors
    /// A token cannot be read, or both are the same.
    pub fn new(config: &config::Access) -> Result<Self, AccessError> {
        let video_token = config.video_token.as_ref().map(Secret::read).transpose()?;
        if let Some(token) = &video_token {
            warn_if_weak("--video-token", token);
        }
        let other = video_token.clone();
        let distinct = move |token| {
            if Some(&token) == other.as_ref() {
                Err(AccessError::SameTokens)
            } else {
                Ok(Arc::new(token))
            }
        };
        let token = match (config.token.clone(), config.token_file.clone()) {
            (Some(token), _) => Some(Reloading::new("token", Vec::new(), move || {
                let token = token.read()?;
                warn_if_weak("--token", &token);
                distinct(token)
            })?),
            (None, Some(file)) => Some(Reloading::new("token", vec![file.clone()], move || {
                let token = secrets::first_line(&file)?;
                warn_if_weak("--token-file", &token);
                distinct(token)
            })?),
            (None, None) => None,
        };
        Ok(Self {
            token,
            video_token,
            allowed_origins: origins(config.allowed_origins.iter()),
            file_origin: config.file_origin,
            peers: (!config.public_clients).then(Peers::default),
            guesses: Guesses::default(),
        })
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn with_tokens(
        token: Option<&str>,
        video_token: Option<&str>,
        allowed: &[&str],
        file_origin: bool,
    ) -> Self {
        let fixed = |token: &str| {
            let token = Arc::new(Zeroizing::new(token.to_owned()));
            Reloading::new("token", Vec::new(), move || {
                Ok::<_, std::convert::Infallible>(token.clone())
            })
            .expect("infallible")
        };
        Self {
            token: token.map(fixed),
            video_token: video_token.map(|t| Zeroizing::new(t.to_owned())),
            allowed_origins: origins(allowed.iter()),
            file_origin,
            peers: Some(Peers::default()),
            guesses: Guesses::default(),
        }
    }

    /// Whether every request needs a token.
    pub(super) fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether the client may make requests at all.
    ///
    /// # Errors
    /// [`AuthError::NotLocal`], [`AuthError::Proxied`].
    pub(super) fn check_peer(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), AuthError> {
        /// What proxies add: RFC 7239, its predecessor, and RFC 9110, section 7.6.3.
        const OF_PROXIES: [&str; 3] = ["forwarded", "x-forwarded-for", "via"];
        let Some(peers) = self.peers.as_ref().filter(|_| self.token.is_none()) else {
            return Ok(());
        };
        if !peers.is_local(peer, Instant::now()) {
            Err(AuthError::NotLocal)
        } else if OF_PROXIES.iter().any(|name| headers.contains_key(*name)) {
            Err(AuthError::Proxied)
        } else {
            Ok(())
        }
    }

    /// Reserves the time at which a token that `peer` sent may be checked: now, unless it has sent
    /// several wrong ones.
    ///
    /// # Errors
    /// [`AuthError::TooManyGuesses`].
    pub(super) fn reserve_check(
        &self,
        peer: IpAddr,
        token: &str,
    ) -> Result<Reservation<'_>, AuthError> {
        let reserved = self.guesses.reserve(peer, token, Instant::now());
        reserved.ok_or(AuthError::TooManyGuesses)
    }

    /// What the request may have; counts and logs a wrong token.
    ///
    /// # Errors
    /// Those of [`Self::authorize`].
    pub(super) fn authorize_reserved(
        &self,
        peer: IpAddr,
        reserved: Reservation<'_>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Scope, AuthError> {
        let decision = self.authorize(uri, headers);
        match reserved.checked(decision.is_ok(), Instant::now()) {
            None => {}
            Some(1) => tracing::warn!("wrong token from {peer}"),
            Some(n) => tracing::warn!("{n} different wrong tokens from {peer} since the last line"),
        }
        decision
    }

    /// Decides by token or by `Origin`. A token is required at every path, known or not.
    ///
    /// # Errors
    /// The request is refused.
    pub(crate) fn authorize(&self, uri: &Uri, headers: &HeaderMap) -> Result<Scope, AuthError> {
        if let Some(token) = &self.token {
            let given = given_token(uri, headers).ok_or(AuthError::NoToken)?;
            return if ct_eq(&given, &token.get()) {
                Ok(Scope::Everything)
            } else if self.video_token.as_ref().is_some_and(|t| ct_eq(&given, t)) {
                Ok(Scope::VideoOnly)
            } else {
                Err(AuthError::WrongToken)
            };
        }
        match headers.get(header::ORIGIN) {
            None => self.authorize_without_origin(headers),
            Some(origin) => self.authorize_origin(origin, headers),
        }
    }

    /// Scripts send no `Origin`, and neither does a browser that requests something from the page's
    /// own server. Where a web site lets its own name resolve to our address (DNS rebinding), only
    /// the `Host` shows it, so browsers need a host name that only a local network resolves, or an
    /// allowed one. A browser is recognised by `Accept-Language`, which no page can suppress and
    /// scripts do not send, or by its `User-Agent`.
    fn authorize_without_origin(&self, headers: &HeaderMap) -> Result<Scope, AuthError> {
        let is_known = |asked: &Host| {
            let mut allowed = self.allowed_origins.iter();
            asked.is_local() || allowed.any(|origin| origin.host == *asked)
        };
        let is_browser = headers.contains_key(header::ACCEPT_LANGUAGE)
            || headers
                .get(header::USER_AGENT)
                .is_some_and(|name| name.as_bytes().starts_with(b"Mozilla/"));
        if is_browser && asked_host(headers)?.is_some_and(|asked| !is_known(&asked)) {
            return Err(AuthError::Host);
        }
        Ok(Scope::Everything)
    }

    fn authorize_origin(
        &self,
        origin: &HeaderValue,
        headers: &HeaderMap,
    ) -> Result<Scope, AuthError> {
        let origin = origin.to_str().map_err(|_| AuthError::Origin)?;
        if origin == "null" {
            return if self.file_origin {
                Ok(Scope::Everything)
            } else {
                Err(AuthError::File)
            };
        }
        let origin = Origin::parse(origin).ok_or(AuthError::Origin)?;
        if self.allowed_origins.contains(&origin) {
            return Ok(Scope::Everything);
        }
        let page = origin.host;
        let asked = asked_host(headers).unwrap_or_default();
        // Equal names prove nothing by themselves: a web site can let its own name resolve to our
        // address (DNS rebinding).
        let is_same_local_host = asked.is_some_and(|asked| asked == page && asked.is_local());
        if page.is_loopback() || is_same_local_host {
            Ok(Scope::Everything)
        } else {
            Err(AuthError::Origin)
        }
    }
}

/// Those that can be parsed, as all values of `--allow-origin` can.
fn origins(texts: impl Iterator<Item = impl AsRef<str>>) -> Vec<Origin> {
    texts
        .filter_map(|text| Origin::parse(text.as_ref()))
        .collect()
}

/// Takes the same time for all texts of one length; the length is not secret.
fn ct_eq(given: &str, token: &str) -> bool {
    given.as_bytes().ct_eq(token.as_bytes()).into()
}

/// Logs a warning for a token that is easy to guess, without showing it.
fn warn_if_weak(option: &str, token: &str) {
    if let Some(weakness) = weakness(token) {
        tracing::warn!(
            "the token of {option} is weak: {weakness}; a strong one: openssl rand -hex 16"
        );
    }
}

/// Why a token is easy to guess.
fn weakness(token: &str) -> Option<&'static str> {
    const MIN_LENGTH: usize = 16;
    const MIN_DISTINCT: usize = 6;
    let distinct: BTreeSet<char> = token.chars().collect();
    if token.chars().count() < MIN_LENGTH {
        Some("it has fewer than 16 characters")
    } else if distinct.len() < MIN_DISTINCT {
        Some("it has fewer than 6 different characters")
    } else {
        None
    }
}

/// The token of a request, right or wrong.
pub(super) fn given_token(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    bearer(headers).or_else(|| token_in_query(uri))
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

/// RFC 6750, section 2.3: a browser's WebSocket cannot have headers of its own.
fn token_in_query(uri: &Uri) -> Option<String> {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs
        .0
        .into_iter()
        .find(|(name, _)| name == "token")
        .map(|(_, value)| value)
}

/// The host that was asked for; `None` without one.
///
/// # Errors
/// More than one, or one that cannot be parsed.
fn asked_host(headers: &HeaderMap) -> Result<Option<Host>, AuthError> {
    let mut hosts = headers.get_all(header::HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => {
            let host = host.to_str().ok().and_then(Host::parse);
            host.map(|(host, _)| Some(host)).ok_or(AuthError::Host)
        }
        (Some(_), Some(_)) => Err(AuthError::Host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    #[test]
    fn access_same_token_twice_is_error() {
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

    fn authorize(
        access: &Access,
        uri: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Scope, AuthError> {
        let headers = headers
            .iter()
            .map(|(n, v)| (n.clone(), HeaderValue::from_str(v).expect("a header")))
            .collect();
        access.authorize(&uri.parse().expect("an address"), &headers)
    }

    #[test]
    fn authorize_origin_depends_on_site_of_page() {
        let allowed = ["https://dash.example.org", "https://ha.example.org:443"];
        let open = Access::with_tokens(None, None, &allowed, true);
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
            ("https://dash.example.org:443", "192.0.2.7", everything),
            ("https://ha.example.org", "192.0.2.7:8080", everything),
            ("https://ha.example.org:443", "192.0.2.7", everything),
            // The same host, but another origin.
            (
                "http://dash.example.org",
                "192.0.2.7",
                Err(AuthError::Origin),
            ),
            (
                "https://dash.example.org:8443",
                "192.0.2.7",
                Err(AuthError::Origin),
            ),
            // A web site; one whose own name resolves to here; one that only begins like a local
            // name.
            (
                "https://evil.example",
                "192.0.2.7:8080",
                Err(AuthError::Origin),
            ),
            (
                "http://evil.example:8080",
                "evil.example:8080",
                Err(AuthError::Origin),
            ),
            (
                "http://localhost.evil.example",
                "192.0.2.7:8080",
                Err(AuthError::Origin),
            ),
            (
                "http://127.0.0.1.evil.example",
                "127.0.0.1.evil.example",
                Err(AuthError::Origin),
            ),
            (
                "https://dash.example.org.evil.example",
                "192.0.2.7",
                Err(AuthError::Origin),
            ),
            ("http://192.0.2.8", "192.0.2.7:8080", Err(AuthError::Origin)),
            // Local at first sight.
            (
                "http://[::1].evil.example",
                "192.0.2.7",
                Err(AuthError::Origin),
            ),
            (
                "http://localhost:pw@evil.example",
                "192.0.2.7",
                Err(AuthError::Origin),
            ),
            (
                "http://[::1].evil.example",
                "[::1].evil.example",
                Err(AuthError::Origin),
            ),
            ("http://com.", "com.", Err(AuthError::Origin)),
            ("file://", "192.0.2.7", Err(AuthError::Origin)),
            ("", "192.0.2.7", Err(AuthError::Origin)),
        ] {
            let found = authorize(
                &open,
                "/stream",
                &[(header::ORIGIN, origin), (header::HOST, host)],
            );
            assert_eq!(found, expected, "{origin} at {host}");
        }
        assert_eq!(
            authorize(&open, "/stream", &[(header::HOST, "evil.example")]),
            everything,
            "a script sends no Origin"
        );
        for (host, language, expected) in [
            ("evil.example:8080", Some("en"), Err(AuthError::Host)),
            ("evil.example:8080", Some(""), Err(AuthError::Host)),
            ("127.0.0.1.evil.example", Some("en"), Err(AuthError::Host)),
            ("[::1].evil.example", Some("en"), Err(AuthError::Host)),
            (
                "user:192.168.1.5@evil.example",
                Some("en"),
                Err(AuthError::Host),
            ),
            ("[]", Some("en"), Err(AuthError::Host)),
            ("com.", Some("en"), Err(AuthError::Host)),
            ("2130706433", Some("en"), Err(AuthError::Host)),
            ("pi.local.", Some("en"), everything),
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
                authorize(&open, "/snapshot.jpg", &headers),
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
            authorize(&open, "/snapshot.jpg", &unsaid),
            Err(AuthError::Host),
            "a browser that sends no language"
        );
        let shut = Access::with_tokens(None, None, &[], false);
        assert_eq!(
            authorize(&shut, "/stream", &[(header::ORIGIN, "null")]),
            Err(AuthError::File)
        );
    }

    #[test]
    fn authorize_token_in_header_or_query_replaces_origin_check() {
        let guarded = Access::with_tokens(Some("s3cret"), Some("eyes"), &[], true);
        let evil = (header::ORIGIN, "https://evil.example");
        for (uri, headers, expected) in [
            ("/stream", vec![], Err(AuthError::NoToken)),
            ("/nothing/here", vec![], Err(AuthError::NoToken)),
            ("/stream?token=s3cret", vec![], Ok(Scope::Everything)),
            ("/stream?token=s3cret", vec![evil], Ok(Scope::Everything)),
            ("/stream?token=eyes", vec![], Ok(Scope::VideoOnly)),
            ("/stream?token=s3cre", vec![], Err(AuthError::WrongToken)),
            ("/stream?token=", vec![], Err(AuthError::WrongToken)),
            (
                "/stream",
                vec![(header::AUTHORIZATION, "Bearer s3cret")],
                Ok(Scope::Everything),
            ),
            (
                "/stream",
                vec![(header::AUTHORIZATION, "bearer eyes")],
                Ok(Scope::VideoOnly),
            ),
            (
                "/stream",
                vec![(header::AUTHORIZATION, "Basic s3cret")],
                Err(AuthError::NoToken),
            ),
            (
                "/stream?token=s3cret",
                vec![(header::AUTHORIZATION, "Bearer wrong")],
                Err(AuthError::WrongToken),
            ),
            (
                "/stream",
                vec![(header::ORIGIN, "null")],
                Err(AuthError::NoToken),
            ),
        ] {
            assert_eq!(
                authorize(&guarded, uri, &headers),
                expected,
                "{uri} {headers:?}"
            );
        }
    }
}
