//! An independent record of the drivers' timestamps: the kernel's tracepoint `v4l2:v4l2_dqbuf`
//! prints every buffer's timestamp as the driver set it, by whichever process it is dequeued. (A
//! second open of a streaming camera is refused, so the test cannot ask the driver itself.)

use std::path::{Path, PathBuf};

const TRACEFS: &str = "/sys/kernel/tracing";

/// The tracepoint switched on for one camera, until this is dropped.
pub struct Tracepoint {
    minor: u32,
}

impl Tracepoint {
    pub fn of(node: &Path) -> Self {
        let name = node.file_name().expect("a node has a name");
        let numbers =
            std::fs::read_to_string(Path::new("/sys/class/video4linux").join(name).join("dev"))
                .expect("the camera is there");
        let minor = numbers
            .trim()
            .split_once(':')
            .expect("major:minor")
            .1
            .parse()
            .expect("a number");
        write("trace", "");
        write("buffer_size_kb", "4096");
        write("events/v4l2/v4l2_dqbuf/enable", "1");
        Self { minor }
    }

    /// The buffers dequeued so far, in order.
    pub fn buffers(&self) -> Vec<Buffer> {
        let ours = format!("minor = {},", self.minor);
        let trace = std::fs::read_to_string(path("trace")).expect("tracefs is mounted");
        let buffer = |line: &str| {
            Some(Buffer {
                stamp_ns: number(line, "timestamp = ")?,
                sequence: number(line, "sequence = ")?,
            })
        };
        trace
            .lines()
            .filter(|l| l.contains(&ours))
            .filter_map(buffer)
            .collect()
    }
}

/// A buffer as the driver filled it.
#[derive(Debug)]
pub struct Buffer {
    /// CLOCK_MONOTONIC nanoseconds.
    pub stamp_ns: i64,
    /// Counts from 0 at the start of the stream; frames that the driver could not deliver are
    /// numbered too.
    pub sequence: u32,
}

fn number<T: std::str::FromStr>(line: &str, before: &str) -> Option<T> {
    line.split(before)
        .nth(1)?
        .split(',')
        .next()?
        .trim()
        .parse()
        .ok()
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
