//! What callers bring to the engine and what they get: plain data, free of protobuf and of SQL.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{
    Attempt, CancelReason, Condition, Definition, Ended, Epoch, Fence, Filter, JobId, Level, LiveCounts,
    LogLine, Month, Order, Payload, QueueSetting, RefPolicy, Run, ServedCommand, SessionId, Spec, State,
    Task, Time, View,
};
use crate::store::{Finish, LeasedJob, NewJob};

/// A job to enqueue; checked by the caller of the engine.
#[derive(Clone, Debug)]
pub struct EnqueueCall {
    /// What was asked for; `run_after` is absolute already.
    pub spec: Box<Spec>,
    /// The request.
    pub request: Payload,
    /// What to do when the ref id is taken.
    pub ref_policy: RefPolicy,
    /// `delay` of the options; the engine turns it into `run_after` by the database's clock.
    pub delay: Option<Duration>,
    /// Jobs to wait for, as they were named.
    pub parents: Vec<ParentCall>,
}

/// A job to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentCall {
    /// Which.
    pub key: ParentKey,
    /// How it must have ended.
    pub condition: Condition,
}

/// How a parent is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ParentKey {
    /// By id.
    Id(JobId),
    /// By ref id.
    Ref(String),
    /// By the local key of an item of the same call.
    Local(String),
}

/// One of several jobs that are stored together.
#[derive(Clone, Debug)]
pub struct BatchItem {
    /// Its name within the call; may be empty.
    pub local_key: String,
    /// The job.
    pub call: EnqueueCall,
    /// Its path in the request, for errors.
    pub field: String,
}

/// Jobs to be stored together.
#[derive(Clone, Debug)]
pub struct BatchCall {
    /// The jobs.
    pub items: Vec<BatchItem>,
    /// The batch id of those that set none; empty: one is made.
    pub batch_id: String,
    /// Makes a repeat answer the same; may be empty.
    pub request_id: String,
}

/// The answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchAnswer {
    /// The batch id.
    pub batch_id: String,
    /// The jobs, in the order of the items.
    pub jobs: Vec<EnqueueAnswer>,
}

/// The jobs of a batch, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// How many stand in which state.
    pub states: BTreeMap<State, i64>,
    /// When the first was stored.
    pub create_time: Option<Time>,
    /// When the last had its outcome; none while any has none.
    pub finish_time: Option<Time>,
}

/// The answer to an enqueue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnqueueAnswer {
    /// The job.
    pub job: JobId,
    /// Its ref id.
    pub ref_id: String,
    /// Whether this call stored it.
    pub created: bool,
    /// How it stands.
    pub state: State,
}

/// How a caller names a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKey {
    /// By id.
    Id(JobId),
    /// By ref id.
    Ref(String),
}

/// A page of jobs that is asked for.
#[derive(Clone, Debug)]
pub struct ListCall {
    /// Which jobs.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Only those of this month of creation.
    pub month: Option<Month>,
    /// Jobs at most.
    pub page_size: usize,
    /// The token of the page before; empty for the first page.
    pub page_token: String,
}

/// A page, with the token of the next one; empty when there is none.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// The token of the next page; empty when there is none.
    pub next: String,
}

/// A page of log lines that is asked for.
#[derive(Clone, Debug)]
pub struct LogsCall {
    /// The job.
    pub job: JobId,
    /// Only lines of this run; none for all.
    pub run: Option<Run>,
    /// Only lines of this attempt's epoch; none for all.
    pub epoch: Option<Epoch>,
    /// Only lines after this sequence, within that epoch.
    pub after_sequence: i64,
    /// At least this bad.
    pub level: Level,
    /// Lines at most.
    pub page_size: usize,
    /// The token of the page before; empty for the first page.
    pub page_token: String,
}

/// A command to run now, without storing anything.
#[derive(Clone, Debug)]
pub struct RunCall {
    /// What was asked for.
    pub spec: Box<Spec>,
    /// The request.
    pub request: Payload,
    /// How long the caller waits.
    pub wait: RunWait,
    /// How long it waits for a worker process that serves the command.
    pub patience: Duration,
}

