//! The log: lines on standard error (`12:00:01 INFO  stampcast-video: …`, or one JSON object each),
//! and [`LogOnce`], which keeps a repeating fault to one line. An event is one line, and what acts
//! on a terminal is escaped in it, also in text that it quotes from a peer or a device.
//!
//! The subscriber is set once, before the first fork; each process then sets the name that its
//! lines carry.

use crate::media::{escape_unprintable, is_printable};
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

/// Messages that a [`LogOnce`] remembers; beyond that it forgets the oldest, which would be logged
/// again.
const MESSAGES: usize = 16;

static PROCESS: OnceLock<String> = OnceLock::new();

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    // One JSON object a line. (A doc comment would become a help text.)
    Json,
}

/// Starts logging. Called once, by the first process; further calls have no effect.
pub fn init(format: LogFormat, level: tracing::Level) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter(level))
        // A line that cannot be written (a full disk) is lost. Reporting that on stderr would
        // panic.
        .log_internal_errors(false);
    // A second call finds a subscriber already set (tests in one process); the first one stays.
    let _ = match format {
        LogFormat::Text => builder.event_format(TextFormat).try_init(),
        LogFormat::Json => builder
            .json()
            .with_timer(Utc)
            .with_current_span(false)
            .with_span_list(false)
            .map_event_format(JsonFormat)
            .try_init(),
    };
}

/// Messages of libraries are shown with `--verbose` only: they warn of invalid datagrams and offers
/// from clients, and quote them.
fn filter(level: tracing::Level) -> EnvFilter {
    let libraries = if level >= tracing::Level::DEBUG {
        "debug"
    } else {
        "off"
    };
    EnvFilter::new(format!("{libraries},{}={level}", env!("CARGO_PKG_NAME")))
}

/// Sets the name of this process in its log lines. Called once, right after the fork; further calls
/// have no effect.
pub fn name_process(name: &str) {
    let _ = PROCESS.set(name.to_owned());
}

/// `12:00:01 INFO  stampcast-video: …`; UTC.
struct TextFormat;

impl<S, N> FormatEvent<S, N> for TextFormat
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
        let mut fields = String::new();
        ctx.format_fields(Writer::new(&mut fields), event)?;
        writeln!(w, "{}", escape_unprintable(&fields))
    }
}

/// The library's JSON with the field `process` in front.
struct JsonFormat<F>(F);

impl<S, N, F> FormatEvent<S, N> for JsonFormat<F>
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
        let fields = object.trim_end().strip_prefix('{').ok_or(fmt::Error)?;
        write!(w, "{{\"process\":\"{}\",", name())?;
        write_json_escaped(&mut w, fields)?;
        writeln!(w)
    }
}

/// The library escapes C0 alone. What else is unprintable stands in strings: the rest of JSON is
/// ASCII.
fn write_json_escaped(w: &mut Writer<'_>, json: &str) -> fmt::Result {
    for c in json.chars() {
        if is_printable(c) {
            w.write_char(c)?;
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(w, "\\u{unit:04x}")?;
            }
        }
    }
    Ok(())
}

fn name() -> &'static str {
    PROCESS.get().map_or("stampcast", String::as_str)
}

/// UTC: the local time zone would need files that a sandboxed process cannot open.
fn seconds_of_day() -> u64 {
    unix_time().as_secs() % 86_400
}

fn unix_time() -> std::time::Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Time in JSON lines: UNIX seconds with six decimals, as in the stream's stamps.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let t = unix_time();
        write!(w, "{}.{:06}", t.as_secs(), t.subsec_micros())
    }
}

/// An error and its causes, in one line: `cannot listen: address in use`.
pub fn chain(e: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(e.source(), |e| e.source()).map(|c| format!(": {c}"));
    std::iter::once(e.to_string()).chain(causes).collect()
}

/// Keeps a fault that repeats to one log line per cause, and one on recovery. The caller logs; when
/// a fault counts as over is the caller's decision too.
///
/// ```
/// let mut log_once = stampcast::log::LogOnce::default();
/// assert!(log_once.first_time("the disk is full"));
/// assert!(!log_once.first_time("the disk is full"));
/// assert!(log_once.recovered());
/// assert!(log_once.first_time("the disk is full"));
/// ```
#[derive(Debug, Default)]
pub struct LogOnce {
    logged: VecDeque<String>,
}

