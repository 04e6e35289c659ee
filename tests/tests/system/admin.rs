//! Figures for the dashboard, commands and servers.

use std::process::Command;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command_with, completed, failed, fixed_retry};
use haulier_tests::{
    HandWorker, Registration, Server, haulier_binary, on_both, on_two_servers, refusal, until,
};
use pb::admin_service_client::AdminServiceClient;
use pb::{JobOptions, JobState};
use tonic::Code;
use tonic::transport::Channel;

on_both!(
    an_overview_counts_what_waits_runs_and_happened,
    an_overview_shows_named_workers_and_worker_processes,
    an_overview_of_an_empty_service_is_empty,
    figures_outlive_the_server,
    an_overview_reaches_back_as_far_as_it_may,
    commands_are_listed_with_who_serves_them_and_how_they_fare,
    commands_are_listed_by_name_prefix_and_page,
    a_server_says_what_it_is,
    the_command_line_shows_figures_commands_workers_and_servers,
);

on_two_servers!(servers_are_listed_with_their_state_and_figures_are_those_of_both);

fn admin(server: &Server) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(server.channel())
}

async fn overview(server: &Server, hours: i32) -> pb::Overview {
    admin(server).get_overview(pb::GetOverviewRequest { hours }).await.unwrap().into_inner().overview.unwrap()
}

/// The first overview that is so; they are two seconds old at most.
async fn until_overview(server: &Server, is_so: impl Fn(&pb::Overview) -> bool) -> pb::Overview {
    until("the overview is so", || async {
        let shown = overview(server, 0).await;
        is_so(&shown).then_some(shown)
    })
    .await
}

async fn commands(server: &Server, prefix: &str) -> Vec<pb::Command> {
    let request = pb::ListCommandsRequest { name_prefix: prefix.into(), ..Default::default() };
    admin(server).list_commands(request).await.unwrap().into_inner().commands
}

async fn servers(server: &Server) -> Vec<pb::Server> {
    admin(server).list_servers(pb::ListServersRequest::default()).await.unwrap().into_inner().servers
}

fn work(command: &str, options: JobOptions) -> pb::EnqueueCommandRequest {
    command_with(command, JobOptions { retry_policy: fixed_retry(1, 0.1), ..options })
}

/// Three jobs of `send` end: one well, one at its second try, one not at all; one of `other` is cancelled while it waits.
async fn history(server: &Server, worker: &mut HandWorker) {
    for ends in [&["well"][..], &["badly", "well"], &["badly", "badly"]] {
        server.enqueue(work("send", JobOptions::default())).await;
        for end in ends {
            let job = worker.claim_one().await;
            let outcome = if *end == "well" { completed("1") } else { failed("no") };
            worker.end_well(&job.lease, outcome).await;
        }
    }
    let cancelled = server.enqueue(work("other", JobOptions::default())).await;
    server.cancel(cancelled.job_id, "not needed", None).await;
}

async fn an_overview_counts_what_waits_runs_and_happened(server: &Server) {
    let mut worker = HandWorker::register(server, &["send"]).await;
    history(server, &mut worker).await;
    server.enqueue(work("send", JobOptions::default())).await;
    let _running = worker.claim_one().await;
    server.enqueue(work("other", JobOptions::default())).await;
    let later = JobOptions { delay: haulier_tests::seconds(3_600.0), ..Default::default() };
    server.enqueue(work("other", later)).await;
    let shown = until_overview(server, |of| of.counts.unwrap().total == 7).await;
    let counts = shown.counts.unwrap();
    assert_eq!((counts.completed, counts.failed, counts.cancelled), (2, 1, 1));
    assert_eq!((counts.queued, counts.scheduled, counts.running, counts.blocked), (1, 1, 1, 0));
    assert_eq!(shown.hours.len(), 24);
    let sum = |of: fn(&pb::HourStats) -> i64| shown.hours.iter().map(of).sum::<i64>();
    assert_eq!(sum(|hour| hour.enqueued), 7);
    assert_eq!((sum(|hour| hour.completed), sum(|hour| hour.failed), sum(|hour| hour.cancelled)), (2, 1, 1));
    let starts: Vec<i64> = shown.hours.iter().map(|hour| hour.start_time.unwrap().seconds).collect();
    assert!(starts.windows(2).all(|two| two[1] - two[0] == 3_600) && starts[0] % 3_600 == 0, "{starts:?}");
    let send = shown.commands.iter().find(|of| of.command == "send").unwrap();
    assert_eq!((send.waiting, send.running), (0, 1));
    assert_eq!((send.completed, send.failed, send.cancelled, send.retries), (2, 1, 0, 2));
    assert!(send.mean_duration.is_some());
    let other = shown.commands.iter().find(|of| of.command == "other").unwrap();
    assert_eq!((other.waiting, other.cancelled, other.mean_duration), (2, 1, None));
    assert_eq!(shown.commands[0].command, "send", "the busiest comes first");
    let waits = shown.waits.unwrap();
    assert!(waits.median.is_some() && waits.p95.is_some() && waits.oldest.is_some(), "{waits:?}");
    assert_eq!(shown.server_version, env!("CARGO_PKG_VERSION"));
}

