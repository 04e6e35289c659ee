//! Enqueue: one commit stores the jobs of every caller that came meanwhile, and leases at once those that a worker
//! process waits for.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;

use super::group::Commit;
use super::prepare::Prepared;
use super::room::{Reply, Waiter};
use super::unit::unit;
use super::{Core, Engine, EnqueueAnswer, EnqueueCall, Error, Result};
use crate::clock;
use crate::model::{
    Epoch, Fence, Job, JobId, Lease, LeaseFlags, RefPolicy, Route, State, Time, Turn, Wait, limits,
};
use crate::store::{Enqueued, Handoff, LeasedJob, NewJob, StoreError, Wake};

/// What a caller gets of it.
pub(crate) struct Stored {
    job: JobId,
    ref_id: String,
    what: Enqueued,
    ready_time: Time,
    now: Time,
}

/// Stores jobs.
pub(crate) struct EnqueueWork {
    pub(crate) core: Arc<Core>,
}

impl Engine {
    /// Stores a job before it answers.
    pub async fn enqueue(&self, call: EnqueueCall) -> Result<EnqueueAnswer> {
        let prepared = if call.parents.is_empty() {
            self.core.prepare(call).await?
        } else {
            let core = Arc::clone(&self.core);
            unit(async move { core.prepare(call).await }).await?
        };
        let (policy, digest) = (prepared.ref_policy, prepared.digest);
        let (ref_id, request_id) = (prepared.spec.ref_id.clone(), prepared.spec.request_id.clone());
        // Jobs that wait for rows of others make no stranger wait with them.
        let group = if prepared.is_free() { &self.enqueues } else { &self.entangled };
        let stored = group.join(prepared).await?;
        let created = |state| {
            Ok(EnqueueAnswer { job: stored.job, ref_id: stored.ref_id.clone(), created: true, state })
        };
        match stored.what {
            Enqueued::Ready | Enqueued::Waiting(Wait::Worker) if stored.ready_time > stored.now => {
                created(State::Scheduled)
            }
            Enqueued::Ready | Enqueued::Waiting(Wait::Worker) => created(State::Queued),
            Enqueued::Waiting(_) => created(State::Blocked),
            Enqueued::Cancelled => created(State::Cancelled),
            Enqueued::Leased => created(State::Running),
            Enqueued::SameRequest(job) => {
                self.existing(job, digest).await?.ok_or(Error::RequestReused(request_id))
            }
            Enqueued::SameRef(job) => {
                let existing = self.existing(job, digest).await?;
                let taken = Error::RefTaken { ref_id, job };
                if policy == RefPolicy::ReturnExisting { existing.ok_or(taken) } else { Err(taken) }
            }
        }
    }

    /// The job that was stored first, if its content is the same.
    async fn existing(&self, job: JobId, digest: [u8; 16]) -> Result<Option<EnqueueAnswer>> {
        let core = Arc::clone(&self.core);
        unit(async move {
            let view = core.view(job).await?;
            let state = view.state(core.clock.now());
            let ref_id = view.job.ref_id();
            Ok((view.job.digest == digest).then_some(EnqueueAnswer { job, ref_id, created: false, state }))
        })
        .await
    }
}

#[async_trait]
impl Commit for EnqueueWork {
    type Member = Prepared;
    type Answer = Stored;

    fn stripe(&self, member: &Prepared) -> u64 {
        let mut hasher = DefaultHasher::new();
        member.spec.queue.hash(&mut hasher);
        hasher.finish()
    }

    fn bytes(&self, member: &Prepared) -> usize {
        // The options and the row's numbers weigh something too.
        member.request.len() + 512
    }

    async fn commit(&self, members: &[Prepared]) -> Result<Vec<Stored>, StoreError> {
        for _ in 0..limits::TRANSACTION_TRIES_MAX {
            match self.store(members).await {
                Err(StoreError::IdTaken) => self.core.ids.forget().await,
                answer => return answer,
            }
        }
        Err(StoreError::Unavailable("reserved job ids keep being taken".into()))
    }
}

impl EnqueueWork {
    async fn store(&self, members: &[Prepared]) -> Result<Vec<Stored>, StoreError> {
        let core = &self.core;
        let ids = core.ids.take(&*core.store, members.len()).await?;
        let mut new = core.new_jobs(members, &ids).await?;
        let now = core.clock.now();
        let mut hands = Hands::default();
        for (new, member) in new.iter_mut().zip(members) {
            new.handoff = hands.offer(core, &new.job, member, now);
        }
        let answers = match core.store.enqueue(&new).await {
            Ok((answers, wake)) => {
                core.heed(Wake { ready: Vec::new(), ..wake });
                answers
            }
            Err(StoreError::Unknown(why)) => {
                hands.fail(&Error::Unavailable);
                self.find_out(&new, why).await?
            }
            Err(error) => {
                core.room.return_all(hands.waiters.into_iter().map(|(waiter, _)| waiter));
                return Err(error);
            }
        };
        hands.settle(&new, &answers);
        core.room.note(new.iter().zip(&answers).filter(|(_, answer)| **answer == Enqueued::Ready).map(
            |(new, _)| {
                let key = new.job.ready;
                (key.route, key.priority, key.ready_time)
            },
        ));
        core.hub.changed(new.iter().map(|new| new.job.id));
        Ok(new.into_iter().zip(answers).map(|(new, what)| stored(new, what, now)).collect())
    }

