//! Enqueue: identity, order, time, payloads.

use std::collections::HashMap;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, completed, failed, fixed_retry, json, text_of};
use haulier_tests::{HandWorker, Registration, Server, after, figure, monotonic, on_both, seconds, stamp};
use pb::payload::Kind;
use pb::{CancelReason, JobOptions, JobState, Payload, PriorityName, RefIdPolicy};
use tonic::Code;

on_both!(
    ids_are_positive_and_grow_and_a_ref_id_is_made_when_none_is_given,
    a_ref_id_of_the_caller_names_its_job,
    a_taken_ref_id_is_refused_with_the_job_that_has_it,
    a_taken_ref_id_returns_the_first_job_when_asked_and_the_content_is_equal,
    a_ref_id_stays_taken_when_its_job_has_ended,
    a_repeated_request_id_answers_the_first_job_and_stores_no_second,
    many_repeats_of_a_request_id_at_once_make_one_job,
    a_request_id_with_other_content_is_refused,
    jobs_are_given_by_priority_and_then_in_the_order_they_came,
    a_job_never_starts_before_its_delay_is_over,
    a_job_never_starts_before_its_run_after,
    a_run_after_in_the_past_means_now,
    a_job_that_has_not_started_by_its_expire_time_is_cancelled,
    an_expire_time_does_not_end_a_job_that_has_started,
    a_request_comes_back_byte_for_byte_whatever_its_kind,
    options_come_back_with_their_defaults_filled_in,
    everything_said_of_a_job_is_shown_and_given_to_its_worker,
    a_worker_gets_only_jobs_of_its_queues,
);

async fn ids_are_positive_and_grow_and_a_ref_id_is_made_when_none_is_given(server: &Server) {
    let mut last = 0;
    let mut ref_ids = Vec::new();
    for _ in 0..5 {
        let stored = server.enqueue(command("work")).await;
        assert!(stored.job_id > last, "{stored:?} after {last}");
        assert!(stored.created && !stored.ref_id.is_empty(), "{stored:?}");
        assert_eq!(stored.state(), JobState::Queued);
        last = stored.job_id;
        ref_ids.push(stored.ref_id);
    }
    ref_ids.sort();
    ref_ids.dedup();
    assert_eq!(ref_ids.len(), 5);
}

fn with_ref(name: &str, ref_id: &str, policy: RefIdPolicy) -> pb::EnqueueCommandRequest {
    command_with(
        name,
        JobOptions { ref_id: ref_id.into(), ref_id_policy: policy.into(), ..Default::default() },
    )
}

async fn a_ref_id_of_the_caller_names_its_job(server: &Server) {
    let stored =
        server.enqueue(with_ref("work", "Rechnung 2026/11 – Grüße 🚚", RefIdPolicy::Unspecified)).await;
    assert_eq!(stored.ref_id, "Rechnung 2026/11 – Grüße 🚚");
    let request = pb::GetJobByRefIdRequest { ref_id: stored.ref_id.clone(), ..Default::default() };
    let found =
        server.jobs().get_job_by_ref_id(request).await.unwrap().into_inner().job.unwrap().summary.unwrap();
    assert_eq!((found.id, found.ref_id), (stored.job_id, stored.ref_id));
}

async fn a_taken_ref_id_is_refused_with_the_job_that_has_it(server: &Server) {
    let first = server.enqueue(with_ref("work", "one", RefIdPolicy::Fail)).await;
    for policy in [RefIdPolicy::Unspecified, RefIdPolicy::Fail] {
        let refused = server.enqueue_refused(with_ref("work", "one", policy)).await;
        refused.must_be(Code::AlreadyExists, "REF_ID_TAKEN");
        assert_eq!(refused.metadata["job_id"], first.job_id.to_string());
        assert_eq!(refused.metadata["field"], "ref_id");
    }
}

