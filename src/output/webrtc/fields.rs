//! Bounds of each SDP field that str0m and its ICE agent (crate `is`) parse; other attributes are
//! not checked. Pure.
//!
//! RFC 8839 allows what `is` 0.12 cannot send: a check's USERNAME is the peer's ice-ufrag, a colon
//! and ours (16 characters), and `is` panics if that is longer than 128 bytes.

use std::collections::HashSet;
use std::net::IpAddr;

/// The longest line of a browser's offer (an `m=` line, a `ssrc` with its msid) has about 200.
const MAX_LINE_BYTES: usize = 1024;
/// RFC 8839's own example has 70, a browser's with all extensions about 150.
const MAX_CANDIDATE_BYTES: usize = 512;
/// str0m keeps no more of it.
const MAX_MID_BYTES: usize = 16;
const MAX_URI_BYTES: usize = 255;

/// A field out of bounds. Quotes nothing that the peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} must be {expected}")]
pub struct BadField {
    pub name: &'static str,
    expected: &'static str,
}

const fn bad(name: &'static str, expected: &'static str) -> BadField {
    BadField { name, expected }
}

const LINE: BadField = bad("lines", "at most 1024 bytes long");
const UFRAG: BadField = bad(
    "a=ice-ufrag",
    "4 to 111 characters of A-Z, a-z, 0-9, + and /",
);
const PWD: BadField = bad(
    "a=ice-pwd",
    "22 to 256 characters of A-Z, a-z, 0-9, + and /",
);
const FINGERPRINT: BadField = bad(
    "a=fingerprint",
    "a hash function (sha-1, sha-224, sha-256, sha-384, sha-512, md5 or md2) and its number of hexadecimal bytes",
);
const SETUP: BadField = bad("a=setup", "active, passive or actpass");
const MID: BadField = bad(
    "a=mid",
    "a token of 1 to 16 characters, different in each m-section",
);
const FOUNDATION: BadField = bad(
    "a=candidate's foundation",
    "1 to 32 characters of A-Z, a-z, 0-9, + and /",
);
const COMPONENT: BadField = bad("a=candidate's component", "a number from 1 to 256");
const PRIORITY: BadField = bad("a=candidate's priority", "a number of 32 bits");
const CANDIDATE: BadField = bad("a=candidate", "at most 512 bytes long");
const EXTMAP: BadField = bad(
    "a=extmap",
    "a number from 1 to 255 and a URI of at most 255 characters",
);
const SSRC: BadField = bad("a=ssrc and a=ssrc-group", "numbers of 32 bits");

