//! What the command line shows, and how.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use haulier::proto::api_call::Endpoint;
use haulier::proto::job_result::Record;
use haulier::proto::job_summary::Work;
use haulier::proto::payload::Kind;
use haulier::proto::recurring_task::Work as TaskWork;
use haulier::proto::schedule::Timing;
use haulier::proto::{
    ApiCall, AttemptOutcome, Command, Delivery, DeliveryState, HistoryMonth, JobAttempt, JobError, JobResult,
    JobSummary, Lock, LogLine, Overview, Payload, Queue, RecurringTask, Server, WorkerProcess,
};
use haulier::{JobState, LogLevel};

/// A line on stdout. A reader that has gone, such as `head`, is no failure.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A state in one word.
pub(super) fn state(state: JobState) -> &'static str {
    match state {
        JobState::Unspecified => "unknown",
        JobState::Scheduled => "scheduled",
        JobState::Blocked => "blocked",
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Executed => "executed",
        JobState::Completed => "completed",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

/// What a job does.
pub(super) fn work(summary: &JobSummary) -> String {
    match &summary.work {
        Some(Work::Command(command)) => command.clone(),
        Some(Work::Api(api)) => api_call(api),
        None => String::new(),
    }
}

fn api_call(api: &ApiCall) -> String {
    let endpoint = match &api.endpoint {
        Some(Endpoint::GrpcMethod(method)) => method.clone(),
        Some(Endpoint::Http(http)) => format!("{} {}", http.method, http.path),
        None => String::new(),
    };
    format!("{} {endpoint}", api.target)
}

/// Many jobs, a row each.
pub(super) fn jobs(jobs: &[JobSummary]) {
    let mut table =
        table(&["id", "state", "command", "queue", "attempt", "created", "tag", "status or error"]);
    for job in jobs {
        let error = job.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        let note = if error.is_empty() { job.status.clone() } else { error };
        table.add_row([
            job.id.to_string(),
            state(job.state()).to_owned(),
            work(job),
            job.queue.clone(),
            job.attempt.to_string(),
            job.create_time.map(|time| time.to_string()).unwrap_or_default(),
            job.tag.clone(),
            note.lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    line(&table.to_string());
}

/// Locks, a row each.
pub(super) fn locks(locks: &[Lock]) {
    let mut table = table(&["lock", "owner", "fencing token", "acquired", "held until"]);
    for lock in locks {
        table.add_row([
            lock.name.clone(),
            lock.owner.clone(),
            lock.fencing_token.to_string(),
            lock.acquire_time.map(|time| time.to_string()).unwrap_or_default(),
            lock.expire_time.map(|time| time.to_string()).unwrap_or_default(),
        ]);
    }
    line(&table.to_string());
}

/// Months of history, a row each.
pub(super) fn months(months: &[HistoryMonth]) {
    let mut table =
        table(&["month", "kept", "completed", "failed", "cancelled", "live", "bytes", "last finish"]);
    for month in months {
        table.add_row([
            month.month.clone(),
            month.state().as_str_name().trim_start_matches("HISTORY_STATE_").to_lowercase(),
            month.completed_count.to_string(),
            month.failed_count.to_string(),
            month.cancelled_count.to_string(),
            month.live_count.to_string(),
            month.size_bytes.to_string(),
            month.last_finish_time.map(|time| time.to_string()).unwrap_or_default(),
        ]);
    }
    line(&table.to_string());
}

/// Queues, a row each.
pub(super) fn queues(queues: &[Queue]) {
    let mut table = table(&[
        "queue",
        "queued",
        "scheduled",
        "blocked",
        "running",
        "at most",
        "rate",
        "workers",
        "paused",
    ]);
    for queue in queues {
        let counts = queue.counts.unwrap_or_default();
        let since = queue.pause_time.map(|time| format!("since {time} {}", queue.pause_reason));
        table.add_row([
            queue.name.clone(),
            counts.queued.to_string(),
            counts.scheduled.to_string(),
            counts.blocked.to_string(),
            counts.running.to_string(),
            queue.concurrency_limit.map(|limit| limit.to_string()).unwrap_or_default(),
            queue
                .rate_limit
                .map(|rate| format!("{}/{}", rate.count, length(rate.period)))
                .unwrap_or_default(),
            queue.worker_count.to_string(),
            since.unwrap_or_default().trim_end().to_owned(),
        ]);
    }
    line(&table.to_string());
}

/// A length of time as people write it; empty: none.
fn length<D>(of: Option<D>) -> String
where
    Duration: TryFrom<D>,
{
    let of = of.and_then(|of| Duration::try_from(of).ok());
    let rounded = |of: Duration| {
        if of > Duration::from_secs(1) { Duration::from_millis(of.as_millis() as u64) } else { of }
    };
    of.map(|of| format!("{:?}", rounded(of))).unwrap_or_default()
}

fn time(of: Option<impl Display>) -> String {
    of.map(|time| time.to_string()).unwrap_or_default()
}

/// How everything fares.
pub(super) fn overview(of: &Overview) {
    let (counts, waits) = (of.counts.unwrap_or_default(), of.waits.unwrap_or_default());
    line(&format!(
        "queued {}  scheduled {}  blocked {}  running {}  completed {}  failed {}  cancelled {}",
        counts.queued,
        counts.scheduled,
        counts.blocked,
        counts.running,
        counts.completed,
        counts.failed,
        counts.cancelled,
    ));
    line(&format!(
        "wait median {}  p95 {}  oldest {}",
        length(waits.median),
        length(waits.p95),
        length(waits.oldest),
    ));
    line(&format!(
        "worker processes {} with {} slots  recurring tasks {}  notifications waiting {}  paused queues {}",
        of.worker_count,
        of.slot_count,
        of.recurring_task_count,
        of.pending_delivery_count,
        if of.paused_queues.is_empty() { "none".to_owned() } else { of.paused_queues.join(", ") },
    ));
    let mut commands =
        table(&["command", "waiting", "running", "completed", "failed", "cancelled", "retries", "mean"]);
    for stats in &of.commands {
        let numbers =
            [stats.waiting, stats.running, stats.completed, stats.failed, stats.cancelled, stats.retries];
        let cells = std::iter::once(stats.command.clone()).chain(numbers.map(|number| number.to_string()));
        commands.add_row(cells.chain([length(stats.mean_duration)]));
    }
    line(&commands.to_string());
    if !of.named_workers.is_empty() {
        let mut lanes = table(&["named worker", "waiting", "runs job", "completed", "failed"]);
        for stats in &of.named_workers {
            lanes.add_row([
                stats.worker.clone(),
                stats.waiting.to_string(),
                if stats.running_job_id == 0 { String::new() } else { stats.running_job_id.to_string() },
                stats.completed.to_string(),
                stats.failed.to_string(),
            ]);
        }
        line(&lanes.to_string());
    }
    let mut hours = table(&["hour", "enqueued", "completed", "failed", "cancelled"]);
    for stats in of.hours.iter().filter(|of| of.enqueued + of.completed + of.failed + of.cancelled > 0) {
        let numbers = [stats.enqueued, stats.completed, stats.failed, stats.cancelled];
        hours
            .add_row(std::iter::once(time(stats.start_time)).chain(numbers.map(|number| number.to_string())));
    }
    line(&hours.to_string());
}

/// Commands, a row each.
pub(super) fn commands(commands: &[Command]) {
    let mut table = table(&[
        "command",
        "worker",
        "versions",
        "served by",
        "waiting",
        "running",
        "last run",
        "last job",
        "mean",
    ]);
    for command in commands {
        table.add_row([
            command.name.clone(),
            command.worker.clone(),
            command.versions.join(", "),
            command.worker_count.to_string(),
            command.waiting_count.to_string(),
            command.running_count.to_string(),
            time(command.last_run_time),
            if command.last_job_id == 0 { String::new() } else { command.last_job_id.to_string() },
            length(command.mean_duration),
        ]);
    }
    line(&table.to_string());
}

/// Servers, a row each.
pub(super) fn servers(servers: &[Server]) {
    let mut table = table(&[
        "server", "id", "state", "address", "version", "database", "durable", "pool", "workers", "started",
    ]);
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    for server in servers {
        let name = if server.is_self { format!("{} (this one)", server.name) } else { server.name.clone() };
        table.add_row([
            name,
            server.id.clone(),
            server.state().as_str_name().trim_start_matches("SERVER_STATE_").to_lowercase(),
            server.address.clone(),
            server.version.clone(),
            server.store.clone(),
            yes(server.durable),
            yes(server.pool_enabled),
            server.worker_count.to_string(),
            time(server.start_time),
        ]);
    }
    line(&table.to_string());
}

/// Worker processes, a row each.
pub(super) fn workers(workers: &[WorkerProcess]) {
    let mut table = table(&[
        "worker process",
        "instance",
        "state",
        "serves",
        "queues",
        "running",
        "slots",
        "completed",
        "failed",
        "sdk",
        "started",
    ]);
    for worker in workers {
        let serves: Vec<&str> = worker.commands.iter().map(|served| served.command.as_str()).collect();
        table.add_row([
            worker.name.clone(),
            worker.instance_id.clone(),
            worker.state().as_str_name().trim_start_matches("WORKER_STATE_").to_lowercase(),
            serves.join(", "),
            worker.queues.join(", "),
            worker.running_count.to_string(),
            worker.slots.to_string(),
            worker.completed_count.to_string(),
            worker.failed_count.to_string(),
            worker.sdk.clone(),
            time(worker.start_time),
        ]);
    }
    line(&table.to_string());
}

/// Notifications, a row each.
pub(super) fn deliveries(deliveries: &[Delivery]) {
    let mut table = table(&["id", "job", "run", "state", "to", "tries", "next", "last try"]);
    for delivery in deliveries {
        let last = delivery.attempts.last().map(|last| match last.error.as_str() {
            "" => format!("HTTP {}", last.http_status),
            error => error.to_owned(),
        });
        table.add_row([
            delivery.id.to_string(),
            delivery.job_id.to_string(),
            delivery.run.to_string(),
            delivery_state(delivery.state()).to_owned(),
            format!("{} {}", delivery.method, delivery.url),
            delivery.attempt_count.to_string(),
            delivery.next_time.map(|time| time.to_string()).unwrap_or_default(),
            last.unwrap_or_default(),
        ]);
    }
    line(&table.to_string());
}

fn delivery_state(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Unspecified => "unknown",
        DeliveryState::Pending => "pending",
        DeliveryState::Sending => "sending",
        DeliveryState::Delivered => "delivered",
        DeliveryState::GivenUp => "given up",
    }
}

/// One job with all that is known of it.
pub(super) fn job(job: &JobResult, attempts: &[JobAttempt]) {
    let summary = super::summary(job);
    let mut table = table(&[]);
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            table.add_row([name.to_owned(), value]);
        }
    };
    row("id", if summary.transient { "none: a transient run".to_owned() } else { summary.id.to_string() });
    row("ref id", summary.ref_id.clone());
    row("state", state(summary.state()).to_owned());
    row("command", work(&summary));
    row("queue", summary.queue.clone());
    row("priority", summary.priority.to_string());
    row("run", summary.run.to_string());
    row("tag", summary.tag.clone());
    row("batch", summary.batch_id.clone());
    row("user", summary.user_id.clone());
    row("created", summary.create_time.map(|time| time.to_string()).unwrap_or_default());
    row("ready", summary.ready_time.map(|time| time.to_string()).unwrap_or_default());
    row("started", summary.start_time.map(|time| time.to_string()).unwrap_or_default());
    row("finished", summary.finish_time.map(|time| time.to_string()).unwrap_or_default());
    row("worker process", summary.worker_process.clone());
    let estimated = if summary.progress_estimated { ", estimated" } else { "" };
    row(
        "progress",
        summary.progress.map(|part| format!("{:.0} %{estimated}", part * 100.0)).unwrap_or_default(),
    );
    row("status", summary.status.clone());
    row("cancelled", summary.cancel_message.clone());
    row("error", summary.error.as_ref().map(error_text).unwrap_or_default());
    let (request, result) = payloads(job);
    row("request", request);
    row("result", result);
    line(&table.to_string());
    show_attempts(attempts);
}

/// Recurring tasks, a row each.
pub(super) fn tasks(tasks: &[RecurringTask]) {
    let mut table =
        table(&["name", "command", "schedule", "next", "last", "last job", "state", "runs", "skipped"]);
    for task in tasks {
        let state = if task.last_job_id == 0 { "" } else { state(task.last_state()) };
        table.add_row([
            task.name.clone(),
            task_work(task),
            schedule(task),
            next(task),
            task.last_time.map(|time| time.to_string()).unwrap_or_default(),
            if task.last_job_id == 0 { String::new() } else { task.last_job_id.to_string() },
            state.to_owned(),
            task.run_count.to_string(),
            task.skip_count.to_string(),
        ]);
    }
    line(&table.to_string());
}

/// One recurring task with all that is known of it.
pub(super) fn task(task: &RecurringTask) {
    let mut table = table(&[]);
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            table.add_row([name.to_owned(), value]);
        }
    };
    let time = |time: &Option<_>| time.as_ref().map(ToString::to_string).unwrap_or_default();
    row("name", task.name.clone());
    row("description", task.description.clone());
    row("command", task_work(task));
    row("schedule", schedule(task));
    row("overlap", word(task.overlap_policy().as_str_name(), "OVERLAP_POLICY_"));
    row("catch-up", word(task.catch_up_policy().as_str_name(), "CATCH_UP_POLICY_"));
    row("from", time(&task.start_time));
    row("until", time(&task.end_time));
    row("paused", if task.paused { format!("yes {}", task.pause_reason) } else { String::new() });
    let upcoming: Vec<String> = task.upcoming_times.iter().map(ToString::to_string).collect();
    row("next", if upcoming.is_empty() { next(task) } else { upcoming.join("\n") });
    row("last", time(&task.last_time));
    row("last job", if task.last_job_id == 0 { String::new() } else { task.last_job_id.to_string() });
    row("last ref id", task.last_ref_id.clone());
    row(
        "last state",
        if task.last_job_id == 0 { String::new() } else { state(task.last_state()).to_owned() },
    );
    row("last error", task.last_error.as_ref().map(error_text).unwrap_or_default());
    row("runs", task.run_count.to_string());
    row("skipped", task.skip_count.to_string());
    row("last skipped", time(&task.last_skip_time));
    row("why skipped", task.last_skip_reason.clone());
    row("request", payload(task.request.as_ref()));
    row("created", time(&task.create_time));
    row("changed", time(&task.update_time));
    line(&table.to_string());
}

