//! Jobs that are stored together: all of them or none. And what became of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::prepare::Prepared;
use super::unit::unit;
use super::{BatchAnswer, BatchCall, BatchCounts, BatchItem, Core, Engine, EnqueueAnswer, Error, Result};
use crate::clock;
use crate::model::{JobId, Month, Order, RefPolicy, State, View, Wait, limits};
use crate::store::{Enqueued, NewJob, Payloads, StoreError, Walk, WalkSource};

/// Ids read in one step of a count.
const STEP: i64 = 1_000;

impl Engine {
    /// Stores jobs, all of them or none, before it answers.
    pub async fn enqueue_batch(&self, call: BatchCall) -> Result<BatchAnswer> {
        let core = Arc::clone(&self.core);
        unit(async move { core.enqueue_batch(call).await }).await
    }

    /// How many jobs of a batch stand in which state, counted from their rows.
    pub async fn batch(&self, batch_id: String) -> Result<BatchCounts> {
        let core = Arc::clone(&self.core);
        unit(async move { core.count_batch(&batch_id).await }).await
    }
}

/// What is known of one item of a batch.
#[derive(Clone)]
enum Fate {
    /// It is to be stored.
    New,
    /// Its ref id is that of a job of the same content.
    Exists(EnqueueAnswer),
}

