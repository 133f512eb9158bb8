//! JPEGs over plain HTTP, for the many programs that take no WebSocket: one at a time, or as MJPEG
//! (`multipart/x-mixed-replace`). The bytes are the hub's own; nothing is encoded for HTTP. Knows the hub.
//!
//! Dialects that existing clients expect: mjpg-streamer's `/?action=…` (OctoPrint, Klipper), ustreamer's `/snapshot` and
//! `/stream`, and a path that ends in `.mjpg` (ffmpeg, VLC, OpenCV).

use super::packets::{Packets, Peer};
use crate::http::App;
use crate::http::error::Problem;
use crate::hub::Packet;
use crate::media::{Encoding, MediaKind, MonoNs, WorkerState};
use crate::wire::Delivery;
use crate::wire::stamp::Seconds;
use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;

/// How long a first frame may take: a camera that has to start is slower than one that runs.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// So much more is given to a slow one, for the frame that is due and for one that may be lost.
const INTERVALS: u32 = 2;
/// What a camera's process can say of its rate keeps no request longer: enough for a frame each 10 s, the slowest `--fps`.
const LONGEST: Duration = Duration::from_secs(30);
/// Capture time in UNIX seconds, the digits of `/stream`; the frame's number beside it.
const X_TIMESTAMP: HeaderName = HeaderName::from_static("x-timestamp");
const X_SEQUENCE: HeaderName = HeaderName::from_static("x-sequence");
const BOUNDARY: &str = "stampcast-frame";
const LIVE: [(HeaderName, &str); 2] = [
    (header::CACHE_CONTROL, "no-store"),
    // A proxy that collects frames before it passes them on would make them old.
    (HeaderName::from_static("x-accel-buffering"), "no"),
];

/// Of a snapshot's query; what else it holds (cache busters) is passed over.
#[derive(Debug, Default, Deserialize)]
pub struct Age {
    /// A frame captured so long before the request, ms, will do. camera-streamer calls it `max_delay`.
    #[serde(alias = "max_delay")]
    max_age_ms: Option<u64>,
}

/// Of an MJPEG stream's query.
#[derive(Debug, Default, Deserialize)]
pub struct Rate {
    max_fps: Option<f64>,
}

/// `GET /snapshot.jpg`: the first frame captured after the request, unless an older one was allowed. While the camera is known
/// to be away, nobody waits for it.
pub async fn snapshot(
    State(app): State<App>,
    age: Result<Query<Age>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(age) = age.map_err(|_| Problem::BadAge)?;
    let max_age = age.max_age_ms.map_or(Duration::ZERO, Duration::from_millis);
    let oldest = MonoNs(MonoNs::now().0.saturating_sub(max_age.as_nanos() as u64));
    if let Some(packet) = app
        .hub
        .latest(Encoding::Jpeg)
        .filter(|p| p.capture_time >= oldest)
    {
        return Ok(image(&packet));
    }
    let frames = frames(&app, None)?;
    if app
        .hub
        .info(MonoNs::now())
        .video
        .is_some_and(|video| video.state == WorkerState::WaitingForDevice)
    {
        return Err(Problem::CameraAway);
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
    match timeout(patience(app.hub.interval(MediaKind::Video)), fresh).await {
        Ok(Some(packet)) => Ok(image(&packet)),
        _ => Err(Problem::NoFrame),
    }
}

/// How long to wait for a frame of a camera that gives one each `interval`.
fn patience(interval: Duration) -> Duration {
    FIRST_FRAME
        .saturating_add(interval.saturating_mul(INTERVALS))
        .min(LONGEST)
}

/// The newest ones: a reader that is slow misses frames.
fn frames(app: &App, max_fps: Option<f64>) -> Result<Packets, Problem> {
    Packets::subscribe(app, Encoding::Jpeg, Delivery::Live, max_fps)
}

fn image(packet: &Packet) -> Response {
    let length = HeaderValue::from(packet.payload.len());
    let number = |text: String| HeaderValue::try_from(text).expect("digits and a point");
    let about = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CONTENT_LENGTH, length),
        (X_TIMESTAMP, number(Seconds(packet.stamp).to_string())),
        (X_SEQUENCE, number(packet.sequence.to_string())),
    ];
    (about, LIVE, Body::from(packet.payload.clone())).into_response()
}

/// `GET /stream.mjpg`, and `GET /stream` without an upgrade.
pub async fn mjpeg(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    rate: Result<Query<Rate>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Rate { max_fps }) = rate.map_err(|_| Problem::BadRate)?;
    if max_fps.is_some_and(|fps| fps.is_nan() || fps <= 0.0) {
        return Err(Problem::BadRate);
    }
    let frames = frames(&app, max_fps)?;
    let kind = HeaderValue::from_static("multipart/x-mixed-replace;boundary=stampcast-frame");
    // Some clients (py-mjpeg) fail without an opening boundary.
    let first: VecDeque<Bytes> = [Bytes::from(format!("--{BOUNDARY}\r\n"))].into();
    let parts = async move {
        // Not before somebody reads: HEAD reads nothing.
        let frames = frames.logged(peer, "video, mjpeg");
        stream::unfold((frames, first), |(frames, mut ready)| async move {
            if ready.is_empty() {
                ready.extend(part(frames.next().await?.as_ref()));
            }
            let bytes = ready.pop_front()?;
            Some((Ok::<_, std::convert::Infallible>(bytes), (frames, ready)))
        })
    };
    // No second request can follow on this connection.
    let about = [
        (header::CONTENT_TYPE, kind),
        (header::CONNECTION, HeaderValue::from_static("close")),
    ];
    Ok((about, LIVE, Body::from_stream(parts.flatten_stream())).into_response())
}

/// One frame with the boundary that ends it: browsers show a frame only when they see the next boundary.
fn part(packet: &Packet) -> [Bytes; 3] {
    let head = format!(
        "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {}\r\nX-Sequence: {}\r\n\r\n",
        packet.payload.len(),
        Seconds(packet.stamp),
        packet.sequence
    );
    [
        head.into(),
        packet.payload.clone(),
        Bytes::from(format!("\r\n--{BOUNDARY}\r\n")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_camera_is_given_its_intervals_and_no_camera_for_ever() {
        let within = |interval_s: f64| patience(Duration::from_secs_f64(interval_s)).as_secs_f64();
        assert_eq!(within(0.0), 5.0, "unknown");
        assert_eq!(within(0.5), 6.0);
        assert_eq!(within(10.0), 25.0, "--fps 0.1");
        assert_eq!(within(3600.0), 30.0);
        assert_eq!(patience(Duration::MAX), LONGEST);
    }
}
