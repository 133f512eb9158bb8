//! Limits the connections of one listener. When full, evicts the oldest connection that is not
//! busy, so that a client that sends nothing, may not ask, or idles between two requests takes no
//! place from those that are served.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Time for an evicted connection's task to be dropped.
const EVICTION_TIMEOUT: Duration = Duration::from_millis(100);

/// Counts connections and remembers their order. Owned by the accept loop.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    permits: Arc<Semaphore>,
    /// In the order of their accept, not of their last request: a client that asks often is not
    /// older for it than one that just came. Ended connections are swept out as the list grows.
    open: VecDeque<Open>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Open {
    task: AbortHandle,
    busy: Arc<AtomicBool>,
}

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    _permit: OwnedSemaphorePermit,
    busy: Arc<AtomicBool>,
}

impl ConnectionSlot {
    /// While true, the connection is not evicted. It begins as false.
    pub(crate) fn busy(&self) -> Arc<AtomicBool> {
        self.busy.clone()
    }
}

impl ConnectionLimiter {
    /// `max`: connections at a time.
    pub(crate) fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(max)),
            open: VecDeque::new(),
            sweep_at: max.saturating_mul(2),
        }
    }

    /// A place for a connection that was just accepted. `None` when all are taken by busy ones.
    pub(crate) async fn admit(&mut self) -> Option<ConnectionSlot> {
        if self.open.len() >= self.sweep_at {
            self.open
                .retain(|connection| !connection.task.is_finished());
        }
        let slot = |permit| ConnectionSlot {
            _permit: permit,
            busy: Arc::default(),
        };
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Some(slot(permit));
        }
        let oldest = self.open.iter().position(|connection| {
            !connection.task.is_finished() && !connection.busy.load(Relaxed)
        })?;
        self.open.remove(oldest)?.task.abort();
        // The runtime drops the task, and with it its slot, at its next turn.
        let permit = timeout(EVICTION_TIMEOUT, self.permits.clone().acquire_owned()).await;
        permit.ok()?.ok().map(slot)
    }

    /// Remembers the task that serves an admitted connection and owns its slot.
    pub(crate) fn track(&mut self, task: AbortHandle, busy: Arc<AtomicBool>) {
        self.open.push_back(Open { task, busy });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    fn hold(limiter: &mut ConnectionLimiter, slot: ConnectionSlot) -> AbortHandle {
        let busy = slot.busy();
        let task = tokio::spawn(async move {
            let _slot = slot;
            pending::<()>().await
        });
        limiter.track(task.abort_handle(), busy);
        task.abort_handle()
    }

    #[tokio::test]
    async fn limiter_full_evicts_oldest_that_is_not_busy() {
        let mut limiter = ConnectionLimiter::new(2);
        let first = limiter.admit().await.expect("a free place");
        first.busy().store(true, Relaxed);
        let first = hold(&mut limiter, first);
        let second = limiter.admit().await.expect("a free place");
        let second = hold(&mut limiter, second);
        let third = limiter.admit().await.expect("the second gives way");
        assert!(!first.is_finished() && second.is_finished());
        third.busy().store(true, Relaxed);
        hold(&mut limiter, third);
        assert!(limiter.admit().await.is_none(), "all are busy");
    }

    #[tokio::test]
    async fn limiter_many_ended_connections_are_forgotten() {
        let mut limiter = ConnectionLimiter::new(2);
        for _ in 0..100 {
            let slot = limiter.admit().await.expect("a free place");
            hold(&mut limiter, slot).abort();
            tokio::task::yield_now().await;
        }
        assert!(limiter.open.len() <= 4, "{}", limiter.open.len());
    }
}
