//! The outputs: each turns the packets of the hubs into what its clients read. An output is one
//! entry of [`all`]; its addresses, encodings, files, status and metrics come from there.

pub(crate) mod camera;
mod error;
mod http_viewer;
pub(crate) mod metric;
pub mod mjpeg;
pub mod snapshot;
pub mod wav;
#[cfg(feature = "webrtc")]
pub mod webrtc;
pub mod websocket;
#[cfg(feature = "webrtc")]
pub mod whip;

pub(crate) use error::ApiError;

use crate::config::{CameraConfig, Config};
use crate::hub::Hubs;
use crate::media::{Encoding, MediaKind};
use axum::Router;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// A way out for packets. Made by [`all`] wherever the list is needed, so making one must be cheap
/// and without side effects; the server calls [`open`](Self::open), [`routes`](Self::routes) and
/// [`run`](Self::run), once each and in this order.
pub trait Output: Send + Sync {
    /// The output's key in `/state`, and its name in the log.
    fn name(&self) -> &'static str;

    /// The encodings that it reads of a camera: these are encoded while somebody reads them.
    fn needs(&self, camera: &CameraConfig) -> &[Encoding];

    /// What it serves over HTTP, for the address list.
    fn addresses(&self) -> &'static [Address] {
        &[]
    }

    /// Opens what it needs besides HTTP, such as a port. Runs on the server's runtime.
    ///
    /// # Errors
    /// It cannot be had. The server logs it and goes on without this output, whose routes are
    /// registered nevertheless.
    fn open(&self, _: &Context) -> Result<(), OutputError> {
        Ok(())
    }

    /// Its HTTP routes, built once. The camera is looked up for each request ([`camera`]).
    fn routes(&self, _: &Context) -> Router {
        Router::new()
    }

    /// Serves until `cx.stop` turns true; an output that only answers HTTP requests has nothing to
    /// do here.
    ///
    /// # Errors
    /// It has ended by itself. The server logs it and goes on without this output.
    fn run(self: Arc<Self>, _: Context) -> BoxFuture<'static, Result<(), OutputError>> {
        async { Ok(()) }.boxed()
    }

    /// The files that the server may read in its sandbox, also after they were replaced.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Its part of `/state`. `None`: it has none.
    fn status(&self) -> Option<serde_json::Value> {
        None
    }

    /// Its part of `/metrics`.
    ///
    /// # Errors
    /// Those of the encoder.
    fn metrics(&self, _: &mut DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

/// One line of the address list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub path: &'static str,
    pub about: &'static str,
}

/// Why an output is not available.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the server gives to its outputs.
#[derive(Clone)]
pub struct Context {
    pub hubs: Hubs,
    pub config: Arc<Config>,
    /// A permit for each viewer of any output but WebRTC, which has a limit of its own.
    pub viewers: Arc<Semaphore>,
    /// Turns true when the server stops.
    // Only WebRTC's outputs have tasks.
    #[cfg_attr(not(feature = "webrtc"), allow(dead_code))]
    pub stop: watch::Receiver<bool>,
}

/// All outputs: the one list.
pub fn all(config: &Config) -> Vec<Arc<dyn Output>> {
    let mut outputs: Vec<Arc<dyn Output>> = vec![
        Arc::new(websocket::WebSocket),
        Arc::new(snapshot::Snapshot),
        Arc::new(mjpeg::Mjpeg),
        Arc::new(wav::Wav),
    ];
    outputs.extend(webrtc_outputs(config));
    outputs
}

/// WHIP publishes through WebRTC's sessions.
#[cfg(feature = "webrtc")]
fn webrtc_outputs(config: &Config) -> [Arc<dyn Output>; 2] {
    let webrtc = Arc::new(webrtc::WebRtc::new(config));
    [webrtc.clone(), Arc::new(whip::Whip::new(config, webrtc))]
}

#[cfg(not(feature = "webrtc"))]
fn webrtc_outputs(_: &Config) -> [Arc<dyn Output>; 0] {
    []
}

/// What all outputs together read of a camera's streams: each encoding has a ring, and an encoder
/// while somebody reads it. In the order of [`all`].
pub fn encodings(config: &Config, camera: &CameraConfig) -> Vec<Encoding> {
    let mut encodings = Vec::new();
    for output in all(config) {
        for &encoding in output.needs(camera) {
            let has_stream = match encoding.kind() {
                MediaKind::Video => camera.video.is_some(),
                MediaKind::Audio => camera.audio.is_some(),
            };
            if has_stream && !encodings.contains(&encoding) {
                encodings.push(encoding);
            }
        }
    }
    encodings
}

/// The files that the server's outputs use.
pub fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
    all(config).into_iter().flat_map(|output| output.files())
}
