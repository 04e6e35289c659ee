//! What comes with an outcome: the callback, and the jobs that a handler hands over with its result.

use std::sync::Arc;

use super::prepare::Prepared;
use super::unit::unit;
use super::{BatchItem, Core, Engine, EnqueueCall, Error, OutcomeReport, Result};
use crate::model::{
    Ended, FailureReason, Fence, JobError, Payload, RefPolicy, Reply, ReplyMode, Spec, View, Work, limits,
};
use crate::store::{Enqueued, Finish, Finished, NewJob, Payloads};

impl Engine {
    /// Ends an attempt, with its callback and the jobs that come along. Where these cannot be stored the attempt fails:
    /// an outcome is never stored without them.
    pub(crate) async fn finish_attempt(&self, mut outcome: OutcomeReport) -> Result<Finished> {
        let (fence, log_sequence) = (outcome.fence, outcome.log_sequence);
        let mut coming = match self.prepare_follow(fence, std::mem::take(&mut outcome.follow)).await {
            Ok(prepared) => prepared,
            Err(error @ (Error::Invalid(_) | Error::ParentNotFound(_))) => {
                return self.refuse(fence, log_sequence, error.to_string()).await;
            }
            Err(error) => return Err(error),
        };
        for _ in 0..limits::TRANSACTION_TRIES_MAX {
            let new = self.give_ids(&coming).await?;
            match self.end_one(outcome.finish(new)).await? {
                Finished::NeedsCallback => {
                    let core = Arc::clone(&self.core);
                    let result = outcome.result.clone();
                    match unit(async move { core.callback(fence, result).await }).await? {
                        Some(callback) => Prepared::put_first(&mut coming, callback),
                        None => return Ok(Finished::LeaseLost),
                    }
                }
                Finished::Taken(taken) => {
                    if let Some(why) = self.leave_out_existing(&mut coming, taken).await? {
                        return self.refuse(fence, log_sequence, why).await;
                    }
                }
                Finished::Crowded(parent) => {
                    return self
                        .refuse(fence, log_sequence, Error::TooManyChildren(parent).to_string())
                        .await;
                }
                finished => return Ok(finished),
            }
        }
        Err(Error::Unavailable)
    }

    /// Fails an attempt whose result cannot be stored as it came.
    async fn refuse(&self, fence: Fence, log_sequence: i64, why: String) -> Result<Finished> {
        let ended = follow_refused(why);
        self.end_one(Finish { fence, ended, result: Payload::None, log_sequence, follow: Vec::new() }).await
    }

    async fn end_one(&self, end: Finish) -> Result<Finished> {
        let answers = self.finishes.join(vec![end]).await?;
        answers.into_iter().next().ok_or_else(|| Error::Internal("an end was not answered".into()))
    }

    async fn prepare_follow(&self, fence: Fence, items: Vec<BatchItem>) -> Result<Vec<Prepared>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let core = Arc::clone(&self.core);
        unit(async move {
            let Some(parent) = core.leased(fence).await? else { return Ok(Vec::new()) };
            let items = items.into_iter().map(|mut item| {
                inherit(&mut item.call.spec, &parent);
                item
            });
            core.prepare_all(items.collect()).await
        })
        .await
    }

    async fn give_ids(&self, coming: &[Prepared]) -> Result<Vec<NewJob>> {
        if coming.is_empty() {
            return Ok(Vec::new());
        }
        let (core, coming) = (Arc::clone(&self.core), coming.to_vec());
        unit(async move {
            let ids = core.ids.take(&*core.store, coming.len()).await?;
            Ok(core.new_jobs(&coming, &ids).await?)
        })
        .await
    }

    /// A job that exists already with the same content, and may, need not be stored again. Answers why it may not.
    async fn leave_out_existing(
        &self,
        coming: &mut Vec<Prepared>,
        taken: Vec<(usize, Enqueued)>,
    ) -> Result<Option<String>> {
        for (at, what) in taken.into_iter().rev() {
            let (Enqueued::SameRef(job) | Enqueued::SameRequest(job)) = what else { continue };
            let one = &coming[at];
            let core = Arc::clone(&self.core);
            let views = unit(async move { Ok(core.store.views(&[job], Payloads::LeftOut).await?) }).await?;
            let same = views.first().is_some_and(|view| view.job.digest == one.digest);
            if !same || one.ref_policy != RefPolicy::ReturnExisting || one.is_local_parent(coming, at) {
                let ref_id = one.spec.ref_id.clone();
                return Ok(Some(Error::RefTaken { ref_id, job }.to_string()));
            }
            Prepared::remove(coming, at);
        }
        Ok(None)
    }
}

impl Core {
    /// A leased job, if this lease of it holds.
    async fn leased(&self, fence: Fence) -> Result<Option<View>> {
        let view = self.store.views(&[fence.job], Payloads::LeftOut).await?.pop();
        Ok(view.filter(|view| view.lease().is_some_and(|lease| lease.fence == fence)))
    }

    /// The job of a callback: the result is its request; it is retried as the job was, and inherits what says where the
    /// job belongs and on whose behalf it ran.
    async fn callback(&self, fence: Fence, result: Payload) -> Result<Option<Prepared>> {
        let Some(view) = self.leased(fence).await? else { return Ok(None) };
        let Some(callback) = view.job.spec.callback.clone() else { return Ok(None) };
        let of = &view.job.spec;
        let mut args = of.args.clone();
        args.extend(callback.args);
        let mut spec = Box::new(Spec::new(Work::Command(callback.command)));
        inherit(&mut spec, &view);
        spec.queue = of.queue.clone();
        spec.priority = of.priority;
        spec.timeout = of.timeout;
        spec.retry = of.retry.clone();
        spec.tag = of.tag.clone();
        spec.batch_id = of.batch_id.clone();
        spec.created_by = of.created_by.clone();
        spec.args = args;
        spec.callback_of = Some((view.job.id, view.job.run));
        spec.reply = of.reply.clone().map(|reply| Reply { mode: ReplyMode::Carry, ..reply });
        let call = EnqueueCall {
            spec,
            request: result,
            ref_policy: RefPolicy::Fail,
            delay: None,
            parents: Vec::new(),
        };
        self.prepare(call).await.map(Some)
    }
}

/// The end of an attempt whose result cannot be stored as it came.
pub(super) fn follow_refused(why: String) -> Ended {
    let error = JobError {
        code: "FOLLOW_UP_REFUSED".into(),
        message: format!("a job that came with the result was refused: {why}"),
        stack: String::new(),
        reason: FailureReason::UnstorableResult,
    };
    Ended::Failed { error, retryable: Some(false), retry_delay: None }
}

/// A job that comes from another one belongs to it, and to its user, unless it says otherwise.
pub(super) fn inherit(spec: &mut Spec, parent: &View) {
    let of = &parent.job.spec;
    spec.parent_id = spec.parent_id.or(Some(parent.job.id));
    spec.enqueued_by = of.enqueued_by.clone();
    if spec.user_id.is_empty() && spec.user_claims.is_empty() {
        spec.user_id = of.user_id.clone();
        spec.user_claims = of.user_claims.clone();
    }
    if spec.traceparent.is_empty() {
        spec.traceparent = of.traceparent.clone();
        spec.tracestate = of.tracestate.clone();
    }
}
