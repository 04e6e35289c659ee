//! History as operators see it: what a month holds, dropping one, and forgetting single jobs that are past their
//! retention.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::model::{Ending, JobId, Month, Retention, Run, Time};
use crate::store::caches::MonthRow;
use crate::store::connection::Class;
use crate::store::dialect::Dialect;
use crate::store::fault::Try;
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::{Value, key, values};
use crate::store::verbs::batch::delete_batches;
use crate::store::verbs::enqueue::{keys_of, labels_of};
use crate::store::verbs::{MONTH_TABLES, ids};
use crate::store::{DropAnswer, LabelKind, MonthFigures, MonthKept, Result, StoreError};

/// Keys looked through in one step.
const STEP: i64 = 1_000;

impl SqlStore {
    pub(crate) async fn month_figures(&self, month: Month) -> Result<Option<MonthFigures>> {
        self.reload_months().await?;
        let all = self.months.all();
        let Some(at) = all.iter().position(|row| row.month == month) else { return Ok(None) };
        let row = &all[at];
        let is_open = at + 1 == all.len() || month >= Month::of(self.now().await?);
        let mut figures = read!(self.engine, |unit| count_month(unit, Place::Month(month)))?;
        figures.is_away = self.file_of(row).is_some_and(|file| !file.exists());
        if row.moved_to.is_some() && !figures.is_away {
            let moved =
                self.read_moved(row, async |unit| count_month(unit, Place::Moved(month)).await).await?;
            figures.add(&moved);
        }
        figures.month = month;
        figures.kept = match (is_open, &row.moved_to) {
            (true, _) => MonthKept::Open,
            (false, None) => MonthKept::Closed,
            (false, Some(_)) => MonthKept::Archived,
        };
        figures.live = read!(self.engine, |unit| count_live(unit, month))?;
        figures.size_bytes = self.size_of_month(row).await?;
        Ok(Some(figures))
    }

    /// The file that a closed month was moved to.
    fn file_of(&self, row: &MonthRow) -> Option<PathBuf> {
        Some(self.path.as_ref()?.with_file_name(row.moved_to.as_ref()?))
    }

    /// About how much room a month takes; 0 where the database does not tell.
    async fn size_of_month(&self, row: &MonthRow) -> Result<i64> {
        if let Some(file) = self.file_of(row) {
            return Ok(
                std::fs::metadata(file).map_or(0, |data| i64::try_from(data.len()).unwrap_or_default())
            );
        }
        if self.engine.dialect() == Dialect::Sqlite {
            return Ok(0);
        }
        let names = MONTH_TABLES
            .map(|table| format!("'{}{table}_{}'", self.engine.texts.prefix(), row.month))
            .join(", ");
        let asked = format!(
            "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED) FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name IN ({names})"
        );
        let rows = read!(self.engine, |unit| unit.lent.connection.look_up(&asked))?;
        Ok(rows.into_iter().flatten().next().and_then(|size| size.parse().ok()).unwrap_or_default())
    }

    pub(crate) async fn drop_month(&self, month: Month) -> Result<DropAnswer> {
        let Some(figures) = self.month_figures(month).await? else { return Ok(DropAnswer::NotFound) };
        if figures.is_away {
            let why = format!("the file of month {month} was moved away: put it back beside the database");
            return Err(StoreError::Unavailable(why));
        }
        let bound = || values![month, month];
        let live = read!(self.engine, |unit| unit.fetch(Sql::MonthIsLive, Place::Month(month), bound()))?;
        if figures.kept == MonthKept::Open || figures.live > 0 || !live.is_empty() {
            return Ok(DropAnswer::InUse(figures));
        }
        transact!(self.engine, Class::Vital, |unit| unit.execute(
            Sql::DropMonth,
            Place::Fixed,
            values![month]
        ))?;
        self.reload_months().await?;
        self.finish_drops().await?;
        Ok(DropAnswer::Dropped(figures))
    }

    /// Goes on with months that are being dropped: keys first, then the tables, the row last. Each part can be repeated after
    /// a crash.
    pub(crate) async fn finish_drops(&self) -> Result<bool> {
        let dropping = self.months.dropping();
        for (row, end) in &dropping {
            let mut after = Some(Vec::new());
            while let Some(from) = after {
                after = transact!(self.engine, Class::Enqueue, |unit| forget_keys(
                    unit,
                    &from,
                    (row.first, *end)
                ))?;
            }
            let names =
                MONTH_TABLES.map(|table| format!("{}{table}_{}", self.engine.texts.prefix(), row.month));
            read!(self.engine, Class::Vital, |unit| async {
                for name in &names {
                    unit.lent.connection.run(format!("DROP TABLE IF EXISTS {name}")).await?;
                }
                Ok(())
            })?;
            self.remove_file(row.month)?;
            transact!(self.engine, Class::Vital, |unit| {
                unit.execute(Sql::DeleteMonth, Place::Fixed, values![row.month])
            })?;
            tracing::info!(month = %row.month, "a month of history was dropped");
        }
        if !dropping.is_empty() {
            self.reload_months().await?;
        }
        Ok(!dropping.is_empty())
    }

