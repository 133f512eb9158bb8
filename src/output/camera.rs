//! Which camera a request means, and what of it the request's token may read. Every address exists
//! as `/ADDRESS`, for the first camera, and as `/NAME/ADDRESS`.

use super::http_viewer::HttpViewer;
use super::{ApiError, Context};
use crate::http::ClientAddr;
use crate::http::access::Scope;
use crate::hub::{AudioFormat, Hub, Request, TrackSelector};
use crate::media::Encoding;
use axum::extract::{FromRef, FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use std::sync::Arc;

/// The name of the path parameter.
const CAMERA: &str = "camera";

/// Registers `path` for the first camera, and below the name of each.
pub(crate) fn route<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    path: &str,
    method_router: MethodRouter<S>,
) -> Router<S> {
    router
        .route(path, method_router.clone())
        .route(&format!("/{{{CAMERA}}}{path}"), method_router)
}

/// The hub of the camera that a request means. A name that no camera has is answered with 404 and
/// the names that there are.
pub(crate) struct CameraHub(pub(crate) Arc<Hub>);

impl<S: Send + Sync> FromRequestParts<S> for CameraHub
where
    Context: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let hubs = Context::from_ref(state).hubs;
        let name = CameraName::from_request_parts(parts, state).await?;
        let hub = match name.as_str() {
            None => hubs.default_hub(),
            Some(name) => hubs
                .get(name)
                .ok_or_else(|| ApiError::unknown_camera(name, &hubs))?,
        };
        Ok(Self(hub.clone()))
    }
}

/// The camera that a request means, as the request may read it. An output takes its tracks from here,
/// so that none forgets what a token forbids.
pub(crate) struct CameraAccess {
    pub(super) hub: Arc<Hub>,
    pub(super) client: ClientAddr,
    cx: Context,
    scope: Scope,
}

impl CameraAccess {
    /// # Errors
    /// The camera has no video.
    pub(super) fn video(&self, encoding: Encoding) -> Result<TrackSelector, ApiError> {
        if !self.hub.has(encoding) {
            return Err(ApiError::NoVideo);
        }
        Ok(TrackSelector::Encoded(encoding))
    }

    /// PCM in `format`; what `format` leaves open is as the options say.
    ///
    /// # Errors
    /// The camera has no audio, or the token does not allow it.
    pub(super) fn audio(&self, format: AudioFormat) -> Result<TrackSelector, ApiError> {
        if !self.hub.has(Encoding::Pcm) {
            return Err(ApiError::NoAudio);
        }
        if self.scope == Scope::VideoOnly {
            return Err(ApiError::AudioForbidden);
        }
        Ok(self.hub.audio_track(format))
    }

    /// Starts to read as a viewer over plain HTTP. The tracks of `request` are those that
    /// [`video`](Self::video) and [`audio`](Self::audio) gave.
    ///
    /// # Errors
    /// The limit of viewers, or of audio formats, is reached.
    pub(super) fn subscribe(&self, request: &Request) -> Result<HttpViewer, ApiError> {
        HttpViewer::subscribe(&self.cx, &self.hub, request)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CameraAccess
where
    Context: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let CameraHub(hub) = CameraHub::from_request_parts(parts, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let Extension(client) = Extension::from_request_parts(parts, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let Extension(scope) = Extension::from_request_parts(parts, state)
            .await
            .map_err(IntoResponse::into_response)?;
        Ok(Self {
            hub,
            client,
            cx: Context::from_ref(state),
            scope,
        })
    }
}

/// The camera's name in the path, if any, as the client wrote it.
pub(crate) struct CameraName(Option<String>);

impl CameraName {
    pub(crate) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CameraName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, &()).await;
        // Bytes that are not UTF-8 are the name of no camera.
        let params = params.map_err(|_| ApiError::NotFound)?;
        let mut named = params.iter().filter(|(param, _)| *param == CAMERA);
        Ok(Self(named.next().map(|(_, name)| name.to_owned())))
    }
}
