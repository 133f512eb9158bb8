//! Our one port as others see it from beyond a NAT: STUN servers are asked from that very port, and again before the NAT
//! forgets it. Knows no session.

use super::stun::{Message, TransactionId, binding_request};
use super::udp_mux::{Datagram, Port};
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

/// NATs forget a UDP port that is silent for 30 s, some of them (RFC 4787, section 4.3).
const AGAIN: Duration = Duration::from_secs(25);
/// The first wait for an answer; each further one is twice as long (RFC 8489, section 6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);
const TRIES: u32 = 5;
/// Name resolution may take so long.
const RESOLVE: Duration = Duration::from_secs(10);
/// Servers that a media server may add to the one of the command line.
const MORE_SERVERS: usize = 4;

/// Our port, seen from inside and from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub base: SocketAddr,
    pub public: SocketAddr,
}

pub struct Reflexive {
    port: Arc<Port>,
    state: Mutex<State>,
    /// Servers to be asked too; one beyond [`MORE_SERVERS`] is not.
    more: mpsc::Sender<String>,
    asked_for: Mutex<Option<mpsc::Receiver<String>>>,
    settled: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Requests under way: whom they were sent to, and who waits.
    waiting: HashMap<TransactionId, (SocketAddr, oneshot::Sender<SocketAddr>)>,
    /// By server and family.
    found: HashMap<(String, bool), Mapping>,
    servers: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum StunError {
    #[error("its name does not resolve")]
    Resolve(#[source] io::Error),
    #[error("it cannot be reached from this port")]
    Unreachable,
    #[error("it does not answer")]
    Silent,
    #[error("there are no random numbers")]
    Random(#[source] io::Error),
}

impl Reflexive {
    /// `server`: HOST:PORT, to be asked from the start.
    pub fn new(port: Arc<Port>, server: Option<&str>) -> Self {
        let (more, asked_for) = mpsc::channel(MORE_SERVERS + 1);
        let settled = watch::Sender::new(server.is_none());
        let reflexive = Self {
            port,
            state: Mutex::default(),
            more,
            asked_for: Mutex::new(Some(asked_for)),
            settled,
        };
        if let Some(server) = server {
            reflexive.ask_too(server.to_owned());
        }
        reflexive
    }

    /// Asks this server from now on. One that is asked already, or is one too many, is not.
    pub fn ask_too(&self, server: String) {
        let mut state = self.lock();
        if !state.servers.contains(&server) && state.servers.len() <= MORE_SERVERS {
            state.servers.push(server.clone());
            // There is room for as many; the receiver is gone when the program ends.
            let _ = self.more.try_send(server);
        }
    }

    /// What was found, each once.
    pub fn mappings(&self) -> Vec<Mapping> {
        let mut mappings: Vec<Mapping> = self.lock().found.values().copied().collect();
        mappings.sort_by_key(|mapping| (mapping.base, mapping.public));
        mappings.dedup();
        mappings
    }

    /// Returns once the first server has answered or failed to, or there is none.
    pub async fn settled(&self) {
        // The sender lives as long as `self`.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Asks its servers, for ever.
    pub async fn run(self: Arc<Self>) {
        let Some(mut servers) = self
            .asked_for
            .lock()
            .expect("nothing panics while it holds the slot")
            .take()
        else {
            return;
        };
        self.port.ready().await;
        let mut asking = JoinSet::new();
        while let Some(server) = servers.recv().await {
            asking.spawn(self.clone().follow(server));
        }
    }

    async fn follow(self: Arc<Self>, server: String) {
        let mut addresses = Vec::new();
        let mut failing = false;
        loop {
            match self.look(&server, &mut addresses).await {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        info!("the STUN server {server} answers again");
                    }
                }
                Err(e) => {
                    if !std::mem::replace(&mut failing, true) {
                        let line = crate::log::chain(&e);
                        warn!(
                            "the STUN server {server}: {line}; without it, peers beyond a NAT may not find this machine"
                        );
                    }
                    // It may have moved; and what it said may no longer be so.
                    addresses.clear();
                    self.lock().found.retain(|(of, _), _| *of != server);
                }
            }
            self.settled.send_replace(true);
            sleep(AGAIN).await;
        }
    }

    /// Asks once, at the first address of each family. It is enough that one answers.
    async fn look(&self, server: &str, addresses: &mut Vec<SocketAddr>) -> Result<(), StunError> {
        if addresses.is_empty() {
            *addresses = resolve(server).await?;
        }
        let mut outcome = Err(StunError::Unreachable);
        for &address in addresses.iter() {
            let asked = self.ask(address).await;
            let key = (server.to_owned(), address.is_ipv4());
            match asked {
                Ok(mapping) => {
                    if self.lock().found.insert(key, mapping) != Some(mapping) {
                        debug!("the STUN server {server} sees another address of this port");
                    }
                    outcome = Ok(());
                }
                Err(e) => {
                    self.lock().found.remove(&key);
                    outcome = outcome.or(Err(e));
                }
            }
        }
        outcome
    }

    async fn ask(&self, server: SocketAddr) -> Result<Mapping, StunError> {
        let base = self
            .port
            .base_towards(server)
            .ok_or(StunError::Unreachable)?;
        let mut id = TransactionId::default();
        getrandom::fill(&mut id).map_err(|e| StunError::Random(io::Error::other(e)))?;
        let mut answered = self.expect(id, server);
        let mut public = None;
        for n in 0..TRIES {
            self.port
                .send(Protocol::Udp, base, server, &binding_request(&id));
            if let Ok(Ok(address)) = timeout(FIRST_WAIT * (1 << n), &mut answered).await {
                public = Some(address);
                break;
            }
        }
        self.lock().waiting.remove(&id);
        public
            .map(|public| Mapping { base, public })
            .ok_or(StunError::Silent)
    }

    /// What is sent: the address in the answer to the request `id`, when it comes.
    pub fn expect(&self, id: TransactionId, server: SocketAddr) -> oneshot::Receiver<SocketAddr> {
        let (waits, answered) = oneshot::channel();
        self.lock().waiting.insert(id, (server, waits));
        answered
    }

    /// Takes a datagram that answers a request of ours; `false`: it is somebody else's.
    pub fn take(&self, datagram: &Datagram) -> bool {
        let Some(message) = Message::read(&datagram.bytes) else {
            return false;
        };
        // What a stranger sent is read without the lock.
        let mapped = message.mapped_address();
        let mut state = self.lock();
        let is_ours = state
            .waiting
            .get(&message.id)
            .is_some_and(|(server, _)| *server == datagram.source);
        if is_ours
            && let Some(public) = mapped
            && let Some((_, waits)) = state.waiting.remove(&message.id)
        {
            // Whoever waited has given up.
            let _ = waits.send(public);
        }
        is_ours
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the state")
    }
}

/// The first address of each family.
async fn resolve(server: &str) -> Result<Vec<SocketAddr>, StunError> {
    let found = timeout(RESOLVE, tokio::net::lookup_host(server)).await;
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
