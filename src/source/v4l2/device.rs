//! The V4L2 calls that stampcast makes, typed: one open device node and what the kernel says of it. Decides nothing.
//!
//! Names and semantics: the kernel's "Video for Linux API" (userspace-api/media/v4l). Structures, request numbers and the
//! system call come from the `v4l` crate; its own `Device` is not used because dropping it can panic.
#![allow(unsafe_code)]

use super::formats::{FourCc, Interval, Intervals, Offer, Sizes, Span};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use v4l::v4l_sys::*;
use v4l::v4l2::vidioc;

pub(super) const CAPTURE: u32 = v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;

/// No enumeration is followed further: a driver's list ends with EINVAL, a broken driver's perhaps never.
const LONGEST_LIST: u32 = 512;

// The `v4l` crate has no numbers for the event calls (linux/videodev2.h: _IOR('V', 89), _IOW('V', 90)).
const VIDIOC_DQEVENT: vidioc::_IOC_TYPE = request(2, size_of::<v4l2_event>(), 89);
const VIDIOC_SUBSCRIBE_EVENT: vidioc::_IOC_TYPE =
    request(1, size_of::<v4l2_event_subscription>(), 90);

const fn request(direction: vidioc::_IOC_TYPE, size: usize, number: u8) -> vidioc::_IOC_TYPE {
    direction << 30
        | (size as vidioc::_IOC_TYPE) << 16
        | (b'V' as vidioc::_IOC_TYPE) << 8
        | number as vidioc::_IOC_TYPE
}

/// Kernel structures for which all-zero bytes are a value: integers, and unions and arrays of them.
///
/// # Safety
/// Implement it only for such types.
pub(super) unsafe trait Plain: Copy {
    fn zeroed() -> Self {
        // SAFETY: the implementor vouches that zero bytes are a value.
        unsafe { zeroed() }
    }
}

macro_rules! plain {
    ($($t:ty),*) => { $(
        // SAFETY: a C structure of integers, unions of integers and raw pointers.
        unsafe impl Plain for $t {}
    )* };
}
plain!(
    i32,
    v4l2_capability,
    v4l2_fmtdesc,
    v4l2_frmsizeenum,
    v4l2_frmivalenum,
    v4l2_format,
    v4l2_streamparm,
    v4l2_query_ext_ctrl,
    v4l2_querymenu,
    v4l2_ext_control,
    v4l2_ext_controls,
    v4l2_event,
    v4l2_event_subscription,
    v4l2_requestbuffers,
    v4l2_buffer
);

/// An open V4L2 device node, non-blocking. Closed when dropped.
#[derive(Debug)]
pub struct Device {
    file: File,
}

/// VIDIOC_QUERYCAP, of this node alone (`device_caps`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    pub driver: String,
    pub card: String,
    /// `V4L2_CAP_*`.
    pub caps: u32,
}

/// What the driver settled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixFormat {
    pub code: FourCc,
    pub width: u32,
    pub height: u32,
    /// Bytes from line to line of the first plane; 0 where the driver does not say.
    pub stride: u32,
    /// Fields come as separate buffers, which is no picture.
    pub alternating_fields: bool,
    /// Luma spans 0 to 255.
    pub full_range: bool,
}

impl PixFormat {
    fn of(f: &v4l2_format) -> Self {
        // SAFETY: a capture format is in `pix`; its members are integers, so any bytes will do.
        let p = unsafe { f.fmt.pix };
        Self {
            code: FourCc(p.pixelformat),
            width: p.width,
            height: p.height,
            stride: p.bytesperline,
            alternating_fields: p.field == v4l2_field_V4L2_FIELD_ALTERNATE,
            full_range: full_range(p.quantization, p.colorspace),
        }
    }
}

