//! The floor: a bare tonic service that keeps the same promise by the fewest writes. No leases, no retries, no look-ups.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use clap::Args;
use haulier_proto::v1::job_service_server::{JobService, JobServiceServer};
use haulier_proto::v1::outcome_report::Outcome;
use haulier_proto::v1::payload::Kind;
use haulier_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use haulier_proto::v1::*;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::driver::{BATCH_ROWS, Bare, EndedRow, JobRow};
use super::error::{Error, Result};

/// Environment variable with the database's URL: it may hold a password, which arguments would show.
pub(super) const DATABASE_URL: &str = "HAULIER_BENCH_FLOOR_URL";
/// Most bytes of requests in one answer, as Haulier's.
const ANSWER_BYTES_MAX: usize = 3 << 20;
/// What a job weighs in an answer beside its request.
const JOB_BYTES: usize = 128;
/// Largest message, as Haulier's.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
const LEASE_TIME: prost_types::Duration = prost_types::Duration { seconds: 30, nanos: 0 };
const HEARTBEAT_INTERVAL: prost_types::Duration = prost_types::Duration { seconds: 10, nanos: 0 };

/// Where the floor serves.
#[derive(Args)]
pub(super) struct FloorRole {
    #[arg(long)]
    listen: std::net::SocketAddr,
    #[arg(long, env = DATABASE_URL, hide_env_values = true)]
    database_url: String,
}

/// Serves until the process is told to end, or whoever started it has gone.
pub(super) async fn serve(role: FloorRole) -> Result<()> {
    let (for_jobs, for_outcomes) = Bare::open_pair(&role.database_url).await?;
    let floor = Arc::new_cyclic(|this: &Weak<Floor>| {
        let (stored, ended) = (this.clone(), this.clone());
        Floor {
            next: AtomicI64::new(1),
            largest: AtomicUsize::new(0),
            jobs: Batches::new(move |batch: Vec<NewJobs>| {
                let (bare, floor) = (Arc::clone(&for_jobs), stored.clone());
                Box::pin(async move {
                    let rows: Vec<JobRow> =
                        batch.iter().flat_map(|jobs| jobs.iter().map(NewJob::row)).collect();
                    bare.lock().await.insert_jobs(&rows).await?;
                    if let Some(floor) = floor.upgrade() {
                        batch.into_iter().flatten().for_each(|job| floor.hand_out(job));
                    }
                    Ok(())
                })
            }),
            outcomes: Batches::new(move |batch: Vec<(i64, Vec<u8>)>| {
                let (bare, floor) = (Arc::clone(&for_outcomes), ended.clone());
                Box::pin(async move {
                    let Some(floor) = floor.upgrade() else { return Ok(()) };
                    let rows = floor.ended(batch);
                    bare.lock().await.move_to_history(&rows).await?;
                    rows.iter().for_each(|row| floor.line(&row.job.command).count(-1));
                    Ok(())
                })
            }),
            running: Mutex::default(),
            lines: Mutex::default(),
            sessions: Mutex::default(),
        }
    });
    let jobs = JobServiceServer::from_arc(Arc::clone(&floor))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let workers = WorkerServiceServer::from_arc(floor)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let serving = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(jobs)
        .add_service(workers)
        .serve(role.listen);
    tokio::select! {
        served = serving => Ok(served?),
        () = super::process::interrupted() => Ok(()),
        ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())) => {
            ended.map(drop).map_err(Error::during("the floor's input"))
        }
    }
}

/// A job that is about to be stored.
struct NewJob {
    id: i64,
    command: String,
    request: Option<Payload>,
}

type NewJobs = Vec<NewJob>;

impl NewJob {
    fn row(&self) -> JobRow {
        JobRow { id: self.id, command: self.command.clone(), request: body(self.request.as_ref()) }
    }
}

type Commit<T> = Box<dyn FnMut(Vec<T>) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send>;

/// Callers who share a commit: whoever comes while one is in flight is in the next.
struct Batches<T> {
    sender: mpsc::UnboundedSender<(T, oneshot::Sender<()>)>,
}