impl LogOnce {
    /// Records `message`. True when it is not among the last 16 different ones recorded since the
    /// last [`recovered`](Self::recovered): it is to be logged.
    pub fn first_time(&mut self, message: &str) -> bool {
        if self.logged.iter().any(|logged| logged == message) {
            return false;
        }
        if self.logged.len() == MESSAGES {
            self.logged.pop_front();
        }
        self.logged.push_back(message.to_owned());
        true
    }

    /// As [`first_time`](Self::first_time) for messages whose numbers (times, sizes) differ from
    /// one occurrence to the next: digits are not compared.
    pub fn first_time_by_cause(&mut self, message: &str) -> bool {
        let cause: String = message.chars().filter(|c| !c.is_ascii_digit()).collect();
        self.first_time(&cause)
    }

    /// Forgets everything. True when a message was recorded: the recovery is to be logged.
    pub fn recovered(&mut self) -> bool {
        let had_any = !self.logged.is_empty();
        *self = Self::default();
        had_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_once_many_messages_forgets_the_oldest() {
        let mut log_once = LogOnce::default();
        for n in 0..1000 {
            assert!(log_once.first_time(&format!("message {n}")));
        }
        assert_eq!(log_once.logged.len(), MESSAGES);
        assert!(log_once.first_time("message 0"));
        assert!(!log_once.first_time("message 999"));
    }

    #[test]
    fn log_once_by_cause_ignores_digits() {
        let mut log_once = LogOnce::default();
        assert!(log_once.first_time_by_cause("no frame for 2.1 s"));
        assert!(!log_once.first_time_by_cause("no frame for 13.4 s"));
        assert!(log_once.first_time_by_cause("no frame"));
    }

    #[test]
    fn log_once_after_recovery_logs_again() {
        let mut log_once = LogOnce::default();
        assert!(!log_once.recovered(), "nothing was wrong");
        assert!(log_once.first_time("a") && !log_once.first_time("a") && !log_once.first_time("a"));
        assert!(log_once.recovered() && !log_once.recovered());
        assert!(log_once.first_time("a"));
    }

    /// What an event with this message writes.
    fn logged(format: LogFormat, message: &str) -> String {
        use std::io::Write;
        use std::sync::{Arc, Mutex};
        #[derive(Clone, Default)]
        struct Buffer(Arc<Mutex<Vec<u8>>>);
        impl Write for Buffer {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0
                    .lock()
                    .expect("not poisoned")
                    .extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let builder = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let emit = || {
            tracing::warn!("{message}");
            tracing::warn!(field = message, other = %message, "fields");
        };
        match format {
            LogFormat::Text => {
                let subscriber = builder.with_ansi(true).event_format(TextFormat).finish();
                tracing::subscriber::with_default(subscriber, emit);
            }
            LogFormat::Json => {
                let subscriber = builder.json().map_event_format(JsonFormat).finish();
                tracing::subscriber::with_default(subscriber, emit);
            }
        }
        let bytes = buffer.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{9b}2J\u{7f}\r\n12:00:01 ERROR stampcast: fake\u{85}\u{202e}\u{2028}\u{e0001}";

    #[test]
    fn log_line_has_no_character_that_acts_on_a_terminal() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, HOSTILE);
            assert_eq!(text.lines().count(), 2, "{text:?}");
            assert!(text.ends_with('\n'), "{text:?}");
            let raw = text.chars().find(|c| *c != '\n' && !is_printable(*c));
            assert_eq!(raw, None, "{text:?}");
            assert!(text.contains("fake"), "{text:?}");
        }
    }

    #[test]
    fn log_line_in_json_has_the_message_unchanged() {
        let text = logged(LogFormat::Json, HOSTILE);
        let messages: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        assert_eq!(messages[0]["fields"]["message"], HOSTILE);
        assert_eq!(messages[0]["process"], name());
        assert_eq!(messages[1]["fields"]["field"], HOSTILE);
        assert_eq!(messages[1]["fields"]["other"], HOSTILE);
    }
}
