//! Memory shared by processes, as atomic words, with an eventfd that announces changes. The unsafe
//! part of shared memory; it does not know what the words mean.
#![allow(unsafe_code)]

use super::memory::Memory;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::{SFlag, fstat};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared memory and its eventfd. Inherited by forked children, not by executed programs
/// (close-on-exec). Clones share one mapping, which the last one unmaps.
#[derive(Clone)]
pub struct Mapping(Arc<Inner>);

struct Inner {
    memfd: OwnedFd,
    event: EventFd,
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: `start` is used only to reach atomic words, which any thread may, and to unmap them once,
// in `drop`.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

/// Descriptors that are not the memory and the eventfd of a [`Mapping`].
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("the memory's descriptor is not a memfd with a sealed size")]
    NotSealed,
    #[error("the memory has {found} bytes instead of {expected}")]
    WrongSize { found: u64, expected: usize },
    #[error("the event's descriptor is not an eventfd")]
    NotAnEventFd,
    #[error("the memory cannot be mapped")]
    Map(#[source] io::Error),
}

/// The size can never change: no holder of the descriptor can shrink the file, which would make
/// accesses to the mapping fail (SIGBUS).
const SIZE_SEALS: SealFlag = SealFlag::F_SEAL_GROW.union(SealFlag::F_SEAL_SHRINK);

impl Mapping {
    /// `words` words of anonymous memory, all zero. Only pages that are written take memory.
    /// `name` shows in `/proc/<pid>/maps`.
    ///
    /// # Errors
    /// `InvalidInput` for a size out of range; those of memfd_create(2), mmap(2) and eventfd(2).
    pub fn create(name: &str, words: usize) -> io::Result<Self> {
        let size = words
            .checked_mul(8)
            // 32 bits on 32-bit ARM.
            .and_then(|bytes| libc::off_t::try_from(bytes).ok())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let memfd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        nix::unistd::ftruncate(&memfd, size)?;
        let seals = SIZE_SEALS | SealFlag::F_SEAL_SEAL;
        fcntl(&memfd, FcntlArg::F_ADD_SEALS(seals))?;
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Self::map(memfd, event, words)
    }

    /// Maps memory that another process made with [`create`](Self::create) and passed as
    /// descriptors. Both are checked: the sender may be hostile.
    ///
    /// # Errors
    /// [`AdoptError`]; the descriptors are then closed.
    pub fn adopt(memfd: OwnedFd, event: OwnedFd, words: usize) -> Result<Self, AdoptError> {
        // Other files have no seals (EINVAL).
        let seals = fcntl(&memfd, FcntlArg::F_GET_SEALS).map_err(|_| AdoptError::NotSealed)?;
        if !SealFlag::from_bits_truncate(seals).contains(SIZE_SEALS) {
            return Err(AdoptError::NotSealed);
        }
        // With the seals in place the size is final.
        let found = fstat(&memfd).map_err(|_| AdoptError::NotSealed)?.st_size;
        // Negative sizes do not exist.
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        let expected = words.saturating_mul(8);
        if usize::try_from(found) != Ok(expected) {
            return Err(AdoptError::WrongSize { found, expected });
        }
        if !is_eventfd(event.as_fd()) {
            return Err(AdoptError::NotAnEventFd);
        }
        // SAFETY: an open eventfd, as was just checked, and owned.
        let event = unsafe { EventFd::from_owned_fd(event) };
        Self::map(memfd, event, words).map_err(AdoptError::Map)
    }

