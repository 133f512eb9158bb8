//! The Content-Security-Policy (W3C, CSP Level 3) of a document: scripts and styles in it run by
//! their hashes alone, so that text which gets into the page is never code.

use crate::wire::b64;
use axum::http::HeaderValue;
use sha2::{Digest, Sha256};

/// The policy of `html`, for the `Content-Security-Policy` header. Nothing is allowed but the inline
/// scripts and styles that it has, and what `more` lists as directives. `scripts`: a further source
/// of scripts, or empty.
pub(crate) fn policy(html: &str, scripts: &str, more: &str) -> HeaderValue {
    let scripts = sources(scripts, html, "script");
    let styles = sources("", html, "style");
    let policy = format!(
        "default-src 'none'; base-uri 'none'; script-src {scripts}; style-src {styles}; {more}"
    );
    HeaderValue::try_from(policy).expect("directives and base64 are visible ASCII")
}

/// `given`, and the hashes of all inline elements of this name.
fn sources(given: &str, html: &str, element: &str) -> String {
    let given = (!given.is_empty()).then(|| given.to_owned());
    let hashes = inline(html, element).map(hash);
    let sources: Vec<_> = given.into_iter().chain(hashes).collect();
    match sources.as_slice() {
        [] => "'none'".into(),
        sources => sources.join(" "),
    }
}

/// `'sha256-…'`: of the element's text, byte for byte (CSP Level 3, section 6.7.3.3).
fn hash(text: &str) -> String {
    let mut source = b"'sha256-".to_vec();
    b64::append(&mut source, &Sha256::digest(text));
    source.push(b'\'');
    String::from_utf8(source).expect("base64 is ASCII")
}

/// The texts of the inline elements of this name. For our own pages: tags in lower case, without
/// attributes.
fn inline<'a>(html: &'a str, element: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let mut rest = html;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (text, after) = after.split_once(&close)?;
        rest = after;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_has_the_hash_of_each_inline_script_and_style() {
        let html =
            "<style>a{}</style><script>alert('Hello, world.');</script><p><script>\n1\n</script>";
        let policy = policy(html, "'self'", "img-src *");
        // The first is the example of CSP Level 3, section 2.3.1 (by its digest); the others were
        // computed with `openssl dgst -sha256 -binary | base64`.
        assert_eq!(
            policy,
            "default-src 'none'; base-uri 'none'; \
             script-src 'self' 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=' \
             'sha256-PBL+VNcqg2ezLpeQ7yj8J15XmnKAnnIb2qth9B/WTJ4='; style-src 'sha256-X1RutGBrXCt9KkSaXMK7tHftWiRscFHOhxsS8tv8hBk='; img-src *"
        );
    }

    #[test]
    fn policy_without_inline_elements_allows_none() {
        assert_eq!(
            policy("<p>", "", "img-src *"),
            "default-src 'none'; base-uri 'none'; script-src 'none'; style-src 'none'; img-src *"
        );
    }
}
