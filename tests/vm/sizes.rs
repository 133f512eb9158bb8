//! A camera that changes its frame size while it streams: the viewer stays, gets a `format` event
//! and the new size.

use crate::cameras::{Hdmi, LoopbackCamera, Usb};
use crate::program::Program;
use crate::viewer::{Body, Frame, Viewer};
use crate::{figure, jpegs, seconds_since};
use std::time::Instant;

/// The next `format` event of that size, and the frame of that size that must follow directly.
fn announced_and_received(viewer: &mut Viewer, (width, height): (u32, u32)) -> Frame {
    viewer.wait(&format!("format event of {width}x{height}"), |packet| {
        let Body::Event(event) = packet.body else {
            return None;
        };
        (event["event"] == "format"
            && event["stream"] == "video"
            && event["width"] == width
            && event["height"] == height)
            .then_some(())
    });
    let frame = viewer.frame();
    assert_eq!(
        (frame.width, frame.height),
        (width, height),
        "the frame after the event"
    );
    frame
}

/// Two alternating sizes within one stream, which drivers let a camera do.
fn sizes_in_turn(device: &str, large: &[Vec<u8>], small: &[Vec<u8>]) {
    let program = Program::start(&format!("--camera-type usb --device {device}"));
    let mut viewer = Viewer::connect(program.port, "events=1&delivery=all");
    viewer.frame();
    let worker = program.worker("stampcast-video");
    for _ in 0..3 {
        assert!(small.contains(&announced_and_received(&mut viewer, (320, 240)).jpeg));
        assert!(large.contains(&announced_and_received(&mut viewer, (640, 480)).jpeg));
    }
    assert_eq!(program.worker("stampcast-video"), worker, "it streamed on");
    program.stop();
}

#[test]
fn usb_camera_may_change_frame_size_at_any_time() {
    let (large, small) = (jpegs::distinct(3, 640, 480), jpegs::distinct(3, 320, 240));
    let _camera = Usb::camera(0, "SIZES", &[large.clone(), small.clone()].concat());
    sizes_in_turn("SIZES", &large, &small);
}

#[test]
fn loopback_writer_may_change_frame_size_at_any_time() {
    let (large, small) = (jpegs::distinct(3, 640, 480), jpegs::distinct(3, 320, 240));
    let _writer = LoopbackCamera::playing(
        LoopbackCamera::SHARED_NODE,
        &[large.clone(), small.clone()].concat(),
    );
    sizes_in_turn(LoopbackCamera::SHARED_NODE, &large, &small);
}

#[test]
fn loopback_next_writer_may_use_another_frame_size() {
    let (large, small) = (jpegs::distinct(3, 640, 480), jpegs::distinct(3, 320, 240));
    let writer = LoopbackCamera::playing(LoopbackCamera::SHARED_NODE, &large);
    let program = Program::start(&format!(
        "--camera-type usb --device {}",
        LoopbackCamera::SHARED_NODE
    ));
    let mut viewer = Viewer::connect(program.port, "events=1");
    assert!(large.contains(&viewer.frame().jpeg));
    drop(writer);
    viewer.event("source_lost");
    let _writer = LoopbackCamera::playing(LoopbackCamera::SHARED_NODE, &small);
    let began = Instant::now();
    assert!(small.contains(&announced_and_received(&mut viewer, (320, 240)).jpeg));
    figure(
        "v4l2loopback's next writer, of another size, to next frame",
        seconds_since(began),
    );
    program.stop();
}

/// An HDMI input reports a changed signal (V4L2_EVENT_SOURCE_CHANGE); its stream is then unusable.
#[test]
fn hdmi_input_signal_change_reopens_the_device() {
    let input = Hdmi::ready();
    let program = Program::start(&format!(
        "--camera-type usb --device {} --width 320 --height 240",
        Hdmi::NODE
    ));
    let mut viewer = Viewer::connect(program.port, "events=1");
    viewer.frame();
    let worker = program.worker("stampcast-video");
    let (line, began) = (program.log_length(), Instant::now());
    input.change_signal();
    viewer.event("source_lost");
    viewer.frame();
    figure(
        "input's signal changed, to next frame",
        seconds_since(began),
    );
    program.wait_for_line(line, &["size of its input signal changed", "reopening"]);
    assert_eq!(program.worker("stampcast-video"), worker);
    program.stop();
}
