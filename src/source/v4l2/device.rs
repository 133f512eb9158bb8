//! One open V4L2 device node and what the kernel reports of it: the ioctls with Rust's types and
//! errors. Decides nothing.
//!
//! Semantics: the kernel's "Video for Linux API" (userspace-api/media/v4l).

use super::abi::ioctl;
use super::abi::*;
use super::formats::{FormatDesc, FourCc, Interval, Intervals, Sizes, Span};
use crate::media::printable_bytes;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Enumerations stop here. A driver's list ends with EINVAL; a broken driver's might never end.
const LONGEST_LIST: u32 = 512;

/// An open V4L2 device node, non-blocking. Closed when dropped.
#[derive(Debug)]
pub(crate) struct Device {
    file: File,
}

/// VIDIOC_QUERYCAP: the driver, and what this node alone can do (`device_caps`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Capability {
    pub driver: String,
    pub card: String,
    /// `V4L2_CAP_*`.
    pub caps: u32,
}

/// The format that the driver set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixFormat {
    pub code: FourCc,
    pub width: u32,
    pub height: u32,
    /// Bytes from line to line of the first plane; 0 where the driver leaves it out.
    pub stride: u32,
    /// Each buffer holds one field, half of the lines.
    pub alternating_fields: bool,
    /// Luma spans 0 to 255.
    pub full_range: bool,
}

impl PixFormat {
    fn new(f: &v4l2_format) -> Self {
        let p = &f.pix;
        Self {
            code: FourCc(p.pixelformat),
            width: p.width,
            height: p.height,
            stride: p.bytesperline,
            alternating_fields: p.field == V4L2_FIELD_ALTERNATE,
            full_range: full_range(p.quantization, p.colorspace),
        }
    }
}

/// A control, from VIDIOC_QUERY_EXT_CTRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawControl {
    pub id: u32,
    /// `V4L2_CTRL_TYPE_*`.
    pub kind: u32,
    /// The driver's name for it: "Exposure Time, Absolute".
    pub title: String,
    pub min: i64,
    pub max: i64,
    pub step: u64,
    pub default: i64,
    /// `V4L2_CTRL_FLAG_*`.
    pub flags: u32,
    /// The items of a menu: value and text.
    pub menu: Vec<(i64, String)>,
}

