//! The port and the process: what is served, how it starts, how it ends.

use std::process::Command;
use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_tests::messages::{command, completed};
use haulier_tests::{
    Database, HandWorker, Launch, Process, Server, figure, haulier_binary, http_get, http_post, mariadb,
    monotonic, on_both, refusal, until,
};
use pb::JobState;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::prost::Message as _;

/// Promised for a server that is told to end.
const DRAIN: Duration = Duration::from_secs(15);
/// Each service of the contract.
const SERVICES: [&str; 6] = [
    "haulier.v1.JobService",
    "haulier.v1.WorkerService",
    "haulier.v1.RecurringTaskService",
    "haulier.v1.QueueService",
    "haulier.v1.LockService",
    "haulier.v1.AdminService",
];

on_both!(
    reflection_of_both_versions_lists_every_service,
    health_says_serving_of_the_server_and_of_each_service,
    a_grpc_web_call_by_plain_http_is_answered,
    plain_http_tells_liveness_and_readiness,
    sigterm_ends_polls_watches_and_streams_and_the_server_exits_well_within_its_drain,
    a_server_keeps_its_jobs_over_a_restart,
);

async fn reflection_of_both_versions_lists_every_service(server: &Server) {
    use tonic_reflection::pb::{v1, v1alpha};
    macro_rules! services {
        ($version:ident) => {{
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let mut client =
                $version::server_reflection_client::ServerReflectionClient::new(server.channel());
            let request = $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut answers =
                client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
            match answers.message().await.unwrap().unwrap().message_response {
                Some(MessageResponse::ListServicesResponse(list)) => {
                    list.service.into_iter().map(|service| service.name).collect::<Vec<String>>()
                }
                other => panic!("wanted services, got {other:?}"),
            }
        }};
    }
    for listed in [services!(v1), services!(v1alpha)] {
        for service in SERVICES.iter().chain(&["grpc.health.v1.Health"]) {
            assert!(listed.iter().any(|name| name == service), "{service} is not among {listed:?}");
        }
    }
}

async fn health_says_serving_of_the_server_and_of_each_service(server: &Server) {
    let mut health = HealthClient::new(server.channel());
    for service in SERVICES.iter().chain(&[""]) {
        let request = HealthCheckRequest { service: (*service).into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let request = HealthCheckRequest { service: "nobody".into() };
    assert_eq!(refusal(health.check(request).await).code, Code::NotFound);
}

/// A gRPC-Web frame: a flag byte, the length, the message.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], (message.len() as u32).to_be_bytes().as_slice(), message].concat()
}

async fn a_grpc_web_call_by_plain_http_is_answered(server: &Server) {
    let body = framed(&command("work").encode_to_vec());
    let path = "/haulier.v1.JobService/EnqueueCommand";
    let headers = [("Content-Type", "application/grpc-web+proto"), ("X-Grpc-Web", "1")];
    let answer = http_post(server.port(), path, &headers, &body).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.headers["content-type"].starts_with("application/grpc-web"), "{:?}", answer.headers);
    let length = u32::from_be_bytes(answer.body[1..5].try_into().unwrap()) as usize;
    assert_eq!(answer.body[0], 0);
    let stored = pb::EnqueueCommandResponse::decode(&answer.body[5..5 + length]).unwrap();
    assert!(stored.created);
    let trailers = String::from_utf8_lossy(&answer.body[5 + length + 5..]).into_owned();
    assert_eq!(answer.body[5 + length], 0x80, "a frame of trailers ends the answer");
    assert!(trailers.contains("grpc-status:0"), "{trailers:?}");
    assert_eq!(server.summary(stored.job_id).await.state(), JobState::Queued);

    let nonsense =
        http_post(server.port(), path, &headers, &framed(&command("").encode_to_vec())).await.unwrap();
    let everything = format!("{:?} {:?}", nonsense.headers, nonsense.text());
    assert!(everything.contains("grpc-status"), "{everything}");
    assert!(everything.contains('3'), "INVALID_ARGUMENT: {everything}");
}

async fn plain_http_tells_liveness_and_readiness(server: &Server) {
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(http_get(server.port(), path).await.unwrap().status, 200, "{path}");
    }
    assert_eq!(http_get(server.port(), "/nonsense").await.unwrap().status, 404);
}

