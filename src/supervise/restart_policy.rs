//! When to fork, kill, wait and give up: a pure state machine, event and time in, actions out. Knows no process and no clock.

use crate::media::MonoNs;
use std::time::Duration;

/// A worker's loop beats several times a second; one that has not for so long hangs in a driver or a library.
const HUNG_AFTER: Duration = Duration::from_secs(2);
/// Opening a device is the driver's time: a USB camera has taken 4.3 s on a loaded machine. So is a child's start before
/// its first beat: the server's key for WebRTC has taken more than 2 s on an emulated processor.
const HUNG_WHILE_OPENING: Duration = Duration::from_secs(10);
/// A device that has started may take so long for its first frame (a USB camera's exposure, rpicam's start), or three and a
/// half intervals if that is longer: a little more than the Raspberry Pi camera's source gives it, which knows why.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(10);
/// A streaming device is stalled after so long without a frame, or after five intervals if that is longer.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// How often the children's health is looked at.
pub const TICK: Duration = Duration::from_millis(250);
/// A tick so late means that the supervisor itself was stopped (Ctrl-Z, a frozen container): nobody else is to blame.
const STOPPED_AFTER: Duration = Duration::from_secs(1);
/// Children get so long to end by themselves; what is left of the promised 2 s is for killing and reaping.
const STOP_WITHIN: Duration = Duration::from_millis(1500);
/// A server that beats after this long, which has no frames to show for itself, counts as healthy again.
const SERVER_HEALTHY_AFTER: Duration = Duration::from_secs(5);
/// `timeout`, shells and service files signal a process and then its group: that is one wish, not two.
const SAME_WISH: Duration = Duration::from_millis(300);
const FIRST_BACK_OFF: Duration = Duration::from_millis(250);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Serve,
    Video,
    Audio,
}

impl Role {
    /// The process's name in `ps`, `top` and log lines; at most 15 bytes (prctl(2), PR_SET_NAME).
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "stampcast-serve",
            Self::Video => "stampcast-video",
            Self::Audio => "stampcast-audio",
        }
    }
}

/// What a child shows of itself in its status page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    pub heartbeat: Option<MonoNs>,
    /// Since when the device counts as streaming; `None` while there is none.
    pub streaming_since: Option<MonoNs>,
    pub last_capture: Option<MonoNs>,
    /// Expected time between frames.
    pub interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    Code(i32),
    Signal(i32),
    /// It was never born: fork failed.
    NotForked,
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(c) => write!(f, "ended with exit code {c}"),
            Self::Signal(s) => write!(f, "was ended by signal {s}"),
            Self::NotForked => write!(f, "could not be started"),
        }
    }
}

#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// Time has passed; the health of each running child.
    Tick(&'a dyn Fn(Role) -> Health),
    Ended(Role, Death),
    /// SIGTERM, SIGINT or SIGHUP.
    StopAsked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Fork {
        role: Role,
        generation: u32,
    },
    /// Ask it to end.
    Terminate(Role),
    /// End it now; `why` is what the log says.
    Kill {
        role: Role,
        why: String,
    },
    /// It died by itself or was killed, and will be forked again after `delay`.
    WillRestart {
        role: Role,
        how: Death,
        delay: Duration,
    },
    /// It died before, and has been well for a while.
    Recovered(Role),
    /// All children are gone.
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
    Dying {
        device: bool,
    },
    Gone,
}

#[derive(Debug)]
struct Child {
    role: Role,
    phase: Phase,
    generation: u32,
    /// Deaths since it was last healthy.
    deaths: u32,
}

/// The supervision of one program.
#[derive(Debug)]
pub struct Machine {
    children: Vec<Child>,
    exit_on_device_error: bool,
    last_tick: MonoNs,
    /// Deadlines count from here at the earliest.
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

/// A worker's exit code when its device failed and `--exit-on-device-error` was given; the program's too, also where the
/// device stalled or hung and the worker had to be killed.
pub const DEVICE_ERROR: u8 = 3;
/// The server's exit code when a file that the user named (token, certificate) cannot be used. In its first life it is the
/// program's too; later the file was good once, and may be again.
pub const UNUSABLE_FILE: u8 = 2;

impl Machine {
    /// `roles` in the order in which they start; they stop in reverse.
    pub fn new(roles: &[Role], exit_on_device_error: bool, now: MonoNs) -> Self {
        let children = roles
            .iter()
            .map(|&role| Child {
                role,
                phase: Phase::Waiting { until: now },
                generation: 0,
                deaths: 0,
            })
            .collect();
        Self {
            children,
            exit_on_device_error,
            last_tick: now,
            grace_from: MonoNs(0),
            stop: None,
        }
    }

    /// How long the caller may sleep before the next `Tick`.
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
            .iter()
            .map(due)
            .chain(stop)
            .fold(TICK, Duration::min)
    }

