//! Asks STUN servers for the public address of our port, from that very port, and again before the
//! NAT forgets the mapping.

use super::port::{Datagram, Port};
use super::stun::{Message, TransactionId, binding_request};
use crate::log::{LogOnce, chain};
use crate::net::address_scope::{AddressScope, Scopes};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use str0m::net::Protocol;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

/// Some NATs forget a UDP mapping that is idle for 30 s (RFC 4787, section 4.3).
const REFRESH_INTERVAL: Duration = Duration::from_secs(25);
/// The first wait for a response; each further one is twice as long (RFC 8489, section 6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 5;
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers that a media server may name, beside the one of the command line.
const MAX_OFFER_SERVERS: usize = 4;

/// An address of our port, as this machine and as a STUN server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub base: SocketAddr,
    pub public: SocketAddr,
}

pub struct StunClient {
    port: Arc<Port>,
    state: Mutex<State>,
    /// Notified of each change of the servers.
    changed: Notify,
    has_first_result: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// Requests without a response: the server and the waiting task.
    pending: HashMap<TransactionId, (SocketAddr, oneshot::Sender<SocketAddr>)>,
    servers: Vec<Server>,
    last_id: u64,
}

#[derive(Clone)]
struct Server {
    id: u64,
    /// HOST:PORT.
    name: String,
    /// Nearer addresses are not asked.
    nearest: AddressScope,
    /// A media server named it: its mappings are in our offers only.
    is_for_offers: bool,
    /// Over IPv4 and IPv6.
    mappings: [Option<Mapping>; 2],
}

#[derive(Debug, thiserror::Error)]
enum StunError {
    #[error("its name does not resolve")]
    Resolve(#[source] io::Error),
    #[error(
        "its address {0} is of this machine or a private network, and the media server that named it \
         is farther away; it is not asked"
    )]
    NotAllowed(IpAddr),
    #[error("it cannot be reached from this port")]
    Unreachable,
    #[error("it does not answer")]
    NoResponse,
    #[error("the system has no random numbers")]
    Random(#[source] io::Error),
}

impl StunClient {
    /// `server`: HOST:PORT of the command line's server.
    pub fn new(port: Arc<Port>, server: Option<&str>) -> Self {
        let client = Self {
            port,
            state: Mutex::default(),
            changed: Notify::new(),
            has_first_result: watch::Sender::new(server.is_none()),
        };
        if let Some(name) = server {
            client
                .lock()
                .add(name.to_owned(), AddressScope::Loopback, false);
        }
        client
    }

    /// Uses these servers (HOST:PORT) of a media server for our offers, at most four, in place of
    /// those that the last one named. `nearest`: how far away it is; a server that is nearer is not
    /// asked.
    pub(crate) fn set_offer_servers(&self, names: Vec<String>, nearest: AddressScope) {
        let mut state = self.lock();
        let mut names = names;
        names.truncate(MAX_OFFER_SERVERS);
        state.servers.retain(|server| {
            let is_same = server.nearest == nearest && names.contains(&server.name);
            !server.is_for_offers || is_same
        });
        for name in names {
            if state.servers.iter().all(|server| server.name != name) {
                state.add(name, nearest, true);
            }
        }
        self.changed.notify_one();
    }

    /// The addresses that the command line's server found, each once.
    pub fn mappings(&self) -> Vec<Mapping> {
        self.mappings_of(|server| !server.is_for_offers)
    }

    /// Those of all servers.
    pub fn mappings_for_offers(&self) -> Vec<Mapping> {
        self.mappings_of(|_| true)
    }

    fn mappings_of(&self, is_used: impl Fn(&Server) -> bool) -> Vec<Mapping> {
        let state = self.lock();
        let servers = state.servers.iter().filter(|server| is_used(server));
        let mut mappings: Vec<_> = servers.flat_map(|s| s.mappings).flatten().collect();
        mappings.sort_by_key(|mapping| (mapping.base, mapping.public));
        mappings.dedup();
        mappings
    }

    /// Waits until the command line's server has answered or failed; returns at once if there is
    /// none.
    pub async fn first_result(&self) {
        // The sender lives as long as `self`.
        let mut has_result = self.has_first_result.subscribe();
        let _ = has_result.wait_for(|has_result| *has_result).await;
    }

