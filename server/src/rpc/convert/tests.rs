use std::collections::HashMap;
use std::sync::LazyLock;

use tonic::metadata::MetadataMap;

use super::*;
use crate::engine::{EnqueueCall, Error, Result};
use crate::model::{Payload, RefPolicy, ReplyMode, limits};
use crate::rpc::check::{Check, wire};
use crate::rpc::{Endpoint, NoWay, ReplyAddress};

/// 2026-11-21 in microseconds.
const NOW: Time = Time(1_795_219_200_000_000);

pub(crate) static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings {
    payload_bytes_max: 1 << 20,
    timeout: limits::TIMEOUT_DEFAULT,
    batch_jobs_max: 1_000,
    egress: None,
    retention: crate::model::Retention::default(),
    run_wait: limits::RUN_WAIT_DEFAULT,
    retry: RetryProfiles::built_in().into(),
});

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn ahead(ahead: Duration) -> Option<prost_types::Timestamp> {
    Some(timestamp(NOW.plus(ahead)))
}

fn map(entries: usize, value_bytes: usize) -> HashMap<String, String> {
    (0..entries).map(|index| (format!("{index:04}"), "x".repeat(value_bytes))).collect()
}

/// Bytes of values that make `map` as large as it may be with 16 entries of 4 bytes of key.
const MAP_VALUE_BYTES_MAX: usize = limits::MAP_BYTES_MAX / 16 - 4;

fn enqueue_of(given: pb::EnqueueCommandRequest) -> Result<EnqueueCall> {
    enqueue(given, &MetadataMap::new(), &SETTINGS, NOW)
}

fn with_options(set: impl FnOnce(&mut pb::JobOptions)) -> Result<EnqueueCall> {
    let mut options = pb::JobOptions::default();
    set(&mut options);
    enqueue_of(pb::EnqueueCommandRequest {
        command: "C".into(),
        options: Some(options),
        ..Default::default()
    })
}

fn with_retry(set: impl FnOnce(&mut pb::RetryPolicy)) -> Result<EnqueueCall> {
    let mut retry = pb::RetryPolicy::default();
    set(&mut retry);
    with_options(|options| options.retry_policy = Some(retry))
}

/// The one field that is refused, and why.
fn refused<T: std::fmt::Debug>(answer: Result<T>) -> (String, String) {
    match answer {
        Err(Error::Invalid(violations)) if violations.len() == 1 => {
            (violations[0].field.clone(), violations[0].message.clone())
        }
        other => panic!("expected one violation, not {other:?}"),
    }
}

/// A limit: the field, what the refusal names, a request at the limit, and one above it.
struct Case<T> {
    field: &'static str,
    limit: &'static str,
    at: Result<T>,
    above: Result<T>,
}

fn hold<T: std::fmt::Debug>(cases: Vec<Case<T>>) {
    for Case { field, limit, at, above } in cases {
        assert!(at.is_ok(), "{field} at its limit: {at:?}");
        let (refused_field, message) = refused(above);
        assert_eq!(refused_field, field);
        assert!(message.contains(limit), "{field}: {message:?} does not name {limit}");
    }
}

macro_rules! case {
    ($with:ident, $field:literal, $limit:literal, |$given:ident| $at:expr, $above:expr) => {
        Case { field: $field, limit: $limit, at: $with(|$given| $at), above: $with(|$given| $above) }
    };
}

#[test]
fn every_text_of_the_options_has_a_limit() {
    let x = |count: usize| "x".repeat(count);
    hold(vec![
        case!(with_options, "options.ref_id", "255", |o| o.ref_id = x(255), o.ref_id = x(256)),
        case!(with_options, "options.queue", "128", |o| o.queue = x(128), o.queue = x(129)),
        case!(with_options, "options.tag", "255", |o| o.tag = "ü".repeat(255), o.tag = "ü".repeat(256)),
        case!(with_options, "options.batch_id", "255", |o| o.batch_id = x(255), o.batch_id = x(256)),
        case!(with_options, "options.user_id", "255", |o| o.user_id = x(255), o.user_id = x(256)),
        case!(with_options, "options.created_by", "255", |o| o.created_by = x(255), o.created_by = x(256)),
        case!(with_options, "options.traceparent", "55", |o| o.traceparent = x(55), o.traceparent = x(56)),
        case!(with_options, "options.tracestate", "512", |o| o.tracestate = x(512), o.tracestate = x(513)),
        case!(with_options, "options.args", "64", |o| o.args = map(64, 1), o.args = map(65, 1)),
        case!(
            with_options,
            "options.user_claims",
            "64",
            |o| o.user_claims = map(64, 1),
            o.user_claims = map(65, 1)
        ),
        case!(
            with_options,
            "options.args",
            "16384",
            |o| o.args = map(16, MAP_VALUE_BYTES_MAX),
            o.args = map(16, MAP_VALUE_BYTES_MAX + 1)
        ),
    ]);
}

