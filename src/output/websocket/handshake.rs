//! `GET /stream`: reads what the viewer asks for, says in one line what is wrong with it, and else agrees to the upgrade. Knows
//! what a request looks like; the connection itself is taken over in `connection`.

use super::writer::Manner;
use crate::http::App;
use crate::http::access::Scope;
use crate::http::error::{Problem, refusal};
use crate::hub::{Feed, Hub, Request, Subscription, TooManyViews, View};
use crate::media::Encoding;
use crate::output::mjpeg;
use crate::output::packets::Peer;
use crate::wire::{Query, QueryError};
use axum::extract::{self, Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedSemaphorePermit;
use tungstenite::handshake::derive_accept_key;

/// Where a request leaves word for its connection: that it is to become a viewer's, once the answer is sent.
#[derive(Clone, Default)]
pub struct Handover(Arc<Mutex<Option<Admitted>>>);

/// A viewer that may come in.
pub struct Admitted {
    pub upgrade: OnUpgrade,
    pub request: Request,
    /// Made before the answer, since it can be refused.
    pub subscription: Subscription,
    pub manner: Manner,
    /// Its place among the viewers, given back when dropped.
    pub place: OwnedSemaphorePermit,
}

impl Handover {
    pub fn take(&self) -> Option<Admitted> {
        self.0
            .lock()
            .expect("nothing panics while it holds the slot")
            .take()
    }

    fn put(&self, admitted: Admitted) {
        *self
            .0
            .lock()
            .expect("nothing panics while it holds the slot") = Some(admitted);
    }
}

/// Why a request for the stream is turned down.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the query is not valid: names and values joined by = and &, percent-encoded")]
    Malformed,
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error("neither video nor audio is left to send")]
    Nothing,
    #[error("/stream speaks WebSocket: connect to it as ws://HOST:PORT/stream")]
    NoUpgrade,
    #[error("only version 13 of WebSocket is spoken here")]
    Version,
    #[error("the Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
    #[error(transparent)]
    Views(#[from] TooManyViews),
}

pub async fn stream(
    State(app): State<App>,
    Extension(handover): Extension<Handover>,
    Extension(scope): Extension<Scope>,
    peer: Extension<Peer>,
    upgrade: Option<Extension<OnUpgrade>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    // Without a word of an upgrade it is an MJPEG client: one address serves both worlds.
    if !headers.contains_key(header::UPGRADE) {
        return mjpeg::mjpeg(State(app), peer, extract::Query::try_from_uri(&uri))
            .await
            .into_response();
    }
    match admit(&app, scope, upgrade, &uri, &headers) {
        Ok((admitted, accept)) => {
            handover.put(admitted);
            let upgrade = [
                (header::CONNECTION, HeaderValue::from_static("upgrade")),
                (header::UPGRADE, HeaderValue::from_static("websocket")),
                (header::SEC_WEBSOCKET_ACCEPT, accept),
            ];
            (StatusCode::SWITCHING_PROTOCOLS, upgrade).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn admit(
    app: &App,
    scope: Scope,
    upgrade: Option<Extension<OnUpgrade>>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(Admitted, HeaderValue), Refusal> {
    let pairs = extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| Refusal::Malformed)?;
    let query = Query::from_pairs(pairs.0)?;
    let request = request(&query, scope, &app.hub)?;
    let key = websocket_key(headers)?;
    let Some(Extension(upgrade)) = upgrade else {
        return Err(Refusal::NoUpgrade);
    };
    let accept = HeaderValue::try_from(derive_accept_key(key)).map_err(|_| Refusal::Key)?;
    let place = app
        .places
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::Full)?;
    let manner = Manner {
        format: query.format,
        events: query.events,
        window: query.window,
    };
    let subscription = app.hub.subscribe(&request)?;
    Ok((
        Admitted {
            upgrade,
            request,
            subscription,
            manner,
            place,
        },
        accept,
    ))
}

/// What the query means on this server: both streams unless it says otherwise, as far as they are there.
fn request(query: &Query, scope: Scope, hub: &Hub) -> Result<Request, Refusal> {
    let (has_video, has_audio) = (hub.has(Encoding::Jpeg), hub.has(Encoding::Pcm));
    if query.audio == Some(true) && has_audio && scope == Scope::PictureOnly {
        return Err(Problem::SoundForbidden.into());
    }
    let has_audio = has_audio && scope == Scope::Everything;
    if query.video == Some(true) && !has_video {
        return Err(Problem::NoCamera.into());
    }
    if query.audio == Some(true) && !has_audio {
        return Err(Problem::NoSound.into());
    }
    let video = query
        .video
        .unwrap_or(has_video)
        .then_some(Feed::Encoded(Encoding::Jpeg));
    let view = View {
        rate_hz: query.audio_rate,
        channels: query.audio_channels,
    };
    let sound = if view == View::default() {
        Feed::Encoded(Encoding::Pcm)
    } else {
        Feed::Viewed(view)
    };
    let audio = query.audio.unwrap_or(has_audio).then_some(sound);
    // A page that plays by WebRTC hears here of gaps and lost devices, and asks what the time is.
    let only_events = query.events && query.video == Some(false) && query.audio == Some(false);
    if video.is_none() && audio.is_none() && !only_events {
        return Err(Refusal::Nothing);
    }
    Ok(Request {
        video,
        audio,
        delivery: query.delivery,
        max_fps: query.max_fps,
        events: query.events,
    })
}

/// Checks the client's side of the handshake (RFC 6455, section 4.2.1).
fn websocket_key(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let has = |name, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err(Refusal::NoUpgrade);
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(Refusal::Version);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(Refusal::Key)?
        .as_bytes();
    match crate::wire::b64::decode(key) {
        Some(bytes) if bytes.len() == 16 => Ok(key),
        _ => Err(Refusal::Key),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            // The path is there; what is wrong is what was asked of it.
            Self::Problem(Problem::NoCamera | Problem::NoSound) => StatusCode::BAD_REQUEST,
            Self::Problem(problem) => return problem.into_response(),
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Views(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut response = refusal(status, &self);
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
