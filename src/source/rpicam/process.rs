//! The rpicam-vid process: found, started, read without ever blocking, stopped in bounded time. Knows bytes, not frames.

use super::stderr_tail::LastWords;
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

pub const DEVICE: &str = "the Raspberry Pi camera";

/// rpicam-vid needs about a tenth of a second to end after SIGINT; then it is killed.
const POLITE: Duration = Duration::from_millis(500);
/// From SIGKILL to the end: only a driver that hangs takes longer. Then the kernel ends the process when it can.
const KILLED: Duration = Duration::from_millis(200);
/// From the end of its output to its own.
const LAST_GASP: Duration = Duration::from_millis(300);

pub struct Camera {
    process: Child,
    /// The name of the program that was found.
    pub program: String,
    pub pictures: Pipe,
    pub metadata: Pipe,
    errors: Pipe,
    words: LastWords,
}

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    Bytes(usize),
    /// Nothing at this moment.
    Empty,
    /// Nothing ever more.
    Closed,
}

/// A pipe's reading end, non-blocking.
pub struct Pipe(Option<File>);

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

    /// The kernel rounds up to a page, and may refuse: then the pipe stays as long as it was.
    fn shorten(&self, bytes: usize) {
        if let (Some(file), Ok(bytes)) = (&self.0, i32::try_from(bytes)) {
            let _ = fcntl(file, FcntlArg::F_SETPIPE_SZ(bytes));
        }
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> Got {
        let Some(file) = &mut self.0 else {
            return Got::Closed;
        };
        loop {
            return match file.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Got::Empty,
                Ok(n) if n > 0 => Got::Bytes(n),
                // Reading a pipe has no other errors (read(2)): both mean that no more comes.
                Ok(_) | Err(_) => {
                    self.0 = None;
                    Got::Closed
                }
            };
        }
    }
}

impl Camera {
    /// Starts the first of `programs` (each a command line to be continued) that exists, with a pipe of about `pipe_bytes`
    /// for its pictures.
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
        let making = "making its metadata pipe";
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
            let mut process = match spawn::spawn(&mut command, &theirs) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                started => started.map_err(io("starting its program"))?,
            };
            let camera = Self {
                pictures: Pipe::new(process.stdout.take().expect("was asked to be piped")),
                metadata: Pipe::new(metadata),
                errors: Pipe::new(process.stderr.take().expect("was asked to be piped")),
                program: program
                    .last()
                    .unwrap_or(name)
                    .to_string_lossy()
                    .into_owned(),
                process,
                words: LastWords::default(),
            };
            for pipe in [&camera.pictures, &camera.metadata, &camera.errors] {
                pipe.set_nonblocking().map_err(io("preparing its pipes"))?;
            }
            camera.pictures.shorten(pipe_bytes);
            return Ok(camera);
        }
        Err(SourceError::Failed {
            device: DEVICE.into(),
            why: nothing_installed(),
        })
    }

    /// Waits until a pipe can be read or `timeout` is over; a signal ends the wait early.
    pub fn wait_readable(&mut self, timeout: Duration) {
        let fds = [&self.pictures, &self.metadata, &self.errors];
        let mut fds: Vec<_> = fds
            .into_iter()
            .flat_map(|p| &p.0)
            .map(|f| PollFd::new(f.as_fd(), PollFlags::POLLIN))
            .collect();
        // An error here can only be EINTR, or a lack of memory: the caller's loop looks at its deadline and comes again.
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None);
    }

    /// Takes what the child said, so that it never blocks on it.
    pub fn drain_errors(&mut self) {
        let mut buffer = [0; 4096];
        while let Got::Bytes(n) = self.errors.read(&mut buffer) {
            self.words.push(&buffer[..n]);
        }
    }

    /// The child has closed its output: why, in its own words.
    pub fn ended(&mut self) -> SourceError {
        let status = self.wait(LAST_GASP, |camera| camera.drain_errors());
        self.drain_errors();
        let words = self.words.quote();
        let device = |words: &str| format!("{DEVICE} ({} says: {words})", self.program);
        if words.contains("no cameras available")
            || words.contains("selected camera is not available")
        {
            let words = format!(
                "{words}; {} --list-cameras shows what it finds",
                self.program
            );
            return SourceError::Missing {
                device: device(&words),
                available: Vec::new(),
            };
        }
        if words.contains("failed to acquire camera") || words.contains("in use by another process")
        {
            return SourceError::Busy {
                device: device(&words),
            };
        }
        self.failed(match status {
            Some(status) => format!("{} ended ({status})", self.program),
            None => format!("{} closed its output", self.program),
        })
    }

    /// A failure for `why`, with what the child said last.
    pub fn failed(&mut self, why: String) -> SourceError {
        self.drain_errors();
        let words = self.words.quote();
        let said = if words.is_empty() {
            String::new()
        } else {
            format!("; it says: {words}")
        };
        SourceError::Failed {
            device: DEVICE.into(),
            why: why + &said,
        }
    }

    /// Runs `meanwhile` until the child has ended, for at most `limit`.
    fn wait(
        &mut self,
        limit: Duration,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> Option<ExitStatus> {
        let deadline = MonoNs::now() + limit;
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                // Already reaped by somebody else: it has ended.
                Err(_) => return None,
                Ok(None) if MonoNs::now() >= deadline => return None,
                Ok(None) => {}
            }
            meanwhile(self);
            self.wait_readable(Duration::from_millis(5));
            // A closed pipe that nobody reads is always readable.
            if self.pictures.0.is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn discard(&mut self) {
        let mut buffer = [0; 16 << 10];
        for pipe in [&mut self.pictures, &mut self.metadata, &mut self.errors] {
            // One pipe's capacity at most, then the others' turn.
            for _ in 0..4 {
                if !matches!(pipe.read(&mut buffer), Got::Bytes(_)) {
                    break;
                }
            }
        }
    }
}

impl Drop for Camera {
    /// SIGINT, and go on reading, because rpicam-vid does not act on it while its output blocks; then SIGKILL. Takes at
    /// most [`POLITE`] and [`KILLED`].
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.process.id() as i32);
        for (signal, limit) in [(Signal::SIGINT, POLITE), (Signal::SIGKILL, KILLED)] {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            // Not reaped yet, so the number is still this process's; an error means that it has ended.
            let _ = kill(pid, signal);
            if self.wait(limit, Self::discard).is_some() {
                return;
            }
        }
    }
}

fn nothing_installed() -> String {
    match super::board::name() {
        Some(board) => format!(
            "neither rpicam-vid nor libcamera-vid is installed on this {board}; install it with: \
             sudo apt install rpicam-apps-lite (before Debian 12: libcamera-apps-lite)"
        ),
        None => "neither rpicam-vid nor libcamera-vid is installed, and this is no Raspberry Pi that is known; \
                 for a USB camera use --camera-type usb, without a camera use --camera-type test"
            .into(),
    }
}
