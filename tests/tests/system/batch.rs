//! Batches: jobs that are stored together, all of them or none, with edges among them; and jobs that come with an outcome.

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed, failed, fixed_retry, json, text_of};
use haulier_tests::{HandWorker, Refusal, Server, on_both, refusal};
use pb::dependency::Parent;
use pb::enqueue_item::Work;
use pb::{EnqueueBatchRequest, EnqueueItem, JobOptions, JobState};
use tonic::Code;

on_both!(
    items_depend_on_each_other_by_local_key_in_any_order,
    a_repeat_of_a_batch_stores_nothing_and_answers_the_same,
    an_item_that_exists_stands_for_the_job_it_names,
    a_refused_item_refuses_the_whole_batch,
    circles_unknown_and_doubled_keys_are_named,
    a_batch_has_an_id_and_is_counted_by_state,
    a_batch_over_its_limit_is_refused_by_name,
    a_batch_of_a_thousand_is_stored_and_run,
    jobs_that_come_with_an_outcome_are_stored_with_it_or_not_at_all,
    a_follow_up_that_is_refused_fails_the_attempt,
);

fn item(key: &str, name: &str, parents: &[&str], options: JobOptions) -> EnqueueItem {
    let depends_on = parents
        .iter()
        .map(|key| pb::Dependency { parent: Some(Parent::LocalKey((*key).into())), condition: 0 })
        .collect();
    let options = Some(JobOptions { depends_on, ..options });
    let item = pb::EnqueueCommandItem { command: name.into(), options, request: json("1") };
    EnqueueItem { local_key: key.into(), work: Some(Work::Command(item)) }
}

fn plain(key: &str, parents: &[&str]) -> EnqueueItem {
    item(key, "work", parents, JobOptions::default())
}

fn batch(items: Vec<EnqueueItem>) -> EnqueueBatchRequest {
    EnqueueBatchRequest { items, ..Default::default() }
}

async fn store(server: &Server, request: EnqueueBatchRequest) -> pb::EnqueueBatchResponse {
    server.jobs().enqueue_batch(request).await.expect("a batch is accepted").into_inner()
}

async fn refused(server: &Server, request: EnqueueBatchRequest) -> Refusal {
    refusal(server.jobs().enqueue_batch(request).await)
}

async fn stored_jobs(server: &Server) -> usize {
    server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner().jobs.len()
}

async fn items_depend_on_each_other_by_local_key_in_any_order(server: &Server) {
    // A diamond, its tip first.
    let request = batch(vec![
        plain("last", &["left", "right"]),
        plain("left", &["root"]),
        plain("right", &["root"]),
        plain("root", &[]),
    ]);
    let stored = store(server, request).await;
    let ids: Vec<i64> = stored.jobs.iter().map(|job| job.job_id).collect();
    let states: Vec<JobState> = stored.jobs.iter().map(pb::EnqueuedJob::state).collect();
    assert_eq!(states, [JobState::Blocked, JobState::Blocked, JobState::Blocked, JobState::Queued]);
    let keys: Vec<&str> = stored.jobs.iter().map(|job| job.local_key.as_str()).collect();
    assert_eq!(keys, ["last", "left", "right", "root"]);
    assert_eq!(server.summary(ids[0]).await.parent_id, ids[1], "the first parent");
    let mut worker = HandWorker::register(server, &["work"]).await;
    let root = worker.claim_one().await;
    assert_eq!(root.job_id, ids[3]);
    worker.end_well(&root.lease, completed("1")).await;
    for _ in 0..2 {
        let job = worker.claim_one().await;
        assert!([ids[1], ids[2]].contains(&job.job_id));
        worker.end_well(&job.lease, completed("1")).await;
    }
    let last = worker.claim_one().await;
    assert_eq!((last.job_id, last.parents.len()), (ids[0], 2));
}

