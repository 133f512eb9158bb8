//! Delivery of frames to many viewers: the program's server against a minimum (one `write` per
//! socket of ready-made frames, on one thread), and, for the age of frames and for memory, against
//! a server with the usual queues. Servers and viewers are separate processes; the servers run in
//! turn, so that the load of the machine is the same for all. CPU is that of the server's one
//! thread, with base64 and ring in the program's.
//!
//! `cargo bench --bench fanout [SECONDS]`: seconds for each measurement, 4 unless said otherwise.

mod server;
#[path = "../common/stream.rs"]
mod stream;
#[path = "../common/table.rs"]
mod table;
mod watch;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use table::{Target, row};

struct Scenario {
    name: &'static str,
    viewers: usize,
    fps: u32,
    /// Of the JPEG; the text is a third longer.
    bytes: usize,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario {
        name: "100 viewers, 640x480 at 15 fps",
        viewers: 100,
        fps: 15,
        bytes: 30_000,
    },
    Scenario {
        name: "400 viewers, 640x480 at 15 fps",
        viewers: 400,
        fps: 15,
        bytes: 30_000,
    },
    Scenario {
        name: "100 viewers, 1280x720 at 30 fps",
        viewers: 100,
        fps: 30,
        bytes: 90_000,
    },
];
const ROUNDS: usize = 2;
const CROWDS: [usize; 3] = [1, 101, 401];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["ours", fps, bytes] => server::ours(number(fps), number(bytes)),
        ["floor", fps, bytes] => server::floor(number(fps), number(bytes)),
        ["plain", fps, bytes] => server::plain(number(fps), number(bytes)),
        ["watch", port, viewers, stalled, seconds] => {
            watch::fast(
                number(port),
                number(viewers),
                number(stalled),
                Duration::from_secs(number(seconds)),
            );
        }
        ["watch-slowly", port, query, fps, seconds] => {
            watch::slow(
                number(port),
                query,
                number(fps),
                Duration::from_secs(number(seconds)),
            );
        }
        // cargo adds `--bench`.
        _ => measure(args.iter().find_map(|a| a.parse().ok()).unwrap_or(4)),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn measure(seconds: u64) {
    table::begin(&format!(
        "Fan-out, {seconds} s each, {ROUNDS} rounds; the reference is one `write` per socket"
    ));
    for scenario in &SCENARIOS {
        let mut ours = Vec::new();
        let mut floor = Vec::new();
        for _ in 0..ROUNDS {
            ours.push(run("ours", scenario, 0, seconds));
            floor.push(run("floor", scenario, 0, seconds));
        }
        let (ours, floor) = (best(ours), best(floor));
        let name = scenario.name;
        row(
            &format!("{name}: CPU s/GB"),
            ours.cpu_s_per_gb,
            Some(floor.cpu_s_per_gb),
            &Target::Ratio(1.2),
        );
        row(
            &format!("{name}: p50 ms"),
            ours.p50_ms,
            Some(floor.p50_ms),
            &Target::Reported,
        );
        row(
            &format!("{name}: p99 ms"),
            ours.p99_ms,
            Some(floor.p99_ms),
            &Target::More(1.0),
        );
        row(
            &format!("{name}: fps"),
            ours.fps,
            Some(floor.fps),
            &Target::Share(0.99),
        );
    }

    table::begin("20 viewers beside 20 that never read; the reference is the same without those");
    let beside = Scenario {
        name: "",
        viewers: 20,
        fps: 15,
        bytes: 30_000,
    };
    let (mut alone, mut disturbed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(run("ours", &beside, 0, seconds));
        disturbed.push(run("ours", &beside, 20, seconds));
    }
    let (alone, disturbed) = (best(alone), best(disturbed));
    row("fps", disturbed.fps, Some(alone.fps), &Target::Share(0.99));
    row(
        "p99 ms",
        disturbed.p99_ms,
        Some(alone.p99_ms),
        &Target::More(1.0),
    );

    table::begin(
        "A viewer that reads at half the stream's rate; the reference is a plain server, whose lag grows all the time",
    );
    let long = seconds.max(10);
    let (reference, reference_fps) = slowly("plain", "", long);
    for (query, most) in [("?delivery=live", 0.7), ("?window=2", 0.35)] {
        let (p95, fps) = slowly("ours", query, long);
        row(
            &format!("{query}: age of its frames, p95, s"),
            p95,
            Some(reference),
            &Target::Most(most),
        );
        row(
            &format!("{query}: fps"),
            fps,
            Some(reference_fps),
            &Target::Share(0.95),
        );
    }

    table::begin("Memory of the server, KB; the reference is the same plain server");
    let (ours, plain) = (memory("ours"), memory("plain"));
    for (n, viewers) in CROWDS.iter().enumerate() {
        row(
            &format!("with {viewers} viewers"),
            ours[n],
            Some(plain[n]),
            &Target::Reported,
        );
    }
    let per_viewer = |kb: [f64; 3]| (kb[2] - kb[0]) / (CROWDS[2] - CROWDS[0]) as f64;
    row(
        "for each viewer",
        per_viewer(ours),
        Some(per_viewer(plain)),
        &Target::Most(8.0),
    );
}

