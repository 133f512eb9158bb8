//! A compromised worker, a full disk and a lack of memory: each affects one stream at most.

use crate::common::viewer::{Text, Viewer};
use crate::common::{PATIENCE, Program, kill, until};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TEST: [&str; 5] = ["--camera-type", "test", "--enable-audio", "--fps", "30"];

/// Pseudo-random numbers, the same in each run (SplitMix64, Steele and others 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Overwrites a worker's ring and status page, as a compromised worker could.
fn scribble(worker: u32, how_long: Duration) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{worker}/fd")).expect("it lives");
    let paths = open.filter_map(|e| Some(e.ok()?.path()));
    let shared = paths
        .filter(|p| std::fs::read_link(p).is_ok_and(|l| l.to_string_lossy().contains("memfd:")));
    let files: Vec<_> = shared
        .filter_map(|p| OpenOptions::new().read(true).write(true).open(p).ok())
        .collect();
    assert!(files.len() >= 2, "a ring and a page");
    let mut numbers = Numbers(1);
    let (began, mut written) = (Instant::now(), 0);
    while began.elapsed() < how_long || written < 1_000 {
        for file in &files {
            let length = file.metadata().expect("it is open").len();
            for _ in 0..8 {
                // Headers and slots lie at the front and are the most interesting target.
                let reach = if numbers.next().is_multiple_of(4) {
                    length
                } else {
                    length.min(4096)
                };
                let at = (numbers.next() % reach) & !7;
                let word = match numbers.next() % 4 {
                    0 => 0,
                    1 => u64::MAX,
                    2 => numbers.next() % 10_000,
                    _ => numbers.next(),
                };
                file.write_all_at(&word.to_ne_bytes(), at)
                    .expect("shared memory is writable");
                written += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    written
}

/// The next message to a viewer of the undisturbed audio.
fn sound_only(viewer: &mut Viewer) {
    match viewer.next() {
        Text::Audio { .. } => {}
        // On a loaded machine the test microphone or this viewer may be late.
        Text::Event { json, .. } if json["cause"] == "xrun" || json["cause"] == "viewer_queue" => {}
        other => panic!("the sound was disturbed: {other:?}"),
    }
}

#[test]
fn worker_corrupting_its_ring_affects_only_its_own_stream() {
    let program = Program::start(&TEST);
    let server = program.child("stampcast-serve", None);
    let mut both = Viewer::connect(&program.url("?events=1"));
    let mut sound = Viewer::connect(&program.url("?video=0&events=1"));
    both.frame();
    let worker = program.child("stampcast-video", None);
    let written = std::thread::scope(|scope| {
        let attack = scope.spawn(move || scribble(worker, Duration::from_secs(2)));
        while !attack.is_finished() {
            sound_only(&mut sound);
        }
        attack.join().expect("it wrote")
    });
    let began = Instant::now();
    assert_eq!(both.frame().1, 640, "a frame");
    // Not a single frame left over: video continues.
    for _ in 0..60 {
        both.frame();
    }
    eprintln!(
        "{written} words were written; 60 frames {:?} later",
        began.elapsed()
    );
    assert_eq!(
        program.children("stampcast-serve"),
        [server],
        "the server is the same"
    );
    program.line(&["ring", "not written by a working worker"]);
    assert!(
        !program.lines().iter().any(|l| l.contains("panicked")),
        "{:?}",
        program.lines()
    );
}

/// The port on which a process listens whose log cannot be read, from the kernel's table
/// (proc_pid_net(5)).
fn listening_port(pid: u32) -> Option<u16> {
    let sockets = crate::common::descriptors(pid);
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, *fields.get(3)?, fields.get(9)?);
        let ours = state == "0A" && sockets.contains(&format!("socket:[{inode}]"));
        ours.then(|| u16::from_str_radix(local.split(':').nth(1)?, 16).ok())?
    })
}