async fn a_taken_ref_id_returns_the_first_job_when_asked_and_the_content_is_equal(server: &Server) {
    let asked = pb::EnqueueCommandRequest {
        request: json(r#"{"n": 1}"#),
        ..with_ref("work", "one", RefIdPolicy::ReturnExisting)
    };
    let first = server.enqueue(asked.clone()).await;
    assert!(first.created);
    let second = server.enqueue(asked.clone()).await;
    assert!(!second.created);
    assert_eq!((second.job_id, &second.ref_id), (first.job_id, &first.ref_id));
    let others = [
        pb::EnqueueCommandRequest { request: json(r#"{"n": 2}"#), ..asked.clone() },
        pb::EnqueueCommandRequest { command: "other".into(), ..asked.clone() },
    ];
    for other in others {
        let refused = server.enqueue_refused(other).await;
        refused.must_be(Code::AlreadyExists, "REF_ID_TAKEN");
        assert_eq!(refused.metadata["job_id"], first.job_id.to_string());
    }
}

async fn a_ref_id_stays_taken_when_its_job_has_ended(server: &Server) {
    let first = server.enqueue(with_ref("work", "one", RefIdPolicy::Fail)).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("1")).await;
    let refused = server.enqueue_refused(with_ref("work", "one", RefIdPolicy::Fail)).await;
    refused.must_be(Code::AlreadyExists, "REF_ID_TAKEN");
    let again = server.enqueue(with_ref("work", "one", RefIdPolicy::ReturnExisting)).await;
    assert_eq!((again.job_id, again.created, again.state()), (first.job_id, false, JobState::Completed));
}

fn with_request_id(request_id: &str, request: &str) -> pb::EnqueueCommandRequest {
    pb::EnqueueCommandRequest { request_id: request_id.into(), request: json(request), ..command("work") }
}

async fn a_repeated_request_id_answers_the_first_job_and_stores_no_second(server: &Server) {
    let first = server.enqueue(with_request_id("r-1", "1")).await;
    let again = server.enqueue(with_request_id("r-1", "1")).await;
    assert_eq!((again.job_id, again.created), (first.job_id, false));
    let other = server.enqueue(with_request_id("r-2", "1")).await;
    assert!(other.created && other.job_id != first.job_id);
    let listed = server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.jobs.len(), 2);
}

async fn many_repeats_of_a_request_id_at_once_make_one_job(server: &Server) {
    let calls = (0..40).map(|_| server.enqueue(with_request_id("r-1", "1")));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.job_id == answers[0].job_id), "{answers:?}");
    let listed = server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.jobs.len(), 1);
}

async fn a_request_id_with_other_content_is_refused(server: &Server) {
    server.enqueue(with_request_id("r-1", "1")).await;
    server
        .enqueue_refused(with_request_id("r-1", "2"))
        .await
        .must_be(Code::AlreadyExists, "REQUEST_ID_REUSED");
}

