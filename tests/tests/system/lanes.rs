//! Named workers: jobs of the same one run strictly one at a time, in the order of their ids, over all worker processes.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command_with, completed, failed, fixed_retry, released, text_of};
use haulier_tests::{HandWorker, Registration, Server, after, on_both, on_two_servers, seconds, until};
use pb::{JobOptions, JobState, WorkerOrder};

on_both!(
    jobs_of_a_named_worker_run_one_at_a_time_in_the_order_of_their_ids,
    priority_does_not_count_inside_a_lane,
    lanes_do_not_hold_each_other_up,
    a_lane_spans_commands_and_worker_processes,
    a_head_that_waits_for_its_retry_holds_its_lane_unless_it_is_relaxed,
    a_scheduled_job_does_not_hold_its_lane_and_takes_its_place_when_its_time_comes,
    a_cancelled_head_and_an_expired_one_let_the_next_go,
    a_released_job_keeps_its_turn,
    a_lost_worker_process_does_not_strand_the_lane,
    a_requeued_job_goes_last,
    a_command_declares_its_named_worker_and_an_option_overrides_it,
    the_latest_declaration_moves_waiting_jobs,
    jobs_are_listed_by_their_named_worker,
    jobs_of_a_named_worker_are_strict,
);

on_two_servers!(a_lane_is_one_over_two_servers);

fn lane(name: &str) -> JobOptions {
    JobOptions { worker: Some(name.into()), ..Default::default() }
}

async fn enqueue(server: &Server, options: JobOptions) -> i64 {
    server.enqueue(command_with("work", options)).await.job_id
}

/// Enqueues several jobs into one lane.
async fn line_up(server: &Server, name: &str, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(enqueue(server, lane(name)).await);
    }
    ids
}

async fn states(server: &Server, ids: &[i64]) -> Vec<JobState> {
    let mut states = Vec::new();
    for id in ids {
        states.push(server.summary(*id).await.state());
    }
    states
}

async fn jobs_of_a_named_worker_run_one_at_a_time_in_the_order_of_their_ids(server: &Server) {
    let ids = line_up(server, "print", 4).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    for (at, id) in ids.iter().enumerate() {
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, *id);
        assert!(worker.claim(10).await.is_empty(), "one at a time");
        let mut wanted = vec![JobState::Completed; at];
        wanted.push(JobState::Running);
        wanted.resize(ids.len(), JobState::Blocked);
        assert_eq!(states(server, &ids).await, wanted);
        assert_eq!(server.summary(*id).await.worker, "print");
        worker.end_well(&job.lease, completed("1")).await;
    }
    assert!(worker.claim(10).await.is_empty());
}

async fn priority_does_not_count_inside_a_lane(server: &Server) {
    let first = enqueue(server, JobOptions { priority: Some(5), ..lane("one") }).await;
    let second = enqueue(server, JobOptions { priority: Some(5), ..lane("one") }).await;
    let third = enqueue(server, JobOptions { priority: Some(25), ..lane("one") }).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    for id in [first, second, third] {
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, id);
        worker.end_well(&job.lease, completed("1")).await;
    }
}

async fn lanes_do_not_hold_each_other_up(server: &Server) {
    let (one, two) = (line_up(server, "one", 3).await, line_up(server, "two", 3).await);
    let free = enqueue(server, JobOptions::default()).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut held: Vec<i64> = worker.claim(10).await.iter().map(|job| job.job_id).collect();
    held.sort_unstable();
    assert_eq!(held, [one[0], two[0], free]);
}

async fn a_lane_spans_commands_and_worker_processes(server: &Server) {
    let first = enqueue(server, lane("one")).await;
    let second = server.enqueue(command_with("other", lane("one"))).await.job_id;
    let mut other = HandWorker::register(server, &["other"]).await;
    assert!(other.claim(1).await.is_empty(), "the lane is held by a job that nobody has claimed yet");
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    assert_eq!(job.job_id, first);
    assert!(other.claim(1).await.is_empty());
    worker.end_well(&job.lease, completed("1")).await;
    assert_eq!(other.claim_one().await.job_id, second);
}

