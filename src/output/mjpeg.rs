//! `GET /stream.mjpg`: MJPEG (`multipart/x-mixed-replace`), for the many programs that take no
//! WebSocket. The bytes are the hub's own; nothing is encoded for it.
//!
//! Also served where existing clients expect it: `/stream` without an upgrade (ustreamer) and
//! `/?action=stream` (mjpg-streamer; OctoPrint, Klipper). ffmpeg, VLC and OpenCV want a path that
//! ends in `.mjpg`.

use super::camera::{self, CameraAccess};
use super::http_viewer::LIVE_HEADERS;
use super::{Address, ApiError, Context, Output};
use crate::config::CameraConfig;
use crate::hub::{Delivery, Packet, Request};
use crate::media::Encoding;
use crate::wire::stamp::Seconds;
use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;

const BOUNDARY: &str = "stampcast-frame";

#[derive(Debug)]
pub struct Mjpeg;

#[derive(Debug, Default, Deserialize)]
pub(crate) struct MjpegQuery {
    /// Frames per second at most, > 0.
    max_fps: Option<f64>,
}

impl Output for Mjpeg {
    fn name(&self) -> &'static str {
        "mjpeg"
    }

    fn needs(&self, _: &CameraConfig) -> &[Encoding] {
        &[Encoding::Jpeg]
    }

    fn addresses(&self) -> &'static [Address] {
        &[Address {
            path: "/stream.mjpg",
            about: "MJPEG",
        }]
    }

    fn routes(&self, cx: &Context) -> Router {
        camera::route(Router::new(), "/stream.mjpg", get(mjpeg)).with_state(cx.clone())
    }
}

/// Sends the newest frames: a slow reader misses frames.
///
/// # Errors
/// [`ApiError::BadMaxFps`], and those of [`CameraAccess::subscribe`].
pub(crate) async fn mjpeg(
    camera: CameraAccess,
    query: Result<Query<MjpegQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(MjpegQuery { max_fps }) = query.map_err(|_| ApiError::BadMaxFps)?;
    if max_fps.is_some_and(|fps| fps.is_nan() || fps <= 0.0) {
        return Err(ApiError::BadMaxFps);
    }
    let frames = camera.subscribe(&Request {
        video: Some(camera.video(Encoding::Jpeg)?),
        audio: None,
        delivery: Delivery::Live,
        max_fps,
        events: false,
    })?;
    let content_type =
        HeaderValue::from_static("multipart/x-mixed-replace;boundary=stampcast-frame");
    // Some clients (py-mjpeg) fail without an opening boundary.
    let first: VecDeque<Bytes> = [Bytes::from(format!("--{BOUNDARY}\r\n"))].into();
    let parts = async move {
        // Logged when the body is first read: for HEAD it never is.
        let frames = frames.logged(camera.client, "video, mjpeg");
        stream::unfold((frames, first), |(frames, mut ready)| async move {
            if ready.is_empty() {
                ready.extend(part(frames.next().await?.as_ref()));
            }
            let bytes = ready.pop_front()?;
            Some((Ok::<_, Infallible>(bytes), (frames, ready)))
        })
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        // No second request can follow on this connection.
        (header::CONNECTION, HeaderValue::from_static("close")),
    ];
    let body = Body::from_stream(parts.flatten_stream());
    Ok((headers, LIVE_HEADERS, body).into_response())
}

/// One frame and the boundary that ends it: browsers show a frame only when they see the next
/// boundary.
fn part(packet: &Packet) -> [Bytes; 3] {
    let head = format!(
        "Content-Type: image/jpeg\r\n\
         Content-Length: {}\r\n\
         X-Timestamp: {}\r\n\
         X-Sequence: {}\r\n\r\n",
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
