//! Queues: paused, resumed, limited, looked at.

use std::process::Command;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command_with, completed, failed, fixed_retry};
use haulier_tests::{
    HandWorker, Pause, Registration, Server, haulier_binary, on_both, on_two_servers, refusal, until,
};
use pb::queue_service_client::QueueServiceClient;
use pb::{JobOptions, JobState};
use tonic::Code;
use tonic::transport::Channel;

on_both!(
    a_paused_queue_gives_out_nothing_until_it_is_resumed,
    a_job_that_runs_goes_on_and_its_retry_waits,
    a_waiting_worker_is_handed_nothing_of_a_paused_queue,
    a_pause_outlives_the_server,
    a_pause_again_keeps_its_time_and_takes_the_new_reason,
    a_queue_shows_its_jobs_and_workers,
    queues_are_listed_by_name_and_by_page,
    a_queue_that_nothing_names_is_not_found,
    a_call_that_breaks_a_rule_is_refused_by_its_field,
    the_command_line_pauses_shows_and_resumes,
    a_queue_runs_no_more_at_once_than_its_limit,
    a_job_that_ends_lets_a_waiting_claim_have_the_next_one_at_once,
    the_jobs_of_a_worker_process_that_died_count_no_more,
    a_new_limit_leaves_what_runs_and_holds_what_waits,
    a_queue_starts_no_more_in_a_time_than_its_rate,
    limits_are_set_one_by_one_shown_and_lifted,
    limits_outlive_the_server,
    limits_that_break_a_rule_are_refused_by_their_field,
    a_job_that_a_limit_holds_back_says_so,
    a_full_queue_holds_up_no_other,
    a_claim_of_a_full_queue_ends_when_its_wait_does,
    the_command_line_limits_a_queue,
);

on_two_servers!(
    a_pause_at_one_server_holds_the_jobs_of_the_other,
    a_limit_holds_over_both_servers_from_the_answer_on,
);

fn service(server: &Server) -> QueueServiceClient<Channel> {
    QueueServiceClient::new(server.channel())
}

async fn pause(server: &Server, name: &str, reason: &str) -> pb::Queue {
    let request = pb::PauseQueueRequest { name: name.into(), reason: reason.into() };
    service(server).pause_queue(request).await.unwrap().into_inner().queue.unwrap()
}

async fn resume(server: &Server, name: &str) -> pb::Queue {
    let request = pb::ResumeQueueRequest { name: name.into() };
    service(server).resume_queue(request).await.unwrap().into_inner().queue.unwrap()
}

async fn queue(server: &Server, name: &str) -> pb::Queue {
    let request = pb::GetQueueRequest { name: name.into() };
    service(server).get_queue(request).await.unwrap().into_inner().queue.unwrap()
}

fn into_queue(queue: &str) -> pb::EnqueueCommandRequest {
    let options = JobOptions { queue: queue.into(), retry_policy: fixed_retry(5, 0.1), ..Default::default() };
    command_with("work", options)
}

async fn worker_of(server: &Server, queues: &[&str]) -> HandWorker {
    let mut registration = Registration::of(&["work"]);
    registration.0.queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
    HandWorker::begin(server, registration).await
}

/// Long enough for a worker process to be given what it should not be.
const A_WHILE: Duration = Duration::from_millis(1_500);

async fn a_paused_queue_gives_out_nothing_until_it_is_resumed(server: &Server) {
    let first = server.enqueue(into_queue("mail")).await;
    let paused = pause(server, "mail", "the relay is down").await;
    assert!(paused.paused && paused.pause_time.is_some());
    assert_eq!(paused.pause_reason, "the relay is down");
    let second = server.enqueue(into_queue("mail")).await;
    let other = server.enqueue(into_queue("reports")).await;
    let mut worker = worker_of(server, &["mail", "reports"]).await;
    let jobs = worker.claim_within(10, A_WHILE).await;
    assert_eq!(jobs.iter().map(|job| job.job_id).collect::<Vec<_>>(), [other.job_id]);
    assert!(worker.claim_within(10, A_WHILE).await.is_empty());
    assert_eq!(server.summary(first.job_id).await.state(), JobState::Queued);
    let resumed = resume(server, "mail").await;
    assert!(!resumed.paused && resumed.pause_time.is_none() && resumed.pause_reason.is_empty());
    let jobs = worker.claim_within(10, Duration::from_secs(10)).await;
    assert_eq!(jobs.iter().map(|job| job.job_id).collect::<Vec<_>>(), [first.job_id, second.job_id]);
    // Again: it changes nothing.
    assert!(!resume(server, "mail").await.paused);
}

