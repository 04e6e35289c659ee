//! Bad input: each rule answers the documented code, names the field and the limit, and leaves everything as it was.

use std::collections::HashMap;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, command_with, json};
use haulier_tests::{HandWorker, Refusal, Server, after, on_both, refusal, seconds};
use pb::payload::Kind;
use pb::{EnqueueCommandRequest, JobFilter, JobOptions, ListJobsRequest, Payload, RetryPolicy};
use prost_types::{Duration as PbDuration, Timestamp};
use tonic::Code;

on_both!(
    an_enqueue_that_breaks_a_rule_names_the_field_and_the_limit,
    an_enqueue_at_a_limit_is_accepted,
    everything_that_is_wrong_is_told_at_once,
    a_read_that_breaks_a_rule_names_the_field,
    a_filter_that_breaks_a_rule_names_the_field,
    a_page_token_of_another_query_is_refused,
    a_page_token_that_was_changed_is_refused,
    a_resume_token_of_another_job_is_refused,
    a_registration_that_breaks_a_rule_names_the_field_and_the_limit,
    a_claim_that_breaks_a_rule_names_the_field,
    a_cancel_or_requeue_that_breaks_a_rule_names_the_field,
    a_report_stream_that_breaks_a_rule_is_refused,
    a_report_that_breaks_a_limit_is_refused_by_its_part,
    a_message_larger_than_the_server_reads_is_refused,
);

/// What is wrong with a field, and a word of the answer that must be there: the limit or the remedy.
struct Case<T> {
    request: T,
    field: &'static str,
    word: &'static str,
}

fn case<T>(request: T, field: &'static str, word: &'static str) -> Case<T> {
    Case { request, field, word }
}

#[track_caller]
fn must_tell(refused: &Refusal, field: &str, word: &str) {
    refused.must_name(field);
    let told = refused.field(field).unwrap();
    assert!(told.contains(word), "{field}: wanted {word:?} in {told:?}");
    assert!(refused.message.contains(field), "the message names the field too: {refused:?}");
}

fn long(count: usize) -> String {
    "x".repeat(count)
}

fn map(entries: usize, value: &str) -> HashMap<String, String> {
    (0..entries).map(|number| (format!("key{number}"), value.to_owned())).collect()
}

fn options(set: impl FnOnce(&mut JobOptions)) -> EnqueueCommandRequest {
    let mut options = JobOptions::default();
    set(&mut options);
    command_with("work", options)
}

fn retry(set: impl FnOnce(&mut RetryPolicy)) -> EnqueueCommandRequest {
    let mut policy = RetryPolicy::default();
    set(&mut policy);
    options(|options| options.retry_policy = Some(policy))
}

fn payload(kind: Kind, content_type: &str) -> EnqueueCommandRequest {
    let request = Some(Payload { kind: Some(kind), content_type: content_type.into() });
    EnqueueCommandRequest { request, ..command("work") }
}

fn negative() -> Option<PbDuration> {
    Some(PbDuration { seconds: -1, nanos: 0 })
}

fn bad_enqueues() -> Vec<Case<EnqueueCommandRequest>> {
    let mut cases = bad_names();
    cases.extend(bad_options());
    cases.extend(bad_retries());
    cases.extend(bad_payloads());
    cases
}

fn bad_names() -> Vec<Case<EnqueueCommandRequest>> {
    vec![
        case(command(""), "command", "128"),
        case(command(&long(129)), "command", "128"),
        case(command("two words"), "command", "A-Za-z0-9"),
        case(command("Grüße"), "command", "A-Za-z0-9"),
        case(command("line\nbreak"), "command", "A-Za-z0-9"),
        case(EnqueueCommandRequest { request_id: long(129), ..command("work") }, "request_id", "128"),
        case(options(|o| o.queue = "a b".into()), "options.queue", "A-Za-z0-9"),
        case(options(|o| o.queue = long(129)), "options.queue", "128"),
        case(options(|o| o.ref_id = long(256)), "options.ref_id", "255"),
        case(options(|o| o.ref_id = "a\tb".into()), "options.ref_id", "control"),
        case(options(|o| o.ref_id = "a\0b".into()), "options.ref_id", "control"),
        case(options(|o| o.tag = "ü".repeat(256)), "options.tag", "255"),
        case(options(|o| o.batch_id = long(256)), "options.batch_id", "255"),
        case(options(|o| o.user_id = long(256)), "options.user_id", "255"),
        case(options(|o| o.created_by = long(256)), "options.created_by", "255"),
        case(options(|o| o.traceparent = long(56)), "options.traceparent", "55"),
        case(options(|o| o.tracestate = long(513)), "options.tracestate", "512"),
        case(options(|o| o.parent_id = -1), "options.parent_id", "positive"),
        case(options(|o| o.args = map(65, "")), "options.args", "64"),
        case(options(|o| o.args = map(2, &long(9_000))), "options.args", "16384"),
        case(options(|o| o.user_claims = map(65, "")), "options.user_claims", "64"),
    ]
}

