//! Dependencies: jobs that start only after others have ended as they ask.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{
    cancelled, command, command_with, completed, failed, fixed_retry, json, text_of,
};
use haulier_tests::{HandWorker, Registration, Server, on_both, on_two_servers, refusal, until};
use pb::dependency::Parent;
use pb::{CancelReason, DependencyCondition as Condition, JobOptions, JobState};
use tonic::Code;

on_both!(
    a_child_starts_only_after_its_parents_have_completed,
    a_parents_request_result_and_state_reach_its_child,
    each_condition_decides_what_an_ending_means,
    a_failed_parent_cancels_its_dependants_down_to_the_last,
    a_cancelled_parent_cancels_its_dependants,
    a_requeue_with_dependants_starts_the_whole_family_again,
    a_parent_that_has_ended_already_counts_with_its_ending,
    a_retry_of_the_parent_is_no_end,
    a_child_that_is_cancelled_waits_for_nobody,
    a_child_with_a_delay_waits_for_both,
    a_child_of_a_lane_enters_it_when_its_parents_are_done,
    many_children_are_all_told,
    a_server_that_dies_before_it_told_the_children_tells_them_later,
    unknown_parents_and_too_many_are_refused_and_nothing_is_stored,
    a_running_job_is_the_parent_of_what_it_enqueues,
    no_child_is_forgotten_while_parents_complete,
);

on_two_servers!(parents_that_end_at_once_on_two_servers_free_their_child);

fn on(parents: &[(i64, Condition)]) -> JobOptions {
    let depends_on = parents
        .iter()
        .map(|(id, condition)| pb::Dependency {
            parent: Some(Parent::JobId(*id)),
            condition: (*condition).into(),
        })
        .collect();
    JobOptions { depends_on, ..Default::default() }
}

fn on_success(parent: i64) -> JobOptions {
    on(&[(parent, Condition::Unspecified)])
}

async fn enqueue(server: &Server, name: &str, options: JobOptions) -> pb::EnqueueCommandResponse {
    server.enqueue(command_with(name, options)).await
}

async fn a_child_starts_only_after_its_parents_have_completed(server: &Server) {
    let first = server.enqueue(command("parent")).await.job_id;
    let second =
        enqueue(server, "parent", JobOptions { ref_id: "second".into(), ..Default::default() }).await.job_id;
    let by_ref = pb::Dependency { parent: Some(Parent::RefId("second".into())), condition: 0 };
    let mut options = on_success(first);
    options.depends_on.push(by_ref);
    let stored = enqueue(server, "child", options).await;
    assert_eq!(stored.state(), JobState::Blocked);
    let child = stored.job_id;
    assert_eq!(server.summary(child).await.parent_id, first, "the first parent, as none was named");
    let job = server.job(child).await;
    let Some(pb::job_result::Record::Queued(queued)) = job.record else { panic!("{job:?}") };
    assert_eq!(queued.waiting_for, [first, second]);
    let mut worker = HandWorker::register(server, &["parent", "child"]).await;
    let parents = worker.claim(10).await;
    assert_eq!(parents.len(), 2, "the child does not start");
    worker.end_well(&parents[0].lease, completed("1")).await;
    assert!(worker.claim(10).await.is_empty());
    worker.end_well(&parents[1].lease, completed("2")).await;
    let job = worker.claim_one().await;
    assert_eq!(job.job_id, child);
    assert_eq!(worker.end_well(&job.lease, completed("3")).await, JobState::Completed);
}

async fn a_parents_request_result_and_state_reach_its_child(server: &Server) {
    let request = pb::EnqueueCommandRequest { request: json("{\"n\":1}"), ..command("parent") };
    let parent = server.enqueue(request).await.job_id;
    enqueue(server, "child", on_success(parent)).await;
    let large =
        enqueue(server, "child", JobOptions { tag: "by reference".into(), ..on_success(parent) }).await;
    let mut worker = HandWorker::register(server, &["parent", "child"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("{\"n\":2}")).await;
    let child = worker.claim_one().await;
    let [told] = child.parents.as_slice() else { panic!("{child:?}") };
    assert_eq!((told.job_id, told.state(), told.command.as_str()), (parent, JobState::Completed, "parent"));
    assert_eq!((text_of(&told.request), text_of(&told.result)), ("{\"n\":1}", "{\"n\":2}"));
    let request = pb::GetJobRequest { job_id: large.job_id, include_parent: true, ..Default::default() };
    let got = server.jobs().get_job(request).await.unwrap().into_inner().job.unwrap().parent.unwrap();
    assert_eq!((got.job_id, text_of(&got.result)), (parent, "{\"n\":2}"));
}

async fn each_condition_decides_what_an_ending_means(server: &Server) {
    let mut worker = HandWorker::begin(server, Registration::patient(&["parent"])).await;
    for (outcome, met) in [
        (completed("1"), [true, true, false]),
        (failed("no"), [false, true, true]),
        (cancelled("enough"), [false, true, false]),
    ] {
        let options = JobOptions { retry_policy: fixed_retry(0, 1.0), ..Default::default() };
        let parent = enqueue(server, "parent", options).await.job_id;
        let mut children = Vec::new();
        for condition in [Condition::Success, Condition::Finished, Condition::Failure] {
            children.push(enqueue(server, "child", on(&[(parent, condition)])).await.job_id);
        }
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, outcome).await;
        for (child, met) in children.into_iter().zip(met) {
            let wanted = if met { JobState::Queued } else { JobState::Cancelled };
            server.wait_for_state(child, wanted).await;
        }
    }
}

