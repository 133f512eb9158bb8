//! Several cameras in one server: a session plays the camera that its address names.

use super::peer::{Peer, request};
use crate::cameras::two_cameras;
use crate::stream_rig::Rig;
use stampcast::config::{Limits, Webrtc};
use stampcast::media::Encoding;
use std::time::Duration;

/// H.264 access units of one IDR slice each (Annex B); the server does not look into them.
const LEFT: &[u8] = b"\0\0\0\x01\x65of the left";
const RIGHT: &[u8] = b"\0\0\0\x01\x65of the right";

async fn start() -> Rig {
    let mut config = two_cameras();
    config.webrtc = Some(Webrtc {
        port: 0,
        public_ip: None,
        bitrate_bps: 0,
        max_sessions: 8,
        stun: None,
        whip: None,
    });
    Rig::with_video(config, Limits::default(), Encoding::H264).await
}

/// Runs `peers` in a thread while both cameras give frames.
async fn run_while_capturing(rig: &mut Rig, peers: impl FnOnce(u16) + Send + 'static) {
    let port = rig.address.port();
    let peers = std::thread::spawn(move || peers(port));
    while !peers.is_finished() {
        rig.video.push(LEFT);
        rig.others[0].push(RIGHT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Err(panic) = peers.join() {
        std::panic::resume_unwind(panic);
    }
}

fn assert_plays(peer: &mut Peer, frame: &[u8]) {
    let mut frames = 0;
    assert!(peer.watch(|data| {
        assert_eq!(&data.data[..], frame);
        frames += 1;
        frames == 3
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn webrtc_cameras_session_plays_the_camera_of_its_address() {
    let mut rig = start().await;
    run_while_capturing(&mut rig, |port| {
        for (camera, frame) in [("/left", LEFT), ("/right", RIGHT), ("", LEFT)] {
            let mut peer = Peer::play_camera(camera, port);
            assert_plays(&mut peer, frame);
            assert_plays(&mut Peer::play_camera_by_json(camera, port), frame);
            let deleted = request(port, "DELETE", &peer.location.clone(), "", "");
            assert_eq!(deleted.status, 200, "{}", peer.location);
            assert!(!peer.watch(|_| false), "the session ends");
        }
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webrtc_cameras_unknown_name_is_404_with_the_names() {
    let mut rig = start().await;
    run_while_capturing(&mut rig, |port| {
        for (path, content_type) in [
            ("/nope/whep", "application/sdp"),
            ("/nope/api/webrtc/offer", "application/json"),
        ] {
            let answer = request(port, "POST", path, content_type, "v=0");
            assert_eq!(answer.status, 404, "{path}: {}", answer.body);
            let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
            let error = body["error"].as_str().expect("an error");
            assert!(
                error.contains("\"nope\"") && error.contains("left, right"),
                "{path}: {error}"
            );
        }
    })
    .await;
    rig.stop().await;
}
