//! A service under load: Haulier, the floor, or a server that runs already; and what callers do with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt as _;
use haulier::proto::job_service_client::JobServiceClient;
use haulier::proto::{GetJobRequest, JobFilter};
use haulier::{Client, Code, JobState, Payload, Transport};
use tokio::task::JoinSet;

use super::Settings;
use super::driver::{BATCH_ROWS, micros};
use super::error::{Error, Result};
use super::floor;
use super::place::Own;
use super::process::{Meter, ServerProcess, free_port, listener, this_program};
use super::worker::{WorkerProcess, request_text};

/// How long a server may take to start.
const START_TIME: Duration = Duration::from_secs(60);
/// Longest time of a call with its retries.
const CALL_TIME: Duration = Duration::from_secs(60);
/// Callers that share a connection.
const CALLERS_PER_CONNECTION: usize = 32;
/// How long the end of the jobs may make no progress.
const STALL_TIME: Duration = Duration::from_secs(120);
/// Between two looks at whether all jobs have ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
const LIVE: [JobState; 4] = [JobState::Scheduled, JobState::Blocked, JobState::Queued, JobState::Running];

/// A service that is started here.
pub(super) struct Service {
    name: &'static str,
    /// Name of its log.
    log: &'static str,
    /// What this program is told to be it.
    arguments: &'static [&'static str],
    /// Variable with the URL of its database.
    database_url: &'static str,
    /// Whether it knows how jobs have ended.
    looks_up: bool,
}

/// A Haulier server.
pub(super) const HAULIER: Service = Service {
    name: "Haulier",
    log: "haulier",
    arguments: &["serve"],
    database_url: "HAULIER_DATABASE_URL",
    looks_up: true,
};

/// The floor.
pub(super) const FLOOR: Service = Service {
    name: "floor",
    log: "floor",
    arguments: &["bench", "floor"],
    database_url: floor::DATABASE_URL,
    looks_up: false,
};

/// A service.
pub(super) struct System {
    pub(super) name: &'static str,
    pub(super) address: String,
    clients: Vec<Client>,
    meter: Meter,
    process: Option<ServerProcess>,
    looks_up: bool,
    settings: Settings,
}

/// Jobs on their way, as far as callers and workers have counted.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) enqueued: AtomicU64,
    pub(super) started: AtomicU64,
}

impl Flow {
    fn waiting(&self) -> u64 {
        let started = self.started.load(Ordering::Relaxed);
        self.enqueued.load(Ordering::Relaxed).saturating_sub(started)
    }
}

/// What callers have done.
pub(super) struct Enqueued {
    pub(super) jobs: u64,
    pub(super) seconds: f64,
    /// How long each call took, microseconds.
    pub(super) times: Vec<f64>,
}

