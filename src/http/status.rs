//! `/` and `/info`: what there is, in words and in JSON.

use super::App;
use crate::packet::MonoNs;
use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use axum::response::IntoResponse;

const ADDRESSES: &str = "\
stampcast

/stream   WebSocket: stamped video and sound
/info     JSON: format, rate, clock, losses
";

pub async fn addresses() -> &'static str {
    ADDRESSES
}

/// Open to every page: one from a file reads the sound's rate here.
pub async fn info(State(app): State<App>) -> impl IntoResponse {
    let headers = [(ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (CACHE_CONTROL, "no-store")];
    (headers, Json(app.hub.info(MonoNs::now())))
}
