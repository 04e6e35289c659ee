//! Requeue: another run of a job that failed or was cancelled.

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed, failed, fixed_retry, json, text_of};
use haulier_tests::{HandWorker, Server, lines, on_both, refusal};
use pb::{JobOptions, JobState, RequeueJobRequest};
use tonic::Code;

on_both!(
    a_failed_job_runs_again_under_its_id_and_its_history_is_kept,
    a_cancelled_job_runs_again,
    a_repeated_requeue_of_a_run_starts_one_run,
    many_requeues_at_once_start_one_run,
    a_job_that_waits_runs_or_completed_is_not_requeued,
    a_job_that_does_not_exist_is_not_requeued,
);

async fn failed_job(server: &Server) -> (HandWorker, pb::LeasedJob) {
    let options =
        JobOptions { retry_policy: fixed_retry(0, 1.0), ref_id: "one".into(), ..Default::default() };
    let request = pb::EnqueueCommandRequest { request: json("[7]"), ..command_with("work", options) };
    server.enqueue(request).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    worker
        .report(pb::ReportJobsRequest {
            logs: vec![lines(&job.lease, 0, &["first run"])],
            ..Default::default()
        })
        .await;
    let ack = worker.end_after(&job.lease, 1, failed("no")).await;
    assert_eq!(ack.state(), JobState::Failed);
    (worker, job)
}

async fn a_failed_job_runs_again_under_its_id_and_its_history_is_kept(server: &Server) {
    let (mut worker, first) = failed_job(server).await;
    let answer = server.requeue(first.job_id).await;
    assert!(answer.created);
    let summary = answer.job.unwrap();
    assert_eq!(
        (summary.id, summary.run, summary.attempt, summary.state()),
        (first.job_id, 2, 0, JobState::Queued)
    );
    let second = worker.claim_one().await;
    assert_eq!((second.job_id, second.run, second.attempt), (first.job_id, 2, 1));
    assert_eq!((text_of(&second.request), second.ref_id.as_str()), ("[7]", "one"));
    assert!(second.fencing_token > first.fencing_token);
    assert_eq!(worker.end_well(&second.lease, completed("2")).await, JobState::Completed);

    let of_run = |run| async move { server.run(first.job_id, run).await.summary.unwrap() };
    assert_eq!((of_run(1).await.state(), of_run(1).await.epoch), (JobState::Failed, first.fencing_token));
    assert_eq!(
        (of_run(2).await.state(), of_run(0).await.state()),
        (JobState::Completed, JobState::Completed)
    );
    let attempts = server.attempts(first.job_id).await;
    assert_eq!(attempts.iter().map(|attempt| attempt.run).collect::<Vec<_>>(), [1, 2]);
    let request = pb::ListJobAttemptsRequest { job_id: first.job_id, run: 1, ..Default::default() };
    assert_eq!(server.jobs().list_job_attempts(request).await.unwrap().into_inner().attempts.len(), 1);
    let request = pb::ListJobLogsRequest { job_id: first.job_id, run: 1, ..Default::default() };
    let kept = server.jobs().list_job_logs(request).await.unwrap().into_inner().lines;
    assert_eq!(kept.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["first run"]);
    assert!(server.logs(first.job_id).await.is_empty(), "the latest run has logged nothing");
    // The lease of the first run is as dead as before.
    worker.end(&first.lease, completed("\"late\"")).await;
    assert_eq!(of_run(1).await.state(), JobState::Failed);
}

async fn a_cancelled_job_runs_again(server: &Server) {
    let stored = server.enqueue(command("work")).await;
    server.cancel(stored.job_id, "no", None).await;
    let answer = server.requeue(stored.job_id).await;
    assert_eq!((answer.created, answer.job.unwrap().run), (true, 2));
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    assert_eq!((job.job_id, job.run), (stored.job_id, 2));
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
}

async fn a_repeated_requeue_of_a_run_starts_one_run(server: &Server) {
    let (mut worker, first) = failed_job(server).await;
    let request = RequeueJobRequest { job_id: first.job_id, run: 1, ..Default::default() };
    for round in 0..3 {
        let answer = server.jobs().requeue_job(request.clone()).await.unwrap().into_inner();
        assert_eq!((answer.created, answer.job.unwrap().run), (round == 0, 2));
    }
    let second = worker.claim_one().await;
    worker.end_well(&second.lease, failed("no")).await;
    // Run 1 was requeued: a late repeat does not start a third run.
    let answer = server.jobs().requeue_job(request).await.unwrap().into_inner();
    assert_eq!((answer.created, answer.job.unwrap().run), (false, 2));
    let answer = server.requeue(first.job_id).await;
    assert_eq!((answer.created, answer.job.unwrap().run), (true, 3));
}

async fn many_requeues_at_once_start_one_run(server: &Server) {
    let (mut worker, first) = failed_job(server).await;
    let request = RequeueJobRequest { job_id: first.job_id, run: 1, ..Default::default() };
    let calls = (0..16).map(|_| {
        let (mut jobs, request) = (server.jobs(), request.clone());
        async move { jobs.requeue_job(request).await.unwrap().into_inner() }
    });
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    assert!(answers.iter().all(|answer| answer.job.as_ref().unwrap().run == 2));
    assert_eq!(worker.claim(10).await.len(), 1);
}

async fn a_job_that_waits_runs_or_completed_is_not_requeued(server: &Server) {
    let stored = server.enqueue(command("work")).await;
    let refused = |state: &'static str| async move {
        let request = RequeueJobRequest { job_id: stored.job_id, ..Default::default() };
        let refused = refusal(server.jobs().requeue_job(request).await);
        refused.must_be(Code::FailedPrecondition, "WRONG_STATE");
        assert_eq!(refused.metadata["state"], state);
    };
    refused("QUEUED").await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    refused("RUNNING").await;
    worker.end_well(&job.lease, completed("1")).await;
    refused("COMPLETED").await;
}

async fn a_job_that_does_not_exist_is_not_requeued(server: &Server) {
    let request = RequeueJobRequest { job_id: 987_654, ..Default::default() };
    refusal(server.jobs().requeue_job(request).await).must_be(Code::NotFound, "JOB_NOT_FOUND");
}
