//! Progress of handlers that report none: estimated from how long earlier runs of the same command took.
//!
//! What is known is in memory, for each command and named worker, and weighs the latest runs most. A server that starts
//! reads it from the newest runs in the history.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Core, Result};
use crate::model::{Ending, Fence, Month, Order, Spec, Time, View, Work};
use crate::store::{LeasedJob, Payloads, Walk, WalkSource};

/// No estimate goes beyond this: only the handler knows that it is done.
const MOST: f64 = 0.99;
/// Commands with named workers that are remembered.
const KNOWN_MAX: usize = 10_000;
/// Attempts under way that are remembered.
const BEGUN_MAX: usize = 50_000;
/// Runs of a command that its mean is about.
const RUNS_WEIGHED: u32 = 16;
/// Jobs of the history that a server which starts looks at, at most.
const LEARNED_JOBS: i64 = 1_000;

/// What a duration is known for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    work: Work,
    worker: String,
}

impl Key {
    fn of(spec: &Spec) -> Self {
        Self { work: spec.work.clone(), worker: spec.worker.name.clone() }
    }
}

/// How long runs took.
#[derive(Clone, Copy, Debug)]
struct Known {
    mean: Duration,
    runs: u32,
}

impl Known {
    fn add(&mut self, took: Duration) {
        self.runs = (self.runs + 1).min(RUNS_WEIGHED);
        let share = 1.0 / f64::from(self.runs);
        self.mean = self.mean.mul_f64(1.0 - share) + took.mul_f64(share);
    }
}

#[derive(Default)]
struct Inner {
    known: HashMap<Key, Known>,
    begun: HashMap<Fence, (Key, Time)>,
}

/// How long commands take.
#[derive(Default)]
pub(crate) struct Estimates {
    inner: Mutex<Inner>,
}

impl Estimates {
    /// These attempts begin.
    pub(crate) fn began(&self, jobs: &[LeasedJob]) {
        let mut inner = self.lock();
        for leased in jobs {
            if inner.begun.len() >= BEGUN_MAX {
                // Most of these ended at other servers.
                inner.begun.clear();
            }
            let begun = (Key::of(&leased.spec), leased.lease.start_time);
            inner.begun.insert(leased.lease.fence, begun);
        }
    }

    /// An attempt ended: at a time if it completed.
    pub(crate) fn ended(&self, fence: Fence, completed: Option<Time>) {
        let mut inner = self.lock();
        if let (Some((key, start)), Some(end)) = (inner.begun.remove(&fence), completed) {
            inner.learn(key, end.since(start));
        }
    }

    /// Fills in the progress of running jobs that reported none.
    pub(crate) fn fill(&self, views: &mut [View], now: Time) {
        let inner = self.lock();
        for view in views.iter_mut().filter(|view| view.progress.is_none()) {
            let Some(lease) = view.lease() else { continue };
            if let Some(known) = inner.known.get(&Key::of(&view.job.spec)) {
                view.progress = Some(part(now.since(lease.start_time), known.mean));
                view.progress_estimated = true;
            }
        }
    }

    /// How long runs of this take; none if none has ended.
    #[cfg(test)]
    pub(crate) fn mean(&self, spec: &Spec) -> Option<Duration> {
        self.lock().known.get(&Key::of(spec)).map(|known| known.mean)
    }

    fn learn(&self, spec: &Spec, took: Duration) {
        self.lock().learn(Key::of(spec), took);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn learn(&mut self, key: Key, took: Duration) {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&key) {
            self.known.clear();
        }
        self.known.entry(key).or_insert(Known { mean: took, runs: 0 }).add(took);
    }
}

/// How much of the work is done, in whole hundredths, so that it does not change with every look.
fn part(elapsed: Duration, mean: Duration) -> f64 {
    let part = elapsed.as_secs_f64() / mean.as_secs_f64();
    let part = if part.is_finite() { part } else { MOST };
    ((part * 100.0).floor() / 100.0).clamp(0.0, MOST)
}

impl Core {
    /// Learns from the newest runs in the history how long commands take.
    pub(crate) async fn learn_durations(self: &Arc<Self>) -> Result<()> {
        let months: Vec<Month> = self.store.months().await?.into_iter().map(|range| range.month).collect();
        let mut left = LEARNED_JOBS;
        let mut found = Vec::new();
        for month in months.into_iter().rev().take(2) {
            let source = WalkSource::Month(month);
            let walk = Walk { source, order: Order::NewestFirst, after: None, limit: left };
            let ids = self.store.walk(&walk).await?;
            left -= ids.len() as i64;
            found.extend(self.store.views(&ids, Payloads::LeftOut).await?);
            if left <= 0 {
                break;
            }
        }
        // The latest count most: they come last.
        for view in found.iter().rev() {
            let completed = |ending| matches!(ending, Ending::Completed | Ending::Executed);
            if let Some(outcome) = view.outcome().filter(|outcome| completed(outcome.ending))
                && let Some(start) = outcome.start_time
            {
                self.estimates.learn(&view.job.spec, outcome.finish_time.since(start));
            }
        }
        Ok(())
    }

    /// Jobs as people are shown them, without their payloads.
    pub(crate) async fn brief_views(&self, jobs: &[crate::model::JobId]) -> Result<Vec<View>> {
        let mut views = self.store.views(jobs, Payloads::LeftOut).await?;
        self.estimates.fill(&mut views, self.clock.now());
        Ok(views)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_estimate_grows_with_time_and_never_reaches_the_end() {
        assert_eq!(part(Duration::ZERO, SECOND), 0.0);
        assert_eq!(part(SECOND / 2, SECOND), 0.5);
        assert_eq!(part(SECOND, SECOND), MOST);
        assert_eq!(part(100 * SECOND, SECOND), MOST);
        assert_eq!(part(SECOND, Duration::ZERO), MOST);
        assert_eq!(part(Duration::ZERO, Duration::ZERO), MOST);
        assert_eq!(part(SECOND.mul_f64(0.3456), SECOND), 0.34);
    }

    #[test]
    fn the_latest_runs_weigh_most() {
        let estimates = Estimates::default();
        let spec = Spec::new(Work::Command("work".into()));
        assert_eq!(estimates.mean(&spec), None);
        estimates.learn(&spec, SECOND);
        assert_eq!(estimates.mean(&spec), Some(SECOND));
        estimates.learn(&spec, 3 * SECOND);
        assert_eq!(estimates.mean(&spec), Some(2 * SECOND));
        for _ in 0..100 {
            estimates.learn(&spec, 10 * SECOND);
        }
        assert!(estimates.mean(&spec).unwrap() > 9 * SECOND);
        let mut other = spec.clone();
        other.worker.name = "lane".into();
        assert_eq!(estimates.mean(&other), None, "another named worker, other durations");
    }
}
