//! Cancelling jobs that wait, run, or have ended.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{cancelled, command, command_with, completed, failed, fixed_retry};
use haulier_tests::{
    HandWorker, Registration, Server, figure, monotonic, on_both, on_two_servers, refusal, seconds,
};
use pb::{AttemptOutcome, CancelKind, CancelReason, CancelResult, JobOptions, JobState, ReportErrorCode};
use tonic::Code;

/// Promised; three times that is a failure.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

on_both!(
    a_waiting_job_is_cancelled_at_once_and_never_starts,
    a_scheduled_job_is_cancelled_at_once,
    a_job_between_two_attempts_is_cancelled_at_once,
    a_running_job_is_told_within_a_second_and_its_handler_ends_it,
    a_result_after_a_cancel_and_within_the_grace_stands,
    a_failure_after_a_cancel_is_not_retried,
    a_running_job_that_does_not_stop_within_the_grace_is_cancelled_by_force,
    a_job_that_has_ended_answers_already_finished_and_stays_as_it_is,
    a_cancel_again_of_a_running_job_is_answered_the_same,
    a_job_is_cancelled_by_its_ref_id,
    a_cancel_reaches_a_stream_that_is_opened_after_it,
    a_cancel_goes_down_the_stream_that_beat_last,
    a_job_whose_worker_is_lost_after_a_cancel_is_cancelled,
    a_job_that_does_not_exist_cannot_be_cancelled,
);

on_two_servers!(a_cancel_at_one_server_reaches_a_worker_of_the_other_within_a_second);

async fn a_waiting_job_is_cancelled_at_once_and_never_starts(server: &Server) {
    let stored = server.enqueue(command("work")).await;
    let answer = server.cancel(stored.job_id, "not needed", None).await;
    assert_eq!(answer.result(), CancelResult::Cancelled);
    let summary = answer.job.unwrap();
    assert_eq!((summary.state(), summary.cancel_reason()), (JobState::Cancelled, CancelReason::Client));
    assert_eq!(summary.cancel_message, "not needed");
    let mut worker = HandWorker::register(server, &["work"]).await;
    assert!(worker.claim_within(1, Duration::from_millis(700)).await.is_empty());
    let Some(pb::job_result::Record::Failed(record)) = server.job(stored.job_id).await.record else {
        panic!("a cancelled job has a failed record")
    };
    assert_eq!(
        (record.cancel_reason(), record.cancel_message.as_str()),
        (CancelReason::Client, "not needed")
    );
    assert!(server.attempts(stored.job_id).await.is_empty());
}

