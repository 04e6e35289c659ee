//! Recurring tasks on the command line.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use futures::{StreamExt as _, TryStreamExt as _};
use haulier::proto;
use haulier::{CatchUpPolicy, JobOptions, OverlapPolicy, Priority, PutResult, RecurringTask, Schedule};

use super::{OK, Server, duration, follow, pair, request, show, usage};

/// What to do with recurring tasks.
#[derive(Subcommand)]
pub enum Recurring {
    /// Make or change a task; done again it changes nothing
    Put(Box<Put>),
    /// Show a task with its next times
    Get(Named),
    /// List tasks by name
    List(List),
    /// Delete a task; its jobs stay
    Delete(Named),
    /// Pause a task: it is not due until it is resumed
    Pause(Pause),
    /// Resume a task: it goes on with the next due time from now
    Resume(Named),
    /// Run a task now, paused or not
    Trigger(Trigger),
    /// Show the next times of a schedule without storing anything
    Preview(Preview),
}

/// When something is due.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct When {
    /// Cron expression of 5 fields, or 6 with seconds first, or a macro as `@daily`
    #[arg(long, short)]
    cron: Option<String>,
    /// Interval, as in 90s, 5m, 2h
    #[arg(long, short, value_parser = duration)]
    every: Option<Duration>,
}

/// How a cron expression is read.
#[derive(Args)]
struct Reading {
    /// Time zone of the cron expression, as in Europe/Vienna [default: UTC]
    #[arg(long, requires = "cron")]
    time_zone: Option<String>,
    /// What `H` is drawn from, and macros are spread by [default: the name of the task]
    #[arg(long, requires = "cron")]
    seed: Option<String>,
}

/// Arguments of `recurring put`.
#[derive(Args)]
pub struct Put {
    /// Name of the command
    command: String,
    /// Request as JSON; `-` reads it from standard input [default: nothing]
    request: Option<String>,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    reading: Reading,
    /// Name of the task [default: that of the command]
    #[arg(long)]
    name: Option<String>,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    /// What to do when an earlier run has not ended
    #[arg(long, value_enum, default_value_t = Overlap::Allow)]
    overlap: Overlap,
    /// What to do about due times missed while no server ran
    #[arg(long, value_enum, default_value_t = Missed::Last)]
    catch_up: Missed,
    /// With `--catch-up all`, how far back [default: 1h]
    #[arg(long, value_parser = duration)]
    catch_up_window: Option<Duration>,
    /// Not due before this time, as in 2026-12-01T06:00:00Z
    #[arg(long, value_parser = time)]
    start: Option<SystemTime>,
    /// Not due at or after this time
    #[arg(long, value_parser = time)]
    end: Option<SystemTime>,
    /// Run it without storing anything: each due time begins a transient run
    #[arg(long)]
    run_command: bool,
    /// Whether it is due at all [default: a new task is, another stays as it was]
    #[arg(long)]
    enabled: Option<bool>,
    /// Queue [default: default]
    #[arg(long)]
    queue: Option<String>,
    /// Priority, 1 to 30, higher first [default: 15]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=30))]
    priority: Option<u8>,
    /// Longest time of one attempt [default: 10m]
    #[arg(long, value_parser = duration)]
    timeout: Option<Duration>,
    /// Retries after the first attempt [default: 2]
    #[arg(long)]
    retry_limit: Option<u16>,
    /// Free label to filter by
    #[arg(long)]
    tag: Option<String>,
    /// Free argument beside the request; may be repeated
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = pair)]
    args: Vec<(String, String)>,
    #[command(flatten)]
    server: Server,
}

