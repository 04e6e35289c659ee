//! Queues: which are paused or limited, and how they fare.
//!
//! What is set for queues every server reads twice a second; it is kept in memory beside the routes, where claims and
//! handoffs look. How many jobs of a limited queue run is not kept anywhere: the store counts them when it leases.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::unit::unit;
use super::{Core, Engine, Error, Queue, Result};
use crate::model::{LimitChange, LiveCounts, QueueSetting, Session, limits};

impl Engine {
    /// A queue that something names.
    pub async fn queue(&self, name: &str) -> Result<Queue> {
        let (core, name) = (Arc::clone(&self.core), name.to_owned());
        unit(async move { core.queue(name).await }).await
    }

    /// Every queue, by name.
    pub async fn queues(&self) -> Result<Vec<Queue>> {
        let core = Arc::clone(&self.core);
        unit(async move { core.all_queues().await }).await
    }

    /// Pauses a queue: jobs that run go on, no other starts, on no server. It need not exist yet.
    pub async fn pause_queue(&self, name: String, reason: String) -> Result<Queue> {
        let core = Arc::clone(&self.core);
        unit(async move {
            core.store.pause_queue(&name, &reason).await?;
            tracing::info!(queue = name, reason, "a queue was paused");
            core.settle_everywhere().await?;
            core.queue(name).await
        })
        .await
    }

    /// Resumes a queue that something names.
    pub async fn resume_queue(&self, name: String) -> Result<Queue> {
        let core = Arc::clone(&self.core);
        unit(async move {
            // Asked first: the last thing that names it may be its pause.
            let before = core.queue(name.clone()).await?;
            if core.store.resume_queue(&name).await? {
                tracing::info!(queue = name, "a queue was resumed");
            }
            core.follow_queues().await?;
            let setting = QueueSetting { pause: None, ..before.setting };
            Ok(Queue { setting, ..before })
        })
        .await
    }

    /// Limits how much of a queue may run, on all servers. What runs goes on. It need not exist yet.
    pub async fn limit_queue(&self, name: String, change: LimitChange) -> Result<Queue> {
        let core = Arc::clone(&self.core);
        unit(async move {
            core.store.limit_queue(&name, change).await?;
            tracing::info!(queue = name, ?change, "the limits of a queue were set");
            core.settle_everywhere().await?;
            match core.queue(name.clone()).await {
                // Nothing names it once its limits are lifted.
                Err(Error::NotFound { .. }) => Ok(Queue::unknown(name)),
                found => found,
            }
        })
        .await
    }

    /// Hears of what was set for queues through other servers.
    pub async fn poll_queues(&self) -> Result<()> {
        let core = Arc::clone(&self.core);
        unit(async move { core.follow_queues().await }).await
    }
}

impl Core {
    /// Reads what is set for queues; those that are paused no more are looked at again.
    pub(crate) async fn follow_queues(&self) -> Result<()> {
        if self.routes.set_queues(self.queue_settings().await?) {
            // What lies there was remembered all the while.
            self.room.note([]);
        }
        Ok(())
    }

    /// What is set for queues, by their names.
    pub(crate) async fn queue_settings(&self) -> Result<HashMap<String, QueueSetting>> {
        let settings = self.store.queue_settings().await?;
        Ok(settings.into_iter().map(|setting| (setting.name.clone(), setting)).collect())
    }

    /// Hears of what was just set, and waits until every other server has heard of it too: from the answer on nothing
    /// starts that should not.
    async fn settle_everywhere(&self) -> Result<()> {
        self.follow_queues().await?;
        let now = self.clock.now();
        let lives = |beat| now.since(beat) < limits::SERVER_SILENT_AFTER;
        let others = self.store.servers().await?;
        if others.iter().any(|other| other.id != self.server && lives(other.beat_time)) {
            tokio::time::sleep(2 * limits::QUEUE_POLL).await;
        }
        Ok(())
    }

    async fn queue(&self, name: String) -> Result<Queue> {
        let found = self.all_queues().await?.into_iter().find(|queue| queue.setting.name == name);
        found.ok_or(Error::NotFound { kind: "queue", name })
    }

    /// Queues that a job, a worker process or a setting names. Routes stay, so a queue that once had a job does too.
    async fn all_queues(&self) -> Result<Vec<Queue>> {
        let mut settings = self.queue_settings().await?;
        let counts = self.live_jobs().await?;
        let sessions: Vec<Session> =
            self.store.sessions().await?.into_iter().map(|(session, _)| session).collect();
        let mut names: BTreeSet<String> = self.routes.queues();
        names.extend(settings.keys().cloned());
        names.extend(sessions.iter().flat_map(|session| session.queues.iter().cloned()));
        let mut live: BTreeMap<&str, LiveCounts> = BTreeMap::new();
        for (route, of_route) in &counts.routes {
            live.entry(route.queue.as_str()).or_default().add(of_route);
        }
        let queue = |name: String| Queue {
            live: live.get(name.as_str()).copied().unwrap_or_default(),
            workers: sessions.iter().filter(|session| session.queues.contains(&name)).count(),
            setting: settings
                .remove(&name)
                .unwrap_or_else(|| QueueSetting { name, ..QueueSetting::default() }),
        };
        Ok(names.into_iter().map(queue).collect())
    }
}

impl Queue {
    /// A queue that nothing names.
    fn unknown(name: String) -> Self {
        Self {
            setting: QueueSetting { name, ..QueueSetting::default() },
            live: LiveCounts::default(),
            workers: 0,
        }
    }
}
