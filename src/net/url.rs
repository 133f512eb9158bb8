//! URLs of http and https: default ports, origins, references.

use http::Uri;

pub(crate) fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// The port, by default that of the scheme.
pub(crate) fn port(uri: &Uri) -> u16 {
    uri.port_u16()
        .unwrap_or(if is_https(uri) { 443 } else { 80 })
}

/// The host without the brackets of an IPv6 address.
pub(crate) fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

/// `host` or `host:port`, without user name and password.
pub(crate) fn host_and_port(uri: &Uri) -> &str {
    let authority = uri.authority().map_or("", |a| a.as_str());
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// The URL for messages: scheme, host and port. Path, query and user name may be secrets.
pub(crate) fn without_secrets(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    format!("{scheme}://{}", host_and_port(uri))
}

/// Whether scheme, host and port are equal (RFC 6454, section 5).
pub(crate) fn same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |uri: &Uri| {
        (
            uri.scheme_str().map(str::to_owned),
            uri.host().map(str::to_ascii_lowercase),
            port(uri),
        )
    };
    origin(a) == origin(b)
}

/// Resolves a reference against `base` (RFC 3986, section 5.2). `None`: the result is not a URL of
/// http or https.
pub(crate) fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default();
    let has_scheme = reference
        .split(['/', '?'])
        .next()
        .is_some_and(|start| start.contains(':'));
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let url = if has_scheme {
        reference.to_owned()
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else {
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (reference, None),
        };
        let path = match path {
            "" => base.path().to_owned(),
            path if path.starts_with('/') => remove_dot_segments(path),
            path => {
                let folder = base
                    .path()
                    .rsplit_once('/')
                    .map_or("", |(folder, _)| folder);
                remove_dot_segments(&format!("{folder}/{path}"))
            }
        };
        let query = match query {
            None if reference.is_empty() => base.query(),
            query => query,
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{authority}{path}{query}")
    };
    let uri: Uri = url.parse().ok()?;
    let is_usable = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty());
    is_usable.then_some(uri)
}

/// RFC 3986, section 5.2.4.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for segment in &segments {
        match *segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let is_folder = matches!(segments.last(), Some(&("." | ".."))) && !kept.is_empty();
    let end = if is_folder { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect("a URL")
    }

    #[test]
    fn resolve_gives_the_examples_of_rfc_3986() {
        let base = uri("https://a.example:8443/b/c/d?q");
        // Section 5.4, as far as it is about http.
        for (reference, expected) in [
            ("g", "https://a.example:8443/b/c/g"),
            ("./g", "https://a.example:8443/b/c/g"),
            ("g/", "https://a.example:8443/b/c/g/"),
            ("/g", "https://a.example:8443/g"),
            ("//h.example/g", "https://h.example/g"),
            ("?y", "https://a.example:8443/b/c/d?y"),
            ("g?y", "https://a.example:8443/b/c/g?y"),
            ("g?y/../x", "https://a.example:8443/b/c/g?y/../x"),
            ("#s", "https://a.example:8443/b/c/d?q"),
            ("", "https://a.example:8443/b/c/d?q"),
            (".", "https://a.example:8443/b/c/"),
            ("..", "https://a.example:8443/b/"),
            ("../g", "https://a.example:8443/b/g"),
            ("../../../g", "https://a.example:8443/g"),
            ("http://h.example/x/../y", "http://h.example/x/../y"),
        ] {
            let resolved = resolve(&base, reference).map(|uri| uri.to_string());
            assert_eq!(resolved.as_deref(), Some(expected), "{reference}");
        }
        for reference in [
            "mailto:a@example.net",
            "http://",
            "https:///x",
            "http://[::1",
            "a b",
            "ftp://h/",
        ] {
            assert_eq!(resolve(&base, reference), None, "{reference}");
        }
    }

    #[test]
    fn same_origin_compares_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&uri(a), &uri(b));
        assert!(same("https://a.example/x", "https://A.example:443/y?z"));
        assert!(!same("https://a.example", "http://a.example"));
        assert!(!same("https://a.example", "https://a.example:8443"));
        assert!(!same("https://a.example", "https://a.example.evil.example"));
    }

    #[test]
    fn without_secrets_omits_path_query_and_user() {
        let url = uri("https://user:s3cret@live.example.net:8443/s3cret/publish?key=s3cret");
        assert_eq!(without_secrets(&url), "https://live.example.net:8443");
        assert_eq!(host(&uri("http://[2001:db8::1]:80/")), "2001:db8::1");
        assert_eq!(host_and_port(&uri("http://[::1]/")), "[::1]");
    }
}
