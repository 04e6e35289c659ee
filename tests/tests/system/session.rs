//! Sessions: how they live, how they are lost, and what becomes of what they held.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed};
use haulier_tests::{
    Database, HandWorker, Registration, Server, figure, monotonic, on_both, on_two_servers, refusal, until,
};
use pb::{AttemptOutcome, FailureReason, JobOptions, JobState, ReportErrorCode, RetryPolicy, WorkerState};
use sqlx::Connection as _;
use tonic::Code;

/// The lease time of [`Registration::short_lived`].
const LEASE: Duration = Duration::from_secs(5);
/// Lease time and two ticks of the reaper: how long a loss may go unnoticed.
const RECOVERY: Duration = Duration::from_secs(9);

on_both!(
    a_drain_told_before_the_stream_is_open_is_told_when_it_opens,
    a_silent_worker_loses_its_jobs_after_its_lease_time_and_nothing_it_sends_counts,
    a_lost_answer_is_no_crash,
    a_job_that_loses_its_worker_process_three_times_is_poison,
    a_crash_limit_of_zero_makes_the_first_crash_final,
    heartbeats_keep_a_session_and_its_jobs,
    a_lease_that_a_heartbeat_does_not_list_goes_back_without_spending_the_attempt,
    a_lease_whose_answer_may_still_come_is_not_judged_by_a_heartbeat,
    a_listed_lease_that_is_none_is_told,
    a_listed_lease_whose_outcome_is_stored_is_acknowledged,
    a_draining_worker_is_told_and_given_nothing_more,
    draining_nobody_is_not_found,
    a_session_that_ends_releases_what_it_holds,
    a_session_that_is_over_is_lost_to_its_worker,
    an_instance_that_registers_again_ends_its_earlier_session,
    worker_processes_are_listed_with_what_they_hold,
    an_outcome_is_judged_by_its_lease_also_when_the_session_has_ended,
    a_restart_of_the_server_revokes_no_lease,
);

on_two_servers!(
    a_session_works_through_any_server,
    a_frozen_server_that_comes_back_leaves_its_workers_time_to_be_heard,
);

/// A job, claimed by a worker process that falls silent.
async fn claimed_by_the_silent(server: &Server, options: JobOptions) -> (HandWorker, pb::LeasedJob) {
    server.enqueue(command_with("work", options)).await;
    let mut worker = HandWorker::begin(server, Registration::short_lived(&["work"]).named("silent")).await;
    let job = worker.claim_one().await;
    (worker, job)
}

async fn a_silent_worker_loses_its_jobs_after_its_lease_time_and_nothing_it_sends_counts(server: &Server) {
    let (mut silent, first) = claimed_by_the_silent(server, JobOptions::default()).await;
    silent.acknowledge().await;
    let begun = monotonic();
    let mut other = HandWorker::register(server, &["work"]).await;
    let second = other.claim_one().await;
    let waited = monotonic() - begun;
    figure(&format!("recovered after {waited:?}, promised within {RECOVERY:?}"));
    assert!(
        waited > LEASE - Duration::from_secs(1),
        "taken back after {waited:?}, before the lease time was over"
    );
    assert!(waited < 3 * RECOVERY, "taken back only after {waited:?}");
    assert_eq!((second.job_id, second.crashes), (first.job_id, 1));
    assert!(second.fencing_token > first.fencing_token);
    assert_eq!(silent.end_refused(&first.lease, completed("\"late\"")).await, ReportErrorCode::LeaseLost);
    refusal(silent.send_claim(silent.request(9, 0, 1, Duration::ZERO)).await)
        .must_be(Code::Aborted, "SESSION_LOST");
    let beat = silent.heartbeat(&[&first.lease]);
    let answers = silent.report(beat).await;
    let mut errors = answers.iter().flat_map(|answer| &answer.errors);
    assert!(errors.any(|error| error.code() == ReportErrorCode::SessionLost), "{answers:?}");
    let attempts = server.attempts(first.job_id).await;
    assert_eq!(attempts[0].outcome(), AttemptOutcome::Crashed);
    assert_eq!(attempts[0].worker_process, "silent");
    assert_eq!(other.end_well(&second.lease, completed("1")).await, JobState::Completed);
}

