//! Which `/dev/video*` is the camera that was asked for, and the same one again after it was unplugged. Knows no stream.
//!
//! Source: `/sys/class/video4linux`, which names every node, its device and, up the tree, the USB device with its serial number
//! and port. Only the kernel writes there, but names and serial numbers in it are the device's own words.

use super::abi::*;
use super::device::Device;
use crate::config::UsbCamera;
use crate::source::SourceError;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const CLASS: &str = "/sys/class/video4linux";

/// How v4l2loopback names itself in VIDIOC_QUERYCAP.
pub(super) const LOOPBACK: &str = "v4l2 loopback";

/// A video node as sysfs describes it. Opens nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// N of `/dev/videoN`.
    pub number: u32,
    /// The card's name.
    pub name: String,
    /// Which of its device's nodes this is: a USB camera's picture is 0, its metadata 1.
    pub index: u32,
    /// USB vendor and product, "046d:082d"; `None` off USB.
    pub vid_pid: Option<String>,
    /// The device's own serial number; many have none, or all the same.
    pub serial: Option<String>,
    /// Where it is plugged in: the USB port ("1-1.2"), or the bus and device ("platform/vivid.0").
    pub place: String,
    /// USB: configuration and interface ("1.0"), which tells the picture nodes of one device apart; else empty.
    pub interface: String,
    /// The kernel driver of the device ("uvcvideo"); empty where there is no device.
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

    /// For a list of what there is: "/dev/video2 Fake Cam, serial CAM1".
    fn line(&self) -> String {
        match &self.serial {
            Some(serial) => format!("/dev/video{} {}, serial {serial}", self.number, self.name),
            None => format!("/dev/video{} {}", self.number, self.name),
        }
    }
}

/// Every video node that there is, by number; empty when the machine has none.
pub fn scan() -> Vec<Node> {
    scan_class(Path::new(CLASS))
}

fn scan_class(class: &Path) -> Vec<Node> {
    let Ok(entries) = fs::read_dir(class) else {
        return Vec::new();
    };
    let mut nodes: Vec<Node> = entries.flatten().filter_map(|e| node(&e.path())).collect();
    nodes.sort_by_key(|n| n.number);
    nodes
}

/// `None` for what is no video node (v4l-subdev0, radio0, an odd name), or is going away while it is read.
fn node(dir: &Path) -> Option<Node> {
    let number = dir
        .file_name()?
        .to_str()?
        .strip_prefix("video")?
        .parse()
        .ok()?;
    let name = word(dir, "name")?;
    let index = word(dir, "index").and_then(|i| i.parse().ok()).unwrap_or(0);
    let dev = word(dir, "dev")?;
    let device = fs::canonicalize(dir.join("device")).ok();
    let usb = device
        .as_deref()
        .and_then(|d| d.ancestors().take(6).find(|a| a.join("idVendor").exists()));
    let place = match (usb, &device) {
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
            word(u, "idVendor")?,
            word(u, "idProduct")?
        ))
    });
    let serial = usb.and_then(|u| word(u, "serial"));
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
        place,
        interface,
        driver,
        dev,
    })
}

