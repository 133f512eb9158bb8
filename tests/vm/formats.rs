//! Pixel formats, rotation and flipping: four quarters of known colours come out in the right
//! places.

use crate::cameras::LoopbackCamera;
use crate::jpegs;
use crate::program::Program;
use crate::viewer::Viewer;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;

/// Y, Cb and Cr of ITU-R BT.601.
const RED: [u8; 3] = [81, 90, 240];
const GREEN: [u8; 3] = [145, 54, 34];
const BLUE: [u8; 3] = [41, 240, 110];
const WHITE: [u8; 3] = [235, 128, 128];
/// Top left, top right, bottom left, bottom right.
const QUARTERS: [[u8; 3]; 4] = [RED, GREEN, BLUE, WHITE];
const QUARTERS_RGB: [[u8; 3]; 4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];
/// Their places after `--rotate 90`, and after an additional vertical flip.
const TURNED: [usize; 4] = [2, 0, 3, 1];
const TURNED_AND_MIRRORED: [usize; 4] = [3, 1, 2, 0];

/// Each is as expected or near: it was encoded and decoded, and the driver decides on its range.
fn look_like(seen: [[u8; 3]; 4], expected: [[u8; 3]; 4]) -> bool {
    seen.iter()
        .flatten()
        .zip(expected.iter().flatten())
        .all(|(a, b)| a.abs_diff(*b) < 30)
}

fn quarter(x: usize, y: usize) -> [u8; 3] {
    QUARTERS[2 * (2 * y / HEIGHT) + 2 * x / WIDTH]
}

fn frame(pixel: impl Fn(usize, usize) -> Vec<u8>) -> Vec<u8> {
    (0..HEIGHT)
        .flat_map(|y| (0..WIDTH).map(move |x| (x, y)))
        .flat_map(|(x, y)| pixel(x, y))
        .collect()
}

fn yuyv() -> Vec<u8> {
    frame(|x, y| {
        let [luma, cb, cr] = quarter(x, y);
        vec![luma, if x % 2 == 0 { cb } else { cr }]
    })
}

fn uyvy() -> Vec<u8> {
    frame(|x, y| {
        let [luma, cb, cr] = quarter(x, y);
        vec![if x % 2 == 0 { cb } else { cr }, luma]
    })
}

fn nv12() -> Vec<u8> {
    let luma = frame(|x, y| vec![quarter(x, y)[0]]);
    let chroma = frame(|x, y| {
        if x % 2 == 0 && y % 2 == 0 {
            quarter(x, y)[1..].to_vec()
        } else {
            vec![]
        }
    });
    [luma, chroma].concat()
}

/// Checks size and colours of the loopback's first frame.
fn gives(format: &str, options: &str, size: (usize, usize), expected: [[u8; 3]; 4]) {
    let device = LoopbackCamera::SHARED_NODE;
    let program = Program::start(&format!(
        "--camera-type usb --device {device} --width {WIDTH} --height {HEIGHT} {options}"
    ));
    let frame = Viewer::connect(program.port, "").frame();
    let (width, height, seen) = jpegs::quarters(&frame.jpeg);
    let reported = (frame.width as usize, frame.height as usize);
    assert_eq!(
        (reported, (width, height)),
        (size, size),
        "{format} {options}"
    );
    assert!(
        look_like(seen, expected),
        "{format} {options}: {seen:?} for {expected:?}"
    );
    program.wait_for_line(0, &[&format!("{format} {WIDTH}x{HEIGHT}")]);
    program.stop();
}

#[test]
fn format_nv12_gives_the_camera_image() {
    let _camera = LoopbackCamera::playing_raw(
        LoopbackCamera::SHARED_NODE,
        "nv12",
        (WIDTH, HEIGHT),
        &nv12(),
    );
    gives("NV12", "", (WIDTH, HEIGHT), QUARTERS_RGB);
}

#[test]
fn format_grey_gives_the_camera_image() {
    let grey = frame(|x, y| vec![quarter(x, y)[0]]);
    let _camera =
        LoopbackCamera::playing_raw(LoopbackCamera::SHARED_NODE, "gray", (WIDTH, HEIGHT), &grey);
    gives(
        "GREY",
        "",
        (WIDTH, HEIGHT),
        QUARTERS.map(|[luma, ..]| [luma; 3]),
    );
}

#[test]
fn format_yuyv_is_rotated_and_flipped_as_requested() {
    let _camera = LoopbackCamera::playing_raw(
        LoopbackCamera::SHARED_NODE,
        "yuyv422",
        (WIDTH, HEIGHT),
        &yuyv(),
    );
    turned_and_mirrored("YUYV");
}

#[test]
fn format_uyvy_is_rotated_and_flipped_as_requested() {
    let _camera = LoopbackCamera::playing_raw(
        LoopbackCamera::SHARED_NODE,
        "uyvy422",
        (WIDTH, HEIGHT),
        &uyvy(),
    );
    turned_and_mirrored("UYVY");
}

#[test]
fn format_jpeg_is_rotated_and_flipped_as_requested() {
    let jpeg = jpegs::of_quarters(WIDTH as u16, HEIGHT as u16, QUARTERS_RGB);
    let _camera = LoopbackCamera::playing(LoopbackCamera::SHARED_NODE, &[jpeg.clone(), jpeg]);
    turned_and_mirrored("MJPG");
}

fn turned_and_mirrored(format: &str) {
    for (options, places) in [
        ("--rotate 90", TURNED),
        ("--rotate 90 --flip vertical", TURNED_AND_MIRRORED),
    ] {
        gives(
            format,
            options,
            (HEIGHT, WIDTH),
            places.map(|place| QUARTERS_RGB[place]),
        );
    }
}