async fn a_lost_answer_is_no_crash(server: &Server) {
    let (_silent, first) = claimed_by_the_silent(server, JobOptions::default()).await;
    let mut other = HandWorker::register(server, &["work"]).await;
    let second = other.claim_one().await;
    assert_eq!((second.job_id, second.attempt, second.crashes), (first.job_id, 1, 0));
    assert_eq!(server.attempts(first.job_id).await[0].outcome(), AttemptOutcome::NotReceived);
}

async fn a_job_that_loses_its_worker_process_three_times_is_poison(server: &Server) {
    // It serves the killer too, but has other work from the start.
    let mut busy = HandWorker::register(server, &["killer", "filler"]).await;
    server.enqueue(command("filler")).await;
    let filler = busy.claim_one().await;
    let neighbour = server.enqueue(command("neighbour")).await.job_id;
    let killer = server.enqueue(command("killer")).await.job_id;
    for crashes in 0..3 {
        let beat = busy.heartbeat(&[&filler.lease]);
        busy.report(beat).await;
        if crashes == 2 {
            // Now it is given only to a worker process that runs nothing else.
            assert!(
                busy.claim_within(5, Duration::from_millis(1_500)).await.is_empty(),
                "a killer beside other work"
            );
        }
        let mut worker = HandWorker::begin(server, Registration::short_lived(&["killer"])).await;
        let job = worker.claim_one().await;
        assert_eq!((job.job_id, job.crashes), (killer, crashes));
        worker.acknowledge().await;
        let ended = until("the crash is noticed", || async {
            let summary = server.summary(killer).await;
            (summary.crashes > crashes || summary.state() == JobState::Failed).then_some(summary)
        })
        .await;
        let wanted = if crashes == 2 { JobState::Failed } else { JobState::Queued };
        assert_eq!(ended.state(), wanted, "after crash {}", crashes + 1);
    }
    assert_eq!(busy.end_well(&filler.lease, completed("1")).await, JobState::Completed);
    let summary = server.summary(killer).await;
    assert_eq!(summary.error.unwrap().reason(), FailureReason::Poison);
    let outcomes: Vec<_> = server.attempts(killer).await.iter().map(pb::JobAttempt::outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Crashed; 3]);
    assert_eq!(server.summary(neighbour).await.state(), JobState::Queued);
}

async fn a_crash_limit_of_zero_makes_the_first_crash_final(server: &Server) {
    let policy = RetryPolicy { crash_limit: Some(0), ..Default::default() };
    let options = JobOptions { retry_policy: Some(policy), ..Default::default() };
    let (silent, job) = claimed_by_the_silent(server, options).await;
    silent.acknowledge().await;
    let summary = server.wait_for_state(job.job_id, JobState::Failed).await;
    assert_eq!(summary.error.unwrap().reason(), FailureReason::Poison);
}

async fn heartbeats_keep_a_session_and_its_jobs(server: &Server) {
    let (mut worker, job) = claimed_by_the_silent(server, JobOptions::default()).await;
    let beat = worker.heartbeat(&[&job.lease]);
    let mut talk = worker.converse_with(beat).await;
    let ack = talk.beat_taken(1).await;
    assert_eq!(ack.lease_time.unwrap().seconds, 5);
    for beat in 2..=8 {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let message = worker.heartbeat(&[&job.lease]);
        talk.say(message).await;
        talk.beat_taken(beat).await;
    }
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
}

async fn a_lease_that_a_heartbeat_does_not_list_goes_back_without_spending_the_attempt(server: &Server) {
    server.enqueue(command("work")).await;
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let jobs = worker.claim(2).await;
    let beat = worker.heartbeat(&[&jobs[1].lease]);
    worker.report(beat).await;
    let back = server.wait_for_state(jobs[0].job_id, JobState::Queued).await;
    assert_eq!(back.crashes, 0);
    assert_eq!(server.summary(jobs[1].job_id).await.state(), JobState::Running);
    let again = worker.claim_one().await;
    assert_eq!((again.job_id, again.attempt, again.crashes), (jobs[0].job_id, 1, 0));
    assert_eq!(worker.end_refused(&jobs[0].lease, completed("1")).await, ReportErrorCode::LeaseLost);
    assert_eq!(worker.end_well(&jobs[1].lease, completed("1")).await, JobState::Completed);
}

