//! What a worker says of its device, and what viewers are told of it. Pure: knows no status page and no viewer.

use super::StreamPlan;
use super::losses::Once;
use crate::media::{MediaKind, MonoNs, StreamInfo, WorkerState};
use crate::wire::Event;
use std::time::Duration;

pub struct Source {
    pub kind: MediaKind,
    pub plan: StreamPlan,
    pub state: WorkerState,
    /// When that state began.
    since: Option<MonoNs>,
    /// Subscribers were told that it is lost.
    pub away: bool,
    pub info: Option<StreamInfo>,
    /// Its last fault in one line, or empty.
    pub message: String,
    /// Expected between two packets; zero while it has not said.
    pub interval: Duration,
    /// How often its worker was started again.
    pub restarts: u32,
    pub lost: Once,
}

impl Source {
    pub fn new(kind: MediaKind, plan: StreamPlan) -> Self {
        Self {
            kind,
            plan,
            state: WorkerState::Starting,
            since: None,
            away: false,
            info: None,
            message: String::new(),
            interval: Duration::ZERO,
            restarts: 0,
            lost: Once::default(),
        }
    }

    /// The worker's state, which began at `since` if that is known, and what subscribers are to be told of it.
    pub fn is(
        &mut self,
        state: WorkerState,
        since: Option<MonoNs>,
        interval: Option<Duration>,
    ) -> Vec<Event> {
        let (was, was_since) = (
            std::mem::replace(&mut self.state, state),
            std::mem::replace(&mut self.since, since),
        );
        self.interval = interval.unwrap_or(self.interval);
        let (lost, back) = (
            Event::SourceLost { stream: self.kind },
            Event::SourceBack { stream: self.kind },
        );
        let events = match state {
            WorkerState::Streaming if self.away => vec![back],
            // It streams anew, and what lay between was over before anybody looked.
            WorkerState::Streaming if was == WorkerState::Streaming && since != was_since => {
                vec![lost, back]
            }
            // A source that only starts is not lost; one that is missing from the start is.
            WorkerState::WaitingForDevice if !self.away => vec![lost],
            WorkerState::Starting if was == WorkerState::Streaming => vec![lost],
            _ => return Vec::new(),
        };
        self.away = state != WorkerState::Streaming;
        events
    }
}
