//! The command line's client: a user of the Rust SDK, as any program is.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 ok, 1 the job failed or something went wrong, 2 usage,
//! 3 the job was cancelled, 4 the server is away, 5 a lock is held by another or was lost.

mod bench;
mod demo;
mod figures;
mod filter;
mod follow;
mod history;
mod lock;
mod outgoing;
mod program;
mod queue;
mod recurring;
mod run;
mod show;

use std::io::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures::{StreamExt as _, TryStreamExt as _};
use haulier::proto::{self, CancelResult, JobState, ListOrder, ReplyBody, ReplyMode};
use haulier::{Client, Code, Error, JobOptions, JobTarget, Payload, Priority, RetryPolicy};

pub use bench::Bench;
pub use demo::{Demo, demo};
pub use filter::FilterFlags;
pub use history::History;
pub use lock::Lock;
pub use outgoing::{Deliveries, EnqueueApi, ListDeliveries, ReplayDelivery};
pub use queue::Queue;
pub use run::Run;

/// Ended well.
pub const OK: u8 = 0;
/// The job failed, or something went wrong.
pub const FAILED: u8 = 1;
/// The arguments are wrong.
pub const USAGE: u8 = 2;
/// The job was cancelled.
pub const CANCELLED: u8 = 3;
/// The server is away.
pub const AWAY: u8 = 4;
/// A lock is held by another, or was lost.
pub const NOT_HELD: u8 = 5;

/// How long to try before the server counts as away.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a call may take that changes many jobs.
const BULK_PATIENCE: Duration = Duration::from_secs(600);

/// A command that speaks to a server.
#[derive(Subcommand)]
pub enum Command {
    /// Store a job that runs a command
    Enqueue(Enqueue),
    /// Store a job in which the server calls an API of a target of its configuration
    #[command(visible_alias = "call")]
    EnqueueApi(EnqueueApi),
    /// Show a job with its attempts
    Get(Get),
    /// Follow a job live until its outcome
    Watch(Watch),
    /// Say why a job is not running
    Explain(Explain),
    /// List jobs, the newest first
    List(List),
    /// Cancel a job, or all that match: at once while they wait, through their handlers while they run
    Cancel(Cancel),
    /// Start a new run of a failed or cancelled job, or of all that match
    Requeue(Requeue),
    /// Named locks: hold one while a program runs, list them, break them
    #[command(subcommand)]
    Lock(Lock),
    /// Months of history: list, export and drop them
    History(History),
    /// Run a command on a worker process now, without storing anything
    Run(Run),
    /// Look at queues, pause, resume and limit them
    Queue(Queue),
    /// Show how everything fares: counts, waits, commands, worker processes
    Overview(figures::Overview),
    /// List commands: who serves them, what waits, runs and ran
    Commands(figures::Commands),
    /// List worker processes
    Workers(figures::Workers),
    /// List the servers on the database
    Servers(figures::Servers),
    /// Tasks that recur on cron or an interval
    #[command(subcommand)]
    Recurring(recurring::Recurring),
    /// Look at the notifications of outcomes, or send one again
    #[command(subcommand)]
    Deliveries(Deliveries),
    /// Measure throughput and latency beside the least that they can cost, on a database of your choice
    ///
    /// Starts a server, a worker process and, on databases of their own beside it, a bare service that keeps the same
    /// promise by the fewest writes (the floor) and the bare database driver; removes what it made.
    Bench(Bench),
}

/// Where the server is, and how to show what it says.
#[derive(Args, Clone)]
pub struct Server {
    /// Address of the server
    #[arg(long, env = "HAULIER_ADDRESS", default_value = "http://127.0.0.1:4285", global = true)]
    address: String,
    /// API key
    #[arg(long, env = "HAULIER_API_KEY", hide_env_values = true, global = true)]
    api_key: Option<String>,
}

