//! Many at once: cancel and requeue by filter.

use std::process::{Command, Output};
use std::time::Duration;

use futures::StreamExt as _;
use haulier_proto::v1 as pb;
use haulier_tests::messages::{cancelled, command, command_with, completed, failed, fixed_retry};
use haulier_tests::{HandWorker, Server, figure, haulier_binary, monotonic, on_both, refusal};
use pb::{CancelJobsRequest, CancelReason, JobFilter, JobOptions, JobState, RequeueJobsRequest};
use tonic::Code;

on_both!(
    jobs_that_match_are_counted_and_then_cancelled,
    a_job_that_runs_is_told_and_one_that_ended_is_passed_over,
    only_jobs_in_the_named_states_are_cancelled,
    failed_and_cancelled_jobs_that_match_are_counted_and_then_requeued,
    dependants_are_requeued_with_their_parents_when_that_is_asked,
    a_filter_that_says_nothing_is_refused,
    a_filter_that_breaks_a_rule_is_refused_by_its_field,
    thousands_are_cancelled_and_requeued_in_small_steps,
    the_command_line_cancels_and_requeues_by_filter,
);

fn tagged(tag: &str) -> pb::EnqueueCommandRequest {
    let options = JobOptions { tag: tag.into(), retry_policy: fixed_retry(0, 1.0), ..Default::default() };
    command_with("work", options)
}

fn of_tag(tag: &str) -> Option<JobFilter> {
    Some(JobFilter { tag: tag.into(), ..Default::default() })
}

async fn cancel(server: &Server, request: CancelJobsRequest) -> pb::CancelJobsResponse {
    server.jobs().cancel_jobs(request).await.unwrap().into_inner()
}

async fn requeue(server: &Server, request: RequeueJobsRequest) -> pb::RequeueJobsResponse {
    server.jobs().requeue_jobs(request).await.unwrap().into_inner()
}

async fn jobs_that_match_are_counted_and_then_cancelled(server: &Server) {
    let mut wanted = Vec::new();
    for _ in 0..3 {
        wanted.push(server.enqueue(tagged("old")).await.job_id);
    }
    let delayed =
        JobOptions { delay: haulier_tests::seconds(3_600.0), tag: "old".into(), ..Default::default() };
    wanted.push(server.enqueue(command_with("other", delayed)).await.job_id);
    let kept = server.enqueue(tagged("new")).await.job_id;
    let request = CancelJobsRequest { filter: of_tag("old"), reason: "too old".into(), ..Default::default() };
    let counted = cancel(server, CancelJobsRequest { validate_only: true, ..request.clone() }).await;
    assert_eq!((counted.matched_count, counted.cancelled_count, counted.requested_count), (4, 0, 0));
    for job in &wanted {
        assert_ne!(server.summary(*job).await.state(), JobState::Cancelled);
    }
    let done = cancel(server, request.clone()).await;
    assert_eq!((done.matched_count, done.cancelled_count, done.requested_count), (4, 4, 0));
    for job in &wanted {
        let summary = server.summary(*job).await;
        assert_eq!((summary.state(), summary.cancel_reason()), (JobState::Cancelled, CancelReason::Client));
        assert_eq!(summary.cancel_message, "too old");
    }
    assert_eq!(server.summary(kept).await.state(), JobState::Queued);
    assert_eq!(cancel(server, request).await, pb::CancelJobsResponse::default());
    let mut worker = HandWorker::register(server, &["work"]).await;
    assert_eq!(worker.claim_one().await.job_id, kept);
}

async fn a_job_that_runs_is_told_and_one_that_ended_is_passed_over(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    server.enqueue(tagged("t")).await;
    let ended = worker.claim_one().await;
    worker.end_well(&ended.lease, completed("1")).await;
    server.enqueue(tagged("t")).await;
    let running = worker.claim_one().await;
    let waiting = server.enqueue(tagged("t")).await.job_id;
    let beat = worker.heartbeat(&[&running.lease]);
    let mut talk = worker.converse_with(beat).await;
    let request = CancelJobsRequest { filter: of_tag("t"), reason: "stop".into(), ..Default::default() };
    let done = cancel(server, request).await;
    assert_eq!((done.matched_count, done.cancelled_count, done.requested_count), (2, 1, 1));
    assert_eq!(talk.cancel_of(&running.lease).await.reason, "stop");
    assert_eq!(worker.end_well(&running.lease, cancelled("")).await, JobState::Cancelled);
    assert_eq!(server.summary(ended.job_id).await.state(), JobState::Completed);
    assert_eq!(server.summary(waiting).await.state(), JobState::Cancelled);
}

