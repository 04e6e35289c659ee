//! Cancel and requeue: what operators and clients do to a job from outside. They are never fenced, they act on state.

use std::collections::HashMap;
use std::sync::Arc;

use super::unit::unit;
use super::{CancelCall, CancelResult, Core, Down, Engine, Error, JobKey, Result, Stop};
use crate::model::{
    CancelMark, CancelReason, Dependency, Ended, Ending, Fence, JobId, Order, Run, SessionId, View, limits,
};
use crate::store::{
    CancelAnswer, CancelOrder, Finish, LabelKind, OnLocked, Payloads, RequeueAnswer, Tick, Walk, WalkSource,
};

impl Engine {
    /// Cancels a job: at once while it waits, through its handler while it runs.
    pub async fn cancel(&self, call: CancelCall) -> Result<(CancelResult, View)> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let job = core.id_of(&call.job).await?;
            if job.is_transient() {
                let result = core.cancel_run(job, &call.text, call.grace)?;
                return Ok((result, core.transient_view(job)?));
            }
            let order = CancelOrder {
                job,
                reason: call.reason,
                text: call.text,
                grace: call.grace,
                only_waiting: false,
            };
            let (answer, wake) = core.store.cancel(&order).await?;
            core.heed(wake);
            let result = match answer {
                CancelAnswer::Cancelled => CancelResult::Cancelled,
                CancelAnswer::Requested(mark) => {
                    core.tell_cancels(vec![mark]).await?;
                    CancelResult::Requested
                }
                CancelAnswer::Ended(_) => CancelResult::AlreadyFinished,
                CancelAnswer::Running => {
                    return Err(Error::Internal("a cancel of any job found a running one".into()));
                }
                CancelAnswer::NotFound => return Err(Error::JobNotFound(format!("id {job}"))),
            };
            core.hub.changed([job]);
            Ok((result, core.view(job).await?))
        })
        .await
    }

    /// Starts a new run of a failed or cancelled job; says whether this call did, or one before it.
    pub async fn requeue(&self, job: JobId, run: Option<Run>, request_id: String) -> Result<(View, bool)> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let (answer, wake) = core.store.requeue(job, run, &request_id).await?;
            core.heed(wake);
            let created = match answer {
                RequeueAnswer::Requeued(_) => true,
                RequeueAnswer::Repeated(_) => false,
                RequeueAnswer::Refused(state) => {
                    let message =
                        format!("job {job} is {state:?}: only a failed or cancelled job can be requeued");
                    return Err(Error::WrongState { state, message });
                }
                RequeueAnswer::NoSuchRun(latest) => {
                    return Err(Error::invalid(
                        "run",
                        format!("is not a run of job {job}, whose latest is {latest}"),
                    ));
                }
                RequeueAnswer::RequestReused => return Err(Error::RequestReused(request_id)),
                RequeueAnswer::NotFound => return Err(Error::JobNotFound(format!("id {job}"))),
            };
            let view = core.view(job).await?;
            core.hub.changed([job]);
            Ok((view, created))
        })
        .await
    }

    /// Starts the dependants of a job again that were cancelled because of it, down to the last; they wait for their parents
    /// as before. Answers how many. Done again after a crash it goes on where it was.
    pub async fn requeue_dependants(&self, job: JobId) -> Result<i64> {
        let core = Arc::clone(&self.core);
        unit(async move { core.requeue_dependants(job).await }).await
    }

    /// Passes on the cancel requests of running jobs to the worker processes attached here.
    pub async fn poll_cancels(&self) -> Result<()> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let marks = core.store.cancel_marks().await?;
            core.tell_cancels(marks).await
        })
        .await
    }
}

impl Core {
    pub(super) async fn requeue_dependants(&self, job: JobId) -> Result<i64> {
        let (mut open, mut count) = (vec![job], 0);
        while let Some(parent) = open.pop() {
            for child in self.lost_children(parent).await? {
                if self.requeue_child(&child).await? {
                    count += 1;
                    open.push(child.job.id);
                }
            }
        }
        Ok(count)
    }

    pub(super) async fn tell_cancels(&self, mut marks: Vec<CancelMark>) -> Result<()> {
        marks.retain(|mark| self.hub.should_tell(mark.job, mark.epoch));
        if marks.is_empty() {
            return Ok(());
        }
        let jobs: Vec<JobId> = marks.iter().map(|mark| mark.job).collect();
        let now = self.clock.now();
        for view in self.store.views(&jobs, Payloads::LeftOut).await? {
            let Some(lease) = view.lease() else { continue };
            let Some(mark) = marks.iter().find(|mark| mark.job == view.job.id) else { continue };
            let down = Down::Cancel {
                fence: lease.fence,
                reason: mark.text.clone(),
                grace: mark.force_time.since(now),
                who: Stop::Client,
            };
            if self.tell(lease.session, down) {
                self.hub.told(mark.job, mark.epoch);
            }
        }
        Ok(())
    }

