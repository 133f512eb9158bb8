//! Cameras in `--list-devices`. For people; nothing here is parsed.

use super::controls;
use super::controls::{Control, Kind};
use super::device::Device;
use super::find::Purpose;
use super::formats::{FormatDesc, FourCc, Interval, Intervals, Sizes};
use super::nodes::{self, Node};
use std::fmt;
use std::path::PathBuf;

/// A camera, how to select it, its formats and controls.
#[derive(Clone, Debug)]
pub(crate) struct CameraListing {
    /// What `--device-id` takes.
    pub index: u32,
    pub name: String,
    pub path: PathBuf,
    pub serial: Option<String>,
    /// USB vendor and product, "046d:082d".
    pub vid_pid: Option<String>,
    /// Where it is plugged in.
    pub bus_path: String,
    pub by_id: Option<PathBuf>,
    pub formats: Vec<FormatListing>,
    pub controls: Vec<Control>,
    /// Why formats or controls cannot be read.
    pub problem: Option<String>,
}

/// One format at one size, or range of sizes.
#[derive(Clone, Debug)]
pub(crate) struct FormatListing {
    pub code: FourCc,
    /// Whether stampcast reads it.
    pub is_readable: bool,
    pub sizes: Sizes,
    pub intervals: Vec<Intervals>,
}

/// All cameras by number, also those in use by other programs. Metadata nodes, outputs and
/// converters are left out.
pub(crate) fn list_cameras() -> Vec<CameraListing> {
    nodes::scan().iter().filter_map(listing).collect()
}

fn listing(node: &Node) -> Option<CameraListing> {
    let mut listing = CameraListing {
        index: node.number,
        name: node.name.clone(),
        path: node.path(),
        serial: node.serial.clone(),
        vid_pid: node.vid_pid.clone(),
        bus_path: node.bus_path.clone(),
        by_id: nodes::by_id(node),
        formats: Vec::new(),
        controls: Vec::new(),
        problem: None,
    };
    let device = Device::open(&listing.path).and_then(|d| Ok((d.capability()?, d)));
    let described = match &device {
        Ok((capability, _)) if Purpose::of(capability.caps) != Purpose::Camera => return None,
        Ok((_, device)) => device
            .formats((640, 480))
            .map(|formats| (formats, controls::read(device).unwrap_or_default())),
        Err(e) => {
            listing.problem = Some(format!("cannot be opened: {e}"));
            return Some(listing);
        }
    };
    match described {
        Ok((formats, controls)) => {
            listing.formats = formats.into_iter().map(FormatListing::from).collect();
            listing.controls = controls;
        }
        Err(e) => listing.problem = Some(format!("its formats cannot be listed: {e}")),
    }
    Some(listing)
}

impl From<FormatDesc> for FormatListing {
    fn from(desc: FormatDesc) -> Self {
        Self {
            code: desc.code,
            is_readable: desc.code.pixel_format().is_some(),
            sizes: desc.sizes,
            intervals: desc.intervals,
        }
    }
}

