//! The list of sessions: kind, start, whether they are connected, how to end one, and which one
//! gives way to a new one.

use super::demux::Routes;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
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
pub struct Sessions(Mutex<List>);

#[derive(Default)]
struct List {
    entries: HashMap<String, Entry>,
    /// Counts the sessions of a viewer.
    last_number: u64,
}

struct Entry {
    info: SessionInfo,
    /// A check came that was signed with our ICE password: there is a peer.
    is_checked: bool,
    stop: watch::Sender<bool>,
    /// `None`: the session does not count towards the limit of viewers.
    viewer: Option<Viewer>,
}

/// What the limit of viewers needs to know of a session.
struct Viewer {
    permit: OwnedSemaphorePermit,
    client: Client,
    /// In the order of the offers.
    number: u64,
}

/// Clients that are counted as one: an IPv4 address, or an IPv6 network of 64 bits, which one host
/// may have whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

/// Of IPv6 networks, in the order in which [`Sessions::evict`] counts them.
const COUNTED_BITS: [u32; 3] = [64, 56, 48];

impl Client {
    /// The first `bits` of an IPv6 network, at most 64; an IPv4 address stays as it is.
    fn network(self, bits: u32) -> Self {
        match self {
            Self::V4(_) => self,
            Self::V6([a, b, c, d]) => Self::V6([a, b, c, d & (u32::MAX << (64 - bits)) as u16]),
        }
    }
}

impl From<IpAddr> for Client {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// A session's entry in the list and among the routes; dropping it removes both and frees its
/// permit.
pub struct Registration {
    sessions: Arc<Sessions>,
    routes: Arc<Routes>,
    id: String,
    ufrag: String,
    kind: SessionKind,
}

impl Sessions {
    /// Oldest first.
    pub fn list(&self) -> Vec<SessionInfo> {
        let mut list: Vec<_> = self.lock().entries.values().map(|e| e.info).collect();
        list.sort_by(|a, b| a.since.total_cmp(&b.since));
        list
    }

    /// `ufrag`: a route of `routes`, which is removed with the registration. `viewer`: for one that
    /// counts towards the limit. `since`: UNIX seconds. The flag turns true when the session is to
    /// end.
    pub fn add(
        self: &Arc<Self>,
        routes: &Arc<Routes>,
        (id, ufrag): (&str, &str),
        kind: SessionKind,
        viewer: Option<(OwnedSemaphorePermit, Client)>,
        since: f64,
    ) -> (Registration, watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        let info = SessionInfo {
            kind,
            since,
            connected: false,
        };
        let mut list = self.lock();
        list.last_number += 1;
        let number = list.last_number;
        let viewer = viewer.map(|(permit, client)| Viewer {
            permit,
            client,
            number,
        });
        let entry = Entry {
            info,
            is_checked: false,
            stop,
            viewer,
        };
        list.entries.insert(id.to_owned(), entry);
        let registration = Registration {
            sessions: self.clone(),
            routes: routes.clone(),
            id: id.to_owned(),
            ufrag: ufrag.to_owned(),
            kind,
        };
        (registration, stopped)
    }

    /// Whether [`evict`](Self::evict) would find a session.
    pub fn can_evict(&self) -> bool {
        let list = self.lock();
        list.entries
            .values()
            .any(|entry| entry.evictable().is_some())
    }

    /// Ends a viewer's session that is not connected, and returns its permit: of those that
    /// received no signed check, else of all, the oldest of the client that has most of them.
    /// Where several clients have as many, it is one in the IPv6 network of 56 bits, then of 48
    /// bits, that has most: providers assign these. A connected session is never ended.
    pub fn evict(&self) -> Option<OwnedSemaphorePermit> {
        let mut list = self.lock();
        let evictable = || {
            let entries = list.entries.values();
            entries.filter_map(|entry| Some((entry.evictable()?, entry.is_checked)))
        };
        let mut counts: HashMap<(Client, u32), usize> = HashMap::new();
        for (viewer, _) in evictable() {
            for bits in COUNTED_BITS {
                *counts
                    .entry((viewer.client.network(bits), bits))
                    .or_default() += 1;
            }
        }
        let rank = |(viewer, is_checked): &(&Viewer, bool)| {
            let count = COUNTED_BITS.map(|bits| counts[&(viewer.client.network(bits), bits)]);
            (!is_checked, count, Reverse(viewer.number))
        };
        let (viewer, _) = evictable().max_by_key(rank)?;
        let number = viewer.number;
        let is_it = |entry: &Entry| entry.evictable().is_some_and(|v| v.number == number);
        let (id, _) = list.entries.iter().find(|(_, entry)| is_it(entry))?;
        let id = id.clone();
        let entry = list.entries.remove(&id)?;
        // Fails for one that has just ended.
        let _ = entry.stop.send(true);
        entry.viewer.map(|viewer| viewer.permit)
    }