async fn sigterm_ends_polls_watches_and_streams_and_the_server_exits_well_within_its_drain(server: &Server) {
    let stored = server.enqueue(command("other")).await;
    let running = server.enqueue(command("work")).await;
    let mut worker = HandWorker::register(server, &["work"]).await;
    let job = worker.claim_one().await;
    worker.acknowledge().await;
    let mut talk = worker.converse().await;
    let poll = tokio::spawn(worker.send_claim(worker.request(5, 1, 1, Duration::from_secs(30))));
    let mut watch = server.watch(stored.job_id).await;
    watch.message().await.unwrap();
    let mut many = server.jobs().watch_jobs(pb::WatchJobsRequest::default()).await.unwrap().into_inner();
    many.message().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;

    let (status, took) = server.term().await;
    figure(&format!("ended {took:?} after SIGTERM"));
    assert!(status.success(), "{status}");
    assert!(took < DRAIN + Duration::from_secs(1), "{took:?}");
    // A poll may end empty or with UNAVAILABLE, never with a job that nobody gets.
    match poll.await.unwrap() {
        Ok(answer) => assert!(answer.jobs.is_empty()),
        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
    }
    // A watch ends cleanly only after the outcome.
    for ended in [watch.message().await.map(|_| ()), many_end(&mut many).await, talk.end().await] {
        let status = ended.expect_err("cut off, not ended");
        assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status:?}");
    }
    server.restart().await;
    assert_eq!(server.summary(running.job_id).await.state(), JobState::Running);
    assert_eq!(worker.through(server).end_well(&job.lease, completed("1")).await, JobState::Completed);
}

async fn many_end(many: &mut tonic::Streaming<pb::WatchJobsResponse>) -> Result<(), tonic::Status> {
    while many.message().await?.is_some() {}
    Ok(())
}

