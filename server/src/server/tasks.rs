//! The long-lived tasks of a server. None of them ever dies: an error is logged and waited out, a panic ends one round.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::{self, Engine};
use crate::model::{Retention, limits};
use crate::pool::Pool;

/// How often the database's clock is followed and ids are kept ready.
const PULSE_INTERVAL: Duration = Duration::from_secs(1);
/// How often what has outlived its use is put away.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Longest wait after an error, unless the task's own interval is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// What a round under way has to end when the server stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// The tasks that are running.
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Starts all of them.
    pub(super) fn start(engine: &Engine, retention: Retention) -> Self {
        let tasks = Self { tracker: TaskTracker::new(), stop: CancellationToken::new() };
        tasks.serve_claims(engine.clone());
        tasks.settle(engine.clone());
        tasks.recur(engine.clone());
        tasks.every("reaper", limits::TICK, engine, async |engine| engine.sweep().await);
        tasks.every("pulse", PULSE_INTERVAL, engine, async |engine| engine.pulse().await);
        tasks.every("cancel poll", limits::CANCEL_POLL, engine, async |engine| engine.poll_cancels().await);
        tasks.every("lock looks", limits::LOCK_LOOK_INTERVAL, engine, async |engine| {
            engine.look_at_locks().await
        });
        tasks.every("queue poll", limits::QUEUE_POLL, engine, async |engine| engine.poll_queues().await);
        tasks.every("transient runs", limits::TRANSIENT_TICK, engine, async |engine| {
            engine.tend_transients().await
        });
        tasks.every("tallies", limits::TALLY_INTERVAL, engine, async |engine| engine.add_tallies().await);
        tasks.every("months", UPKEEP_INTERVAL, engine, async |engine| engine.keep_months().await);
        tasks.every("forgetting", UPKEEP_INTERVAL, engine, async |engine| engine.forget_old().await);
        tasks.every("retention", UPKEEP_INTERVAL, engine, move |engine| async move {
            engine.keep_retention(retention).await
        });
        tasks
    }

    /// Stops them, each after the round that is under way.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(STOP_WITHIN, self.tracker.wait()).await.is_err() {
            tracing::warn!("tasks were still busy after {STOP_WITHIN:?}, leaving them");
        }
    }

    fn serve_claims(&self, engine: Engine) {
        self.run_on("looks at what waits", engine.clone(), async |engine, stop| engine.run_looks(stop).await);
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            let mut trouble = Trouble::new("claims", Duration::from_millis(100));
            while !stop.is_cancelled() {
                let (engine, token) = (engine.clone(), stop.clone());
                if let Err(panic) = tokio::spawn(async move { engine.run_claims(token).await }).await {
                    tokio::time::sleep(trouble.note(&panic)).await;
                }
            }
        });
    }

    /// What follows the ends of runs.
    fn settle(&self, engine: Engine) {
        self.run_on("settling", engine, async |engine, stop| engine.run_settling(stop).await);
    }

    /// Recurring tasks that are due.
    fn recur(&self, engine: Engine) {
        self.run_on("recurring tasks", engine, async |engine, stop| engine.run_recurring(stop).await);
    }

    /// Runs what goes on until it is stopped, and again when it fails.
    fn run_on<Work, Round>(&self, name: &'static str, engine: Engine, work: Work)
    where
        Work: Fn(Engine, CancellationToken) -> Round + Send + 'static,
        Round: Future<Output = engine::Result<()>> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            let mut trouble = Trouble::new(name, Duration::from_millis(100));
            while !stop.is_cancelled() {
                let wait = match tokio::spawn(work(engine.clone(), stop.clone())).await {
                    Ok(Ok(())) => trouble.over(),
                    Ok(Err(error)) => trouble.note(&error),
                    Err(panic) => trouble.note(&panic),
                };
                tokio::time::sleep(wait).await;
            }
        });
    }

    fn every<Work, Round>(&self, name: &'static str, interval: Duration, engine: &Engine, work: Work)
    where
        Work: Fn(Engine) -> Round + Send + 'static,
        Round: Future<Output = engine::Result<()>> + Send + 'static,
    {
        let (engine, stop) = (engine.clone(), self.stop.clone());
        self.tracker.spawn(async move { repeat(name, interval, stop, move || work(engine.clone())).await });
    }
}

