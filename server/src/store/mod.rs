//! The database, spoken in job verbs.
//!
//! [`Store`] is the one seam: what Haulier needs of a database, each verb one unit of work that is stored whole
//! or not at all. SQLite and MySQL/MariaDB stand behind it; above it nobody knows SQL. The verbs' texts lie in
//! `sql/`, one file a verb, and serve both dialects wherever these agree.
//!
//! A future of a verb must never be dropped half-way (see [`crate::engine`]): with sqlx on MySQL that can hand a
//! connection back inside an open transaction, and the next borrower's acknowledged write is then lost.
//!
//! ## Shape
//! A job's row (`job_YYYY_MM`) is written once, at enqueue, and never moves; a ready row, a lease row or an
//! outcome row says where it stands. The end of a run inserts one outcome row and deletes the lease: payloads are
//! written once and deleted with their month.
//!
//! ## Messages
//! To ask a database and to be answered takes longer than a small statement. So a transaction begins with its first
//! statement, and an insert of a few rows whose answer nobody waits for goes with the next one, at last with COMMIT: a
//! job alone is stored by one message, where there were five (`unit.rs`). If such an insert fails the transaction is done
//! again statement by statement, and the error arises in its place. MySQL prepares one statement and is asked for each.

mod caches;
mod connection;
mod dialect;
mod fault;
mod migrate;
mod mysql;
mod open;
#[cfg(test)]
mod plans;
mod rows;
#[cfg(test)]
mod smoke;
mod sql_store;
mod sqlite;
mod statement;
mod tallies;
mod unit;
mod value;
mod verbs;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

pub use open::{OpenOptions, Purpose, migrate, open};

use async_trait::async_trait;

use crate::model::{
    AfterTry, Attempt, CancelMark, CancelReason, Delivery, DeliveryId, DeliveryState, Dependency, Ended,
    Ending, Epoch, Fence, Job, JobError, JobId, Lease, Level, LimitChange, LiveJobs, LockSecret, LogLine,
    Month, NamedLock, Order, Outcome, Payload, QueueSetting, QueueStanding, ReadyKey, Retention, Route,
    RouteId, Run, Server, ServerAbout, ServerId, Session, SessionId, Skip, Spec, State, Tally, Task, TaskId,
    Time, TryEnd, View, Wait, Waits, ref_id_of,
};

/// Why a verb did not do its work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be reached, is failing over, read-only or too busy: nothing was changed, and the
    /// same verb may work later.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The connection broke while committing: the work may be stored or not.
    #[error("connection lost while committing, the outcome is unknown: {0}")]
    Unknown(String),
    /// The disk or the quota is full: nothing was changed.
    #[error("database is out of space: {0}")]
    Full(String),
    /// Keys of jobs that were to be stored together are taken: nothing was changed. Each with its place among them.
    #[error("{} of the jobs that were to be stored together exist already", .0.len())]
    Taken(Vec<(usize, Enqueued)>),
    /// A due time of a recurring task was decided before: nothing was changed.
    #[error("the due time was decided before")]
    Decided,
    /// A parent would have more children than are allowed: nothing was changed.
    #[error("job {0} has as many children as a job may have")]
    TooManyChildren(JobId),
    /// A reserved job id is taken already: nothing was changed, the id block must be thrown away.
    #[error("a reserved job id is taken")]
    IdTaken,
    /// A row cannot be understood: names table, column and key.
    #[error("corrupt row: {0}")]
    Corrupt(String),
    /// Anything else: our own fault or a database that is not as it must be.
    #[error("database error: {0}")]
    Other(String),
}

/// What a verb answers.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A block of job ids, all of one month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdBlock {
    /// The first id that is free.
    pub next: i64,
    /// The first id that is not in the block.
    pub end: i64,
    /// The month of every id of the block.
    pub month: Month,
}

/// A month whose tables exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthRange {
    /// The month.
    pub month: Month,
    /// The first id that belongs to it; it ends where the next month begins.
    pub first: JobId,
}

/// A job to be stored.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The job; `job.ready` is where its ready row goes, or would have gone.
    pub job: Job,
    /// Leased in the same transaction, if the claim loop still takes it.
    pub handoff: Option<Handoff>,
    /// The lane of its named worker, if it has one.
    pub lane: Option<RouteId>,
    /// Jobs that it must wait for, as far as they had not ended before: those that have by now count with their ending.
    pub parents: Vec<Dependency>,
    /// A parent that had ended otherwise than asked: the job is stored and cancelled at once.
    pub doomed_by: Option<(JobId, Ending)>,
}

impl NewJob {
    /// A job that waits for nobody.
    pub fn free(job: Job) -> NewJob {
        NewJob { job, handoff: None, lane: None, parents: Vec::new(), doomed_by: None }
    }
}

