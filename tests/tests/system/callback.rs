//! Callbacks: a command that receives the result of another job, durable and retried, and never able to change its outcome.

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command_with, completed, failed, fixed_retry, released, text_of};
use haulier_tests::{HandWorker, Server, on_both};
use pb::{JobOptions, JobState};

on_both!(
    a_callback_gets_the_result_and_what_the_job_hands_down,
    a_callback_that_fails_for_good_leaves_the_job_done_and_is_shown_on_it,
    a_job_that_does_not_succeed_has_no_callback,
    children_start_and_a_watch_ends_when_the_outcome_is_settled,
    a_callback_survives_the_death_of_the_server,
    a_callback_belongs_to_the_named_worker_of_its_command,
    a_requeued_job_calls_back_once_it_succeeds,
    jobs_end_in_one_message_each_in_its_own_way,
);

fn calling_back() -> JobOptions {
    let callback = pb::Callback { command: "done".into(), args: [("who".into(), "callback".into())].into() };
    JobOptions {
        callback: Some(callback),
        args: [("who".into(), "job".into()), ("where".into(), "here".into())].into(),
        tag: "t".into(),
        batch_id: "b".into(),
        user_id: "ada".into(),
        user_claims: [("role".into(), "admin".into())].into(),
        created_by: "test".into(),
        retry_policy: fixed_retry(1, 0.1),
        ..Default::default()
    }
}

/// Runs the job up to its outcome; its callback waits.
async fn executed(server: &Server, worker: &mut HandWorker) -> i64 {
    let job = server.enqueue(command_with("work", calling_back())).await.job_id;
    let leased = worker.claim_one().await;
    assert_eq!(leased.job_id, job);
    assert_eq!(worker.end_well(&leased.lease, completed("{\"n\":7}")).await, JobState::Executed);
    job
}

async fn a_callback_gets_the_result_and_what_the_job_hands_down(server: &Server) {
    let mut worker = HandWorker::register(server, &["work", "done"]).await;
    let job = executed(server, &mut worker).await;
    let summary = server.summary(job).await;
    assert_eq!(summary.state(), JobState::Executed);
    assert!(summary.notify_time.is_none() && summary.finish_time.is_some());
    let callback = worker.claim_one().await;
    assert_eq!(callback.job_id, summary.callback_job_id);
    assert_eq!(text_of(&callback.request), "{\"n\":7}");
    let options = callback.options.clone().unwrap();
    assert_eq!((options.args["who"].as_str(), options.args["where"].as_str()), ("callback", "here"));
    assert_eq!((options.tag.as_str(), options.batch_id.as_str(), options.parent_id), ("t", "b", job));
    assert_eq!((callback.user_id.as_str(), callback.user_claims["role"].as_str()), ("ada", "admin"));
    assert_eq!(callback.parents[0].job_id, job);
    assert_eq!(worker.end_well(&callback.lease, completed("1")).await, JobState::Completed);
    let summary = server.wait_for_state(job, JobState::Completed).await;
    assert!(summary.notify_time.is_some() && summary.callback_error.is_empty());
}

async fn a_callback_that_fails_for_good_leaves_the_job_done_and_is_shown_on_it(server: &Server) {
    let mut worker = HandWorker::register(server, &["work", "done"]).await;
    let job = executed(server, &mut worker).await;
    for wanted in [JobState::Scheduled, JobState::Failed] {
        let callback = worker.claim_one().await;
        assert_eq!(worker.end_well(&callback.lease, failed("no good")).await, wanted);
    }
    let summary = server.wait_for_state(job, JobState::Completed).await;
    assert!(summary.callback_error.contains("no good"), "{summary:?}");
    assert!(summary.notify_time.is_some() && summary.error.is_none());
    // Run again by hand and well, it is shown so.
    server.requeue(summary.callback_job_id).await;
    let callback = worker.claim_one().await;
    worker.end_well(&callback.lease, completed("1")).await;
    haulier_tests::until("the error is gone", async || {
        server.summary(job).await.callback_error.is_empty().then_some(())
    })
    .await;
}

async fn a_job_that_does_not_succeed_has_no_callback(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(0, 1.0), ..calling_back() };
    let job = server.enqueue(command_with("work", options)).await.job_id;
    let cancelled = server.enqueue(command_with("work", calling_back())).await.job_id;
    server.cancel(cancelled, "no", None).await;
    let mut worker = HandWorker::register(server, &["work", "done"]).await;
    let leased = worker.claim_one().await;
    assert_eq!(worker.end_well(&leased.lease, failed("no")).await, JobState::Failed);
    assert!(worker.claim(10).await.is_empty());
    for id in [job, cancelled] {
        assert_eq!(server.summary(id).await.callback_job_id, 0);
    }
}

