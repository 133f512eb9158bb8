//! What requests of outputs and of the API are refused with.

use crate::http::error::error_response;
use crate::hub::Hubs;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Why a request is refused, in one line for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("this server has no camera (--camera-type none)")]
    NoVideo,
    #[error("this server streams no audio (start it with --enable-audio)")]
    NoAudio,
    #[error("this token gives access to video without audio")]
    AudioForbidden,
    #[error("no frame arrived in time; see /info for the state of the camera")]
    NoFrame,
    #[error("the camera is not available: {0}")]
    CameraUnavailable(String),
    #[error("no audio arrived in time; see /info for the state of the microphone")]
    NoSamples,
    #[error("too many viewers; try again later")]
    TooManyViewers,
    #[error("max_age_ms (or max_delay) must be a whole number of milliseconds")]
    BadMaxAge,
    #[error("max_fps must be a number above 0")]
    BadMaxFps,
    #[error("seconds must be a number above 0, at most 86400")]
    BadSeconds,
    #[error("action must be stream or snapshot")]
    BadAction,
    #[error("no camera is named {name:?}; this server has: {names}")]
    UnknownCamera { name: String, names: String },
    #[error("not found; see / for the list of addresses")]
    NotFound,
    #[error("method not allowed; the Allow header lists those that are")]
    MethodNotAllowed,
}

impl ApiError {
    /// `name`: as the client wrote it.
    pub(super) fn unknown_camera(name: &str, hubs: &Hubs) -> Self {
        let names: Vec<_> = hubs.names().collect();
        Self::UnknownCamera {
            name: name.chars().take(40).collect(),
            names: names.join(", "),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NoVideo | Self::NoAudio | Self::UnknownCamera { .. } | Self::NotFound => {
                StatusCode::NOT_FOUND
            }
            Self::AudioForbidden => StatusCode::FORBIDDEN,
            Self::NoFrame | Self::CameraUnavailable(_) | Self::NoSamples | Self::TooManyViewers => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::BadMaxAge | Self::BadMaxFps | Self::BadSeconds | Self::BadAction => {
                StatusCode::BAD_REQUEST
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("2");
        let status = self.status();
        let mut response = error_response(status, self);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, RETRY_SECONDS);
        }
        response
    }
}
