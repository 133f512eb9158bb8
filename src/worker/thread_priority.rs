//! The scheduling priority of the calling thread.
#![allow(unsafe_code)]

/// Adds to the calling thread's nice value, which Linux keeps per thread (setpriority(2)). Without
/// effect where the system refuses.
pub(super) fn add_niceness(by: i32) {
    // SAFETY: neither call takes a pointer. 0 is the calling thread.
    unsafe {
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        let _refused = libc::setpriority(libc::PRIO_PROCESS, 0, now.saturating_add(by));
    }
}
