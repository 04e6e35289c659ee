//! The load: callers that enqueue, a worker process that does nothing as fast as it may, and the clock between them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use haulier_proto::v1::job_service_client::JobServiceClient;
use haulier_proto::v1::outcome_report::Outcome;
use haulier_proto::v1::payload::Kind;
use haulier_proto::v1::worker_service_client::WorkerServiceClient;
use haulier_proto::v1::{
    ClaimJobRequest, CompleteOutcome, EnqueueCommandRequest, GetJobRequest, Heartbeat, LoopState,
    OutcomeReport, Payload, ReceivedReport, RegisterWorkerRequest, ReportJobsRequest, ServedCommand,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

const COMMAND: &str = "bench-noop";
const LATENCY_COMMAND: &str = "bench-latency";
const LOOPS: i32 = 2;
/// Between two calls of an idle system: the outcome is stored and the next claim arrives meanwhile.
pub(crate) const PAUSE: Duration = Duration::from_millis(12);

async fn channel(endpoint: &str) -> Result<Channel> {
    Ok(Endpoint::new(endpoint.to_owned())?.tcp_nodelay(true).connect().await?)
}

/// Waits until the server answers calls.
pub(crate) async fn wait_until_up(endpoint: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(channel) = channel(endpoint).await
            && call_nothing(&mut JobServiceClient::new(channel)).await
        {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{endpoint} does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A call that reaches the handler and touches no database: a job id of 0 is refused.
async fn call_nothing(client: &mut JobServiceClient<Channel>) -> bool {
    let answer = client.get_job(GetJobRequest { job_id: 0, ..Default::default() }).await;
    answer.is_err_and(|status| status.code() == tonic::Code::InvalidArgument)
}

/// The median of empty calls.
pub(crate) async fn empty_call(endpoint: &str) -> Result<Duration> {
    let mut client = JobServiceClient::new(channel(endpoint).await?);
    let mut times = Vec::new();
    for _ in 0..200 {
        tokio::time::sleep(PAUSE).await;
        let begin = Instant::now();
        anyhow::ensure!(call_nothing(&mut client).await, "an empty call was answered otherwise");
        times.push(begin.elapsed());
    }
    Ok(middle(times))
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn request(command: &str) -> EnqueueCommandRequest {
    let json = format!("{{\"text\":\"{}\"}}", "x".repeat(189));
    let request = Some(Payload { kind: Some(Kind::Json(json)), ..Default::default() });
    EnqueueCommandRequest { command: command.into(), request, ..Default::default() }
}

/// Idle latency.
pub(crate) struct Latency {
    /// From the call to the moment when the worker has the job in hand.
    pub(crate) start: Duration,
    /// From the call to its answer.
    pub(crate) enqueue: Duration,
}

/// One client, one waiting worker in this process, one job at a time.
pub(crate) async fn latency(endpoint: &str, jobs: usize) -> Result<Latency> {
    let (started, mut starts) = mpsc::unbounded_channel();
    let worker = Worker::register(endpoint, LATENCY_COMMAND, Some(started)).await?;
    let running = tokio::spawn(worker.run());
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut client = JobServiceClient::new(channel(endpoint).await?);
    let (mut from_call, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..jobs {
        let begin = Instant::now();
        client.enqueue_command(request(LATENCY_COMMAND)).await?;
        answered.push(begin.elapsed());
        let start = starts.recv().await.context("the worker ended")?;
        from_call.push(start.duration_since(begin));
        tokio::time::sleep(PAUSE).await;
    }
    running.abort();
    Ok(Latency { start: middle(from_call), enqueue: middle(answered) })
}

/// Jobs per second from enqueue to stored completion: callers enqueue for a while, each again as soon as it is answered,
/// and the clock stops when the last job is stored as complete.
pub(crate) async fn throughput(endpoint: &str, callers: usize, seconds: Duration) -> Result<f64> {
    let enqueued = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut tasks = Vec::new();
    let channels = [channel(endpoint).await?, channel(endpoint).await?];
    for caller in 0..callers {
        let mut client = JobServiceClient::new(channels[caller % channels.len()].clone());
        let enqueued = Arc::clone(&enqueued);
        tasks.push(tokio::spawn(async move {
            let mut last = 0;
            while begin.elapsed() < seconds {
                last = client.enqueue_command(request(COMMAND)).await?.into_inner().job_id;
                enqueued.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(last)
        }));
    }
    let mut last = Vec::new();
    for task in tasks {
        last.push(task.await??);
    }
    let mut client = JobServiceClient::new(channels[0].clone());
    for job_id in last {
        wait_until_complete(&mut client, job_id).await?;
    }
    Ok(enqueued.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64())
}

async fn wait_until_complete(client: &mut JobServiceClient<Channel>, job_id: i64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let job = client.get_job(GetJobRequest { job_id, ..Default::default() }).await?.into_inner().job;
        if job.and_then(|job| job.summary).is_some_and(|summary| summary.finish_time.is_some()) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "job {job_id} was not completed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The worker process: serves the no-op command until it is killed.
pub(crate) async fn work(endpoint: &str) -> Result<()> {
    Worker::register(endpoint, COMMAND, None).await?.run().await
}

struct Worker {
    client: WorkerServiceClient<Channel>,
    session: String,
    started: Option<mpsc::UnboundedSender<Instant>>,
}

impl Worker {
    async fn register(
        endpoint: &str,
        command: &str,
        started: Option<mpsc::UnboundedSender<Instant>>,
    ) -> Result<Self> {
        let mut client =
            WorkerServiceClient::new(channel(endpoint).await?).max_decoding_message_size(16 << 20);
        let registered = client
            .register_worker(RegisterWorkerRequest {
                name: "bench".into(),
                instance_id: uuid::Uuid::new_v4().to_string(),
                commands: vec![ServedCommand { command: command.into(), ..Default::default() }],
                slots: 1_000,
                ..Default::default()
            })
            .await?
            .into_inner();
        Ok(Self { client, session: registered.session_id, started })
    }

    /// Claims by two loops, so that one answer is worked on while the next is awaited; outcomes go up as they come.
    async fn run(self) -> Result<()> {
        let (up, outgoing) = mpsc::channel::<ReportJobsRequest>(1_024);
        up.send(ReportJobsRequest { session_id: self.session.clone(), ..Default::default() }).await?;
        let mut reports = self.client.clone();
        let loops = Arc::new(std::sync::Mutex::new(HashMap::<i32, LoopState>::new()));
        let held = Arc::new(std::sync::Mutex::new(std::collections::HashSet::<String>::new()));
        let mut tasks = tokio::task::JoinSet::new();
        let acked = Arc::clone(&held);
        tasks.spawn(async move {
            let mut down = reports
                .report_jobs(tokio_stream::wrappers::ReceiverStream::new(outgoing))
                .await?
                .into_inner();
            while let Some(message) = down.message().await? {
                let mut held = acked.lock().expect("no holder panics");
                for ack in &message.acks {
                    held.remove(&ack.lease);
                }
            }
            anyhow::Ok(())
        });
        tasks.spawn(beat(up.clone(), Arc::clone(&loops), Arc::clone(&held)));
        for claim_loop in 0..LOOPS {
            let looping = ClaimLoop {
                client: self.client.clone(),
                session: self.session.clone(),
                claim_loop,
                up: up.clone(),
                loops: Arc::clone(&loops),
                held: Arc::clone(&held),
                started: self.started.clone(),
            };
            tasks.spawn(looping.run());
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

type Loops = Arc<std::sync::Mutex<HashMap<i32, LoopState>>>;
type Held = Arc<std::sync::Mutex<std::collections::HashSet<String>>>;

async fn beat(up: mpsc::Sender<ReportJobsRequest>, loops: Loops, held: Held) -> Result<()> {
    for beat in 1.. {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let heartbeat = Heartbeat {
            beat,
            loops: loops.lock().expect("no holder panics").values().cloned().collect(),
            leases: held.lock().expect("no holder panics").iter().cloned().collect(),
        };
        up.send(ReportJobsRequest { heartbeat: Some(heartbeat), ..Default::default() }).await?;
    }
    Ok(())
}

struct ClaimLoop {
    client: WorkerServiceClient<Channel>,
    session: String,
    claim_loop: i32,
    up: mpsc::Sender<ReportJobsRequest>,
    loops: Loops,
    held: Held,
    started: Option<mpsc::UnboundedSender<Instant>>,
}

impl ClaimLoop {
    async fn run(mut self) -> Result<()> {
        let (mut sequence, mut ack_sequence) = (1, 0);
        loop {
            self.note(sequence, sequence - 1, true);
            let claim = ClaimJobRequest {
                session_id: self.session.clone(),
                r#loop: self.claim_loop,
                sequence,
                ack_sequence,
                max_jobs: 256,
                wait: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            };
            let jobs = self.client.claim_job(claim).await?.into_inner().jobs;
            if let Some(started) = &self.started {
                for _ in &jobs {
                    let _ = started.send(Instant::now());
                }
            }
            self.held.lock().expect("no holder panics").extend(jobs.iter().map(|job| job.lease.clone()));
            self.note(sequence, sequence, false);
            if !jobs.is_empty() {
                ack_sequence = sequence;
                let received = vec![ReceivedReport { r#loop: self.claim_loop, sequence }];
                let outcomes = jobs.into_iter().map(|job| done(job.lease)).collect();
                self.up.send(ReportJobsRequest { received, outcomes, ..Default::default() }).await?;
            }
            sequence += 1;
        }
    }

    fn note(&self, sent: i64, received: i64, sent_open: bool) {
        let state = LoopState { r#loop: self.claim_loop, received, sent, sent_open };
        self.loops.lock().expect("no holder panics").insert(self.claim_loop, state);
    }
}

fn done(lease: String) -> OutcomeReport {
    let json = "{\"ok\":true,\"note\":\"nothing was done, quickly\"}".to_owned();
    let result = Some(Payload { kind: Some(Kind::Json(json)), ..Default::default() });
    let complete = CompleteOutcome { result, ..Default::default() };
    OutcomeReport { lease, outcome: Some(Outcome::Complete(complete)), ..Default::default() }
}