async fn a_lease_whose_answer_may_still_come_is_not_judged_by_a_heartbeat(server: &Server) {
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    let mut beat = worker.heartbeat(&[]);
    let state = pb::LoopState { r#loop: 0, received: 0, sent: 1, sent_open: true };
    beat.heartbeat.as_mut().unwrap().loops = vec![state];
    let mut talk = worker.converse_with(beat).await;
    talk.beat_taken(1).await;
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
}

async fn a_listed_lease_that_is_none_is_told(server: &Server) {
    server.enqueue(command("work")).await;
    let mut first = HandWorker::register(server, &["work"]).await;
    let job = first.claim_one().await;
    let beat = first.heartbeat(&[]);
    first.report(beat).await;
    server.wait_for_state(job.job_id, JobState::Queued).await;
    let beat = first.heartbeat(&[&job.lease]);
    let mut talk = first.converse_with(beat).await;
    let lost = talk.loss_of(&job.lease).await;
    assert!(!lost.reason.is_empty());
}

async fn a_listed_lease_whose_outcome_is_stored_is_acknowledged(server: &Server) {
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("1")).await;
    // As if the acknowledgement had been lost.
    let beat = worker.heartbeat(&[&job.lease]);
    let mut talk = worker.converse_with(beat).await;
    let ack = talk.ack(&job.lease, |ack| ack.outcome_stored).await;
    assert_eq!(ack.state(), JobState::Completed);
}

async fn a_draining_worker_is_told_and_given_nothing_more(server: &Server) {
    let mut worker = HandWorker::begin(server, Registration::of(&["work"]).named("to drain")).await;
    server.enqueue(command("work")).await;
    let held = worker.claim_one().await;
    let beat = worker.heartbeat(&[&held.lease]);
    let mut talk = worker.converse_with(beat).await;
    talk.beat_taken(1).await;
    let request = pb::DrainWorkerRequest {
        target: Some(pb::drain_worker_request::Target::Name("to drain".into())),
        reason: "new version".into(),
        grace: haulier_tests::seconds(7.0),
    };
    let told = server.workers().drain_worker(request).await.unwrap().into_inner().workers;
    assert_eq!((told.len(), told[0].state()), (1, WorkerState::Draining));
    let drain = talk.drain().await;
    assert_eq!((drain.reason.as_str(), drain.grace.unwrap().seconds), ("new version", 7));
    let waiting = server.enqueue(command("work")).await;
    assert!(worker.claim_within(5, Duration::from_secs(1)).await.is_empty());
    assert_eq!(server.summary(waiting.job_id).await.state(), JobState::Queued);
    assert_eq!(worker.end_well(&held.lease, completed("1")).await, JobState::Completed);
    let mut other = HandWorker::register(server, &["work"]).await;
    assert_eq!(other.claim_one().await.job_id, waiting.job_id);
}

async fn draining_nobody_is_not_found(server: &Server) {
    let target = Some(pb::drain_worker_request::Target::InstanceId("nobody".into()));
    let refused =
        refusal(server.workers().drain_worker(pb::DrainWorkerRequest { target, ..Default::default() }).await);
    refused.must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
    assert!(refused.metadata["kind"].contains("worker"), "{refused:?}");
}

async fn a_session_that_ends_releases_what_it_holds(server: &Server) {
    for _ in 0..3 {
        server.enqueue(command("work")).await;
    }
    let mut worker = HandWorker::register(server, &["work"]).await;
    let held = worker.claim(3).await;
    worker.end_well(&held[0].lease, completed("1")).await;
    assert_eq!(worker.unregister().await, 2);
    let mut other = HandWorker::register(server, &["work"]).await;
    let given = other.claim(5).await;
    assert_eq!(given.len(), 2);
    assert!(given.iter().all(|job| job.attempt == 1 && job.crashes == 0), "{given:?}");
    assert_eq!(server.attempts(held[1].job_id).await[0].outcome(), AttemptOutcome::Released);
    assert_eq!(worker.end_refused(&held[1].lease, completed("1")).await, ReportErrorCode::LeaseLost);
}

