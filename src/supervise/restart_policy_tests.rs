//! Supervision as a table: what happened, at which second, and what must be done.

use super::*;

fn at(seconds: f64) -> MonoNs {
    MonoNs((1000.0 * 1e9 + seconds * 1e9) as u64)
}

fn alive(now: MonoNs) -> impl Fn(Role) -> Health {
    move |_| Health {
        heartbeat: Some(now),
        streaming_since: None,
        last_capture: None,
        interval: Duration::from_millis(66),
    }
}

const ALL: [Role; 3] = [Role::Serve, Role::Video, Role::Audio];

/// A machine whose children were forked at second 0 and that has ticked, all well, up to `until`.
fn running(until: f64) -> Machine {
    let mut m = Machine::new(&ALL, false, at(0.0));
    let first = m.handle(Event::Tick(&alive(at(0.0))), at(0.0));
    assert_eq!(
        first,
        ALL.map(|role| Action::Fork {
            role,
            generation: 1
        })
    );
    ticks(&mut m, 0.0, until);
    m
}

fn ticks(m: &mut Machine, from: f64, until: f64) {
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

/// Ticks with a fixed health of the video worker until the machine acts; the second, and what it did.
fn until_it_acts(m: &mut Machine, from: f64, video: Health) -> (f64, Vec<Action>) {
    let mut t = from;
    while t < from + 60.0 {
        t += 0.25;
        let others = alive(at(t));
        let health = |r: Role| {
            if r == Role::Video {
                video_now(video, at(t))
            } else {
                others(r)
            }
        };
        let actions = m.handle(Event::Tick(&health), at(t));
        if !actions.is_empty() {
            return (t, actions);
        }
    }
    panic!("nothing was done within a minute");
}

/// A heartbeat of `None` means a loop that moves.
fn video_now(video: Health, now: MonoNs) -> Health {
    Health {
        heartbeat: video.heartbeat.or(Some(now)),
        ..video
    }
}

#[test]
fn a_dead_worker_is_forked_again_at_once_then_with_growing_delays() {
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
        let how = Death::Signal(11);
        assert_eq!(
            m.handle(Event::Ended(Role::Video, how), at(t)),
            [Action::WillRestart {
                role: Role::Video,
                how,
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
                role: Role::Video,
                generation
            }]
        );
    }
}

#[test]
fn good_frames_reset_the_back_off() {
    let mut m = running(1.0);
    for _ in 0..3 {
        m.handle(Event::Ended(Role::Video, Death::Code(1)), at(1.0));
        m.handle(Event::Tick(&alive(at(2.0))), at(2.0));
    }
    let good = |_| Health {
        heartbeat: Some(at(4.0)),
        streaming_since: Some(at(2.5)),
        last_capture: Some(at(4.0)),
        interval: Duration::from_millis(66),
    };
    assert_eq!(
        m.handle(Event::Tick(&good), at(4.0)),
        [Action::Recovered(Role::Video)]
    );
    assert_eq!(
        m.handle(Event::Tick(&good), at(4.05)),
        [],
        "it is said once"
    );
    let again = m.handle(Event::Ended(Role::Video, Death::Code(1)), at(4.1));
    assert_eq!(
        again,
        [Action::WillRestart {
            role: Role::Video,
            how: Death::Code(1),
            delay: Duration::ZERO
        }]
    );
}

#[test]
fn faults_are_noticed_in_their_time() {
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
            "frames of an earlier life only",
            h(None, Some(1.0), Some(-5.0), interval),
            11.25,
        ),
    ] {
        let mut m = running(1.0);
        let (t, actions) = until_it_acts(&mut m, 1.0, health);
        assert!(
            matches!(
                actions[..],
                [Action::Kill {
                    role: Role::Video,
                    ..
                }]
            ),
            "{what}: {actions:?}"
        );
        assert_eq!(t, killed_at, "{what}");
    }
}

#[test]
fn a_device_that_is_away_is_nobodys_fault() {
    let mut m = running(1.0);
    ticks(&mut m, 1.0, 120.0); // `alive` beats and does not stream
}

/// The server too: a slow machine takes its time over the server's keys.
#[test]
fn a_child_that_never_beats_is_hung_after_a_slow_machines_start() {
    let mut m = Machine::new(&ALL, false, at(0.0));
    let silent = |_| Health::default();
    m.handle(Event::Tick(&silent), at(0.0));
    let quarters = (1..45).map(|quarter| f64::from(quarter) / 4.0);
    let mut killed = quarters
        .map(|t| (t, m.handle(Event::Tick(&silent), at(t))))
        .filter(|(_, actions)| !actions.is_empty());
    let (when, actions) = killed.next().expect("nobody waits for ever");
    assert!(
        matches!(
            actions[..],
            [
                Action::Kill { .. },
                Action::Kill { .. },
                Action::Kill { .. }
            ]
        ),
        "{actions:?}"
    );
    assert_eq!(when, 10.25);
}

