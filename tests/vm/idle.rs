//! The program's CPU use without viewers: its camera runs, so that the first frame is there at
//! once.
//!
//! A share of an emulated processor means nothing for a real one, so it is compared with that of
//! v4l2-ctl in the same machine, which only dequeues and requeues each frame.

use crate::cameras::Vivid;
use crate::figure;
use crate::program::Program;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SPAN: Duration = Duration::from_secs(20);

#[test]
fn camera_without_viewers_runs_and_is_not_encoded() {
    let camera = Vivid::ready(0);
    let reference = {
        let mut reader = Command::new("v4l2-ctl")
            .args([
                "-d",
                &camera.node().to_string_lossy(),
                "--set-fmt-video=width=640,height=480,pixelformat=YU12",
                "-p",
                "15",
            ])
            .args(["--stream-mmap", "--stream-count=0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("v4l2-ctl starts");
        let share = share_of_a_core(&[reader.id()]);
        reader.kill().expect("it is our child");
        reader.wait().expect("it is our child");
        share
    };
    let program = Program::start("--camera-type usb --device-id 0 --fps 15");
    program.wait_for_line(0, &["YU12 640x480"]);
    let ours = share_of_a_core(&program.tree());
    let video = program.info()["video"].clone();
    assert_eq!(video["state"], "streaming", "{video}");
    assert!(
        video["sequence"].is_null(),
        "something was encoded: {video}"
    );
    program.stop();
    figure(
        "no viewer, vivid at 15 fps",
        format!(
            "{:.2} % of an emulated core, v4l2-ctl alone {:.2} %: {:.1} times",
            ours * 100.0,
            reference * 100.0,
            ours / reference
        ),
    );
}

/// These processes' share of one processor, once they run.
fn share_of_a_core(pids: &[u32]) -> f64 {
    const BEGUN: Duration = Duration::from_secs(5);
    std::thread::sleep(BEGUN);
    let (began, before) = (Instant::now(), cpu(pids));
    std::thread::sleep(SPAN);
    (cpu(pids) - before).as_secs_f64() / began.elapsed().as_secs_f64()
}

/// CPU time of all their threads since their start.
fn cpu(pids: &[u32]) -> Duration {
    let tasks = pids
        .iter()
        .flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives"));
    let on_cpu = |task: &Path| {
        let text = std::fs::read_to_string(task.join("schedstat")).expect("the thread lives");
        Duration::from_nanos(
            text.split(' ')
                .next()
                .and_then(|ns| ns.parse().ok())
                .expect("schedstat begins with a number"),
        )
    };
    tasks
        .map(|task| on_cpu(&task.expect("procfs").path()))
        .sum()
}