impl Device {
    /// Opens a device node, without blocking.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        Ok(Self { file })
    }

    /// VIDIOC_QUERYCAP: the name of the device, and what the node can do.
    ///
    /// # Errors
    /// Not a V4L2 device.
    pub fn capability(&self) -> io::Result<Capability> {
        let mut c = v4l2_capability::default();
        ioctl::querycap(self.as_fd(), &mut c)?;
        // Without the flag the driver reports only the capabilities of all its nodes together.
        let caps = if c.capabilities & V4L2_CAP_DEVICE_CAPS != 0 {
            c.device_caps
        } else {
            c.capabilities
        };
        Ok(Capability {
            driver: text(&c.driver),
            card: text(&c.card),
            caps,
        })
    }

    /// Every format that the device lists, without sizes where stampcast does not read it. For a
    /// range of sizes the intervals are those of the size nearest to `wanted` (pixels).
    ///
    /// # Errors
    /// Of an ioctl; a driver that keeps no list has no formats.
    pub fn formats(&self, wanted: (u32, u32)) -> io::Result<Vec<FormatDesc>> {
        let mut formats = Vec::new();
        for index in 0..LONGEST_LIST {
            let mut f = v4l2_fmtdesc {
                index,
                type_: V4L2_BUF_TYPE_VIDEO_CAPTURE,
                ..Default::default()
            };
            if !is_entry(ioctl::enum_fmt(self.as_fd(), &mut f), index)? {
                break;
            }
            let code = FourCc(f.pixelformat);
            let sizes = if code.pixel_format().is_some() {
                self.sizes(code)?
            } else {
                Vec::new()
            };
            if sizes.is_empty() {
                // The driver lists no sizes: asked for the wanted one, it will set what it has.
                let sizes = Sizes::Discrete {
                    width: wanted.0,
                    height: wanted.1,
                };
                formats.push(FormatDesc {
                    code,
                    sizes,
                    intervals: Vec::new(),
                });
            }
            for sizes in sizes {
                let intervals = self.intervals(code, sizes.fit(wanted))?;
                formats.push(FormatDesc {
                    code,
                    sizes,
                    intervals,
                });
            }
        }
        Ok(formats)
    }

    fn sizes(&self, code: FourCc) -> io::Result<Vec<Sizes>> {
        let mut sizes = Vec::new();
        for index in 0..LONGEST_LIST {
            let mut f = v4l2_frmsizeenum {
                index,
                pixel_format: code.0,
                ..Default::default()
            };
            if !is_entry(ioctl::enum_framesizes(self.as_fd(), &mut f), index)? {
                break;
            }
            if f.type_ == V4L2_FRMSIZE_TYPE_DISCRETE {
                let [width, height, ..] = f.size;
                sizes.push(Sizes::Discrete { width, height });
            } else {
                let span = |[min, max, step]: [u32; 3]| Span { min, max, step };
                let [a, b, c, d, e, f] = f.size;
                sizes.push(Sizes::Range {
                    width: span([a, b, c]),
                    height: span([d, e, f]),
                });
                break;
            }
        }
        Ok(sizes)
    }

    fn intervals(&self, code: FourCc, (width, height): (u32, u32)) -> io::Result<Vec<Intervals>> {
        let mut intervals = Vec::new();
        for index in 0..LONGEST_LIST {
            let mut f = v4l2_frmivalenum {
                index,
                pixel_format: code.0,
                width,
                height,
                ..Default::default()
            };
            if !is_entry(ioctl::enum_frameintervals(self.as_fd(), &mut f), index)? {
                break;
            }
            let interval = |f: v4l2_fract| Interval::new(f.numerator, f.denominator);
            let [first, second, _step] = f.interval;
            if f.type_ == V4L2_FRMIVAL_TYPE_DISCRETE {
                intervals.extend(interval(first).map(Intervals::Discrete));
            } else {
                let range = interval(first).zip(interval(second));
                intervals.extend(
                    range.map(|(shortest, longest)| Intervals::Range { shortest, longest }),
                );
                break;
            }
        }
        Ok(intervals)
    }

    /// Asks for a format and returns the one that the driver set, which may be another.
    ///
    /// # Errors
    /// EBUSY: another program streams.
    pub fn set_format(&self, code: FourCc, width: u32, height: u32) -> io::Result<PixFormat> {
        let mut f = v4l2_format {
            type_: V4L2_BUF_TYPE_VIDEO_CAPTURE,
            pix: v4l2_pix_format {
                width,
                height,
                pixelformat: code.0,
                field: V4L2_FIELD_NONE,
                ..Default::default()
            },
            ..Default::default()
        };
        ioctl::s_fmt(self.as_fd(), &mut f)?;
        Ok(PixFormat::new(&f))
    }

    /// Asks for an interval between frames and returns the one that the driver set; `None` where it
    /// has no such setting.
    ///
    /// # Errors
    /// Those of VIDIOC_S_PARM.
    pub fn set_interval(&self, wanted: Interval) -> io::Result<Option<Interval>> {
        let mut p = v4l2_streamparm {
            type_: V4L2_BUF_TYPE_VIDEO_CAPTURE,
            capture: v4l2_captureparm {
                timeperframe: v4l2_fract {
                    numerator: wanted.numerator,
                    denominator: wanted.denominator,
                },
                ..Default::default()
            },
            ..Default::default()
        };
        match ioctl::s_parm(self.as_fd(), &mut p) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => {
                return Ok(None);
            }
            done => done?,
        }
        let set = p.capture.timeperframe;
        Ok(Interval::new(set.numerator, set.denominator))
    }

    /// All controls, without their values.
    ///
    /// # Errors
    /// The driver cannot list them.
    pub fn controls(&self) -> io::Result<Vec<RawControl>> {
        let mut controls = Vec::new();
        let mut id = 0;
        for index in 0..LONGEST_LIST {
            let mut c = v4l2_query_ext_ctrl {
                id: id | V4L2_CTRL_FLAG_NEXT_CTRL,
                ..Default::default()
            };
            if !is_entry(ioctl::query_ext_ctrl(self.as_fd(), &mut c), index)? || c.id <= id {
                break;
            }
            id = c.id;
            let menu = self.menu(&c);
            controls.push(RawControl {
                id,
                kind: c.type_,
                title: text(&c.name),
                min: c.minimum,
                max: c.maximum,
                step: c.step,
                default: c.default_value,
                flags: c.flags,
                menu,
            });
        }
        Ok(controls)
    }

    fn menu(&self, c: &v4l2_query_ext_ctrl) -> Vec<(i64, String)> {
        let numbers = c.type_ == V4L2_CTRL_TYPE_INTEGER_MENU;
        if !numbers && c.type_ != V4L2_CTRL_TYPE_MENU {
            return Vec::new();
        }
        let first = c.minimum.clamp(0, i64::from(u32::MAX)) as u32;
        let last = c
            .maximum
            .clamp(0, i64::from(first) + i64::from(LONGEST_LIST)) as u32;
        let mut items = Vec::new();
        for index in first..=last {
            let mut m = v4l2_querymenu {
                id: c.id,
                index,
                ..Default::default()
            };
            // EINVAL: the menu has a hole here.
            if ioctl::querymenu(self.as_fd(), &mut m).is_ok() {
                let item = if numbers {
                    m.value().to_string()
                } else {
                    text(&m.name)
                };
                items.push((i64::from(index), item));
            }
        }
        items
    }

    /// The value of a control that holds one integer (of at most 32 bits unless `wide`).
    ///
    /// # Errors
    /// Those of VIDIOC_G_EXT_CTRLS.
    pub fn control(&self, id: u32, wide: bool) -> io::Result<i64> {
        let mut c = v4l2_ext_control::new(id);
        ioctl::get_control(self.as_fd(), &mut c)?;
        Ok(if wide { c.value64() } else { c.value().into() })
    }

    /// Sets a control that holds one integer (of at most 32 bits unless `wide`).
    ///
    /// # Errors
    /// Those of VIDIOC_S_EXT_CTRLS.
    pub fn set_control(&self, id: u32, value: i64, wide: bool) -> io::Result<()> {
        let mut c = v4l2_ext_control::new(id);
        if wide {
            c.set_value64(value);
        } else {
            // Bit masks use all 32 bits.
            c.set_value(value as i32);
        }
        ioctl::set_control(self.as_fd(), &mut c)
    }

    /// Subscribes to changes of the input signal's size. Devices whose size is fixed refuse, and
    /// have none to report.
    pub fn subscribe_source_changes(&self) {
        let mut s = v4l2_event_subscription {
            type_: V4L2_EVENT_SOURCE_CHANGE,
            ..Default::default()
        };
        let _refused = ioctl::subscribe_event(self.as_fd(), &mut s);
    }

    /// Takes one event. True when the input signal changed its size.
    ///
    /// # Errors
    /// Those of VIDIOC_DQEVENT, except that there is no event.
    pub fn take_source_change(&self) -> io::Result<bool> {
        let mut e = v4l2_event::default();
        match ioctl::dqevent(self.as_fd(), &mut e) {
            // ENOENT: no event is waiting. ENOTTY, EINVAL: the driver has no events.
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ENOENT | libc::ENOTTY | libc::EINVAL | libc::EAGAIN)
                ) =>
            {
                return Ok(false);
            }
            done => done?,
        }
        Ok(e.type_ == V4L2_EVENT_SOURCE_CHANGE
            && e.src_change.changes & V4L2_EVENT_SRC_CH_RESOLUTION != 0)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// True for an entry of an enumeration, false at its end and where the driver has none (ENOTTY).
