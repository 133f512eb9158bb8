//! The sandbox by trying what it must refuse. The kernel restricts a thread, so each attempt has a
//! thread of its own; the restrictions of the running program's processes are read from procfs.
#![allow(unsafe_code)] // system calls that no safe function makes

use crate::common::viewer::Viewer;
use crate::common::{Program, until};
use stampcast::supervise::sandbox::{without_files, without_network};
use std::fs::File;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};

/// Runs it on a thread of its own.
fn apart(body: impl FnOnce() + Send + 'static) {
    std::thread::spawn(body)
        .join()
        .expect("the thread found what it should");
}

fn denied<T>(outcome: std::io::Result<T>) -> bool {
    outcome.is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn sandbox_worker_and_its_children_open_no_network_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    apart(move || {
        assert!(TcpStream::connect(at).is_ok(), "before");
        without_network().expect("this kernel has what it takes");
        assert!(denied(TcpStream::connect(at)));
        assert!(denied(TcpListener::bind("127.0.0.1:0")));
        assert!(denied(TcpListener::bind("[::1]:0")));
        assert!(denied(UdpSocket::bind("0.0.0.0:0")));
        let shell = |script: &str| {
            Command::new("bash")
                .args(["-c", script])
                .stderr(Stdio::null())
                .status()
                .expect("bash starts")
                .success()
        };
        assert!(shell("true"), "programs still start (rpicam-vid)");
        assert!(
            !shell(&format!("exec 3<>/dev/tcp/127.0.0.1/{}", at.port())),
            "and are bound by the same rule"
        );
    });
}

/// The kernel's answer to a system call without arguments.
fn errno_of(call: i64) -> nix::errno::Errno {
    // SAFETY: each of the calls made here refuses these arguments, or takes zeros for nothing to
    // do; none reads or writes through a null pointer of ours.
    let _ = unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
    nix::errno::Errno::last()
}

#[test]
fn sandbox_worker_calls_for_sockets_or_foreign_memory_are_refused() {
    use nix::errno::Errno;
    let calls = [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_pidfd_getfd,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
    ];
    let families = [
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_PACKET,
        libc::AF_VSOCK,
        libc::AF_BLUETOOTH,
        libc::AF_ALG,
        libc::AF_XDP,
    ];
    // SAFETY: socket and socketpair are given numbers and the address of a live array of two.
    let socket = |family| Errno::result(unsafe { libc::socket(family, libc::SOCK_DGRAM, 0) }).err();
    let pair = |family| {
        let mut fds = [0; 2];
        // SAFETY: as above.
        Errno::result(unsafe { libc::socketpair(family, libc::SOCK_STREAM, 0, fds.as_mut_ptr()) })
            .err()
    };
    apart(move || {
        for call in calls {
            assert_ne!(errno_of(call), Errno::EACCES, "{call}, before");
        }
        without_network().expect("this kernel has what it takes");
        for call in calls {
            assert_eq!(errno_of(call), Errno::EACCES, "{call}");
        }
        for family in families {
            assert_eq!(socket(family), Some(Errno::EACCES), "family {family}");
            assert_eq!(
                pair(family),
                Some(Errno::EACCES),
                "a pair of family {family}"
            );
        }
        // PTRACE_TRACEME would have no effect here but on this thread.
        assert_eq!(errno_of(libc::SYS_ptrace), Errno::EACCES);
        let node = std::env::temp_dir().join(format!("stampcast-node-{}", std::process::id()));
        let made = nix::sys::stat::mknod(
            &node,
            nix::sys::stat::SFlag::S_IFCHR,
            nix::sys::stat::Mode::S_IRUSR,
            0,
        );
        assert!(
            matches!(made, Err(Errno::EACCES | Errno::EPERM)),
            "a device node: {made:?}"
        );
    });
}

#[test]
fn sandbox_server_reaches_no_unix_socket_and_keeps_the_network() {
    use nix::errno::Errno;
    use std::net::ToSocketAddrs;
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("service");
    let service = std::os::unix::net::UnixListener::bind(&path).expect("it is new");
    apart(move || {
        assert!(UnixStream::connect(&path).is_ok(), "before");
        without_files(&[]).expect("this kernel has what it takes");
        assert!(denied(UnixStream::connect(&path)));
        assert!(denied(UnixDatagram::unbound()));
        assert!(
            denied(UnixDatagram::pair()),
            "it could be connected elsewhere"
        );
        UnixStream::pair().expect("tokio's signals stay");
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_open_by_handle_at,
            libc::SYS_io_uring_setup,
            libc::SYS_ptrace,
        ] {
            assert_eq!(errno_of(call), Errno::EACCES, "{call}");
        }
        assert!(nix::ifaddrs::getifaddrs().is_ok(), "netlink stays");
        ("localhost", 80)
            .to_socket_addrs()
            .expect("names are still found");
        let listener = TcpListener::bind("127.0.0.1:0").expect("the network stays");
        TcpStream::connect(listener.local_addr().expect("it is bound")).expect("the network stays");
        UdpSocket::bind("[::]:0").expect("the network stays");
    });
    drop(service);
}

