//! Stamps as text: UNIX seconds with six decimals. Nanoseconds are truncated, not rounded, so that
//! no stamp is later than its packet and the digits agree wherever they are shown.

use crate::media::UnixNs;
use std::fmt;

/// Displays as `1700000000.123456`.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub UnixNs);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.0 / 1_000;
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// Parses digits, a point and exactly six digits; `None` for anything else, and for times after the
/// year 2554, which do not fit in 64 bits of nanoseconds.
pub fn parse(text: &str) -> Option<UnixNs> {
    let (seconds, micros) = text.split_once('.')?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(micros) || micros.len() != 6 {
        return None;
    }
    let seconds: u64 = seconds.parse().ok()?;
    let micros: u64 = micros.parse().ok()?;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(micros * 1_000)
        .map(UnixNs)
}
