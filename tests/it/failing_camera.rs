//! A camera, and a worker, that fails right after every start: what is logged, and how often it is
//! restarted. The camera is the stand-in for rpicam-vid (`tests/standin`).

use crate::common::viewer::Viewer;
use crate::common::{Program, kill, until};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;

/// A Raspberry Pi camera whose fault can be changed from one start to the next.
struct Camera(TempDir);

impl Camera {
    fn with_fault(fault: &str) -> Self {
        let camera = Self(tempfile::tempdir().expect("a folder"));
        let standin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin/rpicam-vid");
        let script = format!(
            "#!/bin/sh\nSTANDIN_LOG='{}' STANDIN_FAULT=$(cat '{}') exec '{}' \"$@\"\n",
            camera.path("log").display(),
            camera.path("fault").display(),
            standin.display(),
        );
        std::fs::write(camera.path("rpicam-vid"), script).expect("it is ours");
        std::fs::set_permissions(camera.path("rpicam-vid"), PermissionsExt::from_mode(0o755))
            .expect("it is ours");
        camera.set_fault(fault);
        camera
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn set_fault(&self, fault: &str) {
        std::fs::write(self.path("fault"), fault).expect("it is ours");
    }

    fn program(&self, options: &[&str]) -> Program {
        let path = format!(
            "{}:{}",
            self.0.path().display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_stampcast"));
        command
            .args(["--host", "127.0.0.1", "--port", "0", "--camera-type", "rpi"])
            .args(options)
            .env("PATH", path);
        Program::spawn(&mut command)
    }

    /// Of each start so far: its process and its first frame's timestamp, ns.
    fn starts(&self) -> Vec<(u32, Option<u64>)> {
        let mut starts = Vec::new();
        for line in std::fs::read_to_string(self.path("log"))
            .unwrap_or_default()
            .lines()
        {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["pid", pid] => starts.push((pid.parse().expect("a number"), None)),
                ["frame", _, stamp] => {
                    if let Some((_, first @ None)) = starts.last_mut() {
                        *first = stamp.parse().ok();
                    }
                }
                _ => {}
            }
        }
        starts
    }
}

fn count(program: &Program, part: &str) -> usize {
    program.lines().iter().filter(|l| l.contains(part)).count()
}

#[test]
fn camera_failing_after_start_is_logged_once_and_retried_with_back_off() {
    let camera = Camera::with_fault("exit:3");
    let program = camera.program(&["--fps", "30"]);
    let starts = until("five starts", || {
        Some(camera.starts()).filter(|s| s.len() >= 5 && s[4].1.is_some())
    });
    let stamps: Vec<u64> = starts.iter().filter_map(|(_, first)| *first).collect();
    for (pair, pause_ms) in stamps.windows(2).zip([250, 500, 1000, 2000]) {
        let apart_ms = (pair[1] - pair[0]) / 1_000_000;
        assert!(
            apart_ms > pause_ms,
            "{apart_ms} ms from start to start, {pause_ms} of them a pause"
        );
    }
    assert_eq!(count(&program, "exit status: 7"), 1, "the fault");
    assert_eq!(count(&program, "MJPEG 640x480"), 1, "what the camera is");
    assert_eq!(count(&program, "works again"), 0);

    camera.set_fault("");
    program.line(&["stampcast-video", "Raspberry Pi camera", "works again"]);
    let mut viewer = Viewer::connect(&program.url(""));
    let (before, ..) = viewer.frame();

    // A new cause, which is logged again and retried at once.
    camera.set_fault("exit:3");
    let (last, _) = *camera.starts().last().expect("it runs");
    kill(last, libc::SIGKILL);
    let failed = Instant::now();
    until("a later picture", || {
        Some(viewer.frame().0).filter(|stamp| *stamp > before + 0.2)
    });
    eprintln!("camera killed, next picture after {:?}", failed.elapsed());
    until("the fault to be told again", || {
        (count(&program, "exit status: 7") == 2).then_some(())
    });
    assert_eq!(count(&program, "works again"), 1);
    assert_eq!(
        count(&program, "MJPEG 640x480"),
        1,
        "it is the same camera as before"
    );
}

#[test]
fn worker_dying_repeatedly_is_logged_once_until_it_recovers() {
    let program = Program::start(&["--camera-type", "test", "--fps", "10"]);
    let mut worker = program.child("stampcast-video", None);
    for _ in 0..4 {
        kill(worker, libc::SIGKILL);
        worker = program.child("stampcast-video", Some(worker));
    }
    program.line(&["INFO", "stampcast-video recovered"]);
    assert_eq!(
        count(&program, "stampcast-video was killed by signal 9"),
        1,
        "{:?}",
        program.lines()
    );
    kill(worker, libc::SIGKILL);
    until("the next death to be told", || {
        (count(&program, "stampcast-video was killed by signal 9") == 2).then_some(())
    });
}
