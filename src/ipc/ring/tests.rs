//! The ring as its two processes use it, here in one.

use super::*;
use crate::media::{Losses, MonoNs, Shape, WorkerState};
use std::time::Duration;

fn meta(sequence: u64) -> PacketMeta {
    PacketMeta {
        generation: 1,
        sequence,
        capture_time: MonoNs(sequence * 1_000),
        shape: Shape::Video {
            width: 640,
            height: 480,
        },
        keyframe: true,
        losses: Losses {
            driver: 1,
            corrupt: 2,
            encoder: 5,
            xrun: 3,
            source_away: 4,
        },
    }
}

fn ring(packets: u32, bytes: usize) -> SharedRing {
    SharedRing::create("test", RingLimits { packets, bytes }).unwrap()
}

#[test]
fn ring_pushed_packets_are_popped() {
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
fn ring_full_drops_the_oldest_and_counts_them() {
    let ring = ring(3, 4096);
    let (mut writer, mut reader) = (ring.writer(), ring.reader());
    for n in 0..5 {
        writer.push(&meta(n), &[n as u8]).unwrap();
    }
    let mut payload = Vec::new();
    let read: Vec<u64> = std::iter::from_fn(|| reader.pop(&mut payload).unwrap())
        .map(|m| m.sequence)
        .collect();
    assert_eq!(read, [2, 3, 4]);
    assert_eq!((writer.dropped(), reader.dropped()), (2, 2));
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
}

/// The memory's file, as another holder of the descriptor sees it.
fn file(fd: std::os::fd::RawFd) -> std::fs::File {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/self/fd/{fd}"))
        .unwrap()
}

#[test]
fn ring_limits_out_of_range_are_refused() {
    for (packets, bytes) in [
        (0, 4096),
        (10_001, 4096),
        (1, 0),
        (1, 1 << 32),
        (1, usize::MAX),
    ] {
        let refused = SharedRing::create("test", RingLimits { packets, bytes });
        assert_eq!(
            refused.err().map(|e| e.kind()),
            Some(io::ErrorKind::InvalidInput),
            "{packets} packets, {bytes} bytes"
        );
    }
    assert!(
        SharedRing::create(
            "test",
            RingLimits {
                packets: 10_000,
                bytes: 64 << 20
            }
        )
        .is_ok()
    );
}

#[test]
fn ring_payload_too_large_is_refused_and_changes_nothing() {
    let ring = ring(4, 128);
    let (mut writer, mut reader) = (ring.writer(), ring.reader());
    writer.push(&meta(0), &[1; 128]).unwrap();
    assert_eq!(
        writer.push(&meta(1), &[2; 129]),
        Err(TooLarge {
            length: 129,
            capacity: 128
        })
    );
    let mut payload = Vec::new();
    assert_eq!(reader.pop(&mut payload), Ok(Some(meta(0))));
    assert_eq!(payload, [1; 128]);
}

#[test]
fn ring_push_makes_the_event_readable_until_drained() {
    let ring = ring(4, 4096);
    let (mut writer, reader) = (ring.writer(), ring.reader());
    assert!(!readable(reader.event_fd()));
    writer.push(&meta(0), b"x").unwrap();
    writer.push(&meta(1), b"y").unwrap();
    assert!(readable(reader.event_fd()));
    reader.drain_event();
    assert!(!readable(reader.event_fd()));
    reader.drain_event();
}

#[test]
fn ring_demand_reaches_the_writer_and_a_new_reader_wants_nothing() {
    let ring = ring(4, 4096);
    let (writer, reader) = (ring.writer(), ring.reader());
    assert_eq!(
        writer.demand(),
        Demand {
            wanted: false,
            keyframes: 0,
            bitrate_bps: 0
        }
    );
    reader.set_demand(true);
    reader.request_keyframe();
    reader.request_keyframe();
    reader.set_bitrate(2_000_000);
    assert_eq!(
        writer.demand(),
        Demand {
            wanted: true,
            keyframes: 2,
            bitrate_bps: 2_000_000
        }
    );
    drop(reader);
    let reader = ring.reader();
    assert_eq!(
        writer.demand(),
        Demand {
            wanted: false,
            keyframes: 2,
            bitrate_bps: 0
        }
    );
    drop(reader);
}

#[test]
fn ring_invalid_record_header_is_reported_and_only_it_is_skipped() {
    let ring = ring(4, 4096);
    let (mut writer, mut reader) = (ring.writer(), ring.reader());
    for n in 0..3 {
        writer.push(&meta(n), b"x").unwrap();
    }
    let slot = ring.geometry.slot(1) + layout::SLOT_HEADER;
    ring.mapping.words()[slot].store(MAX_SEQUENCE + 1, Relaxed);
    let mut payload = Vec::new();
    assert_eq!(reader.pop(&mut payload), Ok(Some(meta(0))));
    let fault = reader.pop(&mut payload).unwrap_err();
    assert!(
        matches!(fault, RingFault::Header { record: 1, .. }),
        "{fault}"
    );
    assert!(payload.is_empty());
    assert_eq!(reader.pop(&mut payload), Ok(Some(meta(2))));
}

#[test]
fn ring_memory_size_is_sealed() {
    let ring = ring(4, 4096);
    let memory = file(ring.mapping.fds()[0]);
    let size = memory.metadata().unwrap().len();
    assert_eq!(size as usize, ring.mapping.words().len() * 8);
    for other in [0, size - 4096, size + 4096] {
        assert_eq!(
            memory.set_len(other).unwrap_err().raw_os_error(),
            Some(nix::libc::EPERM),
            "{other} bytes"
        );
    }
}

#[test]
fn ring_memory_grows_with_the_backlog_only() {
    use std::os::unix::fs::MetadataExt;
    let ring = ring(10_000, 64 << 20);
    let (mut writer, mut reader) = (ring.writer(), ring.reader());
    let frame = vec![7; 60_000];
    let mut payload = Vec::new();
    for n in 0..500 {
        writer.push(&meta(n), &frame).unwrap();
        writer.push(&meta(n), &frame).unwrap();
        while reader.pop(&mut payload).unwrap().is_some() {}
    }
    let allocated = file(ring.mapping.fds()[0]).metadata().unwrap().blocks() * 512;
    // The header, 1,000 slots, two frames.
    assert!(
        allocated < 4096 + 65_536 + 2 * 61_440 + 3 * 4096,
        "{allocated} bytes"
    );
}

#[test]
fn ring_dropped_is_closed_and_unmapped() {
    let ring = SharedRing::create(
        "dropped-ring",
        RingLimits {
            packets: 4,
            bytes: 4096,
        },
    )
    .unwrap();
    let mapped = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .contains("dropped-ring")
    };
    let halves = (ring.writer(), ring.reader());
    drop(ring);
    assert!(mapped());
    drop(halves);
    assert!(!mapped());
}

