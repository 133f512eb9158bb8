//! The program under test: started with options, watched by its log, stopped as a user stops it.

use crate::{PATIENCE, built, figure, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Each start has a port of its own, so that no test meets another's leftovers.
static NEXT_PORT: AtomicU16 = AtomicU16::new(18_080);

pub struct Program {
    child: Child,
    pub port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts the release build and waits until it listens. `options` is one line, split at spaces.
    pub fn start(options: &str) -> Self {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let mut child = Command::new(built("release/stampcast"))
            .args(options.split_whitespace())
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                println!("  {line}"); // shown when the test fails
                kept.lock().expect("no holder panics").push(line);
            }
        });
        let program = Self { child, port, log };
        wait_for("listening port", || TcpStream::connect(("127.0.0.1", port)).ok());
        program
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many lines there are so far: a place to start looking from.
    pub fn log_length(&self) -> usize {
        self.log.lock().expect("no holder panics").len()
    }

    /// Waits for a line after the first `from` that holds all the words, in any case.
    pub fn wait_for_line(&self, from: usize, words: &[&str]) -> String {
        wait_for(&format!("log line with {words:?}"), || self.lines(words).into_iter().find(|(n, _)| *n >= from).map(|(_, line)| line))
    }

    /// The lines that hold all the words, in any case, with their numbers.
    pub fn lines(&self, words: &[&str]) -> Vec<(usize, String)> {
        let log = self.log.lock().expect("no holder panics");
        let holds = |line: &String| {
            let line = line.to_lowercase();
            words.iter().all(|w| line.contains(&w.to_lowercase()))
        };
        log.iter().enumerate().filter(|(_, l)| holds(l)).map(|(n, l)| (n, l.clone())).collect()
    }

    fn children(&self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        std::fs::read_to_string(children).expect("the program runs")
    }

    /// All its processes.
    pub fn tree(&self) -> Vec<u32> {
        let children = self.children();
        let pids = children.split_whitespace().map(|pid| pid.parse().expect("the kernel lists numbers"));
        pids.chain([self.pid()]).collect()
    }

    /// The process of that name below this program.
    pub fn worker(&self, name: &str) -> Pid {
        let children = self.children();
        let named = |pid: &&str| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
        let pid = children.split_whitespace().find(named).unwrap_or_else(|| panic!("no process {name} among {children}"));
        Pid::from_raw(pid.parse().expect("the kernel lists numbers"))
    }

    /// Stops it as a service manager does and expects a clean end. It is promised within 2 s; where it takes longer here, on a
    /// processor that may be emulated, that is a figure.
    pub fn stop(mut self) {
        let asked = Instant::now();
        kill(Pid::from_raw(self.pid() as i32), Signal::SIGTERM).expect("it runs");
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(Instant::now() < end, "SIGTERM did not stop it");
            std::thread::sleep(Duration::from_millis(10));
        };
        let took = asked.elapsed();
        if took > Duration::from_secs(2) {
            figure("SIGTERM to the program's end, later than promised", format!("{:.2} s", took.as_secs_f64()));
        }
        assert!(status.success(), "ended with {status}");
    }
}

/// After a failed test only: nothing may hold a device that the next test needs.
impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
