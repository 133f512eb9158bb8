//! `/` and `/info`: what the server has, in words and in JSON.

use super::Api;
use super::page::PAGE;
use crate::media::MonoNs;
use crate::output::camera::{CameraAccess, CameraHub};
use crate::output::{Address, ApiError, mjpeg, snapshot};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::http::header::CACHE_CONTROL;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

const OWN_ADDRESSES: [Address; 4] = [
    Address {
        path: "/info",
        about: "JSON: format, rate, clock, losses",
    },
    Address {
        path: "/state",
        about: "JSON in ustreamer's format",
    },
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
pub(super) async fn root(
    State(api): State<Api>,
    camera: CameraAccess,
    uri: Uri,
) -> Result<Response, ApiError> {
    let Query(ActionQuery { action }) =
        Query::try_from_uri(&uri).map_err(|_| ApiError::BadAction)?;
    match action.as_deref() {
        None if api.cx.config.serve_client && uri.path() == "/" => Ok(page().await.into_response()),
        None => Ok(address_list(&api).into_response()),
        Some("stream") => mjpeg::mjpeg(camera, Query::try_from_uri(&uri)).await,
        Some("snapshot") => snapshot::snapshot(camera, Query::try_from_uri(&uri)).await,
        Some(_) => Err(ApiError::BadAction),
    }
}

fn address_list(api: &Api) -> String {
    let mut list = format!("{}\n\n", env!("CARGO_PKG_NAME"));
    let outputs = api.outputs.iter().flat_map(|output| output.addresses());
    for Address { path, about } in outputs.chain(&OWN_ADDRESSES) {
        list.push_str(&format!("{path:<19}{about}\n"));
    }
    let names: Vec<_> = api.cx.hubs.names().collect();
    list.push_str(&format!(
        "\nThese are of the camera {}; each address of a camera exists under its name too: {}\n",
        names[0],
        names
            .iter()
            .map(|name| format!("/{name}/stream"))
            .collect::<Vec<_>>()
            .join(", "),
    ));
    list.push_str(
        "\nThe viewer page is at / with --serve-client; or open public/index.html as a file.\n",
    );
    list
}

/// `/index.html` with `--serve-client`.
pub(super) async fn page() -> Html<&'static str> {
    Html(PAGE.as_str())
}

/// For monitoring; needs no token. Says nothing of the devices, which `/info` does.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn info(State(api): State<Api>, CameraHub(hub): CameraHub) -> impl IntoResponse {
    let info = super::info::info(&hub, &api.cx.hubs, MonoNs::now());
    ([(CACHE_CONTROL, "no-store")], Json(info))
}