/// A one-line file of sysfs; `None` when missing or empty.
fn word(dir: &Path, file: &str) -> Option<String> {
    let bytes = fs::read(dir.join(file)).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Which camera was opened, kept by the worker so that the same one is opened again, whatever number it then has. A clone
/// shares what the streaming source learns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "(Node, Vec<String>)", into = "(Node, Vec<String>)")]
pub struct Identity {
    node: Node,
    /// Where cameras that cannot be told from this one are plugged in, as last seen while this one was there too.
    twins: Arc<Mutex<Vec<String>>>,
}

impl Identity {
    pub fn new(node: &Node, nodes: &[Node]) -> Self {
        let identity = Self {
            node: node.clone(),
            twins: Arc::default(),
        };
        identity.note_twins(nodes);
        identity
    }

    /// To be called now and then while the camera is surely there: what else looks like it is another.
    pub fn note_twins(&self, nodes: &[Node]) {
        let others = nodes
            .iter()
            .filter(|n| self.looks_like(n) && n.place != self.node.place);
        *self.twins() = others.map(|n| n.place.clone()).collect();
    }

    /// Whether the settings could mean this camera. They say little of one that was chosen by a number, which may have changed.
    pub fn fits(&self, camera: &UsbCamera) -> bool {
        let missing = |device| SourceError::Missing {
            device,
            available: Vec::new(),
        };
        let is_camera = |_: &Node| Some(Purpose::Camera);
        match camera {
            UsbCamera::Named(name) => {
                named(name, std::slice::from_ref(&self.node), &is_camera, &missing).is_ok()
            }
            UsbCamera::Index(_) | UsbCamera::Path(_) => true,
        }
    }

    fn twins(&self) -> MutexGuard<'_, Vec<String>> {
        self.twins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    fn looks_like(&self, n: &Node) -> bool {
        let mine = &self.node;
        let key = |n: &Node| {
            (
                n.name.clone(),
                n.vid_pid.clone(),
                n.serial.clone(),
                n.index,
                n.interface.clone(),
            )
        };
        key(n) == key(mine)
    }

    /// The same camera among `nodes`: what looks the same (serial number, product, name) in the same place; else what looks the
    /// same in another USB port, when it is the only one and no twin stood there. A camera that differs is never taken, and
    /// two that do not differ are not taken for each other.
    fn find<'n>(&self, nodes: &'n [Node]) -> Option<&'n Node> {
        let alike = || nodes.iter().filter(|n| self.looks_like(n));
        let mut here = alike().filter(|n| n.place == self.node.place).peekable();
        if here.peek().is_some() {
            // Off USB, several nodes can have one place; then the number tells them apart.
            let here: Vec<_> = here.collect();
            let same_number = here.iter().find(|n| n.number == self.node.number);
            return match (here.as_slice(), same_number) {
                ([only], _) => Some(only),
                (_, Some(same)) => Some(same),
                _ => None,
            };
        }
        let mut moved = alike().filter(|n| n.vid_pid.is_some() && !self.twins().contains(&n.place));
        match (moved.next(), moved.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }

    fn described(&self) -> String {
        match &self.node.serial {
            Some(serial) => format!(
                "{} with serial {serial}, last at {}",
                self.node.name, self.node.place
            ),
            None => format!("{}, last at {}", self.node.name, self.node.place),
        }
    }
}

/// As a worker notes it for its next life.
impl From<Identity> for (Node, Vec<String>) {
    fn from(identity: Identity) -> Self {
        let twins = identity.twins().clone();
        (identity.node, twins)
    }
}

impl From<(Node, Vec<String>)> for Identity {
    fn from((node, twins): (Node, Vec<String>)) -> Self {
        Self {
            node,
            twins: Arc::new(Mutex::new(twins)),
        }
    }
}

/// What a node is for, by its `V4L2_CAP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Camera,
    Metadata,
    /// v4l2loopback before a program writes to it; a television or screen output.
    Output,
    /// An encoder, decoder or scaler.
    Converter,
    /// A capture device that only media pipelines can use (multi-planar).
    Pipeline,
    Other,
}

impl Purpose {
    pub fn of(caps: u32) -> Self {
        let has = |flag| caps & flag != 0;
        if has(V4L2_CAP_VIDEO_M2M | V4L2_CAP_VIDEO_M2M_MPLANE) {
            Self::Converter
        } else if has(V4L2_CAP_VIDEO_CAPTURE) && has(V4L2_CAP_STREAMING) {
            Self::Camera
        } else if has(V4L2_CAP_META_CAPTURE | V4L2_CAP_META_OUTPUT) {
            Self::Metadata
        } else if has(V4L2_CAP_VIDEO_CAPTURE_MPLANE) {
            Self::Pipeline
        } else if has(V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_VIDEO_OUTPUT_MPLANE) {
            Self::Output
        } else {
            Self::Other
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Camera => "a camera",
            Self::Metadata => "a metadata node, which carries no picture",
            Self::Output => "an output, which gives no picture",
            Self::Converter => "an encoder or converter, not a camera",
            Self::Pipeline => {
                "a raw sensor pipeline (for a Raspberry Pi camera use --camera-type rpi)"
            }
            Self::Other => "not a camera",
        }
    }
}

/// A camera that was found and opened, not yet streaming.
#[derive(Debug)]
pub struct Found {
    pub device: Device,
    pub driver: String,
    pub identity: Identity,
}