async fn a_scheduled_job_is_cancelled_at_once(server: &Server) {
    let options = JobOptions { delay: seconds(3_600.0), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    assert_eq!(server.cancel(stored.job_id, "", None).await.result(), CancelResult::Cancelled);
    assert_eq!(server.summary(stored.job_id).await.state(), JobState::Cancelled);
}

async fn a_job_between_two_attempts_is_cancelled_at_once(server: &Server) {
    let (worker, job, _talk) =
        running(server, JobOptions { retry_policy: fixed_retry(5, 600.0), ..Default::default() }).await;
    worker.end_well(&job.lease, failed("no")).await;
    assert_eq!(server.cancel(job.job_id, "enough", None).await.result(), CancelResult::Cancelled);
    let summary = server.summary(job.job_id).await;
    assert_eq!((summary.state(), summary.attempt), (JobState::Cancelled, 1));
}

/// A job that runs, with its worker process listening.
async fn running(
    server: &Server,
    options: JobOptions,
) -> (HandWorker, pb::LeasedJob, haulier_tests::Conversation) {
    server.enqueue(command_with("work", options)).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    let beat = worker.heartbeat(&[&job.lease]);
    let mut talk = worker.converse_with(beat).await;
    talk.beat_taken(1).await;
    (worker, job, talk)
}

async fn a_running_job_is_told_within_a_second_and_its_handler_ends_it(server: &Server) {
    let (worker, job, mut talk) = running(server, JobOptions::default()).await;
    let begun = monotonic();
    let answer = server.cancel(job.job_id, "changed my mind", seconds(20.0)).await;
    assert_eq!(answer.result(), CancelResult::Requested);
    let summary = answer.job.unwrap();
    assert_eq!((summary.state(), summary.cancel_requested), (JobState::Running, true));
    let told = talk.cancel_of(&job.lease).await;
    let waited = monotonic() - begun;
    figure(&format!("told after {waited:?}, promised within {TOLD_WITHIN:?}"));
    assert!(waited < 3 * TOLD_WITHIN, "{waited:?}");
    assert_eq!((told.reason.as_str(), told.kind()), ("changed my mind", CancelKind::Client));
    assert!((1..=20).contains(&told.grace.unwrap().seconds), "{told:?}");
    let Some(pb::job_result::Record::Queued(record)) = server.job(job.job_id).await.record else {
        panic!("a running job is queued")
    };
    assert!(record.cancel_deadline_time.is_some());
    assert_eq!(worker.end_well(&job.lease, cancelled("")).await, JobState::Cancelled);
    let summary = server.summary(job.job_id).await;
    assert_eq!(summary.cancel_reason(), CancelReason::Client);
    assert_eq!(summary.cancel_message, "changed my mind");
    assert_eq!(server.attempts(job.job_id).await[0].outcome(), AttemptOutcome::Cancelled);
}

async fn a_result_after_a_cancel_and_within_the_grace_stands(server: &Server) {
    let (worker, job, mut talk) = running(server, JobOptions::default()).await;
    server.cancel(job.job_id, "too late", None).await;
    talk.cancel_of(&job.lease).await;
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
    assert_eq!(server.summary(job.job_id).await.cancel_reason(), CancelReason::Unspecified);
}

async fn a_failure_after_a_cancel_is_not_retried(server: &Server) {
    let (worker, job, mut talk) =
        running(server, JobOptions { retry_policy: fixed_retry(5, 0.1), ..Default::default() }).await;
    server.cancel(job.job_id, "stop", None).await;
    talk.cancel_of(&job.lease).await;
    assert_eq!(worker.end_well(&job.lease, failed("interrupted")).await, JobState::Cancelled);
    assert_eq!(server.summary(job.job_id).await.cancel_reason(), CancelReason::Client);
}

async fn a_running_job_that_does_not_stop_within_the_grace_is_cancelled_by_force(server: &Server) {
    let (mut worker, job, mut talk) = running(server, JobOptions::default()).await;
    let begun = monotonic();
    server.cancel(job.job_id, "now", seconds(1.0)).await;
    worker.beat_until_lost(&mut talk, &job.lease).await;
    assert!(monotonic() - begun >= Duration::from_secs(1));
    let summary = server.wait_for_state(job.job_id, JobState::Cancelled).await;
    assert_eq!(summary.cancel_reason(), CancelReason::Forced);
    assert_eq!(worker.end_refused(&job.lease, completed("1")).await, ReportErrorCode::LeaseLost);
    assert_eq!(server.summary(job.job_id).await.state(), JobState::Cancelled);
}

async fn a_job_that_has_ended_answers_already_finished_and_stays_as_it_is(server: &Server) {
    let (worker, job, _talk) = running(server, JobOptions::default()).await;
    worker.end_well(&job.lease, completed("1")).await;
    let answer = server.cancel(job.job_id, "late", None).await;
    assert_eq!(answer.result(), CancelResult::AlreadyFinished);
    assert_eq!(answer.job.unwrap().state(), JobState::Completed);
    let stored = server.enqueue(command("work")).await;
    server.cancel(stored.job_id, "one", None).await;
    let again = server.cancel(stored.job_id, "two", None).await;
    assert_eq!(again.result(), CancelResult::AlreadyFinished);
    assert_eq!(again.job.unwrap().cancel_message, "one");
}

async fn a_cancel_again_of_a_running_job_is_answered_the_same(server: &Server) {
    let (worker, job, _talk) = running(server, JobOptions::default()).await;
    for _ in 0..2 {
        assert_eq!(server.cancel(job.job_id, "stop", None).await.result(), CancelResult::Requested);
    }
    assert_eq!(worker.end_well(&job.lease, cancelled("")).await, JobState::Cancelled);
}

async fn a_job_is_cancelled_by_its_ref_id(server: &Server) {
    let options = JobOptions { ref_id: "one".into(), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    let target = Some(pb::cancel_job_request::Target::RefId("one".into()));
    let answer =
        server.jobs().cancel_job(pb::CancelJobRequest { target, ..Default::default() }).await.unwrap();
    assert_eq!(answer.into_inner().job.unwrap().id, stored.job_id);
    assert_eq!(server.summary(stored.job_id).await.state(), JobState::Cancelled);
}

async fn a_cancel_reaches_a_stream_that_is_opened_after_it(server: &Server) {
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    server.cancel(job.job_id, "stop", None).await;
    let beat = worker.heartbeat(&[&job.lease]);
    let mut talk = worker.converse_with(beat).await;
    assert_eq!(talk.cancel_of(&job.lease).await.reason, "stop");
}

/// A worker process whose event loop hangs beats on a second stream for a while: without claim loops and inventory, which only renews.
async fn a_cancel_goes_down_the_stream_that_beat_last(server: &Server) {
    let (mut worker, job, mut usual) = running(server, JobOptions::default()).await;
    let mut spare = worker.converse().await;
    let renewal = pb::Heartbeat { beat: 1_000, ..Default::default() };
    spare.say(pb::ReportJobsRequest { heartbeat: Some(renewal), ..Default::default() }).await;
    spare.beat_taken(1_000).await;
    let beat = worker.heartbeat(&[&job.lease]);
    let number = beat.heartbeat.as_ref().unwrap().beat;
    usual.say(beat).await;
    usual.beat_taken(number).await;
    spare.close();
    spare.rest().await;
    assert_eq!(server.cancel(job.job_id, "stop", None).await.result(), CancelResult::Requested);
    let begun = monotonic();
    assert_eq!(usual.cancel_of(&job.lease).await.reason, "stop");
    let waited = monotonic() - begun;
    assert!(waited < 3 * TOLD_WITHIN, "{waited:?}");
    assert_eq!(worker.end_well(&job.lease, cancelled("")).await, JobState::Cancelled);
}

async fn a_job_whose_worker_is_lost_after_a_cancel_is_cancelled(server: &Server) {
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::begin(server, Registration::short_lived(&["work"])).await;
    let job = worker.claim_one().await;
    worker.acknowledge().await;
    server.cancel(job.job_id, "stop", seconds(600.0)).await;
    let summary = server.wait_for_state(job.job_id, JobState::Cancelled).await;
    assert_eq!(summary.cancel_reason(), CancelReason::Client);
}

async fn a_job_that_does_not_exist_cannot_be_cancelled(server: &Server) {
    for target in [
        pb::cancel_job_request::Target::JobId(987_654),
        pb::cancel_job_request::Target::RefId("nobody".into()),
    ] {
        let request = pb::CancelJobRequest { target: Some(target), ..Default::default() };
        refusal(server.jobs().cancel_job(request).await).must_be(Code::NotFound, "JOB_NOT_FOUND");
    }
}

async fn a_cancel_at_one_server_reaches_a_worker_of_the_other_within_a_second(
    server: &Server,
    replica: &Server,
) {
    let (worker, job, mut talk) = running(server, JobOptions::default()).await;
    let begun = monotonic();
    assert_eq!(replica.cancel(job.job_id, "from afar", None).await.result(), CancelResult::Requested);
    talk.cancel_of(&job.lease).await;
    let waited = monotonic() - begun;
    figure(&format!("told after {waited:?}, promised within {TOLD_WITHIN:?}"));
    assert!(waited < 3 * TOLD_WITHIN, "{waited:?}");
    assert_eq!(worker.end_well(&job.lease, cancelled("")).await, JobState::Cancelled);
    assert_eq!(replica.summary(job.job_id).await.state(), JobState::Cancelled);
}
