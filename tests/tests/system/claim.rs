//! Claims: nothing is lost with an answer, nothing is given twice.

use std::collections::BTreeSet;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::command;
use haulier_tests::{HandWorker, Registration, Server, figure, monotonic, on_both, refusal, until};
use pb::payload::Kind;
use pb::{AttemptOutcome, JobState};
use tonic::Code;

/// Longer than anything here takes: a claim that waits so long ends for another reason.
const LONG: Duration = Duration::from_secs(30);

on_both!(
    a_claim_without_jobs_answers_empty_and_is_no_error,
    a_waiting_claim_that_finds_nothing_answers_empty_when_its_wait_is_over,
    a_repeated_sequence_is_given_the_same_jobs,
    a_repeated_sequence_leaves_out_what_has_ended_meanwhile,
    a_higher_sequence_gives_back_what_never_arrived_without_spending_the_attempt,
    a_higher_sequence_keeps_what_it_acknowledges,
    a_sequence_behind_the_stored_one_is_stale,
    a_newer_call_of_a_loop_ends_the_older_with_an_empty_answer,
    loops_of_a_session_do_not_disturb_each_other,
    a_caller_that_went_away_gets_its_job_when_it_repeats_the_call,
    an_answer_holds_at_most_three_mebibytes,
    a_job_larger_than_an_answer_comes_alone,
    a_waiting_claim_is_woken_by_an_enqueue,
    an_enqueue_wakes_one_of_many_waiting_claims_and_the_others_wait_on,
    no_job_is_given_to_two_workers,
    a_worker_gets_only_commands_that_it_serves,
    a_session_that_does_not_exist_is_lost,
);

async fn enqueue_many(server: &Server, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(server.enqueue(command("work")).await.job_id);
    }
    ids
}

fn ids(jobs: &[pb::LeasedJob]) -> Vec<i64> {
    jobs.iter().map(|job| job.job_id).collect()
}

async fn a_claim_without_jobs_answers_empty_and_is_no_error(server: &Server) {
    let worker = HandWorker::register(server, &["work"]).await;
    let answer = worker.send_claim(worker.request(1, 0, 5, Duration::ZERO)).await.unwrap();
    assert_eq!((answer.jobs.len(), answer.sequence), (0, 1));
}

async fn a_waiting_claim_that_finds_nothing_answers_empty_when_its_wait_is_over(server: &Server) {
    let worker = HandWorker::register(server, &["work"]).await;
    let begun = monotonic();
    let answer = worker.send_claim(worker.request(1, 0, 5, Duration::from_secs(1))).await.unwrap();
    let waited = monotonic() - begun;
    assert!(answer.jobs.is_empty());
    // The server may cut a wait short by its jitter, not to nothing.
    assert!(waited > Duration::from_millis(400) && waited < Duration::from_secs(10), "{waited:?}");
}

async fn a_repeated_sequence_is_given_the_same_jobs(server: &Server) {
    enqueue_many(server, 5).await;
    let worker = HandWorker::register(server, &["work"]).await;
    let first = worker.send_claim(worker.request(1, 0, 3, Duration::ZERO)).await.unwrap();
    assert_eq!(first.jobs.len(), 3);
    for _ in 0..3 {
        let again = worker.send_claim(worker.request(1, 0, 3, LONG)).await.unwrap();
        assert_eq!(again.sequence, 1);
        let key = |job: &pb::LeasedJob| (job.job_id, job.lease.clone(), job.fencing_token, job.attempt);
        let keys = |jobs: &[pb::LeasedJob]| jobs.iter().map(key).collect::<BTreeSet<_>>();
        assert_eq!(keys(&again.jobs), keys(&first.jobs));
    }
}

async fn a_repeated_sequence_leaves_out_what_has_ended_meanwhile(server: &Server) {
    enqueue_many(server, 3).await;
    let worker = HandWorker::register(server, &["work"]).await;
    let first = worker.send_claim(worker.request(1, 0, 2, Duration::ZERO)).await.unwrap();
    worker.end_well(&first.jobs[0].lease, haulier_tests::messages::completed("1")).await;
    let again = worker.send_claim(worker.request(1, 0, 2, LONG)).await.unwrap();
    assert_eq!(ids(&again.jobs), [first.jobs[1].job_id]);
    worker.end_well(&first.jobs[1].lease, haulier_tests::messages::completed("1")).await;
    let again = worker.send_claim(worker.request(1, 0, 2, LONG)).await.unwrap();
    assert!(again.jobs.is_empty(), "a repeat claims nothing new, even when it holds nothing any more");
}