/// Arguments of `enqueue`.
#[derive(Args)]
pub struct Enqueue {
    /// Name of the command
    command: String,
    /// Request as JSON; `-` reads it from standard input [default: nothing]
    request: Option<String>,
    /// Follow the job until its outcome
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    job: JobFlags,
    #[command(flatten)]
    server: Server,
}

/// How a job is to be run.
#[derive(Args)]
pub struct JobFlags {
    /// Queue [default: default]
    #[arg(long)]
    queue: Option<String>,
    /// Priority, 1 to 30, higher first [default: 15]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=30))]
    priority: Option<u8>,
    /// Never start before this long from now, as in 90s, 5m, 2h
    #[arg(long, value_parser = duration)]
    delay: Option<Duration>,
    /// Longest time of one attempt [default: 10m]
    #[arg(long, value_parser = duration)]
    timeout: Option<Duration>,
    /// Retries after the first attempt [default: 2]
    #[arg(long)]
    retry_limit: Option<u16>,
    /// Retry profile of the server, such as abp or none [default: the server's]
    #[arg(long)]
    retry_profile: Option<String>,
    /// Your own unique id of the job
    #[arg(long)]
    ref_id: Option<String>,
    /// When the ref id is taken by an equal job, answer with that one
    #[arg(long, requires = "ref_id")]
    return_existing: bool,
    /// Makes a repeat of this call do nothing and answer the same, for a day
    #[arg(long)]
    request_id: Option<String>,
    /// Free label to filter by
    #[arg(long)]
    tag: Option<String>,
    /// Group of jobs to count and watch together
    #[arg(long)]
    batch_id: Option<String>,
    /// Free text that says who made the job
    #[arg(long)]
    created_by: Option<String>,
    /// User on whose behalf it runs
    #[arg(long)]
    user_id: Option<String>,
    /// Free argument beside the request; may be repeated
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    args: Vec<(String, String)>,
    /// Where to tell the outcome: [METHOD ][credentials@]URL
    #[arg(long, value_name = "ADDRESS")]
    reply_to: Option<String>,
    /// Who tells it: the server, or nobody but the handler and the callback, which get the address
    #[arg(long, value_enum, requires = "reply_to")]
    reply_mode: Option<ReplyModeName>,
    /// What is told: the result itself, or an object around it
    #[arg(long, value_enum, requires = "reply_to")]
    reply_body: Option<ReplyBodyName>,
    /// Tell of a success only
    #[arg(long, requires = "reply_to")]
    reply_on_success_only: bool,
}

/// Who tells an outcome, as it is written on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
enum ReplyModeName {
    Deliver,
    Carry,
}

/// What is told of an outcome, as it is written on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
enum ReplyBodyName {
    Result,
    Envelope,
}