async fn jobs_are_given_by_priority_and_then_in_the_order_they_came(server: &Server) {
    let named = |name: PriorityName| JobOptions { priority_name: name.into(), ..Default::default() };
    let numbered = |priority| JobOptions { priority: Some(priority), ..Default::default() };
    let mut wanted = Vec::new();
    for (options, priority) in [
        (named(PriorityName::Low), 5),
        (numbered(1), 1),
        (named(PriorityName::Normal), 15),
        (named(PriorityName::High), 25),
        (JobOptions::default(), 15),
        (numbered(30), 30),
        (named(PriorityName::AboveNormal), 20),
        (named(PriorityName::BelowNormal), 10),
        (named(PriorityName::High), 25),
    ] {
        let stored = server.enqueue(command_with("work", options)).await;
        assert_eq!(server.summary(stored.job_id).await.priority, priority);
        wanted.push((-priority, stored.job_id));
    }
    wanted.sort();
    let mut worker = HandWorker::register(server, &["work"]).await;
    let mut given = Vec::new();
    for most in [1, 3, 10] {
        given.extend(worker.claim(most).await.into_iter().map(|job| job.job_id));
    }
    assert_eq!(given, wanted.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
}

async fn must_wait_until_it_is_ready(server: &Server, options: JobOptions, wait: f64) {
    let mut worker = HandWorker::register(server, &["work"]).await;
    let begun = monotonic();
    let stored = server.enqueue(command_with("work", options)).await;
    assert_eq!(stored.state(), JobState::Scheduled);
    let waiting = server.summary(stored.job_id).await;
    assert_eq!(waiting.state(), JobState::Scheduled);
    assert!(worker.claim(1).await.is_empty());
    let leased = worker.claim_one().await;
    let waited = (monotonic() - begun).as_secs_f64();
    assert_eq!(leased.job_id, stored.job_id);
    assert!(waited >= wait, "it started after {waited} s instead of {wait} s");
    let running = server.summary(stored.job_id).await;
    let ready = stamp(&waiting.ready_time);
    assert!(stamp(&running.start_time) >= ready, "{running:?}");
    assert_eq!(stamp(&leased.options.unwrap().run_after), ready);
    figure(&format!("started {:.0} ms after its time", (waited - wait) * 1e3));
}

async fn a_job_never_starts_before_its_delay_is_over(server: &Server) {
    let options = JobOptions { delay: seconds(3.0), ..Default::default() };
    must_wait_until_it_is_ready(server, options, 3.0).await;
}

async fn a_job_never_starts_before_its_run_after(server: &Server) {
    // By the time it is stored a little of it is over, at most a second.
    let options = JobOptions { run_after: after(3.5), ..Default::default() };
    must_wait_until_it_is_ready(server, options, 2.5).await;
}

async fn a_run_after_in_the_past_means_now(server: &Server) {
    let options = JobOptions { run_after: after(-3_600.0), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    assert_eq!(stored.state(), JobState::Queued);
    let mut worker = HandWorker::register(server, &["work"]).await;
    assert_eq!(worker.claim(1).await[0].job_id, stored.job_id);
}

async fn a_job_that_has_not_started_by_its_expire_time_is_cancelled(server: &Server) {
    let options = JobOptions { expire_time: after(3.0), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    let summary = server.wait_for_state(stored.job_id, JobState::Cancelled).await;
    assert_eq!(summary.cancel_reason(), CancelReason::Expired);
    assert!(summary.start_time.is_none() && summary.finish_time.is_some(), "{summary:?}");
    let mut worker = HandWorker::register(server, &["work"]).await;
    assert!(worker.claim(1).await.is_empty());
}

async fn an_expire_time_does_not_end_a_job_that_has_started(server: &Server) {
    let options =
        JobOptions { expire_time: after(4.0), retry_policy: fixed_retry(1, 7.0), ..Default::default() };
    let stored = server.enqueue(command_with("work", options)).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let first = worker.claim_one().await;
    assert_eq!(worker.end_well(&first.lease, failed("no")).await, JobState::Scheduled);
    let second = worker.claim_one().await;
    assert_eq!((second.job_id, second.attempt), (stored.job_id, 2));
    assert_eq!(worker.end_well(&second.lease, completed("1")).await, JobState::Completed);
}

async fn a_request_comes_back_byte_for_byte_whatever_its_kind(server: &Server) {
    let odd_json =
        "{ \"big\" : 12345678901234567890,\n\t\"e\":1.0e+3 ,\"uni\":\"Grüße \\u00fc 🚚\", \"a\":[ ] }";
    let all_bytes: Vec<u8> = (0..=255).collect();
    let fields = [("a", 1.0), ("b", 2.5)].map(|(name, number)| {
        (name.to_owned(), prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(number)) })
    });
    let value = prost_types::Value {
        kind: Some(prost_types::value::Kind::StructValue(prost_types::Struct { fields: fields.into() })),
    };
    let data = Kind::Data(all_bytes.into());
    let stored_as = [
        (None, None),
        (json(odd_json), Some((Kind::Json(odd_json.into()), "application/json"))),
        (json("null"), Some((Kind::Json("null".into()), "application/json"))),
        (json("\"\""), Some((Kind::Json("\"\"".into()), "application/json"))),
        (
            Some(Payload { kind: Some(data.clone()), content_type: "image/png".into() }),
            Some((data.clone(), "image/png")),
        ),
        (
            Some(Payload { kind: Some(data.clone()), content_type: String::new() }),
            Some((data, "application/octet-stream")),
        ),
        (
            Some(Payload { kind: Some(Kind::Data(Vec::new().into())), content_type: String::new() }),
            Some((Kind::Data(Vec::new().into()), "application/octet-stream")),
        ),
        (
            Some(Payload { kind: Some(Kind::Value(value)), content_type: String::new() }),
            Some((Kind::Json(r#"{"a":1,"b":2.5}"#.into()), "application/json")),
        ),
    ];
    let mut worker = HandWorker::register(server, &["work"]).await;
    for (sent, wanted) in stored_as {
        let wanted = wanted
            .map(|(kind, content_type)| Payload { kind: Some(kind), content_type: content_type.into() });
        let stored = server.enqueue(pb::EnqueueCommandRequest { request: sent, ..command("work") }).await;
        let Some(pb::job_result::Record::Queued(queued)) = server.job(stored.job_id).await.record else {
            panic!("a waiting job is queued")
        };
        assert_eq!(queued.request, wanted);
        let leased = worker.claim_one().await;
        assert_eq!(leased.request, wanted);
        let result = wanted.clone();
        let outcome =
            pb::outcome_report::Outcome::Complete(pb::CompleteOutcome { result, ..Default::default() });
        assert_eq!(worker.end_well(&leased.lease, outcome).await, JobState::Completed);
        let Some(pb::job_result::Record::Completed(done)) = server.job(stored.job_id).await.record else {
            panic!("a completed job is completed")
        };
        assert_eq!((done.request, done.result), (wanted.clone(), wanted));
    }
}

async fn options_come_back_with_their_defaults_filled_in(server: &Server) {
    let stored = server.enqueue(command("work")).await;
    let Some(pb::job_result::Record::Queued(queued)) = server.job(stored.job_id).await.record else {
        panic!("a waiting job is queued")
    };
    let options = queued.options.unwrap();
    assert_eq!(options.queue, "default");
    assert_eq!(options.priority, Some(15));
    assert_eq!(options.timeout, seconds(600.0));
    assert_eq!(options.ref_id, stored.ref_id);
    let retry = options.retry_policy.unwrap();
    assert_eq!((retry.retry_limit, retry.crash_limit, retry.factor), (Some(2), Some(2), Some(2.0)));
    assert_eq!(retry.backoff(), pb::Backoff::ExponentialJitter);
    assert_eq!(
        (retry.first_delay, retry.max_delay, retry.give_up_after),
        (seconds(5.0), seconds(300.0), None)
    );
}

async fn everything_said_of_a_job_is_shown_and_given_to_its_worker(server: &Server) {
    let parent = server.enqueue(command("other")).await.job_id;
    let map = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    let options = JobOptions {
        tag: "tägg".into(),
        batch_id: "batch 1".into(),
        parent_id: parent,
        created_by: "the test".into(),
        user_id: "ada".into(),
        user_claims: map(&[("role", "admin")]),
        args: map(&[("a", "1"), ("b", "zwei")]),
        queue: "mail".into(),
        timeout: seconds(77.0),
        strict: true,
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        ..Default::default()
    };
    let stored = server
        .enqueue(pb::EnqueueCommandRequest { request: json("[1]"), ..command_with("work", options.clone()) })
        .await;
    let summary = server.summary(stored.job_id).await;
    assert_eq!(summary.work, Some(pb::job_summary::Work::Command("work".into())));
    assert_eq!((summary.queue.as_str(), summary.tag.as_str()), ("mail", "tägg"));
    assert_eq!((summary.batch_id.as_str(), summary.parent_id), ("batch 1", parent));
    assert_eq!((summary.created_by.as_str(), summary.user_id.as_str()), ("the test", "ada"));
    assert_eq!((summary.run, summary.attempt, summary.crashes), (1, 0, 0));
    assert!(summary.create_time.is_some() && summary.start_time.is_none() && summary.finish_time.is_none());

    let mut registration = Registration::of(&["work"]);
    registration.0.queues = vec!["mail".into()];
    let mut worker = HandWorker::begin(server, registration).await;
    let leased = worker.claim_one().await;
    assert_eq!(leased.work, Some(pb::leased_job::Work::Command("work".into())));
    assert_eq!(text_of(&leased.request), "[1]");
    assert_eq!((leased.run, leased.attempt, leased.crashes), (1, 1, 0));
    assert_eq!((&leased.ref_id, leased.user_id.as_str()), (&stored.ref_id, "ada"));
    assert_eq!(leased.user_claims, options.user_claims);
    assert!(
        leased.strict
            && leased.fencing_token > 0
            && leased.fencing_token < 1 << 53
            && leased.lease.len() <= 128
    );
    assert_eq!(stamp(&leased.enqueue_time), stamp(&summary.create_time));
    let left = leased.timeout.unwrap().seconds;
    assert!((70..=77).contains(&left), "{left} s are left of 77");
    let given = leased.options.unwrap();
    assert_eq!((given.args, given.user_claims), (options.args, options.user_claims));
    assert_eq!((given.tag, given.batch_id, given.parent_id), (options.tag, options.batch_id, parent));
    assert_eq!((given.traceparent, given.timeout), (options.traceparent, options.timeout));
}

async fn a_worker_gets_only_jobs_of_its_queues(server: &Server) {
    let queue = |name: &str| JobOptions { queue: name.into(), ..Default::default() };
    let plain = server.enqueue(command("work")).await.job_id;
    let mail = server.enqueue(command_with("work", queue("mail"))).await.job_id;
    let print = server.enqueue(command_with("work", queue("print"))).await.job_id;
    let mut registration = Registration::of(&["work"]);
    registration.0.queues = vec!["mail".into(), "print".into()];
    let mut of_two = HandWorker::begin(server, registration).await;
    let mut given: Vec<_> = of_two.claim(10).await.into_iter().map(|job| job.job_id).collect();
    given.sort();
    assert_eq!(given, [mail, print]);
    let mut of_default = HandWorker::register(server, &["work"]).await;
    let given: Vec<_> = of_default.claim(10).await.into_iter().map(|job| job.job_id).collect();
    assert_eq!(given, [plain]);
    assert!(of_default.claim_within(10, Duration::from_millis(300)).await.is_empty());
}
