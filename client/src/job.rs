//! The job in the hands of its handler.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use haulier_proto::v1 as pb;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::command::Command;
use crate::enqueue::{Enqueue, EnqueueItem};
use crate::errors::{Cancelled, Error, Result};
use crate::handle::result_of;
use crate::options::{Heritage, system_time};
use crate::payload::Payload;
use crate::report::{CheckpointState, LeaseKey, Line, cut};
use crate::session::{Hub, Signals};

const STATUS_BYTES_MAX: usize = 4 << 10;

/// A running job: who it is, what it reports, and whether it is to stop. Cloning is cheap; clones are the same job.
#[derive(Clone)]
pub struct Job(Arc<Inner>);

struct Inner {
    lease: pb::LeasedJob,
    key: LeaseKey,
    hub: Arc<Hub>,
    signals: Arc<Signals>,
    client: Arc<Client>,
    /// Made when it is asked for: few handlers enqueue.
    descending: OnceLock<Client>,
    with_result: Mutex<Vec<pb::EnqueueItem>>,
}

/// Why a handler is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// A client cancelled the job.
    Client,
    /// The timeout of the attempt is over; 10 s later the handler is dropped.
    Timeout,
    /// The worker process drains, and the time for that is over.
    Drain,
    /// The lease is lost: somebody else may run the job, and nothing that this handler does counts any more.
    LeaseLost,
    /// The lease of a strict job could not be renewed in time and may soon be lost.
    LeaseInDoubt,
}

/// That a handler is to stop, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Why.
    pub reason: StopReason,
    /// Why, in words; may be empty.
    pub message: String,
}

