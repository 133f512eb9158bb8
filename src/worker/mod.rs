//! The worker process: opens the device, waits for it while it is away, encodes what it delivers and
//! writes the packets to the rings. One loop for video and audio; [`Stream`] is what differs. Knows no
//! network.
//!
//! ```text
//! Source::next ─► Stream::accept ─► encoders ─► RingPublisher ─► ring (shared memory)
//!       └─ fails: FailureTracker says when to open it again
//! ```

mod audio;
mod encoded_track;
mod encoder_thread;
mod retry;
mod ring_publisher;
mod thread_priority;
mod video;

pub use ring_publisher::RingPublisher;

use crate::config::{AudioConfig, VideoConfig};
use crate::ipc::control::{ControlReader, UNIX_OFFSET};
use crate::ipc::ring::StatusWriter;
use crate::ipc::status::{Answer, RequestResult};
use crate::log::LogOnce;
use crate::media::{Encoding, MonoNs, StreamInfo, WorkerState};
use crate::source::{ClockOffset, Source, SourceError, SourceIdentity};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use retry::FailureTracker;
use serde_json::Value;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// How often a missing or failed device is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// No wait for a device is longer, so that the loop shows that it is alive.
const WAIT: Duration = Duration::from_millis(250);

/// Whether the supervisor asked this worker to end (SIGTERM).
pub struct StopSignal(SignalFd);

impl StopSignal {
    /// Blocks SIGTERM: from here on the worker ends only when it looks next. Threads inherit the
    /// mask, so the signal is this descriptor's in all of them.
    ///
    /// # Errors
    /// What signalfd(2) says: out of descriptors or memory.
    pub fn on_sigterm() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
        )?))
    }

    fn requested(&self) -> bool {
        self.requested_within(Duration::ZERO)
    }

    /// Waits up to `pause` for the request to end.
    fn requested_within(&self, pause: Duration) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        matches!(poll(&mut fds, timeout), Ok(n) if n > 0)
    }
}

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
    /// Device and format, as they were logged last.
    logged_device: Option<(String, String)>,
    notes: LogOnce,
}

/// UNIX time minus CLOCK_MONOTONIC as the server maps it, ns; 0 until it is known. For the test
/// pattern, which reads it in whatever thread it runs.
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
    /// The supervisor asked.
    Requested,
    /// The device failed and `--exit-on-device-error` was given.
    DeviceError,
}

/// What video and audio do differently in the loop.
trait Stream {
    type Source: Source + ?Sized;
    /// What the source delivers.
    type Item<'a>;

    /// The time expected between two items.
    fn interval(&self) -> Duration;

    /// Opens the source; `known` is the device that was open before.
    fn open(
        &self,
        known: Option<&SourceIdentity>,
        clock_offset: ClockOffset,
    ) -> Result<Box<Self::Source>, SourceError>;

    /// A source was opened.
    ///
    /// # Errors
    /// What it delivers cannot be encoded as asked.
    fn begin(&mut self, source: &Self::Source) -> Result<(), SourceError>;

    /// Waits for the next item, at most `timeout`; `None` when nothing came.
    fn next<'a>(
        source: &'a mut Self::Source,
        timeout: Duration,
    ) -> Result<Option<Self::Item<'a>>, SourceError>;

    /// Encodes an item and publishes its packets. False for an item that is damaged.
    fn accept(&mut self, item: Self::Item<'_>) -> bool;

    /// The device works again after failures: they may be logged again.
    fn recovered(&mut self);

    /// The source, with what the stream makes of it; `None` while that is not known.
    fn describe(&self, source: &Self::Source) -> Option<StreamInfo>;

    /// The source failed or was unplugged, and is closed.
    fn source_lost(&mut self);

    /// The number that each track's next packet gets.
    fn next_sequences(&self) -> impl Iterator<Item = (Encoding, u64)>;
}

/// Runs a camera's worker until the supervisor asks it to end, or until the device fails where that is
/// to be the end. To be called by the process's main thread: a child that a source starts (rpicam-vid)
/// is killed when the thread that started it ends.
pub fn run_video(worker: Worker, video: &VideoConfig, publishers: Vec<RingPublisher>) -> End {
    worker.run(video::VideoStream::new(video, publishers))
}