async fn a_head_that_waits_for_its_retry_holds_its_lane_unless_it_is_relaxed(server: &Server) {
    let retry = fixed_retry(1, 2.0);
    for (name, order, passes) in
        [("strict", WorkerOrder::Strict, false), ("relaxed", WorkerOrder::Relaxed, true)]
    {
        let options = JobOptions { worker_order: order.into(), retry_policy: retry.clone(), ..lane(name) };
        let (head, next) = (enqueue(server, options).await, enqueue(server, lane(name)).await);
        let mut worker = HandWorker::register(server, &["work"]).await;
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, head);
        assert_eq!(worker.end_well(&job.lease, failed("no")).await, JobState::Scheduled);
        let second = worker.claim_one().await;
        assert_eq!(second.job_id, if passes { next } else { head }, "{name}");
        worker.end_well(&second.lease, completed("1")).await;
        let third = worker.claim_one().await;
        assert_eq!(third.job_id, if passes { head } else { next }, "{name}");
        worker.end_well(&third.lease, completed("1")).await;
    }
}

async fn a_scheduled_job_does_not_hold_its_lane_and_takes_its_place_when_its_time_comes(server: &Server) {
    let late = enqueue(server, JobOptions { delay: seconds(2.5), ..lane("one") }).await;
    let ids = line_up(server, "one", 3).await;
    assert_eq!(server.summary(late).await.state(), JobState::Scheduled);
    let mut worker = HandWorker::register(server, &["work"]).await;
    let head = worker.claim_one().await;
    assert_eq!(head.job_id, ids[0]);
    until("the scheduled job enters its lane", async || {
        (server.summary(late).await.state() == JobState::Blocked).then_some(())
    })
    .await;
    worker.end_well(&head.lease, completed("1")).await;
    // Its id is the lowest of those who wait.
    for id in [late, ids[1], ids[2]] {
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, id);
        worker.end_well(&job.lease, completed("1")).await;
    }
    let alone = enqueue(server, JobOptions { delay: seconds(1.0), ..lane("one") }).await;
    assert_eq!(worker.claim_one().await.job_id, alone);
}

async fn a_cancelled_head_and_an_expired_one_let_the_next_go(server: &Server) {
    let ids = line_up(server, "one", 2).await;
    let expiring = enqueue(server, JobOptions { expire_time: after(2.0), ..lane("two") }).await;
    let next = enqueue(server, lane("two")).await;
    server.cancel(ids[0], "not this one", None).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut held = vec![];
    server.wait_for_state(expiring, JobState::Cancelled).await;
    while held.len() < 2 {
        held.extend(worker.claim_within(2, Duration::from_secs(5)).await);
    }
    let mut got: Vec<i64> = held.iter().map(|job| job.job_id).collect();
    got.sort_unstable();
    assert_eq!(got, [ids[1], next]);
    // One in the middle of the line leaves it without a trace.
    let line = line_up(server, "one", 3).await;
    server.cancel(line[1], "nor this", None).await;
    worker.end_well(&held[0].lease, completed("1")).await;
    worker.end_well(&held[1].lease, completed("1")).await;
    for id in [line[0], line[2]] {
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, id);
        worker.end_well(&job.lease, completed("1")).await;
    }
}

async fn a_released_job_keeps_its_turn(server: &Server) {
    let ids = line_up(server, "one", 2).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    assert_eq!(worker.end_well(&job.lease, released("draining")).await, JobState::Queued);
    assert_eq!(worker.claim_one().await.job_id, ids[0]);
    assert!(worker.claim(10).await.is_empty());
}

async fn a_lost_worker_process_does_not_strand_the_lane(server: &Server) {
    let ids = line_up(server, "one", 2).await;
    let mut dead = HandWorker::begin(server, Registration::short_lived(&["work"])).await;
    let lost = dead.claim_one().await;
    dead.acknowledge().await;
    let mut worker = HandWorker::begin(server, Registration::patient(&["work"])).await;
    let again = worker.claim_one().await;
    assert_eq!((again.job_id, again.crashes), (ids[0], 1));
    assert!(again.fencing_token > lost.fencing_token);
    assert!(worker.claim(10).await.is_empty());
    worker.end_well(&again.lease, completed("1")).await;
    assert_eq!(worker.claim_one().await.job_id, ids[1]);
}

async fn a_requeued_job_goes_last(server: &Server) {
    let ids = line_up(server, "one", 4).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let head = worker.claim_one().await;
    server.cancel(ids[1], "later", None).await;
    server.requeue(ids[1]).await;
    assert_eq!(server.summary(ids[1]).await.state(), JobState::Blocked);
    worker.end_well(&head.lease, completed("1")).await;
    for id in [ids[2], ids[3], ids[1]] {
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, id);
        worker.end_well(&job.lease, completed("1")).await;
    }
}

fn declaring(worker: &str) -> Registration {
    let mut registration = Registration::patient(&["work"]);
    registration.0.commands[0].worker = Some(worker.into());
    registration
}

