//! What the Rust scenarios stand on: the names of this run, workers for the time of a future, and expectations.

use std::fmt::Debug;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use anyhow::{Result, bail, ensure};
use futures::TryStreamExt as _;
use haulier::options::Backoff;
use haulier::proto as pb;
use haulier::{
    Cancelled, Client, Code, Error, HandlerError, Job, JobCancelled, JobEvent, JobFailed, JobFilter,
    JobTarget, RetryPolicy, Watch, Worker,
};
pub(crate) use haulier_tests::Signal;
use rustix::process::{Pid, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Fresh for each start: what every name ends in.
pub(crate) static RUN: LazyLock<String> =
    LazyLock::new(|| uuid::Uuid::new_v4().simple().to_string().split_off(20));
pub(crate) const LANGUAGE: &str = "rust";
/// A scenario that has not ended by then fails.
pub(crate) const LONGEST: Duration = Duration::from_secs(80);
/// How long the end of a worker is waited for.
const END_TIME: Duration = Duration::from_secs(15);

/// A name of this run.
pub(crate) fn named(word: &str) -> String {
    format!("{word}-{}", *RUN)
}

/// What was seen must be what was wanted.
pub(crate) fn expect<S: PartialEq<W> + Debug, W: Debug>(what: &str, seen: S, wanted: W) -> Result<()> {
    ensure!(seen == wanted, "{what}: expected {wanted:?}, saw {seen:?}");
    Ok(())
}

/// What must be there.
pub(crate) fn present<T>(what: &str, value: Option<T>) -> Result<T> {
    match value {
        Some(value) => Ok(value),
        None => bail!("{what}: expected one, saw none"),
    }
}

/// The call must fail because the job failed; the failure is given back.
pub(crate) async fn failure<T: Debug>(
    what: &str,
    call: impl IntoFuture<Output = haulier::Result<T>>,
) -> Result<JobFailed> {
    match error_of(what, call).await? {
        Error::JobFailed(failed) => Ok(*failed),
        other => bail!("{what}: expected a failed job, got {other}"),
    }
}

/// The call must fail because the job was cancelled; how that came about is given back.
pub(crate) async fn cancellation<T: Debug>(
    what: &str,
    call: impl IntoFuture<Output = haulier::Result<T>>,
) -> Result<JobCancelled> {
    match error_of(what, call).await? {
        Error::JobCancelled(cancelled) => Ok(*cancelled),
        other => bail!("{what}: expected a cancelled job, got {other}"),
    }
}

/// The server must refuse the call with this code; its error is given back.
pub(crate) async fn refusal<T: Debug>(
    what: &str,
    code: Code,
    call: impl IntoFuture<Output = haulier::Result<T>>,
) -> Result<Error> {
    let error = error_of(what, call).await?;
    ensure!(error.code() == Some(code), "{what}: expected {code:?}, got {error}");
    Ok(error)
}

async fn error_of<T: Debug>(what: &str, call: impl IntoFuture<Output = haulier::Result<T>>) -> Result<Error> {
    match call.await {
        Ok(answer) => bail!("{what}: expected an error, got the answer {answer:?}"),
        Err(error) => Ok(error),
    }
}

/// The fields that a refusal names.
pub(crate) fn fields(error: &Error) -> Vec<&str> {
    error.violations().iter().map(|violation| violation.field.as_str()).collect()
}

/// Asks until the answer is there, and gives it back.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let limit = Duration::from_secs(20);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "{what}: it did not come to pass within {limit:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// This machine's wall clock.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + haulier_tests::since_epoch()
}

/// A time of the server, which must be there, since 1970.
pub(crate) fn time(what: &str, time: Option<prost_types::Timestamp>) -> Result<Duration> {
    let time = present(what, time)?;
    Ok(Duration::new(time.seconds.try_into()?, time.nanos.try_into()?))
}

/// A worker of the queue.
pub(crate) fn worker(client: &Client, queue: &str) -> Worker {
    Worker::new(client.clone()).queues([queue])
}

/// A worker that runs for the time of a future; registered when that begins, drained when it ends.
pub(crate) async fn working<T>(worker: Worker, story: impl Future<Output = Result<T>>) -> Result<T> {
    let (registered, stop) = (worker.registered(), CancellationToken::new());
    let worker = worker.drain_time(Duration::from_secs(2)).run_until(stop.clone().cancelled_owned());
    let mut running = tokio::spawn(worker);
    let story = async {
        registered.await;
        story.await
    };
    let told = tokio::select! {
        told = story => told,
        ended = &mut running => bail!("the worker ended before the story: {ended:?}"),
    };
    stop.cancel();
    match timeout(END_TIME, running).await {
        Ok(ended) => told.and_then(|told| ended?.map(|()| told).map_err(Into::into)),
        Err(_) => told.and_then(|_| bail!("the worker did not end within {END_TIME:?}")),
    }
}