async fn a_repeat_of_a_batch_stores_nothing_and_answers_the_same(server: &Server) {
    let request = EnqueueBatchRequest {
        request_id: "once".into(),
        ..batch(vec![
            plain("a", &[]),
            plain("b", &["a"]),
            item("c", "work", &[], JobOptions { ref_id: "r".into(), ..Default::default() }),
        ])
    };
    let first = store(server, request.clone()).await;
    let again = store(server, request.clone()).await;
    assert_eq!(first.batch_id, again.batch_id);
    let ids =
        |answer: &pb::EnqueueBatchResponse| answer.jobs.iter().map(|job| job.job_id).collect::<Vec<_>>();
    assert_eq!(ids(&first), ids(&again));
    assert!(first.jobs.iter().all(|job| job.created) && again.jobs.iter().all(|job| !job.created));
    assert_eq!(stored_jobs(server).await, 3);
    let other = EnqueueBatchRequest {
        request_id: "once".into(),
        ..batch(vec![item("a", "other", &[], JobOptions::default())])
    };
    refused(server, other).await.must_be(Code::AlreadyExists, "REQUEST_ID_REUSED");
}

async fn an_item_that_exists_stands_for_the_job_it_names(server: &Server) {
    let known = |policy: pb::RefIdPolicy| {
        let options = JobOptions {
            ref_id: "known".into(),
            ref_id_policy: policy.into(),
            batch_id: "b".into(),
            ..Default::default()
        };
        item("known", "work", &[], options)
    };
    let first = store(server, batch(vec![known(pb::RefIdPolicy::Fail)])).await.jobs.remove(0);
    let request = batch(vec![known(pb::RefIdPolicy::ReturnExisting), plain("child", &["known"])]);
    let stored = store(server, request).await;
    assert_eq!((stored.jobs[0].job_id, stored.jobs[0].created), (first.job_id, false));
    assert_eq!((stored.jobs[1].state(), stored.jobs[1].created), (JobState::Blocked, true));
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    assert_eq!(job.job_id, first.job_id);
    worker.end_well(&job.lease, completed("1")).await;
    let child = worker.claim_one().await;
    assert_eq!(child.job_id, stored.jobs[1].job_id);
    // It has ended by now: another child need not wait.
    let request = batch(vec![known(pb::RefIdPolicy::ReturnExisting), plain("late", &["known"])]);
    let stored = store(server, request).await;
    assert_eq!(stored.jobs[1].state(), JobState::Queued);
}

async fn a_refused_item_refuses_the_whole_batch(server: &Server) {
    let taken = JobOptions { ref_id: "taken".into(), ..Default::default() };
    server.enqueue(command_with("work", taken.clone())).await;
    let request = batch(vec![plain("a", &[]), item("b", "work", &["a"], taken)]);
    refused(server, request).await.must_be(Code::AlreadyExists, "REF_ID_TAKEN");
    assert_eq!(stored_jobs(server).await, 1);
    let twice =
        |key: &str| item(key, "work", &[], JobOptions { ref_id: "twice".into(), ..Default::default() });
    refused(server, batch(vec![twice("a"), twice("b")])).await.must_be(Code::AlreadyExists, "REF_ID_TAKEN");
    assert_eq!(stored_jobs(server).await, 1);
    // The keys of a refused batch are free.
    store(server, batch(vec![twice("a")])).await;
    let bad = item("a", "no good", &[], JobOptions { priority: Some(99), ..Default::default() });
    let refusal = refused(server, batch(vec![plain("ok", &[]), bad])).await;
    refusal.must_name("items[1].command.command");
    refusal.must_name("items[1].command.options.priority");
    assert_eq!(stored_jobs(server).await, 2);
}

