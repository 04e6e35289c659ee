//! Periodic and background workers: work of this process that recurs, without jobs.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::errors::{Cancelled, Error, HandlerError, Result};
use crate::lock::{self, Held, Lock};
use crate::retry::Backoff;
use crate::switch;

/// Environment variable that switches periodic and background workers off.
const ENABLED: &str = "HAULIER_PERIODIC_ENABLED";
/// What a run has at least to end by itself once its lock is lost.
const LOST_TIME: Duration = Duration::from_millis(100);
/// A background worker that ran for so long begins anew with short waits when it fails.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// A name, characters.
const NAME_CHARS_MAX: usize = 128;

/// How a periodic worker runs: again and again, one period after the end of the run before.
#[must_use = "it does nothing until it is added"]
#[derive(Debug, Clone)]
pub struct Periodic {
    settings: Settings,
    period: Duration,
    runs_at_start: bool,
}

impl Periodic {
    /// A worker of this name, at most 128 characters of `A-Za-z0-9._:/-`. It runs for the first time after one period, and then
    /// each time one period after the end of the run before, whether that ended well or not: it never overlaps with itself.
    pub fn new(name: impl Into<String>, period: Duration) -> Self {
        Self { settings: Settings::of(name.into()), period, runs_at_start: false }
    }

    /// Runs at once when it is started, rather than after one period: for a singleton, each time this process becomes the one that
    /// does the work.
    pub fn run_at_start(mut self) -> Self {
        self.runs_at_start = true;
        self
    }
}

/// How a background worker runs: a loop of its own with a stop signal, started again with growing waits (1 s to 60 s) when it
/// fails or panics. One that ends well has ended.
#[must_use = "it does nothing until it is added"]
#[derive(Debug, Clone)]
pub struct Background {
    settings: Settings,
}

impl Background {
    /// A worker of this name, at most 128 characters of `A-Za-z0-9._:/-`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { settings: Settings::of(name.into()) }
    }
}

/// Where and how a worker of either kind runs.
macro_rules! singleton_settings {
    ($($kind:ident)*) => {$(
        impl $kind {
            /// Runs in one process of the whole cluster only: the one that holds the lock of the worker's name. When that process
            /// stops another takes over at once, and when it dies within the lease time.
            pub fn singleton(mut self) -> Self {
                self.settings.lock = Some(self.settings.name.clone());
                self
            }

            /// As `singleton`, by the lock of this name: workers that share one never run at the same time.
            pub fn singleton_by(mut self, lock: impl Into<String>) -> Self {
                self.settings.lock = Some(lock.into());
                self
            }

            /// Lease time of the lock of a singleton: how long another process waits before it takes over from one that has died.
            /// 5 s to 10 min. Default: 30 s.
            pub fn lease_time(mut self, time: Duration) -> Self {
                self.settings.lease_time = time;
                self
            }
        }
    )*};
}

singleton_settings!(Periodic Background);

#[derive(Debug, Clone)]
struct Settings {
    name: String,
    /// The lock of a singleton.
    lock: Option<String>,
    lease_time: Duration,
}

impl Settings {
    fn of(name: String) -> Self {
        Self { name, lock: None, lease_time: lock::LEASE_TIME }
    }

    fn check(&self) -> Result<()> {
        let names = [Some(&self.name), self.lock.as_ref()].into_iter().flatten();
        for name in names {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
            if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
                let why = "a name has 1 to 128 characters of A-Za-z0-9._:/-";
                return Err(Error::config(format!("the name {name:?} of a periodic worker"), why));
            }
        }
        Ok(())
    }
}

/// What recurs.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Periodic { period: Duration, runs_at_start: bool },
    Background,
}

/// What one run of a periodic or background worker gets; made afresh for each run.
#[derive(Clone)]
pub struct RunContext {
    name: Arc<str>,
    run: u64,
    client: Client,
    stop: CancellationToken,
    held: Option<Arc<Held>>,
}

impl RunContext {
    /// Name of the worker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of this run in this process, from 1.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// A client, to enqueue and the like.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Fencing token of the lock of a singleton: larger than that of every process that did the work before, to fence your own
    /// stores. None without a lock.
    pub fn fencing_token(&self) -> Option<i64> {
        self.held.as_ref().map(|held| held.fencing_token())
    }

