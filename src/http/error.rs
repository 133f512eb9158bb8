//! What requests are refused with: a status and one line, as JSON for programs. Knows no hub.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::Display;

/// `{"error":"…"}`.
pub fn refusal(status: StatusCode, error: impl Display) -> Response {
    (
        status,
        Json(serde_json::json!({ "error": error.to_string() })),
    )
        .into_response()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("this server has no camera (--camera-type none)")]
    NoCamera,
    #[error("sound is off on this server (--enable-audio turns it on)")]
    NoSound,
    #[error("this token opens the picture without the sound")]
    SoundForbidden,
    #[error("no frame came in time; /info says what the camera is doing")]
    NoFrame,
    #[error("the camera is away; /info says why")]
    CameraAway,
    #[error("no sound came in time; /info says what the microphone is doing")]
    SilentMicrophone,
    #[error("all places for viewers are taken; try again later")]
    Full,
    #[error("max_age_ms (or max_delay) is one whole number of milliseconds")]
    BadAge,
    #[error("max_fps is one number above 0")]
    BadRate,
    #[error("seconds is one number above 0, 86400 at most")]
    BadSeconds,
    #[error("action is stream or snapshot")]
    BadAction,
    #[error("there is nothing here; / lists what there is")]
    NotFound,
    #[error("this address takes no such method; the Allow header names those that it takes")]
    Method,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoCamera | Self::NoSound | Self::NotFound => StatusCode::NOT_FOUND,
            Self::SoundForbidden => StatusCode::FORBIDDEN,
            Self::NoFrame | Self::CameraAway | Self::SilentMicrophone | Self::Full => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::BadAge | Self::BadRate | Self::BadSeconds | Self::BadAction => {
                StatusCode::BAD_REQUEST
            }
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        };
        let mut response = refusal(status, self);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(
                header::RETRY_AFTER,
                axum::http::HeaderValue::from_static("2"),
            );
        }
        response
    }
}