async fn only_jobs_in_the_named_states_are_cancelled(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    server.enqueue(command("work")).await;
    let running = worker.claim_one().await;
    let waiting = server.enqueue(command("work")).await.job_id;
    let of = |states: &[JobState]| {
        let states = states.iter().map(|state| (*state).into()).collect();
        let filter = Some(JobFilter { states, ..Default::default() });
        CancelJobsRequest { filter, ..Default::default() }
    };
    let ended = cancel(server, of(&[JobState::Failed, JobState::Completed])).await;
    assert_eq!(ended, pb::CancelJobsResponse::default());
    let done = cancel(server, of(&[JobState::Queued])).await;
    assert_eq!((done.matched_count, done.cancelled_count), (1, 1));
    assert_eq!(server.summary(waiting).await.state(), JobState::Cancelled);
    assert!(!server.summary(running.job_id).await.cancel_requested);
    // All states, said by naming that.
    let done = cancel(server, of(&[JobState::Unspecified])).await;
    assert_eq!((done.matched_count, done.requested_count), (1, 1));
}

async fn failed_and_cancelled_jobs_that_match_are_counted_and_then_requeued(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut wanted = Vec::new();
    for outcome in [failed("no"), failed("no"), completed("1")] {
        server.enqueue(tagged("t")).await;
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, outcome).await;
        wanted.push(job.job_id);
    }
    let done = wanted.pop().unwrap();
    let stopped = server.enqueue(tagged("t")).await.job_id;
    server.cancel(stopped, "", None).await;
    wanted.push(stopped);
    let other = server.enqueue(tagged("u")).await.job_id;
    server.cancel(other, "", None).await;
    let request = RequeueJobsRequest { filter: of_tag("t"), ..Default::default() };
    let counted = requeue(server, RequeueJobsRequest { validate_only: true, ..request.clone() }).await;
    assert_eq!((counted.matched_count, counted.requeued_count), (3, 0));
    let failures = Some(JobFilter { states: vec![JobState::Failed.into()], ..Default::default() });
    let only = RequeueJobsRequest { filter: failures, validate_only: true, ..Default::default() };
    assert_eq!(requeue(server, only).await.matched_count, 2);
    let answer = requeue(server, request.clone()).await;
    assert_eq!((answer.matched_count, answer.requeued_count), (3, 3));
    assert_eq!(requeue(server, request.clone()).await, pb::RequeueJobsResponse::default());
    let mut again: Vec<i64> = worker.claim(10).await.iter().map(|job| job.job_id).collect();
    again.sort_unstable();
    assert_eq!(again, wanted);
    assert_eq!(server.summary(wanted[0]).await.run, 2);
    assert_eq!((server.summary(done).await.run, server.summary(other).await.run), (1, 1));
    let nothing = RequeueJobsRequest { month: "1999-01".into(), ..request };
    assert_eq!(requeue(server, nothing).await.matched_count, 0);
}

async fn dependants_are_requeued_with_their_parents_when_that_is_asked(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    server.enqueue(tagged("parent")).await;
    let parent = worker.claim_one().await;
    let on = pb::Dependency { parent: Some(pb::dependency::Parent::JobId(parent.job_id)), condition: 0 };
    let options = JobOptions { tag: "child".into(), depends_on: vec![on], ..Default::default() };
    let child = server.enqueue(command_with("work", options)).await.job_id;
    worker.end_well(&parent.lease, failed("no")).await;
    server.wait_for_state(child, JobState::Cancelled).await;
    let request =
        RequeueJobsRequest { filter: of_tag("parent"), include_dependants: true, ..Default::default() };
    let answer = requeue(server, request).await;
    assert_eq!((answer.matched_count, answer.requeued_count), (1, 2));
    assert_eq!(server.summary(child).await.state(), JobState::Blocked);
    let again = worker.claim_one().await;
    assert_eq!((again.job_id, again.run), (parent.job_id, 2));
    worker.end_well(&again.lease, completed("1")).await;
    let next = worker.claim_within(1, Duration::from_secs(10)).await.remove(0);
    assert_eq!((next.job_id, next.run), (child, 2));
}

