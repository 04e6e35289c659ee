//! Worker processes: registration, claims, and how they are shown.

use std::collections::HashSet;

use haulier_proto::v1 as pb;

use super::job::{parent_result, short_session, work};
use super::options::carried_options;
use super::payload::payload_message;
use super::{duration, job_error, timestamp};
use crate::engine::{ClaimAnswer, ClaimCall, LeasedJob, RegisterCall, Result};
use crate::model::{LeaseToken, ServedCommand, Session, SessionState, Time, View, limits};
use crate::rpc::check::{Check, wire};

/// Reads RegisterWorker.
pub(crate) fn register(given: pb::RegisterWorkerRequest) -> Result<RegisterCall> {
    let mut check = Check::new();
    check.required_text("name", &given.name);
    check.name("instance_id", &given.instance_id);
    check.chars("sdk", &given.sdk, wire::VERSION_CHARS_MAX);
    let commands = commands(&mut check, given.commands);
    let queues = queues(&mut check, given.queues);
    let allowed = limits::LEASE_TIME_MIN..=limits::LEASE_TIME_MAX;
    let call = RegisterCall {
        name: given.name,
        instance_id: given.instance_id,
        commands,
        queues,
        // API calls are made by the server's own pool only.
        targets: Vec::new(),
        labels: check.map("labels", given.labels),
        sdk: given.sdk,
        slots: check.number_or("slots", given.slots, 1, 1..=limits::SLOTS_MAX),
        lease_time: check
            .duration("lease_time", given.lease_time, allowed)
            .unwrap_or(limits::LEASE_TIME_DEFAULT),
    };
    check.pass(call)
}

fn commands(check: &mut Check, given: Vec<pb::ServedCommand>) -> Vec<ServedCommand> {
    if given.is_empty() {
        check.refuse("commands", "is empty: name at least one command that this worker process serves");
    }
    check.count("commands", given.len(), limits::SERVED_COMMANDS_MAX);
    let mut names = HashSet::new();
    let mut read = Vec::with_capacity(given.len());
    for (index, command) in given.into_iter().enumerate() {
        let is_new = names.insert(command.command.clone());
        check.within(format_args!("commands[{index}]"), |check| {
            check_command(check, &command);
            if !is_new {
                check.refuse("command", "is named twice: name each command once");
            }
        });
        let pb::ServedCommand { command, worker, version, json_schema } = command;
        read.push(ServedCommand { command, worker: worker.unwrap_or_default(), version, json_schema });
    }
    read
}

fn check_command(check: &mut Check, given: &pb::ServedCommand) {
    check.name("command", &given.command);
    check.chars("version", &given.version, wire::VERSION_CHARS_MAX);
    check.bytes("json_schema", &given.json_schema, wire::JSON_SCHEMA_BYTES_MAX);
    if !given.json_schema.is_empty()
        && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&given.json_schema)
    {
        check.refuse("json_schema", format!("is not JSON: {error}"));
    }
    if let Some(worker) = given.worker.as_deref().filter(|worker| !worker.is_empty()) {
        check.name("worker", worker);
    }
}

fn queues(check: &mut Check, mut given: Vec<String>) -> Vec<String> {
    check.count("queues", given.len(), limits::SERVED_QUEUES_MAX);
    for (index, queue) in given.iter().enumerate() {
        check.name(format_args!("queues[{index}]"), queue);
    }
    if given.is_empty() {
        given.push(limits::QUEUE_DEFAULT.into());
    }
    given.sort();
    given.dedup();
    given
}

/// The answer to a registration.
pub(crate) fn registered(session: &Session) -> pb::RegisterWorkerResponse {
    pb::RegisterWorkerResponse {
        session_id: session.id.to_string(),
        lease_time: Some(duration(session.lease_time)),
        heartbeat_interval: Some(duration(session.lease_time / limits::BEATS_PER_LEASE)),
        max_wait: Some(duration(limits::CLAIM_WAIT_MAX)),
        log_credit_bytes: limits::LOG_CREDIT_BYTES,
    }
}