/// The children share the terminal with the shell that started the program.
#[test]
fn sandbox_children_cannot_inject_terminal_input() {
    use nix::errno::Errno;
    use std::os::fd::AsRawFd;
    // No terminal, so that nothing is really injected: a request that is not refused gets ENOTTY.
    let null = std::sync::Arc::new(File::open("/dev/null").expect("it is there"));
    let said = move |request| {
        // SAFETY: what the kernel would read is one byte.
        Errno::result(unsafe { libc::ioctl(null.as_raw_fd(), request, c"x".as_ptr()) }).err()
    };
    for enter in [|| without_network(), || without_files(&[])] {
        let said = said.clone();
        apart(move || {
            assert_eq!(
                [libc::TIOCSTI, libc::TIOCLINUX].map(&said),
                [Some(Errno::ENOTTY); 2],
                "before"
            );
            enter().expect("this kernel has what it takes");
            assert_eq!(
                [libc::TIOCSTI, libc::TIOCLINUX].map(&said),
                [Some(Errno::EACCES); 2]
            );
            assert_eq!(
                said(libc::TCSBRK),
                Some(Errno::ENOTTY),
                "other requests pass"
            );
        });
    }
}

#[test]
fn sandbox_worker_keeps_access_for_alsa_udev_and_devices() {
    apart(|| {
        without_network().expect("this kernel has what it takes");
        UnixStream::pair().expect("UNIX sockets stay");
        UnixDatagram::unbound().expect("UNIX sockets stay");
        assert!(nix::ifaddrs::getifaddrs().is_ok(), "netlink stays");
        File::open("/dev/null").expect("devices stay");
        File::open("/etc/passwd").expect("files stay");
        let thread = std::thread::spawn(|| UnixStream::pair().is_ok());
        assert!(thread.join().expect("threads start"));
    });
}

#[test]
fn sandbox_worker_reaches_no_other_process() {
    let mut other = Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("sleep starts");
    let pid = other.id();
    apart(move || {
        let memory = || {
            std::fs::OpenOptions::new()
                .write(true)
                .open(format!("/proc/{pid}/mem"))
        };
        assert!(memory().is_ok(), "before");
        without_network().expect("this kernel has what it takes");
        assert!(denied(memory()), "its memory");
        let kill = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid as i32),
            nix::sys::signal::Signal::SIGKILL,
        );
        assert_eq!(kill, Err(nix::errno::Errno::EPERM));
    });
    other.kill().expect("it still lives");
    other.wait().expect("it is our child");
}

#[test]
fn sandbox_server_reads_only_its_files_including_renewed_ones() {
    let home = tempfile::tempdir().expect("a directory");
    let (live, archive, elsewhere) = (
        home.path().join("live"),
        home.path().join("archive"),
        home.path().join("elsewhere"),
    );
    for dir in [&live, &archive, &elsewhere] {
        std::fs::create_dir(dir).expect("it is new");
        std::fs::write(dir.join("1"), "one").expect("it is writable");
    }
    // The layout that certificate renewal tools use.
    std::os::unix::fs::symlink("../archive/1", live.join("cert")).expect("it is new");
    let (dir, own) = (live.clone(), live.join("cert"));
    let (renew, renewed) = std::sync::mpsc::channel::<()>();
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let mut other = Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("sleep starts");
    let other_pid = nix::unistd::Pid::from_raw(other.id() as i32);
    let server = std::thread::spawn(move || {
        without_files(std::slice::from_ref(&own)).expect("this kernel has what it takes");
        let signalled = nix::sys::signal::kill(other_pid, nix::sys::signal::Signal::SIGKILL);
        assert_eq!(
            signalled,
            Err(nix::errno::Errno::EPERM),
            "it signals nobody"
        );
        let read = |path: &std::path::Path| std::fs::read_to_string(path);
        assert_eq!(read(&own).expect("its own"), "one");
        ask.send(()).expect("the test listens");
        renewed.recv().expect("the test speaks");
        assert_eq!(read(&own).expect("its own, renewed"), "two");
        assert!(denied(read(&elsewhere.join("1"))));
        assert!(
            denied(std::fs::write(dir.join("new"), "x")),
            "it writes nowhere"
        );
        for path in [
            "/etc/passwd",
            "/dev/null",
            "/dev/zero",
            "/proc/self/environ",
        ] {
            assert!(denied(File::open(path)), "{path}");
        }
        assert!(
            denied(Command::new("/bin/true").status()),
            "it starts no program"
        );
        File::open("/etc/hosts").expect("names are still found");
        TcpListener::bind("127.0.0.1:0").expect("the network stays");
    });
    asked.recv().expect("the server reads");
    std::fs::write(archive.join("2"), "two").expect("it is writable");
    std::os::unix::fs::symlink("../archive/2", live.join("next")).expect("it is new");
    std::fs::rename(live.join("next"), live.join("cert")).expect("both are there");
    renew.send(()).expect("the server listens");
    server.join().expect("the server found what it should");
    other.kill().expect("it still lives");
    other.wait().expect("it is our child");
}

