//! The floor: the least that keeps the promise. Two tables, two statements, no questions.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use haulier_proto::v1::job_service_server::{JobService, JobServiceServer};
use haulier_proto::v1::outcome_report::Outcome;
use haulier_proto::v1::payload::Kind;
use haulier_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use haulier_proto::v1::*;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

/// The bare driver: one connection, whole batches.
enum Bare {
    MySql(sqlx::MySqlConnection),
    Sqlite(sqlx::SqliteConnection),
}

const TABLES: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS floor_loop (id BIGINT NOT NULL PRIMARY KEY, sequence BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS floor_lease (a BIGINT NOT NULL PRIMARY KEY, b BIGINT, c BIGINT, d BIGINT, e BIGINT, f BIGINT, g BIGINT, h BIGINT, i BIGINT, j BIGINT, k BIGINT, l BIGINT, m BIGINT, n BIGINT, o BIGINT, p BIGINT, q BIGINT, r BIGINT, s BIGINT)",
    "CREATE TABLE IF NOT EXISTS floor_job (id BIGINT NOT NULL PRIMARY KEY, command VARCHAR(128) NOT NULL, request BLOB, spec BLOB)",
    "CREATE TABLE IF NOT EXISTS floor_outcome (id BIGINT NOT NULL, run INT NOT NULL, ending INT NOT NULL, result BLOB, PRIMARY KEY (id, run))",
];

impl Bare {
    async fn open(url: &str) -> Result<Self> {
        let mut bare = if url.starts_with("mysql") {
            Bare::MySql(
                url.parse::<sqlx::mysql::MySqlConnectOptions>()?
                    .statement_cache_capacity(512)
                    .connect()
                    .await?,
            )
        } else {
            let options = url.parse::<sqlx::sqlite::SqliteConnectOptions>()?.create_if_missing(true);
            let options = options
                .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
            Bare::Sqlite(options.connect().await?)
        };
        for table in TABLES {
            match &mut bare {
                Bare::MySql(connection) => connection.execute(table).await.map(drop)?,
                Bare::Sqlite(connection) => connection.execute(table).await.map(drop)?,
            }
        }
        Ok(bare)
    }

