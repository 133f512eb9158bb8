//! The sandboxes that children enter before they read the first byte from outside, so that a
//! compromised parser gains little: the server keeps no files except its own, the workers no
//! network. Both are final, also for the programs that they start.
//!
//! Best effort: without Landlock (Linux 5.13), without seccomp, or on an architecture without a
//! filter, a child keeps its rights, and the caller logs that.

use super::capabilities::CapabilityError;
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Linux 6.12: the newest rights that were reviewed. An older kernel enforces those that it knows.
const ABI_CHECKED: ABI = ABI::V6;

/// The files of name resolution and the system's certificates.
const RESOLVER_AND_CA: [&str; 13] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
];

/// Why a sandbox is missing or incomplete.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("Landlock failed")]
    Landlock(#[from] landlock::RulesetError),
    #[error("this kernel does not support Landlock")]
    NoLandlock,
    #[error("this kernel's Landlock is older than Linux 6.12: some of the rules are not enforced")]
    OldLandlock,
    #[error("seccomp failed")]
    Seccomp(#[from] seccompiler::Error),
    #[error("no seccomp filter can be made for this architecture")]
    Filter(#[from] seccompiler::BackendError),
    #[error("the capabilities cannot be dropped")]
    Capabilities(#[source] CapabilityError),
    #[error("the memory cannot be excluded from core dumps")]
    Memory(#[source] nix::Error),
}

impl SandboxError {
    /// Whether this kernel does not support it: each try on it fails.
    pub fn is_kernel_limit(&self) -> bool {
        matches!(self, Self::NoLandlock | Self::OldLandlock | Self::Filter(_))
    }
}

/// Enters the server's sandbox: it can open no files except those in the directories of
/// `files` (the token, the certificate) and those of name resolution, no device; it writes no
/// file, starts no program, connects to no UNIX socket, signals no process outside, and gains
/// no privilege. What is open stays open.
///
/// The directories, not the files: a renewed file is put in place by rename, and is another file.
///
/// # Errors
/// A part is not available; the others are in force.
pub fn without_files(files: &[PathBuf]) -> Result<(), SandboxError> {
    let services = local_filter()
        .map_err(SandboxError::from)
        .and_then(|filter| Ok(apply_filter(&filter)?));
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let ours: BTreeSet<PathBuf> = files.iter().flat_map(|f| directories(f)).collect();
    let theirs = RESOLVER_AND_CA.into_iter().map(PathBuf::from);
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI_CHECKED))?
        .scope(Scope::from_all(ABI_CHECKED))?
        .create()?
        .add_rules(path_beneath_rules(ours.into_iter().chain(theirs), read))?;
    let files = rules
        .restrict_self()
        .map_err(SandboxError::from)
        .and_then(|status| check(&status));
    files.and(services)
}

/// Enters the workers' sandbox: neither they nor the programs that they start (rpicam-vid) can open
/// a network socket, or trace, read or signal other processes. Devices stay accessible: they come
/// and go.
///
/// UNIX and netlink sockets stay: ALSA's plugins and udev use them.
///
/// # Errors
/// A part is not available; the others are in force.
pub fn without_network() -> Result<(), SandboxError> {
    let network = network_filter()
        .map_err(SandboxError::from)
        .and_then(|filter| Ok(apply_filter(&filter)?));
    // A process in a Landlock domain cannot trace those outside it, nor write their memory through
    // /proc, which seccomp could not tell from other writes. A domain must deny some right; no
    // worker makes device nodes.
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::MakeBlock | AccessFs::MakeChar)?
        .scope(Scope::Signal)?
        .create()?;
    let others = rules
        .restrict_self()
        .map_err(SandboxError::from)
        .and_then(|status| check(&status));
    network.and(others)
}

fn check(status: &landlock::RestrictionStatus) -> Result<(), SandboxError> {
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err(SandboxError::OldLandlock),
        RulesetStatus::NotEnforced => Err(SandboxError::NoLandlock),
    }
}

