//! Queues that are bounded in bytes: each one, and all of a budget together, however many they are.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What a queued item takes besides its payload: its metadata, its allocation, its place in the
/// queue. So empty items are bounded too.
pub(super) const ITEM_BYTES: usize = 256;

/// The memory that some queues share.
#[derive(Debug)]
pub struct QueueBudget {
    total: Arc<Semaphore>,
    queue_bytes: usize,
    #[cfg(test)]
    total_bytes: usize,
}

impl QueueBudget {
    /// At most `queue_bytes` in each of `queues` queues and `total_bytes` in all. A queue's part is
    /// smaller if they cannot all have `queue_bytes`, so that full queues take nothing from others;
    /// it always has room for one item of `item_bytes`.
    pub fn new(queues: usize, queue_bytes: usize, item_bytes: usize, total_bytes: usize) -> Self {
        let part = total_bytes / queues.max(1);
        Self {
            total: Arc::new(Semaphore::new(total_bytes)),
            queue_bytes: queue_bytes.min(part).max(item_bytes + ITEM_BYTES),
            #[cfg(test)]
            total_bytes,
        }
    }

    pub fn queue<T>(&self) -> (ByteSender<T>, ByteReceiver<T>) {
        let (items, queued) = mpsc::unbounded_channel();
        let sender = ByteSender {
            items,
            own: Arc::new(Semaphore::new(self.queue_bytes)),
            total: self.total.clone(),
        };
        (sender, ByteReceiver(queued))
    }

    /// Of all queues, with what each item takes besides its payload.
    #[cfg(test)]
    pub fn used_bytes(&self) -> usize {
        self.total_bytes - self.total.available_permits()
    }
}

struct Queued<T> {
    item: T,
    _own: OwnedSemaphorePermit,
    _total: OwnedSemaphorePermit,
}

pub struct ByteSender<T> {
    items: mpsc::UnboundedSender<Queued<T>>,
    own: Arc<Semaphore>,
    total: Arc<Semaphore>,
}

impl<T> ByteSender<T> {
    /// Queues an item of `bytes`, or drops it if the queue or the budget is full, or the receiver
    /// is gone. Returns whether it is queued.
    pub fn try_send(&self, item: T, bytes: usize) -> bool {
        let Ok(bytes) = u32::try_from(bytes + ITEM_BYTES) else {
            return false;
        };
        let acquire = |of: &Arc<Semaphore>| of.clone().try_acquire_many_owned(bytes).ok();
        let Some((_own, _total)) = acquire(&self.own).zip(acquire(&self.total)) else {
            return false;
        };
        self.items.send(Queued { item, _own, _total }).is_ok()
    }
}

/// Dropping it frees what is queued.
pub struct ByteReceiver<T>(mpsc::UnboundedReceiver<Queued<T>>);

impl<T> ByteReceiver<T> {
    /// `None`: the sender is gone.
    pub async fn recv(&mut self) -> Option<T> {
        self.0.recv().await.map(|queued| queued.item)
    }

    /// `None`: nothing is queued.
    #[cfg(any(test, fuzzing))]
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.try_recv().ok().map(|queued| queued.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_queue_full_drops_and_receiving_makes_room() {
        let budget = QueueBudget::new(1, 2 * (100 + ITEM_BYTES), 100, 1 << 20);
        let (sender, mut receiver) = budget.queue();
        assert!(sender.try_send(1, 100) && sender.try_send(2, 100));
        assert!(!sender.try_send(3, 0), "an empty item takes bytes too");
        assert_eq!(budget.used_bytes(), 2 * (100 + ITEM_BYTES));
        assert_eq!(receiver.try_recv(), Some(1));
        assert!(sender.try_send(4, 100) && !sender.try_send(5, 100));
        assert_eq!(receiver.try_recv(), Some(2));
        assert_eq!(receiver.try_recv(), Some(4));
        assert_eq!((receiver.try_recv(), budget.used_bytes()), (None, 0));
        assert!(sender.try_send(6, 100));
        drop(receiver);
        assert_eq!(budget.used_bytes(), 0, "freed with the receiver");
        assert!(!sender.try_send(7, 100));
    }

    #[test]
    fn byte_queue_full_ones_take_nothing_from_others() {
        let budget = QueueBudget::new(8, 1 << 20, 1000, 16 << 10);
        let queues: Vec<_> = (0..8).map(|_| budget.queue()).collect();
        for (sender, _) in &queues[..7] {
            while sender.try_send((), 1000) {}
        }
        assert!(queues[7].0.try_send((), 1000));
        assert!(budget.used_bytes() <= 16 << 10);
    }

    /// More queues than the budget was made for, or than it has room for.
    #[test]
    fn byte_queue_total_is_bounded_whatever_the_number_of_queues() {
        let budget = QueueBudget::new(100_000, 1 << 20, 1000, 16 << 10);
        let queues: Vec<_> = (0..100).map(|_| budget.queue()).collect();
        for (sender, _) in &queues {
            while sender.try_send((), 1000) {}
        }
        let used = budget.used_bytes();
        assert!(
            used <= 16 << 10 && used > (16 << 10) - 2 * (1000 + ITEM_BYTES),
            "{used}"
        );
    }
}
