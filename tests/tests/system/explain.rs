//! Why is this job not running? A code and a sentence for every reason.

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed, failed, fixed_retry};
use haulier_tests::{HandWorker, Registration, Server, on_both, refusal, seconds};
use pb::explain_job_request::Target;
use pb::queue_service_client::QueueServiceClient;
use pb::{ExplainCode, JobOptions, JobState};
use tonic::Code;

on_both!(
    a_job_that_waits_for_its_time_for_parents_or_for_its_turn_says_so,
    a_job_that_nobody_may_take_says_what_is_missing,
    a_running_job_and_an_ended_one_say_so,
    a_quarantined_job_and_a_paused_queue_say_so,
    a_transient_run_is_explained_by_its_ref_id,
    a_transient_run_that_holds_a_lane_is_named,
    what_is_not_there_cannot_be_explained,
);

async fn explain(server: &Server, job_id: i64) -> pb::ExplainJobResponse {
    let request = pb::ExplainJobRequest { target: Some(Target::JobId(job_id)) };
    server.jobs().explain_job(request).await.expect("a job is explained").into_inner()
}

async fn must_be(server: &Server, job_id: i64, code: ExplainCode, words: &str) -> pb::ExplainJobResponse {
    let told = explain(server, job_id).await;
    assert_eq!(told.code(), code, "{told:?}");
    assert!(told.explanation.contains(words), "wanted {words:?} in {:?}", told.explanation);
    assert_eq!(told.job.as_ref().unwrap().id, job_id);
    told
}

async fn enqueue(server: &Server, options: JobOptions) -> i64 {
    server.enqueue(command_with("work", options)).await.job_id
}

async fn a_job_that_waits_for_its_time_for_parents_or_for_its_turn_says_so(server: &Server) {
    let later = enqueue(server, JobOptions { delay: seconds(600.0), ..Default::default() }).await;
    must_be(server, later, ExplainCode::Scheduled, "its time comes").await;
    let parent = pb::Dependency { parent: Some(pb::dependency::Parent::JobId(later)), condition: 0 };
    let child = enqueue(server, JobOptions { depends_on: vec![parent], ..Default::default() }).await;
    let told = must_be(server, child, ExplainCode::WaitingForParents, &format!("job {later}")).await;
    assert_eq!(told.details["waiting_for"], later.to_string());
    let lane = || JobOptions { worker: Some("one".into()), ..Default::default() };
    let (head, _second, third) =
        (enqueue(server, lane()).await, enqueue(server, lane()).await, enqueue(server, lane()).await);
    let told = must_be(server, third, ExplainCode::WorkerBusy, &format!("job {head} has")).await;
    assert_eq!((told.details["worker"].as_str(), told.details["position"].as_str()), ("one", "2"));
    let retried =
        JobOptions { retry_policy: fixed_retry(1, 600.0), priority: Some(30), ..Default::default() };
    let retried = enqueue(server, retried).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    assert_eq!(job.job_id, retried);
    assert_eq!(worker.end_well(&job.lease, failed("no")).await, JobState::Scheduled);
    must_be(server, retried, ExplainCode::Backoff, "before attempt 2").await;
}

async fn a_job_that_nobody_may_take_says_what_is_missing(server: &Server) {
    let job = enqueue(server, JobOptions::default()).await;
    must_be(server, job, ExplainCode::CommandNotServed, "serves the command work").await;
    let elsewhere = enqueue(server, JobOptions { queue: "far".into(), ..Default::default() }).await;
    let mut registration = Registration::patient(&["work"]);
    registration.0.slots = 1;
    let mut worker = HandWorker::begin(server, registration).await;
    must_be(server, job, ExplainCode::AboutToStart, "about to start").await;
    must_be(server, elsewhere, ExplainCode::QueueNotServed, "queue far").await;
    let held = worker.claim_one().await;
    let next = enqueue(server, JobOptions::default()).await;
    must_be(server, next, ExplainCode::WorkersFull, "are full").await;
    worker.end_well(&held.lease, completed("1")).await;
    let mut queues = QueueServiceClient::new(server.channel());
    let pause = pb::PauseQueueRequest { name: "default".into(), ..Default::default() };
    queues.pause_queue(pause).await.unwrap();
    must_be(server, next, ExplainCode::QueuePaused, "default is paused").await;
    queues.resume_queue(pb::ResumeQueueRequest { name: "default".into() }).await.unwrap();
    let target = pb::drain_worker_request::Target::Name("by hand".into());
    let drain = pb::DrainWorkerRequest { target: Some(target), ..Default::default() };
    server.workers().drain_worker(drain).await.unwrap();
    must_be(server, next, ExplainCode::WorkersDraining, "draining").await;
}