/// Arguments of `get`.
#[derive(Args)]
pub struct Get {
    /// Id or ref id of the job
    job: String,
    /// Show its log lines too
    #[arg(long)]
    logs: bool,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `watch`.
#[derive(Args)]
pub struct Watch {
    /// Id or ref id of the job
    job: String,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `explain`.
#[derive(Args)]
pub struct Explain {
    /// Id or ref id of the job
    job: String,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `list`.
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    filter: FilterFlags,
    /// Only jobs stored in this month, as in 2026-11 [default: live jobs and the two newest months]
    #[arg(long)]
    month: Option<String>,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
    /// Jobs at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `cancel`.
#[derive(Args)]
pub struct Cancel {
    /// Id or ref id of the job; without it the flags say which jobs
    #[arg(required_unless_present = "filter", conflicts_with_all = ["filter", "dry_run"])]
    job: Option<String>,
    #[command(flatten)]
    filter: FilterFlags,
    /// Only count the jobs that match
    #[arg(long)]
    dry_run: bool,
    /// Why, in words
    #[arg(long, default_value = "")]
    reason: String,
    /// How long a running handler may take to stop [default: 30s]
    #[arg(long, value_parser = duration)]
    grace: Option<Duration>,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `requeue`.
#[derive(Args)]
pub struct Requeue {
    /// Id of the job; without it the flags say which jobs
    #[arg(required_unless_present = "filter", conflicts_with_all = ["filter", "dry_run", "month"])]
    job: Option<i64>,
    /// Run to do again [default: the latest]
    #[arg(long, conflicts_with = "filter")]
    run: Option<i32>,
    #[command(flatten)]
    filter: FilterFlags,
    /// Only jobs stored in this month, as in 2026-11 [default: the two newest]
    #[arg(long)]
    month: Option<String>,
    /// Only count the jobs that match
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: Server,
}

/// A state, as it is written on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
enum StateName {
    Scheduled,
    Blocked,
    Queued,
    Running,
    Executed,
    Completed,
    Failed,
    Cancelled,
}

/// Runs a command; answers its exit code.
pub async fn run(command: Command) -> u8 {
    let done = match command {
        Command::Enqueue(arguments) => enqueue(arguments).await,
        Command::Get(arguments) => get(arguments).await,
        Command::Watch(arguments) => watch(arguments).await,
        Command::Explain(arguments) => explain(arguments).await,
        Command::List(arguments) => list(arguments).await,
        Command::Cancel(arguments) => cancel(arguments).await,
        Command::Requeue(arguments) => requeue(arguments).await,
        Command::Lock(command) => lock::run(command).await,
        Command::History(arguments) => history::history(arguments).await,
        Command::Run(arguments) => run::run(arguments).await,
        Command::Queue(arguments) => queue::queue(arguments).await,
        Command::Overview(arguments) => figures::overview(arguments).await,
        Command::Commands(arguments) => figures::commands(arguments).await,
        Command::Workers(arguments) => figures::workers(arguments).await,
        Command::Servers(arguments) => figures::servers(arguments).await,
        Command::Recurring(command) => recurring::run(command).await,
        Command::EnqueueApi(arguments) => outgoing::enqueue_api(arguments).await,
        Command::Deliveries(command) => outgoing::deliveries(command).await,
        Command::Bench(arguments) => return bench::bench(arguments).await,
    };
    done.unwrap_or_else(|error| complain(&error))
}

impl Server {
    async fn connect(&self) -> haulier::Result<Client> {
        self.connect_for(PATIENCE).await
    }

