//! The rpicam-vid process: finds it, starts it, reads its pipes without blocking, and stops it in
//! bounded time.

use super::stderr_tail::StderrTail;
use super::{options, spawn};
use crate::config::VideoConfig;
use crate::media::MonoNs;
use crate::source::SourceError;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, pipe2};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

pub(super) const DEVICE: &str = "the Raspberry Pi camera";

/// From SIGINT to SIGKILL. rpicam-vid acts on SIGINT after the next frame.
const SIGINT_TIMEOUT: Duration = Duration::from_millis(500);
/// From SIGKILL to the end. Only a hanging driver takes longer; the kernel then ends the process
/// when it can.
const SIGKILL_TIMEOUT: Duration = Duration::from_millis(200);
/// From the end of its output to its exit.
const EXIT_GRACE: Duration = Duration::from_millis(300);

/// A running rpicam-vid. Dropping it stops the process.
pub(super) struct RpicamProcess {
    child: Child,
    /// The name of the program that was found.
    pub program: String,
    pub jpegs: Pipe,
    pub metadata: Pipe,
    stderr: Pipe,
    stderr_tail: StderrTail,
}

/// The result of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadResult {
    Bytes(usize),
    /// Nothing at present.
    Empty,
    /// The end of the stream.
    Closed,
}

/// The reading end of a pipe, non-blocking; `None` once it was closed.
pub(super) struct Pipe(Option<File>);

