//! A worker's life: open the device, wait for it when it is away, number what it gives, hand it to the ring. What the two
//! workers share is here; [`video`] and [`sound`] are their loops. Knows no network.

mod lane;
pub mod sound;
pub mod thin;
pub mod video;

pub use lane::Lane;

use super::SourceError;
use crate::packet::{MonoNs, StreamInfo, WorkerState};
use crate::ring::StatusWriter;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::os::fd::AsFd;
use std::time::Duration;

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
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
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

/// What a worker is given at its birth.
pub struct Worker {
    pub status: StatusWriter,
    pub stop: Stop,
    pub exit_on_device_error: bool,
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
    /// Opens the device, however long that takes. A fault is logged once as long as it stays the same.
    fn open<S>(&mut self, mut open: impl FnMut() -> Result<S, SourceError>) -> Result<S, End> {
        let mut told = String::new();
        loop {
            self.status.beat(MonoNs::now());
            if self.stop.asked() {
                return Err(End::Asked);
            }
            match open() {
                Ok(source) => return Ok(source),
                Err(e) => self.away(&e, &mut told)?,
            }
            if self.stop.asked_within(RETRY) {
                return Err(End::Asked);
            }
        }
    }

    /// Leaves word of which very device it is, for the worker's next life: a number alone may by then lead to another one.
    fn note_device<T: Serialize>(&mut self, device: &T) {
        self.status.leave_note(&serde_json::to_vec(device).expect("plain data becomes JSON"));
    }

    /// The device of the life before. Whoever took that life over may have written it, and its texts get into messages.
    fn noted_device<T: DeserializeOwned>(&self) -> Option<T> {
        let note: Value = serde_json::from_slice(&self.status.note_left()?).ok()?;
        serde_json::from_value(is_plain(&note).then_some(note)?).ok()
    }

    /// Leaves word of the numbers, for the worker's next life.
    fn note_number(&self, lane: &Lane) {
        self.status.set_next_sequence(lane.encoding, lane.next_sequence());
    }

    /// Says once that the device cannot be read, in the log and in the status page.
    fn away(&mut self, e: &SourceError, told: &mut String) -> Result<(), End> {
        let line = crate::log::chain(e);
        if line != *told {
            if self.exit_on_device_error {
                tracing::error!("{line}");
                return Err(End::DeviceError);
            }
            tracing::warn!("{line}; waiting for it");
            self.status.describe(None, &line);
            *told = line;
        }
        self.status.set_state(WorkerState::WaitingForDevice);
        Ok(())
    }
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
    fn tell(&mut self, worker: &mut Worker, now: MonoNs, info: impl FnOnce() -> StreamInfo) -> bool {
        if self.looked.is_some_and(|at| now.since(at) < Self::LOOK_EVERY) {
            return false;
        }
        self.looked = Some(now);
        let info = info();
        let named = |i: &StreamInfo| (i.device.clone(), i.device_format.clone());
        if self.told.as_ref().map(named) != Some(named(&info)) {
            tracing::info!("{}: {}", info.device, info.device_format);
        }
        if self.told.as_ref() != Some(&info) {
            worker.status.describe(Some(&info), "");
            self.told = Some(info);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::SharedStatus;

    fn life(page: &SharedStatus) -> Worker {
        Worker { status: page.writer(), stop: Stop::on_sigterm().expect("a signalfd"), exit_on_device_error: false }
    }

    #[test]
    fn a_note_is_read_by_the_next_life_and_a_scribbled_one_is_none() {
        let page = SharedStatus::create("test").expect("a page");
        assert_eq!(life(&page).noted_device::<(String, u32)>(), None);
        life(&page).note_device(&("Fake Cam", 7));
        assert_eq!(life(&page).noted_device(), Some(("Fake Cam".to_owned(), 7)));
        for scribbled in [&b"\xff\xfe"[..], b"{", b"[]", b"[\"Fake Cam\", -7]", b"[\"Fake\\nERROR all is lost\", 7]", &[b'['; 2000]] {
            life(&page).status.leave_note(scribbled);
            assert_eq!(life(&page).noted_device::<(String, u32)>(), None, "{}", String::from_utf8_lossy(scribbled));
        }
    }
}
