//! Finds the `/dev/video*` that the options ask for, or the one that was open before.

use super::abi::*;
use super::device::Device;
use super::identity::Identity;
use super::nodes::{Located, Node, locate, scan};
use crate::config::UsbCamera;
use crate::source::SourceError;
use std::io;
use std::path::Path;

/// How the name of v4l2loopback's driver begins (VIDIOC_QUERYCAP).
pub(super) const LOOPBACK: &str = "v4l2 loopback";

/// What a node is for, by its capabilities (`V4L2_CAP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Camera,
    Metadata,
    /// v4l2loopback before a program writes to it; a video output.
    Output,
    /// An encoder, decoder or scaler.
    Converter,
    /// A multi-planar capture device, which only media pipelines can use.
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

    fn description(self) -> &'static str {
        match self {
            Self::Camera => "a camera",
            Self::Metadata => "a metadata node, which has no video",
            Self::Output => "a video output",
            Self::Converter => "an encoder or converter, not a camera",
            Self::Pipeline => {
                "a raw sensor pipeline (for a Raspberry Pi camera use --camera-type rpi)"
            }
            Self::Other => "not a camera",
        }
    }
}

/// A camera that is open, not yet streaming.
#[derive(Debug)]
pub(crate) struct Found {
    pub device: Device,
    pub driver: String,
    pub identity: Identity,
}

/// Finds and opens the camera: `known`, the one that was open before, where there is one, else the
/// one that the options name.
///
/// A symbolic link in the options (`/dev/v4l/by-path/…`) is followed every time, since it says
/// which camera it means; a number, or a plain node, means the camera that it first led to.
///
/// # Errors
/// Missing, Failed (no permission, no writer to the loopback) and Io may pass; Unsupported (a
/// metadata node, an ambiguous name) does not.
pub(crate) fn resolve(camera: &UsbCamera, known: Option<&Identity>) -> Result<Found, SourceError> {
    let nodes = scan();
    let node = pick(camera, known, &nodes, &locate, &purpose)?;
    let path = match camera {
        UsbCamera::Path(path) if known.is_none_or(|k| k.node() == node) => path.clone(),
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

/// The node that [`resolve`] opens. Pure: what paths lead to and what nodes are for are arguments.
fn pick<'n>(
    camera: &UsbCamera,
    known: Option<&Identity>,
    nodes: &'n [Node],
    locate: &dyn Fn(&Path) -> Result<Located, io::Error>,
    purpose: &dyn Fn(&Node) -> Option<Purpose>,
) -> Result<&'n Node, SourceError> {
    let missing = |device: String| SourceError::Missing {
        device,
        available: available(nodes, purpose),
    };
    if let UsbCamera::Path(path) = camera {
        match locate(path) {
            Ok(located) if located.linked || known.is_none() => {
                let Some(dev) = located.dev else {
                    let why = "not a device node; see --list-devices".into();
                    return Err(SourceError::Unsupported {
                        device: path.display().to_string(),
                        why,
                    });
                };
                return nodes.iter().find(|n| n.dev == dev).ok_or_else(|| {
                    let why = "not a video device; see --list-devices".into();
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
        return known
            .find(nodes)
            .ok_or_else(|| missing(known.description()));
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

/// Whether [`named`] can mean this node.
pub(super) fn is_named(node: &Node, name: &str) -> bool {
    let missing = |device| SourceError::Missing {
        device,
        available: Vec::new(),
    };
    let is_camera = |_: &Node| Some(Purpose::Camera);
    named(name, std::slice::from_ref(node), &is_camera, &missing).is_ok()
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
        // A node whose purpose is unknown (no permission) may still be the one.
        let found: Vec<_> = nodes
            .iter()
            .filter(|n| test(n) && matches!(purpose(n), Some(Purpose::Camera) | None))
            .collect();
        let Some(first) = found.first() else { continue };
        // One camera may have several video nodes (colour, infrared): its first.
        if found
            .iter()
            .all(|n| n.bus_path == first.bus_path && n.vid_pid.is_some())
            || found.len() == 1
        {
            return Ok(first);
        }
        let lines: Vec<_> = found
            .iter()
            .map(|n| format!("{} at {}", n.line(), n.bus_path))
            .collect();
        let why = format!(
            "several cameras match: {}; select one by its serial number, or by its port with a path in /dev/v4l/by-path",
            lines.join("; ")
        );
        return Err(SourceError::Unsupported {
            device: format!("camera {name:?}"),
            why,
        });
    }
    Err(missing(format!("camera {name:?}")))
}

/// What the node is for; `None` where it cannot be opened.
fn purpose(node: &Node) -> Option<Purpose> {
    if node.driver == "uvcvideo" {
        // Each stream has a video node, then one for metadata. Opening one would wake a sleeping
        // camera, and a worker that waits for another camera looks four times a second.
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

/// One line for each camera other than `gone`, whose nodes may outlive it for a moment.
pub(super) fn other_cameras(gone: &Node) -> Vec<String> {
    let mut nodes = scan();
    nodes.retain(|n| {
        n.number != gone.number && (n.vid_pid.is_none() || n.bus_path != gone.bus_path)
    });
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
        // It becomes a camera as soon as a program writes to it, so this is worth waiting for.
        let why = "no program writes to this v4l2loopback device; start the one that should".into();
        return SourceError::Failed { device, why };
    }
    let beside = nodes.iter().find(|n| {
        n.bus_path == node.bus_path && n.name == node.name && ask(n) == Some(Purpose::Camera)
    });
    let instead = match beside {
        Some(n) => format!(
            "its video is at /dev/video{} (--device-id {})",
            n.number, n.number
        ),
        None => match available(nodes, ask).as_slice() {
            [] => "no cameras on this machine".into(),
            lines => format!("cameras: {}", lines.join(", ")),
        },
    };
    SourceError::Unsupported {
        device,
        why: format!("it is {}; {instead}", purpose.description()),
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
            let why = "no permission to open it; add the user to the group video (sudo usermod -aG video NAME), then log in again";
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

#[cfg(test)]
mod tests;