impl fmt::Display for CameraListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} ({})", self.index, self.name, self.path.display())?;
        let serial = self.serial.as_ref().map(|s| format!("serial {s}"));
        let usb = self.vid_pid.as_ref().map(|v| format!("USB {v}"));
        let bus_path = Some(format!("at {}", self.bus_path));
        let facts: Vec<_> = [serial, usb, bus_path].into_iter().flatten().collect();
        writeln!(f, "    {}", facts.join(", "))?;
        if let Some(link) = &self.by_id {
            writeln!(f, "    {}", link.display())?;
        }
        if let Some(problem) = &self.problem {
            writeln!(f, "    {problem}")?;
        }
        for format in self.formats.iter().filter(|f| f.is_readable) {
            writeln!(f, "    {format}")?;
        }
        let unreadable: Vec<_> = self
            .formats
            .iter()
            .filter(|f| !f.is_readable)
            .map(|f| f.code.to_string())
            .collect();
        if !unreadable.is_empty() {
            writeln!(f, "    not read by stampcast: {}", unreadable.join(", "))?;
        }
        for control in self.controls.iter().filter(|c| c.kind != Kind::Other) {
            write!(f, "    {}: {}", control.name, control.range())?;
            if let Some(value) = control.value {
                write!(f, "; now {}", control.format(value))?;
            }
            if control.read_only {
                write!(f, "; read-only")?;
            } else if control.inactive {
                write!(f, "; inactive (set automatically)")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for FormatListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        match self.sizes {
            Sizes::Discrete { width, height } => write!(f, " {width}x{height}")?,
            Sizes::Range { width, height } => {
                write!(
                    f,
                    " {}x{} to {}x{}",
                    width.min, height.min, width.max, height.max
                )?;
            }
        }
        let rate = |i: &Interval| {
            let text = format!("{:.2}", i.fps());
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        let rates: Vec<_> = self
            .intervals
            .iter()
            .map(|i| match i {
                Intervals::Discrete(i) => rate(i),
                Intervals::Range { shortest, longest } => {
                    format!("{} to {}", rate(longest), rate(shortest))
                }
            })
            .collect();
        if !rates.is_empty() {
            write!(f, " at {} fps", rates.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::v4l2::formats::Span;

    #[test]
    fn camera_listing_display_has_identity_formats_and_controls() {
        let span = |min, max| Span { min, max, step: 1 };
        let camera = CameraListing {
            index: 2,
            name: "Fake Cam".into(),
            path: "/dev/video2".into(),
            serial: Some("CAM1".into()),
            vid_pid: Some("046d:082d".into()),
            bus_path: "1-1.2".into(),
            by_id: Some("/dev/v4l/by-id/usb-Fake_Cam-video-index0".into()),
            formats: vec![
                FormatListing {
                    code: FourCc::new(b"MJPG"),
                    is_readable: true,
                    sizes: Sizes::Discrete {
                        width: 640,
                        height: 480,
                    },
                    intervals: vec![
                        Intervals::Discrete(Interval {
                            numerator: 1001,
                            denominator: 30000,
                        }),
                        Intervals::Discrete(Interval {
                            numerator: 1,
                            denominator: 15,
                        }),
                    ],
                },
                FormatListing {
                    code: FourCc::new(b"YUYV"),
                    is_readable: true,
                    sizes: Sizes::Range {
                        width: span(16, 1920),
                        height: span(8, 1080),
                    },
                    intervals: vec![Intervals::Range {
                        shortest: Interval {
                            numerator: 1,
                            denominator: 60,
                        },
                        longest: Interval {
                            numerator: 1,
                            denominator: 1,
                        },
                    }],
                },
                FormatListing {
                    code: FourCc::new(b"H264"),
                    is_readable: false,
                    sizes: Sizes::Discrete {
                        width: 0,
                        height: 0,
                    },
                    intervals: vec![],
                },
            ],
            controls: vec![Control {
                id: 1,
                name: "power_line_frequency".into(),
                kind: Kind::Menu,
                min: 0,
                max: 2,
                step: 1,
                default: 2,
                value: Some(1),
                read_only: false,
                inactive: true,
                menu: vec![(0, "Disabled".into()), (1, "50 Hz".into())],
            }],
            problem: None,
        };
        let expected = "\
2: Fake Cam (/dev/video2)
    serial CAM1, USB 046d:082d, at 1-1.2
    /dev/v4l/by-id/usb-Fake_Cam-video-index0
    MJPG 640x480 at 29.97, 15 fps
    YUYV 16x8 to 1920x1080 at 1 to 60 fps
    not read by stampcast: H264
    power_line_frequency: disabled (0), 50_hz (1); now 50_hz; inactive (set automatically)
";
        assert_eq!(camera.to_string(), expected);
    }
}