fn bad_options() -> Vec<Case<EnqueueCommandRequest>> {
    let year = 366.0 * 86_400.0;
    let stamp = |seconds, nanos| Some(Timestamp { seconds, nanos });
    vec![
        case(options(|o| o.priority = Some(0)), "options.priority", "1 to 30"),
        case(options(|o| o.priority = Some(31)), "options.priority", "1 to 30"),
        case(options(|o| o.priority = Some(-5)), "options.priority", "1 to 30"),
        case(options(|o| o.priority_name = 77), "options.priority_name", "77"),
        case(
            options(|o| (o.priority, o.priority_name) = (Some(3), 1)),
            "options.priority_name",
            "one of them",
        ),
        case(options(|o| o.ref_id_policy = 9), "options.ref_id_policy", "9"),
        case(options(|o| o.delay = negative()), "options.delay", "negative"),
        case(options(|o| o.delay = seconds(0.0)), "options.delay", "zero"),
        case(options(|o| o.delay = Some(PbDuration { seconds: 1, nanos: -5 })), "options.delay", "negative"),
        case(options(|o| o.delay = seconds(5.1 * year)), "options.delay", "at most"),
        case(options(|o| o.run_after = after(5.1 * year)), "options.run_after", "ahead"),
        case(options(|o| o.run_after = stamp(i64::MAX, 0)), "options.run_after", "years"),
        case(options(|o| o.run_after = stamp(0, -1)), "options.run_after", "nanos"),
        case(
            options(|o| (o.run_after, o.delay) = (after(5.0), seconds(5.0))),
            "options.delay",
            "one of them",
        ),
        case(options(|o| o.expire_time = after(-60.0)), "options.expire_time", "past"),
        case(options(|o| o.expire_time = after(5.1 * year)), "options.expire_time", "ahead"),
        case(
            options(|o| (o.run_after, o.expire_time) = (after(90.0), after(60.0))),
            "options.expire_time",
            "later",
        ),
        case(
            options(|o| (o.delay, o.expire_time) = (seconds(90.0), after(60.0))),
            "options.expire_time",
            "later",
        ),
        case(options(|o| o.timeout = negative()), "options.timeout", "negative"),
        case(options(|o| o.timeout = seconds(0.0)), "options.timeout", "zero"),
        case(options(|o| o.timeout = seconds(30.0 * 86_400.0 + 1.0)), "options.timeout", "30 days"),
    ]
}

fn bad_retries() -> Vec<Case<EnqueueCommandRequest>> {
    let days = |days: f64| seconds(days * 86_400.0 + 1.0);
    vec![
        case(retry(|r| r.retry_limit = Some(-1)), "options.retry_policy.retry_limit", "0 to 1000"),
        case(retry(|r| r.retry_limit = Some(1_001)), "options.retry_policy.retry_limit", "0 to 1000"),
        case(retry(|r| r.crash_limit = Some(3)), "options.retry_policy.crash_limit", "0 to 2"),
        case(retry(|r| r.profile = "nonsense".into()), "options.retry_policy.profile", "default"),
        case(retry(|r| r.backoff = 9), "options.retry_policy.backoff", "9"),
        case(retry(|r| r.factor = Some(0.5)), "options.retry_policy.factor", "1 to 100"),
        case(retry(|r| r.factor = Some(f64::NAN)), "options.retry_policy.factor", "1 to 100"),
        case(retry(|r| r.factor = Some(f64::INFINITY)), "options.retry_policy.factor", "1 to 100"),
        case(retry(|r| r.first_delay = negative()), "options.retry_policy.first_delay", "negative"),
        case(retry(|r| r.first_delay = seconds(0.0)), "options.retry_policy.first_delay", "zero"),
        case(retry(|r| r.first_delay = days(30.0)), "options.retry_policy.first_delay", "30 days"),
        case(retry(|r| r.max_delay = days(30.0)), "options.retry_policy.max_delay", "30 days"),
        case(retry(|r| r.give_up_after = days(365.0)), "options.retry_policy.give_up_after", "365 days"),
        case(
            retry(|r| (r.first_delay, r.max_delay) = (seconds(9.0), seconds(3.0))),
            "options.retry_policy.max_delay",
            "shorter",
        ),
    ]
}

