//! The job: what was asked for, where it stands, and how it ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Cancelled, Epoch, JobError, JobId, Lease, Month, RetryPolicy, RouteId, Run, SessionId, TaskRun, Time,
    limits,
};

/// What people see of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Its time has not come.
    Scheduled,
    /// It waits for parents or for its turn in a named worker.
    Blocked,
    /// It could start now.
    Queued,
    /// It is leased to a worker process.
    Running,
    /// Done; its callback or notification is still on its way.
    Executed,
    /// Done well.
    Completed,
    /// No attempts left, poison, or abandoned.
    Failed,
    /// Cancelled, expired, or a parent did not end as asked.
    Cancelled,
}

impl State {
    /// Has the job neither started nor ended?
    pub fn waits(self) -> bool {
        matches!(self, State::Scheduled | State::Blocked | State::Queued)
    }

    /// Is the outcome settled?
    pub fn is_settled(self) -> bool {
        matches!(self, State::Executed | State::Completed | State::Failed | State::Cancelled)
    }
}

/// A request or a result: any JSON value, any bytes, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// JSON text, kept byte for byte.
    Json(Bytes),
    /// Bytes of a content type.
    Data {
        /// The bytes.
        bytes: Bytes,
        /// Their content type; may be empty.
        content_type: String,
    },
    /// Nothing.
    None,
}

impl Payload {
    /// The size of the body, bytes.
    pub fn len(&self) -> usize {
        match self {
            Payload::Json(bytes) | Payload::Data { bytes, .. } => bytes.len(),
            Payload::None => 0,
        }
    }

    /// Is the body empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a job does: run a command, or call an API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A command that a worker process serves.
    Command(String),
    /// A call of a target named in the configuration.
    Api {
        /// The target's name.
        target: String,
        /// The gRPC method or the HTTP method and path.
        method: String,
    },
}

impl Work {
    /// What of it makes a route. Calls of one target share one: paths may differ from job to job, routes are few.
    pub fn of_route(&self) -> Work {
        match self {
            Work::Command(_) => self.clone(),
            Work::Api { target, .. } => Work::Api { target: target.clone(), method: String::new() },
        }
    }
}

/// The five names of priorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// 5
    Low,
    /// 10
    BelowNormal,
    /// 15
    Normal,
    /// 20
    AboveNormal,
    /// 25
    High,
}

impl Priority {
    /// The number that orders.
    pub fn number(self) -> i32 {
        match self {
            Priority::Low => 5,
            Priority::BelowNormal => 10,
            Priority::Normal => 15,
            Priority::AboveNormal => 20,
            Priority::High => 25,
        }
    }
}

/// What to do when a ref id exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefPolicy {
    /// Answer with an error that names the first job.
    #[default]
    Fail,
    /// Answer with the first job, if its content is equal.
    ReturnExisting,
}

/// How a parent must have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It completed.
    #[default]
    Success,
    /// It completed, failed or was cancelled.
    Finished,
    /// It failed.
    Failure,
}

impl Condition {
    /// The number that is stored.
    pub fn code(self) -> i64 {
        match self {
            Condition::Success => 1,
            Condition::Finished => 2,
            Condition::Failure => 3,
        }
    }

    /// The condition of a stored number.
    pub fn from_code(code: i64) -> Option<Condition> {
        [Condition::Success, Condition::Finished, Condition::Failure]
            .into_iter()
            .find(|condition| condition.code() == code)
    }

    /// Does a parent that ended so let its child go on?
    pub fn is_met_by(self, ending: Ending) -> bool {
        match self {
            Condition::Success => ending.is_success(),
            Condition::Finished => true,
            Condition::Failure => ending == Ending::Failed,
        }
    }
}

/// A job to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dependency {
    /// The parent.
    pub parent: JobId,
    /// How it must have ended.
    pub condition: Condition,
}

/// A command that is enqueued, with the result as its request, when a job has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// The command.
    pub command: String,
    /// Arguments over those of the job.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
}

/// Who acts on a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyMode {
    /// The server delivers the notification.
    #[default]
    Deliver,
    /// Nobody here: the handler and the callback get the value.
    Carry,
}

/// The body of a notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyBody {
    /// The result itself, or the error object.
    #[default]
    Result,
    /// An object with id, ref id, state, result and error.
    Envelope,
}

/// Where to notify of the outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Method and URL, without credentials: what may be shown.
    pub to: String,
    /// The credentials as they were given, secrets by name; read only where the notification is sent, and by the handler
    /// of a job that carries it.
    #[serde(default, skip_serializing_if = "Hidden::is_empty")]
    pub credentials: Hidden,
    /// Who acts on it.
    #[serde(default)]
    pub mode: ReplyMode,
    /// The body.
    #[serde(default)]
    pub body: ReplyBody,
    /// Only of a success.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_success_only: bool,
}

