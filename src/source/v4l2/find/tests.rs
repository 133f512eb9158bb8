//! Finding without devices: sysfs trees made of files, and tables of nodes.

use super::super::nodes::scan_class;
use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn usb(number: u32, name: &str, serial: Option<&str>, port: &str) -> Node {
    Node {
        number,
        name: name.into(),
        index: 0,
        vid_pid: Some("046d:082d".into()),
        serial: serial.map(Into::into),
        bus_path: port.into(),
        interface: "1.0".into(),
        driver: "uvcvideo".into(),
        dev: format!("81:{number}"),
    }
}

fn meta(of: &Node) -> Node {
    Node {
        number: of.number + 1,
        index: 1,
        dev: format!("81:{}", of.number + 1),
        ..of.clone()
    }
}

fn vivid(number: u32, name: &str) -> Node {
    Node {
        vid_pid: None,
        interface: String::new(),
        driver: "vivid".into(),
        ..usb(number, name, None, "platform/vivid.0")
    }
}

fn all_cameras(n: &Node) -> Option<Purpose> {
    Some(if n.vid_pid.is_some() && n.index == 1 {
        Purpose::Metadata
    } else {
        Purpose::Camera
    })
}

/// `/dev/videoN` and a link `by-id` to number 2; nothing else.
fn paths(path: &Path) -> io::Result<Located> {
    match path.to_str() {
        Some("by-id") => Ok(Located {
            dev: Some("81:2".into()),
            linked: true,
        }),
        Some("file") => Ok(Located {
            dev: None,
            linked: false,
        }),
        Some("/dev/null") => Ok(Located {
            dev: Some("1:3".into()),
            linked: false,
        }),
        Some(p) if p.starts_with("/dev/video") => Ok(Located {
            dev: Some(format!("81:{}", &p["/dev/video".len()..])),
            linked: false,
        }),
        _ => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    }
}

fn picked(camera: UsbCamera, known: Option<&Identity>, nodes: &[Node]) -> String {
    match pick(&camera, known, nodes, &paths, &all_cameras) {
        Ok(node) => format!("video{}", node.number),
        Err(e) => e.to_string(),
    }
}

#[test]
fn pick_by_number_path_serial_or_name_finds_the_camera() {
    let one = usb(0, "Fake Cam", Some("CAM1"), "1-1");
    let two = usb(2, "Fake Cam", Some("CAM2"), "1-2");
    let other = usb(4, "HD Webcam", None, "1-3");
    let nodes = [
        one.clone(),
        meta(&one),
        two.clone(),
        meta(&two),
        other.clone(),
        meta(&other),
    ];
    let named = |s: &str| UsbCamera::Named(s.into());
    let path = |s: &str| UsbCamera::Path(s.into());
    let there = "available: /dev/video0 Fake Cam, serial CAM1, /dev/video2 Fake Cam, serial CAM2, /dev/video4 HD Webcam";
    for (camera, expected) in [
        (UsbCamera::Index(2), "video2".to_owned()),
        // A metadata node is found, and refused when it is opened.
        (UsbCamera::Index(3), "video3".into()),
        (UsbCamera::Index(7), format!("camera /dev/video7 not found; {there}")),
        (path("/dev/video4"), "video4".into()),
        (path("by-id"), "video2".into()),
        (path("/nowhere"), format!("camera /nowhere not found; {there}")),
        (path("file"), "file cannot do what was asked: not a device node; see --list-devices".into()),
        (path("/dev/null"), "/dev/null cannot do what was asked: not a video device; see --list-devices".into()),
        (named("CAM2"), "video2".into()),
        (named("hd webcam"), "video4".into()),
        (named("webcam"), "video4".into()),
        (named("CAM3"), format!("camera \"CAM3\" not found; {there}")),
        (
            named("Fake Cam"),
            "camera \"Fake Cam\" cannot do what was asked: several cameras match: /dev/video0 Fake Cam, serial CAM1 at \
             1-1; /dev/video2 Fake Cam, serial CAM2 at 1-2; select one by its serial number, or by its port with a path \
             in /dev/v4l/by-path"
                .into(),
        ),
    ] {
        assert_eq!(picked(camera.clone(), None, &nodes), expected, "{camera:?}");
    }
    assert_eq!(
        picked(UsbCamera::Index(0), None, &[]),
        "camera /dev/video0 not found (no devices on this machine; see stampcast --list-devices)"
    );
}

