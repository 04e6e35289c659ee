//! Many at once: cancel and requeue by filter.
//!
//! A walk over ids, step by step; each job that matches is a small transaction of its own, a few at a time, so that neither
//! locks nor connections are held from those who work. Each step runs to its end; a caller who goes away ends the walk
//! before the next one, and one who repeats the call goes on where it stood, since what was done matches no more.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};

use super::list::{STEP, indexed, step};
use super::unit::unit;
use super::{
    Bulk, CancelManyCall, CancelledMany, Core, Engine, Error, RequeueManyCall, RequeuedMany, Result,
};
use crate::model::{CancelMark, CancelReason, Filter, JobId, Month, Order, State, View};
use crate::store::{CancelAnswer, CancelOrder, Payloads, RequeueAnswer, Wake, Walk, WalkSource};

/// Transactions at once: others find connections beside them.
const AT_ONCE: usize = 3;
/// States of jobs that can be cancelled.
const LIVE: [State; 4] = [State::Scheduled, State::Blocked, State::Queued, State::Running];
/// States of jobs that can be requeued.
const REQUEUEABLE: [State; 2] = [State::Failed, State::Cancelled];

impl Engine {
    /// Cancels the jobs that match and have not ended.
    pub async fn cancel_many(&self, call: CancelManyCall) -> Result<CancelledMany> {
        let mut done = CancelledMany::default();
        let Some(filter) = narrowed(&call.filter, &LIVE) else { return Ok(done) };
        let mut sweep = Sweep::over_live(&self.core, filter).await?;
        while let Some(found) = sweep.next(&self.core).await? {
            done.matched += found.len() as i64;
            if call.bulk == Bulk::Act {
                let (core, call) = (Arc::clone(&self.core), call.clone());
                let (cancelled, requested) =
                    unit(async move { core.cancel_some(&found, &call).await }).await?;
                done.cancelled += cancelled;
                done.requested += requested;
            }
        }
        Ok(done)
    }

    /// Starts a new run of the jobs that match and failed or were cancelled.
    pub async fn requeue_many(&self, call: RequeueManyCall) -> Result<RequeuedMany> {
        let mut done = RequeuedMany::default();
        for state in REQUEUEABLE {
            let Some(filter) = narrowed(&call.filter, &[state]) else { continue };
            let mut sweep = Sweep::over_ended(&self.core, filter, call.month).await?;
            while let Some(found) = sweep.next(&self.core).await? {
                done.matched += found.len() as i64;
                if call.bulk == Bulk::Act {
                    let (core, dependants) = (Arc::clone(&self.core), call.dependants);
                    done.requeued += unit(async move { core.requeue_some(&found, dependants).await }).await?;
                }
            }
        }
        Ok(done)
    }
}

impl Core {
    /// Cancels these; how many will never start, and how many were told to stop.
    async fn cancel_some(&self, found: &[View], call: &CancelManyCall) -> Result<(i64, i64)> {
        let cancel = |view: &View| {
            let order = CancelOrder {
                job: view.job.id,
                reason: CancelReason::Client,
                text: call.text.clone(),
                grace: call.grace,
                only_waiting: false,
            };
            async move { self.store.cancel(&order).await }
        };
        let done = futures::stream::iter(found.iter().map(cancel)).buffer_unordered(AT_ONCE);
        let answers = self.heed_all(done.try_collect().await?);
        let cancelled = answers.iter().filter(|answer| **answer == CancelAnswer::Cancelled).count() as i64;
        let marks: Vec<CancelMark> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                CancelAnswer::Requested(mark) => Some(mark),
                _ => None,
            })
            .collect();
        let requested = marks.len() as i64;
        self.hub.changed(found.iter().map(|view| view.job.id));
        self.tell_cancels(marks).await?;
        Ok((cancelled, requested))
    }

    /// Requeues these, and their dependants if that is asked for; how many began a run by it.
    async fn requeue_some(&self, found: &[View], dependants: bool) -> Result<i64> {
        let requeue = |view: &View| {
            let (job, run) = (view.job.id, view.job.run);
            async move {
                let (answer, wake) = self.store.requeue(job, Some(run), "").await?;
                let began = matches!(answer, RequeueAnswer::Requeued(_));
                Ok::<_, Error>((began.then_some(job), wake))
            }
        };
        let done = futures::stream::iter(found.iter().map(requeue)).buffer_unordered(AT_ONCE);
        let answers = self.heed_all(done.try_collect().await?);
        self.hub.changed(found.iter().map(|view| view.job.id));
        let mut count = answers.iter().flatten().count() as i64;
        if dependants {
            for job in answers.into_iter().flatten() {
                count += self.requeue_dependants(job).await?;
            }
        }
        Ok(count)
    }

    /// Passes on what transactions brought about; their answers alone are left.
    fn heed_all<T>(&self, done: Vec<(T, Wake)>) -> Vec<T> {
        let mut all = Wake::default();
        let answers = done
            .into_iter()
            .map(|(answer, wake)| {
                all.add(wake);
                answer
            })
            .collect();
        self.heed(all);
        answers
    }
}

