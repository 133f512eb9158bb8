//! WebRTC's signalling over HTTP: WHEP (draft-ietf-wish-whep) at `/whep`, a JSON exchange at
//! `/api/webrtc/offer`, both also below a camera's name; and its part of `/metrics`.

use super::signalling::SDP;
use super::{
    Answer, AudioAccess, BadOffer, Camera, MAX_OFFER_BYTES, OfferError, OfferRequest, Report,
    Server, SessionKind, WhipState,
};
use crate::http::ClientAddr;
use crate::http::access::Scope;
use crate::http::error::error_response;
use crate::hub::Hubs;
use crate::output::camera::{self, CameraName};
use crate::output::metric::{Labels, counters, gauges, plain};
use crate::output::{ApiError, Context};
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
use tokio::time::{Instant, timeout_at};

const JSON: &str = "application/json";
/// The methods of the endpoints, and of a session.
const ENDPOINT_METHODS: &str = "POST, OPTIONS";
const SESSION_METHODS: &str = "DELETE, OPTIONS";
/// An offer as JSON has two bytes for each line's end and an object around it.
const MAX_BODY_BYTES: usize = 2 * MAX_OFFER_BYTES;
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// What the handlers share.
#[derive(Clone)]
struct Signalling {
    server: Arc<Server>,
    hubs: Hubs,
}

impl Signalling {
    /// The camera of a request; without a name the first one. With `any_name`, a server of one
    /// camera accepts every name, as media servers do that have no names.
    fn camera(&self, name: &CameraName, any_name: bool) -> Result<&Camera, ApiError> {
        let Some(name) = name.as_str() else {
            return Ok(self.server.default_camera());
        };
        match self.server.camera(name) {
            Some(camera) => Ok(camera),
            None if any_name && self.server.has_one_camera() => Ok(self.server.default_camera()),
            None => Err(ApiError::unknown_camera(name, &self.hubs)),
        }
    }

    /// # Errors
    /// Those of [`Server::answer`], and [`OfferError::TooManyOffers`] at the deadline.
    async fn answer(
        &self,
        request: OfferRequest<'_>,
        Deadline(deadline): Deadline,
    ) -> Result<Answer, OfferError> {
        let answer = timeout_at(deadline, self.server.answer(request)).await;
        answer.unwrap_or(Err(OfferError::TooManyOffers))
    }
}

/// The routes, for the access layer to protect.
pub(super) fn routes(server: Arc<Server>, cx: &Context) -> Router {
    let endpoint = post(post_offer)
        .options(options(ENDPOINT_METHODS, Some(SDP)))
        .fallback(method_not_allowed);
    let session = delete(delete_session)
        .options(options(SESSION_METHODS, None))
        .fallback(method_not_allowed);
    let json = post(post_json_offer).options(options(ENDPOINT_METHODS, Some(JSON)));
    let signalling = Signalling {
        server,
        hubs: cx.hubs.clone(),
    };
    router(endpoint, session, json)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(cx.config.limits.head, limit_time))
        .with_state(signalling)
}

/// The same routes where WebRTC is on but its port cannot be opened.
pub(super) fn unavailable(reason: &str) -> Router {
    let error = format!("WebRTC is not available: {reason}");
    let refused: MethodRouter =
        any(async move || error_response(StatusCode::SERVICE_UNAVAILABLE, error));
    router(refused.clone(), refused.clone(), refused)
}

fn router<S: Clone + Send + Sync + 'static>(
    endpoint: MethodRouter<S>,
    session: MethodRouter<S>,
    json: MethodRouter<S>,
) -> Router<S> {
    let router = camera::route(Router::new(), "/whep", endpoint);
    let router = camera::route(router, "/whep/{session}", session);
    camera::route(router, "/api/webrtc/offer", json)
}

/// Until when a request is answered.
#[derive(Clone, Copy)]
struct Deadline(Instant);

/// The handlers wait for the request's body, then for their turn to parse the offer, which takes
/// some milliseconds for each offer before; the latter wait is limited by [`Signalling::answer`].
async fn limit_time(State(limit): State<Duration>, mut request: Request, next: Next) -> Response {
    let deadline = Instant::now() + limit;
    request.extensions_mut().insert(Deadline(deadline));
    let response = timeout_at(deadline, next.run(request)).await;
    response.unwrap_or_else(|_| {
        error_response(
            StatusCode::REQUEST_TIMEOUT,
            "the request's body took too long",
        )
    })
}

