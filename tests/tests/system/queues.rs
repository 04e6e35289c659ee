//! Queues: paused, resumed, looked at.

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
);

on_two_servers!(a_pause_at_one_server_holds_the_jobs_of_the_other);

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
