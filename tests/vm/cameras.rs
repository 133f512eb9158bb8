//! The test machine's cameras and how to drive them.

use crate::{built, run, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The kernel's virtual video driver: raw formats and faults on demand.
///
/// `Vivid { index: 0 }` is /dev/video0. `Vivid { index: 1 }` is /dev/video1 with a metadata node,
/// /dev/video2, beside it. They and [`Hdmi`] are one device to the kernel: unplugging the one
/// unplugs the others.
pub struct Vivid {
    pub index: u32,
}

impl Vivid {
    /// The camera in its normal state, plugged in. Its stamps are those of the frame's start: by
    /// default they would lie nine tenths of a frame in the future.
    pub fn ready(index: u32) -> Self {
        let camera = Self { index };
        if !camera.node().exists() {
            camera.plug();
        }
        camera.set("timestamp_source", 1);
        camera.set("percentage_of_dropped_buffers", 0);
        camera
    }

    pub fn node(&self) -> PathBuf {
        format!("/dev/video{}", self.index).into()
    }

    pub fn set(&self, control: &str, value: u32) {
        let node = self.node();
        run(
            "v4l2-ctl",
            &[
                "-d",
                &node.to_string_lossy(),
                "-c",
                &format!("{control}={value}"),
            ],
        );
    }

    pub fn unplug(&self) {
        self.bind("unbind");
        wait_for("vanished node", || (!self.node().exists()).then_some(()));
    }

    pub fn plug(&self) {
        self.bind("bind");
        wait_for("node", || self.node().exists().then_some(()));
    }

    fn bind(&self, what: &str) {
        // While the kernel is still at the last unbinding it answers ENODEV.
        wait_for("driver that takes it", || {
            std::fs::write(format!("/sys/bus/platform/drivers/vivid/{what}"), "vivid.0").ok()
        });
    }
}

/// A test that panics leaves the camera usable for the next one.
impl Drop for Vivid {
    fn drop(&mut self) {
        if !self.node().exists() {
            self.plug();
        }
    }
}

/// vivid once more, as an HDMI input, /dev/video3.
pub struct Hdmi;

impl Hdmi {
    pub const NODE: &str = "/dev/video3";

    /// With a signal of the smallest size that it knows: the standard's 640x480.
    pub fn ready() -> Self {
        run(
            "v4l2-ctl",
            &["-d", Self::NODE, "--set-dv-bt-timings", "index=0"],
        );
        Self
    }

    /// The signal disappears and returns. (The driver does not let it change its size while a
    /// program streams.)
    pub fn change_signal(&self) {
        for mode in ["1", "0"] {
            run(
                "v4l2-ctl",
                &[
                    "-d",
                    Self::NODE,
                    "-c",
                    &format!("dv_timings_signal_mode={mode}"),
                ],
            );
        }
    }
}

/// A program that holds a camera as another video program would: it streams and discards the
/// frames.
pub struct Holder(Child);

impl Holder {
    pub fn of(node: &Path) -> Self {
        let hold = || {
            let mut holder = Command::new("v4l2-ctl");
            holder.args([
                "-d",
                &node.to_string_lossy(),
                "--stream-mmap",
                "--stream-count=0",
            ]);
            holder
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("v4l2-ctl starts")
        };
        let mut child = hold();
        // A second user is refused as soon as the first has buffers.
        wait_for("busy camera", || {
            // The check below had the camera open when the holder started, which then gave up.
            if child.try_wait().expect("it is our child").is_some() {
                child = hold();
            }
            let refused = Command::new("v4l2-ctl")
                .args([
                    "-d",
                    &node.to_string_lossy(),
                    "--stream-mmap",
                    "--stream-count=1",
                ])
                .stdout(Stdio::null())
                .output()
                .expect("v4l2-ctl starts");
            String::from_utf8_lossy(&refused.stderr)
                .contains("busy")
                .then_some(())
        });
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A device of tests/vm/fakeusb, plugged in as long as this lives.
pub struct Usb {
    child: Child,
    control: PathBuf,
    /// Its video node, or its sound card's directory.
    appears_as: PathBuf,
}

impl Usb {
    /// A camera at port 0 to 7 that sends these JPEG images in turn; its node is there when this
    /// returns.
    pub fn camera(port: u32, serial: &str, jpegs: &[Vec<u8>]) -> Self {
        let directory = PathBuf::from(format!("/tmp/fakeusb-{port}"));
        std::fs::create_dir_all(&directory).expect("/tmp is writable");
        let files = crate::jpegs::to_files(&directory, jpegs);
        let mut usb = Self::plug("camera", port, serial, &files);
        usb.appears_as = wait_for("USB camera's node", || capture_node(port, serial));
        usb
    }

    /// A microphone at port 0 to 7; its card is there when this returns.
    pub fn microphone(port: u32, serial: &str) -> Self {
        let mut usb = Self::plug("microphone", port, serial, &[]);
        usb.appears_as = PathBuf::from("/proc/asound/Microphone");
        wait_for("USB microphone's card", || {
            usb.appears_as.exists().then_some(())
        });
        usb
    }

    fn plug(kind: &str, port: u32, serial: &str, files: &[PathBuf]) -> Self {
        let control = PathBuf::from(format!("/tmp/fakeusb-{port}.control"));
        let child = Command::new(built("debug/examples/fakeusb"))
            .args([kind, &port.to_string(), serial])
            .arg(&control)
            .args(files)
            .spawn()
            .expect("the fake device starts");
        Self {
            child,
            control,
            appears_as: PathBuf::new(),
        }
    }

    /// `go`, `stall`, `corrupt` or `truncate`; it holds from the next 50 ms on.
    pub fn mode(&self, word: &str) {
        // Renamed into place: the device must not read half a word.
        let new = self.control.with_extension("new");
        std::fs::write(&new, word)
            .and_then(|()| std::fs::rename(&new, &self.control))
            .expect("/tmp is writable");
    }

    /// The camera's capture node, such as /dev/video3.
    pub fn node(&self) -> &Path {
        &self.appears_as
    }

    /// Unplugs it and waits until the kernel has removed it.
    pub fn unplug(mut self) {
        self.end();
        wait_for("vanished USB device", || {
            (!self.appears_as.exists()).then_some(())
        });
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Usb {
    fn drop(&mut self) {
        self.end();
    }
}

/// The node of the USB camera at that port with that serial number that delivers its frames.
fn capture_node(port: u32, serial: &str) -> Option<PathBuf> {
    let holds =
        |path: PathBuf, text: &str| std::fs::read_to_string(path).is_ok_and(|t| t.trim() == text);
    // The kernel counts a hub's ports from 1.
    let devpath = (port + 1).to_string();
    let ours = |e: &std::fs::DirEntry| {
        let usb = e.path().join("device/..");
        holds(usb.join("serial"), serial)
            && holds(usb.join("devpath"), &devpath)
            && holds(e.path().join("index"), "0")
    };
    let entry = std::fs::read_dir("/sys/class/video4linux")
        .ok()?
        .flatten()
        .find(ours)?;
    let node = Path::new("/dev").join(entry.file_name());
    node.exists().then_some(node)
}

/// ffmpeg, feeding frames to v4l2loopback at 15 per second for as long as this lives.
pub struct LoopbackCamera(Child);

impl LoopbackCamera {
    /// A capture device only while a program writes, the usual setup. For one test: it may
    /// take no second writer (docs/devices.md).
    pub const NODE: &str = "/dev/video20";
    /// Always both; a new writer may come while it is read.
    pub const SHARED_NODE: &str = "/dev/video21";

    /// JPEG images in turn.
    pub fn playing(node: &str, jpegs: &[Vec<u8>]) -> Self {
        let directory = PathBuf::from("/tmp/loopback");
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("/tmp is writable");
        crate::jpegs::to_files(&directory, jpegs);
        Self::start(node, "-framerate 15 -loop 1 -i /tmp/loopback/%03d.jpg")
    }

    /// The same raw frame repeatedly, in one of ffmpeg's pixel formats: `yuyv422`, `uyvy422`,
    /// `nv12`, `gray`.
    pub fn playing_raw(
        node: &str,
        pixel_format: &str,
        (width, height): (usize, usize),
        frame: &[u8],
    ) -> Self {
        std::fs::write("/tmp/loopback.raw", frame).expect("/tmp is writable");
        let format =
            format!("-f rawvideo -pixel_format {pixel_format} -video_size {width}x{height}");
        Self::start(
            node,
            &format!("-stream_loop -1 {format} -framerate 15 -i /tmp/loopback.raw"),
        )
    }

    fn start(node: &str, input: &str) -> Self {
        let written = || Self::written(node);
        wait_for("free v4l2loopback", || (!written()).then_some(()));
        let child = Command::new("ffmpeg")
            .args(["-v", "error", "-re"])
            .args(input.split(' '))
            .args(["-c", "copy", "-f", "v4l2", node])
            .stdin(Stdio::null())
            .spawn()
            .expect("ffmpeg starts");
        let camera = Self(child);
        wait_for("v4l2loopback as a capture device", || {
            written().then_some(())
        });
        camera
    }

    /// The driver's own state of whether a program writes: opening the node to ask would disturb
    /// ffmpeg.
    fn written(node: &str) -> bool {
        let name = node.strip_prefix("/dev/").expect("a device node");
        std::fs::read_to_string(format!("/sys/class/video4linux/{name}/format"))
            .is_ok_and(|f| !f.trim().is_empty())
    }
}

impl Drop for LoopbackCamera {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