impl Core {
    async fn enqueue_batch(&self, call: BatchCall) -> Result<BatchAnswer> {
        let batch_id = if call.batch_id.is_empty() { new_batch_id(&call) } else { call.batch_id.clone() };
        let items: Vec<BatchItem> = call.items.into_iter().map(|item| with_batch(item, &batch_id)).collect();
        let mut prepared = self.prepare_all(items).await?;
        if let Some(first) = prepared.first_mut() {
            // Neighbours share what they ask for, but not this.
            if !call.request_id.is_empty() {
                Arc::make_mut(&mut first.spec).request_id = call.request_id.clone();
            }
        }
        let mut fates = vec![Fate::New; prepared.len()];
        for _ in 0..limits::TRANSACTION_TRIES_MAX {
            let ids = self.ids.take_run(&*self.store, prepared.len()).await?;
            let new = self.new_batch(&prepared, &ids, &fates).await?;
            match self.store.enqueue_all(&new).await {
                Ok((answers, wake)) => {
                    self.heed(wake);
                    self.hub.changed(new.iter().map(|new| new.job.id));
                    return Ok(BatchAnswer { batch_id, jobs: answers_of(&new, &answers, fates) });
                }
                Err(StoreError::IdTaken) => self.ids.forget().await,
                Err(StoreError::Taken(taken)) => {
                    let places: Vec<usize> = new_places(&fates).collect();
                    let taken = taken.into_iter().map(|(at, what)| (places[at], what));
                    if let Some(repeat) = self.sort_taken(&prepared, taken, &mut fates).await? {
                        return Ok(BatchAnswer { batch_id, jobs: repeat });
                    }
                    move_request(&mut prepared, &fates, &call.request_id);
                }
                // Whether it was stored is found by its keys, or by its first job.
                Err(StoreError::Unknown(why)) => {
                    let Some(first) = new.first() else { return Err(Error::Unavailable) };
                    if !self.store.was_enqueued(&first.job).await? {
                        tracing::warn!(why, "a batch was not stored");
                        return Err(Error::Unavailable);
                    }
                    let answers = self.stand_of(&new).await?;
                    return Ok(BatchAnswer { batch_id, jobs: answers_of(&new, &answers, fates) });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Unavailable)
    }

    /// The jobs that are to be stored; those that exist stand for themselves, also as parents.
    async fn new_batch(
        &self,
        prepared: &[Prepared],
        ids: &[(JobId, Month)],
        fates: &[Fate],
    ) -> Result<Vec<NewJob>> {
        let ids: Vec<(JobId, Month)> = ids
            .iter()
            .zip(fates)
            .map(|((id, month), fate)| match fate {
                Fate::New => (*id, *month),
                Fate::Exists(known) => (known.job, *month),
            })
            .collect();
        let new = self.new_jobs(prepared, &ids).await?;
        let mut jobs: Vec<NewJob> = new
            .into_iter()
            .zip(fates)
            .filter(|(_, fate)| matches!(fate, Fate::New))
            .map(|(new, _)| new)
            .collect();
        let ours: Vec<JobId> = jobs.iter().map(|new| new.job.id).collect();
        let outside: Vec<JobId> = fates
            .iter()
            .filter_map(|fate| match fate {
                Fate::Exists(known) => Some(known.job),
                Fate::New => None,
            })
            .filter(|job| !ours.contains(job))
            .collect();
        if !outside.is_empty() {
            self.judge_existing(&outside, &mut jobs).await?;
        }
        Ok(jobs)
    }

    /// Parents that exist already may have ended already.
    async fn judge_existing(&self, outside: &[JobId], jobs: &mut [NewJob]) -> Result<()> {
        let views = self.store.views(outside, Payloads::LeftOut).await?;
        let ended: HashMap<JobId, _> =
            views.iter().filter_map(|view| Some((view.job.id, view.outcome()?.ending))).collect();
        for new in jobs {
            for wait in &new.parents {
                if let Some(ending) =
                    ended.get(&wait.parent).filter(|ending| !wait.condition.is_met_by(**ending))
                {
                    new.doomed_by = new.doomed_by.or(Some((wait.parent, *ending)));
                }
            }
            new.parents.retain(|wait| !ended.contains_key(&wait.parent));
        }
        Ok(())
    }

    /// Keys of items were taken: a repeat of the whole call is answered as the first time; an item whose ref id names a
    /// job of the same content stands for that job if it asked so; anything else refuses the whole call.
    async fn sort_taken(
        &self,
        prepared: &[Prepared],
        taken: impl Iterator<Item = (usize, Enqueued)>,
        fates: &mut [Fate],
    ) -> Result<Option<Vec<EnqueueAnswer>>> {
        let taken: Vec<(usize, Enqueued)> = taken.collect();
        let request = taken.iter().find_map(|(_, what)| match what {
            Enqueued::SameRequest(job) => Some(*job),
            _ => None,
        });
        if let Some(first) = request {
            return self.repeat_of(prepared, first).await.map(Some);
        }
        for (at, what) in taken {
            let Enqueued::SameRef(job) = what else { continue };
            let one = &prepared[at];
            let ref_id = one.spec.ref_id.clone();
            let known = self.store.views(&[job], Payloads::LeftOut).await?.pop();
            let same = known
                .filter(|view| view.job.digest == one.digest && one.ref_policy == RefPolicy::ReturnExisting);
            let Some(view) = same else {
                tracing::debug!(item = at, "a batch was refused for a ref id that is taken");
                return Err(Error::RefTaken { ref_id, job });
            };
            fates[at] = Fate::Exists(existing(&view, self.clock.now()));
        }
        Ok(None)
    }

    /// The answer to the first call of the same request id. Its jobs have ids in a row, less those that stood for others.
    async fn repeat_of(&self, prepared: &[Prepared], first: JobId) -> Result<Vec<EnqueueAnswer>> {
        let reused = || Error::RequestReused(request_of(prepared));
        let begun = self.store.views(&[first], Payloads::LeftOut).await?.pop().ok_or_else(reused)?;
        let skipped = prepared.iter().position(|one| one.digest == begun.job.digest).ok_or_else(reused)?;
        let base = first.0 - skipped as i64;
        let ids: Vec<JobId> = (0..prepared.len()).map(|at| JobId(base + at as i64)).collect();
        let mut views: HashMap<JobId, View> = self
            .store
            .views(&ids, Payloads::LeftOut)
            .await?
            .into_iter()
            .map(|view| (view.job.id, view))
            .collect();
        let now = self.clock.now();
        let mut answers = Vec::with_capacity(prepared.len());
        for (one, id) in prepared.iter().zip(ids) {
            let same = |view: &View| view.job.digest == one.digest;
            let view = match views.remove(&id).filter(same) {
                Some(view) => view,
                None if one.spec.ref_id.is_empty() => return Err(reused()),
                None => {
                    let job = self.id_of_ref(&one.spec.ref_id).await.map_err(|_| reused())?;
                    self.store
                        .views(&[job], Payloads::LeftOut)
                        .await?
                        .pop()
                        .filter(same)
                        .ok_or_else(reused)?
                }
            };
            answers.push(existing(&view, now));
        }
        Ok(answers)
    }

    async fn stand_of(&self, new: &[NewJob]) -> Result<Vec<Enqueued>> {
        let ids: Vec<JobId> = new.iter().map(|new| new.job.id).collect();
        let now = self.clock.now();
        let states: HashMap<JobId, State> = self
            .store
            .views(&ids, Payloads::LeftOut)
            .await?
            .into_iter()
            .map(|view| (view.job.id, view.state(now)))
            .collect();
        let stand = |id: &JobId| match states.get(id) {
            Some(State::Blocked) => Enqueued::Waiting(Wait::Parents),
            Some(State::Cancelled) => Enqueued::Cancelled,
            Some(State::Running) => Enqueued::Leased,
            _ => Enqueued::Ready,
        };
        Ok(ids.iter().map(stand).collect())
    }

    async fn count_batch(&self, batch_id: &str) -> Result<BatchCounts> {
        let now = self.clock.now();
        let mut counts = BatchCounts::default();
        let mut is_open = false;
        for range in self.store.months().await? {
            let mut after = None;
            loop {
                let source = WalkSource::Batch(range.month, batch_id.to_owned());
                let walk = Walk { source, order: Order::OldestFirst, after, limit: STEP };
                let ids = self.store.walk(&walk).await?;
                for view in self.store.views(&ids, Payloads::LeftOut).await? {
                    let created = counts.create_time.unwrap_or(view.job.create_time);
                    counts.create_time = Some(created.min(view.job.create_time));
                    match view.outcome() {
                        Some(outcome) => {
                            counts.finish_time = counts.finish_time.max(Some(outcome.finish_time))
                        }
                        None => is_open = true,
                    }
                    *counts.states.entry(view.state(now)).or_default() += 1;
                }
                if (ids.len() as i64) < STEP {
                    break;
                }
                after = ids.last().copied();
            }
        }
        if counts.states.is_empty() {
            return Err(Error::NotFound { kind: "batch", name: format!("{batch_id:?}") });
        }
        if is_open {
            counts.finish_time = None;
        }
        Ok(counts)
    }
}

/// A fresh batch id; a repeat of the same request gets the same.
fn new_batch_id(call: &BatchCall) -> String {
    if call.request_id.is_empty() {
        format!("batch-{:016x}", clock::random_63())
    } else {
        let digest = crate::model::digest([call.request_id.as_bytes()]);
        format!("batch-{}", crate::model::SessionId(digest))
    }
}

fn with_batch(mut item: BatchItem, batch_id: &str) -> BatchItem {
    if item.call.spec.batch_id.is_empty() {
        item.call.spec.batch_id = batch_id.to_owned();
    }
    item
}

fn new_places(fates: &[Fate]) -> impl Iterator<Item = usize> {
    fates.iter().enumerate().filter(|(_, fate)| matches!(fate, Fate::New)).map(|(at, _)| at)
}

/// The request id goes with the first job that is really stored.
fn move_request(prepared: &mut [Prepared], fates: &[Fate], request_id: &str) {
    let named = prepared.iter_mut().filter(|one| !one.spec.request_id.is_empty());
    named.for_each(|one| Arc::make_mut(&mut one.spec).request_id.clear());
    if let Some(at) = new_places(fates).next() {
        Arc::make_mut(&mut prepared[at].spec).request_id = request_id.to_owned();
    }
}

fn request_of(prepared: &[Prepared]) -> String {
    prepared.iter().map(|one| one.spec.request_id.clone()).find(|id| !id.is_empty()).unwrap_or_default()
}

fn existing(view: &View, now: crate::model::Time) -> EnqueueAnswer {
    EnqueueAnswer { job: view.job.id, ref_id: view.job.ref_id(), created: false, state: view.state(now) }
}

fn answers_of(new: &[NewJob], answers: &[Enqueued], fates: Vec<Fate>) -> Vec<EnqueueAnswer> {
    let mut stored = new.iter().zip(answers).map(|(new, what)| EnqueueAnswer {
        job: new.job.id,
        ref_id: new.job.ref_id(),
        created: true,
        state: match what {
            Enqueued::Waiting(Wait::Turn(_) | Wait::Parents) => State::Blocked,
            Enqueued::Cancelled => State::Cancelled,
            Enqueued::Leased => State::Running,
            _ if new.job.ready.ready_time > new.job.create_time => State::Scheduled,
            _ => State::Queued,
        },
    });
    let answer = |fate| match fate {
        Fate::New => stored.next(),
        Fate::Exists(known) => Some(known),
    };
    fates.into_iter().filter_map(answer).collect()
}
