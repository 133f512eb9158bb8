//! The policy as tables: events at given seconds, and the actions they must cause.

use super::*;
use crate::media::{CameraId, MediaKind, StreamId};

const SERVER: ChildId = ChildId::Server;

fn worker(kind: MediaKind) -> ChildId {
    ChildId::Worker(StreamId {
        camera: CameraId::main(),
        kind,
    })
}

fn video() -> ChildId {
    worker(MediaKind::Video)
}

fn audio() -> ChildId {
    worker(MediaKind::Audio)
}

fn all() -> [ChildId; 3] {
    [SERVER, video(), audio()]
}

/// The killed children; fails when there are other actions.
fn killed(actions: &[Action]) -> Vec<ChildId> {
    let id = |action: &Action| match action {
        Action::Kill { child, .. } => child.clone(),
        other => panic!("{other:?} among {actions:?}"),
    };
    actions.iter().map(id).collect()
}

/// The restarted children; fails when there are other actions.
fn restarted(actions: &[Action]) -> Vec<ChildId> {
    let id = |action: &Action| match action {
        Action::WillRestart { child, .. } => child.clone(),
        other => panic!("{other:?} among {actions:?}"),
    };
    actions.iter().map(id).collect()
}

fn at(seconds: f64) -> MonoNs {
    MonoNs((1000.0 * 1e9 + seconds * 1e9) as u64)
}

fn alive(now: MonoNs) -> impl Fn(&ChildId) -> Health {
    move |_| Health {
        heartbeat: Some(now),
        streaming_since: None,
        last_capture: None,
        interval: Duration::from_millis(66),
    }
}

/// A policy whose children were forked at second 0 and are healthy, ticked up to `until`.
fn running(until: f64) -> RestartPolicy {
    let mut m = RestartPolicy::new(all(), false, at(0.0));
    let first = m.handle(Event::Tick(&alive(at(0.0))), at(0.0));
    assert_eq!(
        first,
        all().map(|child| Action::Fork {
            child,
            generation: 1
        })
    );
    ticks(&mut m, 0.0, until);
    m
}

fn ticks(m: &mut RestartPolicy, from: f64, until: f64) {
    let mut t = from;
    while t < until {
        t = (t + 0.25).min(until);
        assert_eq!(
            m.handle(Event::Tick(&alive(at(t))), at(t)),
            [],
            "all was well at {t}"
        );
    }
}

/// Ticks with a fixed health of the video worker until there are actions; when, and which.
fn until_it_acts(m: &mut RestartPolicy, from: f64, video: Health) -> (f64, Vec<Action>) {
    let mut t = from;
    while t < from + 60.0 {
        t += 0.25;
        let others = alive(at(t));
        let health = |child: &ChildId| {
            if *child == self::video() {
                video_now(video, at(t))
            } else {
                others(child)
            }
        };
        let actions = m.handle(Event::Tick(&health), at(t));
        if !actions.is_empty() {
            return (t, actions);
        }
    }
    panic!("no action within a minute");
}

/// A heartbeat of `None` stands for one that is set all the time.
fn video_now(video: Health, now: MonoNs) -> Health {
    Health {
        heartbeat: video.heartbeat.or(Some(now)),
        ..video
    }
}

#[test]
fn policy_repeated_exits_fork_at_once_then_with_growing_delays() {
    let mut m = running(1.0);
    let mut t = 1.0;
    for (generation, delay_ms) in [
        (2, 0),
        (3, 250),
        (4, 500),
        (5, 1000),
        (6, 2000),
        (7, 4000),
        (8, 5000),
        (9, 5000),
    ] {
        let delay = Duration::from_millis(delay_ms);
        let reason = ExitReason::Signal(11);
        assert_eq!(
            m.handle(Event::Exited(video(), reason), at(t)),
            [Action::WillRestart {
                child: video(),
                reason,
                delay
            }]
        );
        assert!(m.sleep(at(t)) <= delay.min(TICK));
        let before = t;
        t += delay.as_secs_f64();
        if delay > Duration::ZERO {
            ticks(&mut m, before, t - 0.001);
        }
        assert_eq!(
            m.handle(Event::Tick(&alive(at(t))), at(t)),
            [Action::Fork {
                child: video(),
                generation
            }]
        );
    }
}