async fn a_job_that_runs_goes_on_and_its_retry_waits(server: &Server) {
    let mut worker = worker_of(server, &["mail"]).await;
    let jobs = [server.enqueue(into_queue("mail")).await, server.enqueue(into_queue("mail")).await];
    let (one, two) = (worker.claim_one().await, worker.claim_one().await);
    pause(server, "mail", "").await;
    assert_eq!(worker.end_well(&one.lease, completed("1")).await, JobState::Completed);
    worker.end_well(&two.lease, failed("again")).await;
    assert!(worker.claim_within(10, A_WHILE).await.is_empty());
    resume(server, "mail").await;
    let again = worker.claim_within(10, Duration::from_secs(10)).await;
    assert_eq!(again.iter().map(|job| (job.job_id, job.attempt)).collect::<Vec<_>>(), [(jobs[1].job_id, 2)]);
}

async fn a_waiting_worker_is_handed_nothing_of_a_paused_queue(server: &Server) {
    let mut worker = worker_of(server, &["mail"]).await;
    let mut other = worker_of(server, &["reports"]).await;
    pause(server, "mail", "").await;
    let (none, handed, ()) = tokio::join!(
        worker.claim_within(1, 2 * A_WHILE),
        other.claim_within(1, Duration::from_secs(20)),
        async {
            Pause::brief().await;
            let stored = server.enqueue(into_queue("mail")).await;
            assert_eq!(stored.state(), JobState::Queued);
            server.enqueue(into_queue("reports")).await;
        },
    );
    assert!(none.is_empty());
    assert_eq!(handed.len(), 1);
}

async fn a_pause_outlives_the_server(server: &Server) {
    server.enqueue(into_queue("mail")).await;
    let paused = pause(server, "mail", "for a while").await;
    server.kill9();
    server.restart().await;
    let mut worker = worker_of(server, &["mail"]).await;
    assert!(worker.claim_within(1, A_WHILE).await.is_empty());
    let found = queue(server, "mail").await;
    assert_eq!(
        (found.paused, found.pause_time, found.pause_reason),
        (true, paused.pause_time, paused.pause_reason)
    );
}

async fn a_pause_again_keeps_its_time_and_takes_the_new_reason(server: &Server) {
    let first = pause(server, "mail", "one").await;
    let second = pause(server, "mail", "two").await;
    assert_eq!((second.pause_time, second.pause_reason.as_str()), (first.pause_time, "two"));
}

async fn a_queue_shows_its_jobs_and_workers(server: &Server) {
    let mut worker = worker_of(server, &["mail"]).await;
    server.enqueue(into_queue("mail")).await;
    let running = worker.claim_one().await;
    let waiting = server.enqueue(into_queue("mail")).await;
    let later =
        JobOptions { queue: "mail".into(), delay: haulier_tests::seconds(3_600.0), ..Default::default() };
    server.enqueue(command_with("other", later)).await;
    let shown = until("the counts are fresh", || async {
        let shown = queue(server, "mail").await;
        (shown.counts.unwrap().total == 3).then_some(shown)
    })
    .await;
    let counts = shown.counts.unwrap();
    assert_eq!((counts.scheduled, counts.queued, counts.running, counts.blocked), (1, 1, 1, 0));
    assert_eq!(shown.oldest_ready_time, server.summary(waiting.job_id).await.ready_time);
    assert_eq!((shown.worker_count, shown.paused), (1, false));
    worker.end_well(&running.lease, completed("1")).await;
    worker.unregister().await;
    until("it has ended", || async {
        let shown = queue(server, "mail").await;
        (shown.counts.unwrap().running == 0 && shown.worker_count == 0).then_some(())
    })
    .await;
}

