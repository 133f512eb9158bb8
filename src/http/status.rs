//! `/` and `/info`: what there is, in words and in JSON.

use super::packets::Peer;
use super::page::PAGE;
use super::problem::Problem;
use super::{App, pictures};
use crate::packet::MonoNs;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

const ADDRESSES: &str = "\
stampcast

/stream        WebSocket: stamped video and sound (a plain GET: MJPEG)
/snapshot.jpg  one JPEG, captured after the request
/stream.mjpg   MJPEG
/audio.wav     sound; ?seconds=10 for a file of that length
/info          JSON: format, rate, clock, losses
/state         JSON in ustreamer's shape
/metrics       counters for Prometheus
/healthz       200 while the server lives
";

const ADDRESSES_OF_WEBRTC: &str = "\
/whep          POST an SDP offer: WebRTC (H.264, Opus)
/api/webrtc/offer  the same with JSON
";

/// mjpg-streamer's dialect.
#[derive(Debug, Default, Deserialize)]
pub struct Action {
    action: Option<String>,
}

/// `/`: the page with `--serve-client`, else the addresses; `/?action=stream` and `/?action=snapshot` as mjpg-streamer has
/// them.
pub async fn root(
    State(app): State<App>,
    peer: Extension<Peer>,
    action: Result<Query<Action>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Action { action }) = action.map_err(|_| Problem::BadAction)?;
    match action.as_deref() {
        None if app.serve_client => Ok(Html(PAGE.as_str()).into_response()),
        None if app.has_webrtc() => Ok(format!("{ADDRESSES}{ADDRESSES_OF_WEBRTC}").into_response()),
        None => Ok(ADDRESSES.into_response()),
        Some("stream") => pictures::mjpeg(State(app), peer, Ok(Query(Default::default()))).await,
        Some("snapshot") => pictures::snapshot(State(app), Ok(Query(Default::default()))).await,
        Some(_) => Err(Problem::BadAction),
    }
}

/// For whoever watches over the process; needs no token. Says nothing of the devices: `/info` does.
pub async fn healthz() -> &'static str {
    "ok\n"
}

pub async fn info(State(app): State<App>) -> impl IntoResponse {
    let headers = [(CACHE_CONTROL, "no-store")];
    (headers, Json(app.hub.info(MonoNs::now())))
}
