//! `GET /snapshot.jpg`: one JPEG. Its bytes are the hub's own; nothing is encoded for it.

use super::camera::{self, CameraAccess};
use super::http_viewer::LIVE_HEADERS;
use super::{Address, ApiError, Context, Output};
use crate::config::CameraConfig;
use crate::hub::{Delivery, Hub, Packet, Request};
use crate::media::{Encoding, MediaKind, MonoNs, WorkerState};
use crate::wire::stamp::Seconds;
use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::timeout;

/// Time for a first frame: a camera that has to start takes longer than one that runs.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// Frame intervals added to it, for the frame that is due and for one that may be lost.
const INTERVALS: u32 = 2;
/// The longest wait, whatever interval the camera's process reports: enough for a frame every 10 s,
/// the slowest `--fps`.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Capture time in UNIX seconds, with the digits of `/stream`, and the frame's number.
const X_TIMESTAMP: HeaderName = HeaderName::from_static("x-timestamp");
const X_SEQUENCE: HeaderName = HeaderName::from_static("x-sequence");

/// `/snapshot.jpg`, and `/snapshot` as ustreamer has it.
#[derive(Debug)]
pub struct Snapshot;

/// Other parameters are ignored: clients add some against caches.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct SnapshotQuery {
    /// A frame up to this much older than the request is accepted, ms. camera-streamer's name for
    /// it is `max_delay`.
    #[serde(alias = "max_delay")]
    max_age_ms: Option<u64>,
}

impl Output for Snapshot {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    fn needs(&self, _: &CameraConfig) -> &[Encoding] {
        &[Encoding::Jpeg]
    }

    fn addresses(&self) -> &'static [Address] {
        &[Address {
            path: "/snapshot.jpg",
            about: "one JPEG, captured after the request",
        }]
    }

    fn routes(&self, cx: &Context) -> Router {
        let router = camera::route(Router::new(), "/snapshot.jpg", get(snapshot));
        camera::route(router, "/snapshot", get(snapshot)).with_state(cx.clone())
    }
}

/// The camera's last fault, as `/info` has it.
fn fault(hub: &Hub) -> String {
    let video = hub.snapshot(MonoNs::now()).video;
    let message = video.map(|video| video.message);
    message
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| "it is being opened again".into())
}

/// The first frame captured after the request, unless the query accepts an older one. While the
/// camera is known to be unavailable it does not wait.
///
/// # Errors
/// [`ApiError::BadMaxAge`], those of [`CameraAccess::subscribe`], and where no frame arrives
/// [`ApiError::CameraUnavailable`] or [`ApiError::NoFrame`].
pub(crate) async fn snapshot(
    camera: CameraAccess,
    query: Result<Query<SnapshotQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|_| ApiError::BadMaxAge)?;
    let max_age = query
        .max_age_ms
        .map_or(Duration::ZERO, Duration::from_millis);
    let oldest = MonoNs(
        MonoNs::now()
            .0
            .saturating_sub(u64::try_from(max_age.as_nanos()).unwrap_or(u64::MAX)),
    );
    let track = camera.video(Encoding::Jpeg)?;
    let latest = camera.hub.latest(Encoding::Jpeg);
    if let Some(packet) = latest.filter(|packet| packet.capture_time >= oldest) {
        return Ok(image(&packet));
    }
    let frames = camera.subscribe(&Request {
        video: Some(track),
        audio: None,
        delivery: Delivery::Live,
        max_fps: None,
        events: false,
    })?;
    if camera.hub.source_state(MediaKind::Video) == Some(WorkerState::WaitingForDevice) {
        return Err(ApiError::CameraUnavailable(fault(&camera.hub)));
    }
    let fresh = async {
        loop {
            match frames.next().await {
                Some(packet) if packet.capture_time >= oldest => return Some(packet),
                Some(_) => {}
                None => return None,
            }
        }
    };
    match timeout(max_wait(camera.hub.interval(MediaKind::Video)), fresh).await {
        Ok(Some(packet)) => Ok(image(&packet)),
        _ => Err(ApiError::NoFrame),
    }
}

/// How long to wait for a frame of a camera that gives one every `interval`.
fn max_wait(interval: Duration) -> Duration {
    FIRST_FRAME
        .saturating_add(interval.saturating_mul(INTERVALS))
        .min(MAX_WAIT)
}

fn image(packet: &Packet) -> Response {
    let length = HeaderValue::from(packet.payload.len());
    let number = |text: String| HeaderValue::try_from(text).expect("digits and a point");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CONTENT_LENGTH, length),
        (X_TIMESTAMP, number(Seconds(packet.stamp).to_string())),
        (X_SEQUENCE, number(packet.sequence.to_string())),
    ];
    (headers, LIVE_HEADERS, Body::from(packet.payload.clone())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_wait_grows_with_interval_up_to_limit() {
        let within = |interval_s: f64| max_wait(Duration::from_secs_f64(interval_s)).as_secs_f64();
        assert_eq!(within(0.0), 5.0, "unknown");
        assert_eq!(within(0.5), 6.0);
        assert_eq!(within(10.0), 25.0, "--fps 0.1");
        assert_eq!(within(3600.0), 30.0);
        assert_eq!(max_wait(Duration::MAX), MAX_WAIT);
    }
}