    /// Resolves when the run is to end: the worker is stopped, or a singleton has lost its lock, and then the run is dropped soon.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the run is to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled() || self.held.as_ref().is_some_and(|held| !held.is_held())
    }

    /// Nothing while the run may go on, else [`Cancelled`], which ends it without an error: `run.check()?`.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_stopped() { Err(Cancelled) } else { Ok(()) }
    }

    /// A token that is cancelled when the run is to end. Cancelling it ends nothing.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.stop.child_token()
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext").field("name", &self.name).field("run", &self.run).finish_non_exhaustive()
    }
}

type Work = Box<dyn Fn(RunContext) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync>;

/// A group of periodic and background workers of this process. Each has its own loop on the runtime on which it is started; an
/// error or a panic ends one run only, and is logged. Nothing is stored: another process has its own, unless they are singletons.
///
/// [`Worker::periodic`](crate::Worker::periodic) and [`Worker::background`](crate::Worker::background) add to that of a worker
/// process, which runs and stops with it; a program without one makes its own:
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn purge() -> Result<(), std::io::Error> { Ok(()) }
/// use haulier::{Client, Periodic, PeriodicWorkers, RunContext};
///
/// # async fn example(client: Client) -> haulier::Result<()> {
/// let workers = PeriodicWorkers::new(client);
/// workers.add_periodic(
///     Periodic::new("purge", Duration::from_secs(600)).singleton(),
///     |run: RunContext| async move {
///         run.check()?;
///         purge().await?;
///         Ok(())
///     },
/// )?;
/// // ... and at the end
/// workers.stop().await;
/// # Ok(())
/// # }
/// ```
///
/// With `HAULIER_PERIODIC_ENABLED=false` in the environment none of them runs. When the last clone of the group is dropped its
/// workers end at their next `await`; [`Self::stop`] lets their runs end.
#[derive(Clone)]
pub struct PeriodicWorkers(Arc<Group>);

struct Group {
    client: Client,
    is_enabled: bool,
    is_on: AtomicBool,
    workers: Mutex<BTreeMap<String, PeriodicWorker>>,
}

impl PeriodicWorkers {
    /// A group whose workers run from when they are added, which must be on a tokio runtime.
    pub fn new(client: Client) -> Self {
        let group = Self::off(client);
        group.start();
        group
    }

    /// A group whose workers run from [`Self::start`] on.
    pub(crate) fn off(client: Client) -> Self {
        let is_enabled = switch::is_on(std::env::var(ENABLED).ok().as_deref());
        Self(Arc::new(Group { client, is_enabled, is_on: AtomicBool::new(false), workers: Mutex::default() }))
    }

