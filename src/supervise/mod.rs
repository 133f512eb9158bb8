//! The first process: binds the port, makes the shared memory, forks the server and the workers,
//! and watches them. It has one thread for its whole life, so that it can fork at any time. It
//! touches no device and talks to no client.
//!
//! [`restart_policy`] decides, [`process`] acts, [`shared_memory`] and [`child`] are what the
//! children inherit and run.

mod capabilities;
mod child;
mod child_id;
mod process;
mod restart_policy;
pub mod sandbox;
mod shared_memory;
mod start_warnings;
mod startup_banner;

use crate::config::Config;
use crate::ipc::descriptors;
use crate::ipc::descriptors::{ChannelError, DescriptorSender};
use crate::log::LogOnce;
use crate::media::MonoNs;
use child::ChildContext;
use child_id::ChildId;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use restart_policy::{Action, Event, ExitReason, RestartPolicy};
use shared_memory::SharedMemory;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

/// Requests of the server that are read per tick. A server that sends more has to wait.
const REQUESTS_PER_TICK: usize = 64;

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("port {} of {} is already in use; stop the program that uses it, or choose another --port", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    #[error("--port {} is reserved for root; choose one above 1023", .0.port())]
    PortForbidden(SocketAddr),
    #[error("--host {} is not an address of this machine; give one of its own, or 0.0.0.0 for all interfaces", .0.ip())]
    NotOurs(SocketAddr),
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("cannot create the shared memory")]
    Memory(#[source] std::io::Error),
    #[error("cannot set up signals")]
    Signals(#[source] nix::Error),
}

/// Runs the program until it is told to stop; returns its exit code.
///
/// # Errors
/// Those of the start. Later errors are a child's, which is restarted.
pub fn run(config: Config) -> Result<u8, StartError> {
    let listener = listen(SocketAddr::new(config.host, config.port))?;
    if let Ok(at) = listener.local_addr() {
        startup_banner::log(
            at,
            &config.access,
            config.tls.is_some(),
            config.serve_client,
        );
    }
    start_warnings::log(&config);
    nix::sys::prctl::set_child_subreaper(true).map_err(StartError::Signals)?;
    let signals = signals().map_err(StartError::Signals)?;
    let memory = SharedMemory::create(&config).map_err(StartError::Memory)?;
    let policy = RestartPolicy::new(
        memory.children(),
        config.exit_on_device_error,
        MonoNs::now(),
    );
    let context = ChildContext {
        config,
        listener: Some(listener),
        memory,
        descriptors: None,
    };
    // Before the children get a share of it: what reading the command line left behind.
    crate::malloc_trim::trim();
    Ok(Supervisor {
        context,
        policy,
        pids: BTreeMap::new(),
        log_once: BTreeMap::new(),
        channel: None,
        requests_left: REQUESTS_PER_TICK,
        last_tick: MonoNs::now(),
    }
    .watch(&signals))
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => StartError::PortInUse(address),
        std::io::ErrorKind::PermissionDenied => StartError::PortForbidden(address),
        std::io::ErrorKind::AddrNotAvailable => StartError::NotOurs(address),
        _ => StartError::Listen(address, e),
    })
}

