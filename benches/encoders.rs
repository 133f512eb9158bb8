//! The latency of a JPEG from its capture to the server's end of the ring, alone and while H.264 of
//! the same frames is wanted too: the encoders run side by side. Test camera, 1280x720 at 30 fps.
//!
//! `cargo bench --bench encoders [SECONDS]`: seconds for each run, 5 unless given.

#[path = "common/table.rs"]
mod table;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use stampcast::config::VideoConfig;
use stampcast::ipc::control::SharedControl;
use stampcast::ipc::ring::{RingLimits, RingReader, SharedRing, SharedStatus};
use stampcast::media::{Encoding, MonoNs};
use stampcast::worker::{RingPublisher, StopSignal, Worker, run_video};
use std::time::{Duration, Instant};
use table::{Target, row};

/// Runs of each kind, in turn; the medians are shown.
const RUNS: usize = 5;
/// Encoders start and caches warm up.
const SETTLE: Duration = Duration::from_secs(1);

fn main() {
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(5);
    let span = Duration::from_secs(seconds);
    let limits = RingLimits {
        packets: 50,
        bytes: 64 << 20,
    };
    let encodings = [Encoding::Jpeg, Encoding::H264];
    let rings = encodings.map(|e| SharedRing::create(e.name(), limits).expect("memory"));
    let publishers = encodings
        .iter()
        .zip(&rings)
        .map(|(&encoding, ring)| RingPublisher::new(encoding, ring.writer(), 1, 0))
        .collect();
    let status = SharedStatus::create("video", &encodings).expect("memory");
    let control = SharedControl::create("video").expect("memory");
    let stop = StopSignal::on_sigterm().expect("a signalfd");
    let worker = Worker::new(status.writer(), control.reader(), stop, false, None);
    let video = VideoConfig {
        width: 1280,
        height: 720,
        capture_width: 1280,
        capture_height: 720,
        fps: 30.0,
        ..VideoConfig::default()
    };
    // Ends with the process.
    std::thread::spawn(move || run_video(worker, &video, publishers));

    let [jpeg, h264] = &mut rings.each_ref().map(SharedRing::reader);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        for (with_h264, runs) in [(false, &mut alone), (true, &mut beside)] {
            h264.set_demand(with_h264);
            jpeg.set_demand(true);
            latencies(jpeg, h264, SETTLE);
            runs.push(latencies(jpeg, h264, span));
        }
    }
    table::begin(
        "JPEG, capture to the server's end of the ring, ms, medians of 5 runs: alone, and (ours) with H.264 beside",
    );
    for (what, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let [alone, beside] = [&alone, &beside].map(|runs| {
            median(
                runs.iter()
                    .map(|run| run[((run.len() - 1) as f64 * quantile) as usize])
                    .collect(),
            )
        });
        let allowed = (alone * 0.05).max(0.5);
        row(what, beside, Some(alone), &Target::More(allowed));
    }
    let frames = |runs: &[Vec<f64>]| median(runs.iter().map(|run| run.len() as f64).collect());
    row(
        "frames per run",
        frames(&beside),
        Some(frames(&alone)),
        &Target::Share(0.98),
    );
}

/// Latencies of the JPEGs that arrive within `span`, ms, sorted.
fn latencies(jpeg: &mut RingReader, h264: &mut RingReader, span: Duration) -> Vec<f64> {
    let until = Instant::now() + span;
    let mut payload = Vec::new();
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let fds = [jpeg.event_fd(), h264.event_fd()];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut fds, PollTimeout::from(100u16));
        let woken = MonoNs::now();
        jpeg.drain_event();
        h264.drain_event();
        while let Ok(Some(meta)) = jpeg.pop(&mut payload) {
            latencies.push(woken.since(meta.capture_time).as_secs_f64() * 1e3);
        }
        while let Ok(Some(_)) = h264.pop(&mut payload) {}
    }
    latencies.sort_by(f64::total_cmp);
    latencies
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
