//! Fuzz target: the head of a request, as far as it decides who is authorized. (Its syntax is
//! hyper's, TLS is rustls'; both are fuzzed by their projects.)

use super::access::Access;
use axum::http::{HeaderMap, HeaderValue, Uri, header};

/// Lines: the address, then the headers that are read.
pub fn access(bytes: &[u8]) {
    let mut lines = bytes.split(|&b| b == b'\n');
    let Some(uri) = lines.next().and_then(|line| Uri::try_from(line).ok()) else {
        return;
    };
    let names = [header::AUTHORIZATION, header::ORIGIN, header::HOST];
    let headers: HeaderMap = names
        .into_iter()
        .zip(lines)
        .filter_map(|(name, line)| Some((name, HeaderValue::from_bytes(line).ok()?)))
        .collect();
    let given = |name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let holds = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|w| w == part);

    let guarded = Access::with_tokens(Some("s3cret"), None, &[], true);
    if guarded.authorize(&uri, &headers).is_ok() {
        let query = uri.query().unwrap_or_default().as_bytes();
        assert!(
            holds(given(header::AUTHORIZATION), b"s3cret")
                || holds(query, b"s3cret")
                || holds(query, b"%"),
            "{uri} {headers:?}"
        );
    }
    let open = Access::with_tokens(None, None, &[], true);
    let origin = given(header::ORIGIN).to_ascii_lowercase();
    if open.authorize(&uri, &headers).is_ok() {
        assert!(
            !origin.ends_with(b".example"),
            "a public site's page: {uri} {headers:?}"
        );
    }
}