/// What a transaction brought about for those who wait: hints, no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// Rows that claims may find.
    pub ready: Vec<ReadyKey>,
    /// The first time at which a job that was stored may enter its lane.
    pub due: Option<Time>,
    /// A run has ended that others wait for: [`Store::settle`] has work.
    pub others_wait: bool,
    /// A notification was stored, to be delivered at once.
    pub notifies: bool,
    /// The routes of attempts that ended: their queues may have room again.
    pub freed: Vec<RouteId>,
}

impl Wake {
    /// With what another transaction, or another part of this one, brought about.
    pub fn and(mut self, other: Wake) -> Wake {
        self.add(other);
        self
    }

    /// Adds what another transaction brought about.
    pub fn add(&mut self, other: Wake) {
        self.ready.extend(other.ready);
        self.due = match (self.due, other.due) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.others_wait |= other.others_wait;
        self.notifies |= other.notifies;
        self.freed.extend(other.freed);
    }
}

/// A named worker that a worker process declares for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The command.
    pub command: String,
    /// Its named worker; empty: none.
    pub worker: String,
    /// The version of its handler; may be empty.
    pub version: String,
    /// The JSON Schema of its request; may be empty.
    pub request_schema: String,
}

/// A command as it was declared last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRow {
    /// The command.
    pub command: String,
    /// Its named worker; empty: none.
    pub worker: String,
    /// When it was declared last.
    pub declare_time: Time,
    /// When its named worker changed last.
    pub change_time: Time,
}

/// The lane that a transient run takes.
#[derive(Clone, Copy, Debug)]
pub struct LaneLease {
    /// The lane.
    pub lane: RouteId,
    /// The run.
    pub job: JobId,
    /// The server that knows it.
    pub server: ServerId,
    /// The lease time of the worker process that runs it: so long after its server was last alive it has stopped.
    pub lease_time: Duration,
}

/// What happened, hour by hour, and what runs.
#[derive(Clone, Debug, Default)]
pub struct Tallied {
    /// By the start of the hour, and route or lane.
    pub routes: BTreeMap<(Time, RouteId), Tally>,
    /// How long jobs waited.
    pub waits: Waits,
    /// The jobs of lanes that run now.
    pub holders: BTreeMap<RouteId, JobId>,
}

/// What came of telling those who wait for one ended run.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// For those who wait.
    pub wake: Wake,
    /// Jobs that changed.
    pub changed: Vec<JobId>,
}

/// A claim that waits for a job, and the lease it would get.
#[derive(Clone, Copy, Debug)]
pub struct Handoff {
    /// Who waits.
    pub ticket: ClaimTicket,
    /// The worker's fence.
    pub epoch: Epoch,
    /// Random.
    pub nonce: i64,
    /// When it is leased.
    pub start_time: Time,
    /// When its timeout ends.
    pub deadline: Time,
}

/// One call of one claim loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimTicket {
    /// The session.
    pub session: SessionId,
    /// Its loop.
    pub claim_loop: i32,
    /// The call's sequence: stored with the claim, which refuses one that is not higher than the stored one.
    pub sequence: i64,
}

/// What became of one job of an enqueue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// Stored and ready.
    Ready,
    /// Stored; it waits for parents, or for its turn or its time in a lane.
    Waiting(Wait),
    /// Stored, and cancelled at once: a parent had ended otherwise than asked.
    Cancelled,
    /// Stored and leased to the claim that waited.
    Leased,
    /// A job of the same request id exists.
    SameRequest(JobId),
    /// A job of the same ref id exists.
    SameRef(JobId),
}

/// Due or coming ready rows of one route and priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backlog {
    /// The route.
    pub route: RouteId,
    /// The priority.
    pub priority: i32,
    /// The earliest ready time.
    pub ready_time: Time,
}

/// A claim to be served from the ready table.
#[derive(Clone, Debug)]
pub struct Claimer {
    /// Who claims.
    pub ticket: ClaimTicket,
    /// Jobs it takes at most.
    pub max_jobs: usize,
    /// The groups it serves, in the order in which it wants them, each from the ready time before which nothing is known
    /// to lie. Rows that were taken are passed over by it: as long as anybody may still look at them they are in the way.
    pub groups: Vec<Backlog>,
}

/// A leased job with what its worker process needs.
#[derive(Clone, Debug)]
pub struct LeasedJob {
    /// The lease.
    pub lease: Lease,
    /// When the job was enqueued.
    pub create_time: Time,
    /// What was asked for.
    pub spec: Arc<Spec>,
    /// The request.
    pub request: Payload,
    /// The last checkpoint of this run, with its sequence.
    pub checkpoint: Option<(i64, Payload)>,
    /// The error of the attempt before this one, if it left one.
    pub last_error: Option<JobError>,
    /// The jobs that it depends on, else the one it descends from; filled in by the engine.
    pub parents: Vec<View>,
}

