//! The sessions that there are: what kind, since when, whether they came through, and the way to end one. Knows no media.

use super::demux::Routes;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Whep,
    /// `/api/webrtc/offer`.
    Json,
    /// Ours: the camera is published.
    Whip,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Whep, Self::Json, Self::Whip];

    pub fn name(self) -> &'static str {
        match self {
            Self::Whep => "whep",
            Self::Json => "json",
            Self::Whip => "whip",
        }
    }
}

/// A session as others may see it: without its name, which is the key to its end.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Seen {
    pub kind: Kind,
    /// UNIX seconds.
    pub since: f64,
    pub connected: bool,
}

#[derive(Default)]
pub struct Sessions(Mutex<HashMap<String, Entry>>);

struct Entry {
    seen: Seen,
    stop: watch::Sender<bool>,
}

/// A session's place in the list and among the routes; dropping it gives all up.
pub struct Place {
    /// A viewer's, of those that there are.
    _seat: Option<OwnedSemaphorePermit>,
    list: Arc<Sessions>,
    routes: Arc<Routes>,
    id: String,
    ufrag: String,
    pub kind: Kind,
}

impl Sessions {
    pub fn seen(&self) -> Vec<Seen> {
        let mut seen: Vec<_> = self.lock().values().map(|entry| entry.seen).collect();
        seen.sort_by(|a, b| a.since.total_cmp(&b.since));
        seen
    }

    /// `ufrag`: a route of `routes`, which goes with the place. What is returned second turns true when the session is to end.
    pub fn add(
        self: &Arc<Self>,
        routes: &Arc<Routes>,
        (id, ufrag): (&str, &str),
        (kind, seat): (Kind, Option<OwnedSemaphorePermit>),
        since: f64,
    ) -> (Place, watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        self.lock().insert(
            id.to_owned(),
            Entry {
                seen: Seen {
                    kind,
                    since,
                    connected: false,
                },
                stop,
            },
        );
        let (id, ufrag) = (id.to_owned(), ufrag.to_owned());
        (
            Place {
                _seat: seat,
                list: self.clone(),
                routes: routes.clone(),
                id,
                ufrag,
                kind,
            },
            stopped,
        )
    }

    /// Ends a viewer's session; `false` when there is none of this name.
    pub fn end(&self, id: &str) -> bool {
        self.lock()
            .get(id)
            .is_some_and(|entry| entry.stop.send(true).is_ok())
    }

    pub fn end_all(&self) {
        for entry in self.lock().values() {
            // Fails for one that has ended by itself.
            let _ = entry.stop.send(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the sessions")
    }
}

impl Place {
    pub fn note_connected(&self) {
        if let Some(entry) = self.list.lock().get_mut(&self.id) {
            entry.seen.connected = true;
        }
    }

    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.list.lock().remove(&self.id);
        self.routes.remove(&self.ufrag);
    }
}
