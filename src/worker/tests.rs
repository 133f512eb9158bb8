//! The loop with a source and a stream that record what is called.

use super::*;
use crate::ipc::control::SharedControl;
use crate::ipc::ring::SharedStatus;
use crate::media::{Encoding, Shape, StampMark, StampSource};
use crate::source::{Note, SourceIdentity};
use nix::sys::signal::{Signal, raise};
use std::cell::RefCell;
use std::rc::Rc;

type Calls = Rc<RefCell<Vec<&'static str>>>;

struct FakeSource(Calls);

impl Drop for FakeSource {
    fn drop(&mut self) {
        self.0.borrow_mut().push("closed");
    }
}

impl Source for FakeSource {
    fn info(&self) -> StreamInfo {
        StreamInfo {
            device: "a microphone".into(),
            device_format: "S16_LE".into(),
            shape: Shape::Audio {
                rate_hz: 48_000,
                channels: 1,
            },
            fps: None,
            stamp_marks: StampMark::FirstSample,
            stamp_source: StampSource::Driver,
            stamp_clock: "CLOCK_MONOTONIC".into(),
            uncertainty_ns: None,
            drift_ppm: None,
        }
    }

    fn take_notes(&mut self) -> Vec<Note> {
        Vec::new()
    }
}

/// Asks the worker to end while it waits for the second item, and holds a packet back until it is
/// finished, as an encoder thread does.
struct FakeStream {
    calls: Calls,
    page: SharedStatus,
    next_sequence: u64,
}

impl Stream for FakeStream {
    type Source = FakeSource;
    type Item<'a> = bool;

    fn interval(&self) -> Duration {
        Duration::from_millis(20)
    }

    fn open(
        &self,
        _known: Option<&SourceIdentity>,
        _clock_offset: ClockOffset,
    ) -> Result<Box<FakeSource>, SourceError> {
        self.calls.borrow_mut().push("opened");
        Ok(Box::new(FakeSource(self.calls.clone())))
    }

    fn begin(&mut self, _source: &FakeSource) -> Result<(), SourceError> {
        Ok(())
    }

    fn next(source: &mut FakeSource, _timeout: Duration) -> Result<Option<bool>, SourceError> {
        let mut calls = source.0.borrow_mut();
        calls.push("next");
        if calls.iter().filter(|call| **call == "next").count() == 2 {
            raise(Signal::SIGTERM).expect("a signal to this thread, where it is blocked");
        }
        Ok(Some(true))
    }

    fn accept(&mut self, _item: bool) -> bool {
        if self.next_sequence == 0 {
            let description = self.page.reader().description().expect("it is described");
            let device = description.info.map(|info| info.device);
            assert_eq!(
                device.as_deref(),
                Some("a microphone"),
                "before the first item"
            );
            assert!(description.message.contains("no audio"), "not over yet");
        } else {
            let description = self.page.reader().description().expect("it is described");
            assert!(description.info.is_some());
            assert_eq!(description.message, "", "after the first item");
        }
        self.next_sequence += 1;
        true
    }

    fn recovered(&mut self) {}

    fn describe(&self, source: &FakeSource) -> Option<StreamInfo> {
        Some(source.info())
    }

    fn source_lost(&mut self) {
        self.calls.borrow_mut().push("lost");
    }

    fn finish(&mut self) {
        self.calls.borrow_mut().push("finished");
        self.next_sequence += 1;
    }

    fn next_sequences(&self) -> impl Iterator<Item = (Encoding, u64)> {
        std::iter::once((Encoding::Pcm, self.next_sequence))
    }
}

#[test]
fn worker_end_requested_closes_the_source_then_finishes_and_reports_the_last_numbers() {
    let page = || SharedStatus::create("test", &[Encoding::Pcm]).expect("a page");
    let (status, calls) = (page(), Calls::default());
    let mut worker = Worker::new(
        status.writer(),
        SharedControl::create("test").expect("memory").reader(),
        StopSignal::on_sigterm().expect("a signalfd"),
        false,
        None,
    );
    let reader = status.reader();
    let stream = FakeStream {
        calls: calls.clone(),
        page: status,
        next_sequence: 0,
    };
    let failed = SourceError::Failed {
        device: "a microphone".into(),
        why: "no audio for 2 s".into(),
    };
    worker.report_failure(&failed).expect("it is tried again");
    assert_eq!(worker.run(stream), End::Requested);
    assert_eq!(
        *calls.borrow(),
        ["opened", "next", "next", "closed", "finished"]
    );
    // Two items, and the one that finishing published.
    assert_eq!(reader.snapshot().next_sequence(Encoding::Pcm), 3);
}