/// Arguments of commands about one task.
#[derive(Args)]
pub struct Named {
    /// Name of the task
    name: String,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `recurring list`.
#[derive(Args)]
pub struct List {
    /// Only tasks whose name starts so
    #[arg(long)]
    prefix: Option<String>,
    /// Only tasks of this command
    #[arg(long)]
    command: Option<String>,
    /// Only tasks that are paused, or with `false` only those that are not
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    paused: Option<bool>,
    /// Only tasks that are enabled, or with `false` only those that are not
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    enabled: Option<bool>,
    /// Tasks at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `recurring pause`.
#[derive(Args)]
pub struct Pause {
    /// Name of the task
    name: String,
    /// Why, in words
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `recurring trigger`.
#[derive(Args)]
pub struct Trigger {
    /// Name of the task
    name: String,
    /// Makes a repeat of this call do nothing and answer the same, for a day
    #[arg(long)]
    request_id: Option<String>,
    /// Follow the job until its outcome
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    server: Server,
}

/// Arguments of `recurring preview`.
#[derive(Args)]
pub struct Preview {
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    reading: Reading,
    /// How many times; at most 500
    #[arg(long, default_value_t = 5)]
    count: i32,
    /// Only times after this one [default: now]
    #[arg(long, value_parser = time)]
    after: Option<SystemTime>,
    /// Only times before this one
    #[arg(long, value_parser = time)]
    until: Option<SystemTime>,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, ValueEnum)]
enum Overlap {
    Allow,
    Skip,
    BufferOne,
    CancelPrevious,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Missed {
    Last,
    None,
    All,
}

/// Runs a command; answers its exit code.
pub(super) async fn run(command: Recurring) -> haulier::Result<u8> {
    match command {
        Recurring::Put(arguments) => put(*arguments).await,
        Recurring::Get(Named { name, server }) => {
            show::task(&server.connect().await?.get_recurring_task(name).await?);
            Ok(OK)
        }
        Recurring::List(arguments) => list(arguments).await,
        Recurring::Delete(Named { name, server }) => {
            let task = server.connect().await?.delete_recurring_task(name).await?;
            show::line(&format!("{}\tdeleted", task.name));
            Ok(OK)
        }
        Recurring::Pause(Pause { name, reason, server }) => {
            let task = server.connect().await?.pause_recurring_task(name, reason).await?;
            show::line(&format!("{}\tpaused", task.name));
            Ok(OK)
        }
        Recurring::Resume(Named { name, server }) => {
            let task = server.connect().await?.resume_recurring_task(name).await?;
            show::line(&format!("{}\tresumed\t{}", task.name, next(&task)));
            Ok(OK)
        }
        Recurring::Trigger(arguments) => trigger(arguments).await,
        Recurring::Preview(arguments) => preview(arguments).await,
    }
}

async fn put(arguments: Put) -> haulier::Result<u8> {
    let request = match request(arguments.request.as_deref()) {
        Ok(request) => request,
        Err(message) => return Ok(usage(&message)),
    };
    if arguments.catch_up_window.is_some() && arguments.catch_up != Missed::All {
        return Ok(usage("--catch-up-window means nothing without --catch-up all"));
    }
    let options = options(&arguments);
    let mut task =
        RecurringTask::payload(arguments.command, request, schedule(arguments.when, arguments.reading))
            .description(arguments.description)
            .overlap_policy(arguments.overlap.policy())
            .catch_up_policy(arguments.catch_up.policy(arguments.catch_up_window))
            .options(options);
    if arguments.run_command {
        task = task.run_command();
    }
    if let Some(name) = arguments.name {
        task = task.name(name);
    }
    if let Some(start) = arguments.start {
        task = task.start_time(start);
    }
    if let Some(end) = arguments.end {
        task = task.end_time(end);
    }
    if let Some(enabled) = arguments.enabled {
        task = task.enabled(enabled);
    }
    let (task, result) = arguments.server.connect().await?.put_recurring_task(task).await?;
    let what = match result {
        PutResult::Created => "created",
        PutResult::Updated => "changed",
        PutResult::Unchanged => "unchanged",
        PutResult::Unspecified => "unknown",
    };
    show::line(&format!("{}\t{what}\t{}", task.name, next(&task)));
    Ok(OK)
}

fn options(from: &Put) -> JobOptions {
    let mut options = JobOptions::new();
    if let Some(queue) = &from.queue {
        options = options.queue(queue);
    }
    if let Some(priority) = from.priority {
        options = options.priority(Priority::from(priority));
    }
    if let Some(timeout) = from.timeout {
        options = options.timeout(timeout);
    }
    if let Some(limit) = from.retry_limit {
        options = options.retry_limit(limit);
    }
    if let Some(tag) = &from.tag {
        options = options.tag(tag);
    }
    from.args.iter().fold(options, |options, (name, value)| options.arg(name, value))
}

fn schedule(when: When, reading: Reading) -> Schedule {
    let mut schedule = match (when.cron, when.every) {
        (Some(cron), _) => Schedule::cron(cron),
        (None, every) => Schedule::every(every.unwrap_or_default()),
    };
    if let Some(zone) = reading.time_zone {
        schedule = schedule.time_zone(zone);
    }
    if let Some(seed) = reading.seed {
        schedule = schedule.seed(seed);
    }
    schedule
}

async fn list(arguments: List) -> haulier::Result<u8> {
    let size = i32::try_from(arguments.limit.clamp(1, 500)).unwrap_or(500);
    let mut call = arguments.server.connect().await?.list_recurring_tasks().page_size(size);
    if let Some(prefix) = arguments.prefix {
        call = call.name_prefix(prefix);
    }
    if let Some(command) = arguments.command {
        call = call.command(command);
    }
    if let Some(paused) = arguments.paused {
        call = call.paused(paused);
    }
    if let Some(enabled) = arguments.enabled {
        call = call.enabled(enabled);
    }
    let tasks: Vec<_> = call.pages().take(arguments.limit).try_collect().await?;
    show::tasks(&tasks);
    Ok(OK)
}

async fn trigger(arguments: Trigger) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let mut call = client.trigger_recurring_task(arguments.name);
    if let Some(id) = arguments.request_id {
        call = call.request_id(id);
    }
    let job = call.await?;
    if arguments.watch {
        return follow::follow(&client, job.id().into()).await;
    }
    show::line(&format!("{}\t{}", job.id(), job.ref_id()));
    Ok(OK)
}

async fn preview(arguments: Preview) -> haulier::Result<u8> {
    let client = arguments.server.connect().await?;
    let schedule = schedule(arguments.when, arguments.reading);
    let mut call = client.preview_schedule(schedule).count(arguments.count);
    if let Some(after) = arguments.after {
        call = call.after_time(after);
    }
    if let Some(until) = arguments.until {
        call = call.end_time(until);
    }
    let answer = call.await?;
    for (time, local) in answer.times.iter().zip(&answer.local_times) {
        show::line(&format!("{time}\t{local}"));
    }
    Ok(OK)
}

fn next(task: &proto::RecurringTask) -> String {
    task.next_time.map_or_else(|| "not due".to_owned(), |time| format!("next {time}"))
}

/// A time of the contract reads RFC 3339.
fn time(text: &str) -> Result<SystemTime, String> {
    let wrong = || "is not a time, written as in 2026-12-01T06:00:00Z".to_owned();
    let read = proto::PreviewScheduleRequest { after_time: text.parse().ok(), ..Default::default() };
    haulier::options::system_time(read.after_time).ok_or_else(wrong)
}

impl Overlap {
    fn policy(self) -> OverlapPolicy {
        match self {
            Overlap::Allow => OverlapPolicy::Allow,
            Overlap::Skip => OverlapPolicy::Skip,
            Overlap::BufferOne => OverlapPolicy::BufferOne,
            Overlap::CancelPrevious => OverlapPolicy::CancelPrevious,
        }
    }
}

impl Missed {
    fn policy(self, window: Option<Duration>) -> CatchUpPolicy {
        match self {
            Missed::Last => CatchUpPolicy::Last,
            Missed::None => CatchUpPolicy::None,
            Missed::All => CatchUpPolicy::All(window.unwrap_or(Duration::from_secs(3_600))),
        }
    }
}
