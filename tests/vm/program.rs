//! The program under test: started with options, watched by its log, stopped as a user stops it.

use crate::{PATIENCE, built, figure, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
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
    /// Without WebRTC, whose keys take an emulated processor a second and more at each start.
    pub fn start(options: &str) -> Self {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        let mut child = Command::new(built("release/stampcast"))
            .args(options.split_whitespace())
            .args([
                "--no-webrtc",
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
            ])
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
        wait_for("listening port", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
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
        wait_for(&format!("log line with {words:?}"), || {
            self.lines(words)
                .into_iter()
                .find(|(n, _)| *n >= from)
                .map(|(_, line)| line)
        })
    }

    /// The lines that hold all the words, in any case, with their numbers.
    pub fn lines(&self, words: &[&str]) -> Vec<(usize, String)> {
        let log = self.log.lock().expect("no holder panics");
        let holds = |line: &String| {
            let line = line.to_lowercase();
            words.iter().all(|w| line.contains(&w.to_lowercase()))
        };
        log.iter()
            .enumerate()
            .filter(|(_, l)| holds(l))
            .map(|(n, l)| (n, l.clone()))
            .collect()
    }

    /// Its processes but the first.
    pub fn workers(&self) -> Vec<Pid> {
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = std::fs::read_to_string(children).expect("the program runs");
        children
            .split_whitespace()
            .map(|pid| Pid::from_raw(pid.parse().expect("the kernel lists numbers")))
            .collect()
    }

    /// The process of that name below this program.
    pub fn worker(&self, name: &str) -> Pid {
        let named = |pid: &Pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| comm.trim() == name)
        };
        self.workers()
            .into_iter()
            .find(named)
            .unwrap_or_else(|| panic!("no process {name}"))
    }

    /// `GET /info`.
    pub fn info(&self) -> serde_json::Value {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.port)).expect("the program listens");
        tcp.set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        tcp.write_all(b"GET /info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("it takes a request");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).expect("JSON")
    }

    /// SIGKILL for the first process alone.
    pub fn kill_supervisor(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// All its processes.
    pub fn tree(&self) -> Vec<u32> {
        self.workers()
            .into_iter()
            .map(|pid| pid.as_raw() as u32)
            .chain([self.pid()])
            .collect()
    }

    /// Stops it as a service manager does and expects a clean end. It is promised within 2 s; where
    /// it takes longer here, on a processor that may be emulated, that is a figure.
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
            figure(
                "SIGTERM to the program's end, later than promised",
                format!("{:.2} s", took.as_secs_f64()),
            );
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
