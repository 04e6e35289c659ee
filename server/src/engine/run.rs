//! Transient runs: from the call to a worker process and back, and what time does to them.
//!
//! A run is given to a claim that waits on this server, as a stored job is handed over, but no row is written for it. Only
//! a run with a named worker writes one: it takes the lane by a row of its own, which whoever finds the server gone gives
//! back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::follow::{follow_refused, inherit};
use super::room::{Reply, Waiter};
use super::sessions::SessionLink;
use super::transient::{NO_WORKER_HERE, NewRun, Running};
use super::unit::unit;
use super::{
    BatchCall, BatchItem, CancelResult, Core, Down, Engine, Error, OutcomeReport, Result, RunAnswer, RunCall,
    RunWait, Stop,
};
use crate::clock;
use crate::model::{
    Ended, FailureReason, Fence, Job, JobError, JobId, Lease, Level, LogLine, Month, Payload, Phase,
    ReadyKey, RetryPolicy, Route, RouteId, Run, SessionId, Spec, Time, View, Wait, Work, limits,
};
use crate::store::{
    CancelAnswer, ClaimTicket, Fate, Finish, Finished, LaneLease, LogAppend, LogPosition, ProgressWrite,
    RefKey, Written,
};

impl Engine {
    /// Runs a command on a worker process of this server, and waits for the end if it is told to. A caller who goes away
    /// while waiting cancels the run.
    pub async fn run(&self, call: RunCall) -> Result<RunAnswer> {
        let core = &self.core;
        if core.stopping.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let wait = call.wait;
        let mut guard = core.start_run(call).await?;
        let job = guard.job;
        if let RunWait::Until(wait) = wait {
            match core.await_run(job, wait).await {
                Err(Error::ShuttingDown) => core.stop_run(job)?,
                done => done?,
            }
        }
        guard.armed = false;
        let view = core.transient_view(job)?;
        if is_unserved(&view) {
            return Err(no_worker_here(&view));
        }
        Ok(RunAnswer { view, now: core.clock.now() })
    }