#[test]
fn policy_good_frames_reset_the_back_off() {
    let mut m = running(1.0);
    for _ in 0..3 {
        m.handle(Event::Exited(video(), ExitReason::Code(1)), at(1.0));
        m.handle(Event::Tick(&alive(at(2.0))), at(2.0));
    }
    let good = |_: &ChildId| Health {
        heartbeat: Some(at(4.0)),
        streaming_since: Some(at(2.5)),
        last_capture: Some(at(4.0)),
        interval: Duration::from_millis(66),
    };
    assert_eq!(
        m.handle(Event::Tick(&good), at(4.0)),
        [Action::Recovered(video())]
    );
    assert_eq!(
        m.handle(Event::Tick(&good), at(4.05)),
        [],
        "recovery is reported once"
    );
    let again = m.handle(Event::Exited(video(), ExitReason::Code(1)), at(4.1));
    assert_eq!(
        again,
        [Action::WillRestart {
            child: video(),
            reason: ExitReason::Code(1),
            delay: Duration::ZERO
        }]
    );
}

#[test]
fn policy_fault_kills_after_its_deadline() {
    let interval = Duration::from_millis(66);
    let h = |heartbeat: Option<f64>, streaming: Option<f64>, last: Option<f64>, interval| Health {
        heartbeat: heartbeat.map(at),
        streaming_since: streaming.map(at),
        last_capture: last.map(at),
        interval,
    };
    let slow = Duration::from_secs(1);
    let very_slow = Duration::from_secs(10);
    for (what, health, killed_at) in [
        (
            "a loop that hangs while it opens its device",
            h(Some(1.0), None, None, interval),
            11.25,
        ),
        (
            "a loop that hangs while streaming",
            h(Some(1.0), Some(0.5), Some(1.0), interval),
            3.25,
        ),
        (
            "a stalled device",
            h(None, Some(0.5), Some(1.0), interval),
            3.25,
        ),
        (
            "a stalled slow device",
            h(None, Some(0.5), Some(1.0), slow),
            6.25,
        ),
        ("no first frame", h(None, Some(1.0), None, interval), 11.25),
        (
            "no first frame of a slow device",
            h(None, Some(1.0), None, slow),
            11.25,
        ),
        (
            "no first frame of a very slow device",
            h(None, Some(1.0), None, very_slow),
            36.25,
        ),
        (
            "frames of an earlier generation only",
            h(None, Some(1.0), Some(-5.0), interval),
            11.25,
        ),
    ] {
        let mut m = running(1.0);
        let (t, actions) = until_it_acts(&mut m, 1.0, health);
        assert_eq!(killed(&actions), [video()], "{what}: {actions:?}");
        assert_eq!(t, killed_at, "{what}");
    }
}

#[test]
fn policy_missing_device_is_not_a_fault() {
    let mut m = running(1.0);
    ticks(&mut m, 1.0, 120.0); // `alive` sets its heartbeat and does not stream
}

/// The server too: on a slow machine, making its keys takes long.
#[test]
fn policy_child_without_any_heartbeat_is_killed_after_10_s() {
    let mut m = RestartPolicy::new(all(), false, at(0.0));
    let silent = |_: &ChildId| Health::default();
    m.handle(Event::Tick(&silent), at(0.0));
    let quarters = (1..45).map(|quarter| f64::from(quarter) / 4.0);
    let mut acted = quarters
        .map(|t| (t, m.handle(Event::Tick(&silent), at(t))))
        .filter(|(_, actions)| !actions.is_empty());
    let (when, actions) = acted.next().expect("it is killed in the end");
    assert_eq!(killed(&actions), all());
    assert_eq!(when, 10.25);
}

#[test]
fn policy_server_without_heartbeat_is_killed_after_2_s() {
    let mut m = running(1.0);
    let still = |child: &ChildId| Health {
        heartbeat: Some(at(if *child == SERVER { 1.0 } else { 3.25 })),
        ..Health::default()
    };
    ticks(&mut m, 1.0, 3.0);
    let actions = m.handle(Event::Tick(&still), at(3.25));
    assert_eq!(killed(&actions), [SERVER], "{actions:?}");
}