#[test]
fn a_server_whose_loop_stands_still_is_hung() {
    let mut m = running(1.0);
    let still = |role| Health {
        heartbeat: Some(at(if role == Role::Serve { 1.0 } else { 3.25 })),
        ..Health::default()
    };
    ticks(&mut m, 1.0, 3.0);
    let actions = m.handle(Event::Tick(&still), at(3.25));
    assert!(
        matches!(
            actions[..],
            [Action::Kill {
                role: Role::Serve,
                ..
            }]
        ),
        "{actions:?}"
    );
}

#[test]
fn a_supervisor_that_was_stopped_blames_nobody() {
    let mut m = running(1.0);
    let stale = |_| Health {
        heartbeat: Some(at(1.0)),
        streaming_since: Some(at(0.5)),
        last_capture: Some(at(1.0)),
        interval: Duration::from_millis(66),
    };
    assert_eq!(
        m.handle(Event::Tick(&stale), at(61.0)),
        [],
        "a minute in Ctrl-Z is not the children's silence"
    );
    let acted = (1..12).find(|i| {
        !m.handle(Event::Tick(&stale), at(61.0 + 0.25 * f64::from(*i)))
            .is_empty()
    });
    assert_eq!(acted, Some(9), "deadlines start anew, and then count");
}

#[test]
fn a_stop_terminates_in_reverse_and_exits_when_all_are_gone() {
    let mut m = running(1.0);
    let asked = m.handle(Event::StopAsked, at(1.0));
    assert_eq!(
        asked,
        [Role::Audio, Role::Video, Role::Serve].map(Action::Terminate)
    );
    assert_eq!(
        m.handle(Event::Ended(Role::Audio, Death::Signal(15)), at(1.1)),
        []
    );
    assert_eq!(
        m.handle(Event::Ended(Role::Serve, Death::Code(0)), at(1.1)),
        []
    );
    assert_eq!(
        m.handle(Event::Ended(Role::Video, Death::Code(0)), at(1.2)),
        [Action::Exit(0)]
    );
}

#[test]
fn who_does_not_stop_in_time_is_killed() {
    let mut m = running(1.0);
    m.handle(Event::StopAsked, at(1.0));
    m.handle(Event::Ended(Role::Audio, Death::Code(0)), at(1.1));
    assert!(m.sleep(at(2.4)) <= Duration::from_millis(101));
    assert_eq!(m.handle(Event::Tick(&alive(at(2.4))), at(2.4)), []);
    let killed = m.handle(Event::Tick(&alive(at(2.5))), at(2.5));
    assert!(
        matches!(
            killed[..],
            [
                Action::Kill {
                    role: Role::Video,
                    ..
                },
                Action::Kill {
                    role: Role::Serve,
                    ..
                }
            ]
        ),
        "{killed:?}"
    );
    assert_eq!(
        m.handle(Event::Ended(Role::Video, Death::Signal(9)), at(2.6)),
        []
    );
    assert_eq!(
        m.handle(Event::Ended(Role::Serve, Death::Signal(9)), at(2.6)),
        [Action::Exit(0)]
    );
}

#[test]
fn a_second_signal_kills_at_once() {
    let mut m = running(1.0);
    m.handle(Event::StopAsked, at(1.0));
    assert_eq!(
        m.handle(Event::StopAsked, at(1.01)),
        [],
        "`timeout` signals the process and its group"
    );
    let killed = m.handle(Event::StopAsked, at(1.5));
    assert_eq!(killed.len(), 3);
    assert!(killed.iter().all(|a| matches!(a, Action::Kill { .. })));
}

#[test]
fn nobody_is_forked_while_stopping() {
    let mut m = running(1.0);
    m.handle(Event::Ended(Role::Video, Death::Code(1)), at(1.0));
    m.handle(Event::StopAsked, at(1.0));
    assert_eq!(m.handle(Event::Tick(&alive(at(1.25))), at(1.25)), []);
}