#[test]
fn every_number_of_the_options_has_a_limit() {
    hold(vec![
        case!(with_options, "options.priority", "1 to 30", |o| o.priority = Some(30), o.priority = Some(31)),
        case!(with_options, "options.priority", "1 to 30", |o| o.priority = Some(1), o.priority = Some(0)),
        case!(with_options, "options.parent_id", "positive", |o| o.parent_id = 1, o.parent_id = -1),
        case!(
            with_retry,
            "options.retry_policy.retry_limit",
            "0 to 1000",
            |r| r.retry_limit = Some(1_000),
            r.retry_limit = Some(1_001)
        ),
        case!(
            with_retry,
            "options.retry_policy.retry_limit",
            "0 to 1000",
            |r| r.retry_limit = Some(0),
            r.retry_limit = Some(-1)
        ),
        case!(
            with_retry,
            "options.retry_policy.crash_limit",
            "0 to 2",
            |r| r.crash_limit = Some(2),
            r.crash_limit = Some(3)
        ),
        case!(
            with_retry,
            "options.retry_policy.factor",
            "1 to 100",
            |r| r.factor = Some(100.0),
            r.factor = Some(100.1)
        ),
        case!(
            with_retry,
            "options.retry_policy.factor",
            "1 to 100",
            |r| r.factor = Some(1.0),
            r.factor = Some(f64::NAN)
        ),
    ]);
}

#[test]
fn every_duration_of_the_options_has_a_limit_and_is_not_zero() {
    let days = |days: i64| seconds(days * 86_400);
    let over = |days: i64| seconds(days * 86_400 + 1);
    hold(vec![
        case!(with_options, "options.timeout", "30 days", |o| o.timeout = days(30), o.timeout = over(30)),
        case!(
            with_options,
            "options.timeout",
            "leave it out",
            |o| o.timeout = seconds(1),
            o.timeout = seconds(0)
        ),
        case!(with_options, "options.timeout", "negative", |o| o.timeout = None, o.timeout = seconds(-1)),
        case!(with_options, "options.delay", "1830 days", |o| o.delay = days(1_830), o.delay = over(1_830)),
        case!(with_options, "options.delay", "leave it out", |o| o.delay = seconds(1), o.delay = seconds(0)),
        case!(
            with_retry,
            "options.retry_policy.first_delay",
            "30 days",
            |r| r.first_delay = days(30),
            r.first_delay = over(30)
        ),
        case!(
            with_retry,
            "options.retry_policy.max_delay",
            "30 days",
            |r| r.max_delay = days(30),
            r.max_delay = over(30)
        ),
        case!(
            with_retry,
            "options.retry_policy.give_up_after",
            "365 days",
            |r| r.give_up_after = days(365),
            r.give_up_after = over(365)
        ),
    ]);
}

#[test]
fn every_time_of_the_options_has_a_limit() {
    let most = limits::FUTURE_MAX;
    let more = most + Duration::from_micros(1);
    hold(vec![
        case!(
            with_options,
            "options.run_after",
            "1830 days",
            |o| o.run_after = ahead(most),
            o.run_after = ahead(more)
        ),
        case!(
            with_options,
            "options.expire_time",
            "1830 days",
            |o| o.expire_time = ahead(most),
            o.expire_time = ahead(more)
        ),
        case!(
            with_options,
            "options.expire_time",
            "in the past",
            |o| o.expire_time = ahead(Duration::from_micros(1)),
            o.expire_time = ahead(Duration::ZERO)
        ),
        case!(
            with_options,
            "options.run_after",
            "not a time",
            |o| o.run_after = Some(prost_types::Timestamp { seconds: -62_135_596_800, nanos: 0 }),
            o.run_after = Some(prost_types::Timestamp { seconds: 0, nanos: 1_000_000_000 })
        ),
    ]);
}