async fn a_failed_parent_cancels_its_dependants_down_to_the_last(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(0, 1.0), ..Default::default() };
    let parent = enqueue(server, "parent", options).await.job_id;
    let child = enqueue(server, "child", on_success(parent)).await.job_id;
    let grandchild = enqueue(server, "child", on_success(child)).await.job_id;
    let last = enqueue(server, "child", on_success(grandchild)).await.job_id;
    let mourner = enqueue(server, "child", on(&[(grandchild, Condition::Finished)])).await.job_id;
    let mut worker = HandWorker::register(server, &["parent"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, failed("no")).await;
    for (job, because_of) in [(child, parent), (grandchild, child), (last, grandchild)] {
        let summary = server.wait_for_state(job, JobState::Cancelled).await;
        assert_eq!(summary.cancel_reason(), CancelReason::Parent);
        assert!(summary.cancel_message.contains(&format!("job {because_of}")), "{}", summary.cancel_message);
    }
    server.wait_for_state(mourner, JobState::Queued).await;
    // A requeue of the parent leaves them alone.
    server.requeue(parent).await;
    assert_eq!(server.summary(child).await.state(), JobState::Cancelled);
}

async fn a_cancelled_parent_cancels_its_dependants(server: &Server) {
    let parent = server.enqueue(command("parent")).await.job_id;
    let child = enqueue(server, "child", on_success(parent)).await.job_id;
    server.cancel(parent, "enough", None).await;
    let summary = server.wait_for_state(child, JobState::Cancelled).await;
    assert_eq!(summary.cancel_reason(), CancelReason::Parent);
    assert!(summary.cancel_message.contains("was cancelled"), "{}", summary.cancel_message);
}

async fn a_requeue_with_dependants_starts_the_whole_family_again(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(0, 1.0), ..Default::default() };
    let parent = enqueue(server, "parent", options.clone()).await.job_id;
    let hopeless = enqueue(server, "hopeless", options).await.job_id;
    let child = enqueue(server, "child", on_success(parent)).await.job_id;
    let grandchild = enqueue(server, "child", on_success(child)).await.job_id;
    let doomed =
        enqueue(server, "child", on(&[(parent, Condition::Success), (hopeless, Condition::Success)]))
            .await
            .job_id;
    let mut worker = HandWorker::register(server, &["parent", "hopeless", "child"]).await;
    for _ in 0..2 {
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, failed("no")).await;
    }
    for id in [child, grandchild, doomed] {
        server.wait_for_state(id, JobState::Cancelled).await;
    }
    let request = pb::RequeueJobRequest { job_id: parent, include_dependants: true, ..Default::default() };
    let answer = server.jobs().requeue_job(request.clone()).await.unwrap().into_inner();
    assert_eq!((answer.created, answer.dependant_count), (true, 2));
    for (id, state) in [
        (parent, JobState::Queued),
        (child, JobState::Blocked),
        (grandchild, JobState::Blocked),
        (doomed, JobState::Cancelled),
    ] {
        assert_eq!(server.summary(id).await.state(), state);
    }
    assert_eq!(server.summary(child).await.run, 2);
    for id in [parent, child, grandchild] {
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, id);
        worker.end_well(&job.lease, completed("1")).await;
    }
}