impl LeasedJob {
    /// The job's id.
    pub fn id(&self) -> JobId {
        self.lease.fence.job
    }

    /// The job's ref id.
    pub fn ref_id(&self) -> String {
        ref_id_of(&self.spec, self.id(), self.create_time)
    }
}

/// A lease that a claim was given.
#[derive(Clone, Debug)]
pub struct Given {
    /// The lease.
    pub lease: Lease,
    /// Since when the job could have started.
    pub ready_time: Time,
    /// Bytes of its request.
    pub size: i64,
}

/// What became of a claim.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// Leased; may be none, and then the sequence is not stored.
    Leases(Vec<Given>),
    /// The loop has seen this sequence or a higher one, or its session is no more.
    Refused,
}

/// Where a claim loop stands.
#[derive(Clone, Debug)]
pub struct LoopState {
    /// The highest sequence stored with a claim; 0 before the first, the largest int64 once its session ended.
    pub sequence: i64,
    /// The highest answer known to have arrived.
    pub received: i64,
}

/// The end of an attempt, to be stored.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The lease it ends.
    pub fence: Fence,
    /// How it ended.
    pub ended: Ended,
    /// The result of a completed attempt.
    pub result: Payload,
    /// The outcome is stored only if the log lines up to here are; 0 asks for none.
    pub log_sequence: i64,
    /// Jobs that are stored with a completed attempt, its callback among them.
    pub follow: Vec<NewJob>,
}

impl Finish {
    /// An end without a result.
    pub fn of(fence: Fence, ended: Ended) -> Finish {
        Finish { fence, ended, result: Payload::None, log_sequence: 0, follow: Vec::new() }
    }
}

/// How an attempt's end waits for rows that others hold locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLocked {
    /// Wait: somebody must be told what became of it.
    Wait,
    /// Skip it: the sweep comes again.
    Skip,
}

/// What became of an attempt's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Stored; the job went here.
    Stored(State),
    /// This epoch's end was stored before: a repeat.
    Repeated(State),
    /// It has a callback, which must come along: nothing was changed.
    NeedsCallback,
    /// Jobs that come with it exist already: nothing was changed.
    Taken(Vec<(usize, Enqueued)>),
    /// A job that comes with it would be one child too many of this parent: nothing was changed.
    Crowded(JobId),
    /// The lease is no longer held: nothing was changed.
    LeaseLost,
    /// Log lines before the outcome are missing; this many are stored. Nothing was changed.
    LogGap(i64),
    /// The row was locked and the sweep skips it.
    Skipped,
}

/// Log lines of one lease, to be stored after those that are.
#[derive(Clone, Debug)]
pub struct LogAppend {
    /// The lease.
    pub fence: Fence,
    /// The lines, in order and without gaps; each knows its sequence.
    pub lines: Vec<LogLine>,
}

/// What became of log lines or progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Stored up to this sequence (log lines), or stored (progress: 0).
    Stored(i64),
    /// The first line does not follow the last stored one, which has this sequence.
    Gap(i64),
    /// The lease is no longer held: nothing was changed.
    LeaseLost,
}

/// Progress of one lease.
#[derive(Clone, Debug)]
pub struct ProgressWrite {
    /// The lease.
    pub fence: Fence,
    /// From 0 to 1, if reported.
    pub progress: Option<f64>,
    /// The status line, if reported.
    pub status: Option<String>,
    /// A checkpoint with its sequence, if reported; a lower or equal sequence than the stored one changes nothing.
    pub checkpoint: Option<(i64, Payload)>,
}

/// A heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// The session.
    pub session: SessionId,
    /// Its number; a lower or equal one than the stored is ignored.
    pub beat: i64,
    /// The server that it came through.
    pub server: ServerId,
}

/// What a heartbeat found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatAnswer {
    /// The session lives on.
    Renewed,
    /// It lives on and must drain.
    Draining,
    /// It is over, or never was.
    Lost,
}

/// A tick of the reaper.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// The database's time.
    pub now: Time,
    /// The tick before; none on a new database.
    pub last: Option<Time>,
    /// When the latest outage was noticed, if one was: nothing that was live then is taken by time for one lease.
    pub amnesty_from: Option<Time>,
}

/// A lease that a sweep found, with what it must know to end it.
#[derive(Clone, Debug)]
pub struct SweptLease {
    /// The lease as seen.
    pub fence: Fence,
    /// Whether its claim had been acknowledged.
    pub acknowledged: bool,
    /// The job.
    pub month: Month,
}

/// What became of a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It holds.
    Held,
    /// This epoch's end is stored, and the job went here.
    Ended(State),
    /// Neither: the lease was taken back.
    Gone,
}

/// Whether requests and results are read along; lists leave them out, they may be large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// They are.
    Read,
    /// They are not: `request` and `result` are [`Payload::None`].
    LeftOut,
}