/// The named worker of a job: jobs of the same one run strictly one at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedWorker {
    /// Its name; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The job said so itself; else it is what its command declares, and follows when that changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_own: bool,
    /// Others may pass the job while it waits for a retry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relaxed: bool,
}

impl NamedWorker {
    fn is_none(&self) -> bool {
        *self == NamedWorker::default()
    }
}

impl Reply {
    /// What may be shown of a text that names an address as callers do.
    pub fn without_credentials(text: &str) -> String {
        let (method, rest) = text.rsplit_once(' ').unwrap_or(("", text));
        let is_address = rest.starts_with("http://") || rest.starts_with("https://");
        let marks = ["@http://", "@https://"].into_iter().filter_map(|mark| rest.find(mark)).min();
        let url = marks.filter(|_| !is_address).map_or(rest, |at| &rest[at + 1..]);
        if method.is_empty() { url.to_owned() } else { format!("{} {url}", method.to_ascii_uppercase()) }
    }

    /// All of it as it was given, credentials included.
    pub fn whole(&self) -> String {
        let Hidden(credentials) = &self.credentials;
        match self.to.rsplit_once(' ') {
            _ if credentials.is_empty() => self.to.clone(),
            Some((method, url)) => format!("{method} {credentials}@{url}"),
            None => format!("{credentials}@{}", self.to),
        }
    }
}

/// A text that is stored and never shown; Debug ends in logs.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl Hidden {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "Hidden()" } else { "Hidden(..)" })
    }
}

/// Everything that was asked for at enqueue but the request itself. Stored as JSON, defaults left out, so that
/// versions N and N-1 read each other's rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// What to do.
    pub work: Work,
    /// The queue.
    #[serde(default = "default_queue", skip_serializing_if = "is_default_queue")]
    pub queue: String,
    /// The named worker.
    #[serde(default, skip_serializing_if = "NamedWorker::is_none")]
    pub worker: NamedWorker,
    /// 1 to 30, higher first.
    #[serde(default = "default_priority", skip_serializing_if = "is_default_priority")]
    pub priority: i32,
    /// The caller's own id for the job, if it gave one: see [`Job::ref_id`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ref_id: String,
    /// The caller's id for the request, if it gave one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Not started before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_after: Option<Time>,
    /// Cancelled if not started by this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Time>,
    /// Per attempt.
    #[serde(default = "default_timeout", skip_serializing_if = "is_default_timeout")]
    pub timeout: Duration,
    /// When and how often it is repeated.
    #[serde(default, skip_serializing_if = "is_default_retry")]
    pub retry: RetryPolicy,
    /// Jobs that must have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// What is enqueued when it has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Callback>,
    /// The job and run whose callback it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_of: Option<(JobId, Run)>,
    /// Where to notify of the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// The recurring task that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRun>,
    /// Its handler is stopped when its worker process is in doubt about the lease.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// A free label.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub batch_id: String,
    /// The job that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<JobId>,
    /// On whose behalf it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_id: String,
    /// Claims of that user.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_claims: BTreeMap<String, String>,
    /// Who created it, in the caller's own words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who enqueued it, as the server knows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub enqueued_by: String,
    /// Free arguments beside the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub traceparent: String,
    /// W3C trace state.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tracestate: String,
}

impl Spec {
    /// A job of defaults.
    pub fn new(work: Work) -> Self {
        Self {
            work,
            queue: default_queue(),
            worker: NamedWorker::default(),
            priority: limits::PRIORITY_DEFAULT,
            ref_id: String::new(),
            request_id: String::new(),
            run_after: None,
            expire_time: None,
            timeout: limits::TIMEOUT_DEFAULT,
            retry: RetryPolicy::default(),
            depends_on: Vec::new(),
            callback: None,
            callback_of: None,
            reply: None,
            task: None,
            strict: false,
            tag: String::new(),
            batch_id: String::new(),
            parent_id: None,
            user_id: String::new(),
            user_claims: BTreeMap::new(),
            created_by: String::new(),
            enqueued_by: String::new(),
            args: BTreeMap::new(),
            traceparent: String::new(),
            tracestate: String::new(),
        }
    }

    /// The route of a fresh job.
    pub fn route(&self) -> Route {
        Route { queue: self.queue.clone(), work: self.work.of_route(), kind: RouteKind::Plain }
    }

    /// Its lane, if it has a named worker.
    pub fn lane(&self) -> Option<Route> {
        (!self.worker.name.is_empty()).then(|| Route::lane(&self.worker.name))
    }

    /// The callback that a run which ended so enqueues.
    pub fn callback_after(&self, ending: Ending) -> Option<&Callback> {
        self.callback.as_ref().filter(|_| ending.is_success())
    }

