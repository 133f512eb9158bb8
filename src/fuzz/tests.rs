//! Every target on every input that libFuzzer kept.

use std::path::Path;

/// A name, and what is done with the bytes. A target's corpus is the directory of its name in fuzz/corpus.
type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("access", crate::http::fuzz::access),
    ("hub_labels", crate::hub::fuzz::labels),
    ("incoming", crate::output::websocket::fuzz::incoming),
    ("jpeg_markers", crate::encode::jpeg::fuzz::markers),
    ("ring_memory", crate::ipc::ring::fuzz::memory),
    ("rpicam_pipes", crate::source::rpicam::fuzz::pipes),
    #[cfg(feature = "webrtc")]
    ("webrtc_datagrams", crate::output::webrtc::fuzz::datagrams),
    #[cfg(feature = "webrtc")]
    ("webrtc_links", crate::output::webrtc::fuzz::links),
    #[cfg(feature = "webrtc")]
    ("webrtc_session", crate::output::webrtc::fuzz::session),
    ("wire_decode", crate::wire::fuzz::decode),
];

#[test]
fn every_corpus_passes_and_is_run_by_a_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut found: Vec<_> = std::fs::read_dir(&corpora)
        .expect("corpora")
        .map(|d| d.expect("a directory").file_name())
        .collect();
    found.sort();
    // A build without WebRTC does not have its targets.
    found.retain(|name| cfg!(feature = "webrtc") || !name.to_string_lossy().starts_with("webrtc_"));
    assert_eq!(
        found,
        TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
    for &(name, target) in TARGETS {
        let mut files = 0;
        for file in std::fs::read_dir(corpora.join(name)).expect("a directory") {
            let path = file.expect("a file").path();
            eprintln!("{}", path.display());
            target(&std::fs::read(path).expect("it is readable"));
            files += 1;
        }
        assert!(files > 0, "{name}");
    }
}