fn bad_payloads() -> Vec<Case<EnqueueCommandRequest>> {
    let nan = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(f64::NAN)) };
    let too_much = (1 << 20) + 1;
    let blank = format!("{}1", " ".repeat(1 << 20));
    let mut cases = vec![
        case(payload(Kind::Data(vec![0; too_much].into()), ""), "request", "1 MiB"),
        case(payload(Kind::Json(blank), ""), "request", "1 MiB"),
        case(payload(Kind::Value(nan), ""), "request.value", "NaN"),
        case(payload(Kind::Json("1".into()), "text/plain"), "request.content_type", "data"),
        case(payload(Kind::Data(Vec::new().into()), &long(256)), "request.content_type", "255"),
        case(payload(Kind::Data(Vec::new().into()), "a\r\nb"), "request.content_type", "control"),
    ];
    for text in ["", "{", "nul", "{\"a\":1,}", "1 2", "'a'", "\"\\ud800", "NaN"] {
        cases.push(case(payload(Kind::Json(text.into()), ""), "request.json", "not JSON"));
    }
    cases
}

async fn an_enqueue_that_breaks_a_rule_names_the_field_and_the_limit(server: &Server) {
    for Case { request, field, word } in bad_enqueues() {
        must_tell(&server.enqueue_refused(request).await, field, word);
    }
    let listed = server.jobs().list_jobs(ListJobsRequest::default()).await.unwrap().into_inner().jobs;
    assert!(listed.is_empty(), "a refused job was stored: {listed:?}");
}

async fn an_enqueue_at_a_limit_is_accepted(server: &Server) {
    let days = |days: f64| seconds(days * 86_400.0);
    let at_the_limit = vec![
        command(&long(128)),
        command("Az09._:/-"),
        EnqueueCommandRequest { request_id: long(128), ..command("work") },
        options(|o| o.ref_id = "ü".repeat(255)),
        options(|o| o.queue = long(128)),
        options(|o| o.tag = "🚚".repeat(255)),
        options(|o| o.args = map(64, "x")),
        options(|o| o.priority = Some(30)),
        options(|o| o.timeout = days(30.0)),
        options(|o| o.delay = days(5.0 * 365.0)),
        options(|o| o.delay = Some(PbDuration { seconds: 0, nanos: 1 })),
        retry(|r| (r.retry_limit, r.crash_limit, r.factor) = (Some(1_000), Some(2), Some(100.0))),
        retry(|r| (r.first_delay, r.max_delay, r.give_up_after) = (days(30.0), days(30.0), days(365.0))),
        payload(Kind::Data(vec![0; 1 << 20].into()), &long(255)),
        payload(Kind::Json(format!("\"{}\"", long((1 << 20) - 2))), "application/json; charset=utf-8"),
    ];
    for request in at_the_limit {
        let stored = server.enqueue(request).await;
        let kept = server.job(stored.job_id).await;
        assert!(kept.record.is_some());
    }
}

async fn everything_that_is_wrong_is_told_at_once(server: &Server) {
    let mut request = options(|o| (o.priority, o.timeout) = (Some(99), negative()));
    request.command = String::new();
    request.request = json("{");
    let refused = server.enqueue_refused(request).await;
    for field in ["command", "request.json", "options.priority", "options.timeout"] {
        refused.must_name(field);
    }
    // However much is wrong, the answer still arrives.
    let labels = (0..2_000).map(|_| pb::ServedCommand::default()).collect();
    let request = pb::RegisterWorkerRequest { commands: labels, ..Default::default() };
    let refused = refusal(server.workers().register_worker(request).await);
    refused.must_name("name");
    assert!(refused.fields.len() < 50, "{} fields", refused.fields.len());
}

