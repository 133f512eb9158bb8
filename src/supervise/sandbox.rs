//! What a child gives up before its first foreign byte, so that a broken parser gains little: the server keeps no files but
//! its own, the workers no network. Both for good, and for whatever they start. Knows no room.
//!
//! Best effort: a kernel without Landlock (Linux 5.13) or seccomp, or an architecture without a filter, leaves a child as it
//! is, and the caller says so in the log.

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

/// Linux 6.12: the newest rights whose meaning we have checked. An older kernel enforces those that it knows.
const ABI_CHECKED: ABI = ABI::V6;

/// Where name resolution and the system's certificates are looked up.
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

/// Why a child goes on without its sandbox, or with a part of it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("Landlock failed")]
    Landlock(#[from] landlock::RulesetError),
    #[error("this kernel has no Landlock")]
    NoLandlock,
    #[error("this kernel's Landlock is older than Linux 6.12: a part of the rules is not enforced")]
    OldLandlock,
    #[error("seccomp failed")]
    Seccomp(#[from] seccompiler::Error),
    #[error("no filter can be made for this machine")]
    Filter(#[from] seccompiler::BackendError),
    #[error("its capabilities cannot be given up")]
    Capabilities(#[source] nix::Error),
    #[error("its memory cannot be kept from core dumps")]
    Memory(#[source] nix::Error),
}

impl SandboxError {
    /// It is so for whoever tries, until another kernel runs.
    pub fn is_the_kernels(&self) -> bool {
        matches!(self, Self::NoLandlock | Self::OldLandlock | Self::Filter(_))
    }
}

/// For the server: from here on it opens no file but those in the directories of `files` (the token, the certificate) and what
/// name resolution needs, no device, starts no program, reaches no service by a UNIX socket, signals nobody, and gains no
/// privilege. What is open stays open.
///
/// The directories and not the files, since a renewed file arrives by rename and is another file.
///
/// # Errors
/// When not all of it could be had; what could be had is in force.
pub fn without_files(files: &[&Path]) -> Result<(), SandboxError> {
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
        .and_then(|status| judged(&status));
    files.and(services)
}

/// For the workers: from here on no network socket is made, by them or by what they start (rpicam-vid), and no other process
/// is traced, read or signalled. Devices stay within reach: they come and go.
///
/// UNIX and netlink sockets stay: ALSA's plugins and udev speak over them.
///
/// # Errors
/// When not all of it could be had; what could be had is in force.
pub fn without_network() -> Result<(), SandboxError> {
    let network = network_filter()
        .map_err(SandboxError::from)
        .and_then(|filter| Ok(apply_filter(&filter)?));
    // A process in a Landlock domain cannot trace those outside it, nor write their memory by way of /proc, which seccomp
    // could not tell from other writes. A domain needs a right to forbid; no worker makes device nodes.
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::MakeBlock | AccessFs::MakeChar)?
        .scope(Scope::Signal)?
        .create()?;
    let others = rules
        .restrict_self()
        .map_err(SandboxError::from)
        .and_then(|status| judged(&status));
    network.and(others)
}

fn judged(status: &landlock::RestrictionStatus) -> Result<(), SandboxError> {
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err(SandboxError::OldLandlock),
        RulesetStatus::NotEnforced => Err(SandboxError::NoLandlock),
    }
}

/// Where a file is, and where it really is: certificates are often symbolic links into an archive. A file in `/` itself stands
/// for itself alone.
fn directories(file: &Path) -> Vec<PathBuf> {
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

/// What never matters to camera, sound or network. io_uring makes sockets behind the filter's back.
const NEVER: [i64; 7] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_ptrace,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
];

/// Everything is allowed but what opens a network socket or takes one from another process.
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

/// Everything is allowed but what reaches a service of this machine by a UNIX socket, which Landlock does not restrict, starts
/// a program or opens a file by its number. A pair of stream sockets stays, which tokio's signals go through: unlike
/// datagram sockets these can never be connected elsewhere.
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

/// Refuses these calls where a rule of theirs matches, always where they have none, and [`NEVER`]. With EACCES, as a firewall
/// would: a library that tries lives on.
fn filter(
    calls: impl IntoIterator<Item = (i64, Vec<SeccompRule>)>,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<_, _> = calls
        .into_iter()
        .chain(NEVER.map(|call| (call, Vec::new())))
        .collect();
    // The terminal is shared with the person who started the program: what is put into its input is typed into their shell.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| {
        SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)
    });
    rules.insert(
        libc::SYS_ioctl,
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