fn task_work(task: &RecurringTask) -> String {
    match &task.work {
        Some(TaskWork::Command(command)) => command.clone(),
        Some(TaskWork::Api(api)) => api.target.clone(),
        None => String::new(),
    }
}

fn schedule(task: &RecurringTask) -> String {
    let schedule = task.schedule.clone().unwrap_or_default();
    match schedule.timing {
        Some(Timing::Cron(cron)) => format!("{cron} ({})", schedule.time_zone),
        Some(Timing::Interval(interval)) => format!("every {interval}"),
        None => String::new(),
    }
}

fn next(task: &RecurringTask) -> String {
    match &task.next_time {
        Some(time) => time.to_string(),
        None if task.paused => "paused".to_owned(),
        None if task.enabled == Some(false) => "disabled".to_owned(),
        None => "never".to_owned(),
    }
}

/// A value of an enum in words, as in `buffer one`.
fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase().replace('_', " ")
}

fn show_attempts(attempts: &[JobAttempt]) {
    if attempts.is_empty() {
        return;
    }
    let mut table = table(&["run", "attempt", "outcome", "worker process", "started", "ended", "error"]);
    for attempt in attempts {
        table.add_row([
            attempt.run.to_string(),
            attempt.attempt.to_string(),
            outcome(attempt.outcome()).to_owned(),
            attempt.worker_process.clone(),
            attempt.start_time.map(|time| time.to_string()).unwrap_or_default(),
            attempt.finish_time.map(|time| time.to_string()).unwrap_or_default(),
            attempt.error.as_ref().map(error_text).unwrap_or_default(),
        ]);
    }
    line(&table.to_string());
}

