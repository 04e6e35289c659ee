//! Cancelling: a waiting job ends at once, a running one is marked and its worker process told.

use crate::model::{
    CancelMark, Cancelled, Ending, Epoch, Job, JobId, LeaseFlags, Month, Payload, State, Time, Turn,
};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{Detail, LeaseRow, OutcomeRow, guard_of_ready, read_job, read_turn};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, values};
use crate::store::verbs::finish::{insert_outcomes, label_endings, lock_leases};
use crate::store::verbs::ids;
use crate::store::verbs::read::read_last_errors;
use crate::store::verbs::report::flag_leases;
use crate::store::{CancelAnswer, CancelOrder, OnLocked, Payloads, Result};

impl SqlStore {
    pub(crate) async fn cancel(&self, order: &CancelOrder) -> Result<CancelAnswer> {
        let month = self.month_of(order.job).await?;
        let answer = transact!(self.engine, Class::Vital, |unit| {
            cancel(unit, order, month.as_ref().map(|row| row.month))
        })?;
        if answer != CancelAnswer::NotFound {
            return Ok(answer);
        }
        // Another server may have begun a month that we do not know, or the job's month was moved away.
        if self.months.is_in_newest(order.job) && self.reload_months().await? {
            return Box::pin(self.cancel(order)).await;
        }
        let views = self.views(&[order.job], Payloads::LeftOut).await?;
        let ended = views.iter().find_map(|view| view.outcome().map(|outcome| outcome.ending.state()));
        Ok(ended.map_or(CancelAnswer::NotFound, CancelAnswer::Ended))
    }

    pub(crate) async fn cancel_marks(&self) -> Result<Vec<CancelMark>> {
        read!(self.engine, |unit| read_marks(unit))
    }
}

async fn cancel(unit: &mut Unit<'_>, order: &CancelOrder, month: Option<Month>) -> Try<CancelAnswer> {
    let (mut held, now) = lock_leases(unit, std::iter::once(order.job), OnLocked::Wait).await?;
    if let Some(row) = held.remove(&order.job) {
        return cancel_running(unit, order, &row, now).await;
    }
    let Some(month) = month else { return Ok(CancelAnswer::NotFound) };
    let Some(mut row) = unit.fetch_one(Sql::LockJob, Place::Month(month), values![order.job]).await? else {
        forget_expiry(unit, order, now).await?;
        return Ok(CancelAnswer::NotFound);
    };
    let job = read_job(&mut row, month)?;
    if let Some(state) = ended(unit, &job).await? {
        forget_expiry(unit, order, now).await?;
        return Ok(CancelAnswer::Ended(state));
    }
    cancel_waiting(unit, order, &job, now).await
}

/// Marks a running job; a mark that is there stands.
async fn cancel_running(
    unit: &mut Unit<'_>,
    order: &CancelOrder,
    row: &LeaseRow,
    now: Time,
) -> Try<CancelAnswer> {
    if order.only_waiting {
        forget_expiry(unit, order, now).await?;
        return Ok(CancelAnswer::Running);
    }
    if row.lease.flags.has(LeaseFlags::CANCEL) {
        let marks = unit.fetch_each(Sql::ReadCancels, Place::Fixed, &[order.job], ids).await?;
        if let Some(mut mark) = marks.into_iter().next() {
            return Ok(CancelAnswer::Requested(read_mark(&mut mark)?));
        }
    }
    let mark = CancelMark {
        job: order.job,
        epoch: row.lease.fence.epoch,
        text: order.text.clone(),
        force_time: now.plus(order.grace),
    };
    let stored = values![mark.job, mark.epoch, mark.text.as_str(), mark.force_time];
    unit.execute(Sql::InsertCancel, Place::Fixed, stored).await?;
    flag_leases(unit, &[order.job], LeaseFlags::CANCEL).await?;
    Ok(CancelAnswer::Requested(mark))
}

/// How the job's present run ended, if it did.
async fn ended(unit: &mut Unit<'_>, job: &Job) -> Try<Option<State>> {
    let Some(mut row) =
        unit.fetch_one(Sql::ReadEndings, Place::Month(job.month), values![job.id, job.run]).await?
    else {
        return Ok(None);
    };
    row.skip(3);
    Ok(Some(row.coded(Ending::from_code)?.state()))
}