impl<T: Send + 'static> Batches<T> {
    fn new<F>(commit: F) -> Self
    where
        F: FnMut(Vec<T>) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + 'static,
    {
        let mut commit: Commit<T> = Box::new(commit);
        let (sender, mut receiver) = mpsc::unbounded_channel::<(T, oneshot::Sender<()>)>();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while receiver.recv_many(&mut batch, BATCH_ROWS).await > 0 {
                let (items, callers): (Vec<T>, Vec<_>) = batch.drain(..).unzip();
                if let Err(error) = commit(items).await {
                    // Nobody is answered: their calls fail when the process ends.
                    super::super::warn(&format!("the floor cannot store: {error}"));
                    break;
                }
                for caller in callers {
                    let _ = caller.send(());
                }
            }
        });
        Self { sender }
    }

    fn join(&self, item: T) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        let _ = self.sender.send((item, done));
        wait
    }
}

/// Jobs of one command on their way to a worker.
struct Line {
    sender: mpsc::UnboundedSender<LeasedJob>,
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<LeasedJob>>,
    live: AtomicI64,
}

impl Line {
    fn count(&self, change: i64) {
        self.live.fetch_add(change, Ordering::Relaxed);
    }
}

impl Default for Line {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: receiver.into(), live: AtomicI64::new(0) }
    }
}

struct Floor {
    next: AtomicI64,
    /// The largest request so far, bytes.
    largest: AtomicUsize,
    jobs: Batches<NewJobs>,
    outcomes: Batches<(i64, Vec<u8>)>,
    /// What was stored of jobs that have not ended: it need not be read to be moved.
    running: Mutex<HashMap<i64, JobRow>>,
    lines: Mutex<HashMap<String, Arc<Line>>>,
    /// The command that a session serves.
    sessions: Mutex<HashMap<String, String>>,
}

impl Floor {
    fn take(&self, command: String, request: Option<Payload>) -> NewJob {
        NewJob { id: self.next.fetch_add(1, Ordering::Relaxed), command, request }
    }

    async fn store(&self, jobs: NewJobs) -> std::result::Result<(), Status> {
        self.jobs.join(jobs).await.map_err(|_| Status::internal("the floor cannot store"))
    }

    /// Jobs as they were stored, with their results.
    fn ended(&self, outcomes: Vec<(i64, Vec<u8>)>) -> Vec<EndedRow> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |(id, result)| Some(EndedRow { job: running.remove(&id)?, result });
        outcomes.into_iter().filter_map(row).collect()
    }

    fn hand_out(&self, job: NewJob) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(job.id, job.row());
        let bytes = body(job.request.as_ref()).len();
        self.largest.fetch_max(bytes, Ordering::Relaxed);
        let line = self.line(&job.command);
        line.count(1);
        let _ = line.sender.send(LeasedJob {
            lease: job.id.to_string(),
            job_id: job.id,
            request: job.request,
            work: Some(leased_job::Work::Command(job.command)),
            run: 1,
            attempt: 1,
            ..Default::default()
        });
    }

    fn line(&self, command: &str) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(command) {
            return Arc::clone(line);
        }
        Arc::clone(lines.entry(command.to_owned()).or_default())
    }

    async fn claim(&self, command: &str, most: usize, wait: Duration) -> Vec<LeasedJob> {
        let fitting = ANSWER_BYTES_MAX / (self.largest.load(Ordering::Relaxed) + JOB_BYTES);
        let line = self.line(command);
        let claim = async {
            let mut jobs = Vec::new();
            line.receiver.lock().await.recv_many(&mut jobs, most.min(fitting).max(1)).await;
            jobs
        };
        tokio::time::timeout(wait, claim).await.unwrap_or_default()
    }

    fn command_of(&self, session: &str) -> String {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned().unwrap_or_default()
    }
}