async fn a_filter_that_says_nothing_is_refused(server: &Server) {
    server.enqueue(command("work")).await;
    for filter in [None, Some(JobFilter::default())] {
        let request = CancelJobsRequest { filter: filter.clone(), ..Default::default() };
        let refused = refusal(server.jobs().cancel_jobs(request).await);
        refused.must_be(Code::InvalidArgument, "INVALID_FIELD");
        assert!(refused.field("filter").unwrap().contains("name their states"), "{refused:?}");
        let request = RequeueJobsRequest { filter, ..Default::default() };
        let refused = refusal(server.jobs().requeue_jobs(request).await);
        assert!(refused.field("filter").is_some(), "{refused:?}");
    }
}

async fn a_filter_that_breaks_a_rule_is_refused_by_its_field(server: &Server) {
    let filter = Some(JobFilter { priority: Some(31), ..Default::default() });
    let request = CancelJobsRequest { filter, reason: "x".repeat(4_097), ..Default::default() };
    let refused = refusal(server.jobs().cancel_jobs(request).await);
    assert!(refused.field("filter.priority").is_some() && refused.field("reason").is_some(), "{refused:?}");
    let request = RequeueJobsRequest { filter: of_tag("t"), month: "2026".into(), ..Default::default() };
    assert!(refusal(server.jobs().requeue_jobs(request).await).field("month").is_some());
}

async fn thousands_are_cancelled_and_requeued_in_small_steps(server: &Server) {
    const JOBS: usize = 2_500;
    let enqueue = |_| async { server.enqueue(tagged("t")).await };
    let stored = futures::stream::iter(0..JOBS).map(enqueue).buffer_unordered(200);
    assert_eq!(stored.count().await, JOBS);
    let begun = monotonic();
    let done = cancel(server, CancelJobsRequest { filter: of_tag("t"), ..Default::default() }).await;
    figure(&format!("{JOBS} cancelled by filter in {:?}", monotonic() - begun));
    assert_eq!((done.matched_count, done.cancelled_count), (JOBS as i64, JOBS as i64));
    let begun = monotonic();
    let done = requeue(server, RequeueJobsRequest { filter: of_tag("t"), ..Default::default() }).await;
    figure(&format!("{JOBS} requeued by filter in {:?}", monotonic() - begun));
    assert_eq!((done.matched_count, done.requeued_count), (JOBS as i64, JOBS as i64));
    let live = Some(JobFilter { states: vec![JobState::Queued.into()], ..Default::default() });
    let counted = CancelJobsRequest { filter: live, validate_only: true, ..Default::default() };
    assert_eq!(cancel(server, counted).await.matched_count, JOBS as i64);
}

fn haulier(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(haulier_binary());
    command.args(arguments).args(["--address", &server.address()]).output().unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn the_command_line_cancels_and_requeues_by_filter(server: &Server) {
    for _ in 0..2 {
        server.enqueue(tagged("x")).await;
    }
    let kept = server.enqueue(tagged("y")).await.job_id;
    assert_eq!(said(&haulier(server, &["cancel", "--tag", "x", "--dry-run"])), "2 would be cancelled\n");
    assert_eq!(said(&haulier(server, &["cancel", "--tag", "x"])), "2 cancelled\t0 told to stop\n");
    assert_eq!(said(&haulier(server, &["requeue", "--tag", "x", "--dry-run"])), "2 would be requeued\n");
    let requeued = said(&haulier(server, &["requeue", "--state", "cancelled", "--tag", "x"]));
    assert_eq!(requeued, "2 requeued\n");
    let one = said(&haulier(server, &["cancel", &kept.to_string()]));
    assert!(one.contains("it will never start"), "{one}");
    for wrong in [
        &["cancel"][..],
        &["cancel", "1", "--tag", "x"],
        &["cancel", "1", "--dry-run"],
        &["requeue", "--dry-run"],
        &["requeue", "--run", "1", "--tag", "x"],
    ] {
        let output = haulier(server, wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut worker = HandWorker::register(server, &["work"]).await;
    assert_eq!(worker.claim_within(10, Duration::from_secs(5)).await.len(), 2);
}