/// Checks every line of the session part and of the m-sections.
///
/// # Errors
/// The first field that is out of bounds.
pub fn check(text: &str) -> Result<(), BadField> {
    let mut mids = HashSet::new();
    for line in text.lines() {
        require(line.len() <= MAX_LINE_BYTES, LINE)?;
        let Some((name, value)) = line
            .strip_prefix("a=")
            .and_then(|line| line.split_once(':'))
        else {
            continue;
        };
        match name {
            "ice-ufrag" => require(is_ice(value, 4..=111), UFRAG)?,
            "ice-pwd" => require(is_ice(value, 22..=256), PWD)?,
            "fingerprint" => require(is_fingerprint(value), FINGERPRINT)?,
            "setup" => require(matches!(value, "active" | "passive" | "actpass"), SETUP)?,
            "mid" => {
                let is_token =
                    (1..=MAX_MID_BYTES).contains(&value.len()) && value.chars().all(is_token);
                require(is_token && mids.insert(value), MID)?;
            }
            "candidate" => check_candidate(value)?,
            "extmap" => require(is_extmap(value), EXTMAP)?,
            "ssrc" => require(value.split(' ').next().is_some_and(is_u32), SSRC)?,
            "ssrc-group" => {
                let mut parts = value.split(' ').filter(|part| !part.is_empty()).skip(1);
                require(parts.all(is_u32), SSRC)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks the fields before the address (RFC 8839, section 5.1); for the others see [`address`].
fn check_candidate(value: &str) -> Result<(), BadField> {
    require(value.len() <= MAX_CANDIDATE_BYTES, CANDIDATE)?;
    let mut fields = value.split(' ');
    let mut next = || fields.next().unwrap_or_default();
    require(is_ice(next(), 1..=32), FOUNDATION)?;
    let component = number(next());
    require(component.is_some_and(|n| (1..=256).contains(&n)), COMPONENT)?;
    let _transport = next();
    require(is_u32(next()), PRIORITY)
}

/// The address of a usable UDP candidate. Not usable are TCP candidates (their peers connect to us),
/// mDNS names (draft-ietf-mmusic-mdns-ice-candidates), which are not resolved, and types and syntax
/// that RFC 8839 does not have.
pub fn address(candidate: &str) -> Option<(IpAddr, u16)> {
    let fields: Vec<&str> = candidate.split(' ').collect();
    let &[_, _, transport, _, ip, port, "typ", kind, ..] = &fields[..] else {
        return None;
    };
    let (ip, port) = (ip.parse::<IpAddr>().ok()?, port.parse::<u16>().ok()?);
    let is_usable = transport.eq_ignore_ascii_case("udp")
        && matches!(kind, "host" | "srflx" | "prflx" | "relay")
        && port != 0
        && !ip.is_unspecified()
        && !ip.is_multicast();
    is_usable.then_some((ip, port))
}

fn require(holds: bool, otherwise: BadField) -> Result<(), BadField> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// ice-char (RFC 8839, section 5.1).
fn is_ice(value: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    let is_ice = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    length.contains(&value.len()) && value.bytes().all(is_ice)
}

/// token-char (RFC 8866, section 9).
fn is_token(c: char) -> bool {
    c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]".contains(c)
}

/// RFC 8122, section 5.
fn is_fingerprint(value: &str) -> bool {
    let Some((hash, bytes)) = value.split_once(' ') else {
        return false;
    };
    let expected = match hash.to_ascii_lowercase().as_str() {
        "md2" | "md5" => 16,
        "sha-1" => 20,
        "sha-224" => 28,
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return false,
    };
    let is_byte = |byte: &str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
    bytes.split(':').all(is_byte) && bytes.split(':').count() == expected
}

/// RFC 8285, section 7. An offer with more extensions than there are ids has some from 4096 on,
/// which str0m ignores.
fn is_extmap(value: &str) -> bool {
    let mut parts = value.split(' ');
    let (entry, uri) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let id = entry.split('/').next().and_then(number);
    id.is_some_and(|id| matches!(id, 1..=255 | 4096..=4351))
        && (1..=MAX_URI_BYTES).contains(&uri.len())
}

fn is_u32(digits: &str) -> bool {
    number(digits).is_some()
}

/// Digits only: `parse` accepts a sign too.
fn number(digits: &str) -> Option<u32> {
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: usize) -> String {
        vec!["0a"; bytes].join(":")
    }

    #[test]
    fn check_fields_within_bounds_pass() {
        let long_line = format!("a=x:{}", "y".repeat(MAX_LINE_BYTES - 4));
        let uri = "u".repeat(MAX_URI_BYTES);
        for line in [
            "v=0",
            "a=recvonly",
            "a=ice-lite",
            "a=anything: at all\u{7f}",
            "a=ice-ufrag:abcd",
            &format!("a=ice-ufrag:{}", "a+/Z9".repeat(23)[..111].to_owned()),
            &format!("a=ice-pwd:{}", "p".repeat(22)),
            &format!("a=ice-pwd:{}", "p".repeat(256)),
            &format!("a=fingerprint:sha-1 {}", hex(20)),
            &format!("a=fingerprint:SHA-256 {}", hex(32).to_uppercase()),
            &format!("a=fingerprint:sha-512 {}", hex(64)),
            "a=setup:actpass",
            "a=mid:0",
            "a=mid:sdparta_0",
            "a=mid:0123456789abcdef",
            "a=candidate:1 1 udp 2113937151 192.0.2.7 4000 typ host",
            "a=candidate:1 256 tcp 4294967295 0f9a.local 9 typ host tcptype active generation 0",
            "a=candidate:abcdefghijklmnopqrstuvwxyz012345 1 UDP 1 2001:db8::7 4000 typ relay raddr ::1 rport 9",
            "a=extmap:1 urn:ietf:params:rtp-hdrext:toffset",
            "a=extmap:255/recvonly urn:x attributes",
            "a=extmap:4096 urn:x",
            &format!("a=extmap:14 {uri}"),
            "a=ssrc:4294967295 cname:x",
            "a=ssrc-group:FID 0 4294967295",
            &long_line,
        ] {
            assert_eq!(check(&format!("v=0\r\n{line}\r\n")), Ok(()), "{line}");
        }
    }

    #[test]
    fn check_field_out_of_bounds_is_named() {
        let candidate = |foundation: &str, component: &str, priority: &str| {
            format!("a=candidate:{foundation} {component} udp {priority} 192.0.2.7 4000 typ host")
        };
        let long_candidate = format!("{} ufrag {}", candidate("1", "1", "1"), "x".repeat(512));
        let table = [
            (format!("a=x:{}", "y".repeat(MAX_LINE_BYTES - 3)), LINE),
            ("a=ice-ufrag:".into(), UFRAG),
            ("a=ice-ufrag:abc".into(), UFRAG),
            ("a=ice-ufrag:ab d".into(), UFRAG),
            ("a=ice-ufrag:abc\u{e9}".into(), UFRAG),
            ("a=ice-ufrag:abc:d".into(), UFRAG),
            (format!("a=ice-ufrag:{}", "u".repeat(112)), UFRAG),
            (format!("a=ice-ufrag:{}", "u".repeat(256)), UFRAG),
            (format!("a=ice-pwd:{}", "p".repeat(21)), PWD),
            (format!("a=ice-pwd:{}", "p".repeat(257)), PWD),
            (format!("a=ice-pwd:{}-", "p".repeat(22)), PWD),
            (format!("a=fingerprint:sha-3 {}", hex(32)), FINGERPRINT),
            (format!("a=fingerprint:sha-256 {}", hex(31)), FINGERPRINT),
            (format!("a=fingerprint:sha-256 {}", hex(33)), FINGERPRINT),
            (format!("a=fingerprint:sha-256 {}:+1", hex(31)), FINGERPRINT),
            ("a=fingerprint:sha-256".into(), FINGERPRINT),
            ("a=setup:holdconn".into(), SETUP),
            ("a=setup:".into(), SETUP),
            ("a=mid:".into(), MID),
            ("a=mid:0123456789abcdefg".into(), MID),
            ("a=mid:a b".into(), MID),
            ("a=mid:0\r\na=mid:0".into(), MID),
            (candidate("", "1", "1"), FOUNDATION),
            (candidate(&"f".repeat(33), "1", "1"), FOUNDATION),
            (candidate("a-b", "1", "1"), FOUNDATION),
            (candidate("1", "0", "1"), COMPONENT),
            (candidate("1", "257", "1"), COMPONENT),
            (candidate("1", "+1", "1"), COMPONENT),
            (candidate("1", "1", "4294967296"), PRIORITY),
            (candidate("1", "1", "-1"), PRIORITY),
            ("a=candidate:1".into(), COMPONENT),
            (long_candidate, CANDIDATE),
            ("a=extmap:0 urn:x".into(), EXTMAP),
            ("a=extmap:256 urn:x".into(), EXTMAP),
            ("a=extmap:1".into(), EXTMAP),
            ("a=extmap:x urn:x".into(), EXTMAP),
            (format!("a=extmap:1 {}", "u".repeat(256)), EXTMAP),
            ("a=ssrc:4294967296 cname:x".into(), SSRC),
            ("a=ssrc:x cname:x".into(), SSRC),
            ("a=ssrc-group:FID 1 x".into(), SSRC),
        ];
        for (line, field) in table {
            assert_eq!(check(&format!("v=0\r\n{line}\r\n")), Err(field), "{line}");
        }
    }

    #[test]
    fn address_unusable_candidate_has_none() {
        let usable = "1 1 udp 1 192.0.2.7 4000 typ host";
        assert_eq!(address(usable), Some(([192, 0, 2, 7].into(), 4000)));
        for (from, to) in [
            ("udp", "tcp"),
            ("192.0.2.7", "0f9a.local"),
            ("192.0.2.7", "0.0.0.0"),
            ("192.0.2.7", "224.0.0.1"),
            ("4000", "0"),
            ("4000", "65536"),
            ("host", "other"),
            ("typ host", ""),
        ] {
            assert_eq!(address(&usable.replace(from, to)), None, "{to}");
        }
    }
}
