//! Error responses: a status and one line, as JSON for programs.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::fmt::Display;

/// `{"error":"…"}`.
pub fn error_response(status: StatusCode, error: impl Display) -> Response {
    let body = Json(serde_json::json!({ "error": error.to_string() }));
    (status, body).into_response()
}