fn outcome(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Unspecified => "unknown",
        AttemptOutcome::Running => "running",
        AttemptOutcome::Completed => "completed",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::TimedOut => "timed out",
        AttemptOutcome::Crashed => "crashed",
        AttemptOutcome::Released => "released",
        AttemptOutcome::Cancelled => "cancelled",
        AttemptOutcome::NotReceived => "not received",
    }
}

/// An error in one line.
pub(super) fn error_text(error: &JobError) -> String {
    if error.code.is_empty() { error.message.clone() } else { format!("{}: {}", error.code, error.message) }
}

/// Request and result as text.
fn payloads(job: &JobResult) -> (String, String) {
    match &job.record {
        Some(Record::Queued(job)) => (payload(job.request.as_ref()), String::new()),
        Some(Record::Completed(job)) => (payload(job.request.as_ref()), payload(job.result.as_ref())),
        Some(Record::Failed(job)) => (payload(job.request.as_ref()), String::new()),
        None => (String::new(), String::new()),
    }
}

/// A payload as text; bytes by their size.
pub(super) fn payload(payload: Option<&Payload>) -> String {
    match payload.and_then(|payload| payload.kind.as_ref()) {
        Some(Kind::Json(json)) => json.clone(),
        Some(Kind::Data(data)) => format!("{} bytes", data.len()),
        Some(Kind::Value(value)) => format!("{value:?}"),
        None => String::new(),
    }
}

/// A log line.
pub(super) fn log_line(line: &LogLine) -> String {
    let level = match line.level() {
        LogLevel::Trace => "TRACE",
        LogLevel::Debug => "DEBUG",
        LogLevel::Warn => "WARN ",
        LogLevel::Error => "ERROR",
        LogLevel::Info | LogLevel::Unspecified => "INFO ",
    };
    let time = line.time.map(|time| time.to_string()).unwrap_or_default();
    format!("{time} {level} {}", line.message)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !header.is_empty() {
        table.set_header(header.iter().map(|name| name.to_uppercase()));
    }
    table
}
