//! WebRTC as one of the outputs.

use super::{Server, http};
use crate::config::{self, CameraConfig, Config};
use crate::media::Encoding;
use crate::output::{Address, Context, Output, OutputError};
use axum::Router;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Off where the configuration has no `webrtc`.
pub struct WebRtc {
    config: Option<config::Webrtc>,
    /// Set by [`Output::open`]; an error is why its port cannot be had.
    server: OnceLock<Result<Arc<Server>, String>>,
}

impl WebRtc {
    pub(crate) fn new(config: &Config) -> Self {
        let mut webrtc = config.webrtc.clone();
        let video = config
            .cameras
            .iter()
            .find_map(|camera| camera.video.as_ref());
        if let (Some(webrtc), Some(video)) = (&mut webrtc, video)
            && webrtc.bitrate_bps == 0
        {
            let size = (video.width as usize, video.height as usize);
            webrtc.bitrate_bps = video.h264_bps(size);
        }
        Self {
            config: webrtc,
            server: OnceLock::new(),
        }
    }

    /// `None`: off, not opened yet, or it cannot be had.
    pub(crate) fn server(&self) -> Option<&Arc<Server>> {
        self.server.get()?.as_ref().ok()
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
        let Some(config) = &self.config else {
            return Ok(());
        };
        let opened = Server::open(config, cx.config.host, cx.hubs.default_hub().clone());
        let (server, result) = match opened {
            Ok(server) => (Ok(Arc::new(server)), Ok(())),
            Err(e) => (Err(e.to_string()), Err(e.into())),
        };
        let _ = self.server.set(server);
        result
    }

    fn routes(&self, cx: &Context) -> Router {
        match self.server.get() {
            Some(Ok(server)) => http::routes(server.clone(), cx.config.limits.head),
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
