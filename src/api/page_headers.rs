//! Security headers of the page that `--serve-client` serves, and the one file that it loads: the
//! module of its AudioWorklet, since a worklet cannot be inline and the policy allows no data: URL.

use super::page::PAGE;
use crate::http::content_policy::policy;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;

/// The path of the worklet's module, next to the page. public/audio_output.js loads it.
pub(super) const WORKLET_PATH: &str = "/playout-worklet.js";

/// What the page itself runs as a worklet where it is a file.
const WORKLET: &str = concat!(
    include_str!("../../public/playout.js"),
    "\nregisterPlayout(Playout);\n"
);

/// The page may be pointed at another server, so connections, images and media are open.
const OPEN: &str = "connect-src * ws: wss:; img-src * data: blob:; media-src * data: blob:; \
    form-action 'self'; frame-ancestors";

/// The policy of the page. `frames`: the sites that may show it in a frame, besides its own server;
/// any other could lead clicks to its buttons.
pub(super) fn page_policy(frames: &[String]) -> HeaderValue {
    let frames = if frames.iter().any(|origin| origin == "*") {
        "*".into()
    } else {
        format!("'self' {}", frames.join(" "))
    };
    policy(&PAGE, "'self'", &format!("{OPEN} {}", frames.trim_end()))
}

/// Headers of the page. `policy`: see [`page_policy`].
pub(super) fn of_the_page(policy: &HeaderValue) -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_SECURITY_POLICY, policy.clone()),
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
        let policy = page_policy(&[]);
        let policy = policy.to_str().expect("ASCII");
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
    fn page_policy_frames_are_those_that_are_allowed() {
        for (frames, expected) in [
            (&[] as &[&str], "frame-ancestors 'self'"),
            (
                &["https://ha.example.org:8123", "http://pi.local"],
                "frame-ancestors 'self' https://ha.example.org:8123 http://pi.local",
            ),
            (&["http://pi.local", "*"], "frame-ancestors *"),
        ] {
            let frames: Vec<String> = frames.iter().map(|&origin| origin.into()).collect();
            let policy = page_policy(&frames);
            let policy = policy.to_str().expect("ASCII");
            assert!(policy.ends_with(&format!("; {expected}")), "{policy}");
        }
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