async fn children_start_and_a_watch_ends_when_the_outcome_is_settled(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = executed(server, &mut worker).await;
    // Nobody serves the callback: the outcome is settled all the same.
    let parent = pb::Dependency { parent: Some(pb::dependency::Parent::JobId(job)), condition: 0 };
    let options = JobOptions { depends_on: vec![parent], ..Default::default() };
    assert_eq!(server.enqueue(command_with("child", options)).await.state(), JobState::Queued);
    let mut watch = server.watch(job).await;
    let mut last = None;
    while let Some(event) = watch.message().await.unwrap() {
        last = Some(event);
    }
    let Some(pb::watch_job_response::Event::Snapshot(shown)) = last.and_then(|event| event.event) else {
        panic!()
    };
    assert_eq!(shown.summary.unwrap().state(), JobState::Executed);
    // Until everything was told, the watch goes on.
    let request = pb::WatchJobRequest {
        target: Some(pb::watch_job_request::Target::JobId(job)),
        until: pb::WatchUntil::Notified.into(),
        ..Default::default()
    };
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    let mut other = HandWorker::register(server, &["done"]).await;
    let callback = other.claim_one().await;
    other.end_well(&callback.lease, completed("1")).await;
    let mut last = None;
    while let Some(event) = watch.message().await.unwrap() {
        last = Some(event);
    }
    let Some(pb::watch_job_response::Event::Snapshot(shown)) = last.and_then(|event| event.event) else {
        panic!()
    };
    assert_eq!(shown.summary.unwrap().state(), JobState::Completed);
}

async fn a_callback_survives_the_death_of_the_server(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = executed(server, &mut worker).await;
    server.kill9();
    server.restart().await;
    assert_eq!(server.summary(job).await.state(), JobState::Executed);
    let mut other = HandWorker::register(server, &["done"]).await;
    let callback = other.claim_one().await;
    let (ended, ()) = tokio::join!(other.end_well(&callback.lease, completed("1")), async {});
    assert_eq!(ended, JobState::Completed);
    server.kill9();
    server.restart().await;
    server.wait_for_state(job, JobState::Completed).await;
}

async fn a_callback_belongs_to_the_named_worker_of_its_command(server: &Server) {
    let mut registration = haulier_tests::Registration::patient(&["work", "done"]);
    registration.0.commands[1].worker = Some("notifier".into());
    let mut worker = HandWorker::begin(server, registration).await;
    let jobs = [executed(server, &mut worker).await];
    let second = server.enqueue(command_with("work", calling_back())).await.job_id;
    let mut callbacks = Vec::new();
    for _ in 0..2 {
        let leased = worker.claim_one().await;
        if leased.job_id == second {
            worker.end_well(&leased.lease, completed("1")).await;
        } else {
            callbacks.push(leased);
        }
    }
    let waiting = server.summary(second).await.callback_job_id;
    assert_eq!(server.summary(waiting).await.worker, "notifier");
    assert_eq!(server.summary(waiting).await.state(), JobState::Blocked);
    worker.end_well(&callbacks[0].lease, completed("1")).await;
    server.wait_for_state(jobs[0], JobState::Completed).await;
    assert_eq!(worker.claim_one().await.job_id, waiting);
}

async fn a_requeued_job_calls_back_once_it_succeeds(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(0, 1.0), ..calling_back() };
    let job = server.enqueue(command_with("work", options)).await.job_id;
    let mut worker = HandWorker::register(server, &["work", "done"]).await;
    let leased = worker.claim_one().await;
    worker.end_well(&leased.lease, failed("no")).await;
    server.requeue(job).await;
    let leased = worker.claim_one().await;
    assert_eq!(worker.end_well(&leased.lease, completed("2")).await, JobState::Executed);
    let callback = worker.claim_one().await;
    assert_eq!(text_of(&callback.request), "2");
    worker.end_well(&callback.lease, completed("1")).await;
    server.wait_for_state(job, JobState::Completed).await;
}

/// One after the other a plain success, one with a callback, a failure, and one that was released before.
async fn jobs_end_in_one_message_each_in_its_own_way(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    for n in 0..40 {
        let options = if n % 4 == 1 { calling_back() } else { JobOptions::default() };
        server.enqueue(command_with("work", options)).await;
    }
    let mut jobs = Vec::new();
    while jobs.len() < 40 {
        jobs.extend(worker.claim(40).await);
    }
    jobs.sort_unstable_by_key(|job| job.job_id);
    for gone in jobs.iter().skip(3).step_by(4) {
        worker.end_well(&gone.lease, released("not now")).await;
    }
    let outcomes = jobs.iter().enumerate().map(|(n, job)| pb::OutcomeReport {
        lease: job.lease.clone(),
        log_sequence: 0,
        outcome: Some(if n % 4 == 2 { failed("no") } else { completed("1") }),
    });
    let answers =
        worker.report(pb::ReportJobsRequest { outcomes: outcomes.collect(), ..Default::default() }).await;
    let acks: Vec<_> = answers.iter().flat_map(|answer| &answer.acks).collect();
    for (n, job) in jobs.iter().enumerate() {
        let ack = acks.iter().find(|ack| ack.lease == job.lease).unwrap();
        let expected =
            [JobState::Completed, JobState::Executed, JobState::Scheduled, JobState::Queued][n % 4];
        assert!(ack.outcome_stored, "{n}: {ack:?}");
        assert_eq!(ack.state(), expected, "{n}: {ack:?}");
    }
    let executed = jobs.iter().skip(1).step_by(4);
    for job in executed {
        assert_ne!(server.summary(job.job_id).await.callback_job_id, 0);
    }
}