/// The directories of a file and of what it links to: certificates are often symbolic links into an
/// archive. For a file in `/` itself, the file.
pub(super) fn directories(file: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(file).ok();
    let real = std::fs::canonicalize(file).ok();
    let directory = |file: PathBuf| match file.parent() {
        Some(parent) if parent != Path::new("/") => parent.to_owned(),
        _ => file,
    };
    absolute
        .into_iter()
        .chain(real)
        .map(directory)
        .filter(|d| PathFd::new(d).is_ok())
        .collect()
}

/// System calls that neither video, audio nor network need. io_uring would make sockets that the
/// filter does not see.
const NEVER: [libc::c_long; 7] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_ptrace,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
];

/// Allows everything except opening a network socket or taking one from another process.
fn network_filter() -> Result<BpfProgram, seccompiler::BackendError> {
    filter([
        (
            libc::SYS_socket,
            vec![family_other_than(&[libc::AF_UNIX, libc::AF_NETLINK])?],
        ),
        (
            libc::SYS_socketpair,
            vec![family_other_than(&[libc::AF_UNIX])?],
        ),
    ])
}

/// Allows everything except making UNIX sockets, by which services of this machine can be reached
/// and which Landlock does not restrict, starting a program, and opening a file by its handle.
/// Pairs of stream sockets stay, which tokio's signals go through: unlike datagram sockets these
/// can never be connected elsewhere. The descriptor channel is such a pair, made before the fork.
fn local_filter() -> Result<BpfProgram, seccompiler::BackendError> {
    /// The type without its flags, SOCK_TYPE_MASK of linux/net.h.
    const TYPE: u64 = 0xf;
    let pair_of = |kind: i32| {
        let kind = SeccompCondition::new(
            1,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(TYPE),
            kind as u64,
        )?;
        SeccompRule::new(vec![kind])
    };
    let mut pairs = vec![family_other_than(&[libc::AF_UNIX])?];
    for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET] {
        pairs.push(pair_of(kind)?);
    }
    filter([
        (
            libc::SYS_socket,
            vec![family_other_than(&[
                libc::AF_INET,
                libc::AF_INET6,
                libc::AF_NETLINK,
            ])?],
        ),
        (libc::SYS_socketpair, pairs),
        (libc::SYS_execve, Vec::new()),
        (libc::SYS_execveat, Vec::new()),
        (libc::SYS_open_by_handle_at, Vec::new()),
    ])
}

fn family_other_than(wanted: &[i32]) -> Result<SeccompRule, seccompiler::BackendError> {
    let other_than = |family: &i32| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *family as u64)
    };
    SeccompRule::new(wanted.iter().map(other_than).collect::<Result<_, _>>()?)
}

/// Numbers of system calls and ioctls have 32 bits on 32-bit ARM, else 64.
fn widened<T>(number: impl Into<T>) -> T {
    number.into()
}

/// Refuses these calls where one of their rules matches, always where they have none, and
/// [`NEVER`]. With EACCES, as a firewall would: a library that tries continues.
fn filter(
    calls: impl IntoIterator<Item = (libc::c_long, Vec<SeccompRule>)>,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, _> = calls
        .into_iter()
        .chain(NEVER.map(|call| (call, Vec::new())))
        .map(|(call, rules)| (widened(call), rules))
        .collect();
    // The terminal is that of the user's shell: what is put into its input would be typed into it.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| {
        let request = widened(request);
        SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)
    });
    rules.insert(
        widened(libc::SYS_ioctl),
        typing
            .into_iter()
            .map(|is| SeccompRule::new(vec![is?]))
            .collect::<Result<_, _>>()?,
    );
    // The same calls under the numbers of the x32 ABI, which kernels may have.
    #[cfg(target_arch = "x86_64")]
    {
        const X32: i64 = 0x4000_0000;
        let doubled: Vec<_> = rules
            .iter()
            .map(|(call, rules)| (call | X32, rules.clone()))
            .collect();
        rules.extend(doubled);
    }
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EACCES as u32),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}