/// The nodes while the camera (always the first) is open, the nodes later, and which of those is
/// it.
#[test]
fn pick_known_camera_is_found_again_and_no_other_is_taken() {
    let cam = |number, serial: &str, port: &str| usb(number, "Fake Cam", Some(serial), port);
    let bare = |number, port: &str| usb(number, "Fake Cam", None, port);
    let none: Option<u32> = None;
    for (what, before, after, expected) in [
        (
            "nothing happened",
            vec![cam(0, "A", "1-1")],
            vec![cam(0, "A", "1-1")],
            Some(0),
        ),
        (
            "another number",
            vec![cam(0, "A", "1-1")],
            vec![cam(4, "A", "1-1")],
            Some(4),
        ),
        (
            "another port",
            vec![cam(0, "A", "1-1")],
            vec![cam(4, "A", "1-3")],
            Some(4),
        ),
        ("gone", vec![cam(0, "A", "1-1")], vec![], none),
        (
            "another took its number and port",
            vec![cam(0, "A", "1-1")],
            vec![cam(0, "B", "1-1")],
            none,
        ),
        (
            "no serial now",
            vec![cam(0, "A", "1-1")],
            vec![bare(0, "1-1")],
            none,
        ),
        (
            "a different product",
            vec![bare(0, "1-1")],
            vec![usb(0, "HD Webcam", None, "1-1")],
            none,
        ),
        (
            "numbers changed places",
            vec![cam(0, "A", "1-1"), cam(2, "B", "1-2")],
            vec![cam(2, "A", "1-1"), cam(0, "B", "1-2")],
            Some(2),
        ),
        (
            "ports changed places",
            vec![cam(0, "A", "1-1"), cam(2, "B", "1-2")],
            vec![cam(0, "B", "1-1"), cam(2, "A", "1-2")],
            Some(2),
        ),
        (
            "only the other is there",
            vec![cam(0, "A", "1-1"), cam(2, "B", "1-2")],
            vec![cam(2, "B", "1-2")],
            none,
        ),
        (
            "no serial, same port",
            vec![bare(0, "1-1")],
            vec![bare(4, "1-1")],
            Some(4),
        ),
        (
            "no serial, another port, nothing like it",
            vec![bare(0, "1-1")],
            vec![bare(4, "1-3")],
            Some(4),
        ),
        (
            "no serial, only the identical one is there",
            vec![bare(0, "1-1"), bare(2, "1-2")],
            vec![bare(2, "1-2")],
            none,
        ),
        (
            "no serial, identical one stays, another port",
            vec![bare(0, "1-1"), bare(2, "1-2")],
            vec![bare(2, "1-2"), bare(4, "1-3")],
            Some(4),
        ),
        (
            "no serial, identical one stays, back in its port",
            vec![bare(0, "1-1"), bare(2, "1-2")],
            vec![bare(4, "1-1"), bare(2, "1-2")],
            Some(4),
        ),
        (
            "no serial, two new ones",
            vec![bare(0, "1-1")],
            vec![bare(4, "1-3"), bare(6, "1-4")],
            none,
        ),
        (
            "both have the same serial, only the other is there",
            vec![cam(0, "X", "1-1"), cam(2, "X", "1-2")],
            vec![cam(2, "X", "1-2")],
            none,
        ),
        (
            "its metadata node took its number",
            vec![cam(0, "A", "1-1")],
            vec![
                meta(&cam(3, "A", "1-1")),
                meta(&meta(&cam(0, "A", "1-1"))),
                cam(3, "A", "1-1"),
            ],
            Some(3),
        ),
        (
            "not on USB, beside another of its bus",
            vec![vivid(0, "vivid-000"), vivid(1, "vivid-001")],
            vec![vivid(1, "vivid-000"), vivid(0, "vivid-001")],
            Some(1),
        ),
        (
            "not on USB, two of one name: the number",
            vec![vivid(20, "loop"), vivid(21, "loop")],
            vec![vivid(20, "loop"), vivid(21, "loop")],
            Some(20),
        ),
        (
            "not on USB, elsewhere",
            vec![vivid(0, "vivid-000")],
            vec![Node {
                bus_path: "platform/vivid.1".into(),
                ..vivid(0, "vivid-000")
            }],
            none,
        ),
    ] {
        let identity = Identity::new(&before[0], &before);
        for camera in [
            UsbCamera::Index(before[0].number),
            UsbCamera::Path(before[0].path()),
            UsbCamera::Named("Fake Cam".into()),
        ] {
            let found = pick(&camera, Some(&identity), &after, &paths, &all_cameras);
            assert_eq!(
                found.as_ref().map(|n| n.number).ok(),
                expected,
                "{what}: {camera:?}"
            );
            if let Err(e) = found {
                assert!(matches!(e, SourceError::Missing { .. }), "{what}: {e}");
            }
        }
    }
}

