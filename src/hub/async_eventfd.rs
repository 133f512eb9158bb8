//! An eventfd as something to wait for on the runtime. Knows nothing of what rings it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub struct Wake(AsyncFd<OwnedFd>);

impl Wake {
    /// Takes a descriptor of its own on the same eventfd, so that it may outlive the one given.
    pub fn on(fd: impl AsFd) -> io::Result<Self> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        // SAFETY: `OwnedFd` gives the same open descriptor for as long as it lives, and the `AsyncFd` owns it.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self(fd))
    }

    /// Returns when the eventfd was rung since the last return. The caller then clears it, before it looks for what is new.
    pub async fn rung(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
