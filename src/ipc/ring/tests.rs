//! The ring and the status page as their two processes use them, here in one.

use super::*;
use crate::ipc::status::DESCRIPTION;
use crate::media::{
    Encoding, Losses, MonoNs, Shape, StampMark, StampSource, StreamInfo, WorkerState,
};
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
    let read: Vec<u64> = std::iter::from_fn(|| reader.pop(&mut payload).unwrap())
        .map(|m| m.sequence)
        .collect();
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
    assert!(hot.state_since.is_some() && hot.heartbeat.is_some() && hot.last_capture.is_none());
    assert_eq!(hot.interval, Some(Duration::from_millis(40)));
    assert_eq!(
        (
            hot.next_sequence(Encoding::H264),
            hot.next_sequence(Encoding::Jpeg)
        ),
        (17, 0)
    );
    assert_eq!(
        reader.description(),
        Some(Description {
            info: None,
            message: "no camera".into()
        })
    );
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
}

/// The memory's file, as another holder of the descriptor sees it.
fn file(fd: RawFd) -> std::fs::File {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/self/fd/{fd}"))
        .unwrap()
}

#[test]
fn limits_out_of_range_are_refused() {
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
fn a_payload_larger_than_the_ring_is_refused_and_disturbs_nothing() {
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
fn a_push_makes_the_event_readable_until_it_is_cleared() {
    let ring = ring(4, 4096);
    let (mut writer, reader) = (ring.writer(), ring.reader());
    assert!(!readable(reader.event_fd()));
    writer.push(&meta(0), b"x").unwrap();
    writer.push(&meta(1), b"y").unwrap();
    assert!(readable(reader.event_fd()));
    reader.clear_event();
    assert!(!readable(reader.event_fd()));
    reader.clear_event();
}

#[test]
fn demand_reaches_the_writer_and_a_new_reader_asks_for_nothing() {
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
    assert_eq!(writer.demand_reader().clock_offset_ns(), 0);
    reader.set_demand(true);
    reader.request_keyframe();
    reader.request_keyframe();
    reader.set_bitrate(2_000_000);
    reader.set_clock_offset_ns(-5);
    assert_eq!(
        writer.demand(),
        Demand {
            wanted: true,
            keyframes: 2,
            bitrate_bps: 2_000_000
        }
    );
    assert_eq!(writer.demand_reader().clock_offset_ns(), -5);
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
fn a_label_that_makes_no_sense_is_reported_and_skipped_alone() {
    let ring = ring(4, 4096);
    let (mut writer, mut reader) = (ring.writer(), ring.reader());
    for n in 0..3 {
        writer.push(&meta(n), b"x").unwrap();
    }
    let slot = ring.geometry.slot(1) + layout::SLOT_LABEL;
    ring.mapping.words()[slot].store(MAX_SEQUENCE + 1, Relaxed);
    let mut payload = Vec::new();
    assert_eq!(reader.pop(&mut payload), Ok(Some(meta(0))));
    let fault = reader.pop(&mut payload).unwrap_err();
    assert!(
        matches!(fault, RingFault::Label { record: 1, .. }),
        "{fault}"
    );
    assert!(payload.is_empty());
    assert_eq!(reader.pop(&mut payload), Ok(Some(meta(2))));
}

#[test]
fn the_size_is_sealed() {
    let ring = ring(4, 4096);
    let memory = file(ring.fds()[0]);
    let size = memory.metadata().unwrap().len();
    assert_eq!(size as usize, ring.mapping().1);
    for other in [0, size - 4096, size + 4096] {
        assert_eq!(
            memory.set_len(other).unwrap_err().raw_os_error(),
            Some(nix::libc::EPERM),
            "{other} bytes"
        );
    }
}

#[test]
fn only_the_backlog_costs_memory() {
    use std::os::unix::fs::MetadataExt;
    let ring = ring(10_000, 64 << 20);
    let (mut writer, mut reader) = (ring.writer(), ring.reader());
    let picture = vec![7; 60_000];
    let mut payload = Vec::new();
    for n in 0..500 {
        writer.push(&meta(n), &picture).unwrap();
        writer.push(&meta(n), &picture).unwrap();
        while reader.pop(&mut payload).unwrap().is_some() {}
    }
    let allocated = file(ring.fds()[0]).metadata().unwrap().blocks() * 512;
    // The header, 1,000 slots, two pictures.
    assert!(
        allocated < 4096 + 65_536 + 2 * 61_440 + 3 * 4096,
        "{allocated} bytes"
    );
}

#[test]
fn what_is_dropped_is_closed_and_unmapped() {
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
fn descriptors_do_not_pass_to_other_programs() {
    let ring = ring(4, 4096);
    for fd in ring.fds() {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        assert_ne!(flags & nix::libc::O_CLOEXEC, 0);
    }
}

fn info(device: String) -> StreamInfo {
    StreamInfo {
        device,
        device_format: "YUYV 640x480".into(),
        shape: Shape::Video {
            width: 640,
            height: 480,
        },
        fps: Some(15.0),
        stamp_marks: StampMark::FrameStart,
        stamp_source: StampSource::Driver,
        stamp_clock: "CLOCK_MONOTONIC".into(),
        uncertainty_ns: None,
        drift_ppm: None,
    }
}

#[test]
fn a_description_too_long_is_cut_and_never_lost() {
    let page = SharedStatus::create("test").unwrap();
    let (mut writer, reader) = (page.writer(), page.reader());
    let camera = info("a camera".into());
    writer.describe(Some(&camera), &"é".repeat(10_000));
    let said = reader.description().unwrap();
    assert_eq!(said.info.as_ref(), Some(&camera));
    assert_eq!(said.message, "é".repeat(512));
    writer.describe(Some(&info("n".repeat(9_000))), "why");
    assert_eq!(
        reader.description(),
        Some(Description {
            info: None,
            message: "why".into()
        })
    );
}

#[test]
fn a_change_of_state_or_description_rings_and_a_repetition_does_not() {
    let page = SharedStatus::create("test").unwrap();
    let (mut writer, reader) = (page.writer(), page.reader());
    writer.set_state(WorkerState::Starting);
    assert!(readable(reader.event_fd()));
    reader.clear_event();
    let since = reader.hot().state_since;
    writer.set_state(WorkerState::Starting);
    writer.beat(MonoNs::now());
    assert!(!readable(reader.event_fd()));
    assert_eq!(reader.hot().state_since, since);
    writer.describe(None, "");
    assert!(readable(reader.event_fd()));
}

/// What a worker that was taken over may leave behind: O_NONBLOCK is shared by all who hold an eventfd.
#[test]
fn an_eventfd_made_blocking_holds_neither_the_server_nor_the_supervisor() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (done, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (ring, page) = (ring(4, 4096), SharedStatus::create("test").unwrap());
        for fd in [ring.reader().event_fd(), page.reader().event_fd()] {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        }
        let (server, watcher) = (ring.reader(), page.reader());
        server.clear_event();
        watcher.clear_event();
        // Full: one more would wait.
        nix::unistd::write(watcher.event_fd(), &(u64::MAX - 1).to_ne_bytes()).unwrap();
        watcher.reset(2);
        assert!(readable(watcher.event_fd()));
        watcher.clear_event();
        assert!(!readable(watcher.event_fd()));
        page.writer().set_state(WorkerState::Starting);
        assert!(
            readable(watcher.event_fd()),
            "the next life's first word rings"
        );
        done.send(()).unwrap();
    });
    seen.recv_timeout(Duration::from_secs(20))
        .expect("nobody was held");
}

#[test]
fn a_reset_page_keeps_numbers_description_and_note() {
    let page = SharedStatus::create("test").unwrap();
    let (mut writer, reader) = (page.writer(), page.reader());
    writer.set_state(WorkerState::Streaming);
    writer.beat(MonoNs(5));
    writer.note_capture(MonoNs(6));
    writer.set_interval(Duration::from_secs(1));
    writer.set_next_sequence(Encoding::Jpeg, 77);
    writer.describe(None, "the cable");
    assert_eq!(writer.note_left(), None);
    writer.leave_note(b"camera 7");
    assert_eq!((reader.hot().generation, writer.generation()), (0, 0));
    reader.reset(2);
    let hot = reader.hot();
    assert_eq!(
        (hot.state, hot.state_since, hot.heartbeat),
        (WorkerState::Starting, None, None)
    );
    assert_eq!((hot.last_capture, hot.interval), (None, None));
    assert_eq!(hot.next_sequence(Encoding::Jpeg), 77);
    assert_eq!(reader.description().unwrap().message, "the cable");
    let mut next = page.writer();
    assert_eq!((hot.generation, next.generation()), (2, 2));
    assert_eq!(next.note_left().as_deref(), Some(&b"camera 7"[..]));
    next.leave_note(&[b'x'; 2048]);
    assert_eq!(next.note_left().map(|note| note.len()), Some(2048));
    next.leave_note(&[b'x'; 2049]);
    assert_eq!(next.note_left(), None, "half a note is none");
}

proptest::proptest! {
    #[test]
    fn labels_survive_the_words(
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
    fn hostile_labels_are_refused_or_plausible(words: [u64; LABEL]) {
        if let Ok(meta) = record_header::decode(words) {
            proptest::prop_assert!(meta.sequence <= MAX_SEQUENCE && meta.capture_time.0 <= i64::MAX as u64);
            proptest::prop_assert_eq!(record_header::encode(&meta), words);
        }
    }

    #[test]
    fn a_scribbled_page_says_nothing_impossible(seed: u64, text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
        let page = SharedStatus::create("test").unwrap();
        let reader = page.reader();
        for (at, word) in page.mapping.words().iter().enumerate() {
            word.store(seed.rotate_left(at as u32).wrapping_mul(at as u64 | 1), Relaxed);
        }
        let hot = reader.hot();
        let now = MonoNs::now();
        for instant in [hot.heartbeat, hot.last_capture, hot.state_since] {
            proptest::prop_assert!(instant.is_none_or(|at| at <= now));
        }
        proptest::prop_assert!(hot.interval.is_none_or(|d| d <= Duration::from_secs(3600)));
        proptest::prop_assert!(hot.next_sequence(Encoding::Opus) <= MAX_SEQUENCE);
        reader.description();
        proptest::prop_assert!(page.writer().note_left().is_none_or(|note| note.len() <= 2048));
        // The writer mends what it writes.
        DESCRIPTION.write(&page.mapping, &text);
        proptest::prop_assert_eq!(reader.description(), serde_json::from_slice(&text).ok());
        page.writer().describe(None, "well again");
        proptest::prop_assert!(reader.description().is_some());
    }
}
