//! Closed months of SQLite: each moves from the database file to a file of its own, `<name>.history_2026_10.db`.
//!
//! Copied and committed first, then noted, then deleted in small steps; each part can be repeated after a crash at
//! any point. A row is deleted only if the copy holds the same run of its job, so that a job that was requeued
//! meanwhile stays. Whoever reads looks into the database first and then into the file.

use std::path::{Path, PathBuf};

use crate::model::{JobId, Month};
use crate::store::caches::MonthRow;
use crate::store::connection::{Class, Connection};
use crate::store::dialect::{self, Dialect, Setting};
use crate::store::fault::{Fault, Try};
use crate::store::sql_store::SqlStore;
use crate::store::statement::{Place, Sql};
use crate::store::unit::{Unit, read, transact};
use crate::store::value::values;
use crate::store::verbs::MONTH_TABLES;
use crate::store::{Result, StoreError};

/// Files that one connection keeps attached; SQLite allows ten.
const ATTACHED_MAX: usize = 8;
/// Jobs that one step deletes.
const STEP: usize = 500;
/// Tables of a month whose rows stand for one job each; all but labels are found by it.
const TABLES: [&str; 5] = ["job", "outcome", "job_attempt", "job_log", "job_label"];

impl SqlStore {
    /// Moves one closed month that has not been moved, or into which jobs came back and ended again.
    pub(crate) async fn keep_months(&self) -> Result<bool> {
        self.reload_months().await?;
        if self.finish_drops().await? {
            return Ok(true);
        }
        let Some(database) = &self.path else { return Ok(false) };
        let Some(month) = self.month_to_move().await? else { return Ok(false) };
        let file = file_of(database, month);
        let attached = Attached { file: &file, month, prefix: self.engine.texts.prefix() };
        read!(self.engine, Class::History, |unit| copy(unit, &attached))?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let bound = || values![name.as_str(), month];
        transact!(self.engine, Class::Vital, |unit| unit.execute(Sql::MarkMoved, Place::Fixed, bound()))?;
        self.reload_months().await?;
        while read!(self.engine, Class::Vital, |unit| delete_step(unit, &attached))? {}
        tracing::info!(%month, file = %file.display(), "a closed month was moved to its own file");
        Ok(true)
    }

    /// Removes the file of a month that is dropped, if it has one.
    pub(crate) fn remove_file(&self, month: Month) -> Result<()> {
        let Some(database) = &self.path else { return Ok(()) };
        let file = file_of(database, month);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Other(format!("{} cannot be removed: {error}", file.display())))
            }
            _ => Ok(()),
        }
    }

    async fn month_to_move(&self) -> Result<Option<Month>> {
        let present = Month::of(self.now().await?);
        let all = self.months.all();
        let closed = all.iter().rev().skip(1).rev().map(|row| row.month).filter(|month| *month < present);
        for month in closed {
            if read!(self.engine, |unit| can_move(unit, month))? {
                return Ok(Some(month));
            }
        }
        Ok(None)
    }

    /// Reads from the file of a month that was moved.
    pub(crate) async fn read_moved<T>(
        &self,
        row: &MonthRow,
        work: impl for<'u, 'e> AsyncFnOnce(&'u mut Unit<'e>) -> Try<T>,
    ) -> Result<T> {
        let (Some(database), Some(name)) = (&self.path, &row.moved_to) else {
            return Err(StoreError::Other(format!("month {} was moved, but not by SQLite", row.month)));
        };
        let mut unit = self.engine.begin_reading(Class::History).await?;
        let file = database.with_file_name(name);
        let attached = Attached { file: &file, month: row.month, prefix: self.engine.texts.prefix() };
        attach(&mut unit.lent.connection, &attached).await?;
        let answer = work(&mut unit).await?;
        unit.lent.give_back();
        Ok(answer)
    }

    /// Copies a job of a moved month back, so that it can run again.
    pub(crate) async fn fetch_back(&self, job: JobId, row: &MonthRow) -> Result<()> {
        let (Some(database), Some(name)) = (&self.path, &row.moved_to) else { return Ok(()) };
        let file = database.with_file_name(name);
        let attached = Attached { file: &file, month: row.month, prefix: self.engine.texts.prefix() };
        read!(self.engine, Class::Vital, |unit| copy_back(unit, &attached, job))
    }
}

/// A month's file and how its tables are called.
struct Attached<'a> {
    file: &'a Path,
    month: Month,
    prefix: &'a str,
}

impl Attached<'_> {
    fn here(&self, table: &str) -> String {
        format!("main.{}{table}_{}", self.prefix, self.month)
    }

    fn there(&self, table: &str) -> String {
        format!("{}{}{table}_{}", Place::Moved(self.month).schema(), self.prefix, self.month)
    }
}

fn file_of(database: &Path, month: Month) -> PathBuf {
    let stem = database.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    database.with_file_name(format!("{stem}.history_{month}.db"))
}

/// A month with jobs in the database none of which waits or runs.
async fn can_move(unit: &mut Unit<'_>, month: Month) -> Try<bool> {
    let any = unit.fetch(Sql::WalkMonthUp, Place::Month(month), values![0_i64, 1_i64]).await?;
    let live = unit.fetch(Sql::MonthIsLive, Place::Month(month), values![month, month]).await?;
    Ok(!any.is_empty() && live.is_empty())
}

async fn attach(connection: &mut Connection, attached: &Attached<'_>) -> Try<()> {
    let Attached { file, month, .. } = attached;
    if !file.exists() {
        let why =
            format!("{} is missing: put the file of month {month} back beside the database", file.display());
        return Err(Fault::Store(StoreError::Unavailable(why)));
    }
    attach_or_make(connection, attached).await
}