#[test]
fn policy_supervisor_stopped_restarts_the_deadlines() {
    let mut m = running(1.0);
    let stale = |_: &ChildId| Health {
        heartbeat: Some(at(1.0)),
        streaming_since: Some(at(0.5)),
        last_capture: Some(at(1.0)),
        interval: Duration::from_millis(66),
    };
    assert_eq!(
        m.handle(Event::Tick(&stale), at(61.0)),
        [],
        "a minute stopped by Ctrl-Z does not count"
    );
    let acted = (1..12).find(|i| {
        !m.handle(Event::Tick(&stale), at(61.0 + 0.25 * f64::from(*i)))
            .is_empty()
    });
    assert_eq!(acted, Some(9), "deadlines start again");
}

#[test]
fn policy_stop_terminates_in_reverse_and_exits_after_the_last() {
    let mut m = running(1.0);
    let asked = m.handle(Event::StopRequested, at(1.0));
    assert_eq!(asked, [audio(), video(), SERVER].map(Action::Terminate));
    assert_eq!(
        m.handle(Event::Exited(audio(), ExitReason::Signal(15)), at(1.1)),
        []
    );
    assert_eq!(
        m.handle(Event::Exited(SERVER, ExitReason::Code(0)), at(1.1)),
        []
    );
    assert_eq!(
        m.handle(Event::Exited(video(), ExitReason::Code(0)), at(1.2)),
        [Action::Exit(0)]
    );
}

#[test]
fn policy_stop_deadline_kills_the_rest() {
    let mut m = running(1.0);
    m.handle(Event::StopRequested, at(1.0));
    m.handle(Event::Exited(audio(), ExitReason::Code(0)), at(1.1));
    assert!(m.sleep(at(2.4)) <= Duration::from_millis(101));
    assert_eq!(m.handle(Event::Tick(&alive(at(2.4))), at(2.4)), []);
    let actions = m.handle(Event::Tick(&alive(at(2.5))), at(2.5));
    assert_eq!(killed(&actions), [video(), SERVER]);
    assert_eq!(
        m.handle(Event::Exited(video(), ExitReason::Signal(9)), at(2.6)),
        []
    );
    assert_eq!(
        m.handle(Event::Exited(SERVER, ExitReason::Signal(9)), at(2.6)),
        [Action::Exit(0)]
    );
}

#[test]
fn policy_second_signal_kills_at_once() {
    let mut m = running(1.0);
    m.handle(Event::StopRequested, at(1.0));
    assert_eq!(
        m.handle(Event::StopRequested, at(1.01)),
        [],
        "`timeout` signals the process and its group"
    );
    let actions = m.handle(Event::StopRequested, at(1.5));
    assert_eq!(killed(&actions), [audio(), video(), SERVER]);
}

#[test]
fn policy_stopping_forks_nothing() {
    let mut m = running(1.0);
    m.handle(Event::Exited(video(), ExitReason::Code(1)), at(1.0));
    m.handle(Event::StopRequested, at(1.0));
    assert_eq!(m.handle(Event::Tick(&alive(at(1.25))), at(1.25)), []);
}

#[test]
fn policy_device_error_exits_only_with_the_option() {
    for (exit_on_device_error, ends) in [(true, true), (false, false)] {
        let mut m = RestartPolicy::new(all(), exit_on_device_error, at(0.0));
        m.handle(Event::Tick(&alive(at(0.0))), at(0.0));
        let actions = m.handle(Event::Exited(video(), ExitReason::Code(3)), at(1.0));
        if ends {
            assert_eq!(actions, [audio(), SERVER].map(Action::Terminate));
            m.handle(Event::Exited(audio(), ExitReason::Code(0)), at(1.1));
            assert_eq!(
                m.handle(Event::Exited(SERVER, ExitReason::Code(0)), at(1.1)),
                [Action::Exit(3)]
            );
        } else {
            assert!(matches!(actions[..], [Action::WillRestart { .. }]));
        }
    }
}

