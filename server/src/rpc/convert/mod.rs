//! Between the contract's messages and the model, both ways. What comes in is checked while it is converted.

mod api;
mod delivery;
mod filter;
mod job;
mod options;
mod overview;
mod payload;
mod recurring;
mod report;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use haulier_proto::v1 as pb;

pub(crate) use api::enqueue_api;
pub(crate) use delivery::{delivery, list_deliveries, replay_delivery};
pub(crate) use filter::{filter, list_order};
pub(crate) use job::{
    Read, attempt, batch, batch_message, enqueue, enqueued_job, explanation, exported, job_key, job_result,
    job_summary, log_level, log_line, parent_result, take_trace, watch_event, watch_many_event,
};
pub(crate) use options::{Options, options};
pub(crate) use overview::{command, overview, server};
pub(crate) use payload::{payload, payload_message};
pub(crate) use recurring::{list_tasks, preview, put_task, task_message};
pub(crate) use report::{Answers, Taken, report, session_of};
pub(crate) use worker::{claim, claim_answer, register, registered, worker_process};

use crate::model::{
    CancelReason, FailureReason, JobError, LiveCounts, Retention, RetryProfiles, State, Time,
};
use crate::rpc::Egress;

/// What the configuration says about requests.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest request, result or checkpoint, bytes.
    pub payload_bytes_max: usize,
    /// Timeout of a job that sets none.
    pub timeout: Duration,
    /// Jobs of one batch at most.
    pub batch_jobs_max: usize,
    /// How long RunCommand waits for a worker process that serves the command.
    pub run_wait: Duration,
    /// Retry profiles by name.
    pub retry: Arc<RetryProfiles>,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// What may leave the server; nothing without.
    pub egress: Option<Arc<dyn Egress>>,
}

/// The contract's state.
pub(crate) fn state(state: State) -> pb::JobState {
    match state {
        State::Scheduled => pb::JobState::Scheduled,
        State::Blocked => pb::JobState::Blocked,
        State::Queued => pb::JobState::Queued,
        State::Running => pb::JobState::Running,
        State::Executed => pb::JobState::Executed,
        State::Completed => pb::JobState::Completed,
        State::Failed => pb::JobState::Failed,
        State::Cancelled => pb::JobState::Cancelled,
    }
}

/// The state's name as people know it from the contract, such as `RUNNING`.
pub(crate) fn state_name(of: State) -> &'static str {
    state(of).as_str_name().trim_start_matches("JOB_STATE_")
}

pub(crate) fn timestamp(time: Time) -> prost_types::Timestamp {
    let nanos = time.0.rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp { seconds: time.0.div_euclid(1_000_000), nanos: nanos as i32 }
}

pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos() as i32 }
}

/// Counts of jobs that have not ended.
pub(crate) fn live_counts(live: &LiveCounts) -> pb::JobCounts {
    let LiveCounts { scheduled, blocked, queued, running, .. } = *live;
    let total = scheduled + blocked + queued + running;
    pb::JobCounts { scheduled, blocked, queued, running, total, ..Default::default() }
}

pub(crate) fn job_error(error: &JobError) -> pb::JobError {
    pb::JobError {
        code: error.code.clone(),
        message: error.message.clone(),
        stack: error.stack.clone(),
        reason: failure_reason(error.reason).into(),
    }
}

fn failure_reason(reason: FailureReason) -> pb::FailureReason {
    match reason {
        FailureReason::Handler => pb::FailureReason::Handler,
        FailureReason::NonRetryable => pb::FailureReason::NonRetryable,
        FailureReason::Timeout => pb::FailureReason::Timeout,
        FailureReason::Crash => pb::FailureReason::WorkerLost,
        FailureReason::Poison => pb::FailureReason::Poison,
        FailureReason::Abandoned => pb::FailureReason::Abandoned,
        FailureReason::UnreadableRequest => pb::FailureReason::UnreadableRequest,
        FailureReason::Api => pb::FailureReason::Api,
        FailureReason::UnstorableResult => pb::FailureReason::UnstorableResult,
    }
}

fn cancel_reason(reason: CancelReason) -> pb::CancelReason {
    match reason {
        CancelReason::Client => pb::CancelReason::Client,
        CancelReason::Expired => pb::CancelReason::Expired,
        CancelReason::Parent => pb::CancelReason::Parent,
        CancelReason::Forced => pb::CancelReason::Forced,
        CancelReason::Handler => pb::CancelReason::Handler,
        CancelReason::Superseded => pb::CancelReason::Superseded,
    }
}

#[cfg(test)]
pub(crate) mod tests;
