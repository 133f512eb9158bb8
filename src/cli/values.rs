//! Values that clap cannot check by itself; each error says what a right one looks like.

use crate::config::secrets::Secret;

pub(super) fn fps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(f) if (0.1..=240.0).contains(&f) => Ok(f),
        _ => Err("frames per second are a number from 0.1 to 240".into()),
    }
}

pub(super) fn secret(text: &str) -> Result<Secret, String> {
    if text.trim().is_empty() {
        return Err("a token has at least one character".into());
    }
    Secret::new(text).map_err(|e| format!("the kernel has no memory for it: {e}"))
}

pub(super) fn origin(text: &str) -> Result<String, String> {
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/')
    });
    if is_origin {
        Ok(text.to_owned())
    } else {
        Err("an origin is https://HOST or https://HOST:PORT, without a path".into())
    }
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.1..=86_400.0).contains(&s) => Ok(s),
        _ => Err("seconds are a number from 0.1 to 86400".into()),
    }
}

pub(super) fn control(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim().into(), value.trim().into()))
        }
        _ => Err("a control is NAME=VALUE, such as exposure_time_absolute=200".into()),
    }
}

pub(super) fn host_port(text: &str) -> Result<String, String> {
    let is_one = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
    });
    if is_one {
        Ok(text.to_owned())
    } else {
        Err("a server is HOST:PORT, such as stun.example.net:3478".into())
    }
}

/// Checked once it is known: what the parser sees may be a mask.
#[cfg(feature = "webrtc")]
pub(super) fn address(text: &str) -> Result<Secret, String> {
    if text.trim().is_empty() {
        return Err("an address is http://HOST[:PORT]/PATH or https://…".into());
    }
    Secret::new(text).map_err(|e| format!("the kernel has no memory for it: {e}"))
}
