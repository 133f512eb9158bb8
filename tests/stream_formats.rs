//! What a viewer of `/stream` receives, to the byte.

mod stream_rig;

use stampcast::packet::{MonoNs, UnixNs};
use stampcast::wire::{self, stamp};
use std::time::{Duration, SystemTime};
use stream_rig::*;

fn unix_now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

/// The two clocks are read some nanoseconds apart, and the server measures between them again and again.
fn is_stamp_of(stamp: UnixNs, captured: MonoNs) -> bool {
    let expected = unix_now().as_nanos() as i128 - i128::from(MonoNs::now().0) + i128::from(captured.0);
    (i128::from(stamp.0) - expected).abs() < 2_000_000
}

#[tokio::test]
async fn text_is_what_a_split_at_colons_reads() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect("").await;
    rig.video.wait_for_demand(true).await;
    rig.audio.wait_for_demand(true).await;

    let sent = rig.video.push(b"\xff\xd8 a picture \xff\xd9");
    let message = viewer.text().await;
    let parts: Vec<&str> = message.split(':').collect();
    assert_eq!(["video", "64", "48", "/9ggYSBwaWN0dXJlIP/Z"], [parts[0], parts[2], parts[3], parts[4]]);
    assert_eq!(parts.len(), 5);
    assert!(is_stamp_of(stamp::parse(parts[1]).unwrap(), sent.captured), "{message}");

    let sent = rig.audio.push(&[1, 0, 2, 0]);
    let message = viewer.text().await;
    let parts: Vec<&str> = message.split(':').collect();
    assert_eq!(["audio", "AQACAA=="], [parts[0], parts[2]]);
    assert_eq!(parts.len(), 3);
    assert!(is_stamp_of(stamp::parse(parts[1]).unwrap(), sent.captured), "{message}");
    rig.stop().await;
}

#[tokio::test]
async fn large_frames_arrive_whole() {
    let mut rig = Rig::start().await;
    let mut viewer = rig.connect("?audio=0").await;
    rig.video.wait_for_demand(true).await;
    let picture: Vec<u8> = (0..3_000_000u32).map(|i| (i * 31 >> 3) as u8).collect();
    rig.video.push(&picture);
    let text = viewer.text().await;
    let Ok(wire::Message::Video { jpeg, .. }) = wire::text::decode(&text) else { panic!("no video") };
    assert!(jpeg == picture, "the picture was changed on its way");
    rig.stop().await;
}
