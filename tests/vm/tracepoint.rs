//! An independent witness of the drivers' stamps: the kernel's tracepoint `v4l2:v4l2_dqbuf`, which prints every buffer's
//! stamp as the driver set it, whoever dequeues it. (A second open of a streaming camera is refused, so the test cannot ask
//! the driver itself.)

use std::path::{Path, PathBuf};

const TRACEFS: &str = "/sys/kernel/tracing";

/// The tracepoint switched on for one camera, until this is dropped.
pub struct Tracepoint {
    minor: u32,
}

impl Tracepoint {
    pub fn of(node: &Path) -> Self {
        let name = node.file_name().expect("a node has a name");
        let numbers = std::fs::read_to_string(Path::new("/sys/class/video4linux").join(name).join("dev")).expect("the camera is there");
        let minor = numbers.trim().split_once(':').expect("major:minor").1.parse().expect("a number");
        write("trace", "");
        write("buffer_size_kb", "4096");
        write("events/v4l2/v4l2_dqbuf/enable", "1");
        Self { minor }
    }

    /// The stamps so far, CLOCK_MONOTONIC nanoseconds, in order.
    pub fn stamps_ns(&self) -> Vec<i64> {
        let ours = format!("minor = {},", self.minor);
        let trace = std::fs::read_to_string(path("trace")).expect("tracefs is mounted");
        let stamp = |line: &str| line.split("timestamp = ").nth(1)?.split(',').next()?.parse().ok();
        trace.lines().filter(|l| l.contains(&ours)).filter_map(stamp).collect()
    }
}

impl Drop for Tracepoint {
    fn drop(&mut self) {
        write("events/v4l2/v4l2_dqbuf/enable", "0");
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(TRACEFS).join(name)
}

fn write(name: &str, text: &str) {
    std::fs::write(path(name), text).expect("tracefs is mounted");
}