#[test]
fn ring_descriptors_are_closed_on_exec() {
    let ring = ring(4, 4096);
    for fd in ring.mapping.fds() {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & nix::libc::O_CLOEXEC, 0);
    }
}

/// What a compromised worker may leave behind: all holders of an eventfd share O_NONBLOCK.
#[test]
fn ring_and_status_eventfd_made_blocking_blocks_no_reader() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (done, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (ring, page) = (ring(4, 4096), SharedStatus::create("test", &[]).unwrap());
        for fd in [ring.reader().event_fd(), page.reader().event_fd()] {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        }
        let (server, watcher) = (ring.reader(), page.reader());
        server.drain_event();
        watcher.drain_event();
        // Full: one more would wait.
        nix::unistd::write(watcher.event_fd(), &(u64::MAX - 1).to_ne_bytes()).unwrap();
        watcher.reset(2);
        assert!(readable(watcher.event_fd()));
        watcher.drain_event();
        assert!(!readable(watcher.event_fd()));
        page.writer().set_state(WorkerState::Starting);
        assert!(
            readable(watcher.event_fd()),
            "the first state of the next generation notifies"
        );
        done.send(()).unwrap();
    });
    seen.recv_timeout(Duration::from_secs(20))
        .expect("no reader was blocked");
}

proptest::proptest! {
    #[test]
    fn record_header_round_trip(
        numbers: (u32, u64, u64), video: bool, size in (1u16.., 1u16..), rate_hz in 1u32..=768_000, channels in 1u16..=32,
        keyframe: bool, losses: (u32, u32, u32, u32, u32),
    ) {
        let meta = PacketMeta {
            generation: numbers.0,
            sequence: numbers.1 & MAX_SEQUENCE,
            capture_time: MonoNs(numbers.2 >> 1),
            shape: if video { Shape::Video { width: size.0, height: size.1 } } else { Shape::Audio { rate_hz, channels } },
            keyframe,
            losses: Losses { driver: losses.0, corrupt: losses.1, xrun: losses.2, source_away: losses.3, encoder: losses.4 },
        };
        proptest::prop_assert_eq!(record_header::decode(record_header::encode(&meta)), Ok(meta));
    }

    /// Any words at all: an answer or a reason, and no answer that is not plausible.
    #[test]
    fn record_header_hostile_words_are_refused_or_plausible(words: [u64; LABEL_WORDS]) {
        if let Ok(meta) = record_header::decode(words) {
            proptest::prop_assert!(meta.sequence <= MAX_SEQUENCE && meta.capture_time.0 <= i64::MAX as u64);
            proptest::prop_assert_eq!(record_header::encode(&meta), words);
        }
    }
}
