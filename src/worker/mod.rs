//! The worker process: opens the device, waits for it while it is away, encodes what it delivers
//! and writes the packets to the rings. One loop for video and audio; [`Stream`] is what differs.
//! Has no network access.
//!
//! ```text
//! Source::next ─► Stream::accept ─► encoders ─► RingPublisher ─► ring (shared memory)
//!       └─ fails: FailureTracker says when to open it again
//! ```

mod audio;
mod encoded_track;
mod encoder_thread;
mod reports;
mod retry;
mod ring_publisher;
mod stop_signal;
mod stream;
mod thread_priority;
mod video;

pub use ring_publisher::RingPublisher;
pub use stop_signal::StopSignal;

use crate::config::{AudioConfig, VideoConfig};
use crate::ipc::control::{ControlReader, UNIX_OFFSET};
use crate::ipc::ring::StatusWriter;
use crate::ipc::status::{Answer, RequestResult};
use crate::log::LogOnce;
use crate::media::{MonoNs, StreamInfo, WorkerState};
use crate::source::{ClockOffset, Source, SourceError};
use reports::Description;
use retry::FailureTracker;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use stream::Stream;

/// How often a missing or failed device is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// The longest wait for a device, so that the heartbeat goes on.
const WAIT: Duration = Duration::from_millis(250);

/// What a worker reports to the supervisor, and has logged so far.
pub struct Worker {
    status: StatusWriter,
    control: ControlReader,
    unix_offset: UnixOffset,
    stop: StopSignal,
    exit_on_device_error: bool,
    failures: FailureTracker,
    /// The message on the status page.
    message: String,
    /// The status page describes an open device.
    is_described: bool,
    /// Device and format, as they were logged last.
    logged_device: Option<(String, String)>,
    notes: LogOnce,
}

/// UNIX time minus CLOCK_MONOTONIC as the server maps it, ns; 0 until it is known. For the test
/// pattern, which reads it in the thread that it runs in.
#[derive(Clone, Debug, Default)]
struct UnixOffset(Arc<AtomicI64>);

impl UnixOffset {
    fn clock_offset(&self) -> ClockOffset {
        let offset = self.0.clone();
        // Relaxed: a value by itself.
        Box::new(move || offset.load(Relaxed))
    }
}

/// Why a worker's loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The supervisor asked for it.
    Requested,
    /// The device failed and `--exit-on-device-error` was given.
    DeviceError,
}

/// Runs a camera's worker until the supervisor asks it to end, or until the device fails with
/// `--exit-on-device-error`. To be called by the process's main thread: a child that a source
/// starts (rpicam-vid) is killed when the thread that started it ends.
pub fn run_video(worker: Worker, video: &VideoConfig, publishers: Vec<RingPublisher>) -> End {
    worker.run(video::VideoStream::new(video, publishers))
}

/// Runs a microphone's worker, as [`run_video`] does a camera's.
pub fn run_audio(worker: Worker, audio: &AudioConfig, publishers: Vec<RingPublisher>) -> End {
    worker.run(audio::AudioStream::new(audio, publishers))
}

impl Worker {
    /// `before`: what the previous generation streamed when it ended, which it has logged.
    pub fn new(
        status: StatusWriter,
        control: ControlReader,
        stop: StopSignal,
        exit_on_device_error: bool,
        before: Option<StreamInfo>,
    ) -> Self {
        Self {
            status,
            control,
            unix_offset: UnixOffset::default(),
            stop,
            exit_on_device_error,
            failures: FailureTracker::default(),
            message: String::new(),
            is_described: false,
            logged_device: before.map(|info| (info.device, info.device_format)),
            notes: LogOnce::default(),
        }
    }

    fn run<S: Stream>(mut self, mut stream: S) -> End {
        self.status.set_interval(stream.interval());
        self.report_sequences(&stream);
        let end = self.run_until_end(&mut stream);
        // The source is closed. Frames that an encoder still holds were captured before the end.
        stream.finish();
        self.report_sequences(&stream);
        end
    }

    fn run_until_end<S: Stream>(&mut self, stream: &mut S) -> End {
        let mut known = self.persisted_identity();
        loop {
            let offset = self.unix_offset.clone();
            let open = || stream.open(known.as_ref(), offset.clock_offset());
            let mut source = match self.open(open) {
                Ok(source) => source,
                Err(end) => return end,
            };
            known = source.identity().or(known);
            let Err(e) = self.read(source.as_mut(), stream) else {
                return End::Requested;
            };
            // The device is closed before it is tried again.
            drop(source);
            stream.source_lost();
            self.report_sequences(stream);
            if let Err(end) = self.wait_after(&e) {
                return end;
            }
        }
    }

