//! Jobs: what comes in to enqueue one, and how one is shown, with its attempts, log lines and changes.

use std::collections::HashMap;

use haulier_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::api::api_work;
use super::options::{Options, options, options_message};
use super::payload::{payload, payload_message};
use super::{Settings, cancel_reason, job_error, state, timestamp};
use crate::engine::{
    BatchCall, BatchCounts, BatchItem, EnqueueAnswer, EnqueueCall, Explanation, Exported, JobKey, ParentCall,
    ParentKey, Record, Result, WatchEvent, WatchManyEvent, WatchManyWhat, WatchWhat, Why,
};
use crate::model::{
    Attempt, AttemptEnd, CancelReason, Ending, JobError, JobId, Level, LogLine, Outcome, Payload, Phase,
    SessionId, State, Time, View, Wait, Work, limits,
};
use crate::rpc::check::{Check, wire};

/// A parent's request and result travel with it up to this size; beyond it they are read by GetJob, bytes.
const PARENT_BYTES_MAX: usize = 256 << 10;

/// What is read of a job beside its view.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The checkpoint of the present run.
    pub(crate) checkpoint: Option<Payload>,
    /// Parents that it still waits for.
    pub(crate) waiting_for: Vec<JobId>,
}

/// Reads EnqueueCommand. The trace context is that of the call's metadata unless the options set one.
pub(crate) fn enqueue(
    given: pb::EnqueueCommandRequest,
    metadata: &MetadataMap,
    settings: &Settings,
    now: Time,
) -> Result<EnqueueCall> {
    let mut check = Check::new();
    check.name("command", &given.command);
    check.chars("request_id", &given.request_id, limits::REQUEST_ID_CHARS_MAX);
    check.text("request_id", &given.request_id);
    let request = check.within("request", |check| payload(check, given.request, settings.payload_bytes_max));
    let mut asked = given.options.unwrap_or_default();
    take_trace(&mut asked, metadata);
    let work = Work::Command(given.command);
    let Options { mut spec, ref_policy, delay, parents } =
        check.within("options", |check| options(check, work, asked, settings, now));
    refuse_local_keys(&mut check, &parents);
    spec.request_id = given.request_id;
    check.pass(EnqueueCall { spec, request, ref_policy, delay, parents })
}

/// A job that is stored alone has no items beside it.
pub(super) fn refuse_local_keys(check: &mut Check, parents: &[ParentCall]) {
    for (at, _) in parents.iter().enumerate().filter(|(_, parent)| matches!(parent.key, ParentKey::Local(_)))
    {
        let field = format!("options.depends_on[{at}].local_key");
        check.refuse(
            field,
            "names an item of the same call, and this call has one job only: use EnqueueBatch",
        );
    }
}

/// Reads EnqueueBatch.
pub(crate) fn batch(
    given: pb::EnqueueBatchRequest,
    metadata: &MetadataMap,
    settings: &Settings,
    now: Time,
) -> Result<BatchCall> {
    let mut check = Check::new();
    if given.items.is_empty() {
        check.refuse("items", "is empty: give at least one job");
    }
    check.count("items", given.items.len(), settings.batch_jobs_max);
    check.text("batch_id", &given.batch_id);
    check.chars("request_id", &given.request_id, limits::REQUEST_ID_CHARS_MAX);
    check.text("request_id", &given.request_id);
    let mut items = Vec::new();
    if given.items.len() <= settings.batch_jobs_max {
        items = enqueue_items(&mut check, "items", given.items, Some(metadata), settings, now);
    }
    check.pass(BatchCall { items, batch_id: given.batch_id, request_id: given.request_id })
}

/// Reads jobs that are stored together.
pub(crate) fn enqueue_items(
    check: &mut Check,
    field: &str,
    given: Vec<pb::EnqueueItem>,
    metadata: Option<&MetadataMap>,
    settings: &Settings,
    now: Time,
) -> Vec<BatchItem> {
    let mut items = Vec::with_capacity(given.len());
    for (at, item) in given.into_iter().enumerate() {
        let path = format!("{field}[{at}]");
        let read = check.within(&path, |check| enqueue_item(check, item, metadata, settings, now));
        items.extend(read.map(|(local_key, call)| BatchItem { local_key, call, field: path }));
    }
    items
}

