//! The panic hook: one log line with the location, rate-limited per location. The server's lines do
//! not have the panic's message, which may quote what a client sent.
//!
//! A panic in a task ends only that task: tokio catches it, and the task's owner sees it end. The
//! hook's line is the only one about the panic itself; owners do not log it again.

use crate::media::printable;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::HashMap;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, error};

// With `panic = "abort"` a panic in any task would end the process, and every viewer with it.
#[cfg(not(any(panic = "unwind", fuzzing)))]
compile_error!("a panic must end one task and not the process: build with panic = \"unwind\"");

/// At most one line for each location in this time.
const AGAIN: Duration = Duration::from_secs(60);
/// Locations that are remembered; all others share one entry.
const LOCATIONS: usize = 32;

/// Set in the server, whose messages may quote its clients.
static MESSAGES_ARE_UNTRUSTED: AtomicBool = AtomicBool::new(false);

/// From now on a panic's message is logged with `--verbose` only. For a process that reads from the
/// network.
pub fn hide_messages() {
    MESSAGES_ARE_UNTRUSTED.store(true, Relaxed);
}

/// Sets the panic hook of this process and of those that it forks.
pub fn install() {
    let repeats = Mutex::new(Repeats::default());
    std::panic::set_hook(Box::new(move |info| {
        let location = match info.location() {
            Some(at) => format!("{}:{}", in_crate(at.file()), at.line()),
            None => "an unknown location".to_owned(),
        };
        let due = repeats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_due(&location, Instant::now());
        let Some(suppressed) = due else { return };
        let more = match suppressed {
            0 => String::new(),
            n => format!(" ({n} more times since the last line)"),
        };
        if MESSAGES_ARE_UNTRUSTED.load(Relaxed) {
            error!("a task panicked at {location}{more}");
            debug!("message of the panic at {location}: {}", message(info));
        } else {
            error!(
                "this process panicked at {location}{more}: {}",
                message(info)
            );
        }
        let backtrace = Backtrace::capture();
        // Where RUST_BACKTRACE asks for one.
        if backtrace.status() == BacktraceStatus::Captured {
            error!("backtrace of the panic at {location}:");
            for line in backtrace.to_string().lines() {
                error!("{line}");
            }
        }
    }));
}

/// Panics by location.
#[derive(Default)]
struct Repeats(HashMap<String, Repeat>);

struct Repeat {
    logged: Instant,
    /// Panics since then.
    suppressed: u64,
}

impl Repeats {
    /// Counts a panic. `Some(n)`: a line is due, and n panics at this location were not logged
    /// since the last one.
    fn is_due(&mut self, location: &str, now: Instant) -> Option<u64> {
        let is_known = self.0.contains_key(location);
        let key = if is_known || self.0.len() < LOCATIONS {
            location
        } else {
            "elsewhere"
        };
        let Some(repeat) = self.0.get_mut(key) else {
            let first = Repeat {
                logged: now,
                suppressed: 0,
            };
            self.0.insert(key.to_owned(), first);
            return Some(0);
        };
        if now.saturating_duration_since(repeat.logged) < AGAIN {
            repeat.suppressed += 1;
            return None;
        }
        repeat.logged = now;
        Some(std::mem::take(&mut repeat.suppressed))
    }
}

/// Removes the registry's path on the build machine from a dependency's file name.
fn in_crate(file: &str) -> &str {
    let beyond = file.split_once("/registry/src/").map(|(_, file)| file);
    beyond
        .and_then(|file| file.split_once('/'))
        .map_or(file, |(_, file)| file)
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let literal = payload.downcast_ref::<&str>().copied();
    printable(
        literal
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_of_a_location_are_one_line_a_minute_with_their_count() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(repeats.is_due("a.rs:1", at(0)), Some(0));
        for second in 1..60 {
            assert_eq!(repeats.is_due("a.rs:1", at(second)), None);
        }
        assert_eq!(repeats.is_due("a.rs:2", at(59)), Some(0), "another one");
        assert_eq!(repeats.is_due("a.rs:1", at(60)), Some(59));
        assert_eq!(repeats.is_due("a.rs:1", at(61)), None);
        assert_eq!(repeats.is_due("a.rs:1", at(120)), Some(1));
    }

    #[test]
    fn locations_that_are_remembered_are_bounded() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let lines = (0..1000).filter_map(|n| repeats.is_due(&format!("a.rs:{n}"), now));
        assert_eq!(lines.count(), LOCATIONS + 1);
        assert_eq!(repeats.0.len(), LOCATIONS + 1);
    }

    /// Set in this test's own process when it runs itself again, to panic there.
    const PROCESS: &str = "STAMPCAST_TEST_PANICS_AS";

    #[test]
    fn panic_is_logged_with_its_message_except_in_the_server() {
        if let Ok(process) = std::env::var(PROCESS) {
            crate::log::init(crate::log::LogFormat::Text, tracing::Level::INFO);
            crate::log::name_process(&process);
            install();
            if process == "stampcast-serve" {
                hide_messages();
            }
            panic!("frame 7 is\nodd");
        }
        let log_of = |process: &str| {
            let test = "panics::tests::panic_is_logged_with_its_message_except_in_the_server";
            let ended = std::process::Command::new(std::env::current_exe().expect("a program"))
                .args(["--exact", test, "--nocapture"])
                .env(PROCESS, process)
                .output()
                .expect("it runs");
            assert!(!ended.status.success(), "it did not panic");
            let log = String::from_utf8_lossy(&ended.stderr).into_owned();
            let line = log.lines().find(|line| line.contains(" ERROR "));
            line.unwrap_or_else(|| panic!("no line: {log}")).to_owned()
        };
        let worker = log_of("stampcast-video");
        let place = "stampcast-video: this process panicked at src/panics.rs:";
        assert!(
            worker.contains(place) && worker.ends_with(": frame 7 is\\nodd"),
            "{worker}"
        );
        let server = log_of("stampcast-serve");
        let place = "stampcast-serve: a task panicked at src/panics.rs:";
        assert!(
            server.contains(place) && !server.contains("frame 7"),
            "{server}"
        );
    }

    #[test]
    fn a_dependencys_file_begins_with_its_crate() {
        let file =
            "/home/x/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/is-0.12.0/src/a.rs";
        assert_eq!(in_crate(file), "is-0.12.0/src/a.rs");
        assert_eq!(in_crate("src/log.rs"), "src/log.rs");
    }
}
