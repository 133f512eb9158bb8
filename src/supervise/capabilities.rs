//! What a child of root gives up beside its sandbox: capabilities (capabilities(7)), and being looked into. Decides nothing.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

/// Numbers from linux/capability.h.
pub const CHOWN: u32 = 0;
pub const DAC_OVERRIDE: u32 = 1;
pub const DAC_READ_SEARCH: u32 = 2;
pub const FOWNER: u32 = 3;
pub const NET_BIND_SERVICE: u32 = 10;
pub const IPC_OWNER: u32 = 15;
pub const SYS_NICE: u32 = 23;

/// The kernel's sets have 64 places.
const PLACES: u32 = 64;
/// _LINUX_CAPABILITY_VERSION_3: two words per set.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up every capability but those of `kept` that this process has, for itself and for whatever it starts, for good. The
/// caller must be the process's only thread.
///
/// # Errors
/// What capget(2), capset(2) or prctl(2) say; where a container's filter forbids them, say.
pub fn keep_only(kept: &[u32]) -> nix::Result<()> {
    let kept = kept.iter().fold(0u64, |set, n| set | 1 << n);
    let nothing: libc::c_ulong = 0;
    // Before the sets, since it takes a capability. Where the process lacks that one it has no root's rights to hand on.
    for n in (0..PLACES).filter(|n| kept & 1 << n == 0) {
        // SAFETY: numbers only.
        let dropped = unsafe {
            libc::prctl(
                libc::PR_CAPBSET_DROP,
                libc::c_ulong::from(n),
                nothing,
                nothing,
                nothing,
            )
        };
        match Errno::result(dropped) {
            Ok(_) => {}
            // Beyond the last capability that this kernel knows; or without CAP_SETPCAP.
            Err(Errno::EINVAL | Errno::EPERM) => break,
            Err(e) => return Err(e),
        }
    }
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut sets = [Sets::default(); 2];
    // SAFETY: with this version the kernel reads one header and writes two sets, which is what they are.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr())
    })?;
    for (set, kept) in sets.iter_mut().zip([kept as u32, (kept >> 32) as u32]) {
        *set = Sets {
            effective: set.effective & kept,
            permitted: set.permitted & kept,
            inheritable: 0,
        };
    }
    // SAFETY: as above, and the kernel only reads. What is not inheritable leaves the ambient set too.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) })
        .map(drop)
}

/// No core dump of this process, and no other process of this user reads its memory, also without Landlock.
///
/// # Errors
/// What setrlimit(2) and prctl(2) say.
pub fn keep_memory_private() -> nix::Result<()> {
    let dumps = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    nix::sys::prctl::set_dumpable(false).and(dumps)
}
