//! The layer before the router: applies the rules of [`Access`] to each request, and answers those
//! that it refuses.

use super::access::{Access, AuthError, Scope, given_token};
use super::connection::{Busy, ClientAddr};
use super::content_policy::policy;
use super::error::error_response;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const BEARER: &str = "Bearer realm=\"stampcast\"";

/// Paths that need no token: whether the program runs is not secret, nor is the code of its page,
/// whose requests for it cannot have a header.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/playout-worklet.js"];

/// Authorizes the request, adds its [`Scope`] to it, and security and CORS headers to the
/// response.
pub(super) async fn auth_layer(
    State(access): State<Arc<Access>>,
    mut request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_open = OPEN_PATHS.contains(&request.uri().path());
    let client = request.extensions().get::<ClientAddr>();
    let peer = client.map_or(IpAddr::from([0, 0, 0, 0]), |client| client.0.ip());
    let decision = if is_open {
        access.authorize(request.uri(), request.headers())
    } else {
        let busy = request.extensions().get::<Busy>();
        authorize(&access, peer, request.uri(), request.headers(), busy).await
    };
    // A preflight has no token, and its answer says only which pages may ask.
    let origin_passes = decision.is_ok() || access.needs_token();
    let browser = accepts_html(&request);
    let mut response = if preflight && origin_passes {
        StatusCode::NO_CONTENT.into_response()
    } else {
        match decision {
            _ if is_open => next.run(request).await,
            Ok(scope) => {
                request.extensions_mut().insert(scope);
                next.run(request).await
            }
            Err(AuthError::NoToken | AuthError::WrongToken) if browser => token_form(),
            Err(error) => error.into_response(),
        }
    };
    let headers = response.headers_mut();
    // No answer is another type than it says: none of them becomes a script or a style of a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if let Some(origin) = origin.filter(|_| origin_passes) {
        add_cors_headers(headers, origin, preflight);
    }
    response
}

/// What the request may have, after a wait where its client has guessed tokens.
async fn authorize(
    access: &Access,
    peer: IpAddr,
    uri: &Uri,
    headers: &HeaderMap,
    busy: Option<&Busy>,
) -> Result<Scope, AuthError> {
    access.check_peer(peer, headers)?;
    let token = given_token(uri, headers).filter(|_| access.needs_token());
    let Some(token) = token else {
        return access.authorize(uri, headers);
    };
    let reserved = access.reserve_check(peer, &token)?;
    if reserved.at() > Instant::now() {
        // Meanwhile its connection may be evicted for a new one.
        let was_busy = busy.is_some_and(|busy| busy.0.swap(false, Relaxed));
        tokio::time::sleep_until(reserved.at().into()).await;
        if let Some(busy) = busy {
            busy.0.store(was_busy, Relaxed);
        }
    }
    access.authorize_reserved(peer, reserved, uri, headers)
}

/// True when a browser opens an address, or reloads the page after its token was removed from the
/// address: a script's `Accept` is `*/*`.
fn accepts_html(request: &Request) -> bool {
    let accepted = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    matches!(*request.method(), Method::GET | Method::HEAD)
        && accepted.is_some_and(|types| types.contains("text/html"))
}

/// 401 with a form for the token.
fn token_form() -> Response {
    const FORM: &str = include_str!("token.html");
    // In another site's frame the form could be made to look like that site's own.
    const MORE: &str = "form-action 'self'; frame-ancestors 'none'";
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy(FORM, "", MORE));
    let headers = [
        (header::WWW_AUTHENTICATE, BEARER),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let policy = [(header::CONTENT_SECURITY_POLICY, POLICY.clone())];
    (StatusCode::UNAUTHORIZED, headers, policy, Html(FORM)).into_response()
}

fn add_cors_headers(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
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

impl IntoResponse for AuthError {
    fn into_response(self) -> Response {
        match self {
            // RFC 6750, section 3.
            Self::NoToken | Self::WrongToken => (
                [(header::WWW_AUTHENTICATE, BEARER)],
                error_response(StatusCode::UNAUTHORIZED, self),
            )
                .into_response(),
            Self::TooManyGuesses => (
                [(header::RETRY_AFTER, "10")],
                error_response(StatusCode::TOO_MANY_REQUESTS, self),
            )
                .into_response(),
            Self::Origin | Self::File | Self::Host | Self::NotLocal | Self::Proxied => {
                error_response(StatusCode::FORBIDDEN, self)
            }
        }
    }
}
