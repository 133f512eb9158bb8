//! What a child gives up besides its sandbox: capabilities (capabilities(7)), core dumps, and being
//! read by other processes of the same user.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::resource::{Resource, setrlimit};

/// Gives up every capability that is not in `kept`, for this process and all that it starts, for
/// good. Must be called by the only thread of the process.
///
/// # Errors
/// A capget(2) or capset(2) that failed, such as where a container's filter forbids them.
pub fn keep_only(kept: &[Capability]) -> Result<(), CapsError> {
    // Before the other sets: it needs CAP_SETPCAP. A process without that has no capabilities of
    // root to pass on.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::read(None, CapSet::Bounding)? {
            if !kept.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability)?;
            }
        }
    }
    // The effective set must always be within the permitted one. The ambient set loses what leaves
    // the inheritable set.
    caps::clear(None, CapSet::Inheritable)?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        let held = caps::read(None, set)?;
        let left: CapsHashSet = held.into_iter().filter(|c| kept.contains(c)).collect();
        caps::set(None, set, &left)?;
    }
    Ok(())
}

/// No core dump of this process, and no other process of this user can read its memory, also
/// without Landlock.
///
/// # Errors
/// Those of setrlimit(2) and prctl(2).
pub fn keep_memory_private() -> nix::Result<()> {
    let dumps = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    nix::sys::prctl::set_dumpable(false).and(dumps)
}
