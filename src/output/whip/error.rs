//! Why publishing fails, in words that name the remedy.

use crate::config::secrets::TokenFileError;
use crate::net::back_off;
use crate::net::http_client::{HttpError, Response};
use crate::output::webrtc::isolated_task::Panicked;
use crate::output::webrtc::session::EndReason;
use http::{StatusCode, header};
use std::io;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(super) enum WhipError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
    #[error("the token cannot be read from the kernel's memory")]
    TokenUnreadable(#[source] io::Error),
    #[error("the server requires a token ({0}); give --whip-token or --whip-token-file")]
    TokenMissing(StatusCode),
    #[error("the server does not accept the token ({0}); check --whip-token or --whip-token-file")]
    TokenRefused(StatusCode),
    #[error(
        "the server redirects to another host, which requires a token ({0}); it is sent to the host of \
         --whip only, so give the URL of the redirect to --whip"
    )]
    TokenNotSent(StatusCode),
    #[error("not found ({0}); check the path of --whip")]
    NotFound(StatusCode),
    #[error("this URL does not accept WHIP ({0}); check --whip")]
    NotWhip(StatusCode),
    #[error(
        "the server redirects by {0}, which drops the offer; give the URL of the redirect to --whip"
    )]
    Redirect(StatusCode),
    #[error("the server is busy ({status})")]
    Busy {
        status: StatusCode,
        retry_after: Option<Duration>,
    },
    #[error("the server refuses the offer ({0}); does it support H.264 and Opus?")]
    OfferRefused(StatusCode),
    #[error("unexpected response: {0}")]
    Unexpected(StatusCode),
    #[error("the server's answer cannot be used: {0}")]
    BadAnswer(String),
    #[error("no session can be created")]
    NoSession(#[source] io::Error),
    #[error(
        "no media connection; is the server's media port open, and does it announce an address that \
         this machine can reach?"
    )]
    NeverConnected,
    #[error("the session ended")]
    Ended(#[source] EndReason),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl WhipError {
    /// The error of a status other than success. `had_token`: there is a token; `token_was_sent`:
    /// also to the host that responded.
    pub(super) fn from_status(response: &Response, had_token: bool, token_was_sent: bool) -> Self {
        let status = response.status;
        match status.as_u16() {
            401 | 403 if !had_token => Self::TokenMissing(status),
            401 | 403 if !token_was_sent => Self::TokenNotSent(status),
            401 | 403 => Self::TokenRefused(status),
            404 | 410 => Self::NotFound(status),
            405 | 501 => Self::NotWhip(status),
            400 | 406 | 415 | 422 => Self::OfferRefused(status),
            429 | 503 => Self::Busy {
                status,
                retry_after: retry_after(response),
            },
            300..400 => Self::Redirect(status),
            _ => Self::Unexpected(status),
        }
    }
}

/// Seconds only: no media server is known to send a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).max(back_off::FIRST))
}