/// What handlers note down for their scenario. Clones are the same notes.
#[derive(Debug)]
pub(crate) struct Notes<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone> Notes<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn add(&self, note: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T> Clone for Notes<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Waits until the job is told to stop, and obeys.
pub(crate) async fn told_to_stop<T>(job: Job) -> Result<T, HandlerError> {
    job.cancelled().await;
    Err(Cancelled.into())
}

/// What is shown of a job.
pub(crate) async fn summary(client: &Client, job: impl Into<JobTarget>) -> Result<pb::JobSummary> {
    present("the summary of a job", client.get(job).await?.summary)
}

/// Every attempt of a job, of all runs.
pub(crate) async fn attempts_of(client: &Client, job: i64) -> Result<Vec<pb::JobAttempt>> {
    Ok(client.list_attempts(job).pages().try_collect().await?)
}

/// How each attempt of a job ended.
pub(crate) async fn outcomes_of(client: &Client, job: i64) -> Result<Vec<pb::AttemptOutcome>> {
    Ok(attempts_of(client, job).await?.iter().map(pb::JobAttempt::outcome).collect())
}

/// Summaries of the jobs that match.
pub(crate) async fn jobs_of(client: &Client, filter: JobFilter) -> Result<Vec<pb::JobSummary>> {
    Ok(client.list_jobs(filter).pages().try_collect().await?)
}

/// Reads a watch until this line is seen.
pub(crate) async fn says(mut events: Watch, text: &str) -> Result<()> {
    while let Some(event) = events.try_next().await? {
        match event.event {
            JobEvent::Logs(lines) if lines.iter().any(|line| line.message == text) => return Ok(()),
            _ => {}
        }
    }
    bail!("expected the job to log {text:?}, it ended without")
}

/// Reads a watch until callback and notification have ended, and gives the job back as it then is.
pub(crate) async fn notified(client: &Client, job: i64) -> Result<pb::JobResult> {
    let _: Vec<_> = client.watch(job).until(pb::WatchUntil::Notified).try_collect().await?;
    Ok(client.get(job).await?)
}

/// So many retries, always so long after the failure.
pub(crate) fn fixed(retries: u16, milliseconds: u64) -> RetryPolicy {
    let delay = Duration::from_millis(milliseconds);
    RetryPolicy::new().retry_limit(retries).backoff(Backoff::Fixed).first_delay(delay)
}

/// A worker program of some language, in a process of its own; killed when it is dropped.
pub(crate) struct WorkerProgram {
    language: String,
    child: Child,
}

impl WorkerProgram {
    /// Starts it and waits until it is registered.
    pub(crate) async fn start(language: &str, queue: &str, drain_time: Duration) -> Result<Self> {
        let command = std::env::var(variable_of(language))?;
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .env("HAULIER_SCENARIO_QUEUE", queue)
            .env("HAULIER_SCENARIO_LEASE_SECONDS", "5")
            .env("HAULIER_SCENARIO_DRAIN_SECONDS", drain_time.as_secs_f64().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(present("its output", child.stdout.take())?).lines();
        let what = format!("the first line of the {language} worker program");
        match timeout(Duration::from_secs(30), lines.next_line()).await {
            Ok(line) => expect(&what, line?.as_deref(), Some("ready"))?,
            Err(_) => bail!("{what}: expected \"ready\", saw nothing for 30 s"),
        }
        Ok(Self { language: language.to_owned(), child })
    }

    pub(crate) fn send(&self, signal: Signal) -> Result<()> {
        let id = present("the id of a running worker program", self.child.id())?;
        Ok(kill_process(present("a process id", Pid::from_raw(id.try_into()?))?, signal)?)
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        match timeout(END_TIME, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("the {} worker program did not end within {END_TIME:?}", self.language),
        }
    }
}

/// How long running handlers of a worker program may go on after SIGTERM, when nothing else is wanted.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The languages whose worker programs are there.
pub(crate) fn languages() -> Vec<&'static str> {
    let is_there = |language: &&str| std::env::var(variable_of(language)).is_ok_and(|text| !text.is_empty());
    ["python", "typescript", "rust"].into_iter().filter(is_there).collect()
}

fn variable_of(language: &str) -> String {
    format!("HAULIER_SCENARIO_WORKER_{}", language.to_uppercase())
}