/// A cancel request.
#[derive(Clone, Debug)]
pub struct CancelOrder {
    /// The job.
    pub job: JobId,
    /// Why.
    pub reason: CancelReason,
    /// Why, in words.
    pub text: String,
    /// What its handler has to end by itself.
    pub grace: Duration,
    /// Cancel only a job that has not started (expiry).
    pub only_waiting: bool,
}

/// What became of a cancel request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It will never start.
    Cancelled,
    /// It runs; its worker process will be told.
    Requested(CancelMark),
    /// It has ended already.
    Ended(State),
    /// It runs or has run, and only one that never started was to be cancelled.
    Running,
    /// There is no such job.
    NotFound,
}

/// What became of a requeue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequeueAnswer {
    /// A new run began.
    Requeued(Run),
    /// The run after the given one exists already: a repeat.
    Repeated(Run),
    /// It stands in this state, which cannot be requeued.
    Refused(State),
    /// The request id was used for something else.
    RequestReused,
    /// The given run is not one of the job's.
    NoSuchRun(Run),
    /// There is no such job.
    NotFound,
}

/// A lock that is wanted.
#[derive(Clone, Debug)]
pub struct LockOrder {
    /// The lock.
    pub name: String,
    /// Who wants it. The holder itself gets its lock and token again, renewed.
    pub secret: LockSecret,
    /// Who wants it, for people.
    pub owner: String,
    /// How long it is held unless it is renewed.
    pub lease_time: Duration,
    /// The server that it is wanted through.
    pub server: ServerId,
    /// Whether a free lock is taken; else it is only seen whether the caller holds it already.
    pub may_take: bool,
}

/// What became of a wish for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAnswer {
    /// The caller holds it.
    Acquired(NamedLock),
    /// Another holds it; none when it is free and was not to be taken.
    Refused(Option<NamedLock>),
}

/// A lock in the hands of one holder.
#[derive(Clone, Debug)]
pub struct LockKey {
    /// The lock.
    pub name: String,
    /// The holder.
    pub secret: LockSecret,
    /// The holder's token.
    pub token: Epoch,
}

/// What became of a wish to break a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockBreak {
    /// It was held so, and is no more.
    Broken(NamedLock),
    /// It has another holder than the one that was to lose it.
    OtherHolder(NamedLock),
    /// Nobody holds it.
    NotHeld,
}

/// A stretch of locks in the order of their names.
#[derive(Clone, Debug)]
pub struct LockWalk {
    /// Only names that begin so.
    pub prefix: String,
    /// Only names beyond this one.
    pub after: String,
    /// Rows read at most.
    pub limit: i64,
}

/// Which options can be found by index; batch ids by one of their own. The numbers are stored, 2 must not come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelKind {
    /// The tag.
    Tag = 1,
    /// The user id.
    User = 3,
    /// Who created it.
    CreatedBy = 4,
    /// The parent's id.
    Parent = 5,
    /// The named worker.
    Worker = 6,
    /// A job that it depends on.
    DependsOn = 7,
    /// The ending of a run that did not complete: `failed` or `cancelled`.
    Ending = 8,
    /// The name of the recurring task.
    Task = 9,
}

impl LabelKind {
    /// The number that is stored.
    pub fn code(self) -> i64 {
        self as i64
    }
}

/// How a month is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MonthKept {
    /// Jobs are still being added.
    #[default]
    Open,
    /// It is over, in the database.
    Closed,
    /// It is over, in a file of its own.
    Archived,
}

/// What a month of history holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthFigures {
    /// The month.
    pub month: Month,
    /// How it is kept.
    pub kept: MonthKept,
    /// Runs that completed.
    pub completed: i64,
    /// Runs that failed.
    pub failed: i64,
    /// Runs that were cancelled.
    pub cancelled: i64,
    /// Jobs that have not ended.
    pub live: i64,
    /// About its size, bytes; 0: not known.
    pub size_bytes: i64,
    /// The newest finish of a run.
    pub last_finish: Option<Time>,
    /// Its file was moved away: what it holds is not counted.
    pub is_away: bool,
}

impl Default for MonthFigures {
    fn default() -> Self {
        Self {
            month: Month(0),
            kept: MonthKept::Open,
            completed: 0,
            failed: 0,
            cancelled: 0,
            live: 0,
            size_bytes: 0,
            last_finish: None,
            is_away: false,
        }
    }
}

impl MonthFigures {
    /// Adds what another place holds of the same month.
    pub fn add(&mut self, other: &MonthFigures) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.last_finish = self.last_finish.max(other.last_finish);
    }
}

/// What became of dropping a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropAnswer {
    /// It is gone; this is what it held.
    Dropped(MonthFigures),
    /// It is the current one, or has jobs that have not ended or whose end somebody waits for.
    InUse(MonthFigures),
    /// There is none.
    NotFound,
}