fn body(payload: Option<&Payload>) -> Vec<u8> {
    match payload.and_then(|payload| payload.kind.as_ref()) {
        Some(Kind::Json(json)) => json.clone().into_bytes(),
        Some(Kind::Data(data)) => data.to_vec(),
        _ => Vec::new(),
    }
}

fn stored(lease: String) -> ReportAck {
    ReportAck { lease, outcome_stored: true, state: JobState::Completed.into(), ..Default::default() }
}

fn acknowledge(acks: &mut Vec<ReportAck>) -> ReportJobsResponse {
    ReportJobsResponse { acks: std::mem::take(acks), ..Default::default() }
}

type Answer<T> = std::result::Result<Response<T>, Status>;
type Down<T> = Pin<Box<dyn tokio_stream::Stream<Item = std::result::Result<T, Status>> + Send>>;

/// Calls that the floor does not have.
macro_rules! not_here {
    ($($method:ident($request:ty) -> $answer:ty;)*) => {
        $(fn $method<'s, 'f>(
            &'s self,
            _: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Answer<$answer>> + Send + 'f>>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async { Err(Status::unimplemented("the floor has no such call")) })
        })*
    };
}

#[tonic::async_trait]
impl JobService for Floor {
    type WatchJobStream = Down<WatchJobResponse>;
    type WatchJobsStream = Down<WatchJobsResponse>;

    async fn enqueue_command(&self, call: Request<EnqueueCommandRequest>) -> Answer<EnqueueCommandResponse> {
        let call = call.into_inner();
        let job = self.take(call.command, call.request);
        let job_id = job.id;
        self.store(vec![job]).await?;
        Ok(Response::new(EnqueueCommandResponse { job_id, created: true, ..Default::default() }))
    }

    async fn enqueue_batch(&self, call: Request<EnqueueBatchRequest>) -> Answer<EnqueueBatchResponse> {
        let mut jobs = Vec::new();
        for item in call.into_inner().items {
            let Some(enqueue_item::Work::Command(item)) = item.work else {
                return Err(Status::invalid_argument("the floor takes commands only"));
            };
            jobs.push(self.take(item.command, item.request));
        }
        let stored = |job: &NewJob| EnqueuedJob { job_id: job.id, created: true, ..Default::default() };
        let answer = jobs.iter().map(stored).collect();
        self.store(jobs).await?;
        Ok(Response::new(EnqueueBatchResponse { jobs: answer, ..Default::default() }))
    }

    async fn get_job(&self, call: Request<GetJobRequest>) -> Answer<GetJobResponse> {
        match call.into_inner().job_id {
            0 => Err(Status::invalid_argument("job_id is required")),
            _ => Err(Status::unimplemented("the floor looks nothing up")),
        }
    }

    /// One job that has not ended, if there is any, when such are asked for.
    async fn list_jobs(&self, call: Request<ListJobsRequest>) -> Answer<ListJobsResponse> {
        let filter = call.into_inner().filter.unwrap_or_default();
        let is_asked_for = filter.states.contains(&JobState::Queued.into());
        let live = self.line(&filter.command).live.load(Ordering::Relaxed);
        let jobs = (is_asked_for && live > 0).then(JobSummary::default).into_iter().collect();
        Ok(Response::new(ListJobsResponse { jobs, ..Default::default() }))
    }

    not_here! {
        enqueue_api(EnqueueApiRequest) -> EnqueueApiResponse;
        run_command(RunCommandRequest) -> RunCommandResponse;
        get_job_by_ref_id(GetJobByRefIdRequest) -> GetJobByRefIdResponse;
        watch_job(WatchJobRequest) -> Self::WatchJobStream;
        watch_jobs(WatchJobsRequest) -> Self::WatchJobsStream;
        cancel_job(CancelJobRequest) -> CancelJobResponse;
        cancel_jobs(CancelJobsRequest) -> CancelJobsResponse;
        requeue_job(RequeueJobRequest) -> RequeueJobResponse;
        requeue_jobs(RequeueJobsRequest) -> RequeueJobsResponse;
        list_job_attempts(ListJobAttemptsRequest) -> ListJobAttemptsResponse;
        list_job_logs(ListJobLogsRequest) -> ListJobLogsResponse;
        get_batch(GetBatchRequest) -> GetBatchResponse;
        list_deliveries(ListDeliveriesRequest) -> ListDeliveriesResponse;
        replay_delivery(ReplayDeliveryRequest) -> ReplayDeliveryResponse;
        explain_job(ExplainJobRequest) -> ExplainJobResponse;
    }
}

