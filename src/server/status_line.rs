//! The status line: logged now and then for a person who watches a terminal.

use crate::hub::{Hubs, Snapshot};
use crate::media::{MonoNs, WorkerState};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Never ends.
///
/// # Errors
/// None.
pub(super) async fn log_status(hubs: Hubs) -> io::Result<()> {
    let mut status = StatusLine::default();
    let mut last = Instant::now();
    loop {
        sleep(STATUS_INTERVAL).await;
        let snapshots: Vec<_> = hubs.iter().map(|hub| hub.snapshot(MonoNs::now())).collect();
        let now = Instant::now();
        if let Some(line) = status.next(&snapshots, now - std::mem::replace(&mut last, now)) {
            tracing::info!("{line}");
        }
    }
}

/// What the last call saw. Pure.
#[derive(Debug, Default)]
struct StatusLine {
    bytes: u64,
    idle_reported: bool,
}

impl StatusLine {
    /// The line for all cameras. `elapsed`: since the last call. `None`: nobody watches, which was
    /// reported.
    fn next(&mut self, cameras: &[Snapshot], elapsed: Duration) -> Option<String> {
        let bytes = cameras
            .iter()
            .flat_map(|camera| &camera.tracks)
            .map(|track| track.bytes)
            .sum();
        let encoded = bytes - std::mem::replace(&mut self.bytes, bytes);
        let viewers: usize = cameras.iter().map(|camera| camera.subscribers).sum();
        if std::mem::replace(&mut self.idle_reported, viewers == 0) && self.idle_reported {
            return None;
        }
        let fps: Vec<_> = match cameras {
            [camera] => vec![video(camera)],
            _ => cameras
                .iter()
                .map(|camera| format!("{}: {}", camera.camera, video(camera)))
                .collect(),
        };
        let dropped: u64 = cameras.iter().map(dropped).sum();
        let kbits = encoded as f64 * 8e-3 / elapsed.as_secs_f64();
        let viewers = if viewers == 1 {
            "1 viewer".into()
        } else {
            format!("{viewers} viewers")
        };
        Some(format!(
            "{viewers}, {}, {kbits:.0} kbit/s encoded, {dropped} packets dropped so far",
            fps.join(", ")
        ))
    }
}

fn video(camera: &Snapshot) -> String {
    let Some(video) = &camera.video else {
        return "no camera".into();
    };
    match video.state {
        WorkerState::Starting => "camera starting".into(),
        WorkerState::WaitingForDevice => "camera not available".into(),
        WorkerState::Streaming => video
            .measured_fps
            .map_or("- fps".into(), |fps| format!("{fps:.1} fps")),
    }
}

fn dropped(camera: &Snapshot) -> u64 {
    camera
        .streams()
        .map(|stream| {
            let lost: u64 = stream.losses.iter().map(|(_, totals)| totals.packets).sum();
            lost + stream.dropped
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Hub, Plan};
    use crate::media::clock::Clock;
    use crate::media::{CameraId, Encoding};
    use std::sync::Arc;

    #[test]
    fn status_line_rate_is_that_of_the_time_since_the_last_line() {
        let hub = Hub::new(CameraId::main(), Plan::default(), Arc::new(Clock::start()));
        let snapshot = |viewers, bytes| {
            let mut snapshot = hub.snapshot(MonoNs::now());
            snapshot.subscribers = viewers;
            let latency = snapshot.deliveries[0].age.clone();
            snapshot.tracks = vec![crate::hub::TrackSnapshot {
                encoding: Encoding::Jpeg,
                packets: 1,
                bytes,
                latency,
            }];
            snapshot
        };
        let mut status = StatusLine::default();
        let mut line = |viewers, bytes, seconds| {
            status
                .next(&[snapshot(viewers, bytes)], Duration::from_secs(seconds))
                .unwrap_or_default()
        };
        assert_eq!(
            line(1, 125_000, 10),
            "1 viewer, no camera, 100 kbit/s encoded, 0 packets dropped so far"
        );
        assert!(
            line(2, 375_000, 20).starts_with("2 viewers, no camera, 100 kbit/s"),
            "a line may be late"
        );
        assert!(line(0, 375_000, 10).starts_with("0 viewers"));
        // Viewers that came and went between two lines.
        assert_eq!(line(0, 625_000, 10), "");
        assert!(
            line(1, 750_000, 10).contains("100 kbit/s"),
            "what was encoded before the last line does not count"
        );
    }
}