/// A control as VIDIOC_QUERY_EXT_CTRL describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawControl {
    pub id: u32,
    /// `V4L2_CTRL_TYPE_*`.
    pub kind: u32,
    /// As the driver writes it: "Exposure Time, Absolute".
    pub title: String,
    pub min: i64,
    pub max: i64,
    pub step: u64,
    pub default: i64,
    /// `V4L2_CTRL_FLAG_*`.
    pub flags: u32,
    /// Menu controls: value and text.
    pub menu: Vec<(i64, String)>,
}

impl Device {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)?;
        Ok(Self { file })
    }

    /// One ioctl, repeated when a signal interrupts it.
    pub(super) fn call<T: Plain>(
        &self,
        request: vidioc::_IOC_TYPE,
        argument: &mut T,
    ) -> io::Result<()> {
        let encoded = (request >> 16) as usize & 0x3fff;
        assert_eq!(
            encoded,
            size_of::<T>(),
            "an ioctl's number names its argument's size"
        );
        loop {
            // SAFETY: the kernel reads and writes at most the bytes that the request encodes, and those are T's (checked
            // above); T holds any bytes (Plain). The one pointer, in v4l2_ext_controls, is set by `control_call`, to a
            // control that outlives the call.
            let done = unsafe {
                v4l::v4l2::ioctl(self.file.as_raw_fd(), request, (argument as *mut T).cast())
            };
            match done {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    pub fn capability(&self) -> io::Result<Capability> {
        let mut c = v4l2_capability::zeroed();
        self.call(vidioc::VIDIOC_QUERYCAP, &mut c)?;
        // Without the flag the driver has only the capabilities of all its nodes together.
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

    /// Every format the device offers, those that stampcast does not read without sizes. `wanted` is the size at which
    /// the intervals of a stepwise format are asked.
    pub fn offers(&self, wanted: (u32, u32)) -> io::Result<Vec<Offer>> {
        let mut offers = Vec::new();
        for index in 0..LONGEST_LIST {
            let mut f = v4l2_fmtdesc {
                index,
                type_: CAPTURE,
                ..Plain::zeroed()
            };
            if !listed(self.call(vidioc::VIDIOC_ENUM_FMT, &mut f), index)? {
                break;
            }
            let code = FourCc(f.pixelformat);
            let sizes = if code.pixel_format().is_some() {
                self.sizes(code)?
            } else {
                Vec::new()
            };
            if sizes.is_empty() {
                // Unlisted sizes: the driver is asked for the wanted one and answers with what it has.
                let sizes = Sizes::Discrete {
                    width: wanted.0,
                    height: wanted.1,
                };
                offers.push(Offer {
                    code,
                    sizes,
                    intervals: Vec::new(),
                });
            }
            for sizes in sizes {
                let intervals = self.intervals(code, sizes.fit(wanted))?;
                offers.push(Offer {
                    code,
                    sizes,
                    intervals,
                });
            }
        }
        Ok(offers)
    }

    fn sizes(&self, code: FourCc) -> io::Result<Vec<Sizes>> {
        let mut sizes = Vec::new();
        for index in 0..LONGEST_LIST {
            let mut f = v4l2_frmsizeenum {
                index,
                pixel_format: code.0,
                ..Plain::zeroed()
            };
            if !listed(self.call(vidioc::VIDIOC_ENUM_FRAMESIZES, &mut f), index)? {
                break;
            }
            if f.type_ == v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
                // SAFETY: both members of the union are integers only; the type says which one was written.
                let d = unsafe { f.__bindgen_anon_1.discrete };
                sizes.push(Sizes::Discrete {
                    width: d.width,
                    height: d.height,
                });
            } else {
                // SAFETY: as above.
                let s = unsafe { f.__bindgen_anon_1.stepwise };
                sizes.push(Sizes::Range {
                    width: Span {
                        min: s.min_width,
                        max: s.max_width,
                        step: s.step_width,
                    },
                    height: Span {
                        min: s.min_height,
                        max: s.max_height,
                        step: s.step_height,
                    },
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
                ..Plain::zeroed()
            };
            if !listed(self.call(vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut f), index)? {
                break;
            }
            let interval = |f: v4l2_fract| Interval::new(f.numerator, f.denominator);
            if f.type_ == v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE {
                // SAFETY: both members of the union are integers only; the type says which one was written.
                let d = unsafe { f.__bindgen_anon_1.discrete };
                intervals.extend(interval(d).map(Intervals::Discrete));
            } else {
                // SAFETY: as above.
                let s = unsafe { f.__bindgen_anon_1.stepwise };
                if let (Some(shortest), Some(longest)) = (interval(s.min), interval(s.max)) {
                    intervals.push(Intervals::Range { shortest, longest });
                }
                break;
            }
        }
        Ok(intervals)
    }

    /// Asks for a format and returns what the driver set, which may be another. EBUSY: another program streams.
    pub fn set_format(&self, code: FourCc, width: u32, height: u32) -> io::Result<PixFormat> {
        let mut f = v4l2_format {
            type_: CAPTURE,
            ..Plain::zeroed()
        };
        f.fmt.pix = v4l2_pix_format {
            width,
            height,
            pixelformat: code.0,
            field: v4l2_field_V4L2_FIELD_NONE,
            // SAFETY: `pix` is integers only, and all of `f` was zeroed.
            ..unsafe { f.fmt.pix }
        };
        self.call(vidioc::VIDIOC_S_FMT, &mut f)?;
        Ok(PixFormat::of(&f))
    }

    /// Asks for an interval between frames and returns what the driver set; `None` where it cannot say.
    pub fn set_interval(&self, wanted: Interval) -> io::Result<Option<Interval>> {
        let mut p = v4l2_streamparm {
            type_: CAPTURE,
            ..Plain::zeroed()
        };
        p.parm.capture = v4l2_captureparm {
            timeperframe: v4l2_fract {
                numerator: wanted.numerator,
                denominator: wanted.denominator,
            },
            // SAFETY: `capture` is integers only, and all of `p` was zeroed.
            ..unsafe { p.parm.capture }
        };
        match self.call(vidioc::VIDIOC_S_PARM, &mut p) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => {
                return Ok(None);
            }
            done => done?,
        }
        // SAFETY: a capture parameter is in `capture`; its members are integers.
        let c = unsafe { p.parm.capture };
        Ok(Interval::new(
            c.timeperframe.numerator,
            c.timeperframe.denominator,
        ))
    }

    pub fn controls(&self) -> io::Result<Vec<RawControl>> {
        let mut controls = Vec::new();
        let mut id = 0;
        for index in 0..LONGEST_LIST {
            let mut c = v4l2_query_ext_ctrl {
                id: id | V4L2_CTRL_FLAG_NEXT_CTRL,
                ..Plain::zeroed()
            };
            if !listed(self.call(vidioc::VIDIOC_QUERY_EXT_CTRL, &mut c), index)? || c.id <= id {
                break;
            }
            id = c.id;
            let menu = self.menu(&c);
            controls.push(RawControl {
                id,
                kind: c.type_,
                title: text(&c.name.map(|b| b as u8)),
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
        let numbers = c.type_ == v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU;
        if !numbers && c.type_ != v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU {
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
                ..Plain::zeroed()
            };
            // EINVAL: the menu has a hole here.
            if self.call(vidioc::VIDIOC_QUERYMENU, &mut m).is_ok() {
                // SAFETY: both members are integers; the control's type says which one was written.
                let item = unsafe {
                    if numbers {
                        { m.__bindgen_anon_1.value }.to_string()
                    } else {
                        text(&{ m.__bindgen_anon_1.name })
                    }
                };
                items.push((i64::from(index), item));
            }
        }
        items
    }

    /// The value of a control that holds one integer (of at most 32 bits unless `wide`).
    pub fn control(&self, id: u32, wide: bool) -> io::Result<i64> {
        let mut c = v4l2_ext_control {
            id,
            ..Plain::zeroed()
        };
        self.control_call(vidioc::VIDIOC_G_EXT_CTRLS, &mut c)?;
        // SAFETY: both members are integers, and the whole union was zeroed.
        Ok(unsafe {
            if wide {
                c.__bindgen_anon_1.value64
            } else {
                i64::from(c.__bindgen_anon_1.value)
            }
        })
    }

    pub fn set_control(&self, id: u32, value: i64, wide: bool) -> io::Result<()> {
        let mut c = v4l2_ext_control {
            id,
            ..Plain::zeroed()
        };
        if wide {
            c.__bindgen_anon_1.value64 = value;
        } else {
            // Bit masks fill all 32 bits.
            c.__bindgen_anon_1.value = value as i32;
        }
        self.control_call(vidioc::VIDIOC_S_EXT_CTRLS, &mut c)
    }

    fn control_call(
        &self,
        request: vidioc::_IOC_TYPE,
        control: &mut v4l2_ext_control,
    ) -> io::Result<()> {
        // `which` 0 is V4L2_CTRL_WHICH_CUR_VAL. `size` 0: the kernel touches no memory that the control points to.
        let mut list = v4l2_ext_controls {
            count: 1,
            controls: control,
            ..Plain::zeroed()
        };
        self.call(request, &mut list)
    }

    /// Asks to be told when the signal changes its size. Devices whose size is fixed refuse, which is as good.
    pub fn watch_source(&self) {
        let mut s = v4l2_event_subscription {
            type_: V4L2_EVENT_SOURCE_CHANGE,
            ..Plain::zeroed()
        };
        let _refused = self.call(VIDIOC_SUBSCRIBE_EVENT, &mut s);
    }

    /// Takes one event: true when the source changed its resolution.
    pub fn source_changed(&self) -> io::Result<bool> {
        let mut e = v4l2_event::zeroed();
        match self.call(VIDIOC_DQEVENT, &mut e) {
            // ENOENT: nothing is waiting. ENOTTY, EINVAL: the driver has no events.
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
        // SAFETY: `src_change` is one integer; the type says that it was written.
        Ok(e.type_ == V4L2_EVENT_SOURCE_CHANGE
            && unsafe { e.u.src_change.changes } & V4L2_EVENT_SRC_CH_RESOLUTION != 0)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// True for an entry, false at the end of a list, also of one that the driver does not keep (ENOTTY).
fn listed(answer: io::Result<()>, index: u32) -> io::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(e) => match e.raw_os_error() {
            Some(libc::EINVAL) => Ok(false),
            Some(libc::ENOTTY | libc::ENODATA) if index == 0 => Ok(false),
            _ => Err(e),
        },
    }
}

/// V4L2_MAP_QUANTIZATION_DEFAULT of linux/videodev2.h, for formats that are not RGB.
fn full_range(quantization: u32, colorspace: u32) -> bool {
    quantization == v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE
        || quantization == v4l2_quantization_V4L2_QUANTIZATION_DEFAULT
            && colorspace == v4l2_colorspace_V4L2_COLORSPACE_JPEG
}

/// A fixed-size C string, as far as its NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_requests_are_those_of_the_kernel() {
        // As strace shows them on 64-bit machines.
        if cfg!(target_pointer_width = "64") {
            assert_eq!(VIDIOC_DQEVENT, 0x8088_5659);
        }
        assert_eq!(VIDIOC_SUBSCRIBE_EVENT, 0x4020_565a);
    }

    #[test]
    fn default_quantization_follows_the_colour_space() {
        assert!(!full_range(0, 8));
        assert!(full_range(0, 7));
        assert!(full_range(1, 8));
        assert!(!full_range(2, 7));
    }

    #[test]
    fn a_file_that_is_no_device_is_an_error() {
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
    fn texts_end_at_their_nul() {
        assert_eq!(text(b"Fake Cam\0junk"), "Fake Cam");
        assert_eq!(text(b"\xff full \0"), "\u{fffd} full");
    }
}
