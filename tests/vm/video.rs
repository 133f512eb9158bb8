//! Video frames are complete, of the requested size, at the requested rate; a camera's own JPEG is
//! unchanged.

use crate::cameras::{LoopbackCamera, Usb, Vivid};
use crate::program::Program;
use crate::viewer::{Body, Viewer};
use crate::{figure, jpegs};

#[test]
fn video_raw_frames_decode_with_the_requested_size() {
    let _camera = Vivid::ready(0);
    for (width, height) in [(640, 480), (320, 180)] {
        let program = Program::start(&format!(
            "--camera-type usb --device-id 0 --width {width} --height {height}"
        ));
        let mut viewer = Viewer::connect(program.port, "");
        for _ in 0..10 {
            let frame = viewer.frame();
            assert_eq!((frame.width, frame.height), (width, height));
            let (decoded_width, decoded_height, _) = jpegs::decode(&frame.jpeg);
            assert_eq!(
                (decoded_width, decoded_height),
                (width as usize, height as usize)
            );
        }
        program.stop();
    }
}

#[test]
fn video_camera_size_is_scaled_to_the_requested_one() {
    let _camera = Vivid::ready(0);
    let program = Program::start(
        "--camera-type usb --capture-width 640 --capture-height 480 --width 400 --height 300",
    );
    let frame = Viewer::connect(program.port, "").frame();
    assert_eq!((frame.width, frame.height), (400, 300));
    assert_eq!(jpegs::decode(&frame.jpeg).0, 400);
    program.stop();
}

/// The USB camera offers JPEG as well; with a quality given, its raw format costs less.
#[test]
fn video_yuyv_of_a_usb_camera_is_encoded() {
    let _camera = Usb::camera(0, "YUYV", &jpegs::distinct(2, 640, 480));
    let program = Program::start("--camera-type usb --device YUYV --quality 80 --fps 10");
    let mut viewer = Viewer::connect(program.port, "");
    let mut shade = || jpegs::decode(&viewer.frame().jpeg).2;
    // Plain grey, lighter by 4 with each frame and black again after white.
    crate::wait_for("shade in the lower half", || {
        (20.0..120.0).contains(&shade()).then_some(())
    });
    let shades: Vec<f64> = (0..5).map(|_| shade()).collect();
    assert!(
        shades.is_sorted_by(|a, b| b - a > 3.0),
        "each is lighter than the one before: {shades:?}"
    );
    program.wait_for_line(0, &["YUYV 640x480"]);
    program.stop();
}

/// Missing frames (an emulated processor may be too slow for all) must have been reported.
#[test]
fn video_15_fps_by_timestamps_and_no_silent_loss() {
    const TEN_SECONDS_NS: i64 = 10_000_000_000;
    let _camera = Vivid::ready(0);
    let program = Program::start("--camera-type usb --fps 15");
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all&events=1");
    let mut frames = vec![viewer.frame()];
    let mut reported = 0;
    while frames[frames.len() - 1].stamp_ns - frames[0].stamp_ns < TEN_SECONDS_NS {
        // A gap event precedes the frame that follows it.
        let frame = viewer.wait("frame", |packet| {
            if let Body::Event(event) = &packet.body
                && event["event"] == "gap"
            {
                reported += event["count"].as_u64().expect("a driver's gap is counted");
            }
            packet.frame()
        });
        frames.push(frame);
    }
    program.stop();

    assert!(
        frames.is_sorted_by(|a, b| a.stamp_ns < b.stamp_ns),
        "stamps grow strictly"
    );
    let (first, last) = (&frames[0], &frames[frames.len() - 1]);
    let numbered = last.sequence.expect("a number") - first.sequence.expect("a number");
    let arrived = frames.len() as u32 - 1;
    let fps = f64::from(numbered) * 1e9 / (last.stamp_ns - first.stamp_ns) as f64;
    figure(
        "vivid asked for 15 fps, over 10 s",
        format!(
            "{fps:.3} fps by stamps; of {numbered} frames {arrived} arrived, {reported} reported lost"
        ),
    );
    assert!((14.55..=15.45).contains(&fps), "{fps:.3} fps");
    assert_eq!(
        u64::from(numbered),
        u64::from(arrived) + reported,
        "numbered = arrived + reported"
    );
}

#[test]
fn video_jpeg_of_a_usb_camera_is_byte_exact_and_in_order() {
    let sent = jpegs::distinct(30, 640, 480);
    let _camera = Usb::camera(0, "BYTES", &sent);
    let program = Program::start("--camera-type usb --device BYTES --fps 15");
    let mut viewer = Viewer::connect(program.port, "format=binary&delivery=all");
    let mut last: Option<(usize, u32)> = None;
    for _ in 0..60 {
        let frame = viewer.frame();
        assert_eq!((frame.width, frame.height), (640, 480));
        let index = sent
            .iter()
            .position(|j| *j == frame.jpeg)
            .expect("the bytes are those of one of the images sent");
        let sequence = frame.sequence.expect("binary packets are numbered");
        if let Some((before, number)) = last {
            let step = sequence.wrapping_sub(number) as usize;
            assert_eq!(
                index,
                (before + step) % sent.len(),
                "packet {sequence} is the image that follows packet {number}'s by {step}"
            );
        }
        last = Some((index, sequence));
    }
    program.stop();
}

#[test]
fn video_jpeg_through_v4l2loopback_is_byte_exact() {
    let sent = jpegs::distinct(30, 640, 480);
    let _camera = LoopbackCamera::playing(LoopbackCamera::NODE, &sent);
    let program = Program::start(&format!(
        "--camera-type usb --device {}",
        LoopbackCamera::NODE
    ));
    let mut viewer = Viewer::connect(program.port, "");
    for n in 0..45 {
        let frame = viewer.frame();
        assert!(
            sent.contains(&frame.jpeg),
            "frame {n} has {} bytes that were not sent",
            frame.jpeg.len()
        );
    }
    program.stop();
}

#[test]
fn video_jpeg_without_huffman_tables_is_repaired_and_reported() {
    let whole = jpegs::distinct(5, 640, 480);
    let bare: Vec<_> = whole
        .iter()
        .map(|j| jpegs::without_huffman_tables(j))
        .collect();
    // Their encoder uses the standard's tables, so only those are missing.
    let _camera = Usb::camera(0, "BARE", &bare);
    let program = Program::start("--camera-type usb --device BARE");
    let mut viewer = Viewer::connect(program.port, "");
    for _ in 0..10 {
        let frame = viewer.frame();
        assert_eq!(jpegs::decode(&frame.jpeg).0, 640);
        let without = jpegs::without_huffman_tables(&frame.jpeg);
        assert!(
            bare.contains(&without),
            "but for the tables, the bytes are the camera's"
        );
    }
    program.wait_for_line(0, &["huffman"]);
    program.stop();
}