/// Routes that a walk can name.
pub const ROUTES_OF_WALK_MAX: usize = 120;

/// Where a walk over jobs finds its ids.
#[derive(Clone, Debug)]
pub enum WalkSource {
    /// Every job of the month.
    Month(Month),
    /// The jobs of the month with this label.
    Label(Month, LabelKind, String),
    /// The jobs of the month with this batch id, among which may be some that retention has forgotten.
    Batch(Month, String),
    /// Every job that has not ended, of whatever month; of those that wait only such as may be found under these routes, if
    /// they are named: [`ROUTES_OF_WALK_MAX`] at most.
    Live(Option<Vec<RouteId>>),
}

/// A walk over jobs by id.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Where the ids come from.
    pub source: WalkSource,
    /// The direction.
    pub order: Order,
    /// Only ids beyond this one, in the direction of the walk.
    pub after: Option<JobId>,
    /// Ids at most.
    pub limit: i64,
}

/// How a recurring task is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKey<'a> {
    /// By its id.
    Id(TaskId),
    /// By its name.
    Name(&'a str),
}

/// What was decided about due times of a recurring task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs as this job.
    Job(Time, JobId),
    /// It runs as a transient run, of which nothing is stored.
    Transient(Time),
    /// They were skipped.
    Skipped(Skip),
}

/// A change of a recurring task, with what follows from it: stored whole or not at all.
#[derive(Clone, Debug)]
pub struct TaskChange {
    /// The task as it shall be; its revision is the one that was seen.
    pub task: Task,
    /// When it was due next, as it was seen.
    pub due: Option<Time>,
    /// Whether its definition changes, and not only how it stands.
    pub redefined: bool,
    /// What was decided about due times.
    pub decisions: Vec<Decision>,
    /// Jobs that are stored with it.
    pub jobs: Vec<NewJob>,
}

/// What became of a change of a recurring task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskChanged {
    /// It is stored.
    Stored(Wake),
    /// Somebody else changed the task: nothing was changed.
    Raced,
}

/// Since when servers look at what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The last tick of any server; none on a new database.
    pub last_tick: Option<Time>,
    /// When the latest outage was noticed, if one was.
    pub noticed: Option<Time>,
}

/// A look at notifications, newest first.
#[derive(Clone, Debug)]
pub struct DeliveriesCall {
    /// Of this job; none: of all.
    pub job: Option<JobId>,
    /// In any of these states; empty: in all.
    pub states: Vec<DeliveryState>,
    /// Only those before this one.
    pub before: Option<DeliveryId>,
    /// Notifications at most.
    pub limit: i64,
}

/// A position among the log lines of a job: only what comes after it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The run.
    pub run: Run,
    /// The epoch.
    pub epoch: Epoch,
    /// The line.
    pub sequence: i64,
}

/// A finding about the database's settings.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was looked at, such as `innodb_flush_log_at_trx_commit`.
    pub name: String,
    /// What it is.
    pub value: String,
    /// What is wrong with it and how to mend it, if anything is.
    pub problem: Option<Problem>,
}

/// Something wrong with the database's settings.
#[derive(Clone, Debug)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What it means and how to mend it.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth knowing.
    Advice,
    /// What was acknowledged may be lost with power: refused with `--require-durable`.
    Durability,
    /// The server cannot work with it.
    Fatal,
}