/// The signals that stop the program: SIGTERM, and SIGINT and SIGHUP unless they were ignored by
/// whoever started it, as by `nohup` and a shell's `&` without job control. (A blocked signal
/// reaches a signalfd even where it is ignored.) And SIGCHLD.
fn signals() -> nix::Result<SignalFd> {
    process::restore_sigchld()?;
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.add(Signal::SIGTERM);
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        if !crate::signals::is_ignored(signal)? {
            set.add(signal);
        }
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

struct Supervisor {
    context: ChildContext,
    policy: RestartPolicy,
    pids: BTreeMap<ChildId, Pid>,
    /// Per child: why it was killed or exited, as far as that was logged since its last recovery.
    log_once: BTreeMap<ChildId, LogOnce>,
    /// To the running server; each generation has its own.
    channel: Option<DescriptorSender>,
    /// Requests that are still read before the next tick.
    requests_left: usize,
    last_tick: MonoNs,
}

impl Supervisor {
    fn watch(mut self, signals: &SignalFd) -> u8 {
        loop {
            let now = MonoNs::now();
            let memory = &self.context.memory;
            let actions = self
                .policy
                .handle(Event::Tick(&|child| memory.health(child)), now);
            if let Some(code) = self.act(actions) {
                return code;
            }
            if now.since(self.last_tick) >= restart_policy::TICK {
                self.last_tick = now;
                self.requests_left = REQUESTS_PER_TICK;
                self.use_channel(DescriptorSender::flush);
            }
            self.wait(signals);
            self.read_requests();
            while let Ok(Some(signal)) = signals.read_signal() {
                if signal.ssi_signo != Signal::SIGCHLD as u32
                    && let Some(code) = self.handle(Event::StopRequested)
                {
                    return code;
                }
            }
            // SIGCHLDs merge: reap until there is nothing left to reap.
            while let Some((pid, reason)) = process::reap() {
                let found = self.pids.iter().find(|(_, p)| **p == pid);
                let Some(child) = found.map(|(child, _)| child.clone()) else {
                    continue;
                };
                self.pids.remove(&child);
                process::kill_group(pid);
                if child == ChildId::Server {
                    self.channel = None;
                }
                if let Some(code) = self.handle(Event::Exited(child, reason)) {
                    return code;
                }
            }
        }
    }

    /// Waits for a signal, a request of the server, or the next tick.
    fn wait(&self, signals: &SignalFd) {
        let timeout =
            PollTimeout::try_from(self.policy.sleep(MonoNs::now())).unwrap_or(PollTimeout::ZERO);
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Some(channel) = &self.channel
            && self.requests_left > 0
        {
            fds.push(PollFd::new(channel.as_fd(), PollFlags::POLLIN));
        }
        // EINTR is the same as a timeout: the caller looks at everything.
        let _ = poll(&mut fds, timeout);
    }

    fn handle(&mut self, event: Event<'_>) -> Option<u8> {
        let actions = self.policy.handle(event, MonoNs::now());
        self.act(actions)
    }

    /// Does what the policy decided. Returns the exit code when the program is over.
    fn act(&mut self, actions: Vec<Action>) -> Option<u8> {
        for action in actions {
            match action {
                Action::Fork { child, generation } => {
                    if let Some(code) = self.fork(&child, generation) {
                        return Some(code);
                    }
                }
                Action::Terminate(child) => self.signal(&child, Signal::SIGTERM),
                Action::Kill { child, reason } => {
                    if self.log_once(&child).first_time_by_cause(&reason) {
                        tracing::warn!("{} is killed: {reason}", child.name());
                    }
                    self.signal(&child, Signal::SIGKILL);
                }
                Action::WillRestart {
                    child,
                    reason,
                    delay,
                } => {
                    if self.log_once(&child).first_time(&reason.to_string()) {
                        tracing::warn!(
                            "{} {reason}; it is restarted in {:.2} s",
                            child.name(),
                            delay.as_secs_f64()
                        );
                    }
                }
                Action::Recovered(child) => {
                    self.log_once(&child).recovered();
                    tracing::info!("{} recovered", child.name());
                }
                Action::Exit(code) => return Some(code),
            }
        }
        None
    }

    fn log_once(&mut self, child: &ChildId) -> &mut LogOnce {
        self.log_once.entry(child.clone()).or_default()
    }

    fn fork(&mut self, child: &ChildId, generation: u32) -> Option<u8> {
        self.context.memory.reset(child, generation);
        if *child == ChildId::Server {
            self.open_channel();
        }
        let context = &mut self.context;
        let forked = process::fork(child, || context.run(child, generation));
        // The child has its copy.
        self.context.descriptors = None;
        match forked {
            Ok(pid) => {
                self.pids.insert(child.clone(), pid);
                None
            }
            Err(e) => {
                let line = format!("cannot start {}: {e}", child.name());
                if self.log_once(child).first_time(&line) {
                    tracing::error!("{line}");
                }
                self.handle(Event::Exited(child.clone(), ExitReason::ForkFailed))
            }
        }
    }

    /// A new channel for a new generation of the server, which inherits the memory of all cameras
    /// that there are: nothing has to be sent again.
    fn open_channel(&mut self) {
        match descriptors::channel() {
            Ok((ours, theirs)) => {
                self.channel = Some(ours);
                self.context.descriptors = Some(theirs);
            }
            Err(e) => tracing::warn!("no cameras can be added while the server runs: {e}"),
        }
    }

    fn read_requests(&mut self) {
        while self.requests_left > 0 {
            self.requests_left -= 1;
            match self.use_channel(DescriptorSender::next_request).flatten() {
                Some(request) => tracing::debug!("the server: {request:?}"),
                None => return,
            }
        }
    }

    /// Uses the channel, if there is one. An error ends it until the next generation of the server.
    fn use_channel<T>(
        &mut self,
        use_it: impl FnOnce(&mut DescriptorSender) -> Result<T, ChannelError>,
    ) -> Option<T> {
        match use_it(self.channel.as_mut()?) {
            Ok(value) => Some(value),
            Err(e) => {
                self.channel = None;
                let line = crate::log::chain(&e);
                // It closes when the server exits, which is logged then.
                if !matches!(e, ChannelError::Closed)
                    && self.log_once(&ChildId::Server).first_time(&line)
                {
                    tracing::warn!("no cameras can be added until the server restarts: {line}");
                }
                None
            }
        }
    }

    fn signal(&self, child: &ChildId, signal: Signal) {
        if let Some(pid) = self.pids.get(child) {
            // ESRCH: it exited a moment ago and will be reaped.
            let _ = kill(*pid, signal);
        }
    }
}