    fn map(memfd: OwnedFd, event: EventFd, words: usize) -> io::Result<Self> {
        let length = words
            .checked_mul(8)
            .and_then(NonZeroUsize::new)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses the address, so no mapping of ours is replaced; the file is
        // `length` bytes long and sealed against other sizes.
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

    /// Makes the eventfd readable. For workers only: an eventfd that another process made blocking
    /// (see [`drain`](Self::drain)) and filled would block the caller.
    pub fn notify(&self) {
        // It fails only when the counter is full, and then the eventfd is readable.
        let _ = self.0.event.write(1);
    }

    /// Makes the eventfd unreadable until the next [`notify`](Self::notify). Never blocks, not even
    /// where a hostile process cleared O_NONBLOCK, which all holders of the eventfd share.
    pub fn drain(&self) {
        let mut count = 0u64;
        let into = libc::iovec {
            iov_base: (&raw mut count).cast(),
            iov_len: size_of_val(&count),
        };
        let (fd, no_offset): (libc::c_long, libc::c_long) = (self.fds()[1].into(), -1);
        let one: libc::c_long = 1;
        // SAFETY: the one buffer is `count`, all of it, alive and writable during the call. Offset
        // -1: an eventfd has none.
        let read = unsafe {
            libc::syscall(
                libc::SYS_preadv2,
                fd,
                &raw const into,
                one,
                no_offset,
                no_offset,
                libc::c_long::from(libc::RWF_NOWAIT),
            )
        };
        match Errno::result(read) {
            Ok(_) | Err(Errno::EAGAIN) => {}
            // Before Linux 5.8 an eventfd does not know the flag: poll first, the nearest there is.
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

/// The kernel names anonymous files by their kind in procfs. Without procfs: a file without a type,
/// which an eventfd is.
fn is_eventfd(fd: BorrowedFd<'_>) -> bool {
    match std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
        Ok(name) => name.as_os_str() == "anon_inode:[eventfd]",
        Err(_) => fstat(fd).is_ok_and(|file| file.st_mode & SFlag::S_IFMT.bits() == 0),
    }
}

impl Memory for Mapping {
    type Word = AtomicU64;

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `start` is the page-aligned start of `words * 8` mapped bytes, mapped until
        // `Inner` is dropped, which the borrow of `self` prevents. The size is sealed. Every
        // process accesses them as atomics only.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.words) }
    }

    fn fence(order: Ordering) {
        std::sync::atomic::fence(order);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `map` mapped, and nothing borrows it any more.
        let unmapped = unsafe { munmap(self.start.cast::<c_void>(), self.words * 8) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;

    fn eventfd() -> OwnedFd {
        EventFd::from_flags(EfdFlags::EFD_NONBLOCK)
            .expect("an eventfd")
            .as_fd()
            .try_clone_to_owned()
            .expect("a descriptor")
    }

    fn memfd(bytes: u64, seals: SealFlag) -> OwnedFd {
        let memfd = memfd_create("test", MFdFlags::MFD_ALLOW_SEALING).expect("a memfd");
        let bytes = libc::off_t::try_from(bytes).expect("a size of a file");
        nix::unistd::ftruncate(&memfd, bytes).expect("memory");
        fcntl(&memfd, FcntlArg::F_ADD_SEALS(seals)).expect("seals");
        memfd
    }

    fn pipe() -> OwnedFd {
        nix::unistd::pipe().expect("a pipe").0
    }

    #[test]
    fn adopt_descriptors_of_another_mapping_shares_its_words() {
        let mapping = Mapping::create("test", 512).expect("memory");
        let [memfd, event] = mapping.fds().map(|fd| {
            // SAFETY: the descriptor is open while `mapping` lives.
            unsafe { BorrowedFd::borrow_raw(fd) }
                .try_clone_to_owned()
                .expect("a descriptor")
        });
        let adopted = Mapping::adopt(memfd, event, 512).expect("a mapping of ours");
        mapping.words()[511].store(7, Ordering::Relaxed);
        assert_eq!(adopted.words()[511].load(Ordering::Relaxed), 7);
        mapping.notify();
        let mut event = [PollFd::new(adopted.event_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut event, PollTimeout::ZERO), Ok(1));
        adopted.drain();
        let mut event = [PollFd::new(mapping.event_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut event, PollTimeout::ZERO), Ok(0));
    }

    #[test]
    fn adopt_memory_that_could_change_its_size_is_refused() {
        for seals in [
            SealFlag::empty(),
            SealFlag::F_SEAL_GROW,
            SealFlag::F_SEAL_SHRINK,
            SealFlag::F_SEAL_WRITE,
        ] {
            let adopted = Mapping::adopt(memfd(4096, seals), eventfd(), 512);
            assert!(matches!(adopted, Err(AdoptError::NotSealed)), "{seals:?}");
        }
        let directory = std::fs::File::open("/").expect("there is one");
        for memory in [pipe(), eventfd(), directory.into()] {
            let adopted = Mapping::adopt(memory, eventfd(), 512);
            assert!(matches!(adopted, Err(AdoptError::NotSealed)));
        }
    }

    #[test]
    fn adopt_wrong_size_or_event_is_refused() {
        for bytes in [0, 4088, 4104, 1 << 30] {
            let adopted = Mapping::adopt(memfd(bytes, SIZE_SEALS), eventfd(), 512);
            assert!(
                matches!(adopted, Err(AdoptError::WrongSize { found, .. }) if found == bytes),
                "{bytes}"
            );
        }
        // SAFETY: a timerfd is made, owned by nobody else.
        let timerfd =
            unsafe { OwnedFd::from_raw_fd(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)) };
        for event in [pipe(), memfd(8, SIZE_SEALS), timerfd] {
            let adopted = Mapping::adopt(memfd(4096, SIZE_SEALS), event, 512);
            assert!(matches!(adopted, Err(AdoptError::NotAnEventFd)));
        }
        assert!(Mapping::adopt(memfd(4096, SIZE_SEALS), eventfd(), 512).is_ok());
    }
}