    /// The notification that the server sends of a run which ended so.
    pub fn reply_after(&self, ending: Ending) -> Option<&Reply> {
        let wanted = |reply: &&Reply| {
            reply.mode == ReplyMode::Deliver && (ending.is_success() || !reply.on_success_only)
        };
        self.reply.as_ref().filter(wanted)
    }

    /// Must its handler stop by itself when its worker process is in doubt about the lease? Two of a named worker never
    /// run at once.
    pub fn is_strict(&self) -> bool {
        self.strict || !self.worker.name.is_empty()
    }
}

fn default_queue() -> String {
    limits::QUEUE_DEFAULT.into()
}
fn is_default_queue(queue: &str) -> bool {
    queue == limits::QUEUE_DEFAULT
}
fn default_priority() -> i32 {
    limits::PRIORITY_DEFAULT
}
fn is_default_priority(priority: &i32) -> bool {
    *priority == limits::PRIORITY_DEFAULT
}
fn default_timeout() -> Duration {
    limits::TIMEOUT_DEFAULT
}
fn is_default_timeout(timeout: &Duration) -> bool {
    *timeout == limits::TIMEOUT_DEFAULT
}
fn is_default_retry(retry: &RetryPolicy) -> bool {
    *retry == RetryPolicy::default()
}

/// How a route's jobs are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// To any worker process that serves it.
    Plain,
    /// Only to a worker process that runs nothing else: these jobs crashed their worker process before.
    Quarantined,
    /// To nobody: these jobs wait for their turn in a named worker.
    Lane,
}

impl RouteKind {
    /// The number that is stored.
    pub fn code(self) -> i64 {
        match self {
            RouteKind::Plain => 0,
            RouteKind::Quarantined => 1,
            RouteKind::Lane => 2,
        }
    }
}

/// What a claim matches on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// The queue.
    pub queue: String,
    /// The command or API.
    pub work: Work,
    /// How its jobs are given out.
    pub kind: RouteKind,
}

impl Route {
    /// The route of those who wait for their turn in a named worker. Its id is the lane's.
    pub fn lane(worker: &str) -> Route {
        Route { queue: String::new(), work: Work::Command(worker.into()), kind: RouteKind::Lane }
    }
}

/// Where a job's ready row stands, or stood last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadyKey {
    /// The route.
    pub route: RouteId,
    /// The priority.
    pub priority: i32,
    /// Not claimed before this time.
    pub ready_time: Time,
    /// The job.
    pub job: JobId,
}

/// What changes from attempt to attempt and travels from ready row to lease row and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The epoch of the last lease or revival.
    pub epoch: Epoch,
    /// Attempts of this run spent, one that is under way included.
    pub attempt: i32,
    /// Crashes of this run.
    pub crashes: i32,
    /// Claims in a row whose answer never arrived.
    pub unacknowledged: i32,
}

/// A job as it was enqueued, with the run it is in.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The month whose tables hold it.
    pub month: Month,
    /// The run it is in, counted from 1.
    pub run: Run,
    /// When that run began: enqueue or requeue.
    pub run_time: Time,
    /// When it was enqueued.
    pub create_time: Time,
    /// Where its ready row stands or stood last.
    pub ready: ReadyKey,
    /// What was asked for; shared, for jobs that are stored together most often ask for the same but for their requests.
    pub spec: Arc<Spec>,
    /// The request.
    pub request: Payload,
    /// Tells two contents apart.
    pub digest: [u8; 16],
}

impl Job {
    /// What is asked for, to be changed for this job alone.
    pub fn spec_mut(&mut self) -> &mut Spec {
        Arc::make_mut(&mut self.spec)
    }

    /// The caller's own id for the job, else the one generated from its id and when it was enqueued.
    pub fn ref_id(&self) -> String {
        ref_id_of(&self.spec, self.id, self.create_time)
    }
}

/// The ref id of a job: the caller's own, else one that is generated: `~`, the id, and when the job was made. So it names one
/// job of one database, and needs neither a row of its own to be found nor a place in the job's row.
pub fn ref_id_of(spec: &Spec, id: JobId, create_time: Time) -> String {
    if spec.ref_id.is_empty() { format!("~{id}-{:x}", create_time.0) } else { spec.ref_id.clone() }
}

/// The job and creation time that a generated ref id names.
pub fn read_generated_ref(ref_id: &str) -> Option<(JobId, Time)> {
    let (id, made) = ref_id.strip_prefix('~')?.split_once('-')?;
    Some((JobId(id.parse().ok()?), Time(i64::from_str_radix(made, 16).ok()?)))
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well; something still follows.
    Executed,
    /// Well.
    Completed,
    /// Badly.
    Failed,
    /// By cancellation.
    Cancelled,
}

