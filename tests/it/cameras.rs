//! Several cameras in one server: each has its addresses, and all have one clock.

use crate::stream_rig::{Rig, config, until};
use serde_json::Value;
use stampcast::config::{CameraConfig, Config, Limits, VideoConfig};
use stampcast::media::{CameraId, MonoNs};
use stampcast::wire::{self, Message};
use std::time::Duration;

pub fn two_cameras() -> Config {
    let mut config = config(true);
    let camera = |name| CameraId::new(name).expect("a camera's name");
    config.cameras[0].id = camera("left");
    config.cameras.push(CameraConfig {
        id: camera("right"),
        video: Some(VideoConfig::default()),
        audio: None,
    });
    config
}

async fn json(rig: &Rig, path: &str) -> Value {
    serde_json::from_str(&rig.get(path).await.1).expect("JSON")
}

async fn wait_for_viewers(rig: &Rig, path: &str, count: u64) {
    until(async || json(rig, path).await["viewers"] == count).await;
}

#[tokio::test]
async fn cameras_each_has_its_stream_and_the_first_has_the_plain_one() {
    let mut rig = Rig::of(two_cameras(), Limits::default()).await;
    let mut viewers = Vec::new();
    for path in ["/left/stream?audio=0", "/right/stream", "/stream?audio=0"] {
        viewers.push(rig.connect_to(path).await);
    }
    wait_for_viewers(&rig, "/info", 2).await;
    wait_for_viewers(&rig, "/right/info", 1).await;
    let now = MonoNs::now();
    rig.video.push_at(now, b"of the left");
    rig.others[0].push_at(now, b"of the right");
    let mut frames = Vec::new();
    for viewer in &mut viewers {
        let text = viewer.text().await;
        let Ok(Message::Video { stamp, jpeg, .. }) = wire::text::decode(&text) else {
            panic!("no frame: {text}");
        };
        frames.push((stamp, String::from_utf8_lossy(&jpeg).into_owned()));
    }
    let (stamp, _) = frames[0];
    let expected = ["of the left", "of the right", "of the left"];
    assert_eq!(
        frames,
        expected.map(|text| (stamp, text.to_owned())),
        "captured at one instant"
    );
    rig.stop().await;
}

#[tokio::test]
async fn cameras_unknown_name_is_404_with_the_names() {
    let mut rig = Rig::of(two_cameras(), Limits::default()).await;
    for path in [
        "/nope/stream",
        "/nope/stream.mjpg",
        "/nope/snapshot.jpg",
        "/nope/audio.wav",
        "/nope/info",
        "/nope/state",
        "/nope/",
    ] {
        let (status, body) = rig.get(path).await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let error = body["error"].as_str().expect("an error");
        assert_eq!(status, 404, "{path}");
        assert!(
            error.contains("\"nope\"") && error.contains("left, right"),
            "{path}: {error}"
        );
    }
    assert_eq!(rig.get("/right/audio.wav").await.0, 404, "it has no audio");
    let not_utf8 = rig.get("/%FF/snapshot.jpg").await.0;
    assert_eq!(
        not_utf8, 404,
        "a name that is not UTF-8 is not the first camera's"
    );
    rig.stop().await;
}

#[tokio::test]
async fn cameras_metrics_are_labelled_with_their_names() {
    let mut rig = Rig::of(two_cameras(), Limits::default()).await;
    let (_, metrics) = rig.get("/metrics").await;
    for row in [
        "stampcast_viewers{camera=\"left\"} 0",
        "stampcast_viewers{camera=\"right\"} 0",
        "stampcast_source_up{camera=\"right\",stream=\"video\"} 1",
        "stampcast_source_up{camera=\"left\",stream=\"audio\"} 1",
        "stampcast_packets_total{camera=\"right\",encoding=\"jpeg\"} 0",
    ] {
        assert!(metrics.contains(row), "{row} is not in\n{metrics}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn cameras_are_listed_in_info_by_name() {
    let mut rig = Rig::of(two_cameras(), Limits::default()).await;
    let info = json(&rig, "/info").await;
    let cameras = info["cameras"].as_object().expect("an object");
    assert_eq!(cameras.keys().collect::<Vec<_>>(), ["left", "right"]);
    for kind in ["video", "audio"] {
        assert_eq!(cameras["left"][kind], info[kind], "the first camera");
    }
    assert!(cameras["right"]["audio"].is_null());
    rig.stop().await;
}

#[tokio::test]
async fn stream_audio_without_parameters_has_the_configured_format() {
    let mut config = config(true);
    let audio = config.cameras[0].audio.as_mut().expect("audio is on");
    (audio.rate_hz, audio.channels) = (Some(16_000), 2);
    let mut rig = Rig::of(config, Limits::default()).await;
    let mut viewers = Vec::new();
    for (query, rate_hz, channels) in [
        ("", 16_000, 2),
        ("&audio_channels=1", 16_000, 1),
        ("&audio_rate=48000&audio_channels=1", 48_000, 1),
    ] {
        let path = format!("/stream?video=0&format=binary&delivery=all{query}");
        viewers.push((rig.connect_to(&path).await, rate_hz, channels));
    }
    wait_for_viewers(&rig, "/info", 3).await;
    let start = MonoNs::now();
    for k in 0..5 {
        // 20 ms of one channel at 48 kHz.
        rig.audio
            .push_at(start + Duration::from_millis(20 * k), &[0; 2 * 960]);
    }
    for (viewer, rate_hz, channels) in &mut viewers {
        let message = viewer.binary().await;
        let Ok(Message::Audio { format, .. }) = wire::binary::decode(&message) else {
            panic!("no audio");
        };
        let expected = wire::AudioFormat {
            rate_hz: *rate_hz,
            channels: *channels,
        };
        assert_eq!(format, Some(expected));
    }
    rig.stop().await;
}

#[tokio::test]
async fn cameras_address_list_says_which_addresses_a_camera_has() {
    let mut rig = Rig::of(two_cameras(), Limits::default()).await;
    let list = rig.get("/").await.1;
    let (of_a_camera, of_the_server) = list.split_once("\nServer:\n").expect("two lists");
    let paths = |part: &str| -> Vec<String> {
        let lines = part.lines().filter(|line| line.starts_with('/'));
        let path = |line: &str| {
            line.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        lines.map(path).collect()
    };
    let (of_a_camera, of_the_server) = (paths(of_a_camera), paths(of_the_server));
    assert!(of_a_camera.contains(&"/stream".to_owned()), "{list}");
    assert!(of_the_server.contains(&"/metrics".to_owned()), "{list}");
    // The router answers OPTIONS for every address that exists.
    for (paths, prefix, exists) in [
        (&of_a_camera, "", true),
        (&of_a_camera, "/right", true),
        (&of_the_server, "", true),
        (&of_the_server, "/right", false),
    ] {
        for path in paths {
            let request = format!(
                "OPTIONS {prefix}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            );
            let status = rig.request(&request).await.0;
            assert_eq!(status != 404, exists, "{prefix}{path}: {status}");
        }
    }
    rig.stop().await;
}