impl Job {
    pub(crate) fn new(
        lease: pb::LeasedJob,
        key: LeaseKey,
        hub: Arc<Hub>,
        signals: Arc<Signals>,
        client: Arc<Client>,
    ) -> Self {
        let (descending, with_result) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { lease, key, hub, signals, client, descending, with_result }))
    }

    // Who it is.

    /// Id of the job. A transient run has none (0).
    pub fn id(&self) -> i64 {
        self.0.lease.job_id
    }

    /// Ref id of the job.
    pub fn ref_id(&self) -> &str {
        &self.0.lease.ref_id
    }

    /// Name of the command.
    pub fn command(&self) -> &str {
        match &self.0.lease.work {
            Some(pb::leased_job::Work::Command(command)) => command,
            _ => "",
        }
    }

    /// Run of the job, from 1: a requeue starts a new one.
    pub fn run(&self) -> i32 {
        self.0.lease.run
    }

    /// Number of this attempt in the run, from 1.
    pub fn attempt(&self) -> i32 {
        self.0.lease.attempt
    }

    /// How often in this run its worker process went away while it ran.
    pub fn crashes(&self) -> i32 {
        self.0.lease.crashes
    }

    /// Larger than that of every earlier attempt of the job: hand it to your own stores, and have them refuse smaller ones than
    /// the largest they have seen. Below 2^53.
    pub fn fencing_token(&self) -> i64 {
        self.0.lease.fencing_token
    }

    /// User on whose behalf it runs.
    pub fn user_id(&self) -> Option<&str> {
        Some(self.0.lease.user_id.as_str()).filter(|user| !user.is_empty())
    }

    /// Claims of that user.
    pub fn user_claims(&self) -> &HashMap<String, String> {
        &self.0.lease.user_claims
    }

    /// A free argument that was enqueued beside the request.
    pub fn arg(&self, name: &str) -> Option<&str> {
        self.options().args.get(name).map(String::as_str)
    }

    /// The free arguments that were enqueued beside the request.
    pub fn args(&self) -> &HashMap<String, String> {
        &self.options().args
    }

    /// The options with their defaults filled in: queue, tag, batch id, `reply_to` in mode CARRY, and the rest.
    pub fn options(&self) -> &pb::JobOptions {
        static DEFAULT: std::sync::LazyLock<pb::JobOptions> = std::sync::LazyLock::new(Default::default);
        self.0.lease.options.as_ref().unwrap_or(&DEFAULT)
    }

    /// Error of the attempt before this one.
    pub fn last_error(&self) -> Option<&pb::JobError> {
        self.0.lease.last_error.as_ref()
    }

    /// The jobs that it depends on, else the one it descends from, as they were sent along.
    pub fn parents(&self) -> &[pb::ParentResult] {
        &self.0.lease.parents
    }

    /// Result of a parent, read as `T`; asks the server for it when it was too large to be sent along.
    pub async fn parent_result<T: DeserializeOwned>(&self, job_id: i64) -> Result<T> {
        let sent = self.parents().iter().find(|parent| parent.job_id == job_id && !parent.by_reference);
        match sent {
            Some(parent) => Payload::from(parent.result.clone()).read(),
            None => result_of(self.0.client.get(job_id).await?)?.read(),
        }
    }

    /// When the job was stored, by the database's clock. For people; never compare it with the local clock.
    pub fn enqueue_time(&self) -> Option<SystemTime> {
        system_time(self.0.lease.enqueue_time)
    }

    /// Name of the recurring task that made the job.
    pub fn recurring_task(&self) -> Option<&str> {
        Some(self.0.lease.recurring_task.as_str()).filter(|name| !name.is_empty())
    }

    /// Everything that the server sent with the job, its request left out.
    pub fn lease(&self) -> &pb::LeasedJob {
        &self.0.lease
    }

    // What it reports.

    /// Reports how much of the work is done, 0 to 1. Sent at most twice a second, the latest wins.
    pub fn progress(&self, fraction: f64) {
        if !fraction.is_nan() {
            self.0.hub.tell(|state| state.progress(self.0.key, Some(fraction.clamp(0.0, 1.0)), None));
        }
    }

    /// As [`Self::progress`], with a status line, as in [`Self::status`]: who watches sees both at once.
    pub fn progress_with(&self, fraction: f64, status: impl Into<String>) {
        let fraction = Some(fraction).filter(|fraction| !fraction.is_nan());
        let status = cut(status.into(), STATUS_BYTES_MAX);
        let done = fraction.map(|fraction| fraction.clamp(0.0, 1.0));
        self.0.hub.tell(|state| state.progress(self.0.key, done, Some(status)));
    }

    /// Reports a status line; at most 4 KiB, what is longer is cut and says so. Sent at most twice a second, the latest wins.
    pub fn status(&self, status: impl Into<String>) {
        let status = cut(status.into(), STATUS_BYTES_MAX);
        self.0.hub.tell(|state| state.progress(self.0.key, None, Some(status)));
    }

    /// Logs a line. Waits while the job has 1 MiB of lines that the server has not stored yet. A line is at most 16 KiB; what is
    /// longer is cut and says so.
    pub async fn log(&self, level: pb::LogLevel, message: impl Into<String>) {
        self.log_with(level, message, HashMap::new()).await;
    }

    /// As [`Self::log`], with at most 64 structured fields.
    pub async fn log_with(
        &self,
        level: pb::LogLevel,
        message: impl Into<String>,
        fields: HashMap<String, String>,
    ) {
        let line = Line::new(Instant::now(), level, message.into(), fields);
        self.0.hub.until(|state| state.log(self.0.key, line.clone()).then_some(())).await;
    }

    /// Logs a line at the level DEBUG.
    pub async fn debug(&self, message: impl Into<String>) {
        self.log(pb::LogLevel::Debug, message).await;
    }

    /// Logs a line at the level INFO.
    pub async fn info(&self, message: impl Into<String>) {
        self.log(pb::LogLevel::Info, message).await;
    }

    /// Logs a line at the level WARN.
    pub async fn warn(&self, message: impl Into<String>) {
        self.log(pb::LogLevel::Warn, message).await;
    }

    /// Logs a line at the level ERROR.
    pub async fn error(&self, message: impl Into<String>) {
        self.log(pb::LogLevel::Error, message).await;
    }

    /// Logs a line without waiting: when there is no room it is left out, and the next line that finds room says how many were.
    pub(crate) fn log_now(&self, level: pb::LogLevel, message: String, fields: HashMap<String, String>) {
        let line = Line::new(Instant::now(), level, message, fields);
        self.0.hub.tell(|state| state.log_or_leave_out(self.0.key, line));
    }

    /// Stores what the next attempt gets from [`Self::last_checkpoint`], should this one not end; at most 1 MiB by default.
    /// Returns when it is stored.
    pub async fn checkpoint<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.checkpoint_payload(Payload::json(value)?).await
    }

    /// As [`Self::checkpoint`], with a payload as it is.
    pub async fn checkpoint_payload(&self, payload: Payload) -> Result<()> {
        let inner = &*self.0;
        let told = inner.hub.tell(|state| state.checkpoint(inner.key, payload.into()));
        let sequence = told.ok_or(Error::LeaseLost("the checkpoint"))?;
        let settled = |state: CheckpointState| (state != CheckpointState::Waiting).then_some(state);
        match inner.hub.until(|state| settled(state.checkpoint_state(inner.key, sequence))).await {
            CheckpointState::Refused(why) => Err(Error::Refused { what: "the checkpoint", why }),
            CheckpointState::LeaseLost => Err(Error::LeaseLost("the checkpoint")),
            CheckpointState::Stored | CheckpointState::Waiting => Ok(()),
        }
    }

    /// The checkpoint that an earlier attempt stored; none when there is none.
    pub fn last_checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        match &self.0.lease.checkpoint {
            Some(checkpoint) => Payload::from(Some(checkpoint.clone())).read().map(Some),
            None => Ok(None),
        }
    }

    // Whether it is to stop.

    /// Resolves when the handler is to stop, with the reason. Then end with what is done, or with [`Cancelled`].
    pub async fn cancelled(&self) -> Stop {
        self.0.signals.stopped().await
    }

    /// Whether the handler is to stop, and why.
    pub fn stop(&self) -> Option<Stop> {
        self.0.signals.state().stop
    }

    /// Fails with [`Cancelled`] when the handler is to stop: `job.check()?` between the steps of a loop.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.0.signals.token().is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// A token that is cancelled when the handler is to stop, for libraries that take one.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.0.signals.token().child_token()
    }

    /// Whether the lease could not be renewed in time, so that somebody else may soon run the job.
    pub fn is_in_doubt(&self) -> bool {
        self.0.signals.state().is_in_doubt
    }

    // What it enqueues.

    /// A client whose jobs descend from this one: unless they say otherwise they get it as their parent, its user and claims, and
    /// its trace context.
    pub fn client(&self) -> &Client {
        let Inner { client, descending, lease, .. } = &*self.0;
        descending.get_or_init(|| client.inheriting(Arc::new(heritage(lease))))
    }

    /// Enqueues a job that descends from this one, at once. With [`Enqueue::depends_on`] this job's id it waits until this one has
    /// completed.
    pub fn enqueue<C: Command>(&self, command: C) -> Enqueue<C::Output> {
        self.client().enqueue(command)
    }

    /// As [`Self::enqueue`], for a command known by its name only.
    pub fn enqueue_named<A: Serialize>(
        &self,
        command: impl Into<String>,
        args: A,
    ) -> Enqueue<serde_json::Value> {
        self.client().enqueue_named(command, args)
    }

    /// Adds a job that is stored together with this one's result, in one transaction: only if it completes. At most 1,000.
    pub fn enqueue_with_result(&self, item: impl EnqueueItem) -> Result<()> {
        let item = item.into_enqueue_item(String::new())?;
        self.0.with_result.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        Ok(())
    }

    pub(crate) fn take_with_result(&self) -> Vec<pb::EnqueueItem> {
        std::mem::take(&mut *self.0.with_result.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn heritage(lease: &pb::LeasedJob) -> Heritage {
    let trace =
        |part: fn(&pb::JobOptions) -> &String| lease.options.as_ref().map(part).cloned().unwrap_or_default();
    Heritage {
        parent_id: lease.job_id,
        user_id: lease.user_id.clone(),
        user_claims: lease.user_claims.clone(),
        traceparent: trace(|options| &options.traceparent),
        tracestate: trace(|options| &options.tracestate),
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id())
            .field("command", &self.command())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