/// The filter with only those of its states that are among `states`; none when nothing can match.
fn narrowed(filter: &Filter, states: &[State]) -> Option<Filter> {
    let among = |state: &State| filter.states.is_empty() || filter.states.contains(state);
    let states: Vec<State> = states.iter().copied().filter(among).collect();
    (!states.is_empty()).then(|| Filter { states, ..filter.clone() })
}

/// A walk over the jobs that match a filter, in ascending id, so that a job that is requeued and ends again meanwhile is
/// met once.
pub(super) struct Sweep {
    filter: Filter,
    sources: VecDeque<WalkSource>,
    after: JobId,
    /// Ids that were read and not looked at yet.
    ahead: VecDeque<JobId>,
    /// The first source may have more of them.
    has_more: bool,
}

impl Sweep {
    /// Over jobs that have not ended: by the most telling option that an index serves, else all that live.
    pub(super) async fn over_live(core: &Arc<Core>, filter: Filter) -> Result<Self> {
        let months = months(core).await?;
        let found: Option<VecDeque<_>> = months.into_iter().map(|month| indexed(&filter, month)).collect();
        let sources = match found {
            Some(sources) => sources,
            None => VecDeque::from([live(core, &filter).await?]),
        };
        Ok(Self::over(filter, sources))
    }

    /// Over jobs that ended so, of one month or of the two newest.
    async fn over_ended(core: &Arc<Core>, filter: Filter, month: Option<Month>) -> Result<Self> {
        let known = months(core).await?;
        let newest = known.len().saturating_sub(2);
        let wanted = known.into_iter().enumerate().filter(|(at, of)| match month {
            Some(month) => *of == month,
            None => *at >= newest,
        });
        let source = |(_, month)| indexed(&filter, month).unwrap_or(WalkSource::Month(month));
        let sources = wanted.map(source).collect();
        Ok(Self::over(filter, sources))
    }

    fn over(filter: Filter, sources: VecDeque<WalkSource>) -> Self {
        Self { filter, sources, after: JobId(0), ahead: VecDeque::new(), has_more: true }
    }

    /// The matches of the next step, which may be none; nothing at the end.
    pub(super) async fn next(&mut self, core: &Arc<Core>) -> Result<Option<Vec<View>>> {
        if self.ahead.is_empty() && self.has_more {
            self.read_ahead(core).await?;
        }
        if self.sources.is_empty() {
            return Ok(None);
        }
        let count = self.ahead.len().min(STEP);
        let ids: Vec<JobId> = self.ahead.drain(..count).collect();
        if self.ahead.is_empty() && !self.has_more {
            self.sources.pop_front();
            (self.after, self.has_more) = (JobId(0), true);
        }
        let (core, filter) = (Arc::clone(core), self.filter.clone());
        let found = unit(async move {
            let mut views = core.store.views(&ids, Payloads::LeftOut).await?;
            let now = core.clock.now();
            views.retain(|view| filter.matches(view, now));
            Ok(views)
        });
        found.await.map(Some)
    }

    /// Reads the next ids of the first source.
    async fn read_ahead(&mut self, core: &Arc<Core>) -> Result<()> {
        let Some(source) = self.sources.front().cloned() else { return Ok(()) };
        let limit = step(&source);
        let walk = Walk { source, order: Order::OldestFirst, after: Some(self.after), limit };
        let core = Arc::clone(core);
        let ids = unit(async move { Ok(core.store.walk(&walk).await?) }).await?;
        self.has_more = ids.len() as i64 == limit;
        self.after = ids.last().copied().unwrap_or(self.after);
        self.ahead = ids.into();
        Ok(())
    }
}

async fn live(core: &Arc<Core>, filter: &Filter) -> Result<WalkSource> {
    let (core, filter) = (Arc::clone(core), filter.clone());
    unit(async move { core.live(&filter).await }).await
}

async fn months(core: &Arc<Core>) -> Result<Vec<Month>> {
    let core = Arc::clone(core);
    unit(async move { Ok(core.store.months().await?.into_iter().map(|range| range.month).collect()) }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_narrowed_to_states_that_can_change() {
        let of = |states: &[State]| Filter { states: states.to_vec(), ..Filter::default() };
        assert_eq!(narrowed(&of(&[]), &LIVE).unwrap().states, LIVE);
        assert_eq!(narrowed(&of(&[State::Running, State::Failed]), &LIVE).unwrap().states, [State::Running]);
        assert_eq!(narrowed(&of(&[State::Completed]), &LIVE), None);
        assert_eq!(narrowed(&of(&[State::Failed]), &REQUEUEABLE).unwrap().states, [State::Failed]);
    }
}
