//! What a running attempt reports: log lines, progress, status, checkpoints.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Fence, JobId, LeaseFlags, LogLine, Month, Payload, Time};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::LeaseRow;
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, transact};
use crate::store::value::{Value, payload_values, values};
use crate::store::verbs::finish::lock_leases;
use crate::store::{LogAppend, OnLocked, ProgressWrite, Result, Written};

impl SqlStore {
    pub(crate) async fn append_logs(&self, logs: &[LogAppend]) -> Result<Vec<Written>> {
        if logs.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.engine, Class::Vital, |unit| append_logs(unit, logs))
    }

    pub(crate) async fn write_progress(&self, progress: &[ProgressWrite]) -> Result<Vec<Written>> {
        if progress.is_empty() {
            return Ok(Vec::new());
        }
        transact!(self.engine, Class::Vital, |unit| write_progress(unit, progress))
    }
}

/// How far the log of a lease is stored, before and after this batch.
#[derive(Clone)]
struct LogMark {
    fence: Fence,
    from: i64,
    to: i64,
}

/// Stores log lines: each lease's stored sequence is the guard, so that there is no gap and no line twice.
async fn append_logs(unit: &mut Unit<'_>, logs: &[LogAppend]) -> Try<Vec<Written>> {
    let (held, _) = lock_leases(unit, logs.iter().map(|log| log.fence.job), OnLocked::Wait).await?;
    let mut marks: BTreeMap<JobId, LogMark> = BTreeMap::new();
    let mut rows: BTreeMap<Month, Vec<Vec<Value>>> = BTreeMap::new();
    let mut answers = Vec::with_capacity(logs.len());
    for log in logs {
        let Some(row) = held.get(&log.fence.job).filter(|row| row.lease.fence == log.fence) else {
            answers.push(Written::LeaseLost);
            continue;
        };
        let stored = row.lease.log_sequence;
        let mark =
            marks.entry(log.fence.job).or_insert(LogMark { fence: log.fence, from: stored, to: stored });
        answers.push(take_lines(row, log, mark, rows.entry(row.lease.month).or_default()));
    }
    for (month, rows) in rows {
        unit.insert(Sql::InsertLogs, Place::Month(month), rows).await?;
    }
    let moved: Vec<LogMark> = marks.into_values().filter(|mark| mark.to > mark.from).collect();
    move_marks(unit, &moved).await?;
    Ok(answers)
}

/// Takes the lines that follow what is stored; those that are stored already are passed over.
fn take_lines(row: &LeaseRow, log: &LogAppend, mark: &mut LogMark, rows: &mut Vec<Vec<Value>>) -> Written {
    for line in &log.lines {
        if line.sequence > mark.to + 1 {
            return Written::Gap(mark.to);
        }
        if line.sequence == mark.to + 1 {
            rows.push(line_values(row, line));
            mark.to = line.sequence;
        }
    }
    Written::Stored(mark.to)
}

fn line_values(row: &LeaseRow, line: &LogLine) -> Vec<Value> {
    let fields = (!line.fields.is_empty()).then_some(line.fields.as_str());
    let lease = &row.lease;
    values![
        lease.fence.job,
        lease.run,
        lease.fence.epoch,
        line.sequence,
        line.time,
        line.level.code(),
        line.message.as_str(),
        fields
    ]
}

async fn move_marks(unit: &mut Unit<'_>, moved: &[LogMark]) -> Try<()> {
    let raise = |chunk: &[LogMark]| {
        let to = chunk.iter().flat_map(|mark| values![mark.fence.job, mark.to]);
        let from = |mark: &LogMark| values![mark.fence.job, mark.fence.epoch, mark.fence.nonce, mark.from];
        to.chain(chunk.iter().flat_map(from)).collect()
    };
    if unit.execute_each(Sql::MoveLogSequences, Place::Fixed, moved, raise).await? != moved.len() as u64 {
        return Err(Fault::raced("log sequences"));
    }
    Ok(())
}

async fn write_progress(unit: &mut Unit<'_>, progress: &[ProgressWrite]) -> Try<Vec<Written>> {
    let (held, now) = lock_leases(unit, progress.iter().map(|write| write.fence.job), OnLocked::Wait).await?;
    let lease_of =
        |write: &ProgressWrite| held.get(&write.fence.job).filter(|row| row.lease.fence == write.fence);
    let rows = progress.iter().filter_map(|write| Some(progress_values(lease_of(write)?, write, now)));
    unit.insert(Sql::UpsertProgress, Place::Fixed, rows.collect()).await?;
    flag(unit, &progress.iter().filter_map(lease_of).collect::<Vec<_>>()).await?;
    let answer = |write: &ProgressWrite| lease_of(write).map_or(Written::LeaseLost, |_| Written::Stored(0));
    Ok(progress.iter().map(answer).collect())
}

fn progress_values(row: &LeaseRow, write: &ProgressWrite, now: Time) -> Vec<Value> {
    let (sequence, checkpoint) = match &write.checkpoint {
        Some((sequence, checkpoint)) => (*sequence, checkpoint),
        None => (-1, &Payload::None),
    };
    let [kind, content_type, body] = payload_values(checkpoint);
    let lease = &row.lease;
    values![
        lease.fence.job,
        lease.run,
        lease.fence.epoch,
        write.progress,
        write.status.as_deref(),
        sequence,
        kind,
        content_type,
        body,
        now
    ]
}

/// Notes on leases that their jobs have a row of progress, where that is news.
async fn flag(unit: &mut Unit<'_>, rows: &[&LeaseRow]) -> Try<()> {
    let fresh = rows.iter().filter(|row| !row.lease.flags.has(LeaseFlags::PROGRESS));
    let jobs: HashMap<JobId, ()> = fresh.map(|row| (row.lease.fence.job, ())).collect();
    let mut jobs: Vec<JobId> = jobs.into_keys().collect();
    jobs.sort_unstable();
    flag_leases(unit, &jobs, LeaseFlags::PROGRESS).await
}

/// Notes a fact on leases that are locked.
pub(super) async fn flag_leases(unit: &mut Unit<'_>, jobs: &[JobId], fact: i64) -> Try<()> {
    let flagged = |chunk: &[JobId]| {
        std::iter::once(Value::Int(fact)).chain(chunk.iter().map(|job| Value::Int(job.0))).collect()
    };
    unit.execute_each(Sql::FlagLeases, Place::Fixed, jobs, flagged).await?;
    Ok(())
}
