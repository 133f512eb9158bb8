//! What plain HTTP requests are refused with: a status and one line, as JSON for programs. Knows no hub.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

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
    #[error("no sound came in time; /info says what the microphone is doing")]
    SilentMicrophone,
    #[error("all places for viewers are taken; try again later")]
    Full,
    #[error("max_fps is a number above 0")]
    BadRate,
    #[error("seconds is a number above 0, 86400 at most")]
    BadSeconds,
    #[error("action is stream or snapshot")]
    BadAction,
}

impl IntoResponse for Problem {
    /// `{"error":"…"}`.
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoCamera | Self::NoSound => StatusCode::NOT_FOUND,
            Self::SoundForbidden => StatusCode::FORBIDDEN,
            Self::NoFrame | Self::SilentMicrophone | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadRate | Self::BadSeconds | Self::BadAction => StatusCode::BAD_REQUEST,
        };
        let mut response = (status, Json(serde_json::json!({ "error": self.to_string() }))).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, axum::http::HeaderValue::from_static("2"));
        }
        response
    }
}
