//! Notifications of outcomes: signed, stored, retried, visible, replayable, and kept away from where they must not go.

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command_with, completed, failed, fixed_retry, text_of};
use haulier_tests::{
    Database, HandWorker, Launch, Pause, Receiver, Response, Server, monotonic, refusal, signature, until,
};
use pb::{DeliveryState, JobOptions, JobState, ReplyBody, ReplyMode};
use tonic::Code;

use crate::outgoing::{configured, configured_with, deliveries, on_both_databases, wait_for_delivery};

on_both_databases!(
    a_success_is_told_signed_and_the_job_waits_for_it,
    a_failure_and_a_cancellation_are_told_unless_only_success_is_asked_for,
    an_envelope_holds_result_and_error,
    a_reply_is_tried_again_until_it_is_taken,
    a_dead_reply_is_visible_and_replayed,
    a_redirect_is_not_followed_and_a_private_address_is_refused,
    what_cannot_be_told_is_refused_at_enqueue_and_nothing_is_stored,
    credentials_are_sent_and_never_shown,
    a_crash_between_outcome_and_delivery_loses_nothing,
    each_run_is_told_by_a_delivery_of_its_own,
    what_is_carried_is_given_to_the_handler_and_told_by_nobody,
);

const NEW_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// This machine may be called, and tries follow each other fast.
const OPEN: &str = r#"
[outbound]
allow = ["127.0.0.0/8"]
allow_http = true
deadline = "2s"
delivery_retries = ["100ms", "100ms", "100ms"]
"#;

fn told(to: &str) -> JobOptions {
    JobOptions { reply_to: to.into(), retry_policy: fixed_retry(0, 1.0), ..Default::default() }
}

/// A job that a worker ended so.
async fn ended(server: &Server, options: JobOptions, outcome: pb::outcome_report::Outcome) -> i64 {
    let stored = server.enqueue(command_with("work", options)).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let leased = worker.claim_one().await;
    worker.end_well(&leased.lease, outcome).await;
    stored.job_id
}

