//! Parsers of option values that clap has no parser for. Each error says what a valid value looks
//! like.

use super::secrets::Secret;
use crate::net::host::{Host, Origin};

/// # Errors
/// Not a number from 0.1 to 240, frames per second.
pub(crate) fn fps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(f) if (0.1..=240.0).contains(&f) => Ok(f),
        _ => Err("frames per second must be a number from 0.1 to 240".into()),
    }
}

/// # Errors
/// Not a number from 0.5 to 60, seconds.
pub(crate) fn keyframe_interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.5..=60.0).contains(&s) => Ok(s),
        _ => Err("seconds must be a number from 0.5 to 60".into()),
    }
}

/// # Errors
/// The text is empty, or memfd_create(2) fails.
pub(crate) fn secret(text: &str) -> Result<Secret, String> {
    if text.trim().is_empty() {
        return Err("a token has at least one character".into());
    }
    Secret::new(text).map_err(|e| format!("cannot be stored in the kernel's memory: {e}"))
}

/// # Errors
/// Not a scheme and a host with an optional port.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    if Origin::parse(text).is_some() {
        Ok(text.to_owned())
    } else {
        Err("an origin is https://HOST or https://HOST:PORT, without a path".into())
    }
}

/// An origin, or `*` for all.
///
/// # Errors
/// Neither, or one that a Content-Security-Policy cannot name.
pub(crate) fn frame_origin(text: &str) -> Result<String, String> {
    let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b';' | b',' | b'\'');
    match text {
        "*" => Ok(text.to_owned()),
        // Content Security Policy Level 3, section 2.3.1: host-part.
        _ if text.contains('[') => Err(
            "an IPv6 address cannot be allowed (Content-Security-Policy has none); use a host name"
                .into(),
        ),
        _ if ends_in_dot(text) => Err("leave out the dot at the end of the host name".into()),
        _ if text.bytes().all(is_plain) => origin(text),
        _ => Err("an origin is https://HOST or https://HOST:PORT, without a path".into()),
    }
}

fn ends_in_dot(origin: &str) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let host = authority.and_then(|authority| authority.split(':').next());
    host.is_some_and(|host| host.ends_with('.'))
}

/// # Errors
/// Not a number from 0.1 to 86,400, seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.1..=86_400.0).contains(&s) => Ok(s),
        _ => Err("seconds must be a number from 0.1 to 86400".into()),
    }
}

/// # Errors
/// Not a name and a value, joined by `=`.
pub(crate) fn control(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim().into(), value.trim().into()))
        }
        _ => Err("a control is NAME=VALUE, such as exposure_time_absolute=200".into()),
    }
}

/// # Errors
/// Not a host and a port, joined by `:`.
pub(crate) fn host_port(text: &str) -> Result<String, String> {
    if matches!(Host::parse(text), Some((_, Some(_)))) {
        Ok(text.to_owned())
    } else {
        Err("a server is HOST:PORT, such as stun.example.net:3478".into())
    }
}

/// A URL that may contain a key. Checked later: what the parser sees may be a mask.
///
/// # Errors
/// The text is empty, or memfd_create(2) fails.
#[cfg(feature = "webrtc")]
pub(crate) fn secret_url(text: &str) -> Result<Secret, String> {
    if text.trim().is_empty() {
        return Err("a URL is http://HOST[:PORT]/PATH or https://…".into());
    }
    Secret::new(text).map_err(|e| format!("cannot be stored in the kernel's memory: {e}"))
}
