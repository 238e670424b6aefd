//! Named tasks: one that ends before it should is reported by its name, and stops the daemon.

use std::time::Duration;

use anyhow::anyhow;
use tokio::task::JoinSet;

#[derive(Default)]
pub struct Tasks {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Tasks {
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.set.spawn(async move { (name, task.await) });
    }

    /// Waits for the first task that ends; all of them are meant to go on until the daemon stops.
    pub async fn first_end(&mut self) -> anyhow::Error {
        let error = match self.set.join_next().await {
            Some(Ok((name, Ok(())))) => anyhow!("the task {name} ended unexpectedly"),
            Some(Ok((name, Err(error)))) => error.context(format!("the task {name} failed")),
            Some(Err(error)) => anyhow!("a task broke: {error}"),
            None => anyhow!("no task is running"),
        };
        tracing::error!(reason = format!("{error:#}"), "stopping");
        error
    }

    /// Waits for all to end, at most `limit`; then ends them.
    pub async fn join(&mut self, limit: Duration) {
        let all = async {
            while let Some(ended) = self.set.join_next().await {
                if let Ok((name, Err(error))) = ended {
                    tracing::warn!(task = name, reason = format!("{error:#}"), "a task failed while stopping");
                }
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            self.set.shutdown().await;
        }
    }
}
