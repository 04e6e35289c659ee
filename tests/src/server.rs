//! The real server process.

use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use haulier_proto::v1 as pb;
use pb::job_service_client::JobServiceClient;
use pb::worker_service_client::WorkerServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::http::http_get;
use crate::process::{Process, Signal};
use crate::time::{Pause, monotonic, until};
use crate::{Refusal, mariadb};

/// How long a server may take until it is ready.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// What SDKs decode at most, too.
const DECODE_BYTES_MAX: usize = 16 << 20;
/// How much of a failed server's log is told.
const LOG_LINES_TOLD: usize = 60;

/// Where a server keeps its jobs.
#[derive(Clone, Debug)]
pub enum Database {
    /// A fresh SQLite file in the server's own folder.
    Sqlite,
    /// A fresh database on the MariaDB that all tests of this process share.
    MariaDb,
    /// This one.
    Url(String),
}

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Where it keeps its jobs.
    pub database: Database,
    /// Its settings file; none when empty.
    pub config: String,
    /// Further arguments.
    pub args: Vec<String>,
    /// Further environment.
    pub env: Vec<(String, String)>,
}

impl From<Database> for Launch {
    fn from(database: Database) -> Launch {
        Launch { database, config: String::new(), args: Vec::new(), env: Vec::new() }
    }
}

impl Launch {
    /// With a settings file of this text.
    pub fn configured(database: Database, config: impl Into<String>) -> Launch {
        Launch { config: config.into(), ..Launch::from(database) }
    }
}

/// A server process of our own, on a port of its own; killed when this is dropped.
pub struct Server {
    launch: Launch,
    url: String,
    port: u16,
    folder: tempfile::TempDir,
    process: Mutex<Process>,
    channel: Mutex<Channel>,
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub async fn start(launch: impl Into<Launch>) -> Server {
        let server = Server::launch(launch);
        server.wait_until_ready().await;
        server
    }

    /// Starts a server and waits for nothing.
    pub fn launch(launch: impl Into<Launch>) -> Server {
        let launch = launch.into();
        let folder =
            tempfile::Builder::new().prefix("haulier-server-").tempdir().expect("a temporary folder");
        let url = match &launch.database {
            Database::Sqlite => format!("sqlite:{}", folder.path().join("haulier.db").display()),
            Database::MariaDb => mariadb::shared().database().expect("a fresh database"),
            Database::Url(url) => url.clone(),
        };
        let port = free_port();
        let process = Mutex::new(spawn(&launch, &url, port, folder.path()));
        let channel = Mutex::new(connect(port));
        Server { launch, url, port, folder, process, channel }
    }

    /// Starts another server on the same database.
    pub async fn replica(&self) -> Server {
        Server::start(Launch { database: Database::Url(self.url.clone()), ..self.launch.clone() }).await
    }

