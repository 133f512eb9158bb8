//! WebRTC's signalling over HTTP: WHEP (draft-ietf-wish-whep) at `/whep` and `/{name}/whep`, and a plain JSON exchange at
//! `/api/webrtc/offer`, and its part of `/metrics`. Knows what a request looks like; sessions are `webrtc`'s.

use super::{
    Answer, BadOffer, Hearing, Kind as SessionKind, MAX_OFFER, Refusal, Report, Server, WhipState,
};
use crate::http::access::Scope;
use crate::http::error::error_response as refusal;
use crate::output::metric::{Labels, counters, gauges, plain};
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, delete, post};
use axum::{Json, Router};
use bytes::Bytes;
use prometheus_client::encoding::DescriptorEncoder;
use serde::{Deserialize, Serialize};
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const SDP: &str = "application/sdp";
const JSON: &str = "application/json";
/// The methods of the endpoints, and of a session.
const ENDPOINT: &str = "POST, OPTIONS";
const SESSION: &str = "DELETE, OPTIONS";
/// An offer as JSON has two bytes for each line's end and a frame around it.
const MAX_BODY: usize = 2 * MAX_OFFER;
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// The paths, to be put behind the access layer. `body`: how long a request's body may take.
pub fn routes(server: Arc<Server>, body: Duration) -> Router {
    let endpoint = || {
        post(play)
            .options(options(ENDPOINT, Some(SDP)))
            .fallback(not_allowed)
    };
    let session = || -> MethodRouter<Arc<Server>> {
        delete(end)
            .options(options(SESSION, None))
            .fallback(not_allowed)
    };
    at_their_paths(
        endpoint,
        session,
        post(offer).options(options(ENDPOINT, Some(JSON))),
    )
    .layer(DefaultBodyLimit::max(MAX_BODY))
    .layer(from_fn_with_state(body, within))
    .with_state(server)
}

fn at_their_paths<S: Clone + Send + Sync + 'static>(
    endpoint: impl Fn() -> MethodRouter<S>,
    session: impl Fn() -> MethodRouter<S>,
    offer: MethodRouter<S>,
) -> Router<S> {
    Router::new()
        .route("/whep", endpoint())
        .route("/whep/{session}", session())
        .route("/{name}/whep", endpoint())
        .route("/{name}/whep/{session}", session())
        .route("/api/webrtc/offer", offer)
}

/// These handlers wait for the request's body, and for a turn among fewer than there are places, of a few milliseconds each.
async fn within(State(longest): State<Duration>, request: Request, next: Next) -> Response {
    let answer = timeout(longest, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        refusal(
            StatusCode::REQUEST_TIMEOUT,
            "the request's body took too long",
        )
    })
}

/// The same paths where WebRTC is on and cannot be had.
pub fn unavailable(reason: &str) -> Router {
    let error = format!("WebRTC cannot be had: {reason}");
    let refused: MethodRouter = any(async move || refusal(StatusCode::SERVICE_UNAVAILABLE, error));
    at_their_paths(|| refused.clone(), || refused.clone(), refused.clone())
}

