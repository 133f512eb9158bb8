//! recvmsg(2) with descriptors.
#![allow(unsafe_code)]

use super::{ChannelError, closed_or_io};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The most that the kernel passes with one message (SCM_MAX_FD).
pub(super) const KERNEL_MAX_DESCRIPTORS: usize = 253;

/// Why nothing was received.
pub(super) enum Received {
    Nothing,
    Interrupted,
    Error(ChannelError),
}

/// Calls recvmsg(2) once. Descriptors are added to `descriptors` in every case. By libc: nix's
/// iterator over control messages loses the descriptors of one that was truncated.
///
/// # Errors
/// [`Received`].
pub(super) fn receive_with_descriptors(
    socket: &OwnedFd,
    into: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<usize, Received> {
    let mut control = nix::cmsg_space!([RawFd; KERNEL_MAX_DESCRIPTORS]);
    let mut iov = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: all zeros is a valid msghdr: no name, no buffers, no flags.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.capacity() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `iov` is `into`, all of it; the control buffer is as long as it says; both are alive
    // and writable during the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let received = match Errno::result(received) {
        Ok(count) => count as usize,
        Err(Errno::EAGAIN) => return Err(Received::Nothing),
        Err(Errno::EINTR) => return Err(Received::Interrupted),
        Err(e) => return Err(Received::Error(closed_or_io(e))),
    };
    // SAFETY: the kernel has filled the control buffer up to `msg_controllen`, and the macros stay
    // within it. Each descriptor is new in this process and owned by nobody else.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(&raw const message);
        while !at.is_null() {
            if ((*at).cmsg_level, (*at).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let data = libc::CMSG_DATA(at).cast::<RawFd>();
                let bytes = (*at).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for i in 0..bytes / size_of::<RawFd>() {
                    descriptors.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            at = libc::CMSG_NXTHDR(&raw const message, at);
        }
    }
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(Received::Error(ChannelError::DescriptorsLost));
    }
    Ok(received)
}
