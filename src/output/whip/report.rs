//! The state of a publisher, for `/state` and `/metrics`.

use serde::Serialize;
use std::sync::{Mutex, MutexGuard};

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub state: State,
    /// When `state` changed, UNIX seconds.
    pub since: f64,
    /// Scheme, host and port of the media server; the path may be a secret.
    pub server: String,
    /// Sessions that connected.
    pub sessions: u64,
    /// Attempts that failed, and sessions that ended by an error.
    pub failures: u64,
    /// The last failure; `None` while connected.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Connecting,
    Connected,
    /// For the next attempt.
    Waiting,
}

pub(in crate::output) fn lock(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().expect("no panic while the report is locked")
}