async fn a_higher_sequence_gives_back_what_never_arrived_without_spending_the_attempt(server: &Server) {
    let stored = enqueue_many(server, 1).await;
    let worker = HandWorker::register(server, &["work"]).await;
    let lost = worker.send_claim(worker.request(1, 0, 1, Duration::ZERO)).await.unwrap();
    assert_eq!(ids(&lost.jobs), stored);
    let next = worker.send_claim(worker.request(2, 0, 1, LONG)).await.unwrap();
    assert_eq!(ids(&next.jobs), stored);
    assert_eq!((next.jobs[0].attempt, next.jobs[0].crashes), (1, 0));
    assert!(next.jobs[0].fencing_token > lost.jobs[0].fencing_token);
    let refused = worker.end_refused(&lost.jobs[0].lease, haulier_tests::messages::completed("1")).await;
    assert_eq!(refused, pb::ReportErrorCode::LeaseLost);
    let attempts = server.attempts(stored[0]).await;
    let outcomes: Vec<_> = attempts.iter().map(pb::JobAttempt::outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::NotReceived, AttemptOutcome::Running]);
}

async fn a_higher_sequence_keeps_what_it_acknowledges(server: &Server) {
    let stored = enqueue_many(server, 2).await;
    let worker = HandWorker::register(server, &["work"]).await;
    let first = worker.send_claim(worker.request(1, 0, 1, Duration::ZERO)).await.unwrap();
    let empty = worker.send_claim(worker.request(2, 1, 1, Duration::ZERO)).await.unwrap();
    assert_eq!((ids(&first.jobs), ids(&empty.jobs)), (vec![stored[0]], vec![stored[1]]));
    let nothing = worker.send_claim(worker.request(3, 2, 1, Duration::ZERO)).await.unwrap();
    assert!(nothing.jobs.is_empty());
    // An empty answer need not be acknowledged, and does not make the one before it lost.
    let nothing = worker.send_claim(worker.request(4, 2, 1, Duration::ZERO)).await.unwrap();
    assert!(nothing.jobs.is_empty());
    for job in [&first.jobs[0], &empty.jobs[0]] {
        assert_eq!(
            worker.end_well(&job.lease, haulier_tests::messages::completed("1")).await,
            JobState::Completed
        );
    }
}

async fn a_sequence_behind_the_stored_one_is_stale(server: &Server) {
    enqueue_many(server, 1).await;
    let worker = HandWorker::register(server, &["work"]).await;
    let answer = worker.send_claim(worker.request(3, 0, 1, Duration::ZERO)).await.unwrap();
    assert_eq!(answer.jobs.len(), 1);
    for sequence in [1, 2] {
        let refused = refusal(worker.send_claim(worker.request(sequence, 0, 1, LONG)).await);
        refused.must_be(Code::Aborted, "STALE_SEQUENCE");
    }
    let again = worker.send_claim(worker.request(3, 0, 1, Duration::ZERO)).await.unwrap();
    assert_eq!(ids(&again.jobs), ids(&answer.jobs));
}

async fn a_newer_call_of_a_loop_ends_the_older_with_an_empty_answer(server: &Server) {
    let worker = HandWorker::register(server, &["work"]).await;
    for (older, newer) in [(1, 2), (3, 3)] {
        let begun = monotonic();
        let waiting = tokio::spawn(worker.send_claim(worker.request(older, 0, 1, LONG)));
        // Until the server has taken the older one, the newer one is the only one.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let fresh = tokio::spawn(worker.send_claim(worker.request(newer, 0, 1, Duration::from_secs(2))));
        let ended = waiting.await.unwrap().unwrap();
        assert!(ended.jobs.is_empty());
        assert!(monotonic() - begun < Duration::from_secs(15), "the older call waited on beside a newer one");
        assert!(fresh.await.unwrap().unwrap().jobs.is_empty());
    }
}

