//! WHIP as an output.

use super::Publisher;
use crate::config::{self, CameraConfig, Config};
use crate::media::Encoding;
use crate::output::webrtc::WebRtc;
use crate::output::{Context, Output, OutputError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Uses WebRTC's port and sessions; its status and metrics are part of WebRTC's.
pub struct Whip {
    /// `None`: off.
    config: Option<config::Whip>,
    webrtc: Arc<WebRtc>,
    publisher: OnceLock<Arc<Publisher>>,
}

impl Whip {
    pub(crate) fn new(config: &Config, webrtc: Arc<WebRtc>) -> Self {
        let whip = config
            .webrtc
            .as_ref()
            .and_then(|webrtc| webrtc.whip.clone());
        Self {
            config: whip,
            webrtc,
            publisher: OnceLock::new(),
        }
    }
}

impl Output for Whip {
    fn name(&self) -> &'static str {
        "whip"
    }

    fn needs(&self, _: &CameraConfig) -> &[Encoding] {
        match self.config {
            Some(_) => &[Encoding::H264, Encoding::Opus],
            None => &[],
        }
    }

    fn open(&self, cx: &Context) -> Result<(), OutputError> {
        if let (Some(config), Some(server)) = (&self.config, self.webrtc.server()) {
            let publisher = Publisher::new(
                server.clone(),
                cx.hubs.default_hub().clone(),
                config.clone(),
            )?;
            let _ = self.publisher.set(Arc::new(publisher));
        }
        Ok(())
    }

    fn run(self: Arc<Self>, cx: Context) -> BoxFuture<'static, Result<(), OutputError>> {
        async move {
            if let Some(publisher) = self.publisher.get() {
                publisher.clone().run(cx.stop).await;
            }
            Ok(())
        }
        .boxed()
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = self.config.iter();
        files
            .flat_map(|whip| [whip.token_file.clone(), whip.ca.clone()])
            .flatten()
            .collect()
    }
}
