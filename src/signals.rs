//! How this process handles signals.
#![allow(unsafe_code)]

use nix::sys::signal::Signal;

/// Whether this process ignores `signal`, as `nohup` and a shell's `&` make it.
///
/// # Errors
/// sigaction(2) fails, which it does for no [`Signal`].
pub fn is_ignored(signal: Signal) -> nix::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the current one, to memory of its size.
    nix::errno::Errno::result(unsafe {
        libc::sigaction(signal as libc::c_int, std::ptr::null(), action.as_mut_ptr())
    })?;
    // SAFETY: the call succeeded, so it has written the whole structure.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
}