/// Attaches a month's file and makes the tables that it lacks: all of a new one, and those that came after an old one.
async fn attach_or_make(connection: &mut Connection, attached: &Attached<'_>) -> Try<()> {
    let Attached { file, month, prefix } = *attached;
    let schema = format!("history_{month}");
    let list = connection.look_up("PRAGMA database_list").await?;
    let names: Vec<String> = list.into_iter().filter_map(|row| row.into_iter().nth(1)).collect();
    if names.contains(&schema) {
        return Ok(());
    }
    let others: Vec<&String> = names.iter().filter(|name| name.starts_with("history_")).collect();
    if others.len() >= ATTACHED_MAX
        && let Some(oldest) = others.first()
    {
        connection.run(format!("DETACH DATABASE {oldest}")).await?;
    }
    let path = file.to_string_lossy().replace('\'', "''");
    connection.run(format!("ATTACH DATABASE '{path}' AS {schema}")).await?;
    let setting = Setting { dialect: Dialect::Sqlite, prefix, place: Place::Moved(month), rows: 1 };
    for statement in dialect::statements(include_str!("../sql/month.sql"), Dialect::Sqlite) {
        connection.run(setting.expand(&statement)).await?;
    }
    Ok(())
}

async fn detach(connection: &mut Connection, month: Month) -> Try<()> {
    connection.run(format!("DETACH DATABASE history_{month}")).await
}

/// Copies the whole month into its file, in one transaction that writes to that file alone.
async fn copy(unit: &mut Unit<'_>, attached: &Attached<'_>) -> Try<()> {
    let connection = &mut unit.lent.connection;
    attach_or_make(connection, attached).await?;
    connection.run("BEGIN".into()).await?;
    let copied = async {
        for table in MONTH_TABLES {
            let (here, there) = (attached.here(table), attached.there(table));
            let columns = columns(connection, attached, table).await?;
            connection
                .run(format!("INSERT OR REPLACE INTO {there} ({columns}) SELECT {columns} FROM {here}"))
                .await?;
        }
        connection.run("COMMIT".into()).await
    };
    let copied = copied.await;
    end(connection, copied).await
}

/// Deletes some jobs that the copy holds as they are; says whether there may be more.
async fn delete_step(unit: &mut Unit<'_>, attached: &Attached<'_>) -> Try<bool> {
    let connection = &mut unit.lent.connection;
    attach(connection, attached).await?;
    connection.run("BEGIN IMMEDIATE".into()).await?;
    let deleted = delete_copied(connection, attached).await;
    let more = end(connection, deleted).await?;
    detach(connection, attached.month).await?;
    Ok(more)
}

async fn delete_copied(connection: &mut Connection, attached: &Attached<'_>) -> Try<bool> {
    let (here, there) = (attached.here("job"), attached.there("job"));
    let same = connection
        .look_up(&format!(
            "SELECT a.job_id FROM {here} AS a JOIN {there} AS b ON b.job_id = a.job_id \
             WHERE b.run = a.run AND b.run_time = a.run_time ORDER BY a.job_id LIMIT {STEP}"
        ))
        .await?;
    let jobs: Vec<String> = same.into_iter().flatten().collect();
    let list = jobs.join(", ");
    for table in TABLES.iter().filter(|table| **table != "job_label" && !jobs.is_empty()) {
        connection.run(format!("DELETE FROM {} WHERE job_id IN ({list})", attached.here(table))).await?;
    }
    if jobs.is_empty() {
        let labels = attached.here("job_label");
        connection
            .run(format!("DELETE FROM {labels} WHERE job_id NOT IN (SELECT job_id FROM {here})"))
            .await?;
        // A walk reads both places: a stretch need only be in one, whichever jobs of it came back.
        let (here, there) = (attached.here("job_batch"), attached.there("job_batch"));
        let key = "batch_id, first_id";
        connection.run(format!("DELETE FROM {here} WHERE ({key}) IN (SELECT {key} FROM {there})")).await?;
    }
    connection.run("COMMIT".into()).await?;
    Ok(!jobs.is_empty())
}

async fn copy_back(unit: &mut Unit<'_>, attached: &Attached<'_>, job: JobId) -> Try<()> {
    let connection = &mut unit.lent.connection;
    attach(connection, attached).await?;
    connection.run("BEGIN IMMEDIATE".into()).await?;
    let copied = async {
        for table in TABLES {
            let (here, there) = (attached.here(table), attached.there(table));
            let columns = columns(connection, attached, table).await?;
            let insert = format!("INSERT OR IGNORE INTO {here} ({columns}) SELECT {columns} FROM {there}");
            connection.run(format!("{insert} WHERE job_id = {}", job.0)).await?;
        }
        connection.run("COMMIT".into()).await
    };
    let copied = copied.await;
    end(connection, copied).await?;
    detach(connection, attached.month).await
}

/// Rolls back what failed.
async fn end<T>(connection: &mut Connection, done: Try<T>) -> Try<T> {
    if done.is_err() {
        connection.run("ROLLBACK".into()).await?;
    }
    done
}

/// The columns of a table by name, since a table of an older version may hold them in another order.
async fn columns(connection: &mut Connection, attached: &Attached<'_>, table: &str) -> Try<String> {
    let name = format!("{}{table}_{}", attached.prefix, attached.month);
    let info = connection.look_up(&format!("PRAGMA main.table_info({name})")).await?;
    let names: Vec<String> = info.into_iter().filter_map(|row| row.into_iter().nth(1)).collect();
    Ok(names.join(", "))
}