async fn loops_of_a_session_do_not_disturb_each_other(server: &Server) {
    let worker = HandWorker::register(server, &["work"]).await;
    let on_loop = |claim_loop, sequence, wait| pb::ClaimJobRequest {
        r#loop: claim_loop,
        ..worker.request(sequence, 0, 1, wait)
    };
    let waiting = tokio::spawn(worker.send_claim(on_loop(7, 1, LONG)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let empty = worker.send_claim(on_loop(0, 5, Duration::ZERO)).await.unwrap();
    assert!(empty.jobs.is_empty());
    let stored = enqueue_many(server, 2).await;
    assert_eq!(ids(&waiting.await.unwrap().unwrap().jobs), [stored[0]]);
    let other = worker.send_claim(on_loop(0, 6, LONG)).await.unwrap();
    assert_eq!(ids(&other.jobs), [stored[1]]);
    let again = worker.send_claim(on_loop(7, 1, LONG)).await.unwrap();
    assert_eq!(ids(&again.jobs), [stored[0]]);
}

async fn a_caller_that_went_away_gets_its_job_when_it_repeats_the_call(server: &Server) {
    let worker = HandWorker::register(server, &["work"]).await;
    for round in 0..5 {
        let sequence = round + 1;
        let request = worker.request(sequence, round, 1, LONG);
        let waiting = tokio::spawn(worker.send_claim(request.clone()));
        tokio::time::sleep(Duration::from_millis(150)).await;
        // Sometimes before the job is there, sometimes while it is on its way.
        let stored = if round % 2 == 0 {
            waiting.abort();
            enqueue_many(server, 1).await
        } else {
            let stored = enqueue_many(server, 1).await;
            waiting.abort();
            stored
        };
        let again = worker.send_claim(request).await.unwrap();
        assert_eq!(ids(&again.jobs), stored, "round {round}");
        assert_eq!(again.jobs[0].attempt, 1);
    }
}

fn large(bytes: usize) -> pb::EnqueueCommandRequest {
    let kind = Some(Kind::Data(vec![7; bytes].into()));
    pb::EnqueueCommandRequest { request: Some(pb::Payload { kind, ..Default::default() }), ..command("work") }
}

async fn an_answer_holds_at_most_three_mebibytes(server: &Server) {
    for _ in 0..8 {
        server.enqueue(large(900 << 10)).await;
    }
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut all = BTreeSet::new();
    while all.len() < 8 {
        let jobs = worker.claim(10).await;
        let bytes: usize = jobs.iter().map(prost_len).sum();
        assert!(!jobs.is_empty() && bytes <= 3 << 20, "{} jobs of {bytes} bytes in one answer", jobs.len());
        all.extend(ids(&jobs));
    }
}

fn prost_len(job: &pb::LeasedJob) -> usize {
    match job.request.as_ref().and_then(|request| request.kind.as_ref()) {
        Some(Kind::Data(data)) => data.len(),
        _ => 0,
    }
}

async fn a_job_larger_than_an_answer_comes_alone(server: &Server) {
    // The largest request that is taken by default: four of them are more than an answer holds.
    let mut stored = Vec::new();
    for _ in 0..4 {
        stored.push(server.enqueue(large(1 << 20)).await.job_id);
    }
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut given = Vec::new();
    while given.len() < 4 {
        let jobs = worker.claim(4).await;
        assert!((1..=3).contains(&jobs.len()), "{} jobs in one answer", jobs.len());
        given.extend(ids(&jobs));
    }
    assert_eq!(given, stored);
}

async fn a_waiting_claim_is_woken_by_an_enqueue(server: &Server) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut waits = Vec::new();
    for _ in 0..20 {
        let waiting = async {
            let jobs = worker.claim_within(1, LONG).await;
            (jobs, monotonic())
        };
        let enqueue = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let begun = monotonic();
            (server.enqueue(command("work")).await.job_id, begun)
        };
        let ((jobs, ended), (stored, begun)) = tokio::join!(waiting, enqueue);
        assert_eq!(ids(&jobs), [stored]);
        waits.push(ended - begun);
    }
    waits.sort();
    figure(&format!("enqueue to claim answer: median {:?}, longest {:?}", waits[10], waits[19]));
    assert!(waits[10] < Duration::from_secs(2), "{waits:?}");
}

async fn an_enqueue_wakes_one_of_many_waiting_claims_and_the_others_wait_on(server: &Server) {
    let mut workers = Vec::new();
    for _ in 0..8 {
        workers.push(HandWorker::register(server, &["work"]).await);
    }
    let claims: Vec<_> =
        workers.iter().map(|worker| tokio::spawn(worker.send_claim(worker.request(1, 0, 1, LONG)))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut stored = BTreeSet::new();
    for round in 1..=8 {
        stored.extend(enqueue_many(server, 1).await);
        until("a claim was answered", || async {
            (claims.iter().filter(|claim| claim.is_finished()).count() == round).then_some(())
        })
        .await;
    }
    let mut given = BTreeSet::new();
    for claim in claims {
        given.extend(ids(&claim.await.unwrap().unwrap().jobs));
    }
    assert_eq!(given, stored);
}

async fn no_job_is_given_to_two_workers(server: &Server) {
    let stored: BTreeSet<i64> = enqueue_many(server, 60).await.into_iter().collect();
    let claimers = (0..6).map(|_| async {
        let mut worker = HandWorker::register(server, &["work"]).await;
        let mut given = Vec::new();
        loop {
            let jobs = worker.claim(3).await;
            if jobs.is_empty() {
                return given;
            }
            given.extend(ids(&jobs));
        }
    });
    let given: Vec<i64> = futures::future::join_all(claimers).await.concat();
    assert_eq!(given.len(), 60, "each job is given once");
    assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), stored);
}

async fn a_worker_gets_only_commands_that_it_serves(server: &Server) {
    server.enqueue(command("other")).await;
    let stored = enqueue_many(server, 1).await;
    let mut worker = HandWorker::register(server, &["work", "more"]).await;
    assert_eq!(ids(&worker.claim(10).await), stored);
    assert!(worker.claim_within(10, Duration::from_millis(600)).await.is_empty());
    let mut other = HandWorker::begin(server, Registration::of(&["other"])).await;
    assert_eq!(other.claim(10).await.len(), 1);
}

async fn a_session_that_does_not_exist_is_lost(server: &Server) {
    let worker = HandWorker::register(server, &["work"]).await;
    let request =
        pb::ClaimJobRequest { session_id: "0".repeat(32), ..worker.request(1, 0, 1, Duration::ZERO) };
    refusal(worker.send_claim(request).await).must_be(Code::Aborted, "SESSION_LOST");
}