async fn a_read_that_breaks_a_rule_names_the_field(server: &Server) {
    let mut jobs = server.jobs();
    for job_id in [0, -1, i64::MIN] {
        let refused = refusal(jobs.get_job(pb::GetJobRequest { job_id, ..Default::default() }).await);
        must_tell(&refused, "job_id", "positive");
        let refused = refusal(
            jobs.list_job_attempts(pb::ListJobAttemptsRequest { job_id, ..Default::default() }).await,
        );
        must_tell(&refused, "job_id", "positive");
        let refused =
            refusal(jobs.list_job_logs(pb::ListJobLogsRequest { job_id, ..Default::default() }).await);
        must_tell(&refused, "job_id", "positive");
    }
    let request = pb::GetJobRequest { job_id: i64::MAX, ..Default::default() };
    refusal(jobs.get_job(request).await).must_be(Code::NotFound, "JOB_NOT_FOUND");
    let request = pb::GetJobRequest { job_id: 1, run: -1, ..Default::default() };
    must_tell(&refusal(jobs.get_job(request).await), "run", "from 1");
    for (ref_id, word) in [(String::new(), "255"), (long(256), "255"), ("a\nb".into(), "control")] {
        let request = pb::GetJobByRefIdRequest { ref_id, ..Default::default() };
        must_tell(&refusal(jobs.get_job_by_ref_id(request).await), "ref_id", word);
    }
    let logs = |set: fn(&mut pb::ListJobLogsRequest)| {
        let mut request = pb::ListJobLogsRequest { job_id: 1, ..Default::default() };
        set(&mut request);
        request
    };
    for Case { request, field, word } in [
        case(logs(|r| r.page_size = 501), "page_size", "500"),
        case(logs(|r| r.page_size = -1), "page_size", "500"),
        case(logs(|r| r.min_level = 42), "min_level", "42"),
        case(logs(|r| r.from_sequence = 3), "from_sequence", "epoch"),
        case(logs(|r| r.epoch = -3), "epoch", "-3"),
    ] {
        must_tell(&refusal(jobs.list_job_logs(request).await), field, word);
    }
    let watch = |set: fn(&mut pb::WatchJobRequest)| {
        let mut request = pb::WatchJobRequest::default();
        set(&mut request);
        request
    };
    for Case { request, field, word } in [
        case(watch(|_| {}), "target", "job_id"),
        case(watch(|r| r.target = Some(pb::watch_job_request::Target::JobId(0))), "job_id", "positive"),
        case(
            watch(|r| (r.target, r.until) = (Some(pb::watch_job_request::Target::JobId(1)), 9)),
            "until",
            "9",
        ),
    ] {
        let refused = match jobs.watch_job(request).await {
            Ok(answer) => refusal(answer.into_inner().message().await),
            Err(status) => status.into(),
        };
        must_tell(&refused, field, word);
    }
}

async fn a_filter_that_breaks_a_rule_names_the_field(server: &Server) {
    let filter = |set: fn(&mut JobFilter)| {
        let mut filter = JobFilter::default();
        set(&mut filter);
        ListJobsRequest { filter: Some(filter), ..Default::default() }
    };
    let list = |set: fn(&mut ListJobsRequest)| {
        let mut request = ListJobsRequest::default();
        set(&mut request);
        request
    };
    for Case { request, field, word } in [
        case(filter(|f| f.states = vec![4, 99]), "filter.states[1]", "99"),
        case(filter(|f| f.states = vec![-1]), "filter.states[0]", "-1"),
        case(filter(|f| f.command = "a b".into()), "filter.command", "A-Za-z0-9"),
        case(filter(|f| f.queue = long(129)), "filter.queue", "128"),
        case(filter(|f| f.priority = Some(31)), "filter.priority", "1 to 30"),
        case(filter(|f| f.tag = long(256)), "filter.tag", "255"),
        case(filter(|f| f.batch_id = "a\nb".into()), "filter.batch_id", "control"),
        case(filter(|f| f.parent_id = -7), "filter.parent_id", "positive"),
        case(filter(|f| f.created_by = long(256)), "filter.created_by", "255"),
        case(filter(|f| f.user_id = long(256)), "filter.user_id", "255"),
        case(filter(|f| f.ref_id_prefix = long(256)), "filter.ref_id_prefix", "255"),
        case(filter(|f| f.error_code = long(256)), "filter.error_code", "255"),
        case(filter(|f| f.text = long(256)), "filter.text", "255"),
        case(filter(|f| f.args = map(9, "")), "filter.args", "8"),
        case(
            filter(|f| f.create_time_from = Some(Timestamp { seconds: 0, nanos: -1 })),
            "filter.create_time_from",
            "nanos",
        ),
        case(
            filter(|f| (f.create_time_from, f.create_time_to) = (after(5.0), after(4.0))),
            "filter.create_time_to",
            "later",
        ),
        case(list(|r| r.order = 5), "order", "5"),
        case(list(|r| r.page_size = 501), "page_size", "500"),
        case(list(|r| r.page_size = -1), "page_size", "500"),
        case(list(|r| r.month = "2026-13".into()), "month", "YYYY-MM"),
        case(list(|r| r.month = "November".into()), "month", "YYYY-MM"),
        case(list(|r| r.month = "2026-1".into()), "month", "YYYY-MM"),
        case(list(|r| r.page_token = long(513)), "page_token", "512"),
    ] {
        must_tell(&refusal(server.jobs().list_jobs(request.clone()).await), field, word);
        if field.starts_with("filter") {
            let request = pb::WatchJobsRequest { filter: request.filter, ..Default::default() };
            let refused = match server.jobs().watch_jobs(request).await {
                Ok(answer) => refusal(answer.into_inner().message().await),
                Err(status) => status.into(),
            };
            must_tell(&refused, field, word);
        }
    }
}