/// What Haulier needs of a database.
///
/// Verbs that take a slice share one transaction among its members, whose answers come in the same order; the
/// members wait for nobody, so that sharing costs none of them anything.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The database's time.
    async fn now(&self) -> Result<Time>;
    /// Looks at the settings that the promises rest on.
    async fn check(&self) -> Result<Vec<Check>>;
    /// Can the database be read right now?
    async fn ping(&self) -> Result<()>;
    /// Closes all connections, waiting for work under way.
    async fn close(&self);

    /// Reserves `size` ids; makes the tables of their month first if it is new.
    async fn reserve_ids(&self, size: i64) -> Result<IdBlock>;
    /// Is `block` still the newest, and its month still the present one?
    async fn is_newest(&self, block: IdBlock) -> Result<bool>;
    /// Every month whose tables exist, oldest first.
    async fn months(&self) -> Result<Vec<MonthRange>>;
    /// Makes the tables of a coming month ahead of its time.
    async fn prepare_month(&self, month: Month) -> Result<()>;
    /// Upkeep of closed months (SQLite: moves one to its own file); says whether there was anything to do.
    async fn keep_months(&self) -> Result<bool>;
    /// What a month holds. Reads it whole: for operators.
    async fn month_figures(&self, month: Month) -> Result<Option<MonthFigures>>;
    /// Drops a closed month all of whose jobs have ended.
    async fn drop_month(&self, month: Month) -> Result<DropAnswer>;
    /// Forgets jobs of a month that are past their retention, looking at `limit` outcomes after a job; answers where to go on,
    /// and how many were forgotten. A month in a file of its own is left alone.
    async fn forget_jobs(
        &self,
        month: Month,
        after: JobId,
        retention: Retention,
        limit: i64,
    ) -> Result<(Option<JobId>, i64)>;
    /// The id of each route, made if it is new.
    async fn routes(&self, routes: &[Route]) -> Result<Vec<RouteId>>;
    /// Every route there is.
    async fn all_routes(&self) -> Result<Vec<(RouteId, Route)>>;

    /// Stores jobs, each ready, leased to a claim that waits, or waiting for others.
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<(Vec<Enqueued>, Wake)>;
    /// Stores jobs, all of them or none: [`StoreError::Taken`] when keys of some are taken.
    async fn enqueue_all(&self, jobs: &[NewJob]) -> Result<(Vec<Enqueued>, Wake)>;
    /// After [`StoreError::Unknown`] from `enqueue`: was that transaction committed? Waits until it is decided.
    async fn was_enqueued(&self, job: &Job) -> Result<bool>;
    /// The job of a ref id, or of a request id.
    async fn find_ref(&self, key: RefKey<'_>) -> Result<Option<JobId>>;
    /// Forgets request ids that are older than their life, at most `limit` rows at a time; answers where to go on.
    async fn forget_requests(&self, after: Option<Vec<u8>>, limit: i64) -> Result<Option<Vec<u8>>>;

    /// What waits in the ready table: for each route and priority the earliest ready time.
    async fn look(&self) -> Result<Vec<Backlog>>;
    /// Leases due jobs to claims; [`Store::jobs_of`] reads them.
    async fn claim(
        &self,
        claims: &[Claimer],
        limited: &BTreeMap<RouteId, String>,
        now: Time,
    ) -> Result<(Vec<Claimed>, BTreeSet<String>)>;
    /// Where a claim loop stands, made if it is new; none when its session is no more.
    async fn loop_state(&self, session: SessionId, claim_loop: i32) -> Result<Option<LoopState>>;
    /// The leases of a session, of one loop or of all, with `acknowledged` of each.
    async fn leases(&self, session: SessionId, claim_loop: Option<i32>) -> Result<Vec<(Lease, bool)>>;
    /// The jobs of leases that a claim was just given.
    async fn jobs_of(&self, leases: &[Lease]) -> Result<HashMap<JobId, LeasedJob>>;
    /// The jobs of leases, as a claim would have answered them; those that are no longer held are left out.
    async fn leased_jobs(&self, leases: &[Lease]) -> Result<Vec<LeasedJob>>;
    /// Notes that claim answers arrived.
    async fn acknowledge(&self, received: &[ClaimTicket]) -> Result<()>;

    /// Stores a new session.
    async fn register(&self, session: &Session) -> Result<()>;
    /// Renews sessions.
    async fn beat(&self, beats: &[Beat]) -> Result<Vec<BeatAnswer>>;
    /// Ends a session: it claims no more. What it holds is found by [`Store::lost_leases`].
    async fn end_session(&self, session: SessionId) -> Result<bool>;
    /// Tells a session to drain.
    async fn drain_session(&self, session: SessionId) -> Result<bool>;
    /// A session.
    async fn session(&self, session: SessionId) -> Result<Option<Session>>;
    /// Sessions that are not lost, with the number of jobs that each holds.
    async fn sessions(&self) -> Result<Vec<(Session, i64)>>;

    /// Ends attempts, each guarded by its fence; the job goes where [`crate::model::after_attempt`] says.
    async fn finish(&self, ends: &[Finish], on_locked: OnLocked) -> Result<(Vec<Finished>, Wake)>;
    /// Tells one end of a run to those who wait for it, some at a time; none when nobody waits to be told.
    async fn settle(&self) -> Result<Option<Settled>>;
    /// Lets jobs whose time has come enter their lanes, at most `limit`.
    async fn enter_lanes(&self, now: Time, limit: i64) -> Result<Wake>;
    /// When the next job may enter its lane, if one waits for its time.
    async fn next_in_lanes(&self) -> Result<Option<Time>>;
    /// Who holds a lane, and how many wait before a place in it, counted up to a limit.
    async fn lane_line(&self, lane: RouteId, place: Time) -> Result<(Option<JobId>, i64)>;
    /// Who holds a lane; none when nobody does.
    async fn holder(&self, lane: RouteId) -> Result<Option<JobId>>;
    /// Lets a transient run take a lane that nobody holds; false when somebody does.
    async fn take_lane(&self, lease: &LaneLease) -> Result<bool>;
    /// A transient run leaves its lane, which passes to the first in line; nothing if it had left.
    async fn leave_lane(&self, lane: RouteId, job: JobId) -> Result<Wake>;
    /// Lanes held by transient runs whose server is gone at `tick`.
    async fn lost_lanes(&self, tick: Tick) -> Result<Vec<(RouteId, JobId)>>;
    /// The parents that a job waits for.
    async fn waiting_for(&self, job: JobId) -> Result<Vec<JobId>>;
    /// Notes what a worker process declares of its commands; answers those whose named worker changed.
    async fn declare(&self, declarations: &[Declaration]) -> Result<Vec<CommandRow>>;
    /// Every command that was ever declared.
    async fn commands(&self) -> Result<Vec<CommandRow>>;
    /// Moves those of the jobs that wait, are of a command and name no worker of their own to the lane of the named worker
    /// that it declares.
    async fn follow_declaration(&self, command: &str, worker: &str, live: &[View]) -> Result<Wake>;
    /// Stores log lines.
    async fn append_logs(&self, logs: &[LogAppend]) -> Result<Vec<Written>>;
    /// Stores progress, status and checkpoints.
    async fn write_progress(&self, progress: &[ProgressWrite]) -> Result<Vec<Written>>;

    /// What became of fences that a worker process believes it holds; changes nothing.
    async fn fates(&self, fences: &[Fence]) -> Result<Vec<Fate>>;

    /// Jobs with all that is known of them, in the order asked for; unknown ids are left out.
    async fn views(&self, jobs: &[JobId], payloads: Payloads) -> Result<Vec<View>>;
    /// The outcome of one run of a job, if it has one.
    async fn outcome(&self, job: JobId, run: Run) -> Result<Option<Outcome>>;
    /// The last checkpoint of a job's present run, with its sequence; none once the run has ended.
    async fn checkpoint(&self, job: JobId) -> Result<Option<(i64, Payload)>>;
    /// Ids of jobs, in order.
    async fn walk(&self, walk: &Walk) -> Result<Vec<JobId>>;
    /// Every attempt of a job, oldest first.
    async fn attempts(&self, job: JobId) -> Result<Vec<Attempt>>;
    /// Log lines of a job after a position, oldest first, at least of `level`.
    async fn logs(&self, job: JobId, after: LogPosition, level: Level, limit: i64) -> Result<Vec<LogLine>>;

    /// Cancels a waiting job, or marks a running one.
    async fn cancel(&self, order: &CancelOrder) -> Result<(CancelAnswer, Wake)>;
    /// Every cancel request that is pending.
    async fn cancel_marks(&self) -> Result<Vec<CancelMark>>;
    /// Starts a new run of a failed or cancelled job; `run` is the one to redo, none the latest. A repeat with the same
    /// request id finds the run that the first call started; empty for none.
    async fn requeue(&self, job: JobId, run: Option<Run>, request_id: &str) -> Result<(RequeueAnswer, Wake)>;
    /// As [`Store::requeue`] of the present run, for a job that was cancelled because of a parent: the new run waits for
    /// these parents.
    async fn requeue_child(&self, job: JobId, waits: &[Dependency]) -> Result<(RequeueAnswer, Wake)>;

    /// Acquires a lock that is free or over, or renews it for its holder.
    async fn acquire_lock(&self, order: &LockOrder) -> Result<LockAnswer>;
    /// Holds a lock for longer, also when its time is over and nobody took it; false when it was lost.
    async fn renew_lock(&self, lock: &LockKey, lease_time: Duration, server: ServerId) -> Result<bool>;
    /// Gives a lock back; false when it was lost or given back before.
    async fn release_lock(&self, lock: &LockKey) -> Result<bool>;
    /// Takes a lock from its holder, whoever it is unless a token says.
    async fn break_lock(&self, name: &str, token: Option<Epoch>) -> Result<LockBreak>;
    /// Those of the locks that could be taken now; changes nothing.
    async fn free_locks(&self, names: &[String]) -> Result<Vec<String>>;
    /// The held ones of a stretch of locks, and the name to go on after, if there may be more.
    async fn walk_locks(&self, walk: &LockWalk) -> Result<(Vec<NamedLock>, Option<String>)>;
    /// Forgets locks that nobody has held for their life, in a stretch of at most `limit` rows; answers where to go on.
    async fn forget_locks(&self, after: Option<String>, limit: i64) -> Result<Option<String>>;

    /// What is set for queues.
    async fn queue_settings(&self) -> Result<Vec<QueueSetting>>;
    /// Pauses a queue on all servers; one that is paused keeps its time and takes the new reason.
    async fn pause_queue(&self, name: &str, reason: &str) -> Result<()>;
    /// Resumes a queue; says whether it was paused.
    async fn resume_queue(&self, name: &str) -> Result<bool>;
    /// Changes the limits of a queue. What runs goes on.
    async fn limit_queue(&self, name: &str, change: LimitChange) -> Result<()>;
    /// How a queue stands to its limits; none if it has none.
    async fn queue_standing(&self, name: &str) -> Result<Option<QueueStanding>>;
    /// Counts the jobs that have not ended. Reads the live tables whole: for people, once in a while.
    async fn live_jobs(&self, now: Time) -> Result<LiveJobs>;

    /// Makes a recurring task and gives it its id; none when one of its name exists.
    async fn make_task(&self, task: &Task) -> Result<Option<TaskId>>;
    /// A recurring task.
    async fn task(&self, key: TaskKey<'_>) -> Result<Option<Task>>;
    /// Recurring tasks whose names start so and come after one, in their order, without their requests.
    async fn tasks(&self, prefix: &str, after: &str, limit: i64) -> Result<Vec<Task>>;
    /// Recurring tasks that are due by `now`.
    async fn due_tasks(&self, now: Time, limit: i64) -> Result<Vec<TaskId>>;
    /// When a recurring task is due next.
    async fn next_task(&self) -> Result<Option<Time>>;
    /// Changes a recurring task: [`StoreError::Decided`] when a due time was decided before, [`StoreError::Taken`] when keys
    /// of its jobs are taken.
    async fn change_task(&self, change: &TaskChange) -> Result<TaskChanged>;
    /// Forgets a recurring task as it was seen; says whether it was still so.
    async fn delete_task(&self, task: TaskId, revision: i64) -> Result<bool>;
    /// Forgets decisions about due times before a time, at most `limit`; says whether there may be more.
    async fn forget_ticks(&self, before: Time, limit: i64) -> Result<bool>;
    /// Since when servers look at what is due.
    async fn watch(&self) -> Result<Watch>;

    /// Takes due notifications to try them: each is this caller's until it ends the try, or for `hold`.
    async fn take_deliveries(&self, now: Time, hold: Duration, limit: i64) -> Result<Vec<Delivery>>;
    /// Ends the try that `taken` began; false when another took the notification meanwhile, and then nothing was changed.
    async fn end_delivery(&self, taken: &Delivery, end: &TryEnd, after: AfterTry) -> Result<bool>;
    /// Notifications with their newest tries.
    async fn deliveries(&self, call: &DeliveriesCall) -> Result<Vec<Delivery>>;
    /// Makes a notification due at once, delivered or given up too; one that is being sent is left alone.
    async fn replay_delivery(&self, delivery: DeliveryId) -> Result<Option<Delivery>>;
    /// Forgets notifications that are over and were made before `before`, at most `limit` of each state; whether there was
    /// anything to do.
    async fn forget_deliveries(&self, before: Time, limit: i64) -> Result<bool>;

    /// Notes that this server lives, what it says of itself and whether it is stopping, and when the reaper ticked.
    async fn tick(&self, server: ServerId, about: &ServerAbout, is_draining: bool) -> Result<Tick>;
    /// Every server that was heard of in the last day.
    async fn servers(&self) -> Result<Vec<Server>>;
    /// Adds what this server counted since it did so last.
    async fn add_tallies(&self) -> Result<()>;
    /// What happened since a time, how long jobs waited since another, and which run in lanes now.
    async fn tallies(&self, since: Time, waits_since: Time) -> Result<Tallied>;
    /// How many notifications wait for a try.
    async fn pending_deliveries(&self) -> Result<i64>;
    /// How many recurring tasks come due.
    async fn count_due_tasks(&self) -> Result<i64>;
    /// Forgets tallies and waits of before these times.
    async fn forget_tallies(&self, before: Time, waits_before: Time) -> Result<()>;
    /// The JSON Schemas of commands as declared last.
    async fn schemas(&self, commands: &[String]) -> Result<BTreeMap<String, String>>;
    /// Gives up for dead the sessions whose time is over at `tick`; answers which.
    async fn lose_sessions(&self, tick: Tick) -> Result<Vec<SessionId>>;
    /// Leases of sessions that are over.
    async fn lost_leases(&self, limit: i64) -> Result<Vec<SweptLease>>;
    /// Leases whose timeout and grace are over at `tick`.
    async fn overdue_leases(&self, tick: Tick, limit: i64) -> Result<Vec<SweptLease>>;
    /// Running jobs whose cancel grace is over at `tick`.
    async fn forced_cancels(&self, tick: Tick, limit: i64) -> Result<Vec<SweptLease>>;
    /// Waiting jobs whose expire time is over at `now`.
    async fn expired(&self, now: Time, limit: i64) -> Result<Vec<JobId>>;
    /// Forgets sessions that were lost before `before` and hold nothing.
    async fn forget_sessions(&self, before: Time) -> Result<()>;
    /// Counts of ready and leased rows, for health and tests.
    async fn counts(&self) -> Result<BTreeMap<String, i64>>;
}

/// A key by which a job is found without its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefKey<'a> {
    /// The caller's own id of the job.
    Ref(&'a str),
    /// The id of the enqueue request.
    Request(&'a str),
}