#[test]
fn every_field_of_an_enqueue_has_a_limit() {
    let request = |command: String, request_id: String, bytes: usize| {
        let request =
            pb::Payload { kind: Some(pb::payload::Kind::Data(vec![0; bytes].into())), ..Default::default() };
        enqueue_of(pb::EnqueueCommandRequest { command, request: Some(request), request_id, options: None })
    };
    let x = |count: usize| "x".repeat(count);
    let field = |field, limit, at, above| Case { field, limit, at, above };
    hold(vec![
        field("command", "128", request(x(128), x(1), 1), request(x(129), x(1), 1)),
        field("command", "is empty", request(x(1), x(0), 1), request(x(0), x(1), 1)),
        field("request_id", "128", request(x(1), x(128), 1), request(x(1), x(129), 1)),
        field("request", "1 MiB", request(x(1), x(1), 1 << 20), request(x(1), x(1), (1 << 20) + 1)),
    ]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let error = with_options(|options| {
        options.queue = "a b".into();
        options.priority = Some(99);
        options.timeout = seconds(0);
    });
    let Err(Error::Invalid(violations)) = error else { panic!("{error:?}") };
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["options.queue", "options.priority", "options.timeout"]);
}

#[test]
fn two_ways_to_say_one_thing_exclude_each_other() {
    let (field, _) = refused(with_options(|options| {
        options.priority = Some(3);
        options.priority_name = pb::PriorityName::High.into();
    }));
    assert_eq!(field, "options.priority_name");
    let (field, _) = refused(with_options(|options| {
        options.run_after = ahead(Duration::from_secs(1));
        options.delay = seconds(1);
    }));
    assert_eq!(field, "options.delay");
}

#[test]
fn a_priority_may_be_named() {
    let call = with_options(|options| options.priority_name = pb::PriorityName::BelowNormal.into()).unwrap();
    assert_eq!(call.spec.priority, 10);
}

#[test]
fn a_job_must_not_expire_before_it_may_start() {
    for set in [
        |options: &mut pb::JobOptions| options.run_after = ahead(Duration::from_secs(10)),
        |options: &mut pb::JobOptions| options.delay = seconds(10),
    ] {
        let expire = |after| {
            with_options(|options| {
                set(options);
                options.expire_time = ahead(Duration::from_secs(after));
            })
        };
        assert!(expire(11).is_ok());
        assert_eq!(refused(expire(10)).0, "options.expire_time");
    }
}

#[test]
fn a_start_in_the_past_is_no_mistake() {
    assert!(with_options(|options| options.run_after = Some(timestamp(Time(0)))).is_ok());
}

#[test]
fn a_start_is_never_rounded_to_an_earlier_one() {
    let given = prost_types::Timestamp { nanos: 1, ..timestamp(NOW.plus(Duration::from_secs(1))) };
    let call = with_options(|options| options.run_after = Some(given)).unwrap();
    assert_eq!(call.spec.run_after, Some(Time(NOW.0 + 1_000_001)));
}

#[test]
fn generated_ref_ids_cannot_be_taken() {
    let (field, message) = refused(with_options(|options| options.ref_id = "~7-1".into()));
    assert!(field == "options.ref_id" && message.contains('~'));
}

#[test]
fn a_number_that_is_no_value_of_its_enum_is_refused() {
    for (field, answer) in [
        ("options.ref_id_policy", with_options(|options| options.ref_id_policy = 9)),
        ("options.priority_name", with_options(|options| options.priority_name = 9)),
        ("options.worker_order", with_options(|options| options.worker_order = 9)),
        ("options.reply_mode", with_options(|options| options.reply_mode = 9)),
        ("options.reply_body", with_options(|options| options.reply_body = -1)),
        ("options.retry_policy.backoff", with_retry(|retry| retry.backoff = 9)),
    ] {
        assert_eq!(refused(answer).0, field);
    }
}

