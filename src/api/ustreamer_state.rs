//! `GET /state`: the state in ustreamer's shape, which dashboards and PiKVM's tools read, and WebRTC's beside it (docs/webrtc.md).
//! Knows the hub.

use crate::http::App;
use crate::media::{MonoNs, WorkerState};
use crate::wire::info::Shape;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::json;

/// ustreamer measures what it captures whether or not somebody watches, and its clients show `captured_fps` as a number. Here
/// an unwatched camera's frames are not counted: while it runs, that number is the rate that was asked for. `queued_fps` is
/// what is encoded: nothing then.
pub async fn state(State(app): State<App>) -> impl IntoResponse {
    let info = app.hub.info(MonoNs::now());
    let video = info.video.as_ref();
    let online = video.is_some_and(|v| v.state == WorkerState::Streaming);
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
                "online": online,
                "desired_fps": asked.unwrap_or(0.0).round() as u64,
                "captured_fps": measured.or(asked.filter(|_| online)).unwrap_or(0.0).round() as u64,
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
