//! When to fork, kill, wait and exit: a pure state machine. Events and time in, actions out; it
//! touches no process and reads no clock.

use super::child_id::ChildId;
use crate::media::MonoNs;
use std::collections::BTreeMap;
use std::time::Duration;

/// A child's loop sets its heartbeat several times a second. One that is older hangs in a driver or
/// a library.
const HUNG_AFTER: Duration = Duration::from_secs(2);
/// The same while a device is being opened: a USB camera took 4.3 s on a loaded machine. Also
/// before the first heartbeat: making the server's key for WebRTC took more than 2 s on an emulated
/// processor.
const HUNG_WHILE_OPENING: Duration = Duration::from_secs(10);
/// Time for the first frame after the start of a device (a USB camera's exposure, rpicam's start),
/// or 3.5 intervals if that is longer. A little more than the Raspberry Pi source itself allows,
/// which reports the reason.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(10);
/// A streaming device without a frame for this long has stalled, or for five intervals if that is
/// longer.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// The interval of [`Event::Tick`].
pub const TICK: Duration = Duration::from_millis(250);
/// A tick this late means that the supervisor itself was stopped (Ctrl-Z, a frozen container): the
/// children's silence is not counted.
const STOPPED_AFTER: Duration = Duration::from_secs(1);
/// Time for children to end by themselves; the rest of the documented 2 s is for killing and
/// reaping.
const STOP_WITHIN: Duration = Duration::from_millis(1500);
/// A server counts as recovered when it still sets its heartbeat after this long; it has no frames
/// to judge it by.
const SERVER_HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// Signals within this time count as one: `timeout`, shells and service files signal a process and
/// then its group.
const SIGNAL_COALESCE: Duration = Duration::from_millis(300);
const FIRST_BACK_OFF: Duration = Duration::from_millis(250);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);

/// What a child's status page says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    pub heartbeat: Option<MonoNs>,
    /// When the device started to stream; `None` while it does not.
    pub streaming_since: Option<MonoNs>,
    pub last_capture: Option<MonoNs>,
    /// Expected time between frames.
    pub interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    Code(i32),
    Signal(i32),
    /// There was no process: fork(2) failed.
    ForkFailed,
}

impl std::fmt::Display for ExitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(c) => write!(f, "exited with code {c}"),
            Self::Signal(s) => write!(f, "was killed by signal {s}"),
            Self::ForkFailed => write!(f, "could not be started"),
        }
    }
}

