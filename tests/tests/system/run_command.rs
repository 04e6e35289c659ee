//! Transient runs: a command runs on a worker process now, and nothing of it is stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use haulier::{Client, Error, HandlerError, NonRetryable, Worker};
use haulier_proto::v1 as pb;
use haulier_tests::messages::{cancelled, command, command_with, completed, failed, json, released, text_of};
use haulier_tests::{
    Conversation, HandWorker, Registration, Server, figure, haulier_binary, lines, monotonic, on_both,
    on_two_servers, refusal, seconds, until,
};
use pb::job_result::Record;
use pb::watch_job_response::Event;
use pb::{
    CancelKind, CancelReason, CancelResult, FailureReason, JobOptions, JobState, ReportErrorCode,
    RunCommandRequest, RunCommandResponse,
};
use sqlx::Connection as _;
use tonic::{Code, Status};

on_both!(
    a_run_waits_for_its_result_and_nothing_is_stored,
    a_failure_and_a_cancellation_come_back_typed,
    a_run_over_its_timeout_is_told_to_stop_and_fails,
    a_run_is_followed_and_found_by_its_ref_id_while_it_runs_and_after,
    a_detached_run_is_answered_at_once,
    a_wait_that_is_over_leaves_the_run_alone,
    a_caller_who_goes_away_cancels_the_run,
    a_run_that_waits_is_cancelled_at_once,
    a_command_that_nobody_serves_is_told_after_a_short_wait,
    a_worker_process_that_comes_within_the_wait_is_used,
    a_lost_answer_is_repeated_and_one_that_never_arrived_goes_to_another,
    what_a_heartbeat_does_not_list_goes_back_and_what_is_none_is_told,
    a_run_that_is_released_goes_to_another_worker_process,
    a_lost_session_fails_the_run_and_its_late_outcome_is_refused,
    a_forged_lease_changes_nothing,
    jobs_that_come_with_the_result_are_stored,
    a_paused_queue_holds_transient_runs_too,
    a_ref_id_is_taken_by_a_job_or_another_run,
    a_higher_priority_goes_first,
    a_named_worker_runs_one_at_a_time_stored_or_not,
    a_lane_is_free_again_when_its_server_is_gone,
    a_server_that_stops_says_whether_the_command_had_begun,
    the_sdk_runs_commands_side_by_side,
    the_command_line_runs_a_command,
);

on_two_servers!(only_worker_processes_of_the_same_server_are_used);

/// Promised; three times that is a failure.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

fn request(name: &str, request: &str) -> RunCommandRequest {
    RunCommandRequest { command: name.into(), request: json(request), ..Default::default() }
}

fn with(options: JobOptions) -> RunCommandRequest {
    RunCommandRequest { options: Some(options), ..request("work", "1") }
}

async fn run(server: &Server, request: RunCommandRequest) -> Result<RunCommandResponse, Status> {
    server.jobs().run_command(request).await.map(tonic::Response::into_inner)
}

/// Starts a run and does not wait for it.
async fn detached(server: &Server, options: JobOptions) -> String {
    let answer = run(server, RunCommandRequest { detach: true, ..with(options) }).await.unwrap();
    answer.ref_id
}

async fn by_ref(server: &Server, ref_id: &str) -> pb::JobResult {
    let request = pb::GetJobByRefIdRequest { ref_id: ref_id.into(), ..Default::default() };
    server.jobs().get_job_by_ref_id(request).await.unwrap().into_inner().job.unwrap()
}

async fn summary(server: &Server, ref_id: &str) -> pb::JobSummary {
    by_ref(server, ref_id).await.summary.unwrap()
}

async fn cancel(server: &Server, ref_id: &str, reason: &str) -> pb::CancelJobResponse {
    let target = Some(pb::cancel_job_request::Target::RefId(ref_id.into()));
    let request = pb::CancelJobRequest { target, reason: reason.into(), grace: None };
    server.jobs().cancel_job(request).await.unwrap().into_inner()
}

/// A worker process that holds a run, with its stream.
async fn running(server: &Server, options: JobOptions) -> (HandWorker, String, pb::LeasedJob, Conversation) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let ref_id = detached(server, options).await;
    let job = worker.claim_one().await;
    let beat = worker.heartbeat(&[&job.lease]);
    let mut talk = worker.converse_with(beat).await;
    talk.beat_taken(1).await;
    (worker, ref_id, job, talk)
}

