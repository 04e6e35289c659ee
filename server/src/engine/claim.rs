//! Claims: a long poll that never loses a job, whatever is lost between server and worker process.
//!
//! A loop's sequence is what makes a lost answer harmless. The same sequence again is given what it still holds;
//! going on gives back what never arrived. What this server remembers of a loop is a hint: the transaction that leases
//! checks the sequence itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::room::{self, GroupKey, Plan, Reply, Waiter};
use super::sessions::{LoopMemory, SessionLink};
use super::unit::unit;
use super::{ClaimAnswer, ClaimCall, Core, Engine, Error, Result};
use crate::clock;
use crate::model::{Ended, JobId, Lease, Spec, Time, View, limits};
use crate::store::{
    Backlog, ClaimTicket, Claimed, Claimer, Finish, Given, LeasedJob, OnLocked, Payloads, StoreError,
};

/// Serves waiting claims from the ready table.
pub(crate) struct ClaimWork {
    pub(crate) core: Arc<Core>,
}

/// Where a call stands in its loop.
enum Place {
    /// It repeats the stored sequence: these it still holds.
    Repeat(Vec<LeasedJob>),
    /// It goes on.
    Next,
}

impl Engine {
    /// Waits for jobs and leases them to the session.
    pub async fn claim(&self, call: ClaimCall) -> Result<ClaimAnswer> {
        if self.core.stopping.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let deadline = clock::instant() + call.wait.min(limits::CLAIM_WAIT_MAX);
        // The guard of the transaction may find the loop elsewhere than this server remembers: then ask and decide anew.
        for _ in 0..3 {
            let core = Arc::clone(&self.core);
            let (session, place) = unit(async move {
                let session = core.session(call.session).await?;
                let place = core.place(&session, &call).await?;
                Ok((session, place))
            })
            .await?;
            let jobs = match place {
                Place::Repeat(jobs) => Some(jobs),
                Place::Next => self.wait(&session, &call, deadline).await?,
            };
            if let Some(mut jobs) = jobs {
                self.core.estimates.began(&jobs);
                self.add_parents(&mut jobs).await?;
                return Ok(ClaimAnswer { jobs, now: self.now() });
            }
            session.forget_loop(call.claim_loop);
        }
        Err(Error::SessionLost)
    }

