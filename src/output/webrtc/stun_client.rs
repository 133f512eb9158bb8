//! Asks STUN servers for the public address of our port, from that very port, and again before the
//! NAT forgets the mapping.

use super::port::{Datagram, Port};
use super::stun::{Message, TransactionId, binding_request};
use crate::log::{LogOnce, chain};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use str0m::net::Protocol;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// Some NATs forget a UDP mapping that is idle for 30 s (RFC 4787, section 4.3).
const REFRESH_INTERVAL: Duration = Duration::from_secs(25);
/// The first wait for a response; each further one is twice as long (RFC 8489, section 6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 5;
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers that a media server may add to the one of the command line.
const MAX_ADDED_SERVERS: usize = 4;

/// An address of our port, as this machine and as a STUN server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub base: SocketAddr,
    pub public: SocketAddr,
}

pub struct StunClient {
    port: Arc<Port>,
    state: Mutex<State>,
    new_servers: mpsc::Sender<String>,
    /// Taken by [`run`](Self::run).
    server_queue: Mutex<Option<mpsc::Receiver<String>>>,
    has_first_result: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Requests without a response: the server and the waiting task.
    pending: HashMap<TransactionId, (SocketAddr, oneshot::Sender<SocketAddr>)>,
    /// By server and whether it is IPv4.
    mappings: HashMap<(String, bool), Mapping>,
    servers: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum StunError {
    #[error("its name does not resolve")]
    Resolve(#[source] io::Error),
    #[error("it cannot be reached from this port")]
    Unreachable,
    #[error("it does not answer")]
    NoResponse,
    #[error("the system has no random numbers")]
    Random(#[source] io::Error),
}

impl StunClient {
    /// `server`: HOST:PORT of the first server.
    pub fn new(port: Arc<Port>, server: Option<&str>) -> Self {
        let (new_servers, server_queue) = mpsc::channel(MAX_ADDED_SERVERS + 1);
        let client = Self {
            port,
            state: Mutex::default(),
            new_servers,
            server_queue: Mutex::new(Some(server_queue)),
            has_first_result: watch::Sender::new(server.is_none()),
        };
        if let Some(server) = server {
            client.add_server(server.to_owned());
        }
        client
    }

    /// Uses this server from now on, unless it is in use already or there are too many.
    pub fn add_server(&self, server: String) {
        let mut state = self.lock();
        if !state.servers.contains(&server) && state.servers.len() <= MAX_ADDED_SERVERS {
            state.servers.push(server.clone());
            // There is room for as many; the receiver is dropped when the program ends.
            let _ = self.new_servers.try_send(server);
        }
    }

    /// The addresses found, each once.
    pub fn mappings(&self) -> Vec<Mapping> {
        let mut mappings: Vec<Mapping> = self.lock().mappings.values().copied().collect();
        mappings.sort_by_key(|mapping| (mapping.base, mapping.public));
        mappings.dedup();
        mappings
    }

    /// Waits until the first server has answered or failed; returns at once if there is none.
    pub async fn first_result(&self) {
        // The sender lives as long as `self`.
        let mut has_result = self.has_first_result.subscribe();
        let _ = has_result.wait_for(|has_result| *has_result).await;
    }

    /// Asks the servers until the task is aborted.
    pub async fn run(self: Arc<Self>) {
        let Some(mut servers) = self
            .server_queue
            .lock()
            .expect("no panic while locked")
            .take()
        else {
            return;
        };
        self.port.ready().await;
        let mut tasks = JoinSet::new();
        while let Some(server) = servers.recv().await {
            tasks.spawn(self.clone().refresh(server));
        }
    }

    /// Keeps the mappings of one server up to date.
    async fn refresh(self: Arc<Self>, server: String) {
        let mut addresses = Vec::new();
        let mut log_once = LogOnce::default();
        loop {
            match self.query(&server, &mut addresses).await {
                Ok(()) => {
                    if log_once.recovered() {
                        info!("STUN server {server}: it answers again");
                    }
                }
                Err(e) => {
                    let error = chain(&e);
                    if log_once.first_time(&error) {
                        warn!(
                            "STUN server {server}: {error}; without it, peers beyond a NAT may not reach this machine"
                        );
                    }
                    // The server may have moved, and its mappings may no longer be valid.
                    addresses.clear();
                    self.lock().mappings.retain(|(of, _), _| *of != server);
                }
            }
            self.has_first_result.send_replace(true);
            sleep(REFRESH_INTERVAL).await;
        }
    }

    /// Sends a request to the first address of each family; one response is enough.
    async fn query(&self, server: &str, addresses: &mut Vec<SocketAddr>) -> Result<(), StunError> {
        if addresses.is_empty() {
            *addresses = resolve(server).await?;
        }
        let mut outcome = Err(StunError::Unreachable);
        for &address in addresses.iter() {
            let mapping = self.request(address).await;
            let key = (server.to_owned(), address.is_ipv4());
            match mapping {
                Ok(mapping) => {
                    if self.lock().mappings.insert(key, mapping) != Some(mapping) {
                        debug!("STUN server {server}: the public address of this port changed");
                    }
                    outcome = Ok(());
                }
                Err(e) => {
                    self.lock().mappings.remove(&key);
                    outcome = outcome.or(Err(e));
                }
            }
        }
        outcome
    }

    async fn request(&self, server: SocketAddr) -> Result<Mapping, StunError> {
        let base = self
            .port
            .base_towards(server)
            .ok_or(StunError::Unreachable)?;
        let mut id = TransactionId::default();
        getrandom::fill(&mut id).map_err(|e| StunError::Random(io::Error::other(e)))?;
        let mut response = self.add_pending(id, server);
        let mut public = None;
        for n in 0..ATTEMPTS {
            self.port
                .send(Protocol::Udp, base, server, &binding_request(&id));
            if let Ok(Ok(address)) = timeout(FIRST_WAIT * (1 << n), &mut response).await {
                public = Some(address);
                break;
            }
        }
        self.lock().pending.remove(&id);
        public
            .map(|public| Mapping { base, public })
            .ok_or(StunError::NoResponse)
    }

    /// Expects the response to the request `id`; the channel gets the address in it.
    pub fn add_pending(
        &self,
        id: TransactionId,
        server: SocketAddr,
    ) -> oneshot::Receiver<SocketAddr> {
        let (sender, response) = oneshot::channel();
        self.lock().pending.insert(id, (server, sender));
        response
    }

    /// Handles a datagram that is the response to a pending request; `false`: it is not.
    pub fn handle_response(&self, datagram: &Datagram) -> bool {
        let Some(message) = Message::parse(&datagram.bytes) else {
            return false;
        };
        // Parsed without the lock, so that a panic cannot poison it.
        let mapped = message.mapped_address();
        let mut state = self.lock();
        let is_response = state
            .pending
            .get(&message.id)
            .is_some_and(|(server, _)| *server == datagram.source);
        if is_response
            && let Some(public) = mapped
            && let Some((_, sender)) = state.pending.remove(&message.id)
        {
            // Fails if the request has timed out.
            let _ = sender.send(public);
        }
        is_response
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }
}

/// The first address of each family.
async fn resolve(server: &str) -> Result<Vec<SocketAddr>, StunError> {
    let found = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(server)).await;
    let found: Vec<SocketAddr> = found
        .map_err(|_| StunError::Resolve(io::ErrorKind::TimedOut.into()))?
        .map_err(StunError::Resolve)?
        .collect();
    let first = |v4| {
        found
            .iter()
            .copied()
            .find(|address| address.is_ipv4() == v4)
    };
    Ok(first(true).into_iter().chain(first(false)).collect())
}