pub enum Event<'a> {
    /// Time has passed; gives the health of a running child.
    Tick(&'a dyn Fn(&ChildId) -> Health),
    Exited(ChildId, ExitReason),
    /// SIGTERM, SIGINT or SIGHUP.
    StopRequested,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it. `generation` is 1 at first and grows with each fork of this child.
    Fork { child: ChildId, generation: u32 },
    /// Send SIGTERM.
    Terminate(ChildId),
    /// Send SIGKILL; `reason` is for the log.
    Kill { child: ChildId, reason: String },
    /// It exited and will be forked again after `delay`.
    WillRestart {
        child: ChildId,
        reason: ExitReason,
        delay: Duration,
    },
    /// It exited before and has been healthy for a while.
    Recovered(ChildId),
    /// All children have exited: exit with this code.
    Exit(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting {
        until: MonoNs,
    },
    Running {
        since: MonoNs,
    },
    /// Killed, not yet reaped. `device`: because its device stalled or hung.
    Killed {
        device: bool,
    },
    /// It exited and is not started again.
    Exited,
}

#[derive(Debug)]
struct Child {
    phase: Phase,
    generation: u32,
    /// Exits since it was last healthy.
    exits: u32,
}

/// The restart policy of one program's children.
#[derive(Debug)]
pub struct RestartPolicy {
    children: BTreeMap<ChildId, Child>,
    exit_on_device_error: bool,
    last_tick: MonoNs,
    /// Silence before this instant does not count.
    grace_from: MonoNs,
    stop: Option<Stop>,
}

#[derive(Clone, Copy, Debug)]
struct Stop {
    since: MonoNs,
    deadline: MonoNs,
    killed: bool,
    code: u8,
}

/// A worker's exit code when its device failed and `--exit-on-device-error` was given. The
/// program's too, also where the device stalled or hung and the worker had to be killed.
pub const DEVICE_ERROR: u8 = 3;
/// The server's exit code when a file that the user named (token, certificate) cannot be used. For
/// the first generation it is the program's too; later the file was valid once, and may be again.
pub const UNUSABLE_FILE: u8 = 2;

impl RestartPolicy {
    /// Children start in the order of their ids and stop in reverse.
    pub fn new(
        children: impl IntoIterator<Item = ChildId>,
        exit_on_device_error: bool,
        now: MonoNs,
    ) -> Self {
        let child = |id| {
            let phase = Phase::Waiting { until: now };
            (
                id,
                Child {
                    phase,
                    generation: 0,
                    exits: 0,
                },
            )
        };
        let children = children.into_iter().map(child).collect();
        Self {
            children,
            exit_on_device_error,
            last_tick: now,
            grace_from: MonoNs(0),
            stop: None,
        }
    }

    /// How long the caller may wait before the next [`Event::Tick`], if no other event comes.
    pub fn sleep(&self, now: MonoNs) -> Duration {
        let due = |c: &Child| match c.phase {
            Phase::Waiting { until } => until.since(now),
            _ => TICK,
        };
        let stop = self
            .stop
            .filter(|s| !s.killed)
            .map(|s| s.deadline.since(now));
        self.children
            .values()
            .map(due)
            .chain(stop)
            .fold(TICK, Duration::min)
    }

    /// What to do about `event`. `now` must not go back.
    pub fn handle(&mut self, event: Event<'_>, now: MonoNs) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick(health) => self.tick(health, now, &mut actions),
            Event::Exited(child, reason) => self.exited(child, reason, now, &mut actions),
            Event::StopRequested => self.stop(0, now, &mut actions),
        }
        if let Some(stop) = self.stop
            && self.children.values().all(|c| c.phase == Phase::Exited)
        {
            actions.push(Action::Exit(stop.code));
        }
        actions
    }

    fn tick(
        &mut self,
        health: &dyn Fn(&ChildId) -> Health,
        now: MonoNs,
        actions: &mut Vec<Action>,
    ) {
        if now.since(self.last_tick) > STOPPED_AFTER {
            self.grace_from = now;
        }
        self.last_tick = now;
        if let Some(stop) = &mut self.stop {
            if now >= stop.deadline && !stop.killed {
                stop.killed = true;
                self.kill_all("it did not end in time", actions);
            }
            return;
        }
        for (id, child) in &mut self.children {
            match child.phase {
                Phase::Waiting { until } if now >= until => {
                    child.generation += 1;
                    child.phase = Phase::Running { since: now };
                    actions.push(Action::Fork {
                        child: id.clone(),
                        generation: child.generation,
                    });
                }
                Phase::Running { since } => {
                    let health = health(id);
                    if let Some(reason) = fault(id, &health, since, self.grace_from, now) {
                        child.phase = Phase::Killed {
                            device: *id != ChildId::Server,
                        };
                        actions.push(Action::Kill {
                            child: id.clone(),
                            reason,
                        });
                    } else if child.exits > 0 && is_healthy(id, &health, since) {
                        child.exits = 0;
                        actions.push(Action::Recovered(id.clone()));
                    }
                }
                _ => {}
            }
        }
    }

    fn exited(&mut self, id: ChildId, reason: ExitReason, now: MonoNs, actions: &mut Vec<Action>) {
        let stopping = self.stop.is_some();
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        let device_failed = reason == ExitReason::Code(DEVICE_ERROR.into())
            || child.phase == Phase::Killed { device: true };
        if stopping {
            child.phase = Phase::Exited;
        } else if self.exit_on_device_error && device_failed {
            child.phase = Phase::Exited;
            self.stop(DEVICE_ERROR, now, actions);
        } else if child.generation == 1
            && id == ChildId::Server
            && reason == ExitReason::Code(UNUSABLE_FILE.into())
        {
            child.phase = Phase::Exited;
            self.stop(UNUSABLE_FILE, now, actions);
        } else {
            child.exits += 1;
            let delay = back_off(child.exits);
            child.phase = Phase::Waiting { until: now + delay };
            actions.push(Action::WillRestart {
                child: id,
                reason,
                delay,
            });
        }
    }

    fn stop(&mut self, code: u8, now: MonoNs, actions: &mut Vec<Action>) {
        if let Some(stop) = &mut self.stop {
            if now.since(stop.since) < SIGNAL_COALESCE {
                return;
            }
            stop.killed = true;
            return self.kill_all("a second signal was received", actions);
        }
        self.stop = Some(Stop {
            since: now,
            deadline: now + STOP_WITHIN,
            killed: false,
            code,
        });
        for (id, child) in self.children.iter_mut().rev() {
            match child.phase {
                Phase::Running { .. } => actions.push(Action::Terminate(id.clone())),
                Phase::Waiting { .. } => child.phase = Phase::Exited,
                Phase::Killed { .. } | Phase::Exited => {}
            }
        }
    }

    fn kill_all(&mut self, reason: &str, actions: &mut Vec<Action>) {
        for (id, child) in self.children.iter_mut().rev() {
            if let Phase::Running { .. } = child.phase {
                child.phase = Phase::Killed { device: false };
                actions.push(Action::Kill {
                    child: id.clone(),
                    reason: reason.into(),
                });
            }
        }
    }
}