#[test]
fn a_dependency_names_one_parent_once_and_a_callback_its_command() {
    use pb::dependency::Parent;
    let parent = |parent| pb::Dependency { parent, ..Default::default() };
    let parents =
        |parents: Vec<pb::Dependency>| refused(with_options(|options| options.depends_on = parents)).0;
    assert_eq!(parents(vec![parent(None)]), "options.depends_on[0].parent");
    assert_eq!(parents(vec![parent(Some(Parent::JobId(0)))]), "options.depends_on[0].job_id");
    assert_eq!(parents(vec![parent(Some(Parent::RefId(String::new())))]), "options.depends_on[0].ref_id");
    assert_eq!(parents(vec![parent(Some(Parent::LocalKey("a".into())))]), "options.depends_on[0].local_key");
    let twice = vec![parent(Some(Parent::JobId(7))), parent(Some(Parent::JobId(7)))];
    assert_eq!(parents(twice), "options.depends_on[1]");
    let many = (1..=101).map(|id| parent(Some(Parent::JobId(id)))).collect();
    assert_eq!(parents(many), "options.depends_on");
    let callback = with_options(|options| options.callback = Some(pb::Callback::default()));
    assert_eq!(refused(callback).0, "options.callback.command");
    let worker = with_options(|options| options.worker = Some("no good".into()));
    assert_eq!(refused(worker).0, "options.worker");
}

#[test]
fn an_empty_named_worker_is_none() {
    assert!(with_options(|options| options.worker = Some(String::new())).is_ok());
}

#[test]
fn a_policy_starts_from_its_profile() {
    let of = |name: &str| with_retry(|retry| retry.profile = name.into()).unwrap().spec.retry;
    assert_eq!(of(""), of("default"));
    assert_eq!((of("none").retry_limit, of("none").profile.as_str()), (0, "none"));
    let abp = of("abp");
    assert_eq!(
        (abp.first_delay, abp.give_up_after),
        (Duration::from_secs(60), Some(Duration::from_secs(172_800)))
    );
    let changed = with_retry(|retry| {
        retry.profile = "abp".into();
        retry.retry_limit = Some(3);
        retry.first_delay = seconds(1);
    });
    let changed = changed.unwrap().spec.retry;
    assert_eq!((changed.retry_limit, changed.first_delay), (3, Duration::from_secs(1)));
    assert_eq!((changed.give_up_after, changed.max_delay), (abp.give_up_after, abp.max_delay));
    let (field, why) = refused(with_retry(|retry| retry.profile = "mine".into()));
    assert_eq!(field, "options.retry_policy.profile");
    assert!(why.contains("`abp`, `default`, `none`"), "{why}");
}

#[test]
fn a_first_delay_beyond_the_usual_longest_lifts_it() {
    let retry = with_retry(|retry| retry.first_delay = seconds(3_600)).unwrap().spec.retry;
    assert_eq!(
        (retry.first_delay, retry.max_delay),
        (Duration::from_secs(3_600), Duration::from_secs(3_600))
    );
    let retry = with_retry(|retry| retry.max_delay = seconds(1)).unwrap().spec.retry;
    assert_eq!((retry.first_delay, retry.max_delay), (Duration::from_secs(1), Duration::from_secs(1)));
    let (field, _) = refused(with_retry(|retry| {
        retry.first_delay = seconds(10);
        retry.max_delay = seconds(9);
    }));
    assert_eq!(field, "options.retry_policy.max_delay");
}

#[test]
fn options_are_given_back_with_their_defaults() {
    let call = with_options(|options| options.args = map(2, 1)).unwrap();
    let back = options::options_message(&call.spec);
    assert_eq!((back.queue.as_str(), back.priority, back.timeout), ("default", Some(15), seconds(600)));
    let retry = back.retry_policy.clone().unwrap();
    assert_eq!((retry.retry_limit, retry.factor, retry.max_delay), (Some(2), Some(2.0), seconds(300)));
    // What is given back asks for the same.
    let again = with_options(|options| *options = back).unwrap();
    assert_eq!(again.spec, call.spec);
    assert_eq!(call.ref_policy, RefPolicy::Fail);
}

/// Lets everything out to `ok` only.
#[derive(Debug)]
struct Narrow;

impl Egress for Narrow {
    fn check_call(&self, target: &str, endpoint: &Endpoint, request: &Payload) -> Result<String, NoWay> {
        match (target, endpoint) {
            ("ok", Endpoint::Http(method, path)) if path != "/no" => Ok(format!("{method} {path}")),
            ("ok", Endpoint::Grpc(_)) if *request != Payload::None => Err(NoWay::Request("is wrong".into())),
            ("ok", _) => Err(NoWay::Endpoint("is wrong".into())),
            _ => Err(NoWay::Target("is wrong".into())),
        }
    }