/// Finds and opens the camera: the one that was open before when `known` says which, else the one that the settings name.
///
/// A symbolic link among the settings (`/dev/v4l/by-path/…`) is followed anew each time, since it says which camera it means; a
/// number, or a plain node, means the camera that it first led to.
///
/// Missing, Failed (no permission, nothing writes to the loopback) and Io can pass; Unsupported (a metadata node, an
/// ambiguous name) will not.
pub fn resolve(camera: &UsbCamera, known: Option<&Identity>) -> Result<Found, SourceError> {
    let nodes = scan();
    let node = pick(camera, known, &nodes, &dev_of_path, &purpose)?;
    let path = match camera {
        UsbCamera::Path(path) if known.is_none_or(|k| k.node == *node) => path.clone(),
        _ => node.path(),
    };
    let label = node.label();
    let device = Device::open(&path).map_err(|e| open_error(&label, e, &nodes))?;
    let capability = device
        .capability()
        .map_err(|e| open_error(&label, e, &nodes))?;
    let purpose = Purpose::of(capability.caps);
    if purpose != Purpose::Camera {
        return Err(not_a_camera(
            node,
            purpose,
            &capability.driver,
            &nodes,
            &self::purpose,
        ));
    }
    Ok(Found {
        device,
        driver: capability.driver,
        identity: Identity::new(node, &nodes),
    })
}

/// The choice among nodes that `resolve` makes. Pure: `dev_of` and `purpose` are told.
fn pick<'n>(
    camera: &UsbCamera,
    known: Option<&Identity>,
    nodes: &'n [Node],
    dev_of: &dyn Fn(&Path) -> Result<Located, io::Error>,
    purpose: &dyn Fn(&Node) -> Option<Purpose>,
) -> Result<&'n Node, SourceError> {
    let missing = |device: String| SourceError::Missing {
        device,
        available: available(nodes, purpose),
    };
    if let UsbCamera::Path(path) = camera {
        match dev_of(path) {
            Ok(located) if located.linked || known.is_none() => {
                let Some(dev) = located.dev else {
                    let why = "it is not a device node; --list-devices shows the cameras".into();
                    return Err(SourceError::Unsupported {
                        device: path.display().to_string(),
                        why,
                    });
                };
                return nodes.iter().find(|n| n.dev == dev).ok_or_else(|| {
                    let why = "it is no video device; --list-devices shows the cameras".into();
                    SourceError::Unsupported {
                        device: path.display().to_string(),
                        why,
                    }
                });
            }
            Ok(_) => {}
            Err(_) if known.is_none() => return Err(missing(format!("camera {}", path.display()))),
            Err(_) => {}
        }
    }
    if let Some(known) = known {
        return known.find(nodes).ok_or_else(|| missing(known.described()));
    }
    match camera {
        UsbCamera::Index(n) => nodes
            .iter()
            .find(|node| node.number == *n)
            .ok_or_else(|| missing(format!("camera /dev/video{n}"))),
        UsbCamera::Named(name) => named(name, nodes, purpose, &missing),
        UsbCamera::Path(path) => Err(missing(format!("camera {}", path.display()))),
    }
}

/// By serial number, else by the card's name, else by a part of it.
fn named<'n>(
    name: &str,
    nodes: &'n [Node],
    purpose: &dyn Fn(&Node) -> Option<Purpose>,
    missing: &dyn Fn(String) -> SourceError,
) -> Result<&'n Node, SourceError> {
    let lower = name.to_lowercase();
    let tests: [&dyn Fn(&Node) -> bool; 3] = [
        &|n| n.serial.as_deref() == Some(name),
        &|n| n.name.to_lowercase() == lower,
        &|n| n.name.to_lowercase().contains(&lower),
    ];
    for test in tests {
        // A node that cannot be asked now (no permission) may still be the one.
        let found: Vec<_> = nodes
            .iter()
            .filter(|n| test(n) && matches!(purpose(n), Some(Purpose::Camera) | None))
            .collect();
        let Some(first) = found.first() else { continue };
        // One camera may have several picture nodes (colour, infrared): its first.
        if found
            .iter()
            .all(|n| n.place == first.place && n.vid_pid.is_some())
            || found.len() == 1
        {
            return Ok(first);
        }
        let lines: Vec<_> = found
            .iter()
            .map(|n| format!("{} at {}", n.line(), n.place))
            .collect();
        let why = format!(
            "several have that name: {}; choose one by its serial number, or by its port with a path under /dev/v4l/by-path",
            lines.join("; ")
        );
        return Err(SourceError::Unsupported {
            device: format!("camera {name:?}"),
            why,
        });
    }
    Err(missing(format!("camera {name:?}")))
}