async fn an_overview_shows_named_workers_and_worker_processes(server: &Server) {
    let mut worker = HandWorker::begin(server, Registration::of(&["send"]).named("one")).await;
    let lane = || work("send", JobOptions { worker: Some("printer".into()), ..Default::default() });
    for _ in 0..4 {
        server.enqueue(lane()).await;
    }
    let first = worker.claim_one().await;
    worker.end_well(&first.lease, completed("1")).await;
    let second = worker.claim_one().await;
    let shown =
        until_overview(server, |of| of.named_workers.first().is_some_and(|of| of.completed == 1)).await;
    let printer = &shown.named_workers[0];
    assert_eq!((printer.worker.as_str(), printer.waiting, printer.failed), ("printer", 2, 0));
    assert_eq!(printer.running_job_id, second.job_id);
    let one = &shown.worker_processes[0];
    assert_eq!((one.name.as_str(), one.running, one.completed, one.failed), ("one", 1, 1, 0));
    assert_eq!((shown.worker_count, shown.slot_count), (1, i64::from(one.slots)));
    let listed = server.workers().list_workers(pb::ListWorkersRequest::default()).await.unwrap().into_inner();
    assert_eq!((listed.workers[0].completed_count, listed.workers[0].failed_count), (1, 0));
}

async fn an_overview_of_an_empty_service_is_empty(server: &Server) {
    let shown = overview(server, 3).await;
    assert_eq!(shown.hours.len(), 3);
    assert_eq!(shown.counts.unwrap().total, 0);
    let waits = shown.waits.unwrap();
    assert_eq!((waits.median, waits.p95, waits.oldest), (None, None, None));
    assert!(shown.commands.is_empty() && shown.named_workers.is_empty() && shown.paused_queues.is_empty());
    assert_eq!((shown.recurring_task_count, shown.pending_delivery_count), (0, 0));
}

async fn figures_outlive_the_server(server: &Server) {
    let mut worker = HandWorker::register(server, &["send"]).await;
    history(server, &mut worker).await;
    // What was counted is added every two seconds; an overview adds it at once.
    until_overview(server, |of| of.counts.unwrap().completed == 2).await;
    server.kill9();
    server.restart().await;
    let counts = overview(server, 24).await.counts.unwrap();
    assert_eq!((counts.completed, counts.failed, counts.cancelled), (2, 1, 1));
}

async fn an_overview_reaches_back_as_far_as_it_may(server: &Server) {
    assert_eq!(overview(server, 168).await.hours.len(), 168);
    assert_eq!(overview(server, 1).await.hours.len(), 1);
    for hours in [-1, 169] {
        let refused = refusal(admin(server).get_overview(pb::GetOverviewRequest { hours }).await);
        refused.must_be(Code::InvalidArgument, "INVALID_FIELD");
        assert!(refused.field("hours").is_some(), "{refused:?}");
    }
}

async fn commands_are_listed_with_who_serves_them_and_how_they_fare(server: &Server) {
    let mut registration = Registration::of(&["send", "idle"]).named("one");
    let send = &mut registration.0.commands[0];
    (send.worker, send.version) = (Some("printer".into()), "2".into());
    send.json_schema = "{\"type\":\"object\"}".into();
    let mut worker = HandWorker::begin(server, registration).await;
    let mut ended = 0;
    for _ in 0..2 {
        server.enqueue(work("send", JobOptions::default())).await;
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, completed("1")).await;
        ended = job.job_id;
    }
    server.enqueue(work("nobody", JobOptions::default())).await;
    let listed = until("the counts are fresh", || async {
        let listed = commands(server, "").await;
        (listed.len() == 3 && listed[1].waiting_count == 1).then_some(listed)
    })
    .await;
    let names: Vec<&str> = listed.iter().map(|of| of.name.as_str()).collect();
    assert_eq!(names, ["idle", "nobody", "send"]);
    let (idle, nobody, send) = (&listed[0], &listed[1], &listed[2]);
    assert_eq!((idle.worker_count, idle.last_job_id, idle.last_run_time), (1, 0, None));
    assert_eq!((nobody.worker_count, nobody.waiting_count), (0, 1));
    assert_eq!((send.worker.as_str(), send.versions.as_slice()), ("printer", ["2".to_owned()].as_slice()));
    assert_eq!((send.worker_processes.as_slice(), send.worker_count), (["one".to_owned()].as_slice(), 1));
    assert_eq!(send.json_schema, "{\"type\":\"object\"}");
    assert_eq!(send.last_job_id, ended);
    assert!(send.last_run_time.is_some() && send.mean_duration.is_some());
    worker.unregister().await;
    let listed = commands(server, "send").await;
    assert_eq!((listed[0].worker_count, listed[0].last_job_id), (0, ended), "it ran, so it is listed still");
    assert_eq!(listed[0].json_schema, "{\"type\":\"object\"}", "as declared last");
}

