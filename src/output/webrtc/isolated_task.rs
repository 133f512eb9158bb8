//! Runs work that parses a peer's input in its own task: a panic ends that work and nothing else.

use tokio::task::JoinSet;

/// The panic hook has logged the location.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task panicked; please report the log line with the location")]
pub struct Panicked;

/// Runs `work` in a task, which is aborted when this future is dropped.
///
/// # Errors
/// The work panicked.
pub async fn run_isolated<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Panicked> {
    let mut task = JoinSet::new();
    task.spawn(work);
    // It is not aborted elsewhere, so it ends with its output or by a panic.
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
    async fn run_isolated_returns_the_output_or_the_panic() {
        assert_eq!(run_isolated(async { 7 }).await, Ok(7));
        let panics = async {
            tokio::task::yield_now().await;
            panic!("injected")
        };
        assert_eq!(run_isolated::<()>(panics).await, Err(Panicked));
    }

    #[tokio::test]
    async fn run_isolated_dropped_aborts_the_task() {
        let (alive, dropped) = oneshot::channel::<()>();
        let (started, has_started) = oneshot::channel();
        let mut running = Box::pin(run_isolated(async move {
            let _alive = alive;
            let _ = started.send(());
            std::future::pending::<()>().await
        }));
        tokio::select! {
            _ = &mut running => panic!("the work never ends"),
            _ = has_started => {}
        }
        drop(running);
        let ended = timeout(Duration::from_secs(20), dropped).await;
        assert!(ended.expect("the task is aborted").is_err());
    }
}
