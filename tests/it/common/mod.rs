//! The program under test: started as a user would, observed by its log, ended with all its
//! children.

pub mod viewer;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Much longer than any condition needs; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running stampcast on a port of its own.
pub struct Program {
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Program {
    pub fn start(args: &[&str]) -> Self {
        Self::spawn(
            Command::new(env!("CARGO_BIN_EXE_stampcast"))
                .args(["--host", "127.0.0.1", "--port", "0"])
                .args(args),
        )
    }

    /// For tests that read the server's `/proc` entries: only root can while the sandbox is on.
    pub fn start_open(args: &[&str]) -> Self {
        let open: &[&str] = if nix::unistd::geteuid().is_root() {
            &[]
        } else {
            &["--no-sandbox"]
        };
        Self::start(&[args, open].concat())
    }

    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("it is piped");
        Self::watch(child, stderr)
    }

    /// Its log goes to a terminal.
    pub fn on_terminal(args: &[&str]) -> Self {
        let terminal = nix::pty::openpty(None, None).expect("a terminal");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stampcast"));
        command
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(args);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(terminal.slave)
            .spawn()
            .expect("the program starts");
        Self::watch(child, std::fs::File::from(terminal.master))
    }

    fn watch(child: Child, stderr: impl Read + Send + 'static) -> Self {
        let log = Arc::new(Log::default());
        let sink = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("| {line}");
                sink.lines
                    .lock()
                    .expect("no test panics while it holds the log")
                    .push(line);
                sink.grown.notify_all();
            }
        });
        Self { child, log }
    }

    /// Waits for the first log line that contains all of `parts`.
    pub fn line(&self, parts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self
            .log
            .lines
            .lock()
            .expect("no test panics while it holds the log");
        loop {
            if let Some(line) = lines.iter().find(|l| parts.iter().all(|p| l.contains(p))) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no log line with {parts:?}");
            lines = self
                .log
                .grown
                .wait_timeout(lines, left)
                .expect("no test panics while it holds the log")
                .0;
        }
    }

    pub fn lines(&self) -> Vec<String> {
        self.log
            .lines
            .lock()
            .expect("no test panics while it holds the log")
            .clone()
    }

    /// The port that the kernel picked, as the program printed it.
    pub fn port(&self) -> u16 {
        let line = self.line(&["listening on http", "://127.0.0.1:"]);
        let after = line
            .split("://127.0.0.1:")
            .nth(1)
            .expect("the line holds it");
        after
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|p| p.parse().ok())
            .expect("a port follows")
    }

    pub fn url(&self, query: &str) -> String {
        format!("ws://127.0.0.1:{}/stream{query}", self.port())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process ids of the children with this name, as `ps` shows it.
    pub fn children(&self, name: &str) -> Vec<u32> {
        let parent = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
            .unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|p| p.parse().ok())
            .filter(|p| comm(*p).as_deref() == Some(name))
            .collect()
    }

    /// Waits for the one child with this name that is not `other`.
    pub fn child(&self, name: &str, other: Option<u32>) -> u32 {
        until(&format!("a process {name}"), || {
            self.children(name).into_iter().find(|p| Some(*p) != other)
        })
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Waits for the program's own end.
    pub fn wait(&mut self) -> ExitStatus {
        until("the program's end", || {
            self.child.try_wait().expect("the program is our child")
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(self.pid(), libc::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(5);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs the program to its end: exit code and output.
pub fn run(args: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_stampcast"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    (
        out.status.code(),
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
    )
}

/// Polls until there is a value; fails the test after [`PATIENCE`].
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn kill(pid: u32, signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).expect("a signal's number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal)
        .expect("the process is there");
}

pub fn comm(pid: u32) -> Option<String> {
    Some(
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .ok()?
            .trim_end()
            .to_owned(),
    )
}

/// Whether the process exists and is no zombie.
pub fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim_start().starts_with('Z') && !rest.is_empty())
}

/// What the process's descriptors point to.
pub fn descriptors(pid: u32) -> Vec<String> {
    let Ok(dir) = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return Vec::new();
    };
    dir.filter_map(|e| {
        Some(
            std::fs::read_link(e.ok()?.path())
                .ok()?
                .to_string_lossy()
                .into_owned(),
        )
    })
    .collect()
}