#[test]
fn identity_identical_device_that_came_later_is_not_taken() {
    let mine = usb(0, "Fake Cam", None, "1-1");
    let identical = usb(2, "Fake Cam", None, "1-2");
    let identity = Identity::new(&mine, std::slice::from_ref(&mine));
    identity.update_identical_devices(&[mine.clone(), identical.clone()]);
    assert!(identity.find(std::slice::from_ref(&identical)).is_none());
    // The identical device is gone, so its port is free.
    identity.update_identical_devices(std::slice::from_ref(&mine));
    assert_eq!(
        identity.find(std::slice::from_ref(&identical)),
        Some(&identical)
    );
}

#[test]
fn identity_serialized_keeps_the_camera_for_the_next_worker() {
    let mine = usb(0, "Fake Cam", None, "1-1");
    let (identical, other) = (
        usb(2, "Fake Cam", None, "1-2"),
        usb(0, "HD Webcam", Some("B"), "1-3"),
    );
    let identity = Identity::new(&mine, &[mine.clone(), identical.clone()]);
    let note = serde_json::to_vec(&identity).expect("plain data becomes JSON");
    let next: Identity = serde_json::from_slice(&note).expect("it is whole");
    let moved = usb(4, "Fake Cam", None, "1-1");
    assert_eq!(
        picked(UsbCamera::Index(0), None, &[other.clone(), moved.clone()]),
        "video0",
        "the number alone would mean another"
    );
    assert_eq!(
        picked(UsbCamera::Index(0), Some(&next), &[other.clone(), moved]),
        "video4"
    );
    assert!(picked(UsbCamera::Index(0), Some(&next), &[other]).contains("last at 1-1 not found"));
    assert!(
        next.find(std::slice::from_ref(&identical)).is_none(),
        "identical devices are serialized too"
    );
    for (camera, fits) in [
        (UsbCamera::Index(7), true),
        (UsbCamera::Path("/dev/video7".into()), true),
        (UsbCamera::Named("fake".into()), true),
        (UsbCamera::Named("HD Webcam".into()), false),
    ] {
        assert_eq!(next.fits(&camera), fits, "{camera:?}");
    }
}

#[test]
fn pick_symbolic_link_wins_over_the_known_camera() {
    let first = usb(0, "Fake Cam", Some("A"), "1-1");
    let second = usb(2, "HD Webcam", None, "1-2");
    let identity = Identity::new(&first, std::slice::from_ref(&first));
    assert_eq!(
        picked(UsbCamera::Path("by-id".into()), Some(&identity), &[second]),
        "video2"
    );
    // A link that leads nowhere (its port is empty) does not hide the camera elsewhere.
    let moved = usb(4, "Fake Cam", Some("A"), "1-3");
    assert_eq!(
        picked(
            UsbCamera::Path("dangling".into()),
            Some(&identity),
            &[moved]
        ),
        "video4"
    );
}

#[test]
fn purpose_of_capabilities() {
    let streaming = V4L2_CAP_STREAMING;
    for (caps, expected) in [
        (V4L2_CAP_VIDEO_CAPTURE | streaming, Purpose::Camera),
        (V4L2_CAP_VIDEO_CAPTURE, Purpose::Other),
        (V4L2_CAP_META_CAPTURE | streaming, Purpose::Metadata),
        (V4L2_CAP_VIDEO_OUTPUT | streaming, Purpose::Output),
        (V4L2_CAP_VIDEO_M2M_MPLANE | streaming, Purpose::Converter),
        (V4L2_CAP_VIDEO_CAPTURE_MPLANE | streaming, Purpose::Pipeline),
        (V4L2_CAP_VBI_CAPTURE | streaming, Purpose::Other),
    ] {
        assert_eq!(Purpose::of(caps), expected, "{caps:#x}");
    }
}

#[test]
fn not_a_camera_names_what_to_use_instead() {
    let cam = usb(2, "Fake Cam", Some("A"), "1-1");
    let nodes = [cam.clone(), meta(&cam)];
    let refused = |purpose, driver: &str, nodes: &[Node]| {
        not_a_camera(&nodes[1], purpose, driver, nodes, &all_cameras).to_string()
    };
    assert_eq!(
        refused(Purpose::Metadata, "uvcvideo", &nodes),
        "Fake Cam (/dev/video3) cannot do what was asked: it is a metadata node, which has no video; its video is at \
         /dev/video2 (--device-id 2)"
    );
    let output = Node {
        bus_path: "virtual".into(),
        vid_pid: None,
        name: "Screen".into(),
        ..meta(&cam)
    };
    let ask = |n: &Node| {
        Some(if n.vid_pid.is_none() {
            Purpose::Output
        } else {
            Purpose::Camera
        })
    };
    assert_eq!(
        not_a_camera(
            &output,
            Purpose::Output,
            "other",
            &[cam.clone(), output.clone()],
            &ask
        )
        .to_string(),
        "Screen (/dev/video3) cannot do what was asked: it is a video output; cameras: /dev/video2 \
         Fake Cam, serial A"
    );
    let waits = not_a_camera(
        &output,
        Purpose::Output,
        "v4l2 loopback",
        &nodes,
        &all_cameras,
    );
    assert!(matches!(waits, SourceError::Failed { .. }), "{waits}");
}