impl System {
    /// A service on a database, in a process of its own.
    pub(super) async fn start(
        service: &Service,
        own: &Own,
        url: &str,
        settings: &Settings,
        database: Option<u32>,
    ) -> Result<Self> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        let mut program = this_program()?;
        program.args(service.arguments).args(["--listen", &listen]).env(service.database_url, url);
        let process = ServerProcess::start(program, own.log(service.log))?;
        Self::reach(service, &listen, settings, database, process).await
    }

    /// A server that runs already.
    pub(super) async fn elsewhere(address: &str, settings: &Settings) -> Result<Self> {
        let clients = connect(address, settings).await?;
        let host = address.split_once("://").map_or(address, |(_, host)| host).trim_end_matches('/');
        let here =
            host.rsplit_once(':').filter(|(host, _)| matches!(*host, "localhost" | "127.0.0.1" | "[::1]"));
        let port = here.and_then(|(_, port)| port.parse().ok());
        let server = port.and_then(|port| listener(port, &["haulier"]));
        let system = Self {
            name: "Haulier",
            address: address.to_owned(),
            clients,
            meter: Meter { server, ..Default::default() },
            process: None,
            looks_up: true,
            settings: settings.clone(),
        };
        system.call_nothing().await?;
        Ok(system)
    }

    async fn reach(
        &Service { name, looks_up, .. }: &Service,
        listen: &str,
        settings: &Settings,
        database: Option<u32>,
        mut process: ServerProcess,
    ) -> Result<Self> {
        let address = format!("http://{listen}");
        let meter = Meter { server: process.pid(), database, worker: None };
        let deadline = tokio::time::Instant::now() + START_TIME;
        // What a caller of --url passes is not for our own server.
        let settings = Settings { api_key: None, ..settings.clone() };
        loop {
            process.check()?;
            let tried = tokio::time::timeout(Duration::from_secs(2), async {
                let probe = Client::builder(&address).deadline(Duration::from_millis(500)).connect().await?;
                empty_call(&mut JobServiceClient::new(probe.transport())).await
            });
            match tried.await {
                Ok(Ok(())) => break,
                _ if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(30)).await
                }
                _ => return Err(Error::new(format!("{name} did not start; {}", process.log_tail()))),
            }
        }
        let clients = connect(&address, &settings).await?;
        Ok(Self { name, address, clients, meter, process: Some(process), looks_up, settings })
    }

    /// Ends its process, if it is ours.
    pub(super) async fn stop(self) {
        drop(self.clients);
        if let Some(process) = self.process {
            process.stop().await;
        }
    }

    /// Its error, with the end of its log when its process is gone.
    pub(super) fn explain(&mut self, error: Error) -> Error {
        match self.process.as_mut().map(ServerProcess::check) {
            Some(Err(ended)) => Error::new(format!("{}: {error}; {ended}", self.name)),
            _ => Error::new(format!("{}: {error}", self.name)),
        }
    }

    /// Starts a worker process for a command; it serves nothing until told to.
    pub(super) async fn start_worker(&self, command: &str) -> Result<WorkerProcess> {
        let key = self.settings.api_key.as_deref();
        WorkerProcess::start(&self.address, key, command, self.settings.worker_slots).await
    }

    /// What counts its CPU time, with or without a worker process.
    pub(super) fn meter(&self, worker: Option<&WorkerProcess>) -> Meter {
        Meter { worker: worker.and_then(WorkerProcess::pid), ..self.meter.clone() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.clients[0]
    }

    /// A call that reaches the handler and touches no database.
    pub(super) async fn call_nothing(&self) -> Result<()> {
        empty_call(&mut JobServiceClient::new(self.client().transport())).await
    }

    /// How long empty calls take, microseconds: so many, with a pause before each.
    pub(super) async fn empty_calls(&self, calls: usize, pause: Duration) -> Result<Vec<f64>> {
        let mut client = JobServiceClient::new(self.client().transport());
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let begin = tokio::time::Instant::now();
            empty_call(&mut client).await?;
            times.push(micros(begin.elapsed()));
        }
        Ok(times)
    }

    /// Callers enqueue for a time, each again as soon as it is answered.
    pub(super) async fn enqueue_for(
        &self,
        command: &str,
        callers: usize,
        time: Duration,
    ) -> Result<Enqueued> {
        let begin = tokio::time::Instant::now();
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            let client = self.clients[caller / CALLERS_PER_CONNECTION % self.clients.len()].clone();
            let (command, bytes) = (command.to_owned(), self.settings.payload_bytes);
            tasks.spawn(async move {
                let mut times = Vec::new();
                while begin.elapsed() < time {
                    let call = tokio::time::Instant::now();
                    client.enqueue_payload(&command, Payload::json_text(request_text(bytes))).await?;
                    times.push(micros(call.elapsed()));
                }
                Ok::<_, Error>(times)
            });
        }
        let mut times = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            times.extend(ended.map_err(Error::during("a caller"))??);
        }
        Ok(Enqueued { jobs: times.len() as u64, seconds: begin.elapsed().as_secs_f64(), times })
    }

    /// Callers enqueue for a time, and pause while more than so many jobs wait.
    pub(super) async fn produce_for(
        &self,
        command: &str,
        time: Duration,
        flow: &Arc<Flow>,
        backlog_max: u64,
    ) -> Result<()> {
        let begin = tokio::time::Instant::now();
        let mut tasks = JoinSet::new();
        for caller in 0..self.settings.callers as usize {
            let client = self.clients[caller / CALLERS_PER_CONNECTION % self.clients.len()].clone();
            let (command, bytes, flow) = (command.to_owned(), self.settings.payload_bytes, Arc::clone(flow));
            tasks.spawn(async move {
                while begin.elapsed() < time {
                    if flow.waiting() > backlog_max {
                        tokio::time::sleep(LOOK_INTERVAL).await;
                        continue;
                    }
                    client.enqueue_payload(&command, Payload::json_text(request_text(bytes))).await?;
                    flow.enqueued.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Error>(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(Error::during("a caller"))??;
        }
        Ok(())
    }

    /// One caller enqueues by the batch of 1,000 for a time.
    pub(super) async fn enqueue_batches_for(&self, command: &str, time: Duration) -> Result<Enqueued> {
        let (begin, mut times) = (tokio::time::Instant::now(), Vec::new());
        while begin.elapsed() < time {
            times.push(self.enqueue_batch(command, BATCH_ROWS).await?);
        }
        let jobs = (times.len() * BATCH_ROWS) as u64;
        Ok(Enqueued { jobs, seconds: begin.elapsed().as_secs_f64(), times })
    }

    /// Enqueues so many jobs, by the batch.
    pub(super) async fn enqueue_count(&self, command: &str, jobs: u64) -> Result<()> {
        let mut left = usize::try_from(jobs).unwrap_or(usize::MAX);
        while left > 0 {
            let rows = left.min(BATCH_ROWS);
            self.enqueue_batch(command, rows).await?;
            left -= rows;
        }
        Ok(())
    }

    async fn enqueue_batch(&self, command: &str, rows: usize) -> Result<f64> {
        let call = tokio::time::Instant::now();
        let mut batch = self.client().enqueue_batch();
        for _ in 0..rows {
            let request = Payload::json_text(request_text(self.settings.payload_bytes));
            batch = batch.push(self.client().enqueue_payload(command, request));
        }
        batch.await?;
        Ok(micros(call.elapsed()))
    }

    /// One caller enqueues for a time, with a pause before each call.
    pub(super) async fn enqueue_paused(&self, command: &str, pause: Duration, time: Duration) -> Result<u64> {
        let (begin, mut jobs) = (tokio::time::Instant::now(), 0);
        while begin.elapsed() < time {
            tokio::time::sleep(pause).await;
            let request = Payload::json_text(request_text(self.settings.payload_bytes));
            self.client().enqueue_payload(command, request).await?;
            jobs += 1;
        }
        Ok(jobs)
    }

    /// Waits until a worker process has started so many jobs and every outcome is stored. The worker process is told to drain
    /// for it: an acknowledged outcome is a stored one, and nobody has to ask the database.
    pub(super) async fn wait_for_end(&self, worker: &mut WorkerProcess, jobs: u64) -> Result<()> {
        let (mut last, mut moved) = (0, tokio::time::Instant::now());
        loop {
            let count = worker.count().await?;
            if count >= jobs {
                return worker.drain().await;
            }
            if count != last {
                (last, moved) = (count, tokio::time::Instant::now());
            }
            if moved.elapsed() > STALL_TIME {
                return Err(Error::new(format!(
                    "{count} of {jobs} jobs have started, and for {STALL_TIME:?} nothing moved"
                )));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Looks whether jobs of a command are left, or ended otherwise than well; answers how many completed.
    pub(super) async fn completed(&self, command: &str, jobs: u64) -> Result<u64> {
        let bad: &[&[JobState]] = if self.looks_up {
            &[&LIVE, &[JobState::Failed], &[JobState::Cancelled]]
        } else {
            // The floor knows only what has not ended.
            &[&LIVE]
        };
        for states in bad {
            if let Some((job, state)) = self.any(command, states).await? {
                let state = state.as_str_name();
                return Err(Error::new(format!(
                    "job {job} of {command} is {state} when all had to be completed"
                )));
            }
        }
        Ok(jobs)
    }

    /// A job of a command in one of these states.
    async fn any(&self, command: &str, states: &[JobState]) -> Result<Option<(i64, JobState)>> {
        let states = states.iter().map(|state| i32::from(*state)).collect();
        let filter = JobFilter { states, command: command.to_owned(), ..Default::default() };
        let mut pages = self.client().list_jobs(filter).page_size(1).pages();
        Ok(pages.try_next().await?.map(|job| (job.id, job.state())))
    }
}

async fn connect(address: &str, settings: &Settings) -> Result<Vec<Client>> {
    let connections = (settings.callers as usize).div_ceil(CALLERS_PER_CONNECTION).max(1);
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut builder = Client::builder(address).deadline(CALL_TIME);
        if let Some(key) = &settings.api_key {
            builder = builder.api_key(key);
        }
        clients.push(builder.connect().await?);
    }
    Ok(clients)
}

/// A job id of 0 is refused before any look-up.
async fn empty_call(client: &mut JobServiceClient<Transport>) -> Result<()> {
    match client.get_job(GetJobRequest::default()).await {
        Err(status) if status.code() == Code::InvalidArgument => Ok(()),
        Err(status) => Err(status.into()),
        Ok(_) => Err(Error::new("a call with nothing in it was not refused: is this a Haulier server?")),
    }
}