async fn a_parent_that_has_ended_already_counts_with_its_ending(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(0, 1.0), ..Default::default() };
    let (well, badly) =
        (server.enqueue(command("parent")).await.job_id, enqueue(server, "parent", options).await.job_id);
    let mut worker = HandWorker::register(server, &["parent", "child"]).await;
    for _ in 0..2 {
        let job = worker.claim_one().await;
        let outcome = if job.job_id == well { completed("1") } else { failed("no") };
        worker.end_well(&job.lease, outcome).await;
    }
    let free = enqueue(server, "child", on_success(well)).await;
    assert_eq!(free.state(), JobState::Queued);
    let job = worker.claim_one().await;
    assert_eq!((job.job_id, job.parents.len()), (free.job_id, 1));
    let doomed =
        enqueue(server, "child", on(&[(well, Condition::Success), (badly, Condition::Success)])).await;
    assert_eq!(doomed.state(), JobState::Cancelled);
    let summary = server.summary(doomed.job_id).await;
    assert_eq!(summary.cancel_reason(), CancelReason::Parent);
    assert!(summary.cancel_message.contains(&format!("job {badly}")));
    let after_failure = enqueue(server, "child", on(&[(badly, Condition::Failure)])).await;
    assert_eq!(after_failure.state(), JobState::Queued);
    let of_doomed = enqueue(server, "child", on_success(doomed.job_id)).await;
    assert_eq!(of_doomed.state(), JobState::Cancelled);
}

async fn a_retry_of_the_parent_is_no_end(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(1, 0.5), ..Default::default() };
    let parent = enqueue(server, "parent", options).await.job_id;
    let early = enqueue(server, "child", on_success(parent)).await.job_id;
    let mut worker = HandWorker::register(server, &["parent"]).await;
    let job = worker.claim_one().await;
    // Children may come while the parent runs, and between its attempts.
    let running = enqueue(server, "child", on_success(parent)).await.job_id;
    worker.end_well(&job.lease, failed("once")).await;
    let between = enqueue(server, "child", on_success(parent)).await.job_id;
    for child in [early, running, between] {
        assert_eq!(server.summary(child).await.state(), JobState::Blocked);
    }
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("1")).await;
    for child in [early, running, between] {
        server.wait_for_state(child, JobState::Queued).await;
    }
}

