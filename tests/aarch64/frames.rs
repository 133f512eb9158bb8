//! `frames PATH N`: takes N frames of 640x480 YUYV along one path and ends, so that what counts
//! instructions around it can tell what a frame costs. Paths: `turbojpeg` and `jpeg-encoder`, to a
//! JPEG; `text`, to the text message with turbojpeg.

#[path = "../../benches/common/scene.rs"]
mod scene;

use stampcast::config::VideoConfig;
use stampcast::encode::jpeg::{Encode, pure, turbo};
use stampcast::encode::pipeline::PixelPipeline;
use stampcast::media::frame::{PixelFormat, RawFrame};
use stampcast::media::{MonoNs, Shape, UnixNs};
use stampcast::wire::{b64, text};
use std::hint::black_box;

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
const QUALITY: u8 = 70;

fn main() {
    let mut words = std::env::args().skip(1);
    let (path, frames) = (
        words.next().unwrap_or_default(),
        words.next().and_then(|n| n.parse().ok()),
    );
    let Some(frames) = frames else {
        panic!("usage: frames turbojpeg|jpeg-encoder|text N")
    };
    let mut encoder: Box<dyn Encode> = match path.as_str() {
        "turbojpeg" | "text" => Box::new(turbo::Encoder::new(QUALITY).expect("turbojpeg starts")),
        "jpeg-encoder" => Box::new(pure::Encoder::new(QUALITY).expect("the quality is 1 to 100")),
        other => panic!("there is no path {other}"),
    };
    let mut picture = PixelPipeline::new(&VideoConfig::default()).expect("the size is a usual one");
    let scene: Vec<_> = (0..4)
        .map(|n| scene::textured_yuyv(WIDTH as usize, HEIGHT as usize, n))
        .collect();
    let mut message = Vec::with_capacity(1 << 20);
    for data in scene.iter().cycle().take(frames) {
        let raw = RawFrame {
            format: PixelFormat::Yuyv,
            width: WIDTH,
            height: HEIGHT,
            stride: 2 * WIDTH as usize,
            data,
            full_range: true,
            capture_time: MonoNs(0),
            missed: 0,
        };
        let mut frame = picture.frame(raw).expect("the frame is whole");
        let planes = frame.planes().expect("the frame is whole");
        let jpeg = encoder.encode(&planes).expect("the size is a usual one");
        assert!(
            (30_000..60_000).contains(&jpeg.len()),
            "{} bytes are not what a room's picture has",
            jpeg.len()
        );
        if path == "text" {
            message.clear();
            let shape = Shape::Video {
                width: WIDTH as u16,
                height: HEIGHT as u16,
            };
            message.extend_from_slice(
                text::packet_prefix(UnixNs(1_753_600_000_123_456_789), shape).as_bytes(),
            );
            b64::append(&mut message, jpeg);
            black_box(&message);
        }
        black_box(jpeg);
    }
}