/// 0 after the first exit, then 0.25 s, doubled up to 5 s.
fn back_off(exits: u32) -> Duration {
    match exits {
        0 | 1 => Duration::ZERO,
        n => (FIRST_BACK_OFF * 2u32.pow((n - 2).min(8))).min(LONGEST_BACK_OFF),
    }
}

/// The reason to kill this child, if there is one.
fn fault(
    child: &ChildId,
    health: &Health,
    since: MonoNs,
    grace_from: MonoNs,
    now: MonoNs,
) -> Option<String> {
    // A status page outlives its worker: what an earlier generation wrote does not count.
    let in_this_generation = |t: Option<MonoNs>| t.filter(|&t| t >= since);
    let silence = |from: MonoNs| now.since(from.max(grace_from));
    let heartbeat = in_this_generation(health.heartbeat);
    let hung = silence(heartbeat.unwrap_or(since));
    let streaming = in_this_generation(health.streaming_since);
    let opening = heartbeat.is_none() || (*child != ChildId::Server && streaming.is_none());
    if hung
        > if opening {
            HUNG_WHILE_OPENING
        } else {
            HUNG_AFTER
        }
    {
        return Some(format!("no heartbeat for {:.1} s", hung.as_secs_f64()));
    }
    let streaming = streaming?;
    match health.last_capture.filter(|&t| t >= streaming) {
        Some(last) => {
            let stalled = silence(last);
            (stalled > STALLED_AFTER.max(health.interval * 5))
                .then(|| format!("no data from its device for {:.1} s", stalled.as_secs_f64()))
        }
        None => {
            let within = FIRST_FRAME_WITHIN.max(health.interval * 7 / 2);
            (silence(streaming) > within).then(|| {
                format!(
                    "no data from its device within {:.0} s of its start",
                    within.as_secs_f64()
                )
            })
        }
    }
}

fn is_healthy(child: &ChildId, health: &Health, since: MonoNs) -> bool {
    match child {
        // Judged by its heartbeat alone: one that hangs from its start on has none, and more time
        // than this to set one.
        ChildId::Server => health
            .heartbeat
            .is_some_and(|beat| beat.since(since) > SERVER_HEALTHY_AFTER),
        // Ten intervals: a camera that delivers one frame and fails again has not recovered.
        ChildId::Worker(_) => match (health.streaming_since, health.last_capture) {
            (Some(from), Some(last)) => from >= since && last.since(from) > health.interval * 10,
            _ => false,
        },
    }
}

#[cfg(test)]
#[path = "restart_policy_tests.rs"]
mod tests;