#[test]
fn log_disk_full_stops_nothing() {
    let full = || {
        Stdio::from(
            OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .expect("Linux has it"),
        )
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampcast"));
    command
        .args(["--host", "127.0.0.1", "--port", "0", "--verbose"])
        .args(TEST)
        .stdin(Stdio::null())
        .stdout(full())
        .stderr(full());
    let mut child = command.spawn().expect("the program starts");
    let port = until("the listener", || listening_port(child.id()));
    let url = format!("ws://127.0.0.1:{port}/stream");
    let mut viewer = until("the stream", || Viewer::try_connect(&url).ok());
    viewer.frame();
    let children = || {
        let list = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()))
            .unwrap_or_default();
        list.split_whitespace()
            .filter_map(|p| p.parse().ok())
            .collect::<Vec<u32>>()
    };
    let named = |name: &str| {
        children()
            .into_iter()
            .find(|p| crate::common::comm(*p).as_deref() == Some(name))
    };
    let server = named("stampcast-serve");
    // Each of these writes a log line.
    for name in ["stampcast-video", "stampcast-audio"] {
        let before = named(name).expect("it runs");
        kill(before, libc::SIGKILL);
        until("the next worker", || named(name).filter(|p| *p != before));
    }
    let deadline = Instant::now() + PATIENCE;
    let (mut frames, mut sounds) = (0, 0);
    while (frames < 30 || sounds < 30) && Instant::now() < deadline {
        match viewer.next() {
            Text::Video { .. } => frames += 1,
            Text::Audio { .. } => sounds += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(frames >= 30 && sounds >= 30);
    assert_eq!(
        named("stampcast-serve"),
        server,
        "the server never died of it"
    );
    kill(child.id(), libc::SIGTERM);
    assert_eq!(child.wait().expect("it is our child").code(), Some(0));
}

#[test]
fn worker_out_of_memory_ends_and_its_successor_streams() {
    let program = Program::start(&TEST);
    let mut sound = Viewer::connect(&program.url("?video=0&events=1"));
    sound.next();
    // It has not encoded yet; from now on it cannot allocate.
    let before = program.child("stampcast-video", None);
    let limited = Command::new("prlimit")
        .args(["--pid", &before.to_string(), "--as=1"])
        .status()
        .expect("util-linux is there");
    assert!(limited.success());
    let asked = Instant::now();
    let mut picture = Viewer::connect(&program.url("?audio=0"));
    picture.frame();
    eprintln!(
        "a worker out of memory: a frame {:?} after it was wanted",
        asked.elapsed()
    );
    assert_ne!(
        program.child("stampcast-video", None),
        before,
        "it was another worker that gave it"
    );
    program.line(&["stampcast-video was killed by signal 6"]);
    for _ in 0..50 {
        sound_only(&mut sound);
    }
}

/// Whether a text is anywhere in a process's private memory (not in rings and status pages, which
/// are shared).
fn memory_holds(pid: u32, text: &str) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it lives");
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("it is ours to read");
    let mut read = 0;
    let found = maps
        .lines()
        .filter(|line| line.contains(" r") && !line.contains("memfd:"))
        .any(|line| {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'))
                .expect("addresses");
            let at = |hex| u64::from_str_radix(hex, 16).expect("an address");
            let (start, end) = (at(range.0), at(range.1));
            let mut bytes = vec![0; usize::try_from(end - start).expect("it fits")];
            // Pages that cannot be read ([vvar], pages never touched) stay zero; the others are
            // searched.
            for (page, at) in bytes.chunks_mut(4096).zip((start..).step_by(4096)) {
                read += memory.read_exact_at(page, at).map_or(0, |()| page.len());
            }
            memchr::memmem::find(&bytes, text.as_bytes()).is_some()
        });
    assert!(found || read > 1 << 20, "only {read} bytes could be read");
    found
}

#[test]
fn token_from_option_or_environment_is_in_server_memory_only() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampcast"));
    command
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--token",
            "hush-option",
            "--video-token=hush-joined",
        ])
        .args(TEST);
    // Only root can read the memory of the sandboxed server.
    let open: &[&str] = if nix::unistd::geteuid().is_root() {
        &[]
    } else {
        &["--no-sandbox"]
    };
    let by_option = Program::spawn(command.args(open));
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampcast"));
    command
        .args(["--host", "127.0.0.1", "--port", "0"])
        .args(TEST)
        .env("STAMPCAST_TOKEN", "hush-env");
    let by_environment = Program::spawn(command.args(open));
    for (program, token) in [(&by_option, "hush-option"), (&by_environment, "hush-env")] {
        assert!(
            Viewer::try_connect(&program.url("?token=xxxxxxxx")).is_err(),
            "what is left in its place opens nothing"
        );
        Viewer::connect(&program.url(&format!("?token={token}"))).frame();
        let children = ["stampcast-serve", "stampcast-video", "stampcast-audio"]
            .map(|n| program.child(n, None));
        assert!(
            memory_holds(children[0], token),
            "the server's memory, where it must be, shows that the search finds it"
        );
        for pid in [program.pid(), children[1], children[2]] {
            assert!(
                !memory_holds(pid, token),
                "the memory of {pid}, {:?}",
                crate::common::comm(pid)
            );
            assert!(
                !crate::common::descriptors(pid)
                    .iter()
                    .any(|d| d.contains("memfd:secret"))
                    || pid == program.pid(),
                "{pid}"
            );
        }
        for pid in std::iter::once(program.pid()).chain(children) {
            for what in ["cmdline", "environ"] {
                let shown = std::fs::read(format!("/proc/{pid}/{what}")).expect("it lives");
                assert!(
                    !String::from_utf8_lossy(&shown).contains("hush"),
                    "{what} of {pid}"
                );
            }
        }
    }
}
