//! Tells watchers that something changed. A hint, no more: what changed is read from the store, so that a slow watcher
//! costs no memory and a lost hint costs only the time to the next look.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::ProgressReport;
use crate::clock;
use crate::model::{Epoch, JobId};

/// Changes that watchers over many jobs can still name one by one; one that is slower looks at everything anew.
const RECENT_MAX: usize = 10_000;
/// How often a directive is repeated that has not been followed.
const DIRECTIVE_REPEAT: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Inner {
    watched: HashMap<JobId, (Arc<Notify>, usize)>,
    recent: VecDeque<JobId>,
    /// The number of the change after the last one in `recent`.
    end: u64,
    followers: usize,
}

/// Who watches what, and what is on its way to be told.
#[derive(Default)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    any: Arc<Notify>,
    progress: Mutex<HashMap<JobId, Option<ProgressReport>>>,
    told: Mutex<HashMap<(JobId, Epoch), Instant>>,
}

impl Hub {
    /// These jobs changed, and the change is committed.
    pub(crate) fn changed(&self, jobs: impl IntoIterator<Item = JobId>) {
        let mut inner = self.lock();
        if inner.watched.is_empty() && inner.followers == 0 {
            return;
        }
        for job in jobs {
            if let Some((notify, _)) = inner.watched.get(&job) {
                notify.notify_waiters();
            }
            if inner.followers > 0 {
                inner.recent.push_back(job);
                inner.end += 1;
            }
        }
        let surplus = inner.recent.len().saturating_sub(RECENT_MAX);
        inner.recent.drain(..surplus);
        drop(inner);
        self.any.notify_waiters();
    }

    /// Registers interest in one job. Register, then look, then wait: no change is missed.
    pub(crate) fn watch(self: &Arc<Self>, job: JobId) -> Watched {
        let mut inner = self.lock();
        let entry = inner.watched.entry(job).or_insert_with(|| (Arc::new(Notify::new()), 0));
        entry.1 += 1;
        Watched { hub: Arc::clone(self), job, notify: Arc::clone(&entry.0) }
    }

    /// Registers interest in every job.
    pub(crate) fn follow(self: &Arc<Self>) -> Followed {
        let mut inner = self.lock();
        inner.followers += 1;
        Followed { hub: Arc::clone(self), seen: inner.end }
    }

    /// Progress to be stored. Answers the job if nobody is storing its progress yet: then the caller must, by
    /// [`Hub::next_progress`]. Meanwhile the latest wins, field by field.
    pub(crate) fn offer_progress(&self, report: ProgressReport) -> Option<JobId> {
        let job = report.fence.job;
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match progress.get_mut(&job) {
            Some(Some(pending)) if pending.fence == report.fence => {
                pending.progress = report.progress.or(pending.progress);
                pending.status = report.status.or(pending.status.take());
                None
            }
            Some(pending) => {
                *pending = Some(report);
                None
            }
            None => {
                progress.insert(job, Some(report));
                Some(job)
            }
        }
    }

    /// The next progress of a job to be stored; none when there is nothing more, and then nobody stores it any more.
    pub(crate) fn next_progress(&self, job: JobId) -> Option<ProgressReport> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let next = progress.get_mut(&job).and_then(Option::take);
        if next.is_none() {
            progress.remove(&job);
        }
        next
    }

    /// Is it time to tell a worker process to cancel this attempt? Directives are repeated until they are followed.
    pub(crate) fn should_tell(&self, job: JobId, epoch: Epoch) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(&(job, epoch)).is_none_or(|at| at.elapsed() > DIRECTIVE_REPEAT)
    }

    /// The worker process was told.
    pub(crate) fn told(&self, job: JobId, epoch: Epoch) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((job, epoch), clock::instant());
        told.retain(|_, at| at.elapsed() < 4 * DIRECTIVE_REPEAT);
    }

    /// A new stream has heard nothing yet: tell everything again.
    pub(crate) fn repeat_directives(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Interest in one job.
pub(crate) struct Watched {
    hub: Arc<Hub>,
    job: JobId,
    notify: Arc<Notify>,
}

impl Watched {
    /// A future that is ready at the first change after its creation.
    pub(crate) fn next(&self) -> tokio::sync::futures::OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        if let Some(entry) = inner.watched.get_mut(&self.job) {
            entry.1 -= 1;
            if entry.1 == 0 {
                inner.watched.remove(&self.job);
            }
        }
    }
}

/// Interest in every job.
pub(crate) struct Followed {
    hub: Arc<Hub>,
    seen: u64,
}

impl Followed {
    /// A future that is ready at the first change after its creation.
    pub(crate) fn next(&self) -> tokio::sync::futures::OwnedNotified {
        Arc::clone(&self.hub.any).notified_owned()
    }

    /// The jobs that changed since the last call; none if there were too many to be told.
    pub(crate) fn take(&mut self) -> Option<Vec<JobId>> {
        let inner = self.hub.lock();
        let start = inner.end - inner.recent.len() as u64;
        let told = (self.seen >= start).then(|| {
            let mut jobs: Vec<JobId> =
                inner.recent.iter().skip((self.seen - start) as usize).copied().collect();
            jobs.sort_unstable();
            jobs.dedup();
            jobs
        });
        self.seen = inner.end;
        told
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        inner.followers -= 1;
        if inner.followers == 0 {
            inner.recent.clear();
        }
    }
}
