//! The panic hook: one log line with the location, rate-limited per location.
//!
//! A panic in a task ends only that task: tokio catches it, and the task's owner sees it end. The hook's line is the only one about
//! the panic itself; owners do not log it again.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::HashMap;
use std::panic::PanicHookInfo;
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
/// Bytes of a panic's message in a log line.
const MAX_MESSAGE: usize = 200;

/// Sets the panic hook of this process and of those that it forks. A panic's message may quote what a peer sent, so the line has the
/// location alone; the message is logged with `--verbose`.
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
        match due {
            None => return,
            Some(0) => error!("a task panicked at {location}"),
            Some(n) => error!("a task panicked at {location}, {n} more times since the last line"),
        }
        debug!("the panic at {location} says: {}", message(info));
        let backtrace = Backtrace::capture();
        // Where RUST_BACKTRACE asks for one.
        if backtrace.status() == BacktraceStatus::Captured {
            error!("backtrace of the panic at {location}:\n{backtrace}");
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
    /// Counts a panic. `Some(n)`: a line is due, and n panics at this location were not logged since the last one.
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
            .unwrap_or("nothing"),
    )
}

/// One line of at most [`MAX_MESSAGE`] bytes, with control characters escaped.
fn printable(message: &str) -> String {
    let mut line = String::new();
    for c in message.chars() {
        let escaped: String = c.escape_debug().collect();
        if line.len() + escaped.len() > MAX_MESSAGE {
            break;
        }
        line.push_str(&escaped);
    }
    line
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

    #[test]
    fn messages_are_one_short_line() {
        assert_eq!(printable("a\u{1b}[2J\r\nb"), "a\\u{1b}[2J\\r\\nb");
        assert_eq!(printable(&"\u{e9}".repeat(500)).len(), MAX_MESSAGE);
        assert!(printable(&"\u{1}".repeat(500)).len() <= MAX_MESSAGE);
    }

    #[test]
    fn a_dependencys_file_begins_with_its_crate() {
        let file =
            "/home/x/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/is-0.12.0/src/a.rs";
        assert_eq!(in_crate(file), "is-0.12.0/src/a.rs");
        assert_eq!(in_crate("src/log.rs"), "src/log.rs");
    }
}