    /// Looks after transient runs: what time does to them, and to whom they may be given now.
    pub async fn tend_transients(&self) -> Result<()> {
        let core = &self.core;
        core.tend();
        core.leave_lanes().await?;
        let mut tried = HashSet::new();
        for run in core.transients.waiting() {
            match run.lane {
                None => core.deal_run(run.job, &run.route),
                Some(lane) if tried.insert(lane) => core.deal_in_lane(run.job, run.route, lane).await?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Stores log lines, or keeps those of a transient run.
    pub(crate) async fn take_lines(&self, append: LogAppend) -> Result<Written> {
        if !append.fence.job.is_transient() {
            return self.logs.join(append).await;
        }
        let job = append.fence.job;
        let written = self.core.transients.append(append);
        self.core.hub.changed([job]);
        Ok(written)
    }

    /// Stores progress and checkpoints, or keeps those of a transient run.
    pub(crate) async fn take_progress(&self, write: ProgressWrite) -> Result<Written> {
        if !write.fence.job.is_transient() {
            return self.progress.join(write).await;
        }
        let job = write.fence.job;
        let written = self.core.transients.write_progress(write);
        self.core.hub.changed([job]);
        Ok(written)
    }

    /// Ends the attempt of a transient run. Jobs that its handler hands over with the result are stored first.
    pub(crate) async fn finish_transient(&self, outcome: OutcomeReport) -> Result<Finished> {
        let OutcomeReport { fence, log_sequence, ended, result, follow } = outcome;
        let mut finish = Finish { log_sequence, result, ..Finish::of(fence, ended) };
        if !follow.is_empty() && self.core.transients.fate(fence) == Fate::Held {
            let items = self.core.inherited(fence.job, follow);
            match self.enqueue_batch(following(fence, items)).await {
                Ok(_) => {}
                Err(error @ (Error::Invalid(_) | Error::RefTaken { .. } | Error::TooManyChildren(_))) => {
                    finish = Finish { log_sequence, ..Finish::of(fence, follow_refused(error.to_string())) };
                }
                Err(error) => return Err(error),
            }
        }
        let finished = self.core.end_run(&finish);
        if let Err(error) = self.core.leave_lanes().await {
            tracing::warn!(%error, "the lane of a transient run could not be left yet, trying again");
        }
        Ok(finished)
    }
}

/// The jobs that come with a result. One request id makes a repeat of the outcome store them once.
fn following(fence: Fence, items: Vec<BatchItem>) -> BatchCall {
    let request_id = format!("~run-{:x}-{:x}", fence.epoch.0, fence.nonce);
    BatchCall { items, batch_id: String::new(), request_id }
}

/// Cancels a run whose caller went away.
struct CancelOnDrop {
    core: Arc<Core>,
    job: JobId,
    armed: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.armed {
            let grace = limits::CANCEL_GRACE_DEFAULT;
            let _ = self.core.cancel_run(self.job, "its caller went away", grace);
        }
    }
}

fn is_unserved(view: &View) -> bool {
    let error = view.outcome().and_then(|outcome| outcome.error.as_ref());
    error.is_some_and(|error| error.code == NO_WORKER_HERE)
}

fn no_worker_here(view: &View) -> Error {
    let command = match &view.job.spec.work {
        Work::Command(command) => command.clone(),
        Work::Api { target, .. } => target.clone(),
    };
    Error::NoWorkerHere { command, queue: view.job.spec.queue.clone() }
}

impl Core {
    /// Takes a run in and gives it to a worker process; waits for one that serves it as long as the call says. The run is
    /// cancelled with the guard, unless that is disarmed.
    async fn start_run(self: &Arc<Self>, call: RunCall) -> Result<CancelOnDrop> {
        let patience = call.patience;
        let job = self.begin_run(call).await?;
        let guard = CancelOnDrop { core: Arc::clone(self), job, armed: true };
        self.deal_new(job).await?;
        self.find_worker(job, patience).await?;
        Ok(guard)
    }

    /// Takes a run in that nobody waits for.
    pub(crate) async fn run_detached(self: &Arc<Self>, spec: Box<Spec>, request: Payload) -> Result<View> {
        let call = RunCall { spec, request, wait: RunWait::Detached, patience: limits::RUN_WAIT_DEFAULT };
        let mut guard = self.start_run(call).await?;
        guard.armed = false;
        self.transient_view(guard.job)
    }

    /// Takes a run in.
    async fn begin_run(self: &Arc<Self>, call: RunCall) -> Result<JobId> {
        let RunCall { mut spec, request, patience, .. } = call;
        if spec.ref_id.is_empty() {
            spec.ref_id = generated_ref();
        } else {
            let (core, ref_id) = (Arc::clone(self), spec.ref_id.clone());
            let stored = unit(async move { Ok(core.store.find_ref(RefKey::Ref(&ref_id)).await?) }).await?;
            if let Some(job) = stored {
                return Err(Error::RefTaken { ref_id: spec.ref_id, job });
            }
        }
        if !spec.worker.is_own {
            spec.worker.name = self.commands.worker_of(&spec.work);
        }
        spec.retry = RetryPolicy::transient();
        let lane = match spec.lane() {
            None => None,
            Some(lane) => {
                let core = Arc::clone(self);
                let ids = unit(async move { Ok(core.routes.ids(&*core.store, &[lane]).await?) }).await?;
                ids.first().copied()
            }
        };
        let (now, id) = (self.clock.now(), JobId::transient(clock::random_63()));
        let job = Job {
            id,
            month: Month::of(now),
            run: Run(1),
            run_time: now,
            create_time: now,
            ready: ReadyKey { route: RouteId::default(), priority: spec.priority, ready_time: now, job: id },
            spec: Arc::from(spec),
            request,
            digest: [0; 16],
        };
        self.transients.add(NewRun { job, lane, patience })?;
        Ok(id)
    }

    /// Gives a run that has just been taken in to a claim that waits, if there is one.
    async fn deal_new(self: &Arc<Self>, job: JobId) -> Result<()> {
        let view = self.transient_view(job)?;
        let route = view.job.spec.route();
        match view.phase {
            Phase::Ready(Wait::Turn(lane)) => self.deal_in_lane(job, route, lane).await?,
            _ => self.deal_run(job, &route),
        }
        Ok(())
    }

    /// Waits until somebody here serves the command of a run, or has it already.
    async fn find_worker(&self, job: JobId, patience: Duration) -> Result<()> {
        let deadline = clock::instant() + patience;
        loop {
            let arrived = self.sessions.arrived.notified();
            let is_over = clock::instant() >= deadline;
            if is_over {
                self.tend();
            }
            let view = self.transient_view(job)?;
            // The sweep may have given it up already.
            if is_unserved(&view) {
                return Err(no_worker_here(&view));
            }
            let is_waiting = matches!(view.phase, Phase::Ready(_));
            if !is_waiting || is_over || self.serves_here(&view.job.spec.route()) {
                return Ok(());
            }
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep_until(deadline.into()) => {}
                () = self.stopping.cancelled() => return Err(Error::ShuttingDown),
            }
        }
    }

    /// Waits until a run has ended, or the wait is over. Without one its timeout sees to the end: that takes
    /// a little longer than the timeout, and the caller is to hear of it.
    async fn await_run(self: &Arc<Self>, job: JobId, wait: Option<Duration>) -> Result<()> {
        let watched = self.hub.watch(job);
        let over = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        loop {
            let changed = watched.next();
            if self.transient_view(job)?.outcome().is_some() {
                return Ok(());
            }
            tokio::select! {
                () = changed => {}
                () = &mut over => return Ok(()),
                () = self.stopping.cancelled() => return Err(Error::ShuttingDown),
            }
        }
    }

    /// Jobs that come with a result go on in the name of the run; it is no parent that anybody could find.
    fn inherited(&self, run: JobId, mut items: Vec<BatchItem>) -> Vec<BatchItem> {
        let Some(parent) = self.transients.view(run) else { return items };
        for item in &mut items {
            let spec = &mut item.call.spec;
            inherit(spec, &parent);
            spec.parent_id = spec.parent_id.filter(|parent| !parent.is_transient());
        }
        items
    }

    /// This server stops. A run that has not begun may be tried elsewhere; of one that has, nobody will know how far it
    /// came, and it is not to be repeated unasked.
    fn stop_run(&self, job: JobId) -> Result<()> {
        if let Some(lease) = self.transient_view(job)?.lease() {
            let error = JobError {
                code: "SHUTTING_DOWN".into(),
                message: "the server stopped while the command ran: how far it came is not known".into(),
                stack: String::new(),
                reason: FailureReason::Crash,
            };
            let ended = Ended::Failed { error, retryable: Some(false), retry_delay: None };
            self.end_run(&Finish::of(lease.fence, ended));
        } else if self.transient_view(job)?.outcome().is_none() {
            return Err(Error::ShuttingDown);
        }
        Ok(())
    }

    /// A transient run as people see it.
    pub(crate) fn transient_view(&self, job: JobId) -> Result<View> {
        let view =
            self.transients.view(job).ok_or_else(|| Error::JobNotFound("this ref id any more".into()))?;
        let mut views = [view];
        self.estimates.fill(&mut views, self.clock.now());
        let [view] = views;
        Ok(view)
    }

    /// The log lines of a job, stored or not.
    pub(crate) async fn lines(
        self: &Arc<Self>,
        job: JobId,
        after: LogPosition,
        level: Level,
        limit: i64,
    ) -> Result<Vec<LogLine>> {
        if job.is_transient() {
            return Ok(self.transients.lines(job, after, level, limit));
        }
        let core = Arc::clone(self);
        unit(async move { Ok(core.store.logs(job, after, level, limit).await?) }).await
    }

    /// Does a worker process that is attached here serve this?
    pub(crate) fn serves_here(&self, route: &Route) -> bool {
        self.sessions
            .any(|session| session.served.takes_plain(route) && session.is_here() && !session.is_draining())
    }

    /// Gives a run that waits to a claim that waits, if there is one.
    fn deal_run(&self, job: JobId, route: &Route) {
        if let Some(waiter) = self.room.take_open(route, &self.routes) {
            self.hand_over(job, waiter);
        }
    }

    /// Gives a claim that waits a run that waits, if there is one for it.
    pub(crate) fn deal_to(&self, session: &SessionLink, ticket: ClaimTicket) {
        let fits = |spec: &Spec| session.served.runs(spec) && !self.routes.is_paused(&spec.queue);
        if let Some(job) = self.transients.first_waiting(fits)
            && let Some(waiter) = self.room.take(ticket)
        {
            self.hand_over(job, waiter);
        }
    }

    /// Leases a run to a claim; false when somebody was faster.
    fn hand_over(&self, job: JobId, waiter: Waiter) -> bool {
        let leased = self.transients.lease(job, &waiter, self.clock.now());
        let is_leased = leased.is_some();
        match leased {
            Some(leased) => {
                self.hub.changed([job]);
                waiter.reply(Reply::Jobs(vec![leased]));
            }
            None => self.room.return_all([waiter]),
        }
        is_leased
    }

    /// As [`Core::deal_run`], for a run that must hold a lane meanwhile. It takes the lane by a row of its own.
    async fn deal_in_lane(self: &Arc<Self>, job: JobId, route: Route, lane: RouteId) -> Result<()> {
        if !self.room.has_open(&route, &self.routes) {
            return Ok(());
        }
        let core = Arc::clone(self);
        unit(async move {
            let _turn = core.transients.lanes.lock().await;
            if core.store.holder(lane).await?.is_some() {
                return Ok(());
            }
            let Some(waiter) = core.room.take_open(&route, &core.routes) else { return Ok(()) };
            let claim = LaneLease { lane, job, server: core.server, lease_time: waiter.session.lease_time };
            match core.store.take_lane(&claim).await {
                Ok(true) => {
                    if !core.hand_over(job, waiter) {
                        let wake = core.store.leave_lane(lane, job).await?;
                        core.heed(wake);
                    }
                    Ok(())
                }
                Ok(false) => {
                    core.room.return_all([waiter]);
                    Ok(())
                }
                Err(error) => {
                    core.room.return_all([waiter]);
                    Err(error.into())
                }
            }
        })
        .await
    }

    /// Gives back lanes of runs that do not run any more.
    async fn leave_lanes(self: &Arc<Self>) -> Result<()> {
        if self.transients.lanes_to_leave().is_empty() {
            return Ok(());
        }
        let core = Arc::clone(self);
        unit(async move {
            let _turn = core.transients.lanes.lock().await;
            for (lane, job) in core.transients.lanes_to_leave() {
                let wake = core.store.leave_lane(lane, job).await?;
                core.transients.left_lane(job);
                core.heed(wake);
            }
            Ok(())
        })
        .await
    }

    /// Ends an attempt, and tells everybody concerned.
    pub(crate) fn end_run(&self, end: &Finish) -> Finished {
        let now = self.clock.now();
        let finished = self.transients.finish(end, now);
        let completed = end.ended == Ended::Completed && matches!(finished, Finished::Stored(_));
        self.estimates.ended(end.fence, completed.then_some(now));
        self.hub.changed([end.fence.job]);
        if matches!(finished, Finished::Stored(state) if state.waits())
            && let Some(view) = self.transients.view(end.fence.job)
            && view.job.spec.lane().is_none()
        {
            self.deal_run(end.fence.job, &view.job.spec.route());
        }
        finished
    }

    /// Cancels a run: at once while it waits, through its handler while it runs.
    pub(crate) fn cancel_run(&self, job: JobId, text: &str, grace: Duration) -> Result<CancelResult> {
        let result = match self.transients.cancel(job, text, grace, self.clock.now()) {
            CancelAnswer::Cancelled => CancelResult::Cancelled,
            CancelAnswer::Requested(_) => {
                self.tell_running();
                CancelResult::Requested
            }
            CancelAnswer::Ended(_) => CancelResult::AlreadyFinished,
            CancelAnswer::Running | CancelAnswer::NotFound => {
                return Err(Error::JobNotFound("this ref id any more".into()));
            }
        };
        self.hub.changed([job]);
        Ok(result)
    }

    /// A session has ended: what it held is not repeated, nobody knows how far it came.
    pub(crate) fn lose_runs(&self, session: SessionId) -> usize {
        let held = self.transients.leases(session, None);
        for lease in &held {
            self.end_run(&Finish::of(lease.fence, Ended::Crashed { acknowledged: true }));
        }
        held.len()
    }

    /// Claims of a loop that never arrived: what they brought goes back.
    pub(crate) fn give_back_runs(&self, leases: impl IntoIterator<Item = Fence>) {
        for fence in leases {
            self.end_run(&Finish::of(fence, Ended::Undelivered));
        }
    }

    /// What time does to runs: lost worker processes, timeouts, forced cancels; runs that nobody serves.
    fn tend(&self) {
        let now = self.clock.now();
        for running in self.transients.running() {
            if let Some(ended) = self.overdue(&running, now) {
                tracing::info!(?ended, "a transient run was taken from its worker process");
                self.end_run(&Finish::of(running.lease.fence, ended));
            }
        }
        self.tell_running();
        self.transients.forget_old(limits::TRANSIENT_LIFE);
        let ended = self.transients.tidy(|route| self.serves_here(route), now);
        self.hub.changed(ended);
    }

    /// How the attempt ends by time, if it does.
    fn overdue(&self, running: &Running, now: Time) -> Option<Ended> {
        let Running { lease, cancel, .. } = running;
        let is_lost = self.sessions.get(lease.session).is_none_or(|session| !session.is_here());
        if is_lost {
            Some(Ended::Crashed { acknowledged: true })
        } else if cancel.as_ref().is_some_and(|mark| mark.force_time <= now) {
            Some(Ended::Forced)
        } else if lease.deadline.plus(limits::TIMEOUT_GRACE) <= now {
            Some(Ended::TimedOut)
        } else {
            None
        }
    }

    /// Tells worker processes which handlers are to stop.
    fn tell_running(&self) {
        let now = self.clock.now();
        for Running { lease, timeout, cancel } in self.transients.running() {
            let Lease { fence, deadline, session, .. } = lease;
            let (reason, grace, who) = match cancel {
                Some(mark) => (mark.text, mark.force_time.since(now), Stop::Client),
                None if deadline <= now => {
                    let reason = format!("the attempt took longer than its timeout of {timeout:?}");
                    (reason, deadline.plus(limits::TIMEOUT_GRACE).since(now), Stop::Timeout)
                }
                None => continue,
            };
            if self.hub.should_tell(fence.job, fence.epoch)
                && let Some(link) = self.sessions.get(session)
                && link.tell(Down::Cancel { fence, reason, grace, who })
            {
                self.hub.told(fence.job, fence.epoch);
            }
        }
    }
}

/// A ref id that names one run of one server, and no stored job.
fn generated_ref() -> String {
    format!("~run-{:x}{:016x}", clock::random_63(), clock::random_63())
}