/// A line of /proc/PID/status.
fn status(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
        .to_owned()
}

#[test]
fn sandbox_holds_every_child_also_after_a_restart() {
    let program = Program::start(&["--camera-type", "test", "--enable-audio"]);
    Viewer::connect(&program.url("")).frame();
    program.line(&["stampcast-serve", "sandbox active: "]);
    for name in ["stampcast-video", "stampcast-audio"] {
        program.line(&[name, "sandbox active: "]);
        let first = program.child(name, None);
        assert_eq!(
            (status(first, "Seccomp"), status(first, "NoNewPrivs")),
            ("2".into(), "1".into()),
            "{name}"
        );
        crate::common::kill(first, libc::SIGKILL);
        let second = program.child(name, Some(first));
        until("the new worker's sandbox", || {
            (status(second, "Seccomp") == "2").then_some(())
        });
    }
    let server = program.child("stampcast-serve", None);
    assert_eq!(
        (status(server, "Seccomp"), status(server, "NoNewPrivs")),
        ("2".into(), "1".into())
    );
    assert_eq!(
        status(program.pid(), "NoNewPrivs"),
        "0",
        "the supervisor restarts them with all rights"
    );
    Viewer::connect(&program.url("")).frame();
    let lines = program.lines();
    assert!(!lines.iter().any(|l| l.contains("sandbox is incomplete")));
    assert_eq!(
        lines
            .iter()
            .filter(|l| l.contains("sandbox active: "))
            .count(),
        3,
        "once for each of the three: {lines:?}"
    );
}

#[test]
fn sandbox_disabled_leaves_every_child_its_rights() {
    let program = Program::start(&["--camera-type", "test", "--no-sandbox"]);
    Viewer::connect(&program.url("")).frame();
    let worker = program.child("stampcast-video", None);
    assert_eq!(
        (status(worker, "Seccomp"), status(worker, "NoNewPrivs")),
        ("0".into(), "0".into())
    );
}

/// Only root has capabilities to drop.
#[test]
fn capabilities_as_root_are_reduced_to_those_needed() {
    // CAP_DAC_READ_SEARCH, NET_BIND_SERVICE; CAP_CHOWN, DAC_OVERRIDE, FOWNER, IPC_OWNER, SYS_NICE.
    let (server, worker) = (1 << 2 | 1 << 10, 1 | 1 << 1 | 1 << 3 | 1 << 15 | 1 << 23);
    let program = Program::start(&["--camera-type", "test", "--enable-audio"]);
    Viewer::connect(&program.url("")).frame();
    let set =
        |pid, name| u64::from_str_radix(&status(pid, name), 16).expect("a set of capabilities");
    for (name, kept) in [
        ("stampcast-serve", server),
        ("stampcast-video", worker),
        ("stampcast-audio", worker),
    ] {
        let pid = program.child(name, None);
        until("its sandbox", || {
            (status(pid, "Seccomp") == "2").then_some(())
        });
        for which in ["CapEff", "CapPrm"] {
            assert_eq!(
                set(pid, which),
                set(program.pid(), which) & kept,
                "{which} of {name}"
            );
        }
        assert_eq!((set(pid, "CapInh"), set(pid, "CapAmb")), (0, 0), "{name}");
        if nix::unistd::geteuid().is_root() {
            assert_eq!(
                set(pid, "CapBnd"),
                set(program.pid(), "CapBnd") & kept,
                "{name}, and what it starts"
            );
        }
    }
}

/// The procfs entries of an untraceable process belong to root.
#[test]
fn server_leaves_no_core_dump_and_is_not_traceable() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let home = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755))
        .expect("it is ours");
    let binary = home.path().join("stampcast");
    std::fs::copy(env!("CARGO_BIN_EXE_stampcast"), &binary).expect("there is room");
    let mut command = Command::new(&binary);
    command
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--camera-type",
            "test",
        ])
        .current_dir("/");
    if nix::unistd::geteuid().is_root() {
        command.uid(65534);
    }
    let program = Program::spawn(&mut command);
    Viewer::connect(&program.url("")).frame();
    let server = program.child("stampcast-serve", None);
    let owner = |pid: u32| {
        std::fs::metadata(format!("/proc/{pid}/environ"))
            .expect("it lives")
            .uid()
    };
    assert_ne!(
        owner(program.pid()),
        0,
        "the supervisor, which has no token in its memory"
    );
    assert_eq!(owner(server), 0);
    let limits = std::fs::read_to_string(format!("/proc/{server}/limits"));
    if nix::unistd::geteuid().is_root() {
        let limits = limits.expect("root reads everything");
        let core = limits
            .lines()
            .find_map(|l| l.strip_prefix("Max core file size"))
            .expect("the kernel tells it");
        assert_eq!(
            core.split_whitespace().take(2).collect::<Vec<_>>(),
            ["0", "0"]
        );
    }
}