    /// The connection broke while committing: one member's row tells of all. Those that left the batch because their
    /// key was taken are told to repeat, which finds the first job.
    async fn find_out(&self, new: &[NewJob], why: String) -> Result<Vec<Enqueued>, StoreError> {
        let mut answers = Vec::with_capacity(new.len());
        for job in new {
            if !self.core.store.was_enqueued(&job.job).await? {
                return Err(StoreError::Unavailable(why));
            }
            answers.push(Enqueued::Ready);
        }
        Ok(answers)
    }
}

fn stored(new: NewJob, what: Enqueued, now: Time) -> Stored {
    Stored { job: new.job.id, ref_id: new.job.ref_id(), what, ready_time: new.job.ready.ready_time, now }
}

/// Waiting claims that this transaction hands jobs to.
#[derive(Default)]
struct Hands {
    waiters: Vec<(Waiter, Vec<(usize, Handoff)>)>,
    offered: usize,
    room_is_empty_for: Vec<Route>,
}

impl Hands {
    /// A waiting claim for this job, if one may have it now: each waiter in the room gets one before any gets two.
    fn offer(&mut self, core: &Core, job: &Job, member: &Prepared, now: Time) -> Option<Handoff> {
        let index = self.offered;
        self.offered += 1;
        if !member.is_free() {
            return None;
        }
        let route = &job.spec.route();
        if job.ready.ready_time > now || job.spec.expire_time.is_some_and(|expires| expires <= now) {
            return None;
        }
        if !self.room_is_empty_for.contains(route) {
            match core.room.take_for_handoff(route, &core.routes, now) {
                Some(waiter) => self.waiters.push((waiter, Vec::new())),
                None => self.room_is_empty_for.push(route.clone()),
            }
        }
        let fits = |(waiter, jobs): &&mut (Waiter, Vec<(usize, Handoff)>)| {
            jobs.len() < waiter.max_jobs.min(limits::CLAIM_JOBS_MAX as usize)
                && waiter.session.served.takes_plain(route)
        };
        let (waiter, jobs) = self.waiters.iter_mut().filter(fits).min_by_key(|(_, jobs)| jobs.len())?;
        if !jobs.is_empty()
            && job.request.len() as i64 > limits::CLAIM_BYTES_MAX / limits::CLAIM_JOBS_MAX as i64
        {
            // A large job goes through the ready table, where the size of an answer is kept.
            return None;
        }
        let handoff = Handoff {
            ticket: waiter.ticket,
            epoch: Epoch::default().next(now),
            nonce: clock::random_63(),
            start_time: now,
            deadline: now.plus(job.spec.timeout),
        };
        jobs.push((index, handoff));
        Some(handoff)
    }

    /// After the commit: every waiter gets what was leased to it.
    fn settle(&mut self, new: &[NewJob], answers: &[Enqueued]) {
        for (waiter, jobs) in self.waiters.drain(..) {
            let refused = jobs.iter().any(|(at, _)| answers[*at] == Enqueued::Ready);
            let leased: Vec<LeasedJob> = jobs
                .into_iter()
                .filter(|(at, _)| answers[*at] == Enqueued::Leased)
                .map(|(at, handoff)| LeasedJob {
                    lease: lease(&new[at].job, &handoff),
                    create_time: new[at].job.create_time,
                    spec: new[at].job.spec.clone(),
                    request: new[at].job.request.clone(),
                    checkpoint: None,
                    last_error: None,
                    parents: Vec::new(),
                })
                .collect();
            if refused && leased.is_empty() {
                waiter.reply(Reply::Refused);
                continue;
            }
            waiter.session.moved_on(waiter.ticket, !leased.is_empty());
            waiter.reply(Reply::Jobs(leased));
        }
    }

    /// Nobody knows what was leased: the waiters repeat their sequence and find out.
    fn fail(&mut self, error: &Error) {
        for (waiter, _) in self.waiters.drain(..) {
            waiter.session.forget_loop(waiter.ticket.claim_loop);
            waiter.reply(Reply::Failed(error.clone()));
        }
    }
}

fn lease(job: &Job, handoff: &Handoff) -> Lease {
    Lease {
        fence: Fence { job: job.id, epoch: handoff.epoch, nonce: handoff.nonce },
        month: job.month,
        run: job.run,
        route: job.ready.route,
        priority: job.ready.priority,
        lane: None,
        session: handoff.ticket.session,
        claim_loop: handoff.ticket.claim_loop,
        claim: handoff.ticket.sequence,
        turn: Turn { epoch: handoff.epoch, attempt: 1, crashes: 0, unacknowledged: 0 },
        start_time: handoff.start_time,
        deadline: handoff.deadline,
        flags: LeaseFlags::of(&job.spec),
        log_sequence: 0,
    }
}
