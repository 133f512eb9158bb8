//! What a child gives up besides its sandbox: capabilities (capabilities(7)), core dumps, and being
//! read by other processes of the same user.

use super::process::drop_from_bounding_set;
use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::resource::{Resource, setrlimit};

/// Gives up every capability that is not in `kept`, for this process and all that it starts, for
/// good. Must be called by the only thread of the process.
///
/// # Errors
/// A capget(2), capset(2) or prctl(2) that failed, such as where a container's filter forbids it.
pub fn keep_only(kept: &[Capability]) -> Result<(), CapabilityError> {
    // Before the other sets: it needs CAP_SETPCAP. A process without that has no capabilities of
    // root to pass on.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        reduce_bounding_set(kept, drop_from_bounding_set)?;
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

/// Drops all capabilities but `kept` from the bounding set, by number: a newer kernel may have some
/// that the crate has no name for. `drop_it` answers whether the kernel has a capability of that
/// number.
fn reduce_bounding_set(
    kept: &[Capability],
    mut drop_it: impl FnMut(u8) -> nix::Result<bool>,
) -> nix::Result<()> {
    for number in 0..=u8::MAX {
        let is_kept = kept.iter().any(|capability| capability.index() == number);
        if !is_kept && !drop_it(number)? {
            break;
        }
    }
    Ok(())
}

/// Why capabilities cannot be dropped.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    #[error(transparent)]
    Sets(#[from] CapsError),
    #[error("the bounding set cannot be reduced: {0}")]
    BoundingSet(#[from] nix::Error),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounding_set_numbers_unknown_to_the_crate_are_dropped() {
        let known = caps::all().len() as u8;
        let kernel_has = known + 5;
        let (mut dropped, kept) = (
            Vec::new(),
            [Capability::CAP_CHOWN, Capability::CAP_SYS_NICE],
        );
        let drop_it = |number| {
            let exists = number < kernel_has;
            dropped.extend(exists.then_some(number));
            Ok(exists)
        };
        reduce_bounding_set(&kept, drop_it).expect("nothing fails");
        let kept = kept.map(|capability| capability.index());
        let all_others: Vec<u8> = (0..kernel_has).filter(|n| !kept.contains(n)).collect();
        assert_eq!(dropped, all_others);
    }

    #[test]
    fn bounding_set_error_is_returned() {
        let refused = reduce_bounding_set(&[], |_| Err(nix::Error::EPERM));
        assert_eq!(refused, Err(nix::Error::EPERM));
    }
}
