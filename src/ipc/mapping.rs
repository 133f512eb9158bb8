//! Memory that forked processes share, as atomic words, and the eventfd beside it. The only unsafe file of the ring; knows
//! nothing of what the words mean.
#![allow(unsafe_code)]

use super::memory::Memory;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Zeroed shared memory with an eventfd that says that something in it changed. Lives on in a forked child; not in a
/// program that a child executes (close-on-exec). Clones share one mapping; the last one unmaps it.
#[derive(Clone)]
pub struct Mapping(Arc<Inner>);

struct Inner {
    memfd: OwnedFd,
    event: EventFd,
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: `start` is used only to reach atomic words, which any thread may, and to unmap them once, in `drop`.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Mapping {
    /// `words` words of anonymous memory. Costs only the pages that are touched. The size is sealed: no holder of the fd can
    /// shrink the file under our feet (SIGBUS). `name` shows in `/proc/<pid>/maps`.
    pub fn create(name: &str, words: usize) -> io::Result<Self> {
        let length = words
            .checked_mul(8)
            .and_then(NonZeroUsize::new)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let size = i64::try_from(length.get()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let memfd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        nix::unistd::ftruncate(&memfd, size)?;
        let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
        fcntl(&memfd, FcntlArg::F_ADD_SEALS(seals))?;
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses the address, so no mapping of ours is replaced; the file is `length` long for ever.
        let start = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, &memfd, 0)? };
        Ok(Self(Arc::new(Inner {
            memfd,
            event,
            start: start.cast(),
            words,
        })))
    }

    /// The memfd and the eventfd.
    pub fn fds(&self) -> [RawFd; 2] {
        [self.0.memfd.as_raw_fd(), self.event_fd().as_raw_fd()]
    }

    /// Address and length in bytes.
    pub fn range(&self) -> (usize, usize) {
        (self.0.start.as_ptr() as usize, self.0.words * 8)
    }

    /// Makes the eventfd readable. For a worker alone: one that another process made blocking (`clear` says how) and filled
    /// would hold its caller for ever.
    pub fn ring(&self) {
        // It fails only when the counter is full, and then the eventfd is readable.
        let _ = self.0.event.write(1);
    }

    /// Makes the eventfd unreadable until the next `ring`. Never waits, not even where a hostile worker cleared O_NONBLOCK,
    /// which belongs to what all processes share and not to their descriptors.
    pub fn clear(&self) {
        let mut count = 0u64;
        let into = libc::iovec {
            iov_base: (&raw mut count).cast(),
            iov_len: size_of_val(&count),
        };
        let (fd, nowhere): (libc::c_long, libc::c_long) = (self.fds()[1].into(), -1);
        let one: libc::c_long = 1;
        // SAFETY: the one buffer is `count`, all of it, alive and writable during the call. Offset -1: an eventfd has none.
        let read = unsafe {
            libc::syscall(
                libc::SYS_preadv2,
                fd,
                &raw const into,
                one,
                nowhere,
                nowhere,
                libc::c_long::from(libc::RWF_NOWAIT),
            )
        };
        match Errno::result(read) {
            Ok(_) | Err(Errno::EAGAIN) => {}
            // Before Linux 5.8 an eventfd does not know the flag: as near as can be had.
            Err(_) => {
                let mut event = [PollFd::new(self.event_fd(), PollFlags::POLLIN)];
                if poll(&mut event, PollTimeout::ZERO) == Ok(1) {
                    let _ = self.0.event.read();
                }
            }
        }
    }

    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

impl Memory for Mapping {
    type Word = AtomicU64;

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is the page-aligned start of `words * 8` mapped bytes, mapped until `Inner` is dropped, which the
        // borrow of `self` prevents. The size is sealed. Every process reaches them as atomics only.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.words) }
    }

    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `create` mapped, and nothing borrows it any more.
        let unmapped = unsafe { munmap(self.start.cast::<c_void>(), self.words * 8) };
        debug_assert!(unmapped.is_ok());
    }
}
