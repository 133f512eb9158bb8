//! `/stream`: packets and events over WebSocket, text or binary.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handshake;
mod reader;
mod session;
mod writer;

use super::camera;
use super::{Address, Context, Output};
use crate::config::CameraConfig;
use crate::media::Encoding;
use axum::Router;
use axum::routing::get;

#[derive(Debug)]
pub struct WebSocket;

impl Output for WebSocket {
    fn name(&self) -> &'static str {
        "websocket"
    }

    fn needs(&self, _: &CameraConfig) -> &[Encoding] {
        &[Encoding::Jpeg, Encoding::Pcm]
    }

    fn addresses(&self) -> &'static [Address] {
        &[Address {
            path: "/stream",
            about: "WebSocket: stamped video and audio (a plain GET: MJPEG)",
        }]
    }

    fn routes(&self, cx: &Context) -> Router {
        camera::route(Router::new(), "/stream", get(handshake::stream)).with_state(cx.clone())
    }
}
