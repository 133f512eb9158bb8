//! The list of sessions: kind, start, whether they are connected, and how to end one.

use super::demux::Routes;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    Whep,
    /// `/api/webrtc/offer`.
    Json,
    /// Our offer: the camera is published.
    Whip,
}

impl SessionKind {
    pub const ALL: [Self; 3] = [Self::Whep, Self::Json, Self::Whip];

    pub fn name(self) -> &'static str {
        match self {
            Self::Whep => "whep",
            Self::Json => "json",
            Self::Whip => "whip",
        }
    }
}

/// A session as `/state` shows it: without its name, which allows to end it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SessionInfo {
    pub kind: SessionKind,
    /// UNIX seconds.
    pub since: f64,
    pub connected: bool,
}

#[derive(Default)]
pub struct Sessions(Mutex<HashMap<String, Entry>>);

struct Entry {
    info: SessionInfo,
    stop: watch::Sender<bool>,
}

/// A session's entry in the list and among the routes; dropping it removes both and frees its
/// permit.
pub struct Registration {
    /// `None`: the session does not count towards the limit of viewers.
    _permit: Option<OwnedSemaphorePermit>,
    sessions: Arc<Sessions>,
    routes: Arc<Routes>,
    id: String,
    ufrag: String,
    kind: SessionKind,
}

impl Sessions {
    /// Oldest first.
    pub fn list(&self) -> Vec<SessionInfo> {
        let mut list: Vec<_> = self.lock().values().map(|entry| entry.info).collect();
        list.sort_by(|a, b| a.since.total_cmp(&b.since));
        list
    }

    /// `ufrag`: a route of `routes`, which is removed with the registration. `since`: UNIX seconds.
    /// The flag turns true when the session is to end.
    pub fn add(
        self: &Arc<Self>,
        routes: &Arc<Routes>,
        (id, ufrag): (&str, &str),
        (kind, permit): (SessionKind, Option<OwnedSemaphorePermit>),
        since: f64,
    ) -> (Registration, watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        let info = SessionInfo {
            kind,
            since,
            connected: false,
        };
        self.lock().insert(id.to_owned(), Entry { info, stop });
        let registration = Registration {
            _permit: permit,
            sessions: self.clone(),
            routes: routes.clone(),
            id: id.to_owned(),
            ufrag: ufrag.to_owned(),
            kind,
        };
        (registration, stopped)
    }

    /// Ends a session; `false` when there is none of this name.
    pub fn end(&self, id: &str) -> bool {
        self.lock()
            .get(id)
            .is_some_and(|entry| entry.stop.send(true).is_ok())
    }

    pub fn end_all(&self) {
        for entry in self.lock().values() {
            // Fails for one that has just ended.
            let _ = entry.stop.send(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().expect("no panic while locked")
    }
}

impl Registration {
    pub fn set_connected(&self) {
        if let Some(entry) = self.sessions.lock().get_mut(&self.id) {
            entry.info.connected = true;
        }
    }

    pub fn kind(&self) -> SessionKind {
        self.kind
    }

    /// Our ICE user fragment.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
        self.routes.remove(&self.ufrag);
    }
}
