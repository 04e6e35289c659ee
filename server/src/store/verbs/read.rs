//! Jobs as people see them: views, attempts, log lines.

use std::collections::{BTreeMap, HashMap};

use crate::model::{
    Attempt, AttemptEnd, Ending, Epoch, JobError, JobId, Level, LogLine, Month, Outcome, Payload, Phase, Run,
    SessionId, Time, Turn, View,
};
use crate::store::caches::MonthRow;
use crate::store::fault::{Fault, Try};
use crate::store::rows::{Detail, LeaseRow, read_job, read_outcome, read_turn, wait_of};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read};
use crate::store::value::{Columns, values};
use crate::store::verbs::ids;
use crate::store::{LogPosition, Payloads, Result, StoreError};

impl SqlStore {
    pub(crate) async fn views(&self, jobs: &[JobId], payloads: Payloads) -> Result<Vec<View>> {
        let mut found = HashMap::new();
        self.collect_views(jobs, payloads, &mut found).await?;
        let missing: Vec<JobId> = jobs.iter().filter(|job| !found.contains_key(job)).copied().collect();
        // Another server may have begun a month that we do not know.
        if missing.iter().any(|job| self.months.is_in_newest(*job)) && self.reload_months().await? {
            self.collect_views(&missing, payloads, &mut found).await?;
        }
        Ok(jobs.iter().filter_map(|job| found.remove(job)).collect())
    }

    async fn collect_views(
        &self,
        jobs: &[JobId],
        payloads: Payloads,
        found: &mut HashMap<JobId, View>,
    ) -> Result<()> {
        let mut by_month: BTreeMap<Month, (MonthRow, Vec<JobId>)> = BTreeMap::new();
        for job in jobs {
            if let Some(row) = self.month_of(*job).await? {
                by_month.entry(row.month).or_insert_with(|| (row, Vec::new())).1.push(*job);
            }
        }
        for (month, (row, jobs)) in by_month {
            let here = read!(self.engine, |unit| read_views(unit, Place::Month(month), &jobs, payloads))?;
            found.extend(here.into_iter().map(|view| (view.job.id, view)));
            let missing: Vec<JobId> = jobs.into_iter().filter(|job| !found.contains_key(job)).collect();
            if row.moved_to.is_some() && !missing.is_empty() {
                let there = self.read_moved(&row, async |unit| {
                    read_views(unit, Place::Moved(month), &missing, payloads).await
                });
                found.extend(there.await?.into_iter().map(|view| (view.job.id, view)));
            }
        }
        Ok(())
    }

    pub(crate) async fn outcome(&self, job: JobId, run: Run) -> Result<Option<Outcome>> {
        let Some(row) = self.month_of_stored(job).await? else { return Ok(None) };
        let here = read!(self.engine, |unit| read_run(unit, Place::Month(row.month), job, run))?;
        if here.is_some() || row.moved_to.is_none() {
            return Ok(here);
        }
        self.read_moved(&row, async |unit| read_run(unit, Place::Moved(row.month), job, run).await).await
    }

    pub(crate) async fn checkpoint(&self, job: JobId) -> Result<Option<(i64, Payload)>> {
        read!(self.engine, |unit| async {
            let rows = unit.fetch_each(Sql::ReadCheckpoints, Place::Fixed, &[job], ids).await?;
            let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
            row.skip(2);
            let (sequence, checkpoint) = (row.int()?, row.payload()?);
            Ok((sequence >= 0).then_some((sequence, checkpoint)))
        })
    }

    pub(crate) async fn attempts(&self, job: JobId) -> Result<Vec<Attempt>> {
        let Some(row) = self.month_of_stored(job).await? else { return Ok(Vec::new()) };
        let mut attempts = read!(self.engine, |unit| self.read_attempts(unit, Place::Month(row.month), job))?;
        if row.moved_to.is_some() {
            let moved = self
                .read_moved(&row, async |unit| self.read_attempts(unit, Place::Moved(row.month), job).await);
            attempts.extend(moved.await?);
        }
        attempts.sort_by_key(|attempt| (attempt.run, attempt.epoch));
        attempts.dedup_by_key(|attempt| (attempt.run, attempt.epoch));
        Ok(attempts)
    }

