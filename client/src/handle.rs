//! A stored job, as its caller holds it: wait, look, follow, cancel, requeue.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use futures::TryStreamExt as _;
use haulier_proto::v1 as pb;
use haulier_proto::v1::job_result::Record;
use serde::de::DeserializeOwned;

use crate::calls::{CancelJob, GetJob, RequeueJob};
use crate::client::Client;
use crate::errors::{Error, JobCancelled, JobFailed, Result};
use crate::options::Dependency;
use crate::payload::Payload;
use crate::watch::{JobEvent, Watch};

/// A job that was stored, whose result reads as `T`.
pub struct JobHandle<T = serde_json::Value> {
    client: Client,
    job: pb::EnqueuedJob,
    output: PhantomData<fn() -> T>,
}

impl<T> JobHandle<T> {
    pub(crate) fn new(client: Client, job: pb::EnqueuedJob) -> Self {
        Self { client, job, output: PhantomData }
    }

    /// Id of the job.
    pub fn id(&self) -> i64 {
        self.job.job_id
    }

    /// Ref id of the job, the caller's or a generated one.
    pub fn ref_id(&self) -> &str {
        &self.job.ref_id
    }

    /// Local key in its batch; empty when it has none.
    pub fn local_key(&self) -> &str {
        &self.job.local_key
    }

    /// Whether this call stored it. False: the same request id or ref id had stored it before.
    pub fn created(&self) -> bool {
        self.job.created
    }

    /// Its state when it was stored.
    pub fn state(&self) -> pb::JobState {
        self.job.state()
    }

    /// The job as it is now.
    pub fn get(&self) -> GetJob {
        self.client.get(self.id())
    }

    /// Follows the job until its outcome is settled.
    pub fn watch(&self) -> Watch {
        self.client.watch(self.id())
    }

    /// Cancels it.
    pub fn cancel(&self) -> CancelJob {
        self.client.cancel(self.id())
    }

    /// Starts a new run of it, once it has failed or was cancelled.
    pub fn requeue(&self) -> RequeueJob {
        self.client.requeue(self.id())
    }

    /// Waits until the outcome is settled, well or not, and gives back the full record.
    pub async fn settled(&self) -> Result<pb::JobResult> {
        settled(self.watch().include_logs(false)).await
    }

    /// The same job, its result read as another type.
    pub fn typed<U>(self) -> JobHandle<U> {
        JobHandle::new(self.client, self.job)
    }
}

impl<T: DeserializeOwned> JobHandle<T> {
    /// Waits until the job has ended and reads its result. [`Error::JobFailed`] and [`Error::JobCancelled`] say that there is none.
    pub async fn wait(&self) -> Result<T> {
        result_of(self.settled().await?)?.read()
    }

    /// As [`Self::wait`], but waits at most this long, then gives [`Error::WaitOver`]; the job goes on.
    pub async fn wait_within(&self, time: Duration) -> Result<T> {
        let over = |_| Error::WaitOver { what: format!("job {}", self.id()), waited: time };
        tokio::time::timeout(time, self.wait()).await.map_err(over)?
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("id", &self.id())
            .field("ref_id", &self.ref_id())
            .finish_non_exhaustive()
    }
}

impl<T> Clone for JobHandle<T> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), self.job.clone())
    }
}

impl<T> From<&JobHandle<T>> for Dependency {
    fn from(job: &JobHandle<T>) -> Self {
        Self::job(job.id())
    }
}

/// Whether a state says how the job ended.
pub fn is_settled(state: pb::JobState) -> bool {
    matches!(
        state,
        pb::JobState::Executed | pb::JobState::Completed | pb::JobState::Failed | pb::JobState::Cancelled
    )
}

pub(crate) async fn settled(mut events: Watch) -> Result<pb::JobResult> {
    let mut last = None;
    while let Some(event) = events.try_next().await? {
        if let JobEvent::Snapshot(job) = event.event {
            last = Some(job);
        }
    }
    // The stream ends well only after a snapshot that shows the outcome.
    last.map(|job| *job)
        .ok_or_else(|| Error::from_status("WatchJob", &tonic::Status::internal("ended without an outcome")))
}