async fn a_server_keeps_its_jobs_over_a_restart(server: &Server) {
    let stored = server.enqueue(command("work")).await;
    let ended = server.enqueue(command("done")).await;
    let mut worker = HandWorker::register(server, &["done"]).await;
    let job = worker.claim_one().await;
    worker.end_well(&job.lease, completed("[1]")).await;
    server.kill9();
    server.restart().await;
    assert_eq!(server.summary(stored.job_id).await.state(), JobState::Queued);
    assert_eq!(server.summary(ended.job_id).await.state(), JobState::Completed);
    let next = server.enqueue(command("work")).await;
    assert!(next.job_id > ended.job_id, "ids grow over a crash too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_sqlite_file_is_refused_with_a_clear_message() {
    let server = Server::start(Database::Sqlite).await;
    let second = Server::launch(Database::Url(server.database_url().into()));
    let status = second.wait_for_end(Duration::from_secs(30)).await.expect("the second server gives up");
    assert!(!status.success());
    let log = second.log();
    assert!(log.contains("haulier.db") && log.to_lowercase().contains("another"), "{log}");
    server.enqueue(command("work")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_url_that_is_wrong_is_refused_with_a_clear_message() {
    for url in [
        "mysql://",
        "mysql://root@127.0.0.1:notaport/x",
        "postgres://localhost/x",
        "sqlite:/nonexistent/folder/x.db",
    ] {
        let mut launch = Launch::from(Database::Url(url.into()));
        launch.env.push(("HAULIER_DATABASE_WAIT".into(), "2s".into()));
        let server = Server::launch(launch);
        let status = server.wait_for_end(Duration::from_secs(60)).await;
        let log = server.log();
        let status = status.unwrap_or_else(|| panic!("a server with {url} does not give up: {log}"));
        assert!(!status.success(), "{url}: {log}");
        assert!(status.code().is_some(), "{url}: it was ended by a signal: {log}");
        assert!(log.contains("database"), "{url}: {log}");
        assert!(!log.contains("panicked"), "{url}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stays_down_at_start_ends_the_server_when_its_wait_is_over() {
    let mut launch = Launch::from(Database::Url("mysql://root@127.0.0.1:1/haulier".into()));
    launch.env.push(("HAULIER_DATABASE_WAIT".into(), "2s".into()));
    let server = Server::launch(launch);
    let status = server.wait_for_end(Duration::from_secs(60)).await.expect("it gives up");
    let log = server.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("the database is down, trying") && log.contains("127.0.0.1:1/haulier"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_at_start_is_tried_again_until_it_is_up() {
    let mut database = mariadb::MariaDb::start().expect("a MariaDB of our own");
    let url = database.database().expect("a fresh database");
    database.kill9().expect("a running database can be killed");
    let server = Server::launch(Launch::from(Database::Url(url)));
    until("the server says that the database is down", || async {
        let log = server.log().to_lowercase();
        log.contains("the database is down, trying").then_some(())
    })
    .await;
    // Alive, not ready.
    if let Ok(answer) = http_get(server.port(), "/readyz").await {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert!(server.process().ended().is_none(), "{}", server.log());
    database.restart().expect("a killed database starts again");
    server.wait_until_ready().await;
    server.enqueue(command("work")).await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_outlives_an_outage_of_its_database() {
    let mut database = mariadb::MariaDb::start().expect("a MariaDB of our own");
    let url = database.database().expect("a fresh database");
    let server = Server::start(Database::Url(url)).await;
    let stored = server.enqueue(command("work")).await;
    database.kill9().expect("a running database can be killed");
    until("the server is not ready", || async {
        http_get(server.port(), "/readyz").await.ok().filter(|answer| answer.status == 503).map(|_| ())
    })
    .await;
    assert_eq!(http_get(server.port(), "/healthz").await.unwrap().status, 200);
    let begun = monotonic();
    let refused = server.enqueue_refused(command("work")).await;
    refused.must_be(Code::Unavailable, "STORE_UNAVAILABLE");
    assert!(refused.retry.is_some(), "{refused:?}");
    figure(&format!("refused after {:?}", monotonic() - begun));
    database.restart().expect("a killed database starts again");
    server.wait_until_ready().await;
    assert_eq!(server.summary(stored.job_id).await.state(), JobState::Queued);
    let mut worker = HandWorker::register(&server, &["work"]).await;
    let job = worker.claim_one().await;
    assert_eq!(worker.end_well(&job.lease, completed("1")).await, JobState::Completed);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_of_an_outage_of_the_database_counts_as_soon_as_that_is_back() {
    let mut database = mariadb::MariaDb::start().expect("a MariaDB of our own");
    let server = Server::start(Database::Url(database.database().expect("a fresh database"))).await;
    let mut worker = HandWorker::register(&server, &["work"]).await;
    let mut talk = worker.converse().await;
    database.kill9().expect("a running database can be killed");
    until("the server is not ready", || async {
        http_get(server.port(), "/readyz").await.ok().filter(|answer| answer.status == 503).map(|_| ())
    })
    .await;
    let beat = worker.heartbeat(&[]);
    talk.say(beat).await;
    database.restart().expect("a killed database starts again");
    let begun = monotonic();
    talk.beat_taken(1).await;
    figure(&format!("stored {:?} after the database was back", monotonic() - begun));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_refused_with_a_clear_message() {
    let server = Server::start(Database::Sqlite).await;
    let log_path = server.folder().join("second.log");
    let log = std::fs::File::create(&log_path).unwrap();
    let mut command = Command::new(haulier_binary());
    command
        .args(["serve", "--listen", &format!("127.0.0.1:{}", server.port())])
        .env("HAULIER_DATABASE_URL", server.folder().join("other.db"))
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let mut second = Process::spawn(&mut command);
    let status = second.wait(Duration::from_secs(30)).await.expect("it gives up");
    let log = std::fs::read_to_string(log_path).unwrap();
    assert!(!status.success() && log.contains(&server.port().to_string()), "{status}: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_others_reach_is_refused_without_saying_so() {
    let folder = tempfile::tempdir().unwrap();
    let log_path = folder.path().join("log");
    let log = std::fs::File::create(&log_path).unwrap();
    let mut command = Command::new(haulier_binary());
    command
        .args(["serve", "--listen", "0.0.0.0:0"])
        .env("HAULIER_DATABASE_URL", folder.path().join("haulier.db"))
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let mut server = Process::spawn(&mut command);
    let status = server.wait(Duration::from_secs(30)).await.expect("it refuses to start");
    let log = std::fs::read_to_string(log_path).unwrap();
    assert!(!status.success() && log.contains("--insecure"), "{status}: {log}");
}

#[tokio::test]
async fn the_command_line_writes_its_completions_and_its_manual() {
    let run = |arguments: &[&str]| {
        let output = Command::new(haulier_binary()).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, script) = run(&["completions", shell]);
        assert!(code == Some(0) && script.contains("requeue") && script.contains("lease-time"), "{shell}");
    }
    assert_eq!(run(&["completions", "nosuchshell"]).0, Some(2));
    let (code, page) = run(&["man"]);
    assert!(code == Some(0) && page.contains(".TH haulier 1") && page.contains("requeue"));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&["man", folder.path().to_str().unwrap()]).0, Some(0));
    let page = std::fs::read_to_string(folder.path().join("haulier-lock-run.1")).unwrap();
    assert!(page.contains("HAULIER_FENCING_TOKEN"));
    assert_eq!(run(&["man", "/no/such/folder"]).0, Some(1));
}

#[tokio::test]
async fn a_service_manager_is_told_when_the_server_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = tokio::net::UnixDatagram::bind(&path).unwrap();
    let env = vec![("NOTIFY_SOCKET".to_owned(), path.display().to_string())];
    let server = Server::launch(Launch { env, ..Launch::from(Database::Sqlite) });
    let told = || async {
        let mut text = [0; 64];
        let read = tokio::time::timeout(Duration::from_secs(40), manager.recv(&mut text));
        let length = read.await.expect("the manager is told").unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    assert_eq!(told().await, "READY=1\n");
    assert_eq!(http_get(server.port(), "/readyz").await.unwrap().status, 200, "it is ready when it says so");
    assert!(server.term().await.0.success());
    assert_eq!(told().await, "STOPPING=1\n");
}