fn is_entry(answer: io::Result<()>, index: u32) -> io::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(e) => match e.raw_os_error() {
            Some(libc::EINVAL) => Ok(false),
            Some(libc::ENOTTY | libc::ENODATA) if index == 0 => Ok(false),
            _ => Err(e),
        },
    }
}

/// Whether luma spans 0 to 255: V4L2_MAP_QUANTIZATION_DEFAULT of linux/videodev2.h, for formats
/// that are not RGB.
fn full_range(quantization: u32, colorspace: u32) -> bool {
    quantization == V4L2_QUANTIZATION_FULL_RANGE
        || quantization == V4L2_QUANTIZATION_DEFAULT && colorspace == V4L2_COLORSPACE_JPEG
}

/// A C string in an array of fixed size, up to its NUL. A device chooses its name: it is made
/// printable.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    printable_bytes(bytes[..end].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_range_default_quantization_follows_the_colour_space() {
        assert!(!full_range(0, 8));
        assert!(full_range(0, 7));
        assert!(full_range(1, 8));
        assert!(!full_range(2, 7));
    }

    #[test]
    fn device_on_a_regular_file_is_enotty() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let device = Device::open(file.path()).unwrap();
        assert_eq!(
            device.capability().unwrap_err().raw_os_error(),
            Some(libc::ENOTTY)
        );
        assert_eq!(
            Device::open(Path::new("/nowhere/video0"))
                .unwrap_err()
                .kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn text_ends_at_nul() {
        assert_eq!(text(b"Fake Cam\0junk"), "Fake Cam");
        assert_eq!(text(b"\xff full \0"), "\u{fffd} full");
        assert_eq!(text(b"a\x1b[2J\nb\0"), "a\\u{1b}[2J\\nb");
    }
}