/// The result of a job that has ended, or why there is none.
pub fn result_of(job: pb::JobResult) -> Result<Payload> {
    let summary = job.summary.unwrap_or_default();
    let name = if summary.id == 0 { summary.ref_id } else { summary.id.to_string() };
    let attempts = summary.attempt.try_into().unwrap_or_default();
    match job.record {
        Some(Record::Completed(_)) if job.payloads_hidden => Err(Error::PayloadsHidden { job: name }),
        Some(Record::Completed(completed)) => Ok(completed.result.into()),
        Some(Record::Failed(failed)) if failed.cancel_reason() != pb::CancelReason::Unspecified => {
            Err(cancellation(&name, failed.cancel_reason(), &failed.cancel_message))
        }
        Some(Record::Failed(failed)) => Err(failure(&name, attempts, failed.error)),
        Some(Record::Queued(_)) | None => {
            Err(Error::WaitOver { what: format!("job {name}"), waited: Duration::ZERO })
        }
    }
}

pub(crate) fn failure(job: &str, attempts: u32, error: Option<pb::JobError>) -> Error {
    let error = error.unwrap_or_default();
    let reason = error.reason();
    let pb::JobError { code, message, stack, .. } = error;
    Error::JobFailed(Box::new(JobFailed { job: job.to_owned(), code, message, stack, attempts, reason }))
}

pub(crate) fn cancellation(job: &str, reason: pb::CancelReason, message: &str) -> Error {
    Error::JobCancelled(Box::new(JobCancelled { job: job.to_owned(), reason, message: message.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(record: Record) -> pb::JobResult {
        let summary = pb::JobSummary { id: 7, attempt: 3, ..Default::default() };
        pb::JobResult { summary: Some(summary), record: Some(record), ..Default::default() }
    }

    #[test]
    fn a_completed_job_gives_its_result() {
        let completed =
            pb::CompletedJob { result: Payload::json(&[1, 2]).unwrap().into(), ..Default::default() };
        assert_eq!(
            result_of(ended(Record::Completed(completed))).unwrap().read::<Vec<i32>>().unwrap(),
            [1, 2]
        );
    }

    #[test]
    fn a_failed_job_gives_code_message_stack_attempts_and_reason() {
        let error = pb::JobError {
            code: "MailError".into(),
            message: "no route".into(),
            stack: "caused by: refused".into(),
            reason: pb::FailureReason::Abandoned.into(),
        };
        let failed = pb::FailedJob { error: Some(error), ..Default::default() };
        let error = result_of(ended(Record::Failed(failed))).unwrap_err();
        let failed = error.job_failed().unwrap();
        assert_eq!(
            (failed.code.as_str(), failed.message.as_str(), failed.attempts),
            ("MailError", "no route", 3)
        );
        assert_eq!(
            (failed.reason, failed.stack.as_str()),
            (pb::FailureReason::Abandoned, "caused by: refused")
        );
    }

    #[test]
    fn a_cancelled_job_gives_the_reason_even_when_an_attempt_had_failed() {
        let failed = pb::FailedJob {
            error: Some(pb::JobError::default()),
            cancel_reason: pb::CancelReason::Parent.into(),
            cancel_message: "job 6 failed".into(),
            ..Default::default()
        };
        let error = result_of(ended(Record::Failed(failed))).unwrap_err();
        assert!(
            matches!(&error, Error::JobCancelled(it) if it.reason == pb::CancelReason::Parent),
            "{error}"
        );
    }

    #[test]
    fn hidden_payloads_are_said_to_be_hidden() {
        let mut job = ended(Record::Completed(pb::CompletedJob::default()));
        job.payloads_hidden = true;
        assert!(matches!(result_of(job), Err(Error::PayloadsHidden { .. })));
    }
}
