//! The URL of a stream, from what users type.

use super::DoctorError;
use crate::media::printable;

/// The URL of the stream in binary, which has sequence numbers and the audio format, with events,
/// and without a window, which limits the server to frames that were acknowledged.
///
/// # Errors
/// [`DoctorError::BadUrl`], [`DoctorError::Ipv6WithoutBrackets`].
pub(super) fn stream_url(given: &str) -> Result<String, DoctorError> {
    let bad = || DoctorError::BadUrl(without_query(given));
    let (scheme, rest) = given.split_once("://").unwrap_or(("ws", given));
    let scheme = match scheme {
        "ws" | "http" => "ws",
        "wss" | "https" => "wss",
        _ => return Err(bad()),
    };
    let (authority_and_path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = authority_and_path
        .split_once('/')
        .unwrap_or((authority_and_path, ""));
    if host.is_empty() {
        return Err(bad());
    }
    if !host.starts_with('[') && host.matches(':').count() > 1 && !host.contains('@') {
        return Err(DoctorError::Ipv6WithoutBrackets(without_query(given)));
    }
    let path = match path.trim_end_matches('/') {
        "" => "stream".to_owned(),
        path if path.ends_with("stream") => path.to_owned(),
        path => format!("{path}/stream"),
    };
    // A bare host means the program's default port, as on the page; a URL its scheme's.
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let port = if given.contains("://") || has_port {
        ""
    } else {
        ":8080"
    };
    let overridden = ["format=", "events=", "window="];
    let kept = query
        .split('&')
        .filter(|part| !part.is_empty() && !overridden.iter().any(|name| part.starts_with(name)));
    let query: String = kept.flat_map(|part| ["&", part]).collect();
    Ok(format!(
        "{scheme}://{host}{port}/{path}?format=binary&events=1{query}"
    ))
}

/// A URL for messages: without its query and user name, which may contain a token.
pub(super) fn without_query(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + 3));
    let host_end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..host_end]
        .rfind('@')
        .map_or(rest, |at| &rest[at + 1..]);
    printable(&format!("{scheme}{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_url_accepts_the_usual_forms() {
        for (given, expected) in [
            ("localhost:8080", "ws://localhost:8080/stream"),
            ("ws://pi.local:8080/stream", "ws://pi.local:8080/stream"),
            ("http://[::1]:8080/", "ws://[::1]:8080/stream"),
            ("http://host/webcam/", "ws://host/webcam/stream"),
            ("pi.local", "ws://pi.local:8080/stream"),
            ("[::1]/webcam", "ws://[::1]:8080/webcam/stream"),
            ("https://pi.local", "wss://pi.local/stream"),
            ("wss://pi.local:8443/stream", "wss://pi.local:8443/stream"),
        ] {
            let expected = format!("{expected}?format=binary&events=1");
            assert_eq!(stream_url(given).expect(given), expected);
        }
        for (given, expected) in [
            (
                "ws://host/stream?token=t",
                "ws://host/stream?format=binary&events=1&token=t",
            ),
            (
                "pi.local:80/stream?events=0&max_fps=5&format=text",
                "ws://pi.local:80/stream?format=binary&events=1&max_fps=5",
            ),
            (
                "pi.local:80?window=2&audio=0",
                "ws://pi.local:80/stream?format=binary&events=1&audio=0",
            ),
        ] {
            assert_eq!(stream_url(given).expect(given), expected);
        }
    }

    #[test]
    fn stream_url_invalid_forms_are_errors() {
        for bad in ["", "ftp://host", "ws://"] {
            assert!(
                matches!(stream_url(bad), Err(DoctorError::BadUrl(_))),
                "{bad}"
            );
        }
        for bad in ["::1:8080", "ws://2001:db8::1/stream"] {
            let error = stream_url(bad).expect_err(bad).to_string();
            assert!(error.contains("[::1]:8080"), "{error}");
        }
    }

    #[test]
    fn without_query_shows_no_secret_and_no_control_character() {
        for (url, expected) in [
            ("ws://host/stream?token=secret", "ws://host/stream"),
            ("ws://user:secret@host:80/a@b", "ws://host:80/a@b"),
            ("user@secret@host", "host"),
            ("a\u{1b}[2J", "a\\u{1b}[2J"),
            ("host", "host"),
        ] {
            assert_eq!(without_query(url), expected);
        }
    }
}
