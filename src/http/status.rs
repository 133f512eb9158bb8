//! `/` and `/info`: what there is, in words and in JSON.

use super::App;
use crate::packet::MonoNs;
use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;

const ADDRESSES: &str = "\
stampcast

/stream   WebSocket: stamped video and sound
/info     JSON: format, rate, clock, losses
/healthz  200 while the server lives
";

pub async fn addresses() -> &'static str {
    ADDRESSES
}

/// For whoever watches over the process; needs no token. Says nothing of the devices: `/info` does.
pub async fn healthz() -> &'static str {
    "ok\n"
}

pub async fn info(State(app): State<App>) -> impl IntoResponse {
    let headers = [(CACHE_CONTROL, "no-store")];
    (headers, Json(app.hub.info(MonoNs::now())))
}
