//! The cost of a frame from the device's buffer to the text message: the program's code against the
//! same libraries called directly, against the Python original, and a camera's own JPEG against
//! copying it.
//!
//! `cargo bench --bench encode`. The comparison with Python needs opencv-python-headless in the
//! interpreter that `STAMPCAST_BENCH_PYTHON` names; where it names none, in the one that
//! `tests/examples.sh` makes, else in `python3`.

mod common;
#[path = "common/scene.rs"]
mod scene;
#[path = "common/table.rs"]
mod table;

use base64::engine::general_purpose::PAD;
use base64::engine::{Engine, Simd};
use common::{interleaved, median};
use scene::textured_yuyv;
use stampcast::config::VideoConfig;
use stampcast::encode::pipeline::PixelPipeline;
use stampcast::media::frame::{PixelFormat, RawFrame};
use stampcast::media::{MonoNs, Shape, UnixNs};
use stampcast::wire::{b64, text};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use table::{Target, row};

const QUALITY: u8 = 70;
const SIZES: [(usize, usize); 3] = [(640, 480), (1280, 720), (1920, 1080)];
/// Frames of a moving scene: the branch predictor would learn a single frame.
const FRAMES: usize = 8;
const SAMPLES: usize = 60;

fn main() {
    table::begin("Encode: CPU time of one thread per frame, us, medians");
    let mut python = Python::start();
    for (width, height) in SIZES {
        let frames: Vec<Vec<u8>> = (0..FRAMES)
            .map(|n| textured_yuyv(width, height, n))
            .collect();
        let size = format!("{width}x{height}");

        let (mut ours, mut hand) = (Ours::new(width, height), ByHand::new(width, height));
        let (mut a, mut b) = (frames.iter().cycle(), frames.iter().cycle());
        let [our_time, hand_time] = interleaved(
            SAMPLES,
            FRAMES as u32,
            [
                &mut || {
                    black_box(ours.message(
                        PixelFormat::Yuyv,
                        2 * width,
                        a.next().expect("cycles"),
                    ));
                },
                &mut || {
                    black_box(hand.message(b.next().expect("cycles")));
                },
            ],
        );
        timed(
            &format!("YUYV to text {size}, against yuv, turbojpeg, base64"),
            our_time,
            hand_time,
            1.05,
        );
        if height == 1080 {
            row(
                "  of the 33 ms that one core has for it at 30 fps",
                our_time.as_secs_f64() * 1e6,
                None,
                &Target::Most(1e6 / 30.0),
            );
        }

        if let Ok(python) = &mut python {
            let (ours, reference) = python.compare(width, height, &frames, &mut ours);
            timed(
                &format!("YUYV to text {size}, against Python (cv2, b64encode)"),
                ours,
                reference,
                0.75,
            );
        }

        let jpegs: Vec<Vec<u8>> = frames
            .iter()
            .map(|frame| hand.jpeg(frame).to_vec())
            .collect();
        let bytes = jpegs.iter().map(Vec::len).sum::<usize>() / jpegs.len() / 1000;
        let (mut a, mut b) = (jpegs.iter().cycle(), jpegs.iter().cycle());
        let (mut record, mut text) = (vec![0; 4 << 20], vec![0; 6 << 20]);
        let [our_time, copy_time] = interleaved(
            SAMPLES,
            40 * FRAMES as u32,
            [
                &mut || {
                    black_box(ours.message(PixelFormat::Mjpeg, 0, a.next().expect("cycles")));
                },
                &mut || {
                    let jpeg = b.next().expect("cycles");
                    record[..jpeg.len()].copy_from_slice(jpeg);
                    black_box(
                        hand.base64
                            .encode_slice(black_box(&record[..jpeg.len()]), &mut text)
                            .expect("there is room"),
                    );
                },
            ],
        );
        timed(
            &format!("MJPEG to text {size} ({bytes} kB), against memcpy, base64"),
            our_time,
            copy_time,
            1.3,
        );
    }
    if let Err(why) = python {
        println!("\nWithout the comparison with Python: {why}");
    }
}

fn timed(what: &str, ours: Duration, reference: Duration, most: f64) {
    row(
        what,
        ours.as_secs_f64() * 1e6,
        Some(reference.as_secs_f64() * 1e6),
        &Target::Ratio(most),
    );
}

/// The program's code: pipeline, record (the copy into the ring), message (as the output renders
/// it, in its own memory).
struct Ours {
    pipeline: PixelPipeline,
    record: Vec<u8>,
    size: (usize, usize),
}

impl Ours {
    fn new(width: usize, height: usize) -> Self {
        let (width, height) = (width as u32, height as u32);
        let video = VideoConfig {
            width,
            height,
            capture_width: width,
            capture_height: height,
            quality: QUALITY,
            ..VideoConfig::default()
        };
        let pipeline = PixelPipeline::new(&video).expect("the size is a usual one");
        let size = (width as usize, height as usize);
        Self {
            pipeline,
            record: vec![0; 4 << 20],
            size,
        }
    }

