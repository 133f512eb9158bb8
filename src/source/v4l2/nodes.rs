//! The video nodes of this machine, from sysfs. Opens none of them.
//!
//! `/sys/class/video4linux` has every node, its device and, up the tree, the USB device with its
//! serial number and port. Only the kernel writes there, but names and serial numbers come from the
//! device.

use crate::media::printable_bytes;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const CLASS: &str = "/sys/class/video4linux";

/// A video node as sysfs describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// N of `/dev/videoN`.
    pub number: u32,
    /// The card's name.
    pub name: String,
    /// Which of its device's nodes this is: 0 for a USB camera's video, 1 for its metadata.
    pub index: u32,
    /// USB vendor and product, "046d:082d"; `None` where it is not on USB.
    pub vid_pid: Option<String>,
    /// The device's serial number. Many have none, or the same in all devices.
    pub serial: Option<String>,
    /// Where it is plugged in: the USB port ("1-1.2"), or the bus and device ("platform/vivid.0").
    pub bus_path: String,
    /// USB: configuration and interface ("1.0"), which distinguishes the video nodes of one device;
    /// else empty.
    pub interface: String,
    /// The device's kernel driver ("uvcvideo"); empty where the node has no device.
    pub driver: String,
    /// The node's major and minor numbers, "81:0".
    pub dev: String,
}

impl Node {
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/video{}", self.number))
    }

    /// "Fake Cam (/dev/video2)".
    pub fn label(&self) -> String {
        format!("{} (/dev/video{})", self.name, self.number)
    }

    /// One line of a list: "/dev/video2 Fake Cam, serial CAM1".
    pub fn line(&self) -> String {
        match &self.serial {
            Some(serial) => format!("/dev/video{} {}, serial {serial}", self.number, self.name),
            None => format!("/dev/video{} {}", self.number, self.name),
        }
    }
}

/// All video nodes, by number.
pub(crate) fn scan() -> Vec<Node> {
    scan_class(Path::new(CLASS))
}

pub(super) fn scan_class(class: &Path) -> Vec<Node> {
    let Ok(entries) = fs::read_dir(class) else {
        return Vec::new();
    };
    let mut nodes: Vec<Node> = entries.flatten().filter_map(|e| node(&e.path())).collect();
    nodes.sort_by_key(|n| n.number);
    nodes
}

/// `None` for what is not a video node (v4l-subdev0, radio0), or disappears while it is read.
fn node(dir: &Path) -> Option<Node> {
    let number = dir
        .file_name()?
        .to_str()?
        .strip_prefix("video")?
        .parse()
        .ok()?;
    let name = read_sysfs(dir, "name")?;
    let index = read_sysfs(dir, "index")
        .and_then(|i| i.parse().ok())
        .unwrap_or(0);
    let dev = read_sysfs(dir, "dev")?;
    let device = fs::canonicalize(dir.join("device")).ok();
    let usb = device
        .as_deref()
        .and_then(|d| d.ancestors().take(6).find(|a| a.join("idVendor").exists()));
    let bus_path = match (usb, &device) {
        (Some(usb), _) => usb.file_name()?.to_string_lossy().into_owned(),
        (None, Some(device)) => {
            let mut last: Vec<_> = device
                .iter()
                .rev()
                .take(2)
                .map(|c| c.to_string_lossy())
                .collect();
            last.reverse();
            last.join("/")
        }
        (None, None) => "virtual".into(),
    };
    let interface = match (usb, device.as_deref().and_then(Path::file_name)) {
        (Some(_), Some(name)) => name
            .to_string_lossy()
            .rsplit_once(':')
            .map_or("".into(), |(_, i)| i.to_owned()),
        _ => String::new(),
    };
    let vid_pid = usb.and_then(|u| {
        Some(format!(
            "{}:{}",
            read_sysfs(u, "idVendor")?,
            read_sysfs(u, "idProduct")?
        ))
    });
    let serial = usb.and_then(|u| read_sysfs(u, "serial"));
    let driver = fs::canonicalize(dir.join("device/driver")).ok();
    let driver = driver
        .as_deref()
        .and_then(Path::file_name)
        .map_or(String::new(), |n| n.to_string_lossy().into_owned());
    Some(Node {
        number,
        name,
        index,
        vid_pid,
        serial,
        bus_path,
        interface,
        driver,
        dev,
    })
}

/// A sysfs attribute of one line, made printable: names and serial numbers are the device's words.
/// `None` where it is missing or empty.
fn read_sysfs(dir: &Path, file: &str) -> Option<String> {
    let bytes = fs::read(dir.join(file)).ok()?;
    let text = printable_bytes(bytes.trim_ascii());
    (!text.is_empty()).then_some(text)
}

/// What a path leads to.
pub(crate) struct Located {
    /// The node's major and minor numbers; `None` where it is not a character device.
    pub dev: Option<String>,
    /// The path is a symbolic link.
    pub linked: bool,
}

/// Which node a path is.
///
/// # Errors
/// Those of stat(2).
pub(crate) fn locate(path: &Path) -> io::Result<Located> {
    let linked = fs::symlink_metadata(path)?.file_type().is_symlink();
    let meta = fs::metadata(path)?;
    let number = meta.rdev();
    let dev = meta.file_type().is_char_device().then(|| {
        format!(
            "{}:{}",
            nix::sys::stat::major(number),
            nix::sys::stat::minor(number)
        )
    });
    Ok(Located { dev, linked })
}

/// The link in `/dev/v4l/by-id` that leads to the node, if there is one.
pub(crate) fn by_id(node: &Node) -> Option<PathBuf> {
    let links = fs::read_dir("/dev/v4l/by-id").ok()?;
    links
        .flatten()
        .map(|e| e.path())
        .find(|link| locate(link).is_ok_and(|l| l.dev.as_deref() == Some(node.dev.as_str())))
}