    /// Asks the servers until the task is aborted.
    pub async fn run(self: Arc<Self>) {
        self.port.ready().await;
        let mut tasks = JoinSet::new();
        let mut handles: HashMap<u64, AbortHandle> = HashMap::new();
        loop {
            let servers = self.lock().servers.clone();
            handles.retain(|id, handle| {
                let is_used = servers.iter().any(|server| server.id == *id);
                if !is_used {
                    handle.abort();
                }
                is_used
            });
            for server in servers {
                let id = server.id;
                handles
                    .entry(id)
                    .or_insert_with(|| tasks.spawn(self.clone().refresh(server)));
            }
            tokio::select! {
                () = self.changed.notified() => {}
                // Removed, or it panicked, which the panic hook has logged.
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Keeps the mappings of one server up to date.
    async fn refresh(self: Arc<Self>, server: Server) {
        let name = &server.name;
        let mut addresses = Vec::new();
        let mut log_once = LogOnce::default();
        loop {
            match self.query(&server, &mut addresses).await {
                Ok(()) => {
                    if log_once.recovered() {
                        info!("STUN server {name}: it answers again");
                    }
                }
                Err(e) => {
                    let error = chain(&e);
                    if log_once.first_time(&error) {
                        warn!(
                            "STUN server {name}: {error}; without it, peers beyond a NAT may not reach this machine"
                        );
                    }
                    // The server may have moved, and its mappings may no longer be valid.
                    addresses.clear();
                    self.lock().set_mapping(server.id, true, None);
                    self.lock().set_mapping(server.id, false, None);
                }
            }
            self.has_result(&server);
            sleep(REFRESH_INTERVAL).await;
        }
    }

    fn has_result(&self, server: &Server) {
        if !server.is_for_offers {
            self.has_first_result.send_replace(true);
        }
    }

    /// Sends a request to the first address of each family at once; one response is enough.
    async fn query(
        &self,
        server: &Server,
        addresses: &mut Vec<SocketAddr>,
    ) -> Result<(), StunError> {
        if addresses.is_empty() {
            *addresses = resolve(server).await?;
        }
        let requests = addresses.iter().copied().map(|to| self.ask(server, to));
        let outcomes = join_all(requests).await;
        let first = Err(StunError::Unreachable);
        outcomes.into_iter().fold(first, |all, one| match all {
            Ok(()) => Ok(()),
            Err(_) => one,
        })
    }

    async fn ask(&self, server: &Server, address: SocketAddr) -> Result<(), StunError> {
        let mapping = self.request(address).await;
        let found = mapping.as_ref().ok().copied();
        let has_changed = self.lock().set_mapping(server.id, address.is_ipv4(), found);
        mapping?;
        self.has_result(server);
        if has_changed {
            let name = &server.name;
            debug!("STUN server {name}: the public address of this port changed");
        }
        Ok(())
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
        let mut state = self.lock();
        // Those of tasks that were aborted.
        state.pending.retain(|_, (_, sender)| !sender.is_closed());
        state.pending.insert(id, (server, sender));
        drop(state);
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

impl State {
    fn add(&mut self, name: String, nearest: AddressScope, is_for_offers: bool) {
        self.last_id += 1;
        self.servers.push(Server {
            id: self.last_id,
            name,
            nearest,
            is_for_offers,
            mappings: [None; 2],
        });
    }

    /// Whether the mapping is another one than before. Nothing changes if the server was removed.
    fn set_mapping(&mut self, id: u64, is_ipv4: bool, mapping: Option<Mapping>) -> bool {
        let server = self.servers.iter_mut().find(|server| server.id == id);
        server.is_some_and(|server| {
            let former = &mut server.mappings[usize::from(!is_ipv4)];
            std::mem::replace(former, mapping) != mapping
        })
    }
}

/// The first address of each family that is not too near.
async fn resolve(server: &Server) -> Result<Vec<SocketAddr>, StunError> {
    let found = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(&server.name)).await;
    let found = found
        .map_err(|_| StunError::Resolve(io::ErrorKind::TimedOut.into()))?
        .map_err(StunError::Resolve)?;
    let scopes = Scopes::now();
    let (allowed, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
        found.partition(|address| scopes.of(address.ip()) >= server.nearest);
    if let Some(address) = refused.first()
        && allowed.is_empty()
    {
        return Err(StunError::NotAllowed(address.ip()));
    }
    let first = |v4| {
        allowed
            .iter()
            .copied()
            .find(|address| address.is_ipv4() == v4)
    };
    Ok(first(true).into_iter().chain(first(false)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::UdpSocket;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Answers every binding request with 1.2.3.4:5.
    async fn serve(socket: UdpSocket) {
        let mut request = [0; 64];
        loop {
            let (_, from) = socket.recv_from(&mut request).await.expect("it is open");
            let address = [0, 1, 0, 8, 0, 1, 0, 5, 1, 2, 3, 4];
            let response = [&[1, 1, 0, 12], &request[4..20], &address].concat();
            socket.send_to(&response, from).await.expect("it is sent");
        }
    }

    async fn until(mut is_met: impl FnMut() -> bool) {
        let wait = async {
            while !is_met() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("in time");
    }

    #[tokio::test]
    async fn stun_servers_of_a_media_server_are_for_offers_and_are_replaced() {
        let port = Port::open(Ipv4Addr::LOCALHOST.into(), 0).expect("a free port");
        let client = Arc::new(StunClient::new(Arc::new(port), None));
        let mut names = Vec::new();
        let mut tasks = JoinSet::new();
        for _ in 0..2 {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let socket = socket.expect("a free port");
            names.push(socket.local_addr().expect("bound").to_string());
            tasks.spawn(serve(socket));
        }
        let refused = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let refused = refused.expect("a free port");
        tasks.spawn(client.clone().run());
        let receiver = client.clone();
        tasks.spawn(async move {
            let handle = |datagram| assert!(receiver.handle_response(&datagram));
            receiver.port.receive(0, handle).await
        });
        // Farther away than this machine: it may not point to it.
        let near = refused.local_addr().expect("bound").to_string();
        client.set_offer_servers(vec![near], AddressScope::Local);
        sleep(Duration::from_millis(50)).await;
        client.set_offer_servers(names[..1].to_vec(), AddressScope::Loopback);
        until(|| client.mappings_for_offers().len() == 1).await;
        let public = SocketAddr::from(([1, 2, 3, 4], 5));
        assert_eq!(client.mappings_for_offers()[0].public, public);
        assert!(client.mappings().is_empty(), "not for viewers");
        // The same again keeps what is known; others replace it.
        client.set_offer_servers(names[..1].to_vec(), AddressScope::Loopback);
        assert_eq!(client.mappings_for_offers().len(), 1);
        client.set_offer_servers(names[1..].to_vec(), AddressScope::Loopback);
        assert!(client.mappings_for_offers().is_empty());
        until(|| client.mappings_for_offers().len() == 1).await;
        client.set_offer_servers(Vec::new(), AddressScope::Loopback);
        assert!(client.mappings_for_offers().is_empty());
        assert!(refused.try_recv(&mut [0; 64]).is_err(), "it was not asked");
    }
}