async fn commands_are_listed_by_name_prefix_and_page(server: &Server) {
    let _worker = HandWorker::register(server, &["mail.send", "mail.fetch", "print"]).await;
    let page = |prefix: &str, size: i32, token: String| {
        let request =
            pb::ListCommandsRequest { name_prefix: prefix.into(), page_size: size, page_token: token };
        let mut admin = admin(server);
        async move { admin.list_commands(request).await }
    };
    let names = |page: &pb::ListCommandsResponse| {
        page.commands.iter().map(|of| of.name.clone()).collect::<Vec<String>>()
    };
    let first = page("mail.", 1, String::new()).await.unwrap().into_inner();
    assert_eq!(names(&first), ["mail.fetch"]);
    let second = page("mail.", 1, first.next_page_token.clone()).await.unwrap().into_inner();
    assert_eq!((names(&second), second.next_page_token.as_str()), (vec!["mail.send".to_owned()], ""));
    let other = page("p", 1, first.next_page_token).await;
    refusal(other).must_be(Code::InvalidArgument, "BAD_TOKEN");
    assert!(refusal(page("", 501, String::new()).await).field("page_size").is_some());
    assert!(refusal(page(&"x".repeat(129), 0, String::new()).await).field("name_prefix").is_some());
}

async fn a_server_says_what_it_is(server: &Server) {
    let _worker = HandWorker::register(server, &["send"]).await;
    let listed = until("the server has ticked", || async {
        let listed = servers(server).await;
        (!listed.is_empty()).then_some(listed)
    })
    .await;
    assert_eq!(listed.len(), 1);
    let this = &listed[0];
    assert!(this.is_self && !this.name.is_empty() && this.id.len() == 16, "{this:?}");
    assert_eq!(this.state(), pb::ServerState::Active);
    assert_eq!(
        (this.address.as_str(), this.version.as_str()),
        (&server.address()[7..], env!("CARGO_PKG_VERSION"))
    );
    let kind = if server.database_url().starts_with("sqlite:") { "sqlite 3." } else { "ma" };
    assert!(this.store.starts_with(kind), "{}", this.store);
    assert!(this.pool_enabled && this.durable, "{this:?}");
    assert!(this.worker_count >= 1, "its worker process beats through it: {this:?}");
    assert!(
        this.start_time.is_some() && this.heartbeat_time.unwrap().seconds >= this.start_time.unwrap().seconds
    );
}

async fn the_command_line_shows_figures_commands_workers_and_servers(server: &Server) {
    let mut worker = HandWorker::begin(server, Registration::of(&["send"]).named("one")).await;
    history(server, &mut worker).await;
    until_overview(server, |of| of.counts.unwrap().completed == 2).await;
    let run = |arguments: &[&str]| {
        let output = Command::new(haulier_binary())
            .args(arguments)
            .args(["--address", &server.address()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for (arguments, words) in [
        (&["overview"][..], &["completed 2", "failed 1", "cancelled 1", "send"][..]),
        (&["overview", "--hours", "1"], &["completed 2"]),
        (&["commands"], &["send"]),
        (&["commands", "--prefix", "nothing"], &["COMMAND"]),
        (&["workers", "--command", "send"], &["one", "active"]),
        (&["servers"], &["(this one)", "active"]),
    ] {
        let told = run(arguments);
        assert!(words.iter().all(|word| told.contains(word)), "{arguments:?}: {told}");
    }
}

async fn servers_are_listed_with_their_state_and_figures_are_those_of_both(
    server: &Server,
    replica: &Server,
) {
    let mut here = HandWorker::register(server, &["send"]).await;
    let mut there = HandWorker::register(replica, &["send"]).await;
    for worker in [&mut here, &mut there] {
        let through = server.enqueue(work("send", JobOptions::default())).await;
        let job = worker.claim_one().await;
        worker.end_well(&job.lease, completed("1")).await;
        server.wait_for_state(through.job_id, JobState::Completed).await;
    }
    until_overview(server, |of| of.counts.unwrap().completed == 2).await;
    let both = until("both servers have ticked", || async {
        let listed = servers(server).await;
        (listed.len() == 2).then_some(listed)
    })
    .await;
    assert!(both.iter().all(|of| of.state() == pb::ServerState::Active));
    assert_eq!(both.iter().filter(|of| of.is_self).count(), 1);
    replica.kill9();
    let silent = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let listed = servers(server).await;
            if let Some(of) = listed.into_iter().find(|of| of.state() == pb::ServerState::Silent) {
                return of;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let silent = silent.await.expect("a server that is gone is silent after 30 s");
    assert_eq!(silent.address, replica.address()[7..]);
}