async fn a_child_that_is_cancelled_waits_for_nobody(server: &Server) {
    let parent = server.enqueue(command("parent")).await.job_id;
    let child = enqueue(server, "child", on_success(parent)).await.job_id;
    server.cancel(child, "not needed", None).await;
    assert_eq!(server.summary(child).await.state(), JobState::Cancelled);
    let mut worker = HandWorker::register(server, &["parent", "child"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("1")).await;
    assert!(worker.claim_within(1, Duration::from_secs(1)).await.is_empty());
    // Started again by hand it waits for nobody.
    server.requeue(child).await;
    assert_eq!(worker.claim_one().await.job_id, child);
}

async fn a_child_with_a_delay_waits_for_both(server: &Server) {
    let parent = server.enqueue(command("parent")).await.job_id;
    let options = JobOptions { delay: haulier_tests::seconds(2.0), ..on_success(parent) };
    let child = enqueue(server, "child", options).await;
    assert_eq!(child.state(), JobState::Blocked);
    let mut worker = HandWorker::register(server, &["parent", "child"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("1")).await;
    server.wait_for_state(child.job_id, JobState::Scheduled).await;
    assert_eq!(worker.claim_one().await.job_id, child.job_id);
}

async fn a_child_of_a_lane_enters_it_when_its_parents_are_done(server: &Server) {
    let parent = server.enqueue(command("parent")).await.job_id;
    let lane = |options: JobOptions| JobOptions { worker: Some("one".into()), ..options };
    let child = enqueue(server, "work", lane(on_success(parent))).await.job_id;
    let head = enqueue(server, "work", lane(JobOptions::default())).await.job_id;
    let tail = enqueue(server, "work", lane(JobOptions::default())).await.job_id;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    assert_eq!(job.job_id, head, "a blocked job does not hold its lane");
    let mut other = HandWorker::register(server, &["parent"]).await;
    let done = other.claim_one().await;
    other.end_well(&done.lease, completed("1")).await;
    until("the child has entered its lane", async || {
        let job = server.job(child).await;
        let Some(pb::job_result::Record::Queued(queued)) = job.record else { return None };
        queued.waiting_for.is_empty().then_some(())
    })
    .await;
    worker.end_well(&job.lease, completed("1")).await;
    for id in [child, tail] {
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, id);
        worker.end_well(&job.lease, completed("1")).await;
    }
}

async fn many_children_are_all_told(server: &Server) {
    let parent = server.enqueue(command("parent")).await.job_id;
    let children = 700;
    let items = (0..children).map(|_| {
        let options = Some(JobOptions { tag: "child".into(), ..on_success(parent) });
        let item = pb::EnqueueCommandItem { command: "child".into(), options, ..Default::default() };
        pb::EnqueueItem { work: Some(pb::enqueue_item::Work::Command(item)), ..Default::default() }
    });
    let request =
        pb::EnqueueBatchRequest { items: items.collect(), batch_id: "b".into(), ..Default::default() };
    server.jobs().enqueue_batch(request).await.unwrap();
    let counts = || async {
        let request = pb::GetBatchRequest { batch_id: "b".into() };
        server.jobs().get_batch(request).await.unwrap().into_inner().batch.unwrap().counts.unwrap()
    };
    assert_eq!(counts().await.blocked, children);
    let mut worker = HandWorker::register(server, &["parent"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("1")).await;
    until("all children are free", async || (counts().await.queued == children).then_some(())).await;
}

async fn a_server_that_dies_before_it_told_the_children_tells_them_later(server: &Server) {
    // A chain of cancelled jobs is told link by link: killed right after the first end, the rest is told at the next start.
    let mut ids = vec![server.enqueue(command("parent")).await.job_id];
    for _ in 0..30 {
        let last = *ids.last().unwrap();
        ids.push(enqueue(server, "child", on_success(last)).await.job_id);
    }
    server.cancel(ids[0], "enough", None).await;
    server.kill9();
    server.restart().await;
    for id in &ids {
        server.wait_for_state(*id, JobState::Cancelled).await;
    }
}

async fn unknown_parents_and_too_many_are_refused_and_nothing_is_stored(server: &Server) {
    let refused = server.enqueue_refused(command_with("child", on_success(9_999_999))).await;
    refused.must_be(Code::InvalidArgument, "PARENT_NOT_FOUND");
    assert!(refused.field("options.depends_on[0].job_id").is_some(), "{refused:?}");
    let by_ref = pb::Dependency { parent: Some(Parent::RefId("nobody".into())), condition: 0 };
    let options = JobOptions { depends_on: vec![by_ref], ..Default::default() };
    let refused = server.enqueue_refused(command_with("child", options)).await;
    refused.must_be(Code::InvalidArgument, "PARENT_NOT_FOUND");
    assert!(refused.field("options.depends_on[0].ref_id").is_some(), "{refused:?}");
    let options = on(&(1..=101).map(|id| (id, Condition::Success)).collect::<Vec<_>>());
    server.enqueue_refused(command_with("child", options)).await.must_name("options.depends_on");
    let listed = server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner().jobs;
    assert!(listed.is_empty());
    let unknown = pb::GetBatchRequest { batch_id: "none".into() };
    refusal(server.jobs().get_batch(unknown).await).must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
}

async fn a_running_job_is_the_parent_of_what_it_enqueues(server: &Server) {
    let options = JobOptions { retry_policy: fixed_retry(0, 1.0), ..Default::default() };
    let mut worker = HandWorker::register(server, &["parent"]).await;
    for (outcome, wanted) in [(completed("1"), JobState::Queued), (failed("no"), JobState::Cancelled)] {
        enqueue(server, "parent", options.clone()).await;
        let job = worker.claim_one().await;
        // What it enqueues while it runs, depending on itself, starts only if it succeeds.
        let mut children = Vec::new();
        for _ in 0..3 {
            children.push(enqueue(server, "child", on_success(job.job_id)).await.job_id);
        }
        worker.end_well(&job.lease, outcome).await;
        for child in children {
            server.wait_for_state(child, wanted).await;
        }
    }
}

async fn no_child_is_forgotten_while_parents_complete(server: &Server) {
    let mut worker = HandWorker::begin(server, Registration::patient(&["parent"])).await;
    let mut children = Vec::new();
    for round in 0..60 {
        let parent = server.enqueue(command("parent")).await.job_id;
        let job = worker.claim_one().await;
        assert_eq!(job.job_id, parent);
        // The end of the parent and its child come at the same instant.
        let pause = Duration::from_micros(100 * (round % 20));
        let (_, child) = tokio::join!(
            async {
                tokio::time::sleep(pause).await;
                worker.end_well(&job.lease, completed("1")).await
            },
            enqueue(server, "child", on_success(parent)),
        );
        children.push(child.job_id);
    }
    for child in children {
        server.wait_for_state(child, JobState::Queued).await;
    }
}

async fn parents_that_end_at_once_on_two_servers_free_their_child(server: &Server, replica: &Server) {
    let mut here = HandWorker::begin(server, Registration::patient(&["parent"])).await;
    let mut there = HandWorker::begin(replica, Registration::patient(&["parent"])).await;
    for _ in 0..25 {
        let mut parents = Vec::new();
        for _ in 0..2 {
            parents.push((server.enqueue(command("parent")).await.job_id, Condition::Success));
        }
        let child = enqueue(server, "child", on(&parents)).await.job_id;
        let (one, two) = (here.claim_one().await, there.claim_one().await);
        tokio::join!(here.end_well(&one.lease, completed("1")), there.end_well(&two.lease, completed("2")));
        server.wait_for_state(child, JobState::Queued).await;
    }
}