    /// One transaction with the rows that an enqueue to a waiting worker writes.
    async fn commit_same_rows(&mut self, id: i64) -> Result<()> {
        match self {
            Bare::MySql(connection) => {
                let mut transaction = connection.begin().await?;
                for (sql, fields) in same_rows(id) {
                    let mut query = sqlx::query(sql);
                    for field in fields {
                        query = match field {
                            Field::Number(number) => query.bind(number),
                            Field::Bytes(bytes) => query.bind(bytes),
                        };
                    }
                    query.execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            }
            Bare::Sqlite(connection) => {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                for (sql, fields) in same_rows(id) {
                    let mut query = sqlx::query(sql);
                    for field in fields {
                        query = match field {
                            Field::Number(number) => query.bind(number),
                            Field::Bytes(bytes) => query.bind(bytes),
                        };
                    }
                    query.execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            }
        }
        Ok(())
    }

    /// One transaction of multi-row inserts, in sizes of powers of two so that statements stay prepared.
    async fn insert<const N: usize>(&mut self, into: &str, rows: &[[Field; N]]) -> Result<()> {
        match self {
            Bare::MySql(connection) => {
                let mut transaction = connection.begin().await?;
                for (sql, part) in parts(into, rows) {
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for field in part.iter().flatten() {
                        query = match field {
                            Field::Number(number) => query.bind(*number),
                            Field::Bytes(bytes) => query.bind(bytes.as_slice()),
                        };
                    }
                    query.execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            }
            Bare::Sqlite(connection) => {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                for (sql, part) in parts(into, rows) {
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for field in part.iter().flatten() {
                        query = match field {
                            Field::Number(number) => query.bind(*number),
                            Field::Bytes(bytes) => query.bind(bytes.as_slice()),
                        };
                    }
                    query.execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            }
        }
        Ok(())
    }
}

#[derive(Clone)]
enum Field {
    Number(i64),
    Bytes(Vec<u8>),
}

fn parts<'a, const N: usize>(into: &str, rows: &'a [[Field; N]]) -> Vec<(String, &'a [[Field; N]])> {
    let (mut rest, mut parts) = (rows, Vec::new());
    while !rest.is_empty() {
        let size = 1 << rest.len().min(512).ilog2();
        let (part, others) = rest.split_at(size);
        let row = format!("({})", vec!["?"; N].join(", "));
        parts.push((format!("INSERT INTO {into} VALUES {}", vec![row; size].join(", ")), part));
        rest = others;
    }
    parts
}

fn job_row(id: i64, request: &[u8]) -> [Field; 4] {
    let spec = br#"{"work":{"command":"bench-noop"}}"#.to_vec();
    [
        Field::Number(id),
        Field::Bytes(b"bench-noop".to_vec()),
        Field::Bytes(request.to_vec()),
        Field::Bytes(spec),
    ]
}

/// The median commit by the bare driver of the rows that an enqueue to a waiting worker writes: the job, its lease, and the
/// claim loop's sequence. An idle system is measured as one: with a pause before each.
pub(crate) async fn measure_commit(url: &str) -> Result<Duration> {
    let mut bare = Bare::open(url).await?;
    bare.insert("floor_loop", &[[Field::Number(1), Field::Number(0)]]).await.ok();
    let mut times = Vec::new();
    for id in 0..200 {
        tokio::time::sleep(crate::drive::PAUSE).await;
        let begin = Instant::now();
        bare.commit_same_rows(-1 - id - i64::from(std::process::id()) * 1_000).await?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// The statements of [`Bare::commit_same_rows`], each with the values it binds.
fn same_rows(id: i64) -> [(&'static str, Vec<Field>); 3] {
    let lease = [id, 202_611, 1, 1, 1, 1, 1, 1, 1, 15, 1, 0, 0, 600, 200, 1, 1, 0, 0];
    [
        ("UPDATE floor_loop SET sequence = sequence + 1 WHERE id = ?", vec![Field::Number(1)]),
        ("INSERT INTO floor_job VALUES (?, ?, ?, ?)", job_row(id, &[b'x'; 200]).to_vec()),
        (
            "INSERT INTO floor_lease VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            lease.map(Field::Number).to_vec(),
        ),
    ]
}

/// Callers who share a commit: whoever comes while one is in flight is in the next.
struct Batches<T> {
    sender: mpsc::UnboundedSender<(T, oneshot::Sender<()>)>,
}

impl<T: Send + 'static> Batches<T> {
    fn new<F>(mut commit: F) -> Self
    where
        F: FnMut(Vec<T>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
    {
        let (sender, mut receiver) = mpsc::unbounded_channel::<(T, oneshot::Sender<()>)>();
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while receiver.recv_many(&mut batch, 1_000).await > 0 {
                let (items, callers): (Vec<T>, Vec<_>) = batch.drain(..).unzip();
                commit(items).await;
                for caller in callers {
                    let _ = caller.send(());
                }
            }
        });
        Self { sender }
    }

    async fn join(&self, item: T) {
        let (done, wait) = oneshot::channel();
        let _ = self.sender.send((item, done));
        let _ = wait.await;
    }
}

/// Jobs of one command on their way to a worker: the way in, and the way out while no claim holds it.
type Line = (mpsc::UnboundedSender<LeasedJob>, Option<mpsc::UnboundedReceiver<LeasedJob>>);

struct Floor {
    next: AtomicI64,
    jobs: Batches<(i64, Vec<u8>, EnqueueCommandRequest)>,
    outcomes: Batches<(i64, Vec<u8>)>,
    done: Arc<Mutex<std::collections::HashSet<i64>>>,
    ready: Mutex<HashMap<String, Line>>,
    sessions: Mutex<HashMap<String, String>>,
}

/// Serves the floor at `address`.
pub(crate) async fn serve(url: &str, address: &str) -> Result<()> {
    let (for_jobs, for_outcomes) = (Bare::open(url).await?, Bare::open(url).await?);
    let (for_jobs, for_outcomes) =
        (Arc::new(tokio::sync::Mutex::new(for_jobs)), Arc::new(tokio::sync::Mutex::new(for_outcomes)));
    // A later round goes on where the one before ended.
    let start = std::time::UNIX_EPOCH.elapsed()?.as_micros() as i64;
    let floor = Arc::new_cyclic(|this: &std::sync::Weak<Floor>| {
        let this = this.clone();
        Floor {
            next: AtomicI64::new(start),
            jobs: Batches::new(move |batch: Vec<(i64, Vec<u8>, EnqueueCommandRequest)>| {
                let (bare, this) = (Arc::clone(&for_jobs), this.clone());
                Box::pin(async move {
                    let rows: Vec<_> = batch.iter().map(|(id, request, _)| job_row(*id, request)).collect();
                    bare.lock().await.insert("floor_job", &rows).await.expect("the floor inserts");
                    if let Some(floor) = this.upgrade() {
                        batch.into_iter().for_each(|(id, _, call)| floor.hand_out(id, call));
                    }
                })
            }),
            outcomes: Batches::new(move |batch: Vec<(i64, Vec<u8>)>| {
                let bare = Arc::clone(&for_outcomes);
                Box::pin(async move {
                    let rows: Vec<_> = batch
                        .into_iter()
                        .map(|(id, result)| {
                            [Field::Number(id), Field::Number(1), Field::Number(2), Field::Bytes(result)]
                        })
                        .collect();
                    bare.lock().await.insert("floor_outcome", &rows).await.expect("the floor inserts");
                })
            }),
            done: Arc::default(),
            ready: Mutex::default(),
            sessions: Mutex::default(),
        }
    });
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(JobServiceServer::from_arc(Arc::clone(&floor)))
        .add_service(WorkerServiceServer::from_arc(floor))
        .serve(address.parse()?)
        .await?;
    Ok(())
}

impl Floor {
    fn hand_out(&self, job_id: i64, call: EnqueueCommandRequest) {
        let job = LeasedJob {
            lease: job_id.to_string(),
            job_id,
            request: call.request,
            work: Some(leased_job::Work::Command(call.command.clone())),
            ..Default::default()
        };
        let _ = self.line(&call.command).send(job);
    }

    fn line(&self, command: &str) -> mpsc::UnboundedSender<LeasedJob> {
        let mut ready = self.ready.lock().expect("no holder panics");
        ready
            .entry(command.into())
            .or_insert_with(|| {
                let (s, r) = mpsc::unbounded_channel();
                (s, Some(r))
            })
            .0
            .clone()
    }

    async fn take(&self, command: &str, most: usize, wait: Duration) -> Vec<LeasedJob> {
        let deadline = Instant::now() + wait;
        loop {
            self.line(command);
            let receiver =
                self.ready.lock().expect("no holder panics").get_mut(command).and_then(|line| line.1.take());
            // Another loop of the worker holds the line: wait for it to come back.
            let Some(mut receiver) = receiver else {
                tokio::time::sleep(Duration::from_micros(50)).await;
                if Instant::now() > deadline {
                    return Vec::new();
                }
                continue;
            };
            let mut jobs = Vec::new();
            let _ = tokio::time::timeout_at(deadline, receiver.recv_many(&mut jobs, most)).await;
            if let Some(line) = self.ready.lock().expect("no holder panics").get_mut(command) {
                line.1 = Some(receiver);
            }
            return jobs;
        }
    }
}

fn body(payload: Option<Payload>) -> Vec<u8> {
    match payload.and_then(|payload| payload.kind) {
        Some(Kind::Json(json)) => json.into_bytes(),
        Some(Kind::Data(data)) => data.to_vec(),
        _ => Vec::new(),
    }
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
        let job_id = self.next.fetch_add(1, Ordering::Relaxed);
        self.jobs.join((job_id, body(call.request.clone()), call)).await;
        Ok(Response::new(EnqueueCommandResponse { job_id, created: true, ..Default::default() }))
    }

    async fn get_job(&self, call: Request<GetJobRequest>) -> Answer<GetJobResponse> {
        let id = call.into_inner().job_id;
        if id == 0 {
            return Err(Status::invalid_argument("job_id is required"));
        }
        let done = self.done.lock().expect("no holder panics").contains(&id);
        let finish_time = done.then(prost_types::Timestamp::default);
        let summary = Some(JobSummary { id, finish_time, ..Default::default() });
        Ok(Response::new(GetJobResponse { job: Some(JobResult { summary, ..Default::default() }) }))
    }

    not_here! {
        enqueue_api(EnqueueApiRequest) -> EnqueueApiResponse;
        enqueue_batch(EnqueueBatchRequest) -> EnqueueBatchResponse;
        run_command(RunCommandRequest) -> RunCommandResponse;
        get_job_by_ref_id(GetJobByRefIdRequest) -> GetJobByRefIdResponse;
        list_jobs(ListJobsRequest) -> ListJobsResponse;
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
        self.sessions.lock().expect("no holder panics").insert(call.instance_id.clone(), command);
        Ok(Response::new(RegisterWorkerResponse { session_id: call.instance_id, ..Default::default() }))
    }

    async fn claim_job(&self, call: Request<ClaimJobRequest>) -> Answer<ClaimJobResponse> {
        let call = call.into_inner();
        let command = self
            .sessions
            .lock()
            .expect("no holder panics")
            .get(&call.session_id)
            .cloned()
            .unwrap_or_default();
        let wait = call.wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        let jobs = self.take(&command, call.max_jobs as usize, wait).await;
        Ok(Response::new(ClaimJobResponse { jobs, sequence: call.sequence }))
    }

    async fn report_jobs(
        &self,
        call: Request<Streaming<ReportJobsRequest>>,
    ) -> Answer<Self::ReportJobsStream> {
        let mut up = call.into_inner();
        let (down, answers) = mpsc::channel(1_024);
        let (outcomes, ended) = (self.outcomes.sender.clone(), Arc::clone(&self.done));
        let (settled, mut to_settle) = mpsc::unbounded_channel::<(String, oneshot::Receiver<()>)>();
        tokio::spawn(async move {
            while let Some(Ok(message)) = up.next().await {
                for outcome in message.outcomes {
                    let Some(Outcome::Complete(complete)) = outcome.outcome else { continue };
                    let (sender, wait) = oneshot::channel();
                    let id = outcome.lease.parse().unwrap_or_default();
                    let _ = outcomes.send(((id, body(complete.result)), sender));
                    let _ = settled.send((outcome.lease, wait));
                }
            }
        });
        tokio::spawn(async move {
            while let Some((lease, wait)) = to_settle.recv().await {
                let _ = wait.await;
                ended.lock().expect("no holder panics").insert(lease.parse().unwrap_or_default());
                let acks = vec![ReportAck { lease, outcome_stored: true, ..Default::default() }];
                if down.send(Ok(ReportJobsResponse { acks, ..Default::default() })).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(answers))))
    }

    not_here! {
        unregister_worker(UnregisterWorkerRequest) -> UnregisterWorkerResponse;
        list_workers(ListWorkersRequest) -> ListWorkersResponse;
        drain_worker(DrainWorkerRequest) -> DrainWorkerResponse;
    }
}
