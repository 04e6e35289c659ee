//! Timeouts of attempts.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command_with, completed, fixed_retry};
use haulier_tests::{HandWorker, Registration, Server, figure, monotonic, on_both, seconds};
use pb::{AttemptOutcome, FailureReason, JobOptions, JobState, ReportErrorCode};

on_both!(
    an_attempt_that_runs_over_its_timeout_and_grace_has_failed_and_is_retried,
    a_handler_that_runs_over_its_timeout_is_told_to_stop,
    a_result_within_the_grace_is_accepted,
);

fn options(retry_limit: i32) -> JobOptions {
    JobOptions { timeout: seconds(1.0), retry_policy: fixed_retry(retry_limit, 0.1), ..Default::default() }
}

async fn an_attempt_that_runs_over_its_timeout_and_grace_has_failed_and_is_retried(server: &Server) {
    let stored = server.enqueue(command_with("work", options(1))).await;
    let mut worker = HandWorker::begin(server, Registration::of(&["work"])).await;
    let begun = monotonic();
    let first = worker.claim_one().await;
    assert!(first.timeout.unwrap().seconds <= 1);
    let beat = worker.heartbeat(&[&first.lease]);
    let mut talk = worker.converse_with(beat).await;
    worker.beat_until_lost(&mut talk, &first.lease).await;
    let waited = monotonic() - begun;
    figure(&format!("revoked after {waited:?}"));
    assert!(waited >= Duration::from_secs(11), "revoked after {waited:?}, within timeout and grace");
    let second = worker.claim_one().await;
    assert_eq!((second.job_id, second.attempt, second.crashes), (stored.job_id, 2, 0));
    assert_eq!(worker.end_refused(&first.lease, completed("\"late\"")).await, ReportErrorCode::LeaseLost);
    let attempts = server.attempts(stored.job_id).await;
    assert_eq!(attempts[0].outcome(), AttemptOutcome::TimedOut);
    assert_eq!(attempts[0].error.as_ref().unwrap().reason(), FailureReason::Timeout);
    let failed = server.wait_for_state(stored.job_id, JobState::Failed).await;
    assert_eq!((failed.attempt, failed.error.unwrap().reason()), (2, FailureReason::Timeout));
}

async fn a_handler_that_runs_over_its_timeout_is_told_to_stop(server: &Server) {
    server.enqueue(command_with("work", options(1))).await;
    let mut worker = HandWorker::begin(server, Registration::of(&["work"])).await;
    let begun = monotonic();
    let job = worker.claim_one().await;
    let beat = worker.heartbeat(&[&job.lease]);
    let mut talk = worker.converse_with(beat).await;
    let told = talk.cancel_of(&job.lease).await;
    figure(&format!("told after {:?}", monotonic() - begun));
    assert_eq!(told.kind(), pb::CancelKind::Timeout);
    assert!(monotonic() - begun >= Duration::from_secs(1));
    assert_eq!(server.summary(job.job_id).await.state(), JobState::Running);
}

async fn a_result_within_the_grace_is_accepted(server: &Server) {
    server.enqueue(command_with("work", options(0))).await;
    let mut worker = HandWorker::begin(server, Registration::of(&["work"])).await;
    let job = worker.claim_one().await;
    // Past the timeout and two ticks of the reaper, within the grace.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
}