    /// Adds a periodic worker. Refused when its name is taken or cannot be used, or its period is nothing.
    pub fn add_periodic<F, Fut>(&self, periodic: Periodic, run: F) -> Result<PeriodicWorker>
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let Periodic { settings, period, runs_at_start } = periodic;
        if period.is_zero() {
            let what = format!("the period of {}", settings.name);
            return Err(Error::config(what, "it is nothing: give the time from one run to the next"));
        }
        self.add(settings, Kind::Periodic { period, runs_at_start }, run)
    }

    /// Adds a background worker. Refused when its name is taken or cannot be used.
    pub fn add_background<F, Fut>(&self, background: Background, run: F) -> Result<PeriodicWorker>
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.add(background.settings, Kind::Background, run)
    }

    fn add<F, Fut>(&self, settings: Settings, kind: Kind, run: F) -> Result<PeriodicWorker>
    where
        F: Fn(RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        settings.check()?;
        let mut workers = self.workers();
        if workers.contains_key(&settings.name) {
            let what = format!("the periodic worker {}", settings.name);
            return Err(Error::config(what, "there is one of this name: give each its own"));
        }
        let name: Arc<str> = settings.name.as_str().into();
        let worker = PeriodicWorker(Arc::new(Inner {
            name,
            settings,
            kind,
            client: self.0.client.clone(),
            is_enabled: self.0.is_enabled,
            // The call itself may panic, too: it is made within the future.
            work: Box::new(move |context| Box::pin(run(context))),
            round: Mutex::default(),
            alone: tokio::sync::Mutex::default(),
            runs: AtomicU64::new(0),
            last_error: Mutex::default(),
        }));
        workers.insert(worker.0.settings.name.clone(), worker.clone());
        if self.0.is_on.load(Ordering::Relaxed) {
            worker.start();
        }
        Ok(worker)
    }

    /// The worker of this name.
    pub fn get(&self, name: &str) -> Option<PeriodicWorker> {
        self.workers().get(name).cloned()
    }

    /// Starts all that are not running, and from now on each that is added. Must be called on a tokio runtime.
    pub fn start(&self) {
        let workers = self.workers();
        self.0.is_on.store(true, Ordering::Relaxed);
        if !self.0.is_enabled {
            tracing::info!("{ENABLED} is false: this process runs no periodic and background workers");
            return;
        }
        workers.values().for_each(PeriodicWorker::start);
    }

    /// Tells all to stop, and waits until their runs have ended.
    pub async fn stop(&self) {
        let workers = self.signal_stop();
        futures::future::join_all(workers.iter().map(PeriodicWorker::stop)).await;
    }

    /// As [`Self::stop`]; runs that take longer than this are dropped at their next `await`.
    pub async fn stop_within(&self, time: Duration) {
        if timeout(time, self.stop()).await.is_err() {
            tracing::warn!("runs of periodic workers did not end in time and are dropped");
            self.abort();
        }
    }

    /// Tells all to stop, and starts none that is added later.
    pub(crate) fn signal_stop(&self) -> Vec<PeriodicWorker> {
        let workers = self.workers();
        self.0.is_on.store(false, Ordering::Relaxed);
        workers.values().for_each(PeriodicWorker::signal_stop);
        workers.values().cloned().collect()
    }

    /// Drops all runs at their next `await`.
    pub(crate) fn abort(&self) {
        self.signal_stop().iter().for_each(PeriodicWorker::abort);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.workers().is_empty()
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, PeriodicWorker>> {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers.values() {
            worker.signal_stop();
            worker.abort();
        }
    }
}

impl fmt::Debug for PeriodicWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeriodicWorkers").field(&self.workers().keys()).finish()
    }
}

/// A periodic or background worker of this process.
#[derive(Clone)]
pub struct PeriodicWorker(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    settings: Settings,
    kind: Kind,
    client: Client,
    is_enabled: bool,
    work: Work,
    round: Mutex<Option<Round>>,
    /// Held by its loop: one that is started while the one before still ends waits for that.
    alone: tokio::sync::Mutex<()>,
    runs: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// Its loop, from a start to a stop.
struct Round {
    stop: CancellationToken,
    ended: CancellationToken,
    abort: AbortHandle,
}

/// How the work of a loop ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was told to stop.
    Stopped,
    /// A background worker has ended by itself.
    Done,
}

impl PeriodicWorker {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is on: started, and neither stopped nor ended by itself. A singleton is on while it waits for its lock, too.
    pub fn is_running(&self) -> bool {
        self.round().as_ref().is_some_and(Round::is_on)
    }

    /// Runs that have ended, well or not.
    pub fn run_count(&self) -> u64 {
        self.0.runs.load(Ordering::Relaxed)
    }

    /// How the last run failed, if it did.
    pub fn last_error(&self) -> Option<String> {
        self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts it; does nothing while it is on, and with `HAULIER_PERIODIC_ENABLED=false`. Must be called on a tokio runtime.
    pub fn start(&self) {
        let mut round = self.round();
        if !self.0.is_enabled || round.as_ref().is_some_and(Round::is_on) {
            return;
        }
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (inner, stopped, end) = (self.0.clone(), stop.clone(), ended.clone().drop_guard());
        let task = tokio::spawn(async move {
            let _end = end;
            let _alone = inner.alone.lock().await;
            inner.live(&stopped).await;
        });
        *round = Some(Round { stop, ended, abort: task.abort_handle() });
    }

    /// Tells its run to stop, and waits for its end.
    pub async fn stop(&self) {
        self.signal_stop();
        let ended = self.round().as_ref().map(|round| round.ended.clone());
        if let Some(ended) = ended {
            ended.cancelled().await;
        }
    }

    fn signal_stop(&self) {
        if let Some(round) = &*self.round() {
            round.stop.cancel();
        }
    }

    fn abort(&self) {
        if let Some(round) = &*self.round() {
            round.abort.abort();
        }
    }

    fn round(&self) -> MutexGuard<'_, Option<Round>> {
        self.0.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PeriodicWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeriodicWorker")
            .field("name", &self.name())
            .field("is_running", &self.is_running())
            .field("run_count", &self.run_count())
            .finish_non_exhaustive()
    }
}