/// Takes the job out of the ready table and ends its run. Where its ready row is gone a claim was faster: again.
async fn cancel_waiting(unit: &mut Unit<'_>, order: &CancelOrder, job: &Job, now: Time) -> Try<CancelAnswer> {
    let ready = job.ready;
    let bound = values![ready.route, ready.priority, ready.ready_time, ready.job];
    let Some(mut row) = unit.fetch_one(Sql::LockReady, Place::Fixed, bound).await? else {
        return Err(Fault::raced("the job was claimed while it was cancelled"));
    };
    let turn = read_turn(&mut row)?;
    if order.only_waiting && (turn.attempt > 0 || turn.crashes > 0) {
        // It has started before: expiry is over for it.
        forget_expiry(unit, order, now).await?;
        return Ok(CancelAnswer::Running);
    }
    let flags = LeaseFlags(row.int()?);
    let guard = guard_of_ready(ready, turn.epoch);
    if unit.execute(Sql::DeleteReady, Place::Fixed, guard).await? != 1 {
        return Err(Fault::raced("ready row"));
    }
    let status = take_status(unit, job.id, flags).await?;
    let outcome = outcome_of(unit, order, job, turn, now, status).await?;
    insert_outcomes(unit, job.month, std::slice::from_ref(&outcome)).await?;
    label_endings(unit, job.month, std::slice::from_ref(&outcome)).await?;
    if let Some(expire_time) = job.spec.expire_time {
        unit.execute(Sql::DeleteExpiry, Place::Fixed, values![expire_time, job.id]).await?;
    }
    Ok(CancelAnswer::Cancelled)
}

async fn take_status(unit: &mut Unit<'_>, job: JobId, flags: LeaseFlags) -> Try<String> {
    if !flags.has(LeaseFlags::PROGRESS) {
        return Ok(String::new());
    }
    let rows = unit.fetch_each(Sql::ReadStatus, Place::Fixed, &[job], ids).await?;
    unit.execute_each(Sql::DeleteProgress, Place::Fixed, &[job], ids).await?;
    match rows.into_iter().next() {
        Some(mut row) => {
            row.skip(1);
            row.text()
        }
        None => Ok(String::new()),
    }
}

async fn outcome_of(
    unit: &mut Unit<'_>,
    order: &CancelOrder,
    job: &Job,
    turn: Turn,
    now: Time,
    status: String,
) -> Try<OutcomeRow> {
    let mut errors = Default::default();
    if turn.attempt > 0 || turn.crashes > 0 {
        errors = read_last_errors(unit, job.month, &[(job.id, job.run)]).await?;
    }
    let cancelled = Cancelled { reason: order.reason, text: order.text.clone() };
    let detail = Detail { end: None, error: errors.remove(&job.id), cancelled: Some(cancelled), status };
    Ok(OutcomeRow {
        job: job.id,
        run: job.run,
        turn,
        ending: Ending::Cancelled,
        is_taken: true,
        start_time: None,
        finish_time: now,
        session: None,
        worker_process: String::new(),
        log_sequence: 0,
        result: Payload::None,
        detail,
    })
}

/// A job that was found by its expiry and does not wait any more is not to be found by it again.
async fn forget_expiry(unit: &mut Unit<'_>, order: &CancelOrder, now: Time) -> Try<()> {
    if order.only_waiting {
        unit.execute(Sql::DeleteOldExpiry, Place::Fixed, values![now, order.job]).await?;
    }
    Ok(())
}

async fn read_marks(unit: &mut Unit<'_>) -> Try<Vec<CancelMark>> {
    let rows = unit.fetch(Sql::ReadAllCancels, Place::Fixed, Vec::new()).await?;
    rows.into_iter().map(|mut row| read_mark(&mut row)).collect()
}

fn read_mark(row: &mut Columns) -> Try<CancelMark> {
    let (job, epoch) = (JobId(row.int()?), Epoch(row.int()?));
    Ok(CancelMark { job, epoch, text: row.text()?, force_time: Time(row.int()?) })
}