    /// Tells worker processes attached here that the timeout of an attempt is over. SDKs keep the time themselves; a
    /// worker process driven by hand hears of it so.
    pub(crate) async fn tell_timeouts(&self, tick: Tick) -> Result<()> {
        let early = Tick { now: tick.now.plus(limits::TIMEOUT_GRACE), ..tick };
        let mut overdue = self.store.overdue_leases(early, limits::SWEEP_ROWS_MAX).await?;
        overdue.retain(|lease| self.hub.should_tell(lease.fence.job, lease.fence.epoch));
        let jobs: Vec<JobId> = overdue.iter().map(|lease| lease.fence.job).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        for view in self.store.views(&jobs, Payloads::LeftOut).await? {
            let Some(lease) = view.lease() else { continue };
            let grace = lease.deadline.plus(limits::TIMEOUT_GRACE).since(tick.now);
            let reason = format!("the attempt took longer than its timeout of {:?}", view.job.spec.timeout);
            let down = Down::Cancel { fence: lease.fence, reason, grace, who: Stop::Timeout };
            if self.tell(lease.session, down) {
                self.hub.told(lease.fence.job, lease.fence.epoch);
            }
        }
        Ok(())
    }

    /// Children of a job that were cancelled because of a parent.
    async fn lost_children(&self, parent: JobId) -> Result<Vec<View>> {
        let mut children = Vec::new();
        for range in self.store.months().await? {
            let mut after = None;
            loop {
                let source = WalkSource::Label(range.month, LabelKind::DependsOn, parent.to_string());
                let walk = Walk { source, order: Order::OldestFirst, after, limit: limits::SWEEP_ROWS_MAX };
                let ids = self.store.walk(&walk).await?;
                let views = self.store.views(&ids, Payloads::LeftOut).await?;
                children.extend(views.into_iter().filter(was_cancelled_by_a_parent));
                if (ids.len() as i64) < limits::SWEEP_ROWS_MAX {
                    break;
                }
                after = ids.last().copied();
            }
        }
        Ok(children)
    }

    /// False for a child that another parent dooms as before.
    async fn requeue_child(&self, child: &View) -> Result<bool> {
        let waits = &child.job.spec.depends_on;
        let parents: Vec<JobId> = waits.iter().map(|wait| wait.parent).collect();
        let ended: HashMap<JobId, Ending> = self
            .store
            .views(&parents, Payloads::LeftOut)
            .await?
            .iter()
            .filter_map(|view| Some((view.job.id, view.outcome()?.ending)))
            .collect();
        let unmet =
            |wait: &Dependency| ended.get(&wait.parent).is_some_and(|is| !wait.condition.is_met_by(*is));
        if waits.iter().any(unmet) {
            return Ok(false);
        }
        let open: Vec<Dependency> =
            waits.iter().filter(|wait| !ended.contains_key(&wait.parent)).copied().collect();
        let (answer, wake) = self.store.requeue_child(child.job.id, &open).await?;
        self.heed(wake);
        self.hub.changed([child.job.id]);
        Ok(matches!(answer, RequeueAnswer::Requeued(_)))
    }

    fn tell(&self, session: SessionId, down: Down) -> bool {
        self.sessions.get(session).is_some_and(|link| link.tell(down))
    }

    /// Ends a session and releases what it holds.
    pub(crate) async fn end(&self, session: SessionId) -> Result<i32> {
        self.store.end_session(session).await?;
        if let Some(link) = self.sessions.get(session) {
            link.mark_lost();
        }
        let held: Vec<Fence> =
            self.store.leases(session, None).await?.into_iter().map(|(lease, _)| lease.fence).collect();
        let ends: Vec<Finish> = held.iter().map(|fence| Finish::of(*fence, Ended::TakenBack)).collect();
        self.finish(&ends, OnLocked::Wait).await?;
        Ok((held.len() + self.lose_runs(session)) as i32)
    }

    /// A job with all that is known of it.
    pub(crate) async fn view(&self, job: JobId) -> Result<View> {
        if job.is_transient() {
            return self.transient_view(job);
        }
        let mut views = self.store.views(&[job], Payloads::Read).await?;
        self.estimates.fill(&mut views, self.clock.now());
        views.pop().ok_or_else(|| Error::JobNotFound(format!("id {job}")))
    }

    /// The id of a job, however it is named.
    pub(crate) async fn id_of(&self, key: &JobKey) -> Result<JobId> {
        match key {
            JobKey::Id(id) => Ok(*id),
            JobKey::Ref(ref_id) => self.id_of_ref(ref_id).await,
        }
    }
}

fn was_cancelled_by_a_parent(view: &View) -> bool {
    let cancelled = view.outcome().and_then(|outcome| outcome.cancelled.as_ref());
    cancelled.is_some_and(|cancelled| cancelled.reason == CancelReason::Parent)
}
