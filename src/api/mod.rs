//! What the server says about itself, and the router: a fold over the outputs.

mod index;
mod info;
mod metrics;
mod page;
mod page_headers;
mod rendered;
mod ustreamer_state;

use crate::media::CameraId;
use crate::output::camera;
use crate::output::{ApiError, Context, Output};
use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rendered::Rendered;
use std::sync::{Arc, OnceLock};

/// What the handlers of this folder share.
#[derive(Clone)]
pub(crate) struct Api {
    cx: Context,
    outputs: Arc<[Arc<dyn Output>]>,
    /// How often the server itself was started again.
    server_restarts: u32,
    answers: Arc<Rendered<Answer>>,
    /// Made with the page at its first request: the page takes 0.2 MB of memory.
    page_policy: Arc<OnceLock<HeaderValue>>,
}

/// What is rendered once for all who ask within a moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// `/metrics`, in OpenMetrics' format or the older one.
    Metrics { openmetrics: bool },
    /// `/info` with this camera at the top level.
    Info(CameraId),
}

impl FromRef<Api> for Context {
    fn from_ref(api: &Api) -> Self {
        api.cx.clone()
    }
}

impl Api {
    pub(crate) fn new(cx: Context, outputs: Arc<[Arc<dyn Output>]>, server_restarts: u32) -> Self {
        Self {
            cx,
            outputs,
            server_restarts,
            answers: Arc::new(Rendered::new()),
            page_policy: Arc::default(),
        }
    }

    fn page_policy(&self) -> &HeaderValue {
        let frames = &self.cx.config.access.frame_origins;
        self.page_policy
            .get_or_init(|| page_headers::page_policy(frames))
    }

    /// The routes of all outputs, and those of the API. The outputs are open.
    pub(crate) fn router(&self) -> Router {
        let mut router = Router::new()
            .route("/metrics", get(metrics::metrics))
            .route("/healthz", get(index::healthz))
            .route("/", get(index::root))
            .route("/{camera}/", get(index::root));
        router = camera::route(router, "/info", get(index::info));
        router = camera::route(router, "/state", get(ustreamer_state::state));
        if self.cx.config.serve_client {
            router = router
                .route("/index.html", get(index::page))
                .route(page_headers::WORKLET_PATH, get(page_headers::worklet));
        }
        let api = router.with_state(self.clone());
        self.outputs
            .iter()
            .fold(api, |router, output| router.merge(output.routes(&self.cx)))
            .fallback(async || ApiError::NotFound)
            .method_not_allowed_fallback(method_not_allowed)
    }
}

/// The router adds the `Allow` header: to the answer to OPTIONS (RFC 9110, section 9.3.7), and to
/// an error.
async fn method_not_allowed(method: Method) -> Response {
    match method {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => ApiError::MethodNotAllowed.into_response(),
    }
}