/// How many rows each table has that tells of jobs, and where claim loops stand. What changes by itself is left out: signs
/// of life, and ids that are kept ready.
async fn tables(server: &Server) -> BTreeMap<String, i64> {
    const LIVELY: [&str; 5] = ["session", "server", "upkeep", "id_block", "command"];
    let names = match server.database_url().starts_with("sqlite:") {
        true => "SELECT name, 0 FROM sqlite_master WHERE type = 'table' AND name LIKE 'haulier%'",
        false => {
            "SELECT CAST(table_name AS CHAR), 0 FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name LIKE 'haulier%'"
        }
    };
    let mut tables = BTreeMap::new();
    for (name, _) in query(server, names).await {
        if !LIVELY.iter().any(|lively| name == format!("haulier_{lively}")) {
            let count = query(server, &format!("SELECT 'rows', COUNT(*) FROM {name}")).await[0].1;
            tables.insert(name, count);
        }
    }
    assert!(tables.len() > 10, "{tables:?}");
    let loops = "SELECT 'loops', COALESCE(CAST(SUM(sequence + 1000 * received) AS SIGNED), 0) FROM haulier_claim_loop";
    tables.insert("where claim loops stand".into(), query(server, loops).await[0].1);
    tables
}

/// Rows of a text and a number.
async fn query(server: &Server, text: &str) -> Vec<(String, i64)> {
    let text = || sqlx::AssertSqlSafe(text.to_owned());
    match server.database_url().strip_prefix("sqlite:") {
        Some(path) => {
            let mut connection =
                sqlx::SqliteConnection::connect(&format!("sqlite:{path}?mode=ro")).await.unwrap();
            sqlx::query_as(text()).fetch_all(&mut connection).await.unwrap()
        }
        None => {
            let mut connection = sqlx::MySqlConnection::connect(server.database_url()).await.unwrap();
            sqlx::query_as(text()).fetch_all(&mut connection).await.unwrap()
        }
    }
}

async fn a_run_waits_for_its_result_and_nothing_is_stored(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    assert!(worker.claim(1).await.is_empty());
    let before = tables(server).await;
    let options = JobOptions {
        tag: "t".into(),
        user_id: "anna".into(),
        args: [("a".to_owned(), "b".to_owned())].into(),
        ..Default::default()
    };
    let asked = RunCommandRequest { options: Some(options), ..request("work", "[1,2]") };
    let (answer, ()) = tokio::join!(run(server, asked), async {
        let job = worker.claim_one().await;
        assert!(job.transient && job.job_id == 0 && job.ref_id.starts_with("~run-"), "{job:?}");
        assert_eq!((job.run, job.attempt, text_of(&job.request)), (1, 1, "[1,2]"));
        let options = job.options.as_ref().unwrap();
        assert_eq!(
            (options.tag.as_str(), job.user_id.as_str(), options.args["a"].as_str()),
            ("t", "anna", "b")
        );
        worker.acknowledge().await;
        let progress =
            pb::ProgressReport { lease: job.lease.clone(), progress: Some(0.5), status: Some("half".into()) };
        let report = pb::ReportJobsRequest {
            logs: vec![lines(&job.lease, 0, &["one", "two"])],
            progress: vec![progress],
            ..Default::default()
        };
        worker.report(report).await;
        let ack = worker.end_after(&job.lease, 2, completed("{\"sum\":3}")).await;
        assert!(ack.outcome_stored && ack.state() == JobState::Completed, "{ack:?}");
        // A repeat whose first answer was lost.
        assert_eq!(worker.end_well(&job.lease, completed("{\"sum\":3}")).await, JobState::Completed);
    });
    let answer = answer.unwrap();
    assert_eq!((answer.state(), text_of(&answer.result)), (JobState::Completed, "{\"sum\":3}"));
    assert!(answer.error.is_none());
    assert!(worker.claim(1).await.is_empty());
    assert_eq!(tables(server).await, before, "nothing is written for a transient run");
    let listed = server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner();
    assert!(listed.jobs.is_empty());
}