    /// Carries out the new requests of the control page. Their contents are untrusted.
    fn read_requests(&mut self) {
        let Self {
            control,
            status,
            unix_offset,
            ..
        } = self;
        control.poll(|request| match request.id {
            // Changes up to ten times a second: not answered.
            UNIX_OFFSET => unix_offset.0.store(request.value as i64, Relaxed),
            _ => status.answer(
                request.slot,
                Answer {
                    number: request.number,
                    value: 0,
                    result: RequestResult::Unknown,
                },
            ),
        });
    }

    /// Opens the device, however long that takes. A missing device is tried every 250 ms.
    fn open<S: ?Sized>(
        &mut self,
        mut open: impl FnMut() -> Result<Box<S>, SourceError>,
    ) -> Result<Box<S>, End> {
        loop {
            self.status.set_heartbeat(MonoNs::now());
            if self.stop.is_requested() {
                return Err(End::Requested);
            }
            match open() {
                Ok(source) => return Ok(source),
                Err(e) => self.report_failure(&e)?,
            }
            if self.stop.is_requested_within(RETRY) {
                return Err(End::Requested);
            }
        }
    }

    /// Reads an open source until the supervisor asks to end.
    fn read<S: Stream>(
        &mut self,
        source: &mut S::Source,
        stream: &mut S,
    ) -> Result<(), SourceError> {
        stream.begin(source)?;
        if let Some(identity) = source.identity() {
            self.persist_identity(&identity);
        }
        let mut description = Description::default();
        // A video's size is known from its first frame on. The message stays until there is one.
        description.report(self, MonoNs::now(), || stream.describe(source));
        self.log_notes(source.take_notes());
        let mut is_trimmed = false;
        while !self.stop.is_requested() {
            self.status.set_heartbeat(MonoNs::now());
            self.read_requests();
            let delivered = self.step(source, stream)?;
            self.log_notes(source.take_notes());
            if description.report(self, MonoNs::now(), || stream.describe(source)) {
                // The source learns of identical devices while it streams.
                if let Some(identity) = source.identity() {
                    self.persist_identity(&identity);
                }
            }
            if delivered {
                description.clear_message(self);
            }
            if delivered && !is_trimmed && description.is_known() {
                is_trimmed = true;
                // Opening a device is over, probably for a long time.
                crate::malloc_trim::trim();
            }
        }
        Ok(())
    }

    /// Waits for one item and publishes it. Returns whether a good one came.
    fn step<S: Stream>(
        &mut self,
        source: &mut S::Source,
        stream: &mut S,
    ) -> Result<bool, SourceError> {
        let item = S::next(source, WAIT)?;
        // Before the item is published, so that its readers know that the device is back. Whether a
        // device that is open and delivers nothing has stalled, the supervisor decides.
        self.status.set_state(WorkerState::Streaming);
        let mut is_good = false;
        if let Some(item) = item {
            is_good = stream.accept(item);
            let now = MonoNs::now();
            self.status.set_last_capture(now);
            if is_good && self.failures.on_item(now) {
                self.log_recovery();
                stream.recovered();
            }
        }
        // Also without an item: an encoder's thread publishes between two iterations.
        self.report_sequences(stream);
        Ok(is_good)
    }

    /// The open device failed. Returns when it may be opened again: after a pause that grows while
    /// it fails right after each opening, and that ends when something is plugged in.
    fn wait_after(&mut self, e: &SourceError) -> Result<(), End> {
        let before = hotplug_stamp();
        self.report_failure(e)?;
        let pause = if matches!(e, SourceError::Missing { .. }) {
            RETRY
        } else {
            self.failures.next_pause()
        };
        let until = MonoNs::now() + pause;
        loop {
            let now = MonoNs::now();
            self.status.set_heartbeat(now);
            if now >= until || hotplug_stamp() != before {
                return Ok(());
            }
            if self.stop.is_requested_within(until.since(now).min(RETRY)) {
                return Err(End::Requested);
            }
        }
    }

    /// Persists the tracks' numbers, for the next generation of the worker.
    fn report_sequences(&self, stream: &impl Stream) {
        for (encoding, next) in stream.next_sequences() {
            self.status.set_next_sequence(encoding, next);
        }
    }
}

/// Changes when a device is plugged in or unplugged: then a node is made or removed in one of these
/// folders. Cameras are in the first, audio devices in the second.
fn hotplug_stamp() -> [Option<SystemTime>; 2] {
    ["/dev", "/dev/snd"].map(|folder| std::fs::metadata(folder).and_then(|m| m.modified()).ok())
}

#[cfg(test)]
mod tests;
