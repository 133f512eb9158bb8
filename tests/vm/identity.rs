//! A camera is found again on any port and under any device number; an identical one is not
//! mistaken for it.

use crate::cameras::Usb;
use crate::faults::frame_back;
use crate::jpegs;
use crate::program::Program;
use crate::viewer::Viewer;
use crate::wait_for;
use std::time::{Duration, Instant};

const QUIET: Duration = Duration::from_millis(500);

/// Two disjoint sets of images.
fn two_sets() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut first = jpegs::distinct(8, 640, 480);
    let second = first.split_off(4);
    (first, second)
}

#[test]
fn usb_camera_on_another_port_is_found_by_serial_number() {
    let (ours, others) = two_sets();
    let camera = Usb::camera(0, "OURS", &ours);
    let program = Program::start("--camera-type usb --device OURS");
    let mut viewer = Viewer::connect(program.port, "events=1");
    assert!(ours.contains(&viewer.frame().jpeg));
    camera.unplug();
    viewer.event("source_lost");
    // An identical camera takes the first free number, which was ours.
    let _other = Usb::camera(1, "OTHER", &others);
    let camera = Usb::camera(2, "OURS", &ours);
    let healed = Instant::now();
    let frame = frame_back(
        &mut viewer,
        "USB camera replugged at another port under another number",
        healed,
    );
    assert!(
        ours.contains(&frame.jpeg),
        "the frame is not the other camera's"
    );
    drop(camera);
    program.stop();
}

/// Cameras of one model that differ in their serial number, or, as cheap ones do, only in their
/// port. Both are unplugged and come back in the other order, so that each has the other's device
/// number.
#[test]
fn usb_cameras_identical_stay_distinct_when_renumbered() {
    let (left, right) = two_sets();
    for (left_serial, right_serial) in [("SAME-A", "SAME-B"), ("0001", "0001")] {
        let left_camera = Usb::camera(0, left_serial, &left);
        let right_camera = Usb::camera(1, right_serial, &right);
        let number = left_camera.node().to_owned();
        let start = |camera: &Usb| {
            Program::start(&format!(
                "--camera-type usb --device {}",
                camera.node().display()
            ))
        };
        let (left_program, right_program) = (start(&left_camera), start(&right_camera));
        let mut left_viewer = Viewer::connect(left_program.port, "events=1");
        let mut right_viewer = Viewer::connect(right_program.port, "events=1");
        assert!(left.contains(&left_viewer.frame().jpeg));
        assert!(right.contains(&right_viewer.frame().jpeg));

        left_camera.unplug();
        right_camera.unplug();
        left_viewer.event("source_lost");
        right_viewer.event("source_lost");
        let right_camera = Usb::camera(1, right_serial, &right);
        assert_eq!(
            right_camera.node(),
            number,
            "the right camera has the left one's number"
        );
        let plugged = Instant::now();
        assert!(
            right.contains(
                &frame_back(
                    &mut right_viewer,
                    "an identical camera replugged under the other's number",
                    plugged
                )
                .jpeg
            )
        );
        left_viewer.drain(QUIET);
        let left_camera = Usb::camera(0, left_serial, &left);
        let plugged = Instant::now();
        assert!(
            left.contains(
                &frame_back(&mut left_viewer, "the other identical camera", plugged).jpeg
            )
        );
        for _ in 0..10 {
            assert!(left.contains(&left_viewer.frame().jpeg));
            assert!(right.contains(&right_viewer.frame().jpeg));
        }
        left_program.stop();
        right_program.stop();
        // The next pair must find the lowest numbers free, in this order.
        let nodes = [
            left_camera.node().to_owned(),
            right_camera.node().to_owned(),
        ];
        left_camera.unplug();
        right_camera.unplug();
        wait_for("cameras to be gone", || {
            nodes.iter().all(|node| !node.exists()).then_some(())
        });
    }
}
