//! WebRTC as one of the outputs.

use super::{Server, http};
use crate::config::{self, CameraConfig};
use crate::hub::Hub;
use crate::media::Encoding;
use crate::output::{Address, Context, Output, OutputError};
use axum::Router;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::{Arc, OnceLock};

pub struct WebRtc {
    /// `None`: off.
    config: Option<config::Webrtc>,
    /// Set by [`Output::open`]; an error is why its port cannot be opened.
    server: OnceLock<Result<Arc<Server>, String>>,
}

impl WebRtc {
    pub(crate) fn new(config: &config::Config) -> Self {
        Self {
            config: config.webrtc.clone(),
            server: OnceLock::new(),
        }
    }

    /// `None`: off, not opened yet, or its port cannot be opened.
    pub(crate) fn server(&self) -> Option<&Arc<Server>> {
        self.server.get()?.as_ref().ok()
    }
}

/// The bit rate of a camera's video, bits per second: the configured one, else that of its size.
fn bitrate_bps(webrtc: &config::Webrtc, cameras: &[CameraConfig], hub: &Hub) -> u32 {
    let camera = cameras.iter().find(|camera| &camera.id == hub.camera());
    match camera.and_then(|camera| camera.video.as_ref()) {
        Some(video) if webrtc.bitrate_bps == 0 => {
            video.h264_bps((video.width as usize, video.height as usize))
        }
        _ => webrtc.bitrate_bps,
    }
}

impl Output for WebRtc {
    fn name(&self) -> &'static str {
        "webrtc"
    }

    fn needs(&self, _: &CameraConfig) -> &[Encoding] {
        match self.config {
            Some(_) => &[Encoding::H264, Encoding::Opus],
            None => &[],
        }
    }

    fn addresses(&self) -> &'static [Address] {
        const ADDRESSES: [Address; 2] = [
            Address {
                path: "/whep",
                about: "POST an SDP offer: WebRTC (H.264, Opus)",
            },
            Address {
                path: "/api/webrtc/offer",
                about: "the same with JSON",
            },
        ];
        match self.server() {
            Some(_) => &ADDRESSES,
            None => &[],
        }
    }

    fn open(&self, cx: &Context) -> Result<(), OutputError> {
        let Some(webrtc) = &self.config else {
            return Ok(());
        };
        let config = &cx.config;
        let opened = Server::open(webrtc, config.host, &cx.hubs, |hub| {
            bitrate_bps(webrtc, &config.cameras, hub)
        });
        let (server, result) = match opened {
            Ok(server) => (Ok(Arc::new(server)), Ok(())),
            Err(e) => (Err(e.to_string()), Err(e.into())),
        };
        let _ = self.server.set(server);
        result
    }

    fn routes(&self, cx: &Context) -> Router {
        match self.server.get() {
            Some(Ok(server)) => http::routes(server.clone(), cx),
            Some(Err(reason)) => http::unavailable(reason),
            None => Router::new(),
        }
    }

    fn run(self: Arc<Self>, cx: Context) -> BoxFuture<'static, Result<(), OutputError>> {
        async move {
            if let Some(server) = self.server() {
                server.run(cx.stop).await;
            }
            Ok(())
        }
        .boxed()
    }

    fn status(&self) -> Option<serde_json::Value> {
        self.server()
            .map(|server| serde_json::json!(server.report()))
    }

    fn metrics(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        match self.server() {
            Some(server) => http::metrics(&server.report(), out),
            None => Ok(()),
        }
    }
}