/// Runs a microphone's worker, as [`run_video`] does a camera's.
pub fn run_audio(worker: Worker, audio: &AudioConfig, publishers: Vec<RingPublisher>) -> End {
    worker.run(audio::AudioStream::new(audio, publishers))
}

impl Worker {
    /// `before`: what an earlier generation streamed when it ended. It was logged then.
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
            logged_device: before.map(|info| (info.device, info.device_format)),
            notes: LogOnce::default(),
        }
    }

    fn run<S: Stream>(mut self, mut stream: S) -> End {
        let mut known = self.persisted_identity();
        self.status.set_interval(stream.interval());
        self.report_sequences(&stream);
        loop {
            let offset = self.unix_offset.clone();
            let open = || stream.open(known.as_ref(), offset.clock_offset());
            let mut source = match self.open(open) {
                Ok(source) => source,
                Err(end) => return end,
            };
            known = source.identity().or(known);
            let Err(e) = self.read(source.as_mut(), &mut stream) else {
                return End::Requested;
            };
            // The device is closed before it is tried again.
            drop(source);
            stream.source_lost();
            self.report_sequences(&stream);
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

    /// Opens the device, however long that takes. A missing device is looked for every 250 ms.
    fn open<S: ?Sized>(
        &mut self,
        mut open: impl FnMut() -> Result<Box<S>, SourceError>,
    ) -> Result<Box<S>, End> {
        loop {
            self.status.set_heartbeat(MonoNs::now());
            if self.stop.requested() {
                return Err(End::Requested);
            }
            match open() {
                Ok(source) => return Ok(source),
                Err(e) => self.report_failure(&e)?,
            }
            if self.stop.requested_within(RETRY) {
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
        while !self.stop.requested() {
            self.status.set_heartbeat(MonoNs::now());
            self.read_requests();
            self.step(source, stream)?;
            for note in source.take_notes() {
                if self.notes.first_time(&note) {
                    tracing::warn!("{note}");
                }
            }
            let is_first = description.read_at.is_none();
            let now = MonoNs::now();
            if description.report(self, now, || stream.describe(source)) {
                // The source learns of identical devices while it streams.
                if let Some(identity) = source.identity() {
                    self.persist_identity(&identity);
                }
                if is_first {
                    // Opening a device is over, probably for a long time.
                    crate::malloc_trim::trim();
                }
            }
        }
        Ok(())
    }

    /// Waits for one item and publishes it.
    fn step<S: Stream>(
        &mut self,
        source: &mut S::Source,
        stream: &mut S,
    ) -> Result<(), SourceError> {
        let item = S::next(source, WAIT)?;
        // Before the item is published, so that whoever gets it knows that the device is back. A
        // device that is open and delivers nothing is the supervisor's to judge.
        self.status.set_state(WorkerState::Streaming);
        if let Some(item) = item {
            let is_good = stream.accept(item);
            let now = MonoNs::now();
            self.status.set_last_capture(now);
            if is_good && self.failures.on_item(now) {
                self.log_recovery();
                stream.recovered();
            }
        }
        // Also without an item: an encoder's thread publishes between two iterations.
        self.report_sequences(stream);
        Ok(())
    }

    /// The open device failed. Returns when it may be opened again: while it goes on failing right
    /// after it was opened, that takes longer and longer, unless something is plugged in meanwhile.
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
            if self.stop.requested_within(until.since(now).min(RETRY)) {
                return Err(End::Requested);
            }
        }
    }

    /// Persists which device this is, for the next generation of the worker: a number alone may by
    /// then lead to another one.
    fn persist_identity(&mut self, identity: &SourceIdentity) {
        self.status
            .save_note(&serde_json::to_vec(identity).expect("plain data becomes JSON"));
    }

    /// The device of the generation before. Untrusted: whoever took that process over may have
    /// written it, and its texts get into messages.
    fn persisted_identity(&self) -> Option<SourceIdentity> {
        let note: Value = serde_json::from_slice(&self.status.saved_note()?).ok()?;
        serde_json::from_value(is_plain(&note).then_some(note)?).ok()
    }

    /// Persists the tracks' numbers, for the next generation of the worker.
    fn report_sequences(&self, stream: &impl Stream) {
        for (encoding, next) in stream.next_sequences() {
            self.status.set_next_sequence(encoding, next);
        }
    }

    /// Reports that the device cannot be read: in the status page, and once per cause in the log.
    fn report_failure(&mut self, e: &SourceError) -> Result<(), End> {
        let line = crate::log::chain(e);
        let is_new = self.failures.on_failure(&line);
        if self.exit_on_device_error {
            tracing::error!("{line}");
            return Err(End::DeviceError);
        }
        if is_new {
            tracing::warn!("{line}; waiting for it");
        }
        if line != self.message {
            self.status.describe(None, &line);
            self.message = line;
        }
        if matches!(e, SourceError::Missing { .. }) {
            self.failures.on_missing();
        }
        self.status.set_state(WorkerState::WaitingForDevice);
        Ok(())
    }

    fn log_recovery(&self) {
        let device = self.logged_device.as_ref().map(|(device, _)| device);
        tracing::info!("{} works again", device.map_or("the device", |d| d));
    }
}

/// Changes when a device is plugged in or unplugged: then a node is made or removed in one of these
/// folders. Cameras are in the first, audio devices in the second.
fn hotplug_stamp() -> [Option<SystemTime>; 2] {
    ["/dev", "/dev/snd"].map(|folder| std::fs::metadata(folder).and_then(|m| m.modified()).ok())
}

/// Whether its texts are lines that a log can show.
fn is_plain(note: &Value) -> bool {
    match note {
        Value::String(text) => !text.contains(char::is_control),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => fields.values().all(is_plain),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// What the status page says of the source. Uncertainty and drift change slowly: it is read once a
/// second.
#[derive(Default)]
struct Description {
    read_at: Option<MonoNs>,
    reported: Option<StreamInfo>,
}

impl Description {
    const READ_EVERY: Duration = Duration::from_secs(1);

    /// Returns whether the description was due and known.
    fn report(
        &mut self,
        worker: &mut Worker,
        now: MonoNs,
        describe: impl FnOnce() -> Option<StreamInfo>,
    ) -> bool {
        if self
            .read_at
            .is_some_and(|at| now.since(at) < Self::READ_EVERY)
        {
            return false;
        }
        let Some(info) = describe() else { return false };
        self.read_at = Some(now);
        let device = Some((info.device.clone(), info.device_format.clone()));
        if worker.logged_device != device {
            tracing::info!("{}: {}", info.device, info.device_format);
            worker.logged_device = device;
        }
        if self.reported.as_ref() != Some(&info) {
            worker.status.describe(Some(&info), "");
            worker.message.clear();
            self.reported = Some(info);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::control::SharedControl;
    use crate::ipc::ring::SharedStatus;

    fn generation(page: &SharedStatus) -> Worker {
        Worker::new(
            page.writer(),
            SharedControl::create("test").expect("memory").reader(),
            StopSignal::on_sigterm().expect("a signalfd"),
            false,
            None,
        )
    }

    /// The persisted identity as JSON.
    fn persisted(page: &SharedStatus) -> Option<String> {
        let identity = generation(page).persisted_identity()?;
        Some(serde_json::to_string(&identity).expect("plain data"))
    }

    #[test]
    fn identity_persisted_is_read_by_the_next_generation_and_an_invalid_one_is_ignored() {
        let page = SharedStatus::create("test", &[]).expect("a page");
        assert_eq!(persisted(&page), None);
        let microphone = r#"{"alsa":{"model":"Fake Mic","device":7,"serial":null,"serial_is_unique":false,"port":"usb1"}}"#;
        let identity = serde_json::from_str(microphone).expect("an identity");
        generation(&page).persist_identity(&identity);
        assert_eq!(persisted(&page).as_deref(), Some(microphone));
        for invalid in [
            &b"\xff\xfe"[..],
            b"{",
            b"[]",
            microphone.replace("7", "-7").as_bytes(),
            microphone
                .replace("Fake", "Fake\\nERROR all is lost")
                .as_bytes(),
            &[b'['; 2000],
        ] {
            generation(&page).status.save_note(invalid);
            assert_eq!(
                persisted(&page),
                None,
                "{}",
                String::from_utf8_lossy(invalid)
            );
        }
    }
}