    /// A client whose calls may take so long.
    async fn connect_for(&self, patience: Duration) -> haulier::Result<Client> {
        let mut builder = Client::builder(&self.address).deadline(patience);
        if let Some(key) = &self.api_key {
            builder = builder.api_key(key);
        }
        builder.connect().await
    }
}

async fn enqueue(arguments: Enqueue) -> haulier::Result<u8> {
    let request = match request(arguments.request.as_deref()) {
        Ok(request) => request,
        Err(message) => return Ok(usage(&message)),
    };
    let options = options(&arguments.job);
    let client = arguments.server.connect().await?;
    let mut call = client.enqueue_payload(&arguments.command, request).options(options);
    if let Some(id) = arguments.job.request_id {
        call = call.request_id(id);
    }
    let job = call.await?;
    if arguments.watch {
        return follow::follow(&client, job.id().into()).await;
    }
    show::line(&format!("{}\t{}\t{}", job.id(), job.ref_id(), show::state(job.state())));
    Ok(OK)
}

fn request(text: Option<&str>) -> Result<Payload, String> {
    let text = match text {
        None => return Ok(Payload::nothing()),
        Some("-") => {
            std::io::read_to_string(std::io::stdin()).map_err(|error| format!("standard input: {error}"))?
        }
        Some(text) => text.to_owned(),
    };
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(_) => Ok(Payload::json_text(text)),
        Err(error) => {
            Err(format!("the request is not JSON: {error}; a text needs quotes of its own, as in '\"text\"'"))
        }
    }
}

fn options(from: &JobFlags) -> JobOptions {
    let mut options = JobOptions::new();
    let set = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    if let Some(queue) = set(&from.queue) {
        options = options.queue(queue);
    }
    if let Some(priority) = from.priority {
        options = options.priority(Priority::from(priority));
    }
    if let Some(delay) = from.delay {
        options = options.delay(delay);
    }
    if let Some(timeout) = from.timeout {
        options = options.timeout(timeout);
    }
    if let Some(profile) = set(&from.retry_profile) {
        options = options.retry_policy(RetryPolicy::profile(profile));
    }
    if let Some(limit) = from.retry_limit {
        options = options.retry_limit(limit);
    }
    if let Some(ref_id) = set(&from.ref_id) {
        options = options.ref_id(ref_id);
    }
    if from.return_existing {
        options = options.return_existing();
    }
    if let Some(tag) = set(&from.tag) {
        options = options.tag(tag);
    }
    if let Some(batch_id) = set(&from.batch_id) {
        options = options.batch_id(batch_id);
    }
    if let Some(created_by) = set(&from.created_by) {
        options = options.created_by(created_by);
    }
    if let Some(user_id) = set(&from.user_id) {
        options = options.user_id(user_id);
    }
    if let Some(reply_to) = set(&from.reply_to) {
        options = options.reply_to(reply_to);
    }
    if let Some(mode) = from.reply_mode {
        options = options.reply_mode(match mode {
            ReplyModeName::Deliver => ReplyMode::Deliver,
            ReplyModeName::Carry => ReplyMode::Carry,
        });
    }
    if let Some(body) = from.reply_body {
        options = options.reply_body(match body {
            ReplyBodyName::Result => ReplyBody::Result,
            ReplyBodyName::Envelope => ReplyBody::Envelope,
        });
    }
    if from.reply_on_success_only {
        options = options.reply_on_success_only();
    }
    from.args.iter().fold(options, |options, (name, value)| options.arg(name, value))
}

async fn get(arguments: Get) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let job = client.get(key(&arguments.job)).await?;
    let id = job.summary.as_ref().map_or(0, |summary| summary.id);
    if id == 0 {
        // A transient run, whose attempts and lines are kept nowhere.
        show::job(&job, &[]);
        return Ok(OK);
    }
    let attempts: Vec<_> = client.list_attempts(id).pages().try_collect().await?;
    show::job(&job, &attempts);
    if arguments.logs {
        let lines: Vec<_> = client.list_logs(id).pages().try_collect().await?;
        lines.iter().for_each(|line| show::line(&show::log_line(line)));
    }
    Ok(OK)
}

async fn watch(arguments: Watch) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    follow::follow(&client, key(&arguments.job)).await
}

async fn explain(arguments: Explain) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let told = client.explain(key(&arguments.job)).await?;
    let code = told.code().as_str_name().trim_start_matches("EXPLAIN_CODE_").to_owned();
    show::line(&format!("{code}: {}", told.explanation));
    Ok(OK)
}

async fn list(arguments: List) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let filter = arguments.filter.filter();
    let order = if arguments.oldest_first { ListOrder::OldestFirst } else { ListOrder::NewestFirst };
    let size = i32::try_from(arguments.limit.clamp(1, 500)).unwrap_or(500);
    let mut call = client.list_jobs(filter).order(order).page_size(size);
    if let Some(month) = arguments.month {
        call = call.month(month);
    }
    let jobs: Vec<_> = call.pages().take(arguments.limit).try_collect().await?;
    show::jobs(&jobs);
    Ok(OK)
}

async fn cancel(arguments: Cancel) -> haulier::Result<u8> {
    let Some(job) = &arguments.job else { return cancel_jobs(arguments).await };
    let client = arguments.server.connect().await?;
    let mut call = client.cancel(key(job)).reason(arguments.reason);
    if let Some(grace) = arguments.grace {
        call = call.grace(grace);
    }
    let answer = call.await?;
    let id = answer.job.as_ref().map_or(0, |job| job.id);
    let text = match answer.result() {
        CancelResult::Cancelled => "cancelled: it will never start",
        CancelResult::Requested => "its worker process is told to stop",
        CancelResult::AlreadyFinished => "it had ended before",
        CancelResult::Unspecified => "unknown",
    };
    show::line(&format!("{id}\t{text}"));
    Ok(OK)
}

