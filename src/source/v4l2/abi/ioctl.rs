//! The ioctls, as safe functions: one each, on an open device, with the structure that belongs to
//! it. Repeats a call that a signal interrupts; decides nothing else.
#![allow(unsafe_code)]

use super::*;
use nix::errno::Errno;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Declares each ioctl by its name in `linux/videodev2.h` without "VIDIOC_", in lower case: the
/// direction, the number and the argument.
macro_rules! ioctls {
    ($($name:ident: $direction:ident($number:literal, $argument:ty);)*) => {
        mod raw {
            use super::*;
            $(ioctls!(@declare $direction $name, $number, $argument);)*
        }

        $(pub(crate) fn $name(device: BorrowedFd<'_>, argument: &mut $argument) -> io::Result<()> {
            // SAFETY: `device` is borrowed, so it is open. nix computes the request's number from
            // the size of the argument's type, and the kernel reads and writes no more bytes than
            // the number says: those of `argument`, which is borrowed mutably. Its type consists of
            // integers, so any bytes that the kernel writes are a value. The kernel follows no
            // pointer in it: that of v4l2_ext_controls is private to `abi` and set by `one_control`
            // alone, and the memory type of buffers is private to `abi` and always MMAP.
            uninterrupted(|| unsafe { raw::$name(device.as_raw_fd(), argument) })
        })*

        /// The request numbers, for `layout.rs`.
        #[allow(non_upper_case_globals)]
        pub(super) mod number {
            use super::*;
            $(pub const $name: u64 = ioctls!(@number $direction $number, $argument) as u64;)*
        }
    };
    (@declare read $name:ident, $number:literal, $argument:ty) => {
        nix::ioctl_read!($name, b'V', $number, $argument);
    };
    (@declare write $name:ident, $number:literal, $argument:ty) => {
        nix::ioctl_write_ptr!($name, b'V', $number, $argument);
    };
    (@declare read_write $name:ident, $number:literal, $argument:ty) => {
        nix::ioctl_readwrite!($name, b'V', $number, $argument);
    };
    (@number read $number:literal, $argument:ty) => {
        nix::request_code_read!(b'V', $number, size_of::<$argument>())
    };
    (@number write $number:literal, $argument:ty) => {
        nix::request_code_write!(b'V', $number, size_of::<$argument>())
    };
    (@number read_write $number:literal, $argument:ty) => {
        nix::request_code_readwrite!(b'V', $number, size_of::<$argument>())
    };
}

ioctls! {
    querycap: read(0, v4l2_capability);
    enum_fmt: read_write(2, v4l2_fmtdesc);
    s_fmt: read_write(5, v4l2_format);
    reqbufs: read_write(8, v4l2_requestbuffers);
    querybuf: read_write(9, v4l2_buffer);
    qbuf: read_write(15, v4l2_buffer);
    dqbuf: read_write(17, v4l2_buffer);
    streamon: write(18, c_int);
    streamoff: write(19, c_int);
    s_parm: read_write(22, v4l2_streamparm);
    querymenu: read_write(37, v4l2_querymenu);
    g_ext_ctrls: read_write(71, v4l2_ext_controls);
    s_ext_ctrls: read_write(72, v4l2_ext_controls);
    enum_framesizes: read_write(74, v4l2_frmsizeenum);
    enum_frameintervals: read_write(75, v4l2_frmivalenum);
    dqevent: read(89, v4l2_event);
    subscribe_event: write(90, v4l2_event_subscription);
    query_ext_ctrl: read_write(103, v4l2_query_ext_ctrl);
}

/// VIDIOC_G_EXT_CTRLS for one control that is a number. ENOSPC for one that is a text or an array.
///
/// # Errors
/// Those of ioctl(2) and the driver.
pub(crate) fn get_control(
    device: BorrowedFd<'_>,
    control: &mut v4l2_ext_control,
) -> io::Result<()> {
    g_ext_ctrls(device, &mut one_control(control))
}

/// VIDIOC_S_EXT_CTRLS for one control that is a number. ERANGE or ENOSPC for one that is a text or
/// an array.
///
/// # Errors
/// Those of ioctl(2) and the driver.
pub(crate) fn set_control(
    device: BorrowedFd<'_>,
    control: &mut v4l2_ext_control,
) -> io::Result<()> {
    s_ext_ctrls(device, &mut one_control(control))
}

/// The list that the kernel reads: `control` is borrowed by the caller for the whole call. Its
/// `size` is 0 (nothing outside of `abi` can set it), so the kernel follows no pointer in it.
fn one_control(control: &mut v4l2_ext_control) -> v4l2_ext_controls {
    v4l2_ext_controls {
        count: 1,
        controls: Some(NonNull::from(control)),
        ..Default::default()
    }
}

fn uninterrupted(mut call: impl FnMut() -> nix::Result<c_int>) -> io::Result<()> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return Ok(done.map(drop)?),
        }
    }
}
