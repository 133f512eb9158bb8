//! The whole program as a user starts it, with its test camera: time to the first frame, memory and
//! CPU use of all its processes together.
//!
//! `cargo bench --bench program [SECONDS]`: seconds for each measurement, 5 unless said otherwise.

mod processes;
#[path = "../common/stream.rs"]
mod stream;
#[path = "../common/table.rs"]
mod table;

use processes::Tree;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use stream::{Frames, connect};
use table::{Target, row};

const STARTS: usize = 9;
/// A page of memory that is used once a second counts too.
const SETTLE: Duration = Duration::from_secs(3);
/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(1);

fn main() {
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(5);
    let span = Duration::from_secs(seconds);

    table::begin(
        "From the start to the first frame at a waiting client, ms; a frame is due every 67 ms",
    );
    let mut starts: Vec<f64> = (0..STARTS)
        .map(|_| start_to_first_frame().as_secs_f64() * 1e3)
        .collect();
    starts.sort_by(f64::total_cmp);
    row(
        &format!("median of {STARTS}"),
        starts[STARTS / 2],
        None,
        &Target::Most(150.0),
    );
    row("the slowest", starts[STARTS - 1], None, &Target::Reported);

    table::begin(
        "All processes, 640x480 at 15 fps; the reference is the Python original, measured elsewhere (126 MB)",
    );
    let vga = Server::start(&[]);
    let idle = vga.share_of_a_core(span);
    let mut viewer = Viewer::connect(vga.port);
    viewer.watch(SETTLE);
    row(
        "memory with one viewer, PSS, MB",
        vga.tree.pss_mb(),
        Some(126.0),
        &Target::Most(10.0),
    );
    for (name, mb) in vga.tree.pss_mb_by_name() {
        row(&format!("  of it {name}"), mb, None, &Target::Reported);
    }
    let (silent, fps) = watched(&vga, &mut viewer, span);
    row(
        "CPU without a viewer, % of a core (camera drawn)",
        idle * 100.0,
        None,
        &Target::Most(0.3),
    );
    row(
        "CPU with one viewer, % of a core",
        silent * 100.0,
        None,
        &Target::Reported,
    );
    row("frames per second", fps, Some(15.0), &Target::Share(0.99));
    drop((viewer, vga));

    table::begin("All processes, sound too (50 packets per second)");
    let sound = Server::start(&["--enable-audio"]);
    let idle = sound.share_of_a_core(span);
    let mut viewer = Viewer::connect(sound.port);
    viewer.watch(SETTLE);
    let (share, messages) = watched(&sound, &mut viewer, span);
    row(
        "CPU without a viewer, % of a core (camera drawn)",
        idle * 100.0,
        None,
        &Target::Reported,
    );
    row(
        "CPU with one viewer, % of a core",
        share * 100.0,
        Some(silent * 100.0),
        &Target::Reported,
    );
    row(
        "messages per second",
        messages,
        Some(65.0),
        &Target::Share(0.99),
    );
    drop((viewer, sound));

    // The test pattern is drawn as planes; for what a camera's YUYV costs in addition, see
    // `--bench encode`.
    table::begin(
        "All processes, 1920x1080 at 30 fps, encoded from the test pattern's planes, one viewer",
    );
    let full = Server::start(&["--width", "1920", "--height", "1080", "--fps", "30"]);
    let mut viewer = Viewer::connect(full.port);
    viewer.watch(SETTLE);
    let (share, fps) = watched(&full, &mut viewer, span);
    row("frames per second", fps, Some(30.0), &Target::Share(0.99));
    row("CPU, % of a core", share * 100.0, None, &Target::Reported);
}

/// The share of one core that the program takes, and the messages that the viewer gets per second.
fn watched(server: &Server, viewer: &mut Viewer, span: Duration) -> (f64, f64) {
    let (began, cpu) = (Instant::now(), server.tree.cpu());
    let messages = viewer.watch(span);
    let took = began.elapsed().as_secs_f64();
    (
        (server.tree.cpu() - cpu).as_secs_f64() / took,
        messages as f64 / took,
    )
}

fn start_to_first_frame() -> Duration {
    let began = Instant::now();
    let server = Server::start(&[]);
    let mut viewer = Viewer::connect(server.port);
    viewer.one_frame();
    began.elapsed()
}

/// The program, running.
struct Server {
    port: u16,
    tree: Tree,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let port = free_port();
        let port_text = port.to_string();
        let always = [
            "--camera-type",
            "test",
            "--host",
            "127.0.0.1",
            "--quiet",
            "--port",
            &port_text,
        ];
        Self {
            port,
            tree: Tree::start(
                env!("CARGO_BIN_EXE_stampcast"),
                always.iter().chain(options),
            ),
        }
    }

    fn share_of_a_core(&self, span: Duration) -> f64 {
        std::thread::sleep(SETTLE);
        let (began, cpu) = (Instant::now(), self.tree.cpu());
        std::thread::sleep(span);
        (self.tree.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64()
    }
}

/// A free port.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|l| l.local_addr())
        .expect("a port is free")
        .port()
}

struct Viewer {
    stream: TcpStream,
    frames: Frames,
    scratch: Vec<u8>,
}

impl Viewer {
    /// Tries until the program listens.
    fn connect(port: u16) -> Self {
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(e) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            assert!(
                e.kind() == ErrorKind::ConnectionRefused && Instant::now() < deadline,
                "no server: {e}"
            );
            std::thread::sleep(RETRY);
        }
        Self {
            stream: connect(port, ""),
            frames: Frames::default(),
            scratch: vec![0; 64 * 1024],
        }
    }

    fn one_frame(&mut self) {
        let mut whole = false;
        while !whole {
            let wanted = self.frames.missing().min(self.scratch.len());
            let n = self
                .stream
                .read(&mut self.scratch[..wanted])
                .expect("the stream goes on");
            assert!(n > 0, "the server hung up");
            self.frames.feed(&self.scratch[..n], |_| whole = true);
        }
    }

    /// Messages in this time.
    fn watch(&mut self, span: Duration) -> u32 {
        let end = Instant::now() + span;
        (0..)
            .take_while(|_| Instant::now() < end)
            .inspect(|_| self.one_frame())
            .count() as u32
    }
}
