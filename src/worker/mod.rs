//! A worker's life: open the device, wait for it when it is away, number what it gives, hand it to the ring. What the two
//! workers share is here; [`video`] and [`audio`] are their loops. Knows no network.

pub mod audio;
pub mod retry;
pub mod ring_publisher;
pub mod video;

pub use ring_publisher::Lane;

use crate::ipc::control::{ControlReader, UNIX_OFFSET};
use crate::ipc::ring::StatusWriter;
use crate::ipc::status::{Answer, RequestResult};
use crate::log::Told;
use crate::media::{MonoNs, StreamInfo, WorkerState};
use crate::source::{ClockOffset, SourceError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use retry::Trouble;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

/// A missing or failed device is tried again this often.
const RETRY: Duration = Duration::from_millis(250);
/// No wait for a device is longer, so that the loop shows that it lives.
const GRAB: Duration = Duration::from_millis(250);

/// Whether the supervisor asked this worker to end (SIGTERM).
pub struct Stop(SignalFd);

impl Stop {
    /// Takes SIGTERM from its default action; from here on the worker ends only at its own next look.
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

    pub fn asked(&self) -> bool {
        self.asked_within(Duration::ZERO)
    }

    /// Waits up to `pause` for the end to be asked for.
    pub fn asked_within(&self, pause: Duration) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
        matches!(poll(&mut fds, timeout), Ok(n) if n > 0)
    }
}

/// A worker: its word to the supervisor, and what it has told the user so far.
pub struct Worker {
    status: StatusWriter,
    control: ControlReader,
    unix_offset: UnixOffset,
    stop: Stop,
    exit_on_device_error: bool,
    trouble: Trouble,
    /// The message on the status page.
    said: String,
    /// Device and format, as they were last logged.
    named: Option<(String, String)>,
    notes: Told,
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
    Asked,
    /// The device failed and `--exit-on-device-error` was given.
    DeviceError,
}

impl Worker {
    /// `before`: what an earlier life streamed when it ended. It was logged then.
    pub fn new(
        status: StatusWriter,
        control: ControlReader,
        stop: Stop,
        exit_on_device_error: bool,
        before: Option<StreamInfo>,
    ) -> Self {
        let (trouble, notes) = (Trouble::default(), Told::default());
        let named = before.map(|info| (info.device, info.device_format));
        Self {
            status,
            control,
            unix_offset: UnixOffset::default(),
            stop,
            exit_on_device_error,
            trouble,
            said: String::new(),
            named,
            notes,
        }
    }