async fn a_failure_and_a_cancellation_come_back_typed(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let (answer, ()) = tokio::join!(run(server, request("work", "1")), async {
        let job = worker.claim_one().await;
        assert_eq!(worker.end_well(&job.lease, failed("mailbox full")).await, JobState::Failed);
    });
    let answer = answer.unwrap();
    let error = answer.error.clone().unwrap();
    assert_eq!((answer.state(), error.reason()), (JobState::Failed, FailureReason::Handler));
    assert_eq!((error.code.as_str(), error.message.as_str()), ("test", "mailbox full"));
    let (answer, ()) = tokio::join!(run(server, request("work", "1")), async {
        let job = worker.claim_one().await;
        let told = cancel(server, &job.ref_id, "not needed").await;
        assert_eq!((told.result(), told.job.unwrap().cancel_requested), (CancelResult::Requested, true));
        assert_eq!(worker.end_well(&job.lease, cancelled("")).await, JobState::Cancelled);
    });
    let answer = answer.unwrap();
    assert_eq!((answer.state(), answer.error.unwrap().message.as_str()), (JobState::Cancelled, "not needed"));
}

async fn a_run_over_its_timeout_is_told_to_stop_and_fails(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let options = JobOptions { timeout: seconds(1.0), ..Default::default() };
    // Without a wait of its own the call lasts until the run has ended, which is after its timeout.
    let (answer, ()) = tokio::join!(run(server, with(options)), async {
        let job = worker.claim_one().await;
        assert!(job.timeout.unwrap().seconds <= 1);
        let beat = worker.heartbeat(&[&job.lease]);
        let mut talk = worker.converse_with(beat).await;
        assert_eq!(talk.cancel_of(&job.lease).await.kind(), CancelKind::Timeout);
        worker.beat_until_lost(&mut talk, &job.lease).await;
        assert_eq!(worker.end_refused(&job.lease, completed("1")).await, ReportErrorCode::LeaseLost);
    });
    let answer = answer.unwrap();
    assert_eq!((answer.state(), answer.error.unwrap().reason()), (JobState::Failed, FailureReason::Timeout));
}

async fn a_run_is_followed_and_found_by_its_ref_id_while_it_runs_and_after(server: &Server) {
    let options = JobOptions { ref_id: "mine".into(), ..Default::default() };
    let (worker, ref_id, job, _talk) = running(server, options).await;
    assert_eq!(ref_id, "mine");
    let shown = summary(server, "mine").await;
    assert_eq!((shown.id, shown.transient, shown.state()), (0, true, JobState::Running));
    assert_eq!(shown.worker_process, "by hand");
    let target = Some(pb::watch_job_request::Target::RefId("mine".into()));
    let asked = pb::WatchJobRequest { target, ..Default::default() };
    let mut watch = server.jobs().watch_job(asked).await.unwrap().into_inner();
    let report = pb::ReportJobsRequest {
        logs: vec![lines(&job.lease, 0, &["hello"])],
        progress: vec![pb::ProgressReport {
            lease: job.lease.clone(),
            progress: Some(0.25),
            status: Some("on it".into()),
        }],
        ..Default::default()
    };
    worker.report(report).await;
    let (mut logged, mut token, mut told) = (Vec::new(), String::new(), false);
    while logged.is_empty() || !told {
        let event = watch.message().await.unwrap().unwrap();
        token = event.resume_token;
        match event.event.unwrap() {
            Event::Logs(logs) => logged.extend(logs.lines.into_iter().map(|line| line.message)),
            Event::Progress(progress) => {
                told |= (progress.progress, progress.status.as_str()) == (Some(0.25), "on it");
            }
            Event::Snapshot(job) => {
                let summary = job.summary.unwrap();
                told |= summary.progress == Some(0.25) && summary.status == "on it";
            }
            _ => {}
        }
    }
    assert_eq!(logged, ["hello"]);
    drop(watch);
    worker.end_after(&job.lease, 1, completed("7")).await;
    // Taken up again after the end: the outcome, and no line twice.
    let target = Some(pb::watch_job_request::Target::RefId("mine".into()));
    let asked = pb::WatchJobRequest { target, resume_token: token, ..Default::default() };
    let mut watch = server.jobs().watch_job(asked).await.unwrap().into_inner();
    let mut last = None;
    while let Some(event) = watch.message().await.unwrap() {
        match event.event.unwrap() {
            Event::Snapshot(job) => last = Some(job),
            Event::Logs(logs) => panic!("told twice: {logs:?}"),
            _ => {}
        }
    }
    for found in [last.unwrap(), by_ref(server, "mine").await] {
        assert!(found.summary.as_ref().unwrap().transient);
        let Some(Record::Completed(record)) = found.record else { panic!("{found:?}") };
        assert_eq!((text_of(&record.request), text_of(&record.result)), ("1", "7"));
    }
    assert_eq!(cancel(server, "mine", "late").await.result(), CancelResult::AlreadyFinished);
}