/// How long the caller of a transient run waits for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunWait {
    /// Not at all.
    Detached,
    /// At most so long; none: until it has ended, which its timeout sees to.
    Until(Option<Duration>),
}

/// A transient run as it stands when its caller is answered.
#[derive(Clone, Debug)]
pub struct RunAnswer {
    /// The run.
    pub view: View,
    /// The time by which its state counts.
    pub now: Time,
}

/// A cancel request.
#[derive(Clone, Debug)]
pub struct CancelCall {
    /// The job.
    pub job: JobKey,
    /// Why, in words.
    pub text: String,
    /// The kind of reason.
    pub reason: CancelReason,
    /// What a running handler has to end by itself.
    pub grace: Duration,
}

/// What came of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelResult {
    /// It will never start.
    Cancelled,
    /// Its worker process will be told.
    Requested,
    /// It had ended before.
    AlreadyFinished,
}

/// What is done with the jobs that match a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// They are counted.
    Count,
    /// They are cancelled, or requeued.
    Act,
}

/// A cancel of all jobs that match.
#[derive(Clone, Debug)]
pub struct CancelManyCall {
    /// Which jobs.
    pub filter: Filter,
    /// Why, in words.
    pub text: String,
    /// What running handlers have to end by themselves.
    pub grace: Duration,
    /// Whether they are only counted.
    pub bulk: Bulk,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelledMany {
    /// Matched and had not ended.
    pub matched: i64,
    /// Will never start.
    pub cancelled: i64,
    /// Run, and were told to stop.
    pub requested: i64,
}

/// A requeue of all failed or cancelled jobs that match.
#[derive(Clone, Debug)]
pub struct RequeueManyCall {
    /// Which jobs.
    pub filter: Filter,
    /// Of this month of creation; none: of the two newest.
    pub month: Option<Month>,
    /// Whether their dependants are requeued too that were cancelled because of them.
    pub dependants: bool,
    /// Whether they are only counted.
    pub bulk: Bulk,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequeuedMany {
    /// Matched and had failed or were cancelled.
    pub matched: i64,
    /// Began a new run, dependants among them.
    pub requeued: i64,
}

/// A queue: how it is set, and how it fares.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Its name, and what is set for it.
    pub setting: QueueSetting,
    /// Its jobs that have not ended; at most two seconds old.
    pub live: LiveCounts,
    /// Live worker processes that serve it.
    pub workers: usize,
}

/// A recurring task as its program declares it.
#[derive(Clone, Debug)]
pub struct PutTaskCall {
    /// Its name.
    pub name: String,
    /// What it is; whether it is enabled is said by `enabled`.
    pub definition: Definition,
    /// Whether it is due at all; none: as it was, or yes for a new one.
    pub enabled: Option<bool>,
    /// The request of each run.
    pub request: Payload,
}

/// What a put of a recurring task came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutTask {
    /// It was made.
    Created,
    /// Its definition changed.
    Updated,
    /// It was so already.
    Unchanged,
}

/// A recurring task with its last run.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// The task.
    pub task: Task,
    /// The job of the last run, if it is still known.
    pub last: Option<View>,
}

/// A page of recurring tasks that is asked for.
#[derive(Clone, Debug)]
pub struct ListTasksCall {
    /// Only those whose name starts so.
    pub name_prefix: String,
    /// Only those of this command.
    pub command: String,
    /// Only those that are paused, or that are not.
    pub paused: Option<bool>,
    /// Only those that are enabled, or that are not.
    pub enabled: Option<bool>,
    /// Tasks at most.
    pub page_size: usize,
    /// The token of the page before; empty for the first page.
    pub page_token: String,
}

/// A run that was triggered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggered {
    /// The job.
    pub job: JobId,
    /// Its ref id.
    pub ref_id: String,
    /// Whether this call made it.
    pub created: bool,
}

