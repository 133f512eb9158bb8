//! The kernel's side of supervision: fork, reap, death signals, closing what a child must not have. Decides nothing.
#![allow(unsafe_code)]

use super::restart_policy::Death;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, killpg, pthread_sigmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getpid, getppid, setpgid};
use std::os::fd::RawFd;

/// Forks; the child runs `main` and exits with its code. The caller must be the process's only thread.
///
/// # Errors
/// What fork(2) says: no memory, or the process limit reached.
pub fn fork(name: &'static str, main: impl FnOnce() -> u8) -> nix::Result<Pid> {
    assert_eq!(
        threads(),
        1,
        "only a single-threaded process may fork and go on"
    );
    let parent = getpid();
    // SAFETY: there is one thread (asserted above), so no lock of another thread can be held across the fork, and the
    // child may allocate and run ordinary code.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => {
            // Both sides set the group, so that neither can find it unset. The child may already have ended.
            let _ = setpgid(child, child);
            Ok(child)
        }
        ForkResult::Child => {
            become_child(name, parent);
            std::process::exit(main().into())
        }
    }
}

fn become_child(name: &'static str, parent: Pid) {
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    // The parent may have died between the fork and the line above.
    if getppid() != parent {
        std::process::exit(0);
    }
    let short = std::ffi::CString::new(name).expect("a process name has no NUL");
    let _ = nix::sys::prctl::set_name(&short);
    crate::log::name_process(name);
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Gives SIGCHLD its default meaning: where it was inherited as ignored, children vanish and nobody can be told.
///
/// # Errors
/// What sigaction(2) says; it knows SIGCHLD.
pub fn hear_of_children() -> nix::Result<()> {
    // SAFETY: the default action runs no code of ours.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// Threads of this process, from procfs; 1 where procfs cannot say.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, |d| d.count())
}

/// Closes every descriptor above standard error but those of `keep`: a child must not accept on the listener, nor reach
/// the other worker's ring, nor keep a pipe of whoever started the program open.
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
        // SAFETY: the descriptor is not in `keep`, and whatever owned it in the parent is never used nor dropped in this
        // child, which leaves by `exit` and not by returning. EBADF (the directory's own descriptor) is harmless.
        unsafe { libc::close(fd) };
    }
}

/// One child that has ended, if any has; never waits.
pub fn reap() -> Option<(Pid, Death)> {
    loop {
        return match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => Some((pid, Death::Code(code))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => Some((pid, Death::Signal(signal as i32))),
            Err(nix::errno::Errno::EINTR) => continue,
            Ok(WaitStatus::StillAlive) | Err(_) => None,
            Ok(_) => continue, // stopped or continued: not the end
        };
    }
}

/// Ends what is left of a child's group: a worker killed by SIGKILL leaves its own children (rpicam-vid) to us.
pub fn end_group(leader: Pid) {
    let _ = killpg(leader, Signal::SIGKILL);
}
