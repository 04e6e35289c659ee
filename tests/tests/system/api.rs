//! Jobs that call APIs: a real tonic service and a real HTTP server in this process, called by the server's own pool.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{fixed_retry, json, text_of};
use haulier_tests::{
    Database, Pause, Receiver, Response, Shop, ShopReflection, haulier_binary, monotonic, refusal, seconds,
};
use pb::recurring_task_service_client::RecurringTaskServiceClient;
use pb::{AttemptOutcome, CancelResult, FailureReason, JobOptions, JobState};
use tonic::Code;

use crate::outgoing::{call, call_with, configured, configured_with, enqueue, on_both_databases};

on_both_databases!(
    a_http_call_carries_its_context_and_its_answer_is_the_result,
    a_grpc_call_is_made_by_json_and_its_answer_is_the_result,
    a_status_that_is_retried_is_retried_and_another_fails_at_once,
    a_running_call_is_cancelled_and_its_receiver_sees_it_go,
    what_cannot_be_called_is_refused_and_nothing_is_stored,
    a_server_without_a_pool_leaves_calls_to_another,
    a_pool_with_nothing_to_do_holds_no_server_up,
    no_more_calls_run_at_a_time_than_there_are_slots,
    a_call_of_a_killed_server_is_made_again_with_the_same_key,
    a_batch_mixes_calls_and_commands_that_depend_on_each_other,
    the_sdk_and_the_command_line_enqueue_calls_and_replay_notifications,
    a_recurring_task_calls_an_api,
);

/// A target for a receiver.
fn http(receiver: &Receiver, more: &str) -> String {
    format!(
        "[targets.billing]\nurl = \"{}\"\nprotocol = \"http\"\nallowed = [\"POST /v1/**\", \"GET /v1/*\"]\n{more}\n",
        receiver.url("/api")
    )
}

fn grpc(shop: &Shop, more: &str) -> String {
    format!(
        "[targets.shop]\nurl = \"{}\"\nprotocol = \"grpc\"\nallowed = [\"shop.v1.OrderService/*\"]\n{more}\n",
        shop.url()
    )
}

fn error_of(summary: &pb::JobSummary) -> (String, FailureReason) {
    let error = summary.error.clone().expect("it failed");
    (error.code.clone(), error.reason())
}

