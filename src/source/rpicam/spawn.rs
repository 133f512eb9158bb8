//! Starts a child that cannot outlive this thread. The only file here that runs code between fork
//! and exec.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Spawns `command`. It inherits `keep` under the same number, and is killed when the calling
/// *thread* ends (PR_SET_PDEATHSIG belongs to the thread that forks, prctl(2)).
///
/// # Errors
/// Those of fork(2), execve(2) and pipe(2).
pub(super) fn spawn(command: &mut Command, keep: &OwnedFd) -> io::Result<Child> {
    let parent = getpid();
    let fd = keep.as_raw_fd();
    let before_exec = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before that took effect: then no signal would be sent.
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        // SAFETY: fcntl with F_SETFD takes no pointer; `fd` is open, since `keep` is borrowed until
        // spawn returns.
        Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
        // SAFETY: signal with SIG_DFL takes no pointer. An ignored SIGINT would be inherited, and
        // the child could not be stopped by it.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: between fork and exec the closure calls prctl, getppid, fcntl and signal only, which
    // are async-signal-safe, and neither allocates nor locks (its errors are plain errno values).
    unsafe { command.pre_exec(before_exec) }.spawn()
}
