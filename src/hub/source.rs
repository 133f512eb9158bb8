//! What a worker reports about its device, and the events that follow from it. Pure.

use super::StreamPlan;
use super::event::Event;
use super::losses::DedupedLosses;
use crate::media::{MediaKind, MonoNs, StreamInfo, WorkerState};
use std::time::Duration;

pub(super) struct Source {
    pub kind: MediaKind,
    pub plan: StreamPlan,
    pub state: WorkerState,
    /// When that state began.
    state_since: Option<MonoNs>,
    /// Its loss was reported to subscribers.
    pub lost: bool,
    pub info: Option<StreamInfo>,
    /// Its last fault in one line, or empty.
    pub message: String,
    /// Expected between two packets; zero until the worker reports it.
    pub interval: Duration,
    /// How often its worker was restarted.
    pub restarts: u32,
    pub losses: DedupedLosses,
}

impl Source {
    pub(super) fn new(kind: MediaKind, plan: StreamPlan) -> Self {
        Self {
            kind,
            plan,
            state: WorkerState::Starting,
            state_since: None,
            lost: false,
            info: None,
            message: String::new(),
            interval: Duration::ZERO,
            restarts: 0,
            losses: DedupedLosses::default(),
        }
    }

    /// Takes over the worker's state, which began at `since` if that is known, and its packet
    /// interval. Returns the events for the subscribers.
    pub(super) fn set_state(
        &mut self,
        state: WorkerState,
        since: Option<MonoNs>,
        interval: Option<Duration>,
    ) -> Vec<Event> {
        let state_before = std::mem::replace(&mut self.state, state);
        let since_before = std::mem::replace(&mut self.state_since, since);
        self.interval = interval.unwrap_or(self.interval);
        let lost = Event::SourceLost { stream: self.kind };
        let back = Event::SourceBack { stream: self.kind };
        let was_streaming = state_before == WorkerState::Streaming;
        let events = match state {
            WorkerState::Streaming if self.lost => vec![back],
            // A new period of streaming: the interruption was over before anybody looked.
            WorkerState::Streaming if was_streaming && since != since_before => vec![lost, back],
            // A source that starts is not lost; one that is missing from the start is.
            WorkerState::WaitingForDevice if !self.lost => vec![lost],
            WorkerState::Starting if was_streaming => vec![lost],
            _ => return Vec::new(),
        };
        self.lost = state != WorkerState::Streaming;
        events
    }
}