async fn queues_are_listed_by_name_and_by_page(server: &Server) {
    server.enqueue(into_queue("b")).await;
    pause(server, "c", "not used yet").await;
    let _worker = worker_of(server, &["a"]).await;
    let list = |size: i32, token: String| async move {
        let request = pb::ListQueuesRequest { page_size: size, page_token: token };
        service(server).list_queues(request).await.unwrap().into_inner()
    };
    let names =
        |page: &pb::ListQueuesResponse| page.queues.iter().map(|q| q.name.clone()).collect::<Vec<_>>();
    let all = list(0, String::new()).await;
    assert_eq!((names(&all), all.next_page_token.as_str()), (vec!["a".into(), "b".into(), "c".into()], ""));
    let first = list(2, String::new()).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(names(&list(2, first.next_page_token).await), ["c"]);
    let request = pb::ListQueuesRequest { page_size: 2, page_token: "nonsense".into() };
    refusal(service(server).list_queues(request).await).must_be(Code::InvalidArgument, "BAD_TOKEN");
}

async fn a_queue_that_nothing_names_is_not_found(server: &Server) {
    let name = || "nobody".to_owned();
    let get = service(server).get_queue(pb::GetQueueRequest { name: name() }).await;
    let resume = service(server).resume_queue(pb::ResumeQueueRequest { name: name() }).await;
    for refused in [refusal(get), refusal(resume)] {
        refused.must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
        assert_eq!(
            (refused.metadata["kind"].as_str(), refused.metadata["name"].as_str()),
            ("queue", "nobody")
        );
    }
}

async fn a_call_that_breaks_a_rule_is_refused_by_its_field(server: &Server) {
    for name in ["", "a b", &"x".repeat(129)] {
        let request = pb::PauseQueueRequest { name: name.into(), ..Default::default() };
        let refused = refusal(service(server).pause_queue(request).await);
        refused.must_be(Code::InvalidArgument, "INVALID_FIELD");
        assert!(refused.field("name").is_some(), "{refused:?}");
        let refused = refusal(service(server).get_queue(pb::GetQueueRequest { name: name.into() }).await);
        assert!(refused.field("name").is_some(), "{refused:?}");
        let refused =
            refusal(service(server).resume_queue(pb::ResumeQueueRequest { name: name.into() }).await);
        assert!(refused.field("name").is_some(), "{refused:?}");
    }
    let request = pb::PauseQueueRequest { name: "mail".into(), reason: "x".repeat(4_097) };
    assert!(refusal(service(server).pause_queue(request).await).field("reason").unwrap().contains("4096"));
    let request = pb::ListQueuesRequest { page_size: 501, ..Default::default() };
    assert!(refusal(service(server).list_queues(request).await).field("page_size").is_some());
}

async fn the_command_line_pauses_shows_and_resumes(server: &Server) {
    let run = |arguments: &[&str]| {
        let output = Command::new(haulier_binary())
            .arg("queue")
            .args(arguments)
            .args(["--address", &server.address()])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    server.enqueue(into_queue("mail")).await;
    let (code, told) = run(&["pause", "mail", "--reason", "relay down"]);
    assert!(code == Some(0) && told.contains("relay down"), "{told}");
    let (code, told) = run(&["list"]);
    assert!(code == Some(0) && told.contains("mail") && told.contains("since"), "{told}");
    let (code, told) = run(&["resume", "mail"]);
    assert!(code == Some(0) && !told.contains("since"), "{told}");
    assert_eq!(run(&["show", "nobody"]).0, Some(1));
    assert_eq!(run(&["show", "a b"]).0, Some(2));
}

async fn a_pause_at_one_server_holds_the_jobs_of_the_other(server: &Server, replica: &Server) {
    let mut worker = worker_of(replica, &["mail"]).await;
    pause(server, "mail", "").await;
    // A moment: every server reads twice a second which queues are paused.
    assert!(worker.claim_within(1, A_WHILE).await.is_empty());
    let stored = replica.enqueue(into_queue("mail")).await;
    assert!(worker.claim_within(1, A_WHILE).await.is_empty());
    assert!(queue(replica, "mail").await.paused);
    resume(server, "mail").await;
    let jobs = worker.claim_within(1, Duration::from_secs(10)).await;
    assert_eq!(jobs.iter().map(|job| job.job_id).collect::<Vec<_>>(), [stored.job_id]);
}

fn limit(name: &str, concurrency: Option<i32>, rate: Option<(i32, f64)>) -> pb::UpdateQueueRequest {
    let rate = rate.map(|(count, seconds)| pb::RateLimit { count, period: haulier_tests::seconds(seconds) });
    let queue = pb::Queue {
        name: name.into(),
        concurrency_limit: concurrency,
        rate_limit: rate,
        ..Default::default()
    };
    pb::UpdateQueueRequest { queue: Some(queue), update_mask: None }
}

async fn update(server: &Server, request: pb::UpdateQueueRequest) -> pb::Queue {
    service(server).update_queue(request).await.unwrap().into_inner().queue.unwrap()
}

fn masked(name: &str, paths: &[&str]) -> pb::UpdateQueueRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    pb::UpdateQueueRequest { update_mask: Some(prost_types::FieldMask { paths }), ..limit(name, None, None) }
}

