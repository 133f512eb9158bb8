//! The system calls of supervision: fork, reap, parent-death signal, closing descriptors that a
//! child must not have. Decides nothing.
#![allow(unsafe_code)]

use super::child_id::ChildId;
use super::restart_policy::ExitReason;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, killpg, pthread_sigmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getpid, getppid, setpgid};
use std::os::fd::RawFd;

/// Forks `id`, which runs `main` and exits with its code. The caller must be the process's only
/// thread.
///
/// # Errors
/// Those of fork(2): no memory, or the process limit reached.
pub fn fork(id: &ChildId, main: impl FnOnce() -> u8) -> nix::Result<Pid> {
    assert_eq!(
        threads(),
        1,
        "only a single-threaded process may fork and go on"
    );
    let parent = getpid();
    // SAFETY: there is one thread (asserted above), so no lock of another thread can be held across
    // the fork, and the child may allocate and run ordinary code.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => {
            // Both sides set the group, so that neither can find it unset. The child may already
            // have exited.
            let _ = setpgid(child, child);
            Ok(child)
        }
        ForkResult::Child => {
            become_child(id, parent);
            std::process::exit(main().into())
        }
    }
}

fn become_child(id: &ChildId, parent: Pid) {
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    // The parent may have exited between the fork and the line above.
    if getppid() != parent {
        std::process::exit(0);
    }
    let name = std::ffi::CString::new(id.process_name()).expect("a process name has no NUL");
    let _ = nix::sys::prctl::set_name(&name);
    crate::log::name_process(&id.name());
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Restores the default action of SIGCHLD: where it was inherited as ignored, children vanish
/// without a status.
///
/// # Errors
/// Those of sigaction(2); none for SIGCHLD.
pub fn restore_sigchld() -> nix::Result<()> {
    // SAFETY: the default action runs no code of ours.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// The number of threads of this process, from procfs; 1 without procfs.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, |d| d.count())
}

/// Closes every descriptor above standard error except those of `keep`: a worker must not accept on
/// the listener nor reach another worker's ring, and no child may keep a pipe open that was
/// inherited from whoever started the program.
pub fn close_all_but(keep: &[RawFd]) {
    let open = |path: &str| -> Option<Vec<RawFd>> {
        Some(
            std::fs::read_dir(path)
                .ok()?
                .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
                .collect(),
        )
    };
    let fds = open("/proc/self/fd").unwrap_or_else(|| (3..1024).collect());
    for fd in fds.into_iter().filter(|fd| *fd > 2 && !keep.contains(fd)) {
        // SAFETY: the descriptor is not in `keep`, and its owner in the parent is neither used nor
        // dropped in this child, which ends by `exit` and not by returning. EBADF (the directory's
        // own descriptor) is harmless.
        unsafe { libc::close(fd) };
    }
}

/// Drops the capability with this number from the bounding set of this thread: what it executes can
/// never have it. `false`: the kernel has no such capability.
///
/// # Errors
/// EPERM: the thread has no CAP_SETPCAP.
pub fn drop_from_bounding_set(number: u8) -> nix::Result<bool> {
    // The kernel reads all arguments as unsigned long.
    let number = libc::c_ulong::from(number);
    // SAFETY: these operations of prctl(2) have one argument, a number, and access no memory.
    let is_there = unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) };
    if is_there < 0 {
        return Ok(false);
    }
    // SAFETY: as above.
    let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
    nix::errno::Errno::result(dropped).map(|_| true)
}

/// A child that has exited, if there is one. Never blocks.
pub fn reap() -> Option<(Pid, ExitReason)> {
    loop {
        return match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => Some((pid, ExitReason::Code(code))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                Some((pid, ExitReason::Signal(signal as i32)))
            }
            Err(nix::errno::Errno::EINTR) => continue,
            Ok(WaitStatus::StillAlive) | Err(_) => None,
            Ok(_) => continue, // stopped or continued, not exited
        };
    }
}

/// Kills what is left of a child's process group: a worker killed by SIGKILL leaves its own
/// children (rpicam-vid) behind.
pub fn kill_group(leader: Pid) {
    let _ = killpg(leader, Signal::SIGKILL);
}