#[track_caller]
fn must_be_bad_token(refused: &Refusal, field: &str) {
    refused.must_be(Code::InvalidArgument, "BAD_TOKEN");
    assert!(refused.field(field).is_some(), "{refused:?}");
}

async fn a_page_token_of_another_query_is_refused(server: &Server) {
    for _ in 0..4 {
        server.enqueue(options(|o| o.tag = "red".into())).await;
    }
    let asked = ListJobsRequest {
        filter: Some(JobFilter { tag: "red".into(), ..Default::default() }),
        page_size: 2,
        ..Default::default()
    };
    let page_token = server.jobs().list_jobs(asked.clone()).await.unwrap().into_inner().next_page_token;
    assert!(!page_token.is_empty());
    let again = ListJobsRequest { page_token: page_token.clone(), ..asked.clone() };
    assert_eq!(server.jobs().list_jobs(again.clone()).await.unwrap().into_inner().jobs.len(), 2);
    let larger = ListJobsRequest { page_size: 50, ..again.clone() };
    server.jobs().list_jobs(larger).await.expect("the size of a page may change on the way");
    for other in [
        ListJobsRequest { filter: None, ..again.clone() },
        ListJobsRequest {
            filter: Some(JobFilter { tag: "blue".into(), ..Default::default() }),
            ..again.clone()
        },
        ListJobsRequest { order: pb::ListOrder::OldestFirst.into(), ..again.clone() },
        ListJobsRequest { month: "2020-01".into(), ..again },
    ] {
        must_be_bad_token(&refusal(server.jobs().list_jobs(other).await), "page_token");
    }
    let request =
        pb::ListJobAttemptsRequest { job_id: 1, page_token: page_token.clone(), ..Default::default() };
    must_be_bad_token(&refusal(server.jobs().list_job_attempts(request).await), "page_token");
    let request = pb::ListJobLogsRequest { job_id: 1, page_token, ..Default::default() };
    must_be_bad_token(&refusal(server.jobs().list_job_logs(request).await), "page_token");
}

async fn a_page_token_that_was_changed_is_refused(server: &Server) {
    for _ in 0..4 {
        server.enqueue(command("work")).await;
    }
    let asked = ListJobsRequest { page_size: 2, ..Default::default() };
    let token = server.jobs().list_jobs(asked.clone()).await.unwrap().into_inner().next_page_token;
    let middle = token.len() / 2;
    let changed = format!(
        "{}{}{}",
        &token[..middle],
        if &token[middle..=middle] == "A" { "B" } else { "A" },
        &token[middle + 1..]
    );
    for bad in
        ["nonsense", &token[..token.len() - 1], &token[1..], &format!("{token}A"), &changed, "p1.", "🚚"]
    {
        let request = ListJobsRequest { page_token: bad.into(), ..asked.clone() };
        must_be_bad_token(&refusal(server.jobs().list_jobs(request).await), "page_token");
    }
}