/// Such as a USB camera whose driver hangs: the worker inside it cannot report that.
#[test]
fn policy_stalled_or_hung_device_exits_only_with_the_option() {
    let h = |heartbeat: Option<f64>, last: Option<f64>| Health {
        heartbeat: heartbeat.map(at),
        streaming_since: Some(at(0.5)),
        last_capture: last.map(at),
        interval: Duration::from_millis(66),
    };
    let stalled = h(None, Some(1.0));
    let hung = h(Some(1.0), Some(1.0));
    for (exit_on_device_error, health) in [
        (true, stalled),
        (true, hung),
        (false, stalled),
        (false, hung),
    ] {
        let mut m = RestartPolicy::new(all(), exit_on_device_error, at(0.0));
        m.handle(Event::Tick(&alive(at(0.0))), at(0.0));
        ticks(&mut m, 0.0, 1.0);
        let (t, actions) = until_it_acts(&mut m, 1.0, health);
        assert_eq!(killed(&actions), [video()]);
        let actions = m.handle(Event::Exited(video(), ExitReason::Signal(9)), at(t));
        if exit_on_device_error {
            assert_eq!(actions, [audio(), SERVER].map(Action::Terminate));
            m.handle(Event::Exited(audio(), ExitReason::Code(0)), at(t));
            assert_eq!(
                m.handle(Event::Exited(SERVER, ExitReason::Code(0)), at(t)),
                [Action::Exit(DEVICE_ERROR)]
            );
        } else {
            assert_eq!(restarted(&actions), [video()]);
        }
    }
}

#[test]
fn policy_hung_server_is_not_a_device_error() {
    let mut m = RestartPolicy::new(all(), true, at(0.0));
    m.handle(Event::Tick(&alive(at(0.0))), at(0.0));
    ticks(&mut m, 0.0, 2.0);
    let hung = |child: &ChildId| Health {
        heartbeat: Some(at(if *child == SERVER { 0.0 } else { 2.25 })),
        ..Health::default()
    };
    assert_eq!(killed(&m.handle(Event::Tick(&hung), at(2.25))), [SERVER]);
    let ended = m.handle(Event::Exited(SERVER, ExitReason::Signal(9)), at(2.3));
    assert_eq!(restarted(&ended), [SERVER]);
}

#[test]
fn policy_server_that_hangs_at_start_does_not_recover() {
    let mut m = running(1.0);
    let mut t = 1.0;
    for delay_ms in [0, 250, 500] {
        let (reason, delay) = (ExitReason::Signal(9), Duration::from_millis(delay_ms));
        assert_eq!(
            m.handle(Event::Exited(SERVER, reason), at(t)),
            [Action::WillRestart {
                child: SERVER,
                reason,
                delay
            }]
        );
        // Its page may still have a heartbeat of the generation before.
        let (before, born) = (at(t), t + delay.as_secs_f64());
        let hung = |now| {
            move |child: &ChildId| Health {
                heartbeat: Some(if *child == SERVER { before } else { now }),
                ..Health::default()
            }
        };
        let until_killed = loop {
            t += 0.25;
            let actions = m.handle(Event::Tick(&hung(at(t))), at(t));
            assert!(!actions.contains(&Action::Recovered(SERVER)), "at {t}");
            let is_kill = |a: &Action| matches!(a, Action::Kill { child, .. } if *child == SERVER);
            if actions.iter().any(is_kill) {
                break t - born;
            }
        };
        assert!((10.0..11.0).contains(&until_killed), "{until_killed}");
    }
}

#[test]
fn policy_server_with_heartbeat_after_5_s_recovers() {
    let mut m = running(1.0);
    m.handle(Event::Exited(SERVER, ExitReason::Signal(9)), at(1.0));
    m.handle(Event::Tick(&alive(at(1.0))), at(1.0));
    ticks(&mut m, 1.0, 6.0);
    assert_eq!(
        m.handle(Event::Tick(&alive(at(6.25))), at(6.25)),
        [Action::Recovered(SERVER)]
    );
}
