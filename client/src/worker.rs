//! The worker: which commands it serves, and running until it is told to stop.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use futures::FutureExt as _;
use haulier_proto::v1 as pb;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use uuid::Uuid;

use crate::client::Client;
use crate::command::{Command, command_name};
use crate::errors::{Error, HandlerError, Result};
use crate::job::Job;
use crate::payload::Payload;
use crate::periodic::{Background, Periodic, PeriodicWorkers, RunContext};
use crate::recurring::RecurringTask;
use crate::retry::Backoff;
use crate::session::{self, Drain, Handler, Orders, Settings, typed};
use crate::switch;

/// How many jobs a processor runs at once when nothing is said: handlers mostly wait.
const SLOTS_PER_CPU: usize = 4;
/// How long handlers may go on when the worker process is told to stop.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Environment variable that switches execution off.
const ENABLED: &str = "HAULIER_WORKER_ENABLED";

/// A worker process: it claims the jobs of the commands it serves and runs their handlers.
///
/// ```no_run
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] struct Greet { name: String }
/// # impl haulier::Command for Greet { type Output = String; }
/// # async fn example() -> haulier::Result<()> {
/// let client = haulier::Client::from_env().await?;
/// haulier::Worker::new(client)
///     .command(|job, args: Greet| async move {
///         job.info("greeting").await;
///         Ok(format!("hello {}", args.name))
///     })
///     .slots(16)
///     .run()
///     .await
/// # }
/// ```
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    client: Client,
    settings: Settings,
    handlers: HashMap<String, Handler>,
    periodic: PeriodicWorkers,
    registered: CancellationToken,
    /// What was first said that cannot be.
    refused: Option<Error>,
    recurring: Vec<RecurringTask>,
}

/// How a command is declared, when more than its name is to be said.
#[derive(Debug, Clone, Default)]
pub struct CommandOptions {
    served: pb::ServedCommand,
}

impl CommandOptions {
    /// A command by its name; at most 128 characters of `A-Za-z0-9._:/-`.
    pub fn named(name: impl Into<String>) -> Self {
        Self { served: pb::ServedCommand { command: name.into(), ..Default::default() } }
    }

    /// A command by its type.
    pub fn of<C: Command>() -> Self {
        let mut options = Self::named(command_name::<C>());
        options.served.worker = C::WORKER.map(str::to_owned);
        options.served.version = C::VERSION.unwrap_or_default().to_owned();
        options
    }

    /// Named worker in which jobs of this command run, one at a time over all worker processes, unless their options say
    /// otherwise. Default: none.
    #[must_use]
    pub fn worker(mut self, worker: impl Into<String>) -> Self {
        self.served.worker = Some(worker.into());
        self
    }

    /// The program's own version of the handler, shown to people. Default: none.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.served.version = version.into();
        self
    }

    /// JSON Schema of the request, shown in the admin UI; at most 64 KiB. Default: none.
    #[must_use]
    pub fn json_schema(mut self, schema: impl Into<String>) -> Self {
        self.served.json_schema = schema.into();
        self
    }
}

impl Worker {
    /// A worker process of the server that the client is connected to.
    pub fn new(client: Client) -> Self {
        let settings = Settings {
            name: default_name(),
            instance_id: Uuid::now_v7().to_string(),
            commands: Vec::new(),
            queues: Vec::new(),
            labels: HashMap::new(),
            slots: std::thread::available_parallelism().map_or(1, usize::from) * SLOTS_PER_CPU,
            lease_time: None,
            drain_time: DRAIN_TIME,
        };
        let periodic = PeriodicWorkers::off(client.clone());
        Self {
            client,
            settings,
            handlers: HashMap::new(),
            periodic,
            registered: CancellationToken::new(),
            refused: None,
            recurring: Vec::new(),
        }
    }

    /// Serves a command by its type. The handler gives back the output, or any error: see [`HandlerError`].
    pub fn command<C, F, Fut>(self, handler: F) -> Self
    where
        C: Command,
        F: Fn(Job, C) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C::Output, HandlerError>> + Send + 'static,
    {
        self.serve(CommandOptions::of::<C>(), typed(handler))
    }

