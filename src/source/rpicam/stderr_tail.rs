//! The end of what rpicam-vid wrote to its standard error: bounded, and safe for one line of a log.

use crate::media::is_printable;
use std::collections::VecDeque;

const LINES: usize = 20;
const LINE_BYTES: usize = 300;
/// How many lines an error quotes.
const QUOTED: usize = 3;

/// The last lines without unprintable characters; older ones are dropped.
#[derive(Debug, Default)]
pub(crate) struct StderrTail {
    lines: VecDeque<String>,
    /// The line that has not ended, cut at [`LINE_BYTES`].
    partial: Vec<u8>,
}

impl StderrTail {
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line();
            } else if self.partial.len() < LINE_BYTES {
                self.partial.push(byte);
            }
        }
    }

    /// The last lines with "ERROR", in order, else the last line; empty where there is none.
    pub fn quote(&mut self) -> String {
        self.end_line();
        let mut quoted: Vec<&str> = self
            .lines
            .iter()
            .rev()
            .filter(|l| l.contains("ERROR"))
            .take(QUOTED)
            .map(String::as_str)
            .collect();
        quoted.reverse();
        if quoted.is_empty() {
            quoted.extend(self.lines.back().map(String::as_str));
        }
        quoted.join("; ")
    }

    fn end_line(&mut self) {
        let line: String = String::from_utf8_lossy(&self.partial)
            .chars()
            .filter(|c| is_printable(*c))
            .collect();
        self.partial.clear();
        if line.trim().is_empty() {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.trim().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(text: &[u8]) -> String {
        let mut tail = StderrTail::default();
        text.chunks(7).for_each(|c| tail.push(c));
        tail.quote()
    }

    #[test]
    fn stderr_tail_quote_prefers_errors() {
        assert_eq!(
            quote(b"INFO a\nERROR: *** no cameras available ***\nINFO b"),
            "ERROR: *** no cameras available ***"
        );
        assert_eq!(quote(b"INFO a\nINFO b\n\n"), "INFO b");
        assert_eq!(
            quote(b"ERROR 1\nERROR 2\nERROR 3\nERROR 4\n"),
            "ERROR 2; ERROR 3; ERROR 4"
        );
        assert_eq!(quote(b""), "");
    }

    #[test]
    fn stderr_tail_hostile_output_is_bounded_and_one_line() {
        assert_eq!(quote(b"\x1b[31mERROR\r\x07 \xff\n"), "[31mERROR \u{fffd}");
        assert!(quote(&vec![b'x'; 1 << 20]).len() <= LINE_BYTES);
        let mut tail = StderrTail::default();
        (0..100_000).for_each(|_| tail.push(b"ERROR x\n"));
        assert_eq!(tail.lines.len(), LINES);
    }
}
