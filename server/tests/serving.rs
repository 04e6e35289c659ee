//! A server in this process, on an embedded database, spoken to as its callers do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::time::Duration;

use haulier_proto::v1 as pb;
use haulier_proto::v1::job_service_client::JobServiceClient;
use haulier_proto::v1::worker_service_client::WorkerServiceClient;
use haulier_server::config::{Config, DatabaseUrl};
use haulier_server::server::{self, Running, StartError};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt as _;

/// A server, its database's folder, and a connection to it.
struct Bench {
    running: Running,
    channel: Channel,
    _folder: tempfile::TempDir,
}

async fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("haulier.db").display());
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        database_url: DatabaseUrl(url),
        ..Config::default()
    };
    let running = server::start(config).await.unwrap();
    let endpoint = Channel::from_shared(format!("http://{}", running.address)).unwrap();
    Bench { channel: endpoint.connect().await.unwrap(), running, _folder: folder }
}

impl Bench {
    fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone())
    }

    fn workers(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel.clone())
    }

    async fn enqueue(&self, json: &str) -> i64 {
        let request = pb::Payload { kind: Some(pb::payload::Kind::Json(json.into())), ..Default::default() };
        let given = pb::EnqueueCommandRequest {
            command: "Greet".into(),
            request: Some(request),
            ..Default::default()
        };
        self.jobs().enqueue_command(given).await.unwrap().into_inner().job_id
    }

    async fn register(&self) -> String {
        let given = pb::RegisterWorkerRequest {
            name: "bench".into(),
            instance_id: uuid::Uuid::new_v4().to_string(),
            commands: vec![pb::ServedCommand { command: "Greet".into(), ..Default::default() }],
            slots: 10,
            ..Default::default()
        };
        self.workers().register_worker(given).await.unwrap().into_inner().session_id
    }

    async fn claim(&self, session_id: &str, sequence: i64) -> Vec<pb::LeasedJob> {
        let given = pb::ClaimJobRequest {
            session_id: session_id.into(),
            sequence,
            max_jobs: 10,
            wait: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            ..Default::default()
        };
        self.workers().claim_job(given).await.unwrap().into_inner().jobs
    }

    async fn report(&self) -> (mpsc::Sender<pb::ReportJobsRequest>, Streaming<pb::ReportJobsResponse>) {
        let (sender, messages) = mpsc::channel(8);
        let answers = self.workers().report_jobs(ReceiverStream::new(messages)).await.unwrap().into_inner();
        (sender, answers)
    }

    /// One request of plain HTTP/1.1, and the whole answer.
    async fn http(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.running.address).await.unwrap();
        let head = format!(
            "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn outcome(lease: &str, json: &str) -> pb::OutcomeReport {
    let result = pb::Payload { kind: Some(pb::payload::Kind::Json(json.into())), ..Default::default() };
    let complete = pb::CompleteOutcome { result: Some(result), enqueue: Vec::new() };
    pb::OutcomeReport {
        lease: lease.into(),
        log_sequence: 0,
        outcome: Some(pb::outcome_report::Outcome::Complete(complete)),
    }
}