/// RFC 9110, section 9.3.7; draft-ietf-wish-whep requires Accept-Post of the endpoint.
fn options(
    allow: &'static str,
    accept: Option<&'static str>,
) -> impl Fn() -> Ready<Response> + Clone {
    move || {
        let mut response = (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response();
        response
            .headers_mut()
            .extend(accept.map(|accept| (ACCEPT_POST, HeaderValue::from_static(accept))));
        ready(response)
    }
}

/// PATCH too: there is no trickle ICE and no ICE restart.
async fn method_not_allowed() -> Response {
    let error = "POST an offer to the endpoint, DELETE the session; the answer has all candidates";
    error_response(StatusCode::METHOD_NOT_ALLOWED, error)
}

async fn post_offer(
    State(signalling): State<Signalling>,
    name: CameraName,
    Extension(scope): Extension<Scope>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    Extension(deadline): Extension<Deadline>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let camera = match signalling.camera(&name, true) {
        Ok(camera) => camera,
        Err(e) => return e.into_response(),
    };
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next());
    if !media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(SDP)) {
        let accepted = [(ACCEPT_POST, HeaderValue::from_static(SDP))];
        let error = "the Content-Type of an offer must be application/sdp";
        return (
            accepted,
            error_response(StatusCode::UNSUPPORTED_MEDIA_TYPE, error),
        )
            .into_response();
    }
    let body = match body {
        Ok(body) => body,
        Err(e) => return error_response(e.status(), e.body_text()),
    };
    let Ok(sdp) = std::str::from_utf8(&body) else {
        return OfferError::from(BadOffer::Malformed).into_response();
    };
    let request = OfferRequest {
        camera,
        sdp,
        kind: SessionKind::Whep,
        audio: audio_access(scope),
        client: client.ip(),
    };
    match signalling.answer(request, deadline).await {
        Ok(Answer { id, sdp }) => {
            // Relative to the endpoint (RFC 9110, section 10.2.2): a proxy may add a prefix to the
            // path.
            let headers = [
                (header::CONTENT_TYPE, SDP.to_owned()),
                (header::LOCATION, format!("whep/{id}")),
                (header::ETAG, format!("\"{id}\"")),
            ];
            (StatusCode::CREATED, headers, sdp).into_response()
        }
        Err(e) => e.into_response(),
    }
}

/// The session's name is enough, whatever camera the path has.
async fn delete_session(
    State(signalling): State<Signalling>,
    Path(parts): Path<Vec<(String, String)>>,
) -> Response {
    match parts.last() {
        Some((_, id)) if signalling.server.end(id) => StatusCode::OK.into_response(),
        _ => error_response(StatusCode::NOT_FOUND, "no such session"),
    }
}

#[derive(Deserialize, Serialize)]
struct JsonSdp {
    sdp: String,
    #[serde(rename = "type")]
    kind: SdpKind,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum SdpKind {
    Offer,
    Answer,
}

/// The exchange of aiortc's examples: the session ends when its peer does.
async fn post_json_offer(
    State(signalling): State<Signalling>,
    name: CameraName,
    Extension(scope): Extension<Scope>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    Extension(deadline): Extension<Deadline>,
    offer: Result<Json<JsonSdp>, JsonRejection>,
) -> Response {
    let camera = match signalling.camera(&name, false) {
        Ok(camera) => camera,
        Err(e) => return e.into_response(),
    };
    let JsonSdp { sdp, kind } = match offer {
        Ok(Json(offer)) => offer,
        Err(e) => return error_response(e.status(), e.body_text()),
    };
    if matches!(kind, SdpKind::Answer) {
        return error_response(
            StatusCode::BAD_REQUEST,
            "an offer is expected, not an answer",
        );
    }
    let request = OfferRequest {
        camera,
        sdp: &sdp,
        kind: SessionKind::Json,
        audio: audio_access(scope),
        client: client.ip(),
    };
    match signalling.answer(request, deadline).await {
        Ok(answer) => Json(JsonSdp {
            sdp: answer.sdp,
            kind: SdpKind::Answer,
        })
        .into_response(),
        Err(e) => e.into_response(),
    }
}

/// WebRTC's part of `/metrics`.
///
/// # Errors
/// Those of the encoder.
pub(super) fn metrics(report: &Report, out: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
    let states = [("connected", true), ("connecting", false)];
    let each = SessionKind::ALL
        .into_iter()
        .flat_map(|kind| states.map(|(state, connected)| (kind, state, connected)));
    let count = |kind, connected| {
        report
            .sessions
            .iter()
            .filter(|session| session.kind == kind && session.connected == connected)
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
        "Sessions of publishing that connected",
        [(vec![], whip.sessions as f64)],
    )?;
    counters(
        out,
        "whip_failures",
        "Attempts to publish that failed or were interrupted",
        [(vec![], whip.failures as f64)],
    )
}

fn audio_access(scope: Scope) -> AudioAccess {
    match scope {
        Scope::Everything => AudioAccess::Allowed,
        Scope::VideoOnly => AudioAccess::Forbidden,
    }
}

impl IntoResponse for OfferError {
    fn into_response(self) -> Response {
        match &self {
            Self::BadOffer(BadOffer::TooLarge) => {
                error_response(StatusCode::PAYLOAD_TOO_LARGE, &self)
            }
            // RFC 9725, section 4.2: well-formed, but cannot be served.
            Self::BadOffer(BadOffer::NothingInCommon | BadOffer::TooMuch) => {
                error_response(StatusCode::UNPROCESSABLE_ENTITY, &self)
            }
            Self::BadOffer(_) => error_response(StatusCode::BAD_REQUEST, &self),
            Self::TooManySessions(_) | Self::TooManyOffers => (
                [(header::RETRY_AFTER, RETRY_SECONDS)],
                error_response(StatusCode::SERVICE_UNAVAILABLE, &self),
            )
                .into_response(),
            Self::Failed(e) => {
                tracing::warn!("a WebRTC session cannot be created: {e}");
                error_response(StatusCode::INTERNAL_SERVER_ERROR, &self)
            }
        }
    }
}
