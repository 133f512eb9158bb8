//! A program and all its children: their memory and their processor time, as the kernel counts
//! them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::read_to_string;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Tree {
    child: Child,
}

impl Tree {
    pub fn start<'a>(program: &str, args: impl Iterator<Item = &'a &'a str>) -> Self {
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self {
            child: child.expect("the program starts"),
        }
    }

    /// The program and its children; none of them has children of its own here.
    fn pids(&self) -> Vec<u32> {
        let parent = self.child.id();
        let children = read_to_string(format!("/proc/{parent}/task/{parent}/children"))
            .expect("the kernel lists children");
        std::iter::once(parent)
            .chain(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse().ok()),
            )
            .collect()
    }

    /// Proportional set size: each page shared by n processes counts as an n-th in each.
    pub fn pss_mb(&self) -> f64 {
        self.pids().into_iter().map(pss_mb).sum()
    }

    pub fn pss_mb_by_name(&self) -> Vec<(String, f64)> {
        let name = |pid| {
            read_to_string(format!("/proc/{pid}/comm"))
                .expect("the process lives")
                .trim_end()
                .to_owned()
        };
        self.pids()
            .into_iter()
            .map(|pid| (name(pid), pss_mb(pid)))
            .collect()
    }

    /// Of all threads since their start.
    pub fn cpu(&self) -> Duration {
        let tasks = self.pids().into_iter().flat_map(|pid| {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
            tasks.map(|task| task.expect("procfs").path().join("schedstat"))
        });
        let on_cpu = |text: String| {
            text.split(' ')
                .next()
                .and_then(|ns| ns.parse().ok())
                .expect("schedstat begins with a number")
        };
        tasks
            .map(|path| {
                Duration::from_nanos(on_cpu(read_to_string(path).expect("the thread lives")))
            })
            .sum()
    }
}

fn pss_mb(pid: u32) -> f64 {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process lives");
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .expect("Linux 4.14 and later tell it");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<f64>()
        .expect("a number")
        / 1000.0
}

impl Drop for Tree {
    fn drop(&mut self) {
        // It ends its children itself.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