/// A worker process that registers.
#[derive(Clone, Debug)]
pub struct RegisterCall {
    /// Its name.
    pub name: String,
    /// Fresh for each start.
    pub instance_id: String,
    /// What it serves.
    pub commands: Vec<ServedCommand>,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// The targets whose API calls it makes, in every queue.
    pub targets: Vec<String>,
    /// Labels for people.
    pub labels: BTreeMap<String, String>,
    /// Jobs it runs at once.
    pub slots: i32,
    /// Name and version of its SDK; may be empty.
    pub sdk: String,
    /// The lease time it wishes for, within the limits.
    pub lease_time: Duration,
}

/// A claim.
#[derive(Clone, Copy, Debug)]
pub struct ClaimCall {
    /// The session.
    pub session: SessionId,
    /// The loop.
    pub claim_loop: i32,
    /// The call's number in its loop.
    pub sequence: i64,
    /// The highest answer that brought jobs and arrived.
    pub ack_sequence: i64,
    /// Jobs at most.
    pub max_jobs: usize,
    /// How long to wait for one.
    pub wait: Duration,
}

/// The jobs of a claim, with the time by the clock that their leases count from.
#[derive(Clone, Debug)]
pub struct ClaimAnswer {
    /// The jobs.
    pub jobs: Vec<LeasedJob>,
    /// The database's time when this was answered.
    pub now: Time,
}

/// One message of a worker process, in the order in which its parts are taken.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Log lines.
    pub logs: Vec<LogsReport>,
    /// Checkpoints.
    pub checkpoints: Vec<CheckpointReport>,
    /// Progress.
    pub progress: Vec<ProgressReport>,
    /// Claim answers that arrived: (loop, sequence).
    pub received: Vec<(i32, i64)>,
    /// Ends of attempts.
    pub outcomes: Vec<OutcomeReport>,
    /// A sign of life with the inventory.
    pub heartbeat: Option<Heartbeat>,
}

/// Log lines of one lease.
#[derive(Clone, Debug)]
pub struct LogsReport {
    /// The lease.
    pub fence: Fence,
    /// The line before the first of these.
    pub from_sequence: i64,
    /// The lines: how long ago, how bad, text, fields as a JSON object.
    pub lines: Vec<(Duration, Level, String, String)>,
    /// What they cost of the log credit.
    pub bytes: i64,
}

/// A checkpoint of one lease.
#[derive(Clone, Debug)]
pub struct CheckpointReport {
    /// The lease.
    pub fence: Fence,
    /// Its number within the run.
    pub sequence: i64,
    /// What the next attempt gets.
    pub payload: Payload,
    /// What it costs of the log credit.
    pub bytes: i64,
}

/// Progress of one lease.
#[derive(Clone, Debug)]
pub struct ProgressReport {
    /// The lease.
    pub fence: Fence,
    /// From 0 to 1; none: as before.
    pub progress: Option<f64>,
    /// The status line; none: as before.
    pub status: Option<String>,
}

/// The end of one attempt.
#[derive(Clone, Debug)]
pub struct OutcomeReport {
    /// The lease.
    pub fence: Fence,
    /// Stored with or after the log lines up to here.
    pub log_sequence: i64,
    /// How it ended.
    pub ended: Ended,
    /// The result of a completed attempt.
    pub result: Payload,
    /// Jobs to store with it.
    pub follow: Vec<BatchItem>,
}

impl OutcomeReport {
    /// The end that it tells, with the jobs that are stored with it.
    pub(crate) fn finish(&self, follow: Vec<NewJob>) -> Finish {
        let OutcomeReport { fence, log_sequence, ended, result, .. } = self;
        Finish {
            fence: *fence,
            ended: ended.clone(),
            result: result.clone(),
            log_sequence: *log_sequence,
            follow,
        }
    }
}

/// A sign of life with everything that the worker process holds.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    /// Its number.
    pub beat: i64,
    /// How far each claim loop is.
    pub loops: Vec<LoopReport>,
    /// Every lease held.
    pub leases: Vec<Fence>,
}

