//! `GET /state`: the state in ustreamer's shape, which dashboards and PiKVM's tools read, and WebRTC's beside it (docs/webrtc.md).
//! Knows the hub.

use super::App;
use crate::packet::{MonoNs, WorkerState};
use crate::wire::info::Shape;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::json;

pub async fn state(State(app): State<App>) -> impl IntoResponse {
    let info = app.hub.info(MonoNs::now());
    let video = info.video.as_ref();
    let (width, height, asked, measured) = match video.map(|v| &v.shape) {
        Some(Shape::Video { width, height, fps }) => (*width, *height, fps.asked, fps.measured),
        _ => (None, None, None, None),
    };
    #[cfg_attr(not(feature = "webrtc"), allow(unused_mut))]
    let mut body = json!({
        "ok": true,
        "result": {
            "source": {
                "resolution": { "width": width.unwrap_or(0), "height": height.unwrap_or(0) },
                "online": video.is_some_and(|v| v.state == WorkerState::Streaming),
                "desired_fps": asked.unwrap_or(0.0).round() as u64,
                "captured_fps": measured.unwrap_or(0.0).round() as u64,
            },
            "stream": { "queued_fps": measured.unwrap_or(0.0).round() as u64, "clients": info.viewers, "clients_stat": {} },
        },
    });
    #[cfg(feature = "webrtc")]
    if let Some(server) = &app.webrtc {
        body["result"]["webrtc"] = json!(server.report());
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(body))
}