    /// The server's UNIX offset, kept up to date by [`read_requests`](Self::read_requests).
    fn unix_offset(&self) -> UnixOffset {
        self.unix_offset.clone()
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

    /// Opens the device, however long that takes. A device that is missing is looked for every 250 ms.
    fn open<S>(&mut self, mut open: impl FnMut() -> Result<S, SourceError>) -> Result<S, End> {
        loop {
            self.status.set_heartbeat(MonoNs::now());
            if self.stop.asked() {
                return Err(End::Asked);
            }
            match open() {
                Ok(source) => return Ok(source),
                Err(e) => self.away(&e)?,
            }
            if self.stop.asked_within(RETRY) {
                return Err(End::Asked);
            }
        }
    }

    /// The open device failed. Returns when it may be opened again: while it goes on failing right after it was opened, that
    /// takes longer and longer, unless something is plugged in meanwhile.
    fn failed(&mut self, e: &SourceError) -> Result<(), End> {
        let before = plugged();
        self.away(e)?;
        let pause = if matches!(e, SourceError::Missing { .. }) {
            RETRY
        } else {
            self.trouble.pause()
        };
        let until = MonoNs::now() + pause;
        loop {
            let now = MonoNs::now();
            self.status.set_heartbeat(now);
            if now >= until || plugged() != before {
                return Ok(());
            }
            if self.stop.asked_within(until.since(now).min(RETRY)) {
                return Err(End::Asked);
            }
        }
    }

    /// Leaves word of which very device it is, for the worker's next life: a number alone may by then lead to another one.
    fn note_device<T: Serialize>(&mut self, device: &T) {
        self.status
            .save_note(&serde_json::to_vec(device).expect("plain data becomes JSON"));
    }

    /// The device of the life before. Whoever took that life over may have written it, and its texts get into messages.
    fn noted_device<T: DeserializeOwned>(&self) -> Option<T> {
        let note: Value = serde_json::from_slice(&self.status.saved_note()?).ok()?;
        serde_json::from_value(is_plain(&note).then_some(note)?).ok()
    }

    /// Leaves word of the numbers, for the worker's next life.
    fn note_number(&self, lane: &Lane) {
        self.status
            .set_next_sequence(lane.encoding, lane.next_sequence());
    }

    /// Says that the device cannot be read: in the status page, and once per cause in the log.
    fn away(&mut self, e: &SourceError) -> Result<(), End> {
        let line = crate::log::chain(e);
        let is_news = self.trouble.fault(&line);
        if self.exit_on_device_error {
            tracing::error!("{line}");
            return Err(End::DeviceError);
        }
        if is_news {
            tracing::warn!("{line}; waiting for it");
        }
        if line != self.said {
            self.status.describe(None, &line);
            self.said = line;
        }
        if matches!(e, SourceError::Missing { .. }) {
            self.trouble.gone();
        }
        self.status.set_state(WorkerState::WaitingForDevice);
        Ok(())
    }

    /// A good frame came. True when with it the device's trouble is over, which is then said.
    fn good(&mut self, now: MonoNs) -> bool {
        let over = self.trouble.good(now);
        if over {
            tracing::info!(
                "{} works again",
                self.named
                    .as_ref()
                    .map_or("the device", |(device, _)| device)
            );
        }
        over
    }

    /// Whether this is the first time that the user is told so.
    fn is_new_note(&mut self, note: &str) -> bool {
        self.notes.is_news(note)
    }
}

/// Changes when a device comes or goes: then a node is made or removed in one of these folders. Cameras are in the first,
/// sound cards in the second.
fn plugged() -> [Option<SystemTime>; 2] {
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

/// What the status page was last told of the source. Uncertainty and drift change slowly: a look a second will do.
#[derive(Default)]
struct Description {
    looked: Option<MonoNs>,
    told: Option<StreamInfo>,
}

impl Description {
    const LOOK_EVERY: Duration = Duration::from_secs(1);

    /// Whether it was time to look.
    fn tell(
        &mut self,
        worker: &mut Worker,
        now: MonoNs,
        info: impl FnOnce() -> StreamInfo,
    ) -> bool {
        if self
            .looked
            .is_some_and(|at| now.since(at) < Self::LOOK_EVERY)
        {
            return false;
        }
        self.looked = Some(now);
        let info = info();
        let named = Some((info.device.clone(), info.device_format.clone()));
        if worker.named != named {
            tracing::info!("{}: {}", info.device, info.device_format);
            worker.named = named;
        }
        if self.told.as_ref() != Some(&info) {
            worker.status.describe(Some(&info), "");
            worker.said.clear();
            self.told = Some(info);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::control::SharedControl;
    use crate::ipc::ring::SharedStatus;

    fn life(page: &SharedStatus) -> Worker {
        Worker::new(
            page.writer(),
            SharedControl::create("test").expect("memory").reader(),
            Stop::on_sigterm().expect("a signalfd"),
            false,
            None,
        )
    }

    #[test]
    fn a_note_is_read_by_the_next_life_and_a_scribbled_one_is_none() {
        let page = SharedStatus::create("test", &[]).expect("a page");
        assert_eq!(life(&page).noted_device::<(String, u32)>(), None);
        life(&page).note_device(&("Fake Cam", 7));
        assert_eq!(life(&page).noted_device(), Some(("Fake Cam".to_owned(), 7)));
        for scribbled in [
            &b"\xff\xfe"[..],
            b"{",
            b"[]",
            b"[\"Fake Cam\", -7]",
            b"[\"Fake\\nERROR all is lost\", 7]",
            &[b'['; 2000],
        ] {
            life(&page).status.save_note(scribbled);
            assert_eq!(
                life(&page).noted_device::<(String, u32)>(),
                None,
                "{}",
                String::from_utf8_lossy(scribbled)
            );
        }
    }
}