    fn check_reply_to(&self, reply_to: &str, mode: ReplyMode) -> Result<ReplyAddress, String> {
        match reply_to.split_once('@') {
            Some((credentials, shown)) => {
                Ok(ReplyAddress { shown: shown.into(), credentials: credentials.into() })
            }
            None if mode == ReplyMode::Carry => {
                Ok(ReplyAddress { shown: reply_to.into(), credentials: String::new() })
            }
            None => Err("is wrong".into()),
        }
    }
}

fn narrow() -> Settings {
    Settings { egress: Some(Arc::new(Narrow)), ..SETTINGS.clone() }
}

fn with_reply(set: impl FnOnce(&mut pb::JobOptions)) -> Result<EnqueueCall> {
    let mut options = pb::JobOptions { reply_to: "s3cret@https://x/".into(), ..Default::default() };
    set(&mut options);
    let given =
        pb::EnqueueCommandRequest { command: "C".into(), options: Some(options), ..Default::default() };
    enqueue(given, &MetadataMap::new(), &narrow(), NOW)
}

#[test]
fn a_reply_address_is_judged_and_its_credentials_are_given_to_nobody_but_who_carries_it() {
    let spec = with_reply(|_| {}).unwrap().spec;
    assert!(!format!("{spec:?}").contains("s3cret"), "{spec:?}");
    let back = options::options_message(&spec);
    assert_eq!((back.reply_to.as_str(), back.reply_mode()), ("https://x/", pb::ReplyMode::Deliver));
    assert_eq!(options::carried_options(&spec).reply_to, "https://x/");
    let carried = with_reply(|options| options.reply_mode = pb::ReplyMode::Carry.into()).unwrap().spec;
    assert_eq!(options::options_message(&carried).reply_to, "https://x/");
    assert_eq!(options::carried_options(&carried).reply_to, "s3cret@https://x/");
    let put = crate::model::Reply { to: "PUT https://x/".into(), ..carried.reply.unwrap() };
    assert_eq!(put.whole(), "PUT s3cret@https://x/");
    assert_eq!(refused(with_reply(|options| options.reply_to = "https://x/".into())).0, "options.reply_to");
    assert_eq!(refused(with_options(|options| options.reply_to = "a@b".into())).0, "options.reply_to");
}

#[test]
fn how_to_reply_is_refused_without_where() {
    for (field, answer) in [
        ("options.reply_mode", with_options(|options| options.reply_mode = 1)),
        ("options.reply_body", with_options(|options| options.reply_body = 2)),
        ("options.reply_on_success_only", with_options(|options| options.reply_on_success_only = true)),
    ] {
        let (refused_field, message) = refused(answer);
        assert!(refused_field == field && message.contains("reply_to"), "{refused_field}: {message}");
    }
}

#[test]
fn a_filter_by_reply_address_leaves_credentials_out() {
    for (given, is) in [
        ("https://x/", "https://x/"),
        ("a:b@https://x/", "https://x/"),
        ("put $T@http://x/@http://y", "PUT http://x/@http://y"),
        ("https://x/?a=@http://y", "https://x/?a=@http://y"),
    ] {
        assert_eq!(with_filter(|filter| filter.reply_to = given.into()).unwrap().reply_to, is);
    }
}

#[test]
fn an_api_call_is_judged_part_by_part() {
    let call = |target: &str, endpoint, json: &str| {
        let kind = (!json.is_empty()).then(|| pb::payload::Kind::Json(json.into()));
        let request = pb::EnqueueApiRequest {
            api: Some(pb::ApiCall { target: target.into(), endpoint }),
            request: Some(pb::Payload { kind, ..Default::default() }),
            ..Default::default()
        };
        enqueue_api(request, &MetadataMap::new(), &narrow(), NOW)
    };
    let http = |method: &str, path: &str| {
        Some(pb::api_call::Endpoint::Http(pb::HttpEndpoint { method: method.into(), path: path.into() }))
    };
    let grpc = || Some(pb::api_call::Endpoint::GrpcMethod("a.B/C".into()));
    let stored = call("ok", http("", "/x"), "1").unwrap().spec.work;
    assert_eq!(stored, crate::model::Work::Api { target: "ok".into(), method: "POST /x".into() });
    for (field, answer) in [
        ("api.target", call("other", http("", "/x"), "")),
        ("api.target", call("", http("", "/x"), "")),
        ("api.http", call("ok", http("GET", "/no"), "")),
        ("api.grpc_method", call("ok", grpc(), "")),
        ("request", call("ok", grpc(), "1")),
        ("api.endpoint", call("ok", None, "")),
        ("api", enqueue_api(pb::EnqueueApiRequest::default(), &MetadataMap::new(), &narrow(), NOW)),
    ] {
        let Err(Error::Invalid(violations)) = answer else { panic!("{field}: {answer:?}") };
        assert_eq!(violations[0].field, field);
    }
}

