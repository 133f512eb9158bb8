//! `GET /stream`: reads what the viewer asks for, refuses with one line what is not possible, and
//! else agrees to the upgrade. Without an upgrade it is MJPEG, as ustreamer serves it at `/stream`.

use super::session::{PendingViewer, serve_viewer};
use super::writer::StreamOptions;
use crate::http::UpgradeSlot;
use crate::http::error::error_response;
use crate::hub::{AudioFormat, Delivery, Request, TooManyFormats, TrackSelector};
use crate::media::Encoding;
use crate::output::camera::CameraAccess;
use crate::output::{ApiError, Context, mjpeg};
use crate::wire::{self, Query, QueryError};
use axum::body::Body;
use axum::extract::{self, Extension, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::upgrade::OnUpgrade;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::server::create_response_with_body;

/// Why a request for the stream is refused.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("malformed query: write NAME=VALUE, joined by &, percent-encoded")]
    MalformedQuery,
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("nothing to send: both video and audio are off")]
    NothingToSend,
    #[error("/stream is a WebSocket: connect to ws://HOST:PORT/stream")]
    NoUpgrade,
    #[error("only version 13 of WebSocket is supported")]
    Version,
    #[error("the Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
    #[error(
        "{} resampled audio formats are in use, which is the limit; request the default format, or \
         one of: {}",
        .0.in_use.len(), formats(&.0.in_use)
    )]
    TooManyFormats(#[from] TooManyFormats),
}

pub(super) async fn stream(
    State(cx): State<Context>,
    camera: CameraAccess,
    Extension(slot): Extension<UpgradeSlot>,
    mut request: extract::Request,
) -> Response {
    // HEAD has no upgrade: its answer is that of a GET without one.
    if request.method() == Method::HEAD || !request.headers().contains_key(header::UPGRADE) {
        let query = extract::Query::try_from_uri(request.uri());
        return mjpeg::mjpeg(camera, query).await.into_response();
    }
    join_lists(request.headers_mut());
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let accepted = accept(&cx, &camera, &request);
    match accepted.and_then(|ok| Ok((ok, on_upgrade.ok_or(HandshakeError::NoUpgrade)?))) {
        Ok(((viewer, response), on_upgrade)) => {
            slot.accept(on_upgrade, |upgraded| {
                serve_viewer(viewer, upgraded).boxed()
            });
            response
        }
        Err(error) => error.into_response(),
    }
}

/// Reduces the headers of the handshake to the one token that matters where it is listed. Clients
/// and proxies send lists, or several headers of one name (RFC 9110, section 5.3); tungstenite reads
/// the first header, and splits `Connection` alone.
fn join_lists(headers: &mut HeaderMap) {
    for (name, token) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
    ] {
        let is_listed = headers
            .get_all(&name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token));
        if is_listed {
            headers.insert(name, HeaderValue::from_static(token));
        }
    }
}

fn accept(
    cx: &Context,
    camera: &CameraAccess,
    request: &extract::Request,
) -> Result<(PendingViewer, Response), HandshakeError> {
    let pairs = extract::Query::<Vec<(String, String)>>::try_from_uri(request.uri())
        .map_err(|_| HandshakeError::MalformedQuery)?;
    let query = Query::from_pairs(pairs.0)?;
    let wanted = hub_request(&query, camera)?;
    let response = create_response_with_body(request, Body::empty)?;
    let permit = cx
        .viewers
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError::TooManyViewers)?;
    // Before the answer, since it can be refused.
    let subscription = camera.hub.subscribe(&wanted)?;
    let viewer = PendingViewer {
        hub: camera.hub.clone(),
        request: wanted,
        subscription,
        options: StreamOptions {
            format: query.format,
            events: query.events,
            window: query.window,
        },
        limits: cx.config.limits,
        permit,
    };
    Ok((viewer, response))
}

/// What the query means for this camera and token: both streams unless it says otherwise, as far as
/// there are.
fn hub_request(query: &Query, camera: &CameraAccess) -> Result<Request, HandshakeError> {
    let format = AudioFormat {
        rate_hz: query.audio_rate,
        channels: query.audio_channels,
    };
    let video = asked(query.video, camera.video(Encoding::Jpeg))?;
    let audio = asked(query.audio, camera.audio(format))?;
    // The page, while it plays by WebRTC, reads gaps and lost devices here, and asks for the time.
    let only_events = query.events && query.video == Some(false) && query.audio == Some(false);
    if video.is_none() && audio.is_none() && !only_events {
        return Err(HandshakeError::NothingToSend);
    }
    Ok(Request {
        video,
        audio,
        delivery: match query.delivery {
            wire::Delivery::Live => Delivery::Live,
            wire::Delivery::All => Delivery::All,
        },
        max_fps: query.max_fps,
        events: query.events,
    })
}

/// The track, unless the query leaves it out. Where the query does not mention the stream, one that is
/// not available is left out too.
fn asked(
    query: Option<bool>,
    track: Result<TrackSelector, ApiError>,
) -> Result<Option<TrackSelector>, ApiError> {
    match query {
        Some(true) => track.map(Some),
        Some(false) => Ok(None),
        None => Ok(track.ok()),
    }
}

/// The formats as queries, sorted.
fn formats(formats: &[AudioFormat]) -> String {
    let query = |format: &AudioFormat| {
        let rate = format.rate_hz.map(|rate| format!("audio_rate={rate}"));
        let channels = format
            .channels
            .map(|channels| format!("audio_channels={channels}"));
        let words: Vec<_> = rate.into_iter().chain(channels).collect();
        words.join("&")
    };
    let mut queries: Vec<_> = formats.iter().map(query).collect();
    queries.sort();
    queries.join(", ")
}

/// What tungstenite says of the client's side of the handshake (RFC 6455, section 4.2.1).
impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        match error {
            Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => Self::Version,
            Error::Protocol(
                ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey,
            ) => Self::Key,
            _ => Self::NoUpgrade,
        }
    }
}

impl IntoResponse for HandshakeError {
    fn into_response(self) -> Response {
        let status = match self {
            // The address exists; what is wrong is what was asked of it.
            Self::Api(ApiError::NoVideo | ApiError::NoAudio) => StatusCode::BAD_REQUEST,
            Self::Api(error) => return error.into_response(),
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyFormats(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = error_response(status, &self);
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            );
        }
        response
    }
}