async fn cancel_jobs(arguments: Cancel) -> haulier::Result<u8> {
    let client = arguments.server.connect_for(BULK_PATIENCE).await?;
    let mut call = client.cancel_jobs(arguments.filter.filter()).reason(arguments.reason);
    if let Some(grace) = arguments.grace {
        call = call.grace(grace);
    }
    if arguments.dry_run {
        let matched = call.validate_only().await?.matched_count;
        show::line(&format!("{matched} would be cancelled"));
        return Ok(OK);
    }
    let done = call.await?;
    show::line(&format!("{} cancelled\t{} told to stop", done.cancelled_count, done.requested_count));
    Ok(OK)
}

async fn requeue_jobs(arguments: Requeue) -> haulier::Result<u8> {
    let client = arguments.server.connect_for(BULK_PATIENCE).await?;
    let mut call = client.requeue_jobs(arguments.filter.filter());
    if let Some(month) = arguments.month {
        call = call.month(month);
    }
    if arguments.dry_run {
        let matched = call.validate_only().await?.matched_count;
        show::line(&format!("{matched} would be requeued"));
        return Ok(OK);
    }
    show::line(&format!("{} requeued", call.await?.requeued_count));
    Ok(OK)
}

async fn requeue(arguments: Requeue) -> haulier::Result<u8> {
    let Some(job) = arguments.job else { return requeue_jobs(arguments).await };
    let client = arguments.server.connect().await?;
    let mut call = client.requeue(job);
    if let Some(run) = arguments.run {
        call = call.run(run);
    }
    let answer = call.await?;
    let run = answer.job.as_ref().map_or(0, |job| job.run);
    let text = if answer.created { "began" } else { "had begun before" };
    show::line(&format!("{job}\trun {run} {text}"));
    Ok(OK)
}

impl StateName {
    fn state(self) -> JobState {
        match self {
            StateName::Scheduled => JobState::Scheduled,
            StateName::Blocked => JobState::Blocked,
            StateName::Queued => JobState::Queued,
            StateName::Running => JobState::Running,
            StateName::Executed => JobState::Executed,
            StateName::Completed => JobState::Completed,
            StateName::Failed => JobState::Failed,
            StateName::Cancelled => JobState::Cancelled,
        }
    }
}

/// A number is an id, anything else a ref id.
fn key(text: &str) -> JobTarget {
    text.parse::<i64>().map_or_else(|_| text.into(), JobTarget::from)
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::read_duration(text)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The exit code of a job's outcome.
fn code_of(state: JobState) -> u8 {
    match state {
        JobState::Failed => FAILED,
        JobState::Cancelled => CANCELLED,
        _ => OK,
    }
}

fn usage(message: &str) -> u8 {
    warn(message);
    USAGE
}

fn warn(message: &str) {
    let _ = writeln!(std::io::stderr().lock(), "haulier: {message}");
}

/// Says what went wrong; answers the exit code for it.
fn complain(error: &Error) -> u8 {
    let _ = writeln!(std::io::stderr().lock(), "haulier: {error}");
    for violation in error.violations() {
        let _ = writeln!(std::io::stderr().lock(), "  {}: {}", violation.field, violation.message);
    }
    match (error, error.code()) {
        (Error::Connect { .. }, _) | (_, Some(Code::Unavailable)) => AWAY,
        (Error::Config { .. }, _) | (_, Some(Code::InvalidArgument)) => USAGE,
        _ => FAILED,
    }
}

/// A summary, if the record has one: it always has.
fn summary(job: &proto::JobResult) -> proto::JobSummary {
    job.summary.clone().unwrap_or_default()
}
