//! What a worker reports of its device: on the status page, in the log (each cause once), and to
//! the next generation of the worker.

use super::{End, Worker};
use crate::media::{MonoNs, StreamInfo, WorkerState, is_printable};
use crate::source::{Note, SourceError, SourceIdentity};
use serde_json::Value;
use std::time::Duration;

impl Worker {
    /// Persists which device this is, for the next generation of the worker: its number may then be
    /// another device's.
    pub(super) fn persist_identity(&mut self, identity: &SourceIdentity) {
        self.status
            .save_note(&serde_json::to_vec(identity).expect("plain data becomes JSON"));
    }

    /// The device of the previous generation. Untrusted: that process may have been compromised,
    /// and the texts are used in messages.
    pub(super) fn persisted_identity(&self) -> Option<SourceIdentity> {
        let note: Value = serde_json::from_slice(&self.status.saved_note()?).ok()?;
        serde_json::from_value(is_plain(&note).then_some(note)?).ok()
    }

    /// Logs what the device does differently from what was asked, each note once.
    pub(super) fn log_notes(&mut self, notes: Vec<Note>) {
        for note in notes {
            if self.notes.first_time(note.text()) {
                match note {
                    Note::Info(text) => tracing::info!("{text}"),
                    Note::Warning(text) => tracing::warn!("{text}"),
                }
            }
        }
    }

    /// Reports that the device cannot be read: on the status page, and once per cause in the log.
    ///
    /// # Errors
    /// [`End::DeviceError`] with `--exit-on-device-error`.
    pub(super) fn report_failure(&mut self, e: &SourceError) -> Result<(), End> {
        let line = crate::log::chain(e);
        let is_new = self.failures.on_failure(&line);
        if self.exit_on_device_error {
            tracing::error!("{line}");
            return Err(End::DeviceError);
        }
        if is_new {
            tracing::warn!("{line}; waiting for it");
        }
        if line != self.message || self.is_described {
            self.status.describe(None, &line);
            self.message = line;
            self.is_described = false;
        }
        if matches!(e, SourceError::Missing { .. }) {
            self.failures.on_missing();
        }
        self.status.set_state(WorkerState::WaitingForDevice);
        Ok(())
    }

    pub(super) fn log_recovery(&self) {
        let device = self.logged_device.as_ref().map(|(device, _)| device);
        tracing::info!("{} works again", device.map_or("the device", |d| d));
    }
}

/// Whether all texts of a JSON value can be shown in log lines.
fn is_plain(note: &Value) -> bool {
    match note {
        Value::String(text) => text.chars().all(is_printable),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => fields.values().all(is_plain),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// What the status page says of an open source. Uncertainty and drift change slowly, so it is read
/// once a second.
#[derive(Default)]
pub(super) struct Description {
    read_at: Option<MonoNs>,
    reported: Option<StreamInfo>,
}

impl Description {
    const READ_EVERY: Duration = Duration::from_secs(1);

    /// Whether anything was reported.
    pub(super) fn is_known(&self) -> bool {
        self.reported.is_some()
    }

    /// Reports the description where it is due. Returns whether it was due and known.
    pub(super) fn report(
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
            worker.status.describe(Some(&info), &worker.message);
            worker.is_described = true;
            self.reported = Some(info);
        }
        true
    }

    /// The device delivers: its last failure is over, as far as the status page says.
    pub(super) fn clear_message(&self, worker: &mut Worker) {
        if self.is_known() && !worker.message.is_empty() {
            worker.message.clear();
            worker.status.describe(self.reported.as_ref(), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::control::SharedControl;
    use crate::ipc::ring::SharedStatus;
    use crate::worker::StopSignal;

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