    async fn read_attempts(&self, unit: &mut Unit<'_>, place: Place, job: JobId) -> Try<Vec<Attempt>> {
        let mut attempts = Vec::new();
        for mut row in unit.fetch(Sql::ReadAttempts, place, values![job]).await? {
            attempts.push(read_attempt(&mut row)?);
        }
        for mut row in unit.fetch(Sql::ReadOutcomes, place, values![job]).await? {
            attempts.extend(last_attempt(&mut row)?);
        }
        for mut row in unit.fetch(Sql::ReadLeasesByJob, Place::Fixed, values![job]).await? {
            let lease = LeaseRow::read(&mut row)?.lease;
            let mut names = self.names_of(unit, std::iter::once(lease.session)).await?;
            attempts.push(Attempt {
                run: lease.run,
                attempt: lease.turn.attempt,
                epoch: lease.fence.epoch,
                session: lease.session,
                worker_process: names.remove(&lease.session).unwrap_or_default(),
                start_time: lease.start_time,
                finish_time: None,
                end: AttemptEnd::Running,
                error: None,
                retry_time: None,
            });
        }
        Ok(attempts)
    }

    pub(crate) async fn logs(
        &self,
        job: JobId,
        after: LogPosition,
        level: Level,
        limit: i64,
    ) -> Result<Vec<LogLine>> {
        let Some(row) = self.month_of_stored(job).await? else { return Ok(Vec::new()) };
        let bound = || {
            let LogPosition { run, epoch, sequence } = after;
            values![job, run, run, epoch, run, epoch, sequence, level.code(), limit]
        };
        let mut lines = read!(self.engine, |unit| read_lines(unit, Place::Month(row.month), bound()))?;
        if row.moved_to.is_some() {
            let moved =
                self.read_moved(&row, async |unit| read_lines(unit, Place::Moved(row.month), bound()).await);
            lines.extend(moved.await?);
            lines.sort_by_key(|line| (line.run, line.epoch, line.sequence));
            lines.dedup_by_key(|line| (line.run, line.epoch, line.sequence));
            lines.truncate(usize::try_from(limit).unwrap_or_default());
        }
        Ok(lines)
    }

    /// The month of a job that may be in one that another server began.
    async fn month_of_stored(&self, job: JobId) -> Result<Option<MonthRow>> {
        let views = self.views(&[job], Payloads::LeftOut).await?;
        if views.is_empty() { Ok(None) } else { self.month_of(job).await }
    }
}

async fn read_views(unit: &mut Unit<'_>, place: Place, jobs: &[JobId], payloads: Payloads) -> Try<Vec<View>> {
    let sql = match payloads {
        Payloads::Read => Sql::Views,
        Payloads::LeftOut => Sql::ViewsBrief,
    };
    let month = place.month().ok_or_else(|| Fault::other("views are read from a month"))?;
    let rows = unit.fetch_each(sql, place, jobs, ids).await?;
    let mut views = rows.into_iter().map(|mut row| read_view(&mut row, month)).collect::<Try<Vec<View>>>()?;
    let had_trouble = |view: &&View| {
        let spent = match view.phase {
            Phase::Ready(_) => view.turn.attempt,
            Phase::Leased(..) => view.turn.attempt - 1,
            Phase::Ended(_) => return false,
        };
        spent > 0 || view.turn.crashes > 0
    };
    let troubled: Vec<(JobId, Run)> =
        views.iter().filter(had_trouble).map(|view| (view.job.id, view.job.run)).collect();
    let mut errors = read_last_errors(unit, month, &troubled).await?;
    for view in &mut views {
        if let Some(error) = errors.remove(&view.job.id) {
            view.last_error = Some(error);
        }
    }
    Ok(views)
}

async fn read_run(unit: &mut Unit<'_>, place: Place, job: JobId, run: Run) -> Try<Option<Outcome>> {
    match unit.fetch_one(Sql::ReadOutcome, place, values![job, run]).await? {
        Some(mut row) => read_outcome(&mut row, run),
        None => Ok(None),
    }
}

/// The last errors of runs that have not ended.
pub(super) async fn read_last_errors(
    unit: &mut Unit<'_>,
    month: Month,
    runs: &[(JobId, Run)],
) -> Try<HashMap<JobId, JobError>> {
    let keys = |chunk: &[(JobId, Run)]| chunk.iter().flat_map(|(job, run)| values![*job, *run]).collect();
    let rows = unit.fetch_each(Sql::LastErrors, Place::Month(month), runs, keys).await?;
    rows.into_iter().map(|mut row| Ok((JobId(row.int()?), row.json()?))).collect()
}