fn first_message(session_id: &str) -> pb::ReportJobsRequest {
    pb::ReportJobsRequest { session_id: session_id.into(), ..Default::default() }
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn a_job_goes_from_enqueue_through_a_worker_process_to_its_result() {
    let bench = bench().await;
    let session = bench.register().await;
    let job_id = bench.enqueue(r#"{"name": "Ada"}"#).await;
    let leased = bench.claim(&session, 1).await.remove(0);
    assert_eq!((leased.job_id, leased.attempt), (job_id, 1));
    assert!(leased.timeout.unwrap().seconds >= 590);
    let kind = leased.request.unwrap().kind;
    assert_eq!(kind, Some(pb::payload::Kind::Json(r#"{"name": "Ada"}"#.into())));

    let (sender, mut answers) = bench.report().await;
    let outcomes = vec![outcome(&leased.lease, "\"hello\"")];
    sender.send(pb::ReportJobsRequest { outcomes, ..first_message(&session) }).await.unwrap();
    let acks = answers.message().await.unwrap().unwrap().acks;
    assert_eq!((acks[0].outcome_stored, acks[0].state()), (true, pb::JobState::Completed));

    let asked = pb::GetJobRequest { job_id, ..Default::default() };
    let job = bench.jobs().get_job(asked).await.unwrap().into_inner().job.unwrap();
    let Some(pb::job_result::Record::Completed(record)) = job.record else { panic!("{job:?}") };
    assert_eq!(record.result.unwrap().kind, Some(pb::payload::Kind::Json("\"hello\"".into())));
    assert_eq!(record.options.unwrap().timeout.unwrap().seconds, 600);
}

#[tokio::test]
async fn a_watch_ends_ok_with_a_snapshot_of_the_outcome() {
    let bench = bench().await;
    let session = bench.register().await;
    let job_id = bench.enqueue("1").await;
    let target = Some(pb::watch_job_request::Target::JobId(job_id));
    let asked = pb::WatchJobRequest { target, ..Default::default() };
    let mut events = bench.jobs().watch_job(asked).await.unwrap().into_inner();
    let first = events.message().await.unwrap().unwrap();
    assert!(matches!(first.event, Some(pb::watch_job_response::Event::Snapshot(_))), "{first:?}");
    let leased = bench.claim(&session, 1).await.remove(0);
    let (sender, _answers) = bench.report().await;
    let outcomes = vec![outcome(&leased.lease, "2")];
    sender.send(pb::ReportJobsRequest { outcomes, ..first_message(&session) }).await.unwrap();
    let mut last = None;
    while let Some(event) = events.message().await.unwrap() {
        last = event.event;
    }
    let Some(pb::watch_job_response::Event::Snapshot(job)) = last else { panic!("{last:?}") };
    assert_eq!(job.summary.unwrap().state(), pb::JobState::Completed);
}

#[tokio::test]
async fn everything_that_was_sent_is_answered_after_the_half_close() {
    let bench = bench().await;
    let session = bench.register().await;
    for index in 0..10 {
        bench.enqueue(&index.to_string()).await;
    }
    let (mut leases, mut sequence) = (Vec::new(), 0);
    while leases.len() < 10 {
        sequence += 1;
        leases.extend(bench.claim(&session, sequence).await.into_iter().map(|leased| leased.lease));
    }
    let (sender, mut answers) = bench.report().await;
    for (index, lease) in leases.iter().enumerate() {
        let session_id = if index == 0 { session.clone() } else { String::new() };
        let outcomes = vec![outcome(lease, "0")];
        sender.send(pb::ReportJobsRequest { session_id, outcomes, ..Default::default() }).await.unwrap();
    }
    drop(sender);
    let mut stored = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        stored += answer.acks.iter().filter(|ack| ack.outcome_stored).count();
    }
    assert_eq!(stored, 10);
}

#[tokio::test]
async fn a_bad_part_of_a_report_is_named_and_the_rest_is_taken() {
    let bench = bench().await;
    let session = bench.register().await;
    bench.enqueue("1").await;
    let leased = bench.claim(&session, 1).await.remove(0);
    let (sender, mut answers) = bench.report().await;
    let outcomes = vec![outcome("nonsense", "1"), outcome(&leased.lease, "1")];
    sender.send(pb::ReportJobsRequest { outcomes, ..first_message(&session) }).await.unwrap();
    drop(sender);
    let (mut fields, mut stored) = (Vec::new(), 0);
    while let Some(answer) = answers.message().await.unwrap() {
        fields.extend(answer.errors.into_iter().map(|error| error.field));
        stored += answer.acks.iter().filter(|ack| ack.outcome_stored).count();
    }
    assert_eq!((fields, stored), (vec!["outcomes[0].lease".to_owned()], 1));
}

#[tokio::test]
async fn a_report_stream_begins_with_its_session_and_keeps_to_it() {
    let bench = bench().await;
    let (sender, mut answers) = bench.report().await;
    sender.send(first_message("")).await.unwrap();
    let status = answers.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));

    let session = bench.register().await;
    let (sender, mut answers) = bench.report().await;
    sender.send(first_message(&session)).await.unwrap();
    sender.send(first_message(&"0".repeat(32))).await.unwrap();
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "session_id");
}

#[tokio::test]
async fn a_session_that_is_over_is_told_so_on_its_stream() {
    let bench = bench().await;
    let (sender, mut answers) = bench.report().await;
    sender.send(first_message(&"0".repeat(32))).await.unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.errors[0].code(), pb::ReportErrorCode::SessionLost);
}

#[tokio::test]
async fn bad_input_is_named_field_by_field() {
    let bench = bench().await;
    let options = pb::JobOptions { priority: Some(31), tag: "x".repeat(256), ..Default::default() };
    let given =
        pb::EnqueueCommandRequest { command: String::new(), options: Some(options), ..Default::default() };
    let status = bench.jobs().enqueue_command(given).await.unwrap_err();
    let fields: Vec<String> =
        status.get_details_bad_request().unwrap().field_violations.into_iter().map(|one| one.field).collect();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields, ["command", "options.tag", "options.priority"]);
}