/// Where a path leads.
struct Located {
    /// The node's major and minor numbers; `None` when it is no character device.
    dev: Option<String>,
    /// The path is a symbolic link.
    linked: bool,
}

fn dev_of_path(path: &Path) -> io::Result<Located> {
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

/// What the node is for; `None` when it cannot be asked.
fn purpose(node: &Node) -> Option<Purpose> {
    if node.driver == "uvcvideo" {
        // Each stream has a picture node, then one for metadata. To open one would wake a sleeping camera, and a worker that
        // waits for another camera asks four times a second.
        return Some(if node.index.is_multiple_of(2) {
            Purpose::Camera
        } else {
            Purpose::Metadata
        });
    }
    match Device::open(&node.path()).and_then(|d| d.capability()) {
        Ok(capability) => Some(Purpose::of(capability.caps)),
        // It is being unplugged.
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)
            ) =>
        {
            Some(Purpose::Other)
        }
        Err(_) => None,
    }
}

/// One line for each camera that there is but `gone`, whose nodes may outlive it for a moment.
pub fn others(gone: &Node) -> Vec<String> {
    let mut nodes = scan();
    nodes.retain(|n| n.number != gone.number && (n.vid_pid.is_none() || n.place != gone.place));
    available(&nodes, &purpose)
}

fn available(nodes: &[Node], purpose: &dyn Fn(&Node) -> Option<Purpose>) -> Vec<String> {
    nodes
        .iter()
        .filter(|n| matches!(purpose(n), Some(Purpose::Camera) | None))
        .map(Node::line)
        .collect()
}

fn not_a_camera(
    node: &Node,
    purpose: Purpose,
    driver: &str,
    nodes: &[Node],
    ask: &dyn Fn(&Node) -> Option<Purpose>,
) -> SourceError {
    let device = node.label();
    if purpose == Purpose::Output && driver.starts_with(LOOPBACK) {
        // It becomes a camera as soon as something is written to it, so this is worth waiting for.
        let why =
            "no program writes pictures to this v4l2loopback device yet; start the one that should"
                .into();
        return SourceError::Failed { device, why };
    }
    let beside = nodes
        .iter()
        .find(|n| n.place == node.place && n.name == node.name && ask(n) == Some(Purpose::Camera));
    let instead = match beside {
        Some(n) => format!(
            "its picture is at /dev/video{} (--device-id {})",
            n.number, n.number
        ),
        None => match available(nodes, ask).as_slice() {
            [] => "there is no camera".into(),
            lines => format!("cameras are: {}", lines.join(", ")),
        },
    };
    SourceError::Unsupported {
        device,
        why: format!("it is {}; {instead}", purpose.described()),
    }
}

fn open_error(label: &str, e: io::Error, nodes: &[Node]) -> SourceError {
    let device = label.to_owned();
    match e.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => SourceError::Missing {
            device,
            available: available(nodes, &purpose),
        },
        Some(libc::EBUSY) => SourceError::Busy { device },
        Some(libc::EACCES | libc::EPERM) => {
            let why = "no permission to open it; add the user to the group video (sudo usermod -aG video NAME), then log in anew";
            SourceError::Failed {
                device,
                why: why.into(),
            }
        }
        _ => SourceError::Io {
            device,
            doing: "opening it",
            source: e,
        },
    }
}

/// The link of `/dev/v4l/by-id` that leads to the node, if there is one.
pub fn by_id(node: &Node) -> Option<PathBuf> {
    let links = fs::read_dir("/dev/v4l/by-id").ok()?;
    links
        .flatten()
        .map(|e| e.path())
        .find(|link| dev_of_path(link).is_ok_and(|l| l.dev.as_deref() == Some(node.dev.as_str())))
}

#[cfg(test)]
pub mod tests;