    /// Ends a session; `false` when there is none of this name.
    pub fn end(&self, id: &str) -> bool {
        self.lock()
            .entries
            .get(id)
            .is_some_and(|entry| entry.stop.send(true).is_ok())
    }

    pub fn end_all(&self) {
        for entry in self.lock().entries.values() {
            // Fails for one that has just ended.
            let _ = entry.stop.send(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().expect("no panic while locked")
    }
}

impl Entry {
    /// `None`: the session is connected, or no viewer's.
    fn evictable(&self) -> Option<&Viewer> {
        self.viewer.as_ref().filter(|_| !self.info.connected)
    }
}

impl Registration {
    pub fn set_connected(&self) {
        if let Some(entry) = self.sessions.lock().entries.get_mut(&self.id) {
            entry.info.connected = true;
        }
    }

    /// A signed check came: see [`Sessions::evict`].
    pub fn set_checked(&self) {
        if let Some(entry) = self.sessions.lock().entries.get_mut(&self.id) {
            entry.is_checked = true;
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
        self.sessions.lock().entries.remove(&self.id);
        self.routes.remove(&self.ufrag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    struct Rig {
        sessions: Arc<Sessions>,
        routes: Arc<Routes>,
        permits: Arc<Semaphore>,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                sessions: Arc::default(),
                routes: Arc::default(),
                permits: Arc::new(Semaphore::new(100)),
            }
        }

        fn add(&self, id: &str, client: &str) -> (Registration, watch::Receiver<bool>) {
            let permit = self
                .permits
                .clone()
                .try_acquire_owned()
                .expect("one is free");
            let client: IpAddr = client.parse().expect("an address");
            let viewer = Some((permit, client.into()));
            self.sessions
                .add(&self.routes, (id, id), SessionKind::Whep, viewer, 0.0)
        }
    }

    #[test]
    fn sessions_evict_the_oldest_unchecked_of_the_client_or_network_with_most() {
        let rig = Rig::new();
        let added = [
            ("a", "192.0.2.1"),
            ("b", "192.0.2.2"),
            ("c", "::ffff:192.0.2.2"),
            ("d", "2001:db8::1"),
            ("e", "2001:db8::ffff:2"),
            ("f", "2001:db8:0:0:3::"),
            ("g", "2001:db8:0:ff::"),
            ("h", "2001:db8:0:1ff::"),
        ]
        .map(|(id, client)| (id, rig.add(id, client)));
        let whip = rig
            .sessions
            .add(&rig.routes, ("w", "w"), SessionKind::Whip, None, 0.0);
        let (_, (d, _)) = &added[3];
        d.set_connected();
        let (_, (g, _)) = &added[6];
        g.set_checked();
        let mut evicted = Vec::new();
        while rig.sessions.can_evict() {
            let before = rig.permits.available_permits();
            let permit = rig.sessions.evict().expect("there is one");
            assert_eq!(rig.permits.available_permits(), before, "it is handed over");
            drop(permit);
            let stopped = added.iter().filter(|(_, (_, stopped))| *stopped.borrow());
            let new = stopped.map(|(id, _)| *id).find(|id| !evicted.contains(id));
            evicted.push(new.expect("one is stopped"));
        }
        assert!(rig.sessions.evict().is_none());
        assert_eq!(evicted, ["e", "b", "f", "h", "a", "c", "g"]);
        assert!(!*whip.1.borrow(), "publishing is not ended");
        drop(added);
        assert_eq!(rig.sessions.list().len(), 1);
        assert_eq!(rig.permits.available_permits(), 100);
    }
}