impl Ending {
    /// The number that is stored.
    pub fn code(self) -> i64 {
        match self {
            Ending::Executed => 1,
            Ending::Completed => 2,
            Ending::Failed => 3,
            Ending::Cancelled => 4,
        }
    }

    /// The ending of a stored number.
    pub fn from_code(code: i64) -> Option<Ending> {
        [Ending::Executed, Ending::Completed, Ending::Failed, Ending::Cancelled]
            .into_iter()
            .find(|ending| ending.code() == code % super::TAKEN)
    }

    /// Did it end well?
    pub fn is_success(self) -> bool {
        matches!(self, Ending::Executed | Ending::Completed)
    }

    /// What people see.
    pub fn state(self) -> State {
        match self {
            Ending::Executed => State::Executed,
            Ending::Completed => State::Completed,
            Ending::Failed => State::Failed,
            Ending::Cancelled => State::Cancelled,
        }
    }
}

/// The outcome of a run; there is never a second one.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The run.
    pub run: Run,
    /// How it ended.
    pub ending: Ending,
    /// Attempts, crashes and the last epoch.
    pub turn: Turn,
    /// When the last attempt was leased, if there was one.
    pub start_time: Option<Time>,
    /// When it ended.
    pub finish_time: Time,
    /// The session of the last attempt, if there was one.
    pub session: Option<SessionId>,
    /// The name of the worker process of the last attempt; may be empty.
    pub worker_process: String,
    /// The result of a completed run.
    pub result: Payload,
    /// The error of a failed run, or the last one before it ended otherwise.
    pub error: Option<JobError>,
    /// The cancellation of a cancelled run.
    pub cancelled: Option<Cancelled>,
    /// The last status line reported; may be empty.
    pub status: String,
    /// Log lines stored of the last epoch.
    pub log_sequence: i64,
    /// When everything that followed had ended; none while it has not, or if nothing follows.
    pub notify_time: Option<Time>,
    /// The callback's job, if there is one.
    pub callback: Option<JobId>,
    /// Why what followed failed; empty if it did not.
    pub callback_error: String,
    /// Why the notification was given up, or what its last try met; empty if nothing went wrong.
    pub notify_error: String,
}

/// What a waiting job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Its time, then a worker process.
    Worker,
    /// Its turn in the named worker of this lane.
    Turn(RouteId),
    /// Parents.
    Parents,
}

/// Where a job stands, as stored.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Waiting.
    Ready(Wait),
    /// Leased; the name is that of the worker process.
    Leased(Box<Lease>, String),
    /// Ended.
    Ended(Box<Outcome>),
}

/// A job with all that is known of it now.
#[derive(Clone, Debug)]
pub struct View {
    /// What was asked for.
    pub job: Job,
    /// Where it stands.
    pub phase: Phase,
    /// Attempts and epoch.
    pub turn: Turn,
    /// Progress as reported or estimated, 0 to 1.
    pub progress: Option<f64>,
    /// Nothing was reported: progress is estimated from earlier runs.
    pub progress_estimated: bool,
    /// The status line as reported; may be empty.
    pub status: String,
    /// A cancel request that its handler has not answered yet.
    pub cancel: Option<String>,
    /// When that request will be forced.
    pub cancel_deadline: Option<Time>,
    /// The error of the last attempt that failed, if any.
    pub last_error: Option<JobError>,
}

impl View {
    /// What people see of it at `now`, which may be a little behind the database: it is no earlier than the run's begin.
    pub fn state(&self, now: Time) -> State {
        let now = now.max(self.job.run_time);
        match &self.phase {
            Phase::Ready(Wait::Turn(_) | Wait::Parents) => State::Blocked,
            Phase::Ready(Wait::Worker) if self.job.ready.ready_time > now => State::Scheduled,
            Phase::Ready(Wait::Worker) => State::Queued,
            Phase::Leased(..) => State::Running,
            Phase::Ended(outcome) => outcome.ending.state(),
        }
    }

    /// Has everything ended that follows the outcome?
    pub fn is_notified(&self) -> bool {
        let spec = &self.job.spec;
        self.outcome().is_some_and(|outcome| {
            let ending = outcome.ending;
            outcome.notify_time.is_some()
                || (spec.callback_after(ending).is_none() && spec.reply_after(ending).is_none())
        })
    }

    /// The outcome, if there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The lease, if it is running.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.phase {
            Phase::Leased(lease, _) => Some(lease),
            _ => None,
        }
    }

    /// Orders what watchers see: (run, epoch, phase), phases ordered ready < leased < ended.
    pub fn position(&self) -> (Run, Epoch, u8) {
        let phase = match &self.phase {
            Phase::Ready(_) => 0,
            Phase::Leased(..) => 1,
            Phase::Ended(outcome) if outcome.ending == Ending::Executed => 2,
            Phase::Ended(_) => 3,
        };
        (self.job.run, self.turn.epoch, phase)
    }
}