#[test]
fn a_device_error_ends_the_program_only_when_asked() {
    for (exit_on_device_error, ends) in [(true, true), (false, false)] {
        let mut m = Machine::new(&ALL, exit_on_device_error, at(0.0));
        m.handle(Event::Tick(&alive(at(0.0))), at(0.0));
        let actions = m.handle(Event::Ended(Role::Video, Death::Code(3)), at(1.0));
        if ends {
            assert_eq!(actions, [Role::Audio, Role::Serve].map(Action::Terminate));
            m.handle(Event::Ended(Role::Audio, Death::Code(0)), at(1.1));
            assert_eq!(
                m.handle(Event::Ended(Role::Serve, Death::Code(0)), at(1.1)),
                [Action::Exit(3)]
            );
        } else {
            assert!(matches!(actions[..], [Action::WillRestart { .. }]));
        }
    }
}

/// Of a USB camera, say, whose driver goes silent: the worker in it cannot say so itself.
#[test]
fn a_stalled_or_hung_device_ends_the_program_only_when_asked() {
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
        let mut m = Machine::new(&ALL, exit_on_device_error, at(0.0));
        m.handle(Event::Tick(&alive(at(0.0))), at(0.0));
        ticks(&mut m, 0.0, 1.0);
        let (t, killed) = until_it_acts(&mut m, 1.0, health);
        assert!(
            matches!(
                killed[..],
                [Action::Kill {
                    role: Role::Video,
                    ..
                }]
            ),
            "{killed:?}"
        );
        let actions = m.handle(Event::Ended(Role::Video, Death::Signal(9)), at(t));
        if exit_on_device_error {
            assert_eq!(actions, [Role::Audio, Role::Serve].map(Action::Terminate));
            m.handle(Event::Ended(Role::Audio, Death::Code(0)), at(t));
            assert_eq!(
                m.handle(Event::Ended(Role::Serve, Death::Code(0)), at(t)),
                [Action::Exit(DEVICE_ERROR)]
            );
        } else {
            assert!(
                matches!(
                    actions[..],
                    [Action::WillRestart {
                        role: Role::Video,
                        ..
                    }]
                ),
                "{actions:?}"
            );
        }
    }
}

#[test]
fn a_hung_server_is_no_device_error() {
    let mut m = Machine::new(&ALL, true, at(0.0));
    m.handle(Event::Tick(&alive(at(0.0))), at(0.0));
    ticks(&mut m, 0.0, 2.0);
    let hung = |role| Health {
        heartbeat: Some(at(if role == Role::Serve { 0.0 } else { 2.25 })),
        ..Health::default()
    };
    assert!(matches!(
        m.handle(Event::Tick(&hung), at(2.25))[..],
        [Action::Kill {
            role: Role::Serve,
            ..
        }]
    ));
    let ended = m.handle(Event::Ended(Role::Serve, Death::Signal(9)), at(2.3));
    assert!(
        matches!(
            ended[..],
            [Action::WillRestart {
                role: Role::Serve,
                ..
            }]
        ),
        "{ended:?}"
    );
}

#[test]
fn a_server_that_hangs_from_its_start_on_has_not_recovered() {
    let mut m = running(1.0);
    let mut t = 1.0;
    for delay_ms in [0, 250, 500] {
        let (how, delay) = (Death::Signal(9), Duration::from_millis(delay_ms));
        assert_eq!(
            m.handle(Event::Ended(Role::Serve, how), at(t)),
            [Action::WillRestart {
                role: Role::Serve,
                how,
                delay
            }]
        );
        // Its page may still show a beat of the life before.
        let (before, born) = (at(t), t + delay.as_secs_f64());
        let hung = |now| {
            move |role| Health {
                heartbeat: Some(if role == Role::Serve { before } else { now }),
                ..Health::default()
            }
        };
        let until_killed = loop {
            t += 0.25;
            let actions = m.handle(Event::Tick(&hung(at(t))), at(t));
            assert!(!actions.contains(&Action::Recovered(Role::Serve)), "at {t}");
            if actions.iter().any(|a| {
                matches!(
                    a,
                    Action::Kill {
                        role: Role::Serve,
                        ..
                    }
                )
            }) {
                break t - born;
            }
        };
        assert!((10.0..11.0).contains(&until_killed), "{until_killed}");
    }
}

#[test]
fn a_server_that_still_beats_after_5_s_has_recovered() {
    let mut m = running(1.0);
    m.handle(Event::Ended(Role::Serve, Death::Signal(9)), at(1.0));
    m.handle(Event::Tick(&alive(at(1.0))), at(1.0));
    ticks(&mut m, 1.0, 6.0);
    assert_eq!(
        m.handle(Event::Tick(&alive(at(6.25))), at(6.25)),
        [Action::Recovered(Role::Serve)]
    );
}