async fn circles_unknown_and_doubled_keys_are_named(server: &Server) {
    let circle = batch(vec![plain("a", &["b"]), plain("b", &["a"]), plain("c", &[])]);
    refused(server, circle).await.must_name("items[0].command.options.depends_on");
    let own = batch(vec![plain("a", &["a"])]);
    refused(server, own).await.must_name("items[0].command.options.depends_on");
    let unknown = batch(vec![plain("a", &["nobody"])]);
    let unknown = refused(server, unknown).await;
    unknown.must_be(Code::InvalidArgument, "PARENT_NOT_FOUND");
    assert!(unknown.field("items[0].command.options.depends_on[0].local_key").is_some(), "{unknown:?}");
    let doubled = batch(vec![plain("a", &[]), plain("a", &[])]);
    refused(server, doubled).await.must_name("items[1].local_key");
    refused(server, batch(Vec::new())).await.must_name("items");
    refused(server, batch(vec![EnqueueItem::default()])).await.must_name("items[0].work");
    let alone = pb::Dependency { parent: Some(Parent::LocalKey("a".into())), condition: 0 };
    let options = JobOptions { depends_on: vec![alone], ..Default::default() };
    server.enqueue_refused(command_with("work", options)).await.must_name("options.depends_on[0].local_key");
    assert_eq!(stored_jobs(server).await, 0);
}

async fn a_batch_has_an_id_and_is_counted_by_state(server: &Server) {
    let retry = JobOptions { retry_policy: fixed_retry(0, 1.0), ..Default::default() };
    let request = batch(vec![
        item("good", "work", &[], retry.clone()),
        item("bad", "work", &[], retry.clone()),
        item("child of good", "other", &["good"], retry.clone()),
        item("child of bad", "other", &["bad"], retry.clone()),
        item(
            "later",
            "other",
            &[],
            JobOptions { delay: haulier_tests::seconds(600.0), ..Default::default() },
        ),
    ]);
    let stored = store(server, request).await;
    assert!(!stored.batch_id.is_empty());
    let count = || async {
        let request = pb::GetBatchRequest { batch_id: stored.batch_id.clone() };
        server.jobs().get_batch(request).await.unwrap().into_inner().batch.unwrap()
    };
    let counts = count().await.counts.unwrap();
    assert_eq!((counts.queued, counts.blocked, counts.scheduled, counts.total), (2, 2, 1, 5));
    let mut worker = HandWorker::register(server, &["work"]).await;
    for _ in 0..2 {
        let job = worker.claim_one().await;
        let outcome = if job.job_id == stored.jobs[0].job_id { completed("1") } else { failed("no") };
        worker.end_well(&job.lease, outcome).await;
    }
    server.wait_for_state(stored.jobs[3].job_id, JobState::Cancelled).await;
    server.wait_for_state(stored.jobs[2].job_id, JobState::Queued).await;
    let batch = count().await;
    let counts = batch.counts.unwrap();
    assert_eq!(
        (counts.queued, counts.completed, counts.failed, counts.cancelled, counts.scheduled),
        (1, 1, 1, 1, 1)
    );
    assert!(batch.finish_time.is_none() && batch.create_time.is_some());
    server.cancel(stored.jobs[2].job_id, "no", None).await;
    server.cancel(stored.jobs[4].job_id, "no", None).await;
    assert!(count().await.finish_time.is_some());
}

async fn a_batch_over_its_limit_is_refused_by_name(server: &Server) {
    let request = batch((0..1_001).map(|_| plain("", &[])).collect());
    let refusal = refused(server, request).await;
    refusal.must_name("items");
    assert!(refusal.message.contains("1000") || refusal.message.contains("1,000"), "{}", refusal.message);
    assert_eq!(stored_jobs(server).await, 0);
}

