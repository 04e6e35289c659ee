//! Figures for people, as messages.

use haulier_proto::v1 as pb;

use super::{duration, live_counts, timestamp};
use crate::engine::{CommandFigures, LaneFigures, Overview, ServedWork};
use crate::model::{JobId, LiveCounts, Server, Session, Tally, Time, Work, limits};

/// Worker processes that a command names.
const NAMES_MAX: usize = 100;

pub(crate) fn overview(of: &Overview) -> pb::Overview {
    let mut ended = Tally::default();
    of.hours.iter().for_each(|hour| ended.add(&hour.tally));
    let hour = |hour: &crate::engine::HourFigures| pb::HourStats {
        start_time: Some(timestamp(hour.start)),
        enqueued: hour.tally.enqueued,
        completed: hour.tally.completed,
        failed: hour.tally.failed,
        cancelled: hour.tally.cancelled,
    };
    let oldest = of.live.oldest_ready.map(|since| duration(of.time.since(since)));
    let live = live_counts(&of.live);
    pb::Overview {
        time: Some(timestamp(of.time)),
        counts: Some(pb::JobCounts {
            completed: ended.completed,
            failed: ended.failed,
            cancelled: ended.cancelled,
            total: live.total + ended.completed + ended.failed + ended.cancelled,
            ..live
        }),
        hours: of.hours.iter().map(hour).collect(),
        waits: Some(pb::WaitStats {
            median: of.wait_median.map(duration),
            p95: of.wait_p95.map(duration),
            oldest,
        }),
        commands: of.commands.iter().map(command_stats).collect(),
        named_workers: of.lanes.iter().map(lane_stats).collect(),
        worker_processes: of.sessions.iter().map(process_stats).collect(),
        worker_count: i32::try_from(of.workers.0).unwrap_or(i32::MAX),
        slot_count: of.workers.1,
        pending_delivery_count: of.pending_deliveries,
        recurring_task_count: of.recurring_tasks,
        paused_queues: of.paused_queues.clone(),
        server_version: env!("CARGO_PKG_VERSION").into(),
    }
}

fn waiting(live: &LiveCounts) -> i64 {
    live.scheduled + live.blocked + live.queued
}

fn command_stats(of: &CommandFigures) -> pb::CommandStats {
    let command = match &of.work {
        Work::Command(command) => command.clone(),
        Work::Api { target, .. } => target.clone(),
    };
    pb::CommandStats {
        command,
        waiting: waiting(&of.live),
        running: of.live.running,
        completed: of.tally.completed,
        failed: of.tally.failed,
        cancelled: of.tally.cancelled,
        retries: of.tally.retried,
        mean_duration: of.tally.mean().map(duration),
    }
}

fn lane_stats(of: &LaneFigures) -> pb::NamedWorkerStats {
    pb::NamedWorkerStats {
        worker: of.worker.clone(),
        waiting: of.waiting,
        running_job_id: of.running.map_or(0, |JobId(id)| id),
        completed: of.tally.completed,
        failed: of.tally.failed,
    }
}

fn process_stats((session, running): &(Session, i64)) -> pb::WorkerProcessStats {
    pb::WorkerProcessStats {
        name: session.name.clone(),
        instance_id: session.instance_id.clone(),
        running: i32::try_from(*running).unwrap_or(i32::MAX),
        slots: session.slots,
        completed: session.completed,
        failed: session.failed,
    }
}

pub(crate) fn command(of: ServedWork) -> pb::Command {
    let mut worker_processes = of.worker_processes;
    let worker_count = i32::try_from(worker_processes.len()).unwrap_or(i32::MAX);
    worker_processes.sort_unstable();
    worker_processes.truncate(NAMES_MAX);
    pb::Command {
        name: of.command,
        worker: of.worker,
        versions: of.versions.into_iter().collect(),
        json_schema: of.json_schema,
        worker_processes,
        worker_count,
        waiting_count: waiting(&of.live),
        running_count: of.live.running,
        last_run_time: of.tally.last.map(|(time, _)| timestamp(time)),
        last_job_id: of.tally.last.map_or(0, |(_, JobId(id))| id),
        mean_duration: of.tally.mean().map(duration),
    }
}

/// A server as it is now; which one answers and who works through it is not known here.
pub(crate) fn server(of: &Server, now: Time) -> pb::Server {
    let state = match of {
        of if now.since(of.beat_time) > limits::SERVER_SILENT_AFTER => pb::ServerState::Silent,
        of if of.is_draining => pb::ServerState::Draining,
        _ => pb::ServerState::Active,
    };
    pb::Server {
        id: format!("{:016x}", of.id.0),
        name: of.about.name.clone(),
        version: of.about.version.clone(),
        address: of.about.address.clone(),
        state: state.into(),
        start_time: Some(timestamp(of.start_time)),
        heartbeat_time: Some(timestamp(of.beat_time)),
        store: of.about.store.clone(),
        pool_enabled: of.about.pool_enabled,
        durable: of.about.is_durable,
        ..Default::default()
    }
}