#[derive(Debug)]
struct Figures {
    cpu_s_per_gb: f64,
    p50_ms: f64,
    p99_ms: f64,
    fps: f64,
}

/// The best of several runs, figure by figure.
fn best(runs: Vec<Figures>) -> Figures {
    let least = |figure: fn(&Figures) -> f64| runs.iter().map(figure).fold(f64::INFINITY, f64::min);
    Figures {
        cpu_s_per_gb: least(|r| r.cpu_s_per_gb),
        p50_ms: least(|r| r.p50_ms),
        p99_ms: least(|r| r.p99_ms),
        fps: runs.iter().map(|r| r.fps).fold(0.0, f64::max),
    }
}

fn run(kind: &str, scenario: &Scenario, stalled: usize, seconds: u64) -> Figures {
    let mut server =
        Process::start(&[kind, &scenario.fps.to_string(), &scenario.bytes.to_string()]);
    let port = server.line();
    let mut viewers = Process::start(&[
        "watch",
        &port,
        &scenario.viewers.to_string(),
        &stalled.to_string(),
        &seconds.to_string(),
    ]);
    assert_eq!(viewers.line(), "begin");
    let cpu_before = cpu(server.id());
    let said = viewers.line();
    let cpu_used = cpu(server.id()) - cpu_before;
    let said: Vec<f64> = said.split(' ').map(number).collect();
    let [frames, bytes, p50_us, p99_us] = said[..] else {
        panic!("the viewers said {said:?}")
    };
    viewers.stop();
    server.stop();
    Figures {
        cpu_s_per_gb: cpu_used.as_secs_f64() / (bytes / 1e9),
        p50_ms: p50_us / 1e3,
        p99_ms: p99_us / 1e3,
        fps: frames / scenario.viewers as f64 / seconds as f64,
    }
}

/// Age of the frames (p95, seconds) and frames per second.
fn slowly(kind: &str, query: &str, seconds: u64) -> (f64, f64) {
    let mut server = Process::start(&[kind, "15", "30000"]);
    let port = server.line();
    let mut viewer = Process::start(&["watch-slowly", &port, query, "15", &seconds.to_string()]);
    let said: Vec<f64> = viewer.line().split(' ').map(number).collect();
    viewer.stop();
    server.stop();
    (said[0] / 1e6, said[1])
}

/// The server's own memory with each of [`CROWDS`], KB.
fn memory(kind: &str) -> [f64; 3] {
    let mut server = Process::start(&[kind, "15", "30000"]);
    let port = server.line();
    let mut present = 0;
    let mut watching = Vec::new();
    let memory = CROWDS.map(|crowd| {
        let more = (crowd - present).to_string();
        let mut viewers = Process::start(&["watch", &port, &more, "0", "60"]);
        assert_eq!(viewers.line(), "begin");
        watching.push(viewers);
        present = crowd;
        anonymous_kb(server.id())
    });
    watching.into_iter().for_each(Process::abandon);
    server.stop();
    memory
}

/// One of this program's other roles. It ends with its standard input.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let me = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(me)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("asked for"));
        Self { child, output }
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it speaks");
        assert!(
            !line.is_empty(),
            "a process of this benchmark ended too soon"
        );
        line.trim_end().to_owned()
    }

    /// For a viewer whose output is not read any more.
    fn abandon(mut self) {
        self.child.kill().expect("it is our own child");
        self.child.wait().expect("it ends");
    }

    fn stop(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends");
    }
}

/// CPU time of a process's first thread, which is the one that serves.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat"))
        .expect("schedstat is there");
    Duration::from_nanos(number(stat.split(' ').next().unwrap_or_default()))
}

/// Memory that is the process's own, without the ring.
fn anonymous_kb(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .expect("smaps_rollup is there");
    let line = rollup
        .lines()
        .find_map(|l| l.strip_prefix("Pss_Anon:"))
        .expect("Linux 5.4 and later tell it");
    number(line.trim().trim_end_matches(" kB"))
}

/// For the roles: a line to the measuring process.
fn say(line: &str) {
    println!("{line}");
    std::io::stdout()
        .flush()
        .expect("the measuring process listens");
}

/// For the roles: returns when the measuring process ends the measurement.
fn wait_for_end_of_input() {
    let mut rest = String::new();
    let _ = std::io::stdin().read_line(&mut rest);
}