fn enqueue_item(
    check: &mut Check,
    given: pb::EnqueueItem,
    metadata: Option<&MetadataMap>,
    settings: &Settings,
    now: Time,
) -> Option<(String, EnqueueCall)> {
    use pb::enqueue_item::Work as Item;
    check.text("local_key", &given.local_key);
    enum What {
        Command(String),
        Api(Option<pb::ApiCall>),
    }
    let (part, what, request, options_given) = match given.work {
        Some(Item::Command(item)) => ("command", What::Command(item.command), item.request, item.options),
        Some(Item::Api(item)) => ("api", What::Api(item.api), item.request, item.options),
        None => {
            check.refuse("work", "is not set: give `command` or `api`");
            return None;
        }
    };
    check.within(part, |check| {
        let request = check.within("request", |check| payload(check, request, settings.payload_bytes_max));
        let work = match what {
            What::Command(command) => {
                check.name("command", &command);
                Work::Command(command)
            }
            What::Api(api) => api_work(check, api, &request, settings),
        };
        let mut asked = options_given.unwrap_or_default();
        if let Some(metadata) = metadata {
            take_trace(&mut asked, metadata);
        }
        let Options { spec, ref_policy, delay, parents } =
            check.within("options", |check| options(check, work, asked, settings, now));
        Some((given.local_key, EnqueueCall { spec, request, ref_policy, delay, parents }))
    })
}

/// One job that was stored.
pub(crate) fn enqueued_job(local_key: String, answer: EnqueueAnswer) -> pb::EnqueuedJob {
    pb::EnqueuedJob {
        local_key,
        job_id: answer.job.0,
        ref_id: answer.ref_id,
        created: answer.created,
        state: state(answer.state).into(),
    }
}

/// A batch, counted.
pub(crate) fn batch_message(batch_id: String, counts: &BatchCounts) -> pb::Batch {
    let of = |state| counts.states.get(&state).copied().unwrap_or_default();
    let counted = pb::JobCounts {
        scheduled: of(State::Scheduled),
        blocked: of(State::Blocked),
        queued: of(State::Queued),
        running: of(State::Running),
        executed: of(State::Executed),
        completed: of(State::Completed),
        failed: of(State::Failed),
        cancelled: of(State::Cancelled),
        total: counts.states.values().sum(),
    };
    pb::Batch {
        batch_id,
        counts: Some(counted),
        create_time: counts.create_time.map(timestamp),
        finish_time: counts.finish_time.map(timestamp),
    }
}

/// The trace context of the call, where the options set none.
pub(crate) fn take_trace(options: &mut pb::JobOptions, metadata: &MetadataMap) {
    let text = |key, most| {
        let text = metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if text.len() <= most { text.to_owned() } else { String::new() }
    };
    if options.traceparent.is_empty() {
        options.traceparent = text("traceparent", wire::TRACEPARENT_CHARS_MAX);
        if !options.traceparent.is_empty() && options.tracestate.is_empty() {
            options.tracestate = text("tracestate", wire::TRACESTATE_CHARS_MAX);
        }
    }
}

/// Reads which job is meant: by `job_id` or by `ref_id`, whichever is given.
pub(crate) fn job_key(check: &mut Check, job_id: Option<i64>, ref_id: Option<String>) -> JobKey {
    match (job_id, ref_id) {
        (_, Some(ref_id)) => {
            check.required_text("ref_id", &ref_id);
            JobKey::Ref(ref_id)
        }
        (Some(id), None) => JobKey::Id(check.job_id("job_id", id)),
        (None, None) => {
            check.refuse("target", "is not set: give `job_id` or `ref_id`");
            JobKey::Id(JobId(0))
        }
    }
}