async fn a_session_that_is_over_is_lost_to_its_worker(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let waiting = tokio::spawn(worker.send_claim(worker.request(1, 0, 1, Duration::from_secs(30))));
    tokio::time::sleep(Duration::from_millis(200)).await;
    worker.unregister().await;
    assert_eq!(worker.unregister().await, 0, "ending a session twice is no error");
    let stored = server.enqueue(command("work")).await;
    let claimed = tokio::time::timeout(Duration::from_secs(35), waiting).await.unwrap().unwrap();
    assert!(claimed.is_err() || claimed.unwrap().jobs.is_empty());
    assert_eq!(server.summary(stored.job_id).await.state(), JobState::Queued);
    refusal(worker.send_claim(worker.request(2, 0, 1, Duration::ZERO)).await)
        .must_be(Code::Aborted, "SESSION_LOST");
}

async fn an_instance_that_registers_again_ends_its_earlier_session(server: &Server) {
    server.enqueue(command("work")).await;
    let registration = Registration::of(&["work"]);
    let mut first = HandWorker::begin(server, registration.clone()).await;
    let held = first.claim_one().await;
    let mut second = HandWorker::begin(server, registration).await;
    assert_ne!(first.session, second.session);
    let given = second.claim_one().await;
    assert_eq!((given.job_id, given.attempt, given.crashes), (held.job_id, 1, 0));
    refusal(first.send_claim(first.request(2, 1, 1, Duration::ZERO)).await)
        .must_be(Code::Aborted, "SESSION_LOST");
    assert_eq!(first.end_refused(&held.lease, completed("1")).await, ReportErrorCode::LeaseLost);
    assert_eq!(second.end_well(&given.lease, completed("1")).await, JobState::Completed);
}

async fn worker_processes_are_listed_with_what_they_hold(server: &Server) {
    server.enqueue(command("work")).await;
    let mut registration = Registration::of(&["work", "more"]).named("listed");
    registration.0.labels = [("zone".to_owned(), "a".to_owned())].into();
    let instance_id = registration.0.instance_id.clone();
    let mut worker = HandWorker::begin(server, registration).await;
    HandWorker::begin(server, Registration::of(&["other"]).named("another")).await;
    let job = worker.claim_one().await;
    let list = |request| async { server.workers().list_workers(request).await.unwrap().into_inner() };
    let all = list(pb::ListWorkersRequest::default()).await.workers;
    assert_eq!(all.iter().map(|worker| worker.name.as_str()).collect::<Vec<_>>(), ["another", "listed"]);
    let of_command =
        list(pb::ListWorkersRequest { command: "more".into(), ..Default::default() }).await.workers;
    assert_eq!(of_command.len(), 1);
    let listed = &of_command[0];
    assert_eq!((&listed.instance_id, listed.state()), (&instance_id, WorkerState::Active));
    assert_eq!((listed.running_count, &listed.running_job_ids), (1, &vec![job.job_id]));
    assert_eq!((listed.slots, listed.labels["zone"].as_str()), (10, "a"));
    assert_eq!(listed.session_id, worker.session[..8]);
    let first = list(pb::ListWorkersRequest { page_size: 1, ..Default::default() }).await;
    assert_eq!((first.workers.len(), first.next_page_token.is_empty()), (1, false));
    let page_token = first.next_page_token;
    let second = list(pb::ListWorkersRequest { page_size: 1, page_token, ..Default::default() }).await;
    assert_eq!((second.workers[0].name.as_str(), second.next_page_token.as_str()), ("listed", ""));
}

/// The end of the session releases the lease, so what comes after is late; what comes before through another stream is not.
async fn an_outcome_is_judged_by_its_lease_also_when_the_session_has_ended(server: &Server) {
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("1")).await;
    worker.unregister().await;
    // A repeat on a new stream of the session that is over.
    let ack = worker.end(&job.lease, completed("1")).await;
    assert!(ack.outcome_stored && ack.state() == JobState::Completed, "{ack:?}");
}

async fn a_restart_of_the_server_revokes_no_lease(server: &Server) {
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::begin(server, Registration::short_lived(&["work"])).await;
    let job = worker.claim_one().await;
    worker.acknowledge().await;
    server.kill9();
    // Longer than the lease: the outage is ours, not the worker's.
    tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
    server.restart().await;
    let back = worker.through(server);
    assert_eq!(server.summary(job.job_id).await.state(), JobState::Running);
    assert_eq!(back.end_well(&job.lease, completed("1")).await, JobState::Completed);
}

