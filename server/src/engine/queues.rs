//! Queues: which are paused, and how they fare.
//!
//! A paused queue is a row that every server reads twice a second; what it means is kept in memory beside the routes, where
//! claims and handoffs look.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::unit::unit;
use super::{Core, Engine, Error, Queue, Result};
use crate::model::{LiveCounts, PausedQueue, Session};

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
            core.follow_pauses().await?;
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
            core.follow_pauses().await?;
            Ok(Queue { pause: None, ..before })
        })
        .await
    }

    /// Hears of queues that were paused or resumed through other servers.
    pub async fn poll_queues(&self) -> Result<()> {
        let core = Arc::clone(&self.core);
        unit(async move { core.follow_pauses().await }).await
    }
}

impl Core {
    /// Reads which queues are paused; those that are no more are looked at again.
    pub(crate) async fn follow_pauses(&self) -> Result<()> {
        let paused: HashSet<String> =
            self.store.paused_queues().await?.into_iter().map(|paused| paused.name).collect();
        if self.routes.set_paused(paused) {
            // What lies there was remembered all the while.
            self.room.note([]);
        }
        Ok(())
    }

    async fn queue(&self, name: String) -> Result<Queue> {
        let found = self.all_queues().await?.into_iter().find(|queue| queue.name == name);
        found.ok_or(Error::NotFound { kind: "queue", name })
    }

    /// Queues that a job, a worker process or a setting names. Routes stay, so a queue that once had a job does too.
    async fn all_queues(&self) -> Result<Vec<Queue>> {
        let mut paused: BTreeMap<String, PausedQueue> = self
            .store
            .paused_queues()
            .await?
            .into_iter()
            .map(|paused| (paused.name.clone(), paused))
            .collect();
        let counts = self.live_counts().await?;
        let sessions: Vec<Session> =
            self.store.sessions().await?.into_iter().map(|(session, _)| session).collect();
        let mut names: BTreeSet<String> = self.routes.queues();
        names.extend(paused.keys().cloned());
        names.extend(sessions.iter().flat_map(|session| session.queues.iter().cloned()));
        let mut live: BTreeMap<&str, LiveCounts> = BTreeMap::new();
        for (route, of_route) in counts.iter() {
            live.entry(route.queue.as_str()).or_default().add(of_route);
        }
        let queue = |name: String| Queue {
            pause: paused.remove(&name),
            live: live.get(name.as_str()).copied().unwrap_or_default(),
            workers: sessions.iter().filter(|session| session.queues.contains(&name)).count(),
            name,
        };
        Ok(names.into_iter().map(queue).collect())
    }
}
