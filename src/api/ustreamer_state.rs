//! `GET /state`: the state in ustreamer's format, which dashboards and PiKVM's tools read, with the
//! outputs' own beside it (docs/webrtc.md).

use super::Api;
use crate::media::{MonoNs, Shape, WorkerState};
use crate::output::camera::CameraHub;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::json;

/// ustreamer measures what it captures whether or not somebody watches, and its clients show
/// `captured_fps` as a number. Here the frames of an unwatched camera are not counted: while it
/// runs, that number is the requested rate. `queued_fps` is what is encoded, which is then 0.
pub(super) async fn state(State(api): State<Api>, CameraHub(hub): CameraHub) -> impl IntoResponse {
    let snapshot = hub.snapshot(MonoNs::now());
    let video = snapshot.video.as_ref();
    let online = video.is_some_and(|v| v.state == WorkerState::Streaming);
    let (width, height) = match video.and_then(|v| v.info.as_ref()).map(|info| info.shape) {
        Some(Shape::Video { width, height }) => (width, height),
        _ => (0, 0),
    };
    let asked = video.and_then(|v| v.fps);
    let measured = video.and_then(|v| v.measured_fps);
    let captured = measured.or(asked.filter(|_| online)).unwrap_or(0.0);
    let mut result = json!({
        "source": {
            "resolution": { "width": width, "height": height },
            "online": online,
            "desired_fps": asked.unwrap_or(0.0).round() as u64,
            "captured_fps": captured.round() as u64,
        },
        "stream": {
            "queued_fps": measured.unwrap_or(0.0).round() as u64,
            "clients": snapshot.subscribers,
            "clients_stat": {},
        },
    });
    for output in api.outputs.iter() {
        if let Some(status) = output.status() {
            result[output.name()] = status;
        }
    }
    let body = Json(json!({ "ok": true, "result": result }));
    ([(header::CACHE_CONTROL, "no-store")], body)
}
