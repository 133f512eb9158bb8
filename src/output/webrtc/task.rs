//! Runs work that parses a peer's input in a task of its own: a panic ends that work and nothing else.

use tokio::task::JoinSet;

/// The panic hook has logged where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task panicked; please report the log line with the location")]
pub struct Panicked;

/// Runs `work` in a task, which is aborted when this is dropped.
pub async fn apart<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Panicked> {
    let mut task = JoinSet::new();
    task.spawn(work);
    // Nobody else aborts it: it ends with its output or by a panic.
    match task.join_next().await {
        Some(Ok(output)) => Ok(output),
        _ => Err(Panicked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    #[tokio::test]
    async fn output_and_panic_are_told_apart() {
        assert_eq!(apart(async { 7 }).await, Ok(7));
        let panics = async {
            tokio::task::yield_now().await;
            panic!("injected")
        };
        assert_eq!(apart::<()>(panics).await, Err(Panicked));
    }

    #[tokio::test]
    async fn dropping_it_ends_the_task() {
        let (alive, dropped) = oneshot::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let mut running = Box::pin(apart(async move {
            let _alive = alive;
            let _ = started.send(());
            std::future::pending::<()>().await
        }));
        tokio::select! {
            _ = &mut running => panic!("it has no end of its own"),
            _ = has_started => {}
        }
        drop(running);
        let ended = timeout(Duration::from_secs(20), dropped).await;
        assert!(ended.expect("the task is dropped").is_err());
    }
}
