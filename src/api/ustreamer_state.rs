//! `GET /state`: the state in ustreamer's format, which dashboards and PiKVM's tools read, with the
//! outputs' own beside it (docs/webrtc.md).

use super::Api;
use crate::media::{MonoNs, WorkerState};
use crate::output::camera::CameraHub;
use crate::wire::info::Shape;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::json;

/// ustreamer measures what it captures whether or not somebody watches, and its clients show
/// `captured_fps` as a number. Here the frames of an unwatched camera are not counted: while it
/// runs, that number is the requested rate. `queued_fps` is what is encoded, which is then 0.
pub(super) async fn state(State(api): State<Api>, CameraHub(hub): CameraHub) -> impl IntoResponse {
    let info = hub.info(MonoNs::now());
    let video = info.video.as_ref();
    let online = video.is_some_and(|v| v.state == WorkerState::Streaming);
    let (width, height, asked, measured) = match video.map(|v| &v.shape) {
        Some(Shape::Video { width, height, fps }) => (*width, *height, fps.asked, fps.measured),
        _ => (None, None, None, None),
    };
    let captured = measured.or(asked.filter(|_| online)).unwrap_or(0.0);
    let mut result = json!({
        "source": {
            "resolution": { "width": width.unwrap_or(0), "height": height.unwrap_or(0) },
            "online": online,
            "desired_fps": asked.unwrap_or(0.0).round() as u64,
            "captured_fps": captured.round() as u64,
        },
        "stream": {
            "queued_fps": measured.unwrap_or(0.0).round() as u64,
            "clients": info.viewers,
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