/// Reads ClaimJob; a longer wait than the longest is cut to it, as the contract says.
pub(crate) fn claim(given: pb::ClaimJobRequest) -> Result<ClaimCall> {
    let mut check = Check::new();
    let session = check.session("session_id", &given.session_id);
    let claim_loop = check.number("loop", given.r#loop, 0..=limits::LOOPS_MAX - 1);
    // The largest is kept for sessions that are over.
    let sequence = check.number("sequence", given.sequence, 1..=i64::MAX - 1);
    let ack_sequence = check.number("ack_sequence", given.ack_sequence, 0..=i64::MAX - 1);
    if ack_sequence >= sequence && sequence > 0 {
        check.refuse(
            "ack_sequence",
            format!("is {ack_sequence}: it must be lower than `sequence`, {sequence}"),
        );
    }
    let max_jobs = check.number_or("max_jobs", given.max_jobs, 1, 1..=limits::CLAIM_JOBS_MAX);
    let wait = check.duration("wait", given.wait, std::time::Duration::ZERO..=std::time::Duration::MAX);
    let call = ClaimCall {
        session,
        claim_loop,
        sequence,
        ack_sequence,
        max_jobs: usize::try_from(max_jobs).unwrap_or(1),
        wait: wait.unwrap_or_default().min(limits::CLAIM_WAIT_MAX),
    };
    check.pass(call)
}

/// The answer to a claim.
pub(crate) fn claim_answer(answer: &ClaimAnswer, sequence: i64) -> pb::ClaimJobResponse {
    let mut room = usize::try_from(limits::CLAIM_BYTES_MAX).unwrap_or_default();
    answer.jobs.iter().for_each(|leased| room = room.saturating_sub(leased.request.len()));
    let jobs = answer.jobs.iter().map(|leased| leased_job(leased, answer.now, &mut room)).collect();
    pb::ClaimJobResponse { jobs, sequence }
}

/// Parents bring their requests and results along while there is room in the answer.
fn parents(views: &[View], now: Time, room: &mut usize) -> Vec<pb::ParentResult> {
    let mut parents = Vec::with_capacity(views.len());
    for view in views {
        let bytes = view.job.request.len() + view.outcome().map_or(0, |outcome| outcome.result.len());
        let mut parent = parent_result(view, now);
        if bytes > *room {
            (parent.request, parent.result, parent.by_reference) = (None, None, true);
        } else if !parent.by_reference {
            *room -= bytes;
        }
        parents.push(parent);
    }
    parents
}

fn leased_job(leased: &LeasedJob, now: Time, room: &mut usize) -> pb::LeasedJob {
    let LeasedJob { lease, create_time, spec, request, checkpoint, last_error, parents: family } = leased;
    let what = match work(&spec.work) {
        pb::job_summary::Work::Command(command) => pb::leased_job::Work::Command(command),
        pb::job_summary::Work::Api(api) => pb::leased_job::Work::Api(api),
    };
    pb::LeasedJob {
        lease: LeaseToken(lease.fence).write(),
        fencing_token: lease.fence.epoch.0,
        job_id: leased.id().shown(),
        transient: leased.id().is_transient(),
        ref_id: leased.ref_id(),
        work: Some(what),
        request: payload_message(request),
        options: Some(pb::JobOptions { ref_id: leased.ref_id(), ..carried_options(spec) }),
        run: lease.run.0,
        attempt: lease.turn.attempt,
        crashes: lease.turn.crashes,
        timeout: Some(duration(lease.time_left(now))),
        user_id: spec.user_id.clone(),
        user_claims: spec.user_claims.clone().into_iter().collect(),
        checkpoint: checkpoint.as_ref().and_then(|(_, payload)| payload_message(payload)),
        last_error: last_error.as_ref().map(job_error),
        checkpoint_sequence: checkpoint.as_ref().map_or(0, |(sequence, _)| *sequence),
        enqueue_time: Some(timestamp(*create_time)),
        log_sequence: lease.log_sequence,
        recurring_task: spec.task.as_ref().map(|run| run.name.clone()).unwrap_or_default(),
        strict: spec.is_strict(),
        parents: parents(family, now, room),
    }
}

/// A worker process as operators see it, with the number of jobs that it holds.
pub(crate) fn worker_process((session, running): &(Session, i64)) -> pb::WorkerProcess {
    let state = match session.state {
        SessionState::Live => pb::WorkerState::Active,
        SessionState::Draining => pb::WorkerState::Draining,
        SessionState::Lost => pb::WorkerState::Lost,
    };
    pb::WorkerProcess {
        name: session.name.clone(),
        instance_id: session.instance_id.clone(),
        session_id: short_session(session.id),
        state: state.into(),
        commands: session.commands.iter().map(served_command).collect(),
        queues: session.queues.clone(),
        labels: session.labels.clone().into_iter().collect(),
        slots: session.slots,
        sdk: session.sdk.clone(),
        running_count: i32::try_from(*running).unwrap_or(i32::MAX),
        start_time: Some(timestamp(session.create_time)),
        // Every heartbeat moves the expiry to one lease time later.
        heartbeat_time: Some(timestamp(session.expire_time.minus(session.lease_time))),
        lease_time: Some(duration(session.lease_time)),
        completed_count: session.completed,
        failed_count: session.failed,
        ..Default::default()
    }
}

fn served_command(served: &ServedCommand) -> pb::ServedCommand {
    pb::ServedCommand {
        command: served.command.clone(),
        worker: (!served.worker.is_empty()).then(|| served.worker.clone()),
        version: served.version.clone(),
        json_schema: served.json_schema.clone(),
    }
}