    /// Serves a command by its name, with arguments and a result of any type.
    pub fn named<A, T, F, Fut>(self, name: impl Into<String>, handler: F) -> Self
    where
        A: DeserializeOwned + Send + 'static,
        T: Serialize,
        F: Fn(Job, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
    {
        self.serve(CommandOptions::named(name), typed(handler))
    }

    /// As [`Self::named`], with a named worker, a version or a schema.
    pub fn declared<A, T, F, Fut>(self, options: CommandOptions, handler: F) -> Self
    where
        A: DeserializeOwned + Send + 'static,
        T: Serialize,
        F: Fn(Job, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
    {
        self.serve(options, typed(handler))
    }

    /// As [`Self::declared`], with request and result as they travel: JSON text or raw bytes.
    pub fn payloads<F, Fut>(self, options: CommandOptions, handler: F) -> Self
    where
        F: Fn(Job, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, HandlerError>> + Send + 'static,
    {
        self.serve(options, std::sync::Arc::new(move |job, request| Box::pin(handler(job, request))))
    }

    fn serve(mut self, options: CommandOptions, handler: Handler) -> Self {
        let name = options.served.command.clone();
        self.settings.commands.push(options.served);
        if self.handlers.insert(name.clone(), handler).is_some() {
            let why = format!("the command {name} has two handlers: give each a name of its own");
            self.refused.get_or_insert(Error::Worker(why));
        }
        self
    }

    /// Runs a periodic worker beside the jobs, from [`Self::run`] until the process is told to stop:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn poll() -> Result<(), std::io::Error> { Ok(()) }
    /// # fn example(worker: haulier::Worker) -> haulier::Worker {
    /// use haulier::{Periodic, RunContext};
    ///
    /// worker.periodic(
    ///     Periodic::new("poll", Duration::from_secs(30)).run_at_start(),
    ///     |run: RunContext| async move {
    ///         poll().await?;
    ///         Ok(())
    ///     },
    /// )
    /// # }
    /// ```
    pub fn periodic<F, Fut>(mut self, periodic: Periodic, run: F) -> Self
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        if let Err(error) = self.periodic.add_periodic(periodic, run) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Runs a background worker beside the jobs: a loop of its own with a stop signal, started again when it fails.
    pub fn background<F, Fut>(mut self, background: Background, run: F) -> Self
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        if let Err(error) = self.periodic.add_background(background, run) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// The periodic and background workers of this process, to stop them, start them and add others while it runs.
    pub fn periodic_workers(&self) -> PeriodicWorkers {
        self.periodic.clone()
    }

    /// A recurring task that is put each time this worker process starts, before it claims jobs. Put again it changes nothing.
    pub fn recurring(mut self, task: RecurringTask) -> Self {
        self.recurring.push(task);
        self
    }

    /// Name for people, such as host and purpose; several worker processes may share one. Default: program, process and host.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// How many jobs run at once; at most 10,000. Default: four for each processor.
    pub fn slots(mut self, slots: usize) -> Self {
        self.settings.slots = slots;
        self
    }

    /// Queues to serve. Default: the queue `default`.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.settings.queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// A label for people; at most 64.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.labels.insert(name.into(), value.into());
        self
    }

    /// How long this process may be silent before its jobs are taken back: 5 s to 10 min. Default: 30 s.
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.settings.lease_time = Some(time);
        self
    }

    /// How long handlers may go on when the process is told to stop; then they are told to, and their jobs are released. Default:
    /// 30 s.
    pub fn drain_time(mut self, time: Duration) -> Self {
        self.settings.drain_time = time;
        self
    }

    /// Resolves when the worker process is first registered, so that its jobs find it; ask before [`Self::run`]. Never, when it
    /// runs no jobs or cannot register.
    ///
    /// ```no_run
    /// # fn is_ready() {}
    /// # async fn example(worker: haulier::Worker) -> haulier::Result<()> {
    /// let registered = worker.registered();
    /// tokio::spawn(async move {
    ///     registered.await;
    ///     is_ready(); // a readiness probe, or the line that a parent process waits for
    /// });
    /// worker.run().await
    /// # }
    /// ```
    pub fn registered(&self) -> impl Future<Output = ()> + Send + use<> {
        self.registered.clone().cancelled_owned()
    }

    /// Runs until SIGTERM or SIGINT, then drains. A second signal ends it at once, with [`Error::Aborted`].
    ///
    /// With `HAULIER_WORKER_ENABLED=false` it runs no jobs, with `HAULIER_PERIODIC_ENABLED=false` no periodic and background
    /// workers; with both it only waits for the signal. It also returns when an operator drains this worker process.
    pub async fn run(self) -> Result<()> {
        self.run_with(stop_signal(), stop_signal()).await
    }

    /// As [`Self::run`], until a future resolves. Dropping it while it runs ends it at once.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        self.run_with(shutdown, std::future::pending()).await
    }

    async fn run_with(
        mut self,
        drain: impl Future<Output = ()>,
        abort: impl Future<Output = ()>,
    ) -> Result<()> {
        let runs_jobs = switch::is_on(std::env::var(ENABLED).ok().as_deref());
        self.check(runs_jobs)?;
        if !runs_jobs {
            tracing::info!("{ENABLED} is false: this process runs no jobs");
        }
        let (periodic, drain_time) = (self.periodic.clone(), self.settings.drain_time);
        let _guard = AbortWhenDropped(|| periodic.abort());
        periodic.start();
        let drained_at = OnceLock::new();
        let drain = async {
            drain.await;
            periodic.signal_stop();
            drained_at.get_or_init(Instant::now);
        };
        let abort = abort.fuse();
        tokio::pin!(abort);
        let result = if runs_jobs && !self.handlers.is_empty() {
            self.run_jobs(drain, abort.as_mut()).await
        } else {
            drain.await;
            Ok(())
        };
        if matches!(result, Err(Error::Aborted)) {
            return result;
        }
        let left = drain_time.saturating_sub(drained_at.get_or_init(Instant::now).elapsed());
        tokio::select! {
            () = periodic.stop_within(left) => result,
            () = abort => result.and(Err(Error::Aborted)),
        }
    }