#[test]
fn the_trace_of_the_call_counts_when_the_options_have_none() {
    let mut metadata = MetadataMap::new();
    metadata.insert("traceparent", "00-aa-bb-01".parse().unwrap());
    metadata.insert("tracestate", "k=v".parse().unwrap());
    let given = |traceparent: &str| pb::EnqueueCommandRequest {
        command: "C".into(),
        options: Some(pb::JobOptions { traceparent: traceparent.into(), ..Default::default() }),
        ..Default::default()
    };
    let traced = |given| enqueue(given, &metadata, &SETTINGS, NOW).unwrap().spec;
    let spec = traced(given(""));
    assert_eq!((spec.traceparent.as_str(), spec.tracestate.as_str()), ("00-aa-bb-01", "k=v"));
    let spec = traced(given("00-cc-dd-01"));
    assert_eq!((spec.traceparent.as_str(), spec.tracestate.as_str()), ("00-cc-dd-01", ""));
}

fn with_filter(set: impl FnOnce(&mut pb::JobFilter)) -> Result<crate::model::Filter> {
    let mut given = pb::JobFilter::default();
    set(&mut given);
    let mut check = Check::new();
    let filter = check.within("filter", |check| filter(check, Some(given)));
    check.pass(filter)
}

#[test]
fn every_field_of_a_filter_has_a_limit() {
    let x = |count: usize| "x".repeat(count);
    let at = |micros| Some(timestamp(Time(micros)));
    hold(vec![
        case!(with_filter, "filter.command", "128", |f| f.command = x(128), f.command = x(129)),
        case!(with_filter, "filter.queue", "128", |f| f.queue = x(128), f.queue = x(129)),
        case!(with_filter, "filter.tag", "255", |f| f.tag = x(255), f.tag = x(256)),
        case!(with_filter, "filter.batch_id", "255", |f| f.batch_id = x(255), f.batch_id = x(256)),
        case!(with_filter, "filter.created_by", "255", |f| f.created_by = x(255), f.created_by = x(256)),
        case!(with_filter, "filter.user_id", "255", |f| f.user_id = x(255), f.user_id = x(256)),
        case!(
            with_filter,
            "filter.ref_id_prefix",
            "255",
            |f| f.ref_id_prefix = x(255),
            f.ref_id_prefix = x(256)
        ),
        case!(with_filter, "filter.error_code", "255", |f| f.error_code = x(255), f.error_code = x(256)),
        case!(with_filter, "filter.text", "255", |f| f.text = x(255), f.text = x(256)),
        case!(
            with_filter,
            "filter.api",
            "2184",
            |f| f.api = x(wire::API_BYTES_MAX),
            f.api = x(wire::API_BYTES_MAX + 1)
        ),
        case!(with_filter, "filter.args", "8", |f| f.args = map(8, 1), f.args = map(9, 1)),
        case!(with_filter, "filter.priority", "1 to 30", |f| f.priority = Some(30), f.priority = Some(31)),
        case!(with_filter, "filter.parent_id", "positive", |f| f.parent_id = 1, f.parent_id = -1),
        case!(with_filter, "filter.states[1]", "none of", |f| f.states = vec![1, 8], f.states = vec![1, 9]),
        case!(
            with_filter,
            "filter.create_time_to",
            "create_time_from",
            |f| (f.create_time_from, f.create_time_to) = (at(1), at(2)),
            (f.create_time_from, f.create_time_to) = (at(2), at(2))
        ),
    ]);
}

