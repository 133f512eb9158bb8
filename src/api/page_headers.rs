//! Security headers of the page that `--serve-client` serves, and the one file that it loads: the
//! module of its AudioWorklet, since a worklet cannot be inline and the policy allows no data: URL.

use super::page::PAGE;
use crate::http::content_policy::policy;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use std::sync::LazyLock;

/// The path of the worklet's module, next to the page. public/audio_output.js loads it.
pub(super) const WORKLET_PATH: &str = "/playout-worklet.js";

/// What the page itself runs as a worklet where it is a file.
const WORKLET: &str = concat!(
    include_str!("../../public/playout.js"),
    "\nregisterPlayout(Playout);\n"
);

/// The page may be pointed at another server, so connections, images and media are open. The page of
/// this server may frame it, other sites may not: they could lead clicks to its buttons.
const OPEN: &str = "connect-src * ws: wss:; img-src * data: blob:; media-src * data: blob:; \
    form-action 'self'; frame-ancestors 'self'";

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy(&PAGE, "'self'", OPEN));

/// Headers of the page.
pub(super) fn of_the_page() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ]
}

/// `/playout-worklet.js`.
pub(super) async fn worklet() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, WORKLET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_policy_allows_each_of_its_scripts_and_styles_and_no_other() {
        let policy = POLICY.to_str().expect("ASCII");
        let directive = |name: &str| {
            let mut directives = policy.split("; ");
            let found = directives.find_map(|d| d.strip_prefix(name)?.strip_prefix(' '));
            found.unwrap_or_else(|| panic!("no {name} in {policy}"))
        };
        for (name, element, others) in [("script-src", "script", 1), ("style-src", "style", 0)] {
            let sources = directive(name);
            let elements = PAGE.matches(&format!("<{element}")).count();
            let hashes = sources.matches("'sha256-").count();
            assert!(elements > 0 && hashes == elements, "{name}: {sources}");
            assert_eq!(sources.split(' ').count(), hashes + others, "{sources}");
            for forbidden in [
                "unsafe-inline",
                "unsafe-eval",
                "data:",
                "blob:",
                "*",
                "http",
            ] {
                assert!(!sources.contains(forbidden), "{name}: {sources}");
            }
        }
        // Neither is covered by a hash.
        let attributes = [" style=\"", " onclick=", " onload=", "javascript:"];
        for attribute in attributes {
            assert!(!PAGE.contains(attribute), "{attribute} in the page");
        }
        assert_eq!(directive("frame-ancestors"), "'self'");
        assert!(directive("connect-src").starts_with('*'));
    }

    #[test]
    fn page_loads_the_worklet_from_its_path() {
        let audio = include_str!("../../public/audio_output.js");
        let relative = WORKLET_PATH.trim_start_matches('/');
        assert!(audio.contains(&format!("\"{relative}\"")), "{relative}");
        for name in ["class Playout ", "function registerPlayout("] {
            assert!(WORKLET.contains(name), "{name}");
        }
    }
}