    fn message(&mut self, format: PixelFormat, stride: usize, data: &[u8]) -> Vec<u8> {
        let (width, height) = (self.size.0 as u32, self.size.1 as u32);
        let raw = RawFrame {
            format,
            width,
            height,
            stride,
            data,
            full_range: true,
            capture_time: MonoNs(0),
            missed: 0,
        };
        let mut frame = self.pipeline.frame(raw).expect("the frame is whole");
        let jpeg = frame.jpeg().expect("the frame is whole");
        let record = &mut self.record[..jpeg.bytes.len()];
        record.copy_from_slice(jpeg.bytes);
        let record = black_box(&*record);
        let shape = Shape::Video {
            width: jpeg.width,
            height: jpeg.height,
        };
        let prefix = text::packet_prefix(UnixNs(1_753_600_000_123_456_789), shape);
        let prefix = prefix.as_bytes();
        let mut message = Vec::with_capacity(prefix.len() + b64::encoded_len(record.len()));
        message.extend_from_slice(prefix);
        b64::append(&mut message, record);
        message
    }
}

/// The same libraries with nothing between them.
struct ByHand {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
    compressor: turbojpeg::Compressor,
    jpeg: Vec<u8>,
    text: Vec<u8>,
    base64: Simd,
}

impl ByHand {
    fn new(width: usize, height: usize) -> Self {
        let mut compressor = turbojpeg::Compressor::new().expect("turbojpeg starts");
        compressor
            .set_quality(QUALITY.into())
            .expect("the quality is 1 to 100");
        let chroma = vec![0; width * height / 4];
        Self {
            width,
            height,
            y: vec![0; width * height],
            u: chroma.clone(),
            v: chroma,
            compressor,
            jpeg: vec![0; 4 * width * height],
            text: vec![0; 6 * width * height],
            base64: Simd::standard(PAD),
        }
    }

    fn jpeg(&mut self, yuyv: &[u8]) -> &[u8] {
        let (width, height) = (self.width as u32, self.height as u32);
        let packed = yuv::YuvPackedImage {
            yuy: yuyv,
            yuy_stride: 2 * width,
            width,
            height,
        };
        let mut planar = yuv::YuvPlanarImageMut {
            y_plane: yuv::BufferStoreMut::Borrowed(&mut self.y),
            y_stride: width,
            u_plane: yuv::BufferStoreMut::Borrowed(&mut self.u),
            u_stride: width / 2,
            v_plane: yuv::BufferStoreMut::Borrowed(&mut self.v),
            v_stride: width / 2,
            width,
            height,
        };
        yuv::yuyv422_to_yuv420(&mut planar, &packed).expect("the sizes fit");
        let image = turbojpeg::YuvPlanesImage {
            y_plane: &self.y[..],
            u_plane: &self.u[..],
            v_plane: &self.v[..],
            width: self.width,
            height: self.height,
            y_stride: self.width,
            u_stride: self.width / 2,
            v_stride: self.width / 2,
            subsamp: turbojpeg::Subsamp::Sub2x2,
        };
        let len = self
            .compressor
            .compress_yuv_planes_to_slice(&image, &mut self.jpeg)
            .expect("there is room");
        &self.jpeg[..len]
    }

    fn message(&mut self, yuyv: &[u8]) -> &[u8] {
        let len = self.jpeg(yuyv).len();
        let written = self
            .base64
            .encode_slice(&self.jpeg[..len], &mut self.text)
            .expect("there is room");
        &self.text[..written]
    }
}

/// The reference in Python: a process that encodes on request and answers with its CPU time.
struct Python {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Python {
    fn start() -> Result<Self, String> {
        let made = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/target/examples-python/bin/python3"
        );
        let otherwise = if Path::new(made).exists() {
            made
        } else {
            "python3"
        };
        let interpreter =
            std::env::var("STAMPCAST_BENCH_PYTHON").unwrap_or_else(|_| otherwise.into());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/encode_reference.py");
        let how = "`python3 -m venv target/examples-python && target/examples-python/bin/pip install opencv-python-headless` makes one that has it";
        let mut child = Command::new(&interpreter)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{interpreter} does not start ({e}); {how}"))?;
        let answers = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        let mut python = Self { child, answers };
        match python.answer().as_deref() {
            Ok("ready") => Ok(python),
            _ => Err(format!("{interpreter} has no cv2; {how}")),
        }
    }

    /// The medians of this program and of Python, which encode in turn.
    fn compare(
        &mut self,
        width: usize,
        height: usize,
        frames: &[Vec<u8>],
        ours: &mut Ours,
    ) -> (Duration, Duration) {
        let (mut our_times, mut python_times) = (Vec::new(), Vec::new());
        for sample in 0..SAMPLES {
            let frame = &frames[sample % frames.len()];
            let mut seconds = 0.0;
            for _ in 0..3 {
                let stdin = self.child.stdin.as_mut().expect("a pipe was asked for");
                writeln!(stdin, "{width} {height} {QUALITY}").expect("Python reads");
                stdin.write_all(frame).expect("Python reads");
                seconds = self
                    .answer()
                    .ok()
                    .and_then(|answer| answer.parse().ok())
                    .expect("Python answers with seconds");
            }
            let begin = common::cpu_time();
            for _ in 0..3 {
                black_box(ours.message(PixelFormat::Yuyv, 2 * width, frame));
            }
            our_times.push((common::cpu_time() - begin) / 3);
            python_times.push(Duration::from_secs_f64(seconds));
        }
        (median(our_times), median(python_times))
    }

    fn answer(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