async fn a_resume_token_of_another_job_is_refused(server: &Server) {
    let one = server.enqueue(command("work")).await.job_id;
    let two = server.enqueue(command("work")).await.job_id;
    let token = server.watch(one).await.message().await.unwrap().unwrap().resume_token;
    for bad in [token.as_str(), "nonsense", &token[..token.len() - 1]] {
        let target = Some(pb::watch_job_request::Target::JobId(two));
        let request = pb::WatchJobRequest { target, resume_token: bad.into(), ..Default::default() };
        let refused = match server.jobs().watch_job(request).await {
            Ok(answer) => refusal(answer.into_inner().message().await),
            Err(status) => status.into(),
        };
        must_be_bad_token(&refused, "resume_token");
    }
}

async fn a_registration_that_breaks_a_rule_names_the_field_and_the_limit(server: &Server) {
    let served = |command: &str| pb::ServedCommand { command: command.into(), ..Default::default() };
    let registration = |set: &dyn Fn(&mut pb::RegisterWorkerRequest)| {
        let commands = vec![served("work")];
        let mut request = pb::RegisterWorkerRequest {
            name: "me".into(),
            instance_id: "1".into(),
            commands,
            ..Default::default()
        };
        set(&mut request);
        request
    };
    let many = |count: usize| (0..count).map(|number| served(&format!("c{number}"))).collect::<Vec<_>>();
    for Case { request, field, word } in [
        case(registration(&|r| r.name.clear()), "name", "255"),
        case(registration(&|r| r.name = long(256)), "name", "255"),
        case(registration(&|r| r.name = "a\nb".into()), "name", "control"),
        case(registration(&|r| r.instance_id.clear()), "instance_id", "128"),
        case(registration(&|r| r.instance_id = "a b".into()), "instance_id", "A-Za-z0-9"),
        case(registration(&|r| r.commands.clear()), "commands", "at least one"),
        case(registration(&|r| r.commands = many(1_001)), "commands", "1000"),
        case(registration(&|r| r.commands = vec![served("a"), served("a")]), "commands[1].command", "twice"),
        case(registration(&|r| r.commands = vec![served("a"), served("")]), "commands[1].command", "128"),
        case(registration(&|r| r.commands[0].json_schema = "{".into()), "commands[0].json_schema", "JSON"),
        case(registration(&|r| r.commands[0].json_schema = long(70_000)), "commands[0].json_schema", "65536"),
        case(registration(&|r| r.commands[0].version = long(129)), "commands[0].version", "128"),
        case(registration(&|r| r.queues = vec!["ok".into(), "a b".into()]), "queues[1]", "A-Za-z0-9"),
        case(registration(&|r| r.queues = (0..101).map(|n| format!("q{n}")).collect()), "queues", "100"),
        case(registration(&|r| r.labels = map(65, "")), "labels", "64"),
        case(registration(&|r| r.slots = -1), "slots", "10000"),
        case(registration(&|r| r.slots = 10_001), "slots", "10000"),
        case(registration(&|r| r.lease_time = seconds(4.0)), "lease_time", "5 seconds"),
        case(registration(&|r| r.lease_time = seconds(601.0)), "lease_time", "10 minutes"),
        case(registration(&|r| r.lease_time = negative()), "lease_time", "negative"),
        case(registration(&|r| r.sdk = long(129)), "sdk", "128"),
    ] {
        must_tell(&refusal(server.workers().register_worker(request).await), field, word);
    }
    let listed = server.workers().list_workers(pb::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert!(listed.workers.is_empty(), "{listed:?}");
}

async fn a_claim_that_breaks_a_rule_names_the_field(server: &Server) {
    let worker = HandWorker::register(server, &["work"]).await;
    let claim = |set: &dyn Fn(&mut pb::ClaimJobRequest)| {
        let mut request = worker.request(1, 0, 1, Duration::ZERO);
        set(&mut request);
        request
    };
    for Case { request, field, word } in [
        case(claim(&|r| r.session_id.clear()), "session_id", "RegisterWorker"),
        case(claim(&|r| r.session_id = "nonsense".into()), "session_id", "RegisterWorker"),
        case(claim(&|r| r.session_id = long(32)), "session_id", "RegisterWorker"),
        case(claim(&|r| r.r#loop = -1), "loop", "0 to 255"),
        case(claim(&|r| r.r#loop = 256), "loop", "0 to 255"),
        case(claim(&|r| r.sequence = 0), "sequence", "1 to"),
        case(claim(&|r| r.sequence = -4), "sequence", "1 to"),
        case(claim(&|r| r.sequence = i64::MAX), "sequence", "1 to"),
        case(claim(&|r| r.ack_sequence = -1), "ack_sequence", "0 to"),
        case(claim(&|r| r.ack_sequence = 1), "ack_sequence", "lower"),
        case(claim(&|r| r.max_jobs = -1), "max_jobs", "1 to 1000"),
        case(claim(&|r| r.max_jobs = 1_001), "max_jobs", "1 to 1000"),
        case(claim(&|r| r.wait = negative()), "wait", "negative"),
    ] {
        must_tell(&refusal(worker.send_claim(request).await), field, word);
    }
    // A session that does not exist, and one that is over, are another matter: the worker must register anew.
    let nobody = claim(&|r| r.session_id = "0123456789abcdef0123456789abcdef".into());
    refusal(worker.send_claim(nobody).await).must_be(Code::Aborted, "SESSION_LOST");
    let nobody = pb::UnregisterWorkerRequest { session_id: "x".into(), ..Default::default() };
    must_tell(&refusal(server.workers().unregister_worker(nobody).await), "session_id", "RegisterWorker");
    let drain = pb::DrainWorkerRequest::default();
    must_tell(&refusal(server.workers().drain_worker(drain).await), "target", "instance_id");
    let target = Some(pb::drain_worker_request::Target::Name("me".into()));
    let drain = pb::DrainWorkerRequest { target, reason: long(5_000), grace: negative() };
    let refused = refusal(server.workers().drain_worker(drain).await);
    must_tell(&refused, "reason", "4096");
    must_tell(&refused, "grace", "negative");
}

async fn a_cancel_or_requeue_that_breaks_a_rule_names_the_field(server: &Server) {
    use pb::cancel_job_request::Target;
    let stored = server.enqueue(command("work")).await.job_id;
    let cancel = |set: &dyn Fn(&mut pb::CancelJobRequest)| {
        let mut request = pb::CancelJobRequest { target: Some(Target::JobId(stored)), ..Default::default() };
        set(&mut request);
        request
    };
    for Case { request, field, word } in [
        case(cancel(&|r| r.target = None), "target", "job_id"),
        case(cancel(&|r| r.target = Some(Target::JobId(-2))), "job_id", "positive"),
        case(cancel(&|r| r.target = Some(Target::RefId(String::new()))), "ref_id", "255"),
        case(cancel(&|r| r.reason = long(4_097)), "reason", "4096"),
        case(cancel(&|r| r.grace = negative()), "grace", "negative"),
        case(cancel(&|r| r.grace = seconds(0.0)), "grace", "zero"),
        case(cancel(&|r| r.grace = seconds(31.0 * 86_400.0)), "grace", "30 days"),
    ] {
        must_tell(&refusal(server.jobs().cancel_job(request).await), field, word);
    }
    let refused = |job_id, run| async move {
        refusal(server.jobs().requeue_job(pb::RequeueJobRequest { job_id, run, ..Default::default() }).await)
    };
    must_tell(&refused(0, 0).await, "job_id", "positive");
    must_tell(&refused(stored, -1).await, "run", "from 1");
    assert_eq!(server.summary(stored).await.state(), pb::JobState::Queued);
}

async fn a_report_stream_that_breaks_a_rule_is_refused(server: &Server) {
    for session_id in ["", "nonsense", &"x".repeat(32)] {
        let message = pb::ReportJobsRequest { session_id: session_id.into(), ..Default::default() };
        let mut answers =
            server.workers().report_jobs(tokio_stream::iter([message])).await.unwrap().into_inner();
        must_tell(&refusal(answers.message().await), "session_id", "RegisterWorker");
    }
    let one = HandWorker::register(server, &["work"]).await;
    let two = HandWorker::register(server, &["work"]).await;
    let mut talk = one.converse().await;
    talk.say(pb::ReportJobsRequest { session_id: two.session.clone(), ..Default::default() }).await;
    must_tell(
        &talk.end().await.expect_err("another session on the same stream").into(),
        "session_id",
        "stream",
    );
    // A session that does not exist is told so, and its stream lives on for outcomes.
    let message = pb::ReportJobsRequest { session_id: "0".repeat(32), ..Default::default() };
    let mut answers = server.workers().report_jobs(tokio_stream::iter([message])).await.unwrap().into_inner();
    let told = answers.message().await.unwrap().expect("an answer").errors;
    assert_eq!(told[0].code(), pb::ReportErrorCode::SessionLost);
}

async fn a_report_that_breaks_a_limit_is_refused_by_its_part(server: &Server) {
    server.enqueue(command("work")).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    let lease = || job.lease.clone();
    let message = pb::ReportJobsRequest::default;
    let log = |entry: pb::LogEntry| {
        let logs = vec![pb::LogReport { lease: lease(), from_sequence: 0, lines: vec![entry] }];
        pb::ReportJobsRequest { logs, ..message() }
    };
    let fail = |fail: pb::FailOutcome| {
        let outcome = Some(pb::outcome_report::Outcome::Fail(fail));
        pb::ReportJobsRequest {
            outcomes: vec![pb::OutcomeReport { lease: lease(), log_sequence: 0, outcome }],
            ..message()
        }
    };
    let progress = |progress: Option<f64>, status: Option<String>| pb::ReportJobsRequest {
        progress: vec![pb::ProgressReport { lease: lease(), progress, status }],
        ..message()
    };
    let lines = vec![pb::LogEntry::default(); 1_001];
    let surplus = pb::LogReport { lease: lease(), from_sequence: 0, lines };
    let checkpoint = |sequence, payload| pb::ReportJobsRequest {
        checkpoints: vec![pb::CheckpointReport { lease: lease(), sequence, payload }],
        ..message()
    };
    let large = Some(Payload { kind: Some(Kind::Data(vec![0; (1 << 20) + 1].into())), ..Default::default() });
    for Case { request, field, word } in [
        case(
            log(pb::LogEntry { message: long(17_000), ..Default::default() }),
            "logs[0].lines[0].message",
            "16384",
        ),
        case(log(pb::LogEntry { level: 9, ..Default::default() }), "logs[0].lines[0].level", "9"),
        case(
            log(pb::LogEntry { fields: map(65, ""), ..Default::default() }),
            "logs[0].lines[0].fields",
            "64",
        ),
        case(
            log(pb::LogEntry { time_ago: negative(), ..Default::default() }),
            "logs[0].lines[0].time_ago",
            "negative",
        ),
        case(pb::ReportJobsRequest { logs: vec![surplus], ..message() }, "logs[0].lines", "1000"),
        case(checkpoint(0, None), "checkpoints[0].sequence", "1 to"),
        case(checkpoint(1, large), "checkpoints[0].payload", "1 MiB"),
        case(checkpoint(1, json("{")), "checkpoints[0].payload.json", "JSON"),
        case(progress(Some(1.5), None), "progress[0].progress", "0 to 1"),
        case(progress(Some(-0.1), None), "progress[0].progress", "0 to 1"),
        case(progress(Some(f64::NAN), None), "progress[0].progress", "0 to 1"),
        case(progress(None, Some(long(4_097))), "progress[0].status", "4096"),
        case(fail(pb::FailOutcome { code: long(256), ..Default::default() }), "outcomes[0].fail.code", "255"),
        case(
            fail(pb::FailOutcome { message: long(4_097), ..Default::default() }),
            "outcomes[0].fail.message",
            "4096",
        ),
        case(
            fail(pb::FailOutcome { stack: long(32_769), ..Default::default() }),
            "outcomes[0].fail.stack",
            "32768",
        ),
        case(
            fail(pb::FailOutcome { retry_delay: negative(), ..Default::default() }),
            "outcomes[0].fail.retry_delay",
            "negative",
        ),
        case(
            fail(pb::FailOutcome { retry_delay: seconds(31.0 * 86_400.0), ..Default::default() }),
            "outcomes[0].fail.retry_delay",
            "30 days",
        ),
    ] {
        let answers = worker.report(request).await;
        let errors =
            answers.iter().flat_map(|answer| answer.acks.iter().filter_map(|ack| ack.error.as_ref()));
        let on_stream = answers.iter().flat_map(|answer| &answer.errors);
        let told: Vec<_> = errors.chain(on_stream).collect();
        assert!(
            told.iter().any(|error| error.field == field && error.message.contains(word)),
            "wanted {field} with {word:?}, got {told:?}"
        );
    }
    assert_eq!(server.summary(job.job_id).await.state(), pb::JobState::Running);
    assert!(server.logs(job.job_id).await.is_empty());
}

async fn a_message_larger_than_the_server_reads_is_refused(server: &Server) {
    let refused = server.enqueue_refused(payload(Kind::Data(vec![0; 5 << 20].into()), "")).await;
    assert!(
        matches!(refused.code, Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument),
        "{refused:?}"
    );
    server.enqueue(command("work")).await;
}