async fn fill(server: &Server, queue: &str, jobs: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    for _ in 0..jobs {
        ids.push(server.enqueue(into_queue(queue)).await.job_id);
    }
    ids
}

async fn a_queue_runs_no_more_at_once_than_its_limit(server: &Server) {
    let limited = update(server, limit("mail", Some(2), None)).await;
    assert_eq!((limited.concurrency_limit, limited.rate_limit), (Some(2), None));
    let mut worker = worker_of(server, &["mail"]).await;
    let mut other = worker_of(server, &["mail"]).await;
    // Waiting claims are handed nothing past the limit either.
    let (one, two, ids) =
        tokio::join!(worker.claim_within(10, 2 * A_WHILE), other.claim_within(10, 2 * A_WHILE), async {
            Pause::brief().await;
            fill(server, "mail", 7).await
        },);
    let mut running = [one, two].concat();
    while running.len() < 2 {
        running.extend(worker.claim_within(10, Duration::from_secs(10)).await);
    }
    assert_eq!(running.len(), 2, "{running:?}");
    let mut started = running.len();
    while started < ids.len() {
        assert!(worker.claim_within(10, Duration::from_millis(700)).await.is_empty(), "two run");
        worker.end_well(&running.remove(0).lease, completed("1")).await;
        let next = other.claim_within(10, Duration::from_secs(10)).await;
        assert_eq!(next.len(), 1);
        started += 1;
        running.extend(next);
    }
}

async fn a_job_that_ends_lets_a_waiting_claim_have_the_next_one_at_once(server: &Server) {
    update(server, limit("mail", Some(1), None)).await;
    let mut worker = worker_of(server, &["mail"]).await;
    fill(server, "mail", 20).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..20 {
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, completed("1")).await;
    }
    // A look at the table comes every 250 ms: 20 of them alone would take 5 s.
    haulier_tests::figure(&format!("20 jobs of a queue that runs one at a time: {:?}", begun.elapsed()));
    let mut next = worker_of(server, &["mail"]).await;
    let last = fill(server, "mail", 2).await;
    let running = worker.claim_one().await;
    let (waited, ()) = tokio::join!(next.claim_within(1, Duration::from_secs(10)), async {
        Pause::brief().await;
        worker.end_well(&running.lease, completed("1")).await;
    });
    assert_eq!(waited.iter().map(|job| job.job_id).collect::<Vec<_>>(), [last[1]]);
}

async fn the_jobs_of_a_worker_process_that_died_count_no_more(server: &Server) {
    update(server, limit("mail", Some(1), None)).await;
    let ids = fill(server, "mail", 2).await;
    let mut registration = Registration::short_lived(&["work"]);
    registration.0.queues = vec!["mail".into()];
    let mut doomed = HandWorker::begin(server, registration).await;
    assert_eq!(doomed.claim_one().await.job_id, ids[0]);
    let mut worker = worker_of(server, &["mail"]).await;
    assert!(worker.claim_within(10, A_WHILE).await.is_empty());
    // Its lease time, and after an outage, as a machine that is too busy may seem to be, that once more.
    for _ in 0..4 {
        let next = worker.claim_within(10, Duration::from_secs(30)).await;
        if let [job] = &next[..] {
            assert!(ids.contains(&job.job_id));
            return;
        }
        assert!(next.is_empty(), "one at a time: {next:?}");
    }
    panic!("the slot of a worker process that died was never free again");
}

async fn a_new_limit_leaves_what_runs_and_holds_what_waits(server: &Server) {
    let mut worker = worker_of(server, &["mail"]).await;
    fill(server, "mail", 4).await;
    let mut running = worker.claim_within(3, Duration::from_secs(10)).await;
    while running.len() < 3 {
        running.extend(worker.claim_within(1, Duration::from_secs(10)).await);
    }
    update(server, limit("mail", Some(2), None)).await;
    for expected in [0, 0, 1] {
        let claimed = worker.claim_within(10, A_WHILE).await;
        assert_eq!(claimed.len(), expected, "{} run", running.len());
        let Some(job) = running.pop() else { break };
        worker.end_well(&job.lease, completed("1")).await;
    }
}