async fn a_command_declares_its_named_worker_and_an_option_overrides_it(server: &Server) {
    let mut worker = HandWorker::begin(server, declaring("declared")).await;
    let first = enqueue(server, JobOptions::default()).await;
    let second = enqueue(server, JobOptions::default()).await;
    let other = enqueue(server, lane("other")).await;
    let none = enqueue(server, lane("")).await;
    let mut held = Vec::new();
    while held.len() < 3 {
        held.extend(worker.claim_within(10, Duration::from_secs(5)).await);
    }
    let mut ids: Vec<i64> = held.iter().map(|job| job.job_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [first, other, none]);
    assert_eq!(server.summary(second).await.worker, "declared");
    assert_eq!(server.summary(second).await.state(), JobState::Blocked);
    assert_eq!(server.summary(other).await.worker, "other");
    assert_eq!(server.summary(none).await.worker, "");
    // A repeat of the same enqueue is the same job, declared or not.
    let request = |server| async move {
        let options = JobOptions { ref_id: "r".into(), ref_id_policy: 2, ..Default::default() };
        enqueue(server, options).await
    };
    let once = request(server).await;
    HandWorker::begin(server, declaring("")).await;
    assert_eq!(request(server).await, once);
}

async fn the_latest_declaration_moves_waiting_jobs(server: &Server) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(enqueue(server, JobOptions::default()).await);
    }
    let own = enqueue(server, lane("own")).await;
    let mut worker = HandWorker::begin(server, declaring("declared")).await;
    let mut held: Vec<i64> = worker.claim(10).await.iter().map(|job| job.job_id).collect();
    held.sort_unstable();
    assert_eq!(held, [ids[0], own], "the three are in one lane now");
    assert_eq!(server.summary(ids[1]).await.worker, "declared");
    // None any more: the two that wait are free.
    let mut free = HandWorker::begin(server, declaring("")).await;
    let mut held = Vec::new();
    while held.len() < 2 {
        held.extend(free.claim_within(10, Duration::from_secs(5)).await.iter().map(|job| job.job_id));
    }
    held.sort_unstable();
    assert_eq!(held, ids[1..]);
    assert_eq!(server.summary(ids[1]).await.worker, "");
}

async fn jobs_are_listed_by_their_named_worker(server: &Server) {
    let ids = line_up(server, "one", 3).await;
    line_up(server, "two", 2).await;
    let filter = pb::JobFilter { worker: "one".into(), ..Default::default() };
    let request = pb::ListJobsRequest { filter: Some(filter), ..Default::default() };
    let listed = server.jobs().list_jobs(request).await.unwrap().into_inner().jobs;
    let mut listed: Vec<i64> = listed.iter().map(|job| job.id).collect();
    listed.sort_unstable();
    assert_eq!(listed, ids);
    let job = server.job(ids[1]).await;
    let Some(pb::job_result::Record::Queued(queued)) = job.record else { panic!("{job:?}") };
    let options = queued.options.unwrap();
    assert_eq!((options.worker.as_deref(), options.worker_order()), (Some("one"), WorkerOrder::Strict));
    let ready = job.summary.unwrap().ready_time.unwrap();
    assert!(ready.seconds > 1_700_000_000, "a place in a lane is not a time: {ready:?}");
}

async fn jobs_of_a_named_worker_are_strict(server: &Server) {
    line_up(server, "one", 1).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    assert!(job.strict);
    assert_eq!(text_of(&job.options.and_then(|_| haulier_tests::messages::json("1"))), "1");
}

async fn a_lane_is_one_over_two_servers(server: &Server, replica: &Server) {
    let mut ids = Vec::new();
    for turn in 0..20 {
        let through = if turn % 2 == 0 { server } else { replica };
        ids.push(enqueue(through, lane("one")).await);
    }
    let mut here = HandWorker::register(server, &["work"]).await;
    let mut there = HandWorker::register(replica, &["work"]).await;
    let mut seen = Vec::new();
    while seen.len() < ids.len() {
        let wait = Duration::from_millis(300);
        let (one, two) = (here.claim_within(5, wait).await, there.claim_within(5, wait).await);
        assert!(one.len() + two.len() <= 1, "two of one lane at once");
        for (worker, jobs) in [(&here, one), (&there, two)] {
            for job in jobs {
                seen.push(job.job_id);
                worker.end_well(&job.lease, completed("1")).await;
            }
        }
    }
    // Ids are reserved in blocks by each server: the order is that of the ids among those who wait.
    let mut sorted = seen[1..].to_vec();
    sorted.sort_unstable();
    assert_eq!(seen[1..], sorted[..]);
}
