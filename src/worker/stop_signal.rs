//! The supervisor's request that a worker ends: SIGTERM, read from a signalfd between two items.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;
use std::time::Duration;

/// Whether the supervisor asked this worker to end (SIGTERM).
pub struct StopSignal(SignalFd);

impl StopSignal {
    /// Blocks SIGTERM in this thread and in those that it starts, so that the signal reaches the
    /// descriptor alone, and the worker ends only where it checks it.
    ///
    /// # Errors
    /// Those of signalfd(2): no descriptor or no memory is left.
    pub fn on_sigterm() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
        )?))
    }

    pub(super) fn is_requested(&self) -> bool {
        self.is_requested_within(Duration::ZERO)
    }

    /// Waits up to `pause` for the request.
    pub(super) fn is_requested_within(&self, pause: Duration) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        matches!(poll(&mut fds, timeout), Ok(n) if n > 0)
    }
}