async fn a_queue_starts_no_more_in_a_time_than_its_rate(server: &Server) {
    let limited = update(server, limit("mail", None, Some((3, 4.0)))).await;
    assert_eq!(limited.rate_limit.map(|rate| rate.count), Some(3));
    fill(server, "mail", 8).await;
    let mut worker = worker_of(server, &["mail"]).await;
    let mut starts = Vec::new();
    while starts.len() < 8 {
        let claimed = worker.claim_within(10, Duration::from_secs(20)).await;
        for job in claimed {
            let attempts = server.attempts(job.job_id).await;
            let time = attempts[0].start_time.unwrap();
            starts.push(time.seconds as f64 + f64::from(time.nanos) / 1e9);
            worker.end_well(&job.lease, completed("1")).await;
        }
    }
    starts.sort_by(f64::total_cmp);
    for four in starts.windows(4) {
        assert!(four[3] - four[0] >= 4.0, "four starts within four seconds: {starts:?}");
    }
    assert!(starts[7] - starts[0] < 16.0, "held back for longer than the rate asks: {starts:?}");
}

async fn limits_are_set_one_by_one_shown_and_lifted(server: &Server) {
    let set = update(server, limit("mail", Some(5), Some((10, 60.0)))).await;
    assert_eq!((set.concurrency_limit, set.rate_limit.map(|rate| rate.count)), (Some(5), Some(10)));
    let one = update(server, limit("mail", Some(7), None)).await;
    assert_eq!((one.concurrency_limit, one.rate_limit), (Some(7), set.rate_limit), "what is unset stays");
    let lifted = update(server, masked("mail", &["rate_limit"])).await;
    assert_eq!((lifted.concurrency_limit, lifted.rate_limit), (Some(7), None));
    let shown = queue(server, "mail").await;
    assert_eq!((shown.concurrency_limit, shown.rate_limit, shown.paused), (Some(7), None, false));
    let default = pb::RateLimit { count: 4, period: None };
    let mut request = masked("mail", &["rate_limit"]);
    request.queue.as_mut().unwrap().rate_limit = Some(default);
    let rate = update(server, request).await.rate_limit.unwrap();
    assert_eq!((rate.count, rate.period), (4, haulier_tests::seconds(1.0)));
    // Nothing names it once its limits are lifted.
    let nothing = update(server, masked("mail", &["rate_limit", "concurrency_limit"])).await;
    assert_eq!((nothing.name.as_str(), nothing.concurrency_limit, nothing.rate_limit), ("mail", None, None));
    let gone = service(server).get_queue(pb::GetQueueRequest { name: "mail".into() }).await;
    refusal(gone).must_be(Code::NotFound, "RESOURCE_NOT_FOUND");
}

async fn limits_outlive_the_server(server: &Server) {
    update(server, limit("mail", Some(1), Some((5, 3_600.0)))).await;
    fill(server, "mail", 3).await;
    server.kill9();
    server.restart().await;
    let mut worker = worker_of(server, &["mail"]).await;
    let first = worker.claim_within(10, Duration::from_secs(10)).await;
    assert_eq!(first.len(), 1);
    assert!(worker.claim_within(10, A_WHILE).await.is_empty());
    let shown = queue(server, "mail").await;
    assert_eq!((shown.concurrency_limit, shown.rate_limit.map(|rate| rate.count)), (Some(1), Some(5)));
}

async fn limits_that_break_a_rule_are_refused_by_their_field(server: &Server) {
    for (request, field) in [
        (pb::UpdateQueueRequest::default(), "queue.name"),
        (pb::UpdateQueueRequest::default(), "queue"),
        (limit("mail", None, None), "queue"),
        (limit("a b", Some(1), None), "queue.name"),
        (limit("mail", Some(0), None), "queue.concurrency_limit"),
        (limit("mail", Some(-1), None), "queue.concurrency_limit"),
        (limit("mail", Some(1_000_001), None), "queue.concurrency_limit"),
        (limit("mail", None, Some((0, 1.0))), "queue.rate_limit.count"),
        (limit("mail", None, Some((1, 0.5))), "queue.rate_limit.period"),
        (limit("mail", None, Some((1, 86_401.0))), "queue.rate_limit.period"),
        (masked("mail", &["paused"]), "update_mask"),
        (masked("mail", &[]), "queue"),
    ] {
        let refused = refusal(service(server).update_queue(request).await);
        refused.must_be(Code::InvalidArgument, "INVALID_FIELD");
        assert!(refused.field(field).is_some(), "{field}: {refused:?}");
    }
}

