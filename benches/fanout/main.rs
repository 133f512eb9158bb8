//! Delivering frames to many viewers: our server against a floor that does nothing but one `write` per socket of ready-made
//! frames on one thread. Servers and viewers are processes of their own; both servers run in turn, so that the machine's
//! mood is the same for both. CPU is that of the server's one thread, base64 and ring included on our side.
//!
//! `cargo bench --bench fanout [SECONDS]`: seconds for each measurement, 4 unless said otherwise.

mod server;
mod watch;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

struct Scenario {
    name: &'static str,
    viewers: usize,
    fps: u32,
    /// Of the JPEG; the text is a third longer.
    bytes: usize,
}

const SCENARIOS: [Scenario; 3] = [
    Scenario { name: "100 viewers, 640x480 at 15 fps", viewers: 100, fps: 15, bytes: 30_000 },
    Scenario { name: "400 viewers, 640x480 at 15 fps", viewers: 400, fps: 15, bytes: 30_000 },
    Scenario { name: "100 viewers, 1280x720 at 30 fps", viewers: 100, fps: 30, bytes: 90_000 },
];
const ROUNDS: usize = 2;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["ours", fps, bytes] => server::ours(number(fps), number(bytes)),
        ["floor", fps, bytes] => server::floor(number(fps), number(bytes)),
        ["watch", port, viewers, stalled, seconds] => {
            watch::fast(number(port), number(viewers), number(stalled), Duration::from_secs(number(seconds)));
        }
        ["watch-slowly", port, query, fps, seconds] => {
            watch::slow(number(port), query, number(fps), Duration::from_secs(number(seconds)));
        }
        // cargo adds `--bench`.
        _ => measure(args.iter().find_map(|a| a.parse().ok()).unwrap_or(4)),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn measure(seconds: u64) {
    println!("\nFan-out, {seconds} s each, {ROUNDS} rounds\n");
    println!("| {:<46} | {:>9} | {:>9} | {:>6} | {:>8} | |", "what", "ours", "floor", "ratio", "target");
    println!("| {:-<46} | {:-<9} | {:-<9} | {:-<6} | {:-<8} | - |", "", "", "", "", "");
    for scenario in &SCENARIOS {
        let mut ours = Vec::new();
        let mut floor = Vec::new();
        for _ in 0..ROUNDS {
            ours.push(run("ours", scenario, 0, seconds));
            floor.push(run("floor", scenario, 0, seconds));
        }
        let (ours, floor) = (best(ours), best(floor));
        let name = scenario.name;
        let ratio = ours.cpu_s_per_gb / floor.cpu_s_per_gb;
        row(&format!("{name}: CPU s/GB"), ours.cpu_s_per_gb, floor.cpu_s_per_gb, &format!("{ratio:.2}"), "1.20", ratio <= 1.2);
        row(&format!("{name}: p50 ms"), ours.p50_ms, floor.p50_ms, "", "", true);
        let later = ours.p99_ms - floor.p99_ms;
        row(&format!("{name}: p99 ms"), ours.p99_ms, floor.p99_ms, &format!("{later:+.1}"), "+1.0 ms", later <= 1.0);
        let kb = ours.anonymous_kb_per_viewer;
        row(&format!("{name}: KB per viewer"), kb, f64::NAN, "", "8", kb <= 8.0);
        let fps = ours.fps / f64::from(scenario.fps);
        row(&format!("{name}: fps"), ours.fps, floor.fps, &format!("{fps:.2}"), "0.99", fps >= 0.99);
    }
    let beside = Scenario { name: "", viewers: 20, fps: 15, bytes: 30_000 };
    let (alone, disturbed) = (run("ours", &beside, 0, seconds), run("ours", &beside, 20, seconds));
    println!("\n20 viewers, beside 20 that never read (ours), and without those (floor)\n");
    row("fps", disturbed.fps, alone.fps, &format!("{:.2}", disturbed.fps / alone.fps), "0.99", disturbed.fps / alone.fps >= 0.99);
    let later = disturbed.p99_ms - alone.p99_ms;
    row("p99 ms", disturbed.p99_ms, alone.p99_ms, &format!("{later:+.1}"), "+1.0 ms", later <= 1.0);
    println!("\nA viewer that reads at half the stream's rate: age of its frames, ms, and frames per second\n");
    for (query, target) in [("", 700.0), ("?window=2", 350.0)] {
        let (p95, fps) = slowly(query, seconds.max(8));
        row(&format!("age p95 {query}"), p95, f64::NAN, "", &format!("{target}"), p95 <= target);
        row(&format!("fps {query}"), fps, 7.5, "", "", true);
    }
}