    pub fn handle(&mut self, event: Event<'_>, now: MonoNs) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick(health) => self.tick(health, now, &mut actions),
            Event::Ended(role, how) => self.ended(role, how, now, &mut actions),
            Event::StopAsked => self.stop(0, now, &mut actions),
        }
        if let Some(stop) = self.stop
            && self.children.iter().all(|c| c.phase == Phase::Gone)
        {
            actions.push(Action::Exit(stop.code));
        }
        actions
    }

    fn tick(&mut self, health: &dyn Fn(Role) -> Health, now: MonoNs, actions: &mut Vec<Action>) {
        if now.since(self.last_tick) > STOPPED_AFTER {
            self.grace_from = now;
        }
        self.last_tick = now;
        if let Some(stop) = &mut self.stop {
            if now >= stop.deadline && !stop.killed {
                stop.killed = true;
                self.kill_the_rest("it did not end in time", actions);
            }
            return;
        }
        for child in &mut self.children {
            match child.phase {
                Phase::Waiting { until } if now >= until => {
                    child.generation += 1;
                    child.phase = Phase::Running { since: now };
                    actions.push(Action::Fork {
                        role: child.role,
                        generation: child.generation,
                    });
                }
                Phase::Running { since } => {
                    let health = health(child.role);
                    if let Some(why) = fault(child.role, &health, since, self.grace_from, now) {
                        child.phase = Phase::Dying {
                            device: child.role != Role::Serve,
                        };
                        actions.push(Action::Kill {
                            role: child.role,
                            why,
                        });
                    } else if child.deaths > 0 && healthy(child.role, &health, since) {
                        child.deaths = 0;
                        actions.push(Action::Recovered(child.role));
                    }
                }
                _ => {}
            }
        }
    }

    fn ended(&mut self, role: Role, how: Death, now: MonoNs, actions: &mut Vec<Action>) {
        let stopping = self.stop.is_some();
        let Some(child) = self.children.iter_mut().find(|c| c.role == role) else {
            return;
        };
        let device_failed =
            how == Death::Code(DEVICE_ERROR.into()) || child.phase == Phase::Dying { device: true };
        if stopping {
            child.phase = Phase::Gone;
        } else if self.exit_on_device_error && device_failed {
            child.phase = Phase::Gone;
            self.stop(DEVICE_ERROR, now, actions);
        } else if child.generation == 1
            && role == Role::Serve
            && how == Death::Code(UNUSABLE_FILE.into())
        {
            child.phase = Phase::Gone;
            self.stop(UNUSABLE_FILE, now, actions);
        } else {
            child.deaths += 1;
            let delay = back_off(child.deaths);
            child.phase = Phase::Waiting { until: now + delay };
            actions.push(Action::WillRestart { role, how, delay });
        }
    }

    fn stop(&mut self, code: u8, now: MonoNs, actions: &mut Vec<Action>) {
        if let Some(stop) = &mut self.stop {
            if now.since(stop.since) < SAME_WISH {
                return;
            }
            stop.killed = true;
            return self.kill_the_rest("a second signal asked for it", actions);
        }
        self.stop = Some(Stop {
            since: now,
            deadline: now + STOP_WITHIN,
            killed: false,
            code,
        });
        for child in self.children.iter_mut().rev() {
            match child.phase {
                Phase::Running { .. } => actions.push(Action::Terminate(child.role)),
                Phase::Waiting { .. } => child.phase = Phase::Gone,
                Phase::Dying { .. } | Phase::Gone => {}
            }
        }
    }

    fn kill_the_rest(&mut self, why: &str, actions: &mut Vec<Action>) {
        for child in self
            .children
            .iter_mut()
            .rev()
            .filter(|c| matches!(c.phase, Phase::Running { .. }))
        {
            child.phase = Phase::Dying { device: false };
            actions.push(Action::Kill {
                role: child.role,
                why: why.into(),
            });
        }
    }
}

/// 0 for a first death, then 0.25 s, doubled up to 5 s.
fn back_off(deaths: u32) -> Duration {
    match deaths {
        0 | 1 => Duration::ZERO,
        n => (FIRST_BACK_OFF * 2u32.pow((n - 2).min(8))).min(LONGEST_BACK_OFF),
    }
}

/// Why this child has to be killed, if it has to.
fn fault(
    role: Role,
    health: &Health,
    since: MonoNs,
    grace_from: MonoNs,
    now: MonoNs,
) -> Option<String> {
    // A status page outlives its worker: what an earlier life wrote there does not count.
    let in_this_life = |t: Option<MonoNs>| t.filter(|&t| t >= since);
    let silence = |from: MonoNs| now.since(from.max(grace_from));
    let heartbeat = in_this_life(health.heartbeat);
    let hung = silence(heartbeat.unwrap_or(since));
    let streaming = in_this_life(health.streaming_since);
    let opening = heartbeat.is_none() || (role != Role::Serve && streaming.is_none());
    if hung
        > if opening {
            HUNG_WHILE_OPENING
        } else {
            HUNG_AFTER
        }
    {
        return Some(format!(
            "its loop has not moved for {:.1} s",
            hung.as_secs_f64()
        ));
    }
    let streaming = streaming?;
    match health.last_capture.filter(|&t| t >= streaming) {
        Some(last) => {
            let stalled = silence(last);
            (stalled > STALLED_AFTER.max(health.interval * 5)).then(|| {
                format!(
                    "its device has delivered nothing for {:.1} s",
                    stalled.as_secs_f64()
                )
            })
        }
        None => {
            let within = FIRST_FRAME_WITHIN.max(health.interval * 7 / 2);
            (silence(streaming) > within).then(|| {
                format!(
                    "its device has delivered nothing within {:.0} s of its start",
                    within.as_secs_f64()
                )
            })
        }
    }
}

fn healthy(role: Role, health: &Health, since: MonoNs) -> bool {
    match role {
        // Only by a beat: one that hangs from its start on shows none, and has longer than this to show it.
        Role::Serve => health
            .heartbeat
            .is_some_and(|beat| beat.since(since) > SERVER_HEALTHY_AFTER),
        // Ten frames: a camera that delivers one and dies again has not recovered.
        Role::Video | Role::Audio => match (health.streaming_since, health.last_capture) {
            (Some(from), Some(last)) => from >= since && last.since(from) > health.interval * 10,
            _ => false,
        },
    }
}

#[cfg(test)]
#[path = "restart_policy_tests.rs"]
mod tests;
