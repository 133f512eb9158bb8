//! The status line: one now and then for a person who watches the terminal; a log file is spared it. Knows the hub.

use crate::hub::Hub;
use crate::media::{MonoNs, WorkerState};
use crate::wire::Info;
use crate::wire::info::Shape;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const TELL_STATE_EVERY: Duration = Duration::from_secs(10);

/// Never ends.
pub async fn tell_state(hub: Arc<Hub>) -> io::Result<()> {
    let mut status = StatusLine::default();
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(TELL_STATE_EVERY).await;
        let (info, bytes) = (
            hub.info(MonoNs::now()),
            hub.figures().tracks.iter().map(|t| t.bytes).sum(),
        );
        let now = Instant::now();
        if let Some(line) = status.next(&info, bytes, now - std::mem::replace(&mut looked, now)) {
            tracing::info!("{line}");
        }
    }
}

/// What the last look saw. Pure.
#[derive(Debug, Default)]
struct StatusLine {
    bytes: u64,
    alone: bool,
}

impl StatusLine {
    /// `bytes`: encoded since the server started; `took`: since the last look. `None`: it was said once that the last viewer
    /// has gone.
    fn next(&mut self, info: &Info, bytes: u64, took: Duration) -> Option<String> {
        let encoded = bytes - std::mem::replace(&mut self.bytes, bytes);
        if std::mem::replace(&mut self.alone, info.viewers == 0) && self.alone {
            return None;
        }
        let fps = match info.video.as_ref().map(|v| (v.state, &v.shape)) {
            Some((WorkerState::Starting, _)) => "the camera starts".into(),
            Some((WorkerState::WaitingForDevice, _)) => "the camera is away".into(),
            Some((WorkerState::Streaming, Shape::Video { fps, .. })) => fps
                .measured
                .map_or("- fps".into(), |fps| format!("{fps:.1} fps")),
            _ => "no camera".into(),
        };
        let dropped: u64 = info
            .video
            .iter()
            .chain(&info.audio)
            .flat_map(|s| s.drops.values())
            .map(|d| d.packets)
            .sum();
        let kbits = encoded as f64 * 8e-3 / took.as_secs_f64();
        let viewers = if info.viewers == 1 {
            "1 viewer".into()
        } else {
            format!("{} viewers", info.viewers)
        };
        Some(format!(
            "{viewers}, {fps}, {kbits:.0} kbit/s encoded, {dropped} packets dropped so far"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Plan;
    use crate::media::clock::Sample;

    #[test]
    fn the_rate_is_that_of_the_time_since_the_last_look() {
        let with = |viewers| Info {
            viewers,
            ..Hub::new(
                Plan {
                    video: None,
                    audio: None,
                },
                Sample::take(),
            )
            .info(MonoNs::now())
        };
        let mut status = StatusLine::default();
        let mut said = |viewers, bytes, seconds| {
            status
                .next(&with(viewers), bytes, Duration::from_secs(seconds))
                .unwrap_or_default()
        };
        assert_eq!(
            said(1, 125_000, 10),
            "1 viewer, no camera, 100 kbit/s encoded, 0 packets dropped so far"
        );
        assert!(
            said(2, 375_000, 20).starts_with("2 viewers, no camera, 100 kbit/s"),
            "a look may be late"
        );
        assert!(said(0, 375_000, 10).starts_with("0 viewers"));
        // Viewers that came and went between two looks.
        assert_eq!(said(0, 625_000, 10), "");
        assert!(
            said(1, 750_000, 10).contains("100 kbit/s"),
            "what was encoded before the last look does not count"
        );
    }
}