impl Pipe {
    fn new(fd: impl Into<OwnedFd>) -> Self {
        Self(Some(File::from(fd.into())))
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        if let Some(file) = &self.0 {
            fcntl(file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(())
    }

    /// Sets the capacity. The kernel rounds up to a page, and may refuse; the capacity then stays.
    fn set_capacity(&self, bytes: usize) {
        if let (Some(file), Ok(bytes)) = (&self.0, i32::try_from(bytes)) {
            let _ = fcntl(file, FcntlArg::F_SETPIPE_SZ(bytes));
        }
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> ReadResult {
        let Some(file) = &mut self.0 else {
            return ReadResult::Closed;
        };
        loop {
            return match file.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ReadResult::Empty,
                Ok(n) if n > 0 => ReadResult::Bytes(n),
                // Reading a pipe has no other errors (read(2)): both are the end.
                Ok(_) | Err(_) => {
                    self.0 = None;
                    ReadResult::Closed
                }
            };
        }
    }
}

impl RpicamProcess {
    /// Starts the first of `programs` (each the beginning of a command line) that exists, with a
    /// pipe of about `pipe_bytes` for its JPEGs.
    ///
    /// # Errors
    /// None of the programs exists, or it cannot be started.
    pub fn start(
        programs: &[Vec<OsString>],
        video: &VideoConfig,
        pipe_bytes: usize,
    ) -> Result<Self, SourceError> {
        let io = |doing| {
            move |source| SourceError::Io {
                device: DEVICE.into(),
                doing,
                source,
            }
        };
        let making = "creating its metadata pipe";
        let (metadata, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(|e| io(making)(e.into()))?;
        let arguments = options::arguments(video, theirs.as_raw_fd()).map_err(|why| {
            SourceError::Unsupported {
                device: DEVICE.into(),
                why,
            }
        })?;
        for program in programs {
            let Some((name, first)) = program.split_first() else {
                continue;
            };
            let mut command = Command::new(name);
            command.args(first).args(&arguments);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = match spawn::spawn(&mut command, &theirs) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                started => started.map_err(io("starting its program"))?,
            };
            let process = Self {
                jpegs: Pipe::new(child.stdout.take().expect("stdout is piped")),
                metadata: Pipe::new(metadata),
                stderr: Pipe::new(child.stderr.take().expect("stderr is piped")),
                program: program
                    .last()
                    .unwrap_or(name)
                    .to_string_lossy()
                    .into_owned(),
                child,
                stderr_tail: StderrTail::default(),
            };
            for pipe in [&process.jpegs, &process.metadata, &process.stderr] {
                pipe.set_nonblocking().map_err(io("preparing its pipes"))?;
            }
            process.jpegs.set_capacity(pipe_bytes);
            return Ok(process);
        }
        Err(SourceError::Failed {
            device: DEVICE.into(),
            why: not_installed(),
        })
    }

    /// Waits until a pipe is readable, at most `timeout`. A signal ends the wait early.
    pub fn wait_readable(&mut self, timeout: Duration) {
        let fds = [&self.jpegs, &self.metadata, &self.stderr];
        let mut fds: Vec<_> = fds
            .into_iter()
            .flat_map(|p| &p.0)
            .map(|f| PollFd::new(f.as_fd(), PollFlags::POLLIN))
            .collect();
        // An error can only be EINTR or a lack of memory: the caller's loop checks its deadline and
        // waits again.
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None);
    }

    /// Reads its standard error, so that it never blocks on that.
    pub fn drain_stderr(&mut self) {
        let mut buffer = [0; 4096];
        while let ReadResult::Bytes(n) = self.stderr.read(&mut buffer) {
            self.stderr_tail.push(&buffer[..n]);
        }
    }

    /// The error for a closed output, quoting its standard error.
    pub fn exit_error(&mut self) -> SourceError {
        let status = self.wait(EXIT_GRACE, |process| process.drain_stderr());
        self.drain_stderr();
        let quoted = self.stderr_tail.quote();
        let device = |quoted: &str| format!("{DEVICE} ({}: {quoted})", self.program);
        if quoted.contains("no cameras available")
            || quoted.contains("selected camera is not available")
        {
            let quoted = format!(
                "{quoted}; {} --list-cameras shows what it finds",
                self.program
            );
            return SourceError::Missing {
                device: device(&quoted),
                available: Vec::new(),
            };
        }
        if quoted.contains("failed to acquire camera")
            || quoted.contains("in use by another process")
        {
            return SourceError::Busy {
                device: device(&quoted),
            };
        }
        self.failed(match status {
            Some(status) => format!("{} exited ({status})", self.program),
            None => format!("{} closed its output", self.program),
        })
    }

    /// A failure for `why`, quoting its standard error.
    pub fn failed(&mut self, why: String) -> SourceError {
        self.drain_stderr();
        let quoted = self.stderr_tail.quote();
        let quoted = if quoted.is_empty() {
            String::new()
        } else {
            format!("; it reported: {quoted}")
        };
        SourceError::Failed {
            device: DEVICE.into(),
            why: why + &quoted,
        }
    }

    /// Runs `meanwhile` until the process has exited, for at most `limit`.
    fn wait(
        &mut self,
        limit: Duration,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> Option<ExitStatus> {
        let deadline = MonoNs::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                // Already reaped elsewhere: it has exited.
                Err(_) => return None,
                Ok(None) if MonoNs::now() >= deadline => return None,
                Ok(None) => {}
            }
            meanwhile(self);
            self.wait_readable(Duration::from_millis(5));
            // A closed pipe that is not read is always readable.
            if self.jpegs.0.is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn discard(&mut self) {
        let mut buffer = [0; 16 << 10];
        for pipe in [&mut self.jpegs, &mut self.metadata, &mut self.stderr] {
            // At most one pipe's capacity, then the next pipe.
            for _ in 0..4 {
                if !matches!(pipe.read(&mut buffer), ReadResult::Bytes(_)) {
                    break;
                }
            }
        }
    }
}

impl Drop for RpicamProcess {
    /// Sends SIGINT and goes on reading, since rpicam-vid does not act on it while its output
    /// blocks; then SIGKILL. Takes at most [`SIGINT_TIMEOUT`] and [`SIGKILL_TIMEOUT`].
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id() as i32);
        for (signal, limit) in [
            (Signal::SIGINT, SIGINT_TIMEOUT),
            (Signal::SIGKILL, SIGKILL_TIMEOUT),
        ] {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            // Not reaped yet, so the PID is still this process's; an error means that it has
            // exited.
            let _ = kill(pid, signal);
            if self.wait(limit, Self::discard).is_some() {
                return;
            }
        }
    }
}

fn not_installed() -> String {
    match super::board::name() {
        Some(board) => format!(
            "neither rpicam-vid nor libcamera-vid is installed on this {board}; install it with: \
             sudo apt install rpicam-apps-lite (before Debian 12: libcamera-apps-lite)"
        ),
        None => "neither rpicam-vid nor libcamera-vid is installed, and this is not a Raspberry Pi; for a \
                 USB camera use --camera-type usb, without a camera use --camera-type test"
            .into(),
    }
}