    pub(crate) async fn forget_jobs(
        &self,
        month: Month,
        after: JobId,
        retention: Retention,
        limit: i64,
    ) -> Result<(Option<JobId>, i64)> {
        let now = self.now().await?;
        let bound = || values![after, limit];
        let rows = read!(self.engine, |unit| unit.fetch(Sql::WalkOutcomes, Place::Month(month), bound()))?;
        let is_last = (rows.len() as i64) < limit;
        let (mut last, mut old) = (None, Vec::new());
        for mut row in rows {
            let (job, run) = (JobId(row.int()?), Run(row.small()?));
            let (ending, finish_time) = (row.coded(Ending::from_code)?, Time(row.int()?));
            last = Some(job);
            // Only the last run counts: an earlier one goes with its job.
            old.retain(|(other, _)| *other != job);
            if retention.of(ending).is_some_and(|kept| finish_time.plus(kept) <= now) {
                old.push((job, run));
            }
        }
        // The last job of a full stretch may have runs beyond it: the next stretch begins with it.
        let next = if is_last { None } else { last.map(|job| JobId(job.0 - 1)).filter(|next| *next > after) };
        let next = if is_last { None } else { next.or(last) };
        if old.is_empty() {
            return Ok((next, 0));
        }
        let gone = transact!(self.engine, Class::Vital, |unit| self.forget(unit, month, &old))?;
        Ok((next, gone))
    }

    /// Forgets jobs whose present run is the one that is old, and whose end nobody waits for.
    async fn forget(&self, unit: &mut Unit<'_>, month: Month, old: &[(JobId, Run)]) -> Try<i64> {
        let all: Vec<JobId> = old.iter().map(|(job, _)| *job).collect();
        let mut awaited = BTreeSet::new();
        let locked = self.lock_jobs(unit, &all).await?;
        for sql in [Sql::ReadPending, Sql::ReadEnded] {
            for mut row in unit.fetch_each(sql, Place::Fixed, &all, ids).await? {
                awaited.insert(JobId(row.int()?));
            }
        }
        let is_over = |id: JobId, run: Run| old.contains(&(id, run)) && !awaited.contains(&id);
        let gone: Vec<_> = locked.into_iter().filter(|job| is_over(job.id, job.run)).collect();
        let ended = ["failed", "cancelled"];
        let labels: Vec<Vec<Value>> = gone
            .iter()
            .flat_map(|job| {
                labels_of(job).chain(ended.map(|how| values![LabelKind::Ending.code(), key(how), job.id]))
            })
            .collect();
        let bound = |chunk: &[Vec<Value>]| chunk.concat();
        unit.execute_each(Sql::DeleteLabels, Place::Month(month), &labels, bound).await?;
        delete_batches(unit, month, &gone).await?;
        let keys: Vec<Vec<Value>> = gone
            .iter()
            .flat_map(|job| keys_of(job).into_iter().map(|(text, _)| values![key(&text), job.id]))
            .collect();
        unit.execute_each(Sql::DeleteRefs, Place::Fixed, &keys, bound).await?;
        let gone: Vec<JobId> = gone.iter().map(|job| job.id).collect();
        for sql in [Sql::ForgetJobLogs, Sql::ForgetJobAttempts, Sql::ForgetOutcomes, Sql::ForgetJobs] {
            unit.execute_each(sql, Place::Month(month), &gone, ids).await?;
        }
        Ok(gone.len() as i64)
    }
}

async fn count_month(unit: &mut Unit<'_>, place: Place) -> Try<MonthFigures> {
    let mut figures = MonthFigures::default();
    for mut row in unit.fetch(Sql::MonthFigures, place, Vec::new()).await? {
        let (ending, count) = (row.coded(Ending::from_code)?, row.int()?);
        match ending {
            Ending::Executed | Ending::Completed => figures.completed += count,
            Ending::Failed => figures.failed += count,
            Ending::Cancelled => figures.cancelled += count,
        }
        figures.last_finish = figures.last_finish.max(row.maybe_int()?.map(Time));
    }
    Ok(figures)
}

async fn count_live(unit: &mut Unit<'_>, month: Month) -> Try<i64> {
    let row = unit.fetch_one(Sql::CountMonthLive, Place::Fixed, values![month, month]).await?;
    row.map_or(Ok(0), |mut row| row.int())
}

/// Forgets the keys of a dropped month's jobs in one stretch; answers where the next begins, if there is one.
async fn forget_keys(
    unit: &mut Unit<'_>,
    after: &[u8],
    (first, end): (JobId, JobId),
) -> Try<Option<Vec<u8>>> {
    let rows = unit.fetch(Sql::WalkRefs, Place::Fixed, values![after.to_vec(), STEP]).await?;
    let is_last = (rows.len() as i64) < STEP;
    let (mut last, mut old) = (None, Vec::new());
    for mut row in rows {
        let (text, job) = (row.bytes()?, JobId(row.int()?));
        last = Some(text.to_vec());
        if (first..end).contains(&job) {
            old.push(values![text, job]);
        }
    }
    unit.execute_each(Sql::DeleteRefs, Place::Fixed, &old, |chunk: &[Vec<Value>]| chunk.concat()).await?;
    Ok(last.filter(|_| !is_last))
}
