//! The ring and the status page as their two processes use them, here in one.

use super::*;
use crate::packet::{Encoding, Losses, MonoNs, Shape, WorkerState};
use std::time::Duration;

fn meta(sequence: u64) -> Meta {
    Meta {
        incarnation: 1,
        sequence,
        captured: MonoNs(sequence * 1_000),
        shape: Shape::Video { width: 640, height: 480 },
        keyframe: true,
        losses: Losses { driver: 1, corrupt: 2, xrun: 3, source_away: 4 },
    }
}

fn ring(packets: u32, bytes: usize) -> SharedRing {
    SharedRing::create("test", RingLimits { packets, bytes }).unwrap()
}

#[test]
fn what_is_pushed_is_popped() {
    let ring = ring(4, 4096);
    let (mut writer, mut reader) = (ring.writer(), ring.reader());
    let mut payload = Vec::new();
    assert_eq!(reader.pop(&mut payload), Ok(None));
    for n in 0..10 {
        let bytes: Vec<u8> = (0..n * 13).map(|i| i as u8).collect();
        writer.push(&meta(n), &bytes).unwrap();
        assert_eq!(reader.pop(&mut payload), Ok(Some(meta(n))));
        assert_eq!(payload, bytes);
    }
    assert_eq!((writer.dropped(), reader.dropped()), (0, 0));
}

#[test]
fn full_ring_drops_the_oldest_and_counts_them() {
    let ring = ring(3, 4096);
    let (mut writer, mut reader) = (ring.writer(), ring.reader());
    for n in 0..5 {
        writer.push(&meta(n), &[n as u8]).unwrap();
    }
    let mut payload = Vec::new();
    let read: Vec<u64> = std::iter::from_fn(|| reader.pop(&mut payload).unwrap()).map(|m| m.sequence).collect();
    assert_eq!(read, [2, 3, 4]);
    assert_eq!((writer.dropped(), reader.dropped()), (2, 2));
}

#[test]
fn state_and_description_reach_the_reader() {
    let page = SharedStatus::create("test").unwrap();
    let (mut writer, reader) = (page.writer(), page.reader());
    assert_eq!(reader.description(), None);
    assert_eq!(reader.hot().state_since, None);
    writer.set_state(WorkerState::Streaming);
    writer.beat(MonoNs::now());
    writer.set_interval(Duration::from_millis(40));
    writer.set_next_sequence(Encoding::H264, 17);
    writer.describe(None, "no camera");
    let hot = reader.hot();
    assert_eq!(hot.state, WorkerState::Streaming);
    assert!(hot.state_since.is_some() && hot.heartbeat.is_some() && hot.last_captured.is_none());
    assert_eq!(hot.interval, Some(Duration::from_millis(40)));
    assert_eq!((hot.next_sequence(Encoding::H264), hot.next_sequence(Encoding::Jpeg)), (17, 0));
    assert_eq!(reader.description(), Some(Description { info: None, message: "no camera".into() }));
}