async fn a_detached_run_is_answered_at_once(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let begun = monotonic();
    let asked = RunCommandRequest { detach: true, ..request("work", "1") };
    let answer = run(server, asked).await.unwrap();
    let took = monotonic() - begun;
    figure(&format!("answered after {took:?}"));
    assert!(took < Duration::from_secs(1) && answer.state() == JobState::Queued, "{answer:?} after {took:?}");
    let job = worker.claim_one().await;
    assert_eq!(job.ref_id, answer.ref_id);
    worker.end_well(&job.lease, completed("1")).await;
    assert_eq!(summary(server, &answer.ref_id).await.state(), JobState::Completed);
}

async fn a_wait_that_is_over_leaves_the_run_alone(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let asked = || RunCommandRequest { wait: seconds(0.2), ..request("work", "1") };
    let waiting = run(server, asked()).await.unwrap();
    assert_eq!((waiting.state(), waiting.result, waiting.error), (JobState::Queued, None, None));
    let job = worker.claim_one().await;
    assert_eq!(job.ref_id, waiting.ref_id);
    assert_eq!(summary(server, &job.ref_id).await.state(), JobState::Running);
    worker.end_well(&job.lease, completed("1")).await;
}

async fn a_caller_who_goes_away_cancels_the_run(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut jobs = server.jobs();
    let call = tokio::spawn(async move { jobs.run_command(request("work", "1")).await });
    let job = worker.claim_one().await;
    let beat = worker.heartbeat(&[&job.lease]);
    let mut talk = worker.converse_with(beat).await;
    talk.beat_taken(1).await;
    let begun = monotonic();
    call.abort();
    let told = talk.cancel_of(&job.lease).await;
    assert!(told.reason.contains("caller went away"), "{told:?}");
    let waited = monotonic() - begun;
    assert!(waited < 3 * TOLD_WITHIN, "{waited:?}");
    assert_eq!(worker.end_well(&job.lease, cancelled("")).await, JobState::Cancelled);
    // One whose deadline passes goes away too.
    let mut late = tonic::Request::new(request("work", "1"));
    late.set_timeout(Duration::from_millis(400));
    let refused = refusal(server.jobs().run_command(late).await);
    assert!(matches!(refused.code, Code::DeadlineExceeded | Code::Cancelled), "{refused:?}");
    assert!(worker.claim_within(1, Duration::from_millis(600)).await.is_empty(), "it was cancelled");
}

async fn a_run_that_waits_is_cancelled_at_once(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let ref_id = detached(server, JobOptions::default()).await;
    assert_eq!(summary(server, &ref_id).await.state(), JobState::Queued);
    assert_eq!(cancel(server, &ref_id, "no").await.result(), CancelResult::Cancelled);
    let shown = summary(server, &ref_id).await;
    assert_eq!((shown.state(), shown.cancel_reason()), (JobState::Cancelled, CancelReason::Client));
    assert_eq!(shown.cancel_message, "no");
    assert!(worker.claim_within(1, Duration::from_millis(600)).await.is_empty());
}

async fn a_command_that_nobody_serves_is_told_after_a_short_wait(server: &Server) {
    let _other = HandWorker::register(server, &["other"]).await;
    for detach in [false, true] {
        let begun = monotonic();
        let refused = refusal(run(server, RunCommandRequest { detach, ..request("work", "1") }).await);
        let waited = monotonic() - begun;
        refused.must_be(Code::Unavailable, "NO_WORKER_HERE");
        assert_eq!(
            (refused.metadata["command"].as_str(), refused.metadata["queue"].as_str()),
            ("work", "default")
        );
        assert!((Duration::from_secs(2)..Duration::from_secs(20)).contains(&waited), "{waited:?}");
    }
    // Its command is served, and its queue is not.
    let options = JobOptions { queue: "mail".into(), ..Default::default() };
    let refused = refusal(run(server, RunCommandRequest { command: "other".into(), ..with(options) }).await);
    refused.must_be(Code::Unavailable, "NO_WORKER_HERE");
}