/// How far a claim loop is.
#[derive(Clone, Copy, Debug)]
pub struct LoopReport {
    /// The loop.
    pub claim_loop: i32,
    /// The highest sequence whose answer arrived.
    pub received: i64,
    /// The highest sequence sent.
    pub sent: i64,
    /// Whether its answer may still come.
    pub sent_open: bool,
}

/// Who wants a handler to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A client cancelled the job.
    Client,
    /// The attempt's timeout is over.
    Timeout,
}

/// What goes down to a worker process.
#[derive(Clone, Debug)]
pub enum Down {
    /// A heartbeat was taken.
    Beat {
        /// Its number.
        beat: i64,
        /// How long the leases hold from when it was sent.
        lease_time: Duration,
    },
    /// What of leases is stored now.
    Acks(Vec<Ack>),
    /// More bytes of logs and checkpoints may be sent.
    Credit(i64),
    /// A lease is no longer held.
    LeaseLost {
        /// The lease.
        fence: Fence,
        /// Why.
        reason: String,
    },
    /// A handler is to stop.
    Cancel {
        /// The lease.
        fence: Fence,
        /// Why.
        reason: String,
        /// How long it may take.
        grace: Duration,
        /// Who wants it.
        who: Stop,
    },
    /// The worker process is to end what it holds and claim nothing more.
    Drain {
        /// Why.
        reason: String,
        /// How long its jobs may still take.
        grace: Duration,
    },
    /// The session is over. Nothing follows but acknowledgements.
    SessionLost,
}

/// What of a lease is stored, as far as this says.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The lease.
    pub fence: Fence,
    /// Its outcome is stored, and the job stands so.
    pub outcome: Option<State>,
    /// Log lines are stored up to this sequence.
    pub log_sequence: Option<i64>,
    /// Checkpoints are stored up to this sequence.
    pub checkpoint_sequence: Option<i64>,
    /// Why something was refused.
    pub refused: Option<Refusal>,
}

/// Why a report about a lease was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The lease is no longer held.
    LeaseLost,
    /// Log lines are missing before these.
    LogGap,
    /// It cannot be stored now.
    Unavailable,
    /// More than is allowed was sent.
    Exhausted,
}

/// A watch over one job.
#[derive(Clone, Debug)]
pub struct WatchCall {
    /// The job.
    pub job: JobKey,
    /// The token of the last event that arrived; empty from the start.
    pub resume_token: String,
    /// Go on until everything that follows the outcome has ended too.
    pub until_notified: bool,
    /// Whether log lines are wanted.
    pub logs: bool,
}

/// One event of a watch over one job, with the token to resume after it.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// The token.
    pub token: String,
    /// The database's time.
    pub now: Time,
    /// What happened.
    pub what: WatchWhat,
}

/// What a watch over one job tells.
#[derive(Clone, Debug)]
pub enum WatchWhat {
    /// The whole job: the first event, and the last one, which shows the outcome.
    Snapshot(Box<View>),
    /// State, run or attempt changed.
    State(Box<View>),
    /// Progress or status changed.
    Progress(Box<View>),
    /// Log lines, in order.
    Logs(Vec<LogLine>),
}

/// One event of a watch over many jobs, with the token to resume after it.
#[derive(Clone, Debug)]
pub struct WatchManyEvent {
    /// The token.
    pub token: String,
    /// The database's time.
    pub now: Time,
    /// What happened.
    pub what: WatchManyWhat,
}

/// What a watch over many jobs tells.
#[derive(Clone, Debug)]
pub enum WatchManyWhat {
    /// A job that matches, as it is now.
    Job(Box<View>),
    /// The initial set is complete.
    Synced {
        /// How many jobs it had.
        count: usize,
        /// Whether older ones were left out.
        truncated: bool,
    },
}

/// A job with its attempts.
#[derive(Clone, Debug)]
pub struct Attempts {
    /// Oldest first.
    pub attempts: Vec<Attempt>,
}
