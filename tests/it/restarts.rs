//! 200 restarts in a row leak nothing: no descriptor, no memory, no shared memory, no process.

use crate::common::viewer::{Text, Viewer};
use crate::common::{Program, descriptors, kill};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const NAMES: [&str; 2] = ["stampcast-video", "stampcast-audio"];
/// Each kills both workers.
const ROUNDS: usize = 100;
/// By then all one-time allocations have been made.
const WARM: usize = 20;

#[derive(Debug)]
struct Held {
    descriptors: usize,
    /// KiB.
    own: u64,
    shared: u64,
}

fn held(pid: u32) -> Held {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let kib = |name: &str| {
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .expect("the kernel counts it");
        line.trim_start_matches(':')
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number")
    };
    Held {
        descriptors: descriptors(pid).len(),
        own: kib("RssAnon"),
        shared: kib("RssShmem"),
    }
}

#[test]
fn workers_200_restarts_leak_nothing() {
    let program = Program::start_open(&[
        "--camera-type",
        "test",
        "--enable-audio",
        "--fps",
        "120",
        "--width",
        "160",
        "--height",
        "120",
    ]);
    let mut viewer = Viewer::connect(&program.url(""));
    let server = program.child("stampcast-serve", None);
    let mut workers = NAMES.map(|name| program.child(name, None));
    let mut warm = None;
    let (mut killed, mut away) = (None, Vec::new());
    for round in 0..ROUNDS {
        // Until both are healthy again: a worker that dies earlier is restarted with a delay.
        let (mut frames, mut sounds) = (0, 0);
        while frames < 40 || sounds < 20 {
            match viewer.next() {
                Text::Video { stamp, .. } => {
                    frames += 1;
                    if let Some((_, at)) = killed.take_if(|(unix, _)| stamp > *unix) {
                        away.push(Instant::now() - at);
                    }
                }
                Text::Audio { .. } => sounds += 1,
                other => panic!("{other:?}"),
            }
        }
        if round == WARM {
            warm = Some((held(program.pid()), held(server)));
        }
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs_f64();
        killed = Some((unix, Instant::now()));
        for (name, worker) in NAMES.iter().zip(&mut workers) {
            kill(*worker, libc::SIGKILL);
            *worker = program.child(name, Some(*worker));
        }
    }
    away.sort_unstable();
    eprintln!(
        "killed to next frame: median {:?}, at most {:?}",
        away[away.len() / 2],
        away[away.len() - 1]
    );
    let (supervisor_before, server_before) = warm.expect("there were so many rounds");
    for (who, before, after) in [
        ("supervisor", supervisor_before, held(program.pid())),
        ("server", server_before, held(server)),
    ] {
        eprintln!("{who}: {before:?} after {WARM} rounds, {after:?} after {ROUNDS}");
        assert!(
            after.descriptors <= before.descriptors,
            "{who}: {before:?} {after:?}"
        );
        assert!(after.own < before.own + 1024, "{who}: {before:?} {after:?}");
        assert!(
            after.shared < before.shared + 8 * 1024,
            "{who}: {before:?} {after:?}"
        );
    }
    assert_eq!(
        program.children("stampcast-serve"),
        [server],
        "the viewers' server was never touched"
    );
}