/// A tree as sysfs has it: nodes link to their device, the device's parents hold the USB
/// attributes.
#[test]
fn scan_class_reads_sysfs() {
    let root = tempfile::tempdir().unwrap();
    let at = |p: &str| root.path().join(p);
    let put = |p: &str, text: &str| {
        fs::create_dir_all(at(p).parent().unwrap()).unwrap();
        fs::write(at(p), format!("{text}\n")).unwrap();
    };
    for (port, serial) in [("usb1/1-1/1-1.2", Some("CAM1")), ("usb1/1-3", None)] {
        put(&format!("{port}/idVendor"), "046d");
        put(&format!("{port}/idProduct"), "082d");
        if let Some(serial) = serial {
            put(&format!("{port}/serial"), serial);
        }
    }
    fs::create_dir_all(at("usb1/1-1/1-1.2/1-1.2:1.0")).unwrap();
    fs::create_dir_all(at("usb1/1-3/1-3:1.0")).unwrap();
    fs::create_dir_all(at("platform/vivid.0")).unwrap();
    fs::create_dir_all(at("drivers/uvcvideo")).unwrap();
    symlink(at("drivers/uvcvideo"), at("usb1/1-3/1-3:1.0/driver")).unwrap();
    for (node, name, index, dev, device) in [
        (
            "video10",
            "vivid-000-vid-cap",
            "0",
            "81:4",
            Some("platform/vivid.0"),
        ),
        (
            "video2",
            "Fake Cam: Fake Cam",
            "0",
            "81:0",
            Some("usb1/1-1/1-1.2/1-1.2:1.0"),
        ),
        (
            "video3",
            "Fake Cam: Fake Cam",
            "1",
            "81:1",
            Some("usb1/1-1/1-1.2/1-1.2:1.0"),
        ),
        (
            "video4",
            "Fake Cam: Fake Cam",
            "0",
            "81:2",
            Some("usb1/1-3/1-3:1.0"),
        ),
        ("video20", "Loop", "0", "81:5", None),
        ("v4l-subdev0", "sensor", "0", "81:6", None),
        ("videoX", "odd", "0", "81:7", None),
    ] {
        put(&format!("class/{node}/name"), name);
        put(&format!("class/{node}/index"), index);
        put(&format!("class/{node}/dev"), dev);
        if let Some(device) = device {
            symlink(at(device), at(&format!("class/{node}/device"))).unwrap();
        }
    }
    fs::create_dir(at("class/video99")).unwrap();
    let nodes: Vec<_> = scan_class(&at("class"))
        .iter()
        .map(|n| {
            let or = |s: &Option<String>| s.clone().unwrap_or("-".into());
            format!(
                "{} {} {} {} {} {} {} {}",
                n.number,
                n.index,
                or(&n.vid_pid),
                or(&n.serial),
                n.bus_path,
                n.interface,
                n.driver,
                n.dev
            )
        })
        .collect();
    assert_eq!(
        nodes,
        [
            "2 0 046d:082d CAM1 1-1.2 1.0  81:0",
            "3 1 046d:082d CAM1 1-1.2 1.0  81:1",
            "4 0 046d:082d - 1-3 1.0 uvcvideo 81:2",
            "10 0 - - platform/vivid.0   81:4",
            "20 0 - - virtual   81:5",
        ]
    );
    assert!(scan_class(&at("none")).is_empty());
}

#[test]
fn scan_class_names_of_devices_are_printable() {
    let root = tempfile::tempdir().unwrap();
    let node = root.path().join("video0");
    fs::create_dir_all(&node).unwrap();
    fs::write(node.join("dev"), "81:0\n").unwrap();
    fs::write(node.join("name"), "Cam\x1b]0;owned\x07\u{202e}\n").unwrap();
    let nodes = scan_class(root.path());
    let label = nodes[0].label();
    assert_eq!(label, "Cam\\u{1b}]0;owned\\u{7}\\u{202e} (/dev/video0)");
    assert!(is_named(&nodes[0], "cam"));
}