async fn a_worker_process_that_comes_within_the_wait_is_used(server: &Server) {
    let (answer, ()) = tokio::join!(run(server, request("work", "1")), async {
        let mut worker = HandWorker::register(server, &["work"]).await;
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, completed("1")).await;
    });
    assert_eq!(answer.unwrap().state(), JobState::Completed);
}

async fn a_lost_answer_is_repeated_and_one_that_never_arrived_goes_to_another(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let ref_id = detached(server, JobOptions::default()).await;
    let claim = |sequence, ack, wait| worker.request(sequence, ack, 1, wait);
    let first = worker.send_claim(claim(1, 0, Duration::from_secs(5))).await.unwrap().jobs.remove(0);
    assert_eq!(first.ref_id, ref_id);
    let again = worker.send_claim(claim(1, 0, Duration::from_secs(5))).await.unwrap().jobs.remove(0);
    assert_eq!((&again.lease, again.attempt), (&first.lease, 1));
    // Going on without having received it: it goes back, and this claim gets it anew.
    let anew = worker.send_claim(claim(2, 0, Duration::from_secs(5))).await.unwrap().jobs.remove(0);
    assert_eq!((anew.ref_id.as_str(), anew.attempt), (ref_id.as_str(), 1));
    assert!(anew.lease != first.lease && anew.fencing_token > first.fencing_token);
    assert_eq!(worker.end_refused(&first.lease, completed("0")).await, ReportErrorCode::LeaseLost);
    assert_eq!(worker.end_well(&anew.lease, completed("1")).await, JobState::Completed);
    worker = HandWorker::register(server, &["work"]).await;
    assert!(worker.claim(1).await.is_empty());
}

async fn what_a_heartbeat_does_not_list_goes_back_and_what_is_none_is_told(server: &Server) {
    let (mut worker, ref_id, job, mut talk) = running(server, JobOptions::default()).await;
    let mut other = HandWorker::register(server, &["work"]).await;
    let beat = worker.heartbeat(&[]);
    talk.say(beat).await;
    let second = other.claim_within(1, Duration::from_secs(10)).await.remove(0);
    assert_eq!((second.ref_id.as_str(), second.attempt), (ref_id.as_str(), 1));
    let beat = worker.heartbeat(&[&job.lease]);
    talk.say(beat).await;
    talk.loss_of(&job.lease).await;
    assert_eq!(other.end_well(&second.lease, completed("1")).await, JobState::Completed);
    // A lease of which nothing is known here any more, as after a restart.
    server.kill9();
    server.restart().await;
    let mut worker = worker.through(server);
    let beat = worker.heartbeat(&[&second.lease]);
    let mut talk = worker.converse_with(beat).await;
    talk.loss_of(&second.lease).await;
}

async fn a_run_that_is_released_goes_to_another_worker_process(server: &Server) {
    let (worker, ref_id, job, _talk) = running(server, JobOptions::default()).await;
    assert_eq!(worker.end_well(&job.lease, released("draining")).await, JobState::Queued);
    assert_eq!(summary(server, &ref_id).await.attempt, 0);
    let mut other = HandWorker::register(server, &["work"]).await;
    let again = other.claim_one().await;
    assert_eq!((again.ref_id.as_str(), again.attempt), (ref_id.as_str(), 1));
    assert_eq!(other.end_well(&again.lease, completed("1")).await, JobState::Completed);
}

async fn a_lost_session_fails_the_run_and_its_late_outcome_is_refused(server: &Server) {
    let mut worker = HandWorker::begin(server, Registration::short_lived(&["work"])).await;
    let (answer, job) = tokio::join!(run(server, request("work", "1")), async { worker.claim_one().await });
    let answer = answer.unwrap();
    let error = answer.error.clone().unwrap();
    assert_eq!((answer.state(), error.reason()), (JobState::Failed, FailureReason::WorkerLost));
    assert_eq!(worker.end_refused(&job.lease, completed("1")).await, ReportErrorCode::LeaseLost);
    assert_eq!(summary(server, &answer.ref_id).await.state(), JobState::Failed);
    // One that ends its session without a word about the run.
    let mut worker = HandWorker::register(server, &["work"]).await;
    let (answer, ()) = tokio::join!(run(server, request("work", "1")), async {
        worker.claim_one().await;
        assert_eq!(worker.unregister().await, 1);
    });
    assert_eq!(answer.unwrap().error.unwrap().reason(), FailureReason::WorkerLost);
}