async fn a_http_call_carries_its_context_and_its_answer_is_the_result(database: Database) {
    let receiver = Receiver::start(|_, _| Response::json(r#"{"invoice":  12345678901234567890}"#)).await;
    let secret = "[secrets.BILLING]\nvalue = \"t0ken\"\nhosts = [\"127.0.0.1\"]";
    let server =
        configured(database, &format!("{}\n{secret}", http(&receiver, "auth = \"http.X-Api-Key:$BILLING\"")))
            .await;
    let options = JobOptions {
        ref_id: "r\u{e9}f 1".into(),
        user_id: "ann".into(),
        user_claims: [("role".to_owned(), "\u{fc}ser".to_owned())].into(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        ..Default::default()
    };
    let job = enqueue(&server, call_with("billing", "POST /v1/invoices?x=1", r#"{"a": 1}"#, options)).await;
    let summary = server.wait_for_state(job, JobState::Completed).await;
    assert!(summary.worker_process.starts_with("haulier-pool@"), "{}", summary.worker_process);
    let Some(pb::job_summary::Work::Api(api)) = summary.work else { panic!("it is an API job") };
    assert_eq!(api.target, "billing");
    let Some(pb::job_result::Record::Completed(record)) = server.job(job).await.record else { panic!() };
    assert_eq!(text_of(&record.result), r#"{"invoice":  12345678901234567890}"#, "byte for byte");
    let request = receiver.received().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/api/v1/invoices?x=1"));
    assert_eq!(
        (request.text().as_str(), request.header("content-type")),
        (r#"{"a": 1}"#, "application/json")
    );
    for (name, value) in [
        ("haulier-job-id", job.to_string()),
        ("haulier-ref-id", "r%C3%A9f%201".into()),
        ("haulier-run", "1".into()),
        ("haulier-attempt", "1".into()),
        ("haulier-user-id", "ann".into()),
        ("haulier-user-claims", r#"{"role":"\u00fcser"}"#.into()),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        ("x-api-key", "t0ken".into()),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert!(request.header("idempotency-key").contains(&job.to_string()));
    let get = enqueue(&server, call("billing", "GET /v1/x", "")).await;
    server.wait_for_state(get, JobState::Completed).await;
    assert_eq!(receiver.received()[1].method, "GET");
    assert!(!server.log().contains("t0ken"), "a secret is never logged");
}

async fn a_grpc_call_is_made_by_json_and_its_answer_is_the_result(database: Database) {
    let sent = r#"{"customer": "ann", "amount": "9007199254740993", "when": "2026-11-26T10:00:00Z"}"#;
    for reflection in [ShopReflection::V1, ShopReflection::V1Alpha, ShopReflection::None] {
        let shop = Shop::open(reflection).await;
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("shop.binpb");
        std::fs::write(&set, Shop::descriptor_set()).unwrap();
        let more = match reflection {
            ShopReflection::None => format!("descriptor_set = \"{}\"", set.display()),
            _ => String::new(),
        };
        let server = configured(database.clone(), &grpc(&shop, &more)).await;
        let options = JobOptions { user_id: "ann".into(), ..Default::default() };
        let job = enqueue(&server, call_with("shop", "shop.v1.OrderService/Send", sent, options)).await;
        server.wait_for_state(job, JobState::Completed).await;
        let Some(pb::job_result::Record::Completed(record)) = server.job(job).await.record else { panic!() };
        let result: serde_json::Value = serde_json::from_str(text_of(&record.result)).unwrap();
        assert_eq!(result, serde_json::json!({ "customer": "ann", "amount": "9007199254740993" }));
        let got = shop.calls().remove(0);
        assert_eq!(
            (got.customer.as_str(), got.amount, got.when),
            ("ann", 9_007_199_254_740_993, 1_795_687_200)
        );
        assert_eq!(got.metadata["haulier-job-id"], job.to_string());
        assert_eq!(got.metadata["haulier-user-id"], "ann");
        assert!(got.metadata.contains_key("grpc-timeout") && got.metadata.contains_key("idempotency-key"));
        if reflection == ShopReflection::None {
            let refused =
                refusal(server.jobs().enqueue_api(call("shop", "shop.v1.OrderService/Nope", "{}")).await);
            refused.must_name("api.grpc_method");
            let refused =
                refusal(server.jobs().enqueue_api(call("shop", "shop.v1.OrderService/Follow", "{}")).await);
            refused.must_name("api.grpc_method");
        } else {
            let unknown = enqueue(&server, call("shop", "shop.v1.OrderService/Nope", "{}")).await;
            let summary = server.wait_for_state(unknown, JobState::Failed).await;
            assert_eq!(error_of(&summary), ("UNIMPLEMENTED".into(), FailureReason::Api));
        }
        let odd = enqueue(&server, call("shop", "shop.v1.OrderService/Send", r#"{"colour": 1}"#)).await;
        let summary = server.wait_for_state(odd, JobState::Failed).await;
        assert_eq!(error_of(&summary), ("UNREADABLE_REQUEST".into(), FailureReason::UnreadableRequest));
        assert_eq!(summary.attempt, 1);
    }
}

async fn a_status_that_is_retried_is_retried_and_another_fails_at_once(database: Database) {
    let receiver = Receiver::start(|count, request| match (request.path.as_str(), count) {
        ("/api/v1/flaky", 0) => Response { body: "try later".into(), ..Response::status(503) },
        ("/api/v1/flaky", _) => Response::json("1"),
        ("/api/v1/moved", _) => {
            Response { headers: vec![("location".into(), "/api/v1/flaky".into())], ..Response::status(302) }
        }
        ("/api/v1/large", _) => Response::json(&format!("\"{}\"", "x".repeat(2 << 20))),
        _ => Response { body: "no such thing".into(), ..Response::status(404) },
    })
    .await;
    let shop = Shop::open(ShopReflection::V1).await;
    let away = "[targets.away]\nurl = \"http://127.0.0.1:1\"\nprotocol = \"grpc\"\nallowed = [\"*\"]";
    let settings = format!("{}{}{away}", http(&receiver, ""), grpc(&shop, "retry = [\"NOT_FOUND\"]"));
    let server = configured(database, &settings).await;
    let options = || JobOptions { retry_policy: fixed_retry(1, 0.1), ..Default::default() };
    let flaky = enqueue(&server, call_with("billing", "POST /v1/flaky", "1", options())).await;
    server.wait_for_state(flaky, JobState::Completed).await;
    let attempts = server.attempts(flaky).await;
    assert_eq!(
        attempts.iter().map(|one| one.outcome()).collect::<Vec<_>>(),
        [AttemptOutcome::Failed, AttemptOutcome::Completed]
    );
    let error = attempts[0].error.clone().unwrap();
    assert!(error.code == "HTTP_503" && error.message.contains("try later"), "{error:?}");
    let keys: Vec<_> =
        receiver.received().iter().map(|one| one.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys[0], keys[1], "the same over all attempts");
    for (endpoint, code, reason) in [
        ("POST /v1/gone", "HTTP_404", FailureReason::Api),
        ("POST /v1/moved", "HTTP_302", FailureReason::Api),
        ("POST /v1/large", "ANSWER_TOO_LARGE", FailureReason::UnstorableResult),
    ] {
        let job = enqueue(&server, call_with("billing", endpoint, "1", options())).await;
        let summary = server.wait_for_state(job, JobState::Failed).await;
        assert_eq!((error_of(&summary), summary.attempt), ((code.into(), reason), 1), "{endpoint}");
    }
    let send = |code: Code| format!("{{\"failWith\": {}}}", i32::from(code));
    for (code, name, attempts) in [(Code::NotFound, "NOT_FOUND", 2), (Code::Unavailable, "UNAVAILABLE", 1)] {
        let job =
            enqueue(&server, call_with("shop", "shop.v1.OrderService/Send", &send(code), options())).await;
        let summary = server.wait_for_state(job, JobState::Failed).await;
        assert_eq!(error_of(&summary), (name.into(), FailureReason::Api));
        assert_eq!(summary.attempt, attempts, "the configuration says which are retried");
        assert_eq!(summary.error.unwrap().message, "the shop is closed");
    }
    let nobody = enqueue(&server, call_with("away", "shop.v1.OrderService/Send", "{}", options())).await;
    let summary = server.wait_for_state(nobody, JobState::Failed).await;
    assert_eq!((error_of(&summary).0.as_str(), summary.attempt), ("UNAVAILABLE", 2), "a target that is away");
}

async fn a_running_call_is_cancelled_and_its_receiver_sees_it_go(database: Database) {
    let slow = |_: usize, _: &haulier_tests::Received| Response {
        delay: Duration::from_secs(60),
        ..Response::default()
    };
    let receiver = Receiver::start(slow).await;
    let shop = Shop::open(ShopReflection::V1).await;
    let server = configured(database, &format!("{}{}", http(&receiver, ""), grpc(&shop, ""))).await;
    let by_http = enqueue(&server, call("billing", "POST /v1/slow", "1")).await;
    receiver.wait_for(1).await;
    let begun = monotonic();
    assert_eq!(server.cancel(by_http, "enough", None).await.result(), CancelResult::Requested);
    let summary = server.wait_for_state(by_http, JobState::Cancelled).await;
    assert_eq!(summary.cancel_message, "enough");
    receiver.abandoned().await;
    let by_grpc = enqueue(&server, call("shop", "shop.v1.OrderService/Send", r#"{"delayMs": 60000}"#)).await;
    shop.wait_for(1).await;
    server.cancel(by_grpc, "", None).await;
    server.wait_for_state(by_grpc, JobState::Cancelled).await;
    shop.abandoned().await;
    assert!(monotonic() - begun < Duration::from_secs(10), "told at once, not by the end of a grace");
    let options =
        JobOptions { timeout: seconds(0.5), retry_policy: fixed_retry(0, 1.0), ..Default::default() };
    let late = enqueue(&server, call_with("billing", "POST /v1/slow", "1", options)).await;
    let summary = server.wait_for_state(late, JobState::Failed).await;
    assert_eq!(error_of(&summary), ("TIMEOUT".into(), FailureReason::Timeout));
    receiver.abandoned().await;
}

async fn what_cannot_be_called_is_refused_and_nothing_is_stored(database: Database) {
    let receiver = Receiver::willing().await;
    let shop = Shop::open(ShopReflection::V1).await;
    let server = configured(database, &format!("{}{}", http(&receiver, ""), grpc(&shop, ""))).await;
    for (target, endpoint, request, field, mend) in [
        ("nobody", "POST /v1/x", "", "api.target", "it has billing, shop"),
        ("billing", "POST /admin", "", "api.http", "[targets.billing] allowed"),
        ("billing", "POST /v1/../admin", "", "api.http", "write the path out"),
        ("billing", "FETCH /v1/x", "", "api.http", "GET, POST"),
        ("billing", "GET /v1/x", "1", "request", "no body"),
        ("billing", "shop.v1.OrderService/Send", "", "api.grpc_method", "speaks HTTP"),
        ("shop", "POST /v1/x", "", "api.http", "speaks gRPC"),
        ("shop", "shop.v1.Other/Send", "", "api.grpc_method", "[targets.shop] allowed"),
        ("shop", "Send", "", "api.grpc_method", "shop.v1.OrderService/SendReceipt"),
    ] {
        let refused = refusal(server.jobs().enqueue_api(call(target, endpoint, request)).await);
        refused.must_name(field);
        assert!(refused.field(field).unwrap().contains(mend), "{refused:?}");
    }
    let raw = pb::payload::Kind::Data(vec![1].into());
    let raw = Some(pb::Payload { kind: Some(raw), content_type: "image/png".into() });
    let request = pb::EnqueueApiRequest { request: raw, ..call("shop", "shop.v1.OrderService/Send", "") };
    refusal(server.jobs().enqueue_api(request).await).must_name("request");
    let jobs = server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner().jobs;
    assert!(jobs.is_empty() && receiver.received().is_empty() && shop.calls().is_empty());
}

async fn a_server_without_a_pool_leaves_calls_to_another(database: Database) {
    let receiver = Receiver::willing().await;
    let settings = http(&receiver, "");
    let server = configured_with(database, &settings, &["--no-pool"]).await;
    let job = enqueue(&server, call("billing", "POST /v1/x", "1")).await;
    Pause::brief().await;
    assert_eq!(server.summary(job).await.state(), JobState::Queued);
    assert!(receiver.received().is_empty());
    let why = |server: &haulier_tests::Server| {
        let target = Some(pb::explain_job_request::Target::JobId(job));
        let mut jobs = server.jobs();
        async move { jobs.explain_job(pb::ExplainJobRequest { target }).await.unwrap().into_inner() }
    };
    let told = why(&server).await;
    assert_eq!(told.code(), pb::ExplainCode::PoolOff, "{told:?}");
    assert!(told.explanation.contains("billing"), "{told:?}");
    // SQLite has one server a file: the same one comes back with its pool.
    let url = server.database_url().to_owned();
    let dedicated = if url.starts_with("sqlite:") {
        server.term().await;
        configured(Database::Url(url), &settings).await
    } else {
        configured(Database::Url(url), &settings).await
    };
    dedicated.wait_for_state(job, JobState::Completed).await;
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(why(&dedicated).await.code(), pb::ExplainCode::Finished);
}

async fn a_pool_with_nothing_to_do_holds_no_server_up(database: Database) {
    let receiver = Receiver::willing().await;
    let server = configured(database, &http(&receiver, "")).await;
    let job = enqueue(&server, call("billing", "POST /v1/x", "1")).await;
    server.wait_for_state(job, JobState::Completed).await;
    let (status, took) = server.term().await;
    // It used to wait for its next heartbeat, which comes every 10 s.
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
}

async fn no_more_calls_run_at_a_time_than_there_are_slots(database: Database) {
    let receiver =
        Receiver::start(|_, _| Response { delay: Duration::from_millis(300), ..Response::default() }).await;
    let server = configured(database, &format!("[pool]\nslots = 2\n{}", http(&receiver, ""))).await;
    for _ in 0..6 {
        enqueue(&server, call("billing", "POST /v1/x", "1")).await;
    }
    let (mut most, deadline) = (0, monotonic() + Duration::from_secs(30));
    loop {
        let listed = server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner().jobs;
        most = most.max(listed.iter().filter(|job| job.state() == JobState::Running).count());
        if listed.iter().all(|job| job.state() == JobState::Completed) {
            break;
        }
        assert!(monotonic() < deadline, "{listed:?}");
        Pause::brief().await;
    }
    assert!((1..=2).contains(&most), "{most} ran at a time");
    assert_eq!(receiver.received().len(), 6);
}

async fn a_call_of_a_killed_server_is_made_again_with_the_same_key(database: Database) {
    let receiver = Receiver::start(|count, _| Response {
        delay: if count == 0 { Duration::from_secs(60) } else { Duration::ZERO },
        ..Response::default()
    })
    .await;
    let server = configured(database, &http(&receiver, "")).await;
    let job = enqueue(&server, call("billing", "POST /v1/x", "1")).await;
    receiver.wait_for(1).await;
    server.kill9();
    server.restart().await;
    // The session of the dead pool must lapse first: its lease time, and after an outage that once more.
    let deadline = monotonic() + Duration::from_secs(120);
    while server.summary(job).await.state() != JobState::Completed {
        assert!(monotonic() < deadline, "{:?}", server.summary(job).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("idempotency-key"), received[1].header("idempotency-key"));
    let fence = |at: usize| received[at].header("haulier-fencing-token").parse::<i64>().unwrap();
    assert!(fence(1) > fence(0));
    // One crash, or none where the pool died before it could tell that the job had arrived: then it counts as given back.
    assert!(server.summary(job).await.crashes <= 1);
}

async fn a_batch_mixes_calls_and_commands_that_depend_on_each_other(database: Database) {
    let receiver = Receiver::start(|_, _| Response::json("7")).await;
    let server = configured(database, &http(&receiver, "")).await;
    let api = |path: &str, options| {
        let request = call("billing", path, "1");
        pb::enqueue_item::Work::Api(pb::EnqueueApiItem { api: request.api, request: json("1"), options })
    };
    let item = |key: &str, work| pb::EnqueueItem { local_key: key.into(), work: Some(work) };
    let parent = pb::dependency::Parent::LocalKey("first".into());
    let after = pb::Dependency { parent: Some(parent), ..Default::default() };
    let options = JobOptions { depends_on: vec![after], ..Default::default() };
    let request = pb::EnqueueBatchRequest {
        items: vec![
            item("first", api("POST /v1/first", None)),
            item("", api("POST /v1/second", Some(options))),
        ],
        ..Default::default()
    };
    let stored = server.jobs().enqueue_batch(request).await.unwrap().into_inner();
    server.wait_for_state(stored.jobs[1].job_id, JobState::Completed).await;
    let paths: Vec<_> = receiver.received().into_iter().map(|one| one.path).collect();
    assert_eq!(paths, ["/api/v1/first", "/api/v1/second"]);
    let wrong = pb::EnqueueBatchRequest {
        items: vec![item("", api("POST /v1/ok", None)), item("", api("POST /admin", None))],
        ..Default::default()
    };
    refusal(server.jobs().enqueue_batch(wrong).await).must_name("items[1].api.api.http");
}

async fn the_sdk_and_the_command_line_enqueue_calls_and_replay_notifications(database: Database) {
    let receiver = Receiver::start(|_, request| match request.path.as_str() {
        "/gone" => Response::status(410),
        _ => Response::json("7"),
    })
    .await;
    let shop = Shop::open(ShopReflection::V1).await;
    let open = "[outbound]\nallow = [\"127.0.0.1\"]\nallow_http = true\n";
    let server = configured(database, &format!("{open}{}{}", http(&receiver, ""), grpc(&shop, ""))).await;
    let client = haulier::Client::connect(server.address()).await.unwrap();
    let by_http = client
        .enqueue_api(haulier::ApiCall::http("billing", "POST", "/v1/x"), 1)
        .reply_to(receiver.url("/gone"))
        .await
        .unwrap();
    assert_eq!(by_http.wait().await.unwrap(), serde_json::json!(7));
    let request = serde_json::json!({ "customer": "ann" });
    let by_grpc = client
        .enqueue_api(haulier::ApiCall::grpc("shop", "shop.v1.OrderService/Send"), &request)
        .await
        .unwrap();
    assert_eq!(by_grpc.wait().await.unwrap(), request);
    let refused =
        client.enqueue_api(haulier::ApiCall::http("billing", "POST", "/admin"), 1).await.unwrap_err();
    assert_eq!(refused.violations()[0].field, "api.http");
    let haulier = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(haulier_binary());
        let output = command.args(arguments).env("HAULIER_ADDRESS", server.address()).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout) + &text(output.stderr))
    };
    let (code, told) = haulier(&["enqueue-api", "billing", "POST /v1/x", "1", "--watch"]).await;
    assert_eq!(code, 0, "{told}");
    let (code, told) =
        haulier(&["call", "shop", "shop.v1.OrderService/Send", r#"{"failWith": 3}"#, "--watch"]).await;
    assert!(code == 1 && told.contains("the shop is closed"), "{told}");
    let (code, told) = haulier(&["call", "nobody", "/v1/x"]).await;
    assert!(code == 2 && told.contains("it has billing, shop"), "{told}");
    let dead = crate::outgoing::wait_for_delivery(&server, by_http.id(), pb::DeliveryState::GivenUp).await;
    let (code, told) = haulier(&["deliveries", "list", "--state", "given-up"]).await;
    assert!(code == 0 && told.contains(&dead.id.to_string()) && told.contains("gone for good"), "{told}");
    let (code, told) = haulier(&["deliveries", "replay", &dead.id.to_string()]).await;
    assert!(code == 0 && told.contains("once more"), "{told}");
    receiver.wait_for(4).await;
}

async fn a_recurring_task_calls_an_api(database: Database) {
    let receiver = Receiver::start(|_, _| Response::json("7")).await;
    let server = configured(database, &http(&receiver, "")).await;
    let mut tasks = RecurringTaskServiceClient::new(server.channel());
    let put = |path: &str| {
        let work = call("billing", path, "").api.map(pb::recurring_task::Work::Api);
        let timing = Some(pb::schedule::Timing::Cron("@yearly".into()));
        let schedule = Some(pb::Schedule { timing, ..Default::default() });
        let task = pb::RecurringTask { work, schedule, request: json("1"), ..Default::default() };
        pb::PutRecurringTaskRequest { task: Some(task) }
    };
    let task = tasks.put_recurring_task(put("POST /v1/nightly")).await.unwrap().into_inner().task.unwrap();
    assert_eq!(task.name, "billing POST /v1/nightly");
    let trigger = pb::TriggerRecurringTaskRequest { name: task.name, ..Default::default() };
    let job = tasks.trigger_recurring_task(trigger).await.unwrap().into_inner().job_id;
    server.wait_for_state(job, JobState::Completed).await;
    assert_eq!(receiver.received()[0].path, "/api/v1/nightly");
    refusal(tasks.put_recurring_task(put("POST /admin")).await).must_name("task.api.http");
}