async fn a_batch_of_a_thousand_is_stored_and_run(server: &Server) {
    let stored = store(server, batch((0..1_000).map(|_| plain("", &[])).collect())).await;
    let ids: Vec<i64> = stored.jobs.iter().map(|job| job.job_id).collect();
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "ids in the order of the items");
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut held = Vec::new();
    while held.len() < 1_000 {
        held.extend(worker.claim(1_000).await);
    }
    let outcomes = held.iter().map(|job| pb::OutcomeReport {
        lease: job.lease.clone(),
        log_sequence: 0,
        outcome: Some(completed("1")),
    });
    worker.report(pb::ReportJobsRequest { outcomes: outcomes.collect(), ..Default::default() }).await;
    let request = pb::GetBatchRequest { batch_id: stored.batch_id };
    let batch = server.jobs().get_batch(request).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(batch.counts.unwrap().completed, 1_000);
}

fn completed_with(result: &str, enqueue: Vec<EnqueueItem>) -> pb::outcome_report::Outcome {
    pb::outcome_report::Outcome::Complete(pb::CompleteOutcome { result: json(result), enqueue })
}

async fn jobs_that_come_with_an_outcome_are_stored_with_it_or_not_at_all(server: &Server) {
    let options = JobOptions {
        user_id: "ada".into(),
        user_claims: [("role".into(), "admin".into())].into(),
        ..Default::default()
    };
    server.enqueue(command_with("parent", options)).await;
    let mut worker = HandWorker::register(server, &["parent", "work"]).await;
    let job = worker.claim_one().await;
    let outcome = completed_with("7", vec![plain("a", &[]), plain("b", &["a"])]);
    assert_eq!(worker.end_well(&job.lease, outcome.clone()).await, JobState::Completed);
    // A repeat of the outcome stores nothing more.
    assert_eq!(worker.end_well(&job.lease, outcome).await, JobState::Completed);
    assert_eq!(stored_jobs(server).await, 3);
    let first = worker.claim_one().await;
    assert_eq!((first.user_id.as_str(), first.user_claims["role"].as_str()), ("ada", "admin"));
    let [parent] = first.parents.as_slice() else { panic!("{first:?}") };
    assert_eq!((parent.job_id, text_of(&parent.result)), (job.job_id, "7"));
    worker.end_well(&first.lease, completed("1")).await;
    let second = worker.claim_one().await;
    assert_eq!(second.parents[0].job_id, first.job_id);
    // A lease that is lost brings nothing in.
    let again = server.enqueue(command("parent")).await.job_id;
    let late = worker.claim_one().await;
    server.cancel(again, "no", haulier_tests::seconds(0.1)).await;
    server.wait_for_state(again, JobState::Cancelled).await;
    let before = stored_jobs(server).await;
    worker.end_refused(&late.lease, completed_with("1", vec![plain("", &[])])).await;
    assert_eq!(stored_jobs(server).await, before);
}

async fn a_follow_up_that_is_refused_fails_the_attempt(server: &Server) {
    let taken = JobOptions { ref_id: "taken".into(), ..Default::default() };
    server.enqueue(command_with("unserved", taken.clone())).await;
    let mut worker = HandWorker::register(server, &["parent"]).await;
    for items in [
        vec![plain("a", &[]), item("b", "work", &[], taken)],
        vec![plain("a", &["a"])],
        vec![plain("a", &["nobody"])],
    ] {
        let parent = server.enqueue(command("parent")).await.job_id;
        let job = worker.claim_one().await;
        assert_eq!(worker.end_well(&job.lease, completed_with("1", items)).await, JobState::Failed);
        let error = server.summary(parent).await.error.unwrap();
        assert_eq!(error.code, "FOLLOW_UP_REFUSED", "{error:?}");
    }
    assert_eq!(stored_jobs(server).await, 4);
    // A bad message is refused as such, and the attempt goes on.
    let parent = server.enqueue(command("parent")).await.job_id;
    let job = worker.claim_one().await;
    let ack = worker.end(&job.lease, completed_with("1", vec![EnqueueItem::default()])).await;
    assert_eq!(ack.error.unwrap().field, "outcomes[0].complete.enqueue[0].work");
    assert_eq!(server.summary(parent).await.state(), JobState::Running);
}