    async fn run_jobs(self, drain: impl Future<Output = ()>, abort: impl Future<Output = ()>) -> Result<()> {
        tokio::pin!(drain);
        tokio::select! {
            done = self.put_recurring() => done?,
            () = &mut drain => return Ok(()),
        }
        let orders = Orders::new();
        let _guard = AbortWhenDropped(|| orders.abort());
        let mut ended = self.spawn_engine(orders.clone())?;
        tokio::select! {
            result = &mut ended => return flatten(result),
            () = &mut drain => orders.drain(Drain { reason: "the program was told to stop".into(), time: None }),
        }
        tokio::select! {
            result = &mut ended => flatten(result),
            () = abort => {
                orders.abort();
                flatten(ended.await).and(Err(Error::Aborted))
            }
        }
    }

    /// Puts the recurring tasks, waiting for a server that is away as claims do.
    async fn put_recurring(&self) -> Result<()> {
        let client = &self.client;
        let mut backoff = Backoff::refusals();
        for task in &self.recurring {
            while let Err(error) = client.put_recurring_task(task.clone()).await {
                if !is_away(&error) {
                    return Err(error);
                }
                tracing::warn!(%error, "a recurring task could not be put, trying again");
                backoff.pause().await;
            }
        }
        Ok(())
    }

    fn check(&mut self, runs_jobs: bool) -> Result<()> {
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        if !runs_jobs {
            return Ok(());
        }
        if self.handlers.is_empty() && self.periodic.is_empty() {
            return Err(Error::Worker("it serves no command: add a handler, or a periodic worker".into()));
        }
        if self.settings.slots == 0 && !self.handlers.is_empty() {
            return Err(Error::Worker(
                "it has no slots: set HAULIER_WORKER_ENABLED=false to run nothing".into(),
            ));
        }
        Ok(())
    }

    /// Starts the engine on a thread of its own; handlers run on the present runtime.
    fn spawn_engine(self, orders: Orders) -> Result<oneshot::Receiver<Result<()>>> {
        let (tell, ended) = oneshot::channel();
        let user = Handle::current();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_engine)?;
        let Self { client, settings, handlers, registered, .. } = self;
        let engine = move || {
            let result = runtime.block_on(session::run(settings, handlers, user, client, orders, registered));
            // Nobody listens when the future of `run` was dropped.
            let _ = tell.send(result);
        };
        std::thread::Builder::new().name("haulier-worker".into()).spawn(engine).map_err(no_engine)?;
        Ok(ended)
    }
}

/// Is the server away for now, rather than this being refused?
fn is_away(error: &Error) -> bool {
    let passing = [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted];
    match error.code() {
        Some(code) => passing.contains(&code),
        None => matches!(error, Error::Connect { .. }),
    }
}

fn no_engine(error: std::io::Error) -> Error {
    Error::Worker(format!("its engine cannot start: {error}"))
}

fn flatten(result: Result<Result<()>, oneshot::error::RecvError>) -> Result<()> {
    result.unwrap_or_else(|_| Err(Error::Worker("its engine broke down; its log says why".into())))
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A worker whose future is dropped has nobody to drain for.
struct AbortWhenDropped<F: Fn()>(F);

impl<F: Fn()> Drop for AbortWhenDropped<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn default_name() -> String {
    let program = std::env::current_exe().ok();
    let program = program
        .as_deref()
        .and_then(|path| path.file_stem())
        .map_or("worker".into(), |name| name.to_string_lossy());
    format!("{program}:{}@{}", std::process::id(), host_name())
}

fn host_name() -> String {
    let from_kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let from_env = || ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let name = from_kernel().or_else(from_env).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// Resolves at the next SIGTERM or SIGINT.
#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be listened to: this process stops only by force");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Resolves at the next Ctrl-C.
#[cfg(not(unix))]
async fn stop_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        tracing::error!("signals cannot be listened to: this process stops only by force");
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_handlers_of_one_name_and_none_at_all_are_refused() {
        let client = || Client::builder("http://127.0.0.1:9").connect_lazy().unwrap();
        let none = Worker::new(client()).run_until(async {}).await.unwrap_err();
        assert!(none.to_string().contains("no command"), "{none}");
        let handler = |_: Job, (): ()| async { Ok(()) };
        let twice = Worker::new(client()).named("a", handler).named("a", handler).run_until(async {}).await;
        assert!(twice.unwrap_err().to_string().contains("two handlers"));
    }
}
