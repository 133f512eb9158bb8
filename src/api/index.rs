//! `/` and `/info`: what there is, in words and in JSON.

use super::page::PAGE;
use crate::http::App;
use crate::http::error::Problem;
use crate::media::MonoNs;
use crate::output::mjpeg;
use crate::output::packets::Peer;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::http::header::CACHE_CONTROL;
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

const ADDRESSES: &str = "\
stampcast

/stream        WebSocket: stamped video and sound (a plain GET: MJPEG)
/snapshot.jpg  one JPEG, capture_time after the request
/stream.mjpg   MJPEG
/audio.wav     sound; ?seconds=10 for a file of that length
/info          JSON: format, rate, clock, losses
/state         JSON in ustreamer's shape
/metrics       counters for Prometheus
/healthz       200 while the server lives
";

const WITHOUT_PAGE: &str = "
The page for people is at / with --serve-client; or open public/index.html as a file.
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
/// them, with what else `/stream.mjpg` and `/snapshot.jpg` take.
pub async fn root(
    State(app): State<App>,
    peer: Extension<Peer>,
    uri: Uri,
) -> Result<Response, Problem> {
    let Query(Action { action }) = Query::try_from_uri(&uri).map_err(|_| Problem::BadAction)?;
    match action.as_deref() {
        None if app.serve_client => Ok(page().await.into_response()),
        None => {
            let of_webrtc = if app.has_webrtc() {
                ADDRESSES_OF_WEBRTC
            } else {
                ""
            };
            Ok([ADDRESSES, of_webrtc, WITHOUT_PAGE]
                .concat()
                .into_response())
        }
        Some("stream") => mjpeg::mjpeg(State(app), peer, Query::try_from_uri(&uri)).await,
        Some("snapshot") => mjpeg::snapshot(State(app), Query::try_from_uri(&uri)).await,
        Some(_) => Err(Problem::BadAction),
    }
}

/// `/index.html` with `--serve-client`.
pub async fn page() -> Html<&'static str> {
    Html(PAGE.as_str())
}

/// For whoever watches over the process; needs no token. Says nothing of the devices: `/info` does.
pub async fn healthz() -> &'static str {
    "ok\n"
}

pub async fn info(State(app): State<App>) -> impl IntoResponse {
    let headers = [(CACHE_CONTROL, "no-store")];
    (headers, Json(app.hub.info(MonoNs::now())))
}
