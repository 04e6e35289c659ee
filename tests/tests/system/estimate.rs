//! Progress of handlers that report none: estimated from earlier runs of the same command.

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed, failed, fixed_retry};
use haulier_tests::{HandWorker, Server, on_both, until};
use pb::watch_job_response::Event;
use pb::{JobOptions, JobState};

on_both!(
    progress_that_nobody_reports_is_estimated_from_earlier_runs,
    only_runs_that_completed_count_and_each_command_and_named_worker_has_its_own,
    a_server_that_starts_knows_durations_from_the_history,
    a_watch_tells_estimated_progress_as_such,
);

/// Runs a job of a command for so long.
async fn run_for(worker: &mut HandWorker, millis: u64, outcome: pb::outcome_report::Outcome) {
    let job = worker.claim_one().await;
    tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
    worker.end_well(&job.lease, outcome).await;
}

async fn progress_that_nobody_reports_is_estimated_from_earlier_runs(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    server.enqueue(command("work")).await;
    let first = worker.claim_one().await;
    let shown = server.summary(first.job_id).await;
    assert_eq!((shown.progress, shown.progress_estimated), (None, false), "nothing is known yet");
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    worker.end_well(&first.lease, completed("1")).await;
    let shown = server.summary(first.job_id).await;
    assert_eq!((shown.progress, shown.progress_estimated), (None, false));

    server.enqueue(command("work")).await;
    let second = worker.claim_one().await;
    let shown = until("progress is estimated", || async {
        let shown = server.summary(second.job_id).await;
        shown.progress.filter(|part| *part > 0.1).map(|_| shown)
    })
    .await;
    assert!(shown.progress_estimated && shown.progress.unwrap() <= 0.99, "{shown:?}");
    let listed = server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner().jobs;
    let listed = listed.iter().find(|job| job.id == second.job_id).unwrap();
    assert!(listed.progress_estimated && listed.progress.is_some(), "{listed:?}");
    until("it is as good as done", || async {
        let shown = server.summary(second.job_id).await;
        assert!(shown.progress.unwrap() <= 0.99);
        (shown.progress == Some(0.99)).then_some(())
    })
    .await;
    // What is reported counts.
    let progress =
        pb::ProgressReport { lease: second.lease.clone(), progress: Some(0.25), ..Default::default() };
    worker.report(pb::ReportJobsRequest { progress: vec![progress], ..Default::default() }).await;
    let shown = until("progress is reported", || async {
        let shown = server.summary(second.job_id).await;
        (!shown.progress_estimated).then_some(shown)
    })
    .await;
    assert_eq!(shown.progress, Some(0.25));
    worker.end_well(&second.lease, completed("1")).await;
    assert!(!server.summary(second.job_id).await.progress_estimated);
}

async fn only_runs_that_completed_count_and_each_command_and_named_worker_has_its_own(server: &Server) {
    let mut worker = HandWorker::register(server, &["work", "other"]).await;
    let once = || JobOptions { retry_policy: fixed_retry(0, 1.0), ..Default::default() };
    server.enqueue(command_with("work", once())).await;
    run_for(&mut worker, 10, failed("no")).await;
    server.enqueue(command("work")).await;
    let job = worker.claim_one().await;
    assert_eq!(server.summary(job.job_id).await.progress, None, "a failure tells nothing");
    worker.end_well(&job.lease, completed("1")).await;
    server.enqueue(command("other")).await;
    let job = worker.claim_one().await;
    assert_eq!(server.summary(job.job_id).await.progress, None, "another command");
    let lane = JobOptions { worker: Some("lane".into()), ..Default::default() };
    server.enqueue(command_with("work", lane)).await;
    let job = worker.claim_one().await;
    assert_eq!(server.summary(job.job_id).await.progress, None, "another named worker");
    server.enqueue(command("work")).await;
    let job = worker.claim_one().await;
    assert!(server.summary(job.job_id).await.progress_estimated);
}

async fn a_server_that_starts_knows_durations_from_the_history(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    server.enqueue(command("work")).await;
    run_for(&mut worker, 300, completed("1")).await;
    server.kill9();
    server.restart().await;
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    let shown = server.summary(job.job_id).await;
    assert!(shown.progress_estimated && shown.state() == JobState::Running, "{shown:?}");
}

async fn a_watch_tells_estimated_progress_as_such(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    server.enqueue(command("work")).await;
    run_for(&mut worker, 3_000, completed("1")).await;
    let stored = server.enqueue(command("work")).await;
    let mut watch = server.watch(stored.job_id).await;
    let job = worker.claim_one().await;
    let mut last = 0.0;
    while last < 0.5 {
        let event = watch.message().await.unwrap().expect("the job has not ended").event.unwrap();
        if let Event::Progress(progress) = event {
            assert!(progress.progress_estimated, "{progress:?}");
            let part = progress.progress.unwrap();
            assert!((last..=0.99).contains(&part), "{part} after {last}");
            last = part;
        }
    }
    worker.end_well(&job.lease, completed("1")).await;
}
