//! The status page as its two processes use it, here in one.

use super::*;
use crate::media::{Shape, StampMark, StampSource};

const ENCODINGS: [Encoding; 2] = [Encoding::Jpeg, Encoding::H264];

fn page() -> SharedStatus {
    SharedStatus::create("test", &ENCODINGS).expect("memory")
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1)
}

#[test]
fn status_answer_reaches_the_reader_by_slot() {
    let page = page();
    let (writer, reader) = (page.writer(), page.reader());
    assert_eq!(reader.answer(0), None);
    for (slot, result) in [
        (0, RequestResult::Done),
        (1, RequestResult::Unknown),
        (2, RequestResult::InvalidValue),
        (3, RequestResult::Refused),
        (63, RequestResult::Postponed),
    ] {
        let answer = Answer {
            number: 7 + slot as u64,
            value: u64::MAX,
            result,
        };
        writer.answer(slot, answer);
        assert!(readable(reader.event_fd()));
        reader.drain_event();
        assert_eq!(reader.answer(slot), Some(answer));
    }
    assert_eq!(reader.answer(4), None);
}

#[test]
fn status_state_and_description_reach_the_reader() {
    let page = page();
    let (mut writer, reader) = (page.writer(), page.reader());
    assert_eq!(reader.description(), None);
    assert_eq!(reader.snapshot().state_since, None);
    writer.set_state(WorkerState::Streaming);
    writer.set_heartbeat(MonoNs::now());
    writer.set_interval(Duration::from_millis(40));
    writer.set_next_sequence(Encoding::H264, 17);
    writer.describe(None, "no camera");
    let snapshot = reader.snapshot();
    assert_eq!(snapshot.state, WorkerState::Streaming);
    assert!(
        snapshot.state_since.is_some()
            && snapshot.heartbeat.is_some()
            && snapshot.last_capture.is_none()
    );
    assert_eq!(snapshot.interval, Some(Duration::from_millis(40)));
    assert_eq!(
        (
            snapshot.next_sequence(Encoding::H264),
            snapshot.next_sequence(Encoding::Jpeg)
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
fn status_description_too_long_is_cut_but_not_lost() {
    let page = page();
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
fn status_change_notifies_and_a_repetition_does_not() {
    let page = page();
    let (mut writer, reader) = (page.writer(), page.reader());
    writer.set_state(WorkerState::Starting);
    assert!(readable(reader.event_fd()));
    reader.drain_event();
    let since = reader.snapshot().state_since;
    writer.set_state(WorkerState::Starting);
    writer.set_heartbeat(MonoNs::now());
    assert!(!readable(reader.event_fd()));
    assert_eq!(reader.snapshot().state_since, since);
    writer.describe(None, "");
    assert!(readable(reader.event_fd()));
}

#[test]
fn status_reset_keeps_numbers_description_and_note() {
    let page = page();
    let (mut writer, reader) = (page.writer(), page.reader());
    writer.set_state(WorkerState::Streaming);
    writer.set_heartbeat(MonoNs(5));
    writer.set_last_capture(MonoNs(6));
    writer.set_interval(Duration::from_secs(1));
    writer.set_next_sequence(Encoding::Jpeg, 77);
    writer.describe(None, "the cable");
    assert_eq!(writer.saved_note(), None);
    writer.save_note(b"camera 7");
    assert_eq!((reader.snapshot().generation, writer.generation()), (0, 0));
    reader.reset(2);
    let snapshot = reader.snapshot();
    assert_eq!(
        (snapshot.state, snapshot.state_since, snapshot.heartbeat),
        (WorkerState::Starting, None, None)
    );
    assert_eq!((snapshot.last_capture, snapshot.interval), (None, None));
    assert_eq!(snapshot.next_sequence(Encoding::Jpeg), 77);
    assert_eq!(reader.description().unwrap().message, "the cable");
    let mut next = page.writer();
    assert_eq!((snapshot.generation, next.generation()), (2, 2));
    assert_eq!(next.saved_note().as_deref(), Some(&b"camera 7"[..]));
    next.save_note(&[b'x'; 2048]);
    assert_eq!(next.saved_note().map(|note| note.len()), Some(2048));
    next.save_note(&[b'x'; 2049]);
    assert_eq!(next.saved_note(), None, "too long a note is discarded");
}

proptest::proptest! {
    #[test]
    fn status_hostile_page_gives_plausible_values_and_is_mended(seed: u64, text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
        let page = page();
        let reader = page.reader();
        for (at, word) in page.mapping.words().iter().enumerate() {
            word.store(seed.rotate_left(at as u32).wrapping_mul(at as u64 | 1), Relaxed);
        }
        let snapshot = reader.snapshot();
        let now = MonoNs::now();
        for instant in [snapshot.heartbeat, snapshot.last_capture, snapshot.state_since] {
            proptest::prop_assert!(instant.is_none_or(|at| at <= now));
        }
        proptest::prop_assert!(snapshot.interval.is_none_or(|d| d <= Duration::from_secs(3600)));
        proptest::prop_assert!(snapshot.next_sequence(Encoding::H264) <= MAX_SEQUENCE);
        proptest::prop_assert_eq!(snapshot.next_sequence(Encoding::Opus), 0);
        for slot in 0..SLOTS {
            reader.answer(slot);
        }
        reader.description();
        proptest::prop_assert!(page.writer().saved_note().is_none_or(|note| note.len() <= 2048));
        // The writer overwrites the damage.
        DESCRIPTION.write(&page.mapping, &text);
        proptest::prop_assert_eq!(reader.description(), serde_json::from_slice(&text).ok());
        page.writer().describe(None, "mended");
        proptest::prop_assert!(reader.description().is_some());
    }
}