async fn explained(server: &Server, job_id: i64) -> pb::ExplainJobResponse {
    let target = Some(pb::explain_job_request::Target::JobId(job_id));
    server.jobs().explain_job(pb::ExplainJobRequest { target }).await.unwrap().into_inner()
}

async fn a_job_that_a_limit_holds_back_says_so(server: &Server) {
    update(server, limit("mail", Some(1), None)).await;
    update(server, limit("calls", None, Some((1, 3_600.0)))).await;
    let mut worker = worker_of(server, &["mail", "calls"]).await;
    let mail = fill(server, "mail", 2).await;
    let calls = fill(server, "calls", 2).await;
    let mut running = Vec::new();
    while running.len() < 2 {
        running.extend(worker.claim_within(10, Duration::from_secs(10)).await);
    }
    let held = explained(server, mail[1]).await;
    assert_eq!(held.code(), pb::ExplainCode::ConcurrencyLimit, "{held:?}");
    let held = explained(server, calls[1]).await;
    assert_eq!(held.code(), pb::ExplainCode::RateLimit, "{held:?}");
}

async fn a_full_queue_holds_up_no_other(server: &Server) {
    update(server, limit("mail", Some(1), None)).await;
    fill(server, "mail", 50).await;
    let mut worker = worker_of(server, &["mail", "reports"]).await;
    assert_eq!(worker.claim_within(10, Duration::from_secs(10)).await.len(), 1);
    for _ in 0..5 {
        let (claimed, other) = tokio::join!(worker.claim_within(10, Duration::from_secs(10)), async {
            Pause::brief().await;
            server.enqueue(into_queue("reports")).await.job_id
        });
        assert_eq!(claimed.iter().map(|job| job.job_id).collect::<Vec<_>>(), [other]);
    }
}

async fn a_claim_of_a_full_queue_ends_when_its_wait_does(server: &Server) {
    update(server, limit("mail", Some(1), None)).await;
    fill(server, "mail", 3).await;
    let mut worker = worker_of(server, &["mail"]).await;
    let running = worker.claim_one().await;
    // The queue is tried again every 250 ms: some of these waits end while it is.
    for wait in (0..40).map(|number| Duration::from_millis(240 + number)) {
        let claimed = tokio::time::timeout(Duration::from_secs(20), worker.claim_within(1, wait)).await;
        assert!(claimed.expect("a claim ends when its wait does").is_empty());
    }
    worker.end_well(&running.lease, completed("1")).await;
    assert_eq!(worker.claim_within(1, Duration::from_secs(10)).await.len(), 1);
}

async fn the_command_line_limits_a_queue(server: &Server) {
    let run = |arguments: &[&str]| {
        let output = Command::new(haulier_binary())
            .args(["queue", "limit", "mail", "--address", &server.address()])
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = run(&["--concurrency", "5", "--rate", "10/1s"]);
    assert!(code == Some(0) && told.contains("10/1"), "{told}");
    let shown = queue(server, "mail").await;
    assert_eq!((shown.concurrency_limit, shown.rate_limit.unwrap().count), (Some(5), 10));
    assert_eq!(run(&["--rate", "none"]).0, Some(0));
    let shown = queue(server, "mail").await;
    assert_eq!((shown.concurrency_limit, shown.rate_limit), (Some(5), None));
    assert_eq!(run(&["--rate", "ten"]).0, Some(2));
    assert_eq!(run(&[]).0, Some(2), "nothing to set");
}

async fn a_limit_holds_over_both_servers_from_the_answer_on(server: &Server, replica: &Server) {
    let mut here = worker_of(server, &["mail"]).await;
    let mut there = worker_of(replica, &["mail"]).await;
    update(server, limit("mail", Some(3), None)).await;
    for server in [server, replica] {
        fill(server, "mail", 6).await;
    }
    let mut running = 0;
    for _ in 0..3 {
        let (one, two) = tokio::join!(
            here.claim_within(10, Duration::from_secs(1)),
            there.claim_within(10, Duration::from_secs(1))
        );
        running += one.len() + two.len();
    }
    assert_eq!(running, 3);
}
