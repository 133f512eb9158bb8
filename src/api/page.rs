//! The viewer page of `--serve-client`: the files of `public/`, built into the binary and joined
//! into one document, so that it loads with one request (and one token).

use std::sync::LazyLock;

const INDEX: &str = include_str!("../../public/index.html");
const ICON: &str = include_str!("../../public/icon.svg");
const STYLE: &str = include_str!("../../public/style.css");

macro_rules! scripts {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("../../public/", $name)))),*] };
}
const SCRIPTS: [(&str, &str); 35] = scripts![
    "address.js",
    "settings.js",
    "i18n.js",
    "wire.js",
    "clock.js",
    "stats.js",
    "sync.js",
    "playout.js",
    "audio_output.js",
    "canvas_sink.js",
    "matroska.js",
    "frame_history.js",
    "save.js",
    "ws_client.js",
    "webrtc.js",
    "video_sink.js",
    "transport.js",
    "phase.js",
    "viewer.js",
    "dom.js",
    "zoom.js",
    "picture_in_picture.js",
    "status_view.js",
    "stats_view.js",
    "report.js",
    "qr_code.js",
    "share_view.js",
    "connection.js",
    "audio_controls.js",
    "save_controls.js",
    "review_controls.js",
    "view_controls.js",
    "settings_dialog.js",
    "shortcuts.js",
    "ui.js",
];

/// The whole page.
pub(super) static PAGE: LazyLock<String> = LazyLock::new(|| {
    let icon = format!(
        "<link rel=\"icon\" href=\"data:image/svg+xml;base64,{}\">",
        base64(ICON)
    );
    let page = INDEX
        .replace("<link rel=\"icon\" href=\"icon.svg\">", &icon)
        .replace(
            "<link rel=\"stylesheet\" href=\"style.css\">",
            &format!("<style>\n{STYLE}</style>"),
        );
    SCRIPTS.iter().fold(page, |page, (name, text)| {
        page.replace(
            &format!("<script src=\"{name}\"></script>"),
            &format!("<script>\n{text}</script>"),
        )
    })
});

fn base64(text: &str) -> String {
    let mut out = Vec::new();
    crate::wire::b64::append(&mut out, text.as_bytes());
    String::from_utf8(out).expect("base64 is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_one_document() {
        for left in ["src=\"", "href=\"style.css", "href=\"icon.svg"] {
            assert!(
                !PAGE.contains(left),
                "{left} is still in the page: is a file of public/ missing from the list?"
            );
        }
        assert!(PAGE.contains("Start audio"));
        assert!(
            SCRIPTS.iter().all(|(_, text)| !text.contains("</script")),
            "a script must not contain its own end tag"
        );
    }
}