/// What the pool of this server does: it ends before the other tasks, which store what it tells.
pub(super) struct Outgoing {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Outgoing {
    /// Starts making API calls and sending replies.
    pub(super) fn start(pool: &Pool) -> Self {
        let outgoing = Self { tracker: TaskTracker::new(), stop: CancellationToken::new() };
        outgoing.keep("API calls", pool.clone(), async |pool, stop| pool.make_calls(stop).await);
        outgoing.keep("replies", pool.clone(), async |pool, stop| pool.send_replies(stop).await);
        outgoing
    }

    /// Claims nothing more, and waits for what is under way.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Runs `work` until the stop; one that panicked begins anew.
    fn keep<Work, Done>(&self, name: &'static str, pool: Pool, work: Work)
    where
        Work: Fn(Pool, CancellationToken) -> Done + Send + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            let mut trouble = Trouble::new(name, Duration::from_secs(1));
            while !stop.is_cancelled() {
                match tokio::spawn(work(pool.clone(), stop.clone())).await {
                    Ok(()) => return,
                    Err(panic) => tokio::time::sleep(trouble.note(&panic)).await,
                }
            }
        });
    }
}

/// One round after the other until `stop`, each in a task of its own, so that a panic ends only its round.
async fn repeat<Round, E>(
    name: &'static str,
    interval: Duration,
    stop: CancellationToken,
    round: impl Fn() -> Round,
) where
    Round: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let mut trouble = Trouble::new(name, interval);
    while !stop.is_cancelled() {
        let wait = match tokio::spawn(round()).await {
            Ok(Ok(())) => trouble.over(),
            Ok(Err(error)) => trouble.note(&error),
            Err(panic) => trouble.note(&panic),
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// How a task fares: the first of several failures in a row is logged, and so is the end of them.
struct Trouble {
    name: &'static str,
    interval: Duration,
    failures: u32,
}

impl Trouble {
    fn new(name: &'static str, interval: Duration) -> Self {
        Self { name, interval, failures: 0 }
    }

    /// A round failed; how long to wait for the next.
    fn note(&mut self, error: &dyn Display) -> Duration {
        let task = self.name;
        if self.failures == 0 {
            tracing::warn!(task, %error, "a task of the server failed, trying again");
        } else {
            tracing::debug!(task, %error, failures = self.failures, "a task of the server failed again");
        }
        let wait = self.interval.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures += 1;
        wait.min(BACKOFF_MAX.max(self.interval))
    }

    /// A round went well; how long to wait for the next.
    fn over(&mut self) -> Duration {
        if self.failures > 0 {
            tracing::info!(task = self.name, failures = self.failures, "a task of the server works again");
            self.failures = 0;
        }
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn failures_in_a_row_wait_longer_and_longer_up_to_a_bound() {
        let mut trouble = Trouble::new("test", Duration::from_millis(500));
        let waits: Vec<u128> = (0..6).map(|_| trouble.note(&"down").as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(trouble.over().as_millis(), 500);
        assert_eq!(trouble.note(&"down").as_millis(), 500);
        let mut rare = Trouble::new("test", Duration::from_secs(30));
        assert_eq!((rare.note(&"down"), rare.note(&"down")), (rare.interval, rare.interval));
    }

    #[tokio::test]
    async fn a_round_that_fails_or_panics_is_followed_by_the_next() {
        let (rounds, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let (counted, stopped) = (Arc::clone(&rounds), stop.clone());
        repeat("test", Duration::from_millis(1), stop, move || {
            let (counted, stopped) = (Arc::clone(&counted), stopped.clone());
            async move {
                match counted.fetch_add(1, Ordering::Relaxed) {
                    0 => panic!("once"),
                    1 => Err("twice"),
                    _ => {
                        stopped.cancel();
                        Ok(())
                    }
                }
            }
        })
        .await;
        assert_eq!(rounds.load(Ordering::Relaxed), 3);
    }
}
