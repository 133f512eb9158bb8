//! Log lines on stderr: `12:00:01 INFO stampcast-video: …`, or one JSON object each; and which lines were told already. Knows
//! nothing of what is logged.
//!
//! The subscriber is set once, before the first fork; each process then sets the name that its lines carry.

use clap::ValueEnum;
use std::collections::VecDeque;
use std::fmt;
use std::sync::OnceLock;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Different lines that are remembered; then the oldest is forgotten, and told again should it come back.
const LINES: usize = 16;

static PROCESS: OnceLock<&'static str> = OnceLock::new();

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    // One JSON object a line. (A doc comment would become a help text.)
    Json,
}

/// Starts logging; the first process calls it once.
pub fn init(format: LogFormat, level: tracing::Level) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter(level))
        // A line that cannot be written (a full disk under the log) is lost. Complaining of it on stderr would be a panic.
        .log_internal_errors(false);
    // A second call finds a subscriber already set (tests in one process); the first one stays.
    let _ = match format {
        LogFormat::Text => builder.event_format(Line).try_init(),
        LogFormat::Json => builder
            .json()
            .with_timer(Utc)
            .with_current_span(false)
            .with_span_list(false)
            .map_event_format(JsonLine)
            .try_init(),
    };
}

/// Libraries are heard with `--verbose` alone: what they warn of is a stranger's broken datagram or offer, which they quote.
fn filter(level: tracing::Level) -> EnvFilter {
    let of_libraries = if level >= tracing::Level::DEBUG {
        "debug"
    } else {
        "off"
    };
    EnvFilter::new(format!("{of_libraries},{}={level}", env!("CARGO_PKG_NAME")))
}

/// Names this process in its log lines, once, right after the fork.
pub fn name_process(name: &'static str) {
    let _ = PROCESS.set(name);
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut w: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = seconds_of_day();
        write!(
            w,
            "{:02}:{:02}:{:02} {:<5} {}: ",
            now / 3600,
            now / 60 % 60,
            now % 60,
            event.metadata().level(),
            name()
        )?;
        ctx.format_fields(w.by_ref(), event)?;
        writeln!(w)
    }
}

/// The library's JSON, with the process before it.
struct JsonLine<F>(F);

impl<S, N, F> FormatEvent<S, N> for JsonLine<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut w: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut object = String::new();
        self.0.format_event(ctx, Writer::new(&mut object), event)?;
        let fields = object.strip_prefix('{').ok_or(fmt::Error)?;
        write!(w, "{{\"process\":\"{}\",{fields}", name())
    }
}

fn name() -> &'static str {
    PROCESS.get().copied().unwrap_or("stampcast")
}

/// UTC: the local time zone would need files that a sandboxed worker cannot open.
fn seconds_of_day() -> u64 {
    unix_time().as_secs() % 86_400
}

fn unix_time() -> std::time::Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The JSON lines' time: UNIX seconds, as the stream's own stamps.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let t = unix_time();
        write!(w, "{}.{:06}", t.as_secs(), t.subsec_micros())
    }
}

/// An error and what caused it, in one line.
pub fn chain(e: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(e.source(), |e| e.source()).map(|c| format!(": {c}"));
    std::iter::once(e.to_string()).chain(causes).collect()
}

/// Lines that were told, so that a fault that repeats is told once.
#[derive(Debug, Default)]
pub struct Told(VecDeque<String>);

impl Told {
    /// Whether `line` was not told yet; from now on it was.
    pub fn is_news(&mut self, line: &str) -> bool {
        if self.0.iter().any(|told| told == line) {
            return false;
        }
        if self.0.len() == LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
        true
    }

    /// The same for a line whose numbers (times, sizes) differ although the cause does not.
    pub fn is_new_cause(&mut self, line: &str) -> bool {
        let cause: String = line.chars().filter(|c| !c.is_ascii_digit()).collect();
        self.is_news(&cause)
    }

    pub fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut told = Told::default();
        for n in 0..1000 {
            assert!(told.is_news(&format!("line {n}")));
        }
        assert_eq!(told.0.len(), LINES);
        assert!(
            !told.is_new_cause("line ") || !told.is_new_cause("line 7"),
            "numbers make no new cause"
        );
    }
}