#[test]
fn unspecified_among_states_stands_for_all() {
    assert!(with_filter(|filter| filter.states = vec![1, 0]).unwrap().states.is_empty());
    assert_eq!(with_filter(|filter| filter.states = vec![4, 4]).unwrap().states, [State::Running]);
}

fn with_register(set: impl FnOnce(&mut pb::RegisterWorkerRequest)) -> Result<crate::engine::RegisterCall> {
    let mut given = pb::RegisterWorkerRequest {
        name: "w".into(),
        instance_id: "i".into(),
        commands: vec![served("C".into())],
        ..Default::default()
    };
    set(&mut given);
    register(given)
}

fn served(command: String) -> pb::ServedCommand {
    pb::ServedCommand { command, ..Default::default() }
}

fn served_with(version: usize, schema: usize) -> Vec<pb::ServedCommand> {
    let json_schema = format!("\"{}\"", "x".repeat(schema - 2));
    vec![pb::ServedCommand { version: "x".repeat(version), json_schema, ..served("C".into()) }]
}

#[test]
fn every_field_of_a_registration_has_a_limit() {
    let x = |count: usize| "x".repeat(count);
    let commands = |count: usize| (0..count).map(|index| served(format!("C{index}"))).collect::<Vec<_>>();
    let queues = |count: usize| (0..count).map(|index| format!("q{index}")).collect::<Vec<_>>();
    hold(vec![
        case!(with_register, "name", "255", |r| r.name = x(255), r.name = x(256)),
        case!(with_register, "name", "is empty", |r| r.name = x(1), r.name = x(0)),
        case!(with_register, "instance_id", "128", |r| r.instance_id = x(128), r.instance_id = x(129)),
        case!(with_register, "sdk", "128", |r| r.sdk = x(128), r.sdk = x(129)),
        case!(
            with_register,
            "commands",
            "1000",
            |r| r.commands = commands(1_000),
            r.commands = commands(1_001)
        ),
        case!(
            with_register,
            "commands",
            "at least one",
            |r| r.commands = commands(1),
            r.commands = commands(0)
        ),
        case!(
            with_register,
            "commands[1].command",
            "named twice",
            |r| r.commands = commands(2),
            r.commands = vec![served(x(1)), served(x(1))]
        ),
        case!(
            with_register,
            "commands[0].command",
            "128",
            |r| r.commands[0].command = x(128),
            r.commands[0].command = x(129)
        ),
        case!(
            with_register,
            "commands[0].version",
            "128",
            |r| r.commands = served_with(128, 2),
            r.commands = served_with(129, 2)
        ),
        case!(
            with_register,
            "commands[0].json_schema",
            "65536",
            |r| r.commands = served_with(0, 65_536),
            r.commands = served_with(0, 65_537)
        ),
        case!(
            with_register,
            "commands[0].json_schema",
            "not JSON",
            |r| r.commands = served_with(0, 2),
            r.commands[0].json_schema = "{".into()
        ),
        case!(with_register, "queues", "100", |r| r.queues = queues(100), r.queues = queues(101)),
        case!(with_register, "queues[0]", "128", |r| r.queues = vec![x(128)], r.queues = vec![x(129)]),
        case!(with_register, "labels", "64", |r| r.labels = map(64, 1), r.labels = map(65, 1)),
        case!(with_register, "slots", "1 to 10000", |r| r.slots = 10_000, r.slots = 10_001),
        case!(with_register, "slots", "1 to 10000", |r| r.slots = 1, r.slots = -1),
        case!(
            with_register,
            "lease_time",
            "10 minutes",
            |r| r.lease_time = seconds(600),
            r.lease_time = seconds(601)
        ),
        case!(
            with_register,
            "lease_time",
            "5 seconds",
            |r| r.lease_time = seconds(5),
            r.lease_time = seconds(4)
        ),
        case!(
            with_register,
            "lease_time",
            "leave it out",
            |r| r.lease_time = None,
            r.lease_time = seconds(0)
        ),
    ]);
}

#[test]
fn a_registration_has_defaults() {
    let call = with_register(|_| ()).unwrap();
    assert_eq!(
        (call.queues, call.slots, call.lease_time),
        (vec!["default".into()], 1, limits::LEASE_TIME_DEFAULT)
    );
    let lane = with_register(|given| given.commands[0].worker = Some("lane".into())).unwrap();
    assert_eq!(lane.commands[0].worker, "lane");
}