/// RFC 9110, section 9.3.7; draft-ietf-wish-whep wants Accept-Post of the endpoint.
fn options(
    allow: &'static str,
    accept: Option<&'static str>,
) -> impl Fn() -> Ready<Response> + Clone {
    move || {
        let mut answer = (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response();
        answer
            .headers_mut()
            .extend(accept.map(|accept| (ACCEPT_POST, HeaderValue::from_static(accept))));
        ready(answer)
    }
}

/// PATCH too: the answer names every candidate, so there is nothing to trickle and no ICE to restart.
async fn not_allowed() -> Response {
    let error =
        "POST an offer to the endpoint, DELETE the session; the answer names every candidate";
    refusal(StatusCode::METHOD_NOT_ALLOWED, error)
}

async fn play(
    State(server): State<Arc<Server>>,
    Extension(scope): Extension<Scope>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next());
    if !media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(SDP)) {
        let accepted = [(ACCEPT_POST, HeaderValue::from_static(SDP))];
        let error = "an offer has the Content-Type application/sdp";
        return (accepted, refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)).into_response();
    }
    let body = match body {
        Ok(body) => body,
        Err(e) => return refusal(e.status(), e.body_text()),
    };
    let answer = match std::str::from_utf8(&body) {
        Ok(offer) => {
            server
                .answer(offer, SessionKind::Whep, hearing(scope))
                .await
        }
        Err(_) => Err(BadOffer::Malformed.into()),
    };
    match answer {
        Ok(Answer { id, sdp }) => {
            // Relative to the endpoint (RFC 9110, section 10.2.2): a proxy may have put a prefix before our path.
            let location = format!("whep/{id}");
            let headers = [
                (header::CONTENT_TYPE, SDP.to_owned()),
                (header::LOCATION, location),
                (header::ETAG, format!("\"{id}\"")),
            ];
            (StatusCode::CREATED, headers, sdp).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// The last part of the path is the session, whatever name the endpoint had.
async fn end(
    State(server): State<Arc<Server>>,
    Path(parts): Path<Vec<(String, String)>>,
) -> Response {
    match parts.last() {
        Some((_, id)) if server.end(id) => StatusCode::OK.into_response(),
        _ => refusal(StatusCode::NOT_FOUND, "there is no such session"),
    }
}

#[derive(Deserialize)]
struct Offer {
    sdp: String,
    #[serde(rename = "type")]
    kind: Kind,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Offer,
    Answer,
}

#[derive(Serialize)]
struct Answered {
    sdp: String,
    #[serde(rename = "type")]
    kind: Kind,
}

/// As aiortc's examples do it: the session ends when its peer goes.
async fn offer(
    State(server): State<Arc<Server>>,
    Extension(scope): Extension<Scope>,
    offer: Result<Json<Offer>, JsonRejection>,
) -> Response {
    let Offer { sdp, kind } = match offer {
        Ok(Json(offer)) => offer,
        Err(e) => return refusal(e.status(), e.body_text()),
    };
    if matches!(kind, Kind::Answer) {
        return refusal(
            StatusCode::BAD_REQUEST,
            "an offer is expected, not an answer",
        );
    }
    match server.answer(&sdp, SessionKind::Json, hearing(scope)).await {
        Ok(answer) => Json(Answered {
            sdp: answer.sdp,
            kind: Kind::Answer,
        })
        .into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// WebRTC's part of `/metrics`.
pub(super) fn metrics(report: &Report, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
    let states = [("connected", true), ("connecting", false)];
    let each = SessionKind::ALL
        .into_iter()
        .flat_map(|kind| states.map(|(state, connected)| (kind, state, connected)));
    let count = |kind, connected| {
        report
            .sessions
            .iter()
            .filter(|seen| seen.kind == kind && seen.connected == connected)
            .count()
    };
    let sessions = each.map(|(kind, state, connected)| {
        let labels: Labels<'_> = vec![
            ("kind", kind.name().to_owned()),
            ("state", state.to_owned()),
        ];
        (labels, count(kind, connected) as f64)
    });
    gauges(
        out,
        "webrtc_sessions",
        "WebRTC sessions now, by how they began and whether media can flow",
        sessions,
    )?;
    let Some(whip) = &report.whip else {
        return Ok(());
    };
    plain(
        out,
        "whip_up",
        "1 while the camera is published (--whip)",
        f64::from(u8::from(whip.state == WhipState::Connected)),
    )?;
    counters(
        out,
        "whip_sessions",
        "How often publishing came through",
        [(vec![], whip.sessions as f64)],
    )?;
    counters(
        out,
        "whip_failures",
        "How often publishing failed or was cut off",
        [(vec![], whip.failures as f64)],
    )
}

fn hearing(scope: Scope) -> Hearing {
    match scope {
        Scope::Everything => Hearing::Allowed,
        Scope::VideoOnly => Hearing::Forbidden,
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match &self {
            Self::BadOffer(BadOffer::TooLarge) => refusal(StatusCode::PAYLOAD_TOO_LARGE, &self),
            // RFC 9725, section 4.2: understood, and yet not to be served.
            Self::BadOffer(BadOffer::NothingInCommon | BadOffer::TooMuch) => {
                refusal(StatusCode::UNPROCESSABLE_ENTITY, &self)
            }
            Self::BadOffer(_) => refusal(StatusCode::BAD_REQUEST, &self),
            Self::Full(_) => (
                [(header::RETRY_AFTER, RETRY_SECONDS)],
                refusal(StatusCode::SERVICE_UNAVAILABLE, &self),
            )
                .into_response(),
            Self::Failed(e) => {
                tracing::warn!("a WebRTC viewer was turned away: {e}");
                refusal(StatusCode::INTERNAL_SERVER_ERROR, &self)
            }
        }
    }
}