async fn a_running_job_and_an_ended_one_say_so(server: &Server) {
    let job = enqueue(server, JobOptions { retry_policy: fixed_retry(0, 1.0), ..Default::default() }).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let leased = worker.claim_one().await;
    must_be(server, job, ExplainCode::Running, "by hand").await;
    server.cancel(job, "changed my mind", None).await;
    must_be(server, job, ExplainCode::Stopping, "changed my mind").await;
    worker.end_well(&leased.lease, completed("1")).await;
    must_be(server, job, ExplainCode::Finished, "ended well").await;
    let waiting = server.enqueue(command("unserved")).await.job_id;
    server.cancel(waiting, "not needed", None).await;
    must_be(server, waiting, ExplainCode::Finished, "not needed").await;
}

async fn what_is_not_there_cannot_be_explained(server: &Server) {
    let ask = |target| {
        let mut jobs = server.jobs();
        async move { refusal(jobs.explain_job(pb::ExplainJobRequest { target }).await) }
    };
    ask(Some(Target::JobId(99_999))).await.must_be(Code::NotFound, "JOB_NOT_FOUND");
    ask(Some(Target::RefId("nobody".into()))).await.must_be(Code::NotFound, "JOB_NOT_FOUND");
    ask(None).await.must_name("target");
    ask(Some(Target::JobId(-1))).await.must_name("job_id");
}

fn transient(options: JobOptions) -> pb::RunCommandRequest {
    pb::RunCommandRequest {
        command: "work".into(),
        options: Some(options),
        detach: true,
        ..Default::default()
    }
}

async fn a_quarantined_job_and_a_paused_queue_say_so(server: &Server) {
    // One that serves it and is busy.
    let mut busy = HandWorker::begin(server, Registration::patient(&["work", "other"])).await;
    server.enqueue(command("other")).await;
    busy.claim_one().await;
    let stored = server.enqueue(command("work")).await;
    for _ in 0..2 {
        let mut worker = HandWorker::begin(server, Registration::short_lived(&["work"])).await;
        assert_eq!(worker.claim_one().await.job_id, stored.job_id);
        worker.acknowledge().await;
        drop(worker);
        server.wait_for_state(stored.job_id, JobState::Queued).await;
    }
    let told = must_be(server, stored.job_id, ExplainCode::Quarantined, "runs nothing else").await;
    assert_eq!(told.details["crashes"], "2");
    let pause = pb::PauseQueueRequest { name: "default".into(), reason: "relay down".into() };
    QueueServiceClient::new(server.channel()).pause_queue(pause).await.unwrap();
    must_be(server, stored.job_id, ExplainCode::QueuePaused, "relay down").await;
}

async fn a_transient_run_is_explained_by_its_ref_id(server: &Server) {
    let mut registration = Registration::patient(&["work"]);
    registration.0.slots = 1;
    let mut worker = HandWorker::begin(server, registration).await;
    server.enqueue(command("work")).await;
    let job = worker.claim_one().await;
    let mine = || JobOptions { ref_id: "mine".into(), ..Default::default() };
    server.jobs().run_command(transient(mine())).await.unwrap();
    let code = || async {
        let request = pb::ExplainJobRequest { target: Some(Target::RefId("mine".into())) };
        let told = server.jobs().explain_job(request).await.unwrap().into_inner();
        assert!(told.job.as_ref().unwrap().transient, "{told:?}");
        told.code()
    };
    assert_eq!(code().await, ExplainCode::WorkersFull);
    worker.end_well(&job.lease, completed("1")).await;
    let run = worker.claim_one().await;
    assert_eq!(code().await, ExplainCode::Running);
    worker.end_well(&run.lease, completed("1")).await;
    assert_eq!(code().await, ExplainCode::Finished);
}

async fn a_transient_run_that_holds_a_lane_is_named(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let lane = || JobOptions { worker: Some("lane".into()), ..Default::default() };
    let run = transient(JobOptions { ref_id: "mine".into(), ..lane() });
    server.jobs().run_command(run).await.unwrap();
    assert!(worker.claim_within(1, std::time::Duration::from_secs(10)).await[0].transient);
    let stored = server.enqueue(command_with("work", lane())).await;
    must_be(server, stored.job_id, ExplainCode::WorkerBusy, "transient run (mine)").await;
}