fn row(what: &str, ours: f64, floor: f64, ratio: &str, target: &str, met: bool) {
    let verdict = if target.is_empty() {
        ""
    } else if met {
        "met"
    } else {
        "MISSED"
    };
    let floor = if floor.is_nan() { String::new() } else { format!("{floor:.3}") };
    println!("| {what:<46} | {ours:>9.3} | {floor:>9} | {ratio:>6} | {target:>8} | {verdict} |");
}

#[derive(Debug)]
struct Figures {
    cpu_s_per_gb: f64,
    p50_ms: f64,
    p99_ms: f64,
    fps: f64,
    anonymous_kb_per_viewer: f64,
}

/// The least disturbed of several runs, figure by figure.
fn best(runs: Vec<Figures>) -> Figures {
    let least = |figure: fn(&Figures) -> f64| runs.iter().map(figure).fold(f64::INFINITY, f64::min);
    Figures {
        cpu_s_per_gb: least(|r| r.cpu_s_per_gb),
        p50_ms: least(|r| r.p50_ms),
        p99_ms: least(|r| r.p99_ms),
        fps: runs.iter().map(|r| r.fps).fold(0.0, f64::max),
        anonymous_kb_per_viewer: least(|r| r.anonymous_kb_per_viewer),
    }
}

fn run(kind: &str, scenario: &Scenario, stalled: usize, seconds: u64) -> Figures {
    let mut server = Process::start(&[kind, &scenario.fps.to_string(), &scenario.bytes.to_string()]);
    let port = server.line();
    let memory_before = anonymous_kb(server.id());
    let mut viewers = Process::start(&["watch", &port, &scenario.viewers.to_string(), &stalled.to_string(), &seconds.to_string()]);
    assert_eq!(viewers.line(), "begin");
    let cpu_before = cpu(server.id());
    let said = viewers.line();
    let cpu_used = cpu(server.id()) - cpu_before;
    let memory = anonymous_kb(server.id());
    let said: Vec<f64> = said.split(' ').map(number).collect();
    let [frames, bytes, p50_us, p99_us] = said[..] else { panic!("the viewers said {said:?}") };
    viewers.stop();
    server.stop();
    Figures {
        cpu_s_per_gb: cpu_used.as_secs_f64() / (bytes / 1e9),
        p50_ms: p50_us / 1e3,
        p99_ms: p99_us / 1e3,
        fps: frames / scenario.viewers as f64 / seconds as f64,
        anonymous_kb_per_viewer: (memory - memory_before) / (scenario.viewers + stalled) as f64,
    }
}

fn slowly(query: &str, seconds: u64) -> (f64, f64) {
    let mut server = Process::start(&["ours", "15", "30000"]);
    let port = server.line();
    let mut viewer = Process::start(&["watch-slowly", &port, query, "15", &seconds.to_string()]);
    let said: Vec<f64> = viewer.line().split(' ').map(number).collect();
    viewer.stop();
    server.stop();
    (said[0] / 1e3, said[1])
}

/// One of this program's other roles. It ends when its standard input does.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let me = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(me).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("asked for"));
        Self { child, output }
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it speaks");
        assert!(!line.is_empty(), "a process of this benchmark ended too soon");
        line.trim_end().to_owned()
    }

    fn stop(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends");
    }
}

/// CPU time of a process's first thread, which is the one that serves.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).expect("schedstat is there");
    Duration::from_nanos(number(stat.split(' ').next().unwrap_or_default()))
}

/// Memory that is the process's own, without the ring.
fn anonymous_kb(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup is there");
    let line = rollup.lines().find_map(|l| l.strip_prefix("Pss_Anon:")).expect("Linux 5.4 and later tell it");
    number(line.trim().trim_end_matches(" kB"))
}

/// For the roles: a line to the measuring process.
fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("the measuring process listens");
}

/// For the roles: returns when the measuring process has had enough.
fn wait_for_end_of_input() {
    let mut rest = String::new();
    let _ = std::io::stdin().read_line(&mut rest);
}
