//! `/`: the viewer page or the list of addresses; `/info`, `/healthz`.

use super::page::PAGE;
use super::page_headers;
use super::{Answer, Api};
use crate::http::error::error_response;
use crate::media::MonoNs;
use crate::output::camera::{CameraAccess, CameraHub};
use crate::output::{Address, ApiError, mjpeg, snapshot};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use std::time::Instant;

/// Addresses of a camera, as those of the outputs are.
const CAMERA_ADDRESSES: [Address; 2] = [
    Address {
        path: "/info",
        about: "JSON: format, rate, clock, losses",
    },
    Address {
        path: "/state",
        about: "JSON in ustreamer's format",
    },
];

/// Addresses of the whole server: without a form below a camera's name.
const SERVER_ADDRESSES: [Address; 2] = [
    Address {
        path: "/metrics",
        about: "counters for Prometheus",
    },
    Address {
        path: "/healthz",
        about: "200 while the server runs",
    },
];

/// mjpg-streamer's query.
#[derive(Debug, Default, Deserialize)]
struct ActionQuery {
    action: Option<String>,
}

/// `/`: the page with `--serve-client`, else the list of addresses. `/?action=stream` and
/// `/?action=snapshot` are mjpg-streamer's addresses of `/stream.mjpg` and `/snapshot.jpg`, and
/// take their parameters too.
///
/// # Errors
/// [`ApiError::BadAction`], and those of the address that `action` stands for.
pub(super) async fn root(
    State(api): State<Api>,
    camera: CameraAccess,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Query(ActionQuery { action }) =
        Query::try_from_uri(&uri).map_err(|_| ApiError::BadAction)?;
    match action.as_deref() {
        None if api.cx.config.serve_client && uri.path() == "/" => {
            Ok(page(State(api)).await.into_response())
        }
        None => Ok(address_list(&api).into_response()),
        Some("stream") => mjpeg::mjpeg(camera, Query::try_from_uri(&uri)).await,
        Some("snapshot") => snapshot::snapshot(camera, Query::try_from_uri(&uri)).await,
        Some(_) => Err(ApiError::BadAction),
    }
}

fn address_list(api: &Api) -> String {
    let lines = |addresses: &mut dyn Iterator<Item = &Address>| -> String {
        addresses
            .map(|Address { path, about }| format!("{path:<19}{about}\n"))
            .collect()
    };
    let outputs = api.outputs.iter().flat_map(|output| output.addresses());
    let names: Vec<_> = api.cx.hubs.names().collect();
    let examples: Vec<_> = names.iter().map(|name| format!("/{name}/stream")).collect();
    format!(
        "{name}\n\n\
         Camera {first}; the same addresses exist below the name of each camera ({examples}):\n\
         {of_a_camera}\n\
         Server:\n\
         {of_the_server}\n\
         Viewer page: open public/index.html as a file, or start the server with --serve-client, \
         which serves it at /\n",
        name = env!("CARGO_PKG_NAME"),
        first = names[0],
        examples = examples.join(", "),
        of_a_camera = lines(&mut outputs.chain(&CAMERA_ADDRESSES)),
        of_the_server = lines(&mut SERVER_ADDRESSES.iter()),
    )
}

/// `/index.html` with `--serve-client`.
pub(super) async fn page(State(api): State<Api>) -> impl IntoResponse {
    let headers = page_headers::of_the_page(api.page_policy());
    (headers, Html(PAGE.as_str()))
}

/// For monitoring; needs no token. Does not report on the devices, as `/info` does.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn info(State(api): State<Api>, CameraHub(hub): CameraHub) -> Response {
    let key = Answer::Info(hub.camera().clone());
    let body = api.answers.get(key, Instant::now(), || {
        let info = super::info::info(&hub, &api.cx.hubs, MonoNs::now());
        serde_json::to_vec(&info).map(Bytes::from)
    });
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    match body {
        Ok(body) => (headers, body).into_response(),
        // No field can fail.
        Err(e) => error_response(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}