async fn a_session_works_through_any_server(server: &Server, replica: &Server) {
    let stored = server.enqueue(command("work")).await;
    let mut here = HandWorker::register(server, &["work"]).await;
    let mut there = here.through(replica);
    let job = here.claim_one().await;
    assert_eq!(job.job_id, stored.job_id);
    let again = there.send_claim(there.request(1, 0, 1, Duration::ZERO)).await.unwrap();
    assert_eq!(again.jobs[0].lease, job.lease);
    let beat = there.heartbeat(&[&job.lease]);
    there.report(beat).await;
    assert_eq!(there.end_well(&job.lease, completed("1")).await, JobState::Completed);
    assert_eq!(here.end_well(&job.lease, completed("1")).await, JobState::Completed);
    // A job enqueued at one server reaches a claim that waits at the other.
    let waiting = tokio::spawn(there.send_claim(there.request(5, 1, 1, Duration::from_secs(20))));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = monotonic();
    let stored = server.enqueue(command("work")).await;
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.jobs[0].job_id, stored.job_id);
    figure(&format!("from one server to a claim at the other: {:?}", monotonic() - begun));
}

/// The other server must not take the leases of a worker process that could not be heard through a frozen one, neither while
/// that is silent nor in the moment in which it is back.
async fn a_frozen_server_that_comes_back_leaves_its_workers_time_to_be_heard(
    server: &Server,
    replica: &Server,
) {
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::begin(server, Registration::short_lived(&["work"])).await;
    let job = worker.claim_one().await;
    let beat = worker.heartbeat(&[&job.lease]);
    let mut talk = worker.converse_with(beat).await;
    talk.beat_taken(1).await;
    server.stop();
    tokio::time::sleep(LEASE + Duration::from_secs(3)).await;
    server.cont();
    // Back for longer than a tick of the other's reaper, and the worker process is late by less than a lease time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(replica.summary(job.job_id).await.state(), JobState::Running);
    let beat = worker.heartbeat(&[&job.lease]);
    talk.say(beat).await;
    talk.beat_taken(2).await;
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
}

/// A frozen server may hold the lock on a row that an outcome needs: that must not cost the worker process its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_does_not_wait_for_an_outcome_that_waits_for_a_lock() {
    let server = Server::start(Database::MariaDb).await;
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::begin(&server, Registration::short_lived(&["work"])).await;
    let job = worker.claim_one().await;
    let mut talk = worker.converse().await;
    let mut other = sqlx::MySqlConnection::connect(server.database_url()).await.unwrap();
    let mut frozen = other.begin().await.unwrap();
    let lock = "SELECT job_id FROM haulier_job_lease WHERE job_id = ? FOR UPDATE";
    sqlx::query(lock).bind(job.job_id).fetch_one(&mut *frozen).await.unwrap();
    let outcome = Some(completed("1"));
    let outcome = pb::OutcomeReport { lease: job.lease.clone(), log_sequence: 0, outcome };
    talk.say(pb::ReportJobsRequest { outcomes: vec![outcome], ..Default::default() }).await;
    let beat = worker.heartbeat(&[&job.lease]);
    talk.say(beat).await;
    talk.beat_taken(1).await;
    assert_eq!(server.summary(job.job_id).await.state(), JobState::Running, "the lock is held still");
    frozen.rollback().await.unwrap();
    talk.ack(&job.lease, |ack| ack.outcome_stored).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_freezes_beyond_a_lease_revokes_nothing_when_it_goes_on() {
    let server = Server::start(Database::Sqlite).await;
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::begin(&server, Registration::short_lived(&["work"])).await;
    let job = worker.claim_one().await;
    worker.acknowledge().await;
    server.stop();
    tokio::time::sleep(LEASE + Duration::from_secs(3)).await;
    server.cont();
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
}

async fn a_drain_told_before_the_stream_is_open_is_told_when_it_opens(server: &Server) {
    let worker = HandWorker::register(server, &["work"]).await;
    let target = pb::drain_worker_request::Target::Name("by hand".into());
    let drain = pb::DrainWorkerRequest { target: Some(target), ..Default::default() };
    server.workers().drain_worker(drain).await.unwrap();
    for _ in 0..2 {
        worker.converse().await.drain().await;
    }
}