/// A job without its payloads and options.
pub(crate) fn job_summary(view: &View, now: Time) -> pb::JobSummary {
    let spec = &view.job.spec;
    let ended = view.outcome();
    let lease = view.lease();
    let cancel = cancellation(view);
    let status = ended.map_or(&view.status, |outcome| &outcome.status);
    pb::JobSummary {
        id: view.job.id.shown(),
        transient: view.job.id.is_transient(),
        ref_id: view.job.ref_id(),
        run: view.job.run.0,
        state: state(view.state(now)).into(),
        work: Some(work(&spec.work)),
        queue: spec.queue.clone(),
        worker: spec.worker.name.clone(),
        priority: spec.priority,
        tag: spec.tag.clone(),
        batch_id: spec.batch_id.clone(),
        parent_id: spec.parent_id.map_or(0, |JobId(id)| id),
        created_by: spec.created_by.clone(),
        enqueued_by: spec.enqueued_by.clone(),
        user_id: spec.user_id.clone(),
        recurring_task: spec.task.as_ref().map(|run| run.name.clone()).unwrap_or_default(),
        attempt: view.turn.attempt,
        crashes: view.turn.crashes,
        epoch: view.turn.epoch.0,
        progress: view.progress,
        progress_estimated: view.progress_estimated,
        status: if status.is_empty() { view.status.clone() } else { status.clone() },
        create_time: Some(timestamp(view.job.create_time)),
        ready_time: Some(timestamp(ready_time(view))),
        start_time: lease
            .map(|lease| lease.start_time)
            .or(ended.and_then(|ended| ended.start_time))
            .map(timestamp),
        finish_time: ended.map(|outcome| timestamp(outcome.finish_time)),
        error: error_of(view).map(job_error),
        cancel_requested: lease.is_some() && view.cancel.is_some(),
        cancel_reason: cancel.as_ref().map_or(0, |(reason, _)| cancel_reason(*reason).into()),
        cancel_message: cancel.map(|(_, text)| text.to_owned()).unwrap_or_default(),
        worker_process: worker_of(&view.phase).to_owned(),
        notify_time: ended.and_then(|outcome| outcome.notify_time).map(timestamp),
        callback_job_id: ended.and_then(|outcome| outcome.callback).map_or(0, |JobId(id)| id),
        callback_error: ended.map(|outcome| outcome.callback_error.clone()).unwrap_or_default(),
        notify_error: ended.map(|outcome| outcome.notify_error.clone()).unwrap_or_default(),
    }
}

/// From when it may start, or could. In a lane it has a place instead of a time.
fn ready_time(view: &View) -> Time {
    match view.phase {
        Phase::Ready(Wait::Turn(_)) => {
            view.job.spec.run_after.unwrap_or(view.job.run_time).max(view.job.run_time)
        }
        _ => view.job.ready.ready_time,
    }
}

/// A job with its full record.
pub(crate) fn job_result(view: &View, more: &Read, now: Time) -> pb::JobResult {
    let Read { checkpoint, waiting_for } = more;
    let request = payload_message(&view.job.request);
    let options = Some(pb::JobOptions { ref_id: view.job.ref_id(), ..options_message(&view.job.spec) });
    let checkpoint = checkpoint.as_ref().and_then(payload_message);
    let record = match view.outcome() {
        None => pb::job_result::Record::Queued(pb::QueuedJob {
            request,
            options,
            checkpoint,
            waiting_for: waiting_for.iter().map(|parent| parent.0).collect(),
            cancel_deadline_time: view.cancel_deadline.map(timestamp),
        }),
        Some(outcome) => match outcome.ending {
            Ending::Executed | Ending::Completed => {
                let result = payload_message(&outcome.result);
                pb::job_result::Record::Completed(pb::CompletedJob { request, options, result, checkpoint })
            }
            Ending::Failed | Ending::Cancelled => {
                let failed = pb::FailedJob { request, options, checkpoint, ..failure(outcome) };
                pb::job_result::Record::Failed(failed)
            }
        },
    };
    pb::JobResult { summary: Some(job_summary(view, now)), record: Some(record), ..Default::default() }
}

fn failure(outcome: &Outcome) -> pb::FailedJob {
    let cancelled = outcome.cancelled.as_ref();
    pb::FailedJob {
        error: outcome.error.as_ref().map(job_error),
        cancel_reason: cancelled.map_or(0, |cancelled| cancel_reason(cancelled.reason).into()),
        cancel_message: cancelled.map(|cancelled| cancelled.text.clone()).unwrap_or_default(),
        ..Default::default()
    }
}