async fn a_success_is_told_signed_and_the_job_waits_for_it(database: Database) {
    let receiver =
        Receiver::start(|_, _| Response { delay: Duration::from_millis(300), ..Response::status(204) }).await;
    let keys = format!("signing_keys = [{{ value = \"{NEW_KEY}\" }}, {{ value = \"{OLD_KEY}\" }}]");
    let server = configured(database, &format!("{OPEN}{keys}")).await;
    let options = JobOptions { ref_id: "order 7".into(), ..told(&receiver.url("/hook?x=1")) };
    let job = ended(&server, options, completed(r#"{"n":  1}"#)).await;
    assert_eq!(server.summary(job).await.state(), JobState::Executed, "its notification is on its way");
    let done = server.wait_for_state(job, JobState::Completed).await;
    assert!(done.notify_time.is_some() && done.notify_error.is_empty());
    let request = receiver.received().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?x=1"));
    assert_eq!(
        (request.text().as_str(), request.header("content-type")),
        (r#"{"n":  1}"#, "application/json")
    );
    assert_eq!(request.header("haulier-job-id"), job.to_string());
    assert_eq!(
        (request.header("haulier-state"), request.header("haulier-ref-id")),
        ("COMPLETED", "order%207")
    );
    let delivery = wait_for_delivery(&server, job, DeliveryState::Delivered).await;
    assert_eq!(request.header("webhook-id"), delivery.id.to_string());
    let expected = format!("{} {}", signature(NEW_KEY, &request), signature(OLD_KEY, &request));
    assert_eq!(request.header("webhook-signature"), expected, "one for each key, so that keys can change");
    assert_eq!((delivery.method.as_str(), delivery.url), ("POST", receiver.url("/hook?x=1")));
    assert_eq!((delivery.attempt_count, delivery.attempts[0].http_status), (1, 204));
}

async fn a_failure_and_a_cancellation_are_told_unless_only_success_is_asked_for(database: Database) {
    let receiver = Receiver::willing().await;
    let server = configured(database, OPEN).await;
    let job = ended(&server, told(&receiver.url("/a")), failed("broken")).await;
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!(request.header("haulier-state"), "FAILED");
    let error: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(error, serde_json::json!({ "code": "test", "message": "broken", "reason": "HANDLER" }));
    wait_for_delivery(&server, job, DeliveryState::Delivered).await;
    assert_eq!(server.summary(job).await.state(), JobState::Failed);
    let waiting = server.enqueue(command_with("work", told(&receiver.url("/b")))).await;
    server.cancel(waiting.job_id, "enough", None).await;
    let request = receiver.wait_for(2).await.remove(1);
    assert_eq!(request.header("haulier-state"), "CANCELLED");
    let error: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(error, serde_json::json!({ "code": "CANCELLED", "message": "enough", "reason": "CLIENT" }));
    let only = JobOptions { reply_on_success_only: true, ..told(&receiver.url("/c")) };
    let quiet = ended(&server, only, failed("broken")).await;
    assert!(deliveries(&server, quiet).await.is_empty());
    assert_eq!(receiver.received().len(), 2);
}

async fn an_envelope_holds_result_and_error(database: Database) {
    let receiver = Receiver::willing().await;
    let server = configured(database, OPEN).await;
    let envelope = |to: &str| JobOptions {
        reply_body: ReplyBody::Envelope.into(),
        tag: "t".into(),
        ..told(&format!("PUT {to}"))
    };
    let job = ended(&server, envelope(&receiver.url("/")), completed("[1, 2]")).await;
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!(request.method, "PUT");
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let ref_id = server.summary(job).await.ref_id;
    let expected = serde_json::json!({
        "id": job.to_string(), "ref_id": ref_id, "run": 1, "state": "COMPLETED", "tag": "t", "result": [1, 2]
    });
    assert_eq!(body, expected);
    ended(&server, envelope(&receiver.url("/")), failed("broken")).await;
    let body: serde_json::Value = serde_json::from_slice(&receiver.wait_for(2).await[1].body).unwrap();
    assert_eq!((&body["state"], &body["error"]["message"]), (&"FAILED".into(), &"broken".into()));
    assert!(body.get("result").is_none());
}

async fn a_reply_is_tried_again_until_it_is_taken(database: Database) {
    let receiver = Receiver::start(|count, _| Response::status(if count < 2 { 500 } else { 200 })).await;
    let server = configured(database, &format!("{OPEN}signing_keys = [{{ value = \"{NEW_KEY}\" }}]")).await;
    let job = ended(&server, told(&receiver.url("/")), completed("1")).await;
    server.wait_for_state(job, JobState::Completed).await;
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    let ids: Vec<_> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert!(
        ids.iter().all(|id| *id == ids[0] && !id.is_empty()),
        "a receiver tells repeats by the id: {ids:?}"
    );
    for one in &received {
        assert_eq!(one.header("webhook-signature"), signature(NEW_KEY, one));
    }
    let delivery = deliveries(&server, job).await.remove(0);
    let tries: Vec<_> = delivery.attempts.iter().map(|one| (one.http_status, one.error.is_empty())).collect();
    assert_eq!(tries, [(500, false), (500, false), (200, true)]);
}

async fn a_dead_reply_is_visible_and_replayed(database: Database) {
    let receiver = Receiver::start(|count, _| Response::status(if count < 4 { 503 } else { 200 })).await;
    let server = configured(database, OPEN).await;
    let job = ended(&server, told(&receiver.url("/")), completed("1")).await;
    let dead = wait_for_delivery(&server, job, DeliveryState::GivenUp).await;
    assert_eq!((dead.attempt_count, receiver.received().len()), (4, 4));
    assert!(dead.finish_time.is_some() && dead.next_time.is_none());
    let summary = server.summary(job).await;
    assert_eq!(summary.state(), JobState::Completed, "the outcome is what it was");
    assert!(summary.notify_error.contains("503"), "{}", summary.notify_error);
    let given_up =
        pb::ListDeliveriesRequest { states: vec![DeliveryState::GivenUp.into()], ..Default::default() };
    let listed = server.jobs().list_deliveries(given_up).await.unwrap().into_inner().deliveries;
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [dead.id]);
    let replay = |delivery_id| pb::ReplayDeliveryRequest { delivery_id };
    let replayed =
        server.jobs().replay_delivery(replay(dead.id)).await.unwrap().into_inner().delivery.unwrap();
    assert_eq!((replayed.id, replayed.state()), (dead.id, DeliveryState::Pending));
    let delivered = wait_for_delivery(&server, job, DeliveryState::Delivered).await;
    assert_eq!((delivered.attempt_count, receiver.received().len()), (5, 5));
    assert!(server.summary(job).await.notify_error.is_empty());
    refusal(server.jobs().replay_delivery(replay(7)).await).must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
    refusal(server.jobs().replay_delivery(replay(0)).await).must_name("delivery_id");
    // Pages follow each other and are bound to their query.
    let second = ended(&server, told(&receiver.url("/")), completed("1")).await;
    wait_for_delivery(&server, second, DeliveryState::Delivered).await;
    let page = |page_token| pb::ListDeliveriesRequest { page_size: 1, page_token, ..Default::default() };
    let first = server.jobs().list_deliveries(page(String::new())).await.unwrap().into_inner();
    assert_eq!(first.deliveries[0].job_id, second, "newest first");
    let next = server.jobs().list_deliveries(page(first.next_page_token.clone())).await.unwrap().into_inner();
    assert_eq!((next.deliveries[0].job_id, next.next_page_token.as_str()), (job, ""));
    let other = pb::ListDeliveriesRequest { job_id: job, ..page(first.next_page_token) };
    refusal(server.jobs().list_deliveries(other).await).must_be(Code::InvalidArgument, "BAD_TOKEN");
}

async fn a_redirect_is_not_followed_and_a_private_address_is_refused(database: Database) {
    let last = Receiver::willing().await;
    let location = last.url("/");
    let first = Receiver::start(move |_, _| Response {
        headers: vec![("location".into(), location.clone())],
        ..Response::status(307)
    })
    .await;
    // Only 127.0.0.1 is allowed; `localhost` means it too, but 127.0.0.2 does not.
    let open = OPEN.replace("127.0.0.0/8", "127.0.0.1");
    let server = configured(database, &open).await;
    let job = ended(&server, told(&first.url("/")), completed("1")).await;
    let dead = wait_for_delivery(&server, job, DeliveryState::GivenUp).await;
    assert!(dead.attempts[0].http_status == 307 && dead.attempts[0].error.contains("redirect"), "{dead:?}");
    assert!(last.received().is_empty());
    for to in
        ["http://127.0.0.2:1/", "http://[::1]:1/", "http://169.254.169.254/", "http://[::ffff:10.0.0.1]/"]
    {
        let refused = server.enqueue_refused(command_with("work", told(to))).await;
        refused.must_name("options.reply_to");
        assert!(refused.field("options.reply_to").unwrap().contains("[outbound] allow"), "{refused:?}");
    }
    drop(server);
    // A name passes at enqueue, and is judged by its address when it is sent.
    let shut = configured_with(Database::Sqlite, "[outbound]\nallow_http = true", &[]).await;
    let to = format!("http://localhost:{}/", last.port());
    let job = ended(&shut, told(&to), completed("1")).await;
    let dead = wait_for_delivery(&shut, job, DeliveryState::GivenUp).await;
    assert!(dead.attempts.len() == 1 && dead.attempts[0].error.contains("loopback"), "{dead:?}");
    assert!(last.received().is_empty());
    assert_eq!(shut.summary(job).await.state(), JobState::Completed);
}

async fn what_cannot_be_told_is_refused_at_enqueue_and_nothing_is_stored(database: Database) {
    let secret = "[secrets.HOOK]\nvalue = \"t0ken\"\nhosts = [\"a.example\"]";
    let server = configured(database, secret).await;
    let long = format!("https://a.example/{}", "x".repeat(2_048));
    for (to, mend) in [
        ("ftp://a.example/", "https://"),
        ("http://a.example/", "allow_http"),
        ("https://u:p@a.example/", "before the address"),
        ("https://127.0.0.1/", "[outbound] allow"),
        ("$NOBODY@https://a.example/", "$NOBODY"),
        ("$HOOK@https://b.example/", "bound to"),
        ("http.Host:x@https://a.example/", "host"),
        ("FETCH https://a.example/", "GET, POST"),
        (&long, "2048"),
    ] {
        let refused = server.enqueue_refused(command_with("work", told(to))).await;
        refused.must_name("options.reply_to");
        assert!(refused.field("options.reply_to").unwrap().contains(mend), "{refused:?}");
        assert!(!format!("{refused:?}").contains("t0ken"));
    }
    let modeless = JobOptions { reply_mode: ReplyMode::Carry.into(), ..Default::default() };
    server.enqueue_refused(command_with("work", modeless)).await.must_name("options.reply_mode");
    assert!(
        server.jobs().list_jobs(pb::ListJobsRequest::default()).await.unwrap().into_inner().jobs.is_empty()
    );
    let fine = server.enqueue(command_with("work", told("$HOOK@https://a.example/"))).await;
    let Some(pb::job_result::Record::Queued(record)) = server.job(fine.job_id).await.record else { panic!() };
    assert_eq!(record.options.unwrap().reply_to, "https://a.example/");
    let by_address = pb::JobFilter { reply_to: "x:y@https://a.example/".into(), ..Default::default() };
    let request = pb::ListJobsRequest { filter: Some(by_address), ..Default::default() };
    assert_eq!(server.jobs().list_jobs(request).await.unwrap().into_inner().jobs.len(), 1);
}

async fn credentials_are_sent_and_never_shown(database: Database) {
    let receiver = Receiver::willing().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let secret = format!("[secrets.HOOK]\nfile = \"{}\"\nhosts = [\"127.0.0.1\"]", file.display());
    let server = configured(database, &format!("{OPEN}\n{secret}")).await;
    let url = receiver.url("/");
    let mut jobs = Vec::new();
    for (credentials, header, value) in [
        ("ann:s3cret%40", "authorization", "Basic YW5uOnMzY3JldEA="),
        ("s3cret", "authorization", "Bearer s3cret"),
        ("http.X-Key:s3cret", "x-key", "s3cret"),
        ("$HOOK", "authorization", "Bearer first"),
        ("http.X-Key:$HOOK", "x-key", "second"),
    ] {
        if value == "second" {
            std::fs::write(&file, "second\n").unwrap();
        }
        let job = ended(&server, told(&format!("{credentials}@{url}")), completed("1")).await;
        server.wait_for_state(job, JobState::Completed).await;
        assert_eq!(receiver.received().last().unwrap().header(header), value);
        jobs.push(job);
    }
    for job in jobs {
        let shown = format!("{:?} {:?}", server.job(job).await, deliveries(&server, job).await);
        assert!(!shown.contains("s3cret") && !shown.contains("HOOK"), "{shown}");
    }
    let log = server.log();
    for secret in ["s3cret", "first\"", "Bearer"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

async fn a_crash_between_outcome_and_delivery_loses_nothing(database: Database) {
    let receiver = Receiver::willing().await;
    // Nobody sends: the outcome is stored, and the server is killed right after.
    let server = configured_with(database, OPEN, &["--no-pool"]).await;
    let job = ended(&server, told(&receiver.url("/")), completed("1")).await;
    assert_eq!(server.summary(job).await.state(), JobState::Executed);
    server.kill9();
    assert!(receiver.received().is_empty());
    let url = server.database_url().to_owned();
    let again = configured(Database::Url(url), OPEN).await;
    again.wait_for_state(job, JobState::Completed).await;
    assert_eq!(receiver.received().len(), 1);
    // One that was killed while it sent is sent again, under the same id, when its time is over.
    let slow = Receiver::start(|count, _| Response {
        delay: if count == 0 { Duration::from_secs(60) } else { Duration::ZERO },
        ..Response::default()
    })
    .await;
    let job = ended(&again, told(&slow.url("/")), completed("2")).await;
    slow.wait_for(1).await;
    again.kill9();
    again.restart().await;
    let deadline = monotonic() + Duration::from_secs(60);
    while again.summary(job).await.state() != JobState::Completed {
        assert!(monotonic() < deadline, "{:?}", deliveries(&again, job).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let received = slow.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    let delivery = deliveries(&again, job).await.remove(0);
    assert!(delivery.attempts[0].error.contains("went away"), "{delivery:?}");
}

async fn each_run_is_told_by_a_delivery_of_its_own(database: Database) {
    let receiver = Receiver::willing().await;
    let server = configured(database, OPEN).await;
    let job = ended(&server, told(&receiver.url("/")), failed("broken")).await;
    wait_for_delivery(&server, job, DeliveryState::Delivered).await;
    server.requeue(job).await;
    let mut worker = HandWorker::register(&server, &["work"]).await;
    let leased = worker.claim_one().await;
    worker.end_well(&leased.lease, completed("2")).await;
    server.wait_for_state(job, JobState::Completed).await;
    let all = deliveries(&server, job).await;
    assert_eq!(all.iter().map(|one| one.run).collect::<Vec<_>>(), [2, 1]);
    let received = receiver.received();
    assert_ne!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    assert_eq!((received[0].header("haulier-run"), received[1].header("haulier-run")), ("1", "2"));
}

async fn what_is_carried_is_given_to_the_handler_and_told_by_nobody(database: Database) {
    let server = configured(database, "").await;
    // The handler may call whom this server may not.
    let to = "PUT ann:s3cret@http://10.0.0.1/hook";
    let options = JobOptions { reply_mode: ReplyMode::Carry.into(), ..told(to) };
    let stored = server.enqueue(command_with("work", options)).await;
    let mut worker = HandWorker::register(&server, &["work"]).await;
    let leased = worker.claim_one().await;
    let given = leased.options.clone().unwrap();
    assert_eq!((given.reply_to.as_str(), given.reply_mode()), (to, ReplyMode::Carry));
    worker.end_well(&leased.lease, completed("1")).await;
    server.wait_for_state(stored.job_id, JobState::Completed).await;
    assert!(deliveries(&server, stored.job_id).await.is_empty());
    let Some(pb::job_result::Record::Completed(record)) = server.job(stored.job_id).await.record else {
        panic!()
    };
    assert_eq!(text_of(&record.result), "1");
    assert_eq!(record.options.unwrap().reply_to, "PUT http://10.0.0.1/hook");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_settings_are_wrong_does_not_start_and_says_which() {
    for (settings, part) in [
        ("[outbound]\nallow = [\"10.0.0.0/99\"]", "outbound.allow: \"10.0.0.0/99\" is no network"),
        ("[outbound]\nsigning_keys = [{ value = \"s3cret\" }]", "outbound.signing_keys: is not a key"),
        ("[secrets.A]\nfile = \"/nowhere\"\nhosts = [\"a\"]", "secrets.A: its file /nowhere cannot be read"),
        (
            "[targets.a]\nurl = \"https://a\"\nprotocol = \"http\"\nallowed = [\"*\"]\nauth = \"$B\"",
            "targets.a.auth: names the secret $B",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haulier.toml");
        std::fs::write(&file, settings).unwrap();
        let mut launch = Launch::from(Database::Sqlite);
        launch.args = vec!["--config".into(), file.display().to_string()];
        let server = Server::launch(launch);
        let status = server.wait_for_end(Duration::from_secs(20)).await.expect("it does not start");
        assert_eq!(status.code(), Some(2));
        let log = until("the reason is told", || async {
            Pause::brief().await;
            Some(server.log()).filter(|log| !log.is_empty())
        })
        .await;
        assert!(log.contains(part) && !log.contains("s3cret"), "{log}");
    }
}