async fn a_forged_lease_changes_nothing(server: &Server) {
    let (worker, ref_id, job, _talk) = running(server, JobOptions::default()).await;
    let forged = haulier_tests::forge(&job.lease);
    assert_eq!(worker.end_refused(&forged, completed("0")).await, ReportErrorCode::LeaseLost);
    worker
        .report(pb::ReportJobsRequest {
            progress: vec![pb::ProgressReport { lease: forged, progress: Some(0.9), ..Default::default() }],
            ..Default::default()
        })
        .await;
    let shown = summary(server, &ref_id).await;
    assert_eq!((shown.state(), shown.progress), (JobState::Running, None));
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
}

async fn jobs_that_come_with_the_result_are_stored(server: &Server) {
    let options = JobOptions { user_id: "anna".into(), ..Default::default() };
    let (worker, _, job, _talk) = running(server, options).await;
    let item = pb::EnqueueCommandItem { command: "next".into(), request: json("5"), options: None };
    let item = pb::EnqueueItem { work: Some(pb::enqueue_item::Work::Command(item)), ..Default::default() };
    let complete = pb::CompleteOutcome { result: json("1"), enqueue: vec![item] };
    let outcome = || pb::outcome_report::Outcome::Complete(complete.clone());
    for _ in 0..2 {
        assert_eq!(worker.end_well(&job.lease, outcome()).await, JobState::Completed);
    }
    let listed = server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner().jobs;
    assert_eq!(listed.len(), 1);
    let stored = &listed[0];
    assert_eq!((&stored.work, stored.parent_id), (&Some(pb::job_summary::Work::Command("next".into())), 0));
    assert_eq!(stored.user_id, "anna");
}

async fn a_paused_queue_holds_transient_runs_too(server: &Server) {
    let mut queues = pb::queue_service_client::QueueServiceClient::new(server.channel());
    let name = || "default".to_owned();
    queues.pause_queue(pb::PauseQueueRequest { name: name(), reason: String::new() }).await.unwrap();
    let mut worker = HandWorker::register(server, &["work"]).await;
    let ref_id = detached(server, JobOptions::default()).await;
    assert!(worker.claim_within(1, Duration::from_secs(1)).await.is_empty());
    assert_eq!(summary(server, &ref_id).await.state(), JobState::Queued);
    queues.resume_queue(pb::ResumeQueueRequest { name: name() }).await.unwrap();
    let job = worker.claim_within(1, Duration::from_secs(10)).await.remove(0);
    assert_eq!(job.ref_id, ref_id);
}

async fn a_ref_id_is_taken_by_a_job_or_another_run(server: &Server) {
    let named = |ref_id: &str| JobOptions { ref_id: ref_id.into(), ..Default::default() };
    let stored = server.enqueue(command_with("other", named("stored"))).await;
    let _worker = HandWorker::register(server, &["work"]).await;
    let refused = refusal(run(server, with(named("stored"))).await);
    refused.must_be(Code::AlreadyExists, "REF_ID_TAKEN");
    assert_eq!(refused.metadata["job_id"], stored.job_id.to_string());
    detached(server, named("run")).await;
    let refused = refusal(run(server, with(named("run"))).await);
    refused.must_be(Code::AlreadyExists, "REF_ID_TAKEN");
    assert!(refused.message.contains("a transient run"), "{refused:?}");
}

async fn a_higher_priority_goes_first(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let of = |priority| JobOptions { priority: Some(priority), ..Default::default() };
    let low = detached(server, of(5)).await;
    let high = detached(server, of(25)).await;
    assert_eq!(worker.claim_one().await.ref_id, high);
    assert_eq!(worker.claim_one().await.ref_id, low);
}