    /// What applications call.
    pub fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel()).max_decoding_message_size(DECODE_BYTES_MAX)
    }

    /// What worker processes call.
    pub fn workers(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel()).max_decoding_message_size(DECODE_BYTES_MAX)
    }

    /// A connection, for clients of other services.
    pub fn channel(&self) -> Channel {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A connection that nobody else uses.
    pub fn own_channel(&self) -> Channel {
        connect(self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, as SDKs take it.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The URL of its database.
    pub fn database_url(&self) -> &str {
        &self.url
    }

    /// Its private folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// The process itself.
    pub fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills it as a crash would.
    pub fn kill9(&self) {
        self.process().kill9();
    }

    /// Freezes it.
    pub fn stop(&self) {
        self.process().signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn cont(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Asks it to end; answers how it did and how long that took.
    pub async fn term(&self) -> (ExitStatus, Duration) {
        let begun = monotonic();
        self.process().signal(Signal::TERM);
        let status = self
            .wait_for_end(Duration::from_secs(60))
            .await
            .expect("a server ends within a minute of SIGTERM");
        (status, monotonic() - begun)
    }

    /// Waits until it ends by itself; none when it takes longer than `limit`.
    pub async fn wait_for_end(&self, limit: Duration) -> Option<ExitStatus> {
        let deadline = monotonic() + limit;
        while monotonic() < deadline {
            if let Some(status) = self.process().ended() {
                return Some(status);
            }
            Pause::brief().await;
        }
        None
    }

    /// Starts it again on the same database and port, after it has ended.
    pub async fn restart(&self) {
        self.relaunch();
        self.wait_until_ready().await;
    }

    /// As [`Server::restart`], and waits for nothing.
    pub fn relaunch(&self) {
        let mut process = self.process();
        process.kill9();
        *process = spawn(&self.launch, &self.url, self.port, self.folder.path());
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = connect(self.port);
    }

    /// Waits until it says that it is ready.
    pub async fn wait_until_ready(&self) {
        let deadline = monotonic() + START_PATIENCE;
        loop {
            if http_get(self.port, "/readyz").await.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            if let Some(status) = self.process().ended() {
                panic!("the server ended with {status} instead of getting ready; {}", self.log_tail());
            }
            assert!(
                monotonic() < deadline,
                "the server was not ready within {START_PATIENCE:?}; {}",
                self.log_tail()
            );
            Pause::brief().await;
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES_TOLD)..];
        format!("the end of its log:\n{}", tail.join("\n"))
    }
}

/// What most tests do with a server.
impl Server {
    /// Enqueues a job.
    pub async fn enqueue(&self, request: pb::EnqueueCommandRequest) -> pb::EnqueueCommandResponse {
        self.jobs().enqueue_command(request).await.expect("an enqueue is accepted").into_inner()
    }

    /// Enqueues a job that must be refused.
    pub async fn enqueue_refused(&self, request: pb::EnqueueCommandRequest) -> Refusal {
        crate::refusal(self.jobs().enqueue_command(request).await)
    }

    /// The latest run of a job.
    pub async fn job(&self, job_id: i64) -> pb::JobResult {
        self.run(job_id, 0).await
    }

    /// A run of a job.
    pub async fn run(&self, job_id: i64, run: i32) -> pb::JobResult {
        let request = pb::GetJobRequest { job_id, run, include_parent: false };
        self.jobs()
            .get_job(request)
            .await
            .expect("a job is found")
            .into_inner()
            .job
            .expect("an answer holds the job")
    }

    /// The summary of the latest run of a job.
    pub async fn summary(&self, job_id: i64) -> pb::JobSummary {
        self.job(job_id).await.summary.expect("a job has a summary")
    }

    /// Waits until a job is in this state.
    pub async fn wait_for_state(&self, job_id: i64, state: pb::JobState) -> pb::JobSummary {
        until(&format!("job {job_id} is {state:?}"), || async {
            let summary = self.summary(job_id).await;
            (summary.state() == state).then_some(summary)
        })
        .await
    }

    /// Every attempt of a job.
    pub async fn attempts(&self, job_id: i64) -> Vec<pb::JobAttempt> {
        let request = pb::ListJobAttemptsRequest { job_id, page_size: 500, ..Default::default() };
        self.jobs().list_job_attempts(request).await.expect("attempts are listed").into_inner().attempts
    }

    /// The log lines of the latest run of a job, at most 500.
    pub async fn logs(&self, job_id: i64) -> Vec<pb::LogLine> {
        let request = pb::ListJobLogsRequest { job_id, page_size: 500, ..Default::default() };
        self.jobs().list_job_logs(request).await.expect("log lines are listed").into_inner().lines
    }

    /// Follows a job from the start.
    pub async fn watch(&self, job_id: i64) -> tonic::Streaming<pb::WatchJobResponse> {
        self.watch_from(job_id, String::new()).await
    }

    /// Follows a job from where a token stands.
    pub async fn watch_from(
        &self,
        job_id: i64,
        resume_token: String,
    ) -> tonic::Streaming<pb::WatchJobResponse> {
        let target = Some(pb::watch_job_request::Target::JobId(job_id));
        let request = pb::WatchJobRequest { target, resume_token, ..Default::default() };
        self.jobs().watch_job(request).await.expect("a watch begins").into_inner()
    }

    /// Cancels a job.
    pub async fn cancel(
        &self,
        job_id: i64,
        reason: &str,
        grace: Option<prost_types::Duration>,
    ) -> pb::CancelJobResponse {
        let target = Some(pb::cancel_job_request::Target::JobId(job_id));
        let request = pb::CancelJobRequest { target, reason: reason.into(), grace };
        self.jobs().cancel_job(request).await.expect("a cancel is answered").into_inner()
    }

    /// Starts a new run of a job.
    pub async fn requeue(&self, job_id: i64) -> pb::RequeueJobResponse {
        let request = pb::RequeueJobRequest { job_id, ..Default::default() };
        self.jobs().requeue_job(request).await.expect("a requeue is accepted").into_inner()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("server on port {} with {}: {}", self.port, self.url, self.log_tail());
        }
    }
}

fn spawn(launch: &Launch, url: &str, port: u16, folder: &Path) -> Process {
    let log =
        OpenOptions::new().create(true).append(true).open(folder.join("server.log")).expect("a log file");
    let mut command = Command::new(haulier_binary());
    command.arg("serve").args(["--listen", &format!("127.0.0.1:{port}")]);
    if !launch.config.is_empty() {
        let file = folder.join("haulier.toml");
        fs::write(&file, &launch.config).expect("a settings file");
        command.arg("--config").arg(file);
    }
    command
        .args(&launch.args)
        .env_remove("DATABASE_URL")
        .env("HAULIER_DATABASE_URL", url)
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdout(log.try_clone().expect("a second handle of a file"))
        .stderr(log);
    Process::spawn(&mut command)
}

/// Connects when it is first used, and again when the connection broke.
fn connect(port: u16) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    endpoint.tcp_nodelay(true).connect_lazy()
}

/// The server's program: `HAULIER_BIN`, else what cargo builds beside these tests.
pub fn haulier_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("HAULIER_BIN") {
        Some(binary) => {
            fs::canonicalize(&binary).unwrap_or_else(|error| panic!("HAULIER_BIN {binary:?}: {error}"))
        }
        None => build(),
    })
}

fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile_folder = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "haulier-server", "--bin", "haulier"]);
    if profile_folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo starts");
    assert!(status.success(), "the server does not build: {cargo:?} ended with {status}");
    profile_folder.join("haulier")
}

/// A port that stays ours over restarts: below those that the system gives to outgoing connections, and a range of its
/// own for each test process.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = (std::process::id() * 150 + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % 21_000;
        let port = 11_000 + offset as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