fn with_claim(set: impl FnOnce(&mut pb::ClaimJobRequest)) -> Result<crate::engine::ClaimCall> {
    let mut given = pb::ClaimJobRequest { session_id: "0".repeat(32), sequence: 5, ..Default::default() };
    set(&mut given);
    claim(given)
}

#[test]
fn every_field_of_a_claim_has_a_limit() {
    hold(vec![
        case!(
            with_claim,
            "session_id",
            "RegisterWorker",
            |c| c.session_id = "a".repeat(32),
            c.session_id = "a".into()
        ),
        case!(with_claim, "loop", "0 to 255", |c| c.r#loop = 255, c.r#loop = 256),
        case!(with_claim, "loop", "0 to 255", |c| c.r#loop = 0, c.r#loop = -1),
        case!(with_claim, "sequence", "1 to", |c| c.sequence = i64::MAX - 1, c.sequence = i64::MAX),
        case!(with_claim, "sequence", "1 to", |c| c.sequence = 1, c.sequence = 0),
        case!(with_claim, "ack_sequence", "lower than", |c| c.ack_sequence = 4, c.ack_sequence = 5),
        case!(with_claim, "max_jobs", "1 to 1000", |c| c.max_jobs = 1_000, c.max_jobs = 1_001),
        case!(with_claim, "wait", "negative", |c| c.wait = seconds(0), c.wait = seconds(-1)),
    ]);
}

#[test]
fn a_claim_waits_at_most_the_longest_wait() {
    assert_eq!(with_claim(|claim| claim.wait = seconds(3_600)).unwrap().wait, limits::CLAIM_WAIT_MAX);
    let claim = with_claim(|_| ()).unwrap();
    assert_eq!((claim.wait, claim.max_jobs), (Duration::ZERO, 1));
}

#[test]
fn pages_runs_months_and_tokens_have_limits() {
    let read = |set: &dyn Fn(&mut Check)| {
        let mut check = Check::new();
        set(&mut check);
        check.pass(())
    };
    let field = |field, limit, at, above| Case { field, limit, at, above };
    hold(vec![
        field(
            "page_size",
            "1 to 500",
            read(&|c| assert_eq!(c.page_size("page_size", 500), 500)),
            read(&|c| _ = c.page_size("page_size", 501)),
        ),
        field(
            "page_size",
            "1 to 500",
            read(&|c| assert_eq!(c.page_size("page_size", 0), 50)),
            read(&|c| _ = c.page_size("page_size", -1)),
        ),
        field("run", "from 1", read(&|c| _ = c.run("run", 0)), read(&|c| _ = c.run("run", -1))),
        field(
            "month",
            "YYYY-MM",
            read(&|c| _ = c.month("month", "2026-11")),
            read(&|c| _ = c.month("month", "2026-1")),
        ),
        field(
            "page_token",
            "512",
            read(&|c| c.token("page_token", &"x".repeat(512))),
            read(&|c| c.token("page_token", &"x".repeat(513))),
        ),
        field(
            "job_id",
            "positive",
            read(&|c| _ = c.job_id("job_id", 1)),
            read(&|c| _ = c.job_id("job_id", 0)),
        ),
    ]);
}

#[test]
fn many_violations_are_told_in_part_so_that_they_fit_into_headers() {
    let mut check = Check::new();
    (0..1_000).for_each(|index| check.refuse(format_args!("items[{index}]"), "is wrong"));
    let Err(Error::Invalid(violations)) = check.pass(()) else { panic!("passed") };
    assert_eq!(violations.len(), wire::VIOLATIONS_MAX + 1);
    assert_eq!(violations.last().unwrap().message, "984 fields more");
}

#[test]
fn a_time_before_1970_keeps_its_parts_positive() {
    assert_eq!(timestamp(Time(-1)), prost_types::Timestamp { seconds: -1, nanos: 999_999_000 });
    assert_eq!(timestamp(Time(1_500_000)), prost_types::Timestamp { seconds: 1, nanos: 500_000_000 });
}

#[test]
fn a_state_is_named_as_in_the_contract() {
    assert_eq!(state_name(State::Scheduled), "SCHEDULED");
    assert_eq!(state_name(State::Cancelled), "CANCELLED");
}
