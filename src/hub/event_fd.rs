//! A descriptor, mostly an eventfd, that a task can wait for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Becomes readable when the other side writes.
pub struct EventFd(AsyncFd<OwnedFd>);

impl EventFd {
    /// Duplicates the descriptor, so that the result may outlive the one given. Must run on a tokio
    /// runtime.
    ///
    /// # Errors
    /// No descriptor is left, or epoll refuses it.
    pub fn new(fd: impl AsFd) -> io::Result<Self> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        // SAFETY: `OwnedFd` gives the same open descriptor for as long as it lives, and the
        // `AsyncFd` owns it.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self(fd))
    }

    /// Returns when the descriptor became readable since the last return. The caller then clears
    /// it, before it looks for what is new.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn notified(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