#[tonic::async_trait]
impl WorkerService for Floor {
    type ReportJobsStream = Down<ReportJobsResponse>;

    async fn register_worker(&self, call: Request<RegisterWorkerRequest>) -> Answer<RegisterWorkerResponse> {
        let call = call.into_inner();
        let command = call.commands.first().map(|served| served.command.clone()).unwrap_or_default();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(call.instance_id.clone(), command);
        Ok(Response::new(RegisterWorkerResponse {
            session_id: call.instance_id,
            lease_time: Some(LEASE_TIME),
            heartbeat_interval: Some(HEARTBEAT_INTERVAL),
            max_wait: Some(LEASE_TIME),
            log_credit_bytes: 1 << 20,
        }))
    }

    async fn claim_job(&self, call: Request<ClaimJobRequest>) -> Answer<ClaimJobResponse> {
        let call = call.into_inner();
        let command = self.command_of(&call.session_id);
        let wait = call.wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        let most = usize::try_from(call.max_jobs).unwrap_or(1);
        let jobs = self.claim(&command, most, wait).await;
        Ok(Response::new(ClaimJobResponse { jobs, sequence: call.sequence }))
    }

    async fn report_jobs(
        &self,
        call: Request<Streaming<ReportJobsRequest>>,
    ) -> Answer<Self::ReportJobsStream> {
        let mut up = call.into_inner();
        let (down, answers) = mpsc::channel(64);
        let first = up.next().await.transpose()?.unwrap_or_default();
        let (outcomes, beats) = (self.outcomes.sender.clone(), down.clone());
        let (settled, mut to_settle) = mpsc::unbounded_channel::<(String, oneshot::Receiver<()>)>();
        tokio::spawn(async move {
            let mut message = Some(first);
            while let Some(report) = message {
                if let Some(heartbeat) = report.heartbeat {
                    let ack = HeartbeatAck { beat: heartbeat.beat, lease_time: Some(LEASE_TIME) };
                    let _ = beats
                        .send(Ok(ReportJobsResponse { heartbeat: Some(ack), ..Default::default() }))
                        .await;
                }
                for outcome in report.outcomes {
                    let Some(Outcome::Complete(complete)) = outcome.outcome else { continue };
                    let (sender, wait) = oneshot::channel();
                    let id = outcome.lease.parse().unwrap_or_default();
                    let _ = outcomes.send(((id, body(complete.result.as_ref())), sender));
                    let _ = settled.send((outcome.lease, wait));
                }
                message = up.next().await.and_then(std::result::Result::ok);
            }
        });
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while to_settle.recv_many(&mut waiting, BATCH_ROWS).await > 0 {
                let mut acks = Vec::new();
                for (lease, mut wait) in waiting.drain(..) {
                    // What one commit stored is told in one message, and waits for no other commit.
                    if wait.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                        if !acks.is_empty() && down.send(Ok(acknowledge(&mut acks))).await.is_err() {
                            return;
                        }
                        if wait.await.is_err() {
                            return;
                        }
                    }
                    acks.push(stored(lease));
                }
                if down.send(Ok(acknowledge(&mut acks))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn unregister_worker(
        &self,
        _: Request<UnregisterWorkerRequest>,
    ) -> Answer<UnregisterWorkerResponse> {
        Ok(Response::new(UnregisterWorkerResponse::default()))
    }

    not_here! {
        list_workers(ListWorkersRequest) -> ListWorkersResponse;
        drain_worker(DrainWorkerRequest) -> DrainWorkerResponse;
    }
}
