//! The first process: binds the port, makes the shared memory, forks the server and the workers, and watches them. One
//! thread for life, so that forking again is sound at any time. Touches no device and speaks to no client.
//!
//! [`restart_policy`] decides, [`process`] does, [`children`] holds what the children inherit.

pub mod capabilities;
pub mod children;
pub mod process;
pub mod restart_policy;
pub mod sandbox;
pub mod startup_banner;

use crate::config::Config;
use crate::log::Told;
use crate::media::MonoNs;
use children::House;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use restart_policy::{Action, Event, Machine, Role};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("port {} of {} is in use by another program; end that program, or choose another --port", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    #[error("--port {} may only be used by root; choose one above 1023", .0.port())]
    PortForbidden(SocketAddr),
    #[error("--host {} is no address of this machine; give one of its own, or 0.0.0.0 for all", .0.ip())]
    NotOurs(SocketAddr),
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("cannot make the shared memory")]
    Memory(#[source] std::io::Error),
    #[error("cannot set up signals")]
    Signals(#[source] nix::Error),
}

/// Runs the program until it is told to stop; the exit code.
///
/// # Errors
/// What hinders the start. Afterwards a fault is a matter between the supervisor and a child.
pub fn run(config: Config) -> Result<u8, StartError> {
    let listener = listen(SocketAddr::new(config.host, config.port))?;
    if let Ok(at) = listener.local_addr() {
        startup_banner::announce(
            at,
            &config.access,
            config.tls.is_some(),
            config.serve_client,
        );
    }
    nix::sys::prctl::set_child_subreaper(true).map_err(StartError::Signals)?;
    let signals = signals().map_err(StartError::Signals)?;
    let exit_on_device_error = config.exit_on_device_error;
    let house = House::build(config, listener).map_err(StartError::Memory)?;
    let machine = Machine::new(&house.roles(), exit_on_device_error, MonoNs::now());
    // Before the children get a share of it: what reading the command line left behind.
    crate::malloc_trim::trim();
    Ok(Supervisor {
        house,
        machine,
        pids: Vec::new(),
        told: Default::default(),
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

/// What asks the program to end: SIGTERM, and SIGINT and SIGHUP unless whoever started it had them ignored, as `nohup` does
/// and a shell's `&` without job control. (A blocked signal reaches a signalfd even where it is ignored.)
fn signals() -> nix::Result<SignalFd> {
    process::hear_of_children()?;
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
    house: House,
    machine: Machine,
    pids: Vec<(Role, Pid)>,
    /// Of each role: why it was killed or ended, as far as that was logged since it was last well.
    told: [Told; 3],
}

impl Supervisor {
    fn watch(mut self, signals: &SignalFd) -> u8 {
        loop {
            let now = MonoNs::now();
            let house = &self.house;
            let actions = self
                .machine
                .handle(Event::Tick(&|role| house.health(role)), now);
            if let Some(code) = self.act(actions) {
                return code;
            }
            let timeout = PollTimeout::try_from(self.machine.sleep(MonoNs::now()))
                .unwrap_or(PollTimeout::ZERO);
            // EINTR and a timeout are alike: look around and sleep again.
            let _ = poll(
                &mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)],
                timeout,
            );
            while let Ok(Some(signal)) = signals.read_signal() {
                if signal.ssi_signo != Signal::SIGCHLD as u32 {
                    let actions = self.machine.handle(Event::StopAsked, MonoNs::now());
                    if let Some(code) = self.act(actions) {
                        return code;
                    }
                }
            }
            // SIGCHLDs merge: reap until nobody is left to reap.
            while let Some((pid, how)) = process::reap() {
                let Some(at) = self.pids.iter().position(|(_, p)| *p == pid) else {
                    continue;
                };
                let (role, _) = self.pids.swap_remove(at);
                process::end_group(pid);
                let actions = self.machine.handle(Event::Ended(role, how), MonoNs::now());
                if let Some(code) = self.act(actions) {
                    return code;
                }
            }
        }
    }

    /// Does what the machine decided; the exit code when the program is over.
    fn act(&mut self, actions: Vec<Action>) -> Option<u8> {
        for action in actions {
            match action {
                Action::Fork { role, generation } => {
                    if let Some(code) = self.fork(role, generation) {
                        return Some(code);
                    }
                }
                Action::Terminate(role) => self.signal(role, Signal::SIGTERM),
                Action::Kill { role, why } => {
                    if self.told[role as usize].is_new_cause(&why) {
                        tracing::warn!("{} is killed: {why}", role.name());
                    }
                    self.signal(role, Signal::SIGKILL);
                }
                Action::WillRestart { role, how, delay } => {
                    if self.told[role as usize].is_news(&how.to_string()) {
                        tracing::warn!(
                            "{} {how}; it starts again in {:.2} s",
                            role.name(),
                            delay.as_secs_f64()
                        );
                    }
                }
                Action::Recovered(role) => {
                    self.told[role as usize].forget();
                    tracing::info!("{} works again", role.name());
                }
                Action::Exit(code) => return Some(code),
            }
        }
        None
    }

    fn fork(&mut self, role: Role, generation: u32) -> Option<u8> {
        self.house.forget(role, generation);
        let house = &mut self.house;
        match process::fork(role.name(), || house.live(role, generation)) {
            Ok(pid) => {
                self.pids.push((role, pid));
                None
            }
            Err(e) => {
                tracing::error!("cannot start {}: {e}", role.name());
                let actions = self.machine.handle(
                    Event::Ended(role, restart_policy::Death::NotForked),
                    MonoNs::now(),
                );
                self.act(actions)
            }
        }
    }

    fn signal(&self, role: Role, signal: Signal) {
        // ESRCH: it ended by itself a moment ago and will be reaped.
        for (_, pid) in self.pids.iter().filter(|(r, _)| *r == role) {
            let _ = kill(*pid, signal);
        }
    }
}
