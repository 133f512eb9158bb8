//! The findings: as text for people, as JSON for programs, and compared with limits. Words of the
//! server are printable already (`stats::losses`).

mod json;
mod limits;
#[cfg(test)]
mod tests;
mod text;

pub use json::json;
pub use limits::Limits;
pub use text::{progress, table};

/// "1 packet", "3 packets".
fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