#[tokio::test]
async fn a_deadline_that_passes_is_told_as_such() {
    let bench = bench().await;
    let session_id = bench.register().await;
    let wait = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    let asked = pb::ClaimJobRequest { session_id, sequence: 1, wait, ..Default::default() }.encode_to_vec();
    // By hand, so that only the server looks at the deadline.
    let head = "POST /haulier.v1.WorkerService/ClaimJob HTTP/1.1\r\ngrpc-timeout: 100m\r\n\
                content-type: application/grpc-web+proto";
    let frame = [&[0], u32::try_from(asked.len()).unwrap().to_be_bytes().as_slice(), &asked].concat();
    let answer = bench.http(head, &frame).await;
    assert!(answer.contains("grpc-status: 4"), "{answer}");
}

#[tokio::test]
async fn health_and_reflection_name_every_service() {
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let bench = bench().await;
    let mut reflection = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
        bench.channel.clone(),
    );
    let asked = tonic_reflection::pb::v1::ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers =
        reflection.server_reflection_info(tokio_stream::once(asked)).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("not a list")
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
    let ours: Vec<&String> = names.iter().filter(|name| name.starts_with("haulier.v1.")).collect();
    assert_eq!(ours.len(), 6, "{names:?}");
    for service in ours.into_iter().cloned().chain([String::new()]) {
        assert_eq!(health(&bench, service).await, ServingStatus::Serving);
    }
}

async fn health(bench: &Bench, service: String) -> ServingStatus {
    let mut client = HealthClient::new(bench.channel.clone());
    client.check(HealthCheckRequest { service }).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn plain_http_tells_that_it_lives_and_whether_it_is_ready() {
    let bench = bench().await;
    assert!(bench.http("GET /healthz HTTP/1.1", b"").await.contains("200 OK"));
    assert!(bench.http("GET /readyz HTTP/1.1", b"").await.ends_with("ready\n"));
    assert!(bench.http("GET / HTTP/1.1", b"").await.contains("background-job service"));
    assert!(bench.http("GET /nothing HTTP/1.1", b"").await.contains("404 Not Found"));
}

#[tokio::test]
async fn grpc_web_is_spoken_on_the_same_port() {
    let bench = bench().await;
    let head = "POST /haulier.v1.JobService/GetJob HTTP/1.1\r\ncontent-type: application/grpc-web+proto";
    let answer = bench.http(head, &[0, 0, 0, 0, 2, 8, 7]).await;
    assert!(answer.contains("200 OK") && answer.contains("grpc-status: 5"), "{answer}");
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    let answer = bench.http("POST /no.Service/Method HTTP/1.1\r\ncontent-type: application/grpc", b"").await;
    assert!(answer.contains("grpc-status: 12"), "{answer}");
}

#[tokio::test]
async fn a_server_that_stops_ends_waits_and_tells_so() {
    let mut bench = bench().await;
    let session = bench.register().await;
    let mut client = HealthClient::new(bench.channel.clone());
    let mut health = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let next = |answer: Option<HealthCheckResponse>| answer.unwrap().status();
    assert_eq!(next(health.message().await.unwrap()), ServingStatus::Serving);
    let (sender, mut answers) = bench.report().await;
    let beat = Some(pb::Heartbeat { beat: 1, ..Default::default() });
    sender.send(pb::ReportJobsRequest { heartbeat: beat, ..first_message(&session) }).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().heartbeat.unwrap().beat, 1);

    let claim = tokio::spawn({
        let (mut workers, session_id) = (bench.workers(), session.clone());
        let wait = Some(prost_types::Duration { seconds: 30, nanos: 0 });
        async move {
            let given = pb::ClaimJobRequest { session_id, sequence: 1, wait, ..Default::default() };
            workers.claim_job(given).await
        }
    });
    bench.running.shutdown();
    assert_eq!(next(health.message().await.unwrap()), ServingStatus::NotServing);
    drop(health);
    let status = answers.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    match claim.await.unwrap() {
        Ok(answer) => assert!(answer.into_inner().jobs.is_empty()),
        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
    }
    tokio::time::timeout(Duration::from_secs(10), bench.running.wait())
        .await
        .expect("the server did not stop");
}

#[tokio::test]
async fn a_database_that_stays_away_is_given_up_with_a_reason() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        database_url: DatabaseUrl(format!("mysql://root:secret@{free}/none")),
        database_wait: Duration::from_millis(300),
        ..Config::default()
    };
    let error = server::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Database { .. }), "{error}");
    assert!(error.to_string().contains("root@") && !error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn an_address_in_use_is_told_before_the_database_is_touched() {
    let bench = bench().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.db");
    let url = DatabaseUrl(format!("sqlite:{}", file.display()));
    let config = Config { listen: bench.running.address, database_url: url, ..Config::default() };
    let error = server::start(config).await.unwrap_err().to_string();
    assert!(error.contains(&bench.running.address.to_string()), "{error}");
    assert!(!file.exists());
}
