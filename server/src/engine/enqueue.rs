//! Enqueue: one commit stores the jobs of every caller that came meanwhile, and leases at once those that a worker
//! process waits for.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;

use super::group::Commit;
use super::room::{Reply, Waiter};
use super::unit::unit;
use super::{Core, Engine, EnqueueAnswer, EnqueueCall, Error, Result};
use crate::clock;
use crate::model::{
    Epoch, Fence, Job, JobId, Lease, LeaseFlags, Month, Payload, ReadyKey, RefPolicy, Route, RouteId, Run,
    Spec, State, Time, Turn, digest, limits,
};
use crate::store::{Enqueued, Handoff, LeasedJob, NewJob, StoreError};

/// A caller's part of a shared enqueue.
pub(crate) struct EnqueueMember {
    call: EnqueueCall,
    digest: [u8; 16],
}

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
        let digest = content_digest(&call);
        let (policy, ref_id, request_id) =
            (call.ref_policy, call.spec.ref_id.clone(), call.spec.request_id.clone());
        let stored = self.enqueues.join(EnqueueMember { call, digest }).await?;
        match stored.what {
            Enqueued::Ready => {
                let state = if stored.ready_time > stored.now { State::Scheduled } else { State::Queued };
                Ok(EnqueueAnswer { job: stored.job, ref_id: stored.ref_id, created: true, state })
            }
            Enqueued::Leased => Ok(EnqueueAnswer {
                job: stored.job,
                ref_id: stored.ref_id,
                created: true,
                state: State::Running,
            }),
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
            let ref_id = view.job.spec.ref_id;
            Ok((view.job.digest == digest).then_some(EnqueueAnswer { job, ref_id, created: false, state }))
        })
        .await
    }
}

#[async_trait]
impl Commit for EnqueueWork {
    type Member = EnqueueMember;
    type Answer = Stored;

    fn stripe(&self, member: &EnqueueMember) -> u64 {
        let mut hasher = DefaultHasher::new();
        member.call.spec.queue.hash(&mut hasher);
        hasher.finish()
    }

    fn bytes(&self, member: &EnqueueMember) -> usize {
        // The options and the row's numbers weigh something too.
        member.call.request.len() + 512
    }

    async fn commit(&self, members: &[EnqueueMember]) -> Result<Vec<Stored>, StoreError> {
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
    async fn store(&self, members: &[EnqueueMember]) -> Result<Vec<Stored>, StoreError> {
        let core = &self.core;
        let kinds: Vec<Route> = members.iter().map(|member| member.call.spec.route()).collect();
        let routes = core.routes.ids(&*core.store, &kinds).await?;
        let ids = core.ids.take(&*core.store, members.len()).await?;
        let now = core.clock.now();
        let jobs: Vec<Job> = members
            .iter()
            .zip(ids)
            .zip(&routes)
            .map(|((member, id), route)| member.job(id, *route, now))
            .collect();
        let mut hands = Hands::default();
        let new: Vec<NewJob> = jobs
            .into_iter()
            .zip(&kinds)
            .map(|(job, kind)| NewJob { handoff: hands.offer(core, &job, kind, now), job })
            .collect();
        let answers = match core.store.enqueue(&new).await {
            Ok(answers) => answers,
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
    Stored { job: new.job.id, ref_id: new.job.spec.ref_id, what, ready_time: new.job.ready.ready_time, now }
}

impl EnqueueMember {
    fn job(&self, (id, month): (JobId, Month), route: RouteId, now: Time) -> Job {
        let mut spec = self.call.spec.clone();
        if let Some(delay) = self.call.delay {
            spec.run_after = Some(now.plus(delay));
        }
        if spec.ref_id.is_empty() {
            spec.ref_id = generated_ref(id, now);
        }
        let ready_time = spec.run_after.map_or(now, |after| after.max(now));
        let ready = ReadyKey { route, priority: spec.priority, ready_time, job: id };
        let request = self.call.request.clone();
        Job {
            id,
            month,
            run: Run(1),
            run_time: now,
            create_time: now,
            ready,
            spec,
            request,
            digest: self.digest,
        }
    }
}

/// A ref id for a job that was given none: `~`, the id, and when it was made, so that it names one job of one database
/// and needs no row of its own to be found.
fn generated_ref(id: JobId, now: Time) -> String {
    format!("~{id}-{:x}", now.0)
}

/// The job and creation time that a generated ref id names.
pub(crate) fn read_generated_ref(ref_id: &str) -> Option<(JobId, Time)> {
    let (id, made) = ref_id.strip_prefix('~')?.split_once('-')?;
    Some((JobId(id.parse().ok()?), Time(i64::from_str_radix(made, 16).ok()?)))
}

/// Two calls with the same digest ask for the same job. What identifies the call rather than the job is left out.
fn content_digest(call: &EnqueueCall) -> [u8; 16] {
    let content = Spec {
        request_id: String::new(),
        traceparent: String::new(),
        tracestate: String::new(),
        enqueued_by: String::new(),
        ..call.spec.clone()
    };
    let text = serde_json::to_vec(&content).unwrap_or_default();
    let (kind, body, content_type): (&[u8], &[u8], &[u8]) = match &call.request {
        Payload::None => (b"none", b"", b""),
        Payload::Json(json) => (b"json", json, b""),
        Payload::Data { bytes, content_type } => (b"data", bytes, content_type.as_bytes()),
    };
    let delay = call.delay.map_or(0, |delay| delay.as_nanos()).to_be_bytes();
    digest([text.as_slice(), kind, content_type, body, delay.as_slice()])
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
    fn offer(&mut self, core: &Core, job: &Job, route: &Route, now: Time) -> Option<Handoff> {
        let index = self.offered;
        self.offered += 1;
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
                    job: new[at].job.clone(),
                    checkpoint: None,
                    last_error: None,
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
        session: handoff.ticket.session,
        claim_loop: handoff.ticket.claim_loop,
        claim: handoff.ticket.sequence,
        turn: Turn { epoch: handoff.epoch, attempt: 1, crashes: 0, unacknowledged: 0 },
        start_time: handoff.start_time,
        deadline: handoff.deadline,
        flags: LeaseFlags::default(),
        log_sequence: 0,
    }
}
