//! Cancelling: a waiting job ends at once, a running one is marked and its worker process told.

use crate::model::{
    CancelMark, CancelReason, Cancelled, Epoch, Event, Job, JobId, LeaseFlags, Month, Time, Turn,
};
use crate::store::connection::Class;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{LeaseRow, OutcomeRow, ReadyRow, read_job};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Columns, values};
use crate::store::verbs::family::{delete_edges, ending_of};
use crate::store::verbs::finish::{insert_outcomes, label_endings, lock_leases};
use crate::store::verbs::follow::{Over, follow};
use crate::store::verbs::ids;
use crate::store::verbs::lane::{Lanes, delete_ready, wake_of};
use crate::store::verbs::read::read_last_errors;
use crate::store::verbs::report::flag_leases;
use crate::store::{CancelAnswer, CancelOrder, OnLocked, Payloads, Result, Wake};

impl SqlStore {
    pub(crate) async fn cancel(&self, order: &CancelOrder) -> Result<(CancelAnswer, Wake)> {
        let month = self.month_of(order.job).await?;
        let (answer, wake) = transact!(self.engine, Class::Vital, |unit| {
            cancel(unit, order, month.as_ref().map(|row| row.month))
        })?;
        if answer != CancelAnswer::NotFound {
            return Ok((answer, wake));
        }
        // Another server may have begun a month that we do not know, or the job's month was moved away.
        if self.months.is_in_newest(order.job) && self.reload_months().await? {
            return Box::pin(self.cancel(order)).await;
        }
        let views = self.views(&[order.job], Payloads::LeftOut).await?;
        let ended = views.iter().find_map(|view| view.outcome().map(|outcome| outcome.ending.state()));
        Ok((ended.map_or(CancelAnswer::NotFound, CancelAnswer::Ended), wake))
    }

    pub(crate) async fn cancel_marks(&self) -> Result<Vec<CancelMark>> {
        read!(self.engine, |unit| read_marks(unit))
    }
}

async fn cancel(unit: &mut Unit<'_>, order: &CancelOrder, month: Option<Month>) -> Try<(CancelAnswer, Wake)> {
    let nothing = |answer| Ok((answer, Wake::default()));
    let (mut held, now) = lock_leases(unit, std::iter::once(order.job), OnLocked::Wait).await?;
    if let Some(row) = held.remove(&order.job) {
        return nothing(cancel_running(unit, order, &row, now).await?);
    }
    let Some(month) = month else { return nothing(CancelAnswer::NotFound) };
    let Some(mut row) = unit.fetch_one(Sql::LockJob, Place::Month(month), values![order.job]).await? else {
        forget_expiry(unit, order, now).await?;
        return nothing(CancelAnswer::NotFound);
    };
    let job = read_job(&mut row, month)?;
    if let Some(ending) = ending_of(unit, &job).await? {
        forget_expiry(unit, order, now).await?;
        return nothing(CancelAnswer::Ended(ending.state()));
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
        reason: order.reason,
        text: order.text.clone(),
        force_time: now.plus(order.grace),
    };
    let is_superseded = i64::from(mark.reason == CancelReason::Superseded);
    let stored = values![mark.job, mark.epoch, mark.text.as_str(), mark.force_time, is_superseded];
    unit.execute(Sql::InsertCancel, Place::Fixed, stored).await?;
    flag_leases(unit, &[order.job], LeaseFlags::CANCEL).await?;
    Ok(CancelAnswer::Requested(mark))
}

/// Takes the job out of the ready table and ends its run. Where its ready row is gone a claim was faster: again.
async fn cancel_waiting(
    unit: &mut Unit<'_>,
    order: &CancelOrder,
    job: &Job,
    now: Time,
) -> Try<(CancelAnswer, Wake)> {
    let Some((row, lanes)) = lock_waiting(unit, job).await? else {
        return Err(Fault::raced("the job was claimed while it was cancelled"));
    };
    if order.only_waiting && (row.turn.attempt > 0 || row.turn.crashes > 0) {
        // It has started before: expiry is over for it.
        forget_expiry(unit, order, now).await?;
        return Ok((CancelAnswer::Running, Wake::default()));
    }
    delete_ready(unit, std::slice::from_ref(&row)).await?;
    leave_parents(unit, &row).await?;
    let status = take_status(unit, job.id, row.flags).await?;
    let outcome = outcome_of(unit, order, job, row.turn, now, status).await?;
    insert_outcomes(unit, job.month, std::slice::from_ref(&outcome)).await?;
    unit.note(now, Event::cancelled(job.id, row.home.0, row.lane));
    label_endings(unit, job.month, std::slice::from_ref(&outcome)).await?;
    if let Some(expire_time) = job.spec.expire_time {
        unit.execute(Sql::DeleteExpiry, Place::Fixed, values![expire_time, job.id]).await?;
    }
    let followed =
        follow(unit, &[Over { outcome: &outcome, flags: row.flags, spec: Some(&job.spec) }]).await?;
    let mut passed_on = Vec::new();
    if let (Some(mut lanes), Some(lane)) = (lanes, row.lane) {
        lanes.leave(lane, job.id);
        passed_on = lanes.close(unit, now).await?;
    }
    Ok((CancelAnswer::Cancelled, wake_of(&passed_on).and(followed)))
}

/// Locks the ready row of a job that waits, its lane before it. Which lane that is the row itself tells: it is looked at
/// twice, and its key and the job's lock see to it that it is the same row.
async fn lock_waiting(unit: &mut Unit<'_>, job: &Job) -> Try<Option<(ReadyRow, Option<Lanes>)>> {
    let ready = job.ready;
    let bound = || values![ready.route, ready.priority, ready.ready_time, ready.job];
    let Some(mut seen) = unit.fetch_one(Sql::ReadReady, Place::Fixed, bound()).await? else {
        return Ok(None);
    };
    let seen = ReadyRow::read(&mut seen)?;
    let lanes = match seen.lane {
        Some(lane) => Some(Lanes::lock(unit, std::iter::once(lane)).await?),
        None => None,
    };
    let row = unit.fetch_one(Sql::LockReady, Place::Fixed, bound()).await?;
    row.map(|mut row| Ok((ReadyRow::read(&mut row)?, lanes))).transpose()
}

/// A child that ends waits for nobody any more.
async fn leave_parents(unit: &mut Unit<'_>, row: &ReadyRow) -> Try<()> {
    if !row.waits_for_parents() {
        return Ok(());
    }
    let job = row.key.job;
    let rows = unit.fetch(Sql::ReadParents, Place::Fixed, values![job]).await?;
    let edges = rows.into_iter().map(|mut row| Ok((JobId(row.int()?), job))).collect::<Try<Vec<_>>>()?;
    delete_edges(unit, &edges).await
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
    let why = Cancelled { reason: order.reason, text: order.text.clone() };
    let mut row = OutcomeRow::cancelled(job, turn, now, why);
    (row.detail.error, row.detail.status) = (errors.remove(&job.id), status);
    Ok(row)
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

pub(super) fn read_mark(row: &mut Columns) -> Try<CancelMark> {
    let (job, epoch) = (JobId(row.int()?), Epoch(row.int()?));
    let (text, force_time) = (row.text()?, Time(row.int()?));
    let reason = if row.int()? != 0 { CancelReason::Superseded } else { CancelReason::Client };
    Ok(CancelMark { job, epoch, reason, text, force_time })
}