async fn a_named_worker_runs_one_at_a_time_stored_or_not(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let lane = || JobOptions { worker: Some("lane".into()), ..Default::default() };
    server.enqueue(command_with("work", lane())).await;
    let stored = worker.claim_one().await;
    let ref_id = detached(server, lane()).await;
    assert_eq!(summary(server, &ref_id).await.state(), JobState::Blocked);
    assert!(worker.claim_within(5, Duration::from_secs(1)).await.is_empty(), "the stored job holds the lane");
    worker.end_well(&stored.lease, completed("1")).await;
    let transient = worker.claim_within(5, Duration::from_secs(10)).await.remove(0);
    assert!(transient.transient && transient.strict && transient.ref_id == ref_id, "{transient:?}");
    let held = |count: i64| async move {
        assert_eq!(tables(server).await["haulier_lane_lease"], count);
    };
    held(1).await;
    let next = server.enqueue(command_with("work", lane())).await;
    assert_eq!(server.summary(next.job_id).await.state(), JobState::Blocked);
    let second = detached(server, lane()).await;
    assert!(worker.claim_within(5, Duration::from_secs(1)).await.is_empty(), "the transient run holds it");
    assert_eq!(worker.end_well(&transient.lease, completed("1")).await, JobState::Completed);
    let job = worker.claim_within(5, Duration::from_secs(10)).await.remove(0);
    assert_eq!(job.job_id, next.job_id, "the job that stood in line");
    held(0).await;
    worker.end_well(&job.lease, completed("1")).await;
    let job = worker.claim_within(5, Duration::from_secs(10)).await.remove(0);
    assert_eq!(job.ref_id, second);
    // Released, it leaves the lane and takes it anew.
    worker.end_well(&job.lease, released("")).await;
    let again = worker.claim_within(5, Duration::from_secs(10)).await.remove(0);
    assert_eq!(again.ref_id, second);
    worker.end_well(&again.lease, failed("no")).await;
    held(0).await;
    // The lane that the command declares counts for transient runs too.
    let mut registration = Registration::of(&["serial"]);
    registration.0.commands[0].worker = Some("declared".into());
    let mut serial = HandWorker::begin(server, registration).await;
    let asked = || RunCommandRequest { detach: true, ..request("serial", "1") };
    run(server, asked()).await.unwrap();
    run(server, asked()).await.unwrap();
    let first = serial.claim_within(5, Duration::from_secs(10)).await;
    assert_eq!(first.len(), 1);
    assert!(serial.claim_within(5, Duration::from_secs(1)).await.is_empty());
    serial.end_well(&first[0].lease, completed("1")).await;
    assert_eq!(serial.claim_within(5, Duration::from_secs(10)).await.len(), 1);
}

async fn a_lane_is_free_again_when_its_server_is_gone(server: &Server) {
    let lane = || JobOptions { worker: Some("lane".into()), ..Default::default() };
    let mut worker = HandWorker::begin(server, Registration::short_lived(&["work"])).await;
    detached(server, lane()).await;
    let held = worker.claim_within(1, Duration::from_secs(10)).await.remove(0);
    server.kill9();
    let begun = monotonic();
    server.restart().await;
    let stored = server.enqueue(command_with("work", lane())).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut got = Vec::new();
    while got.is_empty() {
        assert!(monotonic() - begun < Duration::from_secs(40), "the lane stays held");
        got = worker.claim_within(1, Duration::from_secs(2)).await;
    }
    let waited = monotonic() - begun;
    figure(&format!("free after {waited:?}, the lease time is 5 s"));
    assert!(waited >= Duration::from_secs(4), "{waited:?}: before the worker process can have stopped");
    assert_eq!(got[0].job_id, stored.job_id);
    assert_eq!(worker.end_refused(&held.lease, completed("1")).await, ReportErrorCode::LeaseLost);
}

async fn the_sdk_runs_commands_side_by_side(server: &Server) {
    let client = Client::connect(server.address()).await.unwrap();
    let gate = Arc::new(tokio::sync::Barrier::new(2));
    let both = Arc::clone(&gate);
    let worker = Worker::new(client.clone())
        .named("meet", move |_, number: i64| {
            let both = Arc::clone(&both);
            async move {
                both.wait().await;
                Ok::<_, HandlerError>(number + 1)
            }
        })
        .named("fail", |_, (): ()| async move { Err::<(), HandlerError>(NonRetryable("bad").into()) })
        .named("wait", |job, (): ()| async move {
            job.cancelled().await;
            Err::<(), HandlerError>(haulier::Cancelled.into())
        })
        .slots(4);
    let stop = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
    // Two at once: neither has an id, and each gets its own result.
    let (one, two) = tokio::join!(async { client.run_command_named("meet", 1).await.unwrap() }, async {
        client.run_command_named("meet", 10).await.unwrap()
    },);
    assert_eq!((one.as_i64(), two.as_i64()), (Some(2), Some(11)));
    let error = client.run_command_named("fail", ()).await.unwrap_err();
    assert_eq!(error.job_failed().unwrap().reason, FailureReason::NonRetryable);
    let over = client.run_command_named("wait", ()).wait(Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(over, Error::WaitOver { .. }), "{over}");
    let ref_id = client.run_command_named("wait", ()).ref_id("mine").detach().await.unwrap();
    client.cancel(ref_id.as_str()).reason("enough").await.unwrap();
    let mut watch = client.watch(ref_id.as_str());
    let mut last = None;
    while let Some(event) = watch.next().await {
        if let haulier::JobEvent::Snapshot(job) = event.unwrap().event {
            last = Some(*job);
        }
    }
    let summary = last.unwrap().summary.unwrap();
    assert_eq!((summary.state(), summary.cancel_message.as_str()), (JobState::Cancelled, "enough"));
    let nobody = client.run_command_named("nobody", ()).await.unwrap_err();
    assert_eq!(nobody.reason(), Some("NO_WORKER_HERE"));
    stop.cancel();
    task.await.unwrap().unwrap();
}

