//! Text from outside the program (servers, clients, devices, files) as one line that is safe in a
//! log and on a terminal.

use std::fmt::Write;

/// The longest result of [`printable`], characters.
pub const MAX_PRINTABLE_CHARS: usize = 200;

/// `text` as one line of at most 200 characters: what [`is_printable`] rejects is escaped as in
/// Rust (`\n`, `\u{1b}`), and a longer text ends with `…`.
pub fn printable(text: &str) -> String {
    let (mut line, mut chars) = (String::new(), 0);
    // Where the line is cut if more follows than fits.
    let mut cut = 0;
    for c in text.chars() {
        let start = line.len();
        push_escaped(&mut line, c);
        chars += line[start..].chars().count();
        if chars > MAX_PRINTABLE_CHARS {
            line.truncate(cut);
            line.push('…');
            break;
        }
        if chars < MAX_PRINTABLE_CHARS {
            cut = line.len();
        }
    }
    line
}

/// As [`printable`] for bytes that should be UTF-8; only as many are read as can be shown.
pub fn printable_bytes(bytes: &[u8]) -> String {
    // A character has at most four bytes.
    let shown = bytes.len().min(4 * (MAX_PRINTABLE_CHARS + 1));
    printable(&String::from_utf8_lossy(&bytes[..shown]))
}

/// `text` with unprintable characters escaped, whatever its length.
pub fn escape_unprintable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    text.chars().for_each(|c| push_escaped(&mut line, c));
    line
}

/// False for what acts on a terminal or cannot be seen: control characters (C0, C1, DEL),
/// separators of lines and paragraphs, controls of the writing direction (CVE-2021-42574), fillers
/// (Hangul) and format characters that are shown as nothing or as a space, tags, and annotations.
///
/// Printable are the joiners and variation selectors, which Persian and emoji need, combining
/// characters, spaces of any width, and letters that look like others.
pub fn is_printable(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'))
}

fn push_escaped(line: &mut String, c: char) {
    match c {
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        c if is_printable(c) => line.push(c),
        // Writing to a string does not fail.
        c => drop(write!(line, "{}", c.escape_unicode())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_escapes_what_acts_on_a_terminal() {
        for (text, expected) in [
            ("C920 カメラ «é»", "C920 カメラ «é»"),
            ("\u{1b}]0;owned\u{7}", "\\u{1b}]0;owned\\u{7}"),
            ("a\r\nb\tc\0", "a\\r\\nb\\tc\\u{0}"),
            ("\u{9b}2J \u{85} \u{7f}", "\\u{9b}2J \\u{85} \\u{7f}"),
            (
                "user\u{202e}gnp.exe\u{2066}",
                "user\\u{202e}gnp.exe\\u{2066}",
            ),
            ("\u{2028}\u{200b}\u{feff}", "\\u{2028}\\u{200b}\\u{feff}"),
            (
                "\u{34f}\u{115f}\u{1160}\u{3164}\u{ffa0}",
                "\\u{34f}\\u{115f}\\u{1160}\\u{3164}\\u{ffa0}",
            ),
            ("a\u{200d}b\u{200c}", "a\u{200d}b\u{200c}"),
            (
                "각 \u{1100}\u{1161} ❤\u{fe0f}",
                "각 \u{1100}\u{1161} ❤\u{fe0f}",
            ),
        ] {
            assert_eq!(printable(text), expected);
            assert_eq!(printable_bytes(text.as_bytes()), expected);
            assert_eq!(escape_unprintable(text), expected);
        }
        assert_eq!(printable_bytes(b"\xff\x1b["), "\u{fffd}\\u{1b}[");
    }

    #[test]
    fn printable_is_bounded_in_characters() {
        let exact = "é".repeat(MAX_PRINTABLE_CHARS);
        assert_eq!(printable(&exact), exact);
        for c in ["a", "é", "\u{1b}", "\n", "\u{10ffff}"] {
            let long = c.repeat(1 << 20);
            for line in [printable(&long), printable_bytes(long.as_bytes())] {
                let chars = line.chars().count();
                assert!(
                    (MAX_PRINTABLE_CHARS - 10..=MAX_PRINTABLE_CHARS).contains(&chars),
                    "{chars}"
                );
                assert!(
                    line.ends_with('…') && line.chars().all(is_printable),
                    "{line}"
                );
            }
        }
    }
}