fn read_view(row: &mut Columns, month: Month) -> Try<View> {
    let job = read_job(row, month)?;
    let ready = if row.is_null() {
        row.skip(5);
        None
    } else {
        let turn = read_turn(row)?;
        Some((turn, wait_of(job.ready.route, row.route()?)))
    };
    let lease = if row.is_null() {
        row.skip(LeaseRow::COLUMNS);
        None
    } else {
        Some(LeaseRow::read(row)?.lease)
    };
    let name = row.text()?;
    let outcome = read_outcome(row, job.run)?;
    let (progress, status) = (row.maybe_real()?, row.text()?);
    let cancel = row.maybe_text()?;
    let cancel_deadline = row.maybe_int()?.map(Time);
    let (phase, turn, status) = match (outcome, lease, ready) {
        (Some(outcome), _, _) => {
            let (turn, status) = (outcome.turn, outcome.status.clone());
            (Phase::Ended(Box::new(outcome)), turn, status)
        }
        (None, Some(lease), _) => {
            let turn = lease.turn;
            (Phase::Leased(Box::new(lease), name), turn, status)
        }
        (None, None, Some((turn, wait))) => (Phase::Ready(wait), turn, status),
        (None, None, None) => return Err(nowhere(job.id, job.run)),
    };
    let last_error = match &phase {
        Phase::Ended(outcome) => outcome.error.clone(),
        _ => None,
    };
    let progress_estimated = false;
    Ok(View { job, phase, turn, progress, progress_estimated, status, cancel, cancel_deadline, last_error })
}

fn nowhere(job: JobId, run: Run) -> Fault {
    let why = format!("job {job} is neither ready nor leased, and its run {run} has no outcome");
    Fault::Store(StoreError::Corrupt(why))
}

fn read_attempt(row: &mut Columns) -> Try<Attempt> {
    row.skip(1);
    let (run, epoch) = (Run(row.small()?), Epoch(row.int()?));
    let attempt = row.small()?;
    let end = row.coded(AttemptEnd::from_code)?;
    let session = row.maybe_session()?.unwrap_or(SessionId([0; 16]));
    let worker_process = row.text()?;
    let (start_time, finish_time) = (Time(row.int()?), Some(Time(row.int()?)));
    Ok(Attempt {
        run,
        attempt,
        epoch,
        session,
        worker_process,
        start_time,
        finish_time,
        end,
        error: row.maybe_json()?,
        retry_time: None,
    })
}

/// The attempt that an outcome ended; none if the run was cancelled while it waited.
fn last_attempt(row: &mut Columns) -> Try<Option<Attempt>> {
    row.skip(1);
    let (run, epoch) = (Run(row.small()?), Epoch(row.int()?));
    row.coded(Ending::from_code)?;
    let turn = Turn { epoch, attempt: row.small()?, crashes: row.small()?, unacknowledged: 0 };
    let (start_time, finish_time) = (Time(row.int()?), Some(Time(row.int()?)));
    let session = row.maybe_session()?;
    let worker_process = row.text()?;
    let detail: Detail = row.maybe_json()?.unwrap_or_default();
    let Some(session) = session else { return Ok(None) };
    let end = detail.end.unwrap_or(AttemptEnd::Completed);
    // A crash gives its attempt back, but had its number.
    let attempt = turn.attempt + i32::from(end == AttemptEnd::Crashed);
    let error = detail.error;
    Ok(Some(Attempt {
        run,
        attempt,
        epoch,
        session,
        worker_process,
        start_time,
        finish_time,
        end,
        error,
        retry_time: None,
    }))
}

async fn read_lines(
    unit: &mut Unit<'_>,
    place: Place,
    bound: Vec<crate::store::value::Value>,
) -> Try<Vec<LogLine>> {
    let rows = unit.fetch(Sql::ReadLogs, place, bound).await?;
    let read = |mut row: Columns| {
        Ok(LogLine {
            sequence: row.int()?,
            run: Run(row.small()?),
            epoch: Epoch(row.int()?),
            time: Time(row.int()?),
            level: row.coded(Level::from_code)?,
            message: row.text()?,
            fields: row.text()?,
        })
    };
    rows.into_iter().map(read).collect()
}