impl Round {
    fn is_on(&self) -> bool {
        !self.stop.is_cancelled() && !self.ended.is_cancelled()
    }
}

impl Inner {
    async fn live(&self, stop: &CancellationToken) {
        let Some(lock_name) = &self.settings.lock else {
            self.work(stop, None).await;
            return;
        };
        let mut backoff = Backoff::restarts();
        while !stop.is_cancelled() {
            let wish = self.client.lock(lock_name).owner(&*self.name).lease_time(self.settings.lease_time);
            let acquired = tokio::select! {
                acquired = wish.acquire() => acquired,
                () = stop.cancelled() => return,
            };
            match acquired {
                Ok(lock) => {
                    backoff.reset();
                    if self.work_alone(stop, lock).await == End::Done {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(worker = &*self.name, lock = lock_name, %error, "no lock: asking again");
                    pause(backoff.next(rand::random()), stop).await;
                }
            }
        }
    }

    /// Works while the lock is held. When it is lost the run is told to stop, and dropped before another can hold the lock; when
    /// another may hold it already, at once.
    async fn work_alone(&self, stop: &CancellationToken, lock: Lock) -> End {
        let told = stop.child_token();
        let lost = async {
            lock.lost().await;
            told.cancel();
            sleep(lock.time_left().max(LOST_TIME)).await;
        };
        let end = tokio::select! {
            biased;
            end = self.work(&told, Some(lock.held())) => end,
            () = lost => End::Stopped,
        };
        if let Err(error) = lock.release().await {
            tracing::warn!(worker = &*self.name, %error, "a lock could not be released: its lease time ends it");
        }
        end
    }

    async fn work(&self, stop: &CancellationToken, held: Option<Arc<Held>>) -> End {
        match self.kind {
            Kind::Periodic { period, runs_at_start } => {
                let mut is_due = runs_at_start;
                loop {
                    if !std::mem::take(&mut is_due) {
                        pause(period, stop).await;
                    }
                    if stop.is_cancelled() {
                        return End::Stopped;
                    }
                    // An error is told and remembered, and the next run comes after it as after any other.
                    self.run_once(stop, held.clone()).await;
                }
            }
            Kind::Background => {
                let mut backoff = Backoff::restarts();
                while !stop.is_cancelled() {
                    let begun = Instant::now();
                    if self.run_once(stop, held.clone()).await {
                        if stop.is_cancelled() {
                            return End::Stopped;
                        }
                        tracing::info!(worker = &*self.name, "a background worker has ended by itself");
                        return End::Done;
                    }
                    if begun.elapsed() > STABLE_AFTER {
                        backoff.reset();
                    }
                    pause(backoff.next(rand::random()), stop).await;
                }
                End::Stopped
            }
        }
    }

    /// Runs once. Whether it ended well.
    async fn run_once(&self, stop: &CancellationToken, held: Option<Arc<Held>>) -> bool {
        let run = self.runs.load(Ordering::Relaxed) + 1;
        let context = RunContext {
            name: self.name.clone(),
            run,
            client: self.client.clone(),
            stop: stop.clone(),
            held,
        };
        let running = async { (self.work)(context).await };
        let error = match AssertUnwindSafe(running).catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(error)) if error.is_cancelled() && stop.is_cancelled() => None,
            Ok(Err(error)) => Some(format!("{}: {}", error.code(), error.message())),
            Err(panic) => Some(format!("it panicked: {}", said(&*panic))),
        };
        if let Some(error) = &error {
            tracing::error!(worker = &*self.name, run, error, "a run of a periodic worker failed");
        }
        self.runs.store(run, Ordering::Relaxed);
        let is_well = error.is_none();
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
        is_well
    }
}

/// Waits, or until it is to stop.
async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(time) => {}
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it did not say why")
}