    /// Reads along the jobs that leased jobs depend on, or descend from.
    async fn add_parents(&self, jobs: &mut [LeasedJob]) -> Result<()> {
        let mut wanted: Vec<JobId> = jobs.iter().flat_map(|leased| parents_of(&leased.spec)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        wanted.sort_unstable();
        wanted.dedup();
        let core = Arc::clone(&self.core);
        let views = unit(async move { Ok(core.store.views(&wanted, Payloads::Read).await?) }).await?;
        let by_id: HashMap<JobId, View> = views.into_iter().map(|view| (view.job.id, view)).collect();
        for leased in jobs {
            leased.parents =
                parents_of(&leased.spec).iter().filter_map(|id| by_id.get(id).cloned()).collect();
        }
        Ok(())
    }

    /// Waits in the room; none when the loop was found to have moved on.
    async fn wait(
        &self,
        session: &Arc<SessionLink>,
        call: &ClaimCall,
        deadline: std::time::Instant,
    ) -> Result<Option<Vec<LeasedJob>>> {
        let (answer, mut answered) = oneshot::channel();
        let ticket =
            ClaimTicket { session: call.session, claim_loop: call.claim_loop, sequence: call.sequence };
        let once = call.wait.is_zero();
        let is_over = Arc::new(AtomicBool::new(false));
        let waiter = Waiter {
            ticket,
            session: Arc::clone(session),
            max_jobs: call.max_jobs,
            once,
            look: 0,
            is_over: Arc::clone(&is_over),
            answer,
        };
        // A draining session is given nothing more; it waits like any other, so that it does not ask in a circle.
        self.core.room.enter(waiter);
        self.core.deal_to(session, ticket);
        let patience = if once { deadline + Duration::from_secs(5) } else { deadline };
        tokio::select! {
            biased;
            reply = &mut answered => return room::answer(reply.unwrap_or(Reply::Failed(Error::ShuttingDown))),
            () = tokio::time::sleep_until(patience.into()) => {}
            () = self.core.stopping.cancelled() => {}
        }
        // Before it leaves: whoever would put it back after this sees it.
        is_over.store(true, Ordering::Relaxed);
        if self.core.room.leave(ticket) {
            return Ok(Some(Vec::new()));
        }
        // Its transaction has begun: only that result answers it.
        room::answer(answered.await.unwrap_or(Reply::Failed(Error::ShuttingDown)))
    }

    /// Looks at the ready table, as often as the waiting room wants to know, until `stop`. Claims go on meanwhile by what is
    /// known: a look is slow where many taken rows cannot be cleared away, beside somebody's old snapshot say.
    pub async fn run_looks(&self, stop: CancellationToken) -> Result<()> {
        loop {
            tokio::select! {
                () = self.core.room.look_due() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let work = Arc::clone(&self.claims);
            unit(async move { work.look().await }).await?;
        }
    }

    /// Serves waiting claims until `stop`. One round at a time leases, each whole; what it gave out is read and handed over while
    /// the next one leases.
    pub async fn run_claims(&self, stop: CancellationToken) {
        loop {
            let core = &self.core;
            tokio::select! {
                () = core.room.turn(|| core.clock.now(), &core.routes) => {}
                () = stop.cancelled() => return core.room.clear(),
            }
            let work = Arc::clone(&self.claims);
            if let Err(error) = unit(async move { work.round().await }).await {
                tracing::warn!(%error, "claims could not be served, trying again");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

impl Core {
    /// Applies the rules of sequences: lower than the stored one is stale, the same one is a repeat, a higher one first
    /// gives back what never arrived.
    async fn place(&self, session: &Arc<SessionLink>, call: &ClaimCall) -> Result<Place> {
        let held = self.transients.answered(session.id, call.claim_loop, call.sequence);
        if !held.is_empty() {
            return Ok(Place::Repeat(held));
        }
        let never_arrived = |lease: &Lease| lease.claim > call.ack_sequence && lease.claim < call.sequence;
        let transients = self.transients.leases(session.id, Some(call.claim_loop));
        self.give_back_runs(transients.iter().filter(|lease| never_arrived(lease)).map(|lease| lease.fence));
        let memory = self.loop_memory(session, call).await?;
        if call.sequence < memory.stored {
            return Err(Error::StaleSequence { given: call.sequence, stored: memory.stored });
        }
        if call.sequence == memory.stored {
            let leases = self.store.leases(session.id, Some(call.claim_loop)).await?;
            let held: Vec<_> = leases
                .into_iter()
                .map(|(lease, _)| lease)
                .filter(|lease| lease.claim == call.sequence)
                .collect();
            return Ok(Place::Repeat(self.store.leased_jobs(&held).await?));
        }
        if memory.stored > call.ack_sequence {
            self.give_back_undelivered(session, call).await?;
        } else if memory.stored > 0 && session.received(call.claim_loop, memory.stored) {
            let ticket =
                ClaimTicket { session: session.id, claim_loop: call.claim_loop, sequence: memory.stored };
            self.store.acknowledge(&[ticket]).await?;
        }
        session.remember_loop(call.claim_loop, LoopMemory { last_call: call.sequence, ..memory });
        Ok(Place::Next)
    }

    /// What is remembered of the loop if this server took the call before, else what is stored.
    async fn loop_memory(&self, session: &Arc<SessionLink>, call: &ClaimCall) -> Result<LoopMemory> {
        let remembered = session.loop_memory(call.claim_loop);
        if let Some(memory) = remembered.filter(|memory| memory.last_call + 1 == call.sequence) {
            return Ok(memory);
        }
        let state = self.store.loop_state(session.id, call.claim_loop).await?.ok_or(Error::SessionLost)?;
        if state.sequence == i64::MAX {
            return Err(Error::SessionLost);
        }
        let memory =
            LoopMemory { stored: state.sequence, received: state.received, last_call: call.sequence };
        session.remember_loop(call.claim_loop, memory);
        Ok(memory)
    }

    /// Reads the jobs of leases that claims were given, and answers these. When they cannot be read, a claim finds them by
    /// asking again with the same sequence.
    async fn give_out(&self, lucky: Vec<(Waiter, Vec<Lease>)>) {
        let leases: Vec<Lease> = lucky.iter().flat_map(|(_, leases)| leases.iter().cloned()).collect();
        self.hub.changed(leases.iter().map(|lease| lease.fence.job));
        match self.store.jobs_of(&leases).await {
            Ok(mut jobs) => {
                for (waiter, leases) in lucky {
                    let mine = leases.iter().filter_map(|lease| jobs.remove(&lease.fence.job)).collect();
                    waiter.reply(Reply::Jobs(mine));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "jobs are leased but cannot be read: their claims will ask again");
                lucky.into_iter().for_each(|(waiter, _)| waiter.unknown());
            }
        }
    }

    async fn give_back_undelivered(&self, session: &Arc<SessionLink>, call: &ClaimCall) -> Result<()> {
        let leases = self.store.leases(session.id, Some(call.claim_loop)).await?;
        let ends: Vec<Finish> = leases
            .iter()
            .filter(|(lease, _)| lease.claim > call.ack_sequence)
            .map(|(lease, _)| Finish::of(lease.fence, Ended::Undelivered))
            .collect();
        self.finish(&ends, OnLocked::Wait).await?;
        Ok(())
    }
}

/// The jobs that a job depends on, else the one it descends from.
fn parents_of(spec: &Spec) -> Vec<JobId> {
    let named: Vec<JobId> = spec.depends_on.iter().map(|dependency| dependency.parent).collect();
    if named.is_empty() { spec.parent_id.into_iter().collect() } else { named }
}

impl ClaimWork {
    /// Looks at the ready table.
    async fn look(&self) -> Result<()> {
        let core = &self.core;
        let look = core.room.begin_look();
        let found = core.store.look().await?;
        if !core.routes.knows(found.iter().map(|group| group.route)) {
            core.routes.reload(&*core.store).await?;
        }
        core.room.end_look(&found, &look);
        Ok(())
    }

    /// Serves whoever waits for what is known to lie in the ready table.
    async fn round(&self) -> Result<()> {
        let core = &self.core;
        self.serve_quarantined().await?;
        let plan = core.room.plan(core.clock.now(), &core.routes);
        if plan.claims.is_empty() { Ok(()) } else { self.serve(plan).await }
    }

    async fn serve(&self, plan: Plan) -> Result<()> {
        let core = &self.core;
        let stamp = plan.stamp();
        let (waiters, claimers) = claimers(plan);
        let limited = core
            .routes
            .limited(claimers.iter().flat_map(|claimer| claimer.groups.iter()).map(|group| group.route));
        let (answers, full) = match core.store.claim(&claimers, &limited, core.clock.now()).await {
            Ok(answers) => answers,
            Err(error) => return self.give_up(waiters, error),
        };
        let mut exhausted = exhausted(&claimers, &answers);
        // What a full queue keeps back lies there still.
        exhausted.retain(|(route, _)| limited.get(route).is_none_or(|queue| !full.contains(queue)));
        core.room.set_full(full);
        let advanced = advanced(&answers);
        let (mut unlucky, mut lucky) = (Vec::new(), Vec::new());
        for (waiter, answer) in waiters.into_iter().zip(answers) {
            match answer {
                Claimed::Refused => waiter.reply(Reply::Refused),
                Claimed::Leases(given) if given.is_empty() && !waiter.once => unlucky.push(waiter),
                Claimed::Leases(given) => {
                    waiter.session.moved_on(waiter.ticket, !given.is_empty());
                    lucky.push((waiter, given.into_iter().map(|given| given.lease).collect()));
                }
            }
        }
        if !lucky.is_empty() {
            let giver = Arc::clone(core);
            tokio::spawn(async move { giver.give_out(lucky).await });
        }
        core.room.return_all(unlucky.into_iter().rev());
        advanced.into_iter().for_each(|(group, to)| core.room.advanced(group, to));
        exhausted.into_iter().for_each(|group| core.room.exhausted(group, stamp));
        // More may be due than these claims could take.
        core.room.note([]);
        Ok(())
    }

    /// The transaction failed. If it may have been committed, its claims repeat their sequence to find out; else they
    /// wait on.
    fn give_up(&self, waiters: Vec<Waiter>, error: StoreError) -> Result<()> {
        if matches!(error, StoreError::Unknown(_)) {
            waiters.into_iter().for_each(Waiter::unknown);
        } else {
            self.core.room.return_all(waiters.into_iter().rev());
        }
        Err(error.into())
    }

    /// Gives one quarantined job to a worker process that runs nothing else, and nothing else to it meanwhile.
    async fn serve_quarantined(&self) -> Result<()> {
        let core = &self.core;
        let Some((waiter, group)) = core.room.plan_quarantined(core.clock.now(), &core.routes) else {
            return Ok(());
        };
        let session = Arc::clone(&waiter.session);
        session.set_exclusive(Some(JobId::default()));
        let served = std::panic::AssertUnwindSafe(self.serve_alone(waiter, group)).catch_unwind().await;
        match served {
            Ok(Ok(job)) => {
                session.set_exclusive(job);
                Ok(())
            }
            Ok(Err(error)) => {
                session.set_exclusive(None);
                Err(error)
            }
            Err(panic) => {
                session.set_exclusive(None);
                std::panic::resume_unwind(panic)
            }
        }
    }

    async fn serve_alone(&self, waiter: Waiter, group: Backlog) -> Result<Option<JobId>> {
        let core = &self.core;
        let runs = core.transients.leases(waiter.session.id, None);
        if !runs.is_empty() || !core.store.leases(waiter.session.id, None).await?.is_empty() {
            core.room.return_all([waiter]);
            return Ok(None);
        }
        let claimer = Claimer { ticket: waiter.ticket, max_jobs: 1, groups: vec![group] };
        let limited = core.routes.limited(std::iter::once(group.route));
        let claimed = core.store.claim(&[claimer], &limited, core.clock.now()).await;
        match claimed.map(|(answers, full)| (answers, core.room.set_full(full)).0) {
            Ok(mut answers) => match answers.pop() {
                Some(Claimed::Leases(given)) if !given.is_empty() => {
                    let leases: Vec<Lease> = given.into_iter().map(|given| given.lease).collect();
                    let job = leases.first().map(|lease| lease.fence.job);
                    waiter.session.moved_on(waiter.ticket, true);
                    core.give_out(vec![(waiter, leases)]).await;
                    Ok(job)
                }
                Some(Claimed::Refused) => {
                    waiter.reply(Reply::Refused);
                    Ok(None)
                }
                _ => {
                    core.room.return_all([waiter]);
                    Ok(None)
                }
            },
            Err(error) => self.give_up(vec![waiter], error).map(|()| None),
        }
    }
}

fn claimers(plan: Plan) -> (Vec<Waiter>, Vec<Claimer>) {
    plan.claims
        .into_iter()
        .map(|(waiter, groups)| {
            let claimer = Claimer { ticket: waiter.ticket, max_jobs: waiter.max_jobs, groups };
            (waiter, claimer)
        })
        .unzip()
}

/// Groups that held less than their claimers wanted. A claimer that got all it wanted says nothing of its later groups.
fn exhausted(claimers: &[Claimer], answers: &[Claimed]) -> Vec<GroupKey> {
    let mut groups: HashMap<GroupKey, bool> = HashMap::new();
    for (claimer, answer) in claimers.iter().zip(answers) {
        let short = matches!(answer, Claimed::Leases(given) if given.len() < claimer.max_jobs
            && given.iter().map(|given| given.size).sum::<i64>() < limits::CLAIM_BYTES_MAX / 2);
        for group in &claimer.groups {
            *groups.entry((group.route, group.priority)).or_insert(false) |= short;
        }
    }
    groups.into_iter().filter_map(|(group, short)| short.then_some(group)).collect()
}

/// The groups that jobs were taken from, each with the latest ready time of these.
fn advanced(answers: &[Claimed]) -> HashMap<GroupKey, Time> {
    let mut latest: HashMap<GroupKey, Time> = HashMap::new();
    for answer in answers {
        let Claimed::Leases(given) = answer else { continue };
        for Given { lease, ready_time, .. } in given {
            let time = latest.entry((lease.route, lease.priority)).or_insert(*ready_time);
            *time = (*ready_time).max(*time);
        }
    }
    latest
}