async fn the_command_line_runs_a_command(server: &Server) {
    let haulier = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(haulier_binary());
        command.args(arguments).args(["--address", &server.address()]);
        async move {
            let output = command.output().await.unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        }
    };
    let mut worker = HandWorker::register(server, &["work"]).await;
    let (told, ()) = tokio::join!(haulier(&["run", "work", "[1]"]), async {
        let job = worker.claim_within(1, Duration::from_secs(20)).await.remove(0);
        assert_eq!(text_of(&job.request), "[1]");
        worker.end_well(&job.lease, completed("2")).await;
    });
    assert_eq!(told, (Some(0), "2\n".into()));
    let (told, ()) = tokio::join!(haulier(&["run", "work"]), async {
        let job = worker.claim_within(1, Duration::from_secs(20)).await.remove(0);
        worker.end_well(&job.lease, failed("no")).await;
    });
    assert_eq!(told, (Some(1), "test: no\n".into()));
    let (code, told) = haulier(&["run", "work", "--detach", "--ref-id", "mine"]).await;
    assert_eq!((code, told.as_str()), (Some(0), "mine\n"));
    let (code, told) = haulier(&["get", "mine"]).await;
    assert!(code == Some(0) && told.contains("a transient run"), "{told}");
    let (code, told) = haulier(&["cancel", "mine"]).await;
    assert!(code == Some(0) && told.contains("never start"), "{told}");
    assert_eq!(haulier(&["run", "nobody"]).await.0, Some(4));
    assert_eq!(haulier(&["run", "work", "--detach", "--wait", "1s"]).await.0, Some(2));
    assert_eq!(haulier(&["run", "work", "{"]).await.0, Some(2));
}

async fn only_worker_processes_of_the_same_server_are_used(server: &Server, replica: &Server) {
    let mut worker = HandWorker::register(replica, &["work"]).await;
    refusal(run(server, request("work", "1")).await).must_be(Code::Unavailable, "NO_WORKER_HERE");
    let ref_id = detached(replica, JobOptions::default()).await;
    let job = worker.claim_one().await;
    assert_eq!(job.ref_id, ref_id);
    // The other server knows nothing of it.
    let asked = pb::GetJobByRefIdRequest { ref_id: ref_id.clone(), ..Default::default() };
    refusal(server.jobs().get_job_by_ref_id(asked).await).must_be(Code::NotFound, "JOB_NOT_FOUND");
    let elsewhere = worker.through(server);
    assert_eq!(elsewhere.end_refused(&job.lease, completed("0")).await, ReportErrorCode::LeaseLost);
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
    server.enqueue(command("work")).await;
    assert_eq!(worker.claim_within(1, Duration::from_secs(10)).await.len(), 1);
}

async fn a_server_that_stops_says_whether_the_command_had_begun(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let (begun, waiting, ()) = tokio::join!(
        run(server, request("work", "1")),
        async {
            // The first holds the only claim.
            until("the first one runs", || async {
                let workers = server.workers().list_workers(pb::ListWorkersRequest::default()).await.unwrap();
                (workers.into_inner().workers[0].running_count == 1).then_some(())
            })
            .await;
            run(server, request("work", "2")).await
        },
        async {
            worker.claim_one().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            server.term().await;
        },
    );
    let begun = begun.unwrap();
    let error = begun.error.clone().unwrap();
    assert_eq!((begun.state(), error.code.as_str()), (JobState::Failed, "SHUTTING_DOWN"));
    refusal(waiting).must_be(Code::Unavailable, "SHUTTING_DOWN");
}
