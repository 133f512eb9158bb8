//! Which camera a request means: every address exists as `/ADDRESS`, for the first camera, and as
//! `/NAME/ADDRESS`.

use super::{ApiError, Context};
use crate::hub::Hub;
use axum::Router;
use axum::extract::{FromRef, FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::routing::MethodRouter;
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