/// What a descendant is shown of a job.
pub(crate) fn parent_result(view: &View, now: Time) -> pb::ParentResult {
    let result = view.outcome().map(|outcome| &outcome.result);
    let bytes = view.job.request.len() + result.map_or(0, Payload::len);
    let by_reference = bytes > PARENT_BYTES_MAX;
    let inline = |payload: &Payload| if by_reference { None } else { payload_message(payload) };
    pb::ParentResult {
        job_id: view.job.id.0,
        ref_id: view.job.ref_id(),
        state: state(view.state(now)).into(),
        request: inline(&view.job.request),
        result: result.and_then(inline),
        error: error_of(view).map(job_error),
        by_reference,
        command: match &view.job.spec.work {
            Work::Command(command) => command.clone(),
            Work::Api { .. } => String::new(),
        },
    }
}

pub(super) fn error_of(view: &View) -> Option<&JobError> {
    match view.outcome() {
        Some(outcome) => outcome.error.as_ref(),
        None => view.last_error.as_ref(),
    }
}

fn cancellation(view: &View) -> Option<(CancelReason, &str)> {
    match view.outcome() {
        Some(outcome) => {
            outcome.cancelled.as_ref().map(|cancelled| (cancelled.reason, cancelled.text.as_str()))
        }
        None => view.cancel.as_deref().map(|text| (CancelReason::Client, text)),
    }
}

fn worker_of(phase: &Phase) -> &str {
    match phase {
        Phase::Ready(_) => "",
        Phase::Leased(_, name) => name,
        Phase::Ended(outcome) => &outcome.worker_process,
    }
}

pub(crate) fn work(work: &Work) -> pb::job_summary::Work {
    match work {
        Work::Command(command) => pb::job_summary::Work::Command(command.clone()),
        Work::Api { target, method } => {
            let endpoint = match method.split_once(' ') {
                Some((method, path)) => pb::api_call::Endpoint::Http(pb::HttpEndpoint {
                    method: method.to_owned(),
                    path: path.to_owned(),
                }),
                None => pb::api_call::Endpoint::GrpcMethod(method.clone()),
            };
            pb::job_summary::Work::Api(pb::ApiCall { target: target.clone(), endpoint: Some(endpoint) })
        }
    }
}

/// Enough of a session to tell it from others, not to act as it.
pub(crate) fn short_session(session: SessionId) -> String {
    let mut text = session.to_string();
    text.truncate(8);
    text
}

/// Why a job is not running.
pub(crate) fn explanation(explained: Explanation, now: Time) -> pb::ExplainJobResponse {
    let code = match explained.why {
        Why::Scheduled => pb::ExplainCode::Scheduled,
        Why::Backoff => pb::ExplainCode::Backoff,
        Why::WaitingForParents => pb::ExplainCode::WaitingForParents,
        Why::WorkerBusy => pb::ExplainCode::WorkerBusy,
        Why::QueuePaused => pb::ExplainCode::QueuePaused,
        Why::ConcurrencyLimit => pb::ExplainCode::ConcurrencyLimit,
        Why::RateLimit => pb::ExplainCode::RateLimit,
        Why::CommandNotServed => pb::ExplainCode::CommandNotServed,
        Why::QueueNotServed => pb::ExplainCode::QueueNotServed,
        Why::WorkersDraining => pb::ExplainCode::WorkersDraining,
        Why::WorkersFull => pb::ExplainCode::WorkersFull,
        Why::Quarantined => pb::ExplainCode::Quarantined,
        Why::PoolOff => pb::ExplainCode::PoolOff,
        Why::AboutToStart => pb::ExplainCode::AboutToStart,
        Why::Running => pb::ExplainCode::Running,
        Why::Stopping => pb::ExplainCode::Stopping,
        Why::InDoubt => pb::ExplainCode::InDoubt,
        Why::Executed => pb::ExplainCode::Executed,
        Why::Finished => pb::ExplainCode::Finished,
    };
    pb::ExplainJobResponse {
        code: code.into(),
        explanation: explained.sentence,
        details: explained.details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        job: Some(job_summary(&explained.view, now)),
    }
}

/// One message of an export.
pub(crate) fn exported(exported: Exported, now: Time) -> pb::ExportHistoryMonthResponse {
    use pb::export_history_month_response::Record as Out;
    let record = match exported.what {
        Record::Run(view) => Out::Job(job_result(&view, &Read::default(), now)),
        Record::Attempt(of) => Out::Attempt(attempt(&of)),
        Record::Line(line) => Out::LogLine(log_line(&line)),
    };
    pb::ExportHistoryMonthResponse {
        resume_token: exported.token,
        job_id: exported.job.0,
        record: Some(record),
    }
}

/// One attempt.
pub(crate) fn attempt(attempt: &Attempt) -> pb::JobAttempt {
    let outcome = match attempt.end {
        AttemptEnd::Running => pb::AttemptOutcome::Running,
        AttemptEnd::Completed => pb::AttemptOutcome::Completed,
        AttemptEnd::Failed => pb::AttemptOutcome::Failed,
        AttemptEnd::TimedOut => pb::AttemptOutcome::TimedOut,
        AttemptEnd::Crashed => pb::AttemptOutcome::Crashed,
        AttemptEnd::Released => pb::AttemptOutcome::Released,
        AttemptEnd::Cancelled => pb::AttemptOutcome::Cancelled,
        AttemptEnd::NotReceived => pb::AttemptOutcome::NotReceived,
    };
    pb::JobAttempt {
        run: attempt.run.0,
        attempt: attempt.attempt,
        epoch: attempt.epoch.0,
        worker_process: attempt.worker_process.clone(),
        session_id: short_session(attempt.session),
        start_time: Some(timestamp(attempt.start_time)),
        finish_time: attempt.finish_time.map(timestamp),
        outcome: outcome.into(),
        error: attempt.error.as_ref().map(job_error),
        retry_time: attempt.retry_time.map(timestamp),
    }
}

/// One log line.
pub(crate) fn log_line(line: &LogLine) -> pb::LogLine {
    let level = match line.level {
        Level::Trace => pb::LogLevel::Trace,
        Level::Debug => pb::LogLevel::Debug,
        Level::Info => pb::LogLevel::Info,
        Level::Warn => pb::LogLevel::Warn,
        Level::Error => pb::LogLevel::Error,
    };
    pb::LogLine {
        sequence: line.sequence,
        run: line.run.0,
        epoch: line.epoch.0,
        time: Some(timestamp(line.time)),
        level: level.into(),
        message: line.message.clone(),
        fields: log_fields(&line.fields),
    }
}

/// Fields are stored as the JSON object that [`super::report`] wrote.
fn log_fields(fields: &str) -> HashMap<String, String> {
    if fields.is_empty() { HashMap::new() } else { serde_json::from_str(fields).unwrap_or_default() }
}

/// Reads a level; unset is `default`.
pub(crate) fn log_level(check: &mut Check, field: &str, level: i32, default: Level) -> Level {
    match check.one_of(field, level) {
        pb::LogLevel::Unspecified => default,
        pb::LogLevel::Trace => Level::Trace,
        pb::LogLevel::Debug => Level::Debug,
        pb::LogLevel::Info => Level::Info,
        pb::LogLevel::Warn => Level::Warn,
        pb::LogLevel::Error => Level::Error,
    }
}

/// One event of a watch over one job.
pub(crate) fn watch_event(event: WatchEvent) -> pb::WatchJobResponse {
    use pb::watch_job_response::Event;
    let now = event.now;
    let what = match event.what {
        WatchWhat::Snapshot(view) => Event::Snapshot(job_result(&view, &Read::default(), now)),
        WatchWhat::State(view) => Event::State(job_summary(&view, now)),
        WatchWhat::Progress(view) => Event::Progress(progress(&view, now)),
        WatchWhat::Logs(lines) => Event::Logs(pb::LogEvent { lines: lines.iter().map(log_line).collect() }),
    };
    pb::WatchJobResponse { resume_token: event.token, event: Some(what) }
}

fn progress(view: &View, now: Time) -> pb::ProgressEvent {
    pb::ProgressEvent {
        run: view.job.run.0,
        epoch: view.turn.epoch.0,
        progress: view.progress,
        progress_estimated: view.progress_estimated,
        status: view.status.clone(),
        time: Some(timestamp(now)),
    }
}

/// One event of a watch over many jobs.
pub(crate) fn watch_many_event(event: WatchManyEvent) -> pb::WatchJobsResponse {
    use pb::watch_jobs_response::Event;
    let what = match event.what {
        WatchManyWhat::Job(view) => Event::Job(job_summary(&view, event.now)),
        WatchManyWhat::Synced { count, truncated } => {
            Event::Synced(pb::SyncedEvent { job_count: count as i64, truncated })
        }
    };
    pb::WatchJobsResponse { resume_token: event.token, event: Some(what) }
}
